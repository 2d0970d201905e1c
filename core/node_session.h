/* SPDX-License-Identifier: MIT */
/*
 * A session: one client process as this node knows it.
 *
 *   guest ── hello ──► OPEN ── fence ──► FENCING ── windows, lanes, leases gone ──► ENDED ── freed
 *
 * Whatever ends a session - goodbye, its process's death (the channel says), its lease, a report of
 * the reclamation epoch that does not come, too much garbage, the operator, the node's end - is one
 * fence: the epoch is raised, all lanes go to error, all windows are taken back; then its leases'
 * ended(), then the services' session_ended(), then PTNI_ENDED on the channel.
 *
 * The client dies here, or sleeps for ten seconds: see above; no other session waits for it.
 */
#ifndef PTNI_NODE_SESSION_H
#define PTNI_NODE_SESSION_H

#include "core/node_bucket.h"
#include "core/node_lease.h"

enum {
	PTNI_OFFENCES_MAX = 64, /* malformed messages of a session */
	PTNI_GUESTS_MAX = 64,
	PTNI_GREETING_NS = 2000000000, /* a guest says hello within that */
	PTNI_OUTBOX_MAX = 64,
	PTNI_CHANNEL_TURN = 8, /* messages of one channel in one turn */
	PTNI_SERVICES_MAX = 8,
	PTNI_PAGE_BYTES = 4096,
	PTNI_PAGE_SHIFT = 16, /* of chunks */
};

enum ptni_node_session_state {
	PTNI_SESSION_OPEN,
	PTNI_SESSION_FENCING,
	PTNI_SESSION_ENDED
};

/* A descriptor that the loop watches. */
struct ptni_source {
	enum ptni_source_kind {
		PTNI_SOURCE_LISTENER,
		PTNI_SOURCE_GUEST,
		PTNI_SOURCE_SESSION,
		PTNI_SOURCE_CQ,
		PTNI_SOURCE_WAKE
	} kind;
	int fd; /* -1: cannot be waited for, is polled */
	void *owner;
};

struct ptni_guest {
	struct ptn_node *node;
	struct ptni_source source;
	struct ptni_channel *channel;
	int32_t pid; /* 0 when not known */
	struct ptni_wheel_node timer;
	struct cds_list_head link;
};

struct ptni_outbox_message {
	uint32_t len_bytes;
	uint8_t bytes[sizeof(struct ptni_welcome)];
};

struct ptni_node_session {
	struct ptn_node *node;
	struct ptni_source source;
	struct ptni_channel *channel; /* NULL when it is closed */
	struct cds_list_head link;
	struct cds_list_head done_link; /* node's list: to be looked at */
	uint32_t id, epoch;
	int32_t pid;
	enum ptni_node_session_state state;
	int end_status; /* why; what PTNI_ENDED says */
	uint64_t term_ns;
	uint32_t page_index;
	struct ptni_session_page *page;
	struct ptni_node_worker **workers; /* by index, session_workers_max of them */
	struct cds_list_head lanes;
	struct cds_list_head leases;
	struct ptni_lease_slot *slots;
	struct cds_list_head slots_free;
	struct ptni_node_lease *lease; /* its own */
	uint32_t worker_count, lane_count, lease_count;
	uint32_t window_count;
	uint32_t mw_count; /* windows, each counted once a lane */
	uint64_t bytes, requests;
	uint32_t offences;
	struct ptni_bucket bucket;
	uint64_t report; /* epoch for which it vouches */
	uint32_t refs; /* unanswered calls, CAS under way */
	struct ptni_manager *manager; /* where its ops are posted; NULL: none is */
	struct cds_list_head ops; /* to be posted, in order */
	struct cds_list_head ops_link; /* node's list: waits for a manager */
	struct ptni_outbox_message outbox[PTNI_OUTBOX_MAX];
	uint32_t outbox_head, outbox_tail;
	struct {
		const void *service_arg;
		void *state;
	} states[PTNI_SERVICES_MAX];
};

/* 1 if somebody was there. */
int ptni_guest_accept(struct ptn_node *node);
void ptni_guest_ready(struct ptni_guest *guest);
void ptni_guest_close(struct ptni_guest *guest);

int ptni_node_session_open(struct ptni_guest *guest, const struct ptni_hello *hello,
			   struct ptni_node_session **session_out);
int ptni_node_sessions_run(struct ptn_node *node);
void ptni_node_session_ready(struct ptni_node_session *session); /* its channel has something */
void ptni_node_session_fence(struct ptni_node_session *session, int status);
/* Something of a fenced session has gone: go on with its end if it was the last. */
void ptni_node_session_check(struct ptni_node_session *session);
void ptni_node_session_offence(struct ptni_node_session *session);
/* 0, or PTN_E_QUOTA: too many requests. */
int ptni_node_session_take_token(struct ptni_node_session *session);
void ptni_node_session_say(struct ptni_node_session *session, const void *message,
			   size_t len_bytes);
void ptni_node_session_channel_close(struct ptni_node_session *session);
void ptni_node_session_outbox_flush(struct ptni_node_session *session);
void ptni_node_session_ref(struct ptni_node_session *session);
void ptni_node_session_unref(struct ptni_node_session *session);
/* Lanes, on the channel (node_channel.c). */
void ptni_node_session_lane_dead(struct ptni_node_session *session, struct ptni_node_worker *worker,
				 uint32_t lane, bool asked);
/* PTNI_LANE_LOST, if there is plenty of room: it is not worth a session. */
void ptni_node_session_say_lost(struct ptni_node_session *session, uint32_t worker, uint32_t lane);
void ptni_node_session_say_lane(struct ptni_node_session *session, uint32_t op, int status,
				uint32_t worker, uint32_t lane,
				const struct ptni_qp_address *address);

#endif
