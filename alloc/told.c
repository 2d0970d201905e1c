/* SPDX-License-Identifier: MIT */
/*
 * What a worker that leaves knows of its chunks, handed to whoever adopts them.
 *
 *   leaver: CHUNK_TELL (tag, free, limbo of every slab) ──► CHUNK_PUT left, told ──► orphan
 *   adopter: CHUNK_GET ──► told ──► READ the slabs' heads ──► ordinary slabs: free at once, limbo as it was
 *
 * 1. Nobody fills a block of the chunk between the two: the leaver forgot it before it told, and its window has
 *    been withdrawn before the chunk is an orphan.
 * 2. A block that was told free or in limbo has no bit in its free word (a slab whose bits may still stand is not
 *    told about), and it gets none: it was unlinked once.
 * 3. The tag is a client's epoch, and the horizon that passed it stands for all sessions, the adopter's included; so
 *    the version that the adopter gives the free blocks, its own epoch, is later than that of their last use.
 * 4. All other blocks are in use, or were freed by others: their bits stand or will stand in the free words, and
 *    are collected as always.
 *
 * The leaver dies after telling: its chunk is an orphan of which nothing counts as told, and is asked about.
 * The adopter dies: likewise. Who tells lies harms what it could harm anyway: blocks that it wrote itself.
 */
#include "alloc/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_NS UINT64_C(5000000000)

enum {
	RECORD_HEAD = 2, /* words */
};

/* --- telling ------------------------------------------------------------------------------------ */

static bool chunk_tellable(const struct ptni_owned_chunk *chunk)
{
	for (uint32_t i = 0; i < chunk->slabs; i++)
		if (chunk->slab[i]->held)
			return false;
	return true;
}

bool ptni_tell_add(struct ptni_tell *tell, const struct ptni_heap *heap,
		   const struct ptni_owned_chunk *chunk)
{
	size_t each = RECORD_HEAD + ptni_slab_told_words(&heap->layout);
	uint64_t *word;

	if (!chunk_tellable(chunk))
		return false;
	if (tell->count + each * chunk->slabs > tell->room) {
		size_t room = 2 * (tell->count + each * chunk->slabs);

		word = realloc(tell->word, room * sizeof(*word));
		if (!word)
			return false;
		tell->word = word;
		tell->room = room;
	}
	for (uint32_t i = 0; i < chunk->slabs; i++) {
		word = tell->word + tell->count;
		word[0] = chunk->slab[i]->base;
		word[1] = each - RECORD_HEAD;
		ptni_slab_tell(heap, chunk->slab[i], word + RECORD_HEAD);
		tell->count += each;
	}
	return true;
}

/* The next records, or parts of one; false: nothing is left. */
static bool tell_next(struct ptni_tell *tell, struct ptni_chunk_tell_request *request)
{
	request->count = 0;
	while (tell->at < tell->count) {
		const uint64_t *record = tell->word + tell->at;
		size_t left = (size_t)record[1] - tell->in_record;
		size_t room = PTNI_CHUNK_TELL_WORDS - request->count;
		size_t n;

		if (room <= RECORD_HEAD)
			break;
		n = left < room - RECORD_HEAD ? left : room - RECORD_HEAD;
		request->word[request->count] = record[0];
		request->word[request->count + 1] = (uint64_t)tell->in_record << 32 | n;
		memcpy(request->word + request->count + RECORD_HEAD,
		       record + RECORD_HEAD + tell->in_record, n * sizeof(*record));
		request->count += (uint32_t)(RECORD_HEAD + n);
		tell->in_record += (uint32_t)n;
		if (n < left)
			break;
		tell->at += RECORD_HEAD + (size_t)record[1];
		tell->in_record = 0;
	}
	return request->count;
}

int ptni_tell_start(struct ptni_tell *tell, struct ptni_call *call, struct ptn_worker *worker,
		    unsigned node, uint32_t space)
{
	struct ptni_chunk_tell_request request = { .head.op = PTNI_OP_CHUNK_TELL, .space = space };

	if (!tell_next(tell, &request))
		return 0;
	if (ptni_call_start(call, worker, node, &request, sizeof(request), CALL_TIMEOUT_NS))
		return -EIO; /* the session is over */
	return 1;
}

int ptni_tell_all(struct ptni_tell *tell, struct ptni_view *view)
{
	struct ptni_call call;
	int ret;

	while ((ret = ptni_tell_start(tell, &call, view->worker, view->space->node,
				      view->space->id)) > 0) {
		ret = ptni_call_wait(&call);
		if (ret)
			return ret;
	}
	return ret;
}

/* --- listening ---------------------------------------------------------------------------------- */

__attribute__((noinline)) static int heads_read(struct ptni_op *op, struct ptni_view *view,
						const struct ptni_heap *heap,
						const struct ptni_owned_chunk *chunk,
						uint64_t *told)
{
	uint32_t words = ptni_slab_words(&heap->layout), n = ptni_slab_told_words(&heap->layout);
	const struct ptni_window *window;
	struct ptni_batch batch;
	int ret = ptni_space_window_fetch(op, view->space, chunk->addr, &window);

	if (ret)
		return ret;
	ptni_batch_init(&batch, op, view->space->node);
	for (uint32_t i = 0; i < chunk->slabs; i++)
		ptni_batch_read(&batch, window, chunk->slab[i]->base + words * sizeof(uint64_t),
				told + (size_t)i * n, n * (uint32_t)sizeof(uint64_t));
	return ptni_batch_run(&batch);
}

static int heads_file(struct ptni_op *op, struct ptni_view *view, struct ptni_heap *heap,
		      struct ptni_owned_chunk *chunk)
{
	uint32_t n = ptni_slab_told_words(&heap->layout);
	uint64_t *told = ptni_op_buffer(op, (size_t)chunk->slabs * n * sizeof(uint64_t));
	struct ptni_epochs epochs;
	int ret = told ? heads_read(op, view, heap, chunk, told) : -ENOBUFS;

	if (ret)
		return ret;
	ptni_view_epochs(view, &epochs);
	for (uint32_t i = 0; i < chunk->slabs; i++)
		ptni_slab_told(heap, chunk->slab[i], told + (size_t)i * n, epochs.horizon,
			       epochs.epoch);
	chunk->told = false;
	/* what others freed meanwhile; if that fails, the next sweep finds it */
	(void)ptni_collect(op, view, heap, chunk->slab, chunk->slabs);
	return 0;
}

int ptni_told_read(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_chunk *chunk)
{
	struct ptni_op op;
	int ret = ptni_op_begin(view->worker, &op);

	if (ret)
		return ret;
	view->pinned++;
	ret = heads_file(&op, view, heap, chunk);
	view->pinned--;
	ptni_op_end(&op);
	return ret;
}
