/* SPDX-License-Identifier: MIT */
/*
 * The node's allocator: a service of the control loop (core/node.h) that answers alloc/wire.h.
 *
 *   allocator ── extent map of the region
 *     ├── space (name) ── extents in the order in which they joined (seq)
 *     │     ├── user (a session that has it open) ── two leases: windows on extents, windows on chunks
 *     │     │     └── chunk (run of slabs) that one of its workers fills
 *     │     └── orphan chunks: their session has left or was fenced; wait for an adopter
 *     └── memory (one ptn_memory allocation) ── leases on it
 *
 * All of it belongs to the control loop's thread. Nothing waits: what must wait for an invalidation is
 * continued by its done() or ended(), what waits for memory to become free is asked again at each tick.
 *
 * 1. Memory changes hands only when no access of the former holder can land: chunks after their
 *    windows' invalidation completed (done() of the withdrawal, ended() of the lease), an extent after
 *    the grace period and the withdrawal from every session, a ptn_memory after all its leases ended.
 * 2. Every request is answered once; a request that fails has changed nothing.
 * 3. A session's end, at whatever point its requests are, leaves its chunks as orphans of their
 *    space, its ptn_memory freed, its names unopened. The space and its contents stay.
 */
#ifndef PTNI_SERVICE_H
#define PTNI_SERVICE_H

#include "alloc/class.h"
#include "alloc/extent.h"
#include "alloc/space.h"
#include "alloc/wire.h"
#include "core/node.h"

#include <urcu/list.h>

#include <stdbool.h>

enum {
	PTNI_REQUEST_WAIT = 1, /* a handler's result: ask me again at the next tick */
	PTNI_CLEAN_NOW_BYTES = 64 << 10, /* zeroed when it comes back, without waiting for a tick */
	PTNI_CLEAN_TICK_BYTES = 1 << 20, /* zeroed in one tick */
	PTNI_CLEAN_HURRY_BYTES = 4 << 20, /* when a request waits for it */
	PTNI_MEMORY_PAGE_SHIFT = 12,
	PTNI_RANDOM_WORDS = 64, /* fetched at a time */
};
/* How long an empty extent stays with its space when nobody else waits for memory. */
#define PTNI_EXTENT_REST_NS     UINT64_C(100000000)
/* How long a request waits for memory: a chunk's asker may itself hold the horizon back. */
#define PTNI_CHUNK_PATIENCE_NS  UINT64_C(50000000)
#define PTNI_MEMORY_PATIENCE_NS UINT64_C(2000000000)
#define PTNI_MEMORY_TERM_MIN_NS UINT64_C(100000)
#define PTNI_MEMORY_LEN_MAX     (UINT64_C(1) << 30)

struct ptni_node_space;
struct ptni_space_user;

/* A request that waits for memory; also who is to be answered later. */
struct ptni_waiter {
	struct cds_list_head link;
	struct ptni_node_lane *lane;
	const struct ptni_message *message;
	uint64_t deadline_ns;
};

enum ptni_extent_phase {
	PTNI_EXTENT_LIVE,
	PTNI_EXTENT_EMPTY, /* may go, not announced yet */
	PTNI_EXTENT_ANNOUNCED, /* on the board; goes when the horizon passes `tag` */
	PTNI_EXTENT_WITHDRAWN, /* windows are being invalidated, `pending` sessions' still */
};

struct ptni_extent_info {
	struct ptni_allocator *allocator;
	struct ptni_node_space *space; /* NULL: none's, or ptn_memory's */
	struct cds_list_head link; /* allocator's list of extents on their way out */
	struct cds_list_head memories; /* that begin in it */
	struct ptni_node_memory *span; /* that began in an extent before it */
	uint64_t empty_ns; /* when it became empty */
	uint64_t tag;
	uint32_t seq;
	uint32_t pending;
	uint8_t phase;
};

struct ptni_chunk {
	struct cds_list_head link; /* user's, orphans', or a put's */
	struct cds_list_head told_link; /* allocator's, of an orphan that was told about */
	struct ptni_node_space *space;
	struct ptni_space_user *user; /* NULL: orphan, or being put */
	struct ptni_chunk_putting *putting;
	uint64_t addr;
	uint64_t grant; /* number of its latest */
	uint64_t empty_tag; /* E when every block was seen to be free */
	uint32_t pages;
	uint16_t block_class;
	uint16_t slabs;
	bool told; /* its slabs' heads say what is free (said it, when a user has it) */
	bool fresh; /* nothing was in it when its user got it */
	bool useful, empty; /* a told orphan */
};

