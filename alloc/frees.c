/* SPDX-License-Identifier: MIT */
/*
 * Frees of blocks in others' chunks: setting their bits, and collecting the bits that others set in
 * ours.
 *
 *   freer: unlink CAS won ── push ──► ring ── FAA (1 << bit) ──► free word ── READ ──► owner: limbo
 *                                                                     ▲── FAA (-bits) ──┘
 *
 * 1. Each block is freed by one client once, and its bit is cleared before it can be used again, so an
 *    addition never carries.
 * 2. Before a session reports an epoch, the bits of everything that it unlinked in operations which that
 *    report waits for have been set: entries are in the ring when the operation ends, the keeper's hook
 *    sends all that it finds there, and the report waits for the operations in which workers do the same
 *    (core/epoch.c, the second wait); one that puts entries back puts the report off. An adopter relies on it.
 * 3. The owner does not promote a slab between seeing bits and knowing that they are cleared
 *    (PTNI_HELD_CLEAR); seeing a bit of a block in limbo again changes nothing.
 * 4. What was seen is subtracted once: one fiber at a time collects a slab, and none again after one whose
 *    subtraction may still be on its way; its slab stays held until it is adopted.
 * 5. What cannot be sent now (no window to be had, no lane in time) waits in the ring and is sent later. Not for
 *    ever, since reports wait for it: what nobody could send for half a term is given up (`leaked`), so that the
 *    session is not fenced for the sake of some memory. Leaked blocks are found by adoption or compaction.
 *
 * The freer dies before its FAA: the block stays in use until its chunk is adopted, when nothing points
 * at it. The FAA's outcome is unknown, and so is that of all behind it: the words are read; if a bit is not
 * set then the owner may have taken it already, so it is not set again (leaked).
 * The owner dies between READ and FAA, or after: its chunk is adopted, the scan does not read old bits
 * as news, since it asks about the blocks themselves first and clears the words after the grace period.
 */
#include "alloc/view.h"

#include <errno.h>
#include <string.h>

/* --- the ring --------------------------------------------------------------------------------- */

#define IN_DOUBT (UINT64_C(1) << 63) /* of an entry: its FAA may have been executed */

static uint32_t ring_used(struct ptni_frees *frees)
{
	return atomic_load_explicit(&frees->tail, memory_order_acquire) -
	       atomic_load_explicit(&frees->head, memory_order_acquire);
}

bool ptni_frees_pending(struct ptni_view *view)
{
	return ring_used(&view->frees) || atomic_load(&view->frees.kept_count) ||
	       atomic_load(&view->frees.flushing);
}

/* The worker, which has seen that there is room. */
static void ring_put(struct ptni_frees *frees, uint64_t entry)
{
	uint32_t tail = atomic_load_explicit(&frees->tail, memory_order_relaxed);

	atomic_store_explicit(&frees->entry[tail % PTNI_FREES_RING], entry, memory_order_relaxed);
	atomic_store_explicit(&frees->tail, tail + 1, memory_order_release);
}

/* Take up to `max` entries. The caller has raised `flushing`. */
static uint32_t ring_take(struct ptni_frees *frees, uint64_t *entry, uint32_t max)
{
	for (int attempt = 0; attempt < 8; attempt++) {
		uint32_t head = atomic_load_explicit(&frees->head, memory_order_acquire);
		uint32_t tail = atomic_load_explicit(&frees->tail, memory_order_acquire);
		uint32_t count = tail - head < max ? tail - head : max;

		for (uint32_t i = 0; i < count; i++)
			entry[i] = atomic_load_explicit(&frees->entry[(head + i) % PTNI_FREES_RING],
							memory_order_relaxed);
		if (!count || atomic_compare_exchange_strong(&frees->head, &head, head + count))
			return count;
	}
	return 0; /* the other taker is at it */
}

/* The same for whoever asks: the worker's count, the keeper's leftovers first. */
static uint32_t entries_take(struct ptni_view *view, bool own, uint64_t *entry)
{
	struct ptni_frees *frees = &view->frees;
	uint32_t count = own ? 0 : atomic_load_explicit(&frees->kept_count, memory_order_relaxed);

	if (count) {
		memcpy(entry, frees->kept, count * sizeof(*entry));
		atomic_store(&frees->kept_count, 0);
		return count;
	}
	count = ring_take(frees, entry, PTNI_FREES_BATCH);
	if (own)
		frees->out += count;
	return count;
}

/* Has nobody been able to send anything for too long? */
static bool hopeless(struct ptni_op *op, struct ptni_view *view)
{
	const struct ptni_welcome *welcome = ptni_client_node(view->client, view->space->node);
	uint64_t now_ns = ptni_worker_now_ns(op->worker);
	uint64_t since_ns = atomic_load_explicit(&view->frees.failing_ns, memory_order_relaxed);
	uint64_t term_ns = welcome->term_ns * (welcome->term_units ? welcome->term_units : 1);

	if (!since_ns)
		atomic_store_explicit(&view->frees.failing_ns, now_ns, memory_order_relaxed);
	return since_ns && now_ns > since_ns && now_ns - since_ns > term_ns / 2;
}

