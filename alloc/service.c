/* SPDX-License-Identifier: MIT */
/*
 * The service's front: sizes are checked here, ranges and names by the handlers.
 *
 * A client that dies or sleeps: while its request waits here, core keeps lane and message valid and
 * drops the answer; session_ended() comes when none of its accesses can land any more.
 */
#include "alloc/service.h"

#include <patronus/error.h>

#include <errno.h>
#include <stdlib.h>

struct handler {
	uint16_t len_bytes;
	int (*handle)(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
		      const struct ptni_message *message);
};

static const struct handler handlers[] = {
	[PTNI_OP_SPACE_OPEN - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_space_open_request),
						       ptni_space_open_handle },
	[PTNI_OP_SPACE_CLOSE - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_space_request),
							ptni_space_close_handle },
	[PTNI_OP_SPACE_DROP - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_space_drop_request),
						       ptni_space_drop_handle },
	[PTNI_OP_SPACE_WINDOWS - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_space_windows_request),
							  ptni_space_windows_handle },
	[PTNI_OP_SPACE_INFO - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_space_request),
						       ptni_space_info_handle },
	[PTNI_OP_CHUNK_GET - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_chunk_get_request),
						      ptni_chunk_get_handle },
	[PTNI_OP_CHUNK_PUT - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_chunk_put_request),
						      ptni_chunk_put_handle },
	[PTNI_OP_MEMORY_ALLOC - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_memory_alloc_request),
							 ptni_memory_alloc_handle },
	[PTNI_OP_MEMORY_ACQUIRE -
		PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_memory_acquire_request),
					 ptni_memory_acquire_handle },
	[PTNI_OP_MEMORY_FREE - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_memory_free_request),
							ptni_memory_free_handle },
	[PTNI_OP_CHUNK_TELL - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_chunk_tell_request),
						       ptni_chunk_tell_handle },
	[PTNI_OP_MEMORY_GIVE - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_memory_give_request),
							ptni_memory_give_handle },
	[PTNI_OP_MEMORY_CLAIM - PTNI_OP_ALLOC_FIRST] = { sizeof(struct ptni_memory_claim_request),
							 ptni_memory_claim_handle },
};

void ptni_allocator_account(struct ptni_allocator *allocator)
{
	uint64_t used = ptni_extent_map_used_bytes(allocator->map);

	if (used != allocator->used_bytes)
		ptni_node_memory_used(allocator->node, (int64_t)(used - allocator->used_bytes));
	allocator->used_bytes = used;
}

struct ptni_session_holdings *ptni_session_holdings(struct ptni_allocator *allocator,
						    struct ptni_node_session *session)
{
	struct ptni_session_holdings *holdings = ptni_session_state(session, allocator);

	if (holdings)
		return holdings;
	holdings = calloc(1, sizeof(*holdings));
	if (!holdings)
		return NULL;
	CDS_INIT_LIST_HEAD(&holdings->memories);
	if (ptni_session_state_set(session, allocator, holdings)) {
		free(holdings);
		return NULL;
	}
	return holdings;
}

int ptni_allocator_charge(struct ptni_allocator *allocator, struct ptni_node_session *session,
			  uint64_t bytes)
{
	int ret = ptni_session_charge(session, (int64_t)bytes);

	if (ret == -EDQUOT &&
	    ptni_node_options(allocator->node)->session_bytes_max >= allocator->region_len_bytes)
		return -ENOMEM;
	return ret;
}

bool ptni_allocator_hopeful(struct ptni_allocator *allocator)
{
	return allocator->puttings || allocator->emptying ||
	       ptni_extent_map_dirty_bytes(allocator->map) || !cds_list_empty(&allocator->leaving);
}

void ptni_waiter_set(struct ptni_waiter *waiter, struct ptni_node_lane *lane,
		     const struct ptni_message *message)
{
	waiter->lane = lane;
	waiter->message = message;
}

void ptni_waiter_answer(struct ptni_waiter *waiter, int status)
{
	struct ptni_message reply = { 0 };
	struct ptni_node_lane *lane = waiter->lane;

	if (!lane)
		return;
	waiter->lane = NULL;
	ptni_node_reply(lane, waiter->message, status, &reply, sizeof(reply));
}

/* Returns what the handler said. */
static int try(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
	       const struct ptni_message *message)
{
	const struct handler *handler = &handlers[message->op - PTNI_OP_ALLOC_FIRST];

	if (ptni_session_fenced(ptni_lane_session(lane)))
		return PTN_E_SESSION_FENCED;
	return handler->handle(allocator, lane, message);
}

static void refuse(struct ptni_node_lane *lane, const struct ptni_message *message, int status)
{
	struct ptni_waiter waiter = { .lane = lane, .message = message };

	ptni_waiter_answer(&waiter, status);
}

static void handle(void *arg, struct ptni_node_lane *lane, const struct ptni_message *message)
{
	struct ptni_allocator *allocator = arg;
	struct ptni_waiter *waiter;
	int ret;

	if (message->op < PTNI_OP_ALLOC_FIRST || message->op >= PTNI_OP_ALLOC_END ||
	    message->len_bytes != handlers[message->op - PTNI_OP_ALLOC_FIRST].len_bytes) {
		refuse(lane, message, -EBADMSG);
		return;
	}
	ret = try(allocator, lane, message);
	if (ret == PTNI_REQUEST_WAIT) {
		waiter = calloc(1, sizeof(*waiter));
		if (waiter) {
			ptni_waiter_set(waiter, lane, message);
			waiter->deadline_ns = ptni_node_now_ns(allocator->node) +
					      (message->op == PTNI_OP_CHUNK_GET ?
						       PTNI_CHUNK_PATIENCE_NS :
						       PTNI_MEMORY_PATIENCE_NS);
			cds_list_add_tail(&waiter->link, &allocator->waiters);
			ptni_node_want_epoch(allocator->node);
		}
		ret = waiter ? 0 : -ENOMEM;
	}
	if (ret < 0)
		refuse(lane, message, ret);
	ptni_allocator_account(allocator);
}

