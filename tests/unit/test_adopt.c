/* SPDX-License-Identifier: MIT */
/* Chunks whose owner died or left: who adopts them, and that nothing live is ever handed out. */
#include "alloc/view.h"
#include "tests/support/alloc_bed.h"

#define MS ALLOC_BED_MS

enum {
	BLOCKS = 900, /* of 1000 bytes: 15 slabs of 60 */
	LEN = 1000
};

/* The test is the table: it knows which blocks something points at. */
struct table {
	struct ptni_block block[BLOCKS];
	bool live[BLOCKS];
	int count;
	int asked;
	int fail_after; /* > 0: from then on the answer is an error */
};
static struct table table;

static int table_find(uint64_t addr)
{
	for (int i = 0; i < table.count; i++)
		if (table.block[i].addr == addr)
			return i;
	return -1;
}

static int table_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		      const void *prefix, size_t prefix_len_bytes)
{
	int i = table_find(addr);
	uint64_t word;

	assert_ptr_equal(arg, &table);
	assert_int_equal(ptni_block_class_bytes(block_class), prefix_len_bytes);
	table.asked++;
	if (table.fail_after && table.asked > table.fail_after)
		return -EAGAIN;
	if (i < 0 || !table.live[i])
		return 0;
	memcpy(&word, prefix, sizeof(word));
	assert_int_equal(word, addr); /* what its owner wrote */
	return 1;
}

static struct ptni_space *space_open(struct alloc_bed *bed, int client)
{
	struct ptni_space_params params = { .kind = 1 };
	struct ptni_space *space;

	assert_int_equal(ptni_space_open(bed->worker[client], 0, "table", PTNI_SPACE_CREATE,
					 &params, &space),
			 0);
	ptni_space_set_live(space, table_live, &table);
	return space;
}

static int block_alloc(struct ptn_worker *worker, struct ptni_space *space,
		       struct ptni_block *block)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *copy;
	int ret;

	assert_int_equal(ptni_op_begin(worker, &op), 0);
	ret = ptni_block_alloc(&op, space, LEN, block);
	if (!ret) {
		copy = ptni_op_buffer(&op, 8);
		*copy = block->addr;
		ptni_batch_init(&batch, &op, 0);
		ptni_batch_write(&batch, block->window, block->addr, copy, 8);
		assert_int_equal(ptni_batch_run(&batch), 0);
	}
	ptni_op_end(&op);
	return ret;
}

static void block_retire(struct ptn_worker *worker, struct ptni_space *space, int i)
{
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(worker, &op), 0);
	table.live[i] = false;
	ptni_block_retire(&op, space, table.block[i].addr, table.block[i].block_class);
	ptni_op_end(&op);
}

static void table_fill(struct ptn_worker *worker, struct ptni_space *space)
{
	memset(&table, 0, sizeof(table));
	for (; table.count < BLOCKS; table.count++) {
		assert_int_equal(block_alloc(worker, space, &table.block[table.count]), 0);
		table.live[table.count] = true;
	}
}

/* Let worker w take blocks until the old chunks are adopted; none of them may be live. */
static int take_all(struct alloc_bed *bed, struct ptn_worker *worker, struct ptni_space *space,
		    int count)
{
	struct ptni_block block;
	int old = 0;

	for (int i = 0; i < count; i++) {
		int at;

		if (i % 100 == 0) {
			assert_int_equal(ptni_space_trim(worker, space), 0);
			alloc_bed_pass(bed, 20 * MS);
		}
		assert_int_equal(block_alloc(worker, space, &block), 0);
		at = table_find(block.addr);
		if (at < 0)
			continue;
		assert_false(table.live[at]);
		assert_int_not_equal(block.version, table.block[at].version);
		table.live[at] = true; /* and handed out once only */
		old++;
	}
	return old;
}

static void settle(struct alloc_bed *bed, struct ptn_worker *worker, struct ptni_space *space)
{
	for (int i = 0; i < 8; i++) {
		assert_int_equal(ptni_space_trim(worker, space), 0);
		alloc_bed_epochs(bed);
	}
}

static uint32_t orphans(struct alloc_bed *bed)
{
	uint32_t count = 0;

	for (int i = 0; i < PTNI_SPACES_MAX; i++)
		if (bed->allocator->space[i])
			count += bed->allocator->space[i]->orphans;
	return count;
}

/* --- the owner is fenced -------------------------------------------------------------------- */

static void fenced_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b;
	int dead = 0;

	alloc_bed_client(bed, 0);
	a = space_open(bed, 0);
	table_fill(bed->worker[0], a);
	alloc_bed_client(bed, 1);
	b = space_open(bed, 1);
	/* some unlinked by the owner, some by another, the rest stays */
	for (int i = 0; i < BLOCKS; i += 3)
		block_retire(bed->worker[i % 2], i % 2 ? b : a, i);
	for (int i = 0; i < BLOCKS; i++)
		dead += !table.live[i];
	bed->asleep[0] = true; /* its lease ends */
	alloc_bed_pass(bed, 2000 * MS);
	assert_true(orphans(bed) > 0);
	assert_true(take_all(bed, bed->worker[1], b, 3000) > dead / 2);
	settle(bed, bed->worker[1], b);
	assert_int_equal(orphans(bed), 0);
	/* what was dead is free, and was given out at most once */
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	bed->asleep[0] = false;
	ptni_space_close(a);
	alloc_bed_client_close(bed, 0);
}

