/* SPDX-License-Identifier: MIT */
/*
 * The keys of a world. Keys by chance hardly ever meet: two of a hundred share a bucket, a fingerprint or an entry
 * of a slot cache once in a hundred worlds, and then nobody deletes the one and inserts the other at the right moment.
 * Here they are looked for by their hash (ds/hashtable/layout.h), so that they do:
 *
 *   PLAIN   any; two lengths
 *   ALIKE   `same` of them share what `share` says, then the next `same` do
 *   PREFIX  the same, and each is the beginning of all that are longer
 *   TWINS   by two they share bucket pair, fingerprint, first slot, and tag and set of a slot cache: all that a
 *           client can tell them apart by but the key itself and the cache's second hash
 */
#ifndef TESTS_SIM_WORLD_KEYS_H
#define TESTS_SIM_WORLD_KEYS_H

#include <stddef.h>
#include <stdint.h>

enum world_key_style {
	WORLD_KEYS_PLAIN,
	WORLD_KEYS_ALIKE,
	WORLD_KEYS_PREFIX,
	WORLD_KEYS_TWINS
};

enum {
	WORLD_SHARE_PLACE = 1, /* both buckets, home first */
	WORLD_SHARE_PRINT = 2, /* the fingerprint */
	WORLD_SHARE_START = 4, /* where an insert looks for an empty slot first */
	WORLD_KEY_OWN_BYTES = 24, /* of a key that is no prefix */
	WORLD_KEY_LONGEST = 1024,
};

struct world_key_config {
	enum world_key_style style;
	uint32_t share; /* WORLD_SHARE_* */
	uint32_t share_depth; /* low bits of the hash: so deep they are in one subtable */
	uint32_t same;
};

struct world_key {
	const uint8_t *name;
	size_t len;
};

struct ptni_rng;
struct world;
struct world_config;

/* Seed of the table's hash in a world. */
uint64_t world_keys_seed(const struct world_config *config);
/* By the world's seed, for those in which keys are to meet. */
void world_keys_draw(struct ptni_rng *rng, struct world_config *config);
/* Fills world->key; -ENOMEM, -EDOM: the hash is not the one that the twins were found with. */
int world_keys_make(struct world *world);
/* Which key it is, -1 for none. */
int64_t world_key_find(const struct world *world, const void *name, size_t len);

#endif
