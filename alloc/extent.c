/* SPDX-License-Identifier: MIT */
/*
 * See extent.h. An extent is in one of these states:
 *
 *   free --grow,span--> open <--> full      in the set's list [0] or [1]
 *                        | close
 *                        v
 *                      closed               in no list, its pages may still be given back
 *                        | shrink (or, clean_only, its last run was given back)
 *                        v
 *                      leaving --clean--> free
 *
 * Extents with pages to clean wait in one queue, whatever their state.
 */
#include "alloc/extent.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

enum extent_state {
	EXTENT_FREE,
	EXTENT_OPEN,
	EXTENT_FULL,
	EXTENT_CLOSED,
	EXTENT_LEAVING
};
enum {
	SEARCH_MAX = 64
}; /* extents looked at for a better fit once one was found */

struct extent {
	struct ptni_extent_set *set;
	uint32_t next, prev; /* in the set's list; index + 1 */
	uint32_t queue_next; /* in the cleaner's queue; index + 1 */
	uint32_t used_pages;
	uint32_t dirty_pages; /* dirty and not used, when it is to be cleaned */
	uint8_t state;
	uint8_t page_shift;
	bool queued;
};

struct ptni_extent_map {
	char *base;
	uint32_t count;
	uint32_t free_count;
	uint32_t free_hint; /* no free extent below */
	unsigned extent_shift;
	uint32_t words; /* of one bitmap of one extent */
	uint32_t queue_first, queue_last;
	uint64_t clean_bytes; /* to be cleaned */
	struct extent *extent;
	uint64_t *bits; /* per extent: used, dirty */
};

static uint64_t *used_bits(const struct ptni_extent_map *map, uint32_t extent)
{
	return map->bits + (size_t)extent * 2 * map->words;
}

static uint64_t *dirty_bits(const struct ptni_extent_map *map, uint32_t extent)
{
	return used_bits(map, extent) + map->words;
}

static uint32_t pages_of(const struct ptni_extent_map *map, const struct extent *e)
{
	return 1u << (map->extent_shift - e->page_shift);
}

/* Set or clear [first, first + count); returns how many changed. */
static uint32_t bits_fill(uint64_t *bits, uint32_t first, uint32_t count, bool value)
{
	uint32_t changed = 0;

	while (count) {
		uint32_t shift = first % 64;
		uint32_t n = 64 - shift < count ? 64 - shift : count;
		uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << shift;
		uint64_t *word = &bits[first / 64];

		changed += (uint32_t)__builtin_popcountll(mask & (value ? ~*word : *word));
		*word = value ? *word | mask : *word & ~mask;
		first += n;
		count -= n;
	}
	return changed;
}

int ptni_extent_map_open(void *base, size_t len_bytes, unsigned extent_shift,
			 struct ptni_extent_map **map_out)
{
	struct ptni_extent_map *map;
	uint64_t count;

	if (extent_shift < PTNI_EXTENT_SHIFT_MIN || extent_shift > PTNI_EXTENT_SHIFT_MAX)
		return -EINVAL;
	count = len_bytes >> extent_shift;
	if (!count || count >= UINT32_MAX)
		return -EINVAL;
	map = calloc(1, sizeof(*map));
	if (!map)
		return -ENOMEM;
	map->base = base;
	map->count = map->free_count = (uint32_t)count;
	map->extent_shift = extent_shift;
	map->words = ((1u << (extent_shift - PTNI_EXTENT_PAGE_SHIFT_MIN)) + 63) / 64;
	map->extent = calloc(count, sizeof(*map->extent));
	map->bits = calloc(count * 2 * map->words, sizeof(uint64_t));
	if (!map->extent || !map->bits) {
		ptni_extent_map_close(map);
		return -ENOMEM;
	}
	*map_out = map;
	return 0;
}

void ptni_extent_map_close(struct ptni_extent_map *map)
{
	if (!map)
		return;
	free(map->extent);
	free(map->bits);
	free(map);
}

uint32_t ptni_extent_map_count(const struct ptni_extent_map *map)
{
	return map->count;
}

uint32_t ptni_extent_map_free_count(const struct ptni_extent_map *map)
{
	return map->free_count;
}

uint64_t ptni_extent_map_used_bytes(const struct ptni_extent_map *map)
{
	return (uint64_t)(map->count - map->free_count) << map->extent_shift;
}

