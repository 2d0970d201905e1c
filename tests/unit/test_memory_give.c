/* SPDX-License-Identifier: MIT */
/* Hand-over: one owner at a time, and who dies when. The numbers are those of alloc/service_offer.c. */
#include "tests/support/alloc_bed.h"

#include <patronus/log.h>

#define MS  ALLOC_BED_MS
#define ALL (PTN_READ | PTN_WRITE | PTN_ATOMIC)

static uint64_t used(struct alloc_bed *bed)
{
	return alloc_bed_info(bed).memory_used_bytes;
}

static struct ptn_memory *allocate(struct alloc_bed *bed, int i, uint64_t value)
{
	struct ptn_memory *memory;

	assert_int_equal(ptn_memory_alloc(bed->worker[i], 0, 64 << 10, 900 * MS, &memory), 0);
	assert_int_equal(ptn_memory_write(memory, 8, &value, 8), 0);
	return memory;
}

static void expect(struct ptn_memory *memory, uint64_t value)
{
	uint64_t found = 0;

	assert_int_equal(ptn_memory_read(memory, 8, &found, 8), 0);
	assert_true(found == value);
}

static uint64_t session_bytes(struct alloc_bed *bed, int i)
{
	struct ptn_session_info info[4];

	assert_true(ptn_node_sessions(bed->node, info, 4) > i);
	return info[i].bytes;
}

static struct ptn_counters counted(struct alloc_bed *bed, int i)
{
	struct ptn_counters counters;

	ptn_worker_counters(bed->worker[i], &counters);
	return counters;
}

/* Everything that has to do with leases is counted where a user looks for it. */
static void counted_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *mine;
	struct ptn_address address;
	struct ptn_ticket ticket;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	memory = allocate(bed, 0, 1);
	address = ptn_memory_address(memory);
	assert_int_equal(counted(bed, 0).lease_grants, 1);
	assert_int_equal(ptn_memory_give(memory, 500 * MS, &ticket), 0);
	assert_int_equal(counted(bed, 0).lease_handovers, 1);
	assert_int_equal(counted(bed, 1).rpc_refused, 0);
	assert_int_equal(ptn_memory_acquire(bed->worker[1], address, 64, PTN_READ, 900 * MS, &mine),
			 PTN_E_LEASE_CONFLICT);
	assert_int_equal(counted(bed, 1).lease_conflicts, 1);
	assert_int_equal(counted(bed, 1).rpc_refused, 1);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 400 * MS, &mine), 0);
	assert_int_equal(counted(bed, 1).lease_grants, 1);
	assert_int_equal(ptn_memory_free(mine), 0);
	assert_int_equal(counted(bed, 1).lease_releases, 1);
	assert_true(counted(bed, 1).verbs_recv > 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void leases__are_counted(void **state)
{
	alloc_bed_run(NULL, counted_body);
}

static void over_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *reader, *mine;
	struct ptn_address address;
	struct ptn_ticket ticket, wrong;
	uint64_t value = 2;

	for (int i = 0; i < 3; i++)
		alloc_bed_client(bed, i);
	memory = allocate(bed, 0, 1);
	address = ptn_memory_address(memory);
	assert_int_equal(
		ptn_memory_acquire(bed->worker[2], address, 64, PTN_READ, 900 * MS, &reader), 0);
	assert_int_equal(ptn_memory_give(memory, 500 * MS, &ticket), 0);
	/* 1. nobody's now: not the giver's, not of who had acquired it */
	assert_int_equal(alloc_bed_info(bed).windows, 0);
	assert_int_equal(ptn_memory_read(reader, 8, &value, 8), PTN_E_LEASE_REVOKED);
	assert_int_equal(ptn_memory_release(reader), 0);
	assert_int_equal(ptn_memory_acquire(bed->worker[0], address, 64, ALL, MS, &mine),
			 PTN_E_LEASE_CONFLICT);
	assert_int_equal(session_bytes(bed, 0), 64 << 10);
	/* all four words count */
	for (int i = 0; i < 4; i++) {
		wrong = ticket;
		wrong.word[i] ^= UINT64_C(1) << (i ? 63 : 13);
		assert_int_equal(ptn_memory_claim(bed->worker[2], &wrong, MS, &mine), -ENOENT);
	}
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 1, &mine), -EINVAL);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 400 * MS, &mine), 0);
	expect(mine, 1);
	value = 3;
	assert_int_equal(ptn_memory_write(mine, 8, &value, 8), 0);
	assert_int_equal(session_bytes(bed, 0), 0);
	assert_int_equal(session_bytes(bed, 1), 64 << 10);
	/* 2. once */
	assert_int_equal(ptn_memory_claim(bed->worker[2], &ticket, MS, &reader), -ENOENT);
	/* 3. the giver's end is none of its business any more, nor is that of the offer's term */
	alloc_bed_client_close(bed, 0);
	alloc_bed_pass(bed, 100 * MS);
	assert_int_equal(ptn_memory_extend(mine, 900 * MS), 0);
	alloc_bed_pass(bed, 500 * MS);
	expect(mine, 3);
	assert_int_equal(ptn_memory_free(mine), 0);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	alloc_bed_client_close(bed, 2);
	alloc_bed_client_close(bed, 1);
}

