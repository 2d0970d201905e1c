/* SPDX-License-Identifier: MIT */
/* The keeper: leases extended in time, or known to be lost; epochs reported when that may be done. */
#include "tests/support/client_steps.h"

#include <patronus/log.h>

static uint64_t lease_word(struct fixture *fixture)
{
	return fake_page(&fixture->node)->lease[0];
}

static uint64_t session_deadline(struct fixture *fixture)
{
	return atomic_load(ptni_client_session_deadline(fixture->client, 0));
}

/* --- arithmetic ---------------------------------------------------------------------------------------- */

static void deadline__is_early_by_drift_and_guard(void **state)
{
	/* 1 s at 500 ppm may be 0.5 ms short, and the last 1 ms is for what is under way. */
	assert_int_equal(ptni_deadline_ns(1000, 1000000000, 500),
			 1000 + 1000000000 - 500000 - 1000000);
	/* An eighth of a short term. */
	assert_int_equal(ptni_deadline_ns(0, 100000, 0), 100000 - 12500);
	/* No overflow for a term without end. */
	assert_true(ptni_deadline_ns(1000, UINT64_MAX, 500) > UINT64_MAX / 8);
	assert_true(ptni_deadline_ns(UINT64_MAX / 8, UINT64_MAX, 100000) < UINT64_MAX / 2);
}

/* --- session lease ---------------------------------------------------------------------------------------- */

static void extends_body(struct fixture *fixture)
{
	uint64_t hello_ns = fixture->client->session[0]->hello_ns, word;

	for (unsigned i = 0; i < 50; i++) {
		uint64_t left;

		world_pass(&fixture->world, FAKE_TERM_NS / 5);
		left = session_deadline(fixture) - fixture->world.now_ns;
		assert_in_range(left, FAKE_TERM_NS / 2, 2 * FAKE_TERM_NS);
		/* Never later than what the node counts from its own, later, start. */
		assert_true(session_deadline(fixture) <
			    hello_ns + (uint64_t)ptni_lease_word_units(lease_word(fixture)) *
					       FAKE_TERM_NS);
	}
	assert_int_equal(ptni_lease_word_generation(lease_word(fixture)), 5);
	assert_int_equal(word_read(fixture, 0, &word), 0);
}

static void lease__is_extended_for_as_long_as_it_is_kept(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->world.tick_ns = 20000;
	fixture_run(fixture, extends_body);
}

static void fine_body(struct fixture *fixture)
{
	for (unsigned i = 0; i < 50; i++) {
		world_pass(&fixture->world, FAKE_TERM_NS / 5);
		/* Eight units to a term: a dead client's lease is over after one term, not two. */
		assert_in_range(session_deadline(fixture) - fixture->world.now_ns, FAKE_TERM_NS / 3,
				FAKE_TERM_NS);
	}
}

static void lease__of_fine_units_lasts_a_term(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->world.tick_ns = 20000;
	fixture->node.welcome.term_ns = FAKE_TERM_NS / 8;
	fixture->node.welcome.term_units = 8;
	fixture_run(fixture, fine_body);
}

static void slept_body(struct fixture *fixture)
{
	struct ptni_window *table = fixture_window(
		fixture, 0, 4096, FAKE_RIGHTS, ptni_client_session_deadline(fixture->client, 0));
	uint64_t word;

	/* Ten terms without the keeper, but the node has not closed the lease. */
	fixture->window = table;
	fixture->world.keeping = false;
	fixture->world.now_ns += 10 * (uint64_t)FAKE_TERM_NS;
	assert_true(session_deadline(fixture) < fixture->world.now_ns);
	fixture->world.keeping = true;
	assert_int_equal(word_read(fixture, 0, &word), 0); /* waited for the fresh lease */
	assert_true(session_deadline(fixture) > fixture->world.now_ns);
	/* Now it has. */
	fixture->world.keeping = false;
	fixture->world.now_ns += 10 * (uint64_t)FAKE_TERM_NS;
	fake_page(&fixture->node)->lease[0] |= PTNI_LEASE_CLOSED;
	fixture->world.keeping = true;
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_SESSION_FENCED);
	assert_int_equal(session_deadline(fixture), 0);
}

static void lease__slept_through_is_fresh_or_fenced(void **state)
{
	fixture_run(fixture_init(), slept_body);
}

static void reused_body(struct fixture *fixture)
{
	uint64_t word;

	fake_page(&fixture->node)->lease[0] = ptni_lease_word(6, 1); /* serves somebody else */
	world_pass(&fixture->world, FAKE_TERM_NS);
	assert_int_equal(fake_page(&fixture->node)->lease[0], ptni_lease_word(6, 1));
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_SESSION_FENCED);
}

static void lease__of_another_generation_is_not_touched(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->world.tick_ns = 20000;
	fixture_run(fixture, reused_body);
}

