/* SPDX-License-Identifier: MIT */
/*
 * Giving back on request. Every step is one that happens by itself in the course of work too; dying or
 * sleeping between any two of them is dying or sleeping in ordinary work (frees.c, adopt.c, chunk.c).
 *
 * Trimming does at once what can be done at once. Compacting goes on in steps, as many as its caller likes:
 *
 *   heap   IDLE ──► SWEEPING: others' frees are collected ──► EMPTYING: sparse chunks, as compact.c does ──► DONE
 *            ▲                                                 `── again while one is sparse, or something waits  │
 *            `── when all heaps are ───────────────────────────────────────────────────────────────────────────'
 */
#include "alloc/view.h"

#include <errno.h>

#define FORGET_NS \
	UINT64_C(20000000) /* a request that was not finished: what it has seen is old by now */

enum giving {
	IDLE,
	SWEEPING,
	EMPTYING,
	DONE,
};

static int heap_trim(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_epochs epochs;
	int ret;

	do
		ret = ptni_sweep_step(view, heap, true);
	while (ret > 0);
	(void)ptni_compact_begin(view, heap);
	while (!ret && heap->held && (ret = ptni_adopt_step(view, heap, heap->layout.blocks)) > 0)
		ret = 0;
	ptni_view_epochs(view, &epochs);
	while (ptni_heap_promote(heap, epochs.horizon, epochs.epoch, PTNI_PROMOTE_STEP))
		;
	if (heap->blocks_limbo)
		ptni_client_want_epoch(view->client, view->space->node,
				       ptni_heap_limbo_bytes(heap));
	if (!view->pinned)
		ptni_heap_park(heap);
	return ret < 0 ? ret : 0;
}

static int frees_send(struct ptn_worker *worker, struct ptni_view *view)
{
	struct ptni_op op;
	int ret;

	if (!ptni_frees_pending(view))
		return 0;
	ret = ptni_op_begin(worker, &op);
	if (ret)
		return ret;
	ret = ptni_frees_flush(&op, view);
	ptni_op_end(&op);
	return ret;
}

int ptni_space_trim(struct ptn_worker *worker, struct ptni_space *space)
{
	struct ptni_view *view = ptni_view_of(worker, space);
	int ret;

	if (!view)
		return 0;
	ret = frees_send(worker, view);
	(void)ptni_chunk_poll(view, NULL);
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES && !ret; i++)
		if (view->heap[i])
			ret = heap_trim(view, view->heap[i]);
	do {
		int status = ptni_chunk_return_wait(view);

		ret = ret ? ret : status;
	} while (ptni_chunk_return(view) && !ret);
	return ret;
}

/* --- in steps ----------------------------------------------------------------------------------- */

static void spend(uint32_t *budget, uint32_t blocks)
{
	*budget -= blocks < *budget ? blocks : *budget;
}

/* A whole sweep, whatever one that was under way has seen already. 1: it goes on. */
static int heap_sweep(struct ptni_view *view, struct ptni_heap *heap, uint32_t *budget)
{
	bool begin = heap->giving == IDLE;
	int ret = 1;

	if (begin)
		heap->sweep_left = 0;
	heap->giving = SWEEPING;
	while (ret > 0 && *budget) {
		ret = ptni_sweep_step(view, heap, begin);
		begin = false;
		spend(budget, PTNI_SWEEP_STEP);
	}
	if (!ret)
		heap->giving = EMPTYING;
	return ret;
}

static void heap_promote(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	while (ptni_heap_promote(heap, epochs.horizon, epochs.epoch, PTNI_PROMOTE_STEP))
		;
}

/* Is anything to become free? Not what is in doubt for good (frees.c). */
static bool waits(const struct ptni_heap *heap)
{
	const struct ptni_owned_slab *slab;

	if (!heap->held && !heap->blocks_limbo)
		return false;
	cds_list_for_each_entry(slab, &heap->all, all_link)
		if (!slab->collecting && (slab->held || ptni_slab_tag(slab)))
			return true;
	return false;
}

/* 1: there is more to do, now or later. */
static int heap_compact(struct ptni_view *view, struct ptni_heap *heap, uint32_t *budget)
{
	int ret;

	if (heap->giving == DONE && !waits(heap))
		return 0;
	if (!*budget)
		return 1;
	if (heap->giving < EMPTYING) {
		ret = heap_sweep(view, heap, budget);
		if (ret)
			return ret;
	}
	heap_promote(view, heap);
	if (!view->pinned)
		ptni_heap_park(heap);
	(void)ptni_compact_request(view, heap);
	ret = *budget ? ptni_adopt_some(view, heap, budget) : 0;
	if (ret < 0)
		return ret;
	heap_promote(view, heap);
	if (!waits(heap)) {
		heap->giving = DONE;
		return 0;
	}
	ptni_client_want_epoch(view->client, view->space->node, ptni_heap_limbo_bytes(heap) + 1);
	return 1;
}

static void heaps_idle(struct ptni_view *view)
{
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i])
			view->heap[i]->giving = IDLE;
}

static int heaps_compact(struct ptni_view *view, uint32_t *budget)
{
	uint64_t now_ns = ptni_worker_now_ns(view->worker);
	int ret = 0, more = 0;

	if (ptni_clock_since_ns(now_ns, view->asked_ns) > FORGET_NS)
		heaps_idle(view);
	view->asked_ns = now_ns;
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES && ret >= 0; i++) {
		if (!view->heap[i])
			continue;
		ptni_orphans_ask(view, i);
		ret = heap_compact(view, view->heap[i], budget);
		more |= ret > 0;
	}
	(void)ptni_chunk_poll(view, NULL);
	for (unsigned i = 0; i < PTNI_GETS; i++) /* what others left is on its way */
		more |= view->get[i].heap && view->get[i].orphan;
	if (!more)
		heaps_idle(view);
	return ret < 0 ? ret : more;
}

int ptni_space_compact(struct ptn_worker *worker, struct ptni_space *space, uint32_t *budget)
{
	struct ptni_view *view = ptni_view_of(worker, space);
	int ret, status;

	if (!view)
		return 0;
	ret = frees_send(worker, view);
	if (!ret)
		ret = heaps_compact(view, budget);
	do
		status = ptni_chunk_return_wait(view);
	while (ptni_chunk_return(view) && !status);
	return ret < 0 || !status ? ret : status;
}

void ptni_space_await(struct ptn_worker *worker, struct ptni_space *space, uint64_t span_ns)
{
	struct ptni_epochs before, now;
	struct ptni_wait wait;

	ptni_client_epochs(space->client, space->node, &before);
	ptni_wait_begin(&wait, worker, ptni_worker_now_ns(worker) + span_ns);
	do
		ptni_client_epochs(space->client, space->node, &now);
	while (now.horizon == before.horizon && !ptni_wait_keeper(&wait));
}
