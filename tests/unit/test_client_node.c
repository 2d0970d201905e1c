/* SPDX-License-Identifier: MIT */
/* Client and node together, in virtual time: the protection that neither side can give alone. */
#include "core/client.h"
#include "tests/support/granting.h"
#include "tests/support/node_kill.h"
#include "tests/support/world.h"

#include <patronus/log.h>

#define ALL_RIGHTS (IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)

enum {
	NODES = 2
};

struct both {
	struct world world;
	struct ptn_node *node[NODES];
	struct granting granting[NODES];
	bool stopped[NODES];
	struct ptn_client_options options;
	struct ptn_client *client;
	struct ptn_worker *worker;
	void (*body)(struct both *both);
};

static const char *const addresses[NODES] = { "inproc:both-a", "inproc:both-b" };

static void nodes_step(void *arg)
{
	struct both *both = arg;

	for (unsigned i = 0; i < NODES; i++)
		if (both->node[i] && !both->stopped[i])
			(void)ptni_node_step(both->node[i]);
}

static void both_main(void *arg)
{
	struct both *both = arg;
	struct ptni_client_env env = { .clock = &both->world.clock };

	assert_int_equal(ptni_client_open(addresses, NODES, &both->options, &env, &both->client),
			 0);
	both->world.client = both->client;
	assert_int_equal(ptn_worker_open(both->client, &both->worker), 0);
	both->body(both);
	ptn_worker_close(both->worker);
	both->world.client = NULL;
	assert_int_equal(ptn_client_close(both->client), 0);
}

static struct both *both_init(const struct ptn_node_options *node_options)
{
	static struct both both;

	memset(&both, 0, sizeof(both));
	world_init(&both.world, nodes_step, &both);
	both.options = (struct ptn_client_options){
		.size = sizeof(both.options), .manual_keeper = 1, .seed = 1, .spare_lanes = 2
	};
	for (unsigned i = 0; i < NODES; i++) {
		assert_int_equal(ptni_node_open_clock(addresses[i], node_options, &both.world.clock,
						      &both.node[i]),
				 0);
		assert_int_equal(granting_add(&both.granting[i], both.node[i]), 0);
	}
	return &both;
}

static struct ptn_node_options node_options(void)
{
	return (struct ptn_node_options){ .size = sizeof(struct ptn_node_options),
					  .memory_bytes = 1 << 22,
					  .term_ns = 20000000,
					  .allow_unprotected = 1 };
}

static void both_run(struct both *both, void (*body)(struct both *both))
{
	both->body = body;
	world_run(&both->world, both_main, both);
	for (unsigned i = 0; i < NODES; i++) {
		struct ptn_node_info info;

		assert_int_equal(ptn_node_info(both->node[i], &info), 0);
		assert_int_equal(info.lanes, 0); /* all given back */
		assert_int_equal(info.windows, 0);
		ptn_node_close(both->node[i]);
	}
}

static int faa(struct both *both, const struct ptni_window *window, uint64_t addr,
	       uint64_t *old_out)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *old;
	int ret = ptni_op_begin(both->worker, &op);

	if (ret)
		return ret;
	old = ptni_op_buffer(&op, 8);
	ptni_batch_init(&batch, &op, window->node);
	ptni_batch_faa(&batch, window, addr, 1, old);
	ret = ptni_batch_run(&batch);
	if (!ret)
		*old_out = *old;
	ptni_op_end(&op);
	return ret;
}

/* --- */

static void nodes_body(struct both *both)
{
	struct ptni_window *window[NODES];
	uint64_t old;

	for (unsigned n = 0; n < NODES; n++) {
		assert_int_equal(grant_window(both->worker, n, 4096, 4096, ALL_RIGHTS, 0, NULL,
					      &window[n]),
				 0);
		for (unsigned i = 0; i <= n; i++)
			assert_int_equal(faa(both, window[n], window[n]->addr, &old), 0);
		assert_int_equal(old, n);
	}
	/* A grant comes with keys for the spares, without asking. */
	world_pass(&both->world, 100000);
	(void)ptni_worker_poll(both->worker);
	for (unsigned n = 0; n < NODES; n++)
		for (unsigned i = 0; i < 3; i++)
			assert_int_not_equal(window[n]->rkey[i], 0);
}

static void client__uses_many_nodes(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), nodes_body);
}

