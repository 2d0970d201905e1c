/* SPDX-License-Identifier: MIT */
/*
 * One work request: validate it against the peer's segment and execute it there, at once. Whoever
 * drives the NIC (a post, a poll that retries, an event queue) calls ptni_soft_run and completes the
 * work request by its verdict; nothing here queues, waits or completes.
 *
 * Data path: all of it.
 */
#include "core/fabric/soft/access.h"

#include <string.h>

static inline bool peer_open(const struct soft_qp *qp)
{
	return soft_likely(atomic_load_explicit(&qp->peer->gate, memory_order_acquire) ==
				   qp->peer_gate &&
			   !soft_segment_dead(qp->peer_segment));
}

/*
 * Announces this requester on the peer's entry (segment.h, O2, O3). False: it is not ours at the moment.
 * The gate is looked at before, so that nobody but the connected requester is ever seen inside, and
 * by the caller again afterwards.
 */
static bool announce(struct soft_qp *qp)
{
	for (int tries = 0; !qp->announced && tries < 3; tries++) {
		uint64_t even = qp->active;

		if (!peer_open(qp))
			return false;
		if (soft_likely(
			    atomic_compare_exchange_strong(&qp->peer->active, &even, even | 1))) {
			qp->announced = true;
			break;
		}
		if (even & 1)
			return false;
		qp->active = even; /* first use of this connection */
	}
	return qp->announced;
}

void ptni_soft_retire(struct soft_qp *qp)
{
	uint64_t epoch = qp->active & ~0xffffffffull;

	if (qp->arrival) {
		ptni_soft_deliver_mark(qp->peer_map, qp->peer);
		qp->arrival = false;
	}
	qp->active = epoch | ((qp->active + 2) & 0xffffffffull);
	qp->announced = false;
	atomic_store_explicit(&qp->peer->active, qp->active, memory_order_release);
}

/* The gate is not open to us. */
static int peer_shut(struct soft_qp *qp)
{
	uint64_t gate = atomic_load(&qp->peer->gate);

	if (soft_segment_dead(qp->peer_segment))
		return soft_verdict(IBV_WC_RETRY_EXC_ERR, CAUSE_PEER_DEAD);
	if (gate == IBV_QPS_ERR || gate == GATE_CLOSED)
		return soft_verdict(IBV_WC_RETRY_EXC_ERR, CAUSE_PEER_STATE);
	return AGAIN_PEER;
}

/* The responder's verdict on a bad request: its queue pair breaks as well. */
static __attribute__((noinline)) int refuse(struct soft_qp *qp, enum ibv_wc_status status,
					    enum soft_cause cause)
{
	uint64_t gate = qp->peer_gate;

	if (announce(qp)) {
		atomic_compare_exchange_strong(&qp->peer->gate, &gate, (uint64_t)IBV_QPS_ERR);
		qp->arrival = true;
	}
	return soft_verdict(status, cause);
}

int ptni_soft_refuse(struct soft_qp *qp, enum ibv_wc_status status, enum soft_cause cause)
{
	return peer_open(qp) ? refuse(qp, status, cause) : peer_shut(qp);
}

/* The local pieces of a work request; `rights` that their keys must have. */
static inline int spans_fill(struct soft_qp *qp, const struct ibv_send_wr *wr, uint64_t rights,
			     struct soft_span *spans, uint64_t *len_out)
{
	bool keyless = (wr->send_flags & IBV_SEND_INLINE) != 0;
	struct access_grip grip;
	uint64_t len = 0;

	for (int i = 0; i < wr->num_sge; i++) {
		const struct ibv_sge *sge = &wr->sg_list[i];
		enum soft_cause cause;

		spans[i].len = sge->length;
		spans[i].ptr = (uint8_t *)(uintptr_t)sge->addr;
		len += sge->length;
		if (soft_unlikely(!sge->length || keyless))
			continue;
		cause = access_local(qp->segment, qp->pd_id, sge, rights, &grip);
		if (soft_unlikely(cause))
			return soft_verdict(IBV_WC_LOC_PROT_ERR, cause);
		spans[i].ptr = grip.ptr;
	}
	if (soft_unlikely(len > SOFT_MESSAGE_MAX))
		return soft_verdict(IBV_WC_LOC_LEN_ERR, CAUSE_LENGTH);
	*len_out = len;
	return 0;
}

static void spans_scatter(const struct soft_span *spans, int count, const uint8_t *remote)
{
	for (int i = 0; i < count; i++) {
		copy_in(spans[i].ptr, remote, spans[i].len);
		remote += spans[i].len;
	}
}

