/* SPDX-License-Identifier: MIT */
/*
 * Chunks.
 *
 *   pages ── CHUNK_GET ──► owned ── CHUNK_PUT ──► putting ── window invalidated ──► pages
 *     orphan ── CHUNK_GET ──►│                       └── with PTNI_CHUNK_LEFT ──► orphan
 *       ▲── user's leases ended (close, drop, fence) ─┘
 *
 * The client dies or sleeps
 *   before CHUNK_GET is answered: the chunk is owned; with the session's end it is an orphan, its
 *     free words zeroed, none of its blocks reachable. A client that closes the space says so (`whole`),
 *     and it is as if it had never been asked for.
 *   before CHUNK_PUT: likewise an orphan. While it is putting: the invalidation goes on and the
 *     pages are freed (or it is an orphan), once, here.
 *   while it adopts: an orphan again; nothing about the scan is kept.
 * The NIC does not bind the window, so that the client is told or finds that its request has failed: the chunk
 *   goes back as it came.
 */
#include "alloc/service.h"

#include "core/base/planted.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

static int64_t bytes_of(const struct ptni_chunk *chunk)
{
	return (int64_t)chunk->pages << PTNI_PAGE_SHIFT;
}

static struct ptni_chunk **place_of(struct ptni_allocator *allocator, uint64_t addr)
{
	uint64_t offset = addr - allocator->region;
	uint64_t count = (uint64_t)ptni_extent_map_count(allocator->map)
			 << (allocator->extent_shift - PTNI_PAGE_SHIFT);

	if (offset >> PTNI_PAGE_SHIFT >= count || offset % (1 << PTNI_PAGE_SHIFT))
		return NULL;
	return &allocator->chunk_at[offset >> PTNI_PAGE_SHIFT];
}

struct ptni_chunk *ptni_chunk_at(struct ptni_allocator *allocator, uint64_t addr)
{
	struct ptni_chunk **place = place_of(allocator, addr);

	return place ? *place : NULL;
}

void ptni_chunk_free(struct ptni_chunk *chunk)
{
	struct ptni_node_space *space = chunk->space;
	struct ptni_allocator *allocator = space->allocator;

	cds_list_del(&chunk->link);
	*place_of(allocator, chunk->addr) = NULL;
	space->chunk_bytes -= (uint64_t)bytes_of(chunk);
	ptni_extent_run_give(allocator->map, chunk->addr, chunk->pages);
	ptni_extent_consider(allocator, ptni_extent_of(allocator->map, chunk->addr));
	free(chunk);
}

/* --- get ------------------------------------------------------------------------------------ */

static int pages_take(struct ptni_node_space *space, uint32_t pages, uint32_t align_pages,
		      uint64_t *addr_out)
{
	struct ptni_extent_map *map = space->allocator->map;
	int ret = ptni_extent_run_take(map, &space->set, pages, align_pages, addr_out);

	if (ret != -ENOMEM)
		return ret;
	ret = ptni_node_space_grow(space);
	return ret ? ret : ptni_extent_run_take(map, &space->set, pages, align_pages, addr_out);
}

/* Nobody points here yet; relaxed stores, since the NIC may have been here in another thread. */
static void free_words_zero(const struct ptni_slab_layout *layout, uint64_t addr, uint32_t slabs)
{
	for (uint32_t i = 0; i < slabs; i++) {
		_Atomic uint64_t *word =
			(_Atomic uint64_t *)(uintptr_t)(addr + (uint64_t)i * layout->slab_bytes);

		for (uint32_t j = 0; j < layout->first / sizeof(uint64_t); j++)
			atomic_store_explicit(&word[j], 0, memory_order_relaxed);
	}
}

/* A chunk of fresh pages, fewer slabs when there is no room for all. */
static int chunk_make(struct ptni_node_space *space, unsigned block_class, uint32_t slabs,
		      struct ptni_chunk **chunk_out)
{
	struct ptni_allocator *allocator = space->allocator;
	const struct ptni_slab_layout *layout = &allocator->layout[block_class];
	struct ptni_chunk *chunk = calloc(1, sizeof(*chunk));
	int ret;

	if (!chunk)
		return -ENOMEM;
	for (;; slabs /= 2) {
		ret = pages_take(space, slabs * ptni_slab_pages(layout),
				 ptni_slab_align_pages(layout), &chunk->addr);
		if (!ret || slabs == 1)
			break;
	}
	if (ret) {
		free(chunk);
		return ret;
	}
	chunk->space = space;
	chunk->pages = slabs * ptni_slab_pages(layout);
	chunk->block_class = (uint16_t)block_class;
	chunk->slabs = (uint16_t)slabs;
	CDS_INIT_LIST_HEAD(&chunk->link);
	*place_of(allocator, chunk->addr) = chunk;
	space->chunk_bytes += (uint64_t)bytes_of(chunk);
	free_words_zero(layout, chunk->addr, slabs);
	*chunk_out = chunk;
	return 0;
}

