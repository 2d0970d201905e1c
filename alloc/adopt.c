/* SPDX-License-Identifier: MIT */
/*
 * Adoption of chunks that a dead or departed worker left.
 *
 *   slab   SCANNING ── every block asked about ──► WAITING ── horizon > tag ──► bits cleared ──► ordinary
 *
 * The scan asks the table (ptni_block_live_fn) whether each block is still reachable; those that are not
 * go to limbo. Nobody else fills blocks there (the former owner was fenced or has said goodbye), so
 * a block that is not reachable was never published or has been unlinked. In the second case its
 * unlinker may still be about to set its free bit. Once the horizon has passed the scan's tag every
 * such bit has been set (frees.c, 2), so then the words are read and cleared, and only then the blocks
 * become free: a late bit cannot hit the next user of a block. A slab in which the scan found nothing
 * unreachable has nothing to wait for. One that waits asks for the epoch: nobody else may need it.
 *
 * A worker's own sparse slabs go the same way to be emptied (compact.c); their live blocks are moved.
 *
 * The adopter dies at any point: the chunk is an orphan again and the next adopter begins anew.
 * Nothing of the scan is kept in remote memory.
 */
#include "alloc/view.h"

#include <errno.h>
#include <string.h>

static uint64_t block_addr(const struct ptni_heap *heap, const struct ptni_owned_slab *slab,
			   uint32_t index)
{
	return slab->base + heap->layout.first + (uint64_t)index * heap->block_bytes;
}

static bool known_free(const struct ptni_owned_slab *slab, uint32_t index)
{
	uint64_t bits = slab->free[index / 64] | slab->limbo[PTNI_OLD][index / 64] |
			slab->limbo[PTNI_YOUNG][index / 64];

	return bits >> index % 64 & 1;
}

/* Not inlined: a batch is long, and the table's code that is called next needs the stack. */
__attribute__((noinline)) static int prefix_read(struct ptni_op *op, struct ptni_space *space,
						 uint64_t addr, void *prefix, uint32_t len_bytes)
{
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret = ptni_space_window_fetch(op, space, addr, &window);

	if (ret)
		return ret;
	ptni_batch_init(&batch, op, space->node);
	ptni_batch_read(&batch, window, addr, prefix, len_bytes);
	return ptni_batch_run(&batch);
}

/* A block that cannot be moved stays, and its chunk is not chosen again. */
static void block_move(struct ptni_view *view, struct ptni_op *op, struct ptni_owned_slab *slab,
		       uint64_t addr, const void *prefix, uint32_t len_bytes)
{
	struct ptni_space *space = view->space;
	ptni_block_move_fn move = atomic_load_explicit(&space->move, memory_order_acquire);

	if (!move || move(atomic_load_explicit(&space->live_arg, memory_order_relaxed), op, addr,
			  slab->chunk->block_class, prefix, len_bytes))
		slab->chunk->stuck = true;
}

/* Ask about one block in an operation of its own: the table's code may need the whole buffer. */
static int block_ask(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab,
		     uint32_t index)
{
	struct ptni_space *space = view->space;
	ptni_block_live_fn live = atomic_load_explicit(&space->live, memory_order_acquire);
	uint32_t len = heap->block_bytes < PTNI_PREFIX_MAX ? heap->block_bytes : PTNI_PREFIX_MAX;
	uint64_t addr = block_addr(heap, slab, index);
	void *prefix;
	struct ptni_op op;
	int ret = live ? ptni_op_begin(view->worker, &op) : -EAGAIN;

	if (ret)
		return ret;
	prefix = ptni_op_buffer(&op, len);
	ret = prefix_read(&op, space, addr, prefix, len);
	if (!ret)
		ret = live(atomic_load_explicit(&space->live_arg, memory_order_relaxed), &op, addr,
			   slab->chunk->block_class, prefix, len);
	if (ret > 0 && slab->evict)
		block_move(view, &op, slab, addr, prefix, len);
	ptni_op_end(&op);
	return ret;
}

/* The next blocks of one slab; returns how many of `budget` are left, or an error. */
static int slab_scan(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab,
		     uint32_t budget)
{
	struct ptni_epochs epochs;
	int ret;

	while (budget && slab->scanned < heap->layout.blocks) {
		uint32_t index = slab->scanned;

		ret = 1;
		if (!known_free(slab, index)) {
			uint32_t cost = slab->evict ? PTNI_MOVE_COST : 1;

			budget -= budget < cost ? budget : cost;
			ret = block_ask(view, heap, slab, index);
		}
		if (ret < 0)
			return ret;
		ptni_view_epochs(view, &epochs); /* after the answer */
		if (ret == 0 && !slab->chunk->doubt)
			(void)ptni_slab_retire(heap, slab, index, epochs.epoch + 1);
		slab->scanned = index + 1;
		slab->scan_tag = epochs.epoch + 1;
	}
	if (slab->scanned == heap->layout.blocks)
		ptni_slab_scanned(heap, slab);
	return (int)budget;
}

/* Every bit that was to come has come: clear the words and let the slab be ordinary. */
static int slab_finish(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab)
{
	struct ptni_owned_slab *one[] = { slab };
	struct ptni_op op;
	int ret = ptni_op_begin(view->worker, &op);

	if (ret)
		return ret;
	ret = ptni_collect(&op, view, heap, one, 1);
	ptni_op_end(&op);
	if (!ret)
		ptni_slab_hold(heap, slab, PTNI_HELD_SCAN, false);
	return ret;
}

static bool slab_ready(const struct ptni_owned_slab *slab, uint64_t horizon)
{
	return !ptni_slab_tag(slab) || horizon > slab->scan_tag;
}

/* The first whose free words nobody else is at, or was without seeing the end. */
static struct ptni_owned_slab *first_of(struct cds_list_head *list)
{
	struct ptni_owned_slab *slab;

	cds_list_for_each_entry(slab, list, scan_link)
		if (!slab->collecting)
			return slab;
	return NULL;
}

/* A slab with something to do now: its grace period is over (tags only grow along the list), or it is
 * to be scanned. */
static struct ptni_owned_slab *slab_pick(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_owned_slab *grace = first_of(&heap->grace), *scan = first_of(&heap->scan);
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	if (grace && slab_ready(grace, epochs.horizon))
		return grace;
	if (scan && scan->evict && epochs.horizon <= scan->evict_tag)
		scan = NULL;
	if (heap->held && !scan)
		ptni_client_want_epoch(view->client, view->space->node,
				       ptni_heap_limbo_bytes(heap) + 1);
	return scan;
}

int ptni_adopt_step(struct ptni_view *view, struct ptni_heap *heap, uint32_t blocks)
{
	int budget = (int)blocks, ret = 0;

	if (view->scanning || !heap->held)
		return 0;
	view->scanning = true;
	view->pinned++;
	while (budget > 0 && !ret) {
		struct ptni_owned_slab *slab = slab_pick(view, heap);

		if (!slab)
			break;
		if (slab->chunk->told) {
			ret = ptni_told_read(view, heap, slab->chunk);
			budget--;
		} else if (slab->scanned < heap->layout.blocks) {
			budget = slab_scan(view, heap, slab, (uint32_t)budget);
			ret = budget < 0 ? budget : 0;
		} else {
			ret = slab_finish(view, heap, slab);
			budget--;
		}
	}
	view->pinned--;
	view->scanning = false;
	return ret ? ret : slab_pick(view, heap) != NULL;
}
