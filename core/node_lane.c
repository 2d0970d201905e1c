/* SPDX-License-Identifier: MIT */
#include "core/node_lane.h"

#include "core/base/log.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE_ACCESS = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
};

struct ptn_node *ptni_lane_node(struct ptni_node_lane *lane)
{
	return lane->node;
}

struct ptni_node_session *ptni_lane_session(struct ptni_node_lane *lane)
{
	return lane->session;
}

uint32_t ptni_lane_worker(const struct ptni_node_lane *lane)
{
	return lane->worker_index;
}

uint8_t *ptni_node_lane_slot_bytes(struct ptni_node_lane *lane, const struct ptni_lane_slot *slot)
{
	return lane->buffer + (size_t)(slot - lane->slot) * PTNI_MESSAGE_MAX;
}

void ptni_node_lane_touch(struct ptni_node_lane *lane)
{
	if (cds_list_empty(&lane->dirty))
		cds_list_add_tail(&lane->dirty, &lane->node->dirty);
}

static int recv_post(struct ptni_node_lane *lane, struct ptni_lane_slot *slot)
{
	struct ibv_sge sge = {
		.addr = (uint64_t)(uintptr_t)ptni_node_lane_slot_bytes(lane, slot),
		.length = PTNI_MESSAGE_MAX,
		.lkey = lane->lkey,
	};
	struct ibv_recv_wr *bad, wr = {
		.wr_id = (uint64_t)lane->id << 32 | PTNI_WR_RECV | (uint64_t)(slot - lane->slot),
		.sg_list = &sge,
		.num_sge = 1,
	};

	slot->call = NULL;
	slot->busy = false;
	return -ibv_post_recv(lane->qp, &wr, &bad);
}

void ptni_node_lane_recv_again(struct ptni_node_lane *lane, struct ptni_lane_slot *slot)
{
	if (lane->state == PTNI_LANE_UP && recv_post(lane, slot))
		ptni_node_lane_break(lane);
}

static int recvs_post(struct ptni_node_lane *lane)
{
	int ret = 0;

	for (int i = 0; i < PTNI_LANE_RECVS && !ret; i++)
		ret = recv_post(lane, &lane->slot[i]);
	return ret;
}

static int qp_make(struct ptni_node_lane *lane, const struct ptni_qp_address *peer,
		   struct ptni_qp_address *address_out)
{
	const struct ptni_fabric_ops *ops = lane->node->ops;
	uint32_t rd_atomic = lane->node->limits.rd_atomic_max;
	struct ptni_qp_params params = {
		.access_flags = PAGE_ACCESS,
		.retry_count = 6,
		.rnr_retry = 7, /* a client that does not receive stalls its own lane only */
		.timeout = 12,
		.min_rnr_timer = 1,
		.rd_atomic = (uint8_t)(rd_atomic < 16 ? rd_atomic : 16),
	};
	struct ibv_qp_init_attr attr = {
		.send_cq = lane->cq->cq,
		.recv_cq = lane->cq->cq,
		.cap = { .max_send_wr = PTNI_LANE_DEPTH,
			 .max_recv_wr = PTNI_LANE_RECVS,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	int ret;

	if ((ret = ops->qp_open(lane->node->pd, &attr, &lane->qp)))
		return ret;
	if ((ret = ops->qp_init(lane->qp, &params)) || (ret = recvs_post(lane)) ||
	    (ret = ops->qp_connect(lane->qp, &params, peer)))
		return ret;
	return ops->qp_address(lane->qp, address_out);
}

static void lane_init(struct ptni_node_lane *lane, struct ptni_node_worker *worker, uint32_t index)
{
	lane->node = worker->session->node;
	lane->session = worker->session;
	lane->worker = worker;
	lane->worker_index = worker->index;
	lane->index = index;
	CDS_INIT_LIST_HEAD(&lane->binds);
	CDS_INIT_LIST_HEAD(&lane->sends);
	CDS_INIT_LIST_HEAD(&lane->lacking);
	CDS_INIT_LIST_HEAD(&lane->mw_free);
	CDS_INIT_LIST_HEAD(&lane->mw_live);
	CDS_INIT_LIST_HEAD(&lane->dirty);
	CDS_INIT_LIST_HEAD(&lane->link);
	CDS_INIT_LIST_HEAD(&lane->done_link);
	for (int i = 0; i < PTNI_LANE_RECVS + PTNI_LANE_PUSHES; i++)
		CDS_INIT_LIST_HEAD(&lane->slot[i].link);
}

/* What the NIC and the node lent to it. */
static void lane_strip(struct ptni_node_lane *lane)
{
	struct ptn_node *node = lane->node;

	ptni_mw_drain(lane);
	if (lane->qp)
		node->ops->qp_close(lane->qp);
	lane->qp = NULL;
	if (lane->cq)
		ptni_cq_release(lane->cq, PTNI_LANE_CQES);
	lane->cq = NULL;
	ptni_table_remove(node, lane);
	cds_list_del_init(&lane->dirty);
}

static void lane_free(struct ptni_node_lane *lane)
{
	if (lane->buffer)
		ptni_buffer_put(lane->node, lane->buffer);
	cds_list_del(&lane->link);
	cds_list_del(&lane->done_link);
	free(lane);
}

int ptni_node_lane_make(struct ptni_node_worker *worker, const struct ptni_lane_open *open,
			struct ptni_qp_address *address_out)
{
	struct ptn_node *node = worker->session->node;
	struct ptni_node_lane *lane = calloc(1, sizeof(*lane));
	struct ptni_qp_address peer;
	int ret;

