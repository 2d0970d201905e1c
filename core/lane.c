/* SPDX-License-Identifier: MIT */
#include "core/lane.h"

#include "core/base/log.h"
#include "core/call.h"
#include "core/client.h"
#include "core/window.h"

#include <errno.h>
#include <string.h>

enum {
	RETRY_FIRST_NS = 1000000, /* after a failed attempt to open; doubles */
	RETRY_DOUBLINGS = 9,
	INLINE_MAX = 64,
	GENERATION_SHIFT = 2,
};

static_assert(PTNI_LANES_MAX <= 1 << GENERATION_SHIFT, "a lane's index fits into its stamp");

/* A node that does not answer is given up after about half a second (7 tries of 67 ms). */
static const struct ptni_qp_params qp_params = {
	.access_flags = 0, /* a node never reaches into a client */
	.retry_count = 6,
	.rnr_retry = 7,
	.timeout = 14,
	.min_rnr_timer = 1,
	.rd_atomic = 16,
};

static const struct ptni_fabric_ops *ops_of(const struct ptni_lane *lane)
{
	return lane->worker->client->fabric->ops;
}

static struct ptni_peer *peer_of(const struct ptni_lane *lane)
{
	return lane->worker->peer[lane->node];
}

static struct ptni_qp_params params_of(const struct ptni_lane *lane)
{
	struct ptni_qp_params params = qp_params;
	struct ptni_fabric_limits limits;

	ops_of(lane)->limits(lane->worker->client->fabric, &limits);
	if (limits.rd_atomic_max < params.rd_atomic)
		params.rd_atomic = (uint8_t)limits.rd_atomic_max;
	return params;
}

static void state_set(struct ptni_lane *lane, enum ptni_lane_state state)
{
	atomic_store_explicit(&lane->state, (uint32_t)state, memory_order_release);
}

/* --- control ---------------------------------------------------------------------------------- */

static void renew(struct ptni_lane *lane)
{
	lane->generation++;
	lane->stamp = lane->generation << GENERATION_SHIFT | lane->index;
	lane->refused = false;
	lane->sq_used = lane->recvs = lane->sends = 0;
	lane->sends_free = (1u << PTNI_LANE_SENDS) - 1;
	lane->prepared = lane->answered = lane->go_sent = false;
	atomic_store_explicit(&lane->lost, false, memory_order_relaxed);
}

int ptni_lane_init(struct ptni_lane *lane, struct ptn_worker *worker, struct ptni_session *session,
		   unsigned index, uint8_t *memory)
{
	struct ptn_client *client = worker->client;
	struct ibv_qp_init_attr attr = {
		.send_cq = worker->cq,
		.recv_cq = worker->cq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = PTNI_LANE_SQ_DEPTH,
			 .max_recv_wr = PTNI_LANE_RECVS,
			 .max_send_sge = 1,
			 .max_recv_sge = 1,
			 .max_inline_data = worker->inline_bytes },
	};

	lane->worker = worker;
	lane->session = session;
	lane->node = session->node;
	lane->index = (uint8_t)index;
	lane->send_memory = memory;
	lane->recv_memory = memory + (size_t)PTNI_LANE_SENDS * PTNI_MESSAGE_MAX;
	renew(lane);
	state_set(lane, PTNI_LANE_IDLE);
	return client->fabric->ops->qp_open(client->pd, &attr, &lane->qp);
}

void ptni_lane_fini(struct ptni_lane *lane)
{
	if (lane->qp)
		(void)ops_of(lane)->qp_close(lane->qp);
	lane->qp = NULL;
}

static int message_send(struct ptni_lane *lane, enum ptni_channel_op op)
{
	struct ptni_lane_addr message = { .op = op,
					  .worker = lane->worker->index,
					  .lane = lane->index };

	return ptni_session_send(lane->session, &message, sizeof(message));
}

static void close_send(struct ptni_lane *lane)
{
	if (atomic_load_explicit(&lane->closing_generation, memory_order_relaxed) ==
	    lane->generation)
		return;
	if (!message_send(lane, PTNI_LANE_CLOSE))
		atomic_store_explicit(&lane->closing_generation, lane->generation,
				      memory_order_relaxed);
}

/* Start anew a while later, with a queue pair as new or with this one as it is. */
static void failed(struct ptni_lane *lane, int error, bool reset, uint64_t now_ns)
{
	unsigned doublings = lane->failures < RETRY_DOUBLINGS ? lane->failures : RETRY_DOUBLINGS;

	if (!lane->failures++)
		PTNI_LOG(WARN, core, "worker %u: lane %u to %s not opened: %s", lane->worker->index,
			 lane->index, lane->session->address, ptn_strerror(error));
	atomic_store_explicit(&lane->failure, error, memory_order_release);
	lane->retry_ns = now_ns + ((uint64_t)RETRY_FIRST_NS << doublings);
	lane->answered = false;
	state_set(lane, reset ? PTNI_LANE_FAILED : PTNI_LANE_IDLE);
	if (reset)
		atomic_store_explicit(&lane->worker->chores, true, memory_order_release);
}