/* A CHUNK_PUT whose invalidations are under way. */
struct ptni_chunk_putting {
	struct ptni_allocator *allocator;
	struct ptni_node_lane *lane; /* NULL: nobody asked, the grant was lost */
	const struct ptni_message *message;
	uint32_t pending;
	int status;
	bool left, told;
};

struct ptni_user_lease {
	struct ptni_space_user *user;
	struct ptni_node_lease *lease; /* NULL: none, or ended */
};

struct ptni_space_user {
	struct cds_list_head link; /* space's */
	struct ptni_node_space *space;
	struct ptni_node_session *session;
	struct ptni_user_lease extents, chunks;
	struct cds_list_head owned; /* chunks */
	uint32_t opens;
	bool closing;
	bool whole; /* chunks that are left were never used */
	struct ptni_waiter close; /* .lane NULL: nobody waits */
};

struct ptni_node_space {
	struct ptni_allocator *allocator;
	char name[PTNI_SPACE_NAME_MAX];
	uint32_t id;
	struct ptni_space_params params;
	struct ptni_node_session *creator; /* NULL when it has ended; pays for the first page */
	uint64_t root;
	struct ptni_space_board *board;
	struct ptni_extent_set set;
	uint32_t seq; /* of the extent that joined last */
	uint32_t *order; /* extents by seq */
	uint32_t order_count, order_capacity;
	uint32_t closings; /* announced, not gone yet */
	uint64_t chunk_bytes;
	uint32_t orphans;
	uint32_t unknown,
		useful; /* of the orphans: not told about; told about and worth adopting */
	uint32_t puttings; /* chunks whose windows are being invalidated */
	bool dropping;
	struct ptni_waiter drop;
	struct cds_list_head users;
	struct cds_list_head orphan[PTNI_BLOCK_CLASSES];
	struct cds_list_head told[PTNI_BLOCK_CLASSES];
};

struct ptni_memory_lease {
	struct cds_list_head link;
	struct ptni_node_memory *memory;
	struct ptni_node_lease *lease;
	uint64_t grant; /* its number */
	bool first; /* made with the allocation */
};

/* A memory that its owner has given away and nobody has claimed. Its lease is the owner's, without windows. */
struct ptni_memory_offer {
	struct ptni_node_memory *memory; /* NULL: claimed, only the lease is still to end */
	struct ptni_node_lease *lease;
	uint64_t secret[2];
	bool ready; /* no lease is left on the memory */
};

struct ptni_node_memory {
	struct ptni_allocator *allocator;
	struct cds_list_head link; /* its first extent's */
	struct cds_list_head session_link; /* its owner's */
	struct ptni_node_session *session;
	struct cds_list_head leases;
	uint64_t id, secret;
	uint64_t addr, len_bytes, pages;
	bool freeing;
	struct ptni_waiter waiter;
	struct ptni_memory_offer *offer; /* NULL: none */
	struct ptni_waiter give; /* waits for the offer to be ready */
};

/* What a session holds: hangs on the session. */
struct ptni_session_holdings {
	struct cds_list_head memories;
	uint32_t spaces; /* created by it and not dropped */
};

struct ptni_allocator {
	struct ptn_node *node;
	struct ptni_extent_map *map;
	unsigned extent_shift;
	uint64_t region, region_len_bytes;
	uint64_t used_bytes; /* as last told to the node */
	struct ptni_extent_info *extent;
	struct ptni_chunk **chunk_at; /* by page of the region */
	struct ptni_extent_set memory;
	uint64_t memory_ids;
	uint64_t random
		[PTNI_RANDOM_WORDS]; /* for secrets of memory; the last `random_left` are unused */
	uint32_t random_left;
	uint64_t grants; /* of chunks and memory so far */
	uint32_t space_generation;
	struct ptni_node_space *space[PTNI_SPACES_MAX]; /* by id % PTNI_SPACES_MAX */
	uint32_t puttings; /* chunks whose windows are being invalidated */
	uint32_t emptying; /* orphans without a block in use, before their grace period is over */
	struct cds_list_head told; /* orphans, those looked at longest ago first */
	struct cds_list_head leaving; /* extents on their way out */
	struct cds_list_head waiters;
	bool retrying;
	struct ptni_slab_layout layout[PTNI_BLOCK_CLASSES];
};

/* Make the allocator a service of a node that does not run yet; the node closes it. */
int ptni_allocator_add(struct ptn_node *node, struct ptni_allocator **allocator_out);

