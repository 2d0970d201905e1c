/* SPDX-License-Identifier: MIT */
/*
 * The node side as services above it use it (alloc/ registers one for its operations).
 *
 *   node ── one thread ("control loop"): one completion queue, channel listener, timing wheel
 *     └── session (client process) ── leases ── windows (each bound to one lane)
 *           └── lane (queue pair; worker, index) ── free windows
 *
 * Everything here runs in the control loop; nothing here is on the data path and nothing blocks:
 * what must wait for a completion is a step of a grant, a closing lease or a fence.
 */
#ifndef PTNI_NODE_H
#define PTNI_NODE_H

#include "core/fabric/fabric.h"
#include "core/wire.h"

#include <patronus/node.h>

struct ptn_node;
struct ptni_clock;
struct ptni_node_session;
struct ptni_node_lane;
struct ptni_node_lease;
struct ptni_grant;

/*
 * A service answers the operations first_op..last_op. handle() gets a validated head (len_bytes is
 * right, the session is alive, requests per second are within quota) and answers exactly once: by
 * ptni_grant_reply, or by ptni_node_reply for an answer without windows. It may answer later: lane and
 * message stay valid until then, also when lane and session have ended (the answer is then dropped,
 * but it has to be given). A call that the client repeats on another lane is not handled twice.
 */
struct ptni_service {
	uint16_t first_op, last_op;
	void *arg;
	void (*handle)(void *arg, struct ptni_node_lane *lane, const struct ptni_message *message);
	/* The session is fenced: none of its accesses can land any more, on this node. Its leases
	 * were closed before. */
	void (*session_ended)(void *arg, struct ptni_node_session *session);
	/* The horizon moved on, or a tick passed (about every millisecond). */
	void (*tick)(void *arg, uint64_t epoch, uint64_t horizon);
	void (*close)(void *arg);
};
int ptni_node_open(const char *address, const struct ptn_node_options *options,
		   struct ptn_node **node_out); /* without services, not yet running */
/* The same under another clock (simulation, tests). The node must then be stepped by hand. */
int ptni_node_open_clock(const char *address, const struct ptn_node_options *options,
			 struct ptni_clock *clock, struct ptn_node **node_out);
int ptni_node_service_add(struct ptn_node *node, const struct ptni_service *service);
int ptni_node_run(struct ptn_node *node); /* starts the control thread */
/* One turn of the loop by hand, for tests and the simulator: returns events handled. */
int ptni_node_step(struct ptn_node *node);

/* The exported region. */
void *ptni_node_region(struct ptn_node *node, size_t *len_bytes_out);
const struct ptn_node_options *ptni_node_options(const struct ptn_node *node);
uint64_t ptni_node_now_ns(const struct ptn_node *node);
uint64_t ptni_node_epoch(const struct ptn_node *node);
uint64_t ptni_node_horizon(const struct ptn_node *node);
/* A service has garbage waiting: E is to advance as soon as the rules allow (once per call). */
void ptni_node_want_epoch(struct ptn_node *node);
/* Accounting for ptn_node_info: bytes handed out to spaces and leases, or taken back. */
void ptni_node_memory_used(struct ptn_node *node, int64_t bytes);

struct ptn_node *ptni_lane_node(struct ptni_node_lane *lane);
struct ptni_node_session *ptni_lane_session(struct ptni_node_lane *lane);
uint32_t ptni_lane_worker(const struct ptni_node_lane *lane);
uint32_t ptni_session_id(const struct ptni_node_session *session);
uint32_t ptni_session_epoch(const struct ptni_node_session *session);
bool ptni_session_fenced(const struct ptni_node_session *session);
/* A pointer of a service's own, by service (its arg). */
void *ptni_session_state(struct ptni_node_session *session, const void *service_arg);
int ptni_session_state_set(struct ptni_node_session *session, const void *service_arg, void *state);
/* Bytes of quota: -EDQUOT when the session would hold more than its limit. */
int ptni_session_charge(struct ptni_node_session *session, int64_t bytes);

int ptni_node_reply(struct ptni_node_lane *lane, const struct ptni_message *request, int status,
		    void *reply, size_t len_bytes); /* fills reply's head */

/* --- leases ---------------------------------------------------------------------------------- */

/*
 * term_ns = 0: the lease lives exactly as long as the session's own (windows of tables). Otherwise
 * it has a word of its own. ended() runs once, when no access through its windows can land any
 * more (all invalidations completed): there the service frees what the lease owned.
 */
enum ptni_lease_end {
	PTNI_LEASE_RELEASED,
	PTNI_LEASE_EXPIRED,
	PTNI_LEASE_REVOKED,
	PTNI_LEASE_FENCED
};
int ptni_lease_open(struct ptni_node_session *session, uint64_t term_ns,
		    void (*ended)(void *arg, enum ptni_lease_end how, uint32_t release_flags),
		    void *arg, struct ptni_node_lease **lease_out);
void ptni_lease_describe(const struct ptni_node_lease *lease, struct ptni_lease_grant *grant_out);
/* Node-initiated end; asynchronous, ended() tells. Safe at any time, also when it is ending already. */
void ptni_lease_close(struct ptni_node_lease *lease, enum ptni_lease_end how);
/* Take back every window of the lease that touches the range; done() when the invalidations
 * completed, in a later step of the loop. -ENOMEM: nothing was begun. */
int ptni_lease_withdraw(struct ptni_node_lease *lease, uint64_t addr, uint64_t len_bytes,
			void (*done)(void *arg), void *arg);

/* --- grants ------------------------------------------------------------------------------------ */

/*
 * The answer to one request: windows and a reply in one post list on the lane it came from; on the
 * worker's other lanes the same windows with a PTNI_OP_SHADOW message each. grant_window returns the
 * place in the reply where the key will be filled in. A failed BIND fails the request (R12) and the
 * lease's windows of this grant are withdrawn.
 */
int ptni_grant_begin(struct ptni_node_lane *lane, const struct ptni_message *request,
		     struct ptni_node_lease *lease, struct ptni_grant **grant_out);
int ptni_grant_window(struct ptni_grant *grant, uint64_t addr, uint64_t len_bytes, uint32_t access,
		      uint32_t tag, struct ptni_window_grant *place_in_reply);
int ptni_grant_reply(struct ptni_grant *grant, int status, void *reply, size_t len_bytes);
/*
 * Before the reply: lost(arg, addr, id) runs, once at most, if the grant turns out not to be kept after a reply of
 * status 0: a window could not be bound, or has gone before the client asked again. The client is told that its
 * request has failed, if it hears at all, so what was granted with it is nobody's. Its windows are on their way
 * out. May run within ptni_grant_reply, and long after what addr and id name has changed hands.
 */
void ptni_grant_watch(struct ptni_grant *grant, void (*lost)(void *arg, uint64_t addr, uint64_t id),
		      void *arg, uint64_t addr, uint64_t id);

#endif
