/* SPDX-License-Identifier: MIT */
#include "core/node_call.h"

#include "core/base/hash.h"
#include "core/node_loop.h"

#include <assert.h>
#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

static struct cds_list_head *bucket_of(struct ptni_node_worker *worker, uint32_t cookie)
{
	return &worker->buckets[cookie % PTNI_CALL_BUCKETS];
}

static void call_free(struct ptni_node_call *call)
{
	struct ptni_node_window *window, *next;

	cds_list_for_each_entry_safe(window, next, &call->windows, call_link) {
		cds_list_del_init(&window->call_link);
		window->call = NULL;
	}
	cds_list_del(&call->link);
	cds_list_del(&call->bucket);
	cds_list_del(&call->waiting);
	if (call->reply != call->reply_spare)
		free(call->reply);
	free(call);
}

/* Forget the oldest answer that is no longer owed to the client. */
static void calls_trim(struct ptni_node_worker *worker)
{
	struct ptni_node_call *call, *next;

	cds_list_for_each_entry_safe(call, next, &worker->calls, link) {
		if (worker->call_count < PTNI_CALLS_MAX)
			return;
		if (call->answered) {
			call_free(call);
			worker->call_count--;
		}
	}
}

static struct ptni_node_call *call_make(struct ptni_node_lane *lane, struct ptni_lane_slot *slot,
					const struct ptni_message *head, uint64_t hash)
{
	struct ptni_node_worker *worker = lane->worker;
	struct ptni_node_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	calls_trim(worker);
	call->worker = worker;
	call->origin = call->lane = lane;
	call->origin_slot = call->slot = slot;
	call->asked_id = lane->id;
	call->asked_before = head->status;
	call->cookie = head->cookie;
	call->op = head->op;
	call->hash = hash;
	CDS_INIT_LIST_HEAD(&call->windows);
	CDS_INIT_LIST_HEAD(&call->waiting);
	cds_list_add_tail(&call->link, &worker->calls);
	cds_list_add(&call->bucket, bucket_of(worker, call->cookie));
	worker->call_count++;
	slot->call = call;
	lane->unanswered++;
	ptni_node_session_ref(lane->session);
	return call;
}

static struct ptni_node_call *call_find(struct ptni_node_worker *worker,
					const struct ptni_message *head, uint64_t hash)
{
	struct ptni_node_call *call;

	cds_list_for_each_entry(call, bucket_of(worker, head->cookie), bucket)
		if (call->cookie == head->cookie && call->op == head->op && call->hash == hash)
			return call;
	return NULL;
}

static void head_fill(const struct ptni_node_session *session, struct ptni_message *head,
		      uint16_t op, uint32_t cookie, int status, size_t len_bytes)
{
	*head = (struct ptni_message){
		.op = op | PTNI_REPLY,
		.len_bytes = (uint16_t)len_bytes,
		.cookie = cookie,
		.status = status,
		.session_epoch = session->epoch,
	};
}

/* --- sending an answer -------------------------------------------------------------------------- */

static void reply_cut(struct ptni_node_call *call, int status)
{
	struct ptni_message *head = (void *)call->reply;

	head->status = status;
	head->len_bytes = sizeof(*head);
	call->reply_len_bytes = sizeof(*head);
}

void ptni_node_call_fail(struct ptni_node_call *call, int status)
{
	struct ptni_grant *grant = &call->grant;
	void (*lost)(void *, uint64_t, uint64_t) = grant->lost;
	struct ptni_node_window *window, *next;

	/* Gone windows leave the list by themselves. */
	cds_list_for_each_entry_safe(window, next, &call->windows, call_link)
		ptni_node_window_withdraw(window);
	if (call->answered)
		reply_cut(call, status);
	grant->lost = NULL;
	if (lost)
		lost(grant->lost_arg, grant->lost_addr, grant->lost_id);
}

/* The windows of the answer with their keys on this lane. */
static int windows_bind(struct ptni_node_call *call, struct ptni_node_lane *lane)
{
	struct ptni_node_window *window;
	uint32_t count = 0;

	cds_list_for_each_entry(window, &call->windows, call_link) {
		int ret = ptni_node_window_bind(window, lane);

		if (ret)
			return ret;
		memcpy(call->reply + window->place + offsetof(struct ptni_window_grant, rkey),
		       &window->copy[lane->index].mw->rkey, sizeof(uint32_t));
		count++;
	}
	return count == call->granted ? 0 : PTN_E_LEASE_EXPIRED;
}

