/* SPDX-License-Identifier: MIT */
/* A lane's send queue: what gathers in a turn, goes out with one doorbell, and comes back completed. */
#include "core/node_loop.h"

#include "core/base/log.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

enum {
	LIST_MAX = 48,
	NUMBER_MASK = 0x7fffffff
};

struct post_list {
	struct ibv_send_wr wr[LIST_MAX];
	struct ibv_sge sge[LIST_MAX];
	int count;
};

void ptni_node_lane_send(struct ptni_node_lane *lane, struct ptni_lane_slot *slot, size_t len_bytes)
{
	slot->len_bytes = (uint32_t)len_bytes;
	slot->busy = true;
	cds_list_add_tail(&slot->link, &lane->sends);
	ptni_node_lane_touch(lane);
}

static struct ptni_lane_slot *push_slot(struct ptni_node_lane *lane)
{
	for (int i = PTNI_LANE_RECVS; i < PTNI_LANE_RECVS + PTNI_LANE_PUSHES; i++)
		if (!lane->slot[i].busy)
			return &lane->slot[i];
	return NULL;
}

static void push_fill(struct ptni_node_lane *lane, struct ptni_message *message, uint16_t op,
		      size_t len_bytes)
{
	memset(message, 0, len_bytes);
	message->op = op;
	message->len_bytes = (uint16_t)len_bytes;
	message->session_epoch = lane->session->epoch;
}

struct ptni_message *ptni_node_lane_push(struct ptni_node_lane *lane, uint16_t op, size_t len_bytes)
{
	struct ptni_lane_slot *slot = lane->state == PTNI_LANE_UP ? push_slot(lane) : NULL;
	struct ptni_message *message;

	if (!slot)
		return NULL;
	message = (void *)ptni_node_lane_slot_bytes(lane, slot);
	push_fill(lane, message, op, len_bytes);
	ptni_node_lane_send(lane, slot, len_bytes);
	return message;
}

/* Bind what fits in one message. Returns how many. */
static int shadow_bind(struct ptni_node_lane *lane, struct ptni_shadow *shadow)
{
	struct ptni_copy *copy, *next;

	cds_list_for_each_entry_safe(copy, next, &lane->lacking, lacking) {
		struct ptni_copy *first = copy - lane->index;
		struct ptni_node_window *window =
			caa_container_of(first, struct ptni_node_window, copy[0]);
		int ret;

		if (shadow->count == PTNI_SHADOW_MAX)
			break;
		ret = ptni_node_window_bind(window, lane);
		if (ret) { /* at the device's limit or its quota: again when the next beat comes */
			cds_list_add(&copy->lacking, &lane->lacking);
			lane->starving = true;
			break;
		}
		shadow->window[shadow->count++] = (struct ptni_window_grant){
			.addr = window->addr,
			.len_bytes = window->len_bytes,
			.rkey = copy->mw->rkey,
			.tag = window->tag,
			.access = window->access,
		};
	}
	return (int)shadow->count;
}

/* Other lanes of the worker have windows that this one lacks. */
static void shadows_make(struct ptni_node_lane *lane)
{
	lane->starving = false;
	while (!cds_list_empty(&lane->lacking) && !lane->starving) {
		struct ptni_lane_slot *slot = push_slot(lane);
		struct ptni_shadow *shadow;
		size_t len_bytes;

		if (!slot)
			return;
		shadow = (void *)ptni_node_lane_slot_bytes(lane, slot);
		push_fill(lane, &shadow->head, PTNI_OP_SHADOW, sizeof(*shadow));
		shadow->count = shadow->reserved = 0;
		if (!shadow_bind(lane, shadow))
			continue;
		len_bytes = sizeof(*shadow) + shadow->count * sizeof(shadow->window[0]);
		shadow->head.len_bytes = (uint16_t)len_bytes;
		ptni_node_lane_send(lane, slot, len_bytes);
	}
}

static struct ibv_send_wr *list_next(struct ptni_node_lane *lane, struct post_list *list,
				     struct ptni_mw *mw, struct ptni_lane_slot *slot)
{
	struct ibv_send_wr *wr = &list->wr[list->count];

	*wr = (struct ibv_send_wr){ .wr_id = (uint64_t)lane->id << 32 |
					     (lane->head & NUMBER_MASK) };
	lane->posted[lane->head++ % PTNI_LANE_DEPTH] =
		(struct ptni_lane_posted){ .mw = mw, .slot = slot };
	if (list->count)
		wr[-1].next = wr;
	list->count++;
	return wr;
}

static bool list_room(const struct ptni_node_lane *lane, const struct post_list *list)
{
	return list->count < LIST_MAX && lane->head - lane->tail < PTNI_LANE_DEPTH;
}

