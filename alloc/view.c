/* SPDX-License-Identifier: MIT */
/*
 * A worker's view of a space: made when the worker first uses it, gone with the worker's end or the space's last
 * handle.
 *
 * The client dies or sleeps while it makes one: the node knows nothing of views.
 */
#include "alloc/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_NS UINT64_C(5000000000)

static char worker_key;

/* The keeper may be sending frees out of the view; it is bounded by its calls' time limits. */
static void keeper_wait(struct ptni_view *view)
{
	struct ptni_alloc_state *state = view->views->state;
	struct ptni_wait wait;
	bool busy;

	ptni_wait_begin(&wait, view->worker,
			ptni_worker_now_ns(view->worker) + 2 * CALL_TIMEOUT_NS);
	do {
		pthread_mutex_lock(&state->lock);
		busy = view->keeper_busy;
		pthread_mutex_unlock(&state->lock);
	} while (busy && !ptni_wait_turn(&wait));
}

static void worker_close(void *value)
{
	struct ptni_worker_views *views = value;
	struct ptni_alloc_state *state = views->state;

	pthread_mutex_lock(&state->lock);
	while (!cds_list_empty(&views->views)) {
		struct ptni_view *view =
			cds_list_first_entry(&views->views, struct ptni_view, link);
		struct ptni_space *space = view->space;

		space->busy++;
		pthread_mutex_unlock(&state->lock);
		ptni_chunk_leave_all(view);
		keeper_wait(view);
		pthread_mutex_lock(&state->lock);
		atomic_store(&space->view[ptni_worker_index(view->worker)], NULL);
		cds_list_del(&view->link);
		if (!view->keeper_busy)
			ptni_view_free(view);
		space->busy--;
	}
	while (!cds_list_empty(&views->dead)) {
		struct ptni_view *view = cds_list_first_entry(&views->dead, struct ptni_view, link);

		cds_list_del(&view->link);
		ptni_view_free(view);
	}
	pthread_mutex_unlock(&state->lock);
	free(views);
}

static int worker_views(struct ptn_worker *worker, struct ptni_alloc_state *state,
			struct ptni_worker_views **views_out)
{
	struct ptni_worker_views *views = ptni_worker_attachment(worker, &worker_key);
	int ret;

	if (!views) {
		views = calloc(1, sizeof(*views));
		if (!views)
			return -ENOMEM;
		views->state = state;
		CDS_INIT_LIST_HEAD(&views->views);
		CDS_INIT_LIST_HEAD(&views->dead);
		ret = ptni_worker_attach(worker, &worker_key, views, worker_close);
		if (ret) {
			free(views);
			return ret;
		}
	}
	*views_out = views;
	return 0;
}

void ptni_view_free(struct ptni_view *view)
{
	for (unsigned i = 0; i < PTNI_GETS; i++)
		ptni_call_cancel(&view->get[i].call);
	ptni_call_cancel(&view->put.call);
	ptni_call_cancel(&view->fetch.call);
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
		struct ptni_heap *heap = view->heap[i];
		struct ptni_owned_chunk *chunk, *next;

		if (!heap)
			continue;
		cds_list_for_each_entry_safe(chunk, next, &heap->chunks, link)
			ptni_heap_remove(heap, chunk);
		cds_list_for_each_entry_safe(chunk, next, &heap->empty, link)
			ptni_heap_remove(heap, chunk);
		free(heap);
	}
	for (uint32_t i = 0; view->extent && i < view->extents; i++)
		free(view->extent[i].slab);
	free(view->extent);
	free(view);
}

static int view_make(struct ptn_worker *worker, struct ptni_space *space,
		     struct ptni_view **view_out)
{
	struct ptni_view *view = aligned_alloc(64, (sizeof(*view) + 63) / 64 * 64);