static void call_send(struct ptni_node_call *call)
{
	struct ptni_node_lane *lane = call->lane;
	const struct ptni_message *head = (const void *)call->reply;
	int ret = head->status ? 0 : windows_bind(call, lane);

	if (ret) {
		lane->node->info.refusals++;
		ptni_node_call_fail(call, ret);
	}
	memcpy(ptni_node_lane_slot_bytes(lane, call->slot), call->reply, call->reply_len_bytes);
	ptni_node_lane_send(lane, call->slot, call->reply_len_bytes);
	call->lane = NULL;
	call->slot = NULL;
}

/* The worker's other lanes get the same windows, each with a key of its own. */
static void windows_spread(struct ptni_node_call *call)
{
	struct ptni_node_window *window;

	cds_list_for_each_entry(window, &call->windows, call_link)
		for (int i = 0; i < PTNI_LANES_MAX; i++) {
			struct ptni_node_lane *lane = call->worker->lane[i];

			if (lane && lane->state == PTNI_LANE_UP)
				ptni_node_window_lack(window, lane);
		}
}

static void reply_keep(struct ptni_node_call *call, int status, const void *reply, size_t len_bytes)
{
	const struct ptni_node_session *session = call->origin->session;

	call->reply = malloc(len_bytes);
	if (!call->reply) {
		call->reply = call->reply_spare;
		len_bytes = sizeof(struct ptni_message);
		status = -ENOMEM;
		ptni_node_call_fail(call, status);
	} else if (len_bytes > sizeof(struct ptni_message)) {
		memcpy(call->reply, reply, len_bytes);
	}
	head_fill(session, (void *)call->reply, call->op, call->cookie, status, len_bytes);
	call->reply_len_bytes = (uint16_t)len_bytes;
}

void ptni_node_call_answer(struct ptni_node_call *call, int status, const void *reply,
			   size_t len_bytes)
{
	struct ptni_node_lane *origin = call->origin;

	assert(!call->answered && len_bytes >= sizeof(struct ptni_message) &&
	       len_bytes <= PTNI_MESSAGE_MAX);
	reply_keep(call, status, reply, len_bytes);
	call->answered = true;
	if (call->lane != origin)
		ptni_node_lane_recv_again(origin, call->origin_slot);
	if (call->orphan) {
		call_free(call);
	} else {
		if (call->lane)
			call_send(call);
		windows_spread(call);
	}
	ptni_node_session_unref(origin->session);
	ptni_node_lane_put(origin);
}

/* --- arrivals ------------------------------------------------------------------------------------- */

/* Answered without becoming a call. */
static void refuse(struct ptni_node_lane *lane, struct ptni_lane_slot *slot, int status)
{
	struct ptni_message *message = (void *)ptni_node_lane_slot_bytes(lane, slot);

	lane->node->info.refusals++;
	head_fill(lane->session, message, message->op, message->cookie, status, sizeof(*message));
	ptni_node_lane_send(lane, slot, sizeof(*message));
}

static void refuse_garbage(struct ptni_node_lane *lane, struct ptni_lane_slot *slot)
{
	refuse(lane, slot, -EBADMSG);
	ptni_node_session_offence(lane->session);
}

static const struct ptni_service *service_of(const struct ptn_node *node, uint16_t op)
{
	for (uint32_t i = 0; i < node->service_count; i++)
		if (op >= node->services[i].first_op && op <= node->services[i].last_op)
			return &node->services[i];
	return NULL;
}

static bool op_known(const struct ptn_node *node, const struct ptni_message *message)
{
	if (message->op == PTNI_OP_PING)
		return true;
	if (message->op == PTNI_OP_LEASE_RELEASE)
		return message->len_bytes == sizeof(struct ptni_lease_release);
	return service_of(node, message->op);
}

