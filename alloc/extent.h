/* SPDX-License-Identifier: MIT */
/*
 * The node's map of its region: extents of 1 << extent_shift bytes, and runs of pages inside them.
 *
 *   region   | extent 0 | extent 1 | extent 2 | ...           an extent is free or belongs to one set
 *   extent   |p|p|p|p|p|p|p|p|p|p|p|p|p|p|p|p|                two bits a page: used, dirty
 *
 * A set is what owns extents: one space, or all of ptn_memory. Its pages have the set's size. A run
 * is some adjacent pages of one set; a run longer than an extent takes adjacent extents.
 *
 * 1. A page belongs to at most one run; an extent to at most one set.
 * 2. A free extent is all zeroes. Pages that were used are dirty until ptni_extent_map_clean() has
 *    zeroed them, a bounded piece at a time. A set with `clean_only` never gets a dirty page, so what
 *    it hands out is zero; other sets re-use their own dirty pages and initialise them themselves.
 * 3. Best fit: the shortest free run that is long enough, of extents that are in use already, so that
 *    other extents can become empty.
 *
 * One thread. Nothing here talks to anybody: who may still reach a run that is given back is the
 * caller's business (it withdraws windows first).
 */
#ifndef PTNI_EXTENT_H
#define PTNI_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PTNI_EXTENT_SHIFT_MIN = 16,
	PTNI_EXTENT_SHIFT_MAX = 40,
	PTNI_EXTENT_PAGE_SHIFT_MIN = 12,
	PTNI_EXTENT_NONE = UINT32_MAX,
};

struct ptni_extent_map;

/* Zero it, then set page_shift and clean_only; the map keeps the rest. */
struct ptni_extent_set {
	uint8_t page_shift; /* PTNI_EXTENT_PAGE_SHIFT_MIN..extent_shift */
	bool clean_only;
	uint32_t count; /* extents */
	uint64_t used_bytes; /* in runs */
	uint32_t first[2]; /* lists: [0] with free pages, [1] full; index + 1, 0 = empty */
};

/* `base` is the region as this process sees it; a tail that is no whole extent is left alone.
 * -EINVAL, -ENOMEM. */
int ptni_extent_map_open(void *base, size_t len_bytes, unsigned extent_shift,
			 struct ptni_extent_map **map_out);
void ptni_extent_map_close(struct ptni_extent_map *map);

uint32_t ptni_extent_map_count(const struct ptni_extent_map *map);
uint32_t ptni_extent_map_free_count(const struct ptni_extent_map *map);
/* Of extents that are not free, those being cleaned included. */
uint64_t ptni_extent_map_used_bytes(const struct ptni_extent_map *map);
uint64_t
ptni_extent_map_dirty_bytes(const struct ptni_extent_map *map); /* waiting for the cleaner */
uint64_t ptni_extent_addr(const struct ptni_extent_map *map, uint32_t extent);
uint32_t ptni_extent_of(const struct ptni_extent_map *map, uint64_t addr); /* or _NONE */
const struct ptni_extent_set *ptni_extent_set_of(const struct ptni_extent_map *map,
						 uint32_t extent);
bool ptni_extent_empty(const struct ptni_extent_map *map, uint32_t extent); /* no run in it */

/* Give the set one more extent. -ENOMEM none is free; -EAGAIN none yet, but cleaning will free some. */
int ptni_extent_set_grow(struct ptni_extent_map *map, struct ptni_extent_set *set,
			 uint32_t *extent_out);
/*
 * A run of `pages` (at most an extent) at a multiple of `align_pages` (a power of two) in the set's
 * extents. -ENOMEM: no such run, let it grow.
 */
int ptni_extent_run_take(struct ptni_extent_map *map, struct ptni_extent_set *set, uint32_t pages,
			 uint32_t align_pages, uint64_t *addr_out);
/* A run from free adjacent extents, which join the set. -ENOMEM, -EAGAIN as above. */
int ptni_extent_span_take(struct ptni_extent_map *map, struct ptni_extent_set *set, uint64_t pages,
			  uint64_t *addr_out);
/*
 * Give back what one of the two took, whole. A clean_only set loses extents that become empty by
 * themselves; other sets by ptni_extent_set_shrink.
 */
void ptni_extent_run_give(struct ptni_extent_map *map, uint64_t addr, uint64_t pages);
/* Take an empty extent from its set; it is free once it has been cleaned. */
void ptni_extent_set_shrink(struct ptni_extent_map *map, uint32_t extent);
/* Keep new runs out of an extent that is about to be shrunk. */
void ptni_extent_set_close(struct ptni_extent_map *map, uint32_t extent);

/* Zero at most `budget_bytes` (rounded up to a page) of dirty pages; returns what is left to do. */
uint64_t ptni_extent_map_clean(struct ptni_extent_map *map, uint64_t budget_bytes);

#endif
