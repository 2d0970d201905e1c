/* SPDX-License-Identifier: MIT */
/*
 * Every block that a worker owns is to be moved. The tables of the worlds are so small that nothing in them would
 * count as sparse; so all chunks are chosen here, and then the table is asked to compact itself.
 */
#include "alloc/view.h"
#include "ds/hashtable/table.h"
#include "tests/sim/world_private.h"

enum {
	STEPS_MAX = 24, /* most of them wait for an epoch */
	BUDGET = 96,
};

static void evict_all(struct ptni_view *view, struct ptni_heap *heap)
{
	struct ptni_owned_chunk *chunk, *next;
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	cds_list_for_each_entry_safe(chunk, next, &heap->chunks, link) {
		bool held = chunk->told || chunk->stuck;

		for (uint32_t i = 0; i < chunk->slabs; i++)
			held |= chunk->slab[i]->held;
		if (!held)
			ptni_heap_evict(heap, chunk, epochs.epoch + 1);
	}
}

int world_compact(struct world_worker *worker)
{
	struct ptn_hash *hash = worker->life->hash;
	int ret = 1;

	for (unsigned n = 0; n < hash->node_count; n++) {
		struct ptni_view *view = ptni_view_of(worker->worker, hash->space[n]);

		for (unsigned i = 0; view && i < PTNI_BLOCK_CLASSES; i++)
			if (view->heap[i])
				evict_all(view, view->heap[i]);
	}
	for (int i = 0; i < STEPS_MAX && ret > 0; i++)
		ret = ptn_hash_compact(worker->worker, hash, BUDGET);
	return ret > 0 ? 0 : ret; /* others' work never ends */
}
