/* SPDX-License-Identifier: MIT */
/*
 * Giving back on request. Every step is one that happens by itself in the course of work too; dying or
 * sleeping between any two of them is dying or sleeping in ordinary work (frees.c, adopt.c, chunk.c).
 */
#include "alloc/view.h"

#include <errno.h>

static int heap_trim(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_epochs epochs;
	int ret;

	do
		ret = ptni_sweep_step(view, heap, true);
	while (ret > 0);
	(void)ptni_compact_begin(view, heap, UINT32_MAX);
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

int ptni_space_trim(struct ptn_worker *worker, struct ptni_space *space)
{
	struct ptni_view *view = ptni_view_of(worker, space);
	struct ptni_op op;
	int ret = 0;

	if (!view)
		return 0;
	if (ptni_frees_pending(view)) {
		ret = ptni_op_begin(worker, &op);
		if (!ret) {
			ret = ptni_frees_flush(&op, view);
			ptni_op_end(&op);
		}
	}
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