/* What could not be sent, of `taken` entries, waits for the next time. */
static void entries_back(struct ptni_op *op, struct ptni_view *view, const uint64_t *entry,
			 uint32_t count, bool own, uint32_t taken)
{
	struct ptni_frees *frees = &view->frees;

	if (count && hopeless(op, view)) {
		view->leaked += count;
		count = 0;
	}
	if (own) {
		frees->out -= taken;
		for (uint32_t i = 0; i < count; i++)
			ring_put(frees, entry[i]);
	} else {
		memcpy(frees->kept, entry, count * sizeof(*entry));
		atomic_store(&frees->kept_count, count);
	}
	if (!count)
		return;
	if (own)
		ptni_client_report_later(view->client, view->space->node);
	ptni_client_want_epoch(view->client, view->space->node, 1); /* so that the hook runs */
}

static uint64_t entry_addr(const struct ptni_space *space, uint64_t entry)
{
	return space->region + ((entry & ~IN_DOUBT) >> 6) * sizeof(uint64_t);
}

/* The FAA at `at` may have been executed or not: the word tells, unless the owner was quicker. */
__attribute__((noinline)) static int doubt_settle(struct ptni_op *op, struct ptni_view *view,
						  uint64_t entry, uint64_t *copy)
{
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret = ptni_space_window_fetch(op, view->space, entry_addr(view->space, entry), &window);

	if (ret == -EFAULT) { /* the extent has gone meanwhile, and the block with it */
		view->leaked++;
		return 0;
	}
	if (ret)
		return ret;
	ptni_batch_init(&batch, op, view->space->node);
	ptni_batch_read(&batch, window, entry_addr(view->space, entry), copy, sizeof(*copy));
	ret = ptni_batch_run(&batch);
	if (!ret && !(*copy >> entry % 64 & 1))
		view->leaked++;
	return ret;
}

/* Add those in front that are not in doubt and have a window. 0, or why there is none. */
static int bits_add(struct ptni_op *op, struct ptni_view *view, const uint64_t *entry,
		    uint32_t count, uint64_t *old, struct ptni_batch *batch)
{
	const struct ptni_window *window;

	for (uint32_t i = 0; i < count && !(entry[i] & IN_DOUBT); i++) {
		uint64_t addr = entry_addr(view->space, entry[i]);
		int ret = ptni_space_window_fetch(op, view->space, addr, &window);

		if (ret)
			return i ? 0 : ret;
		ptni_batch_faa(batch, window, addr, UINT64_C(1) << entry[i] % 64, &old[i]);
	}
	return 0;
}

/* Set the bits of some of these entries; *done_out of them are set or given up. */
static int bits_set(struct ptni_op *op, struct ptni_view *view, uint64_t *entry, uint32_t count,
		    uint64_t *old, uint32_t *done_out)
{
	struct ptni_batch batch;
	int ret;

	*done_out = 0;
	if (entry[0] & IN_DOUBT) {
		ret = doubt_settle(op, view, entry[0], old);
		*done_out = !ret;
		return ret;
	}
	ptni_batch_init(&batch, op, view->space->node);
	ret = bits_add(op, view, entry, count, old, &batch);
	if (!ret) {
		ret = ptni_batch_run(&batch);
		*done_out = batch.done;
		/* Whichever failed, all of the rest may have been executed: made twice they would carry. */
		for (uint32_t i = batch.done; ret && batch.in_doubt && i < batch.count; i++)
			entry[i] |= IN_DOUBT;
	}
	if (ret == PTN_E_OUTCOME_UNKNOWN)
		return 0;
	if (ret == -EFAULT || ret == -EACCES) { /* a corrupt address: there is no such word */
		view->leaked++;
		*done_out += 1;
		return 0;
	}
	return ret;
}

int ptni_frees_flush(struct ptni_op *op, struct ptni_view *view)
{
	uint64_t entry[PTNI_FREES_BATCH], *old = ptni_op_buffer(op, sizeof(entry));
	bool own = op->worker == view->worker;
	int ret = ptni_client_node_error(view->client, view->space->node);
	uint32_t count, at = 0, done;

	if (ret || !old)
		return ret ? ret : -ENOBUFS;
	atomic_fetch_add(&view->frees.flushing, 1);
	count = entries_take(view, own, entry);
	while (!ret && at < count) {
		ret = bits_set(op, view, entry + at, count - at, old, &done);
		at += done;
	}
	if (at)
		atomic_store_explicit(&view->frees.failing_ns, 0, memory_order_relaxed);
	entries_back(op, view, entry + at, count - at, own, count);
	atomic_fetch_sub(&view->frees.flushing, 1);
	return ret;
}

