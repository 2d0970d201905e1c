/* SPDX-License-Identifier: MIT */
/*
 * Blocks: the fast paths (slab.h does the work), and what happens when a heap runs short.
 *
 *   take ── word used up ──► refill ── slabs used up ──► promote ──► sweep ──► chunk asked for ahead
 *                                                                               └── wait for it
 *
 * Verbs are posted in the slow path only, all of them READ, FAA on free words, and calls:
 * the client dies or sleeps there: see frees.c, chunk.c.
 */
#include "alloc/view.h"

#include <errno.h>

enum {
	LOOK_AHEAD_BYTES = 128 << 10,
	LOOK_AHEAD_SLABS = 4,
	ORPHANS_AT_ONCE = 4,
	TEND_BLOCKS = PTNI_SCAN_MAX, /* that are asked about, or moved: three round trips */
};

void ptni_view_epochs(const struct ptni_view *view, struct ptni_epochs *epochs_out)
{
	ptni_client_epochs(view->client, view->space->node, epochs_out);
	if (epochs_out->epoch < view->epoch_floor)
		epochs_out->epoch = view->epoch_floor;
}

/* Ask for E to advance when enough waits for it. */
static void garbage_tell(struct ptni_view *view)
{
	if (view->garbage_bytes < PTNI_GARBAGE_TELL)
		return;
	ptni_client_want_epoch(view->client, view->space->node, view->garbage_bytes);
	view->garbage_bytes = 0;
}

void ptni_view_maintain(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_epochs epochs;

	view->retires = 0;
	ptni_view_epochs(view, &epochs);
	PTNI_COUNT_ADD(view->counters, blocks_reused,
		       ptni_heap_promote(heap, epochs.horizon, epochs.epoch, PTNI_PROMOTE_STEP));
	ptni_chunk_return_spare(view, heap);
	garbage_tell(view);
}

/* --- slow path ------------------------------------------------------------------------------ */

/*
 * When the word in hand is used up, few blocks will be left: fetch the next chunk. Few: less than half a slab, or an
 * eighth of what there is, up to a word. Not for the first slabs of long blocks: too much memory for a guess.
 */
static bool is_low(const struct ptni_heap *heap)
{
	uint64_t after = heap->blocks_free - (uint64_t)__builtin_popcountll(heap->bits);
	uint64_t few = heap->blocks / 8 < 64 ? heap->blocks / 8 : 64;

	if (heap->layout.slab_bytes > LOOK_AHEAD_BYTES && heap->slabs < LOOK_AHEAD_SLABS)
		return false;
	return after < (few > heap->layout.blocks / 2 ? few : heap->layout.blocks / 2);
}

void ptni_orphans_ask(struct ptni_view *view, unsigned block_class)
{
	uint64_t orphans = atomic_load_explicit(&view->space->orphans, memory_order_relaxed);

	if (!orphans || ptni_worker_now_ns(view->worker) < view->orphans_ns)
		return;
	for (uint64_t i = 0; i < orphans && i < ORPHANS_AT_ONCE; i++)
		if (ptni_chunk_ask(view, block_class, PTNI_ASK_ORPHAN))
			break;
}

/* The class behind `turn`, around, that has a heap; `turn` itself if there is no other. */
static unsigned class_behind(const struct ptni_view *view, unsigned turn)
{
	const unsigned words = sizeof(view->heaps) / sizeof(view->heaps[0]);
	unsigned word = turn / 64;
	uint64_t bits = view->heaps[word] & ~UINT64_C(1) << turn % 64;

	for (unsigned i = 0; !bits && i < words; i++) {
		word = (word + 1) % words;
		bits = view->heaps[word];
	}
	return bits ? word * 64 + (unsigned)__builtin_ctzll(bits) : turn;
}

static struct ptni_heap *next_heap(struct ptni_view *view, unsigned *turn, bool held)
{
	unsigned begin = class_behind(view, *turn), at = begin;

	do {
		struct ptni_heap *heap = view->heap[at];

		if (heap && (heap->held || !held)) {
			*turn = at;
			return heap;
		}
		at = class_behind(view, at);
	} while (at != begin);
	return NULL;
}

/*
 * The classes take turns to be looked after, so that what one of them was used for once, or adopted, does not
 * lie about because nobody takes blocks of it any more. Moving a block may need memory and retire others: not
 * again from in there.
 */
static void tend(struct ptni_view *view)
{
	struct ptni_heap *heap;

	if (view->tending || view->scanning)
		return;
	view->tending = true;
	heap = next_heap(view, &view->tended, false);
	if (heap) {
		ptni_view_maintain(view, heap);
		if (!heap->held && !heap->wanted && heap->chunk_count)
			ptni_chunk_leave(view, heap);
		else
			(void)ptni_compact_begin(view, heap);
	}
	heap = next_heap(view, &view->asked, true);
	if (heap)
		(void)ptni_adopt_step(view, heap, TEND_BLOCKS);
	view->tending = false;
}

