/* SPDX-License-Identifier: MIT */
/*
 * The end of a space's last handle, in the keeper: empty chunks go back, the others are left for
 * adopters, then the session's use of the space ends. One call at a time, never waited for.
 *
 * The client opens the space again meanwhile: the node counts opens, and a close that does not know of
 * the latest one ends nothing.
 * The client dies or sleeps before it is through: the session's end leaves all chunks to adopters.
 */
#include "alloc/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_NS UINT64_C(5000000000)

static uint32_t chunks_count(const struct ptni_space *space)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < PTNI_WORKERS_MAX; i++) {
		const struct ptni_view *view = atomic_load(&space->view[i]);

		for (unsigned j = 0; view && j < PTNI_BLOCK_CLASSES; j++)
			count += view->heap[j] ? view->heap[j]->chunk_count : 0;
	}
	return count;
}

static void chunks_gather(struct ptni_closing *closing, struct ptni_heap *heap, bool empty)
{
	struct ptni_owned_chunk *chunk;

	if (!heap)
		return;
	ptni_heap_park(heap);
	cds_list_for_each_entry(chunk, empty ? &heap->empty : &heap->chunks, link)
		closing->addr[closing->count++] = chunk->addr;
	if (empty)
		closing->emptied = closing->count;
}

static struct ptni_closing *closing_make(struct ptni_space *space)
{
	struct ptni_closing *closing = calloc(1, sizeof(*closing));
	uint32_t count = chunks_count(space);

	if (!closing)
		return NULL;
	closing->node = space->node;
	closing->space = space->id;
	closing->opens = space->opens;
	closing->call.done = true;
	closing->addr = calloc(count ? count : 1, sizeof(*closing->addr));
	if (!closing->addr) {
		free(closing);
		return NULL;
	}
	for (int empty = 1; empty >= 0; empty--)
		for (unsigned i = 0; i < PTNI_WORKERS_MAX; i++) {
			struct ptni_view *view = atomic_load(&space->view[i]);

			for (unsigned j = 0; view && j < PTNI_BLOCK_CLASSES; j++)
				chunks_gather(closing, view->heap[j], empty);
		}
	return closing;
}

void ptni_closing_begin(struct ptni_alloc_state *state, struct ptni_space *space)
{
	struct ptni_closing *closing = closing_make(space);

	if (closing) /* else: no memory; the session's end does it */
		cds_list_add_tail(&closing->link, &state->closings);
	for (unsigned i = 0; i < PTNI_WORKERS_MAX; i++) {
		struct ptni_view *view = atomic_load(&space->view[i]);

		if (!view)
			continue;
		view->space = NULL;
		cds_list_del(&view->link);
		cds_list_add(&view->link, &view->views->dead);
	}
	cds_list_del(&space->link);
	free(space->closed);
	free(space);
}

static int put_some(struct ptni_closing *closing, struct ptn_worker *keeper)
{
	bool empty = closing->at < closing->emptied;
	uint32_t left = (empty ? closing->emptied : closing->count) - closing->at;
	struct ptni_chunk_put_request request = { .head.op = PTNI_OP_CHUNK_PUT,
						  .space = closing->space,
						  .flags = empty ? 0 : PTNI_CHUNK_LEFT };

	request.count = left < PTNI_CHUNK_PUT_MAX ? left : PTNI_CHUNK_PUT_MAX;
	memcpy(request.addr, closing->addr + closing->at, request.count * sizeof(*closing->addr));
	closing->at += request.count;
	return ptni_call_start(&closing->call, keeper, closing->node, &request, sizeof(request),
			       CALL_TIMEOUT_NS);
}

static int use_end(struct ptni_closing *closing, struct ptn_worker *keeper)
{
	struct ptni_space_request request = { .head.op = PTNI_OP_SPACE_CLOSE,
					      .space = closing->space,
					      .opens = closing->opens };

	closing->ended = true;
	return ptni_call_start(&closing->call, keeper, closing->node, &request, sizeof(request),
			       CALL_TIMEOUT_NS);
}

/* True when nothing is left to do. */
static bool step(struct ptni_closing *closing, struct ptn_worker *keeper)
{
	int ret;

	if (!ptni_call_done(&closing->call))
		return false;
	if (closing->call.status && closing->call.status != -ENOENT &&
	    (closing->call.status < -4095 || closing->call.status == -ETIMEDOUT))
		return true; /* the session is over */
	if (closing->at < closing->count)
		ret = put_some(closing, keeper);
	else if (!closing->ended)
		ret = use_end(closing, keeper);
	else
		return true;
	return ret != 0;
}

void ptni_closing_step(struct ptni_alloc_state *state, struct ptn_worker *keeper, unsigned node)
{
	struct ptni_closing *closing, *found = NULL;

	pthread_mutex_lock(&state->lock);
	cds_list_for_each_entry(closing, &state->closings, link)
		if (closing->node == node && !found)
			found = closing;
	pthread_mutex_unlock(&state->lock);
	if (!found)
		return;
	ptni_client_want_epoch(state->client, node, 1); /* so that the hook comes again */
	if (!step(found, keeper))
		return;
	pthread_mutex_lock(&state->lock);
	cds_list_del(&found->link);
	pthread_mutex_unlock(&state->lock);
	free(found->addr);
	free(found);
}
