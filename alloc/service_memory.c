/* SPDX-License-Identifier: MIT */
/*
 * The standalone allocator's node side (include/patronus/memory.h).
 *
 *   memory   HELD ── first lease ends: expired, revoked, fenced, released without keeping ──► FREEING
 *             │ first lease released, memory kept                                              ▲
 *             │ given (service_offer.c): every lease ends, the memory waits for another owner
 *             └──► KEPT ── MEMORY_FREE, its session ended ──────────────────────────────────────┘
 *            FREEING: every other lease on it is closed; the last ended() gives the pages back
 *
 * What is handed out is zero: the extent map zeroes pages when they come back, piece by piece.
 *
 * The client dies or sleeps
 *   before ALLOC or ACQUIRE are answered: the lease runs out by itself.
 *   with a lease: likewise; what it kept goes when its session ends.
 *   before FREE is answered: it is freed all the same.
 * The NIC does not bind the window, so that the client is told or finds that its request has failed: the lease is
 *   closed, and with the first one the memory goes.
 */
#include "alloc/service.h"

#include "core/base/planted.h"

#include <assert.h>
#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
	ACCESS_ALL = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC
};

uint64_t ptni_node_memory_bytes(const struct ptni_node_memory *memory)
{
	return memory->pages << PTNI_MEMORY_PAGE_SHIFT;
}

/* Extents that the allocation reaches into, after its first. */
static void span_mark(struct ptni_node_memory *memory, struct ptni_node_memory *value)
{
	struct ptni_allocator *allocator = memory->allocator;
	uint32_t first = ptni_extent_of(allocator->map, memory->addr);
	uint32_t last =
		ptni_extent_of(allocator->map, memory->addr + ptni_node_memory_bytes(memory) - 1);

	for (uint32_t i = first + 1; i <= last; i++)
		allocator->extent[i].span = value;
}

static void memory_gone(struct ptni_node_memory *memory)
{
	struct ptni_allocator *allocator = memory->allocator;

	span_mark(memory, NULL);
	cds_list_del(&memory->link);
	if (memory->session) {
		cds_list_del(&memory->session_link);
		ptni_session_charge(memory->session, -(int64_t)ptni_node_memory_bytes(memory));
	}
	ptni_extent_run_give(allocator->map, memory->addr, memory->pages);
	(void)ptni_extent_map_clean(allocator->map, PTNI_CLEAN_NOW_BYTES);
	ptni_allocator_account(allocator);
	ptni_waiter_answer(&memory->waiter, 0);
	ptni_waiter_answer(&memory->give, -ENOENT);
	free(memory);
}

void ptni_node_memory_free(struct ptni_node_memory *memory)
{
	struct ptni_memory_lease *lease;

	if (!memory->freeing) {
		memory->freeing = true;
		cds_list_for_each_entry(lease, &memory->leases, link)
			if (lease->lease)
				ptni_lease_close(lease->lease, PTNI_LEASE_REVOKED);
		if (memory->offer)
			ptni_lease_close(memory->offer->lease, PTNI_LEASE_REVOKED);
	}
	if (cds_list_empty(&memory->leases) && !memory->offer)
		memory_gone(memory);
}

/* None of the accesses of that lease can land any more. */
static void lease_ended(void *arg, enum ptni_lease_end how, uint32_t release_flags)
{
	struct ptni_memory_lease *lease = arg;
	struct ptni_node_memory *memory = lease->memory;
	bool keep = how == PTNI_LEASE_RELEASED && release_flags & PTNI_RELEASE_KEEP_MEMORY;
	bool first = lease->first;

	cds_list_del(&lease->link);
	free(lease);
	if (ptni_planted(PTNI_BUG_LEASE_LEAK) && how == PTNI_LEASE_EXPIRED)
		return;
	if (memory->freeing || (first && !keep && !memory->offer))
		ptni_node_memory_free(memory);
	else
		ptni_memory_offer_check(memory);
}

struct ptni_node_memory *ptni_node_memory_find(struct ptni_allocator *allocator, uint64_t addr)
{
	uint32_t extent = ptni_extent_of(allocator->map, addr);
	struct ptni_node_memory *memory;

	if (extent == PTNI_EXTENT_NONE)
		return NULL;
	memory = allocator->extent[extent].span;
	if (memory && addr - memory->addr < ptni_node_memory_bytes(memory))
		return memory;
	cds_list_for_each_entry(memory, &allocator->extent[extent].memories, link)
		if (addr - memory->addr < ptni_node_memory_bytes(memory))
			return memory;
	return NULL;
}

