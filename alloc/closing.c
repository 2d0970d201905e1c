/* SPDX-License-Identifier: MIT */
/*
 * The end of a space's last handle, in the keeper: empty chunks go back, the others are left for
 * adopters, then the session's use of the space ends. One call at a time, waited for only when the client
 * closes: then it has a quarter of a term for all of them.
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

void ptni_closing_free(struct ptni_closing *closing)
{
	free(closing->tell.word);
	free(closing->addr);
	free(closing);
}

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

enum gather {
	GATHER_EMPTY,
	GATHER_TOLD,
	GATHER_REST,
	GATHER_END
};

static void chunks_gather(struct ptni_closing *closing, struct ptni_heap *heap, enum gather what)
{
	struct ptni_owned_chunk *chunk, *next;

	if (!heap)
		return;
	ptni_compact_cancel(heap);
	ptni_heap_park(heap);
	cds_list_for_each_entry_safe(chunk, next,
				     what == GATHER_EMPTY ? &heap->empty : &heap->chunks, link) {
		if (chunk->left ||
		    (what == GATHER_TOLD && !ptni_tell_add(&closing->tell, heap, chunk)))
			continue;
		chunk->left = true;
		closing->addr[closing->count++] = chunk->addr;
	}
	if (what == GATHER_EMPTY)
		closing->emptied = closing->count;
	if (what <= GATHER_TOLD)
		closing->told = closing->count;
}

/* Another handle has chunks that the node is to hear of before it may take the rest for never used. */
static bool has_sibling(struct ptni_alloc_state *state, const struct ptni_space *space)
{
	const struct ptni_space *other;
	const struct ptni_closing *closing;

	cds_list_for_each_entry(other, &state->spaces, link)
		if (other != space && other->node == space->node && other->id == space->id)
			return true;
	cds_list_for_each_entry(closing, &state->closings, link)
		if (closing->node == space->node && closing->space == space->id)
			return true;
	return false;
}

static struct ptni_closing *closing_make(struct ptni_alloc_state *state, struct ptni_space *space)
{
	struct ptni_closing *closing = calloc(1, sizeof(*closing));
	uint32_t count = chunks_count(space);

	if (!closing)
		return NULL;
	closing->node = space->node;
	closing->space = space->id;
	closing->opens = space->opens;
	closing->call.done = true;
	closing->whole = !atomic_load(&state->strays) && !has_sibling(state, space);
	closing->addr = calloc(count ? count : 1, sizeof(*closing->addr));
	if (!closing->addr) {
		free(closing);
		return NULL;
	}
	for (enum gather what = GATHER_EMPTY; what < GATHER_END; what++)
		for (unsigned i = 0; i < PTNI_WORKERS_MAX; i++) {
			struct ptni_view *view = atomic_load(&space->view[i]);

			if (view && view->put.busy) /* other chunks are on their way */
				closing->whole = false;
			for (unsigned j = 0; view && j < PTNI_BLOCK_CLASSES; j++)
				chunks_gather(closing, view->heap[j], what);
		}
	return closing;
}

void ptni_closing_begin(struct ptni_alloc_state *state, struct ptni_space *space)
{
	struct ptni_closing *closing = closing_make(state, space);

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
	struct ptni_chunk_put_request request = { .head.op = PTNI_OP_CHUNK_PUT,
						  .space = closing->space };
	uint32_t end = closing->count, left;

	if (closing->at < closing->emptied) {
		end = closing->emptied;
	} else if (closing->at < closing->told) {
		end = closing->told;
		request.flags = PTNI_CHUNK_LEFT | PTNI_CHUNK_TOLD;
	} else {
		request.flags = PTNI_CHUNK_LEFT;
	}
	left = end - closing->at;
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
					      .opens = closing->opens,
					      .whole = closing->whole };

	closing->ended = true;
	return ptni_call_start(&closing->call, keeper, closing->node, &request, sizeof(request),
			       CALL_TIMEOUT_NS);
}

/* The next of what is told; what the node did not take does not count as told. 1: posted. */
static int tell_some(struct ptni_closing *closing, struct ptn_worker *keeper)
{
	int ret;

	if (closing->telling && closing->call.status)
		closing->told = closing->emptied;
	closing->telling = false;
	if (closing->told == closing->emptied)
		return 0;
	ret = ptni_tell_start(&closing->tell, &closing->call, keeper, closing->node,
			      closing->space);
	closing->telling = ret > 0;
	return ret;
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
	if (closing->call.status && !closing->telling && !closing->ended)
		closing->whole = false;
	ret = tell_some(closing, keeper);
	if (ret)
		return ret < 0;
	if (closing->at < closing->count)
		ret = put_some(closing, keeper);
	else if (!closing->ended)
		ret = use_end(closing, keeper);
	else
		return true;
	return ret != 0;
}

/* It is done with, well or not. */
static void closing_end(struct ptni_alloc_state *state, struct ptni_closing *closing)
{
	if (!closing->whole &&
	    closing->call.status) /* opened again, so the session's use goes on */
		atomic_store(&state->strays, true);
	pthread_mutex_lock(&state->lock);
	cds_list_del(&closing->link);
	pthread_mutex_unlock(&state->lock);
	ptni_closing_free(closing);
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
	if (step(found, keeper))
		closing_end(state, found);
}

void ptni_closings_finish(void *arg, struct ptn_worker *keeper, uint64_t deadline_ns)
{
	struct ptni_alloc_state *state = arg;
	struct ptni_space *space, *next_space;
	struct ptni_closing *closing, *next;
	struct ptni_wait wait;
	bool more = true;

	pthread_mutex_lock(&state->lock);
	cds_list_for_each_entry_safe(space, next_space, &state->spaces, link)
		if (!space->refs && !space->busy)
			ptni_closing_begin(state, space);
	pthread_mutex_unlock(&state->lock);
	ptni_wait_begin(&wait, keeper, deadline_ns);
	while (more && !cds_list_empty(&state->closings)) {
		cds_list_for_each_entry_safe(closing, next, &state->closings, link)
			if (ptni_client_node_error(state->client, closing->node) ||
			    step(closing, keeper)) {
				ptni_call_cancel(&closing->call);
				closing_end(state, closing);
			}
		more = !ptni_wait_turn(&wait);
	}
}
