/* SPDX-License-Identifier: MIT */
/*
 * What a worker knows about the slabs that it fills: which blocks are free, which wait for the grace
 * period. Local memory only, no communication, one thread; epochs are arguments.
 *
 *   heap (one per class)
 *     current ── slab ── word of 64 blocks being handed out (held in heap->bits)
 *     partial ── slabs with free blocks        limbo ── slabs with blocks in limbo, oldest first
 *     all     ── every slab, for sweeps        empty ── chunks whose every block is free
 *     scan    ── adopted, not all asked about  grace ── adopted, asked about, oldest first
 *
 *   block   FREE ──take──► USED ──retire──► YOUNG ──► OLD ── horizon > tag ──► FREE
 *             ◄──cancel──┘        (two generations of limbo a slab, a tag each)
 *
 * 1. A block that was retired with a tag is not handed out before a promotion with horizon > tag.
 * 2. Every generation is promoted once the horizon has passed its tag: a generation's tag only grows
 *    while the other one is waiting, and old's never does.
 * 3. Two uses of one address carry different versions: each promotion stamps its slab with the epoch,
 *    and the horizon it needs is later than the epoch of the promotion before.
 * 4. Retiring a block that is free or in limbo already is refused and changes nothing.
 *
 * Cost in steady state: take = one count-trailing-zeros on a cached word; retire = one bit.
 */
#ifndef PTNI_SLAB_H
#define PTNI_SLAB_H

#include "alloc/class.h"

#include <urcu/list.h>

struct ptni_window;
struct ptni_owned_chunk;

/* Slabs are many and met at random, so what taking and giving back touch lies in two cache lines: the first, and
 * the one that ends with the bitmaps of a slab of up to 64 blocks. (Not aligned by its type: a list's head counts
 * as an entry in the list's loops, and lies anywhere.) */
struct ptni_owned_slab {
	struct cds_list_head limbo_link;
	struct cds_list_head partial_link;
	uint64_t tag[2];
	uint32_t limbo_count[2];
	uint32_t free_count;
	uint16_t version;
	uint8_t held; /* why it is neither promoted nor allocated from: PTNI_HELD_* */
	bool in_limbo : 1; /* list */
	bool in_partial : 1; /* list */
	bool evict : 1; /* not adopted, but to be emptied: live blocks are moved */
	bool unsure : 1; /* to be emptied: a block was found unreachable before the tag's time */
	bool collecting : 1; /* a fiber has read its free words and not yet cleared what it saw */

	struct cds_list_head all_link, scan_link;
	uint64_t scan_tag; /* when the last of the `scanned` was */
	uint64_t evict_tag; /* nothing that was handed out before is still to be published when H is greater */
	uint32_t scanned; /* blocks that the adopter has asked about */
	uint32_t unused[3];

	uint64_t base;
	struct ptni_owned_chunk *chunk;
	uint64_t *free; /* bitmaps of ptni_slab_words() words each */
	uint64_t *limbo[2]; /* old, young; swapped by pointer */
	uint64_t bits[];
};

enum ptni_limbo {
	PTNI_OLD,
	PTNI_YOUNG
};
enum ptni_held {
	PTNI_HELD_SCAN =
		1, /* adopted: not all blocks were asked about, or their grace has not passed */
	PTNI_HELD_CLEAR = 2, /* bits that were collected may still stand in the free words */
};

struct ptni_owned_chunk {
	struct cds_list_head link; /* heap's empty list when empty, else its chunks */
	struct ptni_window *window;
	uint64_t addr;
	uint16_t block_class;
	uint16_t slabs;
	uint16_t slabs_free; /* of which every block is free */
	bool empty; /* in the empty list */
	bool stuck; /* not to be emptied: blocks of it stay, or are in doubt */
	bool doubt; /* a CAS that nobody has seen the end of may yet point at one of its blocks */
	bool left; /* its space is closed: it was given back */
	bool told; /* adopted, and what its slabs' heads say was not read yet */
	struct ptni_owned_slab *slab[];
};