uint64_t ptni_extent_map_dirty_bytes(const struct ptni_extent_map *map)
{
	return map->clean_bytes;
}

uint64_t ptni_extent_addr(const struct ptni_extent_map *map, uint32_t extent)
{
	return (uint64_t)(uintptr_t)map->base + ((uint64_t)extent << map->extent_shift);
}

uint32_t ptni_extent_of(const struct ptni_extent_map *map, uint64_t addr)
{
	uint64_t offset = addr - (uint64_t)(uintptr_t)map->base;

	return offset >> map->extent_shift < map->count ? (uint32_t)(offset >> map->extent_shift) :
							  PTNI_EXTENT_NONE;
}

const struct ptni_extent_set *ptni_extent_set_of(const struct ptni_extent_map *map, uint32_t extent)
{
	return map->extent[extent].set;
}

bool ptni_extent_empty(const struct ptni_extent_map *map, uint32_t extent)
{
	return map->extent[extent].used_pages == 0;
}

/* --- lists ------------------------------------------------------------------------------------ */

static void list_remove(struct ptni_extent_map *map, uint32_t extent)
{
	struct extent *e = &map->extent[extent];

	if (e->state != EXTENT_OPEN && e->state != EXTENT_FULL)
		return;
	if (e->prev)
		map->extent[e->prev - 1].next = e->next;
	else
		e->set->first[e->state == EXTENT_FULL] = e->next;
	if (e->next)
		map->extent[e->next - 1].prev = e->prev;
	e->next = e->prev = 0;
}

static void list_insert(struct ptni_extent_map *map, uint32_t extent, enum extent_state state)
{
	struct extent *e = &map->extent[extent];
	uint32_t *first = &e->set->first[state == EXTENT_FULL];

	e->state = (uint8_t)state;
	e->prev = 0;
	e->next = *first;
	if (*first)
		map->extent[*first - 1].prev = extent + 1;
	*first = extent + 1;
}

/* Keep the extent in the list that its free pages ask for. */
static void list_update(struct ptni_extent_map *map, uint32_t extent)
{
	struct extent *e = &map->extent[extent];
	enum extent_state state = e->used_pages == pages_of(map, e) ? EXTENT_FULL : EXTENT_OPEN;

	if ((e->state != EXTENT_OPEN && e->state != EXTENT_FULL) || e->state == state)
		return;
	list_remove(map, extent);
	list_insert(map, extent, state);
}

static void extent_join(struct ptni_extent_map *map, struct ptni_extent_set *set, uint32_t extent)
{
	struct extent *e = &map->extent[extent];

	assert(e->state == EXTENT_FREE && set->page_shift <= map->extent_shift);
	e->set = set;
	e->page_shift = set->page_shift;
	map->free_count--;
	set->count++;
	list_insert(map, extent, EXTENT_OPEN);
}

static void extent_release(struct ptni_extent_map *map, uint32_t extent)
{
	struct extent *e = &map->extent[extent];

	assert(!e->used_pages && !e->dirty_pages);
	list_remove(map, extent);
	if (e->set)
		e->set->count--;
	e->set = NULL;
	e->state = EXTENT_FREE;
	map->free_count++;
	if (extent < map->free_hint)
		map->free_hint = extent;
}

/* --- taking ----------------------------------------------------------------------------------- */

static int none_free(const struct ptni_extent_map *map)
{
	return map->clean_bytes ? -EAGAIN : -ENOMEM;
}

int ptni_extent_set_grow(struct ptni_extent_map *map, struct ptni_extent_set *set,
			 uint32_t *extent_out)
{
	uint32_t extent = map->free_hint;

	if (!map->free_count)
		return none_free(map);
	while (map->extent[extent].state != EXTENT_FREE)
		extent++;
	map->free_hint = extent;
	extent_join(map, set, extent);
	*extent_out = extent;
	return 0;
}

/* The first page at or after `from` whose bit is `value`, or `pages`. */
static uint32_t page_find(const uint64_t *used, const uint64_t *dirty, uint32_t pages,
			  uint32_t from, bool value)
{
	while (from < pages) {
		uint64_t word = used[from / 64] | (dirty ? dirty[from / 64] : 0);

		word = (value ? word : ~word) >> (from % 64);
		if (word) {
			from += (uint32_t)__builtin_ctzll(word);
			return from < pages ? from : pages;
		}
		from = (from / 64 + 1) * 64;
	}
	return pages;
}

