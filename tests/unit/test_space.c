/* SPDX-License-Identifier: MIT */
/* Spaces, chunks and blocks on a real node in virtual time. */
#include "tests/support/space_use.h"

#define MS ALLOC_BED_MS

/* --- names ---------------------------------------------------------------------------------------- */

static void names_body(struct alloc_bed *bed)
{
	struct ptni_space_params params = { .kind = 1 };
	struct ptni_space *space, *second, *other;
	uint64_t base, value, zero = 0;
	struct ptn_worker *w0, *w1;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	w0 = bed->worker[0];
	w1 = bed->worker[1];
	assert_int_equal(ptni_space_open(w0, 0, "table", 0, &params, &space), -ENOENT);
	assert_int_equal(ptni_space_open(w0, 0, "", 1, &params, &space), -EINVAL);
	assert_int_equal(ptni_space_open(w0, 7, "x", 1, &params, &space), -EINVAL);
	assert_int_equal(ptni_space_drop(w0, 0, "table"), -ENOENT);
	base = alloc_bed_info(bed).memory_used_bytes;
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	assert_ptr_equal(space_open(bed, 0, PTNI_SPACE_CREATE), space);
	assert_int_equal(ptni_space_open(w0, 0, "table", PTNI_SPACE_CREATE | PTNI_SPACE_EXCLUSIVE,
					 &params, &second),
			 -EEXIST);
	assert_int_equal(ptni_space_open(w1, 0, "table", PTNI_SPACE_CREATE | PTNI_SPACE_EXCLUSIVE,
					 &params, &second),
			 -EEXIST);
	params.kind = 2;
	assert_int_equal(ptni_space_open(w1, 0, "table", 0, &params, &second), -EINVAL);
	other = space_open(bed, 1, 0);
	assert_int_equal(ptni_space_root(other), ptni_space_root(space));
	/* the root is zero, and one client's CAS is the other's READ */
	assert_int_equal(word_use(w0, space, ptni_space_root(space) + 4088, &zero, 5, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(word_use(w1, other, ptni_space_root(space) + 4088, NULL, 0, &value), 0);
	assert_int_equal(value, 5);
	assert_int_equal(ptni_space_drop(w0, 0, "table"), -EBUSY); /* open here */
	ptni_space_close(space);
	ptni_space_close(space);
	assert_int_equal(ptni_space_drop(w0, 0, "table"), -EBUSY); /* open there */
	ptni_space_close(other);
	alloc_bed_epochs(bed); /* the keepers end what was closed */
	assert_int_equal(ptni_space_drop(w1, 0, "table"), 0);
	alloc_bed_epochs(bed);
	assert_int_equal(alloc_bed_info(bed).memory_used_bytes, base);
	assert_int_equal(ptni_space_drop(w1, 0, "table"), -ENOENT);
	/* a new one is empty */
	space = space_open(bed, 1, PTNI_SPACE_CREATE | PTNI_SPACE_EXCLUSIVE);
	assert_int_equal(word_use(w1, space, ptni_space_root(space) + 4088, NULL, 0, &value), 0);
	assert_int_equal(value, 0);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void names_are_shared_and_dropped(void **state)
{
	alloc_bed_run(NULL, names_body);
}

/* Close and open again, while the keeper's end of the first is at every possible stage. */
static void reopen_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	struct ptni_block block;
	uint64_t value;

	alloc_bed_client(bed, 0);
	for (int i = 0; i < 60; i++) {
		space = space_open(bed, 0, PTNI_SPACE_CREATE);
		block = block_alloc(bed->worker[0], space, 100 + (size_t)i);
		assert_int_equal(word_write(bed->worker[0], &block, (uint64_t)i), 0);
		assert_int_equal(word_use(bed->worker[0], space, block.addr, NULL, 0, &value), 0);
		assert_int_equal(value, i);
		if (i % 3)
			block_retire(bed->worker[0], space, &block);
		ptni_space_close(space);
		for (int j = 0; j < i * i * 2; j++)
			ptni_fiber_suspend();
	}
	alloc_bed_epochs(bed);
	assert_int_equal(ptni_space_drop(bed->worker[0], 0, "table"), 0);
	alloc_bed_epochs(bed);
	assert_int_equal(alloc_bed_info(bed).memory_used_bytes, 0);
	alloc_bed_client_close(bed, 0);
	assert_int_equal(alloc_bed_info(bed).windows, 0);
}

static void closing_and_opening_again_never_mix(void **state)
{
	alloc_bed_run(NULL, reopen_body);
}

/* --- rights --------------------------------------------------------------------------------------- */

static void rights_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b;
	struct ptni_block block;
	const struct ptni_window *window;
	uint64_t value, expected = 7;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	block = block_alloc(bed->worker[0], a, 64);
	assert_int_equal(block.addr % 16, 0);
	assert_int_equal(word_write(bed->worker[0], &block, 7), 0);
	assert_int_equal(word_use(bed->worker[1], b, block.addr, NULL, 0, &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(word_use(bed->worker[1], b, block.addr, &expected, 8, &value), 0);
	/* the extent's window gives no WRITE (R12) */
	window = ptni_space_window(bed->worker[1], b, block.addr);
	assert_non_null(window);
	assert_int_equal(window->access, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC);
	assert_int_equal(block.window->access, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE);
	block.window = window;
	assert_int_equal(word_write(bed->worker[1], &block, 9), -EACCES);
	/* outside the space there is nothing */
	assert_int_equal(word_use(bed->worker[1], b, block.addr + (8 << 20), NULL, 0, &value),
			 -EFAULT);
	assert_int_equal(word_use(bed->worker[1], b, 64, NULL, 0, &value), -EFAULT);
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void rights_are_exact(void **state)
{
	alloc_bed_run(NULL, rights_body);
}

/* --- grace ---------------------------------------------------------------------------------------- */

static void grace_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b;
	struct ptni_block block, next;
	struct ptni_op reader;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	(void)b;
	block = block_alloc(bed->worker[0], a, 300000); /* few fit a chunk, so it would come soon */
	assert_int_equal(ptni_op_begin(bed->worker[1], &reader), 0);
	block_retire(bed->worker[0], a, &block);
	for (int i = 0; i < 24; i++) {
		next = block_alloc(bed->worker[0], a, 300000);
		assert_int_not_equal(next.addr, block.addr);
		block_retire(bed->worker[0], a, &next);
		alloc_bed_pass(bed, 10 * MS);
	}
	ptni_op_end(&reader);
	alloc_bed_epochs(bed);
	for (int i = 0; i < 40; i++) {
		next = block_alloc(bed->worker[0], a, 300000);
		if (next.addr == block.addr)
			break;
	}
	assert_int_equal(next.addr, block.addr);
	assert_int_not_equal(next.version, block.version);
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void nothing_is_reused_while_a_reader_may_see_it(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 64 << 20, .term_ns = 2000 * MS };

	alloc_bed_run(&options, grace_body);
}

/* --- frees of others ---------------------------------------------------------------------------- */

enum {
	MANY = 5000
};
static struct ptni_block many[MANY];

static void remote_body(struct alloc_bed *bed)
{
	struct ptni_space_usage usage;
	struct ptni_space *a, *b;
	uint64_t full, words = 0;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	for (int i = 0; i < MANY; i++)
		many[i] = block_alloc(bed->worker[0], a, 64);
	full = held(bed->worker[0], a);
	for (int i = 0; i < MANY; i++)
		block_retire(bed->worker[1], b, &many[i]);
	alloc_bed_epochs(bed); /* the keeper sends the last ones */
	/* the owner takes each once, and clears the words */
	ptni_space_usage(bed->worker[0], a, &usage);
	assert_int_equal(usage.used_bytes, MANY * 64);
	assert_int_equal(ptni_space_trim(bed->worker[0], a), 0);
	ptni_space_usage(bed->worker[0], a, &usage);
	assert_int_equal(usage.used_bytes, 0);
	assert_int_equal(usage.limbo_bytes, MANY * 64);
	for (int i = 0; i < MANY; i += 1000) {
		uint64_t value;

		assert_int_equal(word_use(bed->worker[0], a,
					  a->region + ptni_slab_base(&a->layout[3],
								     many[i].addr - a->region),
					  NULL, 0, &value),
				 0);
		words |= value;
	}
	assert_int_equal(words, 0);
	trim(bed, bed->worker[0], a);
	assert_true(held(bed->worker[0], a) < full / 4);
	assert_int_equal(held(bed->worker[0], a), 65536); /* the root's page */
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void blocks_freed_by_others_come_back(void **state)
{
	alloc_bed_run(NULL, remote_body);
}

/* No trim: the owner finds others' frees while it works, and memory stays bounded. */
static void churn_body(struct alloc_bed *bed)
{
	struct ptni_space *a, *b;
	uint64_t most = 0;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	for (int round = 0; round < 40; round++) {
		uint64_t now;

		for (int i = 0; i < 2000; i++)
			many[i] = block_alloc(bed->worker[0], a, 200);
		for (int i = 0; i < 2000; i++)
			block_retire(bed->worker[i % 8 ? 1 : 0], i % 8 ? b : a, &many[i]);
		alloc_bed_pass(bed, 30 * MS);
		now = held(bed->worker[0], a);
		most = now > most ? now : most;
	}
	/* 2000 blocks of 208 bytes live at a time: 416 KB */
	assert_true(most < 3 << 20);
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void churn_between_workers_is_bounded(void **state)
{
	alloc_bed_run(NULL, churn_body);
}

/* --- memory follows data ------------------------------------------------------------------------ */

static void shrink_body(struct alloc_bed *bed)
{
	static struct ptni_block block[600];
	struct ptni_space *a, *b;
	uint64_t base, value, broken;
	struct ptn_counters counters;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	base = alloc_bed_info(bed).memory_used_bytes;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 600; i++) {
			block[i] = block_alloc(bed->worker[0], a, 16000);
			assert_int_equal(word_write(bed->worker[0], &block[i], (uint64_t)i), 0);
		}
		assert_int_equal(word_use(bed->worker[1], b, block[599].addr, NULL, 0, &value), 0);
		assert_int_equal(value, 599);
		assert_true(alloc_bed_info(bed).memory_used_bytes >= 600 * 16000);
		for (int i = 0; i < 600; i++)
			block_retire(bed->worker[0], a, &block[i]);
		trim(bed, bed->worker[0], a);
		alloc_bed_epochs(bed);
		/* extents too, and only after everybody has let go of their windows */
		assert_int_equal(alloc_bed_info(bed).memory_used_bytes, base);
		assert_null(ptni_space_window(bed->worker[1], b, block[599].addr));
		assert_int_equal(word_use(bed->worker[1], b, block[599].addr, NULL, 0, &value),
				 -EFAULT);
	}
	ptn_worker_counters(bed->worker[1], &counters);
	broken = counters.lane_breaks;
	assert_int_equal(broken, 0);
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void extents_go_back_without_a_refused_access(void **state)
{
	alloc_bed_run(NULL, shrink_body);
}

/* A cached address is read throughout the extent's way back, by an operation that began before. */
static void linger_body(struct alloc_bed *bed)
{
	static struct ptni_block block[600];
	const struct ptni_window *window;
	struct ptn_counters counters;
	struct ptni_space *a, *b;
	struct ptni_batch batch;
	struct ptni_op reader;
	uint64_t base, value;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	a = space_open(bed, 0, PTNI_SPACE_CREATE);
	b = space_open(bed, 1, 0);
	base = alloc_bed_info(bed).memory_used_bytes;
	for (int i = 0; i < 600; i++)
		block[i] = block_alloc(bed->worker[0], a, 16000);
	assert_int_equal(word_use(bed->worker[1], b, block[599].addr, NULL, 0, &value), 0);
	for (int i = 0; i < 600; i++)
		block_retire(bed->worker[0], a, &block[i]);
	alloc_bed_epochs(bed);
	assert_int_equal(ptni_space_trim(bed->worker[0], a), 0);
	/* the extents are empty, not announced yet */
	assert_int_equal(ptni_op_begin(bed->worker[1], &reader), 0);
	reader.deadline_ns = UINT64_MAX;
	window = ptni_space_window(bed->worker[1], b, block[599].addr);
	assert_non_null(window);
	for (int i = 0; i < 40; i++) {
		uint64_t *copy = ptni_op_buffer(&reader, 8);

		ptni_batch_init(&batch, &reader, 0);
		ptni_batch_read(&batch, window, block[599].addr, copy, 8);
		assert_int_equal(ptni_batch_run(&batch), 0);
		alloc_bed_pass(bed, 20 * MS);
	}
	assert_true(alloc_bed_info(bed).memory_used_bytes > base);
	ptni_op_end(&reader);
	for (int i = 0; i < 4; i++)
		alloc_bed_epochs(bed);
	assert_null(ptni_space_window(bed->worker[1], b, block[599].addr));
	assert_int_equal(alloc_bed_info(bed).memory_used_bytes, base);
	ptn_worker_counters(bed->worker[1], &counters);
	assert_int_equal(counters.lane_breaks, 0);
	ptni_space_close(a);
	ptni_space_close(b);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void extent_stays_while_an_operation_may_read_it(void **state)
{
	struct ptn_node_options options = { .term_ns = 3000 * MS };

	alloc_bed_run(&options, linger_body);
}

/* Live data of many sizes: what is held is not much more. */
static void waste_body(struct alloc_bed *bed)
{
	struct ptni_space_usage usage;
	struct ptni_space *space;
	struct ptni_rng rng;
	uint64_t live = 0;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	ptni_rng_seed(&rng, 4);
	while (live < 10 << 20) {
		size_t len = 1000 + ptni_rng_below(&rng, 100);

		(void)block_alloc(bed->worker[0], space, len);
		live += len;
	}
	ptni_space_usage(bed->worker[0], space, &usage);
	assert_true(usage.used_bytes >= live);
	assert_int_equal(usage.held_bytes + 65536, held(bed->worker[0], space));
	assert_true(usage.held_bytes < live + live / 4);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void held_memory_follows_the_data(void **state)
{
	alloc_bed_run(NULL, waste_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_shared_and_dropped),
		cmocka_unit_test(closing_and_opening_again_never_mix),
		cmocka_unit_test(rights_are_exact),
		cmocka_unit_test(nothing_is_reused_while_a_reader_may_see_it),
		cmocka_unit_test(blocks_freed_by_others_come_back),
		cmocka_unit_test(churn_between_workers_is_bounded),
		cmocka_unit_test(extents_go_back_without_a_refused_access),
		cmocka_unit_test(extent_stays_while_an_operation_may_read_it),
		cmocka_unit_test(held_memory_follows_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