static void fenced_owners_chunks_are_adopted(void **state)
{
	alloc_bed_run(NULL, fenced_body);
}

/* --- nothing live: everything goes back --------------------------------------------------------- */

static void all_dead_body(struct alloc_bed *bed)
{
	struct ptni_block block;
	struct ptni_space *a, *b;
	uint64_t base, bytes;

	alloc_bed_client(bed, 1);
	b = space_open(bed, 1);
	base = alloc_bed_info(bed).memory_used_bytes;
	alloc_bed_client(bed, 0);
	a = space_open(bed, 0);
	table_fill(bed->worker[0], a);
	for (int i = 0; i < BLOCKS; i++)
		table.live[i] = false; /* never published */
	bed->asleep[0] = true;
	alloc_bed_pass(bed, 2000 * MS);
	for (int i = 0; orphans(bed) && i < 100; i++) {
		for (int j = 0; j < 40; j++)
			assert_int_equal(block_alloc(bed->worker[1], b, &block), 0);
		assert_int_equal(ptni_space_trim(bed->worker[1], b), 0);
		alloc_bed_pass(bed, 10 * MS);
	}
	assert_int_equal(orphans(bed), 0);
	settle(bed, bed->worker[1], b);
	assert_int_equal(ptni_space_held_bytes(bed->worker[1], b, &bytes), 0);
	assert_true(bytes < 8 << 20);
	ptni_space_close(b);
	alloc_bed_epochs(bed);
	assert_int_equal(ptni_space_drop(bed->worker[1], 0, "table"), 0);
	alloc_bed_epochs(bed);
	assert_true(alloc_bed_info(bed).memory_used_bytes <= base);
	alloc_bed_client_close(bed, 1);
	bed->asleep[0] = false;
	ptni_space_close(a);
	alloc_bed_client_close(bed, 0);
}

static void dead_chunks_go_back(void **state)
{
	alloc_bed_run(NULL, all_dead_body);
}

/* --- a free on its way while the adopter looks ---------------------------------------------------- */

/*
 * Client 2 unlinks a block and its free bit is not sent yet when the adopter finds the block
 * unreachable. The bit arrives later and must not free the block's next use.
 */
/* Free bits that stand in this heap's slabs, as the node sees them. */
static int bits_set(struct ptni_heap *heap)
{
	struct ptni_owned_slab *slab;
	int count = 0;

	cds_list_for_each_entry(slab, &heap->all, all_link)
		for (uint32_t i = 0; i < ptni_slab_words(&heap->layout); i++)
			count += __builtin_popcountll(((const uint64_t *)(uintptr_t)slab->base)[i]);
	return count;
}

/* Take until an orphan has been adopted, and ask about all of its blocks. */
static void scan_all(struct alloc_bed *bed, struct ptn_worker *worker, struct ptni_space *space)
{
	struct ptni_view *view;
	struct ptni_heap *heap;
	struct ptni_block block;

	do {
		assert_int_equal(block_alloc(worker, space, &block), 0);
		view = ptni_view_of(worker, space);
		heap = view->heap[block.block_class];
	} while (!heap->held);
	while (ptni_adopt_step(view, heap, 1000) > 0)
		;
	assert_true(table.asked > 0);
}

static void late_bit_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b, *c;
	struct ptni_heap *heap;

	alloc_bed_client(bed, 0);
	a = space_open(bed, 0);
	table_fill(bed->worker[0], a);
	alloc_bed_client(bed, 1);
	alloc_bed_client(bed, 2);
	b = space_open(bed, 1);
	c = space_open(bed, 2);
	bed->asleep[0] = true;
	alloc_bed_pass(bed, 2000 * MS);
	bed->asleep[2] = true; /* for less than its term: its bits wait in its ring */
	for (int i = 0; i < PTNI_FREES_BATCH - 1; i++) /* spread over all chunks */
		block_retire(bed->worker[2], c, BLOCKS - 1 - i * 14);
	scan_all(bed, bed->worker[1], b);
	heap = ptni_view_of(bed->worker[1], b)->heap[table.block[0].block_class];
	assert_int_equal(bits_set(heap), 0); /* none is there yet */
	assert_true(heap->held > 0);
	bed->asleep[2] = false; /* the bits are set now, before it reports */
	for (int i = 0; i < 100 && !bits_set(heap); i++)
		alloc_bed_pass(bed, 2 * MS);
	assert_true(bits_set(heap) > 0);
	for (int i = 0; i < 20 && heap->held; i++) {
		assert_true(ptni_adopt_step(ptni_view_of(bed->worker[1], b), heap, 1000) >= 0);
		alloc_bed_epochs(bed);
	}
	assert_int_equal(heap->held, 0);
	assert_int_equal(bits_set(heap), 0); /* cleared before a block can be used again */
	assert_true(take_all(bed, bed->worker[1], b, 1000) > 0);
	ptni_space_close(c);
	alloc_bed_client_close(bed, 2);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	bed->asleep[0] = false;
	ptni_space_close(a);
	alloc_bed_client_close(bed, 0);
}

