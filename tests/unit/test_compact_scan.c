/* SPDX-License-Identifier: MIT */
/* A chunk that is to be emptied: what is found moves at once, the rest is free when nobody can publish it any more. */
#include "tests/support/space_use.h"

enum {
	LEN = 1000,
	BLOCKS = 40, /* less than a slab */
};

/* The test is the table. */
static struct {
	uint64_t unpublished; /* a block that no word leads to yet */
	unsigned asked, moved;
	int move_result;
} table;

static int is_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		   const void *prefix, size_t prefix_len_bytes)
{
	table.asked++;
	return addr != table.unpublished;
}

/* It is copied to some other chunk, which does not matter here; the block is unlinked. */
static int move(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		const void *prefix, size_t prefix_len_bytes)
{
	table.moved++;
	if (!table.move_result)
		ptni_block_retire(op, arg, addr, block_class);
	return table.move_result;
}

static uint64_t in_use(const struct ptni_heap *heap)
{
	return heap->blocks - heap->blocks_free - heap->blocks_limbo;
}

static void steps(struct alloc_bed *bed, struct ptni_view *view, struct ptni_heap *heap)
{
	for (int i = 0; i < 4; i++) {
		alloc_bed_epochs(bed);
		assert_true(ptni_adopt_step(view, heap, 2 * BLOCKS) >= 0);
	}
}

static struct ptni_heap *fill(struct alloc_bed *bed, struct ptni_space **space_out)
{
	struct ptni_block block = { 0 };

	memset(&table, 0, sizeof(table));
	alloc_bed_client(bed, 0);
	*space_out = space_open(bed, 0, PTNI_SPACE_CREATE);
	ptni_space_set_live(*space_out, is_live, *space_out);
	ptni_space_set_move(*space_out, move);
	for (int i = 0; i < BLOCKS; i++)
		block = block_alloc(bed->worker[0], *space_out, LEN);
	return ptni_view_of(bed->worker[0], *space_out)->heap[block.block_class];
}

static void choose(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_slab *slab)
{
	struct ptni_epochs epochs;

	ptni_view_epochs(view, &epochs);
	ptni_heap_evict(heap, slab->chunk, epochs.epoch + 1);
}

/* An operation has taken a block and not published it yet; it does so after the scan has looked. */
static void unpublished_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	struct ptni_heap *heap = fill(bed, &space);
	struct ptni_view *view = ptni_view_of(bed->worker[0], space);
	struct ptni_owned_slab *slab;
	struct ptni_block block;
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(bed->worker[0], &op), 0);
	assert_int_equal(ptni_block_alloc(&op, space, LEN, &block), 0);
	slab = heap->current;
	table.unpublished = block.addr;
	choose(view, heap, slab);
	assert_true(ptni_adopt_step(view, heap, 2 * BLOCKS) >= 0);
	assert_int_equal(table.moved, BLOCKS); /* nobody waited for that */
	assert_int_equal(in_use(heap), 1);
	steps(bed, view, heap);
	assert_int_equal(in_use(heap), 1);
	assert_true(slab->held);
	table.unpublished = 0; /* now a word leads to it */
	ptni_op_end(&op);
	steps(bed, view, heap);
	assert_int_equal(slab->held, 0);
	assert_int_equal(table.moved, BLOCKS + 1);
	assert_int_equal(in_use(heap), 0);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void block_that_is_not_published_yet_stays(void **state)
{
	alloc_bed_run(NULL, unpublished_body);
}

/* Nobody will publish it: its operation ended. It is free after the horizon, and not before. */
static void unreachable_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	struct ptni_heap *heap = fill(bed, &space);
	struct ptni_view *view = ptni_view_of(bed->worker[0], space);
	struct ptni_owned_slab *slab = heap->current;

	table.unpublished = slab->base + heap->layout.first; /* block 0 */
	choose(view, heap, slab);
	assert_true(ptni_adopt_step(view, heap, 2 * BLOCKS) >= 0);
	assert_int_equal(table.moved, BLOCKS - 1);
	assert_int_equal(in_use(heap), 1);
	assert_true(slab->held);
	steps(bed, view, heap);
	assert_int_equal(in_use(heap), 0);
	assert_int_equal(slab->held, 0);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void block_that_nobody_publishes_is_freed(void **state)
{
	alloc_bed_run(NULL, unreachable_body);
}

/* What cannot be moved stays, and its chunk is not chosen again; "not now" is no such verdict. */
static void stays_body(struct alloc_bed *bed)
{
	for (int i = 0; i < 2; i++) {
		struct ptni_space *space;
		struct ptni_heap *heap = fill(bed, &space);
		struct ptni_view *view = ptni_view_of(bed->worker[0], space);
		struct ptni_owned_slab *slab = heap->current;

		table.move_result = i ? -EBUSY : -ENOTSUP;
		choose(view, heap, slab);
		steps(bed, view, heap);
		assert_int_equal(in_use(heap), BLOCKS);
		assert_int_equal(table.asked, BLOCKS);
		assert_int_equal(slab->held, 0);
		assert_int_equal(slab->chunk->stuck, !i);
		ptni_space_close(space);
		alloc_bed_epochs(bed);
		assert_int_equal(ptni_space_drop(bed->worker[0], 0, "table"), 0);
		alloc_bed_client_close(bed, 0);
	}
}

static void block_that_cannot_be_moved_stays(void **state)
{
	alloc_bed_run(NULL, stays_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(block_that_is_not_published_yet_stays),
		cmocka_unit_test(block_that_nobody_publishes_is_freed),
		cmocka_unit_test(block_that_cannot_be_moved_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