/* --- alloc -------------------------------------------------------------------------------------- */

static int pages_take(struct ptni_allocator *allocator, uint64_t pages, uint64_t *addr_out)
{
	uint32_t per_extent = 1u << (allocator->extent_shift - PTNI_MEMORY_PAGE_SHIFT);
	uint32_t extent;
	int ret;

	if (pages > per_extent)
		return ptni_extent_span_take(allocator->map, &allocator->memory, pages, addr_out);
	ret = ptni_extent_run_take(allocator->map, &allocator->memory, (uint32_t)pages, 1,
				   addr_out);
	if (ret != -ENOMEM)
		return ret;
	ret = ptni_extent_set_grow(allocator->map, &allocator->memory, &extent);
	return ret ? ret :
		     ptni_extent_run_take(allocator->map, &allocator->memory, (uint32_t)pages, 1,
					  addr_out);
}

static int secret_take(struct ptni_allocator *allocator, uint64_t *secret_out)
{
	if (!allocator->random_left) {
		if (getrandom(allocator->random, sizeof(allocator->random), 0) !=
		    sizeof(allocator->random))
			return -EIO;
		allocator->random_left = PTNI_RANDOM_WORDS;
	}
	*secret_out = allocator->random[--allocator->random_left];
	return 0;
}

static int memory_make(struct ptni_allocator *allocator, struct ptni_node_session *session,
		       uint64_t len_bytes, struct ptni_node_memory **memory_out)
{
	struct ptni_session_holdings *holdings = ptni_session_holdings(allocator, session);
	struct ptni_node_memory *memory = calloc(1, sizeof(*memory));
	int ret;

	if (!memory || !holdings) {
		free(memory);
		return -ENOMEM;
	}
	memory->allocator = allocator;
	memory->session = session;
	memory->len_bytes = len_bytes;
	memory->pages = (len_bytes + (1 << PTNI_MEMORY_PAGE_SHIFT) - 1) >> PTNI_MEMORY_PAGE_SHIFT;
	CDS_INIT_LIST_HEAD(&memory->leases);
	ret = secret_take(allocator, &memory->secret);
	if (!ret)
		ret = ptni_allocator_charge(allocator, session, ptni_node_memory_bytes(memory));
	if (!ret) {
		ret = pages_take(allocator, memory->pages, &memory->addr);
		if (ret)
			ptni_session_charge(session, -(int64_t)ptni_node_memory_bytes(memory));
	}
	if (ret) {
		free(memory);
		return ret;
	}
	memory->id = ++allocator->memory_ids;
	span_mark(memory, memory);
	cds_list_add(&memory->link,
		     &allocator->extent[ptni_extent_of(allocator->map, memory->addr)].memories);
	cds_list_add(&memory->session_link, &holdings->memories);
	*memory_out = memory;
	return 0;
}

static void grant_lost(void *arg, uint64_t addr, uint64_t id)
{
	struct ptni_node_memory *memory = ptni_node_memory_find(arg, addr);
	struct ptni_memory_lease *lease;

	if (!memory)
		return;
	cds_list_for_each_entry(lease, &memory->leases, link)
		if (lease->grant == id && lease->lease)
			ptni_lease_close(lease->lease, PTNI_LEASE_REVOKED);
}

int ptni_node_memory_grant(struct ptni_node_memory *memory, struct ptni_node_lane *lane,
			   const struct ptni_message *message, struct ptni_window_grant wanted,
			   uint64_t term_ns, bool first)
{
	struct ptni_memory_granted reply = { 0 };
	struct ptni_memory_lease *lease = calloc(1, sizeof(*lease));
	struct ptni_grant *grant;
	int ret;

	if (!lease)
		return -ENOMEM;
	lease->memory = memory;
	ret = ptni_lease_open(ptni_lane_session(lane), term_ns, lease_ended, lease, &lease->lease);
	if (ret) {
		free(lease);
		return ret;
	}
	cds_list_add(&lease->link, &memory->leases);
	ret = ptni_grant_begin(lane, message, lease->lease, &grant);
	if (ret) {
		ptni_lease_close(lease->lease, PTNI_LEASE_REVOKED);
		return ret;
	}
	reply.id = memory->id;
	reply.secret = memory->secret;
	reply.addr = wanted.addr;
	reply.len_bytes = wanted.len_bytes;
	ptni_lease_describe(lease->lease, &reply.lease);
	if (wanted.tag != PTNI_TAG_NONE)
		ret = ptni_grant_window(grant, wanted.addr, wanted.len_bytes, wanted.access,
					wanted.tag, &reply.window);
	lease->first = first && !ret;
	lease->grant = ++memory->allocator->grants;
	ptni_grant_watch(grant, grant_lost, memory->allocator, memory->addr, lease->grant);
	ptni_grant_reply(grant, ret, &reply, sizeof(reply));
	if (ret)
		ptni_lease_close(lease->lease, PTNI_LEASE_REVOKED);
	return ret != 0;
}