static void spans_gather(const struct soft_span *spans, int count, uint8_t *remote)
{
	for (int i = 0; i < count; i++) {
		copy_out(remote, spans[i].ptr, spans[i].len);
		remote += spans[i].len;
	}
}

static __attribute__((noinline)) int read_wipe(struct soft_qp *qp, const struct ibv_send_wr *wr,
					       const struct soft_span *spans)
{
	for (int i = 0; i < wr->num_sge; i++)
		memset(spans[i].ptr, 0, spans[i].len);
	if (!peer_open(qp))
		return peer_shut(qp);
	return refuse(qp, IBV_WC_REM_ACCESS_ERR, CAUSE_KEY_REVOKED);
}

static int run_read(struct soft_qp *qp, const struct ibv_send_wr *wr, uint32_t *len_out)
{
	struct soft_span spans[SOFT_SGE_MAX];
	struct access_grip grip;
	enum soft_cause cause;
	uint64_t len = 0;
	int verdict = spans_fill(qp, wr, KEY_RIGHTS(IBV_ACCESS_LOCAL_WRITE), spans, &len);

	if (soft_unlikely(verdict))
		return verdict;
	if (PTNI_TSAN && !announce(qp))
		return peer_shut(qp);
again:
	if (!peer_open(qp))
		return peer_shut(qp);
	if (soft_unlikely(!(qp->peer->access & IBV_ACCESS_REMOTE_READ)))
		return refuse(qp, IBV_WC_REM_INV_REQ_ERR, CAUSE_QP_RIGHTS);
	*len_out = (uint32_t)len;
	if (soft_unlikely(!len))
		return IBV_WC_SUCCESS;
	cause = access_remote(qp, wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, len,
			      KEY_RIGHTS(IBV_ACCESS_REMOTE_READ), &grip);
	if (soft_unlikely(cause))
		return refuse(qp, IBV_WC_REM_ACCESS_ERR, cause);
	if (soft_unlikely((grip.state & KEY_FOREIGN) && !qp->announced)) {
		if (!announce(qp))
			return peer_shut(qp);
		goto again; /* once: what we saw before does not count */
	}
	spans_scatter(spans, wr->num_sge, grip.ptr);
	copy_fence(memory_order_acquire);
	if (soft_unlikely(atomic_load_explicit(&grip.key->state, memory_order_acquire) !=
				  grip.state ||
			  !peer_open(qp)))
		return read_wipe(qp, wr, spans);
	return IBV_WC_SUCCESS;
}

static int run_write(struct soft_qp *qp, const struct ibv_send_wr *wr, uint32_t *len_out)
{
	bool imm = wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
	struct soft_span spans[SOFT_SGE_MAX];
	struct soft_delivery delivery;
	struct access_grip grip = { .ptr = NULL };
	enum soft_cause cause;
	uint64_t len = 0;
	int verdict = spans_fill(qp, wr, 0, spans, &len);

	if (soft_unlikely(verdict))
		return verdict;
	if (soft_unlikely(!announce(qp) || !peer_open(qp)))
		return peer_shut(qp);
	if (soft_unlikely(!(qp->peer->access & IBV_ACCESS_REMOTE_WRITE)))
		return refuse(qp, IBV_WC_REM_INV_REQ_ERR, CAUSE_QP_RIGHTS);
	if (soft_likely(len)) {
		cause = access_remote(qp, wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, len,
				      KEY_RIGHTS(IBV_ACCESS_REMOTE_WRITE), &grip);
		if (soft_unlikely(cause))
			return refuse(qp, IBV_WC_REM_ACCESS_ERR, cause);
	}
	if (imm) {
		verdict = ptni_soft_deliver_take(qp, &delivery);
		if (verdict)
			return verdict;
	}
	*len_out = (uint32_t)len;
	spans_gather(spans, wr->num_sge, grip.ptr);
	if (imm)
		ptni_soft_deliver_done(qp, &delivery, wr, len);
	return IBV_WC_SUCCESS;
}

/* The 8 bytes that were there before, to the requester's pieces. */
static void atomic_result(const struct soft_span *spans, int count, uint64_t old)
{
	const uint8_t *bytes = (const uint8_t *)&old;

	for (int i = 0; i < count; i++) {
		memcpy(spans[i].ptr, bytes, spans[i].len);
		bytes += spans[i].len;
	}
}

