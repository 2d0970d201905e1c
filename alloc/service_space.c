/* SPDX-License-Identifier: MIT */
/*
 * Spaces by name, and who has them open.
 *
 *   user    OPEN ── close, drop, fence ──► CLOSING ── both leases ended ──► gone: chunks are orphans
 *   space   OPEN ── drop ──► DROPPING ── no user, no chunk on its way back ──► gone: extents are free
 *
 * The client dies or sleeps
 *   before SPACE_OPEN is answered: the space exists and nobody but others may use it; open again
 *     finds it. Creation is one step here, so no half space is ever seen.
 *   before SPACE_CLOSE, SPACE_DROP are answered: both go on without it.
 */
#include "alloc/service.h"

#include <patronus/error.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t extent_bytes(const struct ptni_allocator *allocator)
{
	return UINT64_C(1) << allocator->extent_shift;
}

/* --- finding -------------------------------------------------------------------------------- */

struct ptni_node_space *ptni_space_find(struct ptni_allocator *allocator, uint32_t id)
{
	struct ptni_node_space *space = allocator->space[id % PTNI_SPACES_MAX];

	return space && space->id == id && !space->dropping ? space : NULL;
}

static struct ptni_node_space *find_name(struct ptni_allocator *allocator, const char *name)
{
	for (uint32_t i = 0; i < PTNI_SPACES_MAX; i++)
		if (allocator->space[i] && !strcmp(allocator->space[i]->name, name))
			return allocator->space[i];
	return NULL;
}

struct ptni_space_user *ptni_space_user_find(struct ptni_node_space *space,
					     const struct ptni_node_session *session)
{
	struct ptni_space_user *user;

	cds_list_for_each_entry(user, &space->users, link)
		if (user->session == session && !user->closing)
			return user;
	return NULL;
}

static bool name_valid(const char *name)
{
	return name[0] && memchr(name, 0, PTNI_SPACE_NAME_MAX);
}

/* --- making and freeing ------------------------------------------------------------------------- */

static int order_append(struct ptni_node_space *space, uint32_t extent)
{
	if (space->order_count == space->order_capacity) {
		uint32_t capacity = space->order_capacity ? 2 * space->order_capacity : 16;
		uint32_t *order = realloc(space->order, capacity * sizeof(*order));

		if (!order)
			return -ENOMEM;
		space->order = order;
		space->order_capacity = capacity;
	}
	space->order[space->order_count++] = extent;
	return 0;
}

int ptni_node_space_grow(struct ptni_node_space *space)
{
	struct ptni_allocator *allocator = space->allocator;
	struct ptni_extent_info *info;
	uint32_t extent;
	int ret;

	if (space->seq == UINT32_MAX)
		return -ENOMEM; /* names of extents are used up: after four thousand million */
	ret = ptni_extent_set_grow(allocator->map, &space->set, &extent);
	if (ret)
		return ret;
	ret = order_append(space, extent);
	if (ret) {
		ptni_extent_set_shrink(allocator->map, extent);
		return ret;
	}
	info = &allocator->extent[extent];
	info->space = space;
	info->seq = ++space->seq;
	info->phase = PTNI_EXTENT_LIVE;
	return 0;
}

/* All its extents at once; nobody has a window on any. */
void ptni_node_space_free(struct ptni_node_space *space)
{
	struct ptni_allocator *allocator = space->allocator;

	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
		struct ptni_chunk *chunk, *next;

		cds_list_for_each_entry_safe(chunk, next, &space->orphan[i], link)
			ptni_chunk_free(chunk);
		cds_list_for_each_entry_safe(chunk, next, &space->told[i], link) {
			ptni_orphan_leave(chunk);
			ptni_chunk_free(chunk);
		}
	}
	if (space->root)
		ptni_extent_run_give(allocator->map, space->root, 1);
	for (uint32_t i = 0; i < space->order_count; i++) {
		ptni_extent_forget(&allocator->extent[space->order[i]]);
		ptni_extent_set_shrink(allocator->map, space->order[i]);
	}
	if (space->creator) {
		ptni_session_charge(space->creator, -(1 << PTNI_PAGE_SHIFT));
		ptni_session_holdings(allocator, space->creator)->spaces--;
	}
	if (allocator->space[space->id % PTNI_SPACES_MAX] == space)
		allocator->space[space->id % PTNI_SPACES_MAX] = NULL;
	free(space->order);
	free(space);
}

