/* SPDX-License-Identifier: MIT */
/*
 * Most records of a table are deleted at random, so every chunk keeps a few live blocks. Memory held for
 * blocks falls to at most 1.6 times what lives, and every record stays what it was.
 */
#include "alloc/view.h"
#include "ds/hashtable/table.h"
#include "tests/support/alloc_bed.h"

#include <patronus/counters.h>
#include <patronus/hash.h>

enum {
	RECORDS = 12000,
	KEPT = 10, /* one of so many stays */
	VALUE = 100,
};

static int record_value(int i, char *value)
{
	memset(value, i % 251, VALUE);
	return snprintf(value, VALUE, "value %d", i);
}

static void insert_all(struct ptn_worker *worker, struct ptn_hash *hash)
{
	char value[VALUE];

	for (int i = 0; i < RECORDS; i++) {
		(void)record_value(i, value);
		assert_int_equal(ptn_hash_insert(worker, hash, &i, sizeof(i), value, VALUE), 0);
	}
}

static void check_all(struct ptn_worker *worker, struct ptn_hash *hash)
{
	char value[VALUE], expected[VALUE];
	size_t len;

	for (int i = 0; i < RECORDS; i++) {
		int ret = ptn_hash_get(worker, hash, &i, sizeof(i), value, VALUE, &len);

		assert_int_equal(ret, i % KEPT ? -ENOENT : 0);
		if (ret)
			continue;
		(void)record_value(i, expected);
		assert_int_equal(len, VALUE);
		assert_memory_equal(value, expected, VALUE);
	}
}

/* Blocks of records only: the subtables do not shrink, by design. */
static void blocks_usage(struct ptn_worker *worker, struct ptn_hash *hash, uint64_t *held_out,
			 uint64_t *used_out)
{
	struct ptni_view *view = ptni_view_of(worker, hash->space[0]);

	*held_out = *used_out = 0;
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
		const struct ptni_heap *heap = view->heap[i];

		if (!heap || i == hash->subtable_class)
			continue;
		*held_out += (uint64_t)heap->slabs * heap->layout.slab_bytes;
		*used_out +=
			(heap->blocks - heap->blocks_free - heap->blocks_limbo) * heap->block_bytes;
	}
}

static struct ptn_hash *table_open(struct ptn_worker *worker)
{
	struct ptn_hash_options options = { .size = sizeof(options) };
	struct ptni_hash_params params = { .seed = 5 };
	struct ptn_hash *hash;

	assert_int_equal(ptni_hash_open(worker, "table", &options, &params, &hash), 0);
	return hash;
}

static uint64_t live_bytes(void)
{
	return (uint64_t)(RECORDS / KEPT) *
	       ptni_block_class_bytes(ptni_block_class(ptni_block_bytes(sizeof(int), VALUE)));
}

/* 1.6 times and the two slabs that a worker may always have. */
static void bounded(struct ptn_worker *worker, struct ptn_hash *hash)
{
	uint64_t held, used;

	blocks_usage(worker, hash, &held, &used);
	if (held > live_bytes() * 8 / 5 + UINT64_C(2) * 65536)
		fail_msg("%lu KiB held for %lu KiB that live", (unsigned long)held / 1024,
			 (unsigned long)used / 1024);
}

/* --- while it works ----------------------------------------------------------------------------- */

static void deletes_body(struct alloc_bed *bed)
{
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	uint64_t before, used;
	char value[VALUE];

	alloc_bed_client(bed, 0);
	worker = bed->worker[0];
	hash = table_open(worker);
	insert_all(worker, hash);
	blocks_usage(worker, hash, &before, &used);
	for (int i = 0; i < RECORDS; i++) {
		if (i % KEPT)
			assert_int_equal(ptn_hash_delete(worker, hash, &i, sizeof(i)), 0);
		if (i % 100 == 0)
			alloc_bed_pass(bed, 2 * ALLOC_BED_MS);
	}
	/* some more work */
	for (int i = 0; i < RECORDS; i++) {
		int key = i % 20 * KEPT; /* few records: the others stay where they are */

		(void)record_value(key, value);
		assert_int_equal(ptn_hash_put(worker, hash, &key, sizeof(key), value, VALUE), 0);
		if (i % 50 == 0)
			alloc_bed_pass(bed, 2 * ALLOC_BED_MS);
	}
	for (int i = 0; i < 3; i++) { /* what the last ones retired */
		alloc_bed_epochs(bed);
		(void)record_value(0, value);
		for (int j = 0; j < 200; j++)
			assert_int_equal(
				ptn_hash_put(worker, hash, "\0\0\0", sizeof(int), value, VALUE), 0);
	}
	bounded(worker, hash);
	check_all(worker, hash);
	ptn_hash_close(hash);
	alloc_bed_client_close(bed, 0);
}

