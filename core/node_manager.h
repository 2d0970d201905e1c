/* SPDX-License-Identifier: MIT */
/*
 * The node's own hands inside the NIC: a few pairs of queue pairs that are connected to each other.
 *
 *   qp ──── LOCAL_INV of any window of the domain; CAS, addressed to ──► target
 *                                                                       window over the control area
 *
 * Invalidations go here and not through the lane that a window is bound to, so that a broken or a
 * stalled lane cannot keep a right alive. Words that clients change by CAS are changed here (R3).
 *
 * The client dies here, or sleeps for ten seconds: nothing here waits for a client, except that a NIC
 * completes an invalidation only when accesses already under way have drained, and a process in the
 * middle of one may be stopped. So
 *
 *   session's ops, in order ──► its turn ──► a pair of its own until all that is posted has completed
 *
 * 1. What is posted on a pair is of one session: it holds up nobody else's. While others wait for a pair,
 *    a session posts once and then queues up again.
 * 2. When all pairs are in use and none has completed anything for PTNI_MANAGER_STUCK_NS while a session
 *    waits, their number is doubled, or as many are made as sessions wait: behind any number of stopped
 *    peers a session waits for a few times that span, and once for each number that was not met before.
 *    Pairs that were made are kept. Only at the device's limit of queue pairs does work wait.
 * 3. A session's ops are executed in the order of their submission.
 */
#ifndef PTNI_NODE_MANAGER_H
#define PTNI_NODE_MANAGER_H

#include "core/fabric/fabric.h"

#include <urcu/list.h>

struct ptn_node;
struct ptni_node_cq;
struct ptni_node_session;

enum {
	PTNI_MANAGERS = 8, /* to begin with */
	PTNI_MANAGERS_MAX = 4096,
	PTNI_MANAGER_DEPTH = 256,
	PTNI_MANAGER_LIST = 48, /* work requests of one doorbell */
	PTNI_MANAGER_STUCK_NS = 200000,
};

enum ptni_manager_kind {
	PTNI_MANAGER_INVALIDATE,
	PTNI_MANAGER_CAS
};

/*
 * One piece of work, part of whatever it is done for; must stay until done() was called, once.
 * status 0: it was executed; `old` is what a CAS found. -EIO: it may have been executed or not, and
 * never will be later.
 */
struct ptni_manager_op {
	struct cds_list_head link;
	struct ptni_node_session *session;
	enum ptni_manager_kind kind;
	uint32_t rkey; /* invalidate */
	uint64_t addr; /* CAS: in the control area */
	uint64_t expected, desired;
	void (*done)(struct ptni_manager_op *op, int status, uint64_t old);
};

struct ptni_manager {
	struct ptn_node *node;
	uint32_t index;
	uint32_t incarnation;
	bool up, building;
	struct ibv_qp *qp;
	struct ibv_qp *target;
	struct ibv_mw *mw;
	uint32_t rkey;
	struct ptni_node_cq *cq;
	struct ptni_node_session *owner; /* of what is posted; NULL: none is */
	struct cds_list_head posted; /* ops, in order */
	uint32_t head, tail; /* numbers of posted work requests */
	uint64_t progress_ns;
	uint64_t *results; /* NIC memory, PTNI_MANAGER_DEPTH words */
	uint32_t results_lkey;
};

int ptni_managers_open(struct ptn_node *node);
void ptni_managers_close(struct ptn_node *node);
/* In order of submission within one turn of the loop; rung once at the end of the turn. */
void ptni_manager_submit(struct ptn_node *node, struct ptni_manager_op *op);
int ptni_managers_flush(struct ptn_node *node);
/* Makes broken ones anew. */
void ptni_managers_beat(struct ptn_node *node);
bool ptni_managers_busy(struct ptn_node *node);
/* A completion whose wr_id names manager `index`. */
void ptni_manager_complete(struct ptn_node *node, uint32_t index, const struct ibv_wc *wc);

#endif
