/* SPDX-License-Identifier: MIT */
/* Leases that the node ends before their time: guarantee 3 of core/lease.c and of core/recovery.c. */
#include "tests/support/client_steps.h"

#include <patronus/log.h>

enum {
	LEASE = 3,
	GENERATION = 9
};

/* A lease of its own over the fixture's window. */
static void lease_give(struct fixture *fixture, struct ptni_lease *lease)
{
	const struct ptni_lease_grant grant = {
		.index = LEASE, .generation = GENERATION, .unit_ns = 1000000000, .units = 2
	};

	fake_page(&fixture->node)->lease[LEASE] = ptni_lease_word(GENERATION, 2);
	ptni_lease_accept(lease, fixture->worker, 0, &grant, fixture->world.now_ns);
	fixture->window->deadline_ns = &lease->deadline_ns;
}

static void revoked_send(struct fixture *fixture, uint32_t index, uint32_t generation)
{
	struct ptni_revoked message = { .head = { .op = PTNI_OP_REVOKED,
						  .len_bytes = sizeof(message),
						  .status = PTN_E_LEASE_REVOKED },
					.index = index,
					.generation = generation };

	fake_send(&fixture->node, fixture->worker->index, fixture_active(fixture), &message,
		  sizeof(message));
	world_pass(&fixture->world, 5000);
	(void)ptni_worker_poll(fixture->worker);
}

static void lease_end(struct fixture *fixture, struct ptni_lease *lease)
{
	ptni_lease_end(lease);
	fixture->window->deadline_ns = &fixture->deadline_ns;
}

static void told_body(struct fixture *fixture)
{
	struct ptn_counters before;
	struct ptni_lease lease;
	uint64_t word;

	lease_give(fixture, &lease);
	/* of others, and nonsense */
	revoked_send(fixture, LEASE, GENERATION - 1);
	revoked_send(fixture, LEASE + 1, GENERATION);
	revoked_send(fixture, 0, GENERATION);
	revoked_send(fixture, PTNI_LEASE_WORDS, GENERATION);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	revoked_send(fixture, LEASE, GENERATION);
	before = fixture_counters(fixture);
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_REVOKED);
	assert_int_equal(cause_of(fixture).code, PTN_E_LEASE_REVOKED);
	assert_int_equal(fixture_counters(fixture).doorbells, before.doorbells);
	assert_int_equal(fixture_counters(fixture).lane_breaks, before.lane_breaks);
	lease_end(fixture, &lease);
	/* The message may overtake the one that grants. */
	lease_give(fixture, &lease);
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_REVOKED);
	lease_end(fixture, &lease);
	/* Nobody looks any more. */
	revoked_send(fixture, LEASE, GENERATION);
	assert_int_equal(word_read(fixture, 0, &word), 0);
}

/* A lease that the node said to have taken back is not used, and says so. */
static void revocation__that_was_told_costs_no_lane(void **state)
{
	fixture_run(fixture_init(), told_body);
}

static void untold_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture);
	uint64_t *leases = fake_page(&fixture->node)->lease, word;
	struct ptni_lease lease;

	/* The lease goes on: its key died on one lane only. */
	lease_give(fixture, &lease);
	fake_revoke(&fixture->node, fixture->worker->index, fixture_active(fixture),
		    fixture->window->tag);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	lanes_settle(fixture);
	assert_int_equal(fixture_counters(fixture).lane_breaks - before.lane_breaks, 1);
	/* It does not, and the message that says so was lost. */
	for (unsigned lane = 0; lane < 2; lane++)
		fake_revoke(&fixture->node, fixture->worker->index, lane, fixture->window->tag);
	leases[LEASE] |= PTNI_LEASE_CLOSED;
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_REVOKED);
	assert_int_equal(cause_of(fixture).wc_status, IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(fixture_counters(fixture).lane_breaks - before.lane_breaks, 2);
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_REVOKED);
	assert_int_equal(fixture_counters(fixture).lane_breaks - before.lane_breaks, 2);
	lease_end(fixture, &lease);
	lanes_settle(fixture);
	/* The word serves another lease by now. */
	lease_give(fixture, &lease);
	for (unsigned lane = 0; lane < 2; lane++)
		if (fixture->node.lane[fixture->worker->index][lane].mw[fixture->window->tag])
			fake_revoke(&fixture->node, fixture->worker->index, lane,
				    fixture->window->tag);
	leases[LEASE] = ptni_lease_word(GENERATION + 1, 4);
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_REVOKED);
	lease_end(fixture, &lease);
}

/* 3. Without the message the lease's word tells: one lane and one look. */
static void revocation__that_was_not_told_is_found_out(void **state)
{
	fixture_run(fixture_init(), untold_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(revocation__that_was_told_costs_no_lane),
		cmocka_unit_test(revocation__that_was_not_told_is_found_out),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
