/* SPDX-License-Identifier: MIT */
/* Lots: many keys in one call, the same one several times now and then. */
#include "tests/sim/world_private.h"

enum {
	RUNNING = -EINPROGRESS /* no result of a call */
};

struct lot {
	uint32_t count;
	uint32_t key[WORLD_LOT_MAX], op[WORLD_LOT_MAX];
};

static void lot_draw(struct world_worker *worker, uint32_t first, struct lot *lot)
{
	const struct world_config *config = &worker->life->world->config;
	bool by_chance = ptni_rng_chance(&worker->rng, 1, 2);

	lot->count = 2 + (uint32_t)ptni_rng_below(&worker->rng, WORLD_LOT_MAX - 1);
	for (uint32_t i = 0; i < lot->count; i++)
		lot->key[i] = by_chance ? world_key_draw(worker) : (first + i) % config->keys;
}

static int result_of(struct world *world, const char *what, uint32_t key, int ret, int result)
{
	if (result != -EINPROGRESS && result != -EAGAIN)
		return result;
	world_fail(world, "%s, which returned %d, leaves key %u with the result %d", what, ret, key,
		   result);
	return result;
}

int world_multi_get(struct world_worker *worker, uint32_t first)
{
	struct world *world = worker->life->world;
	struct ptn_hash_item item[WORLD_LOT_MAX];
	struct lot lot;
	int ret;

	lot_draw(worker, first, &lot);
	for (uint32_t i = 0; i < lot.count; i++) {
		const struct world_key *name = &world->key[lot.key[i]];

		item[i] = (struct ptn_hash_item){ .key = name->name,
						  .key_len_bytes = name->len,
						  .buffer = worker->buffer[i],
						  .capacity_bytes = WORLD_VALUE_MAX,
						  .result = RUNNING };
		lot.op[i] = history_begin(world->history, worker->number, HISTORY_GET, lot.key[i],
					  0, world_now_ns(world));
		history_lot(world->history, lot.op[i]);
	}
	ret = ptn_hash_multi_get(worker->worker, worker->life->hash, item, lot.count);
	for (uint32_t i = 0; i < lot.count; i++) {
		int result = result_of(world, "a multi-get", lot.key[i], ret, item[i].result);
		uint32_t value = 0;

		if (!result)
			value = world_value_read(world, lot.key[i], worker->buffer[i],
						 item[i].len_bytes);
		history_end(world->history, lot.op[i], history_outcome(HISTORY_GET, result), value,
			    world_now_ns(world));
	}
	return ret;
}

int world_multi_put(struct world_worker *worker, uint32_t first)
{
	struct world *world = worker->life->world;
	struct ptn_hash *hash = worker->life->hash;
	bool update = ptni_rng_chance(&worker->rng, 1, 2);
	enum history_kind kind = update ? HISTORY_UPDATE : HISTORY_PUT;
	struct ptn_hash_write item[WORLD_LOT_MAX];
	struct lot lot;
	int ret;

	lot_draw(worker, first, &lot);
	for (uint32_t i = 0; i < lot.count; i++) {
		const struct world_key *name = &world->key[lot.key[i]];
		uint32_t value = history_value(world->history);
		size_t len = world_value_fill(world, lot.key[i], value, worker->buffer[i]);

		item[i] = (struct ptn_hash_write){ .key = name->name,
						   .key_len_bytes = name->len,
						   .value = worker->buffer[i],
						   .value_len_bytes = len,
						   .result = RUNNING };
		lot.op[i] = history_begin(world->history, worker->number, kind, lot.key[i], value,
					  world_now_ns(world));
		history_lot(world->history, lot.op[i]);
	}
	ret = update ? ptn_hash_multi_update(worker->worker, hash, item, lot.count) :
		       ptn_hash_multi_put(worker->worker, hash, item, lot.count);
	for (uint32_t i = 0; i < lot.count; i++)
		history_end(world->history, lot.op[i],
			    history_outcome(kind, result_of(world, "a multi-put", lot.key[i], ret,
							    item[i].result)),
			    0, world_now_ns(world));
	return ret;
}
