/* SPDX-License-Identifier: MIT */
/* What a worker does: operations by chance or script, each written down, each answer looked at. */
#include "tests/sim/leak.h"
#include "tests/sim/world_private.h"

#include <stdio.h>

enum {
	REST_TERMS = 4,
	MEET_NS = 100000,
	ABOUT_NS = 8000,
	NAP_DIVISOR = 2, /* of a term: who visits is to be short */
	WALK_STEP = 8,
	VERIFY_TRIES = 20,
};

uint64_t world_now_ns(const struct world *world)
{
	return ptni_sim_now_ns(world->sim);
}

/* ---- values */

static uint64_t mix(uint32_t key, uint32_t value)
{
	uint64_t state = (uint64_t)key << 32 | value;

	return ptni_splitmix64(&state);
}

/* Few lengths, so that few size classes take few chunks; now and then any. */
static size_t value_len(const struct world *world, uint32_t key, uint32_t value)
{
	static const uint16_t usual[] = { 8, 41, 120, 200 };
	uint64_t chance = mix(key, value);

	if (world->config.value_fixed)
		return world->config.value_fixed;
	if (chance % 32)
		return usual[(chance >> 8) % 4];
	return 8 + (chance >> 8) % (world->config.value_max - 7);
}

/* Every byte follows from key and value. */
size_t world_value_fill(const struct world *world, uint32_t key, uint32_t value, uint8_t *bytes)
{
	size_t len = value_len(world, key, value);
	uint64_t pattern = mix(value, key);

	memcpy(bytes, &value, 4);
	memcpy(bytes + 4, &key, 4);
	for (size_t i = 8; i < len; i++)
		bytes[i] = (uint8_t)(pattern >> i % 8 * 8) ^ (uint8_t)i;
	return len;
}

uint32_t world_value_read(struct world *world, uint32_t key, const uint8_t *bytes, size_t len)
{
	static uint8_t expected[WORLD_VALUE_MAX];
	uint32_t value = 0, of = 0;

	if (len >= 8) {
		memcpy(&value, bytes, 4);
		memcpy(&of, bytes + 4, 4);
	}
	if (len >= 8 && of == key && value && value <= world->history->values &&
	    value_len(world, key, value) == len) {
		(void)world_value_fill(world, key, value, expected);
		if (!memcmp(bytes, expected, len))
			return value;
	}
	world_fail(world, "key %u: %zu bytes were read that nobody wrote (value %u of key %u)", key,
		   len, value, of);
	return 0;
}

/* ---- errors */

/* What no fault of the world explains. */
static bool impossible(int ret)
{
	return ptn_error_scope(ret) == PTN_SCOPE_CORRUPTION || ret == -EINVAL || ret == -EFAULT ||
	       ret == -E2BIG || ret == -ENOBUFS || ret > 0 || ret == PTN_E_PROTOCOL ||
	       ret == PTN_E_VERSION;
}

/* False: the worker's life is over. */
static bool judge(struct world_worker *worker, const char *what, uint32_t key, int ret)
{
	struct world_life *life = worker->life;
	struct ptn_cause cause;

	life->world->result->ops++;
	if (!ret || ret == -ENOENT || ret == -EEXIST)
		return true;
	world_told(life->world, ret);
	ptni_sim_note(life->world->sim, (uint64_t)(int64_t)ret);
	if (impossible(ret)) {
		ptn_worker_cause(worker->worker, &cause);
		world_fail(life->world, "client %u: %s of key %u: %s (%d, %s, status %u)",
			   life->client_number, what, key, ptn_strerror(ret), ret,
			   cause.where ? cause.where : "?", (unsigned)cause.wc_status);
	}
	if (ptn_error_scope(ret) == PTN_SCOPE_NODE && !world_parted(life)) {
		life->error = true;
		return false;
	}
	return !world_failed(life->world);
}

/* ---- operations */

