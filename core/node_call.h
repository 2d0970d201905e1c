/* SPDX-License-Identifier: MIT */
/*
 * A call: a request of a worker from its arrival until PTNI_CALLS_MAX later ones came. A client whose
 * lane broke before the reply sends the request again on the next lane; cookie, operation and bytes
 * tell that it is the same one, and it is answered with the first answer's effect: keys of the
 * windows that were granted, made valid on the new lane, or the status that the first one had.
 *
 *   arrived ──► handled by a service ──► answered ──► sent on lane L ──► (asked again) sent on lane M
 *
 * The client dies here, or sleeps for ten seconds: the answer stays here, windows end with their lease.
 */
#ifndef PTNI_NODE_CALL_H
#define PTNI_NODE_CALL_H

#include "core/node_lane.h"

struct ptni_grant {
	struct ptni_node_call *call;
	struct ptni_node_lease *lease;
	struct ptni_window_grant *place[PTNI_GRANT_WINDOWS];
	uint32_t count;
	void (*lost)(void *arg, uint64_t addr, uint64_t id); /* NULL: nobody watches */
	void *lost_arg;
	uint64_t lost_addr, lost_id;
};

struct ptni_node_call {
	struct ptni_node_worker *worker;
	struct cds_list_head link, bucket;
	struct ptni_node_lane *origin; /* where the request lies until it is answered */
	struct ptni_lane_slot *origin_slot;
	struct ptni_node_lane *lane; /* where the answer goes; NULL: nowhere until asked again */
	struct ptni_lane_slot *slot;
	uint32_t asked_id; /* lane->id when last asked */
	int32_t asked_before; /* times, by the client's word */
	uint32_t cookie;
	uint16_t op;
	bool answered;
	bool orphan; /* the worker has ended */
	uint64_t hash;
	struct cds_list_head windows;
	struct cds_list_head waiting; /* releases that wait for their lease */
	struct ptni_grant grant;
	uint32_t granted; /* windows of the answer; fewer in the list: some were lost since */
	uint16_t reply_len_bytes;
	uint8_t *reply;
	_Alignas(8) uint8_t reply_spare[sizeof(struct ptni_message)]; /* when there is no memory */
};

/* A message arrived in `slot`. */
void ptni_node_call_arrived(struct ptni_node_lane *lane, struct ptni_lane_slot *slot,
			    uint32_t len_bytes);
/* Answer with copies of these bytes, whose head is filled in here. Drops the answer if nobody waits. */
void ptni_node_call_answer(struct ptni_node_call *call, int status, const void *reply,
			   size_t len_bytes);
/* The grant of that call cannot be kept: all its windows are taken back, asked again it is `status`. */
void ptni_node_call_fail(struct ptni_node_call *call, int status);
/* The lane is gone. */
void ptni_node_calls_lane_lost(struct ptni_node_lane *lane);
/* The worker is gone: forget answered ones, orphan the others. */
void ptni_node_calls_forget(struct ptni_node_worker *worker);

#endif
