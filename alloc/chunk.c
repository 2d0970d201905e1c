/* SPDX-License-Identifier: MIT */
/*
 * Chunks on their way between this worker and the node.
 *
 *   CHUNK_GET is posted ahead of need and filed when somebody next looks; CHUNK_PUT likewise. The worker
 *   waits only when it has nothing left to hand out.
 *
 * The client dies or sleeps at either: see alloc/service_chunk.c. A chunk that is going back is
 * forgotten here before the request is sent, so nothing can be taken from it meanwhile.
 */
#include "alloc/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_NS UINT64_C(5000000000)

struct ptni_heap *ptni_view_heap(struct ptni_view *view, unsigned block_class)
{
	struct ptni_heap *heap = view->heap[block_class];

	if (heap)
		return heap;
	heap = calloc(1, sizeof(*heap));
	if (!heap)
		return NULL;
	ptni_heap_init(heap, &view->space->layout[block_class]);
	view->heaps[block_class / 64] |= UINT64_C(1) << block_class % 64;
	view->heap[block_class] = heap;
	return heap;
}

/* --- slabs by address --------------------------------------------------------------------------- */

static int pages_prepare(struct ptni_view *view, uint64_t addr)
{
	const struct ptni_space *space = view->space;
	uint64_t extent = (addr - space->region) >> space->extent_shift;

	if (extent >= space->extents)
		return -EBADMSG;
	if (!view->extent[extent].slab)
		view->extent[extent].slab =
			calloc(UINT64_C(1) << (space->extent_shift - PTNI_PAGE_SHIFT),
			       sizeof(struct ptni_owned_slab *));
	return view->extent[extent].slab ? 0 : -ENOMEM;
}

static void slabs_show(struct ptni_view *view, const struct ptni_owned_chunk *chunk, bool show)
{
	for (uint32_t i = 0; i < chunk->slabs; i++)
		*ptni_view_slab(view, chunk->slab[i]->base) = show ? chunk->slab[i] : NULL;
}

/* --- going back --------------------------------------------------------------------------------- */

static int put_start(struct ptni_view *view, const uint64_t *addr, uint32_t flags)
{
	struct ptni_chunk_put_request request = { .head.op = PTNI_OP_CHUNK_PUT,
						  .space = view->space->id,
						  .count = view->put.count,
						  .flags = flags };
	int ret;

	memcpy(request.addr, addr, view->put.count * sizeof(*addr));
	ret = ptni_call_start(&view->put.call, view->worker, view->space->node, &request,
			      sizeof(request), CALL_TIMEOUT_NS);
	view->put.busy = !ret;
	if (ret)
		atomic_store(&view->views->state->strays, true);
	return ret; /* then the session is over, and the windows with it */
}

/* File the answer of the put under way, if it has come. */
static void put_poll(struct ptni_view *view)
{
	struct ptni_put *put = &view->put;

	if (!put->busy || !ptni_call_done(&put->call))
		return;
	put->busy = false;
	if (!put->call.status)
		PTNI_COUNT_ADD(view->counters, chunks_returned, put->count);
	else
		atomic_store(&view->views->state->strays, true);
	for (uint32_t i = 0; !put->call.status && i < put->count; i++)
		if (put->window[i])
			ptni_window_release(put->window[i]);
}

/* Forget the chunk and name it in the next put. */
static void put_add(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_chunk *chunk,
		    uint64_t *addr)
{
	slabs_show(view, chunk, false);
	view->put.window[view->put.count] = chunk->window;
	addr[view->put.count++] = chunk->addr;
	ptni_heap_remove(heap, chunk);
}

static bool put_begin(struct ptni_view *view)
{
	put_poll(view);
	if (view->put.busy || view->pinned)
		return false;
	view->put.count = 0;
	return true;
}

/* Name empty chunks, those that were empty longest first, until `spare` are left. */
static void put_empty(struct ptni_view *view, struct ptni_heap *heap, uint32_t spare,
		      uint64_t *addr)
{
	while (heap->empty_count > spare && view->put.count < PTNI_CHUNK_PUT_MAX)
		put_add(view, heap, cds_list_entry(heap->empty.prev, struct ptni_owned_chunk, link),
			addr);
}

bool ptni_chunk_return(struct ptni_view *view)
{
	uint64_t addr[PTNI_CHUNK_PUT_MAX];

	if (!put_begin(view))
		return false;
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i])
			put_empty(view, view->heap[i], 0, addr);
	if (view->put.count)
		(void)put_start(view, addr, 0);
	return view->put.count > 0;
}

