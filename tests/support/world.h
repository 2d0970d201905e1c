/* SPDX-License-Identifier: MIT */
/*
 * One thread, virtual time: the test's body, the client's keeper and the node take turns. The body
 * is a fiber and calls the library as any program does; whenever the library waits, the others run and time
 * goes on by a tick.
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "core/base/clock.h"
#include "core/base/fiber.h"
#include "core/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

struct world {
	struct ptni_clock clock; /* first */
	uint64_t now_ns, tick_ns;
	void (*node_step)(void *arg);
	void *node_arg;
	bool node_stopped;
	struct ptn_client *client; /* kept while not NULL and `keeping` */
	bool keeping;
	bool finished;
	struct ptni_fiber_pool *pool;
};

static inline uint64_t world_clock_read(struct ptni_clock *clock)
{
	return ((struct world *)clock)->now_ns;
}

static inline void world_keeper_main(void *arg)
{
	struct world *world = arg;

	while (!world->finished) {
		if (world->client && world->keeping)
			(void)ptn_client_keep(world->client);
		ptni_fiber_suspend();
	}
}

static inline void world_init(struct world *world, void (*node_step)(void *arg), void *node_arg)
{
	*world = (struct world){ .clock = { world_clock_read },
				 .now_ns = 1000000000,
				 .tick_ns = 1000,
				 .node_step = node_step,
				 .node_arg = node_arg,
				 .keeping = true };
}

/* Everything but the body takes one turn. Also for the body itself, by ptni_fiber_suspend(). */
static inline void world_turn(struct world *world, struct ptni_fiber *keeper)
{
	if (!world->node_stopped)
		world->node_step(world->node_arg);
	(void)ptni_fiber_resume(keeper);
	world->now_ns += world->tick_ns;
}

static inline void world_run(struct world *world, void (*body)(void *arg), void *arg)
{
	struct ptni_fiber *fiber, *keeper;

	assert_int_equal(ptni_fiber_pool_open(8, 256 << 10, &world->pool), 0);
	assert_int_equal(ptni_fiber_create(world->pool, body, arg, &fiber), 0);
	assert_int_equal(ptni_fiber_create(world->pool, world_keeper_main, world, &keeper), 0);
	while (ptni_fiber_resume(fiber))
		world_turn(world, keeper);
	world->finished = true;
	while (ptni_fiber_resume(keeper))
		;
	assert_int_equal(ptni_fiber_pool_close(world->pool), 0);
}

/* Let this much time pass. */
static inline void world_pass(struct world *world, uint64_t span_ns)
{
	uint64_t end_ns = world->now_ns + span_ns;

	while (world->now_ns < end_ns)
		ptni_fiber_suspend();
}

#endif
