/* SPDX-License-Identifier: MIT */
/*
 * The send queue. A work request runs while it is posted. If it cannot (the peer has no RECV, is not
 * connected yet, or a requester is still inside a window that is to be invalidated) it is copied to
 * its place in the ring and everything posted later queues up behind it; every poll of one of its
 * completion queues tries again.
 *
 *      freed            executed           posted
 *        |  done, slot held |  waiting (wqes)  |          posted - freed <= depth
 *
 * Data path: all of it. A wait of more than a millisecond asks the kernel who died, in nic.c.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <string.h>

enum {
	LIVENESS_PERIOD_NS = 1000000,
	AHEAD_REQUESTS = 8,
	AHEAD_BYTES = 1024,
};

/* ---- completing */

static const enum ibv_wc_opcode wc_opcodes[] = {
	[IBV_WR_RDMA_WRITE] = IBV_WC_RDMA_WRITE,
	[IBV_WR_RDMA_WRITE_WITH_IMM] = IBV_WC_RDMA_WRITE,
	[IBV_WR_SEND] = IBV_WC_SEND,
	[IBV_WR_SEND_WITH_IMM] = IBV_WC_SEND,
	[IBV_WR_RDMA_READ] = IBV_WC_RDMA_READ,
	[IBV_WR_ATOMIC_CMP_AND_SWP] = IBV_WC_COMP_SWAP,
	[IBV_WR_ATOMIC_FETCH_AND_ADD] = IBV_WC_FETCH_ADD,
	[IBV_WR_LOCAL_INV] = IBV_WC_LOCAL_INV,
	[IBV_WR_BIND_MW] = IBV_WC_BIND_MW,
	[IBV_WR_SEND_WITH_INV] = IBV_WC_SEND,
};

static inline void complete(struct soft_qp *qp, const struct ibv_send_wr *wr, int verdict,
			    uint32_t len, uint32_t index)
{
	struct soft_cqe *cqe = soft_cqe_push(qp->send_cq);

	if (soft_unlikely(!cqe))
		return;
	cqe->wc = (struct ibv_wc){
		.wr_id = wr->wr_id,
		.status = (enum ibv_wc_status)(verdict & 0xff),
		.opcode = wc_opcodes[wr->opcode],
		.vendor_err = (uint32_t)verdict >> 8,
		.byte_len = len,
		.qp_num = qp->qp.qp_num,
	};
	cqe->qp = qp;
	cqe->index = index;
	cqe->kind = CQE_SEND;
}

static struct soft_wqe *wqe_at(struct soft_qp *qp, uint32_t index)
{
	return (struct soft_wqe *)(void *)(qp->wqes +
					   (size_t)(index & qp->wqe_mask) * qp->wqe_stride);
}

/* Has the LOCAL_INV at the head, whose key is dead, seen everybody leave? Asks the kernel who died. */
static bool invalidated(struct soft_qp *qp, bool ask)
{
	uint64_t active = atomic_load_explicit(&qp->inv_entry->active, memory_order_acquire);

	return !(qp->inv_seen & 1) || active != qp->inv_seen ||
	       (ask && ptni_soft_settled(qp->inv_entry, qp->inv_seen));
}

/*
 * The queue pair broke: what waited will never run. But a LOCAL_INV that took effect says so, as soon
 * as nobody is inside any more; until then it stays, and so does what is behind it.
 */
void ptni_soft_send_flush(struct soft_qp *qp)
{
	uint64_t now = qp->inv_entry ? ptni_clock_read(qp->nic->clock) : 0;
	bool ask = now - qp->wait_checked_ns >= LIVENESS_PERIOD_NS;

	while (qp->sq_executed != qp->sq_posted) {
		struct soft_wqe *wqe = wqe_at(qp, qp->sq_executed);
		bool took_effect = qp->inv_entry != NULL;

		if (took_effect && !invalidated(qp, ask)) {
			qp->wait_checked_ns = ask ? now : qp->wait_checked_ns;
			return;
		}
		qp->inv_entry = NULL;
		qp->sq_executed++;
		if (!took_effect)
			complete(qp, &wqe->wr, IBV_WC_WR_FLUSH_ERR, 0, qp->sq_executed);
		else if (qp->sig_all || (wqe->wr.send_flags & IBV_SEND_SIGNALED))
			complete(qp, &wqe->wr, IBV_WC_SUCCESS, 0, qp->sq_executed);
	}
}