static int get_one(struct world_worker *worker, uint32_t key)
{
	struct world *world = worker->life->world;
	uint32_t op = history_begin(world->history, worker->number, HISTORY_GET, key, 0,
				    world_now_ns(world));
	const struct world_key *name = &world->key[key];
	size_t got = 0;
	uint32_t value = 0;
	int ret = ptn_hash_get(worker->worker, worker->life->hash, name->name, name->len,
			       worker->buffer[0], WORLD_VALUE_MAX, &got);

	if (!ret)
		value = world_value_read(world, key, worker->buffer[0], got);
	history_end(world->history, op, history_outcome(HISTORY_GET, ret), value,
		    world_now_ns(world));
	return ret;
}

int world_get(struct world_worker *worker, uint32_t key)
{
	return get_one(worker, key);
}

static int write_one(struct world_worker *worker, enum history_kind kind, uint32_t key)
{
	struct world *world = worker->life->world;
	struct ptn_hash *hash = worker->life->hash;
	uint32_t value = kind == HISTORY_DELETE ? 0 : history_value(world->history);
	size_t bytes = value ? world_value_fill(world, key, value, worker->buffer[0]) : 0;
	uint32_t op = history_begin(world->history, worker->number, kind, key, value,
				    world_now_ns(world));
	const struct world_key *name = &world->key[key];
	int ret;

	if (kind == HISTORY_PUT)
		ret = ptn_hash_put(worker->worker, hash, name->name, name->len, worker->buffer[0],
				   bytes);
	else if (kind == HISTORY_INSERT)
		ret = ptn_hash_insert(worker->worker, hash, name->name, name->len,
				      worker->buffer[0], bytes);
	else if (kind == HISTORY_UPDATE)
		ret = ptn_hash_update(worker->worker, hash, name->name, name->len,
				      worker->buffer[0], bytes);
	else
		ret = ptn_hash_delete(worker->worker, hash, name->name, name->len);
	history_end(world->history, op, history_outcome(kind, ret), 0, world_now_ns(world));
	return ret;
}

struct visit {
	struct world_worker *worker;
	uint32_t walk;
};

static bool naps(const struct world_worker *worker)
{
	const struct world_config *config = &worker->life->world->config;

	return config->nap_one_in && !worker->life->verifier &&
	       !(config->nap_alone && worker->life->client_number);
}

/* Inside of an operation, which holds back the re-use of memory meanwhile. */
static void nap_inside(struct world_worker *worker)
{
	const struct world_config *config = &worker->life->world->config;
	uint64_t most_ns = config->term_ns / NAP_DIVISOR;

	if (naps(worker) && ptni_rng_chance(&worker->rng, 1, 4 * config->nap_one_in))
		ptni_sim_sleep(config->nap_ns < most_ns ? config->nap_ns : most_ns);
}

static int visit(void *arg, const void *name, size_t name_len, const void *bytes, size_t len)
{
	struct visit *visit = arg;
	struct world *world = visit->worker->life->world;
	int64_t key = world_key_find(world, name, name_len);

	if (key < 0) {
		world_fail(world, "a walk met a key of %zu bytes that nobody wrote", name_len);
		return -EPROTO;
	}
	history_visit(world->history, visit->walk, (uint32_t)key,
		      world_value_read(world, (uint32_t)key, bytes, len), world_now_ns(world));
	nap_inside(visit->worker);
	return 0;
}

static int walk(struct world_worker *worker)
{
	struct world *world = worker->life->world;
	struct visit arg = { .worker = worker };
	uint64_t cursor = 0;
	int ret = 1;

	arg.walk = history_walk_begin(world->history, worker->number, world_now_ns(world));
	while (ret == 1) {
		history_walk_step(world->history, arg.walk);
		ret = ptn_hash_iterate(worker->worker, worker->life->hash, &cursor, WALK_STEP,
				       visit, &arg);
	}
	history_walk_end(world->history, arg.walk, !ret, world_now_ns(world));
	return ret;
}

