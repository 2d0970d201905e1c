/* SPDX-License-Identifier: MIT */
/* What a worker has fetched before it needs it: chunks (block.c) and windows on extents (windows.c). */
#include "tests/support/space_use.h"

#define MS ALLOC_BED_MS

enum {
	LEN = 2000
};

static uint64_t requests(struct ptn_worker *worker)
{
	struct ptn_counters counters;

	ptn_worker_counters(worker, &counters);
	return counters.rpc_requests;
}

static uint64_t fetched(struct ptn_worker *worker)
{
	struct ptn_counters counters;

	ptn_worker_counters(worker, &counters);
	return counters.chunks_fetched;
}

static uint32_t blocks_of_a_slab(const struct ptni_space *space)
{
	return space->layout[ptni_block_class(LEN)].blocks;
}

/* A chunk is asked for while blocks are left, so that nobody waits, and not before half of them are gone. */
static void chunk_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	uint32_t blocks, early;
	uint64_t before;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	blocks = blocks_of_a_slab(space);
	assert_in_range(blocks, 8, 64);
	(void)block_alloc(bed->worker[0], space, LEN);
	alloc_bed_pass(bed, 5 * MS);
	before = requests(bed->worker[0]);
	early = (blocks + 1) / 2;
	for (uint32_t i = 1; i < early; i++)
		(void)block_alloc(bed->worker[0], space, LEN);
	assert_int_equal(requests(bed->worker[0]), before);
	(void)block_alloc(bed->worker[0], space, LEN);
	assert_true(requests(bed->worker[0]) > before);
	alloc_bed_pass(bed, 5 * MS);
	before = bed->now_ns;
	for (uint32_t i = early + 1; i < blocks + 1; i++)
		(void)block_alloc(bed->worker[0], space, LEN);
	assert_int_equal(fetched(bed->worker[0]), 2);
	assert_int_equal(bed->now_ns, before); /* nobody has waited: time goes on in waits */
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void chunk_comes_before_the_last_block_is_taken(void **state)
{
	alloc_bed_run(NULL, chunk_body);
}

/* The first chunk of an extent brings the extent's window along. */
static void extent_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	struct ptni_block block;
	uint64_t first;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	block = block_alloc(bed->worker[0], space, LEN);
	first = (block.addr - space->region) >> space->extent_shift;
	do {
		block = block_alloc(bed->worker[0], space, LEN);
		alloc_bed_pass(bed, MS / 10);
	} while ((block.addr - space->region) >> space->extent_shift == first);
	assert_non_null(ptni_space_window(bed->worker[0], space, block.addr));
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void window_comes_with_the_first_chunk_of_an_extent(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 64 << 20, .term_ns = 2000 * MS };

	alloc_bed_run(&options, extent_body);
}

/* A space that is closed while windows are on their way: their tags are free again. */
static void closed_body(struct alloc_bed *bed)
{
	struct ptni_space *space, *other;
	struct ptni_window *last = NULL, *window;
	struct ptni_space_params params = { .kind = 1 };

	alloc_bed_client(bed, 0);
	assert_int_equal(
		ptni_space_open(bed->worker[0], 0, "other", PTNI_SPACE_CREATE, &params, &other), 0);
	for (int i = 0; i < 400; i++) {
		struct ptni_view *view;

		space = space_open(bed, 0, PTNI_SPACE_CREATE);
		(void)block_alloc(bed->worker[0], space, LEN);
		view = ptni_view_of(bed->worker[0], space);
		if (i % 2) { /* on their way */
			view->seq = 0;
			atomic_store(&view->extent[0].window, NULL);
			ptni_windows_ahead(view, space->region);
			assert_true(view->fetch.reserved > 0);
		}
		ptni_space_close(space);
		alloc_bed_pass(bed, MS);
	}
	/* tags are numbers, taken in turn: as many as are in use at a time, and a few */
	for (int i = 0; i < 100; i++) {
		assert_int_equal(ptni_window_reserve(bed->worker[0], 0, &window), 0);
		if (!last || window->tag > last->tag)
			last = window;
	}
	assert_true(last->tag < 1500);
	ptni_space_close(other);
	alloc_bed_client_close(bed, 0);
}

static void windows_on_their_way_to_a_closed_space_are_given_back(void **state)
{
	alloc_bed_run(NULL, closed_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunk_comes_before_the_last_block_is_taken),
		cmocka_unit_test(window_comes_with_the_first_chunk_of_an_extent),
		cmocka_unit_test(windows_on_their_way_to_a_closed_space_are_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
