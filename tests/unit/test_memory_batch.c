/* SPDX-License-Identifier: MIT */
/* Batches on leased memory, waited for and submitted. */
#include "core/client.h"
#include "tests/support/alloc_bed.h"

#include <patronus/batch.h>
#include <patronus/log.h>
#include <poll.h>

#define MS  ALLOC_BED_MS
#define ALL (PTN_READ | PTN_WRITE | PTN_ATOMIC)

static struct ptn_memory *allocate(struct alloc_bed *bed, int i)
{
	struct ptn_memory *memory;

	assert_int_equal(ptn_memory_alloc(bed->worker[i], 0, 64 << 10, 900 * MS, &memory), 0);
	return memory;
}

static struct ptn_counters counters(struct alloc_bed *bed, int i)
{
	struct ptn_counters counters;

	ptn_worker_counters(bed->worker[i], &counters);
	return counters;
}

/* --- waited for ----------------------------------------------------------------------------------- */

static void order_body(struct alloc_bed *bed)
{
	uint64_t block[2] = { 11, 22 }, seen[2] = { 0 };
	struct ptn_counters before;
	struct ptn_memory *memory, *other;

	alloc_bed_client(bed, 0);
	memory = allocate(bed, 0);
	other = allocate(bed, 0);
	{
		struct ptn_memory_op ops[] = {
			{ memory, PTN_VERB_WRITE, -1, 64, block, 16, 0, 0, 99 },
			{ memory, PTN_VERB_READ, -1, 64, seen, 16, 0, 0, 99 },
			{ memory, PTN_VERB_CAS, -1, 0, NULL, 0, 0, 64, 99 },
			{ memory, PTN_VERB_CAS, -1, 0, NULL, 0, 0, 65, 99 },
			{ memory, PTN_VERB_FAA, -1, 0, NULL, 0, 0, 3, 99 },
			{ other, PTN_VERB_FAA, -1, 8, NULL, 0, 0, 3, 99 },
		};

		before = counters(bed, 0);
		assert_int_equal(ptn_memory_batch(bed->worker[0], ops, 6), 0);
		assert_int_equal(counters(bed, 0).doorbells - before.doorbells, 1);
		assert_int_equal(counters(bed, 0).round_trips - before.round_trips, 1);
		for (int i = 0; i < 6; i++)
			assert_int_equal(ops[i].status, 0);
		assert_memory_equal(seen, block, 16);
		assert_int_equal(ops[0].old, 99); /* not for writes */
		assert_int_equal(ops[2].old, 0);
		assert_int_equal(ops[3].old, 64); /* lost to the one before */
		assert_int_equal(ops[4].old, 64);
		assert_int_equal(ops[5].old, 0);
	}
	assert_int_equal(ptn_memory_free(memory), 0);
	assert_int_equal(ptn_memory_free(other), 0);
	alloc_bed_client_close(bed, 0);
}

static void batch__is_one_doorbell_in_order(void **state)
{
	alloc_bed_run(NULL, order_body);
}

static void nonsense_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *readable, *foreign;
	static uint8_t bytes[PTN_BATCH_BYTES];
	struct ptn_memory_op good, ops[PTN_BATCH_MAX + 1];
	struct ptn_worker *worker;
	uint64_t found = 1;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	worker = bed->worker[0];
	memory = allocate(bed, 0);
	foreign = allocate(bed, 1);
	assert_int_equal(ptn_memory_acquire(worker, ptn_memory_address(foreign), 4096, PTN_READ,
					    900 * MS, &readable),
			 0);
	good = (struct ptn_memory_op){ memory, PTN_VERB_WRITE, 0, 0, bytes, 8, 0, 0, 0 };
	bytes[0] = 7;
	for (int i = 0; i <= PTN_BATCH_MAX; i++)
		ops[i] = good;
	assert_int_equal(ptn_memory_batch(worker, ops, 0), -EINVAL);
	assert_int_equal(ptn_memory_batch(worker, ops, PTN_BATCH_MAX + 1), -EINVAL);
	assert_int_equal(ptn_memory_batch(NULL, ops, 1), -EINVAL);
	assert_int_equal(ptn_memory_batch(worker, NULL, 1), -EINVAL);
