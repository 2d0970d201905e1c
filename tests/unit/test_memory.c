/* SPDX-License-Identifier: MIT */
/* The standalone allocator: leases that end, rights, bounds, what is freed when. */
#include "tests/support/alloc_bed.h"

#define MS  ALLOC_BED_MS
#define ALL (PTN_READ | PTN_WRITE | PTN_ATOMIC)

static uint64_t used(struct alloc_bed *bed)
{
	return alloc_bed_info(bed).memory_used_bytes;
}

/* --- using -------------------------------------------------------------------------------------- */

static void use_body(struct alloc_bed *bed)
{
	enum {
		LEN = 300000
	};
	uint8_t *out = malloc(LEN), *in = malloc(LEN);
	struct ptn_memory *memory;
	uint64_t old;

	alloc_bed_client(bed, 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, LEN, 100 * MS, &memory), 0);
	assert_int_equal(ptn_memory_length(memory), LEN);
	assert_int_equal(ptn_memory_read(memory, 0, in, LEN), 0);
	for (int i = 0; i < LEN; i++) {
		assert_int_equal(in[i], 0);
		out[i] = (uint8_t)(i * 7 + i / 251);
	}
	/* longer than a buffer, at odd offsets */
	assert_int_equal(ptn_memory_write(memory, 3, out + 3, LEN - 3), 0);
	assert_int_equal(ptn_memory_read(memory, 1, in + 1, LEN - 1), 0);
	assert_memory_equal(in + 3, out + 3, LEN - 3);
	assert_int_equal(in[1] | in[2], 0);
	assert_int_equal(ptn_memory_write(memory, 8, "\0\0\0\0\0\0\0\0", 8), 0);
	assert_int_equal(ptn_memory_faa(memory, 8, 40, &old), 0);
	assert_int_equal(old, 0);
	assert_int_equal(ptn_memory_cas(memory, 8, 40, 42, &old), 0);
	assert_int_equal(old, 40);
	assert_int_equal(ptn_memory_cas(memory, 8, 40, 43, &old), 0);
	assert_int_equal(old, 42);
	/* bounds */
	assert_int_equal(ptn_memory_read(memory, LEN, in, 0), 0);
	assert_int_equal(ptn_memory_read(memory, LEN, in, 1), -ERANGE);
	assert_int_equal(ptn_memory_read(memory, UINT64_MAX, in, 8), -ERANGE);
	assert_int_equal(ptn_memory_write(memory, 1, out, LEN), -ERANGE);
	assert_int_equal(ptn_memory_cas(memory, 4, 0, 1, &old), -EINVAL);
	assert_int_equal(ptn_memory_faa(memory, LEN, 1, &old), -ERANGE);
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	alloc_bed_client_close(bed, 0);
	free(out);
	free(in);
}

static void memory_is_read_and_written_one_sidedly(void **state)
{
	alloc_bed_run(NULL, use_body);
}

static void nonsense_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory;
	struct ptn_worker *worker;
	struct ptn_address nowhere = { 0 };

	alloc_bed_client(bed, 0);
	worker = bed->worker[0];
	assert_int_equal(ptn_memory_alloc(worker, 0, 0, MS, &memory), -EINVAL);
	assert_int_equal(ptn_memory_alloc(worker, 0, (UINT64_C(1) << 30) + 1, MS, &memory),
			 -EINVAL);
	assert_int_equal(ptn_memory_alloc(worker, 1, 64, MS, &memory), -EINVAL);
	assert_int_equal(ptn_memory_alloc(worker, 0, 64, 0, &memory), -EINVAL);
	assert_int_not_equal(ptn_memory_alloc(worker, 0, 64, 1, &memory), 0); /* below 100 us */
	assert_int_equal(ptn_memory_alloc(worker, 0, UINT64_C(17) << 20, MS, &memory), -ENOMEM);
	assert_int_equal(ptn_memory_acquire(worker, nowhere, 64, ALL, MS, &memory), -ENOENT);
	nowhere.addr = ptni_client_node(bed->client[0], 0)->region_addr;
	assert_int_equal(ptn_memory_acquire(worker, nowhere, 64, ALL, MS, &memory), -ENOENT);
	assert_int_equal(ptn_memory_acquire(worker, nowhere, 64, 8, MS, &memory), -EINVAL);
	assert_int_equal(ptn_memory_acquire(worker, nowhere, 64, 0, MS, &memory), -EINVAL);
	assert_int_equal(used(bed), 0);
	alloc_bed_client_close(bed, 0);
}

static void nonsense_is_refused(void **state)
{
	alloc_bed_run(NULL, nonsense_body);
}

/* --- sharing ------------------------------------------------------------------------------------ */

