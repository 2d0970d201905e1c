/* SPDX-License-Identifier: MIT */
/* Memory window objects of the NIC: see node_window.h for their states and guarantees. */
#include "core/node_window.h"

#include "core/base/log.h"
#include "core/base/planted.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>

static void invalidated(struct ptni_manager_op *op, int status, uint64_t old);

static struct ptni_mw *mw_of_op(struct ptni_manager_op *op)
{
	return caa_container_of(op, struct ptni_mw, op);
}

static void free_list_remove(struct ptni_mw *mw)
{
	cds_list_del_init(&mw->link);
	cds_list_del_init(&mw->idle_link);
	mw->lane->mw_free_count--;
}

static void free_list_append(struct ptni_mw *mw)
{
	cds_list_add_tail(&mw->link, &mw->lane->mw_free);
	cds_list_add_tail(&mw->idle_link, &mw->lane->node->mw_idle);
	mw->lane->mw_free_count++;
}

/* The object and with it whatever right it may still carry. -EBUSY: an access is under way. */
static int object_drop(struct ptni_mw *mw)
{
	int ret = mw->mw ? ibv_dealloc_mw(mw->mw) : 0;

	if (!ret)
		mw->mw = NULL;
	return -ret;
}

/*
 * Tried again by every beat until the NIC lets go. The NIC may have waited a second for the client's access
 * before it said no: its lane is broken, so that the beats see by that, without waiting, when it ends.
 */
static void stubborn_keep(struct ptn_node *node, struct ptni_mw *mw, int why)
{
	if (why == -EBUSY && mw->lane)
		ptni_node_lane_break(mw->lane);
	else if (why != -EBUSY)
		PTNI_LOG(ERROR, core, "memory window cannot be deallocated: %s", ptn_strerror(why));
	cds_list_add_tail(&mw->idle_link, &node->mw_stubborn);
	ptni_node_beat_soon(node);
}

/* A free one, in no list any more. */
static void mw_discard(struct ptn_node *node, struct ptni_mw *mw)
{
	int ret = object_drop(mw);

	mw->lane = NULL;
	if (ret)
		stubborn_keep(node, mw, ret);
	else
		free(mw);
}

/* The device is at its limit: the oldest free object of any lane makes room. */
static bool idle_drop(struct ptn_node *node)
{
	if (cds_list_empty(&node->mw_idle))
		return false;
	struct ptni_mw *mw = cds_list_first_entry(&node->mw_idle, struct ptni_mw, idle_link);
	free_list_remove(mw);
	mw_discard(node, mw);
	return true;
}

static struct ibv_mw *object_make(struct ptn_node *node)
{
	struct ibv_mw *object;

	do
		object = ibv_alloc_mw(node->pd, IBV_MW_TYPE_2);
	while (!object && idle_drop(node));
	return object;
}

static int mw_make(struct ptni_node_lane *lane, struct ptni_mw **mw_out)
{
	struct ptni_mw *mw = calloc(1, sizeof(*mw));

	if (!mw)
		return -ENOMEM;
	mw->mw = object_make(lane->node);
	if (!mw->mw) {
		free(mw);
		return PTN_E_NODE_FULL;
	}
	mw->rkey = mw->mw->rkey;
	mw->lane = lane;
	CDS_INIT_LIST_HEAD(&mw->link);
	CDS_INIT_LIST_HEAD(&mw->idle_link);
	*mw_out = mw;
	return 0;
}

/* The oldest free one, rested by the others' use; its tags may be used up. */
static struct ptni_mw *mw_reuse(struct ptni_node_lane *lane)
{
	struct ptni_mw *mw = cds_list_first_entry(&lane->mw_free, struct ptni_mw, link);

	free_list_remove(mw);
	if (mw->binds < PTNI_MW_TAGS)
		return mw;
	mw_discard(lane->node, mw);
	return NULL;
}

static int mw_take(struct ptni_node_lane *lane, struct ptni_mw **mw_out)
{
	struct ptni_mw *mw = NULL;

	if (lane->mw_free_count >= PTNI_MW_POOL_MIN && (mw = mw_reuse(lane))) {
		*mw_out = mw;
		return 0;
	}
	return mw_make(lane, mw_out);
}

int ptni_mw_bind(struct ptni_node_lane *lane, struct ptni_node_window *window, struct ibv_mr *mr,
		 uint64_t addr, uint64_t len_bytes, uint32_t access, struct ptni_mw **mw_out)
{
	struct ptni_mw *mw;
	int ret = mw_take(lane, &mw);

	if (ret)
		return ret;
	mw->window = window;
	mw->state = PTNI_MW_BINDING;
	mw->posted = mw->unwanted = false;
	mw->binds++;
	mw->rkey = ptni_planted(PTNI_BUG_WINDOW_KEY) && mw->binds > 1 ? mw->rkey :
									ibv_inc_rkey(mw->rkey);
	mw->mr = mr;
	mw->addr = addr;
	mw->len_bytes = len_bytes;
	mw->access = access;
	cds_list_add_tail(&mw->link, &lane->binds);
	if (window) {
		lane->session->mw_count++;
		lane->node->info.windows++;
	}
	ptni_node_lane_touch(lane);
	*mw_out = mw;
	return 0;
}

