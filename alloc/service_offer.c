/* SPDX-License-Identifier: MIT */
/*
 * Hand-over: memory goes from one session to another, and no moment passes in which both can reach it.
 *
 *   HELD, KEPT ── MEMORY_GIVE ──► every lease on it is closed ──► READY ── MEMORY_CLAIM ──► HELD by the claimer
 *                                   windows invalid, waited for     │ the offer's term ends, the giver's
 *                                   then the ticket is told         │ session ends, the giver frees it
 *                                                                   └──► FREEING
 *
 * 1. The ticket is told when the last access of the last lease can no longer land; the claimer's window is
 *    bound after that, because nobody can claim without the ticket.
 * 2. One claim succeeds. A claim that is refused leaves the offer as it was. One whose window the NIC then does
 *    not bind has taken the memory, which is freed.
 * 3. Until then the memory is the giver's: its quota pays, its session's end frees it, and so may it by any
 *    handle that it has left: a claim that comes later finds nothing, one that came before leaves it no right.
 *    The offer lives on a lease of the giver's session, so it ends in time whoever dies. Afterwards it is the
 *    claimer's as if allocated by it.
 *
 * The client dies or sleeps
 *   the giver before GIVE is answered: given or not, its session's end frees the memory.
 *   the giver after that, before a claim: the same; the ticket is worth nothing then (-ENOENT).
 *   the giver after the claim: nothing happens.
 *   the claimer before CLAIM arrives: the offer's term ends and the memory is freed.
 *   the claimer after that: its lease runs out or its session ends, and the memory is freed.
 *   the node: all is gone, like all memory.
 */
#include "alloc/service.h"

#include "core/base/planted.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
	ACCESS_ALL = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC
};

/* Out of time, freed, or its session is fenced; or claimed before. */
static void offer_ended(void *arg, enum ptni_lease_end how, uint32_t release_flags)
{
	struct ptni_memory_offer *offer = arg;
	struct ptni_node_memory *memory = offer->memory;

	free(offer);
	if (!memory)
		return;
	memory->offer = NULL;
	ptni_node_memory_free(memory);
}

void ptni_memory_offer_check(struct ptni_node_memory *memory)
{
	struct ptni_node_lane *lane = memory->give.lane;
	struct ptni_memory_offer *offer = memory->offer;
	struct ptni_memory_given reply = { 0 };

	if (!offer || offer->ready || !cds_list_empty(&memory->leases))
		return;
	offer->ready = true;
	reply.ticket[0] = memory->addr;
	reply.ticket[1] = memory->id;
	reply.ticket[2] = offer->secret[0];
	reply.ticket[3] = offer->secret[1];
	memory->give.lane = NULL;
	ptni_node_reply(lane, memory->give.message, 0, &reply, sizeof(reply));
}

static int offer_open(struct ptni_node_memory *memory, uint64_t term_ns)
{
	struct ptni_memory_offer *offer = calloc(1, sizeof(*offer));
	int ret;

	if (!offer)
		return -ENOMEM;
	offer->memory = memory;
	if (getrandom(offer->secret, sizeof(offer->secret), 0) != sizeof(offer->secret))
		ret = -EIO;
	else
		ret = ptni_lease_open(memory->session, term_ns, offer_ended, offer, &offer->lease);
	if (ret) {
		free(offer);
		return ret;
	}
	memory->offer = offer;
	return 0;
}

int ptni_memory_give_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			    const struct ptni_message *message)
{
	const struct ptni_memory_give_request *request = (const void *)message;
	struct ptni_node_memory *memory = ptni_node_memory_find(allocator, request->addr);
	struct ptni_memory_lease *lease;
	int ret;

	if (!ptni_memory_term_valid(allocator, request->term_ns))
		return -EINVAL;
	if (!memory || memory->id != request->id || memory->freeing)
		return -ENOENT;
	if (memory->session != ptni_lane_session(lane))
		return -EPERM;
	if (memory->offer)
		return -EBUSY;
	ret = offer_open(memory, request->term_ns);
	if (ret)
		return ret;
	ptni_waiter_set(&memory->give, lane, message);
	cds_list_for_each_entry(lease, &memory->leases, link)
		if (lease->lease)
			ptni_lease_close(lease->lease, PTNI_LEASE_REVOKED);
	ptni_memory_offer_check(memory);
	return 0;
}

/* The time taken does not tell how much of it was right. */
static bool ticket_valid(const struct ptni_node_memory *memory, const uint64_t *ticket)
{
	const struct ptni_memory_offer *offer = memory->offer;
	volatile uint64_t differ;

	if (memory->freeing || !offer || !offer->ready)
		return false;
	differ = (ticket[0] ^ memory->addr) | (ticket[1] ^ memory->id) |
		 (ticket[2] ^ offer->secret[0]) | (ticket[3] ^ offer->secret[1]);
	return !differ;
}

static void owner_change(struct ptni_node_memory *memory, struct ptni_node_session *session,
			 struct ptni_session_holdings *holdings)
{
	struct ptni_memory_offer *offer = memory->offer;

	if (!ptni_planted(PTNI_BUG_TICKET_TWICE)) {
		memory->offer = NULL;
		offer->memory = NULL;
		ptni_lease_close(offer->lease, PTNI_LEASE_RELEASED);
	}
	cds_list_del(&memory->session_link);
	ptni_session_charge(memory->session, -(int64_t)ptni_node_memory_bytes(memory));
	memory->session = session;
	cds_list_add(&memory->session_link, &holdings->memories);
}

int ptni_memory_claim_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			     const struct ptni_message *message)
{
	const struct ptni_memory_claim_request *request = (const void *)message;
	struct ptni_node_memory *memory = ptni_node_memory_find(allocator, request->ticket[0]);
	struct ptni_node_session *session = ptni_lane_session(lane);
	struct ptni_session_holdings *holdings = ptni_session_holdings(allocator, session);
	int ret;

	if (!ptni_memory_term_valid(allocator, request->term_ns))
		return -EINVAL;
	if (!memory || !ticket_valid(memory, request->ticket))
		return -ENOENT;
	ret = holdings ? ptni_allocator_charge(allocator, session, ptni_node_memory_bytes(memory)) :
			 -ENOMEM;
	if (ret)
		return ret;
	ret = ptni_node_memory_grant(memory, lane, message,
				     (struct ptni_window_grant){ .addr = memory->addr,
								 .len_bytes = memory->len_bytes,
								 .access = ACCESS_ALL,
								 .tag = request->tag },
				     request->term_ns, true);
	if (ret) {
		ptni_session_charge(session, -(int64_t)ptni_node_memory_bytes(memory));
		return ret < 0 ? ret : 0;
	}
	owner_change(memory, session, holdings);
	return 0;
}