static void share_body(struct alloc_bed *bed)
{
	struct ptn_memory *owner, *reader, *adder, *part;
	struct ptn_counters before, after;
	struct ptn_address address;
	uint64_t value = 77, old;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 10000, 200 * MS, &owner), 0);
	address = ptn_memory_address(owner);
	assert_int_equal(ptn_memory_write(owner, 4096, &value, 8), 0);
	assert_int_equal(
		ptn_memory_acquire(bed->worker[1], address, 10000, PTN_READ, 200 * MS, &reader), 0);
	assert_int_equal(ptn_memory_acquire(bed->worker[1], address, 10001, PTN_READ, MS, &part),
			 -EINVAL);
	value = 0;
	assert_int_equal(ptn_memory_read(reader, 4096, &value, 8), 0);
	assert_int_equal(value, 77);
	assert_int_equal(ptn_memory_write(reader, 4096, &value, 8), -EACCES);
	assert_int_equal(ptn_memory_faa(reader, 4096, 1, &old), -EACCES);
	address.addr += 4096;
	assert_int_equal(
		ptn_memory_acquire(bed->worker[1], address, 8, PTN_ATOMIC, 200 * MS, &adder), 0);
	assert_int_equal(ptn_memory_faa(adder, 0, 1, &old), 0);
	assert_int_equal(old, 77);
	assert_int_equal(ptn_memory_faa(adder, 8, 1, &old), -ERANGE);
	assert_int_equal(ptn_memory_read(adder, 0, &value, 8), -EACCES);
	/* what is not its own it cannot free, only let go */
	assert_int_equal(ptn_memory_free(adder), -EPERM);
	assert_int_equal(ptn_memory_release(reader), 0);
	assert_int_equal(ptn_memory_read(owner, 4096, &value, 8), 0);
	assert_int_equal(value, 78);
	/* freeing ends the others' leases first */
	address.addr -= 4096;
	assert_int_equal(ptn_memory_acquire(bed->worker[1], address, 64, ALL, 900 * MS, &reader),
			 0);
	assert_int_equal(ptn_memory_free(owner), 0);
	alloc_bed_pass(bed, 5 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(ptn_memory_read(reader, 0, &value, 8), PTN_E_LEASE_REVOKED);
	/* known by now: nothing is posted, no lane is lost */
	ptn_worker_counters(bed->worker[1], &before);
	assert_int_equal(ptn_memory_read(reader, 0, &value, 8), PTN_E_LEASE_REVOKED);
	assert_int_equal(ptn_memory_extend(reader, MS), PTN_E_LEASE_REVOKED);
	assert_int_equal(ptn_memory_remaining_ns(reader), 0);
	ptn_worker_counters(bed->worker[1], &after);
	assert_int_equal(after.lane_breaks, before.lane_breaks);
	assert_int_equal(ptn_memory_acquire(bed->worker[1], address, 64, ALL, MS, &part), -ENOENT);
	assert_int_equal(ptn_memory_release(reader), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void rights_are_exact_and_end_with_the_memory(void **state)
{
	alloc_bed_run(NULL, share_body);
}

/* --- ends --------------------------------------------------------------------------------------- */

static void expiry_body(struct alloc_bed *bed)
{
	static const uint64_t terms[] = { 100000, 150000, MS, 30 * MS };
	struct ptn_memory *memory, *other;
	uint64_t value = 5;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	for (unsigned i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
		uint64_t start_ns = bed->now_ns;

		assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 5000, terms[i], &memory), 0);
		assert_true(ptn_memory_remaining_ns(memory) + (bed->now_ns - start_ns) <= terms[i]);
		assert_true(ptn_memory_remaining_ns(memory) > 0);
		assert_int_equal(ptn_memory_write(memory, 0, &value, 8), 0);
		while (ptn_memory_remaining_ns(memory))
			ptni_fiber_suspend();
		/* never past the deadline, on this client's own clock */
		assert_true(bed->now_ns - start_ns <= terms[i]);
		assert_int_equal(ptn_memory_read(memory, 0, &value, 8), PTN_E_LEASE_EXPIRED);
		alloc_bed_pass(bed, terms[i] / 4 + 20 * MS);
		assert_int_equal(ptn_memory_extend(memory, terms[i]), PTN_E_LEASE_EXPIRED);
		assert_int_equal(used(bed), 0);
		/* another's now: zero again */
		assert_int_equal(ptn_memory_alloc(bed->worker[1], 0, 5000, 500 * MS, &other), 0);
		assert_int_equal(ptn_memory_address(other).addr, ptn_memory_address(memory).addr);
		value = 1;
		assert_int_equal(ptn_memory_read(other, 0, &value, 8), 0);
		assert_int_equal(value, 0);
		assert_int_equal(ptn_memory_free(memory), 0); /* does not hit the other's */
		assert_int_equal(ptn_memory_read(other, 0, &value, 8), 0);
		assert_int_equal(ptn_memory_free(other), 0);
		alloc_bed_pass(bed, 20 * MS);
	}
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void expiry_frees_and_the_right_is_gone(void **state)
{
	alloc_bed_run(NULL, expiry_body);
}

/* The client's clock says yes, the node has ended the lease: the NIC says no. */
static void dead_key_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *second;
	struct ptn_session_info info;
	struct ptn_client_options options = { 0 };
	struct ptn_address address;
	uint64_t value;

	alloc_bed_client(bed, 0);
	assert_int_equal(alloc_bed_try_client(bed, 1, &options), 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 64, 900 * MS, &memory), 0);
	address = ptn_memory_address(memory);
	assert_int_equal(
		ptn_memory_acquire(bed->worker[1], address, 64, PTN_READ, 900 * MS, &second), 0);
	assert_int_equal(ptn_memory_read(second, 0, &value, 8), 0);
	assert_int_equal(ptn_node_sessions(bed->node, &info, 1), 2);
	assert_int_equal(ptn_node_session_end(bed->node, info.id), 0); /* the owner's */
	alloc_bed_pass(bed, 20 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(ptn_memory_read(second, 0, &value, 8), PTN_E_LEASE_REVOKED);
	assert_int_equal(ptn_memory_release(second), 0);
	/* the worker goes on */
	assert_int_equal(ptn_memory_alloc(bed->worker[1], 0, 64, 900 * MS, &second), 0);
	assert_int_equal(ptn_memory_read(second, 0, &value, 8), 0);
	assert_int_equal(ptn_memory_free(second), 0);
	(void)ptn_memory_free(memory);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void freed_memory_cannot_be_reached(void **state)
{
	alloc_bed_run(NULL, dead_key_body);
}

static void keep_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory;
	struct ptn_address address;
	uint64_t value = 99;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 64, 100 * MS, &memory), 0);
	address = ptn_memory_address(memory);
	assert_int_equal(ptn_memory_write(memory, 0, &value, 8), 0);
	assert_int_equal(ptn_memory_release(memory), 0);
	alloc_bed_pass(bed, 300 * MS);
	assert_int_not_equal(used(bed), 0);
	assert_int_equal(
		ptn_memory_acquire(bed->worker[1], address, 64, PTN_READ, 50 * MS, &memory), 0);
	value = 0;
	assert_int_equal(ptn_memory_read(memory, 0, &value, 8), 0);
	assert_int_equal(value, 99);
	alloc_bed_pass(bed, 100 * MS); /* an acquired lease expires: the memory stays */
	assert_int_equal(ptn_memory_release(memory), 0);
	assert_int_equal(ptn_memory_acquire(bed->worker[0], address, 64, ALL, 50 * MS, &memory), 0);
	assert_int_equal(ptn_memory_free(memory), 0); /* the owner's session may */
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	/* what is kept goes with the session */
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 64, 100 * MS, &memory), 0);
	assert_int_equal(ptn_memory_release(memory), 0);
	alloc_bed_client_close(bed, 0);
	alloc_bed_pass(bed, 20 * MS);
	assert_int_equal(used(bed), 0);
	alloc_bed_client_close(bed, 1);
}