	if (!view)
		return -ENOMEM;
	memset(view, 0, sizeof(*view));
	view->space = space;
	view->worker = worker;
	view->client = space->client;
	view->counters = ptni_worker_counters(worker);
	view->region = ptni_window_region(worker, space->node);
	view->put.call.done = true;
	view->fetch.call.done = true;
	for (unsigned i = 0; i < PTNI_GETS; i++)
		view->get[i].call.done = true;
	view->extents = space->extents;
	view->extent = calloc(space->extents, sizeof(*view->extent));
	if (!view->extent) {
		free(view);
		return -ENOMEM;
	}
	for (uint32_t i = 0; view->region && i < space->extents; i++)
		atomic_init(&view->extent[i].window, view->region);
	*view_out = view;
	return 0;
}

static void heap_release(struct ptni_heap *heap)
{
	struct ptni_owned_chunk *chunk;

	cds_list_for_each_entry(chunk, &heap->chunks, link)
		if (chunk->window)
			ptni_window_release(chunk->window);
	cds_list_for_each_entry(chunk, &heap->empty, link)
		if (chunk->window)
			ptni_window_release(chunk->window);
}

/* The windows of views whose space was closed, by the thread whose windows they are. */
static void dead_release(struct ptni_alloc_state *state, struct ptni_worker_views *views)
{
	struct ptni_view *view = NULL;

	do {
		pthread_mutex_lock(&state->lock);
		view = NULL;
		if (!cds_list_empty(&views->dead)) {
			view = cds_list_first_entry(&views->dead, struct ptni_view, link);
			cds_list_del(&view->link);
		}
		pthread_mutex_unlock(&state->lock);
		if (!view)
			break;
		ptni_windows_release(view);
		for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
			if (view->heap[i])
				heap_release(view->heap[i]);
		ptni_view_free(view);
	} while (true);
}

/*
 * The keeper knows E from its latest look, which may not have been yet. E is at most one past what
 * this session has reported, or was told in its welcome: not past what is read here, plus one. It is part of an
 * operation that ends then.
 */
static int epoch_read(struct ptni_view *view, uint64_t deadline_ns)
{
	const struct ptni_window *status = ptni_window_status(view->worker, view->space->node);
	struct ptni_status_page *copy;
	struct ptni_batch batch;
	struct ptni_op op;
	int ret = ptni_op_begin(view->worker, &op);

	if (ret)
		return ret;
	if (deadline_ns < op.deadline_ns)
		op.deadline_ns = deadline_ns;
	copy = ptni_op_buffer(&op, sizeof(*copy));
	ptni_batch_init(&batch, &op, view->space->node);
	ptni_batch_read(&batch, status, status->addr, copy, sizeof(*copy));
	ret = ptni_batch_run(&batch);
	if (!ret)
		view->epoch_floor = copy->epoch;
	ptni_op_end(&op);
	return ret;
}

/* File a view that was made; another fiber may have been quicker. */
static struct ptni_view *view_publish(struct ptni_alloc_state *state, struct ptni_view *view)
{
	struct ptni_space *space = view->space;
	struct ptni_view *other = ptni_view_of(view->worker, space);

	if (other) {
		ptni_view_free(view);
		return other;
	}
	pthread_mutex_lock(&state->lock);
	cds_list_add(&view->link, &view->views->views);
	atomic_store_explicit(&space->view[ptni_worker_index(view->worker)], view,
			      memory_order_release);
	pthread_mutex_unlock(&state->lock);
	return view;
}

int ptni_view_get(struct ptni_op *op, struct ptni_space *space, struct ptni_view **view_out)
{
	struct ptn_worker *worker = op->worker;
	struct ptni_view *view = ptni_view_of(worker, space);
	struct ptni_alloc_state *state;
	struct ptni_worker_views *views;
	int ret = 0;

	if (!view) {
		ret = ptni_alloc_state(space->client, &state);
		if (!ret)
			ret = worker_views(worker, state, &views);
		if (!ret)
			ret = view_make(worker, space, &view);
		if (ret)
			return ret;
		dead_release(state, views);
		view->views = views;
		ret = epoch_read(view, op->deadline_ns);
		if (ret) {
			ptni_view_free(view);
			return ret;
		}
		view = view_publish(state, view);
	}
	*view_out = view;
	return 0;
}
