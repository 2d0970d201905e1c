/* SPDX-License-Identifier: MIT */
/*
 * What the allocator costs: blocks taken and retired in steady state, and memory held against data.
 *
 *     bench_alloc
 *
 * Take and retire: median of RUNS runs of OPERATIONS pairs each, in ns of one thread's CPU; refills,
 * promotions and chunks on their way are part of it. A node and its control loop run beside.
 */
#include "alloc/space.h"
#include "core/base/clock.h"
#include "core/base/rng.h"

#include <patronus/client.h>
#include <patronus/error.h>
#include <patronus/memory.h>
#include <patronus/node.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
	RUNS = 101,
	OPERATIONS = 4000,
	LIVE = 100000,
};

static struct ptn_node *node;
static struct ptn_client *client;
static struct ptn_worker *worker;
static struct ptni_space *space;
static struct ptni_block live[LIVE];

static void check(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "bench_alloc: %s: %s\n", what, ptn_strerror(ret));
	exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* This thread's own, so that what else runs on the machine counts less. */
static uint64_t cpu_ns(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static double run_ns(size_t len)
{
	struct ptni_block block;
	struct ptni_op op;
	uint64_t start_ns;

	check(ptni_op_begin(worker, &op), "begin");
	start_ns = cpu_ns();
	for (int i = 0; i < OPERATIONS; i++) {
		check(ptni_block_alloc(&op, space, len, &block), "alloc");
		ptni_block_retire(&op, space, block.addr, block.block_class);
	}
	start_ns = cpu_ns() - start_ns;
	ptni_op_end(&op);
	return (double)start_ns / OPERATIONS;
}

static void take_and_retire(size_t len)
{
	double ns[RUNS];
	struct ptn_counters before, after;

	for (int i = 0; i < RUNS; i++) { /* until limbo and promotion balance */
		(void)run_ns(len);
		(void)usleep(2000);
	}
	ptn_worker_counters(worker, &before);
	for (int i = 0; i < RUNS; i++) {
		ns[i] = run_ns(len);
		(void)usleep(2000);
	}
	ptn_worker_counters(worker, &after);
	qsort(ns, RUNS, sizeof(ns[0]), compare);
	printf("take and retire %4zu B: %5.1f ns, nine tenths below %5.1f ns; %llu chunks fetched\n",
	       len, ns[RUNS / 2], ns[RUNS * 9 / 10],
	       (unsigned long long)(after.chunks_fetched - before.chunks_fetched));
}

static void window_lookup(void)
{
	uint64_t start_ns, sum = 0;
	uint64_t root = ptni_space_root(space);
	enum {
		LOOKUPS = 10000000
	};

	const struct ptni_window *window;
	struct ptni_op op;

	check(ptni_op_begin(worker, &op), "begin");
	check(ptni_space_window_fetch(&op, space, root, &window), "window");
	ptni_op_end(&op);
	start_ns = cpu_ns();
	for (int i = 0; i < LOOKUPS; i++)
		sum += (uint64_t)(uintptr_t)ptni_space_window(worker, space,
							      root + (uint64_t)i % 4096);
	printf("window lookup: %.2f ns%s\n", (double)(cpu_ns() - start_ns) / LOOKUPS,
	       sum ? "" : " (none)");
}

static void call(void)
{
	enum {
		CALLS = 2000
	};
	uint64_t start_ns = ptni_clock_now_ns(), held;

	for (int i = 0; i < CALLS; i++)
		check(ptni_space_held_bytes(worker, space, &held), "info");
	printf("a call that changes nothing: %.1f us\n",
	       (double)(ptni_clock_now_ns() - start_ns) / CALLS / 1000);
}

/* Held over live bytes while records of mixed sizes are replaced for a while. */
static void waste(size_t least, size_t most, int rounds)
{
	struct ptni_rng rng;
	struct ptni_op op;
	uint64_t bytes = 0, held;
	static size_t length[LIVE];

	ptni_rng_seed(&rng, 1);
	for (int i = 0; i < LIVE * rounds; i++) {
		int at = i % LIVE;

		check(ptni_op_begin(worker, &op), "begin");
		if (i >= LIVE) {
			ptni_block_retire(&op, space, live[at].addr, live[at].block_class);
			bytes -= length[at];
		}
		length[at] = least + ptni_rng_below(&rng, most - least + 1);
		bytes += length[at];
		check(ptni_block_alloc(&op, space, length[at], &live[at]), "alloc");
		ptni_op_end(&op);
	}
	check(ptni_space_held_bytes(worker, space, &held), "info");
	printf("%zu..%zu B, %d records, replaced %d times: held %llu / live %llu = %.3f\n", least,
	       most, LIVE, rounds - 1, (unsigned long long)held, (unsigned long long)bytes,
	       (double)held / (double)bytes);
	check(ptni_op_begin(worker, &op), "begin");
	for (int i = 0; i < LIVE; i++)
		ptni_block_retire(&op, space, live[i].addr, live[i].block_class);
	ptni_op_end(&op);
	for (int i = 0; i < 10; i++) {
		(void)usleep(30000);
		check(ptni_space_trim(worker, space), "trim");
	}
	check(ptni_space_held_bytes(worker, space, &held), "info");
	printf("  all retired and trimmed: held %llu\n", (unsigned long long)held);
}

static void leased(size_t len)
{
	enum {
		TIMES = 2000
	};
	struct ptn_memory *memory;
	uint64_t start_ns = ptni_clock_now_ns();

	for (int i = 0; i < TIMES; i++) {
		check(ptn_memory_alloc(worker, 0, len, 100000000, &memory), "memory");
		check(ptn_memory_free(memory), "free");
	}
	printf("ptn_memory of %zu B, alloc and free: %.1f us\n", len,
	       (double)(ptni_clock_now_ns() - start_ns) / TIMES / 1000);
}

int main(void)
{
	const char *address = "inproc:bench-alloc";
	struct ptn_node_options options = { .size = sizeof(options), .memory_bytes = 1 << 30 };
	struct ptni_space_params params = { .kind = 1 };

	check(ptn_node_open(address, &options, &node), "node");
	check(ptn_client_open(&address, 1, NULL, &client), "client");
	check(ptn_worker_open(client, &worker), "worker");
	check(ptni_space_open(worker, 0, "bench", PTNI_SPACE_CREATE, &params, &space), "space");
	take_and_retire(64);
	take_and_retire(1024);
	window_lookup();
	call();
	waste(100, 100, 4);
	waste(64, 1000, 4);
	waste(1000, 5000, 3);
	leased(4096);
	ptni_space_close(space);
	ptn_worker_close(worker);
	check(ptn_client_close(client), "close");
	ptn_node_close(node);
	return 0;
}
