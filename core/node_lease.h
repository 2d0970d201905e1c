/* SPDX-License-Identifier: MIT */
/*
 * Leases and the words in which clients extend them.
 *
 *   OPEN ── release, revoke: firm ──► CLOSING ── CAS won ──► TAKING ── windows gone ──► ENDED ── ended()
 *    ▲      expiry: not firm            │  CAS on the word
 *    └──────── CAS lost to an extension ┘
 *
 * Slot of a lease (its word's place in the session page):  free ─► in use ─► word closed ─► word prepared ─► free
 *
 * 1. An extension that the client's CAS made is honoured: the node closes by CAS from the word it
 *    based its decision on, and if that CAS loses it decides anew.
 * 2. After the node's CAS won, no extension can succeed: every client CAS expects the word unclosed
 *    and of that generation, and a slot's next generation is put there by CAS before it is granted.
 * 3. A lease ends once, whatever ends it; its timer is cancelled with it and no timer, release or
 *    completion of an earlier lease of the slot reaches the next one.
 * 4. ended() runs after every window of the lease is gone.
 * 5. A client that keeps changing its word can neither stay (PTNI_CLOSE_TRIES, then the word is not
 *    asked any more) nor get more than term_max from the grant.
 *
 * The client dies here, or sleeps for ten seconds: the lease expires without it.
 */
#ifndef PTNI_NODE_LEASE_H
#define PTNI_NODE_LEASE_H

#include "core/node_lane.h"

enum {
	PTNI_CLOSE_TRIES = 8,
	PTNI_TERM_UNITS = 4, /* a term is so many units: how finely it can be extended */
	PTNI_LEASES_MAX = 65536, /* of one session, those without a word included */
	PTNI_TERM_MIN_NS = 100000,
	PTNI_GUARD_NS = 1000, /* in the client's favour, for reading the clock */
};

enum ptni_lease_state {
	PTNI_LEASE_OPEN,
	PTNI_LEASE_CLOSING,
	PTNI_LEASE_TAKING,
	PTNI_LEASE_ENDED
};

struct ptni_lease_slot {
	struct ptni_manager_op op;
	struct ptni_node_session *session;
	struct ptni_node_lease *lease;
	struct cds_list_head link; /* free ones */
	uint32_t index;
	uint32_t generation; /* of the word */
	uint32_t tries;
	bool busy; /* op is under way */
	bool prepared; /* the word is {generation, open, PTNI_TERM_UNITS} */
};

struct ptni_node_lease {
	struct ptni_node_session *session;
	struct ptni_lease_slot *slot; /* NULL: lives as long as the session */
	enum ptni_lease_state state;
	bool firm;
	enum ptni_lease_end how;
	uint32_t release_flags;
	uint32_t generation;
	uint64_t granted_ns, unit_ns, deadline_ns;
	uint64_t word_seen; /* the session's lease: last word that counted */
	struct ptni_wheel_node timer;
	uint32_t window_count;
	struct cds_list_head windows;
	struct cds_list_head link; /* session's */
	struct cds_list_head ended_link; /* node's, when ENDED */
	struct cds_list_head releases; /* calls that wait for the end */
	void (*ended)(void *arg, enum ptni_lease_end how, uint32_t release_flags);
	void *arg;
};

/* Slots and the session's own lease; words are set by the CPU since nothing can reach the page yet. */
int ptni_node_leases_init(struct ptni_node_session *session);
/* All leases of a session that is being fenced. */
void ptni_node_leases_fence(struct ptni_node_session *session);
void ptni_node_lease_window_gone(struct ptni_node_lease *lease);
/* PTNI_OP_LEASE_RELEASE */
void ptni_node_lease_release_call(struct ptni_node_call *call,
				  const struct ptni_lease_release *message);
/* Run ended() of what has ended in this turn. */
int ptni_node_leases_run(struct ptn_node *node);

#endif
