/* SPDX-License-Identifier: MIT */
/*
 * A worker's windows on the extents of a space.
 *
 *   slot   none ── granted, seq s ──► window ── announced (seq >= s) ──► none ── granted, seq t > s ──► ...
 *            installed by the worker              cleared by the keeper
 *
 * One SPACE_WINDOWS at a time asks for all that are lacking. It is sent when somebody needs one, or ahead of that,
 * when a chunk came from an extent that was not seen before, and filed when somebody next looks.
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
#include <stddef.h>
#include <string.h>

#define CALL_TIMEOUT_NS UINT64_C(5000000000)

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

/* --- asking for them ---------------------------------------------------------------------------- */

static int ask(struct ptni_view *view)
{
	struct ptni_fetch *fetch = &view->fetch;
	struct ptni_space_windows_request request = { .head.op = PTNI_OP_SPACE_WINDOWS,
						      .space = view->space->id,
						      .after_seq = view->seq };
	int ret = 0;

	while (request.count < PTNI_SPACE_WINDOWS_MAX) {
		struct ptni_window **window = &fetch->window[request.count];

		ret = ptni_window_reserve(view->worker, view->space->node, window);
		if (ret)
			break;
		request.tag[request.count++] = (*window)->tag;
	}
	if (!request.count)
		return ret;
	ret = ptni_call_start(&fetch->call, view->worker, view->space->node, &request,
			      sizeof(request), CALL_TIMEOUT_NS);
	if (!ret)
		fetch->reserved = request.count;
	else
		while (request.count)
			ptni_window_release(fetch->window[--request.count]);
	return ret;
}

static int fetch_begin(struct ptni_view *view)
{
	int ret = ask(view);

	if (!ret)
		view->fetch.begun++;
	return ret;
}

static void reserved_release(struct ptni_fetch *fetch, uint32_t from)
{
	while (fetch->reserved > from)
		ptni_window_release(fetch->window[--fetch->reserved]);
	fetch->reserved = 0;
}

/* What the reply brought; the windows it did not use go back. Returns what `more` says, or an error. */
static int file(struct ptni_view *view)
{
	struct ptni_fetch *fetch = &view->fetch;
	const struct ptni_space_windows_reply *reply = (const void *)fetch->call.reply;
	uint32_t len_bytes = fetch->call.reply_len_bytes, used = 0;
	int ret = 0;

	if (len_bytes < offsetof(struct ptni_space_windows_reply, extent) ||
	    reply->count > fetch->reserved ||
	    len_bytes < offsetof(struct ptni_space_windows_reply, extent) +
				reply->count * sizeof(reply->extent[0]))
		return -EBADMSG;
	for (; !ret && used < reply->count; used++) {
		ret = install(view, &fetch->call, &reply->extent[used], fetch->window[used]);
		if (!ret && reply->extent[used].seq > view->seq)
			view->seq = reply->extent[used].seq;
	}
	reserved_release(fetch, used);
	return ret ? ret : reply->count && reply->more;
}

void ptni_windows_poll(struct ptni_view *view)
{
	struct ptni_fetch *fetch = &view->fetch;
	int ret;

	if (!fetch->reserved || !ptni_call_done(&fetch->call))
		return;
	ret = fetch->call.status;
	if (!ret)
		ret = file(view);
	else if (ptni_call_refused(&fetch->call))
		reserved_release(fetch, 0);
	fetch->reserved = 0; /* else they stay: they may have been granted */
	if (ret > 0)
		ret = ask(view);
	fetch->status = ret;
}

void ptni_windows_ahead(struct ptni_view *view, uint64_t addr)
{
	if (!view->fetch.reserved && !ptni_space_window(view->worker, view->space, addr))
		(void)fetch_begin(view); /* if it fails, who needs the window hears of it */
}

void ptni_windows_release(struct ptni_view *view)
{
	struct ptni_fetch *fetch = &view->fetch;

	for (uint32_t i = 0; i < view->extents; i++)
		if (view->extent[i].owned)
			ptni_window_release(view->extent[i].owned);
	if (fetch->call.done && (!fetch->call.status || ptni_call_refused(&fetch->call)))
		reserved_release(fetch, 0);
}

/* All that is lacking. A fetch that was under way may have begun too early for our address: then again. */
static int fetch_wait(struct ptni_op *op, struct ptni_view *view, uint64_t addr)
{
	struct ptni_fetch *fetch = &view->fetch;
	uint64_t from = fetch->begun;
	struct ptni_wait wait;
	int ret = 0;

	PTNI_COUNT(view->counters, round_trips);
	ptni_wait_begin(&wait, view->worker, op->deadline_ns);
	while (!ret) {
		ptni_windows_poll(view);
		if (ptni_space_window(op->worker, view->space, addr))
			return 0;
		if (!fetch->reserved) {
			if (fetch->begun != from)
				return fetch->status;
			ret = fetch_begin(view);
		}
		if (!ret)
			ret = ptni_wait_turn(&wait);
	}
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
			ret = fetch_wait(op, view, addr);
		if (ret)
			return ret;
		window = ptni_space_window(op->worker, space, addr);
		if (!window)
			return -EFAULT;
	}
	*window_out = window;
	return 0;
}
