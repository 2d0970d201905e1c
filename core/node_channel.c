/* SPDX-License-Identifier: MIT */
/* A session's channel: opening and closing lanes, goodbye, and the answers, in order. */
#include "core/node_loop.h"

#include <assert.h>
#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

/* --- out ---------------------------------------------------------------------------------------- */

void ptni_node_session_channel_close(struct ptni_node_session *session)
{
	if (!session->channel)
		return;
	ptni_loop_unwatch(session->node, &session->source);
	session->node->ops->channel_close(session->channel);
	session->channel = NULL;
}

void ptni_node_session_outbox_flush(struct ptni_node_session *session)
{
	while (session->channel && session->outbox_head != session->outbox_tail) {
		const struct ptni_outbox_message *message =
			&session->outbox[session->outbox_head % PTNI_OUTBOX_MAX];
		int ret = session->node->ops->channel_send(session->channel, message->bytes,
							   message->len_bytes);

		if (ret == -EAGAIN) {
			ptni_node_beat_soon(session->node);
			return;
		}
		session->outbox_head++;
		if (ret < 0) {
			ptni_node_session_channel_close(session);
			ptni_node_session_fence(session, PTN_E_SESSION_FENCED);
		}
	}
}

/* A client that does not read its channel loses its session, not the node's memory. */
void ptni_node_session_say(struct ptni_node_session *session, const void *message, size_t len_bytes)
{
	struct ptni_outbox_message *place;

	assert(len_bytes <= sizeof(place->bytes));
	if (!session->channel)
		return;
	if (session->outbox_tail - session->outbox_head == PTNI_OUTBOX_MAX) {
		ptni_node_session_fence(session, PTN_E_PROTOCOL);
		return;
	}
	place = &session->outbox[session->outbox_tail++ % PTNI_OUTBOX_MAX];
	place->len_bytes = (uint32_t)len_bytes;
	memcpy(place->bytes, message, len_bytes);
	ptni_node_session_outbox_flush(session);
}

void ptni_node_session_say_lane(struct ptni_node_session *session, uint32_t op, int status,
				uint32_t worker, uint32_t lane,
				const struct ptni_qp_address *address)
{
	struct ptni_lane_addr message = {
		.op = op, .status = status, .worker = worker, .lane = lane
	};

	if (session->state != PTNI_SESSION_OPEN)
		return;
	if (address)
		memcpy(message.address, address->bytes, sizeof(message.address));
	ptni_node_session_say(session, &message, sizeof(message));
}

void ptni_node_session_say_lost(struct ptni_node_session *session, uint32_t worker, uint32_t lane)
{
	if (session->outbox_tail - session->outbox_head < PTNI_OUTBOX_MAX / 2)
		ptni_node_session_say_lane(session, PTNI_LANE_LOST, 0, worker, lane, NULL);
}

/* --- lanes ---------------------------------------------------------------------------------------- */

static void lane_open_now(struct ptni_node_worker *worker, const struct ptni_lane_open *open)
{
	struct ptni_qp_address address;
	int ret = ptni_node_lane_make(worker, open, &address);

	if (ret)
		worker->session->node->info.refusals++;
	ptni_node_session_say_lane(worker->session, PTNI_LANE_ADDR, ret, worker->index, open->lane,
				   ret ? NULL : &address);
}

/* The former lane of that index is still being buried. */
static int lane_open_later(struct ptni_node_worker *worker, const struct ptni_lane_open *open)
{
	if (worker->reopen[open->lane])
		return -EEXIST;
	worker->reopen[open->lane] = malloc(sizeof(*open));
	if (!worker->reopen[open->lane])
		return -ENOMEM;
	*worker->reopen[open->lane] = *open;
	return 0;
}

static void lane_open(struct ptni_node_session *session, const struct ptni_lane_open *open)
{
	struct ptni_node_worker *worker;
	int ret = ptni_node_session_take_token(session); /* it is the most costly message */

	if (!ret)
		ret = open->lane < PTNI_LANES_MAX ?
			      ptni_node_worker_make(session, open->worker, &worker) :
			      -EINVAL;
	if (!ret && worker->closing)
		ret = -EBUSY;
	else if (!ret && worker->lane[open->lane] &&
		 worker->lane[open->lane]->state != PTNI_LANE_DYING)
		ret = -EEXIST;
	else if (!ret && worker->lane[open->lane])
		ret = lane_open_later(worker, open);
	else if (!ret)
		lane_open_now(worker, open);
	if (!ret)
		return;
	session->node->info.refusals++;
	ptni_node_session_say_lane(session, PTNI_LANE_ADDR, ret, open->worker, open->lane, NULL);
}

