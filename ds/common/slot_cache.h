/* SPDX-License-Identifier: MIT */
/*
 * A worker's memory of where keys are: hash -> (index of the slot in its subtable, the slot's word,
 * epoch in which an operation last saw it so). 24 bytes an entry, four entries a set:
 *
 *   set    | meta 0 | meta 1 | meta 2 | meta 3 | word 0 | word 1 | word 2 | word 3 |    64 bytes
 *   check  | check 0 | check 1 | check 2 | check 3 |                                    32 bytes
 *   meta   | tag 16 | index 16 | heat 4 | epoch 28 |                   word 0 = no entry
 *
 * An entry is a hint. A read goes by tag and fingerprint: the slot is read beside the block, and the
 * block's key tells whether it was the right one. A write that does not read first (a CAS that
 * expects the cached word, see ptni_slot_blind_ok) has no key to compare, so it goes by `check` as well: 64
 * bits of a second hash, with tag, fingerprint and set about 100 bits that two keys would have to share by chance.
 *
 * Heat counts how often the slot was found changed, less how often not. A hot entry's block is not
 * read speculatively, nor does a CAS go by it: the slot is read first, then what it names now is read or
 * replaced. A CAS in vain costs two round trips more, and the card's time for the word, of which it has little.
 *
 * Epochs are kept modulo 2^28; the cache empties itself whenever the epoch's upper part changes (at
 * 5 ms an epoch every four days), so no entry is older than half of that range. Not thread safe.
 */
#ifndef PTNI_SLOT_CACHE_H
#define PTNI_SLOT_CACHE_H

#include "ds/common/slot.h"

#include <stddef.h>

enum {
	PTNI_CACHE_WAYS = 4,
	PTNI_CACHE_HEAT_MAX = 15,
	PTNI_CACHE_HOT = 8, /* from here on no speculation, no blind CAS */
	PTNI_CACHE_EPOCH_BITS = 28,
	PTNI_CACHE_ERA_SHIFT = 26,
	PTNI_CACHE_NODES = 64,
};

struct ptni_slot_cache_set {
	_Alignas(64) uint64_t meta[PTNI_CACHE_WAYS];
	uint64_t word[PTNI_CACHE_WAYS];
};

struct ptni_slot_cache {
	struct ptni_slot_cache_set *set; /* NULL: no cache */
	uint64_t (*check)[PTNI_CACHE_WAYS];
	uint64_t mask;
	size_t mapped_bytes;
	uint32_t victim;
	uint32_t era[PTNI_CACHE_NODES];
};

struct ptni_slot_hint {
	uint64_t word;
	uint64_t epoch;
	uint32_t index;
	uint32_t heat;
};

/* At least `entries`, rounded up to a power of two; 0: a cache that never finds anything. -ENOMEM. */
int ptni_slot_cache_open(struct ptni_slot_cache *cache, uint64_t entries);
void ptni_slot_cache_close(struct ptni_slot_cache *cache);
void ptni_slot_cache_clear(struct ptni_slot_cache *cache);
void ptni_slot_cache_store(struct ptni_slot_cache *cache, uint64_t hash, uint64_t check,
			   uint32_t index, uint64_t word, uint64_t epoch);
/* Is the entry that _find() returns for this hash this very key's? */
bool ptni_slot_cache_is(const struct ptni_slot_cache *cache, uint64_t hash, uint64_t check);
/* The slot was not as the entry said. */
void ptni_slot_cache_heat(struct ptni_slot_cache *cache, uint64_t hash);
void ptni_slot_cache_drop(struct ptni_slot_cache *cache, uint64_t hash);

/* Before the first use in an operation: the node's epoch now. */
static inline void ptni_slot_cache_epoch(struct ptni_slot_cache *cache, unsigned node,
					 uint64_t epoch)
{
	uint32_t era = (uint32_t)(epoch >> PTNI_CACHE_ERA_SHIFT);

	if (__builtin_expect(cache->era[node] != era, 0)) {
		ptni_slot_cache_clear(cache);
		cache->era[node] = era;
	}
}

static inline struct ptni_slot_cache_set *ptni_slot_cache_set(const struct ptni_slot_cache *cache,
							      uint64_t hash)
{
	return &cache->set[hash & cache->mask];
}

static inline uint16_t ptni_slot_cache_tag(uint64_t hash)
{
	return (uint16_t)(hash >> 32);
}

/* Inline by force: the compiler drops calls to a function that only prefetches. */
static inline __attribute__((always_inline)) void
ptni_slot_cache_prefetch(const struct ptni_slot_cache *cache, uint64_t hash)
{
	if (cache->set)
		__builtin_prefetch(ptni_slot_cache_set(cache, hash), 1);
}

/* What ptni_slot_cache_is will look at. */
static inline __attribute__((always_inline)) void
ptni_slot_cache_prefetch_check(const struct ptni_slot_cache *cache, uint64_t hash)
{
	if (cache->set)
		__builtin_prefetch(&cache->check[hash & cache->mask], 1);
}

/* Which way holds the hash, or -1. The fingerprint in the word counts as part of the tag. */
static inline int ptni_slot_cache_way(const struct ptni_slot_cache_set *set, uint64_t hash)
{
	unsigned print = (unsigned)(hash >> (64 - PTNI_SLOT_PRINT_BITS));

	for (int i = 0; i < PTNI_CACHE_WAYS; i++)
		if ((set->meta[i] >> 48) == ptni_slot_cache_tag(hash) && set->word[i] &&
		    ptni_slot_print(set->word[i]) == print)
			return i;
	return -1;
}

static inline uint64_t ptni_slot_cache_meta(uint64_t hash, uint32_t index, uint32_t heat,
					    uint64_t epoch)
{
	return (uint64_t)ptni_slot_cache_tag(hash) << 48 | (uint64_t)index << 32 |
	       (uint64_t)heat << PTNI_CACHE_EPOCH_BITS |
	       (epoch & ((1u << PTNI_CACHE_EPOCH_BITS) - 1));
}

static inline bool ptni_slot_cache_find(const struct ptni_slot_cache *cache, uint64_t hash,
					uint64_t epoch, struct ptni_slot_hint *hint)
{
	const struct ptni_slot_cache_set *set;
	uint64_t meta;
	int way;

	if (!cache->set)
		return false;
	set = ptni_slot_cache_set(cache, hash);
	way = ptni_slot_cache_way(set, hash);
	if (way < 0)
		return false;
	meta = set->meta[way];
	hint->word = set->word[way];
	hint->index = (meta >> 32) & 0xffff;
	hint->heat = (meta >> PTNI_CACHE_EPOCH_BITS) & PTNI_CACHE_HEAT_MAX;
	hint->epoch = epoch - ((epoch - meta) & ((1u << PTNI_CACHE_EPOCH_BITS) - 1));
	return true;
}

/* The entry was found true in this epoch. */
static inline void ptni_slot_cache_confirm(struct ptni_slot_cache *cache, uint64_t hash,
					   const struct ptni_slot_hint *hint, uint64_t epoch)
{
	struct ptni_slot_cache_set *set = ptni_slot_cache_set(cache, hash);
	int way = ptni_slot_cache_way(set, hash);

	if (way >= 0 && set->word[way] == hint->word && (hint->epoch != epoch || hint->heat))
		set->meta[way] = ptni_slot_cache_meta(hash, hint->index,
						      hint->heat ? hint->heat - 1 : 0, epoch);
}

#endif