/*
 * Flushing has an operation of its own: the caller's may have used up its buffer or its time, and the
 * caller's work is done already. What cannot be sent now waits in the ring; the keeper sends it.
 */
static void flush_now(struct ptni_view *view)
{
	struct ptni_op op;

	if (ptni_op_begin(view->worker, &op))
		return;
	(void)ptni_frees_flush(&op, view);
	ptni_op_end(&op);
}

void ptni_frees_push(struct ptni_op *op, struct ptni_view *view, uint64_t word_addr, unsigned bit)
{
	struct ptni_frees *frees = &view->frees;
	uint64_t entry = (word_addr - view->space->region) / sizeof(uint64_t) << 6 | bit;
	uint32_t used;

	if (ring_used(frees) + frees->out >= PTNI_FREES_RING)
		flush_now(view);
	if (ring_used(frees) + frees->out >= PTNI_FREES_RING) {
		view->leaked++; /* none of four batches could be sent */
		return;
	}
	if (!ring_used(frees)) /* or else sent by the keeper: see that its hook runs */
		ptni_client_want_epoch(view->client, view->space->node, 1);
	ring_put(frees, entry);
	used = ring_used(frees);
	if (used >= PTNI_FREES_BATCH &&
	    (used % PTNI_FREES_BATCH == 0 ||
	     !atomic_load_explicit(&frees->failing_ns, memory_order_relaxed)))
		flush_now(view);
}

/* --- collecting --------------------------------------------------------------------------------- */

/* How many words of which slabs are in one read; the rest waits for the next. */
__attribute__((noinline)) static int words_read(struct ptni_op *op, struct ptni_view *view,
						struct ptni_heap *heap,
						struct ptni_owned_slab *const *slab, uint32_t count,
						uint64_t *copy)
{
	uint32_t words = ptni_slab_words(&heap->layout);
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret;

	ptni_batch_init(&batch, op, view->space->node);
	for (uint32_t i = 0; i < count; i++) {
		ret = ptni_space_window_fetch(op, view->space, slab[i]->base, &window);
		if (ret)
			return ret;
		ptni_batch_read(&batch, window, slab[i]->base, copy + (size_t)i * words,
				words * (uint32_t)sizeof(uint64_t));
	}
	return ptni_batch_run(&batch);
}

/* After this error a request that was posted may yet be executed (worker.h). */
static bool may_land(int code)
{
	return code && code != PTN_E_OUTCOME_UNKNOWN && ptn_error_scope(code) != PTN_SCOPE_LEASE;
}

/* Slabs of which a subtraction may yet be carried out. */
struct doubt {
	uint32_t from, until;
};

/* The subtractions of slabs from..until-1, the last of which may have more to come. */
static int clear_run(struct ptni_batch *batch, struct ptni_heap *heap,
		     struct ptni_owned_slab *const *slab, uint32_t from, uint32_t until, bool whole,
		     struct doubt *doubt)
{
	int ret = ptni_batch_run(batch);

	if (may_land(ret))
		*doubt = (struct doubt){ from, until };
	for (uint32_t i = from; !ret && i < until - !whole; i++)
		ptni_slab_hold(heap, slab[i], PTNI_HELD_CLEAR, false);
	return ret;
}

/*
 * Subtract what was read from the slabs' words, many in one batch. A slab of which that is not known to be done
 * stays held: the next collection reads what is still set and clears that, unless it is in doubt (4).
 */
__attribute__((noinline)) static int words_clear(struct ptni_op *op, struct ptni_view *view,
						 struct ptni_heap *heap,
						 struct ptni_owned_slab *const *slab,
						 uint32_t count, const uint64_t *copy,
						 struct doubt *doubt)
{
	uint32_t words = ptni_slab_words(&heap->layout), from = 0;
	uint64_t *old = (uint64_t *)(uintptr_t)copy + (size_t)count * words;
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret;

	ptni_batch_init(&batch, op, view->space->node);
	for (uint32_t i = 0; i < count * words; i++) {
		if (!copy[i])
			continue;
		if (batch.count == PTNI_BATCH_MAX) {
			ret = clear_run(&batch, heap, slab, from, i / words + 1, false, doubt);
			if (ret)
				return ret;
			from = i / words;
			ptni_batch_init(&batch, op, view->space->node);
		}
		ret = ptni_space_window_fetch(op, view->space, slab[i / words]->base, &window);
		if (ret)
			return ret;
		ptni_batch_faa(&batch, window, slab[i / words]->base + i % words * sizeof(uint64_t),
			       0 - copy[i], old);
	}
	return batch.count ? clear_run(&batch, heap, slab, from, count, true, doubt) : 0;
}

