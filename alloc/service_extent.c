/* SPDX-License-Identifier: MIT */
/*
 * Windows on the extents of a space, and the way back of extents that became empty.
 *
 *   LIVE ── no chunk left ──► EMPTY ── announced on the board ──► ANNOUNCED ── horizon > tag ──►
 *        ◄── a chunk came ──┘  (after a rest, or when somebody waits)           WITHDRAWN ──► free
 *
 * A session that reported an epoch later than the announcement's has dropped its windows of the
 * extent before it reported, so the withdrawal meets no access of an honest client; the windows are
 * invalidated all the same before the extent changes hands.
 *
 * A client that dies or sleeps holds the horizon back until it is fenced, no longer. Windows granted
 * to it end with its leases.
 */
#include "alloc/service.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* First place in space->order whose extent joined after `seq`. */
static uint32_t order_after(const struct ptni_node_space *space, uint32_t seq)
{
	uint32_t low = 0, high = space->order_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (space->allocator->extent[space->order[mid]].seq > seq)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

static bool grantable(const struct ptni_extent_info *info)
{
	return info->phase == PTNI_EXTENT_LIVE || info->phase == PTNI_EXTENT_EMPTY;
}

static int windows_fill(struct ptni_node_space *space, struct ptni_grant *grant,
			const struct ptni_space_windows_request *request,
			struct ptni_space_windows_reply *reply)
{
	struct ptni_allocator *allocator = space->allocator;
	uint32_t at = order_after(space, request->after_seq);
	int ret = 0;

	for (; !ret && at < space->order_count && reply->count < request->count; at++) {
		uint32_t extent = space->order[at];
		struct ptni_extent_grant *place = &reply->extent[reply->count];

		if (!grantable(&allocator->extent[extent]))
			continue;
		place->extent = extent;
		place->seq = allocator->extent[extent].seq;
		ret = ptni_grant_window(grant, ptni_extent_addr(allocator->map, extent),
					UINT64_C(1) << allocator->extent_shift,
					IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC,
					request->tag[reply->count], &place->window);
		reply->count++;
	}
	reply->more = at < space->order_count;
	return ret;
}

int ptni_space_windows_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			      const struct ptni_message *message)
{
	const struct ptni_space_windows_request *request = (const void *)message;
	struct ptni_node_space *space = ptni_space_find(allocator, request->space);
	struct ptni_space_user *user =
		space ? ptni_space_user_find(space, ptni_lane_session(lane)) : NULL;
	struct ptni_space_windows_reply reply = { 0 };
	struct ptni_grant *grant;
	int ret;

	if (!request->count || request->count > PTNI_SPACE_WINDOWS_MAX)
		return -EINVAL;
	if (!user)
		return -ENOENT;
	ret = ptni_grant_begin(lane, message, user->extents.lease, &grant);
	if (ret)
		return ret;
	ret = windows_fill(space, grant, request, &reply);
	ptni_grant_reply(grant, ret, &reply,
			 offsetof(struct ptni_space_windows_reply, extent) +
				 reply.count * sizeof(reply.extent[0]));
	return 0;
}

/* --- the way back --------------------------------------------------------------------------- */

void ptni_extent_consider(struct ptni_allocator *allocator, uint32_t extent)
{
	struct ptni_extent_info *info = &allocator->extent[extent];

	if (info->phase != PTNI_EXTENT_LIVE || !ptni_extent_empty(allocator->map, extent))
		return;
	info->phase = PTNI_EXTENT_EMPTY;
	info->empty_ns = ptni_node_now_ns(allocator->node);
	cds_list_add_tail(&info->link, &allocator->leaving);
}

void ptni_extent_forget(struct ptni_extent_info *info)
{
	if (info->phase != PTNI_EXTENT_LIVE)
		cds_list_del(&info->link);
	if (info->phase == PTNI_EXTENT_ANNOUNCED || info->phase == PTNI_EXTENT_WITHDRAWN)
		info->space->closings--;
	info->phase = PTNI_EXTENT_LIVE;
	info->space = NULL;
}

