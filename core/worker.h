/* SPDX-License-Identifier: MIT */
/*
 * The client side as the layers above use it: operations, windows, batches of one-sided work, calls.
 *
 *   client ──┬── session (one per node): channel, lease word, epoch report; kept alive by the keeper
 *            └── worker (one per thread): completion queue, NIC memory, counters
 *                   └── lane (per node): 1 active queue pair + spares, each with its own key of every window
 *
 * Threads: a worker belongs to one thread at a time. The keeper (a thread of the client, or a fiber
 * under the simulator) owns worker 0: it extends the sessions' leases, reports epochs, builds spares.
 *
 * Failure: a client that dies leaves words old or new, never between (R1); its lease ends by itself.
 * A client that slept past its lease finds the deadline passed before it posts (no access), or its
 * windows invalid (access refused, lane broken): both end in PTN_E_SESSION_FENCED or a fresh lease.
 */
#ifndef PTNI_WORKER_H
#define PTNI_WORKER_H

#include "core/base/clock.h"
#include "core/base/counters.h"
#include "core/base/rng.h"
#include "core/fabric/fabric.h"
#include "core/wire.h"

#include <patronus/client.h>
#include <patronus/error.h>

#include <stdatomic.h>

struct ptn_client;
struct ptn_worker;
struct ptni_session; /* client side of one session */

enum {
	PTNI_BATCH_MAX = 64, /* work requests of one doorbell */
	PTNI_NODES_MAX = 64,
	PTNI_OPS_MAX = 64, /* operations of one worker in flight (fibers) */
	PTNI_OP_BUFFER = 64 * 1024, /* NIC memory of every operation */
	PTNI_OP_BUFFER_LARGE = (1 << 20) + (128 << 10), /* of one operation at a time */
};

/*
 * A right to use a remote range through this worker's lane to one node. The key differs by lane; 0
 * means not bound there. `deadline_ns` points to the last moment of this client's own clock at which
 * an access may be posted: made by ptni_deadline_ns, so counted from before the request was sent, less
 * the drift bound and the guard time (R5).
 * Unprotected sessions use the same structure with the region's key and a deadline of never.
 */
struct ptni_window {
	uint64_t addr;
	uint64_t len_bytes;
	uint32_t rkey[PTNI_LANES_MAX];
	uint32_t tag;
	uint32_t access;
	uint16_t node;
	const _Atomic uint64_t *deadline_ns;
};

/* --- operation ------------------------------------------------------------------------------ */

/*
 * One user-visible operation (a get, a put...) of a worker: pins the reclamation epoch, so that
 * nothing it can reach is re-used before ptni_op_end, owns a stretch of NIC memory, and carries the
 * deadline after which every wait inside gives -ETIMEDOUT.
 */
struct ptni_op {
	struct ptn_worker *worker;
	uint64_t start_ns;
	uint64_t deadline_ns;
	uint8_t *buffer;
	size_t buffer_used, buffer_len_bytes;
	uint16_t slot;
	bool time_fresh; /* nothing was posted yet: start_ns passes for now, unless somebody has waited */
	uint32_t waits; /* the worker's count of waits at the start */
};
/* Errors: -EAGAIN all slots in use; PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN when no session is left.
 * Suspends never, posts nothing. */
int ptni_op_begin(struct ptn_worker *worker, struct ptni_op *op);
void ptni_op_end(struct ptni_op *op);
/* It reaches nothing that reclamation could re-use: no epoch waits for it from now on. */
void ptni_op_unpin(struct ptni_op *op);
/* NIC memory (lkey implied by the batch calls), 16-byte aligned, until ptni_op_end; NULL when
 * len_bytes does not fit any more. One operation at a time of a worker may hold more than
 * PTNI_OP_BUFFER (for large values, PTNI_OP_BUFFER_LARGE). */