static const char *const act_name[] = { "get",           "put",        "insert",    "update",
					"delete",        "multi-get",  "multi-put", "walk",
					"leased memory", "compacting", "use",       "drop" };

static int act_run(struct world_worker *worker, enum world_act what, uint32_t key)
{
	static const enum history_kind kind[] = { [WORLD_PUT] = HISTORY_PUT,
						  [WORLD_INSERT] = HISTORY_INSERT,
						  [WORLD_UPDATE] = HISTORY_UPDATE,
						  [WORLD_DELETE] = HISTORY_DELETE };

	switch (what) {
	case WORLD_GET:
		return get_one(worker, key);
	case WORLD_MULTI_GET:
		return world_multi_get(worker, key);
	case WORLD_MULTI_PUT:
		return world_multi_put(worker, key);
	case WORLD_WALK:
		return walk(worker);
	case WORLD_MEMORY:
		return world_memory(worker);
	case WORLD_COMPACT:
		return world_compact(worker);
	case WORLD_TABLE_USE:
		return world_table_use(worker, key);
	case WORLD_TABLE_DROP:
		return world_table_drop(worker, key);
	default:
		return write_one(worker, kind[what], key);
	}
}

static int act_timed(struct world_worker *worker, enum world_act what, uint32_t key)
{
	struct world *world = worker->life->world;
	uint64_t took_ns;
	int ret;

	worker->op_began_ns = world_now_ns(world);
	ret = act_run(worker, what, key);
	took_ns = world_now_ns(world) - worker->op_began_ns;
	if (what != WORLD_MULTI_GET && what != WORLD_MULTI_PUT && what != WORLD_WALK &&
	    what < WORLD_COMPACT && took_ns > world->result->longest_ns)
		world->result->longest_ns = took_ns;
	worker->op_began_ns = 0;
	return ret;
}

static bool act(struct world_worker *worker, enum world_act what, uint32_t key)
{
	return judge(worker, act_name[what], key, act_timed(worker, what, key));
}

/* ---- workloads */

static enum world_act act_draw(struct world_worker *worker)
{
	const struct world_config *config = &worker->life->world->config;
	uint32_t total = 0, at;

	for (int i = 0; i < WORLD_ACTS; i++)
		total += config->weight[i];
	at = (uint32_t)ptni_rng_below(&worker->rng, total);
	for (int i = 0; i < WORLD_ACTS; i++) {
		if (at < config->weight[i])
			return (enum world_act)i;
		at -= config->weight[i];
	}
	return WORLD_GET;
}

uint32_t world_key_draw(struct world_worker *worker)
{
	const struct world_config *config = &worker->life->world->config;

	if (config->hot && ptni_rng_chance(&worker->rng, 3, 5))
		return (uint32_t)ptni_rng_below(&worker->rng, config->hot);
	return (uint32_t)ptni_rng_below(&worker->rng, config->keys);
}

static void meet(struct world_worker *worker)
{
	uint64_t now_ns = world_now_ns(worker->life->world);

	ptni_sim_sleep(MEET_NS - now_ns % MEET_NS + ptni_rng_below(&worker->rng, ABOUT_NS));
}

void world_work(struct world_worker *worker)
{
	struct world_life *life = worker->life;
	struct world *world = life->world;
	const struct world_config *config = &world->config;
	uint32_t *left = &world->client[life->client_number].ops_left[worker - life->worker];

	for (bool alive = true; alive && *left && !life->error && !world_failed(world);) {
		const struct world_step *script = config->script[life->client_number];
		uint32_t number = config->ops - (*left)--;

		if (script && script[number].act == WORLD_REST)
			ptni_sim_sleep(REST_TERMS * config->term_ns);
		else if (script && script[number].act == WORLD_MEET)
			meet(worker);
		else if (script && worker == life->worker)
			alive = act(worker, script[number].act, script[number].key);
		else if (!script)
			alive = act(worker, act_draw(worker), world_key_draw(worker));
		if (alive && config->think_ns)
			ptni_sim_sleep(ptni_rng_below(&worker->rng, config->think_ns));
		if (alive && naps(worker) && ptni_rng_chance(&worker->rng, 1, config->nap_one_in))
			ptni_sim_sleep(config->nap_ns);
		if (alive && config->leave_one_in &&
		    ptni_rng_chance(&worker->rng, 1, config->leave_one_in))
			life->error = true;
	}
}

