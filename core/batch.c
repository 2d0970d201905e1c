/* SPDX-License-Identifier: MIT */
/*
 * Batches. What happens without trouble is in this file, in order; all else is in recovery.c.
 *
 * Data path: posting and polling enter the kernel only as far as the device's driver does.
 */
#include "core/batch.h"

#include "core/client.h"

#include <errno.h>

enum {
	LANE_MASK = PTNI_LANES_MAX - 1,
	DRAIN_NS = 100000000, /* for a queue pair that was moved to error to flush */
};

void ptni_batch_init(struct ptni_batch *batch, struct ptni_op *op, unsigned node)
{
	const struct ptni_lane *lane = op->worker->peer[node]->active;

	batch->op = op;
	batch->node = (uint16_t)node;
	batch->count = 0;
	batch->atomics = 0;
	batch->reads = 0;
	batch->writes = 0;
	batch->adds = 0;
	batch->done = 0;
	batch->in_doubt = false;
	batch->lane_stamp = lane ? lane->stamp : 0;
	batch->deadline_ns = op->deadline_ns;
	batch->bytes_read = 0;
	batch->bytes_written = 0;
}

static inline struct ibv_send_wr *append(struct ptni_batch *batch, const struct ptni_window *window,
					 uint64_t addr, const void *local, uint32_t len_bytes,
					 uint32_t *rkey_out)
{
	unsigned index = batch->count++;
	struct ibv_send_wr *wr = &batch->wr[index];
	uint64_t deadline_ns = atomic_load_explicit(window->deadline_ns, memory_order_relaxed);

	assert(index < PTNI_BATCH_MAX);
	assert(window->node == batch->node && addr >= window->addr &&
	       len_bytes <= window->len_bytes &&
	       addr - window->addr <= window->len_bytes - len_bytes);
	batch->window[index] = window;
	if (deadline_ns < batch->deadline_ns)
		batch->deadline_ns = deadline_ns;
	batch->sge[index].addr = (uintptr_t)local;
	batch->sge[index].length = len_bytes;
	batch->sge[index].lkey = batch->op->worker->lkey;
	*rkey_out = window->rkey[batch->lane_stamp & LANE_MASK];
	if (__builtin_expect(!*rkey_out, 0))
		batch->lane_stamp = 0;
	wr->wr_id = (uint64_t)batch->op->slot << 8 | index;
	wr->next = wr + 1;
	wr->sg_list = &batch->sge[index];
	wr->num_sge = 1;
	wr->send_flags = 0;
	return wr;
}

void ptni_batch_read(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		     void *local, uint32_t len_bytes)
{
	uint32_t rkey;
	struct ibv_send_wr *wr = append(batch, window, addr, local, len_bytes, &rkey);

	wr->opcode = IBV_WR_RDMA_READ;
	wr->wr.rdma.remote_addr = addr;
	wr->wr.rdma.rkey = rkey;
	batch->reads++;
	batch->bytes_read += len_bytes;
}

void ptni_batch_write(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		      const void *local, uint32_t len_bytes)
{
	uint32_t rkey;
	struct ibv_send_wr *wr = append(batch, window, addr, local, len_bytes, &rkey);

	wr->opcode = IBV_WR_RDMA_WRITE;
	wr->wr.rdma.remote_addr = addr;
	wr->wr.rdma.rkey = rkey;
	if (len_bytes <= batch->op->worker->inline_bytes)
		wr->send_flags = IBV_SEND_INLINE;
	batch->writes++;
	batch->bytes_written += len_bytes;
}

static inline void append_atomic(struct ptni_batch *batch, const struct ptni_window *window,
				 uint64_t addr, uint64_t compare_add, uint64_t swap, uint64_t *old,
				 enum ibv_wr_opcode opcode)
{
	uint32_t rkey;
	struct ibv_send_wr *wr = append(batch, window, addr, old, sizeof(*old), &rkey);

	wr->opcode = opcode;
	wr->wr.atomic.remote_addr = addr;
	wr->wr.atomic.compare_add = compare_add;
	wr->wr.atomic.swap = swap;
	wr->wr.atomic.rkey = rkey;
	batch->atomics++;
	batch->bytes_read += sizeof(*old);
	batch->bytes_written += sizeof(*old);
}

void ptni_batch_cas(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		    uint64_t expected, uint64_t desired, uint64_t *old)
{
	append_atomic(batch, window, addr, expected, desired, old, IBV_WR_ATOMIC_CMP_AND_SWP);
}

void ptni_batch_faa(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		    uint64_t add, uint64_t *old)
{
	append_atomic(batch, window, addr, add, 0, old, IBV_WR_ATOMIC_FETCH_AND_ADD);
	batch->adds++;
}