static void give__makes_it_nobodys_and_claim_the_receivers(void **state)
{
	alloc_bed_run(NULL, over_body);
}

static void on_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory;
	struct ptn_ticket ticket;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	memory = allocate(bed, 0, 9);
	for (int i = 0; i < 20; i++) { /* to and fro */
		assert_int_equal(ptn_memory_give(memory, 100 * MS, &ticket), 0);
		assert_int_equal(
			ptn_memory_claim(bed->worker[!(i & 1)], &ticket, 900 * MS, &memory), 0);
		expect(memory, 9);
	}
	/* to oneself */
	assert_int_equal(ptn_memory_give(memory, 100 * MS, &ticket), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[0], &ticket, 900 * MS, &memory), 0);
	expect(memory, 9);
	assert_int_equal(session_bytes(bed, 0), 64 << 10);
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(alloc_bed_info(bed).leases, 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void give__can_go_on_and_on(void **state)
{
	alloc_bed_run(NULL, on_body);
}

static void refused_body(struct alloc_bed *bed)
{
	struct ptn_memory *memory, *big, *other;
	struct ptn_ticket ticket;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	memory = allocate(bed, 0, 4);
	assert_int_equal(ptn_memory_give(memory, 1, &ticket), -EINVAL);
	assert_int_equal(ptn_memory_give(memory, 0, &ticket), -EINVAL);
	expect(memory, 4); /* as before */
	assert_int_equal(ptn_memory_acquire(bed->worker[1], ptn_memory_address(memory), 64, ALL,
					    900 * MS, &other),
			 0);
	assert_int_equal(ptn_memory_give(other, 100 * MS, &ticket), -EPERM);
	expect(other, 4);
	/* a receiver without room leaves the offer as it was */
	assert_int_equal(ptn_memory_alloc(bed->worker[1], 0, 100 << 10, 900 * MS, &big), 0);
	assert_int_equal(ptn_memory_give(memory, 100 * MS, &ticket), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 900 * MS, &memory), -EDQUOT);
	assert_int_equal(ptn_memory_free(big), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 900 * MS, &memory), 0);
	expect(memory, 4);
	assert_int_equal(ptn_memory_release(other), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void give__that_is_refused_changes_nothing(void **state)
{
	struct ptn_node_options options = { .session_bytes_max = 128 << 10 };

	alloc_bed_run(&options, refused_body);
}

/* --- taking it back -------------------------------------------------------------------------------- */

struct back {
	struct alloc_bed *bed;
	struct ptn_worker *second; /* of client 0 */
	struct ptn_memory *memory, *mine, *claimed;
	struct ptn_ticket ticket;
	int freed, given, taken;
};

/* Client 0 has the memory twice. */
static void back_open(struct back *back)
{
	back->memory = allocate(back->bed, 0, 4);
	assert_int_equal(ptn_memory_acquire(back->second, ptn_memory_address(back->memory), 64, ALL,
					    900 * MS, &back->mine),
			 0);
}

static void back_free(void *arg)
{
	struct back *back = arg;

	back->freed = ptn_memory_free(back->mine);
}

static void back_give(void *arg)
{
	struct back *back = arg;

	back->given = ptn_memory_give(back->memory, 500 * MS, &back->ticket);
}

static void back_claim(void *arg)
{
	struct back *back = arg;

	back->taken =
		ptn_memory_claim(back->bed->worker[1], &back->ticket, 500 * MS, &back->claimed);
}

/* Both to their ends, the second one so many turns after the first. */
static void both(struct back *back, void (*first)(void *), void (*second)(void *), int turns)
{
	struct ptni_fiber *a, *b;
	bool more = true, going = true;

	assert_int_equal(ptni_fiber_create(back->bed->pool, first, back, &a), 0);
	assert_int_equal(ptni_fiber_create(back->bed->pool, second, back, &b), 0);
	for (int i = 0; more || going; i++) {
		if (more)
			more = ptni_fiber_resume(a);
		if (going && i >= turns)
			going = ptni_fiber_resume(b);
		ptni_fiber_suspend();
	}
}

static void back_free_body(struct alloc_bed *bed)
{
	struct back back = { .bed = bed };

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_worker_open(bed->client[0], &back.second), 0);
	/* freed, then claimed */
	back_open(&back);
	back_give(&back);
	assert_int_equal(back.given, 0);
	back_free(&back);
	assert_int_equal(back.freed, 0);
	back_claim(&back);
	assert_int_equal(back.taken, -ENOENT);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(session_bytes(bed, 0), 0);
	/* claimed, then freed */
	back_open(&back);
	back_give(&back);
	back_claim(&back);
	assert_int_equal(back.taken, 0);
	back_free(&back);
	assert_int_equal(back.freed, -EPERM);
	expect(back.claimed, 4);
	assert_int_equal(ptn_memory_free(back.claimed), 0);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	ptn_worker_close(back.second);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

/* 3. Whoever comes first. */
static void offer__can_be_taken_back_until_it_is_claimed(void **state)
{
	alloc_bed_run(NULL, back_free_body);
}

static void back_race_body(struct alloc_bed *bed)
{
	struct back back = { .bed = bed };
	int freed = 0, claimed = 0;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_worker_open(bed->client[0], &back.second), 0);
	for (int turns = -12; turns < 12; turns++) {
		back_open(&back);
		back_give(&back);
		assert_int_equal(back.given, 0);
		if (turns < 0)
			both(&back, back_free, back_claim, -turns);
		else
			both(&back, back_claim, back_free, turns);
		assert_true(back.freed ? back.freed == -EPERM && !back.taken :
					 back.taken == -ENOENT);
		freed += !back.freed;
		claimed += !back.taken;
		if (!back.taken) {
			expect(back.claimed, 4);
			assert_int_equal(ptn_memory_free(back.claimed), 0);
		}
		alloc_bed_pass(bed, 10 * MS);
		assert_int_equal(used(bed), 0);
		assert_int_equal(alloc_bed_info(bed).leases, 0);
	}
	assert_true(freed && claimed);
	ptn_worker_close(back.second);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void offer__is_freed_or_claimed_when_both_are_under_way(void **state)
{
	alloc_bed_run(NULL, back_race_body);
}

static void back_giving_body(struct alloc_bed *bed)
{
	struct back back = { .bed = bed };

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_worker_open(bed->client[0], &back.second), 0);
	for (int turns = -12; turns < 12; turns++) {
		back_open(&back);
		if (turns < 0)
			both(&back, back_free, back_give, -turns);
		else
			both(&back, back_give, back_free, turns);
		assert_int_equal(back.freed, 0);
		if (back.given) {
			assert_int_equal(back.given, -ENOENT);
			assert_int_equal(ptn_memory_release(back.memory), 0);
		} else {
			back_claim(&back);
			assert_int_equal(back.taken, -ENOENT);
		}
		alloc_bed_pass(bed, 10 * MS);
		assert_int_equal(used(bed), 0);
		assert_int_equal(alloc_bed_info(bed).leases, 0);
	}
	ptn_worker_close(back.second);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void memory__freed_while_it_is_being_given_is_not_there(void **state)
{
	alloc_bed_run(NULL, back_giving_body);
}

/* --- deaths --------------------------------------------------------------------------------------- */

static void term_body(struct alloc_bed *bed)
{
	struct ptn_ticket ticket;
	struct ptn_memory *memory;

	alloc_bed_client(bed, 0);
	assert_int_equal(ptn_memory_give(allocate(bed, 0, 4), 5 * MS, &ticket), 0);
	alloc_bed_pass(bed, 4 * MS);
	assert_int_not_equal(used(bed), 0);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[0], &ticket, MS, &memory), -ENOENT);
	assert_int_equal(session_bytes(bed, 0), 0);
	alloc_bed_client_close(bed, 0);
}