static uint64_t atomic_execute(const struct ibv_send_wr *wr, uint8_t *remote)
{
	copy_word *word = (copy_word *)(void *)remote;
	uint64_t old = wr->wr.atomic.compare_add;

	if (wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
		return __atomic_fetch_add(word, old, __ATOMIC_SEQ_CST);
	__atomic_compare_exchange_n(word, &old, wr->wr.atomic.swap, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return old;
}

static int run_atomic(struct soft_qp *qp, const struct ibv_send_wr *wr, uint32_t *len_out)
{
	struct soft_span spans[SOFT_SGE_MAX];
	struct access_grip grip;
	enum soft_cause cause;
	uint64_t len = 0;
	int verdict = spans_fill(qp, wr, KEY_RIGHTS(IBV_ACCESS_LOCAL_WRITE), spans, &len);

	if (soft_unlikely(verdict))
		return verdict;
	if (soft_unlikely(len != sizeof(uint64_t)))
		return soft_verdict(IBV_WC_LOC_LEN_ERR, CAUSE_LENGTH);
	if (soft_unlikely(!announce(qp) || !peer_open(qp)))
		return peer_shut(qp);
	if (soft_unlikely(!(qp->peer->access & IBV_ACCESS_REMOTE_ATOMIC)))
		return refuse(qp, IBV_WC_REM_INV_REQ_ERR, CAUSE_QP_RIGHTS);
	if (soft_unlikely(wr->wr.atomic.remote_addr & 7))
		return refuse(qp, IBV_WC_REM_INV_REQ_ERR, CAUSE_ALIGNMENT);
	cause = access_remote(qp, wr->wr.atomic.rkey, wr->wr.atomic.remote_addr, len,
			      KEY_RIGHTS(IBV_ACCESS_REMOTE_ATOMIC), &grip);
	if (soft_unlikely(cause))
		return refuse(qp, IBV_WC_REM_ACCESS_ERR, cause);
	if (soft_unlikely((uintptr_t)grip.ptr & 7)) /* a zero-based window at an odd place */
		return refuse(qp, IBV_WC_REM_INV_REQ_ERR, CAUSE_ALIGNMENT);
	*len_out = (uint32_t)len;
	atomic_result(spans, wr->num_sge, atomic_execute(wr, grip.ptr));
	return IBV_WC_SUCCESS;
}

static int run_send(struct soft_qp *qp, const struct ibv_send_wr *wr, uint32_t *len_out)
{
	struct soft_span spans[SOFT_SGE_MAX];
	struct soft_delivery delivery;
	uint64_t len = 0;
	int verdict = spans_fill(qp, wr, 0, spans, &len);

	if (soft_unlikely(verdict))
		return verdict;
	if (soft_unlikely(!announce(qp) || !peer_open(qp)))
		return peer_shut(qp);
	verdict = ptni_soft_deliver_take(qp, &delivery);
	if (soft_unlikely(verdict))
		return verdict;
	*len_out = (uint32_t)len;
	verdict = ptni_soft_deliver_data(qp, &delivery, spans, (uint32_t)wr->num_sge, len);
	if (soft_unlikely(verdict))
		return refuse(qp, (enum ibv_wc_status)(verdict & 0xff),
			      (enum soft_cause)(verdict >> 8));
	ptni_soft_deliver_done(qp, &delivery, wr, len);
	return IBV_WC_SUCCESS;
}

/* All that went before is complete, so nobody needs to see us inside while we wait for others. */
static int run_invalidate(struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	if (qp->announced)
		ptni_soft_retire(qp);
	return ptni_soft_run_invalidate(qp, wr->invalidate_rkey);
}

int ptni_soft_run(struct soft_qp *qp, const struct ibv_send_wr *wr, uint32_t *len_out)
{
	*len_out = 0;
	switch (wr->opcode) {
	case IBV_WR_RDMA_READ:
		return run_read(qp, wr, len_out);
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return run_write(qp, wr, len_out);
	case IBV_WR_ATOMIC_CMP_AND_SWP:
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		return run_atomic(qp, wr, len_out);
	case IBV_WR_SEND:
	case IBV_WR_SEND_WITH_IMM:
	case IBV_WR_SEND_WITH_INV:
		return run_send(qp, wr, len_out);
	case IBV_WR_BIND_MW:
		return ptni_soft_run_bind(qp, wr);
	case IBV_WR_LOCAL_INV:
		return run_invalidate(qp, wr);
	default:
		return soft_verdict(IBV_WC_LOC_QP_OP_ERR, CAUSE_NONE);
	}
}