static void memory_follows_deletes(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, deletes_body);
}

/* --- on request ----------------------------------------------------------------------------------- */

static void trim_body(struct alloc_bed *bed)
{
	struct ptn_hash *hash, *other, *twice;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	hash = table_open(bed->worker[0]);
	other = table_open(bed->worker[1]);
	/* refused; the table still says what of its blocks is in use, and moves them */
	assert_int_equal(ptn_hash_open(bed->worker[0], "table", NULL, &twice), -EBUSY);
	insert_all(bed->worker[0], hash);
	for (int i = 0; i < RECORDS; i++) /* another client deletes, the owner does nothing */
		if (i % KEPT)
			assert_int_equal(ptn_hash_delete(bed->worker[1], other, &i, sizeof(i)), 0);
	for (int i = 0; i < 12; i++) {
		alloc_bed_epochs(bed);
		assert_int_equal(ptni_space_trim(bed->worker[0], hash->space[0]), 0);
	}
	bounded(bed->worker[0], hash);
	check_all(bed->worker[1], other);
	check_all(bed->worker[0], hash);
	ptn_hash_close(other);
	ptn_hash_close(hash);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void trim_empties_sparse_chunks(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, trim_body);
}

/* --- whose unlinker died -------------------------------------------------------------------------- */

/* H10: a client unlinks blocks and dies before it says so. The owner lives on, and finds them. */
static void lost_frees_body(struct alloc_bed *bed)
{
	struct ptn_hash *hash, *other;
	uint64_t held, used;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	hash = table_open(bed->worker[0]);
	other = table_open(bed->worker[1]);
	insert_all(bed->worker[0], hash);
	alloc_bed_epochs(bed);
	for (int i = 0; i < RECORDS; i++) {
		if (!(i % KEPT))
			continue;
		if (i == RECORDS - 30) /* what is deleted from here on waits in its ring for ever */
			bed->asleep[1] = true;
		assert_int_equal(ptn_hash_delete(bed->worker[1], other, &i, sizeof(i)), 0);
		if (i % 1000 == 1 && !bed->asleep[1])
			alloc_bed_epochs(bed);
	}
	alloc_bed_pass(bed, 3000 * ALLOC_BED_MS); /* it is fenced */
	for (int i = 0; i < 16; i++) {
		alloc_bed_epochs(bed);
		assert_int_equal(ptni_space_trim(bed->worker[0], hash->space[0]), 0);
	}
	bounded(bed->worker[0], hash);
	blocks_usage(bed->worker[0], hash, &held, &used);
	assert_int_equal(used, live_bytes()); /* none is missing */
	check_all(bed->worker[0], hash);
	bed->asleep[1] = false;
	ptn_hash_close(other);
	alloc_bed_client_close(bed, 1);
	ptn_hash_close(hash);
	alloc_bed_client_close(bed, 0);
}

static void blocks_whose_unlinker_died_are_found(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, lost_frees_body);
}

/* --- until nothing is left to be done -------------------------------------------------------------- */

enum {
	MANY = 20000,
	MANY_VALUE_MAX = 1000,
	STEPS_MAX = 5000, /* calls, of which many only wait for an epoch */
	BUDGET = 256,
};

static void many_value(int i, char *value, size_t len)
{
	memset(value, i % 251, len);
	memcpy(value, &i, sizeof(i));
}

static void many_fill(struct ptn_worker *worker, struct ptn_hash *hash, size_t len)
{
	char value[MANY_VALUE_MAX];

	for (int i = 0; i < MANY; i++) {
		many_value(i, value, len);
		assert_int_equal(ptn_hash_insert(worker, hash, &i, sizeof(i), value, len), 0);
	}
}