static void announce(struct ptni_allocator *allocator, struct ptni_extent_info *info)
{
	struct ptni_space_board *board = info->space->board;
	uint32_t extent = (uint32_t)(info - allocator->extent);
	_Atomic uint64_t *closings = (_Atomic uint64_t *)&board->closings;
	uint64_t number = atomic_load_explicit(closings, memory_order_relaxed);

	ptni_extent_set_close(allocator->map, extent);
	info->space->closings++;
	atomic_store_explicit((_Atomic uint64_t *)&board->closing[number % PTNI_CLOSINGS_MAX],
			      (uint64_t)info->seq << 32 | extent, memory_order_release);
	atomic_store_explicit(closings, number + 1, memory_order_release);
	info->tag = ptni_node_epoch(allocator->node);
	info->phase = PTNI_EXTENT_ANNOUNCED;
	ptni_node_want_epoch(allocator->node);
}

static void extent_gone(struct ptni_extent_info *info)
{
	struct ptni_allocator *allocator = info->allocator;
	struct ptni_node_space *space = info->space;
	uint32_t extent = (uint32_t)(info - allocator->extent);
	uint32_t at = order_after(space, info->seq) - 1;

	memmove(&space->order[at], &space->order[at + 1],
		(space->order_count - at - 1) * sizeof(*space->order));
	space->order_count--;
	ptni_extent_forget(info);
	ptni_extent_set_shrink(allocator->map, extent);
	ptni_node_space_check(space);
	ptni_allocator_account(allocator);
}

static void withdrawn(void *arg)
{
	struct ptni_extent_info *info = arg;

	if (--info->pending == 0 && info->phase == PTNI_EXTENT_WITHDRAWN)
		extent_gone(info);
}

/* From every session that has a lease on extents; those that close meanwhile lose theirs anyway. */
static void withdraw(struct ptni_allocator *allocator, struct ptni_extent_info *info)
{
	uint64_t addr = ptni_extent_addr(allocator->map, (uint32_t)(info - allocator->extent));
	struct ptni_space_user *user;

	info->phase = PTNI_EXTENT_WITHDRAWN;
	info->pending = 1;
	cds_list_for_each_entry(user, &info->space->users, link) {
		if (!user->extents.lease)
			continue;
		if (ptni_lease_withdraw(user->extents.lease, addr,
					UINT64_C(1) << allocator->extent_shift, withdrawn, info)) {
			info->phase =
				PTNI_EXTENT_ANNOUNCED; /* out of memory: at the next tick again */
			continue;
		}
		info->pending++;
	}
	if (info->phase == PTNI_EXTENT_ANNOUNCED)
		info->pending--; /* what was begun goes on; see ptni_extents_step */
	else
		withdrawn(info);
}

void ptni_extents_step(struct ptni_allocator *allocator, uint64_t horizon)
{
	uint64_t now_ns = ptni_node_now_ns(allocator->node);
	bool hurry = !cds_list_empty(&allocator->waiters);
	struct ptni_extent_info *info, *next;

	cds_list_for_each_entry_safe(info, next, &allocator->leaving, link) {
		uint32_t extent = (uint32_t)(info - allocator->extent);

		if (info->phase == PTNI_EXTENT_EMPTY) {
			if (!ptni_extent_empty(allocator->map, extent)) {
				info->phase = PTNI_EXTENT_LIVE;
				cds_list_del(&info->link);
			} else if (info->space->closings < PTNI_CLOSINGS_MAX &&
				   (hurry || ptni_clock_since_ns(now_ns, info->empty_ns) >=
						     PTNI_EXTENT_REST_NS)) {
				announce(allocator, info);
			}
		} else if (info->phase == PTNI_EXTENT_ANNOUNCED && horizon > info->tag &&
			   !info->pending) {
			withdraw(allocator, info);
		}
	}
}