	if (!lane)
		return -ENOMEM;
	lane_init(lane, worker, open->lane);
	memcpy(peer.bytes, open->address, sizeof(peer.bytes));
	if ((ret = ptni_buffer_get(node, &lane->buffer, &lane->lkey)) ||
	    (ret = ptni_cq_reserve(node, PTNI_LANE_CQES, &lane->cq)) ||
	    (ret = ptni_table_add(node, lane)) || (ret = qp_make(lane, &peer, address_out))) {
		lane_strip(lane);
		lane_free(lane);
		return ret;
	}
	worker->lane[open->lane] = lane;
	cds_list_add_tail(&lane->link, &worker->session->lanes);
	worker->session->lane_count++;
	node->info.lanes++;
	return 0;
}

static int page_bind(struct ptni_node_lane *lane, const void *page, size_t len_bytes,
		     uint32_t access, struct ptni_mw **mw_out)
{
	return ptni_mw_bind(lane, NULL, lane->node->control_mr, (uint64_t)(uintptr_t)page,
			    len_bytes, access, mw_out);
}

static int ready_push(struct ptni_node_lane *lane)
{
	struct ptni_node_session *session = lane->session;
	struct ptni_lane_ready *ready;
	int ret;

	ret = page_bind(lane, session->page, sizeof(*session->page), PAGE_ACCESS, &lane->page);
	if (!ret)
		ret = page_bind(lane, lane->node->status, sizeof(*lane->node->status),
				IBV_ACCESS_REMOTE_READ, &lane->status);
	if (ret)
		return ret;
	ready = (void *)ptni_node_lane_push(lane, PTNI_OP_LANE_READY, sizeof(*ready));
	ready->page_rkey = lane->page->rkey;
	ready->status_rkey = lane->status->rkey;
	return 0;
}

void ptni_node_lane_go(struct ptni_node_lane *lane)
{
	struct ptni_node_window *window;

	if (lane->state != PTNI_LANE_OPENED) {
		ptni_node_session_offence(lane->session);
		return;
	}
	lane->state = PTNI_LANE_UP;
	if (ready_push(lane)) {
		lane->node->info.refusals++;
		ptni_node_lane_break(lane);
		return;
	}
	cds_list_for_each_entry(window, &lane->worker->windows, worker_link)
		ptni_node_window_lack(window, lane);
}

/* BINDs that were flushed may have been executed; those never posted were not. */
static void posted_forget(struct ptni_node_lane *lane)
{
	while (lane->tail != lane->head) {
		struct ptni_lane_posted *posted = &lane->posted[lane->tail++ % PTNI_LANE_DEPTH];

		if (posted->mw)
			ptni_mw_unknown(posted->mw);
	}
}

static void windows_take(struct ptni_node_lane *lane)
{
	struct ptni_mw *mw, *next;

	cds_list_for_each_entry_safe(mw, next, &lane->binds, link)
		ptni_mw_unbind(mw);
	cds_list_for_each_entry_safe(mw, next, &lane->mw_live, link)
		ptni_mw_unbind(mw);
}

/*
 * No access begins any more once the queue pair is in error. One that is under way may still land, and
 * on some NICs the client's process can be stopped in the middle of it: then its windows wait.
 */
static void lane_drain(struct ptni_node_lane *lane)
{
	lane->draining = lane->node->ops->qp_error_try(lane->qp) == -EBUSY;
	if (lane->draining) {
		ptni_node_beat_soon(lane->node);
		return;
	}
	posted_forget(lane);
	windows_take(lane);
	ptni_node_lane_check(lane);
}

void ptni_node_lane_break(struct ptni_node_lane *lane)
{
	struct ptni_copy *copy, *next;

	if (lane->state >= PTNI_LANE_DYING)
		return;
	lane->state = PTNI_LANE_DYING;
	lane->node->active = true;
	ptni_node_calls_lane_lost(lane);
	CDS_INIT_LIST_HEAD(&lane->sends);
	cds_list_for_each_entry_safe(copy, next, &lane->lacking, lacking)
		cds_list_del_init(&copy->lacking);
	lane_drain(lane);
	if (!lane->close_asked && !lane->worker->closing)
		ptni_node_session_say_lost(lane->session, lane->worker_index, lane->index);
}

void ptni_node_lane_beat(struct ptni_node_lane *lane)
{
	if (lane->draining)
		lane_drain(lane);
	if (lane->starving)
		ptni_node_lane_touch(lane);
}

void ptni_node_lane_check(struct ptni_node_lane *lane)
{
	if (lane->state == PTNI_LANE_DYING && !lane->draining && cds_list_empty(&lane->mw_live) &&
	    cds_list_empty(&lane->binds) && cds_list_empty(&lane->done_link))
		cds_list_add_tail(&lane->done_link, &lane->node->lanes_done);
}

void ptni_node_lane_put(struct ptni_node_lane *lane)
{
	lane->unanswered--;
	if (lane->state == PTNI_LANE_DEAD && cds_list_empty(&lane->done_link))
		cds_list_add_tail(&lane->done_link, &lane->node->lanes_done);
}

static void lane_die(struct ptni_node_lane *lane)
{
	struct ptni_node_worker *worker = lane->worker;

	lane->state = PTNI_LANE_DEAD;
	lane_strip(lane);
	worker->lane[lane->index] = NULL;
	lane->session->lane_count--;
	lane->node->info.lanes--;
	lane->worker = NULL;
	ptni_node_session_lane_dead(lane->session, worker, lane->index, lane->close_asked);
}

int ptni_node_lanes_run(struct ptn_node *node)
{
	int count = 0;

	for (; !cds_list_empty(&node->lanes_done); count++) {
		struct ptni_node_lane *lane =
			cds_list_first_entry(&node->lanes_done, struct ptni_node_lane, done_link);
		struct ptni_node_session *session = lane->session;

		cds_list_del_init(&lane->done_link);
		if (lane->state == PTNI_LANE_DYING)
			lane_die(lane);
		if (!lane->unanswered)
			lane_free(lane);
		ptni_node_session_check(session);
	}
	return count;
}