static int space_make(struct ptni_allocator *allocator, struct ptni_node_space **space_out)
{
	struct ptni_node_space *space = calloc(1, sizeof(*space));
	int ret;

	if (!space)
		return -ENOMEM;
	space->allocator = allocator;
	space->set.page_shift = PTNI_PAGE_SHIFT;
	CDS_INIT_LIST_HEAD(&space->users);
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		CDS_INIT_LIST_HEAD(&space->orphan[i]);
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		CDS_INIT_LIST_HEAD(&space->told[i]);
	ret = ptni_node_space_grow(space);
	if (!ret)
		ret = ptni_extent_run_take(allocator->map, &space->set, 1, 1, &space->root);
	if (ret) {
		ptni_node_space_free(space);
		return ret;
	}
	space->board = (struct ptni_space_board *)(uintptr_t)(space->root + PTNI_BOARD_OFFSET);
	*space_out = space;
	return 0;
}

/* The creator's quota bounds how many extents it can bind by creating spaces. */
static int creation_charge(struct ptni_allocator *allocator, struct ptni_node_session *session)
{
	struct ptni_session_holdings *holdings = ptni_session_holdings(allocator, session);
	uint64_t limit = ptni_node_options(allocator->node)->session_bytes_max;
	int ret;

	if (!holdings)
		return -ENOMEM;
	if (limit && holdings->spaces && (holdings->spaces + 1) * extent_bytes(allocator) > limit)
		return -EDQUOT;
	ret = ptni_session_charge(session, 1 << PTNI_PAGE_SHIFT);
	if (!ret)
		holdings->spaces++;
	return ret;
}

static int space_create(struct ptni_allocator *allocator, struct ptni_node_session *session,
			const struct ptni_space_open_request *request,
			struct ptni_node_space **space_out)
{
	struct ptni_node_space *space;
	uint32_t slot = 0;
	int ret;

	while (slot < PTNI_SPACES_MAX && allocator->space[slot])
		slot++;
	if (slot == PTNI_SPACES_MAX || allocator->space_generation == UINT32_MAX / PTNI_SPACES_MAX)
		return -ENOSPC;
	ret = creation_charge(allocator, session);
	if (ret)
		return ret;
	ret = space_make(allocator, &space);
	if (ret) {
		ptni_session_charge(session, -(1 << PTNI_PAGE_SHIFT));
		ptni_session_holdings(allocator, session)->spaces--;
		return ret == -EAGAIN || ptni_allocator_hopeful(allocator) ? PTNI_REQUEST_WAIT :
									     ret;
	}
	space->creator = session;
	space->id = ++allocator->space_generation * PTNI_SPACES_MAX + slot;
	allocator->space[slot] = space;
	memcpy(space->name, request->name, sizeof(space->name));
	space->params.kind = request->kind;
	space->params.version = request->version;
	memcpy(space->params.word, request->word, sizeof(request->word));
	*space_out = space;
	return 0;
}

void ptni_space_session_ended(struct ptni_allocator *allocator, struct ptni_node_session *session)
{
	for (uint32_t i = 0; i < PTNI_SPACES_MAX; i++)
		if (allocator->space[i] && allocator->space[i]->creator == session)
			allocator->space[i]->creator = NULL;
}

/* --- users ---------------------------------------------------------------------------------- */

static void user_gone(struct ptni_space_user *user)
{
	struct ptni_node_space *space = user->space;
	struct ptni_chunk *chunk, *next;

	cds_list_for_each_entry_safe(chunk, next, &user->owned, link) {
		ptni_session_charge(user->session, -((int64_t)chunk->pages << PTNI_PAGE_SHIFT));
		chunk->told &= user->whole;
		if (chunk->fresh && user->whole)
			ptni_chunk_free(chunk);
		else
			ptni_chunk_orphan(chunk);
	}
	ptni_waiter_answer(&user->close, 0);
	cds_list_del(&user->link);
	free(user);
	ptni_node_space_check(space);
}

static void user_lease_ended(void *arg, enum ptni_lease_end how, uint32_t release_flags)
{
	struct ptni_user_lease *lease = arg;
	struct ptni_space_user *user = lease->user;
	struct ptni_allocator *allocator = user->space->allocator;

	lease->lease = NULL;
	user->closing = true;
	if (!user->extents.lease && !user->chunks.lease)
		user_gone(user);
	ptni_allocator_account(allocator);
}

static void user_close(struct ptni_space_user *user)
{
	user->closing = true;
	if (user->extents.lease)
		ptni_lease_close(user->extents.lease, PTNI_LEASE_RELEASED);
	if (user->chunks.lease)
		ptni_lease_close(user->chunks.lease, PTNI_LEASE_RELEASED);
}

static int user_open(struct ptni_node_space *space, struct ptni_node_session *session,
		     struct ptni_space_user **user_out)
{
	struct ptni_space_user *user = calloc(1, sizeof(*user));
	int ret;

