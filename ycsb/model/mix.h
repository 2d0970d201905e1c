/* SPDX-License-Identifier: MIT */
/* YCSB's workloads on the hash table, and its load phase. */
#ifndef YCSB_MODEL_MIX_H
#define YCSB_MODEL_MIX_H

#include "ycsb/model/cluster.h"

struct model_mix {
	char letter; /* A, B, C, D, F; U: updates only */
	uint32_t records;
	uint32_t value_bytes;
	uint64_t inserted; /* by D, over all clients */
};

int model_mix_open(struct model_fiber *fiber);
int model_mix_load(struct model_fiber *fiber);
int model_mix_step(struct model_fiber *fiber);

#endif