#define WRONG(code, ...)                                                      \
	do {                                                                  \
		ops[1] = (struct ptn_memory_op){ __VA_ARGS__ };               \
		assert_int_equal(ptn_memory_batch(worker, ops, 2), code);     \
		assert_int_equal(ops[0].status, code);                        \
		assert_int_equal(ops[1].status, code);                        \
		assert_int_equal(ptn_memory_submit(worker, ops, 2, 1), code); \
	} while (0)
	WRONG(-EINVAL, NULL, PTN_VERB_READ, 0, 0, bytes, 8, 0, 0, 0);
	WRONG(-EINVAL, foreign, PTN_VERB_READ, 0, 0, bytes, 8, 0, 0, 0);
	WRONG(-EINVAL, memory, 0, 0, 0, bytes, 8, 0, 0, 0);
	WRONG(-EINVAL, memory, 5, 0, 0, bytes, 8, 0, 0, 0);
	WRONG(-EINVAL, memory, PTN_VERB_READ, 0, 0, NULL, 8, 0, 0, 0);
	WRONG(-EINVAL, memory, PTN_VERB_READ, 0, 0, bytes, 0, 0, 0, 0);
	WRONG(-EINVAL, memory, PTN_VERB_CAS, 0, 4, NULL, 0, 0, 0, 0);
	WRONG(-ERANGE, memory, PTN_VERB_FAA, 0, 64 << 10, NULL, 0, 0, 0, 0);
	WRONG(-ERANGE, memory, PTN_VERB_READ, 0, UINT64_MAX, bytes, 8, 0, 0, 0);
	WRONG(-EACCES, readable, PTN_VERB_WRITE, 0, 0, bytes, 8, 0, 0, 0);
	WRONG(-EACCES, readable, PTN_VERB_FAA, 0, 0, NULL, 0, 0, 0, 0);
	WRONG(-E2BIG, memory, PTN_VERB_READ, 0, 0, bytes, PTN_BATCH_BYTES, 0, 0, 0);
	assert_int_equal(ptn_memory_read(memory, 0, &found, 8), 0);
	assert_int_equal(found, 0); /* nothing was tried */
	assert_int_equal(ptn_memory_poll(worker, NULL, 0), 0);
	/* as much as may be */
	ops[1] = (struct ptn_memory_op){ memory, PTN_VERB_READ,        0, 0,
					 bytes,  PTN_BATCH_BYTES - 16, 0, 0,
					 0 };
	assert_int_equal(ptn_memory_batch(worker, ops, 2), 0);
	assert_int_equal(bytes[0], 7);
	for (int i = 0; i < PTN_BATCH_MAX; i++)
		ops[i] = good;
	assert_int_equal(ptn_memory_batch(worker, ops, PTN_BATCH_MAX), 0);
	assert_int_equal(ptn_memory_release(readable), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	assert_int_equal(ptn_memory_free(foreign), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void batch__of_nonsense_is_refused_whole(void **state)
{
	alloc_bed_run(NULL, nonsense_body);
}

static void part_body(struct alloc_bed *bed)
{
	uint64_t one = 1, two = 2, found;
	struct ptn_memory *mine, *lent, *borrowed;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	mine = allocate(bed, 0);
	lent = allocate(bed, 1);
	assert_int_equal(ptn_memory_acquire(bed->worker[0], ptn_memory_address(lent), 4096, ALL,
					    900 * MS, &borrowed),
			 0);
	assert_int_equal(ptn_memory_free(lent), 0); /* the borrower has not heard yet */
	{
		struct ptn_memory_op ops[] = {
			{ mine, PTN_VERB_WRITE, -1, 0, &one, 8, 0, 0, 0 },
			{ borrowed, PTN_VERB_WRITE, -1, 0, &one, 8, 0, 0, 0 },
			{ mine, PTN_VERB_WRITE, -1, 0, &two, 8, 0, 0, 0 },
		};

		assert_int_equal(ptn_memory_batch(bed->worker[0], ops, 3), PTN_E_LEASE_REVOKED);
		assert_int_equal(ops[0].status, 0);
		assert_int_equal(ops[1].status, PTN_E_LEASE_REVOKED);
		assert_int_equal(ops[2].status, PTN_E_LEASE_REVOKED);
	}
	assert_int_equal(ptn_memory_read(mine, 0, &found, 8), 0);
	assert_int_equal(found, 1);
	assert_int_equal(ptn_memory_release(borrowed), 0);
	assert_int_equal(ptn_memory_free(mine), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void batch__that_fails_tells_how_far_it_got(void **state)
{
	alloc_bed_run(NULL, part_body);
}

/* --- submitted -------------------------------------------------------------------------------------- */

static bool held;
static int (*real_poll)(struct ibv_cq *cq, int count, struct ibv_wc *wc);

static int holding_poll(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	return held ? 0 : real_poll(cq, count, wc);
}

/* Completions of client i are held back while `held`. */
static void completions_hold(struct alloc_bed *bed, int i)
{
	struct ibv_context *context = bed->client[i]->fabric->context;

	real_poll = context->ops.poll_cq;
	context->ops.poll_cq = holding_poll;
	held = true;
}

static void submit_body(struct alloc_bed *bed)
{
	struct ptn_memory_op ops[PTN_SUBMIT_MAX + 1][2];
	uint64_t values[PTN_SUBMIT_MAX + 1], word;
	struct ptn_completion completions[20];
	bool told[PTN_SUBMIT_MAX] = { false };
	struct ptn_counters before;
	struct ptn_memory *memory;
	int count = 0, got;

	alloc_bed_client(bed, 0);
	memory = allocate(bed, 0);
	assert_int_equal(ptn_memory_poll(bed->worker[0], completions, 20), 0);
	before = counters(bed, 0);
	completions_hold(bed, 0);
	for (uint64_t i = 0; i <= PTN_SUBMIT_MAX; i++) {
		values[i] = 1000 + i;
		ops[i][0] = (struct ptn_memory_op){
			memory, PTN_VERB_WRITE, -1, 64 + 8 * i, &values[i], 8, 0, 0, 0
		};
		ops[i][1] =
			(struct ptn_memory_op){ memory, PTN_VERB_FAA, -1, 0, NULL, 0, 0, 1, 99 };
		assert_int_equal(ptn_memory_submit(bed->worker[0], ops[i], 2, 7000 + i),
				 i == PTN_SUBMIT_MAX ? PTN_E_BUSY : 0);
	}
	/* all of them are on the wire, one doorbell each */
	assert_int_equal(counters(bed, 0).doorbells - before.doorbells, PTN_SUBMIT_MAX);
	assert_int_equal(ptn_memory_poll(bed->worker[0], completions, 20), 0);
	held = false;
	/* synchronous calls go on beside them */
	assert_int_equal(ptn_memory_read(memory, 64 + 8 * 40, &word, 8), 0);
	assert_int_equal(word, 1040);
	while ((got = ptn_memory_poll(bed->worker[0], completions, 20)) > 0) {
		for (int i = 0; i < got; i++) {
			uint64_t number = completions[i].user_data - 7000;

			assert_true(number < PTN_SUBMIT_MAX && !told[number]);
			told[number] = true;
			assert_int_equal(completions[i].status, 0);
			assert_ptr_equal(completions[i].ops, ops[number]);
			assert_int_equal(completions[i].count, 2);
			assert_int_equal(ops[number][1].status, 0);
			assert_int_equal(ops[number][1].old, number); /* in order on one lane */
		}
		count += got;
	}
	assert_int_equal(count, PTN_SUBMIT_MAX);
	assert_int_equal(ptn_memory_read(memory, 0, &word, 8), 0);
	assert_int_equal(word, PTN_SUBMIT_MAX);
	/* there is room again */
	assert_int_equal(ptn_memory_submit(bed->worker[0], ops[0], 2, 1), 0);
	while (!ptn_memory_poll(bed->worker[0], completions, 20))
		;
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_client_close(bed, 0);
}

static void submitted__batches_are_each_told_once(void **state)
{
	alloc_bed_run(NULL, submit_body);
}

static void late_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory;
	struct ptn_completion completion;
	struct ptn_memory_op op;
	uint64_t value = 5, epoch;

	alloc_bed_client(bed, 0);
	memory = allocate(bed, 0);
	completions_hold(bed, 0);
	held = false;
	op = (struct ptn_memory_op){ memory, PTN_VERB_WRITE, -1, 0, &value, 8, 0, 0, 0 };
	/* 2. The program polls ten terms late: its session lives. */
	held = true;
	assert_int_equal(ptn_memory_submit(bed->worker[0], &op, 1, 1), 0);
	held = false;
	epoch = alloc_bed_info(bed).epoch;
	for (int i = 0; i < 40; i++) {
		ptni_client_want_epoch(bed->client[0], 0, 1 << 20); /* somebody has garbage */
		alloc_bed_pass(bed, 20 * MS);
		assert_int_equal(ptn_memory_extend(memory, 500 * MS), 0);
	}
	assert_int_equal(alloc_bed_info(bed).fences, 0);
	assert_true(alloc_bed_info(bed).epoch > epoch + 2);
	while (!ptn_memory_poll(bed->worker[0], &completion, 1))
		ptni_fiber_suspend();
	assert_int_equal(completion.status, 0);
	/* 3. The worker closes over one that is under way. */
	held = true;
	assert_int_equal(ptn_memory_submit(bed->worker[0], &op, 1, 2), 0);
	held = false;
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_client_close(bed, 0);
	alloc_bed_pass(bed, 20 * MS);
	assert_int_equal(alloc_bed_info(bed).memory_used_bytes, 0);
}

static void submitted__batch_may_be_polled_late_or_never(void **state)
{
	struct ptn_node_options options = { .term_ns = 80 * MS, .memory_bytes = 16 << 20 };

	alloc_bed_run(&options, late_body);
}

static void broken_body(struct alloc_bed *bed)
{
	enum {
		N = 8
	};
	struct ptn_memory *mine, *lent, *borrowed;
	struct ptn_memory_op ops[N];
	struct ptn_completion completions[N];
	uint64_t old;
	int count = 0;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	mine = allocate(bed, 0);
	lent = allocate(bed, 1);
	assert_int_equal(ptn_memory_acquire(bed->worker[0], ptn_memory_address(lent), 4096, ALL,
					    900 * MS, &borrowed),
			 0);
	assert_int_equal(ptn_memory_free(lent), 0);
	completions_hold(bed, 0);
	for (int i = 0; i < N; i++) {
		ops[i] = (struct ptn_memory_op){
			i == 3 ? borrowed : mine, PTN_VERB_FAA, -1, 0, NULL, 0, 0, 1, 99
		};
		assert_int_equal(ptn_memory_submit(bed->worker[0], &ops[i], 1, (uint64_t)i), 0);
	}
	held = false;
	while (count < N) {
		count += ptn_memory_poll(bed->worker[0], completions + count, (size_t)(N - count));
		ptni_fiber_suspend();
	}
	/* One was refused and broke the lane: the others were executed, once each. */
	for (int i = 0; i < N; i++)
		assert_int_equal(completions[i].status,
				 completions[i].user_data == 3 ? PTN_E_LEASE_REVOKED : 0);
	assert_int_equal(ptn_memory_faa(mine, 0, 0, &old), 0);
	assert_int_equal(old, N - 1);
	assert_int_equal(ptn_memory_release(borrowed), 0);
	assert_int_equal(ptn_memory_free(mine), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void submitted__batches_survive_a_neighbours_refusal(void **state)
{
	alloc_bed_run(NULL, broken_body);
}

/* The documented way to sleep, in real time. */
static void submitted__batches_can_be_slept_on(void **state)
{
	const char *address = "inproc:memory-batch";
	struct ptn_node_options options = { .size = sizeof(options), .memory_bytes = 4 << 20 };
	struct ptn_completion completion;
	struct ptn_memory *memory;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_node *node;
	struct ptn_memory_op op;
	struct pollfd fd = { .events = POLLIN };

	assert_int_equal(ptn_node_open(address, &options, &node), 0);
	assert_int_equal(ptn_client_open(&address, 1, NULL, &client), 0);
	assert_int_equal(ptn_worker_open(client, &worker), 0);
	assert_int_equal(ptn_memory_alloc(worker, 0, 4096, 3000 * MS, &memory), 0);
	op = (struct ptn_memory_op){ memory, PTN_VERB_FAA, -1, 0, NULL, 0, 0, 1, 99 };
	fd.fd = ptn_memory_fd(worker);
	assert_true(fd.fd >= 0);
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(ptn_memory_submit(worker, &op, 1, i), 0);
		while (!ptn_memory_poll(worker, &completion, 1))
			if (!ptn_memory_arm(worker))
				assert_true(poll(&fd, 1, 5) >= 0);
		assert_int_equal(completion.user_data, i);
		assert_int_equal(op.old, i);
		assert_int_equal(ptn_memory_fd(worker), fd.fd);
	}
	assert_int_equal(ptn_memory_poll(worker, &completion, 1), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(client), 0);
	ptn_node_close(node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch__is_one_doorbell_in_order),
		cmocka_unit_test(batch__of_nonsense_is_refused_whole),
		cmocka_unit_test(batch__that_fails_tells_how_far_it_got),
		cmocka_unit_test(submitted__batches_are_each_told_once),
		cmocka_unit_test(submitted__batch_may_be_polled_late_or_never),
		cmocka_unit_test(submitted__batches_survive_a_neighbours_refusal),
		cmocka_unit_test(submitted__batches_can_be_slept_on),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
