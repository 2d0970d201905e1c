/* SPDX-License-Identifier: MIT */
/*
 * A window is a right that a worker holds under a lease: a range, rights, a tag. It is made of one
 * memory window object of the NIC ("copy") on each of the worker's lanes, each with its own key.
 *
 *   window ── copy[lane] ──► mw:  FREE ──bind posted──► BINDING ──completed──► BOUND
 *                                   ▲                      │ lane broke: unknown  │ taken back
 *                                   └──── completed ───── INVALIDATING ◄─────────┘
 *
 * 1. A FREE mw is never invalidated, an mw whose state is unknown (its BIND was flushed) is
 *    deallocated, which ends its right whatever it was.
 * 2. Every BIND uses a key that the mw never had, by way of its tag byte; an mw whose tags are used up
 *    is deallocated and not used again.
 * 3. FREE means that the invalidation has completed, and free ones are used oldest first.
 * 4. A window is gone when no copy is left in any state but FREE; only then its lease can end.
 *
 * The client dies here, or sleeps for ten seconds: taking back needs nothing from it. A BIND that is
 * stuck behind a SEND which the client does not receive costs it the lane (PTNI_BIND_PATIENCE_NS).
 */
#ifndef PTNI_NODE_WINDOW_H
#define PTNI_NODE_WINDOW_H

#include "core/base/wheel.h"
#include "core/node_manager.h"
#include "core/wire.h"

struct ptni_node_lane;
struct ptni_node_lease;
struct ptni_node_worker;
struct ptni_node_call;
struct ptni_node_window;

enum {
	PTNI_BIND_PATIENCE_NS = 500000,
	PTNI_MW_TAGS = 255, /* binds of one mw before it is replaced */
	PTNI_MW_POOL_MIN = 32, /* free ones of a lane before the oldest is used again */
	PTNI_BIND_FAILURES_MAX = 16, /* of one window, until it is given up */
};

enum ptni_mw_state {
	PTNI_MW_FREE,
	PTNI_MW_BINDING,
	PTNI_MW_BOUND,
	PTNI_MW_INVALIDATING
};

struct ptni_mw {
	struct ibv_mw *mw; /* NULL after a failed or unknown bind: deallocated */
	struct ptni_node_lane *lane;
	struct ptni_node_window *window; /* NULL: a page of the session, or free */
	enum ptni_mw_state state;
	bool unwanted; /* to be taken back as soon as its BIND has completed */
	bool posted; /* its BIND is in the send queue */
	uint32_t binds;
	uint32_t rkey;
	uint64_t addr, len_bytes;
	uint32_t access;
	struct ibv_mr *mr;
	struct ptni_manager_op op;
	struct ptni_wheel_node patience;
	struct cds_list_head link; /* lane's free, binding or live list */
	struct cds_list_head idle_link; /* node's list of free or of stubborn ones */
};

struct ptni_copy {
	struct ptni_mw *mw;
	struct cds_list_head lacking; /* in lane's list while the window is to be bound there */
};

struct ptni_node_window {
	struct ptni_node_lease *lease;
	struct ptni_node_worker *worker;
	struct ptni_node_call *call; /* the call it was granted with, while remembered */
	uint64_t addr, len_bytes;
	uint32_t access, tag;
	uint32_t place; /* offset of its grant in the call's reply */
	uint32_t copies;
	uint8_t bind_failures; /* on lanes after the one that it was granted on */
	bool dying;
	struct ptni_copy copy[PTNI_LANES_MAX];
	struct cds_list_head lease_link, worker_link, call_link;
	struct cds_list_head waits; /* struct window_wait: withdrawals that wait for it */
};

/* --- mw: one NIC object -------------------------------------------------------------------- */

/* A free one of the lane with a fresh key, state BINDING, queued for the lane's next flush.
 * PTN_E_NODE_FULL: the device has no more; -ENOMEM. */
int ptni_mw_bind(struct ptni_node_lane *lane, struct ptni_node_window *window, struct ibv_mr *mr,
		 uint64_t addr, uint64_t len_bytes, uint32_t access, struct ptni_mw **mw_out);
void ptni_mw_bound(struct ptni_mw *mw);
/* Take back; asynchronous. Idempotent. */
void ptni_mw_unbind(struct ptni_mw *mw);
/* The lane is in error and the BIND may have been executed or not. */
void ptni_mw_unknown(struct ptni_mw *mw);
void ptni_mw_fill(const struct ptni_mw *mw, struct ibv_send_wr *wr);
/* Deallocate what the NIC would not let go before. */
void ptni_mws_beat(struct ptn_node *node);
void ptni_mws_close(struct ptn_node *node);
/* All free ones of a dead lane. */
void ptni_mw_drain(struct ptni_node_lane *lane);

/* --- window ------------------------------------------------------------------------------- */

int ptni_node_window_open(struct ptni_node_lease *lease, struct ptni_node_worker *worker,
			  uint64_t addr, uint64_t len_bytes, uint32_t access, uint32_t tag,
			  struct ptni_node_window **window_out);
/* Bind on this lane, unless it is bound there already. */
int ptni_node_window_bind(struct ptni_node_window *window, struct ptni_node_lane *lane);
/* To be bound on that lane when it has room, with a PTNI_OP_SHADOW. */
void ptni_node_window_lack(struct ptni_node_window *window, struct ptni_node_lane *lane);
/* Take back everywhere; asynchronous: the lease hears of it. Idempotent. */
void ptni_node_window_withdraw(struct ptni_node_window *window);
/* A copy is gone (called by mw). */
void ptni_node_window_copy_gone(struct ptni_node_window *window, uint32_t lane_index);

/* done(arg) in a later step, when the last of `windows` is gone. */
struct ptni_withdrawal;
int ptni_node_withdrawal_open(struct ptn_node *node, void (*done)(void *arg), void *arg,
			      struct ptni_withdrawal **withdrawal_out);
int ptni_node_withdrawal_add(struct ptni_withdrawal *withdrawal, struct ptni_node_window *window);
void ptni_node_withdrawal_start(struct ptni_withdrawal *withdrawal);
void ptni_node_withdrawal_abandon(struct ptni_withdrawal *withdrawal);
int ptni_node_withdrawals_run(struct ptn_node *node);

#endif
