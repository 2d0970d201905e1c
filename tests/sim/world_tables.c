/* SPDX-License-Identifier: MIT */
/*
 * Small tables beside the one that all share: made, used, closed and dropped while everything else goes on, on the
 * same nodes. Each worker has a key of its own in each of them, so what it reads there is known:
 *
 *   open and used by me     whatever else happens, the key has what I put there: nobody may drop an open table
 *   closed and opened       the same, or nothing if somebody began to drop the table meanwhile
 *
 * A handle belongs to one client, so workers of a client have different tables; clients share them.
 */
#include "ds/hashtable/table.h"
#include "tests/sim/world_private.h"

#include <stdio.h>

enum {
	NAME_BYTES = 32,
	VALUE_MIN = 16,
	VALUE_BYTES = 640,
	OPS_MAX = 4,
	WALK_STEP = 8,
	DROP_TRIES = 20,
	CREATE_NEW = 2,
	CREATE_NEVER = 0xff,
};

static void table_name(uint32_t table, char *name)
{
	(void)snprintf(name, NAME_BYTES, "beside %u", table);
}

static size_t key_name(const struct world_worker *worker, uint32_t table, char *name)
{
	return (size_t)snprintf(name, NAME_BYTES, "table %u worker %u", table, worker->number);
}

static uint32_t table_of(const struct world_worker *worker, uint32_t key)
{
	uint32_t slot = (uint32_t)(worker - worker->life->worker);

	return slot + WORLD_WORKERS_MAX * (key % (WORLD_TABLES / WORLD_WORKERS_MAX));
}

/* ---- values: {number, table, worker, pattern}, and how long */

static size_t value_fill(uint32_t table, uint32_t worker, uint32_t value, uint8_t *bytes)
{
	size_t len = VALUE_MIN + (value * 37 + worker) % (VALUE_BYTES - VALUE_MIN);

	memset(bytes, (int)(value ^ table), len);
	memcpy(bytes, &value, 4);
	memcpy(bytes + 4, &table, 4);
	memcpy(bytes + 8, &worker, 4);
	return len;
}

/* Its number; 0 and a finding if nobody wrote it. */
static uint32_t value_read(struct world_worker *worker, uint32_t table, const uint8_t *bytes,
			   size_t len)
{
	uint8_t expected[VALUE_BYTES];
	uint32_t value = 0;

	if (len >= VALUE_MIN)
		memcpy(&value, bytes, 4);
	if (value && value <= worker->side.put &&
	    value_fill(table, worker->number, value, expected) == len &&
	    !memcmp(bytes, expected, len))
		return value;
	world_fail(worker->life->world,
		   "table %u: %zu bytes were read under a key whose owner never wrote them", table,
		   len);
	return 0;
}

/* ---- one key */

/* What was read, 0 for nothing, is what is known to be there. */
static void compare(struct world_worker *worker, uint32_t value)
{
	struct world_side *side = &worker->side;

	if (side->sure && value != side->value)
		world_fail(worker->life->world,
			   "table %u, which was open: worker %u read value %u where it has put %u",
			   side->table, worker->number, value, side->value);
	side->sure = true;
	side->value = value;
}

static int key_get(struct world_worker *worker)
{
	struct world_side *side = &worker->side;
	uint8_t bytes[VALUE_BYTES];
	char key[NAME_BYTES];
	size_t len = key_name(worker, side->table, key), got = 0;
	int ret = ptn_hash_get(worker->worker, side->hash, key, len, bytes, sizeof(bytes), &got);

	if (!ret)
		compare(worker, value_read(worker, side->table, bytes, got));
	else if (ret == -ENOENT)
		compare(worker, 0);
	return ret;
}

static int key_put(struct world_worker *worker)
{
	struct world_side *side = &worker->side;
	uint32_t value = ++side->put;
	uint8_t bytes[VALUE_BYTES];
	char key[NAME_BYTES];
	size_t len = key_name(worker, side->table, key);
	size_t bytes_len = value_fill(side->table, worker->number, value, bytes);
	int ret = ptn_hash_put(worker->worker, side->hash, key, len, bytes, bytes_len);

	side->sure = !ret;
	side->value = value;
	return ret;
}

static int key_delete(struct world_worker *worker)
{
	struct world_side *side = &worker->side;
	bool there = side->sure && side->value, absent = side->sure && !side->value;
	char key[NAME_BYTES];
	size_t len = key_name(worker, side->table, key);
	int ret = ptn_hash_delete(worker->worker, side->hash, key, len);

	if ((there && ret == -ENOENT) || (absent && !ret))
		world_fail(worker->life->world, "table %u: a delete of worker %u's key: %s",
			   side->table, worker->number, ptn_strerror(ret));
	side->sure = !ret || ret == -ENOENT;
	side->value = 0;
	return ret;
}

/* ---- one table */

static int table_open(struct world_worker *worker, uint32_t table, uint32_t create)
{
	const struct world *world = worker->life->world;
	struct ptni_hash_params params = { .groups = 2,
					   .subtables = world->config.nodes > 2 ?
								4 :
								world->config.nodes,
					   .seed = world->config.sim.seed + table };
	struct ptn_hash_options options = { .size = sizeof(options),
					    .create = create,
					    .cache_entries = 64 };
	char name[NAME_BYTES];

	table_name(table, name);
	return ptni_hash_open(worker->worker, name, &options, &params, &worker->side.hash);
}

static void table_close(struct world_worker *worker)
{
	const struct world *world = worker->life->world;
	struct world_side *side = &worker->side;

	ptn_hash_close(side->hash);
	side->hash = NULL;
	side->drops = world->dropping[side->table] ? UINT64_MAX : world->drops[side->table];
}

