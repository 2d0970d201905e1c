/* SPDX-License-Identifier: MIT */
/*
 * A space is the named memory of one table on one node: extents that the node gives to that name
 * only. Its clients hold two kinds of windows, all under the session's lease:
 *
 *   extent window   READ | ATOMIC over a whole extent: see every block, CAS every word
 *   chunk window    READ | WRITE over one's own chunks: fill blocks that nothing points at yet
 *
 * so nobody can overwrite what another client published (R12), and plain WRITE never meets CAS (R3).
 *
 *   extent (1 << extent_shift bytes, one space)
 *   ┌──────────┬──────────┬──────────────────────┬─────┐   pages of 1 << page_shift (64 KiB)
 *   │ chunk A  │ chunk B  │ chunk C (many pages) │ ... │
 *   └──────────┴──────────┴──────────────────────┴─────┘
 *   chunk of one worker, one block size:  [ header | free words | block | block | ... ]
 *
 * A block address is node memory; extent index = (addr - region base) >> extent_shift.
 *
 * Giving an extent back. Caches may still name blocks in it (a slot cache reads a cached block
 * address beside the slot, before it knows that the slot moved on), and an access through a
 * withdrawn window would break the lane. So the node first announces the extent on the space's board
 * (words behind the root, of which the node's CPU is the only writer); each client's epoch hook reads
 * the board and forgets its windows before it reports the next epoch; when the horizon has passed that
 * epoch nobody uses the windows any more, and only then the node invalidates them, waits, and re-uses
 * the extent. ptni_space_window() returns NULL for such an address; readers treat that as a cache miss.
 *
 * A client that dies, or sleeps for ten seconds: its session is fenced, its windows of the space are
 * invalid, its chunks are orphans that other workers adopt. Nothing here waits for it.
 */
#ifndef PTNI_SPACE_H
#define PTNI_SPACE_H

#include "alloc/class.h"
#include "core/worker.h"

struct ptni_space; /* client side, one per client and name and node; shared by its workers */

/* kind and params are kept with the name at creation and returned to all who open it. */
struct ptni_space_params {
	uint32_t kind; /* 1 hash table, 2 B+tree, ... -EINVAL on mismatch at open */
	uint32_t version; /* of the layout */
	uint64_t word[6];
};
enum {
	PTNI_SPACE_CREATE = 1,
	PTNI_SPACE_EXCLUSIVE = 2
};

/*
 * The root: PTNI_SPACE_ROOT_BYTES of zeroed node memory, made with the space, words for CAS only.
 *
 * open: one handle per client, name and node, counted: open twice, close twice. -ENOENT, -EEXIST
 * (EXCLUSIVE), -EINVAL another kind, -ENOSPC too many spaces, -ENOMEM, -EDQUOT. Any thread with its worker.
 * close: after the workers' last operation on it. The last close gives back what is empty, leaves the
 * rest for others to adopt and ends the session's windows; the keeper does so in the background.
 * drop: -EBUSY while this client or another session has it open; -ENOENT.
 */
enum {
	PTNI_SPACE_ROOT_BYTES = 4096
};
int ptni_space_open(struct ptn_worker *worker, unsigned node, const char *name, unsigned flags,
		    struct ptni_space_params *params_in_out, struct ptni_space **space_out);
void ptni_space_close(struct ptni_space *space);
int ptni_space_drop(struct ptn_worker *worker, unsigned node, const char *name);
uint64_t ptni_space_root(const struct ptni_space *space);
unsigned ptni_space_node(const struct ptni_space *space);
int ptni_space_held_bytes(struct ptn_worker *worker, struct ptni_space *space, uint64_t *bytes_out);

/*
 * The extent window that covers addr, for this worker, or NULL: then ask _fetch, which fetches all
 * windows that the worker lacks (a call, or several). The window stays usable until the operation ends.
 * -EFAULT: no extent of this space there (a stale or corrupt address).
 */
const struct ptni_window *ptni_space_window(struct ptn_worker *worker, struct ptni_space *space,
					    uint64_t addr);
int ptni_space_window_fetch(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    const struct ptni_window **window_out);

/* --- blocks (per worker and space; no sharing between threads) ------------------------------- */

/*
 * Size classes (alloc/class.h): multiples of 16 B to 256 B, then 16 steps per doubling. One byte. The
 * length class in a slot word is this class; a READ of ptni_block_class_bytes(class) gets the block.
 */
struct ptni_block {
	uint64_t addr; /* 16-byte aligned */
	uint32_t len_bytes; /* of its class */
	uint16_t block_class;
	uint16_t version; /* differs between two uses of the same address (from the epoch) */
	const struct ptni_window *window; /* WRITE right */
};
/*
 * From the worker's own chunk: no communication while it lasts; the next chunk is fetched ahead.
 * Suspends only in a slow path: a chunk must be waited for, or others' frees are to be collected.
 * -ENOMEM node full (try again in a later operation: what is retired comes back when operations end),
 * -EDQUOT, -E2BIG longer than PTNI_BLOCK_MAX or than this node's extents.
 */