static void call_handle(struct ptni_node_call *call, const struct ptni_message *message)
{
	struct ptni_node_lane *lane = call->origin;
	const struct ptni_service *service;

	if (message->op == PTNI_OP_PING) {
		ptni_node_call_answer(call, 0, message, sizeof(*message));
	} else if (message->op == PTNI_OP_LEASE_RELEASE) {
		ptni_node_lease_release_call(call, (const struct ptni_lease_release *)message);
	} else {
		service = service_of(lane->node, message->op);
		service->handle(service->arg, lane, message);
	}
}

/* The client lost the lane on which it had asked first. */
static void call_repeat(struct ptni_node_call *call, struct ptni_node_lane *lane,
			struct ptni_lane_slot *slot, int32_t asked_before)
{
	if (!call->answered && call->lane && call->lane != call->origin)
		ptni_node_lane_recv_again(call->lane, call->slot);
	call->asked_id = lane->id;
	call->asked_before = asked_before;
	call->lane = lane;
	call->slot = slot;
	if (call->answered)
		call_send(call);
}

/* 0, or why this is not to be handled. */
static int arrival_check(struct ptni_node_lane *lane, const struct ptni_message *message,
			 uint32_t len_bytes)
{
	if (message->len_bytes != len_bytes || message->op & PTNI_REPLY ||
	    !op_known(lane->node, message))
		return -EBADMSG;
	if (message->session_epoch != lane->session->epoch)
		return PTN_E_SESSION_FENCED;
	return ptni_node_session_take_token(lane->session);
}

/* The same for every copy of a request. */
static uint64_t request_hash(const struct ptni_message *message, uint32_t len_bytes)
{
	struct ptni_message head = *message;

	head.status = 0;
	return ptni_checksum(&head, sizeof(head),
			     ptni_checksum(message + 1, len_bytes - sizeof(head), 0));
}

/* A copy that was sent earlier and arrived later: where the client waits now, we know already. */
static bool outdated(const struct ptni_node_call *call, const struct ptni_message *message)
{
	return call && message->status < call->asked_before;
}

void ptni_node_call_arrived(struct ptni_node_lane *lane, struct ptni_lane_slot *slot,
			    uint32_t len_bytes)
{
	const struct ptni_message *message = (void *)ptni_node_lane_slot_bytes(lane, slot);
	struct ptni_node_call *call;
	uint64_t hash;
	int ret;

	slot->busy = true;
	lane->session->requests++;
	if (lane->state != PTNI_LANE_UP || len_bytes < sizeof(*message)) {
		ptni_node_lane_recv_again(lane, slot);
		ptni_node_session_offence(lane->session);
		return;
	}
	ret = arrival_check(lane, message, len_bytes);
	if (ret == -EBADMSG) {
		refuse_garbage(lane, slot);
		return;
	}
	if (ret) {
		refuse(lane, slot, ret);
		return;
	}
	hash = request_hash(message, len_bytes);
	call = call_find(lane->worker, message, hash);
	if (outdated(call, message)) {
		ptni_node_lane_recv_again(lane, slot);
		return;
	}
	if (call && call->asked_id != lane->id) {
		call_repeat(call, lane, slot, message->status);
		return;
	}
	if (call && !call->answered) { /* twice on one lane: nobody repeats like that */
		refuse_garbage(lane, slot);
		return;
	}
	call = call_make(lane, slot, message, hash);
	if (call)
		call_handle(call, message);
	else
		refuse(lane, slot, -ENOMEM);
}

void ptni_node_calls_lane_lost(struct ptni_node_lane *lane)
{
	struct ptni_node_call *call;

	cds_list_for_each_entry(call, &lane->worker->calls, link)
		if (call->lane == lane) {
			call->lane = NULL;
			call->slot = NULL;
		}
}

void ptni_node_calls_forget(struct ptni_node_worker *worker)
{
	struct ptni_node_call *call, *next;

	cds_list_for_each_entry_safe(call, next, &worker->calls, link) {
		if (call->answered) {
			call_free(call);
			continue;
		}
		cds_list_del_init(&call->link);
		cds_list_del_init(&call->bucket);
		call->orphan = true;
		call->worker = NULL;
		call->lane = NULL;
		call->slot = NULL;
	}
	worker->call_count = 0;
}
