/* SPDX-License-Identifier: MIT */
/*
 * Memory that comes and goes: the clients fill a table with records that take a block of `block_bytes` each, then
 * delete nine of ten. One node of one core.
 */
#ifndef YCSB_MODEL_FILL_H
#define YCSB_MODEL_FILL_H

#include "ycsb/model/rights.h"

enum model_fill_kind {
	MODEL_FILL_OPEN, /* the library without protection */
	MODEL_FILL_OURS, /* with it */
	MODEL_FILL_RPC, /* a window asked for with each block, and given back with it */
};

struct model_fill {
	enum model_fill_kind kind;
	uint32_t block_bytes;
	uint32_t records; /* of each client */
	enum ptni_sim_card card;
	unsigned machines, processes, workers;
};

/* Operations a second, fill and delete together. */
int model_fill_run(const struct model_fill *fill, struct model_result *result_out);

#endif
