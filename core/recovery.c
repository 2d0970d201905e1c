/* SPDX-License-Identifier: MIT */
/*
 * A batch's long way: its lane broke, or it cannot be posted right now.
 *
 * What became of each request of a batch that failed at request `bad` (completion.c):
 *
 *   0..bad-1    executed
 *   bad..       certainly not executed (refused, or behind a refused one): posted again elsewhere
 *               in doubt (the transport failed): posted again if repeating does no harm; else fenced
 *
 * 1. A READ may be repeated at once. WRITEs go to memory that nothing points at yet, so they may be repeated
 *    too, but only once the old lane is fenced: a late first copy must not land after the second.
 * 2. Atomics in doubt are never repeated. The old lane is fenced, so that what is read afterwards is final,
 *    and the caller is told PTN_E_OUTCOME_UNKNOWN.
 * 3. A request that was itself refused gets a second chance on another lane, because its key may have been
 *    just then replaced; refused again it is -EACCES. It gets none when the lease is over, which its word
 *    tells if we have not heard, nor when the window never carried the right: that costs one lane.
 * 4. Each round costs a lane; after ATTEMPTS_MAX of them the batch gives up.
 */
#include "core/base/log.h"
#include "core/base/planted.h"
#include "core/batch.h"
#include "core/client.h"

#include <errno.h>

enum {
	ATTEMPTS_MAX = 2 * PTNI_LANES_MAX,
	NOT_REFUSED = PTNI_BATCH_MAX,
	FENCE_TIMEOUT_DIVISOR = 12, /* of 3/4 of a term: a sixteenth */
};
/* The least time to wait for a fence, but no more than a part of the term: see limits_apply in client.c. */
#define FENCE_NS UINT64_C(1000000000)

struct recovery {
	struct ptni_batch *batch;
	struct ptn_worker *worker;
	struct ptni_peer *peer;
	unsigned first; /* next request to post */
	unsigned refused; /* request that was refused once */
	uint32_t wc_status, vendor_error; /* of the last failure */
};

/* --- before posting ----------------------------------------------------------------------------- */

static uint64_t deadline_of(const struct recovery *r)
{
	uint64_t least_ns = UINT64_MAX;

	for (unsigned i = r->first; i < r->batch->count; i++) {
		uint64_t deadline_ns = atomic_load_explicit(r->batch->window[i]->deadline_ns,
							    memory_order_acquire);

		least_ns = deadline_ns < least_ns ? deadline_ns : least_ns;
	}
	return least_ns;
}

/* The session's own lease is extended by the keeper, so a deadline that passed may come back. */
static bool may_be_extended(const struct recovery *r, uint64_t now_ns)
{
	const struct ptn_client *client = r->worker->client;

	if (client->options.manual_keeper && !ptni_fiber_current())
		return false; /* by whom? */
	for (unsigned i = r->first; i < r->batch->count; i++)
		if (r->batch->window[i]->deadline_ns != &r->peer->session->deadline_ns &&
		    now_ns >= *r->batch->window[i]->deadline_ns)
			return false;
	return true;
}

static bool keys_fill(struct recovery *r, const struct ptni_lane *lane)
{
	struct ptni_batch *batch = r->batch;
	bool complete = true;

	for (unsigned i = r->first; i < batch->count; i++) {
		struct ibv_send_wr *wr = &batch->wr[i];
		uint32_t rkey = batch->window[i]->rkey[lane->index];

		if (wr->opcode == IBV_WR_RDMA_READ || wr->opcode == IBV_WR_RDMA_WRITE)
			wr->wr.rdma.rkey = rkey;
		else
			wr->wr.atomic.rkey = rkey;
		complete &= rkey != 0;
	}
	batch->lane_stamp = complete ? lane->stamp : 0;
	return complete;
}

/* 0: all is there; -EAGAIN: wait; else the error that there is no way around. */
static int obstacle(struct recovery *r, uint64_t now_ns)
{
	struct ptni_lane *lane = r->peer->active;
	uint64_t deadline_ns = deadline_of(r);
	int error = ptni_session_error(r->peer->session);

	if (error)
		return error;
	if (now_ns >= deadline_ns)
		return may_be_extended(r, now_ns) ? -EAGAIN : ptni_deadline_error(deadline_ns);
	if (!lane || !keys_fill(r, lane))
		return -EAGAIN;
	if (lane->sq_used + r->batch->count - r->first > PTNI_LANE_SQ_DEPTH)
		return -EAGAIN;
	return 0;
}

