/* SPDX-License-Identifier: MIT */
/* A client that closes while the end of a space is under way (alloc/closing.c). */
#include "tests/support/space_use.h"

#include <patronus/log.h>

#define MS ALLOC_BED_MS

enum {
	BLOCKS = 40,
	KEPT = 5
};

static bool begun(struct alloc_bed *bed)
{
	struct ptni_alloc_state *state;

	assert_int_equal(ptni_alloc_state(bed->client[0], &state), 0);
	return !cds_list_empty(&state->closings);
}

/* Client 0 leaves partly used chunks of some classes; its keeper takes `turns` turns at their end. */
static void close_after(struct alloc_bed *bed, int turns)
{
	struct ptni_block block[BLOCKS];
	struct ptni_node_space *on_node;
	struct ptni_space *space;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	for (int i = 0; i < BLOCKS; i++)
		block[i] = block_alloc(bed->worker[0], space, 64 * (size_t)(1 + i % 4));
	for (int i = 0; i < BLOCKS - KEPT; i++)
		block_retire(bed->worker[0], space, &block[i]);
	on_node = ptni_space_find(bed->allocator, space->id);
	ptni_space_close(space);
	while (turns >= 0 && !begun(bed))
		ptni_fiber_suspend();
	for (int i = 0; i < turns; i++)
		ptni_fiber_suspend();
	alloc_bed_client_close(bed, 0);
	assert_int_equal(alloc_bed_info(bed).sessions, 0);
	assert_true(cds_list_empty(&on_node->users));
	assert_int_equal(on_node->unknown, 0); /* nobody has to be asked about them */
	assert_true(on_node->orphans > 0);
	/* and the name is free at once */
	alloc_bed_client(bed, 0);
	assert_int_equal(ptni_space_drop(bed->worker[0], 0, "table"), 0);
	alloc_bed_client_close(bed, 0);
}

static void told_body(struct alloc_bed *bed)
{
	for (int turns = -1; turns < 40; turns += 3)
		close_after(bed, turns);
}

static void client__that_closes_at_any_time_tells_what_it_leaves(void **state)
{
	alloc_bed_run(NULL, told_body);
}

static void fenced_body(struct alloc_bed *bed)
{
	struct ptni_space *space;
	uint64_t then_ns;

	alloc_bed_client(bed, 0);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	(void)block_alloc(bed->worker[0], space, 64);
	ptni_space_close(space);
	while (!begun(bed))
		ptni_fiber_suspend();
	then_ns = bed->now_ns;
	alloc_bed_fence(bed, 0);
	alloc_bed_client_close(bed, 0);
	assert_true(bed->now_ns - then_ns < 500 * MS);
}

static void client__whose_session_is_over_closes_at_once(void **state)
{
	alloc_bed_run(NULL, fenced_body);
}

/*
 * A drop that is refused ends nothing: what the closed handle had is still in use, and the handle that is opened
 * next knows of it, whichever comes first, the keeper's turn or that.
 */
static void drop_refused(struct alloc_bed *bed, bool late, bool both)
{
	struct ptni_node_space *on_node;
	struct ptni_space *space, *other;
	struct ptni_block block;

	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	block = block_alloc(bed->worker[0], space, 448);
	on_node = ptni_space_find(bed->allocator, space->id);
	other = space_open(bed, 1, 0);
	bed->asleep[0] = late; /* its keeper */
	ptni_space_close(space);
	assert_int_equal(ptni_space_drop(bed->worker[0], 0, "table"), -EBUSY);
	if (both)
		ptni_space_close(space_open(bed, 0, 0));
	bed->asleep[0] = false;
	alloc_bed_pass(bed, 100 * MS);
	alloc_bed_client_close(bed, 0);
	assert_non_null(ptni_chunk_at(bed->allocator, block.addr & ~(UINT64_C(0xffff))));
	assert_int_equal(on_node->orphans, 1);
	ptni_space_close(other);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client(bed, 0);
	assert_int_equal(ptni_space_drop(bed->worker[0], 0, "table"), 0);
	alloc_bed_client_close(bed, 0);
}

static void refused_body(struct alloc_bed *bed)
{
	for (int i = 0; i < 4; i++)
		drop_refused(bed, i & 1, i & 2);
}

static void drop__that_is_refused_frees_nothing(void **state)
{
	alloc_bed_run(NULL, refused_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client__that_closes_at_any_time_tells_what_it_leaves),
		cmocka_unit_test(client__whose_session_is_over_closes_at_once),
		cmocka_unit_test(drop__that_is_refused_frees_nothing),
	};

	(void)ptn_log_level_set("off");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
