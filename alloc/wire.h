/* SPDX-License-Identifier: MIT */
/*
 * What clients ask a node's allocator, over a lane (core/wire.h). Every request is checked whole
 * before anything changes: length, names terminated, ranges, classes; what does not fit gets -EBADMSG
 * or -EINVAL and changes nothing.
 *
 * Windows are named by the client (tag); PTNI_TAG_NONE asks for none (an unprotected session).
 */
#ifndef PTNI_ALLOC_WIRE_H
#define PTNI_ALLOC_WIRE_H

#include "core/wire.h"

enum ptni_alloc_op {
	PTNI_OP_SPACE_OPEN = PTNI_OP_ALLOC_FIRST,
	PTNI_OP_SPACE_CLOSE,
	PTNI_OP_SPACE_DROP,
	PTNI_OP_SPACE_WINDOWS,
	PTNI_OP_SPACE_INFO,
	PTNI_OP_CHUNK_GET,
	PTNI_OP_CHUNK_PUT,
	PTNI_OP_MEMORY_ALLOC,
	PTNI_OP_MEMORY_ACQUIRE,
	PTNI_OP_MEMORY_FREE,
	PTNI_OP_CHUNK_TELL,
	PTNI_OP_MEMORY_GIVE,
	PTNI_OP_MEMORY_CLAIM,
	PTNI_OP_ALLOC_END, /* the first that is none of ours */
};

enum {
	PTNI_SPACE_NAME_MAX = 64, /* bytes with the terminating zero */
	PTNI_SPACES_MAX = 1024, /* of one node */
	PTNI_SPACE_WINDOWS_MAX = 24,
	PTNI_CHUNK_PUT_MAX = 64,
	PTNI_CHUNK_TELL_WORDS = 120,
	PTNI_CLOSINGS_MAX = 32,
};
#define PTNI_TAG_NONE UINT32_MAX

/* --- space -------------------------------------------------------------------------------------- */

struct ptni_space_open_request {
	struct ptni_message head;
	char name[PTNI_SPACE_NAME_MAX];
	uint32_t flags; /* PTNI_SPACE_CREATE, _EXCLUSIVE */
	uint32_t kind;
	uint32_t version;
	uint32_t reserved;
	uint64_t word[6];
};
struct ptni_space_opened {
	struct ptni_message head;
	uint32_t space; /* id, never re-used by this node */
	uint32_t kind;
	uint32_t version;
	uint32_t opens; /* times that this session has opened it, this one included */
	uint64_t word[6];
	uint64_t root_addr;
	uint64_t board_addr; /* struct ptni_space_board */
};

/*
 * SPACE_CLOSE, SPACE_INFO. Close answers when none of the session's accesses to the space can land
 * any more; its chunks are then free for others to adopt. -EBUSY: opened again since the client counted.
 */
struct ptni_space_request {
	struct ptni_message head;
	uint32_t space;
	uint32_t opens; /* close: all that the client knows of */
	uint32_t whole; /* close: chunks that the session still has were granted, but never used */
	uint32_t reserved;
};
struct ptni_space_drop_request {
	struct ptni_message head;
	char name[PTNI_SPACE_NAME_MAX];
};
struct ptni_space_info {
	struct ptni_message head;
	uint64_t extent_bytes; /* extents that belong to the space */
	uint64_t chunk_bytes; /* pages of them that are in chunks */
	uint32_t orphans; /* chunks that wait for an adopter */
	uint32_t users; /* sessions that have it open */
};

/*
 * Windows for extents that joined the space after `after_seq`, in the order in which they joined; at
 * most as many as there are tags. `more`: ask again with the last seq.
 */
struct ptni_space_windows_request {
	struct ptni_message head;
	uint32_t space;
	uint32_t after_seq;
	uint32_t count;
	uint32_t reserved;
	uint32_t tag[PTNI_SPACE_WINDOWS_MAX];
};
struct ptni_extent_grant {
	uint32_t extent;
	uint32_t seq;
	struct ptni_window_grant window;
};
struct ptni_space_windows_reply {
	struct ptni_message head;
	uint32_t count;
	uint32_t more;
	uint64_t reserved;
	struct ptni_extent_grant extent[PTNI_SPACE_WINDOWS_MAX];
};

/*
 * One per space, in its first page; written by the node's CPU alone, read by clients through their
 * window of that extent. An extent that becomes empty is announced here and stays readable until
 * every session has reported a later epoch: each client's epoch hook reads this first and drops its
 * windows of the extent, so that no cached address leads anybody into a withdrawn window.
 * Entry of closing number i: closing[i % PTNI_CLOSINGS_MAX]; at most PTNI_CLOSINGS_MAX wait at once.
 */
struct ptni_space_board {
	uint64_t closings; /* how many there were, ever; written after the entry */
	uint64_t orphans; /* chunks that are worth adopting */
	uint64_t reserved[6];
	uint64_t closing[PTNI_CLOSINGS_MAX]; /* seq << 32 | extent */
};
enum {
	PTNI_BOARD_OFFSET = 4096
}; /* from the root */

/* --- chunk -------------------------------------------------------------------------------------- */

enum ptni_chunk_flags {
	PTNI_CHUNK_FRESH =
		1, /* get: one whose blocks must be asked about only if there is no other */
	PTNI_CHUNK_NOW = 2, /* get: with blocks that are free at once */
	PTNI_CHUNK_ORPHAN = 4, /* get: one that was left, of whatever class; else -ENOENT */
	PTNI_CHUNK_ADOPTED = 1, /* got */
	PTNI_CHUNK_TOLD = 2, /* got; put, with PTNI_CHUNK_LEFT: every slab of it was told about */
	PTNI_CHUNK_LEFT = 1, /* put */
};

