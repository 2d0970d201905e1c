/* SPDX-License-Identifier: MIT */
#include "ds/common/slot_cache.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int ptni_slot_cache_open(struct ptni_slot_cache *cache, uint64_t entries)
{
	const size_t huge_page_bytes = 2 << 20;
	uint64_t sets = 1;
	void *memory;

	memset(cache, 0, sizeof(*cache));
	if (!entries)
		return 0;
	if (entries > UINT64_C(1) << 32)
		entries = UINT64_C(1) << 32;
	while (sets * PTNI_CACHE_WAYS < entries)
		sets *= 2;
	/* Untouched pages cost nothing: a worker that uses few keys keeps a small cache. */
	cache->mapped_bytes = sets * (sizeof(*cache->set) + sizeof(*cache->check));
	memory = mmap(NULL, cache->mapped_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	if (cache->mapped_bytes >= huge_page_bytes)
		madvise(memory, cache->mapped_bytes, MADV_HUGEPAGE);
	cache->set = memory;
	cache->check = (void *)(cache->set + sets);
	cache->mask = sets - 1;
	return 0;
}

void ptni_slot_cache_close(struct ptni_slot_cache *cache)
{
	if (cache->set)
		munmap(cache->set, cache->mapped_bytes);
	cache->set = NULL;
}

void ptni_slot_cache_clear(struct ptni_slot_cache *cache)
{
	if (cache->set)
		madvise(cache->set, cache->mapped_bytes, MADV_DONTNEED);
}

static int way_for(struct ptni_slot_cache *cache, struct ptni_slot_cache_set *set, uint64_t hash)
{
	int way = ptni_slot_cache_way(set, hash);

	for (int i = 0; way < 0 && i < PTNI_CACHE_WAYS; i++)
		if (!set->word[i])
			way = i;
	if (way < 0)
		way = (int)(cache->victim++ % PTNI_CACHE_WAYS);
	return way;
}

void ptni_slot_cache_store(struct ptni_slot_cache *cache, uint64_t hash, uint64_t check,
			   uint32_t index, uint64_t word, uint64_t epoch)
{
	struct ptni_slot_cache_set *set;
	uint32_t heat = 0;
	int way;

	if (!cache->set)
		return;
	set = ptni_slot_cache_set(cache, hash);
	way = ptni_slot_cache_way(set, hash);
	if (way >= 0)
		heat = (set->meta[way] >> PTNI_CACHE_EPOCH_BITS) & PTNI_CACHE_HEAT_MAX;
	else
		way = way_for(cache, set, hash);
	set->word[way] = ptni_slot_bare(word);
	set->meta[way] = ptni_slot_cache_meta(hash, index, heat, epoch);
	cache->check[hash & cache->mask][way] = check;
}

bool ptni_slot_cache_is(const struct ptni_slot_cache *cache, uint64_t hash, uint64_t check)
{
	int way;

	if (!cache->set)
		return false;
	way = ptni_slot_cache_way(ptni_slot_cache_set(cache, hash), hash);
	return way >= 0 && cache->check[hash & cache->mask][way] == check;
}

void ptni_slot_cache_heat(struct ptni_slot_cache *cache, uint64_t hash)
{
	const uint32_t step = 3;
	struct ptni_slot_cache_set *set;
	uint64_t meta;
	uint32_t heat;
	int way;

	if (!cache->set)
		return;
	set = ptni_slot_cache_set(cache, hash);
	way = ptni_slot_cache_way(set, hash);
	if (way < 0)
		return;
	meta = set->meta[way];
	heat = (meta >> PTNI_CACHE_EPOCH_BITS) & PTNI_CACHE_HEAT_MAX;
	heat = heat + step > PTNI_CACHE_HEAT_MAX ? PTNI_CACHE_HEAT_MAX : heat + step;
	meta &= ~((uint64_t)PTNI_CACHE_HEAT_MAX << PTNI_CACHE_EPOCH_BITS);
	set->meta[way] = meta | (uint64_t)heat << PTNI_CACHE_EPOCH_BITS;
}

void ptni_slot_cache_drop(struct ptni_slot_cache *cache, uint64_t hash)
{
	struct ptni_slot_cache_set *set;
	int way;

	if (!cache->set)
		return;
	set = ptni_slot_cache_set(cache, hash);
	way = ptni_slot_cache_way(set, hash);
	if (way >= 0)
		set->word[way] = 0;
}
