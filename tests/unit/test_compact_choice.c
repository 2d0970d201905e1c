/* SPDX-License-Identifier: MIT */
/* Which chunks are emptied, and what may not be freed there. */
#include "tests/support/space_use.h"

enum {
	LONG = 20000, /* three blocks a slab */
	SHORT = 1000,
	WINDOW = 32, /* chunks that are looked at for one */
	CHUNKS = 2 * WINDOW,
};

static int none_is_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
			const void *prefix, size_t prefix_len_bytes)
{
	return 0;
}

static int all_stay(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		    const void *prefix, size_t prefix_len_bytes)
{
	return -ENOTSUP;
}

static struct ptni_space *begin(struct alloc_bed *bed)
{
	struct ptni_space *space;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	ptni_space_set_live(space, none_is_live, NULL);
	ptni_space_set_move(space, all_stay);
	return space;
}

static void end(struct alloc_bed *bed, struct ptni_space *space)
{
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

/* What was retired is free. */
static void settle(struct alloc_bed *bed, struct ptni_view *view, struct ptni_heap *heap)
{
	alloc_bed_epochs(bed);
	for (int i = 0; i < 4; i++)
		ptni_view_maintain(view, heap);
	assert_int_equal(heap->blocks_limbo, 0);
}

/* The address of block `index` of a chunk of one slab. */
static struct ptni_block block_of(const struct ptni_heap *heap,
				  const struct ptni_owned_chunk *chunk, uint32_t index)
{
	return (struct ptni_block){ .addr = chunk->addr + heap->layout.first +
					    (uint64_t)index * heap->block_bytes,
				    .block_class = chunk->block_class };
}

/* --- chunks of few blocks ------------------------------------------------------------------------- */

/*
 * The chunks that are looked at together are full, but for one; there is much room elsewhere. So once that one is
 * chosen there is none among them to choose.
 */
static void few_blocks_body(struct alloc_bed *bed)
{
	struct ptni_space *space = begin(bed);
	struct ptn_worker *worker = bed->worker[0];
	struct ptni_owned_chunk *chunk;
	struct ptni_view *view;
	struct ptni_heap *heap;
	uint32_t at = 0, chosen = 0;

	for (int i = 0; i < CHUNKS * 3; i++)
		(void)block_alloc(worker, space, LONG);
	view = ptni_view_of(worker, space);
	heap = view->heap[ptni_block_class(LONG)];
	assert_int_equal(heap->layout.blocks, 3);
	ptni_heap_park(heap);
	cds_list_for_each_entry(chunk, &heap->chunks, link) {
		uint32_t freed = at++ < WINDOW ? at == 1 : 2;

		for (uint32_t k = 0; k < freed; k++) {
			struct ptni_block block = block_of(heap, chunk, k);

			block_retire(worker, space, &block);
		}
	}
	assert_in_range(at, CHUNKS, CHUNKS + 1);
	settle(bed, view, heap);
	assert_true(ptni_compact_request(view, heap));
	cds_list_for_each_entry(chunk, &heap->chunks, link) {
		chosen += chunk->slab[0]->evict;
		if (chunk->slab[0]->evict)
			assert_true(chunk->slab[0]->free_count > 0);
	}
	assert_int_equal(chosen, heap->evicting); /* each of them once */
	end(bed, space);
}

static void full_chunks_are_left_alone(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, few_blocks_body);
}

/* --- a block in doubt --------------------------------------------------------------------------------- */

/*
 * An operation has a block when its chunk is chosen, and cannot say at its end whether a word points at it: it may
 * yet. The block is not free however long ago that was.
 */
static void doubt_body(struct alloc_bed *bed)
{
	struct ptni_space *space = begin(bed);
	struct ptn_worker *worker = bed->worker[0];
	struct ptni_block doubtful, block = block_alloc(worker, space, SHORT);
	struct ptni_view *view = ptni_view_of(worker, space);
	struct ptni_heap *heap = view->heap[block.block_class];
	struct ptni_owned_chunk *chunk = heap->current->chunk;
	struct ptni_epochs epochs;
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(worker, &op), 0);
	assert_int_equal(ptni_block_alloc(&op, space, SHORT, &doubtful), 0);
	ptni_view_epochs(view, &epochs);
	ptni_heap_evict(heap, chunk, epochs.epoch + 1);
	ptni_block_lose(&op, space, &doubtful);
	ptni_op_end(&op);
	for (int i = 0; i < 20 && heap->held; i++) {
		assert_true(ptni_adopt_step(view, heap, 1000) >= 0);
		alloc_bed_epochs(bed);
		ptni_view_maintain(view, heap);
	}
	assert_int_equal(heap->held, 0);
	assert_int_equal(chunk->slab[0]->scanned, heap->layout.blocks);
	for (uint64_t left = heap->blocks_free; left; left--)
		assert_int_not_equal(block_alloc(worker, space, SHORT).addr, doubtful.addr);
	end(bed, space);
}

static void block_in_doubt_stays(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, doubt_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_chunks_are_left_alone),
		cmocka_unit_test(block_in_doubt_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