static void lane_close(struct ptni_node_session *session, uint32_t index, uint32_t lane_index)
{
	struct ptni_node_worker *worker = ptni_node_worker_get(session, index);
	struct ptni_node_lane *lane = NULL;

	if (worker && lane_index == PTNI_LANE_ALL) {
		ptni_node_worker_close_ask(worker);
		return;
	}
	if (worker && lane_index < PTNI_LANES_MAX) {
		lane = worker->lane[lane_index];
		free(worker->reopen[lane_index]);
		worker->reopen[lane_index] = NULL;
	}
	if (!lane) { /* gone already: nothing sent on it can land */
		ptni_node_session_say_lane(session, PTNI_LANE_CLOSED, 0, index, lane_index, NULL);
		return;
	}
	lane->close_asked = true;
	ptni_node_lane_break(lane);
}

void ptni_node_session_lane_dead(struct ptni_node_session *session, struct ptni_node_worker *worker,
				 uint32_t lane, bool asked)
{
	struct ptni_lane_open *reopen = worker->reopen[lane];

	worker->reopen[lane] = NULL;
	if (asked)
		ptni_node_session_say_lane(session, PTNI_LANE_CLOSED, 0, worker->index, lane, NULL);
	if (reopen && session->state == PTNI_SESSION_OPEN)
		lane_open_now(worker, reopen);
	free(reopen);
	ptni_node_worker_check(worker);
}

static void lane_go(struct ptni_node_session *session, const struct ptni_lane_addr *go)
{
	struct ptni_node_worker *worker = ptni_node_worker_get(session, go->worker);

	if (!worker || go->lane >= PTNI_LANES_MAX) {
		ptni_node_session_offence(session);
		return;
	}
	/* It may have broken since: then the client hears of that. */
	if (worker->lane[go->lane])
		ptni_node_lane_go(worker->lane[go->lane]);
}

/* --- in --------------------------------------------------------------------------------------------- */

union channel_message {
	uint32_t op;
	struct ptni_lane_open open;
	struct ptni_lane_addr lane;
	uint8_t bytes[PTNI_CHANNEL_MAX];
};

/* These are always heeded, or lanes would not come back; but they count, and who sends a flood is ended. */
static bool is_flood(struct ptni_node_session *session)
{
	return ptni_node_session_take_token(session) == PTN_E_FLOOD;
}

static void message_handle(struct ptni_node_session *session, const union channel_message *message,
			   size_t len_bytes)
{
	uint32_t op = len_bytes >= sizeof(message->op) ? message->op : 0;

	if (op == PTNI_LANE_OPEN && len_bytes == sizeof(message->open))
		lane_open(session, &message->open);
	else if (op == PTNI_GOODBYE)
		ptni_node_session_fence(session, 0);
	else if ((op != PTNI_LANE_GO && op != PTNI_LANE_CLOSE) ||
		 len_bytes != sizeof(message->lane))
		ptni_node_session_offence(session);
	else if (is_flood(session))
		return;
	else if (op == PTNI_LANE_GO)
		lane_go(session, &message->lane);
	else
		lane_close(session, message->lane.worker, message->lane.lane);
}

void ptni_node_session_ready(struct ptni_node_session *session)
{
	union channel_message message;

	for (int i = 0; i < PTNI_CHANNEL_TURN && session->state == PTNI_SESSION_OPEN; i++) {
		int ret = session->node->ops->channel_recv(session->channel, &message,
							   sizeof(message));

		if (ret == -EAGAIN)
			return;
		session->node->active = true;
		if (ret == -EMSGSIZE) {
			ptni_node_session_offence(session);
		} else if (ret < 0) { /* its process closed the channel or died */
			ptni_node_session_channel_close(session);
			ptni_node_session_fence(session, PTN_E_SESSION_FENCED);
		} else {
			message_handle(session, &message, (size_t)ret);
		}
	}
}