static void finish(struct soft_qp *qp, const struct ibv_send_wr *wr, int verdict, uint32_t len)
{
	qp->sq_executed++;
	if (verdict || qp->sig_all || (wr->send_flags & IBV_SEND_SIGNALED))
		complete(qp, wr, verdict, len, qp->sq_executed);
	if (soft_unlikely(verdict))
		ptni_soft_qp_break(qp);
}

/* ---- waiting */

static void wait_begin(struct soft_qp *qp, int why)
{
	qp->wait_why = why;
	qp->wait_since_ns = ptni_clock_read(qp->nic->clock);
	qp->wait_checked_ns = qp->wait_since_ns;
	if (!qp->waiting) {
		qp->waiting = true;
		qp->waiting_next = qp->send_cq->waiting;
		qp->send_cq->waiting = qp;
		qp->recv_cq->waiting_receivers += qp->recv_cq != qp->send_cq;
	}
}

void ptni_soft_send_unwait(struct soft_qp *qp)
{
	struct soft_qp **link = &qp->send_cq->waiting;

	if (!qp->waiting)
		return;
	while (*link != qp)
		link = &(*link)->waiting_next;
	*link = qp->waiting_next;
	qp->waiting = false;
	qp->wait_why = 0;
	qp->recv_cq->waiting_receivers -= qp->recv_cq != qp->send_cq;
}

static uint64_t retry_ns(const struct soft_qp *qp)
{
	return (uint64_t)(qp->params.retry_count + 1u) * (4096ull << qp->params.timeout);
}

/* Has the head of the queue waited long enough? Then the verdict that ends it, else 0. */
static int wait_over(struct soft_qp *qp)
{
	uint64_t now = ptni_clock_read(qp->nic->clock);
	uint64_t waited = now - qp->wait_since_ns;

	if (now - qp->wait_checked_ns >= LIVENESS_PERIOD_NS) {
		qp->wait_checked_ns = now;
		if (qp->inv_entry && invalidated(qp, true))
			qp->inv_seen = 0; /* whoever was inside is dead */
	}
	if (qp->wait_why == AGAIN_RECV && qp->params.rnr_retry < 7 &&
	    waited >= qp->params.rnr_retry * 1000ull * qp->peer->rnr_delay_us)
		return soft_verdict(IBV_WC_RNR_RETRY_EXC_ERR, CAUSE_RECV_NONE);
	if (qp->wait_why == AGAIN_PEER && qp->params.timeout && waited >= retry_ns(qp))
		return soft_verdict(IBV_WC_RETRY_EXC_ERR, CAUSE_PEER_STATE);
	return 0;
}

/* Runs what waits until something must wait on. */
static void advance(struct soft_qp *qp)
{
	while (qp->sq_executed != qp->sq_posted) {
		struct soft_wqe *wqe = wqe_at(qp, qp->sq_executed);
		uint32_t len;
		int verdict;

		if (ptni_soft_qp_look(qp) != IBV_QPS_RTS) {
			ptni_soft_send_flush(qp);
			return;
		}
		verdict = ptni_soft_run(qp, &wqe->wr, &len);
		if (verdict >= AGAIN_RECV) {
			if (qp->wait_why != verdict)
				wait_begin(qp, verdict);
			verdict = wait_over(qp);
			if (!verdict)
				return;
		}
		qp->wait_why = 0;
		finish(qp, &wqe->wr, verdict, len);
	}
}

