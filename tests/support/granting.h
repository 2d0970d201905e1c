/* SPDX-License-Identifier: MIT */
/*
 * The least service that makes a node useful to a test of the client: it grants a window over any part of the
 * region, under the session's lease or one of its own. Both sides.
 */
#ifndef TESTS_GRANTING_H
#define TESTS_GRANTING_H

#include "core/node.h"
#include "core/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	GRANT_OP = PTNI_OP_ALLOC_FIRST
};

struct grant_request {
	struct ptni_message head;
	uint64_t offset, len_bytes, term_ns;
	uint32_t access, tag;
};

struct grant_reply {
	struct ptni_message head;
	struct ptni_lease_grant lease;
	struct ptni_window_grant window;
};

struct granting {
	struct ptn_node *node;
	_Atomic unsigned granted, ended;
};

static inline void granting_ended(void *arg, enum ptni_lease_end how, uint32_t flags)
{
	struct granting *granting = arg;

	atomic_fetch_add(&granting->ended, 1);
}

static inline int granting_grant(struct granting *granting, struct ptni_node_lane *lane,
				 const struct grant_request *request)
{
	struct grant_reply reply = { .head = { .op = 0 } };
	struct ptni_node_lease *lease;
	struct ptni_grant *grant;
	uint8_t *region = ptni_node_region(granting->node, &(size_t){ 0 });
	int ret = ptni_lease_open(ptni_lane_session(lane), request->term_ns, granting_ended,
				  granting, &lease);

	if (ret)
		return ret;
	ptni_lease_describe(lease, &reply.lease);
	ret = ptni_grant_begin(lane, &request->head, lease, &grant);
	if (ret)
		return ret;
	ret = ptni_grant_window(grant, (uintptr_t)region + request->offset, request->len_bytes,
				request->access, request->tag, &reply.window);
	atomic_fetch_add(&granting->granted, 1);
	(void)ptni_grant_reply(grant, ret, &reply, sizeof(reply));
	return 0;
}

static inline void granting_handle(void *arg, struct ptni_node_lane *lane,
				   const struct ptni_message *message)
{
	struct ptni_message reply = { .op = 0 };
	int ret = -EBADMSG;

	if (message->len_bytes == sizeof(struct grant_request))
		ret = granting_grant(arg, lane, (const struct grant_request *)message);
	if (ret)
		(void)ptni_node_reply(lane, message, ret, &reply, sizeof(reply));
}

static inline int granting_add(struct granting *granting, struct ptn_node *node)
{
	const struct ptni_service service = { .first_op = GRANT_OP,
					      .last_op = GRANT_OP,
					      .arg = granting,
					      .handle = granting_handle };

	*granting = (struct granting){ .node = node };
	return ptni_node_service_add(node, &service);
}

/* Client side. lease: NULL for a window that lives as long as the session. */
static inline int grant_window(struct ptn_worker *worker, unsigned node, uint64_t offset,
			       uint64_t len_bytes, uint32_t access, uint64_t term_ns,
			       struct ptni_lease *lease, struct ptni_window **window_out)
{
	struct grant_request request = { .head = { .op = GRANT_OP },
					 .offset = offset,
					 .len_bytes = len_bytes,
					 .term_ns = term_ns,
					 .access = access };
	const _Atomic uint64_t *deadline =
		ptni_client_session_deadline(ptni_worker_client(worker), node);
	struct ptni_window *window;
	struct ptni_call call;
	const struct grant_reply *reply = (const struct grant_reply *)call.reply;
	int ret = ptni_window_reserve(worker, node, &window);

	if (ret)
		return ret;
	request.tag = window->tag;
	ret = ptni_call_start(&call, worker, node, &request, sizeof(request), UINT64_C(5000000000));
	if (!ret)
		ret = ptni_call_wait(&call);
	if (!ret && call.reply_len_bytes != sizeof(*reply))
		ret = -EBADMSG;
	if (!ret && lease) {
		ptni_lease_accept(lease, worker, node, &reply->lease, call.sent_ns);
		deadline = &lease->deadline_ns;
	}
	if (!ret)
		ret = ptni_window_accept(window, &call, &reply->window, deadline);
	if (ret)
		ptni_window_release(window);
	else
		*window_out = window;
	return ret;
}

#endif