/* Bits of one slab were read: limbo, and held until they are cleared. */
static void slab_take(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab,
		      const uint64_t *copy)
{
	uint32_t words = ptni_slab_words(&heap->layout);
	struct ptni_epochs epochs;
	uint64_t any = 0;

	ptni_view_epochs(view, &epochs);
	for (uint32_t i = 0; i < words; i++) {
		any |= copy[i];
		ptni_slab_collect(heap, slab, i, copy[i], epochs.epoch + 1);
	}
	ptni_slab_hold(heap, slab, PTNI_HELD_CLEAR, any);
}

/* False, and nothing is marked: another fiber is at one of them (4). */
static bool collect_begin(struct ptni_owned_slab *const *slab, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (slab[i]->collecting)
			return false;
	for (uint32_t i = 0; i < count; i++)
		slab[i]->collecting = true;
	return true;
}

int ptni_collect(struct ptni_op *op, struct ptni_view *view, struct ptni_heap *heap,
		 struct ptni_owned_slab *const *slab, uint32_t count)
{
	uint32_t words = ptni_slab_words(&heap->layout);
	uint64_t *copy = ptni_op_buffer(op, ((size_t)count * words + 1) * sizeof(uint64_t));
	uint64_t limbo = heap->blocks_limbo;
	struct doubt doubt = { 0 };
	int ret;

	if (!copy)
		return -ENOBUFS;
	if (!collect_begin(slab, count))
		return -EAGAIN;
	ret = words_read(op, view, heap, slab, count, copy);
	for (uint32_t i = 0; !ret && i < count; i++)
		slab_take(view, heap, slab[i], copy + (size_t)i * words);
	if (!ret)
		ret = words_clear(op, view, heap, slab, count, copy, &doubt);
	for (uint32_t i = 0; i < count; i++)
		slab[i]->collecting = i >= doubt.from && i < doubt.until &&
				      slab[i]->held & PTNI_HELD_CLEAR;
	view->garbage_bytes += (heap->blocks_limbo - limbo) * heap->block_bytes;
	return ret;
}

/* --- sweeping ----------------------------------------------------------------------------------- */

/* A pass is due when an eighth of what the heap holds was taken since the last one began; a pass that
 * found nothing doubles that, up to all of it. */
static bool sweep_due(const struct ptni_heap *heap)
{
	uint64_t due = (heap->blocks >> 3) << heap->sweep_patience;

	return heap->taken >= (due > heap->layout.blocks ? due : heap->layout.blocks);
}

static void sweep_begin(struct ptni_heap *heap)
{
	heap->taken = 0;
	heap->sweep_left = heap->slabs;
	heap->sweep_found = heap->blocks_limbo;
}

static void sweep_end(struct ptni_heap *heap)
{
	if (heap->blocks_limbo > heap->sweep_found)
		heap->sweep_patience = 0;
	else if (heap->sweep_patience < 3)
		heap->sweep_patience++;
}

/* Slabs from the front of `all`, which go to its end. */
static uint32_t sweep_pick(struct ptni_heap *heap, struct ptni_owned_slab **slab, uint32_t max)
{
	uint32_t count = 0;

	while (heap->sweep_left && count < max) {
		struct ptni_owned_slab *at =
			cds_list_first_entry(&heap->all, struct ptni_owned_slab, all_link);

		heap->sweep_left--;
		cds_list_del(&at->all_link);
		cds_list_add_tail(&at->all_link, &heap->all);
		if (!at->collecting && (at->held || at->free_count + at->limbo_count[PTNI_OLD] +
								    at->limbo_count[PTNI_YOUNG] <
							    heap->layout.blocks))
			slab[count++] = at;
	}
	return count;
}

int ptni_sweep_step(struct ptni_view *view, struct ptni_heap *heap, bool force)
{
	struct ptni_owned_slab *slab[PTNI_SWEEP_STEP];
	uint32_t words = ptni_slab_words(&heap->layout), max = 4096 / words;
	struct ptni_op own;
	uint32_t count;
	int ret;

	if (view->sweeping || cds_list_empty(&heap->all))
		return 0;
	if (!heap->sweep_left && (force || sweep_due(heap)))
		sweep_begin(heap);
	count = sweep_pick(heap, slab, max < PTNI_SWEEP_STEP ? max : PTNI_SWEEP_STEP);
	if (!count)
		return 0;
	ret = ptni_op_begin(view->worker, &own); /* for its buffer */
	if (ret)
		return ret;
	view->sweeping = true;
	view->pinned++;
	ret = ptni_collect(&own, view, heap, slab, count);
	view->pinned--;
	view->sweeping = false;
	ptni_op_end(&own);
	if (!heap->sweep_left)
		sweep_end(heap);
	return ret ? ret : heap->sweep_left > 0;
}