static void offer__that_nobody_takes_is_freed_in_time(void **state)
{
	alloc_bed_run(NULL, term_body);
}

static void giver_body(struct alloc_bed *bed)
{
	struct ptn_ticket ticket;
	struct ptn_memory *memory;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_memory_give(allocate(bed, 0, 4), 900 * MS, &ticket), 0);
	alloc_bed_fence(bed, 0);
	alloc_bed_pass(bed, 20 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, MS, &memory), -ENOENT);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void offer__ends_with_its_givers_session(void **state)
{
	alloc_bed_run(NULL, giver_body);
}

static void receiver_body(struct alloc_bed *bed)
{
	struct ptn_ticket ticket;
	struct ptn_memory *memory;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	/* its session ends */
	assert_int_equal(ptn_memory_give(allocate(bed, 0, 4), 900 * MS, &ticket), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 900 * MS, &memory), 0);
	alloc_bed_fence(bed, 1);
	alloc_bed_pass(bed, 20 * MS);
	assert_int_equal(used(bed), 0);
	assert_true(ptn_memory_free(memory) < 0);
	alloc_bed_client_close(bed, 1);
	/* it forgets */
	alloc_bed_client(bed, 1);
	assert_int_equal(ptn_memory_give(allocate(bed, 0, 4), 900 * MS, &ticket), 0);
	assert_int_equal(ptn_memory_claim(bed->worker[1], &ticket, 5 * MS, &memory), 0);
	alloc_bed_pass(bed, 30 * MS);
	assert_int_equal(used(bed), 0);
	assert_int_equal(ptn_memory_free(memory), 0);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void claim__makes_it_live_and_die_with_the_receiver(void **state)
{
	alloc_bed_run(NULL, receiver_body);
}