static void many_delete(struct ptn_worker *worker, struct ptn_hash *hash)
{
	for (int i = 0; i < MANY; i++)
		if (i % KEPT)
			assert_int_equal(ptn_hash_delete(worker, hash, &i, sizeof(i)), 0);
}

static void many_check(struct ptn_worker *worker, struct ptn_hash *hash, size_t len)
{
	char value[MANY_VALUE_MAX], expected[MANY_VALUE_MAX];
	size_t got;

	for (int i = 0; i < MANY; i++) {
		int ret = ptn_hash_get(worker, hash, &i, sizeof(i), value, sizeof(value), &got);

		assert_int_equal(ret, i % KEPT ? -ENOENT : 0);
		if (ret)
			continue;
		many_value(i, expected, len);
		assert_int_equal(got, len);
		assert_memory_equal(value, expected, len);
	}
}

/* In chunks of slabs of blocks with records: <= 1.6 times the bytes of keys and values. */
static void many_bounded(struct ptn_worker *worker, struct ptn_hash *hash, size_t len)
{
	uint64_t live = (uint64_t)(MANY / KEPT) * (sizeof(int) + len), held, used;

	blocks_usage(worker, hash, &held, &used);
	if (held * 10 > live * 16)
		fail_msg("%zu bytes a value: %lu KiB held for %lu KiB that live", len,
			 (unsigned long)held / 1024, (unsigned long)live / 1024);
}

/* All of it in calls of bounded work; what they cost a block that is moved. */
static void many_compact(struct ptn_worker *worker, struct ptn_hash *hash)
{
	struct ptn_counters before, after;
	uint64_t moved, trips;
	int ret = 1, steps = 0;

	ptn_worker_counters(worker, &before);
	for (; ret > 0 && steps < STEPS_MAX; steps++) {
		struct ptn_counters from, to;

		ptn_worker_counters(worker, &from);
		ret = ptn_hash_compact(worker, hash, BUDGET);
		ptn_worker_counters(worker, &to);
		/* three round trips for 32 blocks, or 22 of 1000 bytes, and a few for words and chunks */
		assert_true(to.round_trips - from.round_trips < 2 * BUDGET / 22 * 3 + 32);
	}
	assert_int_equal(ret, 0);
	ptn_worker_counters(worker, &after);
	moved = after.blocks_moved - before.blocks_moved;
	trips = after.round_trips - before.round_trips;
	assert_true(moved <= 2 * MANY / KEPT);
	assert_true(trips < MANY / KEPT);
}

static void request_body(struct alloc_bed *bed, size_t len)
{
	struct ptn_hash *hash, *other;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	hash = table_open(bed->worker[0]);
	other = table_open(bed->worker[1]);
	many_fill(bed->worker[0], hash, len);
	many_delete(bed->worker[0], hash);
	many_compact(bed->worker[0], hash);
	many_bounded(bed->worker[0], hash, len);
	many_check(bed->worker[1], other, len);
	many_check(bed->worker[0], hash, len);
	assert_int_equal(ptn_hash_compact(bed->worker[0], hash, 0) < 0, 0);
	/* filled again by one, deleted by another who does nothing else */
	for (int i = 0; i < MANY; i++)
		if (!(i % KEPT))
			assert_int_equal(ptn_hash_delete(bed->worker[1], other, &i, sizeof(i)), 0);
	many_fill(bed->worker[0], hash, len);
	many_delete(bed->worker[1], other);
	alloc_bed_epochs(bed);
	many_compact(bed->worker[0], hash);
	many_bounded(bed->worker[0], hash, len);
	many_check(bed->worker[0], hash, len);
	ptn_hash_close(other);
	ptn_hash_close(hash);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void request_small_body(struct alloc_bed *bed)
{
	request_body(bed, 100);
}

static void request_long_body(struct alloc_bed *bed)
{
	request_body(bed, 1000);
}

static void request_bounds_small_records(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 32 << 20 };

	alloc_bed_run(&options, request_small_body);
}

static void request_bounds_long_records(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 96 << 20 };

	alloc_bed_run(&options, request_long_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_follows_deletes),
		cmocka_unit_test(trim_empties_sparse_chunks),
		cmocka_unit_test(blocks_whose_unlinker_died_are_found),
		cmocka_unit_test(request_bounds_small_records),
		cmocka_unit_test(request_bounds_long_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