bool ptni_memory_term_valid(const struct ptni_allocator *allocator, uint64_t term_ns)
{
	return term_ns >= PTNI_MEMORY_TERM_MIN_NS &&
	       term_ns <= ptni_node_options(allocator->node)->term_max_ns;
}

int ptni_memory_alloc_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			     const struct ptni_message *message)
{
	const struct ptni_memory_alloc_request *request = (const void *)message;
	struct ptni_node_memory *memory;
	int ret;

	if (!request->len_bytes || request->len_bytes > PTNI_MEMORY_LEN_MAX ||
	    !ptni_memory_term_valid(allocator, request->term_ns))
		return -EINVAL;
	ret = memory_make(allocator, ptni_lane_session(lane), request->len_bytes, &memory);
	if (ret == -EAGAIN || (ret == -ENOMEM && ptni_allocator_hopeful(allocator)))
		return PTNI_REQUEST_WAIT;
	if (ret)
		return ret;
	ret = ptni_node_memory_grant(memory, lane, message,
				     (struct ptni_window_grant){ .addr = memory->addr,
								 .len_bytes = request->len_bytes,
								 .access = ACCESS_ALL,
								 .tag = request->tag },
				     request->term_ns, true);
	if (ret)
		ptni_node_memory_free(memory);
	return ret < 0 ? ret : 0;
}

int ptni_memory_acquire_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			       const struct ptni_message *message)
{
	const struct ptni_memory_acquire_request *request = (const void *)message;
	struct ptni_node_memory *memory = ptni_node_memory_find(allocator, request->addr);
	int ret;

	if (!request->access || request->access & ~(uint32_t)ACCESS_ALL || !request->len_bytes ||
	    !ptni_memory_term_valid(allocator, request->term_ns))
		return -EINVAL;
	if (!memory || memory->freeing || request->secret != memory->secret ||
	    request->addr - memory->addr >= memory->len_bytes)
		return -ENOENT;
	if (request->len_bytes > memory->len_bytes - (request->addr - memory->addr))
		return -EINVAL;
	if (memory->offer)
		return PTN_E_LEASE_CONFLICT;
	ret = ptni_node_memory_grant(memory, lane, message,
				     (struct ptni_window_grant){ .addr = request->addr,
								 .len_bytes = request->len_bytes,
								 .access = request->access,
								 .tag = request->tag },
				     request->term_ns, false);
	return ret < 0 ? ret : 0;
}

int ptni_memory_free_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			    const struct ptni_message *message)
{
	const struct ptni_memory_free_request *request = (const void *)message;
	struct ptni_node_memory *memory = ptni_node_memory_find(allocator, request->addr);

	if (!memory || memory->id != request->id) {
		struct ptni_message reply = { 0 };

		ptni_node_reply(lane, message, 0, &reply, sizeof(reply));
		return 0;
	}
	if (memory->session != ptni_lane_session(lane))
		return -EPERM;
	if (memory->waiter.lane)
		return PTNI_REQUEST_WAIT;
	ptni_waiter_set(&memory->waiter, lane, message);
	ptni_node_memory_free(memory);
	return 0;
}

/* Its leases have ended; what it kept is left, and what others still hold a lease on. */
void ptni_memory_session_ended(struct ptni_allocator *allocator, struct ptni_node_session *session)
{
	struct ptni_session_holdings *holdings = ptni_session_state(session, allocator);
	struct ptni_node_memory *memory, *next;

	if (!holdings)
		return;
	cds_list_for_each_entry_safe(memory, next, &holdings->memories, session_link) {
		cds_list_del(&memory->session_link);
		ptni_session_charge(session, -(int64_t)ptni_node_memory_bytes(memory));
		memory->session = NULL;
		ptni_node_memory_free(memory);
	}
}

void ptni_memory_close(struct ptni_allocator *allocator)
{
	for (uint32_t i = 0; i < ptni_extent_map_count(allocator->map); i++) {
		struct ptni_node_memory *memory, *next;

		cds_list_for_each_entry_safe(memory, next, &allocator->extent[i].memories, link)
			free(memory);
	}
}
