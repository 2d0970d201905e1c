/* SPDX-License-Identifier: MIT */
/*
 * Compaction: a worker empties its own sparse chunks by moving their live blocks, so that they can go back.
 *
 *   chunk  ordinary ── chosen ──► held: every block is asked about, and moved if it is live
 *                                  `── one is not live ── horizon > tag ──► asked again: free ──► ...
 *
 * and then as after an adoption (adopt.c): grace, clear the free words, ordinary again, now with hardly a block in use.
 * The table moves a block (ptni_block_move_fn) as an update with the same value does: a new block, one CAS; this
 * unlinks the old one, which is retired as always. Nobody waits for a move, and one that is beaten by another
 * write of the key is as good as done.
 *
 * 1. Nothing is handed out of a chunk once it was chosen. Blocks that had been handed out before are published or given
 *    back when the horizon has passed the tag: only what is not found then will not be published any more, and is
 *    freed. That frees also the blocks whose unlinker died before it could say so. What is found is moved at
 *    once: a word leads to it, so it is whole.
 * 2. Blocks whose publication was never settled (their operation failed on a dead lane) make their chunk one that
 *    is not chosen, and if it was already, of which nothing is freed for being unreachable: a CAS that points at
 *    them may yet land.
 * 3. Moved blocks fit into what is free elsewhere: compaction fetches no memory.
 * 4. By itself it begins only with memory that was free for WHILE_NS on end, so that a heap whose blocks are retired
 *    and taken again all the time keeps what it needs for that. When a quarter of all is free, it takes chunks
 *    that are two thirds empty, half of all slabs at once, since what lasts is not the moving (three round trips
 *    for 32 blocks) but the grace periods; with less of a hurry those that are half empty, where a move gives
 *    back as much as it copies; and a few at a time what is 3/16 empty, while an eighth of all is free.
 *
 * The worker dies or sleeps at any point: its chunks are orphans as ever; nothing of this is in remote memory.
 */
#include "alloc/view.h"

enum {
	LOOKED_AT = 32, /* chunks for one that is sparse enough */
	STEP_NS = 1000000, /* between two looks */
	PAUSE_NS = 3000000, /* the same after none was */
	WHILE_NS = 20000000, /* a few epochs */
	MANY_SLABS = 256,
	FEW_SLABS = 8, /* at a time, and at least */
};

/* In slabs that blocks are handed out of, but for chunks that are empty already. */
struct room {
	uint64_t blocks, free;
};

/* How empty a chunk must be, and all of them together, in sixteenths. */
struct sparse {
	uint32_t chunk, all;
};

static uint32_t used(const struct ptni_heap *heap, const struct ptni_owned_slab *slab)
{
	return heap->layout.blocks - slab->free_count - slab->limbo_count[PTNI_OLD] -
	       slab->limbo_count[PTNI_YOUNG];
}

static void room_less(struct room *room, uint64_t blocks, uint64_t free)
{
	room->blocks -= blocks < room->blocks ? blocks : room->blocks;
	room->free -= free < room->free ? free : room->free;
}

/* Slabs that are being emptied have no room, and what is left in them needs some. */
static uint64_t held_out(const struct ptni_heap *heap, const struct cds_list_head *list,
			 bool leaves, struct room *room)
{
	const struct ptni_owned_slab *slab;
	uint64_t needs = 0;

	cds_list_for_each_entry(slab, list, scan_link) {
		room_less(room, heap->layout.blocks, slab->free_count);
		needs += leaves ? used(heap, slab) : 0;
	}
	return needs;
}

static struct room heap_room(const struct ptni_heap *heap)
{
	struct room room = { heap->blocks, heap->blocks_free };
	const struct ptni_owned_chunk *chunk;
	uint64_t needs;

	cds_list_for_each_entry(chunk, &heap->empty, link) {
		uint64_t blocks = (uint64_t)chunk->slabs * heap->layout.blocks;

		room_less(&room, blocks, blocks);
	}
	needs = held_out(heap, &heap->scan, true, &room);
	needs += held_out(heap, &heap->grace, false, &room);
	room_less(&room, 0, needs);
	return room;
}

static uint32_t chunk_free(const struct ptni_owned_chunk *chunk)
{
	uint32_t free = 0;

	for (uint32_t i = 0; i < chunk->slabs; i++) {
		if (chunk->slab[i]->held)
			return 0;
		free += chunk->slab[i]->free_count;
	}
	return free;
}