void *ptni_op_buffer(struct ptni_op *op, size_t len_bytes);
/* Exponential back-off with jitter before the attempt-th retry (0, 1, ...): suspends or spins.
 * Returns 0, -ETIMEDOUT past the deadline, PTN_E_CONFLICT past the cap of attempts. */
int ptni_op_backoff(struct ptni_op *op, unsigned attempt);

/* --- batch ------------------------------------------------------------------------------------ */

/*
 * Work requests for one node, posted with one doorbell on the worker's active lane, executed in
 * order (R2), the last one signalled. Local addresses must come from ptni_op_buffer (or other NIC
 * memory of the worker). Nothing is posted when a window's deadline is too close.
 */
struct ptni_batch {
	struct ptni_op *op;
	uint16_t node;
	uint16_t count;
	uint16_t atomics; /* CAS and FAA among them: not safe to repeat */
	uint16_t reads, writes, adds;
	uint32_t lane_stamp; /* whose keys were filled in; 0 = not all of them */
	uint64_t deadline_ns;
	uint64_t bytes_read, bytes_written;
	struct ibv_send_wr wr[PTNI_BATCH_MAX];
	struct ibv_sge sge[PTNI_BATCH_MAX];
	const struct ptni_window *window[PTNI_BATCH_MAX];
	uint16_t done; /* after an error: this many are known to have been executed */
	bool in_doubt; /* and of the others some may have been, or may still be; else none ever will */
};
void ptni_batch_init(struct ptni_batch *batch, struct ptni_op *op, unsigned node);
/* The caller keeps count <= PTNI_BATCH_MAX and ranges inside the window (asserted: our own bugs). */
void ptni_batch_read(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		     void *local, uint32_t len_bytes);
void ptni_batch_write(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		      const void *local, uint32_t len_bytes);
/* *old is NIC memory of 8 bytes (ptni_op_buffer) and holds the word found there after a success. */
void ptni_batch_cas(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		    uint64_t expected, uint64_t desired, uint64_t *old);
void ptni_batch_faa(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		    uint64_t add, uint64_t *old);
/*
 * Post and await. The one place where data operations suspend.
 *   0                      everything was executed
 *   PTN_E_OUTCOME_UNKNOWN  the transport failed under an atomic: batch->done requests were executed, each
 *                          of the others may have been or not. The lane has been fenced since: nothing of
 *                          the batch can land any more, so reading the words now tells a stable truth.
 *   PTN_E_LEASE_EXPIRED    a window's lease has ended (or would before the access could land); nothing
 *                          more was executed than batch->done
 *   PTN_E_LEASE_REVOKED    the node ended it before its time: the same
 *   PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN, PTN_E_LANE_BROKEN (no spare in time), -ETIMEDOUT: batch->done
 *                          requests were executed; if batch->in_doubt what followed may have been and may
 *                          still land, else nothing of it was
 * A broken lane is not an error here when what was not executed is known: the worker switches to a
 * spare and posts the rest again. A window without a key on the lane now active is bound there first.
 *
 * Refused by the node's NIC, in this order:
 *   the window's lease is known to be over, or its word, read now, says so: PTN_E_LEASE_REVOKED when our
 *       own deadline had not passed yet, else PTN_E_LEASE_EXPIRED
 *   the window does not cover the access, by what the client itself knows of it: -EACCES, not repeated
 *   else the key may have been replaced on that lane alone: once more on another lane, with its key;
 *       refused there too it is -EACCES: no such right was ever granted, or it was withdrawn
 * So a refusal that is deserved costs one lane, and one look at the lease's word at most.
 */
int ptni_batch_run(struct ptni_batch *batch);

/* --- call -------------------------------------------------------------------------------------- */

