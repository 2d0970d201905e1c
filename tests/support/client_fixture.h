/* SPDX-License-Identifier: MIT */
/* A client with one worker and one window over data of a scripted node, in virtual time. */
#ifndef TESTS_CLIENT_FIXTURE_H
#define TESTS_CLIENT_FIXTURE_H

#include "core/client.h"
#include "tests/support/fake_node.h"
#include "tests/support/world.h"

struct fixture {
	struct world world;
	struct fake_node node;
	struct ptn_client_options options;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptni_window *window; /* all rights over the first 64 KiB of data */
	_Atomic uint64_t deadline_ns; /* of the window */
	void (*body)(struct fixture *fixture);
};

enum {
	FIXTURE_WINDOW_BYTES = 64 << 10
};

static inline int fixture_client_open(struct fixture *fixture)
{
	const char *address = "inproc:fixture";
	struct ptni_client_env env = { .clock = &fixture->world.clock };
	int ret = ptni_client_open(&address, 1, &fixture->options, &env, &fixture->client);

	if (!ret)
		fixture->world.client = fixture->client;
	return ret;
}

static inline unsigned fixture_active(struct fixture *fixture)
{
	return fixture->worker->peer[0]->active->index;
}

/* As if it had been granted in answer to a call. */
static inline struct ptni_window *fixture_window(struct fixture *fixture, uint64_t offset,
						 uint64_t len_bytes, uint32_t access,
						 const _Atomic uint64_t *deadline_ns)
{
	unsigned active = fixture_active(fixture), worker = fixture->worker->index;
	struct ptni_lane *lane = &fixture->worker->peer[0]->lane[active];
	struct ptni_call call = { .worker = fixture->worker,
				  .lane = (uint8_t)active,
				  .lane_generation = (uint16_t)lane->generation };
	struct ptni_window_grant grant;
	struct ptni_window *window;

	assert_int_equal(ptni_window_reserve(fixture->worker, 0, &window), 0);
	assert_true(window->tag < FAKE_TAGS);
	fixture->node.window[worker][window->tag] =
		(struct fake_window){ offset, len_bytes, access };
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		if (i != active && fixture->node.lane[worker][i].qp)
			fake_shadow(&fixture->node, worker, i, window->tag);
	grant = fake_grant(&fixture->node, worker, active, window->tag);
	assert_int_equal(ptni_window_accept(window, &call, &grant, deadline_ns), 0);
	world_pass(&fixture->world, 5000);
	(void)ptni_worker_poll(fixture->worker);
	return window;
}

static inline void fixture_main(void *arg)
{
	struct fixture *fixture = arg;

	assert_int_equal(fixture_client_open(fixture), 0);
	assert_int_equal(ptn_worker_open(fixture->client, &fixture->worker), 0);
	atomic_store(&fixture->deadline_ns, UINT64_MAX);
	fixture->window = fixture_window(fixture, 0, FIXTURE_WINDOW_BYTES, FAKE_RIGHTS,
					 &fixture->deadline_ns);
	fixture->body(fixture);
	if (fixture->worker)
		ptn_worker_close(fixture->worker);
	fixture->world.client = NULL;
	assert_int_equal(ptn_client_close(fixture->client), 0);
}

static inline void fixture_bare_main(void *arg)
{
	struct fixture *fixture = arg;

	fixture->body(fixture);
}

static inline struct fixture *fixture_init(void)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	world_init(&fixture.world, fake_step, &fixture.node);
	fake_open(&fixture.node, "inproc:fixture");
	fixture.options = (struct ptn_client_options){ .size = sizeof(fixture.options),
						       .manual_keeper = 1,
						       .connect_timeout_ns = 20000000,
						       .op_timeout_ns = 20000000,
						       .seed = 1 };
	return &fixture;
}

/* body with client, worker and window open */
static inline void fixture_run(struct fixture *fixture, void (*body)(struct fixture *fixture))
{
	fixture->body = body;
	world_run(&fixture->world, fixture_main, fixture);
	fake_close(&fixture->node);
}

/* body with nothing open */
static inline void fixture_run_bare(struct fixture *fixture, void (*body)(struct fixture *fixture))
{
	fixture->body = body;
	world_run(&fixture->world, fixture_bare_main, fixture);
	fake_close(&fixture->node);
}

static inline struct ptn_counters fixture_counters(struct fixture *fixture)
{
	struct ptn_counters counters;

	ptn_worker_counters(fixture->worker, &counters);
	return counters;
}

#endif