void world_preset(struct world_worker *worker)
{
	const struct world_config *config = &worker->life->world->config;

	for (uint32_t key = 0; key < config->preset; key++)
		if ((!config->preset_but || (key + 1) % config->preset_but) &&
		    !act(worker, WORLD_PUT, key))
			return;
}

/* That may be too small for what a client does alone. */
static bool own_quota(int ret)
{
	return ret == PTN_E_QUOTA || ret == -EDQUOT;
}

/* Without faults only memory may be wanting, and may have to be waited for: what the dead held comes back in time. */
static void verify_act(struct world_worker *worker, enum world_act what, uint32_t key)
{
	struct world *world = worker->life->world;
	struct ptn_cause cause;
	int ret = 0;

	for (int try = 0; try < VERIFY_TRIES && !world_failed(world); try++) {
		if (try)
			ptni_sim_sleep(world->config.term_ns);
		ret = act_timed(worker, what, key);
		(void)judge(worker, act_name[what], key, ret);
		/* a lane breaks when an operation has to end with a request under way */
		if (ret != -ETIMEDOUT && ptn_error_scope(ret) != PTN_SCOPE_LANE &&
		    !(ret == PTN_E_NODE_FULL && world_is_scarce(world, ret)))
			break;
	}
	ptn_worker_cause(worker->worker, &cause);
	if (ret && ret != -ENOMEM && ret != -ENOENT &&
	    !(own_quota(ret) && world_is_scarce(world, ret)))
		world_fail(world, "without faults, %s of key %u: %s (%d, %s)", act_name[what], key,
			   ptn_strerror(ret), ret, cause.where ? cause.where : "?");
}

/* Without faults every key can be read, and the whole table walked. */
void world_verify(struct world_worker *worker)
{
	struct world *world = worker->life->world;
	struct ptn_hash_info info;
	int ret = 0;

	for (uint32_t key = 0; key < world->config.keys && !world_failed(world); key++) {
		ret = get_one(worker, key);
		if (ret && ret != -ENOENT)
			world_fail(world, "without faults, a get of key %u: %s (%d)", key,
				   ptn_strerror(ret), ret);
	}
	ret = walk(worker);
	if (ret)
		world_fail(world, "without faults, a walk: %s (%d)", ptn_strerror(ret), ret);
	if (world->result->kills) /* before anything new takes the place of what the dead left */
		leak_check(worker);
	ret = ptn_hash_info(worker->worker, worker->life->hash, &info);
	if (ret)
		world_fail(world, "without faults, ptn_hash_info: %s (%d)", ptn_strerror(ret), ret);
	else
		world->result->splits = (uint32_t)info.subtables;
	for (uint32_t key = 0; key < world->config.keys && !world_failed(world); key++) {
		verify_act(worker, WORLD_PUT, key);
		verify_act(worker, WORLD_UPDATE, key);
		if (!(key % 2))
			verify_act(worker, WORLD_DELETE, key);
	}
	leak_check(worker);
	worker->life->dropping = true;
	ptn_hash_close(worker->life->hash);
	worker->life->hash = NULL;
	for (int i = 0; i < VERIFY_TRIES;
	     i++) { /* dead sessions have it open until they are fenced */
		ret = ptn_hash_drop(worker->worker, "table");
		if (ret != -EBUSY)
			break;
		ptni_sim_sleep(world->config.term_ns);
	}
	if (ret)
		world_fail(world, "without faults, dropping the table: %s (%d)", ptn_strerror(ret),
			   ret);
	world_tables_verify(worker);
}
