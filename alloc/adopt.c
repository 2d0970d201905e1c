/* SPDX-License-Identifier: MIT */
/*
 * Adoption of chunks that a dead or departed worker left.
 *
 *   slab   SCANNING ── every block asked about ──► WAITING ── horizon > tag ──► bits cleared ──► ordinary
 *
 * The scan asks the table (ptni_block_scan_fn, else ptni_block_live_fn) whether each block is still
 * reachable, many at a time; those that are not go to limbo. Nobody else fills blocks there (the former
 * owner was fenced or has said goodbye), so a block that is not reachable was never published or has been
 * unlinked. In the second case its unlinker may still be about to set its free bit. Once the horizon has
 * passed the scan's tag every such bit has been set (frees.c, 2), so then the words are read and cleared,
 * and only then the blocks become free: a late bit cannot hit the next user of a block. A slab in which the
 * scan found nothing unreachable has nothing to wait for. One that waits asks for the epoch: nobody else
 * may need it.
 *
 * A worker's own sparse slabs go the same way to be emptied (compact.c); their live blocks are moved.
 * An answer that failed is asked for again: the slab goes on where the first such block is.
 *
 * The adopter dies at any point: the chunk is an orphan again and the next adopter begins anew.
 * Nothing of the scan is kept in remote memory.
 */
#include "alloc/view.h"

#include <errno.h>
#include <string.h>

enum {
	FINISH_SLABS = 16, /* whose words are read in one batch */
};

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

/* Blocks that are asked about together, of one heap. */
struct ask {
	uint32_t count, len_bytes; /* that are read of each */
	bool evict;
	struct ptni_owned_slab *slab[PTNI_SCAN_MAX];
	uint32_t index[PTNI_SCAN_MAX];
	struct ptni_scan block[PTNI_SCAN_MAX];
};

/* Neighbours are one READ. Not inlined: a batch is long, and the table's code that is called next needs the stack. */
__attribute__((noinline)) static int prefixes_read(struct ptni_op *op, struct ptni_space *space,
						   const struct ask *ask, uint8_t *to)
{
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret;

	ptni_batch_init(&batch, op, space->node);
	for (uint32_t i = 0, n; i < ask->count; i += n) {
		for (n = 1; i + n < ask->count; n++)
			if (ask->block[i + n].addr !=
			    ask->block[i].addr + (uint64_t)n * ask->len_bytes)
				break;
		ret = ptni_space_window_fetch(op, space, ask->block[i].addr, &window);
		if (ret)
			return ret;
		ptni_batch_read(&batch, window, ask->block[i].addr, to + (size_t)i * ask->len_bytes,
				n * ask->len_bytes);
	}
	return ptni_batch_run(&batch);
}

/* The table answers for one block after the other. */
static int each_asked(struct ptni_view *view, struct ptni_op *op, struct ask *ask,
		      unsigned block_class)
{
	struct ptni_space *space = view->space;
	ptni_block_live_fn live = atomic_load_explicit(&space->live, memory_order_acquire);
	ptni_block_move_fn move = atomic_load_explicit(&space->move, memory_order_acquire);
	void *arg = atomic_load_explicit(&space->live_arg, memory_order_relaxed);

	for (uint32_t i = 0; i < ask->count; i++) {
		struct ptni_scan *block = &ask->block[i];
		int moved;

		block->result =
			live(arg, op, block->addr, block_class, block->prefix, ask->len_bytes);
		if (block->result <= 0 || !ask->evict)
			continue;
		moved = move ? move(arg, op, block->addr, block_class, block->prefix,
				    ask->len_bytes) :
			       -ENOTSUP;
		if (moved && moved != -EBUSY)
			block->result = PTNI_SCAN_STAYS;
	}
	return 0;
}

