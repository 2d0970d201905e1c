/* SPDX-License-Identifier: MIT */
/*
 * Compaction: a worker empties its own sparse chunks by moving their live blocks, so that they can go back.
 *
 *   chunk  ordinary ── chosen ──► held ── horizon > tag ──► every block: ask, and move what is live ──► ...
 *
 * and then as after an adoption (adopt.c): grace, clear the free words, ordinary again, now with hardly a block in use.
 * The table moves a block (ptni_block_move_fn) as an update with the same value does: a new block, one CAS; this
 * unlinks the old one, which is retired as always. Nobody waits for a move, and one that is beaten by another
 * write of the key is as good as done.
 *
 * 1. Nothing is handed out of a chunk once it was chosen. Blocks that had been handed out before are published or given
 *    back when the horizon has passed the tag: only then the scan begins, so what it finds unreachable will not be
 *    published any more. That frees also the blocks whose unlinker died before it could say so.
 * 2. Blocks whose publication was never settled (their operation failed on a dead lane) make their chunk one that
 *    is not chosen, and if it was already, of which nothing is freed for being unreachable: a CAS that points at
 *    them may yet land.
 * 3. Moved blocks fit into what is free elsewhere: compaction fetches no memory.
 *
 * The worker dies or sleeps at any point: its chunks are orphans as ever; nothing of this is in remote memory.
 */
#include "alloc/view.h"

enum {
	LOOKED_AT = 32, /* chunks for one that is sparse enough */
	PAUSE_NS = 10000000, /* after none was */
};

/* In slabs that blocks are handed out of. */
struct room {
	uint64_t blocks, free;
};

static uint32_t chunk_free(const struct ptni_heap *heap, const struct ptni_owned_chunk *chunk)
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
static struct ptni_owned_chunk *choose(struct ptni_heap *heap, const struct room *room)
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
		free = chunk->stuck ? 0 : chunk_free(heap, chunk);
		if (!free || free < blocks / 4 ||
		    blocks - free + heap->layout.blocks > room->free - free ||
		    (best && free * best->slabs <= best_free * chunk->slabs))
			continue;
		best = chunk;
		best_free = free;
	}
	return best;
}

static bool is_sparse(const struct ptni_heap *heap, const struct room *room)
{
	return room->free * 4 > room->blocks && room->free > 2 * (uint64_t)heap->layout.blocks;
}

bool ptni_compact_begin(struct ptni_view *view, struct ptni_heap *heap, uint32_t slabs)
{
	struct room room;
	uint32_t begun = 0;

	/* What was chosen, or adopted, comes first: it may make room. So all slabs are in use here. */
	if (!atomic_load_explicit(&view->space->move, memory_order_acquire) ||
	    heap->empty_count > 1 || heap->held ||
	    ptni_worker_now_ns(view->worker) < heap->compact_ns)
		return false;
	room = (struct room){ heap->blocks, heap->blocks_free };
	while (begun < slabs && is_sparse(heap, &room)) {
		struct ptni_owned_chunk *chunk = choose(heap, &room);
		struct ptni_epochs epochs;
		uint32_t blocks;

		if (!chunk)
			break;
		blocks = chunk->slabs * heap->layout.blocks;
		room.blocks -=
			blocks; /* its free blocks are gone, and what it has takes room elsewhere */
		room.free -= blocks;
		ptni_view_epochs(view, &epochs);
		ptni_heap_evict(heap, chunk, epochs.epoch + 1);
		begun += chunk->slabs;
	}
	if (begun)
		ptni_client_want_epoch(view->client, view->space->node, heap->layout.slab_bytes);
	else
		heap->compact_ns = ptni_worker_now_ns(view->worker) + PAUSE_NS;
	return begun;
}

void ptni_compact_cancel(struct ptni_heap *heap)
{
	struct ptni_owned_slab *slab, *next;

	cds_list_for_each_entry_safe(slab, next, &heap->scan, scan_link)
		if (slab->evict && !slab->scanned)
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
