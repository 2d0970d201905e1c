/* SPDX-License-Identifier: MIT */
/*
 * A lane: the node's end of one queue pair of one worker, and the worker itself.
 *
 *   OPENED ── client says go ──► UP ── error, close, fence ──► DYING ── all windows dead ──► DEAD
 *
 * What is to be sent gathers during a turn of the loop and goes out in one post list: first all
 * BINDs, then the SENDs that carry their keys. Each RECV is posted again when the answer to its
 * request has been sent, so a client has at most PTNI_LANE_RECVS requests here; more wait in its own
 * NIC (receiver not ready) and disturb nobody.
 *
 * The client dies here, or sleeps for ten seconds: SENDs wait in its send queue; nothing but its own
 * lane waits for them. Taking its windows back goes through the manager.
 */
#ifndef PTNI_NODE_LANE_H
#define PTNI_NODE_LANE_H

#include "core/node.h"
#include "core/node_window.h"

enum {
	PTNI_LANE_RECVS = 16,
	PTNI_LANE_PUSHES = 8,
	PTNI_LANE_DEPTH = 128, /* send queue */
	PTNI_LANE_BUFFER = (PTNI_LANE_RECVS + PTNI_LANE_PUSHES) * PTNI_MESSAGE_MAX,
	PTNI_LANE_CQES = PTNI_LANE_DEPTH + PTNI_LANE_RECVS,
	PTNI_CALL_BUCKETS = 64,
	PTNI_GRANT_WINDOWS = (PTNI_MESSAGE_MAX - 16) / 32,
};

enum ptni_lane_state {
	PTNI_LANE_OPENED,
	PTNI_LANE_UP,
	PTNI_LANE_DYING,
	PTNI_LANE_DEAD
};

struct ptni_node_session;
struct ptni_node_cq;

/* A message slot; the first PTNI_LANE_RECVS receive requests and send their replies. */
struct ptni_lane_slot {
	struct ptni_node_call *call;
	uint32_t len_bytes; /* to be sent */
	bool busy; /* RECV not posted / push in use */
	struct cds_list_head link; /* lane's sends */
};

/* What a posted work request was, by its number. */
struct ptni_lane_posted {
	struct ptni_mw *mw; /* a BIND, or */
	struct ptni_lane_slot *slot; /* a SEND */
};

struct ptni_node_lane {
	struct ptn_node *node;
	struct ptni_node_session *session;
	struct ptni_node_worker *worker; /* NULL once DEAD */
	uint32_t worker_index;
	uint32_t index;
	uint32_t id; /* of wr_id: slot in the node's table and its generation */
	enum ptni_lane_state state;
	bool close_asked;
	bool draining; /* in error, an access of the client is still under way */
	bool starving; /* lacks windows because the device is at its limit */
	uint32_t unanswered; /* requests that arrived here and have not been answered */
	struct ibv_qp *qp;
	struct ptni_node_cq *cq;
	uint8_t *buffer;
	uint32_t lkey;
	struct ptni_lane_slot slot[PTNI_LANE_RECVS + PTNI_LANE_PUSHES];
	struct ptni_lane_posted posted[PTNI_LANE_DEPTH];
	uint32_t head, tail; /* numbers of posted work requests */
	struct cds_list_head binds; /* mw, BINDING, not yet posted */
	struct cds_list_head sends; /* slots to be sent */
	struct cds_list_head lacking; /* copies to be bound */
	struct cds_list_head mw_free, mw_live;
	uint32_t mw_free_count;
	struct cds_list_head dirty; /* in node's list: has something to flush */
	struct cds_list_head link; /* session's list of lanes, dead ones with unanswered calls too */
	struct cds_list_head done_link; /* node's list: its state is to be looked at */
	struct ptni_mw *page, *status;
};

struct ptni_node_worker {
	struct ptni_node_session *session;
	uint32_t index;
	bool closing; /* answered when all its lanes and windows are gone */
	struct ptni_node_lane *lane[PTNI_LANES_MAX]; /* NULL or not DEAD */
	struct ptni_lane_open *reopen[PTNI_LANES_MAX]; /* waits for the end of the former lane */
	struct cds_list_head windows;
	struct cds_list_head calls; /* oldest first */
	struct cds_list_head buckets[PTNI_CALL_BUCKETS];
	uint32_t call_count;
	struct cds_list_head done_link; /* node's list: to be looked at */
};

/* --- worker */
enum {
	PTNI_WINDOWS_KEPT_SHIFT = 3, /* an eighth of a session's windows */
	PTNI_WINDOWS_KEPT_MAX = 64,
};

/*
 * How many windows its session may have for this worker to get one more. The last ones are for worker 0, the
 * client's keeper: without a window of its own it cannot report epochs, and the session would be fenced because its
 * other workers use memory to the limit.
 */
static inline uint32_t ptni_node_worker_windows_max(const struct ptni_node_worker *worker,
						    uint32_t session_windows_max)
{
	uint32_t kept = session_windows_max >> PTNI_WINDOWS_KEPT_SHIFT;

	if (!worker->index)
		return session_windows_max;
	return session_windows_max - (kept < PTNI_WINDOWS_KEPT_MAX ? kept : PTNI_WINDOWS_KEPT_MAX);
}

struct ptni_node_worker *ptni_node_worker_get(struct ptni_node_session *session, uint32_t index);
int ptni_node_worker_make(struct ptni_node_session *session, uint32_t index,
			  struct ptni_node_worker **worker_out);
void ptni_node_worker_close_ask(struct ptni_node_worker *worker);
/* Frees the worker if it is closing and nothing of it is left; else does nothing. */
void ptni_node_worker_check(struct ptni_node_worker *worker);
void ptni_node_worker_free(struct ptni_node_worker *worker);
int ptni_node_workers_run(struct ptn_node *node);

/* --- lane */
int ptni_node_lane_make(struct ptni_node_worker *worker, const struct ptni_lane_open *open,
			struct ptni_qp_address *address_out);
void ptni_node_lane_go(struct ptni_node_lane *lane);
void ptni_node_lane_break(struct ptni_node_lane *lane); /* -> DYING; idempotent */
void ptni_node_lane_beat(struct ptni_node_lane *lane); /* go on with what had to wait */
void ptni_node_lane_check(struct ptni_node_lane *lane); /* DYING and nothing left -> DEAD */
void ptni_node_lane_touch(struct ptni_node_lane *lane); /* has something to flush */
void ptni_node_lane_flush(struct ptni_node_lane *lane);
void ptni_node_lane_complete(struct ptni_node_lane *lane, const struct ibv_wc *wc);
/* NULL when all push slots are in use. The message is copied to NIC memory already: fill it. */
struct ptni_message *ptni_node_lane_push(struct ptni_node_lane *lane, uint16_t op,
					 size_t len_bytes);
void ptni_node_lane_recv_again(struct ptni_node_lane *lane, struct ptni_lane_slot *slot);
void ptni_node_lane_send(struct ptni_node_lane *lane, struct ptni_lane_slot *slot,
			 size_t len_bytes);
uint8_t *ptni_node_lane_slot_bytes(struct ptni_node_lane *lane, const struct ptni_lane_slot *slot);
/* After the last unanswered call of a dead lane was answered. */
void ptni_node_lane_put(struct ptni_node_lane *lane);
/* Those whose last window has gone: close them. */
int ptni_node_lanes_run(struct ptn_node *node);

#endif