/*
 * A request to the node's CPU over the lane. Windows granted with it (ptni_window_grant) arrive
 * with keys of this lane; the keys for the spares arrive by PTNI_OP_SHADOW and are filed by tag.
 * call_start posts and returns; call_done tells (polling the worker); call_wait suspends.
 * A lane that breaks under a call: the call is repeated on the next lane with the same cookie; the
 * node answers a repeated cookie with the first answer's effect (grants are idempotent by cookie). The
 * message says how often it was sent before: an earlier copy may be on its way still, and arrive later.
 * The caller keeps `call` until it is done or cancelled. reply is a whole message of the request's
 * op, reply_len_bytes >= sizeof(struct ptni_message); status is the reply's, or -ETIMEDOUT,
 * PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN.
 */
struct ptni_call {
	struct ptn_worker *worker;
	uint16_t node;
	bool done;
	int status; /* valid when done */
	uint32_t cookie;
	uint64_t sent_ns; /* before the SEND: deadlines of leases granted count from here */
	uint64_t deadline_ns;
	uint32_t request_len_bytes, reply_len_bytes;
	uint8_t lane; /* where it was sent; when done: where the reply came from */
	bool sent;
	uint16_t lane_generation;
	struct ptni_call *next;
	_Alignas(8) uint8_t request[PTNI_MESSAGE_MAX];
	_Alignas(8) uint8_t reply[PTNI_MESSAGE_MAX];
};
int ptni_call_start(struct ptni_call *call, struct ptn_worker *worker, unsigned node, void *request,
		    size_t len_bytes, uint64_t timeout_ns);
bool ptni_call_done(struct ptni_call *call); /* polls */
/* The node itself said no: it has granted nothing. Any other failure leaves that open. */
static inline bool ptni_call_refused(const struct ptni_call *call)
{
	return call->done && call->status && call->reply_len_bytes;
}
int ptni_call_wait(struct ptni_call *call); /* -> status */
/* Not interested any more: a late reply is ignored (the node may have acted on the request). */
void ptni_call_cancel(struct ptni_call *call);

/* --- windows of a worker ------------------------------------------------------------------------ */

/* Reserve a tag (its window empty) to name in a request; release it when the lease is over. */
int ptni_window_reserve(struct ptn_worker *worker, unsigned node, struct ptni_window **window_out);
void ptni_window_release(struct ptni_window *window);
/* File a grant that arrived in the reply of this call. -EBADMSG: not the tag that was reserved. */
int ptni_window_accept(struct ptni_window *window, const struct ptni_call *call,
		       const struct ptni_window_grant *grant, const _Atomic uint64_t *deadline_ns);
/* Windows that are always there: the session's own page, the node's status page, and for unprotected
 * clients the whole region (NULL else). */
const struct ptni_window *ptni_window_page(struct ptn_worker *worker, unsigned node);
const struct ptni_window *ptni_window_status(struct ptn_worker *worker, unsigned node);
const struct ptni_window *ptni_window_region(struct ptn_worker *worker, unsigned node);

/* --- leases ------------------------------------------------------------------------------------- */

/*
 * Last moment to post under a lease of term_ns whose grant was asked for at sent_ns: less the drift
 * that the node allows for, less a guard of min(term / 8, 1 ms) in which an access that was posted lands.
 */
uint64_t ptni_deadline_ns(uint64_t sent_ns, uint64_t term_ns, uint32_t drift_ppm);
extern const _Atomic uint64_t ptni_deadline_never;

/*
 * A deadline that no clock has not passed says why: 0 ended, 1 taken back by the node before its time.
 * So whoever looks at a deadline before posting learns the cause, and at no cost.
 */
#define PTNI_DEADLINE_ENDED   UINT64_C(0)
#define PTNI_DEADLINE_REVOKED UINT64_C(1)
/* For a deadline that has passed: PTN_E_LEASE_REVOKED or PTN_E_LEASE_EXPIRED. */
static inline int ptni_deadline_error(uint64_t deadline_ns)
{
	return deadline_ns == PTNI_DEADLINE_REVOKED ? PTN_E_LEASE_REVOKED : PTN_E_LEASE_EXPIRED;
}

