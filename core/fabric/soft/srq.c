/* SPDX-License-Identifier: MIT */
/*
 * Shared receive queues, the owner's side. A slot holds one work request; the ring says in which
 * order slots were posted. Peers take slots (deliver.c) and may finish them in any order.
 *
 *   slot:  free --post--> posted(g) --a peer--> taken(g, queue pair) --poll--> collected(g) --> free
 *                            ^-- reclaim: the taker's queue pair broke before it finished --'
 *
 * A ring cell is {generation g, slot}: a cell left behind by a slot that went another way matches no
 * claim word any more. The ring is twice as long as there are slots, so a post finds room after it
 * has helped `head` over such cells.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <stdlib.h>

static int srq_rings(struct soft_srq *srq, uint32_t size)
{
	uint64_t ring_bytes = 2ull * size * sizeof(uint64_t);
	uint64_t stride = ptni_soft_recv_stride(srq->sge_max);
	uint64_t offset;
	int rc;

	srq->bytes = ring_bytes + size * stride;
	rc = ptni_soft_ring_alloc(srq->nic, srq->bytes, &offset);
	if (rc)
		return rc;
	srq->ring = (_Atomic uint64_t *)(void *)((uint8_t *)srq->nic->segment + offset);
	srq->slots = (uint8_t *)srq->nic->segment + offset + ring_bytes;
	atomic_store(&srq->entry->head, 0);
	atomic_store(&srq->entry->tail, 0);
	srq->entry->pd = soft_pd_of(srq->srq.pd)->id;
	srq->entry->ring_mask = 2 * size - 1;
	srq->entry->slots = srq->depth;
	srq->entry->stride = (uint32_t)stride;
	srq->entry->ring_offset = offset;
	srq->entry->slots_offset = offset + ring_bytes;
	return 0;
}

static int srq_build(struct soft_srq *srq)
{
	uint32_t size = 64; /* slots begin on a line of their own */
	int rc;

	while (size < srq->depth)
		size *= 2;
	srq->idle = malloc(srq->depth * sizeof(*srq->idle));
	if (!srq->idle)
		return -ENOMEM;
	for (uint32_t i = 0; i < srq->depth; i++)
		srq->idle[i] = srq->depth - 1 - i;
	srq->idle_count = srq->depth;
	pthread_mutex_lock(&srq->nic->lock);
	rc = ptni_soft_ids_take(&srq->nic->srq_ids, &srq->index);
	pthread_mutex_unlock(&srq->nic->lock);
	if (rc)
		return rc;
	srq->entry = &srq->nic->segment->srq[srq->index];
	rc = srq_rings(srq, size);
	if (rc) {
		pthread_mutex_lock(&srq->nic->lock);
		ptni_soft_ids_give(&srq->nic->srq_ids, srq->index);
		pthread_mutex_unlock(&srq->nic->lock);
	}
	return rc;
}

int ptni_soft_srq_open(struct ibv_pd *pd, uint32_t wr_max, uint32_t sge_max,
		       struct ibv_srq **srq_out)
{
	struct soft_srq *srq;
	int rc;

	if (!wr_max || wr_max > SOFT_WR_MAX || !sge_max || sge_max > SOFT_SGE_MAX)
		return -EINVAL;
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return -ENOMEM;
	srq->nic = soft_nic_of(pd->context);
	srq->depth = wr_max;
	srq->sge_max = sge_max;
	srq->srq.context = pd->context;
	srq->srq.pd = pd;
	rc = srq_build(srq);
	if (rc) {
		free(srq->idle);
		free(srq);
		return rc;
	}
	srq->srq.handle = srq->index;
	atomic_fetch_add(&soft_pd_of(pd)->users, 1);
	*srq_out = &srq->srq;
	return 0;
}

int ptni_soft_srq_close(struct ibv_srq *ibsrq)
{
	struct soft_srq *srq = soft_srq_of(ibsrq);

	if (srq->users)
		return -EBUSY;
	ptni_soft_ring_free(srq->nic, srq->entry->ring_offset, srq->bytes);
	pthread_mutex_lock(&srq->nic->lock);
	ptni_soft_ids_give(&srq->nic->srq_ids, srq->index);
	pthread_mutex_unlock(&srq->nic->lock);
	atomic_fetch_sub(&soft_pd_of(ibsrq->pd)->users, 1);
	free(srq->idle);
	free(srq);
	return 0;
}

/* Makes room in the ring: moves head over cells that nobody can take any more. */
static bool ring_room(struct soft_srq *srq, uint32_t tail)
{
	uint32_t head = atomic_load(&srq->entry->head);

	while (tail - head > srq->entry->ring_mask) {
		uint64_t cell = atomic_load(&srq->ring[head & srq->entry->ring_mask]);
		struct recv_wqe *wqe = soft_srq_slot(srq, (uint32_t)cell);

		if (atomic_load(&wqe->claim) == claim_word((uint32_t)(cell >> 32), CLAIM_POSTED, 0))
			return false;
		if (atomic_compare_exchange_strong(&srq->entry->head, &head, head + 1))
			head++;
	}
	return true;
}

static void slot_post(struct soft_srq *srq, uint32_t slot)
{
	struct recv_wqe *wqe = soft_srq_slot(srq, slot);
	uint32_t tail = atomic_load_explicit(&srq->entry->tail, memory_order_relaxed);
	uint32_t generation = (uint32_t)(atomic_load(&wqe->claim) >> 32) + 1;

	ring_room(srq, tail); /* there are twice as many cells as posted slots: cannot fail */
	atomic_store_explicit(&srq->ring[tail & srq->entry->ring_mask],
			      (uint64_t)generation << 32 | slot, memory_order_relaxed);
	atomic_store_explicit(&wqe->claim, claim_word(generation, CLAIM_POSTED, 0),
			      memory_order_release);
	atomic_store_explicit(&srq->entry->tail, tail + 1, memory_order_release);
}

int ptni_soft_post_srq_recv(struct ibv_srq *ibsrq, struct ibv_recv_wr *wr,
			    struct ibv_recv_wr **bad_wr)
{
	struct soft_srq *srq = soft_srq_of(ibsrq);
	int rc = 0;

	for (; wr; wr = wr->next) {
		uint32_t slot;

		if (!srq->idle_count) {
			rc = ENOMEM;
			break;
		}
		slot = srq->idle[srq->idle_count - 1];
		rc = ptni_soft_recv_fill(srq->nic, soft_srq_slot(srq, slot), wr, srq->sge_max);
		if (rc)
			break;
		srq->idle_count--;
		slot_post(srq, slot);
	}
	if (rc)
		*bad_wr = wr;
	return rc;
}

void ptni_soft_srq_free(struct soft_srq *srq, uint32_t slot)
{
	srq->idle[srq->idle_count++] = slot;
}

/* Slots that a broken queue pair took and did not deliver go back to the end of the queue. */
void ptni_soft_srq_reclaim(struct soft_srq *srq, uint32_t qp_num)
{
	for (uint32_t slot = 0; slot < srq->depth; slot++) {
		uint64_t claim = atomic_load(&soft_srq_slot(srq, slot)->claim);

		if ((uint32_t)claim == (uint32_t)claim_word(0, CLAIM_TAKEN, qp_num))
			slot_post(srq, slot);
	}
}