void ptni_mw_fill(const struct ptni_mw *mw, struct ibv_send_wr *wr)
{
	wr->opcode = IBV_WR_BIND_MW;
	wr->bind_mw.mw = mw->mw;
	wr->bind_mw.rkey = mw->rkey;
	wr->bind_mw.bind_info = (struct ibv_mw_bind_info){
		.mr = mw->mr,
		.addr = mw->addr,
		.length = mw->len_bytes,
		.mw_access_flags = mw->access,
	};
}

/* Of its window, which may be gone then. */
static void copy_gone(struct ptni_mw *mw)
{
	struct ptni_node_window *window = mw->window;

	mw->window = NULL;
	if (!window)
		return;
	mw->lane->session->mw_count--;
	mw->lane->node->info.windows--;
	ptni_node_window_copy_gone(window, mw->lane->index);
}

/* No right is left in it. The struct may be gone afterwards. */
static void mw_gone(struct ptni_mw *mw)
{
	struct ptni_node_lane *lane = mw->lane;

	ptni_wheel_cancel(&lane->node->wheel, &mw->patience);
	cds_list_del_init(&mw->link);
	mw->state = PTNI_MW_FREE;
	copy_gone(mw);
	if (mw->mw)
		free_list_append(mw);
	else
		free(mw);
	ptni_node_lane_check(lane);
}

void ptni_mw_unknown(struct ptni_mw *mw)
{
	int ret = object_drop(mw);

	mw->state = PTNI_MW_INVALIDATING;
	if (ret)
		stubborn_keep(mw->lane->node, mw, ret);
	else
		mw_gone(mw);
}

void ptni_mws_close(struct ptn_node *node)
{
	struct ptni_mw *mw, *next;

	cds_list_for_each_entry_safe(mw, next, &node->mw_stubborn, idle_link) {
		object_drop(mw);
		free(mw);
	}
}

void ptni_mws_beat(struct ptn_node *node)
{
	struct ptni_mw *mw, *next;

	cds_list_for_each_entry_safe(mw, next, &node->mw_stubborn, idle_link) {
		if ((mw->lane && mw->lane->draining) || object_drop(mw)) {
			node->active = true;
			continue;
		}
		cds_list_del_init(&mw->idle_link);
		if (mw->lane)
			mw_gone(mw);
		else
			free(mw);
	}
}

static void invalidated(struct ptni_manager_op *op, int status, uint64_t old)
{
	struct ptni_mw *mw = mw_of_op(op);

	if (status)
		ptni_mw_unknown(mw);
	else
		mw_gone(mw);
}

static void invalidate(struct ptni_mw *mw)
{
	struct ptn_node *node = mw->lane->node;

	if (ptni_planted(PTNI_BUG_TAKE_UNFENCED))
		return mw_gone(mw);
	mw->state = PTNI_MW_INVALIDATING;
	mw->op = (struct ptni_manager_op){
		.session = mw->lane->session,
		.kind = PTNI_MANAGER_INVALIDATE,
		.rkey = mw->rkey,
		.done = invalidated,
	};
	node->info.invalidations++;
	ptni_manager_submit(node, &mw->op);
}

void ptni_mw_bound(struct ptni_mw *mw)
{
	mw->state = PTNI_MW_BOUND;
	mw->mw->rkey = mw->rkey;
	mw->lane->node->info.binds++;
	if (!mw->unwanted)
		return;
	ptni_wheel_cancel(&mw->lane->node->wheel, &mw->patience);
	invalidate(mw);
}

/* The BIND waits behind something that the client does not receive. */
static void patience_over(struct ptni_wheel *wheel, struct ptni_wheel_node *timer)
{
	struct ptni_mw *mw = caa_container_of(timer, struct ptni_mw, patience);

	ptni_node_lane_break(mw->lane);
}

void ptni_mw_unbind(struct ptni_mw *mw)
{
	struct ptn_node *node = mw->lane->node;

	if (mw->state == PTNI_MW_BOUND) {
		invalidate(mw);
		if (ptni_planted(PTNI_BUG_WINDOW_EARLY))
			copy_gone(mw);
	} else if (mw->state == PTNI_MW_BINDING && !mw->posted) {
		mw_gone(mw);
	} else if (mw->state == PTNI_MW_BINDING && !mw->unwanted) {
		mw->unwanted = true;
		ptni_wheel_add(&node->wheel, &mw->patience,
			       ptni_node_clock_ns(node) + PTNI_BIND_PATIENCE_NS, patience_over);
	}
}

void ptni_mw_drain(struct ptni_node_lane *lane)
{
	struct ptni_mw *mw, *next;

	cds_list_for_each_entry_safe(mw, next, &lane->mw_free, link) {
		free_list_remove(mw);
		mw_discard(lane->node, mw);
	}
}