/* Handlers: 0 answered or will be; < 0 answer that; PTNI_REQUEST_WAIT. */
int ptni_space_open_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message);
int ptni_space_close_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			    const struct ptni_message *message);
int ptni_space_drop_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message);
int ptni_space_windows_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			      const struct ptni_message *message);
int ptni_space_info_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message);
int ptni_chunk_get_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			  const struct ptni_message *message);
int ptni_chunk_put_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			  const struct ptni_message *message);
int ptni_chunk_tell_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message);
int ptni_memory_alloc_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			     const struct ptni_message *message);
int ptni_memory_acquire_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			       const struct ptni_message *message);
int ptni_memory_free_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			    const struct ptni_message *message);

int ptni_memory_give_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			    const struct ptni_message *message);
int ptni_memory_claim_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			     const struct ptni_message *message);

/* What the session holds; NULL: out of memory. */
struct ptni_session_holdings *ptni_session_holdings(struct ptni_allocator *allocator,
						    struct ptni_node_session *session);

/* space */
void ptni_space_session_ended(struct ptni_allocator *allocator, struct ptni_node_session *session);
struct ptni_node_space *ptni_space_find(struct ptni_allocator *allocator, uint32_t id);
struct ptni_space_user *ptni_space_user_find(struct ptni_node_space *space,
					     const struct ptni_node_session *session);
int ptni_node_space_grow(struct ptni_node_space *space); /* as ptni_extent_set_grow */
/* A step of a space that is being dropped: frees it when nobody is left. */
void ptni_node_space_check(struct ptni_node_space *space);
void ptni_node_space_free(struct ptni_node_space *space);
/* Pages of this extent were freed: it may go. */
void ptni_extent_consider(struct ptni_allocator *allocator, uint32_t extent);
void ptni_extents_step(struct ptni_allocator *allocator, uint64_t horizon);
/* Forget the extent's way out (its space is dropped whole). */
void ptni_extent_forget(struct ptni_extent_info *info);

/* chunk */
void ptni_chunk_free(struct ptni_chunk *chunk); /* its pages too */
struct ptni_chunk *ptni_chunk_at(struct ptni_allocator *allocator,
				 uint64_t addr); /* its first page */

/* orphans */
void ptni_chunk_orphan(struct ptni_chunk *chunk); /* by ->told */
void ptni_orphan_leave(struct ptni_chunk *chunk); /* the lists; it is whoever's who asks */
/* One to be adopted ahead of fresh memory, by PTNI_CHUNK_ flags; or when there is no fresh memory. NULL: none. */
struct ptni_chunk *ptni_orphan_find(struct ptni_node_space *space, unsigned block_class,
				    uint32_t flags);
struct ptni_chunk *ptni_orphan_find_any(struct ptni_node_space *space, unsigned block_class);
static inline uint32_t ptni_orphans_useful(const struct ptni_node_space *space)
{
	return space->unknown + space->useful;
}
void ptni_orphans_step(struct ptni_allocator *allocator, uint64_t epoch, uint64_t horizon);

/* memory */
void ptni_memory_session_ended(struct ptni_allocator *allocator, struct ptni_node_session *session);
void ptni_memory_close(struct ptni_allocator *allocator);
struct ptni_node_memory *ptni_node_memory_find(struct ptni_allocator *allocator, uint64_t addr);
uint64_t ptni_node_memory_bytes(const struct ptni_node_memory *memory);
bool ptni_memory_term_valid(const struct ptni_allocator *allocator, uint64_t term_ns);
/* All leases end, then its offer, then it goes; it may be gone on return. */
void ptni_node_memory_free(struct ptni_node_memory *memory);
/* One more lease on the memory, and the answer with its window; `first`: the memory's life hangs on it.
 * < 0: nothing happened, nothing was answered; 1: the answer was a refusal, the lease ends by itself. */
int ptni_node_memory_grant(struct ptni_node_memory *memory, struct ptni_node_lane *lane,
			   const struct ptni_message *message, struct ptni_window_grant wanted,
			   uint64_t term_ns, bool first);
/* A lease on it has ended: an offer may be ready now. */
void ptni_memory_offer_check(struct ptni_node_memory *memory);

/* Charge the session: -EDQUOT past its quota, -ENOMEM if that is all of the node's memory. */
int ptni_allocator_charge(struct ptni_allocator *allocator, struct ptni_node_session *session,
			  uint64_t bytes);
/* Tell the node how many bytes are handed out now. */
void ptni_allocator_account(struct ptni_allocator *allocator);
/* Does anything that is on its way promise free memory later? */
bool ptni_allocator_hopeful(struct ptni_allocator *allocator);
void ptni_waiter_answer(struct ptni_waiter *waiter, int status); /* if anybody waits */
void ptni_waiter_set(struct ptni_waiter *waiter, struct ptni_node_lane *lane,
		     const struct ptni_message *message);

#endif