/* Ask those again that wait for memory, in the order in which they came. */
static void retry(struct ptni_allocator *allocator)
{
	uint64_t now_ns = ptni_node_now_ns(allocator->node);
	struct ptni_waiter *waiter, *next;

	cds_list_for_each_entry_safe(waiter, next, &allocator->waiters, link) {
		int ret = try(allocator, waiter->lane, waiter->message);

		if (ret == PTNI_REQUEST_WAIT && now_ns < waiter->deadline_ns)
			continue;
		cds_list_del(&waiter->link);
		if (ret)
			ptni_waiter_answer(waiter, ret == PTNI_REQUEST_WAIT ? -ENOMEM : ret);
		free(waiter);
	}
}

static void tick(void *arg, uint64_t epoch, uint64_t horizon)
{
	struct ptni_allocator *allocator = arg;
	bool hurry = !cds_list_empty(&allocator->waiters);

	ptni_extent_map_clean(allocator->map,
			      hurry ? PTNI_CLEAN_HURRY_BYTES : PTNI_CLEAN_TICK_BYTES);
	ptni_orphans_step(allocator, epoch, horizon);
	retry(allocator);
	ptni_extents_step(allocator, horizon);
	if (ptni_allocator_hopeful(allocator))
		ptni_node_want_epoch(allocator->node);
	ptni_allocator_account(allocator);
}

static void session_ended(void *arg, struct ptni_node_session *session)
{
	struct ptni_allocator *allocator = arg;

	ptni_space_session_ended(allocator, session);
	ptni_memory_session_ended(allocator, session);
	free(ptni_session_state(session, allocator));
	ptni_session_state_set(session, allocator, NULL);
	ptni_allocator_account(allocator);
}

static int tables_open(struct ptni_allocator *allocator)
{
	uint32_t count = ptni_extent_map_count(allocator->map);

	allocator->extent = calloc(count, sizeof(*allocator->extent));
	allocator->chunk_at = calloc((size_t)count << (allocator->extent_shift - PTNI_PAGE_SHIFT),
				     sizeof(struct ptni_chunk *));
	if (!allocator->extent || !allocator->chunk_at)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		allocator->extent[i].allocator = allocator;
		CDS_INIT_LIST_HEAD(&allocator->extent[i].memories);
	}
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		ptni_slab_layout(i, allocator->extent_shift, &allocator->layout[i]);
	return 0;
}

/* After all sessions have ended: spaces without users, and nothing that waits, are left. */
static void allocator_close(void *arg)
{
	struct ptni_allocator *allocator = arg;
	struct ptni_waiter *waiter, *next;

	cds_list_for_each_entry_safe(waiter, next, &allocator->waiters, link) {
		ptni_waiter_answer(waiter, PTN_E_NODE_DOWN);
		free(waiter);
	}
	for (uint32_t i = 0; i < PTNI_SPACES_MAX; i++)
		if (allocator->space[i])
			ptni_node_space_free(allocator->space[i]);
	if (allocator->extent)
		ptni_memory_close(allocator);
	ptni_extent_map_close(allocator->map);
	free(allocator->extent);
	free(allocator->chunk_at);
	free(allocator);
}

static int allocator_open(struct ptn_node *node, struct ptni_allocator **allocator_out)
{
	struct ptni_allocator *allocator = calloc(1, sizeof(*allocator));
	size_t len_bytes;
	void *region = ptni_node_region(node, &len_bytes);
	int ret;

	if (!allocator)
		return -ENOMEM;
	allocator->node = node;
	allocator->extent_shift = ptni_node_options(node)->extent_shift;
	allocator->region = (uint64_t)(uintptr_t)region;
	allocator->region_len_bytes = len_bytes;
	allocator->memory.page_shift = PTNI_MEMORY_PAGE_SHIFT;
	allocator->memory.clean_only = true;
	CDS_INIT_LIST_HEAD(&allocator->told);
	CDS_INIT_LIST_HEAD(&allocator->leaving);
	CDS_INIT_LIST_HEAD(&allocator->waiters);
	ret = ptni_extent_map_open(region, len_bytes, allocator->extent_shift, &allocator->map);
	if (!ret)
		ret = tables_open(allocator);
	if (ret) {
		allocator_close(allocator);
		return ret;
	}
	*allocator_out = allocator;
	return 0;
}

int ptni_allocator_add(struct ptn_node *node, struct ptni_allocator **allocator_out)
{
	struct ptni_allocator *allocator;
	int ret = allocator_open(node, &allocator);

	if (ret)
		return ret;
	ret = ptni_node_service_add(node, &(struct ptni_service){
						  .first_op = PTNI_OP_ALLOC_FIRST,
						  .last_op = PTNI_OP_ALLOC_LAST,
						  .arg = allocator,
						  .handle = handle,
						  .session_ended = session_ended,
						  .tick = tick,
						  .close = allocator_close,
					  });
	if (ret) {
		allocator_close(allocator);
		return ret;
	}
	*allocator_out = allocator;
	return 0;
}