static void released_memory_is_kept_until_the_session_ends(void **state)
{
	alloc_bed_run(NULL, keep_body);
}

/* --- extension ---------------------------------------------------------------------------------- */

static void extend_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory;
	uint64_t value = 3;

	alloc_bed_client(bed, 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 64, 2 * MS, &memory), 0);
	assert_int_equal(ptn_memory_write(memory, 0, &value, 8), 0);
	for (int i = 0; i < 40; i++) {
		alloc_bed_pass(bed, MS / 2);
		assert_int_equal(ptn_memory_extend(memory, 2 * MS), 0);
		assert_true(ptn_memory_remaining_ns(memory) >= 2 * MS - 2 * MS / 8 - 50000);
		assert_int_equal(ptn_memory_read(memory, 0, &value, 8), 0);
		assert_int_equal(value, 3);
	}
	assert_int_equal(ptn_memory_extend(memory, UINT64_MAX / 2), PTN_E_LEASE_LIMIT);
	assert_int_equal(ptn_memory_read(memory, 0, &value, 8), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_client_close(bed, 0);
}

static void extension_prolongs(void **state)
{
	alloc_bed_run(NULL, extend_body);
}

/*
 * Extending ever later, up to and past the end: each says yes and holds, or no and the memory is gone.
 * Never yes with the memory freed under it, never no with the memory held on to.
 */
