/* SPDX-License-Identifier: MIT */
/*
 * What a client and a node say to each other. Two carriers:
 *
 *   channel  a fabric channel (fabric.h), for what must work without a queue pair: hello, opening
 *            and replacing lanes, goodbye. Its end is how a node learns that a process died.
 *   lane     SEND/RECV on a lane's own queue pair, for grants: the BINDs of the windows granted
 *            and the SEND of their keys are one post list, so a key arrives after its window works.
 *
 * All integers are little endian, all structs are packed by construction (checked below), unknown
 * operations and short or long messages are answered with -EBADMSG, never trusted, never asserted on.
 */
#ifndef PTNI_WIRE_H
#define PTNI_WIRE_H

#include <assert.h>
#include <stdint.h>

#define PTNI_WIRE_MAGIC 0x31304e5450u /* "PTN01" */

enum {
	PTNI_WIRE_VERSION = 3,
	PTNI_MESSAGE_MAX = 1024, /* bytes of one lane message */
	PTNI_CREDENTIALS_MAX = 128, /* bytes */
	PTNI_LANES_MAX = 4, /* queue pairs of one worker to one node, the active one included */
	PTNI_WORKERS_MAX = 256, /* of one session */
	PTNI_LEASE_WORDS = 256, /* lease words of one session */
};

/* --- channel ------------------------------------------------------------------------------- */

enum ptni_channel_op {
	PTNI_HELLO = 1, /* client: first message */
	PTNI_WELCOME, /* node: or a refusal in .status */
	PTNI_LANE_OPEN, /* client: my end is in INIT with RECVs posted, here is its address */
	PTNI_LANE_ADDR, /* node: my end is in RTS, here is its address */
	PTNI_LANE_GO, /* client: connected; the node's first lane message may come */
	PTNI_LANE_CLOSE, /* client: end that lane (it broke); .lane = PTNI_LANE_ALL: the worker itself ends */
	/* node: its windows are invalid and its queue pair is dead: nothing sent on it can land */
	PTNI_LANE_CLOSED,
	PTNI_GOODBYE, /* client: end the session in good order */
	PTNI_ENDED, /* node: the session is over; .status says why (0 = asked for) */
	/* node: that lane, which was open, has failed at its end: a courtesy, so that a spare that nobody
	 * uses is replaced before it is needed */
	PTNI_LANE_LOST,
};

struct ptni_hello {
	uint32_t op;
	uint32_t version;
	uint64_t magic;
	uint64_t term_ns; /* wanted for the session's lease; 0 = the node's default */
	uint32_t flags; /* PTNI_HELLO_* */
	uint32_t credentials_len_bytes;
	uint8_t credentials[PTNI_CREDENTIALS_MAX];
};
enum {
	PTNI_HELLO_UNPROTECTED = 1
}; /* wants the whole region's own key: benchmarks only, if the node allows it */

struct ptni_welcome {
	uint32_t op;
	int32_t status; /* 0, or why not: the rest is then zero but .version */
	uint32_t version;
	uint32_t session; /* id, never re-used by this node */
	uint32_t epoch; /* the session's fencing epoch */
	uint32_t region_rkey; /* with PTNI_HELLO_UNPROTECTED only */
	uint64_t region_addr;
	uint64_t region_len_bytes;
	uint64_t page_addr; /* struct ptni_session_page */
	uint64_t status_addr; /* struct ptni_status_page */
	uint64_t term_ns; /* unit of the session's lease; a full term is term_units of them */
	uint64_t term_max_ns; /* no lease lasts longer than this from its grant */
	uint32_t extent_shift;
	uint32_t page_shift; /* chunks are made of pages of this size */
	uint32_t workers_max;
	uint32_t lanes_max;
	uint32_t windows_max;
	uint32_t leases_max;
	uint32_t drift_ppm; /* bound on the drift between two clocks' rates that the node assumes */
	uint32_t term_units; /* 0 is 1; more makes a dead client's lease end that much sooner */
};

/*
 * Closing PTNI_LANE_ALL ends the worker: its lanes, its windows (leases go on until their end) and the
 * node's memory of its calls; the answer carries the same .lane. Only then may the index start anew.
 * Closing single lanes, even the last one, keeps the windows: they are bound again on the next lane.
 */
enum {
	PTNI_LANE_ALL = 0xffff
};

struct ptni_lane_open {
	uint32_t op;
	uint32_t worker; /* 0 is the client's keeper */
	uint32_t lane; /* index below lanes_max; a lane of that index must not be open */
	uint32_t reserved;
	uint8_t address[64];
};
struct ptni_lane_addr { /* also PTNI_LANE_GO, _CLOSE, _CLOSED, _LOST, without address */
	uint32_t op;
	int32_t status;
	uint32_t worker;
	uint32_t lane;
	uint8_t address[64];
};
struct ptni_ended {
	uint32_t op;
	int32_t status;
};

/* --- pages that clients reach one-sidedly ----------------------------------------------------- */

/*
 * One per node. Words written by the node's CPU alone, read by clients (window: READ).
 */