void ptni_chunk_return_spare(struct ptni_view *view, struct ptni_heap *heap)
{
	uint64_t now_ns = ptni_worker_now_ns(view->worker), addr[PTNI_CHUNK_PUT_MAX];
	uint32_t unused = heap->empty_low, keep = 1 + (heap->chunk_count - heap->empty_count) / 32;

	/* compaction has emptied them: they will not be needed */
	if (heap->empty_count > 2 * keep &&
	    ptni_clock_since_ns(now_ns, heap->evict_ns) < PTNI_SPARE_NS && put_begin(view)) {
		put_empty(view, heap, keep, addr);
		(void)put_start(view, addr, 0);
	}
	if (heap->empty_count < heap->empty_low)
		unused = heap->empty_low = heap->empty_count;
	if (ptni_clock_since_ns(now_ns, heap->low_ns) < PTNI_SPARE_NS)
		return;
	heap->low_ns = now_ns;
	if (unused > 1 && put_begin(view)) {
		put_empty(view, heap, heap->empty_count - unused + 1, addr);
		if (view->put.count)
			(void)put_start(view, addr, 0);
	}
	heap->empty_low = heap->empty_count;
}

int ptni_chunk_return_wait(struct ptni_view *view)
{
	int ret = 0;

	if (view->put.busy)
		ret = ptni_call_wait(&view->put.call);
	put_poll(view);
	return ret;
}

/* Chunks that were forgotten and are about to be left. */
struct leaving {
	struct ptni_tell tell;
	uint64_t addr[PTNI_CHUNK_PUT_MAX];
	struct ptni_window *window[PTNI_CHUNK_PUT_MAX];
	uint32_t count;
};

/* The next chunks of a heap, none of which is empty: those that can be told about, or all. */
static void leave_pick(struct ptni_view *view, struct ptni_heap *heap, bool tell,
		       struct leaving *leaving)
{
	struct ptni_owned_chunk *chunk, *next;

	cds_list_for_each_entry_safe(chunk, next, &heap->chunks, link) {
		if (leaving->count == PTNI_CHUNK_PUT_MAX)
			break;
		if (tell && !ptni_tell_add(&leaving->tell, heap, chunk))
			continue;
		slabs_show(view, chunk, false);
		leaving->window[leaving->count] = chunk->window;
		leaving->addr[leaving->count++] = chunk->addr;
		ptni_heap_remove(heap, chunk);
	}
}

/* Other fibers of the worker may send a put of their own while this one tells. */
static int leave_put(struct ptni_view *view, bool tell, struct leaving *leaving)
{
	bool told = tell && !ptni_tell_all(&leaving->tell, view);

	while (view->put.busy)
		(void)ptni_chunk_return_wait(view);
	view->put.count = leaving->count;
	memcpy(view->put.window, leaving->window, leaving->count * sizeof(leaving->window[0]));
	return put_start(view, leaving->addr, PTNI_CHUNK_LEFT | (told ? PTNI_CHUNK_TOLD : 0));
}

/* One put's worth of a class (NULL: of all). 1: it was sent, and there may be more. */
static int leave_some(struct ptni_view *view, struct ptni_heap *heap, bool tell)
{
	struct leaving leaving = { .count = 0 };
	int ret = 0;

	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i] && (!heap || heap == view->heap[i]))
			leave_pick(view, view->heap[i], tell, &leaving);
	if (leaving.count)
		ret = leave_put(view, tell, &leaving) ? -EIO : 1;
	free(leaving.tell.word);
	return ret;
}

void ptni_chunk_leave(struct ptni_view *view, struct ptni_heap *heap)
{
	if (view->pinned)
		return;
	ptni_compact_cancel(heap);
	ptni_heap_park(heap);
	(void)leave_some(view, heap, true);
}

/* Wait for chunks that were asked for: they would otherwise stay ours until the session's end. */
static void gets_settle(struct ptni_view *view)
{
	for (unsigned i = 0; i < PTNI_GETS; i++)
		if (view->get[i].heap)
			(void)ptni_call_wait(&view->get[i].call);
	(void)ptni_chunk_poll(view, NULL);
}