/* The sparsest of some chunks; those that were looked at go to the end of the list. */
static struct ptni_owned_chunk *choose(struct ptni_heap *heap, const struct room *room,
				       uint32_t sixteenths)
{
	struct ptni_owned_chunk *best = NULL;
	uint64_t best_free = 0;

	for (uint32_t i = 0; i < LOOKED_AT && i < heap->chunk_count; i++) {
		struct ptni_owned_chunk *chunk;
		uint32_t blocks, free;

		if (cds_list_empty(&heap->chunks))
			break;
		chunk = cds_list_first_entry(&heap->chunks, struct ptni_owned_chunk, link);
		cds_list_del(&chunk->link);
		cds_list_add_tail(&chunk->link, &heap->chunks);
		blocks = chunk->slabs * heap->layout.blocks;
		free = chunk->stuck ? 0 : chunk_free(chunk);
		if (!free || free < blocks / 16 * sixteenths || free > room->free ||
		    blocks - free + heap->layout.blocks > room->free - free ||
		    (best && free * best->slabs <= best_free * chunk->slabs))
			continue;
		best = chunk;
		best_free = free;
	}
	return best;
}

static bool is_sparse(const struct ptni_heap *heap, const struct room *room, uint32_t sixteenths)
{
	return room->free * 16 > room->blocks * sixteenths &&
	       room->free > 2 * (uint64_t)heap->layout.blocks;
}

/* Hold sparse chunks of about so many slabs; returns how many. */
static uint32_t evict_some(struct ptni_view *view, struct ptni_heap *heap, struct room *room,
			   const struct sparse *sparse, uint32_t slabs)
{
	struct ptni_epochs epochs;
	uint32_t begun = 0;

	ptni_view_epochs(view, &epochs);
	while (begun < slabs && is_sparse(heap, room, sparse->all)) {
		struct ptni_owned_chunk *chunk = choose(heap, room, sparse->chunk);
		uint32_t blocks;

		if (!chunk)
			break;
		blocks = chunk->slabs * heap->layout.blocks;
		/* its free blocks are gone, and what it has takes room elsewhere */
		room_less(room, blocks, blocks);
		ptni_heap_evict(heap, chunk, epochs.epoch + 1);
		begun += chunk->slabs;
	}
	return begun;
}

/* Adopted slabs come first: they may make room. */
static bool may_begin(const struct ptni_view *view, const struct ptni_heap *heap)
{
	return atomic_load_explicit(&view->space->move, memory_order_acquire) &&
	       heap->held <= heap->evicting;
}

/* What was free all the time lately: the rest is needed again and again, for what waits for its grace period. */
static uint64_t free_always(struct ptni_heap *heap, uint64_t now_ns)
{
	if (heap->blocks_free < heap->free_low)
		heap->free_low = heap->blocks_free;
	if (ptni_clock_since_ns(now_ns, heap->free_ns) >= WHILE_NS) {
		heap->free_floor = heap->free_low;
		heap->free_low = heap->blocks_free;
		heap->free_ns = now_ns;
	}
	return heap->free_floor < heap->free_low ? heap->free_floor : heap->free_low;
}

uint32_t ptni_compact_begin(struct ptni_view *view, struct ptni_heap *heap)
{
	const struct sparse sparse[] = { { 11, 4 }, { 8, 4 }, { 3, 2 } };
	const uint32_t most[] = { heap->slabs / 2, heap->slabs / 8, 1 };
	uint64_t now_ns = ptni_worker_now_ns(view->worker), least = free_always(heap, now_ns);
	uint32_t begun = 0;
	struct room room;

	if (now_ns < heap->compact_ns || !may_begin(view, heap))
		return 0;
	room = heap_room(heap);
	room.free = room.free < least ? room.free : least;
	for (int i = 0; i < 3 && !begun; i++)
		if (heap->evicting < most[i])
			begun = evict_some(view, heap, &room, &sparse[i],
					   most[i] - heap->evicting < FEW_SLABS ?
						   FEW_SLABS :
						   most[i] - heap->evicting);
	if (begun) {
		ptni_client_want_epoch(view->client, view->space->node, heap->layout.slab_bytes);
		heap->evict_ns = now_ns;
	}
	heap->compact_ns = now_ns + (begun ? STEP_NS : PAUSE_NS);
	return begun;
}

uint32_t ptni_compact_request(struct ptni_view *view, struct ptni_heap *heap)
{
	const struct sparse little = { 2, 1 };
	struct room room;

	if (!may_begin(view, heap))
		return 0;
	room = heap_room(heap);
	return evict_some(view, heap, &room, &little, MANY_SLABS);
}

void ptni_compact_cancel(struct ptni_heap *heap)
{
	struct ptni_owned_slab *slab, *next;

	cds_list_for_each_entry_safe(slab, next, &heap->scan, scan_link)
		if (slab->evict && !slab->scan_tag) /* nothing of it was asked about */
			ptni_slab_hold(heap, slab, PTNI_HELD_SCAN, false);
}

void ptni_block_lose(struct ptni_op *op, struct ptni_space *space, const struct ptni_block *block)
{
	struct ptni_view *view = ptni_view_of(op->worker, space);
	const struct ptni_slab_layout *layout = &space->layout[block->block_class];
	uint64_t base = space->region + ptni_slab_base(layout, block->addr - space->region);
	struct ptni_owned_slab **slab = view ? ptni_view_slab(view, base) : NULL;

	if (slab && *slab)
		(*slab)->chunk->stuck = (*slab)->chunk->doubt = true;
}
