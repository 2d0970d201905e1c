/* SPDX-License-Identifier: MIT */
#include "alloc/slab.h"

#include "core/base/planted.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	LINE_BYTES = 64
};

_Static_assert(offsetof(struct ptni_owned_slab, all_link) == LINE_BYTES &&
		       offsetof(struct ptni_owned_slab, bits) + 3 * sizeof(uint64_t) ==
			       3 * LINE_BYTES,
	       "what taking and giving back touch is to fill two lines");

void ptni_heap_init(struct ptni_heap *heap, const struct ptni_slab_layout *layout)
{
	memset(heap, 0, sizeof(*heap));
	heap->layout = *layout;
	heap->block_bytes = layout->block_bytes;
	CDS_INIT_LIST_HEAD(&heap->partial);
	CDS_INIT_LIST_HEAD(&heap->limbo);
	CDS_INIT_LIST_HEAD(&heap->all);
	CDS_INIT_LIST_HEAD(&heap->chunks);
	CDS_INIT_LIST_HEAD(&heap->empty);
	CDS_INIT_LIST_HEAD(&heap->scan);
	CDS_INIT_LIST_HEAD(&heap->grace);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* In the partial list or not. Slabs that are nearly all free come last, so that they can empty. */
static void slab_place(struct ptni_heap *heap, struct ptni_owned_slab *slab)
{
	bool partial = slab->free_count && slab != heap->current && !slab->held;

	if (slab->in_partial)
		cds_list_del(&slab->partial_link);
	slab->in_partial = partial;
	if (!partial)
		return;
	if (slab->free_count > heap->layout.blocks - heap->layout.blocks / 4)
		cds_list_add_tail(&slab->partial_link, &heap->partial);
	else
		cds_list_add(&slab->partial_link, &heap->partial);
}

static void chunk_place(struct ptni_heap *heap, struct ptni_owned_chunk *chunk)
{
	bool empty = chunk->slabs_free == chunk->slabs;

	if (empty == chunk->empty)
		return;
	chunk->empty = empty;
	cds_list_del(&chunk->link);
	cds_list_add(&chunk->link, empty ? &heap->empty : &heap->chunks);
	if (empty)
		heap->empty_count++;
	else
		heap->empty_count--;
}

/* Free blocks of the slab, or who holds it, changed; was_whole: slab_whole() before that. */
static void free_changed(struct ptni_heap *heap, struct ptni_owned_slab *slab, bool was_whole)
{
	bool whole = slab->free_count == heap->layout.blocks && slab != heap->current;

	if (whole != was_whole) {
		slab->chunk->slabs_free = (uint16_t)(slab->chunk->slabs_free + (whole ? 1 : -1));
		chunk_place(heap, slab->chunk);
	}
	slab_place(heap, slab);
}

static bool slab_whole(const struct ptni_heap *heap, const struct ptni_owned_slab *slab)
{
	return slab->free_count == heap->layout.blocks && slab != heap->current;
}

/* --- chunks come and go ------------------------------------------------------------------------- */

static struct ptni_owned_slab *slab_make(const struct ptni_heap *heap, uint64_t base,
					 uint64_t epoch, bool adopted)
{
	uint32_t words = ptni_slab_words(&heap->layout), blocks = heap->layout.blocks;
	size_t bytes =
		offsetof(struct ptni_owned_slab, bits) + (size_t)words * 3 * sizeof(uint64_t);
	struct ptni_owned_slab *slab;

	bytes = (bytes + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1);
	slab = aligned_alloc(LINE_BYTES, bytes);
	if (!slab)
		return NULL;
	memset(slab, 0, bytes);
	slab->base = base;
	slab->free = slab->bits;
	slab->limbo[PTNI_OLD] = slab->bits + words;
	slab->limbo[PTNI_YOUNG] = slab->bits + (size_t)2 * words;
	slab->version = (uint16_t)epoch;
	slab->held = adopted ? PTNI_HELD_SCAN : 0;
	slab->scanned = adopted ? 0 : blocks;
	if (adopted)
		return slab;
	slab->free_count = blocks;
	memset(slab->free, 0xff, words * sizeof(uint64_t));
	if (blocks % 64)
		slab->free[words - 1] = (UINT64_C(1) << blocks % 64) - 1;
	return slab;
}

static void slab_join(struct ptni_heap *heap, struct ptni_owned_chunk *chunk,
		      struct ptni_owned_slab *slab)
{
	slab->chunk = chunk;
	cds_list_add_tail(&slab->all_link, &heap->all);
	heap->slabs++;
	heap->held += slab->held != 0;
	if (slab->held & PTNI_HELD_SCAN)
		cds_list_add_tail(&slab->scan_link, &heap->scan);
	heap->blocks += heap->layout.blocks;
	heap->blocks_free += slab->free_count;
	if (slab_whole(heap, slab))
		chunk->slabs_free++;
	slab_place(heap, slab);
}

static void chunk_destroy(struct ptni_owned_chunk *chunk)
{
	for (uint32_t i = 0; i < chunk->slabs; i++)
		free(chunk->slab[i]);
	free(chunk);
}

struct ptni_owned_chunk *ptni_heap_add(struct ptni_heap *heap, unsigned block_class, uint64_t addr,
				       uint32_t slabs, uint64_t epoch, bool adopted)
{
	struct ptni_owned_chunk *chunk = calloc(1, sizeof(*chunk) + slabs * sizeof(chunk->slab[0]));

	if (!chunk)
		return NULL;
	chunk->addr = addr;
	chunk->block_class = (uint16_t)block_class;
	chunk->slabs = (uint16_t)slabs;
	for (uint32_t i = 0; i < slabs; i++) {
		chunk->slab[i] = slab_make(heap, addr + (uint64_t)i * heap->layout.slab_bytes,
					   epoch, adopted);
		if (!chunk->slab[i]) {
			chunk_destroy(chunk);
			return NULL;
		}
	}
	for (uint32_t i = 0; i < slabs; i++)
		slab_join(heap, chunk, chunk->slab[i]);
	cds_list_add(&chunk->link, &heap->chunks);
	chunk_place(heap, chunk);
	heap->chunk_count++;
	return chunk;
}

static void slab_leave(struct ptni_heap *heap, struct ptni_owned_slab *slab)
{
	if (slab == heap->current)
		ptni_heap_park(heap);
	if (slab->in_partial)
		cds_list_del(&slab->partial_link);
	if (slab->in_limbo)
		cds_list_del(&slab->limbo_link);
	if (slab->held & PTNI_HELD_SCAN)
		cds_list_del(&slab->scan_link);
	cds_list_del(&slab->all_link);
	heap->slabs--;
	if (heap->sweep_left > heap->slabs)
		heap->sweep_left = heap->slabs;
	heap->held -= slab->held != 0;
	heap->evicting -= slab->evict;
	heap->blocks -= heap->layout.blocks;
	heap->blocks_free -= slab->free_count;
	heap->blocks_limbo -= slab->limbo_count[PTNI_OLD] + slab->limbo_count[PTNI_YOUNG];
}

void ptni_heap_remove(struct ptni_heap *heap, struct ptni_owned_chunk *chunk)
{
	for (uint32_t i = 0; i < chunk->slabs; i++)
		slab_leave(heap, chunk->slab[i]);
	cds_list_del(&chunk->link);
	heap->chunk_count--;
	heap->empty_count -= chunk->empty;
	chunk_destroy(chunk);
}

/* --- taking ----------------------------------------------------------------------------------- */

/* The lower half of the blocks in a word, rounded up. */
static uint64_t half_of(uint64_t bits)
{
	uint64_t rest = bits;

	for (int i = (__builtin_popcountll(bits) + 1) / 2; i > 0; i--)
		rest &= rest - 1;
	return bits ^ rest;
}

/*
 * Next word of the current slab with free blocks, beginning after the one in use. Of the heap's last one
 * only half: the caller comes back while there is still something to take, and has more fetched in time.
 */
static bool word_load(struct ptni_heap *heap)
{
	struct ptni_owned_slab *slab = heap->current;
	uint32_t words = ptni_slab_words(&heap->layout);

	for (uint32_t i = 1; i <= words; i++) {
		uint32_t word = (heap->word + i) % words;

		if (!slab->free[word])
			continue;
		heap->word = (uint16_t)word;
		heap->bits = slab->free[word];
		if (heap->blocks_free == (uint64_t)__builtin_popcountll(heap->bits))
			heap->bits = half_of(heap->bits);
		slab->free[word] ^= heap->bits;
		heap->word_addr = slab->base + heap->layout.first +
				  (uint64_t)word * 64 * heap->layout.block_bytes;
		heap->version = slab->version;
		heap->taken += (uint64_t)__builtin_popcountll(heap->bits);
		return true;
	}
	return false;
}

void ptni_heap_park(struct ptni_heap *heap)
{
	struct ptni_owned_slab *slab = heap->current;

	if (!slab)
		return;
	slab->free[heap->word] |= heap->bits;
	heap->bits = 0;
	heap->current = NULL;
	free_changed(heap, slab, false);
}

bool ptni_heap_refill(struct ptni_heap *heap)
{
	struct ptni_owned_slab *slab;
	bool whole;

	if (heap->bits || (heap->current && !heap->current->held && word_load(heap)))
		return true;
	ptni_heap_park(heap);
	if (cds_list_empty(&heap->partial))
		return false;
	slab = cds_list_first_entry(&heap->partial, struct ptni_owned_slab, partial_link);
	whole = slab_whole(heap, slab);
	heap->current = slab;
	heap->word = (uint16_t)(ptni_slab_words(&heap->layout) - 1); /* the next one is the first */
	free_changed(heap, slab, whole);
	return word_load(heap);
}

/* --- giving back ---------------------------------------------------------------------------- */

static uint64_t not_used(const struct ptni_heap *heap, const struct ptni_owned_slab *slab,
			 uint32_t word)
{
	uint64_t bits = slab->free[word] | slab->limbo[PTNI_OLD][word] |
			slab->limbo[PTNI_YOUNG][word];

	return slab == heap->current && word == heap->word ? bits | heap->bits : bits;
}

static void generation_swap(struct ptni_owned_slab *slab)
{
	uint64_t *bits = slab->limbo[PTNI_OLD];
	uint64_t tag = slab->tag[PTNI_OLD];
	uint32_t count = slab->limbo_count[PTNI_OLD];

	slab->limbo[PTNI_OLD] = slab->limbo[PTNI_YOUNG];
	slab->tag[PTNI_OLD] = slab->tag[PTNI_YOUNG];
	slab->limbo_count[PTNI_OLD] = slab->limbo_count[PTNI_YOUNG];
	slab->limbo[PTNI_YOUNG] = bits;
	slab->tag[PTNI_YOUNG] = tag;
	slab->limbo_count[PTNI_YOUNG] = count;
}

/* Make the young generation one that may take blocks with this tag. */
static void young_prepare(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint64_t tag)
{
	if (slab->tag[PTNI_YOUNG] < tag) {
		if (slab->limbo_count[PTNI_YOUNG] && !slab->limbo_count[PTNI_OLD])
			generation_swap(slab);
		slab->tag[PTNI_YOUNG] = tag;
	}
	if (!slab->in_limbo) {
		slab->in_limbo = true;
		cds_list_add_tail(&slab->limbo_link, &heap->limbo);
	}
}

bool ptni_slab_retire(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t index,
		      uint64_t tag)
{
	uint64_t bit = UINT64_C(1) << index % 64;

	if (ptni_planted(PTNI_BUG_REUSE_EARLY) || ptni_planted(PTNI_BUG_READ_TORN))
		return ptni_slab_cancel(heap, slab, index);
	if (not_used(heap, slab, index / 64) & bit)
		return false;
	if (slab->tag[PTNI_YOUNG] != tag || !slab->in_limbo)
		young_prepare(heap, slab, tag);
	slab->limbo[PTNI_YOUNG][index / 64] |= bit;
	slab->limbo_count[PTNI_YOUNG]++;
	heap->blocks_limbo++;
	return true;
}

void ptni_slab_collect(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t word,
		       uint64_t bits, uint64_t tag)
{
	uint32_t count;

	if (word == ptni_slab_words(&heap->layout) - 1 && heap->layout.blocks % 64)
		bits &= (UINT64_C(1) << heap->layout.blocks % 64) - 1;
	bits &= ~not_used(heap, slab, word);
	if (!bits)
		return;
	young_prepare(heap, slab, tag);
	count = (uint32_t)__builtin_popcountll(bits);
	slab->limbo[PTNI_YOUNG][word] |= bits;
	slab->limbo_count[PTNI_YOUNG] += count;
	heap->blocks_limbo += count;
}

bool ptni_slab_cancel(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t index)
{
	bool whole = slab_whole(heap, slab);
	uint64_t bit = UINT64_C(1) << index % 64;

	if (not_used(heap, slab, index / 64) & bit)
		return false;
	slab->free_count++;
	heap->blocks_free++;
	if (slab == heap->current && index / 64 == heap->word)
		heap->bits |= bit;
	else
		slab->free[index / 64] |= bit;
	free_changed(heap, slab, whole);
	return true;
}

void ptni_slab_hold(struct ptni_heap *heap, struct ptni_owned_slab *slab, enum ptni_held why,
		    bool on)
{
	uint8_t held = (uint8_t)(on ? slab->held | why : slab->held & ~why);

	if (slab->held & ~held & PTNI_HELD_SCAN) {
		cds_list_del(&slab->scan_link);
		heap->evicting -= slab->evict;
		slab->evict = false;
	}
	heap->held = heap->held + (held != 0) - (slab->held != 0);
	slab->held = held;
	slab_place(heap, slab);
}

void ptni_heap_evict(struct ptni_heap *heap, struct ptni_owned_chunk *chunk, uint64_t tag)
{
	for (uint32_t i = 0; i < chunk->slabs; i++) {
		struct ptni_owned_slab *slab = chunk->slab[i];

		if (slab == heap->current)
			ptni_heap_park(heap);
		slab->evict = true;
		slab->unsure = false;
		heap->evicting++;
		slab->evict_tag = tag;
		slab->scanned = 0;
		slab->scan_tag = 0;
		cds_list_add_tail(&slab->scan_link, &heap->scan);
		ptni_slab_hold(heap, slab, PTNI_HELD_SCAN, true);
	}
}

void ptni_slab_scanned(struct ptni_heap *heap, struct ptni_owned_slab *slab)
{
	cds_list_del(&slab->scan_link);
	cds_list_add_tail(&slab->scan_link, &heap->grace);
}

uint64_t ptni_slab_tag(const struct ptni_owned_slab *slab)
{
	uint64_t old = slab->limbo_count[PTNI_OLD] ? slab->tag[PTNI_OLD] : 0;
	uint64_t young = slab->limbo_count[PTNI_YOUNG] ? slab->tag[PTNI_YOUNG] : 0;

	return old > young ? old : young;
}

void ptni_slab_tell(const struct ptni_heap *heap, const struct ptni_owned_slab *slab,
		    uint64_t *told)
{
	uint32_t words = ptni_slab_words(&heap->layout);

	told[0] = ptni_slab_tag(slab);
	memcpy(told + 1, slab->free, words * sizeof(*told));
	for (uint32_t i = 0; i < words; i++)
		told[1 + words + i] = slab->limbo[PTNI_OLD][i] | slab->limbo[PTNI_YOUNG][i];
}

/*
 * Another client wrote it: every value must do no harm. Blocks that this worker has retired since the slab came
 * are in limbo already, and stay there.
 */
void ptni_slab_told(struct ptni_heap *heap, struct ptni_owned_slab *slab, const uint64_t *told,
		    uint64_t horizon, uint64_t epoch)
{
	uint32_t words = ptni_slab_words(&heap->layout), tail = heap->layout.blocks % 64;
	uint64_t tag = told[0] <= epoch ? told[0] : epoch + 1;
	uint32_t count_free = 0, count_limbo = 0;
	bool waits = horizon <= told[0] && !ptni_planted(PTNI_BUG_TOLD_EARLY);

	for (uint32_t i = 0; i < words; i++) {
		uint64_t valid = tail && i == words - 1 ? (UINT64_C(1) << tail) - 1 : UINT64_MAX;
		uint64_t news = valid & ~not_used(heap, slab, i);
		uint64_t limbo = told[1 + words + i] & news, free = told[1 + i] & news & ~limbo;

		if (!waits)
			free |= limbo;
		limbo = waits ? limbo : 0;
		slab->free[i] |= free;
		slab->limbo[PTNI_OLD][i] |= limbo;
		count_free += (uint32_t)__builtin_popcountll(free);
		count_limbo += (uint32_t)__builtin_popcountll(limbo);
	}
	slab->free_count += count_free;
	heap->blocks_free += count_free;
	if (!slab->limbo_count[PTNI_OLD] || slab->tag[PTNI_OLD] < tag)
		slab->tag[PTNI_OLD] = tag;
	slab->limbo_count[PTNI_OLD] += count_limbo;
	heap->blocks_limbo += count_limbo;
	slab->version = (uint16_t)epoch;
	slab->scanned = heap->layout.blocks;
	if (count_limbo && !slab->in_limbo) {
		slab->in_limbo = true;
		cds_list_add_tail(&slab->limbo_link, &heap->limbo);
	}
	ptni_slab_hold(heap, slab, PTNI_HELD_SCAN, false);
	free_changed(heap, slab, false);
}

/* One generation becomes free. */
static uint32_t generation_free(struct ptni_heap *heap, struct ptni_owned_slab *slab,
				enum ptni_limbo which)
{
	uint32_t words = ptni_slab_words(&heap->layout), count = slab->limbo_count[which];
	bool whole = slab_whole(heap, slab);

	for (uint32_t i = 0; i < words; i++) {
		slab->free[i] |= slab->limbo[which][i];
		slab->limbo[which][i] = 0;
	}
	slab->limbo_count[which] = 0;
	slab->free_count += count;
	heap->blocks_free += count;
	heap->blocks_limbo -= count;
	free_changed(heap, slab, whole);
	return count;
}

static uint32_t slab_promote(struct ptni_heap *heap, struct ptni_owned_slab *slab, uint64_t horizon)
{
	uint32_t freed = 0;

	if (slab->limbo_count[PTNI_OLD] && horizon > slab->tag[PTNI_OLD])
		freed += generation_free(heap, slab, PTNI_OLD);
	if (!slab->limbo_count[PTNI_OLD] && slab->limbo_count[PTNI_YOUNG]) {
		if (horizon > slab->tag[PTNI_YOUNG])
			freed += generation_free(heap, slab, PTNI_YOUNG);
		else
			generation_swap(slab);
	}
	return freed;
}

/* Slabs in limbo lie at random in memory: ask for the one that comes after next. (Inline by force: the
 * compiler drops calls to functions that only prefetch. The list's head is no slab, and does no harm.) */
static inline __attribute__((always_inline)) void look_ahead(const struct cds_list_head *link)
{
	const uint8_t *slab =
		(const uint8_t *)link->next->next - offsetof(struct ptni_owned_slab, limbo_link);

	__builtin_prefetch(slab, 1);
	__builtin_prefetch(slab + offsetof(struct ptni_owned_slab, base), 1);
}

uint64_t ptni_heap_promote(struct ptni_heap *heap, uint64_t horizon, uint64_t epoch,
			   uint32_t budget)
{
	uint64_t freed = 0;

	for (uint32_t i = 0; i < budget && !cds_list_empty(&heap->limbo); i++) {
		struct ptni_owned_slab *slab =
			cds_list_first_entry(&heap->limbo, struct ptni_owned_slab, limbo_link);
		uint32_t count;

		look_ahead(&slab->limbo_link);
		count = slab->held ? 0 : slab_promote(heap, slab, horizon);
		if (!count && !slab->held)
			break; /* what follows was retired later */
		cds_list_del(&slab->limbo_link);
		slab->in_limbo = slab->limbo_count[PTNI_OLD] || slab->limbo_count[PTNI_YOUNG];
		if (slab->in_limbo)
			cds_list_add_tail(&slab->limbo_link, &heap->limbo);
		if (!count)
			continue;
		slab->version = (uint16_t)epoch;
		if (slab == heap->current)
			heap->version = slab->version;
		freed += count;
	}
	return freed;
}