/* After a word was loaded: what keeps the heap from running dry. Errors show when it does. */
static void look_ahead(struct ptni_view *view, unsigned block_class)
{
	struct ptni_heap *heap = view->heap[block_class];

	heap->wanted = true;
	(void)ptni_chunk_poll(view, NULL);
	ptni_view_maintain(view, heap);
	(void)ptni_sweep_step(view, heap, false);
	if (heap->held > heap->evicting) /* a question for every four blocks that are taken */
		(void)ptni_adopt_step(
			view, heap, 1 + (heap->layout.blocks < 64 ? heap->layout.blocks : 64) / 4);
	if (is_low(heap) && heap->chunk_count)
		(void)ptni_chunk_ask(view, block_class, PTNI_ASK_AHEAD);
	ptni_orphans_ask(view, block_class); /* as fast as blocks are used */
	tend(view);
}

/* All that the horizon has passed, and no slab kept half used. */
static void heap_settle(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	while (ptni_heap_promote(heap, epochs.horizon, epochs.epoch, PTNI_PROMOTE_STEP))
		;
	if (!view->pinned)
		ptni_heap_park(heap);
}

/* What is on its way back to the node, but no longer than the operation may take. */
static void puts_await(struct ptni_op *op, struct ptni_view *view)
{
	struct ptni_wait wait;

	ptni_wait_begin(&wait, view->worker, op->deadline_ns);
	while (view->put.busy && !ptni_call_done(&view->put.call))
		if (ptni_wait_turn(&wait))
			return;
}

/* Nothing was free and the node had nothing: what can be had without waiting for an epoch. */
static bool scrape(struct ptni_op *op, struct ptni_view *view, struct ptni_heap *heap)
{
	int more;

	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i])
			heap_settle(view, view->heap[i]);
	do /* of other classes: the node may have room then */
		puts_await(op, view);
	while (ptni_chunk_return(view));
	do
		more = ptni_sweep_step(view, heap, true);
	while (more > 0 && ptni_worker_now_ns(view->worker) < op->deadline_ns);
	ptni_view_maintain(view, heap);
	ptni_client_want_epoch(view->client, view->space->node, ptni_heap_limbo_bytes(heap) + 1);
	return ptni_heap_refill(heap);
}

/* Until a block is there, or `heap`'s request has failed. */
static int chunk_await(struct ptni_op *op, struct ptni_view *view, unsigned block_class)
{
	struct ptni_heap *heap = view->heap[block_class];
	struct ptni_wait wait;
	int ret;

	ret = ptni_chunk_ask(view, block_class, PTNI_ASK_NOW);
	ptni_wait_begin(&wait, view->worker, op->deadline_ns);
	while (!ret || ret == -EAGAIN) {
		bool asked = ptni_chunk_asked(view, heap);

		ret = ptni_chunk_poll(view, heap);
		if (ret)
			break;
		if (ptni_heap_refill(heap))
			return 0;
		if (!asked) /* what came was adopted, or another fiber took it all: ask for more */
			ret = ptni_chunk_ask(view, block_class, PTNI_ASK_NOW);
		if (!ret || ret == -EAGAIN) {
			ret = ptni_wait_turn(&wait);
			if (ret)
				break;
		}
	}
	return ret;
}

static int refill(struct ptni_op *op, struct ptni_view *view, unsigned block_class)
{
	struct ptni_heap *heap = ptni_view_heap(view, block_class);
	int ret;

	if (!heap)
		return -ENOMEM;
	if (!heap->layout.slab_bytes)
		return -E2BIG;
	if (ptni_heap_refill(heap)) {
		look_ahead(view, block_class);
		return 0;
	}
	look_ahead(view, block_class);
	if (ptni_heap_refill(heap))
		return 0;
	ret = chunk_await(op, view, block_class);
	if (ret != -ENOMEM && ret != -EDQUOT)
		return ret;
	if (scrape(op, view, heap))
		return 0;
	ret = chunk_await(op, view, block_class);
	return ret ? ptni_worker_fail(view->worker, ret, "allocating a block") : 0;
}

static int take_slow(struct ptni_op *op, struct ptni_space *space, unsigned block_class,
		     struct ptni_view **view_out, uint64_t *addr_out)
{
	int ret = ptni_view_get(op, space, view_out);

	while (!ret) {
		ret = refill(op, *view_out, block_class);
		/* another fiber may have taken what we waited for */
		if (!ret && ptni_heap_take((*view_out)->heap[block_class], addr_out))
			break;
	}
	return ret;
}

int ptni_block_alloc(struct ptni_op *op, struct ptni_space *space, size_t len_bytes,
		     struct ptni_block *block_out)
{
	struct ptni_view *view = ptni_view_of(op->worker, space);
	struct ptni_heap *heap;
	unsigned block_class;
	uint64_t addr;
	int ret;

