/* SPDX-License-Identifier: MIT */
/*
 * Calls to a node's CPU. The list of a peer holds the calls without a reply in the order of their
 * cookies; some of them may not be sent yet (no lane, no room). The node remembers the answers to the
 * latest PTNI_CALLS_MAX cookies, so none further ahead of the oldest is sent: one that is sent again after
 * its lane broke is always recognised.
 */
#include "core/call.h"

#include "core/client.h"

#include <errno.h>
#include <string.h>

static int post(struct ptni_lane *lane, struct ptni_call *call)
{
	unsigned buffer = (unsigned)__builtin_ctz(lane->sends_free);
	uint8_t *bytes = lane->send_memory + (size_t)buffer * PTNI_MESSAGE_MAX;
	struct ibv_sge sge = { .addr = (uintptr_t)bytes,
			       .length = call->request_len_bytes,
			       .lkey = lane->worker->lkey };
	struct ibv_send_wr wr = { .wr_id = (uint64_t)PTNI_WR_SEND << 56 |
					   (uint64_t)(uint16_t)lane->generation << 40 |
					   (uint64_t)lane->node << 24 |
					   (uint64_t)lane->index << 16 | buffer,
				  .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED };
	struct ibv_send_wr *bad;

	memcpy(bytes, call->request, call->request_len_bytes);
	if (ibv_post_send(lane->qp, &wr, &bad))
		return -EIO;
	((struct ptni_message *)call->request)->status++;
	lane->sends_free &= lane->sends_free - 1;
	lane->sends++;
	lane->sq_used++;
	call->sent = true;
	call->lane = lane->index;
	call->lane_generation = (uint16_t)lane->generation;
	PTNI_COUNT(lane->worker->counters, verbs_send);
	PTNI_COUNT(lane->worker->counters, doorbells);
	PTNI_COUNT_ADD(lane->worker->counters, bytes_written, call->request_len_bytes);
	return 0;
}

void ptni_call_flush(struct ptni_peer *peer)
{
	for (struct ptni_call *call = peer->calls; call; call = call->next) {
		struct ptni_lane *lane = peer->active;

		if (!lane || !lane->sends_free || lane->sq_used >= PTNI_LANE_SQ_DEPTH ||
		    call->cookie - peer->calls->cookie >= PTNI_CALLS_MAX)
			return;
		if (call->sent)
			continue;
		if (post(lane, call)) {
			/* Breaking it comes back here with the next lane. */
			ptni_lane_post_failed(lane, "posting a call");
			return;
		}
	}
}

void ptni_call_lane_lost(struct ptni_peer *peer, const struct ptni_lane *lane)
{
	for (struct ptni_call *call = peer->calls; call; call = call->next)
		if (call->sent && call->lane == lane->index &&
		    call->lane_generation == (uint16_t)lane->generation)
			call->sent = false;
}

static void end(struct ptni_call *call, int status)
{
	struct ptni_peer *peer = call->worker->peer[call->node];
	struct ptni_call **link = &peer->calls;

	while (*link && *link != call)
		link = &(*link)->next;
	if (*link)
		*link = call->next;
	call->next = NULL;
	call->status = status;
	call->done = true;
}

void ptni_call_reply(struct ptni_lane *lane, const struct ptni_message *message)
{
	struct ptni_peer *peer = lane->worker->peer[lane->node];
	struct ptni_call *call = peer->calls;
	struct ptni_message request;

	while (call && (call->cookie != message->cookie || !call->sent))
		call = call->next;
	if (call)
		memcpy(&request, call->request, sizeof(request));
	if (!call || message->op != (request.op | PTNI_REPLY) || message->status > 0) {
		PTNI_COUNT(lane->worker->counters, rpc_malformed);
		return;
	}
	memcpy(call->reply, message, message->len_bytes);
	call->reply_len_bytes = message->len_bytes;
	call->lane = lane->index;
	call->lane_generation = (uint16_t)lane->generation;
	if (message->status)
		PTNI_COUNT(lane->worker->counters, rpc_refused);
	end(call, message->status);
}

int ptni_call_start(struct ptni_call *call, struct ptn_worker *worker, unsigned node, void *request,
		    size_t len_bytes, uint64_t timeout_ns)
{
	struct ptni_peer *peer = worker->peer[node];
	struct ptni_message *head = (struct ptni_message *)call->request;
	struct ptni_call **link = &peer->calls;
	int error = ptni_session_error(peer->session);

	assert(len_bytes >= sizeof(*head) && len_bytes <= PTNI_MESSAGE_MAX);
	call->done = true; /* until it is in the list: nothing to cancel */
	if (error)
		return ptni_worker_fail(worker, error, "a call");
	memcpy(call->request, request, len_bytes);
	head->len_bytes = (uint16_t)len_bytes;
	head->cookie = ++peer->cookie;
	head->status = 0;
	head->session_epoch = peer->session->welcome.epoch;
	call->worker = worker;
	call->node = (uint16_t)node;
	call->done = false;
	call->status = 0;
	call->cookie = head->cookie;
	call->sent_ns = ptni_worker_clock(worker);
	call->deadline_ns = call->sent_ns + timeout_ns;
	call->request_len_bytes = (uint32_t)len_bytes;
	call->reply_len_bytes = 0;
	call->sent = false;
	call->next = NULL;
	while (*link)
		link = &(*link)->next;
	*link = call;
	PTNI_COUNT(worker->counters, rpc_requests);
	ptni_call_flush(peer);
	return 0;
}

/* Whether waiting on has become pointless. */
static void give_up(struct ptni_call *call)
{
	int error = ptni_session_error(call->worker->peer[call->node]->session);

	if (!call->done && error)
		end(call, ptni_worker_fail(call->worker, error, "a call"));
	else if (!call->done && ptni_worker_clock(call->worker) >= call->deadline_ns)
		end(call, ptni_worker_fail(call->worker, -ETIMEDOUT, "a call"));
}

bool ptni_call_done(struct ptni_call *call)
{
	if (call->done)
		return true;
	ptni_worker_poll(call->worker);
	give_up(call);
	return call->done;
}

int ptni_call_wait(struct ptni_call *call)
{
	struct ptni_peer *peer;
	struct ptni_wait wait;

	if (call->done)
		return call->status;
	peer = call->worker->peer[call->node];
	PTNI_COUNT(call->worker->counters, round_trips);
	ptni_wait_begin(&wait, call->worker, call->deadline_ns);
	while (!call->done) {
		(void)ptni_wait_turn(&wait);
		if (!call->done && !peer->active)
			ptni_session_drive(peer->session, call->worker);
		give_up(call);
	}
	return call->status;
}

void ptni_call_cancel(struct ptni_call *call)
{
	if (!call->done)
		end(call, -ECANCELED);
}