struct ptni_heap {
	/* take */
	uint64_t bits; /* free blocks of the current word */
	uint64_t word_addr; /* address of block 0 of that word */
	uint32_t block_bytes;
	uint16_t version;
	uint16_t word;
	struct ptni_owned_slab *current;
	/* the rest */
	struct ptni_slab_layout layout;
	struct cds_list_head partial, limbo, all, chunks, empty, scan, grace;
	uint64_t blocks, blocks_free, blocks_limbo; /* blocks_free counts what is in `bits` too */
	uint64_t taken; /* since the last full sweep */
	uint64_t sweep_found; /* blocks in limbo when the sweep began */
	uint32_t sweep_left; /* slabs that the sweep has not seen */
	uint8_t sweep_patience;
	uint32_t slabs, chunk_count, empty_count;
	uint32_t empty_low; /* least empty_count since low_ns */
	uint64_t low_ns;
	uint64_t compact_ns; /* not to be looked at for sparse chunks before */
	uint64_t evict_ns; /* when one was found last */
	uint64_t free_floor, free_low,
		free_ns; /* least blocks_free: of a while, since then, when that began */
	uint32_t held; /* slabs that are held */
	uint32_t evicting; /* of them: own ones, to be emptied */
	uint8_t giving; /* how far a request to give back has come (trim.c) */
	bool wanted; /* its worker takes blocks of this class, and did not only adopt some */
};

void ptni_heap_init(struct ptni_heap *heap, const struct ptni_slab_layout *layout);

/* A chunk joins with all its blocks free (adopted: used, until they were asked about). NULL: no memory. */
struct ptni_owned_chunk *ptni_heap_add(struct ptni_heap *heap, unsigned block_class, uint64_t addr,
				       uint32_t slabs, uint64_t epoch, bool adopted);
/* The chunk leaves, whatever is in it. */
void ptni_heap_remove(struct ptni_heap *heap, struct ptni_owned_chunk *chunk);

/* True and the address of a free block, from the current word only. */
static inline bool ptni_heap_take(struct ptni_heap *heap, uint64_t *addr_out)
{
	uint64_t bits = heap->bits;

	if (__builtin_expect(!bits, 0))
		return false;
	heap->bits = bits & (bits - 1);
	heap->blocks_free--;
	heap->current->free_count--;
	*addr_out = heap->word_addr + (uint64_t)__builtin_ctzll(bits) * heap->block_bytes;
	return true;
}
/* Load another word, of this slab or another one with free blocks. False: none has any. */
bool ptni_heap_refill(struct ptni_heap *heap);
/* Let go of the current slab, so that its chunk can be empty. */
void ptni_heap_park(struct ptni_heap *heap);

/* False: it was not in use (see 4). */
bool ptni_slab_retire(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t index,
		      uint64_t tag);
bool ptni_slab_cancel(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t index);
/* Bits of one free word: those in use are retired. */
void ptni_slab_collect(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t word,
		       uint64_t bits, uint64_t tag);
void ptni_slab_hold(struct ptni_heap *heap, struct ptni_owned_slab *slab, enum ptni_held why,
		    bool on);
/* Hold the chunk's slabs to be scanned like adopted ones, and emptied. None of them is held. */
void ptni_heap_evict(struct ptni_heap *heap, struct ptni_owned_chunk *chunk, uint64_t tag);
/* All blocks of an adopted slab were asked about. */
void ptni_slab_scanned(struct ptni_heap *heap, struct ptni_owned_slab *slab);
/* What is known of a slab that is neither held nor current: ptni_slab_told_words() of them (wire.h). */
void ptni_slab_tell(const struct ptni_heap *heap, const struct ptni_owned_slab *slab,
		    uint64_t *told);
/* The same about an adopted slab, which is ordinary from then on. */
void ptni_slab_told(struct ptni_heap *heap, struct ptni_owned_slab *slab, const uint64_t *told,
		    uint64_t horizon, uint64_t epoch);
/* The latest tag that blocks of the slab wait for; 0 = none waits. */
uint64_t ptni_slab_tag(const struct ptni_owned_slab *slab);
/* Free what the horizon has passed, of at most `budget` slabs. Returns blocks freed. */
uint64_t ptni_heap_promote(struct ptni_heap *heap, uint64_t horizon, uint64_t epoch,
			   uint32_t budget);

static inline uint64_t ptni_heap_limbo_bytes(const struct ptni_heap *heap)
{
	return heap->blocks_limbo * heap->block_bytes;
}

#endif