static void rights_body(struct both *both)
{
	struct ptn_counters before, after;
	struct ptni_window *window = NULL;
	uint64_t old;

	assert_int_equal(grant_window(both->worker, 0, 4096, 4096, IBV_ACCESS_REMOTE_READ, 0, NULL,
				      &window),
			 0);
	ptn_worker_counters(both->worker, &before);
	for (unsigned i = 0; i < 5; i++) /* each costs a lane, which comes back with its windows */
		assert_int_equal(faa(both, window, window->addr, &old), -EACCES);
	ptn_worker_counters(both->worker, &after);
	assert_int_equal(after.lane_breaks - before.lane_breaks, 5);
	assert_int_equal(grant_window(both->worker, 0, 4096, 4096, ALL_RIGHTS, 0, NULL, &window),
			 0);
	assert_int_equal(faa(both, window, window->addr, &old), 0);
	assert_int_equal(old, 0);
}

static void right__that_was_not_granted_is_refused_for_ever(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), rights_body);
}

static void spare_body(struct both *both)
{
	struct ptni_peer *peer = both->worker->peer[0];
	unsigned active = peer->active->index, spare = (active + 1) % 3;
	struct ptni_window *window = NULL;
	struct ptn_counters before, after;
	uint64_t old;

	assert_int_equal(grant_window(both->worker, 0, 4096, 4096, ALL_RIGHTS, 0, NULL, &window),
			 0);
	ptn_worker_counters(both->worker, &before);
	node_lane_kill(both->node[0], both->worker->index, spare);
	world_pass(&both->world, 1000000);
	/* The active lane serves on while the spare is built anew, with its keys. */
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(faa(both, window, window->addr, &old), 0);
		world_pass(&both->world, 10000);
	}
	ptn_worker_counters(both->worker, &after);
	assert_int_equal(after.lane_breaks - before.lane_breaks, 1);
	assert_int_equal(after.lane_rebuilds - before.lane_rebuilds, 1);
	assert_int_equal(after.lane_recoveries, before.lane_recoveries);
	assert_int_equal(ptni_lane_state(&peer->lane[spare]), PTNI_LANE_READY);
	assert_int_not_equal(window->rkey[spare], 0);
}

static void spare__whose_other_end_dies_is_rebuilt_unused(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), spare_body);
}

static void expire_body(struct both *both)
{
	struct ptni_lease lease;
	struct ptni_window *window;
	struct ptni_op op;
	uint64_t old;

	assert_int_equal(
		grant_window(both->worker, 0, 4096, 4096, ALL_RIGHTS, 500000, &lease, &window), 0);
	assert_int_equal(faa(both, window, window->addr, &old), 0);
	for (unsigned i = 0; i < 20; i++) { /* extended one-sidedly, far beyond its term */
		world_pass(&both->world, 200000);
		assert_int_equal(ptni_op_begin(both->worker, &op), 0);
		assert_int_equal(ptni_lease_extend(&op, &lease, 500000), 0);
		ptni_op_end(&op);
		assert_int_equal(faa(both, window, window->addr, &old), 0);
	}
	assert_int_equal(both->granting[0].ended, 0);
	world_pass(&both->world, 3000000);
	assert_int_equal(faa(both, window, window->addr, &old), PTN_E_LEASE_EXPIRED);
	assert_int_equal(both->granting[0].ended, 1);
	/* Someone who does not look at the deadline is refused by the card. */
	window->deadline_ns = &ptni_deadline_never;
	assert_int_equal(faa(both, window, window->addr, &old), -EACCES);
	assert_int_equal(ptni_op_begin(both->worker, &op), 0);
	assert_int_equal(ptni_lease_extend(&op, &lease, 500000), PTN_E_LEASE_EXPIRED);
	ptni_op_end(&op);
	ptni_lease_end(&lease);
}

static void lease__ends_on_both_sides(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), expire_body);
}

static void fence_body(struct both *both)
{
	struct ptni_window *window[NODES];
	struct ptn_node_info info;
	uint64_t old;

	for (unsigned n = 0; n < NODES; n++)
		assert_int_equal(grant_window(both->worker, n, 4096, 4096, ALL_RIGHTS, 0, NULL,
					      &window[n]),
				 0);
	/* The client stops for ten terms, the nodes do not. */
	both->world.keeping = false;
	world_pass(&both->world, 200000000);
	assert_int_equal(ptn_node_info(both->node[0], &info), 0);
	assert_int_equal(info.fences, 1);
	both->world.keeping = true;
	window[1]->deadline_ns = &ptni_deadline_never; /* even if it does not look */
	assert_int_equal(faa(both, window[0], window[0]->addr, &old), PTN_E_SESSION_FENCED);
	assert_int_equal(faa(both, window[1], window[1]->addr, &old), PTN_E_SESSION_FENCED);
}