static void binds_list(struct ptni_node_lane *lane, struct post_list *list)
{
	struct ibv_send_wr *wr = NULL;

	while (!cds_list_empty(&lane->binds) && list_room(lane, list)) {
		struct ptni_mw *mw = cds_list_first_entry(&lane->binds, struct ptni_mw, link);

		cds_list_del(&mw->link);
		cds_list_add_tail(&mw->link, &lane->mw_live);
		mw->posted = true;
		wr = list_next(lane, list, mw, NULL);
		ptni_mw_fill(mw, wr);
	}
	/* Known to be bound even if the SENDs behind must wait for the client. */
	if (wr)
		wr->send_flags = IBV_SEND_SIGNALED;
}

static void sends_list(struct ptni_node_lane *lane, struct post_list *list)
{
	struct ibv_send_wr *wr = NULL;

	while (cds_list_empty(&lane->binds) && !cds_list_empty(&lane->sends) &&
	       list_room(lane, list)) {
		struct ptni_lane_slot *slot =
			cds_list_first_entry(&lane->sends, struct ptni_lane_slot, link);
		struct ibv_sge *sge = &list->sge[list->count];

		cds_list_del_init(&slot->link);
		*sge = (struct ibv_sge){
			.addr = (uint64_t)(uintptr_t)ptni_node_lane_slot_bytes(lane, slot),
			.length = slot->len_bytes,
			.lkey = lane->lkey,
		};
		wr = list_next(lane, list, NULL, slot);
		wr->opcode = IBV_WR_SEND;
		wr->sg_list = sge;
		wr->num_sge = 1;
	}
	if (wr)
		wr->send_flags = IBV_SEND_SIGNALED;
}

void ptni_node_lane_flush(struct ptni_node_lane *lane)
{
	struct ibv_send_wr *bad;

	cds_list_del_init(&lane->dirty);
	if (lane->state != PTNI_LANE_UP)
		return;
	shadows_make(lane);
	for (;;) {
		struct post_list list;

		list.count = 0;
		binds_list(lane, &list);
		sends_list(lane, &list);
		if (!list.count)
			return;
		if (ibv_post_send(lane->qp, list.wr, &bad)) {
			ptni_node_lane_break(lane);
			return;
		}
	}
}

static void posted_done(struct ptni_node_lane *lane)
{
	struct ptni_lane_posted posted = lane->posted[lane->tail++ % PTNI_LANE_DEPTH];

	if (posted.mw)
		ptni_mw_bound(posted.mw);
	else if (posted.slot < lane->slot + PTNI_LANE_RECVS)
		ptni_node_lane_recv_again(lane, posted.slot);
	else
		posted.slot->busy = false;
}

/*
 * A window that the NIC would not bind is no window: the request that wanted it fails (R12). But if its
 * holder has it on other lanes, only this lane breaks, and the next one tries again.
 */
static void bind_failed(struct ptni_mw *mw, enum ibv_wc_status status)
{
	struct ptni_node_window *window = mw->window;

	PTNI_LOG(WARN, core, "session %u: a window could not be bound: %s", mw->lane->session->id,
		 ibv_wc_status_str(status));
	mw->lane->node->info.refusals++;
	if (!window)
		return;
	if (window->call && window->call->asked_id == mw->lane->id)
		ptni_node_call_fail(window->call, -EIO);
	else if (++window->bind_failures == PTNI_BIND_FAILURES_MAX)
		ptni_node_window_withdraw(window);
}

static void sent(struct ptni_node_lane *lane, const struct ibv_wc *wc)
{
	uint32_t number = (uint32_t)wc->wr_id & NUMBER_MASK;
	struct ptni_lane_posted failed;

	while (lane->tail != lane->head && lane->state == PTNI_LANE_UP &&
	       (lane->tail & NUMBER_MASK) != ((number + !wc->status) & NUMBER_MASK))
		posted_done(lane);
	if (lane->state != PTNI_LANE_UP)
		return;
	if (!cds_list_empty(&lane->binds) || !cds_list_empty(&lane->sends) ||
	    !cds_list_empty(&lane->lacking))
		ptni_node_lane_touch(lane);
	if (!wc->status)
		return;
	failed = lane->posted[number % PTNI_LANE_DEPTH];
	if (lane->tail != lane->head && failed.mw && wc->status != IBV_WC_WR_FLUSH_ERR)
		bind_failed(failed.mw, wc->status);
	ptni_node_lane_break(lane);
}

void ptni_node_lane_complete(struct ptni_node_lane *lane, const struct ibv_wc *wc)
{
	if (lane->state >= PTNI_LANE_DYING)
		return;
	if (!(wc->wr_id & PTNI_WR_RECV)) {
		sent(lane, wc);
		return;
	}
	if (wc->status) {
		ptni_node_lane_break(lane);
		return;
	}
	ptni_node_call_arrived(lane, &lane->slot[wc->wr_id & 0xff], wc->byte_len);
}