/*
 * A run of `slabs` slabs of a class under a WRITE|READ window, free words zeroed. The answer may be a
 * chunk that a session left behind (PTNI_CHUNK_ADOPTED). One that was left in good order (PTNI_CHUNK_TOLD)
 * says itself which of its blocks are free and comes before fresh memory. The blocks of any other must be asked
 * about first; that one may be of another class and length when memory is short.
 */
struct ptni_chunk_get_request {
	struct ptni_message head;
	uint32_t space;
	uint32_t tag;
	uint16_t block_class;
	uint16_t slabs;
	uint32_t flags; /* PTNI_CHUNK_FRESH, _NOW, _ORPHAN */
};
struct ptni_chunk_got {
	struct ptni_message head;
	uint64_t addr;
	uint16_t block_class;
	uint16_t slabs;
	uint32_t flags; /* PTNI_CHUNK_ADOPTED, _TOLD */
	struct ptni_window_grant window;
	uint64_t orphans; /* as on the board */
};
/*
 * Chunks of this session go back: their windows are withdrawn, then their pages are freed, then the
 * answer comes. PTNI_CHUNK_LEFT: they hold live blocks and wait for an adopter instead. PTNI_CHUNK_TOLD: and
 * what CHUNK_TELL said of each of their slabs is all there is to know.
 */
struct ptni_chunk_put_request {
	struct ptni_message head;
	uint32_t space;
	uint32_t count;
	uint32_t flags; /* PTNI_CHUNK_LEFT */
	uint32_t reserved;
	uint64_t addr[PTNI_CHUNK_PUT_MAX];
};

/*
 * What is free in slabs of this session's chunks, to be kept in their heads (alloc/class.h) until the chunk is
 * adopted. `word` holds records: | address of the slab | first << 32 | n | n words |, which are words `first`
 * to `first` + n of the slab's `told`:
 *
 *   tag    the blocks in limbo may be used again once the horizon is greater
 *   free   blocks that nobody can reach any more; may be used at once
 *   limbo  blocks that were retired
 *
 * Bits of both are clear in the free words. All other blocks are in use, or were freed by others.
 */
struct ptni_chunk_tell_request {
	struct ptni_message head;
	uint32_t space;
	uint32_t count; /* words */
	uint64_t word[PTNI_CHUNK_TELL_WORDS];
};

/* --- memory ------------------------------------------------------------------------------------- */

struct ptni_memory_alloc_request {
	struct ptni_message head;
	uint64_t len_bytes;
	uint64_t term_ns;
	uint32_t tag;
	uint32_t reserved;
};
struct ptni_memory_acquire_request {
	struct ptni_message head;
	uint64_t addr;
	uint64_t secret;
	uint64_t len_bytes;
	uint64_t term_ns;
	uint32_t access; /* IBV_ACCESS_REMOTE_* */
	uint32_t tag;
};
/* Answer to both. `id` names the allocation, never re-used; who knows `secret` may acquire it. */
struct ptni_memory_granted {
	struct ptni_message head;
	uint64_t id;
	uint64_t secret;
	uint64_t addr; /* of the window */
	uint64_t len_bytes;
	struct ptni_lease_grant lease;
	struct ptni_window_grant window;
};
/*
 * Free the allocation: every lease on it is ended first. Only its owner's session may (-EPERM).
 * Answered when it is free; 0 also when it was already.
 */
struct ptni_memory_free_request {
	struct ptni_message head;
	uint64_t id;
	uint64_t addr; /* anywhere inside */
};

/*
 * Offer the allocation to whoever presents the words of the answer, once, within term_ns. Every lease
 * on it is ended first; answered when none of their accesses can land any more. Only its owner's session
 * may (-EPERM); -EBUSY: it is on offer already.
 */
struct ptni_memory_give_request {
	struct ptni_message head;
	uint64_t id;
	uint64_t addr; /* anywhere inside */
	uint64_t term_ns;
};
enum {
	PTNI_TICKET_WORDS = 4 /* addr, id, and 128 bits that only the node and the giver know */
};
struct ptni_memory_given {
	struct ptni_message head;
	uint64_t ticket[PTNI_TICKET_WORDS];
};
/* Take it: from then on it is this session's, as if it had allocated it. -ENOENT: no such offer. */
struct ptni_memory_claim_request {
	struct ptni_message head;
	uint64_t ticket[PTNI_TICKET_WORDS];
	uint64_t term_ns;
	uint32_t tag;
	uint32_t reserved;
}; /* -> struct ptni_memory_granted */

static_assert(sizeof(struct ptni_memory_given) == 48, "wire layout");
static_assert(sizeof(struct ptni_memory_claim_request) == 64, "wire layout");
static_assert(sizeof(struct ptni_space_open_request) == 144, "wire layout");
static_assert(sizeof(struct ptni_space_opened) == 96, "wire layout");
static_assert(sizeof(struct ptni_space_windows_reply) <= PTNI_MESSAGE_MAX, "wire layout");
static_assert(sizeof(struct ptni_chunk_put_request) <= PTNI_MESSAGE_MAX, "wire layout");
static_assert(sizeof(struct ptni_chunk_got) == 72, "wire layout");
static_assert(sizeof(struct ptni_chunk_tell_request) <= PTNI_MESSAGE_MAX, "wire layout");
static_assert(sizeof(struct ptni_memory_granted) == 104, "wire layout");

#endif