static void mute_body(struct fixture *fixture)
{
	uint64_t word, before = fixture->world.now_ns;

	/* The node's end of every lane dies and it hears nothing, but its channel stays open. */
	fixture->node.deaf = true;
	for (unsigned i = 0; i < 2; i++) {
		fake_lane_cut(&fixture->node, 0, i);
		fake_lane_cut(&fixture->node, fixture->worker->index, i);
	}
	while (!ptni_session_error(fixture->client->session[0]) &&
	       fixture->world.now_ns - before < 100 * (uint64_t)FAKE_TERM_NS)
		ptni_fiber_suspend();
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_NODE_DOWN);
}

static void node__that_is_silent_for_long_is_down(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->world.tick_ns = 50000;
	fixture_run(fixture, mute_body);
}

static void manual_body(struct fixture *fixture)
{
	uint64_t next_ns, word;
	struct ptni_window *table = fixture_window(
		fixture, 0, 4096, FAKE_RIGHTS, ptni_client_session_deadline(fixture->client, 0));

	fixture->world.keeping = false;
	for (unsigned i = 0; i < 400; i++) {
		next_ns = ptn_client_keep(fixture->client);
		assert_true(next_ns <= 10000000);
		world_pass(&fixture->world, next_ns + 1);
		assert_true(session_deadline(fixture) > fixture->world.now_ns);
	}
	fixture->window = table;
	assert_int_equal(word_read(fixture, 0, &word), 0);
}

/* Called when it says, the keeper keeps. */
static void keep__by_hand_is_enough(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->world.tick_ns = 20000;
	fixture_run(fixture, manual_body);
}

static void short_body(struct fixture *fixture)
{
	struct fake_node *node = &fixture->node;

	/* Reports come well within the two short terms that the node waits for them. */
	for (uint64_t epoch = 2; epoch < 20; epoch++) {
		fake_status(node)->epoch = epoch;
		world_pass(&fixture->world, 4000000);
		assert_int_equal(fake_page(node)->report, epoch);
	}
}

static void report__keeps_up_with_short_terms(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->node.welcome.term_ns = 1000000;
	fixture->node.welcome.term_units = 4; /* 4 ms */
	fixture_run(fixture, short_body);
}

/* --- leases of their own ------------------------------------------------------------------------------------ */

static void own_body(struct fixture *fixture)
{
	struct ptni_lease_grant grant = {
		.index = 3, .generation = 9, .unit_ns = 100000, .units = 2
	};
	uint64_t *word = &fake_page(&fixture->node)->lease[3], sent = fixture->world.now_ns;
	struct ptn_counters before;
	struct ptni_lease lease;
	struct ptni_op op;

	*word = ptni_lease_word(9, 2);
	ptni_lease_accept(&lease, fixture->worker, 0, &grant, sent);
	assert_int_equal(lease.deadline_ns, ptni_deadline_ns(sent, 200000, 500));
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	before = fixture_counters(fixture);
	assert_int_equal(ptni_lease_extend(&op, &lease, 100000), 0); /* there is as much already */
	assert_int_equal(fixture_counters(fixture).doorbells, before.doorbells);
	assert_int_equal(ptni_lease_extend(&op, &lease, 1000000), 0);
	assert_int_equal(fixture_counters(fixture).verbs_cas - before.verbs_cas, 1);
	assert_in_range(ptni_lease_word_units(*word), 10, 12);
	assert_true(lease.deadline_ns >= fixture->world.now_ns + 1000000 - 125000);
	assert_true(lease.deadline_ns < sent + ptni_lease_word_units(*word) * UINT64_C(100000));
	/* An extension of ours whose answer was lost: the next one finds its word. */
	*word = ptni_lease_word(9, 15);
	assert_int_equal(ptni_lease_extend(&op, &lease, 2000000), 0);
	assert_in_range(ptni_lease_word_units(*word), 20, 23);
	assert_int_equal(ptni_lease_extend(&op, &lease, UINT64_C(2000000000000)),
			 PTN_E_LEASE_LIMIT);
	/* Closed by the node before its time, and then when it had run out. */
	*word |= PTNI_LEASE_CLOSED;
	assert_int_equal(ptni_lease_extend(&op, &lease, 4000000), PTN_E_LEASE_REVOKED);
	assert_int_equal(lease.deadline_ns, PTNI_DEADLINE_REVOKED);
	assert_true(*word & PTNI_LEASE_CLOSED);
	ptni_op_end(&op);
	*word = ptni_lease_word(10, 2) | PTNI_LEASE_CLOSED;
	grant.generation = 10;
	ptni_lease_accept(&lease, fixture->worker, 0, &grant, fixture->world.now_ns);
	world_pass(&fixture->world, 300000);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	assert_int_equal(ptni_lease_extend(&op, &lease, 4000000), PTN_E_LEASE_EXPIRED);
	assert_int_equal(lease.deadline_ns, PTNI_DEADLINE_ENDED);
	ptni_op_end(&op);
	ptni_lease_end(&lease);
}

static void lease__of_its_own_is_extended_by_one_cas(void **state)
{
	fixture_run(fixture_init(), own_body);
}

/* --- epochs ---------------------------------------------------------------------------------------------------- */

