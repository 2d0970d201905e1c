/* SPDX-License-Identifier: MIT */
/*
 * Free bits that cannot be set now: no window is to be had, or no lane in time. The numbers are those of
 * alloc/frees.c.
 */
#include "core/client.h"
#include "tests/support/node_limits.h"
#include "tests/support/space_use.h"

#include <patronus/log.h>

#define MS ALLOC_BED_MS

enum {
	MANY = 200
};

static struct ptni_block many[MANY];

struct stage {
	struct ptni_space *owner, *freer;
	uint64_t other_bytes; /* of client 0's blocks that stay */
};

static struct ptni_view *freer_view(struct alloc_bed *bed, const struct stage *stage)
{
	return ptni_view_of(bed->worker[1], stage->freer);
}

static uint64_t extent_of(const struct ptni_space *space, uint64_t addr)
{
	return (addr - space->region) >> space->extent_shift;
}

/* Client 1's worker gets a view of the space, and all windows that there are now. */
static void freer_look(struct alloc_bed *bed, const struct stage *stage)
{
	uint64_t value;

	assert_int_equal(word_use(bed->worker[1], stage->freer, ptni_space_root(stage->freer), NULL,
				  0, &value),
			 0);
}

/* Blocks of client 0 in an extent for which client 1 has no window yet, neither its worker nor its keeper. */
static void stage_open(struct alloc_bed *bed, struct stage *stage)
{
	alloc_bed_client(bed, 0);
	alloc_bed_client(bed, 1);
	stage->owner = space_open(bed, 0, PTNI_SPACE_CREATE);
	stage->freer = space_open(bed, 1, 0);
	freer_look(bed, stage);
	for (int i = 0; i < 2; i++)
		ptni_client_want_epoch(bed->client[i], 0, 1); /* the keepers look at the board */
	alloc_bed_epochs(bed);
	stage->other_bytes = 0;
	for (int i = 0; i < MANY; i++) {
		many[i] = block_alloc(bed->worker[0], stage->owner, 64);
		if (i || extent_of(stage->owner, many[i].addr) !=
				 extent_of(stage->owner, ptni_space_root(stage->owner)))
			continue;
		stage->other_bytes += 64;
		i--;
	}
}

