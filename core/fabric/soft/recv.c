/* SPDX-License-Identifier: MIT */
/*
 * The owner's side of RECVs: posting them, and turning what arrived into completions. deliver.c is
 * the other side.
 *
 *      freed          collected           arrived            posted
 *        |  polled soon   |  done by the peer  |   free to take  |      posted - freed <= depth
 *
 * When the queue pair breaks and nobody is inside it any more, what is left up to `posted` is flushed.
 *
 * Data path: all of it, with the same exceptions as in deliver.c and send.c.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>

enum {
	LIVENESS_PERIOD_NS = 1000000
};

size_t ptni_soft_recv_stride(uint32_t sge_max)
{
	size_t bytes = sizeof(struct recv_wqe) + (sge_max ? sge_max : 1) * sizeof(struct ibv_sge);

	return (bytes + SEGMENT_LINE - 1) & ~(size_t)(SEGMENT_LINE - 1);
}

/* A peer in another process must be able to write there. */
static bool sge_reachable(struct soft_nic *nic, const struct ibv_sge *sge)
{
	struct key_entry *key = &nic->segment->key[(sge->lkey >> 8) & (SEGMENT_KEY_MAX - 1)];

	return !nic->shared || !sge->length ||
	       !(atomic_load_explicit(&key->state, memory_order_relaxed) & KEY_FOREIGN);
}

int ptni_soft_recv_fill(struct soft_nic *nic, struct recv_wqe *wqe, const struct ibv_recv_wr *wr,
			uint32_t sge_max)
{
	if ((unsigned int)wr->num_sge > sge_max)
		return EINVAL;
	for (int i = 0; i < wr->num_sge; i++) {
		if (!sge_reachable(nic, &wr->sg_list[i]))
			return EINVAL;
		wqe->sge[i] = wr->sg_list[i];
	}
	wqe->wr_id = wr->wr_id;
	wqe->num_sge = (uint32_t)wr->num_sge;
	return 0;
}

static struct recv_wqe *wqe_at(struct soft_qp *qp, uint32_t index)
{
	return (struct recv_wqe *)(void *)(qp->rq + (size_t)(index & qp->entry->rq_mask) *
							    qp->entry->rq_stride);
}

static int post_one(struct soft_qp *qp, const struct ibv_recv_wr *wr)
{
	enum ibv_qp_state state = ptni_soft_qp_look(qp);
	int rc;

	if (qp->srq || state == IBV_QPS_RESET)
		return EINVAL;
	if (qp->rq_posted - qp->rq_freed >= qp->rq_depth)
		return ENOMEM;
	rc = ptni_soft_recv_fill(qp->nic, wqe_at(qp, qp->rq_posted), wr, qp->rq_sge_max);
	if (rc)
		return rc;
	qp->rq_posted++;
	atomic_store_explicit(&qp->entry->rq_posted, qp->rq_posted, memory_order_release);
	if (state == IBV_QPS_ERR)
		ptni_soft_recv_mark(qp); /* to be flushed */
	return 0;
}

