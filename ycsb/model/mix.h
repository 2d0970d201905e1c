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

#endif