/* All that was freed comes back to the owner, once. */
static void stage_close(struct alloc_bed *bed, struct stage *stage)
{
	struct ptni_space_usage usage;

	alloc_bed_epochs(bed);
	assert_false(ptni_frees_pending(freer_view(bed, stage)));
	assert_int_equal(freer_view(bed, stage)->leaked, 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(ptni_space_trim(bed->worker[0], stage->owner), 0);
		alloc_bed_epochs(bed);
	}
	ptni_space_usage(bed->worker[0], stage->owner, &usage);
	assert_int_equal(usage.used_bytes, stage->other_bytes);
	assert_int_equal(usage.limbo_bytes, 0);
	ptni_space_close(stage->owner);
	ptni_space_close(stage->freer);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

static void retire_many(struct alloc_bed *bed, const struct stage *stage)
{
	for (int i = 0; i < MANY; i++)
		block_retire(bed->worker[1], stage->freer, &many[i]);
}

/* --- no window ------------------------------------------------------------------------------------ */

static void no_window_body(struct alloc_bed *bed)
{
	struct stage stage;
	uint32_t limit;

	stage_open(bed, &stage);
	limit = node_windows_limit(bed->node, 0);
	retire_many(bed, &stage);
	alloc_bed_pass(bed, 100 * MS);
	assert_true(ptni_frees_pending(freer_view(bed, &stage)));
	(void)node_windows_limit(bed->node, limit);
	stage_close(bed, &stage);
}

/* 4. Neither the worker nor its keeper gets a window for a while. */
static void frees__wait_for_a_window(void **state)
{
	struct ptn_node_options options = { .extent_shift = 18 };

	alloc_bed_run(&options, no_window_body);
}

/* 4. What waits holds reports back, but not for so long that the session is fenced. */
static void never_body(struct alloc_bed *bed)
{
	struct stage stage;

	stage_open(bed, &stage);
	(void)node_windows_limit(bed->node, 0);
	retire_many(bed, &stage);
	for (int i = 0; i < 100; i++)
		alloc_bed_pass(bed, 50 * MS);
	assert_int_equal(alloc_bed_info(bed).sessions, 2);
	assert_false(ptni_frees_pending(freer_view(bed, &stage)));
	assert_int_equal(freer_view(bed, &stage)->leaked, MANY);
	ptni_space_close(stage.owner);
	ptni_space_close(stage.freer);
	alloc_bed_client_close(bed, 1);
	alloc_bed_client_close(bed, 0);
}

/* What is left when the session ends is nobody's to wait for. */
static void fenced_body(struct alloc_bed *bed)
{
	struct stage stage;

	stage_open(bed, &stage);
	(void)node_windows_limit(bed->node, 0);
	for (int i = 0; i < PTNI_FREES_BATCH / 2; i++)
		block_retire(bed->worker[1], stage.freer, &many[i]);
	alloc_bed_pass(bed, 20 * MS);
	assert_true(atomic_load(&freer_view(bed, &stage)->frees.kept_count) > 0);
	alloc_bed_fence(bed, 1);
	alloc_bed_client_close(bed, 1);
	ptni_space_close(stage.owner);
	alloc_bed_client_close(bed, 0);
}

static void frees__of_a_session_that_ended_do_not_keep_its_worker(void **state)
{
	struct ptn_node_options options = { .extent_shift = 18 };

	alloc_bed_run(&options, fenced_body);
}

static void frees__are_given_up_before_the_session_is(void **state)
{
	struct ptn_node_options options = { .term_ns = 1000 * MS, .extent_shift = 18 };

	alloc_bed_run(&options, never_body);
}

/* --- no lane -------------------------------------------------------------------------------------- */

/* An operation without time to wait for room on its lane: nothing is posted. */
static void no_lane_body(struct alloc_bed *bed)
{
	struct ptni_lane *lane;
	struct stage stage;
	struct ptni_op op;
	uint64_t value;

	stage_open(bed, &stage);
	assert_int_equal(word_use(bed->worker[1], stage.freer, many[0].addr, NULL, 0, &value), 0);
	for (int i = 0; i < PTNI_FREES_BATCH - 1; i++)
		block_retire(bed->worker[1], stage.freer, &many[i]);
	lane = bed->worker[1]->peer[0]->active;
	assert_int_equal(ptni_op_begin(bed->worker[1], &op), 0);
	op.deadline_ns = op.start_ns;
	lane->sq_used += PTNI_LANE_SQ_DEPTH;
	assert_int_equal(ptni_frees_flush(&op, freer_view(bed, &stage)), -ETIMEDOUT);
	lane->sq_used -= PTNI_LANE_SQ_DEPTH;
	ptni_op_end(&op);
	assert_true(ptni_frees_pending(freer_view(bed, &stage)));
	for (int i = PTNI_FREES_BATCH - 1; i < MANY; i++)
		block_retire(bed->worker[1], stage.freer, &many[i]);
	stage_close(bed, &stage);
}

static void frees__wait_for_a_lane(void **state)
{
	struct ptn_node_options options = { .extent_shift = 18 };

	alloc_bed_run(&options, no_lane_body);
}

/* --- reports -------------------------------------------------------------------------------------- */

struct late {
	struct alloc_bed *bed;
	struct ptni_op op;
	unsigned runs;
	bool begun;
};

static int late_hook(void *arg, struct ptn_worker *keeper, unsigned node)
{
	struct late *late = arg;

	late->runs++;
	if (late->runs == 1) {
		assert_int_equal(ptni_op_begin(late->bed->worker[0], &late->op), 0);
		late->begun = true;
	}
	return 0;
}

/* 2. An operation that the second wait waits for leaves something undone. */
static void late_body(struct alloc_bed *bed)
{
	struct late late = { .bed = bed };
	struct ptni_session *session;
	uint64_t vouched;

	alloc_bed_client(bed, 0);
	session = bed->client[0]->session[0];
	alloc_bed_epochs(bed);
	assert_int_equal(ptni_client_hook_add(bed->client[0], late_hook, &late), 0);
	vouched = session->vouched;
	while (!late.begun) {
		ptni_client_want_epoch(bed->client[0], 0, 1);
		alloc_bed_pass(bed, MS);
	}
	assert_int_equal(session->vouched, vouched);
	ptni_client_report_later(bed->client[0], 0);
	ptni_op_end(&late.op);
	while (session->vouched == vouched)
		ptni_fiber_suspend();
	assert_int_equal(late.runs, 2);
	ptni_client_hook_remove(bed->client[0], late_hook, &late);
	alloc_bed_client_close(bed, 0);
}

static void report__waits_for_what_an_operation_left_undone(void **state)
{
	alloc_bed_run(NULL, late_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frees__wait_for_a_window),
		cmocka_unit_test(frees__are_given_up_before_the_session_is),
		cmocka_unit_test(frees__of_a_session_that_ended_do_not_keep_its_worker),
		cmocka_unit_test(frees__wait_for_a_lane),
		cmocka_unit_test(report__waits_for_what_an_operation_left_undone),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
