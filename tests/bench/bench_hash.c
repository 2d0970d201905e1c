/* SPDX-License-Identifier: MIT */
/*
 * What an operation costs one thread on the software NIC, in ns of wall time:
 *
 *	build/tests/bench_hash [KEYS [ROUNDS]]
 *
 * Records of 16 bytes, node and client in one process, protected and not; everything cached for the first lines.
 */
#include "core/base/clock.h"
#include "core/base/rng.h"

#include <patronus/client.h>
#include <patronus/counters.h>
#include <patronus/error.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct bench {
	struct ptn_node *node;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	uint64_t keys, rounds;
	struct ptni_rng rng;
};

static void must(int code, const char *what)
{
	if (!code)
		return;
	fprintf(stderr, "%s: %s\n", what, ptn_strerror(code));
	exit(1);
}

/* CPU time of this thread: what others on the machine do hardly counts. */
static uint64_t thread_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint64_t key_of(uint64_t number)
{
	return number * UINT64_C(0x9e3779b97f4a7c15);
}

static int op_get(struct bench *bench, uint64_t key)
{
	uint64_t value;
	size_t len;

	return ptn_hash_get(bench->worker, bench->hash, &key, 8, &value, 8, &len);
}

static int op_put(struct bench *bench, uint64_t key)
{
	return ptn_hash_put(bench->worker, bench->hash, &key, 8, &key, 8);
}

static int op_update(struct bench *bench, uint64_t key)
{
	return ptn_hash_update(bench->worker, bench->hash, &key, 8, &key, 8);
}

static int op_absent(struct bench *bench, uint64_t key)
{
	return op_get(bench, ~key) == -ENOENT ? 0 : -EIO;
}

static void measure(struct bench *bench, const char *name, uint64_t keys,
		    int (*op)(struct bench *, uint64_t))
{
	struct ptn_counters before, after;
	uint64_t start_ns, took_ns, cpu_ns;
	double n = (double)bench->rounds;

	ptn_worker_counters(bench->worker, &before);
	start_ns = ptni_clock_now_ns();
	cpu_ns = thread_ns();
	for (uint64_t i = 0; i < bench->rounds; i++) {
		uint64_t number = keys == UINT64_MAX ? i % bench->keys :
						       ptni_rng_below(&bench->rng, keys);

		must(op(bench, key_of(number)), name);
	}
	took_ns = ptni_clock_now_ns() - start_ns;
	cpu_ns = thread_ns() - cpu_ns;
	ptn_worker_counters(bench->worker, &after);
	printf("%-28s %7.1f ns  cpu %7.1f ns  %5.2f trips  %5.2f verbs  %6.1f bytes  %5.3f hits\n",
	       name, (double)took_ns / n, (double)cpu_ns / n,
	       (double)(after.round_trips - before.round_trips) / n,
	       (double)(after.verbs_read + after.verbs_write + after.verbs_cas - before.verbs_read -
			before.verbs_write - before.verbs_cas) /
		       n,
	       (double)(after.bytes_read + after.bytes_written - before.bytes_read -
			before.bytes_written) /
		       n,
	       (double)(after.slot_cache_hits - before.slot_cache_hits) / n);
}

enum {
	TOGETHER = 16
};

/* One call for the next keys of the sequence: the cost of a key is a sixteenth of it. */
static int op_multi_get(struct bench *bench, uint64_t key)
{
	struct ptn_hash_item item[TOGETHER];
	uint64_t keys[TOGETHER], value[TOGETHER];

	keys[0] = key;
	for (unsigned i = 0; i < TOGETHER; i++) {
		if (i)
			keys[i] = key_of(ptni_rng_below(&bench->rng, bench->keys));
		item[i] = (struct ptn_hash_item){ .key = &keys[i],
						  .key_len_bytes = 8,
						  .buffer = &value[i],
						  .capacity_bytes = 8 };
	}
	return ptn_hash_multi_get(bench->worker, bench->hash, item, TOGETHER);
}

static void run(uint64_t keys, uint64_t rounds, uint32_t unprotected)
{
	const char *address = "inproc:bench";
	struct ptn_node_options node_options = { .size = sizeof(node_options),
						 .allow_unprotected = 1,
						 .memory_bytes = (size_t)1 << 30 };
	struct ptn_client_options client_options = { .size = sizeof(client_options),
						     .unprotected = unprotected };
	struct bench bench = { .keys = keys, .rounds = rounds };
	uint64_t all = rounds;

	ptni_rng_seed(&bench.rng, 1);
	must(ptn_node_open(address, &node_options, &bench.node), "node");
	must(ptn_client_open(&address, 1, &client_options, &bench.client), "client");
	must(ptn_worker_open(bench.client, &bench.worker), "worker");
	must(ptn_hash_open(bench.worker, "bench", NULL, &bench.hash), "table");
	printf("%s, %llu keys\n", unprotected ? "unprotected" : "protected",
	       (unsigned long long)keys);
	bench.rounds = keys;
	measure(&bench, "insert, growing", UINT64_MAX, op_put);
	bench.rounds = all;
	measure(&bench, "get, 100 keys", 100, op_get);
	measure(&bench, "get, 100 keys", 100, op_get);
	measure(&bench, "get, 10000 keys", keys < 10000 ? keys : 10000, op_get);
	measure(&bench, "get, all keys", keys, op_get);
	bench.rounds = all / TOGETHER;
	measure(&bench, "16 keys at once, all keys", keys, op_multi_get);
	bench.rounds = all;
	measure(&bench, "get, absent", keys, op_absent);
	measure(&bench, "update, 100 keys", 100, op_update);
	measure(&bench, "update, all keys", keys, op_update);
	measure(&bench, "get, all keys", keys, op_get);
	ptn_hash_close(bench.hash);
	ptn_worker_close(bench.worker);
	must(ptn_client_close(bench.client), "close");
	ptn_node_close(bench.node);
}

int main(int argc, char **argv)
{
	uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 0) : 200000;
	uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 2000000;

	run(keys, rounds, 0);
	run(keys, rounds, 1);
	return 0;
}