/* Send what waits in the ring; the keeper may be sending the rest of it. */
static void frees_settle(struct ptni_view *view)
{
	struct ptni_wait wait;
	struct ptni_op op;
	int ret = 0;

	while (!ret && ptni_frees_pending(view) && !ptni_op_begin(view->worker, &op)) {
		ret = ptni_frees_flush(&op, view);
		ptni_wait_begin(&wait, view->worker, op.deadline_ns);
		ptni_op_end(&op);
		if (!ret && ptni_frees_pending(view))
			ret = ptni_wait_keeper(&wait);
	}
}

void ptni_chunk_leave_all(struct ptni_view *view)
{
	int ret;

	frees_settle(view);
	gets_settle(view);
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i])
			ptni_view_maintain(view, view->heap[i]);
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i]) {
			ptni_compact_cancel(view->heap[i]);
			ptni_heap_park(view->heap[i]);
		}
	do
		if (ptni_chunk_return_wait(view))
			return;
	while (ptni_chunk_return(view));
	for (int tell = 1; tell >= 0; tell--)
		while ((ret = leave_some(view, NULL, tell)) > 0)
			if (ptni_chunk_return_wait(view))
				return;
}

/* --- coming ----------------------------------------------------------------------------------- */

/* How much more: a 128th of what the heap holds, so that growth is waste of at most that. */
static uint32_t slabs_wanted(const struct ptni_view *view, const struct ptni_heap *heap)
{
	uint32_t max = ptni_slab_chunk_max(&heap->layout, view->space->extent_shift);
	uint32_t slabs = heap->slabs / 128;

	if (slabs > max)
		return max;
	return slabs ? slabs : 1;
}

bool ptni_chunk_asked(const struct ptni_view *view, const struct ptni_heap *heap)
{
	for (unsigned i = 0; i < PTNI_GETS; i++)
		if (view->get[i].heap == heap && !view->get[i].orphan)
			return true;
	return false;
}

/* Is a chunk whose blocks must be asked about in hand, or on its way? One at a time. */
static bool asking_about(const struct ptni_view *view)
{
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		if (view->heap[i] && view->heap[i]->held > view->heap[i]->evicting)
			return true;
	return false;
}

static uint32_t get_flags(const struct ptni_view *view, const struct ptni_get *get,
			  enum ptni_ask ask)
{
	bool fresh = ask == PTNI_ASK_NOW ||
		     !atomic_load_explicit(&view->space->live, memory_order_acquire) ||
		     asking_about(view);
	uint32_t flags = fresh ? PTNI_CHUNK_FRESH : 0;

	if (ask == PTNI_ASK_NOW)
		flags |= PTNI_CHUNK_NOW;
	return get->orphan ? flags | PTNI_CHUNK_ORPHAN : flags;
}

static int get_start(struct ptni_view *view, struct ptni_get *get, enum ptni_ask ask)
{
	struct ptni_space *space = view->space;
	struct ptni_chunk_get_request request = { .head.op = PTNI_OP_CHUNK_GET,
						  .space = space->id,
						  .tag = PTNI_TAG_NONE,
						  .block_class = get->block_class };
	int ret;

	request.slabs = (uint16_t)slabs_wanted(view, get->heap);
	request.flags = get_flags(view, get, ask);
	get->window = NULL;
	if (!view->region) {
		ret = ptni_window_reserve(view->worker, space->node, &get->window);
		if (ret)
			return ret;
		request.tag = get->window->tag;
	}
	ret = ptni_call_start(&get->call, view->worker, space->node, &request, sizeof(request),
			      CALL_TIMEOUT_NS);
	if (ret && get->window)
		ptni_window_release(get->window);
	return ret;
}

int ptni_chunk_ask(struct ptni_view *view, unsigned block_class, enum ptni_ask ask)
{
	struct ptni_heap *heap = ptni_view_heap(view, block_class);
	struct ptni_get *get = view->get;
	int ret;

	if (!heap)
		return -ENOMEM;
	if (ask != PTNI_ASK_ORPHAN && ptni_chunk_asked(view, heap))
		return 0;
	while (get < view->get + PTNI_GETS && get->heap)
		get++;
	if (get == view->get + PTNI_GETS)
		return -EAGAIN;
	get->heap = heap;
	get->block_class = (uint16_t)block_class;
	get->orphan = ask == PTNI_ASK_ORPHAN;
	ret = get_start(view, get, ask);
	if (ret)
		get->heap = NULL;
	return ret;
}