static void progress_one(struct soft_qp *qp)
{
	advance(qp);
	if (qp->announced)
		ptni_soft_retire(qp);
	if (qp->sq_executed == qp->sq_posted)
		ptni_soft_send_unwait(qp);
}

/* By a poll of either queue: who sleeps on the answers must not stop the questions. */
void ptni_soft_send_progress(struct soft_cq *cq)
{
	struct soft_qp *next;

	for (struct soft_qp *qp = cq->waiting; qp; qp = next) {
		next = qp->waiting_next;
		progress_one(qp);
	}
	for (struct soft_qp *qp = cq->waiting_receivers ? cq->receivers : NULL; qp;
	     qp = qp->receiver_next) {
		if (qp->waiting && qp->send_cq != cq)
			progress_one(qp);
	}
}

/* ---- posting */

static bool inline_fits(const struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	uint64_t len = 0;

	for (int i = 0; i < wr->num_sge; i++)
		len += wr->sg_list[i].length;
	return len <= qp->inline_max;
}

static bool bind_named(const struct ibv_send_wr *wr)
{
	return wr->bind_mw.mw && wr->bind_mw.bind_info.mr;
}

/* What the provider refuses before it queues anything. */
static inline int wr_check(const struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	bool fits = soft_likely((unsigned int)wr->num_sge <= qp->sge_max);

	switch (wr->opcode) {
	case IBV_WR_RDMA_READ:
	case IBV_WR_ATOMIC_CMP_AND_SWP:
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		fits = fits && qp->rd_atomic && !(wr->send_flags & IBV_SEND_INLINE);
		break;
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
	case IBV_WR_SEND:
	case IBV_WR_SEND_WITH_IMM:
	case IBV_WR_SEND_WITH_INV:
		fits = fits && (!(wr->send_flags & IBV_SEND_INLINE) || inline_fits(qp, wr));
		break;
	case IBV_WR_BIND_MW:
		fits = bind_named(wr);
		break;
	case IBV_WR_LOCAL_INV:
		fits = true;
		break;
	default:
		fits = false;
	}
	return soft_likely(fits) ? 0 : EINVAL;
}

/* The window's current key is the one at the time of the post; neither object need live on. */
static void bind_capture(struct soft_wqe *wqe, const struct ibv_send_wr *wr)
{
	wqe->mw = *soft_container(wr->bind_mw.mw, const struct soft_mw, mw);
	wqe->mr = *soft_container(wr->bind_mw.bind_info.mr, const struct soft_mr, mr);
	wqe->wr.bind_mw.mw = &wqe->mw.mw;
	wqe->wr.bind_mw.bind_info.mr = &wqe->mr.mr;
}

/* Copies the work request, and inline data, to its place in the ring. */
static void enqueue(struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	struct soft_wqe *wqe = wqe_at(qp, qp->sq_posted++);
	uint8_t *data = (uint8_t *)(wqe->sge + qp->sge_max);

	wqe->wr = *wr;
	wqe->wr.next = NULL;
	wqe->wr.sg_list = wqe->sge;
	if (wr->opcode == IBV_WR_BIND_MW)
		bind_capture(wqe, wr);
	if (wr->opcode == IBV_WR_BIND_MW || wr->opcode == IBV_WR_LOCAL_INV)
		wqe->wr.num_sge = 0;
	for (int i = 0; i < wqe->wr.num_sge; i++) {
		wqe->sge[i] = wr->sg_list[i];
		if (!(wr->send_flags & IBV_SEND_INLINE) || !wqe->sge[i].length)
			continue;
		memcpy(data, (const void *)(uintptr_t)wr->sg_list[i].addr, wqe->sge[i].length);
		wqe->sge[i].addr = (uintptr_t)data;
		data += wqe->sge[i].length;
	}
}

static __attribute__((noinline)) int post_later(struct soft_qp *qp, const struct ibv_send_wr *wr,
						int why)
{
	int verdict = 0;

	if (why) {
		wait_begin(qp, why);
		verdict = wait_over(qp); /* it may have no patience at all */
	}
	if (verdict) {
		qp->wait_why = 0;
		qp->sq_posted++;
		finish(qp, wr, verdict, 0);
	} else {
		enqueue(qp, wr);
	}
	return 0;
}

