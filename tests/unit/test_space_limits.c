/* SPDX-License-Identifier: MIT */
/* When a node, a quota or an extent is too small; and without protection. */
#include "tests/support/space_use.h"

#define MS ALLOC_BED_MS

enum {
	MANY = 5000
};
static struct ptni_block many[MANY];

/* --- limits ----------------------------------------------------------------------------------- */

static int fill(struct ptn_worker *worker, struct ptni_space *space, size_t len, int *count_out)
{
	struct ptni_op op;
	int ret = 0, count = 0;

	while (!ret && count < MANY) {
		assert_int_equal(ptni_op_begin(worker, &op), 0);
		ret = ptni_block_alloc(&op, space, len, &many[count]);
		ptni_op_end(&op);
		count += !ret;
	}
	*count_out = count;
	return ret;
}

static void full_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	int count, again, small;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	assert_int_equal(fill(bed->worker[0], space, 30000, &count), -ENOMEM);
	assert_true(count * 30000 > 13 << 20); /* of 16 MiB */
	for (int i = 0; i < count; i++)
		block_retire(bed->worker[0], space, &many[i]);
	alloc_bed_epochs(bed);
	assert_int_equal(fill(bed->worker[0], space, 30000, &again), -ENOMEM);
	assert_true(again >= count - 40);
	for (int i = 0; i < again; i++)
		block_retire(bed->worker[0], space, &many[i]);
	alloc_bed_epochs(bed);
	/* another class gets the memory, without a trim */
	assert_int_not_equal(fill(bed->worker[0], space, 3000, &small), -EDQUOT);
	assert_true(small > 3000);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void full_node_says_so_and_recovers(void **state)
{
	alloc_bed_run(NULL, full_body);
}

static void quota_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b;
	struct ptni_block block;
	int count;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	assert_int_equal(fill(bed->worker[0], a, 30000, &count), -EDQUOT);
	assert_true(count * 30000 < 4 << 20 && count * 30000 > 2 << 20);
	block = block_alloc(bed->worker[1], b, 30000); /* the other has its own */
	assert_int_equal(word_write(bed->worker[1], &block, 1), 0);
	for (int i = 0; i < count; i++)
		block_retire(bed->worker[0], a, &many[i]);
	alloc_bed_epochs(bed);
	(void)block_alloc(bed->worker[0], a, 30000);
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void quota_counts_chunks(void **state)
{
	struct ptn_node_options options = { .session_bytes_max = 4 << 20 };

	alloc_bed_run(&options, quota_body);
}

static void too_long_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	struct ptni_block block;
	struct ptni_op op;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	assert_int_equal(ptni_op_begin(bed->worker[0], &op), 0);
	assert_int_equal(ptni_block_alloc(&op, space, PTNI_BLOCK_MAX + 1, &block), -E2BIG);
	assert_int_equal(ptni_block_alloc(&op, space, PTNI_BLOCK_MAX, &block),
			 -E2BIG); /* 1 MiB extents */
	assert_int_equal(ptni_block_alloc(&op, space, 900000, &block), 0);
	ptni_block_cancel(&op, space, &block);
	ptni_op_end(&op);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void blocks_longer_than_an_extent_are_refused(void **state)
{
	alloc_bed_run(NULL, too_long_body);
}

/* Benchmarks' mode: the same calls, one window for everything, nothing granted. */
static void unprotected_body(struct alloc_bed *bed)
{
	struct ptn_client_options options = { .unprotected = 1 };
	struct ptn_memory *memory;
	struct ptni_space *space;
	struct ptni_block block;
	uint64_t value, windows;

	assert_int_equal(alloc_bed_try_client(bed, 0, &options), 0);
	windows = alloc_bed_info(bed).windows;
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	for (int i = 0; i < 3000; i++) {
		block = block_alloc(bed->worker[0], space, 500);
		assert_int_equal(word_write(bed->worker[0], &block, (uint64_t)i), 0);
		assert_int_equal(word_use(bed->worker[0], space, block.addr, NULL, 0, &value), 0);
		assert_int_equal(value, i);
		block_retire(bed->worker[0], space, &block);
	}
	assert_int_equal(ptn_memory_alloc(bed->worker[0], 0, 100, 5 * MS, &memory), 0);
	assert_int_equal(ptn_memory_write(memory, 0, &value, 8), 0);
	assert_int_equal(alloc_bed_info(bed).windows, windows);
	alloc_bed_pass(bed, 20 * MS);
	assert_int_equal(ptn_memory_write(memory, 0, &value, 8), PTN_E_LEASE_EXPIRED);
	assert_int_equal(ptn_memory_free(memory), 0);
	trim(bed, bed->worker[0], space);
	assert_int_equal(held(bed->worker[0], space), 65536);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void unprotected_clients_use_one_window(void **state)
{
	struct ptn_node_options options = { .allow_unprotected = 1 };

	alloc_bed_run(&options, unprotected_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_node_says_so_and_recovers),
		cmocka_unit_test(quota_counts_chunks),
		cmocka_unit_test(blocks_longer_than_an_extent_are_refused),
		cmocka_unit_test(unprotected_clients_use_one_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