static int time_is_up(const struct recovery *r)
{
	uint64_t deadline_ns = deadline_of(r);

	if (ptni_worker_clock(r->worker) >= deadline_ns) /* who overslept has lost its lanes too */
		return ptni_deadline_error(deadline_ns);
	if (!r->peer->active)
		return PTN_E_LANE_BROKEN;
	return r->batch->lane_stamp ? -ETIMEDOUT : ptni_deadline_error(deadline_ns);
}

static int prepare(struct recovery *r)
{
	struct ptni_wait wait;
	int ret;

	/* What is posted now would lose its lane at once, and nobody would know how far it got. */
	if (ptni_worker_clock(r->worker) >= r->batch->op->deadline_ns) {
		ret = obstacle(r, ptni_worker_clock(r->worker));
		return ret && ret != -EAGAIN ? ret : time_is_up(r);
	}
	ptni_wait_begin(&wait, r->worker, r->batch->op->deadline_ns);
	while ((ret = obstacle(r, ptni_worker_clock(r->worker))) == -EAGAIN) {
		if (!r->peer->active || !r->batch->lane_stamp)
			ptni_session_drive(r->peer->session, r->worker);
		if (ptni_wait_turn(&wait)) {
			ret = obstacle(r, ptni_worker_clock(r->worker));
			return ret == -EAGAIN ? time_is_up(r) : ret;
		}
	}
	return ret;
}

/* --- after a failure ---------------------------------------------------------------------------- */

/* Nothing that was posted on the flight's lane can land any more. */
static int fence(struct recovery *r, const struct ptni_flight *flight)
{
	uint64_t least_ns = r->worker->op_timeout_ns / FENCE_TIMEOUT_DIVISOR;
	uint64_t end_ns =
		ptni_worker_clock(r->worker) + (least_ns < FENCE_NS ? least_ns : FENCE_NS);
	uint32_t generation = flight->generation;
	struct ptni_lane *lane = flight->lane;
	struct ptni_wait wait;

	if (end_ns < r->batch->op->deadline_ns)
		end_ns = r->batch->op->deadline_ns;
	ptni_wait_begin(&wait, r->worker, end_ns);
	for (;;) {
		int error = ptni_session_error(r->peer->session);

		if (atomic_load_explicit(&lane->closed_generation, memory_order_acquire) >=
		    generation)
			return 0;
		if (error)
			return error;
		ptni_session_drive(r->peer->session, r->worker);
		if (ptni_wait_turn(&wait))
			return -ETIMEDOUT;
	}
}

static bool ours_to_blame(enum ibv_wc_status status)
{
	return status == IBV_WC_LOC_LEN_ERR || status == IBV_WC_LOC_PROT_ERR ||
	       status == IBV_WC_LOC_QP_OP_ERR;
}

static int judge_doubtful(struct recovery *r, const struct ptni_flight *flight)
{
	bool atomics = false, writes = false;
	int ret = 0;

	for (unsigned i = flight->bad; i < r->batch->count; i++) {
		writes |= r->batch->wr[i].opcode == IBV_WR_RDMA_WRITE;
		atomics |= r->batch->wr[i].opcode == IBV_WR_ATOMIC_CMP_AND_SWP ||
			   r->batch->wr[i].opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
	}
	if (atomics || writes)
		ret = fence(r, flight);
	r->batch->in_doubt |= atomics || writes;
	if (!ret && atomics && !ptni_planted(PTNI_BUG_DOUBT_REPEATED))
		ret = PTN_E_OUTCOME_UNKNOWN;
	if (!ret && ours_to_blame((enum ibv_wc_status)flight->status))
		ret = -EIO;
	return ret;
}

/* By what the client itself knows of the window. Asked after a refusal only: before, it is our own bug. */
static bool covered(const struct ptni_batch *batch, unsigned index)
{
	const struct ptni_window *window = batch->window[index];
	const struct ibv_send_wr *wr = &batch->wr[index];
	bool atomic = wr->opcode != IBV_WR_RDMA_READ && wr->opcode != IBV_WR_RDMA_WRITE;
	uint64_t addr = atomic ? wr->wr.atomic.remote_addr : wr->wr.rdma.remote_addr;
	uint64_t len_bytes = batch->sge[index].length;
	uint32_t right = atomic                         ? IBV_ACCESS_REMOTE_ATOMIC :
			 wr->opcode == IBV_WR_RDMA_READ ? IBV_ACCESS_REMOTE_READ :
							  IBV_ACCESS_REMOTE_WRITE;

	return window->access & right && addr >= window->addr && len_bytes <= window->len_bytes &&
	       addr - window->addr <= window->len_bytes - len_bytes;
}

