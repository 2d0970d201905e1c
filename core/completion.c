/* SPDX-License-Identifier: MIT */
/*
 * Where completions go. A batch that succeeded costs a few stores; everything else is rare.
 *
 * A queue pair completes its requests in order. When it fails, the requests before the first error
 * completion were executed (their completions may have been unsignalled), the one that it names is
 * the one that failed, and all later ones are flushed, each with a completion of its own. So the last
 * request of a batch completes in every case, and the first error completion that a batch gets splits
 * it into what was executed and what was not, or is in doubt:
 *
 *   refused by the responder (access, invalid request): neither it nor anything after it was
 *   executed; the responder has stopped. Flushed on a lane with such a refusal before it: the same.
 *   Anything else (no answer, reset by hand, flushed for no reason known): in doubt.
 *
 * Data path: all of it.
 */
#include "core/call.h"
#include "core/client.h"
#include "core/window.h"

#include <string.h>

static bool refusal(enum ibv_wc_status status)
{
	return status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR;
}

static inline void flight_end(struct ptni_flight *flight)
{
	flight->lane->sq_used -= (uint32_t)(flight->count - flight->first);
	flight->done = true;
}

static void batch_failed(struct ptn_worker *worker, const struct ibv_wc *wc)
{
	struct ptni_flight *flight = &worker->slot[wc->wr_id >> 8].flight;
	unsigned index = wc->wr_id & 0xff;
	struct ptni_lane *lane = flight->lane;

	if (flight->done || !lane || lane->qp->qp_num != wc->qp_num)
		return; /* of a batch that was given up */
	if (wc->status != IBV_WC_SUCCESS && flight->status == IBV_WC_SUCCESS) {
		lane->refused |= refusal(wc->status);
		flight->status = (uint8_t)wc->status;
		flight->bad = (uint8_t)index;
		flight->vendor_error = wc->vendor_err;
		flight->in_doubt = !lane->refused ||
				   (!refusal(wc->status) && wc->status != IBV_WC_WR_FLUSH_ERR);
	}
	if (index + 1u == flight->count)
		flight_end(flight);
	if (wc->status != IBV_WC_SUCCESS)
		ptni_lane_break(lane, wc->status, wc->vendor_err, "a one-sided access");
}

static struct ptni_lane *lane_of(struct ptn_worker *worker, uint64_t wr_id)
{
	unsigned node = (uint16_t)(wr_id >> 24), index = (uint8_t)(wr_id >> 16);
	struct ptni_lane *lane = &worker->peer[node]->lane[index];
	uint32_t state = ptni_lane_state(lane);
	bool ours = state == PTNI_LANE_CONNECTED || state == PTNI_LANE_READY ||
		    state == PTNI_LANE_BROKEN;

	return ours && (uint16_t)lane->generation == (uint16_t)(wr_id >> 40) ? lane : NULL;
}

static void revoked(struct ptn_worker *worker, const struct ptni_lane *lane,
		    const struct ptni_revoked *message)
{
	PTNI_COUNT(worker->counters, lease_revocations);
	ptni_lease_revoked(worker->peer[lane->node], message);
}

static void received(struct ptni_lane *lane, unsigned buffer, uint32_t len_bytes)
{
	const uint8_t *bytes = lane->recv_memory + (size_t)buffer * PTNI_MESSAGE_MAX;
	struct ptn_worker *worker = lane->worker;
	struct ptni_message head;

	if (len_bytes < sizeof(head) || len_bytes > PTNI_MESSAGE_MAX) {
		PTNI_COUNT(worker->counters, rpc_malformed);
		return;
	}
	memcpy(&head, bytes, sizeof(head));
	if (head.len_bytes != len_bytes)
		head.op = 0; /* nobody's */
	if (head.op & PTNI_REPLY)
		ptni_call_reply(lane, (const struct ptni_message *)bytes);
	else if (head.op == PTNI_OP_LANE_READY && len_bytes == sizeof(struct ptni_lane_ready))
		ptni_lane_ready(lane, (const struct ptni_lane_ready *)bytes);
	else if (head.op == PTNI_OP_SHADOW)
		ptni_window_shadow(lane, (const struct ptni_shadow *)bytes);
	else if (head.op == PTNI_OP_REVOKED && len_bytes == sizeof(struct ptni_revoked))
		revoked(worker, lane, (const struct ptni_revoked *)bytes);
	else
		PTNI_COUNT(worker->counters, rpc_malformed);
}

static void message_completed(struct ptn_worker *worker, const struct ibv_wc *wc)
{
	struct ptni_lane *lane = lane_of(worker, wc->wr_id);
	unsigned buffer = (uint8_t)wc->wr_id;
	bool recv = wc->wr_id >> 56 == PTNI_WR_RECV;

	if (!lane)
		return;
	if (recv) {
		lane->recvs--;
		if (wc->status == IBV_WC_SUCCESS) {
			received(lane, buffer, wc->byte_len);
			if (ptni_lane_state(lane) != PTNI_LANE_BROKEN &&
			    ptni_lane_post_recv(lane, buffer))
				ptni_lane_post_failed(lane, "posting a receive");
		}
	} else {
		lane->sends--;
		lane->sq_used--;
		lane->sends_free |= 1u << buffer;
		if (wc->status == IBV_WC_SUCCESS)
			ptni_call_flush(worker->peer[lane->node]);
	}
	if (wc->status != IBV_WC_SUCCESS)
		ptni_lane_break(lane, wc->status, wc->vendor_err, "a message");
}

static void completed_slow(struct ptn_worker *worker, const struct ibv_wc *wc)
{
	struct ptni_lane *lane;

	if (wc->wr_id < PTNI_WR_BATCH_LIMIT) {
		lane = worker->slot[wc->wr_id >> 8].flight.lane;
		batch_failed(worker, wc);
	} else {
		lane = lane_of(worker, wc->wr_id);
		message_completed(worker, wc);
	}
	if (lane)
		ptni_lane_check_drained(lane);
}

int ptni_worker_poll(struct ptn_worker *worker)
{
	struct ibv_wc wc[PTNI_POLL_MAX];
	int count;

	(void)atomic_load_explicit(&worker->connected, memory_order_acquire);
	count = ibv_poll_cq(worker->cq, PTNI_POLL_MAX, wc);
	if (count <= 0) {
		PTNI_COUNT(worker->counters, polls_empty);
		return 0;
	}
	for (int i = 0; i < count; i++) {
		struct ptni_flight *flight;

		if (__builtin_expect(wc[i].status != IBV_WC_SUCCESS ||
					     wc[i].wr_id >= PTNI_WR_BATCH_LIMIT,
				     0)) {
			completed_slow(worker, &wc[i]);
			continue;
		}
		flight = &worker->slot[wc[i].wr_id >> 8].flight;
		if (__builtin_expect(flight->done, 0))
			continue; /* of a batch that was given up */
		flight_end(flight);
		if (__builtin_expect(flight->lane != worker->peer[flight->lane->node]->active, 0))
			ptni_lane_check_drained(flight->lane);
	}
	PTNI_COUNT_ADD(worker->counters, completions, count);
	return count;
}
