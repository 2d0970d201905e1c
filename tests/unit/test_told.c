/* SPDX-License-Identifier: MIT */
/*
 * Workers come and go, the data stays. What a worker leaves in good order the next one uses at once,
 * without asking the table about any block; so memory follows the data, not the number of workers.
 */
#include "alloc/view.h"
#include "tests/support/alloc_bed.h"

#define MS ALLOC_BED_MS

enum {
	LIVE = 1500,
	LEN = 1000,
	SLAB = 65536,
	WORKERS = 24,
	STEP = 50, /* operations between two passes of time */
};

/* The test is the table. */
static struct ptni_block block[LIVE];
static uint32_t asked;
static struct ptni_rng rng;

static int table_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		      const void *prefix, size_t prefix_len_bytes)
{
	asked++;
	for (int i = 0; i < LIVE; i++)
		if (block[i].addr == addr)
			return 1;
	return 0;
}

static struct ptni_space *space_open(struct ptn_worker *worker)
{
	struct ptni_space_params params = { .kind = 1 };
	struct ptni_space *space;

	assert_int_equal(ptni_space_open(worker, 0, "table", PTNI_SPACE_CREATE, &params, &space),
			 0);
	ptni_space_set_live(space, table_live, NULL);
	return space;
}

/* As an update of a table does: a new block with the old one's place, then the old one is retired. */
static void update(struct ptn_worker *worker, struct ptni_space *space, int i)
{
	struct ptni_block old = block[i];
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *copy;

	assert_int_equal(ptni_op_begin(worker, &op), 0);
	assert_int_equal(ptni_block_alloc(&op, space, LEN, &block[i]), 0);
	if (block[i].addr == old.addr)
		fail_msg("a live block was handed out");
	copy = ptni_op_buffer(&op, 8);
	*copy = (uint64_t)i << 32 | 77;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, block[i].window, block[i].addr, copy, 8);
	assert_int_equal(ptni_batch_run(&batch), 0);
	if (old.addr)
		ptni_block_retire(&op, space, old.addr, old.block_class);
	ptni_op_end(&op);
}

/* Every live block still holds what its writer put there, and no two are one. */
static void check(struct ptn_worker *worker, struct ptni_space *space)
{
	for (int i = 0; i < LIVE; i++) {
		const struct ptni_window *window;
		struct ptni_batch batch;
		struct ptni_op op;
		uint64_t *copy;

		assert_int_equal(ptni_op_begin(worker, &op), 0);
		copy = ptni_op_buffer(&op, 8);
		assert_int_equal(ptni_space_window_fetch(&op, space, block[i].addr, &window), 0);
		ptni_batch_init(&batch, &op, 0);
		ptni_batch_read(&batch, window, block[i].addr, copy, 8);
		assert_int_equal(ptni_batch_run(&batch), 0);
		assert_int_equal(*copy, (uint64_t)i << 32 | 77);
		ptni_op_end(&op);
	}
}

static uint64_t held(struct ptn_worker *worker, struct ptni_space *space)
{
	uint64_t bytes;

	assert_int_equal(ptni_space_held_bytes(worker, space, &bytes), 0);
	return bytes;
}

static void begin(struct alloc_bed *bed)
{
	asked = 0;
	memset(block, 0, sizeof(block));
	ptni_rng_seed(&rng, 7);
	alloc_bed_client(bed, 0);
}

static void end(struct alloc_bed *bed)
{
	alloc_bed_client_close(bed, 0);
}

static struct ptn_worker *worker_open(struct alloc_bed *bed)
{
	struct ptn_worker *worker;

	assert_int_equal(ptn_worker_open(bed->client[0], &worker), 0);
	return worker;
}

/* --- many workers, one after the other ---------------------------------------------------------- */

static void work(struct alloc_bed *bed, struct ptn_worker *worker, struct ptni_space *space,
		 int count)
{
	for (int i = 0; i < count; i++) {
		update(worker, space, (int)ptni_rng_below(&rng, LIVE));
		if (i % STEP == 0)
			alloc_bed_pass(bed, 2 * MS);
	}
}

