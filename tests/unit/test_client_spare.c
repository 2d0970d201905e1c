/* SPDX-License-Identifier: MIT */
/* Spare lanes: none, all gone, refused, and replaced before they are needed (guarantee 4 of core/lane.h). */
#include "tests/support/client_steps.h"

#include <patronus/log.h>

/* A lane whose node's end is gone has to break at ours too, so that its RECVs come back. */
static void break_in_fact(struct fixture *fixture, unsigned lane)
{
	(void)fixture->client->fabric->ops->qp_error(fixture->worker->peer[0]->lane[lane].qp);
}

static void lost_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture), spare = !active;
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ptni_lane_addr nonsense = { .op = PTNI_LANE_LOST, .worker = 7, .lane = spare };
	uint64_t word;

	/* of a worker that is not there */
	assert_int_equal(fake_ops(&fixture->node)
				 ->channel_send(fixture->node.channel, &nonsense, sizeof(nonsense)),
			 0);
	fake_lane_lost(&fixture->node, fixture->worker->index, spare);
	world_pass(&fixture->world, 100000);
	assert_int_equal(word_read(fixture, 0, &word), 0); /* by the active one */
	lanes_settle(fixture);
	after = fixture_counters(fixture);
	assert_int_equal(after.lane_breaks - before.lane_breaks, 1);
	assert_int_equal(after.lane_rebuilds - before.lane_rebuilds, 1);
	assert_int_equal(after.lane_recoveries, before.lane_recoveries);
	assert_int_equal(after.retries_lane, before.retries_lane);
	assert_int_equal(fixture_active(fixture), active);
	/* It serves when it is needed. */
	fake_lane_cut(&fixture->node, fixture->worker->index, active);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(fixture_active(fixture), spare);
	lanes_settle(fixture);
	/* What is said of a lane that broke in the meantime does not hit its next life. */
	fake_lane_lost(&fixture->node, fixture->worker->index, active);
	break_in_fact(fixture, active);
	before = fixture_counters(fixture);
	(void)ptni_worker_poll(fixture->worker);
	lanes_settle(fixture);
	world_pass(&fixture->world, 1000000);
	ptni_worker_chores(fixture->worker);
	assert_int_equal(fixture_counters(fixture).lane_breaks - before.lane_breaks, 1);
}

/* A spare whose other end died is replaced before anybody needs it. */
static void spare__that_the_node_lost_is_rebuilt(void **state)
{
	fixture_run(fixture_init(), lost_body);
}

static void consumed_body(struct fixture *fixture)
{
	unsigned worker = fixture->worker->index;
	uint64_t word, before;

	*fake_word(&fixture->node, 0) = 4;
	for (unsigned i = 0; i < 2; i++)
		fake_lane_cut(&fixture->node, worker, i);
	fixture->node.deaf = true;
	before = fixture->world.now_ns;
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LANE_BROKEN);
	assert_true(fixture->world.now_ns - before >= fixture->options.op_timeout_ns);
	assert_true(fixture->world.now_ns - before < 2 * fixture->options.op_timeout_ns);
	fixture->node.deaf = false;
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(word, 4);
	lanes_settle(fixture);
}

/* With every lane gone the operation waits for a new one, but not for ever. */
static void spares__all_consumed_is_waited_out(void **state)
{
	fixture_run(fixture_init(), consumed_body);
}

static void none_body(struct fixture *fixture)
{
	uint64_t word;

	assert_int_equal(fixture->worker->lanes, 1);
	*fake_word(&fixture->node, 0) = 4;
	fake_lane_cut(&fixture->node, fixture->worker->index, 0);
	fixture->world.keeping = false; /* the waiting worker does the keeper's part */
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(word, 4);
}

static void spares__may_be_none(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->options.spare_lanes = UINT32_MAX;
	fixture_run(fixture, none_body);
}

static void refused_open_body(struct fixture *fixture)
{
	uint64_t word;

	fixture->node.open_status = PTN_E_QUOTA;
	fake_lane_cut(&fixture->node, fixture->worker->index, fixture_active(fixture));
	assert_int_equal(word_read(fixture, 0, &word), 0);
	world_pass(&fixture->world, 10000000);
	(void)word_read(fixture, 0, &word);
	world_pass(&fixture->world, 10000000);
	assert_true(fixture->node.opens < 20); /* tried again, at growing intervals */
	fixture->node.open_status = 0;
	lanes_settle(fixture);
}

static void spare__refused_by_the_node_is_tried_again_later(void **state)
{
	fixture_run(fixture_init(), refused_open_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spare__that_the_node_lost_is_rebuilt),
		cmocka_unit_test(spares__all_consumed_is_waited_out),
		cmocka_unit_test(spares__may_be_none),
		cmocka_unit_test(spare__refused_by_the_node_is_tried_again_later),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