	if (__builtin_expect(len_bytes > PTNI_BLOCK_MAX, 0))
		return -E2BIG;
	block_class = ptni_block_class(len_bytes);
	heap = view ? view->heap[block_class] : NULL;
	if (__builtin_expect(!heap || !ptni_heap_take(heap, &addr), 0)) {
		ret = take_slow(op, space, block_class, &view, &addr);
		if (ret)
			return ret;
		heap = view->heap[block_class];
	}
	PTNI_COUNT(view->counters, blocks_alloc);
	PTNI_COUNT_ADD(view->counters, bytes_live, heap->block_bytes);
	block_out->addr = addr;
	block_out->len_bytes = heap->block_bytes;
	block_out->block_class = (uint16_t)block_class;
	block_out->version = heap->version;
	block_out->window = view->region ? view->region : heap->current->chunk->window;
	return 0;
}

/* --- giving back ------------------------------------------------------------------------------ */

void ptni_block_cancel(struct ptni_op *op, struct ptni_space *space, const struct ptni_block *block)
{
	struct ptni_view *view = ptni_view_of(op->worker, space);
	const struct ptni_slab_layout *layout = &space->layout[block->block_class];
	uint64_t base = space->region + ptni_slab_base(layout, block->addr - space->region);
	struct ptni_owned_slab **slab = view ? ptni_view_slab(view, base) : NULL;

	assert(slab && *slab);
	if (!ptni_slab_cancel(view->heap[block->block_class], *slab,
			      ptni_slab_index(layout, block->addr - base)))
		view->refused++;
}

static void retire_own(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab,
		       uint32_t index)
{
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	if (!ptni_slab_retire(heap, slab, index, epochs.epoch + 1)) {
		view->refused++;
		return;
	}
	view->garbage_bytes += heap->block_bytes;
}

void ptni_block_retire_soon(const struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    unsigned block_class, bool again)
{
	const struct ptni_slab_layout *layout = &space->layout[block_class % PTNI_BLOCK_CLASSES];
	uint64_t base = space->region + ptni_slab_base(layout, addr - space->region);
	struct ptni_view *view = ptni_view_of(op->worker, space);
	struct ptni_owned_slab **slab = view ? ptni_view_slab(view, base) : NULL;

	if (!slab)
		return;
	if (!again) {
		__builtin_prefetch(slab);
	} else if (*slab) {
		__builtin_prefetch(*slab, 1);
		__builtin_prefetch(&(*slab)->base, 1);
	}
}

void ptni_block_retire(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
		       unsigned block_class)
{
	const struct ptni_slab_layout *layout = &space->layout[block_class % PTNI_BLOCK_CLASSES];
	uint64_t base = space->region + ptni_slab_base(layout, addr - space->region);
	struct ptni_owned_slab **slab;
	struct ptni_view *view;
	uint32_t index;

	view = ptni_view_of(op->worker, space);
	if (__builtin_expect(!view, 0) && ptni_view_get(op, space, &view))
		return; /* no memory for a view: the block stays until its chunk is adopted */
	index = ptni_slab_index(layout, addr - base);
	if (block_class >= PTNI_BLOCK_CLASSES || index >= layout->blocks ||
	    (addr - space->region) >> space->extent_shift >= space->extents) {
		view->refused++; /* no block begins there: the word it came from is corrupt */
		return;
	}
	PTNI_COUNT(view->counters, blocks_free);
	slab = ptni_view_slab(view, base);
	if (slab && *slab && (*slab)->chunk->block_class == block_class)
		retire_own(view, view->heap[block_class], *slab, index);
	else
		ptni_frees_push(op, view, base + index / 64 * sizeof(uint64_t), index % 64);
	if (++view->retires >= PTNI_MAINTAIN_RETIRES) {
		if (view->heap[block_class])
			ptni_view_maintain(view, view->heap[block_class]);
		view->retires = 0;
		tend(view);
	}
}

/* --- looking at it ------------------------------------------------------------------------------ */

static void usage_add(const struct ptni_heap *heap, struct ptni_space_usage *usage)
{
	usage->held_bytes += (uint64_t)heap->slabs * heap->layout.slab_bytes;
	usage->limbo_bytes += heap->blocks_limbo * heap->block_bytes;
	usage->free_bytes += heap->blocks_free * heap->block_bytes;
	usage->used_bytes +=
		(heap->blocks - heap->blocks_free - heap->blocks_limbo) * heap->block_bytes;
	usage->chunks += heap->chunk_count;
	usage->adopting += heap->held;
}

void ptni_space_usage(struct ptn_worker *worker, struct ptni_space *space,
		      struct ptni_space_usage *usage_out)
{
	const struct ptni_view *view = ptni_view_of(worker, space);

	*usage_out = (struct ptni_space_usage){ 0 };
	for (unsigned i = 0; view && i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i])
			usage_add(view->heap[i], usage_out);
}
