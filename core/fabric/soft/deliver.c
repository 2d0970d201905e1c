/* SPDX-License-Identifier: MIT */
/*
 * The requester's side of a RECV: take one of the peer's work requests, fill its memory, leave the
 * result. Runs announced, on a connected peer whose gate was seen open after the announcement, so
 * the entry and what it points at stay as they are.
 *
 * Data path: all of it. Waking a sleeper enters the kernel, in cq.c.
 */
#include "core/fabric/soft/access.h"

#include <errno.h>

static uint8_t *peer_at(const struct soft_qp *qp, uint64_t offset)
{
	return (uint8_t *)qp->peer_segment + offset;
}

/*
 * Takes the oldest posted slot of the peer's shared queue. Everybody who takes moves `head` on, also
 * over slots that others took and did not live to do so. A cell read too late names a newer slot,
 * or one whose generation is past: both are harmless, as the claim word decides.
 */
static int srq_take(struct soft_qp *qp, struct soft_delivery *delivery)
{
	struct srq_entry *srq = &qp->peer_segment->srq[qp->peer->srq - 1];
	_Atomic uint64_t *ring = (_Atomic uint64_t *)(void *)peer_at(qp, srq->ring_offset);

	for (uint32_t tries = 0; tries <= srq->ring_mask; tries++) {
		uint32_t head = atomic_load_explicit(&srq->head, memory_order_acquire);
		uint64_t cell;
		uint64_t posted;
		uint32_t slot;
		bool taken;

		if (head == atomic_load_explicit(&srq->tail, memory_order_acquire))
			break;
		cell = atomic_load_explicit(&ring[head & srq->ring_mask], memory_order_acquire);
		slot = (uint32_t)cell;
		delivery->slot = slot;
		delivery->wqe = (struct recv_wqe *)(void *)peer_at(
			qp, srq->slots_offset + (uint64_t)slot * srq->stride);
		posted = claim_word((uint32_t)(cell >> 32), CLAIM_POSTED, 0);
		taken = atomic_compare_exchange_strong(&delivery->wqe->claim, &posted,
						       claim_word((uint32_t)(cell >> 32),
								  CLAIM_TAKEN, qp->peer->qp_num));
		atomic_compare_exchange_strong(&srq->head, &head, head + 1);
		if (taken)
			return 0;
	}
	return AGAIN_RECV;
}

int ptni_soft_deliver_take(struct soft_qp *qp, struct soft_delivery *delivery)
{
	struct qp_entry *peer = qp->peer;
	uint32_t arrived = atomic_load_explicit(&peer->arrived, memory_order_relaxed);

	if (peer->srq)
		return srq_take(qp, delivery);
	if (arrived == atomic_load_explicit(&peer->rq_posted, memory_order_acquire))
		return AGAIN_RECV;
	delivery->wqe = (struct recv_wqe *)(void *)peer_at(
		qp, peer->rq_offset + (uint64_t)(arrived & peer->rq_mask) * peer->rq_stride);
	return 0;
}

/* The receiver's pieces for `len` bytes: 0 or the cause. */
static enum soft_cause pieces_check(struct soft_qp *qp, const struct recv_wqe *wqe, uint64_t len,
				    struct soft_span *pieces, uint32_t *count_out)
{
	uint32_t srq = qp->peer->srq;
	uint32_t pd = srq ? qp->peer_segment->srq[srq - 1].pd : qp->peer->pd;
	uint64_t room = 0;
	uint32_t count = 0;

	for (uint32_t i = 0; i < wqe->num_sge && i < SOFT_SGE_MAX && room < len; i++) {
		struct ibv_sge sge = wqe->sge[i];
		struct access_grip grip;
		enum soft_cause cause;

		if (sge.length > len - room)
			sge.length = (uint32_t)(len - room);
		if (!sge.length)
			continue;
		cause = access_local(qp->peer_segment, pd, &sge, KEY_RIGHTS(IBV_ACCESS_LOCAL_WRITE),
				     &grip);
		if (!cause && (grip.state & KEY_FOREIGN) && !qp->peer_local)
			cause = CAUSE_KEY_MEMORY;
		if (cause)
			return CAUSE_RECV_KEY;
		pieces[count].ptr = grip.ptr + qp->peer_delta;
		pieces[count++].len = sge.length;
		room += sge.length;
	}
	*count_out = count;
	return room < len ? CAUSE_RECV_LENGTH : CAUSE_NONE;
}