/* The two sides of one hand-over that is cut off by a death after each step of the node. */
enum {
	CUTS = 60
};

static void cut_give(void *arg)
{
	struct alloc_bed *bed = arg;
	struct ptn_ticket ticket;
	struct ptn_memory *memory, *claimed;

	if (ptn_memory_alloc(bed->worker[0], 0, 4096, 900 * MS, &memory))
		return;
	if (ptn_memory_give(memory, 500 * MS, &ticket)) {
		(void)ptn_memory_release(memory);
		return;
	}
	if (!ptn_memory_claim(bed->worker[1], &ticket, 500 * MS, &claimed))
		(void)ptn_memory_release(claimed);
}

static void cut_body(struct alloc_bed *bed)
{
	for (int victim = 0; victim < 2; victim++)
		for (int cut = 0; cut < CUTS; cut++) {
			struct ptni_fiber *fiber;
			int step = 0;

			alloc_bed_client(bed, 0);
			alloc_bed_client(bed, 1);
			assert_int_equal(ptni_fiber_create(bed->pool, cut_give, bed, &fiber), 0);
			while (ptni_fiber_resume(fiber)) {
				if (step++ == cut)
					alloc_bed_fence(bed, victim);
				ptni_fiber_suspend();
			}
			alloc_bed_client_close(bed, 0);
			alloc_bed_client_close(bed, 1);
			alloc_bed_pass(bed, 20 * MS);
			assert_int_equal(used(bed), 0);
			assert_int_equal(alloc_bed_info(bed).windows, 0);
			assert_int_equal(alloc_bed_info(bed).leases, 0);
			assert_int_equal(alloc_bed_info(bed).sessions, 0);
		}
}

static void hand_over__leaves_nothing_behind_whoever_dies_when(void **state)
{
	alloc_bed_run(NULL, cut_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(give__makes_it_nobodys_and_claim_the_receivers),
		cmocka_unit_test(leases__are_counted),
		cmocka_unit_test(give__can_go_on_and_on),
		cmocka_unit_test(give__that_is_refused_changes_nothing),
		cmocka_unit_test(offer__can_be_taken_back_until_it_is_claimed),
		cmocka_unit_test(offer__is_freed_or_claimed_when_both_are_under_way),
		cmocka_unit_test(memory__freed_while_it_is_being_given_is_not_there),
		cmocka_unit_test(offer__that_nobody_takes_is_freed_in_time),
		cmocka_unit_test(offer__ends_with_its_givers_session),
		cmocka_unit_test(claim__makes_it_live_and_die_with_the_receiver),
		cmocka_unit_test(hand_over__leaves_nothing_behind_whoever_dies_when),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
