/* SPDX-License-Identifier: MIT */
#include "ycsb/model/fill.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OP_CPU_NS = 150, /* as in mix.c */
	KEY_BYTES = 24,
	POINTER_BYTES = 16,
	HEAD_BYTES = 64, /* room for key and head in a block of the size wanted */
};
#define AREA_BYTES  (UINT64_C(320) << 20)
#define TABLE_BYTES (UINT64_C(448) << 20)

struct state {
	uint32_t at; /* records put, then records looked at for deletion */
	bool emptying;
	uint64_t area; /* of this client, for MODEL_FILL_RPC */
	struct model_right *right;
};

static const struct model_fill *fill_of(const struct model_fiber *fiber)
{
	return model_config(fiber->cluster)->arg;
}

static int fill_open(struct model_fiber *fiber)
{
	const struct model_fill *fill = fill_of(fiber);
	struct state *state = calloc(1, sizeof(*state));
	uint64_t len;

	if (state)
		state->right = calloc(fill->records, sizeof(*state->right));
	if (!state || !state->right)
		return -ENOMEM;
	/* The end of the node's memory is not the table's: it takes extents from the beginning. */
	state->area = model_rights_region(fiber, 0, &len) + TABLE_BYTES +
		      (uint64_t)fiber->number * fill->records * fill->block_bytes;
	fiber->state = state;
	return 0;
}

static size_t key_make(const struct model_fiber *fiber, uint32_t record, char *key)
{
	return (size_t)snprintf(key, KEY_BYTES, "%08u%012u", fiber->number, record);
}

static int put(struct model_fiber *fiber, uint32_t record, size_t value_bytes)
{
	char key[KEY_BYTES];
	size_t len = key_make(fiber, record, key);

	return ptn_hash_insert(fiber->worker, fiber->table, key, len, fiber->buffer, value_bytes);
}

/* The block itself, under the right to it. */
static int block_write(struct model_fiber *fiber, const struct model_right *right)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint32_t len = (uint32_t)right->window->len_bytes;
	int ret = ptni_op_begin(fiber->worker, &op);

	if (ret)
		return ret;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, right->window, right->window->addr, ptni_op_buffer(&op, len), len);
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	return ret;
}

static int put_one(struct model_fiber *fiber, struct state *state)
{
	const struct model_fill *fill = fill_of(fiber);
	uint32_t record = state->at++;
	int ret;

	if (fill->kind != MODEL_FILL_RPC)
		return put(fiber, record, fill->block_bytes - HEAD_BYTES);
	ret = model_right_take(fiber, 0, MODEL_RIGHTS_WINDOW,
			       state->area + (uint64_t)record * fill->block_bytes,
			       fill->block_bytes, &state->right[record]);
	if (!ret)
		ret = block_write(fiber, &state->right[record]);
	return ret ? ret : put(fiber, record, POINTER_BYTES);
}

static int delete_one(struct model_fiber *fiber, struct state *state)
{
	uint32_t record = state->at++;
	char key[KEY_BYTES];
	size_t len = key_make(fiber, record, key);
	int ret = ptn_hash_delete(fiber->worker, fiber->table, key, len);

	if (!ret && fill_of(fiber)->kind == MODEL_FILL_RPC)
		ret = model_right_drop(fiber, &state->right[record]);
	return ret;
}

static int fill_step(struct model_fiber *fiber)
{
	const struct model_fill *fill = fill_of(fiber);
	struct state *state = fiber->state;

	ptni_sim_charge(OP_CPU_NS);
	if (!state->emptying && state->at < fill->records)
		return put_one(fiber, state);
	if (!state->emptying)
		state->at = 0;
	state->emptying = true;
	if (state->at % 10 == 9)
		state->at++; /* one of ten stays */
	return state->at < fill->records ? delete_one(fiber, state) : 1;
}

static int node_open(struct ptn_node *node, void *arg)
{
	static const struct model_rights_costs costs = { 0, 0 };

	return model_rights_add(node, &costs);
}

int model_fill_run(const struct model_fill *fill, struct model_result *result_out)
{
	unsigned clients = fill->machines * fill->processes * fill->workers;
	struct ptn_hash_options table = { .size = sizeof(table),
					  .initial_slots = 3ull * clients * fill->records,
					  .cache_entries = 4096 };
	struct model_fill copy = *fill;
	struct model_config config = {
		.card = fill->card,
		.seed = 1,
		.machines = fill->machines,
		.processes = fill->processes,
		.workers = fill->workers,
		.fibers = 1,
		.unprotected = fill->kind == MODEL_FILL_OPEN,
		.node_memory_bytes = TABLE_BYTES + AREA_BYTES,
		.table = &table,
		.node_open = node_open,
		.open = fill_open,
		.step = fill_step,
		.arg = &copy,
	};

	if ((uint64_t)clients * fill->records * fill->block_bytes > AREA_BYTES)
		return -E2BIG;
	return model_run(&config, result_out);
}