/* Shortest free run of one extent that holds the request; returns its length, 0 = none. */
static uint32_t run_search(const struct ptni_extent_map *map, uint32_t extent, uint32_t pages,
			   uint32_t align_pages, uint32_t *page_out)
{
	const struct extent *e = &map->extent[extent];
	const uint64_t *used = used_bits(map, extent);
	const uint64_t *dirty = e->set->clean_only ? dirty_bits(map, extent) : NULL;
	uint32_t total = pages_of(map, e), best = 0, end;

	if (total - e->used_pages < pages)
		return 0;
	for (uint32_t from = 0; from < total; from = end) {
		uint32_t start = page_find(used, dirty, total, from, false);
		uint32_t aligned = (start + align_pages - 1) & ~(align_pages - 1);

		end = page_find(used, dirty, total, start, true);
		if (aligned + pages <= end && (!best || end - start < best)) {
			best = end - start;
			*page_out = aligned;
		}
	}
	return best;
}

static uint64_t run_mark(struct ptni_extent_map *map, uint32_t extent, uint32_t page,
			 uint32_t pages)
{
	struct extent *e = &map->extent[extent];

	(void)bits_fill(used_bits(map, extent), page, pages, true);
	e->used_pages += pages;
	e->set->used_bytes += (uint64_t)pages << e->page_shift;
	if (!e->set->clean_only)
		bits_fill(dirty_bits(map, extent), page, pages, true);
	list_update(map, extent);
	return ptni_extent_addr(map, extent) + ((uint64_t)page << e->page_shift);
}

int ptni_extent_run_take(struct ptni_extent_map *map, struct ptni_extent_set *set, uint32_t pages,
			 uint32_t align_pages, uint64_t *addr_out)
{
	uint32_t best_extent = 0, best_page = 0, best = UINT32_MAX, looked = 0;

	if (!pages || !align_pages || (align_pages & (align_pages - 1)))
		return -EINVAL;
	for (uint32_t at = set->first[0]; at; at = map->extent[at - 1].next) {
		uint32_t page = 0;
		uint32_t run = run_search(map, at - 1, pages, align_pages, &page);

		if (run && run < best) {
			best = run;
			best_extent = at - 1;
			best_page = page;
		}
		if (best == pages || (best != UINT32_MAX && ++looked >= SEARCH_MAX))
			break;
	}
	if (best == UINT32_MAX)
		return -ENOMEM;
	*addr_out = run_mark(map, best_extent, best_page, pages);
	return 0;
}

/* The shortest stretch of free extents that holds `count`; its first, or _NONE. */
static uint32_t span_search(const struct ptni_extent_map *map, uint32_t count)
{
	uint32_t best = UINT32_MAX, best_first = PTNI_EXTENT_NONE, start = 0;

	for (uint32_t i = 0; i <= map->count; i++) {
		if (i < map->count && map->extent[i].state == EXTENT_FREE)
			continue;
		if (i - start >= count && i - start < best) {
			best = i - start;
			best_first = start;
		}
		start = i + 1;
	}
	return best_first;
}

int ptni_extent_span_take(struct ptni_extent_map *map, struct ptni_extent_set *set, uint64_t pages,
			  uint64_t *addr_out)
{
	uint32_t per_extent = 1u << (map->extent_shift - set->page_shift);
	uint64_t count = (pages + per_extent - 1) / per_extent;
	uint32_t first;

	if (!pages)
		return -EINVAL;
	if (count > map->count)
		return -ENOMEM;
	first = count > map->free_count ? PTNI_EXTENT_NONE : span_search(map, (uint32_t)count);
	if (first == PTNI_EXTENT_NONE)
		return none_free(map);
	for (uint32_t i = first; pages; i++) {
		uint32_t n = pages < per_extent ? (uint32_t)pages : per_extent;

		extent_join(map, set, i);
		run_mark(map, i, 0, n);
		pages -= n;
	}
	*addr_out = ptni_extent_addr(map, first);
	return 0;
}

/* --- giving back ------------------------------------------------------------------------------ */