	if (!user)
		return -ENOMEM;
	user->space = space;
	user->session = session;
	user->extents.user = user->chunks.user = user;
	CDS_INIT_LIST_HEAD(&user->owned);
	ret = ptni_lease_open(session, 0, user_lease_ended, &user->extents, &user->extents.lease);
	if (ret) {
		free(user);
		return ret;
	}
	cds_list_add(&user->link, &space->users);
	ret = ptni_lease_open(session, 0, user_lease_ended, &user->chunks, &user->chunks.lease);
	if (ret) {
		user->chunks.lease = NULL;
		user_close(user);
		return ret;
	}
	*user_out = user;
	return 0;
}

/* --- requests ---------------------------------------------------------------------------------- */

static int open_find(struct ptni_allocator *allocator, struct ptni_node_session *session,
		     const struct ptni_space_open_request *request,
		     struct ptni_node_space **space_out)
{
	struct ptni_node_space *space = find_name(allocator, request->name);

	if (!space)
		return request->flags & PTNI_SPACE_CREATE ?
			       space_create(allocator, session, request, space_out) :
			       -ENOENT;
	if (space->dropping)
		return PTNI_REQUEST_WAIT;
	if (request->flags & PTNI_SPACE_EXCLUSIVE)
		return -EEXIST;
	if (space->params.kind != request->kind)
		return -EINVAL;
	*space_out = space;
	return 0;
}

int ptni_space_open_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message)
{
	const struct ptni_space_open_request *request = (const void *)message;
	struct ptni_node_session *session = ptni_lane_session(lane);
	struct ptni_space_opened reply = { 0 };
	struct ptni_node_space *space;
	struct ptni_space_user *user;
	int ret;

	if (!name_valid(request->name) ||
	    request->flags & ~(uint32_t)(PTNI_SPACE_CREATE | PTNI_SPACE_EXCLUSIVE))
		return -EINVAL;
	ret = open_find(allocator, session, request, &space);
	if (ret)
		return ret;
	user = ptni_space_user_find(space, session);
	if (!user) {
		ret = user_open(space, session, &user);
		if (ret)
			return ret;
	}
	reply.opens = ++user->opens;
	reply.space = space->id;
	reply.kind = space->params.kind;
	reply.version = space->params.version;
	memcpy(reply.word, space->params.word, sizeof(reply.word));
	reply.root_addr = space->root;
	reply.board_addr = space->root + PTNI_BOARD_OFFSET;
	ptni_node_reply(lane, message, 0, &reply, sizeof(reply));
	return 0;
}

int ptni_space_close_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			    const struct ptni_message *message)
{
	const struct ptni_space_request *request = (const void *)message;
	struct ptni_node_space *space = ptni_space_find(allocator, request->space);
	struct ptni_space_user *user =
		space ? ptni_space_user_find(space, ptni_lane_session(lane)) : NULL;

	if (!user)
		return -ENOENT;
	if (user->opens != request->opens)
		return -EBUSY;
	ptni_waiter_set(&user->close, lane, message);
	user->whole = request->whole;
	user_close(user);
	return 0;
}

void ptni_node_space_check(struct ptni_node_space *space)
{
	struct ptni_waiter drop = space->drop;

	if (!space->dropping || !cds_list_empty(&space->users) || space->puttings)
		return;
	for (uint32_t i = 0; i < space->order_count; i++)
		if (space->allocator->extent[space->order[i]].pending)
			return;
	ptni_node_space_free(space);
	ptni_waiter_answer(&drop, 0);
}

int ptni_space_drop_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message)
{
	const struct ptni_space_drop_request *request = (const void *)message;
	struct ptni_node_space *space;
	struct ptni_space_user *user, *next;

	if (!name_valid(request->name))
		return -EINVAL;
	space = find_name(allocator, request->name);
	if (!space || space->dropping)
		return space ? PTNI_REQUEST_WAIT : -ENOENT;
	cds_list_for_each_entry(user, &space->users, link)
		if (user->session != ptni_lane_session(lane))
			return -EBUSY;
	space->dropping = true;
	ptni_waiter_set(&space->drop, lane, message);
	cds_list_for_each_entry_safe(user, next, &space->users, link)
		user_close(user);
	ptni_node_space_check(space);
	return 0;
}

int ptni_space_info_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message)
{
	const struct ptni_space_request *request = (const void *)message;
	struct ptni_node_space *space = ptni_space_find(allocator, request->space);
	struct ptni_space_info reply = { 0 };
	struct ptni_space_user *user;

	if (!space || !ptni_space_user_find(space, ptni_lane_session(lane)))
		return -ENOENT;
	reply.extent_bytes = (uint64_t)space->set.count << allocator->extent_shift;
	reply.chunk_bytes = space->chunk_bytes;
	reply.orphans = space->orphans;
	cds_list_for_each_entry(user, &space->users, link)
		reply.users++;
	ptni_node_reply(lane, message, 0, &reply, sizeof(reply));
	return 0;
}