/* A chunk that we cannot keep track of goes straight back, in the state in which it came. */
static void chunk_refuse(struct ptni_view *view, const struct ptni_chunk_got *reply,
			 struct ptni_window *window)
{
	uint64_t addr = reply->addr; /* before anything suspends */
	uint32_t flags = 0;

	if (reply->flags & PTNI_CHUNK_ADOPTED)
		flags = PTNI_CHUNK_LEFT | (reply->flags & PTNI_CHUNK_TOLD);
	while (view->put.busy)
		(void)ptni_chunk_return_wait(view);
	view->put.window[0] = window;
	view->put.count = 1;
	(void)put_start(view, &addr, flags);
}

static bool reply_valid(const struct ptni_view *view, const struct ptni_call *call)
{
	const struct ptni_chunk_got *reply = (const void *)call->reply;
	const struct ptni_slab_layout *layout;
	uint64_t offset, bytes;

	if (call->reply_len_bytes != sizeof(*reply) || reply->block_class >= PTNI_BLOCK_CLASSES)
		return false;
	layout = &view->space->layout[reply->block_class];
	bytes = (uint64_t)reply->slabs * layout->slab_bytes;
	offset = reply->addr - view->space->region;
	return bytes && offset >> view->space->extent_shift < view->space->extents &&
	       (offset + bytes - 1) >> view->space->extent_shift ==
		       offset >> view->space->extent_shift &&
	       offset % ((uint64_t)ptni_slab_align_pages(layout) << PTNI_PAGE_SHIFT) == 0;
}

static int chunk_file(struct ptni_view *view, struct ptni_get *get)
{
	const struct ptni_chunk_got *reply = (const void *)get->call.reply;
	bool adopted = reply->flags & PTNI_CHUNK_ADOPTED;
	struct ptni_owned_chunk *chunk;
	struct ptni_epochs epochs;
	struct ptni_heap *heap;
	int ret;

	ret = reply_valid(view, &get->call) ? pages_prepare(view, reply->addr) : -EBADMSG;
	if (!ret && get->window)
		ret = ptni_window_accept(get->window, &get->call, &reply->window,
					 ptni_client_session_deadline(view->client,
								      view->space->node));
	if (ret == -EBADMSG)
		return ret;
	heap = ret ? NULL : ptni_view_heap(view, reply->block_class);
	ptni_view_epochs(view, &epochs);
	chunk = heap ? ptni_heap_add(heap, reply->block_class, reply->addr, reply->slabs,
				     epochs.epoch, adopted) :
		       NULL;
	if (!chunk) {
		chunk_refuse(view, reply, get->window);
		return -ENOMEM;
	}
	if (adopted)
		PTNI_COUNT(view->counters, chunks_adopted);
	else
		PTNI_COUNT(view->counters, chunks_fetched);
	chunk->window = get->window;
	slabs_show(view, chunk, true);
	ptni_windows_ahead(view, reply->addr);
	atomic_store_explicit(&view->space->orphans, reply->orphans, memory_order_relaxed);
	chunk->told = adopted && reply->flags & PTNI_CHUNK_TOLD;
	if (chunk->told && !view->scanning) { /* else by ptni_adopt_step(); twice is wrong */
		view->scanning = true;
		(void)ptni_told_read(view, heap, chunk);
		view->scanning = false;
	}
	return 0;
}

/* Nothing was left that we could use: the count that others made stands for a while. */
static void orphans_none(struct ptni_view *view)
{
	view->orphans_ns = ptni_worker_now_ns(view->worker) + PTNI_ORPHANS_NS;
}

int ptni_chunk_poll(struct ptni_view *view, const struct ptni_heap *heap)
{
	int result = 0;

	for (unsigned i = 0; i < PTNI_GETS; i++) {
		struct ptni_get *get = &view->get[i];
		const struct ptni_heap *whose = get->heap;
		int ret;

		if (!whose || !ptni_call_done(&get->call))
			continue;
		ret = get->call.status;
		get->heap = NULL; /* before anything suspends */
		if (!ret)
			ret = chunk_file(view, get);
		else if (get->window && ptni_call_refused(&get->call))
			ptni_window_release(get->window);
		if (ret && get->orphan)
			orphans_none(view);
		if (whose == heap && !get->orphan)
			result = ret;
	}
	put_poll(view);
	ptni_windows_poll(view);
	return result;
}