/* In an operation of its own: the table's code may need the whole buffer. */
static int blocks_ask(struct ptni_view *view, struct ptni_heap *heap, struct ask *ask)
{
	struct ptni_space *space = view->space;
	ptni_block_scan_fn scan = atomic_load_explicit(&space->scan, memory_order_acquire);
	unsigned block_class = ask->slab[0]->chunk->block_class;
	struct ptni_op op;
	uint8_t *prefix;
	int ret = -EAGAIN;

	if (atomic_load_explicit(&space->live, memory_order_acquire))
		ret = ptni_op_begin(view->worker, &op);
	if (ret)
		return ret;
	prefix = ptni_op_buffer(&op, (size_t)ask->count * ask->len_bytes);
	for (uint32_t i = 0; i < ask->count; i++) {
		ask->block[i].addr = block_addr(heap, ask->slab[i], ask->index[i]);
		ask->block[i].prefix = prefix + (size_t)i * ask->len_bytes;
	}
	ret = prefix ? prefixes_read(&op, space, ask, prefix) : -ENOBUFS;
	if (!ret && scan)
		ret = scan(atomic_load_explicit(&space->live_arg, memory_order_relaxed), &op,
			   block_class, ask->len_bytes, ask->evict, ask->block, ask->count);
	else if (!ret)
		ret = each_asked(view, &op, ask, block_class);
	ptni_op_end(&op);
	return ret;
}

/* --- which blocks ------------------------------------------------------------------------------ */

/* Nothing is left to ask about in this slab: its grace period begins, unless some blocks are asked about again. */
static void slab_asked(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab)
{
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	slab->scanned = heap->layout.blocks;
	slab->scan_tag = epochs.epoch + 1;
	if (!slab->unsure)
		ptni_slab_scanned(heap, slab);
}

/* The slab's next blocks; false: it has none. */
static bool ask_add(const struct ptni_heap *heap, struct ptni_owned_slab *slab, uint32_t max,
		    struct ask *ask)
{
	uint32_t had = ask->count;

	for (uint32_t i = slab->scanned; i < heap->layout.blocks && ask->count < max; i++) {
		if (known_free(slab, i))
			continue;
		ask->slab[ask->count] = slab;
		ask->index[ask->count++] = i;
	}
	return ask->count > had;
}

/* Not while it waits to be asked about once more, from the beginning. */
static bool scan_ready(const struct ptni_heap *heap, const struct ptni_owned_slab *slab,
		       uint64_t horizon)
{
	return !slab->collecting &&
	       (!slab->unsure || slab->scanned < heap->layout.blocks || horizon > slab->evict_tag);
}

/* From the first slabs of the list that are ready and of one kind. */
static void ask_gather(struct ptni_view *view, struct ptni_heap *heap, uint64_t horizon,
		       uint32_t budget, struct ask *ask)
{
	struct ptni_owned_slab *slab, *next;
	uint32_t max = PTNI_SCAN_BYTES / ask->len_bytes;

	max = max < PTNI_SCAN_MAX ? max : PTNI_SCAN_MAX;
	max = max < budget ? max : budget;
	cds_list_for_each_entry_safe(slab, next, &heap->scan, scan_link) {
		if (!scan_ready(heap, slab, horizon))
			continue;
		if (ask->count == max || slab->chunk->told ||
		    (ask->count && slab->evict != ask->evict))
			break;
		ask->evict = slab->evict;
		if (slab->unsure && slab->scanned == heap->layout.blocks) {
			slab->unsure = false;
			slab->scanned = 0;
		}
		if (!ask_add(heap, slab, max, ask))
			slab_asked(view, heap, slab);
	}
}

/* Not found, and nobody will publish it any more: not before what was handed out is published or given back. */
static bool is_free(const struct ptni_owned_slab *slab, uint64_t horizon)
{
	return !slab->evict || horizon > slab->evict_tag;
}

