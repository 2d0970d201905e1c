/* SPDX-License-Identifier: MIT */
/* What the operator asks, from any thread. */
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

static void describe(const struct ptni_node_session *session, struct ptn_session_info *info_out)
{
	uint64_t now_ns = ptni_node_clock_ns(session->node);
	uint64_t deadline_ns = session->lease->deadline_ns;
	bool open = session->state == PTNI_SESSION_OPEN;

	*info_out = (struct ptn_session_info){
		.id = session->id,
		.epoch = session->epoch,
		.pid = session->pid,
		.fenced = !open,
		.workers = session->worker_count,
		.lanes = session->lane_count,
		.windows = session->mw_count,
		.leases = session->lease_count,
		.bytes = session->bytes,
		.lease_left_ns = open && deadline_ns > now_ns ? deadline_ns - now_ns : 0,
		.requests = session->requests,
	};
}

static void sessions_answer(struct ptn_node *node, struct ptni_request *request)
{
	struct ptn_session_info *sessions = request->out;
	struct ptni_node_session *session;
	size_t count = 0;

	cds_list_for_each_entry(session, &node->sessions, link) {
		if (session->state == PTNI_SESSION_ENDED)
			continue;
		if (count < request->capacity)
			describe(session, &sessions[count]);
		count++;
	}
	request->ret = (int)count;
}

int ptn_node_sessions(struct ptn_node *node, struct ptn_session_info *sessions, size_t capacity)
{
	struct ptni_request request = { .answer = sessions_answer,
					.out = sessions,
					.capacity = sessions ? capacity : 0 };

	return ptni_loop_ask(node, &request);
}

static void end_answer(struct ptn_node *node, struct ptni_request *request)
{
	struct ptni_node_session *session;

	request->ret = -ENOENT;
	cds_list_for_each_entry(session, &node->sessions, link)
		if (session->id == request->id && session->state == PTNI_SESSION_OPEN) {
			ptni_node_session_fence(session, PTN_E_SESSION_ENDED);
			request->ret = 0;
		}
}

int ptn_node_session_end(struct ptn_node *node, uint32_t id)
{
	struct ptni_request request = { .answer = end_answer, .id = id };

	return ptni_loop_ask(node, &request);
}

static void info_answer(struct ptn_node *node, struct ptni_request *request)
{
	struct ptn_node_info *info = request->out;

	*info = node->info;
	info->memory_bytes = node->region_len_bytes;
	info->epoch = node->epochs.epoch;
	info->horizon = node->epochs.horizon;
}

int ptn_node_info(struct ptn_node *node, struct ptn_node_info *info_out)
{
	struct ptni_request request = { .answer = info_answer, .out = info_out };

	return ptni_loop_ask(node, &request);
}