static void clean_enqueue(struct ptni_extent_map *map, uint32_t extent)
{
	struct extent *e = &map->extent[extent];

	if (e->queued)
		return;
	e->queued = true;
	e->queue_next = 0;
	if (map->queue_last)
		map->extent[map->queue_last - 1].queue_next = extent + 1;
	else
		map->queue_first = extent + 1;
	map->queue_last = extent + 1;
}

static void run_unmark(struct ptni_extent_map *map, uint32_t extent, uint32_t page, uint32_t pages)
{
	struct extent *e = &map->extent[extent];
	uint32_t changed;

	(void)bits_fill(used_bits(map, extent), page, pages, false);
	e->used_pages -= pages;
	e->set->used_bytes -= (uint64_t)pages << e->page_shift;
	list_update(map, extent);
	if (!e->set->clean_only)
		return;
	changed = bits_fill(dirty_bits(map, extent), page, pages, true);
	e->dirty_pages += changed;
	map->clean_bytes += (uint64_t)changed << e->page_shift;
	clean_enqueue(map, extent);
}

void ptni_extent_run_give(struct ptni_extent_map *map, uint64_t addr, uint64_t pages)
{
	while (pages) {
		uint32_t extent = ptni_extent_of(map, addr);
		struct extent *e = &map->extent[extent];
		uint32_t page = (uint32_t)((addr - ptni_extent_addr(map, extent)) >> e->page_shift);
		uint32_t room = pages_of(map, e) - page;
		uint32_t n = pages < room ? (uint32_t)pages : room;

		run_unmark(map, extent, page, n);
		addr += (uint64_t)n << e->page_shift;
		pages -= n;
	}
}

void ptni_extent_set_close(struct ptni_extent_map *map, uint32_t extent)
{
	list_remove(map, extent);
	map->extent[extent].state = EXTENT_CLOSED;
}

void ptni_extent_set_shrink(struct ptni_extent_map *map, uint32_t extent)
{
	struct extent *e = &map->extent[extent];
	const uint64_t *dirty = dirty_bits(map, extent);

	assert(!e->used_pages && e->set && !e->set->clean_only);
	list_remove(map, extent);
	e->set->count--;
	e->set = NULL;
	e->state = EXTENT_LEAVING;
	for (uint32_t i = 0; i < map->words; i++)
		e->dirty_pages += (uint32_t)__builtin_popcountll(dirty[i]);
	map->clean_bytes += (uint64_t)e->dirty_pages << e->page_shift;
	clean_enqueue(map, extent);
}

/* Nobody has a window here; relaxed stores, since a NIC in another thread may have used it before. */
static void zero(char *at, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i += sizeof(uint64_t))
		atomic_store_explicit((_Atomic uint64_t *)(void *)(at + i), 0,
				      memory_order_relaxed);
}

/* Zero dirty pages of one extent that no run uses, within the budget; returns bytes zeroed. */
static uint64_t extent_clean(struct ptni_extent_map *map, uint32_t extent, uint64_t budget_bytes)
{
	struct extent *e = &map->extent[extent];
	uint64_t *dirty = dirty_bits(map, extent);
	uint64_t page_bytes = UINT64_C(1) << e->page_shift, done = 0;
	uint32_t total = pages_of(map, e);

	for (uint32_t page = 0; e->dirty_pages && done < budget_bytes; page++) {
		page = page_find(dirty, NULL, total, page, true);
		assert(page < total);
		zero(map->base + ((uint64_t)extent << map->extent_shift) + page * page_bytes,
		     page_bytes);
		bits_fill(dirty, page, 1, false);
		e->dirty_pages--;
		done += page_bytes;
	}
	return done;
}

uint64_t ptni_extent_map_clean(struct ptni_extent_map *map, uint64_t budget_bytes)
{
	while (map->queue_first && budget_bytes) {
		uint32_t extent = map->queue_first - 1;
		struct extent *e = &map->extent[extent];
		uint64_t done = extent_clean(map, extent, budget_bytes);

		map->clean_bytes -= done;
		budget_bytes -= done < budget_bytes ? done : budget_bytes;
		if (e->dirty_pages)
			break;
		map->queue_first = e->queue_next;
		if (!map->queue_first)
			map->queue_last = 0;
		e->queued = false;
		if (!e->used_pages)
			extent_release(map, extent);
	}
	return map->clean_bytes;
}