static int prepare(struct ptni_lane *lane)
{
	struct ptni_qp_params params = params_of(lane);
	int ret = ops_of(lane)->qp_init(lane->qp, &params);

	for (unsigned i = 0; !ret && i < PTNI_LANE_RECVS; i++)
		ret = ptni_lane_post_recv(lane, i);
	lane->prepared = !ret;
	return ret;
}

static void open_send(struct ptni_lane *lane, uint64_t now_ns)
{
	struct ptni_lane_open message = { .op = PTNI_LANE_OPEN,
					  .worker = lane->worker->index,
					  .lane = lane->index };
	struct ptni_qp_address address;
	int ret;

	if (now_ns < lane->retry_ns)
		return;
	ret = lane->prepared ? 0 : prepare(lane);
	if (!ret)
		ret = ops_of(lane)->qp_address(lane->qp, &address);
	if (ret) {
		failed(lane, ret, true, now_ns);
		return;
	}
	static_assert(sizeof(message.address) == sizeof(address.bytes), "addresses travel whole");
	memcpy(message.address, address.bytes, sizeof(message.address));
	if (!ptni_session_send(lane->session, &message, sizeof(message)))
		state_set(lane, PTNI_LANE_OPENING);
}

static void connect_answered(struct ptni_lane *lane, uint64_t now_ns)
{
	struct ptni_qp_params params = params_of(lane);
	int ret = lane->answer_status;

	if (!ret)
		ret = ops_of(lane)->qp_connect(lane->qp, &params, &lane->answer);
	if (ret) {
		/* The node's end, if it has one, is of no use without ours: FAILED closes it. */
		failed(lane, ret, !lane->answer_status, now_ns);
		return;
	}
	lane->failures = 0;
	atomic_store_explicit(&lane->failure, 0, memory_order_relaxed);
	state_set(lane, PTNI_LANE_CONNECTED); /* before the node hears GO and sends */
	atomic_fetch_add_explicit(&lane->worker->connected, 1, memory_order_release);
}

static bool fenced(struct ptni_lane *lane)
{
	return atomic_load_explicit(&lane->closed_generation, memory_order_relaxed) ==
	       lane->generation;
}

static void step_once(struct ptni_lane *lane, uint64_t now_ns)
{
	switch (ptni_lane_state(lane)) {
	case PTNI_LANE_IDLE:
		open_send(lane, now_ns);
		break;
	case PTNI_LANE_OPENING:
		if (lane->answered)
			connect_answered(lane, now_ns);
		break;
	case PTNI_LANE_CONNECTED:
		if (!lane->go_sent)
			lane->go_sent = !message_send(lane, PTNI_LANE_GO);
		break;
	case PTNI_LANE_FAILED:
	case PTNI_LANE_READY:
		break;
	case PTNI_LANE_BROKEN:
		close_send(lane);
		break;
	case PTNI_LANE_DRAINED:
		close_send(lane);
		if (fenced(lane)) {
			renew(lane);
			state_set(lane, PTNI_LANE_IDLE);
		}
		break;
	}
}

void ptni_lane_step(struct ptni_lane *lane, uint64_t now_ns)
{
	enum ptni_lane_state before;

	do {
		before = ptni_lane_state(lane);
		step_once(lane, now_ns);
	} while (ptni_lane_state(lane) > before ||
		 (before == PTNI_LANE_DRAINED && ptni_lane_state(lane) == PTNI_LANE_IDLE));
}

/*
 * It concerns this life of the lane: the node says LOST before it answers the CLOSE that every new life waits
 * for. In a state other than these two the worker has noticed already.
 */
static void lost(struct ptni_lane *lane)
{
	enum ptni_lane_state state = ptni_lane_state(lane);

	if (state != PTNI_LANE_READY && state != PTNI_LANE_CONNECTED)
		return;
	atomic_store_explicit(&lane->lost, true, memory_order_relaxed);
	atomic_store_explicit(&lane->worker->chores, true, memory_order_release);
}

void ptni_lane_answer(struct ptni_lane *lane, const struct ptni_lane_addr *message)
{
	if (message->op == PTNI_LANE_LOST) {
		lost(lane);
	} else if (message->op == PTNI_LANE_CLOSED) {
		atomic_store_explicit(&lane->closed_generation,
				      atomic_load_explicit(&lane->closing_generation,
							   memory_order_relaxed),
				      memory_order_release);
	} else if (ptni_lane_state(lane) == PTNI_LANE_OPENING && !lane->answered) {
		lane->answered = true;
		lane->answer_status = message->status > 0 ? -EBADMSG : message->status;
		memcpy(lane->answer.bytes, message->address, sizeof(lane->answer.bytes));
	}
}