/* The next blocks to be asked about; returns how many of `budget` are left, or an error. */
static int blocks_scan(struct ptni_view *view, struct ptni_heap *heap, uint32_t budget)
{
	struct ptni_owned_slab *behind = NULL; /* it goes on at a block that it has asked about */
	struct ptni_epochs before, after;
	struct ask ask = { .count = 0 };
	int ret;

	ask.len_bytes = heap->block_bytes < PTNI_PREFIX_MAX ? heap->block_bytes : PTNI_PREFIX_MAX;
	ptni_view_epochs(view, &before);
	ask_gather(view, heap, before.horizon, budget, &ask);
	if (!ask.count)
		return (int)budget;
	ret = blocks_ask(view, heap, &ask);
	if (ret)
		return ret;
	ptni_view_epochs(view, &after);
	for (uint32_t i = 0; i < ask.count; i++) {
		struct ptni_owned_slab *slab = ask.slab[i];
		int result = ask.block[i].result;

		slab->scan_tag = after.epoch + 1;
		if (result < 0) {
			ret = ret ? ret : result;
			behind = slab;
		} else if (result == 0 && !is_free(slab, before.horizon)) {
			slab->unsure = true;
		} else if (result == 0 && !slab->chunk->doubt) {
			(void)ptni_slab_retire(heap, slab, ask.index[i], after.epoch + 1);
		} else if (result == PTNI_SCAN_STAYS) {
			slab->chunk->stuck = true;
		}
		if (slab == behind)
			continue;
		slab->scanned = ask.index[i] + 1;
		if (slab->scanned == heap->layout.blocks && !slab->unsure)
			ptni_slab_scanned(heap, slab);
	}
	return ret ? ret : (int)(budget - ask.count);
}

/* --- the end of it ------------------------------------------------------------------------------ */

static bool slab_ready(const struct ptni_owned_slab *slab, uint64_t horizon)
{
	return !ptni_slab_tag(slab) || horizon > slab->scan_tag;
}

/* Every bit that was to come has come: clear the words and let the slabs be ordinary. */
static int slabs_finish(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_owned_slab *ready[FINISH_SLABS], *slab;
	struct ptni_epochs epochs;
	uint32_t count = 0;
	struct ptni_op op;
	int ret;

	ptni_view_epochs(view, &epochs);
	cds_list_for_each_entry(slab, &heap->grace, scan_link) {
		if (slab->collecting)
			continue;
		if (count == FINISH_SLABS || !slab_ready(slab, epochs.horizon))
			break;
		ready[count++] = slab;
	}
	ret = ptni_op_begin(view->worker, &op);
	if (ret)
		return ret;
	ret = ptni_collect(&op, view, heap, ready, count);
	ptni_op_end(&op);
	for (uint32_t i = 0; i < count && !ret; i++)
		ptni_slab_hold(heap, ready[i], PTNI_HELD_SCAN, false);
	return ret;
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

static struct ptni_owned_slab *first_to_scan(const struct ptni_heap *heap, uint64_t horizon)
{
	struct ptni_owned_slab *slab;

	cds_list_for_each_entry(slab, &heap->scan, scan_link)
		if (scan_ready(heap, slab, horizon))
			return slab;
	return NULL;
}

/* A slab with something to do now: its grace period is over (tags only grow along the list), or it is
 * to be scanned. */
static struct ptni_owned_slab *slab_pick(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_owned_slab *grace = first_of(&heap->grace), *scan;
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	if (grace && slab_ready(grace, epochs.horizon))
		return grace;
	scan = first_to_scan(heap, epochs.horizon);
	if (heap->held && !scan)
		ptni_client_want_epoch(view->client, view->space->node,
				       ptni_heap_limbo_bytes(heap) + 1);
	return scan;
}

int ptni_adopt_some(struct ptni_view *view, struct ptni_heap *heap, uint32_t *blocks)
{
	int budget = (int)*blocks, ret = 0;

	if (view->scanning || !heap->held)
		return 0;
	view->scanning = true;
	view->pinned++;
	while (budget > 0 && !ret) {
		struct ptni_owned_slab *slab = slab_pick(view, heap);

		if (!slab)
			break;
		if (slab == first_of(&heap->grace)) {
			ret = slabs_finish(view, heap);
			budget--;
		} else if (slab->chunk->told) {
			ret = ptni_told_read(view, heap, slab->chunk);
			budget--;
		} else {
			budget = blocks_scan(view, heap, (uint32_t)budget);
			ret = budget < 0 ? budget : 0;
		}
	}
	*blocks = budget > 0 ? (uint32_t)budget : 0;
	view->pinned--;
	view->scanning = false;
	return ret ? ret : slab_pick(view, heap) != NULL;
}

int ptni_adopt_step(struct ptni_view *view, struct ptni_heap *heap, uint32_t blocks)
{
	return ptni_adopt_some(view, heap, &blocks);
}