/* Only if planted: a chunk that was adopted already. */
static struct ptni_chunk *orphan_again(struct ptni_node_space *space,
				       const struct ptni_chunk_get_request *request)
{
	uint64_t addr = ptni_planted(PTNI_BUG_ORPHAN_TWICE) ? ptni_planted_kept(space) : 0;
	struct ptni_chunk *chunk = addr ? ptni_chunk_at(space->allocator, addr) : NULL;

	return chunk && chunk->user && !chunk->putting && chunk->space == space &&
			       chunk->block_class == request->block_class ?
		       chunk :
		       NULL;
}

/* Told orphans first, then fresh memory, then whatever there is. */
static int chunk_find(struct ptni_node_space *space, const struct ptni_chunk_get_request *request,
		      struct ptni_chunk **chunk_out, bool *adopted_out)
{
	struct ptni_chunk *chunk = ptni_orphan_find(space, request->block_class, request->flags);
	int ret = 0;

	if (orphan_again(space, request)) {
		*chunk_out = orphan_again(space, request);
		*adopted_out = true;
		ptni_planted_keep(space, 0);
		return 0;
	}
	if (!chunk && request->flags & PTNI_CHUNK_ORPHAN)
		return -ENOENT;
	*adopted_out = chunk != NULL;
	if (!chunk) {
		ret = chunk_make(space, request->block_class, request->slabs, chunk_out);
		if (!ret)
			return 0;
		chunk = ptni_orphan_find_any(space, request->block_class);
	}
	if (!chunk)
		return ptni_allocator_hopeful(space->allocator) ? PTNI_REQUEST_WAIT : ret;
	ptni_orphan_leave(chunk);
	if (ptni_planted(PTNI_BUG_ORPHAN_TWICE))
		ptni_planted_keep(space, chunk->addr);
	*adopted_out = true;
	*chunk_out = chunk;
	return 0;
}

static void chunk_back(struct ptni_chunk *chunk, bool adopted)
{
	if (adopted)
		ptni_chunk_orphan(chunk);
	else
		ptni_chunk_free(chunk);
}

static void grant_lost(void *arg, uint64_t addr, uint64_t id);

/* 0 granted, 1 refused and answered, < 0 refused. */
static int chunk_grant(struct ptni_chunk *chunk, struct ptni_space_user *user,
		       struct ptni_node_lane *lane, const struct ptni_message *message,
		       bool adopted)
{
	const struct ptni_chunk_get_request *request = (const void *)message;
	struct ptni_chunk_got reply = { 0 };
	struct ptni_grant *grant;
	int ret;

	ret = ptni_grant_begin(lane, message, user->chunks.lease, &grant);
	if (ret)
		return ret;
	reply.addr = chunk->addr;
	reply.block_class = chunk->block_class;
	reply.slabs = chunk->slabs;
	reply.flags = (adopted ? PTNI_CHUNK_ADOPTED : 0) | (chunk->told ? PTNI_CHUNK_TOLD : 0);
	reply.orphans = ptni_orphans_useful(chunk->space);
	if (request->tag != PTNI_TAG_NONE)
		ret = ptni_grant_window(grant, chunk->addr, (uint64_t)bytes_of(chunk),
					IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
					request->tag, &reply.window);
	if (!ret) {
		chunk->user = user;
		chunk->fresh = !adopted;
		chunk->grant = ++chunk->space->allocator->grants;
		ptni_grant_watch(grant, grant_lost, chunk->space->allocator, chunk->addr,
				 chunk->grant);
		cds_list_del(&chunk->link);
		cds_list_add(&chunk->link, &user->owned);
	}
	ptni_grant_reply(grant, ret, &reply, sizeof(reply));
	return ret ? 1 : 0;
}

int ptni_chunk_get_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			  const struct ptni_message *message)
{
	const struct ptni_chunk_get_request *request = (const void *)message;
	struct ptni_node_space *space = ptni_space_find(allocator, request->space);
	struct ptni_node_session *session = ptni_lane_session(lane);
	struct ptni_space_user *user = space ? ptni_space_user_find(space, session) : NULL;
	const struct ptni_slab_layout *layout;
	struct ptni_chunk *chunk;
	int64_t bytes;
	bool adopted;
	int ret;

	if (request->block_class >= PTNI_BLOCK_CLASSES)
		return -EINVAL;
	layout = &allocator->layout[request->block_class];
	if (!layout->slab_bytes)
		return -E2BIG;
	if (!request->slabs ||
	    request->slabs > ptni_slab_chunk_max(layout, allocator->extent_shift))
		return -EINVAL;
	if (!user)
		return -ENOENT;
	ret = chunk_find(space, request, &chunk, &adopted);
	if (ret)
		return ret;
	bytes = bytes_of(chunk);
	ret = ptni_allocator_charge(allocator, session, (uint64_t)bytes);
	if (!ret) {
		ret = chunk_grant(chunk, user, lane, message, adopted);
		if (!ret)
			return 0;
		ptni_session_charge(session, -bytes);
	}
	chunk_back(chunk, adopted);
	return ret < 0 ? ret : 0;
}