/* --- the worker's thread ---------------------------------------------------------------------- */

int ptni_lane_post_recv(struct ptni_lane *lane, unsigned buffer)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)(lane->recv_memory + (size_t)buffer * PTNI_MESSAGE_MAX),
		.length = PTNI_MESSAGE_MAX,
		.lkey = lane->worker->lkey,
	};
	struct ibv_recv_wr wr = { .wr_id = (uint64_t)PTNI_WR_RECV << 56 |
					   (uint64_t)(uint16_t)lane->generation << 40 |
					   (uint64_t)lane->node << 24 |
					   (uint64_t)lane->index << 16 | buffer,
				  .sg_list = &sge,
				  .num_sge = 1 };
	struct ibv_recv_wr *bad;

	if (ibv_post_recv(lane->qp, &wr, &bad))
		return -EIO;
	PTNI_COUNT(lane->worker->counters, verbs_recv);
	lane->recvs++;
	return 0;
}

void ptni_lane_switch(struct ptni_peer *peer)
{
	struct ptni_lane *broken = peer->active;

	peer->active = NULL;
	if (broken)
		ptni_call_lane_lost(peer, broken);
	for (unsigned i = 0; i < PTNI_LANES_MAX && !peer->active; i++)
		if (peer->lane[i].qp && ptni_lane_state(&peer->lane[i]) == PTNI_LANE_READY)
			peer->active = &peer->lane[i];
	if (!peer->active)
		return;
	if (broken)
		PTNI_COUNT(broken->worker->counters, lane_recoveries);
	ptni_call_flush(peer);
}

void ptni_lane_break(struct ptni_lane *lane, enum ibv_wc_status status, uint32_t vendor_error,
		     const char *where)
{
	struct ptn_worker *worker = lane->worker;
	struct ptni_peer *peer = peer_of(lane);
	enum ptni_lane_state state = ptni_lane_state(lane);

	if (state != PTNI_LANE_READY && state != PTNI_LANE_CONNECTED)
		return;
	state_set(lane, PTNI_LANE_BROKEN);
	PTNI_COUNT(worker->counters, lane_breaks);
	PTNI_LOG(INFO, core, "worker %u: lane %u to %s broke under %s: %s (vendor %u)",
		 worker->index, lane->index, lane->session->address, where,
		 ibv_wc_status_str(status), vendor_error);
	if (peer->active == lane) {
		if (!peer->broken_ns)
			peer->broken_ns = ptni_worker_clock(worker);
		ptni_lane_switch(peer);
	}
}

void ptni_lane_post_failed(struct ptni_lane *lane, const char *where)
{
	(void)ops_of(lane)->qp_error(lane->qp);
	ptni_lane_break(lane, IBV_WC_GENERAL_ERR, 0, where);
}

void ptni_lane_check_drained(struct ptni_lane *lane)
{
	if (ptni_lane_state(lane) == PTNI_LANE_BROKEN && !lane->sq_used && !lane->recvs)
		atomic_store_explicit(&lane->worker->chores, true, memory_order_relaxed);
}

void ptni_lane_chore(struct ptni_lane *lane)
{
	enum ptni_lane_state state = ptni_lane_state(lane);

	if ((state == PTNI_LANE_READY || state == PTNI_LANE_CONNECTED) &&
	    atomic_load_explicit(&lane->lost, memory_order_relaxed)) {
		(void)ops_of(lane)->qp_error(lane->qp);
		ptni_lane_break(lane, IBV_WC_RETRY_EXC_ERR, 0, "nothing: the node's end failed");
	} else if (state == PTNI_LANE_FAILED) {
		(void)ops_of(lane)->qp_reset(lane->qp);
		state_set(lane, PTNI_LANE_DRAINED);
		ptni_client_wake_keeper(lane->worker->client);
	} else if (state == PTNI_LANE_BROKEN && !lane->sq_used && !lane->recvs) {
		ptni_window_forget_lane(peer_of(lane), lane->index);
		(void)ops_of(lane)->qp_reset(lane->qp);
		state_set(lane, PTNI_LANE_DRAINED);
		ptni_client_wake_keeper(lane->worker->client);
	}
}

void ptni_lane_ready(struct ptni_lane *lane, const struct ptni_lane_ready *message)
{
	struct ptni_peer *peer = peer_of(lane);

	if (ptni_lane_state(lane) != PTNI_LANE_CONNECTED) {
		PTNI_COUNT(lane->worker->counters, rpc_malformed);
		return;
	}
	peer->page.rkey[lane->index] = message->page_rkey;
	peer->status.rkey[lane->index] = message->status_rkey;
	state_set(lane, PTNI_LANE_READY);
	PTNI_COUNT(lane->worker->counters, lane_rebuilds);
	if (!peer->active)
		ptni_lane_switch(peer);
}