/*
 * A lease with a word of its own, extended by the worker that owns it. From accept to end the worker knows it
 * by its index, and deadline_ns becomes PTNI_DEADLINE_REVOKED as soon as the node says so: it must stay
 * where it is, and be ended before it goes.
 */
struct ptni_lease {
	struct ptn_worker *worker; /* NULL: not accepted */
	uint16_t node;
	uint32_t index;
	uint64_t word; /* as last seen */
	uint64_t unit_ns;
	uint64_t sent_ns; /* before the request that granted it */
	_Atomic uint64_t deadline_ns;
};
void ptni_lease_accept(struct ptni_lease *lease, struct ptn_worker *worker, unsigned node,
		       const struct ptni_lease_grant *grant, uint64_t sent_ns);
/* The worker forgets it; the node does not hear of that. Also for one that was never accepted. */
void ptni_lease_end(struct ptni_lease *lease);
/*
 * One CAS: afterwards at least term_ns is left, up to a unit more. Nothing is posted if as much is left already.
 * PTN_E_LEASE_EXPIRED: the node had closed it, nothing was prolonged (deadline_ns is 0 then);
 * PTN_E_LEASE_REVOKED: the same, and before its time.
 * PTN_E_LEASE_LIMIT: past the node's maximum counted from the grant. Else as ptni_batch_run.
 */
int ptni_lease_extend(struct ptni_op *op, struct ptni_lease *lease, uint64_t term_ns);

/* --- waiting ------------------------------------------------------------------------------------ */

/*
 * Every wait is a loop over ptni_wait_turn, the one place that suspends:
 *	for (ptni_wait_begin(&wait, worker, deadline_ns); !what_i_wait_for; )
 *		if ((ret = ptni_wait_turn(&wait)))
 *			return ret;
 * A turn polls the worker's completion queue; when nothing came, a fiber suspends to its resumer (who may
 * resume it at any time), a thread spins, then yields, then sleeps on the queue's descriptor.
 */
struct ptni_wait {
	struct ptn_worker *worker;
	uint64_t deadline_ns;
	uint32_t turns, busy;
	const bool *flag; /* optional: what is waited for, so that a fiber is not resumed in vain */
};
void ptni_wait_begin(struct ptni_wait *wait, struct ptn_worker *worker, uint64_t deadline_ns);
int ptni_wait_turn(struct ptni_wait *wait); /* 0, -ETIMEDOUT past the deadline */
/* The same for who waits until the keeper has done something: it takes a turn if no thread gives it any. */
int ptni_wait_keeper(struct ptni_wait *wait);

/*
 * Fibers of a worker: operations side by side. fn runs on a stack of its own when ptni_worker_run
 * next runs it and may use every call of this file. -EAGAIN: PTNI_OPS_MAX fibers live.
 */
int ptni_worker_spawn(struct ptn_worker *worker, void (*fn)(void *arg), void *arg);
/* The same, and run at once until it first suspends or ends. Not inside a fiber of the worker. */
int ptni_worker_start(struct ptn_worker *worker, void (*fn)(void *arg), void *arg);
/* Poll, resume each fiber that can go on; returns how many are alive. Not inside a fiber. */
unsigned ptni_worker_run(struct ptn_worker *worker);
/* Its completion queue's descriptor. Arm: the next completion makes it readable; 1: poll, something may
 * be there already. What came is poured away by arming again. */
int ptni_worker_fd(struct ptn_worker *worker);
int ptni_worker_arm(struct ptn_worker *worker);

/* --- client ------------------------------------------------------------------------------------- */

/* What ptn_client_open takes from its surroundings; tests and the simulator bring their own. */
struct ptni_client_env {
	struct ptni_clock *clock; /* NULL = real time */
	struct ptni_fabric *fabric; /* borrowed; NULL = opened from the first address */
};
int ptni_client_open(const char *const *addresses, size_t count,
		     const struct ptn_client_options *options, const struct ptni_client_env *env,
		     struct ptn_client **client_out);
