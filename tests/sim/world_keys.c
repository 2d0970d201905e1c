/* SPDX-License-Identifier: MIT */
#include "tests/sim/world_keys.h"

#include "ds/hashtable/layout.h"
#include "tests/sim/world_private.h"

#include "core/base/hash.h"

#include <stdio.h>

enum {
	POOL_BITS = 16, /* of keys that are looked at */
	BUCKET_BITS = 17,
	TWINS = 32,
	DEPTH_MAX = 10, /* so many low bits are shared by 64 keys of the pool */
};
#define TWINS_SEED UINT64_C(0x7477696e73)

/* Found by sorting the hashes of the first four million names. */
static const uint32_t twins[TWINS][2] = {
	{ 82434, 102117 },    { 194100, 304363 },  { 64103, 445770 },    { 176910, 537244 },
	{ 63056, 637306 },    { 607565, 645632 },  { 332765, 673516 },   { 175654, 747807 },
	{ 76934, 764401 },    { 547821, 784555 },  { 74259, 815395 },    { 691872, 834054 },
	{ 773802, 896390 },   { 818606, 977425 },  { 54438, 987578 },    { 210862, 1059372 },
	{ 701237, 1071754 },  { 36582, 1121244 },  { 873082, 1238763 },  { 699602, 1249890 },
	{ 1338443, 1352649 }, { 575211, 1354548 }, { 649008, 1355041 },  { 1331710, 1367988 },
	{ 130, 1395961 },     { 674324, 1432981 }, { 1284221, 1439788 }, { 1150260, 1486600 },
	{ 1467257, 1494592 }, { 302119, 1499945 }, { 104880, 1564526 },  { 14314, 1584430 },
};

uint64_t world_keys_seed(const struct world_config *config)
{
	return config->key.style == WORLD_KEYS_TWINS ? TWINS_SEED : config->sim.seed | 1;
}

/* --- names ---------------------------------------------------------------------------------------------------- */

static size_t plain_name(uint32_t key, uint8_t *name)
{
	return (size_t)snprintf((char *)name, WORLD_KEY_OWN_BYTES,
				key % 3 ? "k%u" : "a longer key %u", key);
}

/* Four to sixteen bytes. */
static size_t number_name(uint32_t number, uint8_t *name)
{
	memset(name, 'x', WORLD_KEY_OWN_BYTES);
	memcpy(name, &number, sizeof(number));
	return sizeof(number) + number % 13;
}

/* Names that a world may choose from. */
struct pool {
	const struct world *world;
	uint64_t seed;
	uint32_t count;
	uint32_t *order; /* numbers of names, those with the same signature together */
	uint32_t *begin; /* by signature: index in `order` */
	uint64_t *signature;
};

static size_t pool_name(const struct pool *pool, uint32_t number, uint8_t *own,
			const uint8_t **name_out)
{
	*name_out = own;
	if (pool->world->config.key.style != WORLD_KEYS_PREFIX)
		return number_name(number, own);
	*name_out = pool->world->key_base;
	return number + 1;
}

/* What keys that are alike have in common. Collisions of the mixing only make some more alike by chance. */
static uint32_t signature_of(const struct world_config *config, uint64_t hash)
{
	uint64_t state = hash & ptni_suffix_mask(config->key.share_depth);
	struct ptni_place place;

	ptni_hash_place(hash, config->groups, &place);
	if (config->key.share & WORLD_SHARE_PLACE)
		state = state << 20 ^ (uint64_t)place.first[0] << 10 ^ place.first[1];
	if (config->key.share & WORLD_SHARE_PRINT)
		state = state << 7 ^ ptni_hash_print(hash);
	if (config->key.share & WORLD_SHARE_START)
		state = state << 3 ^ (hash >> 24 & 7);
	return (uint32_t)(ptni_hash_word(state) >> (64 - BUCKET_BITS));
}

/* Counting sort by signature. */
static void pool_sort(struct pool *pool)
{
	const struct world_config *config = &pool->world->config;
	uint32_t sum = 0;

	for (uint32_t i = 0; i < pool->count; i++) {
		uint8_t own[WORLD_KEY_OWN_BYTES];
		const uint8_t *name;
		size_t len = pool_name(pool, i, own, &name);

		pool->signature[i] = signature_of(config, ptni_hash_key(name, len, pool->seed));
		pool->begin[pool->signature[i]]++;
	}
	for (uint32_t i = 0; i <= 1u << BUCKET_BITS; i++) {
		uint32_t count = pool->begin[i];

		pool->begin[i] = sum;
		sum += count;
	}
	for (uint32_t i = 0; i < pool->count; i++)
		pool->order[pool->begin[pool->signature[i]]++] = i;
	for (uint32_t i = 1u << BUCKET_BITS; i; i--) /* each begins where the one before ended */
		pool->begin[i] = pool->begin[i - 1];
	pool->begin[0] = 0;
}

static int pool_open(struct pool *pool, const struct world *world)
{
	pool->world = world;
	pool->seed = world_keys_seed(&world->config);
	pool->count = world->config.key.style == WORLD_KEYS_PREFIX ? WORLD_KEY_LONGEST :
								     1u << POOL_BITS;
	pool->order = calloc(pool->count, sizeof(*pool->order));
	pool->signature = calloc(pool->count, sizeof(*pool->signature));
	pool->begin = calloc((1u << BUCKET_BITS) + 1, sizeof(*pool->begin));
	if (!pool->order || !pool->signature || !pool->begin)
		return -ENOMEM;
	pool_sort(pool);
	return 0;
}