struct ptni_status_page {
	uint64_t epoch; /* reclamation epoch E, only ever grows */
	uint64_t horizon; /* H: every unfenced session has reported >= H; what was retired at t < H may be re-used */
};

/*
 * One per session (window: READ|WRITE|ATOMIC, bound on every lane of the session).
 * `report` is changed by the client's WRITE only, the lease words by CAS only (R3).
 */
struct ptni_session_page {
	uint64_t report; /* the epoch E for which the client vouches; 0 = none yet */
	uint64_t want; /* non-zero: the client has garbage waiting, please advance E */
	uint64_t reserved[6];
	uint64_t lease[PTNI_LEASE_WORDS]; /* [0] is the session's own lease */
};

/*
 * A lease word: {generation 31, closed 1, units 32}. The client extends by CAS from the word it
 * knows to the same with more units; the node closes by CAS (through its loop-back queue pair) to
 * the same with closed = 1. Whichever CAS comes first wins and the other side sees that it lost:
 * an extension is neither lost nor silently refused. The deadline is grant time + units x unit,
 * capped by the node's term_max; the node trusts nothing else in the word. The session's own lease
 * ([0], which begins as generation 1 with term_units) may go on for ever; each change of its word buys
 * at most a term and two units from when the node sees it, and the node looks every unit.
 * A word of another generation than one's own means: closed, and the word serves another lease.
 */
#define PTNI_LEASE_CLOSED (UINT64_C(1) << 32)
static inline uint64_t ptni_lease_word(uint32_t generation, uint32_t units)
{
	return ((uint64_t)generation << 33) | units;
}
static inline uint32_t ptni_lease_word_units(uint64_t word)
{
	return (uint32_t)word;
}
static inline uint32_t ptni_lease_word_generation(uint64_t word)
{
	return (uint32_t)(word >> 33);
}

/* --- lane ------------------------------------------------------------------------------------- */

enum ptni_message_op {
	/* core */
	PTNI_OP_LANE_READY = 1, /* node -> client, first message of a lane: keys of the two pages */
	PTNI_OP_SHADOW, /* node -> client on a spare: keys of windows also bound there */
	PTNI_OP_REVOKED, /* node -> client: a lease was ended by the node */
	PTNI_OP_LEASE_RELEASE,
	PTNI_OP_PING,
	/* alloc (its services, see alloc/) */
	PTNI_OP_ALLOC_FIRST = 64,
	PTNI_OP_ALLOC_LAST = 127,
};

/* Every lane message begins so. A reply repeats op and cookie and sets PTNI_REPLY. */
struct ptni_message {
	uint16_t op;
	uint16_t len_bytes; /* of the whole message */
	uint32_t cookie; /* counts a worker's calls; sent again on another lane it is the same call */
	int32_t status; /* replies: 0 or a negative error code; requests: how often sent before */
	uint32_t session_epoch; /* from the welcome; requests with another are refused */
};
#define PTNI_REPLY 0x8000u

/*
 * Calls of one worker whose reply it has not seen: at most this many. The node remembers the answers
 * to that many of the latest; an older call that is sent again would be taken for a new one.
 */
enum {
	PTNI_CALLS_MAX = 128
};

struct ptni_lane_ready {
	struct ptni_message head;
	uint32_t page_rkey;
	uint32_t status_rkey;
};

/*
 * A window as granted. `tag` was chosen by the client in its request: an index into the worker's
 * table of windows to that node, the same on every lane.
 */
struct ptni_window_grant {
	uint64_t addr;
	uint64_t len_bytes;
	uint32_t rkey;
	uint32_t tag;
	uint32_t access; /* IBV_ACCESS_REMOTE_* */
	uint32_t reserved;
};
struct ptni_shadow {
	struct ptni_message head;
	uint32_t count;
	uint32_t reserved;
	struct ptni_window_grant window[];
};
enum {
	PTNI_SHADOW_MAX = (PTNI_MESSAGE_MAX - 24) / 32
};

/* A lease as granted: index and word tell where and what to CAS for an extension. */
struct ptni_lease_grant {
	uint32_t index; /* into ptni_session_page.lease */
	uint32_t generation;
	uint64_t unit_ns;
	uint32_t units;
	uint32_t reserved;
};

struct ptni_lease_release {
	struct ptni_message head;
	uint32_t index;
	uint32_t generation;
	uint32_t flags; /* PTNI_RELEASE_* */
	uint32_t reserved;
};
enum {
	PTNI_RELEASE_KEEP_MEMORY = 1
};

/* A courtesy, not a promise: the windows are invalid whether it arrives or not. */
struct ptni_revoked {
	struct ptni_message head; /* .status: PTN_E_LEASE_REVOKED */
	uint32_t index;
	uint32_t generation;
};

static_assert(sizeof(struct ptni_message) == 16, "wire layout");
static_assert(sizeof(struct ptni_window_grant) == 32, "wire layout");
static_assert(sizeof(struct ptni_lease_grant) == 24, "wire layout");
static_assert(sizeof(struct ptni_welcome) == 104, "wire layout");
static_assert(sizeof(struct ptni_session_page) <= 4096, "a session page is one page");

#endif