static void client__that_slept_is_fenced_not_dangerous(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), fence_body);
}

static void kept_body(struct both *both)
{
	struct ptni_window *window;
	uint64_t old, count = 0;

	assert_int_equal(grant_window(both->worker, 0, 4096, 4096, ALL_RIGHTS, 0, NULL, &window),
			 0);
	both->world.tick_ns = 50000;
	for (unsigned i = 0; i < 500; i++) { /* 250 terms of the session */
		ptni_client_want_epoch(both->client, 0, 100);
		world_pass(&both->world, 10000000);
		assert_int_equal(faa(both, window, window->addr, &old), 0);
		assert_int_equal(old, count++);
	}
	assert_true(ptni_node_horizon(both->node[0]) > 50);
}

static void client__that_is_kept_lives(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), kept_body);
}

static void one_down_body(struct both *both)
{
	struct ptni_window *window[NODES];
	uint64_t old;

	for (unsigned n = 0; n < NODES; n++)
		assert_int_equal(grant_window(both->worker, n, 4096, 4096, ALL_RIGHTS, 0, NULL,
					      &window[n]),
				 0);
	ptn_node_close(both->node[1]);
	both->node[1] = NULL;
	world_pass(&both->world, 1000000);
	assert_int_equal(faa(both, window[1], window[1]->addr, &old), PTN_E_NODE_DOWN);
	for (unsigned i = 0; i < 10; i++) { /* the other one is none the worse */
		assert_int_equal(faa(both, window[0], window[0]->addr, &old), 0);
		world_pass(&both->world, 20000000);
	}
	assert_int_equal(
		ptni_node_open_clock(addresses[1], NULL, &both->world.clock, &both->node[1]), 0);
}

static void node__that_goes_down_takes_nothing_else_along(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), one_down_body);
}

static void hung_body(struct both *both)
{
	struct ptni_window *window;
	struct ptn_node_info info;
	uint64_t old, start = both->world.now_ns;

	assert_int_equal(grant_window(both->worker, 0, 4096, 4096, ALL_RIGHTS, 0, NULL, &window),
			 0);
	/* Node b hangs and its lanes are dead, while its process lives. */
	both->stopped[1] = true;
	for (unsigned i = 0; i < 3; i++) {
		(void)both->client->fabric->ops->qp_error(both->worker->peer[1]->lane[i].qp);
		(void)both->client->fabric->ops->qp_error(
			ptni_client_keeper(both->client)->peer[1]->lane[i].qp);
	}
	both->world.tick_ns = 20000;
	while (both->world.now_ns - start < 400000000) { /* 20 terms */
		world_pass(&both->world, 5000000);
		assert_int_equal(faa(both, window, window->addr, &old), 0);
	}
	assert_int_equal(ptn_node_info(both->node[0], &info), 0);
	assert_int_equal(info.fences, 0);
	both->stopped[1] = false;
}

/* 64 sessions share one keeper: a node that hangs does not cost the leases on the others. */
static void node__that_hangs_does_not_stop_the_keeper(void **state)
{
	struct ptn_node_options options = node_options();

	both_run(both_init(&options), hung_body);
}

static void unprotected_body(struct both *both)
{
	const struct ptni_window *region = ptni_window_region(both->worker, 0);
	uint64_t old;

	assert_non_null(region);
	assert_false(ptni_client_protected(both->client));
	assert_int_equal(faa(both, region, region->addr + 65536, &old), 0);
	assert_int_equal(faa(both, region, region->addr + 65536, &old), 0);
	assert_int_equal(old, 1);
}

static void unprotected__has_the_whole_region(void **state)
{
	struct ptn_node_options options = node_options();
	struct both *both = both_init(&options);

	both->options.unprotected = 1;
	both_run(both, unprotected_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client__uses_many_nodes),
		cmocka_unit_test(right__that_was_not_granted_is_refused_for_ever),
		cmocka_unit_test(spare__whose_other_end_dies_is_rebuilt_unused),
		cmocka_unit_test(lease__ends_on_both_sides),
		cmocka_unit_test(client__that_slept_is_fenced_not_dangerous),
		cmocka_unit_test(client__that_is_kept_lives),
		cmocka_unit_test(node__that_goes_down_takes_nothing_else_along),
		cmocka_unit_test(node__that_hangs_does_not_stop_the_keeper),
		cmocka_unit_test(unprotected__has_the_whole_region),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