static void pieces_copy(const struct soft_span *pieces, const struct soft_span *spans,
			uint32_t count)
{
	const struct soft_span *end = spans + count;
	uint64_t filled = 0;

	for (; spans != end; spans++) {
		uint64_t done = 0;

		while (done < spans->len) {
			uint64_t part = pieces->len - filled;

			if (part > spans->len - done)
				part = spans->len - done;
			copy_out(pieces->ptr + filled, spans->ptr + done, part);
			done += part;
			filled += part;
			if (filled == pieces->len) {
				pieces++;
				filled = 0;
			}
		}
	}
}

/* The result is complete before `arrived` says so. */
static void arrive(struct soft_qp *qp, struct soft_delivery *delivery)
{
	struct qp_entry *peer = qp->peer;
	uint32_t arrived = atomic_load_explicit(&peer->arrived, memory_order_relaxed);

	if (peer->srq) {
		_Atomic uint32_t *slots = (_Atomic uint32_t *)(void *)peer_at(qp, peer->rq_offset);

		atomic_store_explicit(&slots[arrived & peer->rq_mask], delivery->slot,
				      memory_order_relaxed);
	}
	atomic_store_explicit(&peer->arrived, arrived + 1, memory_order_release);
	qp->arrival = true;
}

static void receiver_fails(struct soft_qp *qp, struct soft_delivery *delivery,
			   enum ibv_wc_status status, enum soft_cause cause)
{
	delivery->wqe->status = status;
	delivery->wqe->vendor_err = cause;
	delivery->wqe->byte_len = 0;
	delivery->wqe->wc_flags = 0;
	delivery->wqe->opcode = IBV_WC_RECV;
	delivery->wqe->src_qp = qp->qp.qp_num;
	arrive(qp, delivery);
}

int ptni_soft_deliver_data(struct soft_qp *qp, struct soft_delivery *delivery,
			   const struct soft_span *spans, uint32_t count, uint64_t len)
{
	struct soft_span pieces[SOFT_SGE_MAX];
	uint32_t piece_count;
	enum soft_cause cause = pieces_check(qp, delivery->wqe, len, pieces, &piece_count);

	if (cause == CAUSE_RECV_LENGTH) {
		receiver_fails(qp, delivery, IBV_WC_LOC_LEN_ERR, cause);
		return soft_verdict(IBV_WC_REM_INV_REQ_ERR, cause);
	}
	if (cause) {
		receiver_fails(qp, delivery, IBV_WC_LOC_PROT_ERR, cause);
		return soft_verdict(IBV_WC_REM_OP_ERR, cause);
	}
	pieces_copy(pieces, spans, count);
	return 0;
}

/*
 * A SEND_WITH_INV whose key cannot be invalidated was delivered all the same: the requester
 * succeeds, the receiver's completion is an error and its queue pair breaks.
 */
void ptni_soft_deliver_done(struct soft_qp *qp, struct soft_delivery *delivery,
			    const struct ibv_send_wr *wr, uint64_t len)
{
	struct recv_wqe *wqe = delivery->wqe;
	uint64_t gate = qp->peer_gate;

	wqe->status = IBV_WC_SUCCESS;
	wqe->vendor_err = CAUSE_NONE;
	wqe->byte_len = (uint32_t)len;
	wqe->imm_or_rkey = 0;
	wqe->wc_flags = 0;
	wqe->src_qp = qp->qp.qp_num;
	wqe->opcode = wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM ? IBV_WC_RECV_RDMA_WITH_IMM :
								 IBV_WC_RECV;
	if (wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM || wr->opcode == IBV_WR_SEND_WITH_IMM) {
		wqe->imm_or_rkey = wr->imm_data;
		wqe->wc_flags = IBV_WC_WITH_IMM;
	} else if (wr->opcode == IBV_WR_SEND_WITH_INV) {
		wqe->imm_or_rkey = wr->invalidate_rkey;
		wqe->wc_flags = IBV_WC_WITH_INV;
		if (ptni_soft_key_invalidate_remote(qp, wr->invalidate_rkey)) {
			wqe->status = IBV_WC_REM_INV_REQ_ERR;
			wqe->vendor_err = CAUSE_WINDOW_STATE;
			wqe->wc_flags = 0;
			atomic_compare_exchange_strong(&qp->peer->gate, &gate,
						       (uint64_t)IBV_QPS_ERR);
		}
	}
	arrive(qp, delivery);
}

/* Tells the owner of `entry` to look at it at the next poll. */
void ptni_soft_deliver_mark(struct soft_map *map, struct qp_entry *entry)
{
	uint32_t index = (uint32_t)(entry - map->segment->qp);
	struct cq_entry *cq = &map->segment->cq[entry->recv_cq];

	atomic_fetch_or(&cq->arrivals[index / 64], 1ull << index % 64);
	atomic_fetch_or(&cq->summary[index / 64 / 64], 1ull << index / 64 % 64);
	ptni_soft_cq_wake(map, entry->recv_cq);
}
