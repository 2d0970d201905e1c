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
 * withdrawn window would break the lane. So the node first lists the extent as *going* (a counter
 * in the space's root page tells that the list changed, changed by loop-back CAS); the clients' epoch hook forgets its
 * windows before it reports the next epoch; when the horizon has passed that epoch nobody uses the
 * windows any more, and only then the node invalidates them, waits, and re-uses the extent.
 * ptni_space_window() returns NULL for such an address; readers treat that as a cache miss.
 */
#ifndef PTNI_SPACE_H
#define PTNI_SPACE_H

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

/* root_addr: PTNI_SPACE_ROOT_BYTES of zeroed node memory, made with the space, words for CAS only. */
enum {
	PTNI_SPACE_ROOT_BYTES = 4096
};
int ptni_space_open(struct ptn_worker *worker, unsigned node, const char *name, unsigned flags,
		    struct ptni_space_params *params_in_out, struct ptni_space **space_out);
void ptni_space_close(struct ptni_space *space);
/* -EBUSY, -ENOENT */
int ptni_space_drop(struct ptn_worker *worker, unsigned node, const char *name);
uint64_t ptni_space_root(const struct ptni_space *space);
unsigned ptni_space_node(const struct ptni_space *space);
int ptni_space_held_bytes(struct ptn_worker *worker, struct ptni_space *space, uint64_t *bytes_out);

/*
 * The extent window that covers addr, for this worker. Two loads when it is there; otherwise fetches
 * all windows the worker lacks (a call). NULL inside the fast path means: use _fetch.
 * -EFAULT: no extent of this space there (a corrupt or stale address).
 */
const struct ptni_window *ptni_space_window(struct ptn_worker *worker, struct ptni_space *space,
					    uint64_t addr);
int ptni_space_window_fetch(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    const struct ptni_window **window_out);

/* --- blocks (per worker and space; no sharing between threads) ------------------------------- */

/*
 * Size classes: multiples of 16 B to 256 B, then 16 steps per doubling to PTNI_BLOCK_MAX. One byte.
 * The length class in a slot word is this class; a READ of ptni_block_class_bytes(class) gets the block.
 */
enum {
	PTNI_BLOCK_MAX = (1 << 20) + 2048,
	PTNI_BLOCK_CLASSES = 224
};
unsigned ptni_block_class(size_t len_bytes); /* smallest class that holds it */
size_t ptni_block_class_bytes(unsigned block_class);

struct ptni_block {
	uint64_t addr; /* 16-byte aligned */
	uint32_t len_bytes; /* of its class */
	uint16_t block_class;
	uint16_t version; /* differs between two uses of the same address (from the epoch) */
	const struct ptni_window *window; /* WRITE right */
};
/*
 * From the worker's own chunk: no communication while it lasts; the next chunk is fetched ahead.
 * Suspends only when a chunk must be waited for. -ENOMEM node full, -EDQUOT.
 */
int ptni_block_alloc(struct ptni_op *op, struct ptni_space *space, size_t len_bytes,
		     struct ptni_block *block_out);
/* Give back a block that was never published, at once re-usable. */
void ptni_block_cancel(struct ptni_op *op, struct ptni_space *space,
		       const struct ptni_block *block);
/*
 * The caller's CAS has unlinked the block (exactly one caller per block: the winner of that CAS).
 * Re-used after the grace period by the chunk's owner. Own blocks: local; others': one unsignalled FAA on the chunk's
 * free word, posted with a later batch. Never fails, never waits.
 */
void ptni_block_retire(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
		       unsigned block_class);

/* Who says whether a block in a dead client's chunk is still reachable: registered once per space by the
 * table's code. Called in the worker that adopts the chunk, after the owner was fenced (R6).
 * prefix: first bytes of the block (up to 2 KiB), may be torn or never written. 1 live, 0 free, <0 error. */
typedef int (*ptni_block_live_fn)(void *arg, struct ptni_op *op, uint64_t addr,
				  unsigned block_class, const void *prefix,
				  size_t prefix_len_bytes);
void ptni_space_set_live(struct ptni_space *space, ptni_block_live_fn live, void *arg);

#endif