/*
 * Ask the lease's word on another lane: 0 it is open. The flight is overwritten. The page has no lease
 * whose word could be asked in turn, so this nests once; not inlined for the sake of the stack.
 */
static __attribute__((noinline)) int lease_ask(struct recovery *r, struct ptni_lease *lease)
{
	uint64_t *word = ptni_op_buffer(r->batch->op, sizeof(*word));
	const struct ptni_window *page = &r->peer->page;
	struct ptni_batch batch;
	int ret;

	if (!word)
		return 0;
	ptni_batch_init(&batch, r->batch->op, r->batch->node);
	ptni_batch_read(&batch, page,
			page->addr + offsetof(struct ptni_session_page, lease) +
				lease->index * sizeof(*word),
			word, sizeof(*word));
	ret = ptni_batch_run(&batch);
	if (ret)
		return ret == -EACCES ? 0 : ret;
	if (*word & PTNI_LEASE_CLOSED ||
	    ptni_lease_word_generation(*word) != ptni_lease_word_generation(lease->word))
		return ptni_lease_closed(lease, ptni_worker_clock(r->worker));
	return 0;
}

static int judge_refused(struct recovery *r, const struct ptni_flight *flight)
{
	const struct ptni_window *window = r->batch->window[flight->bad];
	uint64_t deadline_ns = atomic_load_explicit(window->deadline_ns, memory_order_relaxed);
	int error = ptni_session_error(r->peer->session);
	struct ptni_lease *lease;

	PTNI_COUNT(r->worker->counters, access_violations);
	if (error)
		return error;
	if (ptni_worker_clock(r->worker) >= deadline_ns &&
	    window->deadline_ns != &r->peer->session->deadline_ns)
		return ptni_deadline_error(deadline_ns);
	if (r->refused == flight->bad || !covered(r->batch, flight->bad))
		return -EACCES;
	r->refused = flight->bad;
	lease = ptni_lease_of_deadline(r->peer, window->deadline_ns);
	return lease ? lease_ask(r, lease) : 0;
}

/* 0: go on from r->first. */
static int judge(struct recovery *r)
{
	struct ptni_flight *flight = ptni_batch_flight(r->batch);
	enum ibv_wc_status status = (enum ibv_wc_status)flight->status;

	r->batch->done = flight->bad;
	r->first = flight->bad;
	r->batch->lane_stamp = 0;
	r->wc_status = flight->status;
	r->vendor_error = flight->vendor_error;
	PTNI_COUNT(r->worker->counters, retries_lane);
	if (flight->in_doubt)
		return judge_doubtful(r, flight);
	if (status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR)
		return judge_refused(r, flight);
	return 0;
}

/* --- both ------------------------------------------------------------------------------------------ */

static void count_recovery(struct recovery *r)
{
	if (!r->peer->broken_ns)
		return;
	PTNI_COUNT_ADD(r->worker->counters, lane_recovery_ns,
		       ptni_clock_since_ns(ptni_worker_clock(r->worker), r->peer->broken_ns));
	r->peer->broken_ns = 0;
}

static int attempt(struct recovery *r)
{
	int ret = prepare(r);

	if (ret)
		return ret;
	if (!ptni_batch_post(r->batch, r->peer->active, r->first)) {
		count_recovery(r);
		ptni_batch_await(r->batch);
	}
	return 0;
}

static int fail(struct recovery *r, int code)
{
	(void)ptni_worker_fail(r->worker, code, "a one-sided access");
	r->worker->cause.wc_status = r->wc_status;
	r->worker->cause.vendor_error = r->vendor_error;
	return code;
}

int ptni_recovery_run(struct ptni_batch *batch, bool posted)
{
	struct recovery r = { .batch = batch,
			      .worker = batch->op->worker,
			      .peer = batch->op->worker->peer[batch->node],
			      .refused = NOT_REFUSED };
	struct ptni_flight *flight = ptni_batch_flight(batch);

	if (!posted)
		flight->status = IBV_WC_SUCCESS; /* of whoever had the slot before */
	for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
		int ret = 0;

		if (!posted)
			ret = attempt(&r);
		else
			posted = false;
		if (!ret && flight->status == IBV_WC_SUCCESS) {
			batch->done = batch->count;
			return 0;
		}
		if (!ret)
			ret = judge(&r);
		if (ret)
			return fail(&r, ret);
	}
	return fail(&r, PTN_E_LANE_BROKEN);
}