static uint64_t report(struct fixture *fixture)
{
	return fake_page(&fixture->node)->report;
}

static void epoch_set(struct fixture *fixture, uint64_t epoch, uint64_t horizon)
{
	fake_status(&fixture->node)->epoch = epoch;
	fake_status(&fixture->node)->horizon = horizon;
	world_pass(&fixture->world, 20000000);
}

static void pinned_body(struct fixture *fixture)
{
	struct ptni_epochs epochs;
	struct ptni_op old, young;

	epoch_set(fixture, 3, 2);
	assert_int_equal(report(fixture), 3);
	assert_int_equal(ptni_op_begin(fixture->worker, &old), 0);
	epoch_set(fixture, 4, 3);
	assert_int_equal(report(fixture), 3); /* old may still use what was unlinked in 3 */
	assert_int_equal(ptni_op_begin(fixture->worker, &young), 0);
	ptni_op_end(&old);
	world_pass(&fixture->world, 20000000);
	assert_int_equal(report(fixture), 3); /* young began before the caches were cleaned */
	ptni_op_end(&young);
	world_pass(&fixture->world, 20000000);
	assert_int_equal(report(fixture), 4);
	ptni_client_epochs(fixture->client, 0, &epochs);
	assert_int_equal(epochs.epoch, 4);
	assert_int_equal(epochs.horizon, 3);
	assert_int_equal(epochs.reported, 4);
	/* Operations that begin after the last barrier hold nothing up. */
	assert_int_equal(ptni_op_begin(fixture->worker, &old), 0);
	ptni_op_end(&old);
	epoch_set(fixture, 5, 4);
	assert_int_equal(report(fixture), 5);
}

static void report__waits_for_operations_that_began_before(void **state)
{
	fixture_run(fixture_init(), pinned_body);
}

struct hook_log {
	struct fixture *fixture;
	unsigned calls;
	uint64_t report_then;
	int answer;
};

static int hook(void *arg, struct ptn_worker *worker, unsigned node)
{
	struct hook_log *log = arg;

	assert_ptr_equal(worker, ptni_client_keeper(log->fixture->client));
	assert_int_equal(node, 0);
	log->calls++;
	log->report_then = report(log->fixture);
	return log->answer;
}

static void hooks_body(struct fixture *fixture)
{
	struct hook_log first = { .fixture = fixture, .answer = -EAGAIN },
			second = { .fixture = fixture };

	epoch_set(fixture, 3, 2);
	assert_int_equal(ptni_client_hook_add(fixture->client, hook, &first), 0);
	assert_int_equal(ptni_client_hook_add(fixture->client, hook, &second), 0);
	epoch_set(fixture, 4, 3);
	assert_true(first.calls > 1); /* asked again and again */
	assert_int_equal(second.calls, 0);
	assert_int_equal(report(fixture), 3);
	first.answer = 0;
	world_pass(&fixture->world, 20000000);
	assert_int_equal(second.calls, 1);
	assert_int_equal(second.report_then, 3);
	assert_int_equal(report(fixture), 4);
	ptni_client_hook_remove(fixture->client, hook, &first);
	ptni_client_hook_remove(fixture->client, hook, &second);
	first.calls = second.calls = 0;
	epoch_set(fixture, 5, 4);
	assert_int_equal(report(fixture), 5);
	assert_int_equal(first.calls + second.calls, 0);
}

static void report__comes_after_every_hook(void **state)
{
	fixture_run(fixture_init(), hooks_body);
}

static void want_body(struct fixture *fixture)
{
	epoch_set(fixture, 3, 3);
	assert_int_equal(fake_page(&fixture->node)->want, 0);
	ptni_client_want_epoch(fixture->client, 0, 1000);
	world_pass(&fixture->world, 3000000);
	assert_int_not_equal(fake_page(&fixture->node)->want, 0);
	epoch_set(fixture, 4, 4);
	assert_int_not_equal(fake_page(&fixture->node)->want, 0); /* tag 4 is not past yet */
	epoch_set(fixture, 5, 5);
	assert_int_equal(fake_page(&fixture->node)->want, 0);
}

static void want__stays_until_the_horizon_has_passed(void **state)
{
	fixture_run(fixture_init(), want_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadline__is_early_by_drift_and_guard),
		cmocka_unit_test(lease__is_extended_for_as_long_as_it_is_kept),
		cmocka_unit_test(lease__of_fine_units_lasts_a_term),
		cmocka_unit_test(lease__slept_through_is_fresh_or_fenced),
		cmocka_unit_test(lease__of_another_generation_is_not_touched),
		cmocka_unit_test(node__that_is_silent_for_long_is_down),
		cmocka_unit_test(keep__by_hand_is_enough),
		cmocka_unit_test(report__keeps_up_with_short_terms),
		cmocka_unit_test(lease__of_its_own_is_extended_by_one_cas),
		cmocka_unit_test(report__waits_for_operations_that_began_before),
		cmocka_unit_test(report__comes_after_every_hook),
		cmocka_unit_test(want__stays_until_the_horizon_has_passed),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
