/* SPDX-License-Identifier: MIT */
/*
 * A simulated cluster under the model of time (core/fabric/sim/model.h): the library's own nodes, clients and
 * workers, and what they are to do.
 *
 *   machine of the nodes ── one card ── node 0 .. n-1, each a process with one core; or each on a machine of its own
 *   machine 1 .. m       ── one card ── processes (clients) ── workers (a core each) ── fibers
 *
 *   open ─► load: every fiber once ─► warm ─► measured ─► stop
 *
 * A core does one thing at a time: what its task does takes the time that it charges.
 */
#ifndef YCSB_MODEL_CLUSTER_H
#define YCSB_MODEL_CLUSTER_H

#include "core/fabric/sim/model.h"
#include "core/node.h"
#include "core/worker.h"
#include "ycsb/histogram.h"

#include <patronus/hash.h>

enum {
	MODEL_NODES_MAX = 8,
	MODEL_WORKERS_MAX = 12, /* of a process */
};

struct model_cluster;
struct model_fiber;

struct model_config {
	enum ptni_sim_card card;
	uint64_t seed;
	unsigned nodes; /* 0 is 1 */
	bool nodes_apart; /* each has a card */
	unsigned machines, processes, workers, fibers; /* each of what is before it */
	bool unprotected;
	bool no_spares;
	uint64_t node_memory_bytes;
	uint64_t term_ns; /* of a session; 0: 20 ms */
	const struct ptn_hash_options *table; /* opened by all; NULL: none */
	uint64_t warm_ns, measure_ns; /* 0: until every fiber is done */
	const struct ptni_sim_timing *timing; /* instead of the card's */
	/* all may be NULL but `step` */
	int (*node_open)(struct ptn_node *node, void *arg);
	int (*open)(struct model_fiber *fiber); /* once before anything else */
	int (*load)(struct model_fiber *fiber); /* all of its share */
	int (*step)(struct model_fiber *fiber); /* one operation; 1: it has no more to do */
	void *arg;
};

struct model_fiber {
	struct model_cluster *cluster;
	struct ptn_worker *worker;
	struct ptn_hash *table;
	uint32_t number, count; /* of how many */
	struct ptni_rng rng;
	void *state; /* the workload's; freed with free() */
	struct model_worker *core;
	uint8_t buffer[16384];
};

struct model_result {
	double ops_per_s;
	uint64_t ops, span_ns;
	double mean_us, p50_us, p99_us, p999_us;
	struct ptn_counters counters; /* of the measured span, over all workers but keepers */
	uint64_t events, virtual_ns;
	uint64_t node_busy_ns; /* CPU of the nodes in the measured span, sum */
	uint64_t hash;
	char error[200]; /* "": none */
};

/* Runs it to the end. Errors: -EIO, with result_out->error. */
int model_run(const struct model_config *config, struct model_result *result_out);

const struct model_config *model_config(const struct model_cluster *cluster);
uint64_t model_now_ns(const struct model_fiber *fiber);
/* The calling fiber goes on after so long. */
void model_nap(struct model_fiber *fiber, uint64_t span_ns);

#endif
