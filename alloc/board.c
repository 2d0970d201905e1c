/* SPDX-License-Identifier: MIT */
/*
 * What the keeper does for spaces before each epoch report: send frees that wait, forget windows of
 * extents that were announced, close spaces that nobody has open any more.
 *
 * The client dies or sleeps here: it does not report, so nothing that relies on the report happens
 * until it is fenced.
 */
#include "alloc/view.h"

#include <errno.h>
#include <stdlib.h>

/* --- frees ------------------------------------------------------------------------------------ */

/* The first view from *next on, made busy; NULL: none is left. */
static struct ptni_view *view_pick(struct ptni_alloc_state *state, struct ptni_space *space,
				   unsigned *next)
{
	struct ptni_view *view = NULL;

	pthread_mutex_lock(&state->lock);
	while (*next < PTNI_WORKERS_MAX && !view)
		view = atomic_load_explicit(&space->view[(*next)++], memory_order_relaxed);
	if (view)
		view->keeper_busy = true;
	pthread_mutex_unlock(&state->lock);
	return view;
}

/*
 * Send what waits in the ring now. What is pushed meanwhile is the next report's: chasing it, a busy worker's
 * ring would never be found empty and the session would be fenced for its silence. What a worker has taken is
 * under way in an operation of its own, whose end the report waits for; what it puts back puts the report off.
 */
static int ring_send(struct ptn_worker *keeper, struct ptni_view *view)
{
	uint32_t end = atomic_load_explicit(&view->frees.tail, memory_order_acquire);
	int ret = 0;

	while (!ret && (atomic_load(&view->frees.kept_count) ||
			(int32_t)(end - atomic_load(&view->frees.head)) > 0)) {
		struct ptni_op op;

		ret = ptni_op_begin(keeper, &op);
		if (ret)
			return ret;
		ret = ptni_frees_flush(&op, view);
		ptni_op_end(&op);
	}
	return ret;
}

/* 0: what was in the rings is sent, or taken by operations that run. */
static int frees_send(struct ptni_alloc_state *state, struct ptn_worker *keeper,
		      struct ptni_space *space)
{
	struct ptni_view *view;
	unsigned next = 0;
	int ret = 0;

	while (!ret && (view = view_pick(state, space, &next))) {
		ret = ring_send(keeper, view);
		pthread_mutex_lock(&state->lock);
		view->keeper_busy = false;
		pthread_mutex_unlock(&state->lock);
	}
	return ret;
}

/* --- announcements ------------------------------------------------------------------------------ */

static void closing_note(struct ptni_alloc_state *state, struct ptni_space *space, uint64_t entry)
{
	uint32_t extent = (uint32_t)entry, seq = (uint32_t)(entry >> 32);

	if (extent >= space->extents || seq <= atomic_load(&space->closed[extent]))
		return;
	atomic_store(&space->closed[extent], seq);
	pthread_mutex_lock(&state->lock);
	for (unsigned i = 0; i < PTNI_WORKERS_MAX; i++) {
		struct ptni_view *view = atomic_load(&space->view[i]);

		if (view)
			ptni_view_extent_closed(view, extent, seq);
	}
	pthread_mutex_unlock(&state->lock);
}

/* The counter first, the entries after it: READs of one queue pair are answered in order. */
static int board_read(struct ptni_op *op, struct ptni_space *space, struct ptni_space_board *board)
{
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret = ptni_space_window_fetch(op, space, space->board, &window);

	if (ret)
		return ret;
	ptni_batch_init(&batch, op, space->node);
	ptni_batch_read(&batch, window, space->board, &board->closings,
			offsetof(struct ptni_space_board, reserved));
	ptni_batch_read(&batch, window, space->board + offsetof(struct ptni_space_board, closing),
			board->closing, sizeof(board->closing));
	return ptni_batch_run(&batch);
}

static int board_look(struct ptni_alloc_state *state, struct ptn_worker *keeper,
		      struct ptni_space *space)
{
	struct ptni_space_board *board;
	struct ptni_op op;
	uint64_t from;
	int ret = ptni_op_begin(keeper, &op);

	if (ret)
		return ret;
	board = ptni_op_buffer(&op, sizeof(*board));
	ret = board_read(&op, space, board);
	if (!ret) {
		from = space->closings;
		if (board->closings - from > PTNI_CLOSINGS_MAX)
			from = board->closings -
			       PTNI_CLOSINGS_MAX; /* older ones were before our time */
		for (; from < board->closings; from++)
			closing_note(state, space, board->closing[from % PTNI_CLOSINGS_MAX]);
		space->closings = board->closings;
		atomic_store_explicit(&space->orphans, board->orphans, memory_order_relaxed);
	}
	ptni_op_end(&op);
	return ret;
}

/* --- the hook ------------------------------------------------------------------------------------- */

static int space_tend(struct ptni_alloc_state *state, struct ptn_worker *keeper,
		      struct ptni_space *space)
{
	int ret = frees_send(state, keeper, space);

	if (!ret && space->refs)
		ret = board_look(state, keeper, space);
	return ret;
}

/* The next space of the node after `space` (NULL: the first), made busy. */
static struct ptni_space *space_next(struct ptni_alloc_state *state, struct ptni_space *space,
				     unsigned node)
{
	struct cds_list_head *at = space ? &space->link : &state->spaces;
	struct ptni_space *next = NULL;

	pthread_mutex_lock(&state->lock);
	for (at = at->next; at != &state->spaces && !next; at = at->next)
		if (cds_list_entry(at, struct ptni_space, link)->node == node)
			next = cds_list_entry(at, struct ptni_space, link);
	if (next)
		next->busy++;
	if (space && --space->busy == 0 && !space->refs)
		ptni_closing_begin(state, space);
	pthread_mutex_unlock(&state->lock);
	return next;
}

int ptni_board_hook(void *arg, struct ptn_worker *keeper, unsigned node)
{
	struct ptni_alloc_state *state = arg;
	struct ptni_space *space = space_next(state, NULL, node);
	int ret = 0, first = 0;

	while (space) {
		ret = space_tend(state, keeper, space);
		if (ret && !first)
			first = ret;
		space = space_next(state, space, node);
	}
	ptni_closing_step(state, keeper, node);
	return first;
}