/* --- put ---------------------------------------------------------------------------------------- */

static void putting_done(struct ptni_chunk_putting *putting)
{
	struct ptni_waiter waiter = { .lane = putting->lane, .message = putting->message };
	int status = putting->status;

	if (--putting->pending)
		return;
	free(putting);
	ptni_waiter_answer(&waiter, status);
}

/* No window on the chunk is left. */
static void chunk_withdrawn(void *arg)
{
	struct ptni_chunk *chunk = arg;
	struct ptni_chunk_putting *putting = chunk->putting;
	struct ptni_node_space *space = chunk->space;

	if (putting->lane)
		ptni_session_charge(ptni_lane_session(putting->lane), -bytes_of(chunk));
	chunk->told = putting->told;
	if (putting->left)
		ptni_chunk_orphan(chunk);
	else
		ptni_chunk_free(chunk);
	space->puttings--;
	putting->allocator->puttings--;
	ptni_allocator_account(putting->allocator);
	putting_done(putting);
	ptni_node_space_check(space);
}

/* The chunks named, all owned by the user and each once; or -EINVAL and nothing changed. */
static int put_find(struct ptni_allocator *allocator, const struct ptni_chunk_put_request *request,
		    struct ptni_space_user *user, struct ptni_chunk_putting *putting,
		    struct ptni_chunk **chunk)
{
	uint32_t found = 0;

	while (found < request->count) {
		struct ptni_chunk **place = place_of(allocator, request->addr[found]);

		if (!place || !*place || (*place)->user != user || (*place)->putting)
			break;
		chunk[found] = *place;
		chunk[found++]->putting = putting;
	}
	if (found == request->count)
		return 0;
	while (found)
		chunk[--found]->putting = NULL;
	return -EINVAL;
}

static void put_begin(struct ptni_chunk *chunk, struct ptni_chunk_putting *putting)
{
	struct ptni_space_user *user = chunk->user;
	int ret = ptni_lease_withdraw(user->chunks.lease, chunk->addr, (uint64_t)bytes_of(chunk),
				      chunk_withdrawn, chunk);

	if (ret) { /* stays owned; the client may ask again */
		putting->status = ret;
		chunk->putting = NULL;
		chunk->fresh = chunk->told = false; /* its user may have forgotten it */
		return;
	}
	putting->pending++;
	chunk->user = NULL;
	chunk->space->puttings++;
	putting->allocator->puttings++;
	cds_list_del(&chunk->link);
	CDS_INIT_LIST_HEAD(&chunk->link);
}

/*
 * Nobody waits for the answer, and the session may be gone before the windows are: it stops paying at once. A
 * chunk that its user has given back since, or has got anew, is none of this grant's.
 */
static void grant_lost(void *arg, uint64_t addr, uint64_t id)
{
	struct ptni_allocator *allocator = arg;
	struct ptni_chunk *chunk = ptni_chunk_at(allocator, addr);
	struct ptni_chunk_putting *putting;
	struct ptni_node_session *session;

	if (!chunk || chunk->grant != id || !chunk->user || chunk->putting ||
	    !chunk->user->chunks.lease)
		return;
	putting = calloc(1, sizeof(*putting));
	if (!putting)
		return; /* its user's until that one closes the space */
	putting->allocator = allocator;
	putting->left = !chunk->fresh;
	putting->told = chunk->told;
	putting->pending = 1;
	session = chunk->user->session;
	chunk->putting = putting;
	put_begin(chunk, putting);
	if (chunk->putting)
		ptni_session_charge(session, -bytes_of(chunk));
	putting_done(putting);
}

int ptni_chunk_put_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			  const struct ptni_message *message)
{
	const struct ptni_chunk_put_request *request = (const void *)message;
	struct ptni_node_space *space = ptni_space_find(allocator, request->space);
	struct ptni_space_user *user =
		space ? ptni_space_user_find(space, ptni_lane_session(lane)) : NULL;
	struct ptni_chunk *chunk[PTNI_CHUNK_PUT_MAX];
	struct ptni_chunk_putting *putting;

	if (!request->count || request->count > PTNI_CHUNK_PUT_MAX ||
	    request->flags & ~(uint32_t)(PTNI_CHUNK_LEFT | PTNI_CHUNK_TOLD))
		return -EINVAL;
	if (!user)
		return -ENOENT;
	putting = calloc(1, sizeof(*putting));
	if (!putting)
		return -ENOMEM;
	putting->allocator = allocator;
	putting->lane = lane;
	putting->message = message;
	putting->left = request->flags & PTNI_CHUNK_LEFT;
	putting->told = putting->left && request->flags & PTNI_CHUNK_TOLD;
	putting->pending = 1;
	if (put_find(allocator, request, user, putting, chunk)) {
		free(putting);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < request->count; i++)
		put_begin(chunk[i], putting);
	putting_done(putting);
	return 0;
}