/* Not connected, or not any more. */
static __attribute__((noinline)) int post_unready(struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	if (ptni_soft_qp_look(qp) != IBV_QPS_ERR)
		return EINVAL;
	if (qp->sq_posted - qp->sq_freed >= qp->sq_depth)
		return ENOMEM;
	if (wr_check(qp, wr))
		return EINVAL;
	if (qp->sq_executed != qp->sq_posted) {
		enqueue(qp, wr); /* behind a LOCAL_INV that has taken effect */
		return 0;
	}
	qp->sq_posted++;
	qp->sq_executed++;
	complete(qp, wr, IBV_WC_WR_FLUSH_ERR, 0, qp->sq_executed);
	return 0;
}

static inline int post_one(struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	uint32_t len;
	int verdict;
	int rc;

	if (soft_unlikely(atomic_load_explicit(&qp->entry->gate, memory_order_relaxed) != qp->gate))
		return post_unready(qp, wr);
	if (soft_unlikely(qp->sq_posted - qp->sq_freed >= qp->sq_depth))
		return ENOMEM;
	rc = wr_check(qp, wr);
	if (soft_unlikely(rc))
		return rc;
	if (soft_unlikely(qp->sq_executed != qp->sq_posted))
		return post_later(qp, wr, 0);
	verdict = ptni_soft_run(qp, wr, &len);
	if (soft_unlikely(verdict >= AGAIN_RECV))
		return post_later(qp, wr, verdict);
	qp->sq_posted++;
	finish(qp, wr, verdict, len);
	return 0;
}

int ptni_soft_send_queue(struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	int rc;

	if (ptni_soft_qp_look(qp) != IBV_QPS_RTS)
		return post_unready(qp, wr);
	if (qp->sq_posted - qp->sq_freed >= qp->sq_depth)
		return ENOMEM;
	rc = wr_check(qp, wr);
	if (!rc)
		enqueue(qp, wr);
	return rc;
}

struct soft_wqe *ptni_soft_send_wqe(struct soft_qp *qp, uint32_t index)
{
	return wqe_at(qp, index);
}

void ptni_soft_send_finish(struct soft_qp *qp, int verdict, uint32_t len)
{
	finish(qp, &wqe_at(qp, qp->sq_executed)->wr, verdict, len);
}

/*
 * A list's work requests go to memory that is seldom in the cache, one after the other; a card has
 * several of them under way. So the bytes of the next ones are asked for while this one waits for its
 * own. The address is a guess that needs no check: a wrong one costs nothing. (Inline by force: the
 * compiler takes a function that only prefetches for one without effect, and drops calls to it.)
 */
static inline __attribute__((always_inline)) void look_ahead(const struct soft_qp *qp,
							     const struct ibv_send_wr *wr)
{
	const uint8_t *remote =
		(const uint8_t *)(uintptr_t)wr->wr.rdma.remote_addr + qp->peer_delta;
	uint32_t len = wr->num_sge ? wr->sg_list[0].length : 0;

	for (uint32_t at = 0; at < AHEAD_BYTES && at < len; at += 64)
		__builtin_prefetch(remote + at);
}

int ptni_soft_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	struct soft_qp *qp = soft_qp_of(ibqp);
	const struct ibv_send_wr *ahead = wr;
	int rc = 0;

	for (int i = 0; ahead && i < AHEAD_REQUESTS; i++, ahead = ahead->next)
		look_ahead(qp, ahead);
	for (; wr; wr = wr->next) {
		if (ahead) {
			look_ahead(qp, ahead);
			ahead = ahead->next;
		}
		rc = post_one(qp, wr);
		if (soft_unlikely(rc)) {
			*bad_wr = wr;
			break;
		}
	}
	if (qp->announced)
		ptni_soft_retire(qp);
	return rc;
}
