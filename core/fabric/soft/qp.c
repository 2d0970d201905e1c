/* SPDX-License-Identifier: MIT */
/*
 * Life of a queue pair.
 *
 *   open -> RESET --init--> INIT --connect--> RTS --(violation, overrun, error)--> ERROR
 *             ^------------------- reset ------------------------------------------'
 *
 * The gate in the segment is the truth for peers, `state` follows it: a peer that breaks us shuts
 * the gate, and we notice at the next post or poll (ptni_soft_qp_look).
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATE_NEVER ~0ull /* what `gate` holds while not connected: equal to no gate */

/* What travels between the two ends. */
struct address_blob {
	uint64_t magic;
	uint64_t nic_id;
	uint32_t qp_num;
	uint32_t version;
};

_Static_assert(sizeof(struct address_blob) <= sizeof(struct ptni_qp_address), "fits");

/* Time that the receiver asks a sender to wait, in units of 10 us, by IBTA code. */
static const uint32_t rnr_delay_10us[32] = {
	65536, 1,    2,    3,    4,    6,     8,     12,    16,    24,    32,
	48,    64,   96,   128,  192,  256,   384,   512,   768,   1024,  1536,
	2048,  3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* What opens the gate of queue pair `to` to queue pair `from`. */
static uint64_t gate_tag(uint64_t from_nic, uint32_t from, uint64_t to_nic, uint32_t to)
{
	uint64_t tag = mix(from_nic + 0x9e3779b97f4a7c15ull);

	tag = mix(tag ^ to_nic);
	tag = mix(tag ^ ((uint64_t)from << 32 | to));
	return tag | 1ull << 63;
}

/* ---- queues */

static uint32_t power_of_two(uint32_t n)
{
	uint32_t size = 1;

	while (size < n)
		size *= 2;
	return size;
}

static int attr_check(const struct ibv_pd *pd, const struct ibv_qp_init_attr *attr)
{
	const struct ibv_qp_cap *cap = &attr->cap;

	if (attr->qp_type != IBV_QPT_RC || !attr->send_cq || !attr->recv_cq)
		return -EINVAL;
	if (attr->send_cq->context != pd->context || attr->recv_cq->context != pd->context ||
	    (attr->srq && attr->srq->context != pd->context))
		return -EINVAL;
	if (!cap->max_send_wr || cap->max_send_wr > SOFT_WR_MAX ||
	    cap->max_send_sge > SOFT_SGE_MAX || cap->max_inline_data > SOFT_INLINE_MAX)
		return -EINVAL;
	if (!attr->srq && (cap->max_recv_wr > SOFT_WR_MAX || cap->max_recv_sge > SOFT_SGE_MAX))
		return -EINVAL;
	return 0;
}

static int send_queue_make(struct soft_qp *qp, const struct ibv_qp_cap *cap)
{
	uint32_t size = power_of_two(cap->max_send_wr);

	qp->sq_depth = cap->max_send_wr;
	qp->sge_max = cap->max_send_sge;
	qp->inline_max = cap->max_inline_data;
	qp->wqe_mask = size - 1;
	qp->wqe_stride = (sizeof(struct soft_wqe) + qp->sge_max * sizeof(struct ibv_sge) +
			  qp->inline_max + SEGMENT_LINE - 1) &
			 ~(size_t)(SEGMENT_LINE - 1);
	qp->wqes = malloc(size * qp->wqe_stride); /* touched only by what has to wait */
	return qp->wqes ? 0 : -ENOMEM;
}

/* With a shared receive queue: the ring of slots that arrived for this queue pair. */
static int recv_queue_make(struct soft_qp *qp, const struct ibv_qp_cap *cap)
{
	uint64_t stride = qp->srq ? sizeof(uint32_t) : ptni_soft_recv_stride(cap->max_recv_sge);
	uint32_t depth = qp->srq ? qp->srq->depth : cap->max_recv_wr;
	uint32_t size = power_of_two(depth);
	int rc;

	qp->rq_depth = qp->srq ? 0 : depth;
	qp->rq_sge_max = cap->max_recv_sge;
	qp->rq_bytes = size * stride;
	rc = ptni_soft_ring_alloc(qp->nic, qp->rq_bytes, &qp->entry->rq_offset);
	if (rc)
		return rc;
	qp->rq = (uint8_t *)qp->nic->segment + qp->entry->rq_offset;
	qp->entry->rq_mask = size - 1;
	qp->entry->rq_stride = (uint32_t)stride;
	return 0;
}

static int number_take(struct soft_qp *qp)
{
	struct soft_nic *nic = qp->nic;
	uint32_t generation = 0;
	int rc;

	pthread_mutex_lock(&nic->lock);
	rc = ptni_soft_ids_take(&nic->qp_ids, &qp->index);
	if (!rc) {
		generation = nic->qp_generation[qp->index] + 1u;
		nic->qp_generation[qp->index] =
			(uint16_t)(generation % (SEGMENT_QP_GENERATIONS - 1));
	}
	pthread_mutex_unlock(&nic->lock);
	if (!rc)
		qp->qp.qp_num = generation << SEGMENT_QP_BITS | qp->index;
	return rc;
}

static void number_give(struct soft_qp *qp)
{
	pthread_mutex_lock(&qp->nic->lock);
	ptni_soft_ids_give(&qp->nic->qp_ids, qp->index);
	pthread_mutex_unlock(&qp->nic->lock);
}

/* Nobody can reach the entry: its gate is shut since the last owner closed it. */
static int entry_make(struct soft_qp *qp, struct ibv_pd *pd, const struct ibv_qp_init_attr *attr)
{
	int rc;

	qp->entry = &qp->nic->segment->qp[qp->index];
	qp->entry->qp_num = qp->qp.qp_num;
	qp->entry->pd = soft_pd_of(pd)->id;
	qp->entry->recv_cq = qp->recv_cq->index;
	qp->entry->srq = qp->srq ? qp->srq->index + 1 : 0;
	rc = recv_queue_make(qp, &attr->cap);
	if (rc)
		return rc;
	atomic_store(&qp->entry->arrived, 0);
	atomic_store(&qp->entry->rq_posted, 0);
	atomic_store(&qp->entry->gate, (uint64_t)IBV_QPS_RESET);
	return 0;
}

static void attach(struct soft_qp *qp)
{
	qp->sender_next = qp->send_cq->senders;
	qp->send_cq->senders = qp;
	qp->receiver_next = qp->recv_cq->receivers;
	qp->recv_cq->receivers = qp;
	if (qp->srq)
		qp->srq->users++;
	atomic_fetch_add(&soft_pd_of(qp->qp.pd)->users, 1);
	atomic_store_explicit(&qp->nic->qps[qp->index], qp, memory_order_release);
}

static void detach(struct soft_qp *qp)
{
	struct soft_qp **link = &qp->send_cq->senders;

	atomic_store_explicit(&qp->nic->qps[qp->index], NULL, memory_order_release);
	while (*link != qp)
		link = &(*link)->sender_next;
	*link = qp->sender_next;
	link = &qp->recv_cq->receivers;
	while (*link != qp)
		link = &(*link)->receiver_next;
	*link = qp->receiver_next;
	if (qp->srq)
		qp->srq->users--;
	atomic_fetch_sub(&soft_pd_of(qp->qp.pd)->users, 1);
}

static void fields_init(struct soft_qp *qp, struct ibv_pd *pd, const struct ibv_qp_init_attr *attr)
{
	memset(qp, 0, sizeof(*qp));
	qp->nic = soft_nic_of(pd->context);
	qp->segment = qp->nic->segment;
	qp->gate = GATE_NEVER;
	qp->state = IBV_QPS_RESET;
	qp->pd_id = soft_pd_of(pd)->id;
	qp->sig_all = attr->sq_sig_all;
	qp->send_cq = soft_cq_of(attr->send_cq);
	qp->recv_cq = soft_cq_of(attr->recv_cq);
	qp->srq = attr->srq ? soft_srq_of(attr->srq) : NULL;
	qp->qp.context = pd->context;
	qp->qp.qp_context = attr->qp_context;
	qp->qp.pd = pd;
	qp->qp.send_cq = attr->send_cq;
	qp->qp.recv_cq = attr->recv_cq;
	qp->qp.srq = attr->srq;
	qp->qp.qp_type = IBV_QPT_RC;
	qp->qp.state = IBV_QPS_RESET;
}

int ptni_soft_qp_open(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out)
{
	int rc = attr_check(pd, attr);
	struct soft_qp *qp;

	if (rc)
		return rc;
	qp = aligned_alloc(SEGMENT_LINE, sizeof(*qp));
	if (!qp)
		return -ENOMEM;
	fields_init(qp, pd, attr);
	rc = send_queue_make(qp, &attr->cap);
	rc = rc ? rc : number_take(qp);
	if (rc)
		goto fail;
	rc = entry_make(qp, pd, attr);
	if (rc) {
		number_give(qp);
		goto fail;
	}
	qp->qp.handle = qp->index;
	attach(qp);
	*qp_out = &qp->qp;
	return 0;
fail:
	free(qp->wqes);
	free(qp);
	return rc;
}

/* ---- state */

static void state_set(struct soft_qp *qp, enum ibv_qp_state state)
{
	qp->state = state;
	qp->qp.state = state;
	if (state != IBV_QPS_RTS)
		qp->gate = GATE_NEVER;
}

void ptni_soft_qp_break(struct soft_qp *qp)
{
	if (qp->state == IBV_QPS_ERR)
		return;
	atomic_exchange(&qp->entry->gate, (uint64_t)IBV_QPS_ERR);
	state_set(qp, IBV_QPS_ERR);
	ptni_soft_send_flush(qp);
	ptni_soft_recv_mark(qp); /* the RECVs are flushed by the poll of their own queue */
}

enum ibv_qp_state ptni_soft_qp_look(struct soft_qp *qp)
{
	if (qp->state == IBV_QPS_RTS &&
	    atomic_load_explicit(&qp->entry->gate, memory_order_acquire) != qp->gate)
		ptni_soft_qp_break(qp);
	return qp->state;
}

int ptni_soft_qp_state(struct ibv_qp *qp, enum ibv_qp_state *state_out)
{
	*state_out = ptni_soft_qp_look(soft_qp_of(qp));
	return 0;
}

/*
 * The gate is shut. Waits for the requester that may be inside, then moves `active` to a new epoch,
 * so that one who is about to announce itself cannot (segment.h, O3).
 */
static int entry_renew(struct qp_entry *entry)
{
	for (int tries = 0; tries < 64; tries++) {
		uint64_t active;
		int rc = ptni_soft_settle(entry);

		if (rc)
			return rc;
		active = atomic_load(&entry->active);
		if ((active & 1) && !ptni_soft_settled(entry, active))
			continue;
		if (atomic_compare_exchange_strong(&entry->active, &active,
						   ((active >> 32) + 1) << 32))
			return 0;
	}
	return -EBUSY;
}

static void arrivals_clear(struct soft_qp *qp)
{
	_Atomic uint64_t *word = &qp->recv_cq->entry->arrivals[qp->index / 64];

	atomic_fetch_and(word, ~(1ull << qp->index % 64));
}

/* Shuts the gate, and drops work and completions. -EBUSY: a requester does not come out. */
static int shut(struct soft_qp *qp, uint64_t gate)
{
	int rc;

	atomic_exchange(&qp->entry->gate, gate);
	state_set(qp, IBV_QPS_ERR);
	if (qp->inv_entry && ptni_soft_settle(qp->inv_entry))
		return -EBUSY;
	rc = entry_renew(qp->entry);
	if (rc)
		return rc;
	ptni_soft_send_unwait(qp);
	qp->inv_entry = NULL;
	if (qp->srq) /* what arrived goes through completions, which are dropped next */
		ptni_soft_recv_drop(qp);
	ptni_soft_cq_purge(qp->send_cq, qp);
	ptni_soft_cq_purge(qp->recv_cq, qp);
	arrivals_clear(qp);
	if (qp->peer_map)
		ptni_soft_map_put(qp->peer_map);
	qp->peer_map = NULL;
	qp->peer = NULL;
	return 0;
}

int ptni_soft_qp_reset(struct ibv_qp *ibqp)
{
	struct soft_qp *qp = soft_qp_of(ibqp);
	int rc = shut(qp, IBV_QPS_RESET);

	if (rc)
		return rc;
	qp->sq_posted = 0;
	qp->sq_executed = 0;
	qp->sq_freed = 0;
	qp->rq_posted = 0;
	qp->rq_collected = 0;
	qp->rq_freed = 0;
	qp->rq_settled = false;
	atomic_store(&qp->entry->arrived, 0);
	atomic_store(&qp->entry->rq_posted, 0);
	state_set(qp, IBV_QPS_RESET);
	return 0;
}

int ptni_soft_qp_error(struct ibv_qp *ibqp)
{
	struct soft_qp *qp = soft_qp_of(ibqp);

	if (qp->state != IBV_QPS_ERR)
		ptni_soft_qp_break(qp);
	return ptni_soft_settle(qp->entry);
}

int ptni_soft_qp_error_try(struct ibv_qp *ibqp)
{
	struct soft_qp *qp = soft_qp_of(ibqp);
	uint64_t seen;

	if (qp->state != IBV_QPS_ERR)
		ptni_soft_qp_break(qp);
	seen = atomic_load(&qp->entry->active);
	return ptni_soft_settled(qp->entry, seen) ? 0 : -EBUSY;
}

int ptni_soft_qp_close(struct ibv_qp *ibqp)
{
	struct soft_qp *qp = soft_qp_of(ibqp);
	int rc = shut(qp, GATE_CLOSED);

	if (rc)
		return rc;
	if (qp->windows)
		ptni_soft_mw_unbind_qp(qp->nic, ibqp->qp_num);
	detach(qp);
	ptni_soft_ring_free(qp->nic, qp->entry->rq_offset, qp->rq_bytes);
	number_give(qp);
	free(qp->wqes);
	free(qp);
	return 0;
}

/* ---- connecting */

int ptni_soft_qp_address(struct ibv_qp *qp, struct ptni_qp_address *address_out)
{
	struct address_blob blob = {
		.magic = SEGMENT_MAGIC,
		.nic_id = soft_qp_of(qp)->nic->id,
		.qp_num = qp->qp_num,
		.version = SEGMENT_VERSION,
	};

	memset(address_out, 0, sizeof(*address_out));
	memcpy(address_out->bytes, &blob, sizeof(blob));
	return 0;
}

static int params_check(const struct ptni_qp_params *params)
{
	int known = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
		    IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND;

	if ((params->access_flags & ~known) || params->retry_count > 6 || params->rnr_retry > 7 ||
	    params->timeout > 31 || params->min_rnr_timer > 31 ||
	    params->rd_atomic > SOFT_RD_ATOMIC_MAX)
		return -EINVAL;
	return 0;
}

int ptni_soft_qp_init(struct ibv_qp *ibqp, const struct ptni_qp_params *params)
{
	struct soft_qp *qp = soft_qp_of(ibqp);
	int rc = params_check(params);

	if (rc)
		return rc;
	if (qp->state != IBV_QPS_RESET)
		return -EINVAL;
	qp->params = *params;
	atomic_store(&qp->entry->gate, (uint64_t)IBV_QPS_INIT);
	state_set(qp, IBV_QPS_INIT);
	return 0;
}

static int blob_check(const struct address_blob *blob)
{
	if (blob->magic != SEGMENT_MAGIC)
		return -EINVAL;
	return blob->version == SEGMENT_VERSION ? 0 : -EPROTONOSUPPORT;
}

/* Our side is ready to send; whether the peer is, shows when we do. */
static void peer_set(struct soft_qp *qp, struct soft_map *map, uint32_t qp_num)
{
	qp->peer_map = map;
	qp->peer_segment = map->segment;
	qp->peer_delta = map->delta;
	qp->peer_local = map->pidfd < 0;
	qp->peer = &map->segment->qp[qp_num & (SEGMENT_QP_MAX - 1)];
	qp->peer_gate = gate_tag(qp->nic->id, qp->qp.qp_num, map->nic_id, qp_num);
	qp->active = 0; /* learnt at the first announcement */
}

static void gate_open(struct soft_qp *qp, uint64_t peer_nic, uint32_t peer_num)
{
	struct qp_entry *entry = qp->entry;

	entry->access = (uint32_t)qp->params.access_flags;
	entry->rnr_delay_us = rnr_delay_10us[qp->params.min_rnr_timer] * 10;
	atomic_store_explicit(&entry->peer_nic, peer_nic, memory_order_relaxed);
	qp->rd_atomic = qp->params.rd_atomic != 0;
	state_set(qp, IBV_QPS_RTS);
	qp->gate = gate_tag(peer_nic, peer_num, qp->nic->id, qp->qp.qp_num);
	atomic_store(&entry->gate, qp->gate);
}

int ptni_soft_qp_connect(struct ibv_qp *ibqp, const struct ptni_qp_params *params,
			 const struct ptni_qp_address *peer)
{
	struct soft_qp *qp = soft_qp_of(ibqp);
	struct address_blob blob;
	struct soft_map *map;
	int rc = params_check(params);

	memcpy(&blob, peer->bytes, sizeof(blob));
	rc = rc ? rc : blob_check(&blob);
	if (rc)
		return rc;
	if (qp->state != IBV_QPS_INIT)
		return -EINVAL;
	map = ptni_soft_map_find(blob.nic_id);
	if (!map) {
		ptni_soft_channels_greet(qp->nic);
		map = ptni_soft_map_find(blob.nic_id);
	}
	if (!map)
		return -ENOTCONN; /* no channel to that NIC was ever made, or it is gone */
	if (map->pidfd >= 0 && !qp->nic->shared) {
		ptni_soft_map_put(map);
		return -EINVAL; /* the peer could not reach our memory */
	}
	qp->params = *params;
	peer_set(qp, map, blob.qp_num);
	gate_open(qp, blob.nic_id, blob.qp_num);
	return 0;
}
