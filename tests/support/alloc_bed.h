/* SPDX-License-Identifier: MIT */
/*
 * A node with its allocator and some clients, in one thread and virtual time. The test's body is a fiber
 * and calls the library as any program does; whenever that waits, the node and the clients' keepers
 * take a turn and time goes on by a tick.
 */
#ifndef TESTS_ALLOC_BED_H
#define TESTS_ALLOC_BED_H

#include "alloc/service.h"
#include "alloc/space.h"
#include "core/base/clock.h"
#include "core/base/fiber.h"
#include "core/base/rng.h"

#include <patronus/error.h>
#include <patronus/memory.h>
#include <patronus/node.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ALLOC_BED_CLIENTS = 4
};
#define ALLOC_BED_MS UINT64_C(1000000)

struct alloc_bed {
	struct ptni_clock clock; /* first */
	uint64_t now_ns, tick_ns;
	char address[64];
	struct ptn_node *node;
	struct ptni_allocator *allocator;
	struct ptn_client *client[ALLOC_BED_CLIENTS];
	struct ptn_worker *worker[ALLOC_BED_CLIENTS]; /* one each, opened by alloc_bed_client */
	bool asleep[ALLOC_BED_CLIENTS]; /* its keeper takes no turns */
	bool finished;
	struct ptni_fiber_pool *pool;
	void (*body)(struct alloc_bed *bed);
};

static inline uint64_t alloc_bed_clock(struct ptni_clock *clock)
{
	return ((struct alloc_bed *)clock)->now_ns;
}

static inline void alloc_bed_keepers(void *arg)
{
	struct alloc_bed *bed = arg;

	while (!bed->finished) {
		for (int i = 0; i < ALLOC_BED_CLIENTS; i++)
			if (bed->client[i] && !bed->asleep[i])
				(void)ptn_client_keep(bed->client[i]);
		ptni_fiber_suspend();
	}
}

static inline void alloc_bed_body(void *arg)
{
	struct alloc_bed *bed = arg;

	bed->body(bed);
}

/* Time passes in the body, with everybody taking turns. */
static inline void alloc_bed_pass(struct alloc_bed *bed, uint64_t span_ns)
{
	uint64_t end_ns = bed->now_ns + span_ns, tick_ns = bed->tick_ns;

	bed->tick_ns = span_ns / 400 > tick_ns ? span_ns / 400 : tick_ns;
	while (bed->now_ns < end_ns)
		ptni_fiber_suspend();
	bed->tick_ns = tick_ns;
}

/* Enough for every session to report a few epochs, if garbage waits, and for the node to act on it. */
static inline void alloc_bed_epochs(struct alloc_bed *bed)
{
	alloc_bed_pass(bed, 40 * ALLOC_BED_MS);
}

static inline int alloc_bed_try_client(struct alloc_bed *bed, int i,
				       struct ptn_client_options *options)
{
	const char *address = bed->address;
	struct ptni_client_env env = { .clock = &bed->clock };
	int ret;

	options->size = sizeof(*options);
	options->manual_keeper = 1;
	options->seed = (uint64_t)i + 1;
	ret = ptni_client_open(&address, 1, options, &env, &bed->client[i]);
	if (!ret)
		ret = ptn_worker_open(bed->client[i], &bed->worker[i]);
	return ret;
}

static inline void alloc_bed_client(struct alloc_bed *bed, int i)
{
	struct ptn_client_options options = { 0 };

	assert_int_equal(alloc_bed_try_client(bed, i, &options), 0);
}

static inline void alloc_bed_client_close(struct alloc_bed *bed, int i)
{
	if (bed->worker[i])
		ptn_worker_close(bed->worker[i]);
	bed->worker[i] = NULL;
	bed->asleep[i] = true; /* its keeper is going */
	if (bed->client[i])
		assert_int_equal(ptn_client_close(bed->client[i]), 0);
	bed->client[i] = NULL;
	bed->asleep[i] = false;
}

static inline struct ptn_node_info alloc_bed_info(struct alloc_bed *bed)
{
	struct ptn_node_info info;

	assert_int_equal(ptn_node_info(bed->node, &info), 0);
	return info;
}

/* The node fences client i at once, as it does when the client's lease has ended. */
static inline void alloc_bed_fence(struct alloc_bed *bed, int i)
{
	struct ptn_session_info info[8];
	int count = ptn_node_sessions(bed->node, info, 8);

	(void)i;
	assert_true(count > i);
	assert_int_equal(ptn_node_session_end(bed->node, info[i].id), 0);
	alloc_bed_pass(bed, ALLOC_BED_MS);
}

/* `memory_bytes` 0 = 16 MiB. */
static inline void alloc_bed_run(struct ptn_node_options *options, void (*body)(struct alloc_bed *))
{
	static int number;
	struct alloc_bed bed = { .clock = { alloc_bed_clock },
				 .now_ns = 1000 * ALLOC_BED_MS,
				 .tick_ns = 1000,
				 .body = body };
	struct ptn_node_options own = { 0 };
	struct ptni_fiber *fiber, *keepers;

	if (options)
		own = *options;
	own.size = sizeof(own);
	if (!own.memory_bytes)
		own.memory_bytes = 16 << 20;
	(void)snprintf(bed.address, sizeof(bed.address), "inproc:alloc-%d-%d", getpid(), number++);
	assert_int_equal(ptni_node_open_clock(bed.address, &own, &bed.clock, &bed.node), 0);
	assert_int_equal(ptni_allocator_add(bed.node, &bed.allocator), 0);
	assert_int_equal(ptni_fiber_pool_open(8, 256 << 10, &bed.pool), 0);
	assert_int_equal(ptni_fiber_create(bed.pool, alloc_bed_body, &bed, &fiber), 0);
	assert_int_equal(ptni_fiber_create(bed.pool, alloc_bed_keepers, &bed, &keepers), 0);
	while (ptni_fiber_resume(fiber)) {
		(void)ptni_node_step(bed.node);
		(void)ptni_fiber_resume(keepers);
		bed.now_ns += bed.tick_ns;
	}
	bed.finished = true;
	while (ptni_fiber_resume(keepers))
		;
	assert_int_equal(ptni_fiber_pool_close(bed.pool), 0);
	ptn_node_close(bed.node);
}

#endif
