/* SPDX-License-Identifier: MIT */
/* YCSB's workloads on the hash table, and its load phase, at the end of which every worker has met every record. */
#ifndef YCSB_MODEL_MIX_H
#define YCSB_MODEL_MIX_H

#include "ycsb/model/cluster.h"

struct model_mix {
	char letter; /* A, B, C, D, F; U: updates only */
	uint32_t records;
	uint32_t value_bytes;
	uint64_t inserted; /* by D, over all clients */
	uint32_t loaded; /* fibers that have put their share */
};

int model_mix_open(struct model_fiber *fiber);
int model_mix_load(struct model_fiber *fiber);
int model_mix_step(struct model_fiber *fiber);

/* A workload on a cluster. */
struct model_mix_run {
	char letter;
	enum ptni_sim_card card;
	unsigned nodes; /* each on a machine of its own; 0 is 1 */
	unsigned machines, processes, workers, fibers; /* each of what is before it */
	bool unprotected;
	uint32_t records, value_bytes; /* 0: 5000, 64 */
	uint64_t seed; /* 0 is 1 */
	uint64_t warm_ns, measure_ns;
	const struct ptni_sim_timing *timing; /* instead of the card's */
};

/* Errors as of model_run(), said on standard error. */
int model_mix_run(const struct model_mix_run *run, struct model_result *result_out);

#endif
