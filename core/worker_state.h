/* SPDX-License-Identifier: MIT */
/*
 * Inside of a worker: what its objects (operations, batches, calls, windows, lanes) share.
 *
 *   worker ── completion queue (one for all lanes), NIC memory (one registration)
 *     ├── slot[64]   one per operation in flight: epoch pin, what its batch has on the wire
 *     └── peer[node] the worker's side of one node
 *           ├── lane[4]  queue pairs; active points at the one in use (lane.h)
 *           ├── windows  by tag (window.h)
 *           └── calls    waiting for replies
 *
 * Owned by the worker's thread, except what says otherwise.
 */
#ifndef PTNI_WORKER_STATE_H
#define PTNI_WORKER_STATE_H

#include "core/base/fiber.h"
#include "core/lane.h"
#include "core/worker.h"

enum {
	PTNI_POLL_MAX = 16,
	PTNI_ATTACHMENTS_MAX = 16,
	PTNI_WINDOW_CHUNK = 256,
	PTNI_WINDOW_CHUNKS = 256,
};

/*
 * Work request ids. A batch's: {0, slot, index in the batch}. Others:
 * {kind 8, generation 16, node 16, lane 8, unused 8, buffer 8}.
 */
enum ptni_wr_kind {
	PTNI_WR_BATCH,
	PTNI_WR_RECV,
	PTNI_WR_SEND
};
#define PTNI_WR_BATCH_LIMIT (UINT64_C(1) << 16)

/* The part of a batch that is on the wire. */
struct ptni_flight {
	bool done; /* its last request has completed, one way or other */
	bool in_doubt; /* from .bad on: unknown; else: certainly not executed */
	uint8_t status; /* enum ibv_wc_status of the first request that failed */
	uint8_t bad; /* index of that request */
	uint8_t first, count; /* requests first..count-1 of the batch are posted */
	uint32_t vendor_error;
	uint32_t generation; /* of the lane */
	struct ptni_lane *lane;
};

struct ptni_slot {
	_Alignas(64) _Atomic uint64_t pin; /* local epoch while an operation runs, else 0; epoch.c */
	struct ptni_flight flight;
};

struct ptni_window_slot {
	struct ptni_window window; /* first */
	struct ptn_worker *worker;
	struct ptni_window_slot *next_free;
	uint64_t shadow_addr[PTNI_LANES_MAX]; /* what a key that came ahead of the grant is for */
	bool reserved, accepted;
};

/* A lease of the session by the index of its word. */
struct ptni_lease_place {
	struct ptni_lease *lease; /* NULL: none, or nobody looks */
	uint32_t revoked; /* generation of the last that the node said to have taken back */
};

struct ptni_peer {
	struct ptni_lane *active; /* NULL: none usable right now */
	struct ptni_session *session;
	uint64_t broken_ns; /* when the active lane broke and no operation has gone on since; 0 */
	struct ptni_window page, status, region;
	struct ptni_lease_place lease[PTNI_LEASE_WORDS];
	struct ptni_call *calls; /* waiting for a reply, oldest first */
	uint32_t cookie;
	uint32_t windows;
	struct ptni_window_slot *window_chunk[PTNI_WINDOW_CHUNKS];
	struct ptni_window_slot *window_free, *window_free_last;
	struct ptni_lane lane[PTNI_LANES_MAX];
};

struct ptni_strand { /* a fiber that ptni_worker_run looks after */
	struct ptni_fiber *fiber;
	void (*fn)(void *arg);
	void *arg;
	const bool *flag; /* not resumed before it is true ... */
	uint64_t wake_ns; /* ... or this time has come */
};

struct ptni_attachment {
	const void *key;
	void *value;
	void (*close)(void *value);
};

void *ptni_attachment_find(const struct ptni_attachment *table, const void *key);
int ptni_attachment_add(struct ptni_attachment *table, const void *key, void *value,
			void (*close)(void *));

struct ptn_worker {
	struct ptn_client *client;
	struct ptni_clock *clock;
	struct ibv_cq *cq;
	uint64_t slots_free; /* bit = slot */
	uint64_t op_timeout_ns;
	uint32_t lkey;
	uint32_t inline_bytes;
	uint32_t index;
	uint32_t waits; /* times that somebody waited here, modulo 2^32 */
	uint8_t *memory;
	uint8_t *large; /* the large buffer */
	int large_slot; /* who has it, -1 */
	bool pin_fenced; /* copy of the client's */
	_Atomic bool chores; /* a lane is to be reset: by op_begin or a wait */
	/* Lanes that control has connected: released by it before GO, acquired by each poll, so that what
	 * arrives on a lane finds its queue pair as control left it. */
	_Atomic uint32_t connected;
	struct ptni_peer **peer;
	struct ptni_counters *counters;
	struct ptni_rng rng;
	struct ptn_cause cause;
	struct ibv_mr *mr;
	size_t memory_bytes;
	unsigned lanes; /* per node */
	struct ptni_fiber_pool *fibers;
	struct ptni_strand *strand; /* the running one */
	unsigned strands;
	struct ptni_attachment attachment[PTNI_ATTACHMENTS_MAX];
	struct ptni_slot slot[PTNI_OPS_MAX];
	struct ptni_strand strand_table[PTNI_OPS_MAX];
	_Alignas(64) struct ptni_counters counters_body;
};

/* Take what has completed. Returns how many completions. Never suspends. */
int ptni_worker_poll(struct ptn_worker *worker);

/* PTNI_OP_REVOKED arrived; it may be ahead of its lease. */
void ptni_lease_revoked(struct ptni_peer *peer, const struct ptni_revoked *message);
/* The lease of this worker whose deadline that is; NULL. Not for the data path. */
struct ptni_lease *ptni_lease_of_deadline(struct ptni_peer *peer,
					  const _Atomic uint64_t *deadline_ns);
/* The node has closed it: note that, and tell why. */
int ptni_lease_closed(struct ptni_lease *lease, uint64_t now_ns);

/* Reset the lanes that wait for it. */
void ptni_worker_chores(struct ptn_worker *worker);

/* index 0 is the keeper's. */
int ptni_worker_create(struct ptn_client *client, uint32_t index, uint64_t deadline_ns,
		       struct ptn_worker **worker_out);
void ptni_worker_destroy(struct ptn_worker *worker);

static inline uint64_t ptni_worker_clock(const struct ptn_worker *worker)
{
	return ptni_clock_read(worker->clock);
}

#endif