static uint64_t run(struct alloc_bed *bed, int workers, int count, bool reopen)
{
	struct ptn_worker *worker = bed->worker[0];
	struct ptni_space *space = space_open(worker);
	uint64_t most = 0;

	for (int i = 0; i < LIVE; i++)
		update(worker, space, i);
	for (int w = 0; w < workers; w++) {
		uint64_t now;

		if (reopen) { /* the table is closed before its worker */
			ptni_space_close(space);
			alloc_bed_epochs(bed);
			ptn_worker_close(worker);
			worker = worker_open(bed);
			space = space_open(worker);
		} else {
			ptn_worker_close(worker);
			worker = worker_open(bed);
		}
		work(bed, worker, space, count);
		now = held(worker, space);
		most = now > most ? now : most;
	}
	bed->worker[0] = worker;
	check(worker, space);
	ptni_space_close(space);
	return most;
}

static void bounded(uint64_t held_bytes)
{
	uint64_t live = (uint64_t)LIVE * ptni_block_class_bytes(ptni_block_class(LEN));

	if (held_bytes > live * 8 / 5 + UINT64_C(8) * SLAB)
		fail_msg("%lu KiB held for %lu KiB that live", (unsigned long)held_bytes / 1024,
			 (unsigned long)live / 1024);
	assert_int_equal(asked, 0); /* everybody said goodbye: there is nothing to ask */
}

static void turnover_body(struct alloc_bed *bed)
{
	begin(bed);
	bounded(run(bed, WORKERS, LIVE, false));
	end(bed);
}

static void memory_does_not_grow_with_workers(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 64 << 20 };

	alloc_bed_run(&options, turnover_body);
}

static void short_lives_body(struct alloc_bed *bed)
{
	begin(bed);
	bounded(run(bed, 300, 40, false));
	end(bed);
}

static void memory_does_not_grow_with_short_lives(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 64 << 20 };

	alloc_bed_run(&options, short_lives_body);
}

static void reopen_body(struct alloc_bed *bed)
{
	begin(bed);
	bounded(run(bed, WORKERS, LIVE / 2, true));
	end(bed);
}

static void memory_does_not_grow_with_opens(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 64 << 20 };

	alloc_bed_run(&options, reopen_body);
}

/* --- what is left empties ------------------------------------------------------------------------ */

/* No worker wants the memory that was left, and all of it is freed: it goes back by itself. */
static void nobody_adopts_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	uint64_t before;

	begin(bed);
	space = space_open(bed->worker[0]);
	for (int i = 0; i < LIVE; i++)
		update(bed->worker[0], space, i);
	ptn_worker_close(bed->worker[0]);
	bed->worker[0] = worker_open(bed);
	before = held(bed->worker[0], space);
	assert_true(before > LIVE * 1000);
	for (int i = 0; i < LIVE; i++) {
		struct ptni_op op;

		assert_int_equal(ptni_op_begin(bed->worker[0], &op), 0);
		ptni_block_retire(&op, space, block[i].addr, block[i].block_class);
		ptni_op_end(&op);
		if (i == LIVE - 2) { /* the last chunk has one block left, and stays */
			for (int j = 0; j < 4; j++)
				alloc_bed_epochs(bed);
			assert_int_equal(held(bed->worker[0], space), 2 * SLAB);
		}
	}
	for (int j = 0; j < 4; j++)
		alloc_bed_epochs(bed);
	assert_int_equal(held(bed->worker[0], space), SLAB); /* the root */
	ptni_space_close(space);
	end(bed);
}

static void what_nobody_uses_goes_back(void **state)
{
	alloc_bed_run(NULL, nobody_adopts_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_does_not_grow_with_workers),
		cmocka_unit_test(memory_does_not_grow_with_short_lives),
		cmocka_unit_test(memory_does_not_grow_with_opens),
		cmocka_unit_test(what_nobody_uses_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