unsigned ptni_client_node_count(const struct ptn_client *client);
const struct ptni_welcome *ptni_client_node(const struct ptn_client *client, unsigned node);
struct ptn_client *ptni_worker_client(struct ptn_worker *worker);
uint32_t ptni_worker_index(const struct ptn_worker *worker);
struct ptni_counters *ptni_worker_counters(struct ptn_worker *worker);
struct ptni_rng *ptni_worker_rng(struct ptn_worker *worker);
uint64_t ptni_worker_now_ns(struct ptn_worker *worker);
/* Keep the cause of an error that is about to be returned (`where` static); returns code. */
int ptni_worker_fail(struct ptn_worker *worker, int code, const char *where);
bool ptni_client_protected(const struct ptn_client *client);
/* Why this client has lost the node for good (PTN_E_NODE_DOWN, ...), else 0. Any thread. */
int ptni_client_node_error(const struct ptn_client *client, unsigned node);
/* Deadline of the session's own lease, under which tables' windows live. */
const _Atomic uint64_t *ptni_client_session_deadline(const struct ptn_client *client,
						     unsigned node);
/* The same handle that the public API gives out, for layers that hang state on a worker or a client:
 * `key` is the address of a static; the destructor runs at worker or client close. */
void *ptni_worker_attachment(struct ptn_worker *worker, const void *key);
int ptni_worker_attach(struct ptn_worker *worker, const void *key, void *value,
		       void (*close)(void *));
void *ptni_client_attachment(struct ptn_client *client, const void *key);
int ptni_client_attach(struct ptn_client *client, const void *key, void *value,
		       void (*close)(void *));
struct ptn_worker *ptni_client_keeper(struct ptn_client *client);
/* finish(arg, keeper's worker, deadline): when the client closes, before anything of it is torn down. The workers are
 * closed, the keeper takes no more turns, its worker is the caller's; the sessions may be over. -ENOSPC. */
int ptni_client_finisher_add(struct ptn_client *client,
			     void (*finish)(void *arg, struct ptn_worker *keeper,
					    uint64_t deadline_ns),
			     void *arg);

/* --- epochs --------------------------------------------------------------------------------------- */

/*
 * Reclamation. The node's E grows; the keeper reports E for the session once
 *   1. every operation that was pinned when E was read has ended,
 *   2. then every hook has run (hooks drop or refresh what caches may still point to),
 *   3. then every operation that was pinned before the last hook ended has ended,
 *   4. then nothing that an operation gave up (-ETIMEDOUT) can land any more.
 * So a cache may be filled from what was read remotely by the operation that fills it, never from
 * another cached value. H is the least report of all unfenced sessions. An object unlinked while E = t
 * (read after the unlink) is re-used when H > t, not earlier.
 */
struct ptni_epochs {
	uint64_t epoch; /* E as last read by the keeper: use as the tag of what is retired now + 1 */
	uint64_t horizon; /* H as last read */
	uint64_t reported; /* R: this session's report */
};
void ptni_client_epochs(const struct ptn_client *client, unsigned node,
			struct ptni_epochs *epochs_out);
/* Ask for E to advance soon: garbage of this many bytes waits. Any thread. */
void ptni_client_want_epoch(struct ptn_client *client, unsigned node, uint64_t garbage_bytes);
/* For an operation that leaves something to the hooks: a report that waits for it waits until they ran again. */
void ptni_client_report_later(struct ptn_client *client, unsigned node);
/* hook(arg, keeper's worker, node): in the keeper, before each report. 0 = done; else no report now. */
int ptni_client_hook_add(struct ptn_client *client,
			 int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg);
void ptni_client_hook_remove(struct ptn_client *client,
			     int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg);

#endif