static void late_free_bit_hits_nobody(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, late_bit_body);
}

/* --- the adopter dies -------------------------------------------------------------------------- */

static void adopter_dies_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b, *c;
	int dead = 0;

	alloc_bed_client(bed, 0);
	a = space_open(bed, 0);
	table_fill(bed->worker[0], a);
	alloc_bed_client(bed, 1);
	b = space_open(bed, 1);
	for (int i = 0; i < BLOCKS; i += 2) {
		block_retire(bed->worker[0], a, i);
		dead++;
	}
	bed->asleep[0] = true;
	alloc_bed_pass(bed, 2000 * MS);
	table.fail_after = 30; /* in the middle of a scan */
	for (int i = 0; i < 400; i++) {
		struct ptni_block block;

		assert_int_equal(block_alloc(bed->worker[1], b, &block), 0);
		assert_true(table_find(block.addr) < 0);
	}
	assert_true(table.asked >= 30);
	bed->asleep[1] = true;
	alloc_bed_pass(bed, 2000 * MS);
	table.fail_after = 0;
	alloc_bed_client(bed, 2);
	c = space_open(bed, 2);
	assert_true(take_all(bed, bed->worker[2], c, 3000) > dead / 2);
	ptni_space_close(c);
	alloc_bed_client_close(bed, 2);
	for (int i = 0; i < 2; i++) {
		bed->asleep[i] = false;
		ptni_space_close(i ? b : a);
		alloc_bed_client_close(bed, i);
	}
}

static void adoption_survives_the_adopter(void **state)
{
	alloc_bed_run(NULL, adopter_dies_body);
}

/* --- nothing but live blocks ------------------------------------------------------------------ */

/*
 * A slab in which everything is reachable leaves nothing in limbo, so no garbage makes the epoch move.
 * Its adoption ends all the same, and so does that of the slabs behind it.
 */
static void all_live_body(struct alloc_bed *bed)
{
	struct ptni_space_usage usage;
	struct ptni_space *a, *b;
	struct ptni_block block;

	alloc_bed_client(bed, 0);
	a = space_open(bed, 0);
	table_fill(bed->worker[0], a);
	alloc_bed_client(bed, 1);
	b = space_open(bed, 1);
	bed->asleep[0] = true;
	alloc_bed_pass(bed, 2000 * MS);
	for (int i = 0; i < 8000 && orphans(bed); i++) {
		assert_int_equal(block_alloc(bed->worker[1], b, &block), 0);
		assert_true(table_find(block.addr) < 0);
		if (i % 20 == 0)
			alloc_bed_pass(bed, 2 * MS);
	}
	assert_int_equal(orphans(bed), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(ptni_space_trim(bed->worker[1], b), 0);
		alloc_bed_epochs(bed);
	}
	ptni_space_usage(bed->worker[1], b, &usage);
	assert_int_equal(usage.adopting, 0);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	bed->asleep[0] = false;
	ptni_space_close(a);
	alloc_bed_client_close(bed, 0);
}

static void adoption_ends_without_garbage(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, all_live_body);
}

/* --- leaving in good order -------------------------------------------------------------------- */

static void leave_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b;
	uint64_t before, after;

	alloc_bed_client(bed, 0);
	a = space_open(bed, 0);
	table_fill(bed->worker[0], a);
	alloc_bed_client(bed, 1);
	b = space_open(bed, 1);
	for (int i = 1; i < BLOCKS; i++)
		block_retire(bed->worker[0], a, i);
	alloc_bed_epochs(bed);
	assert_int_equal(ptni_space_held_bytes(bed->worker[1], b, &before), 0);
	ptn_worker_close(bed->worker[0]); /* no fence: what is empty goes back, the rest is left */
	bed->worker[0] = NULL;
	assert_int_equal(ptni_space_held_bytes(bed->worker[1], b, &after), 0);
	assert_int_equal(after, 2 * 65536); /* the root's page, and the live block's slab */
	assert_true(before > 4 * after);
	assert_int_equal(orphans(bed), 1);
	assert_int_equal(take_all(bed, bed->worker[1], b, 1000) > 0, 1);
	assert_int_equal(orphans(bed), 0);
	ptni_space_close(a);
	alloc_bed_client_close(bed, 0);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
}

static void worker_leaves_nothing_but_live_blocks(void **state)
{
	alloc_bed_run(NULL, leave_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fenced_owners_chunks_are_adopted),
		cmocka_unit_test(dead_chunks_go_back),
		cmocka_unit_test(late_free_bit_hits_nobody),
		cmocka_unit_test(adoption_survives_the_adopter),
		cmocka_unit_test(adoption_ends_without_garbage),
		cmocka_unit_test(worker_leaves_nothing_but_live_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