static void race_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory;
	int yes = 0, no = 0;

	alloc_bed_client(bed, 0);
	for (uint64_t wait_ns = 850000; wait_ns < 1100000; wait_ns += 5000) {
		uint64_t value = 0x1122334455667788;
		int ret;

		assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 64, MS, &memory), 0);
		assert_int_equal(ptn_memory_write(memory, 0, &value, 8), 0);
		for (uint64_t end_ns = bed->now_ns + wait_ns - 10000; bed->now_ns < end_ns;)
			ptni_fiber_suspend();
		ret = ptn_memory_extend(memory, 3 * MS);
		if (!ret) {
			yes++;
			alloc_bed_pass(bed, 2 * MS);
			assert_int_equal(ptn_memory_read(memory, 0, &value, 8), 0);
			assert_true(value == 0x1122334455667788);
		} else {
			no++;
			assert_int_equal(ret, PTN_E_LEASE_EXPIRED);
			alloc_bed_pass(bed, 20 * MS);
			assert_int_equal(used(bed), 0);
		}
		assert_int_equal(ptn_memory_free(memory), 0);
		alloc_bed_pass(bed, 10 * MS);
	}
	assert_true(yes && no);
	alloc_bed_client_close(bed, 0);
}

static void extension_race_has_one_winner(void **state)
{
	alloc_bed_run(NULL, race_body);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void full_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory[4], *big;

	alloc_bed_client(bed, 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 4 << 20, 900 * MS, &memory[i]),
				 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 1, MS, &big), -ENOMEM);
	for (int i = 0; i < 4; i++)
		assert_int_equal(ptn_memory_free(memory[i]), 0);
	/* all of it again, longer than any extent: waits until it has been zeroed */
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 16 << 20, 900 * MS, &big), 0);
	assert_int_equal(ptn_memory_free(big), 0);
	alloc_bed_pass(bed, 100 * MS);
	assert_int_equal(used(bed), 0);
	alloc_bed_client_close(bed, 0);
}

static void full_node_says_so_and_recovers(void **state)
{
	alloc_bed_run(NULL, full_body);
}

static void quota_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *more;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 700 << 10, 900 * MS, &memory), 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 700 << 10, 900 * MS, &more), -EDQUOT);
	assert_int_equal(ptn_memory_alloc(bed->worker[1], 0, 700 << 10, 900 * MS, &more), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 700 << 10, 900 * MS, &memory), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	assert_int_equal(ptn_memory_free(more), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void quota_is_per_session(void **state)
{
	struct ptn_node_options options = { .session_bytes_max = 1 << 20 };

	alloc_bed_run(&options, quota_body);
}

static void secret_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *other, *mine;
	struct ptn_address address, wrong;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 4096, 900 * MS, &memory), 0);
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 4096, 900 * MS, &other), 0);
	address = ptn_memory_address(memory);
	assert_true(address.secret != ptn_memory_address(other).secret);
	wrong = address;
	wrong.secret = 0;
	assert_int_equal(ptn_memory_acquire(bed->worker[1], wrong, 64, PTN_READ, MS, &mine),
			 -ENOENT);
	wrong.secret = address.secret ^ 1;
	assert_int_equal(ptn_memory_acquire(bed->worker[1], wrong, 64, PTN_READ, MS, &mine),
			 -ENOENT);
	wrong = address;
	wrong.addr = ptn_memory_address(other).addr;
	assert_int_equal(ptn_memory_acquire(bed->worker[1], wrong, 64, PTN_READ, MS, &mine),
			 -ENOENT);
	/* a part of it, and what was acquired can be told on */
	address.addr += 8;
	assert_int_equal(ptn_memory_acquire(bed->worker[1], address, 64, PTN_READ, 900 * MS, &mine),
			 0);
	assert_true(ptn_memory_address(mine).secret == address.secret);
	assert_int_equal(ptn_memory_release(mine), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	assert_int_equal(ptn_memory_free(other), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void address__is_worth_nothing_without_its_secret(void **state)
{
	alloc_bed_run(NULL, secret_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_read_and_written_one_sidedly),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(rights_are_exact_and_end_with_the_memory),
		cmocka_unit_test(expiry_frees_and_the_right_is_gone),
		cmocka_unit_test(freed_memory_cannot_be_reached),
		cmocka_unit_test(released_memory_is_kept_until_the_session_ends),
		cmocka_unit_test(extension_prolongs),
		cmocka_unit_test(extension_race_has_one_winner),
		cmocka_unit_test(full_node_says_so_and_recovers),
		cmocka_unit_test(quota_is_per_session),
		cmocka_unit_test(address__is_worth_nothing_without_its_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
