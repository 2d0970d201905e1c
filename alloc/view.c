/* SPDX-License-Identifier: MIT */
/*
 * A worker's view of a space, and its windows on extents.
 *
 *   slot   none ── granted, seq s ──► window ── announced (seq >= s) ──► none ── granted, seq t > s ──► ...
 *            installed by the worker              cleared by the keeper
 *
 * 1. A window that was announced before or while it was installed does not stay: the worker writes it
 *    and then reads closed[], the keeper writes closed[] and then reads the window, both sequentially
 *    consistent.
 * 2. The keeper clears by CAS from the window whose seq it has read, so it never clears a newer one.
 * 3. A cleared window's memory and tag are kept until the extent comes again: an operation that
 *    loaded the pointer before ends before the epoch is reported.
 *
 * The client dies or sleeps at SPACE_WINDOWS: what was granted ends with the session.
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
		for (uint32_t i = 0; i < view->extents; i++)
			if (view->extent[i].owned)
				ptni_window_release(view->extent[i].owned);
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

/* --- windows ------------------------------------------------------------------------------------ */

const struct ptni_window *ptni_space_window(struct ptn_worker *worker, struct ptni_space *space,
					    uint64_t addr)
{
	const struct ptni_view *view = ptni_view_of(worker, space);
	uint64_t extent = (addr - space->region) >> space->extent_shift;

	if (__builtin_expect(!view || extent >= space->extents, 0))
		return NULL;
	return atomic_load_explicit(&view->extent[extent].window, memory_order_relaxed);
}

void ptni_view_extent_closed(struct ptni_view *view, uint32_t extent, uint32_t seq)
{
	struct ptni_extent_slot *slot = &view->extent[extent];
	const struct ptni_window *window = atomic_load(&slot->window);

	if (window && window != view->region && atomic_load(&slot->seq) <= seq)
		atomic_compare_exchange_strong(&slot->window, &window, NULL);
}

static int install(struct ptni_view *view, const struct ptni_call *call,
		   const struct ptni_extent_grant *grant, struct ptni_window *window)
{
	struct ptni_space *space = view->space;
	struct ptni_extent_slot *slot;
	const struct ptni_window *shown = window;
	int ret;

	if (grant->extent >= space->extents)
		return -EBADMSG;
	ret = ptni_window_accept(window, call, &grant->window,
				 ptni_client_session_deadline(view->client, space->node));
	if (ret)
		return ret;
	slot = &view->extent[grant->extent];
	if (slot->owned)
		ptni_window_release(
			slot->owned); /* the node took it back before it gave the next */
	slot->owned = window;
	atomic_store(&slot->seq, grant->seq);
	atomic_store(&slot->window, shown);
	if (atomic_load(&space->closed[grant->extent]) >= grant->seq)
		atomic_compare_exchange_strong(&slot->window, &shown, NULL);
	return 0;
}

/* What the reply brought; the windows it did not use go back. Returns what `more` says, or an error. */
static int windows_file(struct ptni_view *view, const struct ptni_call *call,
			struct ptni_window *const *window, uint32_t reserved)
{
	const struct ptni_space_windows_reply *reply = (const void *)call->reply;
	uint32_t used = 0;
	int ret = 0;

	if (call->reply_len_bytes < offsetof(struct ptni_space_windows_reply, extent) ||
	    reply->count > reserved ||
	    call->reply_len_bytes < offsetof(struct ptni_space_windows_reply, extent) +
					    reply->count * sizeof(reply->extent[0]))
		return -EBADMSG;
	for (; !ret && used < reply->count; used++) {
		ret = install(view, call, &reply->extent[used], window[used]);
		if (!ret && reply->extent[used].seq > view->seq)
			view->seq = reply->extent[used].seq;
	}
	for (uint32_t i = used; i < reserved; i++)
		ptni_window_release(window[i]);
	return ret ? ret : reply->count && reply->more;
}

/* What is left of the operation, which holds epochs back on all nodes: a silent one may not keep it. */
static uint64_t time_left_ns(const struct ptni_op *op, const struct ptni_view *view)
{
	uint64_t now_ns = ptni_worker_now_ns(view->worker);
	uint64_t left_ns = op->deadline_ns > now_ns ? op->deadline_ns - now_ns : 0;

	return left_ns < CALL_TIMEOUT_NS ? left_ns : CALL_TIMEOUT_NS;
}

/* One call. 1: there are more. A call that failed keeps its tags: they may have been granted. */
static int windows_ask(struct ptni_op *op, struct ptni_view *view)
{
	struct ptni_space_windows_request request = { .head.op = PTNI_OP_SPACE_WINDOWS,
						      .space = view->space->id,
						      .after_seq = view->seq };
	struct ptni_window *window[PTNI_SPACE_WINDOWS_MAX];
	struct ptni_call call;
	int ret = 0;

	while (request.count < PTNI_SPACE_WINDOWS_MAX) {
		ret = ptni_window_reserve(view->worker, view->space->node, &window[request.count]);
		if (ret)
			break;
		request.tag[request.count] = window[request.count]->tag;
		request.count++;
	}
	if (!request.count)
		return ret;
	ret = ptni_call_start(&call, view->worker, view->space->node, &request, sizeof(request),
			      time_left_ns(op, view));
	if (ret) {
		while (request.count)
			ptni_window_release(window[--request.count]);
		return ret;
	}
	ret = ptni_call_wait(&call);
	return ret ? ret : windows_file(view, &call, window, request.count);
}

/* All that is lacking. Another fiber's fetch may have begun too early for our address: then again. */
static int windows_fetch(struct ptni_op *op, struct ptni_view *view, uint64_t addr)
{
	struct ptni_wait wait;
	int ret;

	ptni_wait_begin(&wait, view->worker, op->deadline_ns);
	while (view->fetching) {
		ret = ptni_wait_turn(&wait);
		if (ret)
			return ret;
	}
	if (ptni_space_window(op->worker, view->space, addr))
		return 0;
	view->fetching = true;
	do
		ret = windows_ask(op, view);
	while (ret > 0);
	view->fetching = false;
	return ret;
}

int ptni_space_window_fetch(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    const struct ptni_window **window_out)
{
	const struct ptni_window *window = ptni_space_window(op->worker, space, addr);
	struct ptni_view *view;
	int ret;

	if (!window) {
		if ((addr - space->region) >> space->extent_shift >= space->extents)
			return -EFAULT;
		ret = ptni_view_get(op, space, &view);
		if (!ret && !ptni_space_window(op->worker, space, addr))
			ret = windows_fetch(op, view, addr);
		if (ret)
			return ret;
		window = ptni_space_window(op->worker, space, addr);
		if (!window)
			return -EFAULT;
	}
	*window_out = window;
	return 0;
}
