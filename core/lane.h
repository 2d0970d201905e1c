/* SPDX-License-Identifier: MIT */
/*
 * A lane: one queue pair between a worker and a node, used over and over.
 *
 *              control                               worker
 *   IDLE ── LANE_OPEN sent ──► OPENING
 *    ▲       LANE_ADDR came, connected ───────► CONNECTED ── LANE_READY came ──► READY
 *    │       (LANE_GO is sent then)                                                │ error completion,
 *    │       could not connect ───────────────► FAILED                             │ a wait timed out
 *    │                                            │ reset                       BROKEN
 *    │                                            ▼                                │
 *    └── LANE_CLOSED came: fenced ─────────── DRAINED ◄── drained, reset ──────────┘
 *
 * Ownership: in IDLE, OPENING, DRAINED a lane belongs to whoever holds the session's control lock (the
 * keeper, or a thread that waits for it); in the others to the worker's thread. The change of `state`
 * (release, acquire) hands it over, so the data path takes no lock. A queue pair is reset by the
 * worker's thread only, because that takes completions out of the worker's queue.
 *
 * 1. LANE_CLOSE is sent as soon as control sees BROKEN, while the worker still drains. Nothing of
 *    generation g can land any more once closed_generation >= g.
 * 2. Every request on a lane completes, with success or an error: it is not counted out before.
 * 3. A lane comes back under the same index with another stamp, so that no key, message or completion of
 *    its former life passes for one of the new.
 * 4. A spare that fails is replaced before it is needed. Whatever kills the node's end, the node sees it at
 *    its own receives and says PTNI_LANE_LOST on the channel; the keeper takes that and flags the lane, the
 *    worker's next operation or wait takes it down, and control builds it anew while the other lanes serve.
 *    What fails at our own end flushes our receives: the worker's next poll sees it. A worker that does
 *    nothing is not helped before it does something, since only its own thread may touch its queue.
 */
#ifndef PTNI_LANE_H
#define PTNI_LANE_H

#include "core/fabric/fabric.h"
#include "core/wire.h"

#include <stdatomic.h>

struct ptn_worker;
struct ptni_peer;
struct ptni_session;

enum {
	PTNI_LANE_SENDS = 16, /* call requests on the wire */
	PTNI_LANE_RECVS = 32,
	PTNI_LANE_SQ_DEPTH = 256, /* requests outstanding */
	PTNI_LANE_MEMORY = (PTNI_LANE_SENDS + PTNI_LANE_RECVS) * PTNI_MESSAGE_MAX,
};

enum ptni_lane_state {
	PTNI_LANE_IDLE,
	PTNI_LANE_OPENING,
	PTNI_LANE_FAILED,
	PTNI_LANE_CONNECTED,
	PTNI_LANE_READY,
	PTNI_LANE_BROKEN,
	PTNI_LANE_DRAINED,
};

struct ptni_lane {
	struct ptn_worker *worker;
	struct ptni_session *session;
	struct ibv_qp *qp;
	_Atomic uint32_t state;
	_Atomic bool lost; /* the node's end has failed: set by control, acted on by the worker */
	uint16_t node;
	uint8_t index;
	bool refused; /* the responder refused a request: what followed was not executed */
	uint32_t stamp; /* {generation, index}: never 0, never the same twice */
	uint32_t generation;
	uint32_t sq_used, recvs, sends; /* outstanding */
	uint32_t sends_free; /* bit = send buffer */
	uint8_t *send_memory, *recv_memory;

	/* under the session's control lock */
	bool prepared, answered, go_sent;
	int32_t answer_status;
	uint32_t failures;
	_Atomic int failure; /* why the last attempt to open failed; 0 once one worked */
	uint64_t retry_ns; /* not before */
	struct ptni_qp_address answer;
	_Atomic uint32_t closing_generation, closed_generation;
};

/* Prepare: memory is PTNI_LANE_MEMORY of the worker's NIC memory. The lane is IDLE then. */
int ptni_lane_init(struct ptni_lane *lane, struct ptn_worker *worker, struct ptni_session *session,
		   unsigned index, uint8_t *memory);
/* The queue pair goes; the node must not use its end any more. */
void ptni_lane_fini(struct ptni_lane *lane);

/* Advance a lane that belongs to control as far as it goes without waiting. Control lock held. */
void ptni_lane_step(struct ptni_lane *lane, uint64_t now_ns);
/* LANE_ADDR, LANE_CLOSED or LANE_LOST arrived for it. Control lock held. */
void ptni_lane_answer(struct ptni_lane *lane, const struct ptni_lane_addr *message);

/* The rest is called by the worker's thread. */

/* One more receive buffer for the node to send into. */
int ptni_lane_post_recv(struct ptni_lane *lane, unsigned buffer);
/* A completion with an error, or a message, on this lane. */
void ptni_lane_break(struct ptni_lane *lane, enum ibv_wc_status status, uint32_t vendor_error,
		     const char *where);
/* The queue pair would not take a request: it is moved to error, so that what it has is flushed. */
void ptni_lane_post_failed(struct ptni_lane *lane, const char *where);
/* Note it for ptni_lane_chore when nothing of a BROKEN lane is outstanding any more. */
void ptni_lane_check_drained(struct ptni_lane *lane);
/* Reset a lane that drained or failed and hand it to control: a moment later, not in between a
 * failure and the switch to the spare. Take down a lane whose other end is lost. */
void ptni_lane_chore(struct ptni_lane *lane);
/* Take the lanes' next one into use, and send again the calls that the broken one had. */
void ptni_lane_switch(struct ptni_peer *peer);
/* LANE_READY arrived. */
void ptni_lane_ready(struct ptni_lane *lane, const struct ptni_lane_ready *message);

static inline enum ptni_lane_state ptni_lane_state(struct ptni_lane *lane)
{
	return (enum ptni_lane_state)atomic_load_explicit(&lane->state, memory_order_acquire);
}

#endif