int ptni_soft_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr)
{
	int rc = 0;

	for (; wr; wr = wr->next) {
		rc = post_one(soft_qp_of(qp), wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
	}
	return rc;
}

void ptni_soft_recv_mark(struct soft_qp *qp)
{
	ptni_soft_deliver_mark(qp->nic->map, qp->entry);
}

/* ---- collecting */

static void complete(struct soft_qp *qp, const struct recv_wqe *wqe, enum ibv_wc_status status,
		     enum soft_cqe_kind kind, uint32_t slot)
{
	struct soft_cqe *cqe = soft_cqe_push(qp->recv_cq);
	bool flushed = status == IBV_WC_WR_FLUSH_ERR;

	if (!cqe)
		return;
	cqe->wc = (struct ibv_wc){
		.wr_id = wqe->wr_id,
		.status = status,
		.opcode = flushed ? IBV_WC_RECV : (enum ibv_wc_opcode)wqe->opcode,
		.vendor_err = flushed ? 0 : wqe->vendor_err,
		.byte_len = flushed ? 0 : wqe->byte_len,
		.imm_data = flushed ? 0 : wqe->imm_or_rkey,
		.qp_num = qp->qp.qp_num,
		.src_qp = flushed ? 0 : wqe->src_qp,
		.wc_flags = flushed ? 0 : wqe->wc_flags,
	};
	cqe->qp = qp;
	cqe->index = slot;
	cqe->kind = kind;
}

static void collect_shared(struct soft_qp *qp, uint32_t index)
{
	_Atomic uint32_t *slots = (_Atomic uint32_t *)(void *)qp->rq;
	uint32_t slot =
		atomic_load_explicit(&slots[index & qp->entry->rq_mask], memory_order_relaxed);
	struct recv_wqe *wqe = soft_srq_slot(qp->srq, slot);
	uint64_t claim = atomic_load_explicit(&wqe->claim, memory_order_relaxed);

	atomic_store_explicit(&wqe->claim, claim_word((uint32_t)(claim >> 32), CLAIM_COLLECTED, 0),
			      memory_order_relaxed);
	complete(qp, wqe, (enum ibv_wc_status)wqe->status, CQE_SRQ, slot);
}

static void collect_arrived(struct soft_qp *qp)
{
	uint32_t arrived = atomic_load_explicit(&qp->entry->arrived, memory_order_acquire);

	while (qp->rq_collected != arrived) {
		uint32_t index = qp->rq_collected++;

		if (qp->srq) {
			collect_shared(qp, index);
		} else {
			struct recv_wqe *wqe = wqe_at(qp, index);

			complete(qp, wqe, (enum ibv_wc_status)wqe->status, CQE_RECV, 0);
		}
	}
}

/* In ERROR: has the peer's thread left? Asks the kernel whether it died, but not at every poll. */
static bool nobody_inside(struct soft_qp *qp)
{
	uint64_t seen = atomic_load(&qp->entry->active);
	uint64_t now;

	if (!(seen & 1))
		return true;
	now = ptni_clock_read(qp->nic->clock);
	if (now - qp->settle_checked_ns < LIVENESS_PERIOD_NS)
		return false;
	qp->settle_checked_ns = now;
	return ptni_soft_settled(qp->entry, seen);
}

static void flush(struct soft_qp *qp)
{
	if (!qp->rq_settled) {
		qp->rq_settled = nobody_inside(qp);
		if (!qp->rq_settled) {
			ptni_soft_recv_mark(qp); /* look again at the next poll */
			return;
		}
		collect_arrived(qp);
		if (qp->srq)
			ptni_soft_srq_reclaim(qp->srq, qp->entry->qp_num);
	}
	while (!qp->srq && qp->rq_collected != qp->rq_posted)
		complete(qp, wqe_at(qp, qp->rq_collected++), IBV_WC_WR_FLUSH_ERR, CQE_RECV, 0);
}

void ptni_soft_recv_drop(struct soft_qp *qp)
{
	_Atomic uint32_t *slots = (_Atomic uint32_t *)(void *)qp->rq;
	uint32_t arrived = atomic_load_explicit(&qp->entry->arrived, memory_order_acquire);

	while (!qp->rq_settled && qp->rq_collected != arrived) {
		uint32_t slot = slots[qp->rq_collected++ & qp->entry->rq_mask];
		struct recv_wqe *wqe = soft_srq_slot(qp->srq, slot);
		uint64_t claim = atomic_load_explicit(&wqe->claim, memory_order_relaxed);

		atomic_store(&wqe->claim, claim_word((uint32_t)(claim >> 32), CLAIM_COLLECTED, 0));
		ptni_soft_srq_free(qp->srq, slot);
	}
	if (!qp->rq_settled)
		ptni_soft_srq_reclaim(qp->srq, qp->entry->qp_num);
}

static void collect_qp(struct soft_qp *qp)
{
	if (!qp->rq_settled)
		collect_arrived(qp);
	if (ptni_soft_qp_look(qp) == IBV_QPS_ERR)
		flush(qp);
}

static void collect_word(struct soft_cq *cq, uint32_t word)
{
	uint64_t bits = atomic_exchange(&cq->entry->arrivals[word], 0);

	for (; bits; bits &= bits - 1) {
		uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
		struct soft_qp *qp =
			atomic_load_explicit(&cq->nic->qps[index], memory_order_acquire);

		if (qp && qp->recv_cq == cq)
			collect_qp(qp);
	}
}

void ptni_soft_recv_collect(struct soft_cq *cq)
{
	for (uint32_t i = 0; i < SEGMENT_SUMMARIES; i++) {
		uint64_t words;

		if (!atomic_load_explicit(&cq->entry->summary[i], memory_order_relaxed))
			continue;
		words = atomic_exchange(&cq->entry->summary[i], 0);
		for (; words; words &= words - 1)
			collect_word(cq, i * 64 + (uint32_t)__builtin_ctzll(words));
	}
}