static inline void count_posted(const struct ptni_batch *batch)
{
	struct ptni_counters *counters = batch->op->worker->counters;

	PTNI_COUNT(counters, doorbells);
	PTNI_COUNT(counters, round_trips);
	if (batch->reads)
		PTNI_COUNT_ADD(counters, verbs_read, batch->reads);
	if (batch->writes)
		PTNI_COUNT_ADD(counters, verbs_write, batch->writes);
	if (batch->atomics) {
		PTNI_COUNT_ADD(counters, verbs_cas, batch->atomics - batch->adds);
		PTNI_COUNT_ADD(counters, verbs_faa, batch->adds);
	}
	PTNI_COUNT_ADD(counters, bytes_read, batch->bytes_read);
	PTNI_COUNT_ADD(counters, bytes_written, batch->bytes_written);
}

/* The driver took only part of the list, or nothing. */
static int post_failed(struct ptni_batch *batch, struct ptni_lane *lane,
		       const struct ibv_send_wr *bad)
{
	struct ptni_flight *flight = ptni_batch_flight(batch);

	(void)batch->op->worker->client->fabric->ops->qp_error(lane->qp);
	lane->sq_used -= (uint32_t)(flight->count - flight->first);
	flight->status = IBV_WC_GENERAL_ERR;
	flight->bad = flight->first;
	flight->in_doubt = bad != &batch->wr[flight->first];
	flight->done = true;
	ptni_lane_break(lane, IBV_WC_GENERAL_ERR, 0, "posting a batch");
	return -EIO;
}

int ptni_batch_post(struct ptni_batch *batch, struct ptni_lane *lane, unsigned first)
{
	struct ptni_flight *flight = ptni_batch_flight(batch);
	struct ibv_send_wr *last = &batch->wr[batch->count - 1], *bad = NULL;
	int ret;

	flight->done = false;
	flight->status = IBV_WC_SUCCESS;
	flight->first = (uint8_t)first;
	flight->count = (uint8_t)batch->count;
	flight->generation = lane->generation;
	flight->lane = lane;
	last->next = NULL;
	last->send_flags |= IBV_SEND_SIGNALED;
	lane->sq_used += batch->count - first;
	ret = ibv_post_send(lane->qp, &batch->wr[first], &bad);
	if (__builtin_expect(ret, 0))
		return post_failed(batch, lane, bad);
	count_posted(batch);
	return 0;
}

/* The deadline has passed: take the lane away from under the batch, so that its end is known. */
static void cut_short(struct ptni_batch *batch)
{
	struct ptni_flight *flight = ptni_batch_flight(batch);
	struct ptn_worker *worker = batch->op->worker;
	struct ptni_wait wait;

	(void)worker->client->fabric->ops->qp_error(flight->lane->qp);
	ptni_lane_break(flight->lane, IBV_WC_RESP_TIMEOUT_ERR, 0, "an operation that timed out");
	ptni_wait_begin(&wait, worker, ptni_worker_clock(worker) + DRAIN_NS);
	while (!flight->done && !ptni_wait_turn(&wait))
		;
	if (flight->done)
		return;
	flight->status = IBV_WC_RESP_TIMEOUT_ERR;
	flight->bad = flight->first;
	flight->in_doubt = true;
	flight->done = true;
}

void ptni_batch_await(struct ptni_batch *batch)
{
	struct ptni_flight *flight = ptni_batch_flight(batch);
	struct ptni_wait wait;

	(void)ptni_worker_poll(batch->op->worker);
	if (__builtin_expect(flight->done, 1))
		return;
	ptni_wait_begin(&wait, batch->op->worker, batch->op->deadline_ns);
	wait.flag = &flight->done;
	while (!flight->done) {
		if (ptni_wait_turn(&wait) && !flight->done)
			cut_short(batch);
	}
}

int ptni_batch_run(struct ptni_batch *batch)
{
	struct ptni_op *op = batch->op;
	struct ptni_lane *lane = op->worker->peer[batch->node]->active;
	bool fresh = op->time_fresh && op->waits == op->worker->waits;
	uint64_t now_ns = fresh ? op->start_ns : ptni_worker_clock(op->worker);

	assert(batch->count);
	op->time_fresh = false;
	if (__builtin_expect(!lane || lane->stamp != batch->lane_stamp ||
				     now_ns >= batch->deadline_ns ||
				     lane->sq_used + batch->count > PTNI_LANE_SQ_DEPTH,
			     0))
		return ptni_recovery_run(batch, false);
	if (__builtin_expect(ptni_batch_post(batch, lane, 0), 0))
		return ptni_recovery_run(batch, true);
	ptni_batch_await(batch);
	if (__builtin_expect(ptni_batch_flight(batch)->status != IBV_WC_SUCCESS, 0))
		return ptni_recovery_run(batch, true);
	batch->done = batch->count;
	return 0;
}