static void pool_close(struct pool *pool)
{
	free(pool->order);
	free(pool->signature);
	free(pool->begin);
}

static void key_set(struct world *world, uint32_t key, uint32_t number)
{
	const struct pool pool = { .world = world };

	world->key[key].len = pool_name(&pool, number, world->key_own[key], &world->key[key].name);
}

static uint32_t pool_most(const struct pool *pool)
{
	uint32_t most = 1;

	for (uint32_t s = 0; s < 1u << BUCKET_BITS; s++)
		if (pool->begin[s + 1] - pool->begin[s] > most)
			most = pool->begin[s + 1] - pool->begin[s];
	return most;
}

/* From where chance points, the next keys of one signature of which there are `same`, or as many as possible. */
static void pool_choose(const struct pool *pool, struct world *world, struct ptni_rng *rng)
{
	const uint32_t signatures = 1u << BUCKET_BITS;
	uint32_t same = world->config.key.same, key = 0, most = pool_most(pool);

	same = same < most ? same : most;
	for (bool first = true; same && key < world->config.keys; same--, first = false) {
		uint32_t at = (uint32_t)ptni_rng_below(rng, signatures);

		for (uint32_t i = 0; i < signatures && key < world->config.keys; i++) {
			uint32_t s = (at + i) % signatures, begin = pool->begin[s];
			uint32_t count = pool->begin[s + 1] - begin;

			/* what has more was taken in the round before */
			if (count < same || (!first && count > same))
				continue;
			for (uint32_t k = 0; k < same && key < world->config.keys; k++)
				key_set(world, key++, pool->order[begin + k]);
		}
	}
	world->config.keys = key;
}

/* --- making --------------------------------------------------------------------------------------------------- */

static bool are_twins(const uint32_t *pair)
{
	uint64_t hash[2];
	uint8_t name[WORLD_KEY_OWN_BYTES];

	for (unsigned i = 0; i < 2; i++)
		hash[i] = ptni_hash_key(name, number_name(pair[i], name), TWINS_SEED);
	/* print, sides, first bit of group a; tag; first slot; set */
	return !((hash[0] ^ hash[1]) &
		 (UINT64_C(0x3ff) << 54 | UINT64_C(0xffff) << 32 | UINT64_C(7) << 24 | 0x3f));
}

static int twins_make(struct world *world, struct ptni_rng *rng)
{
	uint32_t first = (uint32_t)ptni_rng_below(rng, TWINS);

	if (world->config.keys > 2 * TWINS)
		world->config.keys = 2 * TWINS;
	for (uint32_t key = 0; key < world->config.keys; key++) {
		const uint32_t *pair = twins[(first + key / 2) % TWINS];

		if (!are_twins(pair))
			return -EDOM;
		key_set(world, key, pair[key % 2]);
	}
	return 0;
}

static int alike_make(struct world *world, struct ptni_rng *rng)
{
	struct pool pool;
	int ret;

	for (size_t i = 0; i < sizeof(world->key_base); i++)
		world->key_base[i] = (uint8_t)ptni_rng_next(rng);
	ret = pool_open(&pool, world);
	if (!ret)
		pool_choose(&pool, world, rng);
	pool_close(&pool);
	return ret;
}

static int plain_make(struct world *world)
{
	for (uint32_t key = 0; key < world->config.keys; key++) {
		world->key[key].name = world->key_own[key];
		world->key[key].len = plain_name(key, world->key_own[key]);
	}
	return 0;
}

int world_keys_make(struct world *world)
{
	struct world_config *config = &world->config;
	struct ptni_rng rng;
	int ret;

	ptni_rng_seed_stream(&rng, config->sim.seed, 14);
	if (config->key.style == WORLD_KEYS_TWINS)
		ret = twins_make(world, &rng);
	else if (config->key.style != WORLD_KEYS_PLAIN)
		ret = alike_make(world, &rng);
	else
		ret = plain_make(world);
	if (config->preset > config->keys)
		config->preset = config->keys;
	if (config->hot > config->keys)
		config->hot = config->keys;
	return ret;
}

int64_t world_key_find(const struct world *world, const void *name, size_t len)
{
	for (uint32_t key = 0; key < world->config.keys; key++)
		if (world->key[key].len == len && !memcmp(world->key[key].name, name, len))
			return key;
	return -1;
}

/* --- drawing -------------------------------------------------------------------------------------------------- */

void world_keys_draw(struct ptni_rng *rng, struct world_config *config)
{
	static const uint8_t depths[] = { 0, 0, 2, 5, DEPTH_MAX };
	static const uint8_t same[] = { 2, 3, 4, 8, 12 };
	struct world_key_config *key = &config->key;

	key->style = (enum world_key_style)ptni_rng_below(rng, WORLD_KEYS_TWINS + 1);
	key->share = (uint32_t)ptni_rng_below(rng, 8);
	key->share_depth = depths[ptni_rng_below(rng, sizeof(depths))];
	key->same = same[ptni_rng_below(rng, sizeof(same))];
	if (key->share & WORLD_SHARE_PRINT && key->share_depth > 2)
		key->share_depth = 2; /* the pool has no more that are alike */
	if (key->share_depth == DEPTH_MAX && !key->share)
		key->same = config->keys; /* a table as deep as few keys can make it */
}