int ptni_block_alloc(struct ptni_op *op, struct ptni_space *space, size_t len_bytes,
		     struct ptni_block *block_out);
/* Give back a block that was never published, at once re-usable. Same worker. */
void ptni_block_cancel(struct ptni_op *op, struct ptni_space *space,
		       const struct ptni_block *block);
/* Nobody knows whether a word points at the block, or will: it stays until its chunk is adopted. Same worker. */
void ptni_block_lose(struct ptni_op *op, struct ptni_space *space, const struct ptni_block *block);
/*
 * The caller's CAS has unlinked the block (exactly one caller per block: the winner of that CAS).
 * Re-used after the grace period by the chunk's owner. Own blocks: local. Others': a bit of the chunk's
 * free words by FAA, gathered: waits for one round trip in every PTNI_FREES_BATCH-th call, or is done by
 * the keeper before the session's next epoch report. Every so often some of the work of keeping memory in order
 * (compact.c, adopt.c) is done here too. Never fails.
 */
enum {
	PTNI_FREES_BATCH = 64
};
void ptni_block_retire(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
		       unsigned block_class);
/* The block will be retired if all goes well: asks the cache for what that looks at. Some time later `again`: for
 * what it looks at next. No effect but speed. */
void ptni_block_retire_soon(const struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    unsigned block_class, bool again);

/* Who says whether a block in a dead client's chunk is still reachable: registered once per space by the
 * table's code. Called in the worker that adopts the chunk, after the owner was fenced (R6).
 * prefix: first bytes of the block (up to 2 KiB), may be torn or never written. 1 live, 0 free, <0 error.
 * set_live: NULL ends it, when no worker is in it any more. -EBUSY: there is one already, and any worker of the
 * client may be in it. */
typedef int (*ptni_block_live_fn)(void *arg, struct ptni_op *op, uint64_t addr,
				  unsigned block_class, const void *prefix,
				  size_t prefix_len_bytes);
int ptni_space_set_live(struct ptni_space *space, ptni_block_live_fn live, void *arg);
/* Who moves a block that is live out of a sparse chunk of this worker's own, so that the chunk can go back;
 * gets the same arg. Publishes a copy in its place and retires it. 0: done, or somebody else has unlinked it
 * meanwhile; -EBUSY: not now; < 0: it stays where it is. It must not wait for what the caller may be at: this runs
 * while memory is asked for. */
typedef int (*ptni_block_move_fn)(void *arg, struct ptni_op *op, uint64_t addr,
				  unsigned block_class, const void *prefix,
				  size_t prefix_len_bytes);
void ptni_space_set_move(struct ptni_space *space, ptni_block_move_fn move);
/* The same two for many blocks of one class in few round trips, if the table can do that: asks about each and, if
 * `move`, moves those that are live. 0: each has its result; an error: of those without one nothing is known. */
enum {
	PTNI_SCAN_MAX = 32,
	PTNI_SCAN_STAYS = 2,
};
struct ptni_scan {
	uint64_t addr;
	const void *prefix; /* as for ptni_block_live_fn */
	int result; /* 1 live, or moved, or not now; 0 free; PTNI_SCAN_STAYS live and cannot be moved; < 0 error */
};
typedef int (*ptni_block_scan_fn)(void *arg, struct ptni_op *op, unsigned block_class,
				  size_t prefix_len_bytes, bool move, struct ptni_scan *scan,
				  unsigned count);
void ptni_space_set_scan(struct ptni_space *space, ptni_block_scan_fn scan);

/*
 * Give back what this worker does not need: collect what others freed, finish adoptions, empty sparse chunks, return
 * every empty chunk. As far as the horizon allows; not inside an operation (one that runs holds the horizon back).
 */
int ptni_space_trim(struct ptn_worker *worker, struct ptni_space *space);

/*
 * The same in steps that the caller chooses, and beyond what happens by itself: until little is free. At most about
 * *budget blocks are looked at, and that much less is left of it. 1: more is to be done, now or, if nothing
 * of the budget was used, when the horizon has moved on (_await: but no longer than span_ns). 0: no more.
 */
int ptni_space_compact(struct ptn_worker *worker, struct ptni_space *space, uint32_t *budget);
void ptni_space_await(struct ptn_worker *worker, struct ptni_space *space, uint64_t span_ns);

/* What one worker holds of a space. Waste = held_bytes / used_bytes. */
struct ptni_space_usage {
	uint64_t held_bytes; /* chunks */
	uint64_t used_bytes; /* blocks handed out and not retired, by class */
	uint64_t limbo_bytes; /* retired, waiting for the grace period */
	uint64_t free_bytes;
	uint64_t chunks;
	uint64_t adopting; /* slabs whose blocks have not all been asked about */
};
void ptni_space_usage(struct ptn_worker *worker, struct ptni_space *space,
		      struct ptni_space_usage *usage_out);

#endif