/* What is known of a table's content outlives the time that it is closed, unless somebody drops it. */
static void table_remember(struct world_worker *worker, uint32_t table)
{
	struct world_side *side = &worker->side;

	if (side->table != table || side->drops != worker->life->world->drops[table])
		side->sure = false;
	side->table = table;
}

static int use(struct world_worker *worker)
{
	uint32_t ops = 1 + (uint32_t)ptni_rng_below(&worker->rng, OPS_MAX);
	int ret = 0;

	for (uint32_t i = 0; i < ops && (!ret || ret == -ENOENT); i++)
		switch (ptni_rng_below(&worker->rng, 5)) {
		case 0:
		case 1:
			ret = key_put(worker);
			break;
		case 2:
			ret = key_delete(worker);
			break;
		default:
			ret = key_get(worker);
		}
	return ret;
}

int world_table_use(struct world_worker *worker, uint32_t key)
{
	static const uint32_t create[] = { 1, 1, 1, CREATE_NEW, CREATE_NEVER };
	uint32_t how = create[ptni_rng_below(&worker->rng, 5)], table = table_of(worker, key);
	struct world_side *side = &worker->side;
	int ret;

	if (side->hash && side->table != table)
		table_close(worker);
	if (!side->hash) {
		ret = table_open(worker, table, how);
		if ((ret == -EEXIST && how == CREATE_NEW) ||
		    (ret == -ENOENT && how == CREATE_NEVER))
			return 0;
		if (ret == PTN_E_EXISTS_OTHER || ret == -ENOENT || ret == -EEXIST)
			world_fail(worker->life->world, "opening table %u (create %u): %s", table,
				   how, ptn_strerror(ret));
		if (ret)
			return ret;
		table_remember(worker, table);
	}
	ret = use(worker);
	if (ptni_rng_chance(&worker->rng, 1, 2))
		table_close(worker);
	return ret;
}

static int drop(struct world_worker *worker, uint32_t table)
{
	struct world *world = worker->life->world;
	char name[NAME_BYTES];
	int ret;

	table_name(table, name);
	world->drops[table]++;
	world->dropping[table]++;
	ret = ptn_hash_drop(worker->worker, name);
	if (!ret || ret == -EBUSY || ret == -ENOENT)
		world->dropping[table]--; /* else it may still be on its way */
	return ret;
}

int world_table_drop(struct world_worker *worker, uint32_t key)
{
	uint32_t table = table_of(worker, key);
	int ret;

	if (worker->side.hash && worker->side.table == table)
		table_close(worker);
	ret = drop(worker, table);
	return ret == -EBUSY || ret == -ENOENT ? 0 : ret;
}

void world_tables_close(struct world_worker *worker)
{
	if (worker->side.hash)
		table_close(worker);
}

/* ---- at the end */

struct visit {
	struct world *world;
	uint32_t table;
};

static int visit(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	const struct visit *visit = arg;
	uint32_t number[3] = { 0, UINT32_MAX, 0 }; /* of the value, the table, the worker */
	uint8_t expected[VALUE_BYTES];
	char name[NAME_BYTES];
	int name_len;

	if (len >= VALUE_MIN)
		memcpy(number, value, sizeof(number));
	name_len = snprintf(name, sizeof(name), "table %u worker %u", visit->table, number[2]);
	if (number[1] != visit->table || key_len != (size_t)name_len ||
	    memcmp(key, name, key_len) != 0 ||
	    value_fill(number[1], number[2], number[0], expected) != len ||
	    memcmp(value, expected, len) != 0)
		world_fail(visit->world, "table %u holds a key or value that is not its own",
			   visit->table);
	return 0;
}

static int walk(struct world_worker *worker, uint32_t table)
{
	struct visit arg = { .world = worker->life->world, .table = table };
	uint64_t cursor = 0;
	int ret = 1;

	while (ret == 1)
		ret = ptn_hash_iterate(worker->worker, worker->side.hash, &cursor, WALK_STEP, visit,
				       &arg);
	return ret;
}

static void must(struct world *world, uint32_t table, const char *what, int ret)
{
	if (ret)
		world_fail(world, "without faults, %s table %u: %s (%d)", what, table,
			   ptn_strerror(ret), ret);
}

static void table_verify(struct world_worker *worker, uint32_t table)
{
	struct world *world = worker->life->world;
	struct world_side *side = &worker->side;
	int ret = -ENOMEM;

	/* what dead creators left is adopted when there is no room, and free an epoch later */
	for (int i = 0; i < DROP_TRIES && ret == -ENOMEM; i++) {
		if (i)
			ptni_sim_sleep(world->config.term_ns);
		ret = table_open(worker, table, 1);
	}
	must(world, table, "opening", ret);
	if (ret)
		return;
	table_remember(worker, table);
	must(world, table, "walking over", walk(worker, table));
	must(world, table, "a put into", key_put(worker));
	must(world, table, "a get from", key_get(worker));
	must(world, table, "a delete from", key_delete(worker));
	table_close(worker);
	side->sure = false;
}

/* Whatever befell its creators, users and droppers, a table can be made, used and dropped. */
void world_tables_verify(struct world_worker *worker)
{
	struct world *world = worker->life->world;

	if (!world->config.weight[WORLD_TABLE_USE] && !world->config.tables)
		return;
	for (uint32_t table = 0; table < WORLD_TABLES && !world_failed(world); table++) {
		int ret = -EBUSY;

		table_verify(worker, table);
		for (int i = 0; i < DROP_TRIES && ret == -EBUSY && !world_failed(world); i++) {
			if (i) /* dead sessions have it open until they are fenced */
				ptni_sim_sleep(world->config.term_ns);
			ret = drop(worker, table);
		}
		must(world, table, "dropping", ret);
	}
}
