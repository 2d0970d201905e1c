/* SPDX-License-Identifier: MIT */
#include "ycsb/model/rights.h"

#include "core/node_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	OP_TAKE = PTNI_OP_ALLOC_LAST + 1,
	OP_DROP,
	REGIONS_MAX = 4096,
	ACCESS = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
};
#define TIMEOUT_NS UINT64_C(1000000000)

struct request {
	struct ptni_message head;
	uint32_t kind, tag, handle, reserved;
	uint64_t addr, len_bytes;
};

struct reply {
	struct ptni_message head;
	uint32_t rkey, handle;
	struct ptni_window_grant window;
};

/* ---- the node's side */

struct rights {
	struct ptn_node *node;
	struct model_rights_costs costs;
	struct ibv_mr *region[REGIONS_MAX];
	uint32_t region_next;
};

/* A request to drop that waits for the invalidation. */
struct dropping {
	struct ptni_node_lane *lane;
	const struct ptni_message *message;
};

static void lease_ended(void *arg, enum ptni_lease_end how, uint32_t flags)
{
}

/* Of the session: it lives as long. */
static int lease_of(struct rights *rights, struct ptni_node_session *session,
		    struct ptni_node_lease **lease_out)
{
	int ret;

	*lease_out = ptni_session_state(session, rights);
	if (*lease_out)
		return 0;
	ret = ptni_lease_open(session, 0, lease_ended, rights, lease_out);
	return ret ? ret : ptni_session_state_set(session, rights, *lease_out);
}

static int window_take(struct rights *rights, struct ptni_node_lane *lane,
		       const struct request *request)
{
	struct reply reply = { .handle = request->tag };
	struct ptni_node_lease *lease;
	struct ptni_grant *grant;
	int ret = lease_of(rights, ptni_lane_session(lane), &lease);

	if (ret)
		return ret;
	ret = ptni_grant_begin(lane, &request->head, lease, &grant);
	if (!ret)
		ret = ptni_grant_window(grant, request->addr, request->len_bytes, ACCESS,
					request->tag, &reply.window);
	return ptni_grant_reply(grant, ret, &reply, sizeof(reply));
}

static void window_dropped(void *arg)
{
	struct dropping *dropping = arg;
	struct reply reply = { .rkey = 0 };

	ptni_node_reply(dropping->lane, dropping->message, 0, &reply, sizeof(reply));
	free(dropping);
}

static int window_drop(struct rights *rights, struct ptni_node_lane *lane,
		       const struct request *request)
{
	struct dropping *dropping = malloc(sizeof(*dropping));
	struct ptni_node_lease *lease;
	int ret = lease_of(rights, ptni_lane_session(lane), &lease);

	if (!dropping || ret) {
		free(dropping);
		return ret ? ret : -ENOMEM;
	}
	*dropping = (struct dropping){ lane, &request->head };
	ret = ptni_lease_withdraw(lease, request->addr, request->len_bytes, window_dropped,
				  dropping);
	if (ret)
		free(dropping);
	return ret;
}

static int region_take(struct rights *rights, struct ptni_node_lane *lane,
		       const struct request *request)
{
	const struct ptni_fabric_ops *ops = rights->node->ops;
	struct reply reply = { .handle = rights->region_next };
	struct ibv_mr **mr = &rights->region[reply.handle];
	int ret;

	if (*mr)
		return -EBUSY;
	ptni_sim_charge(rights->costs.register_ns);
	ret = ops->mr_register(rights->node->pd, (void *)(uintptr_t)request->addr,
			       request->len_bytes, ACCESS | IBV_ACCESS_LOCAL_WRITE, mr);
	if (ret)
		return ret;
	rights->region_next = (reply.handle + 1) % REGIONS_MAX;
	reply.rkey = (*mr)->rkey;
	return ptni_node_reply(lane, &request->head, 0, &reply, sizeof(reply));
}

static int region_drop(struct rights *rights, struct ptni_node_lane *lane,
		       const struct request *request)
{
	struct ibv_mr **mr = &rights->region[request->handle % REGIONS_MAX];
	struct reply reply = { .rkey = 0 };
	int ret = *mr ? rights->node->ops->mr_deregister(*mr) : -ENOENT;

	ptni_sim_charge(rights->costs.deregister_ns);
	if (ret)
		return ret;
	*mr = NULL;
	return ptni_node_reply(lane, &request->head, 0, &reply, sizeof(reply));
}

static int nothing(struct ptni_node_lane *lane, const struct request *request)
{
	struct reply reply = { .rkey = 0 };

	return ptni_node_reply(lane, &request->head, 0, &reply, sizeof(reply));
}

static void handle(void *arg, struct ptni_node_lane *lane, const struct ptni_message *message)
{
	static int (*const act[2][3])(struct rights *, struct ptni_node_lane *,
				      const struct request *) = {
		{ NULL, window_take, region_take },
		{ NULL, window_drop, region_drop },
	};
	const struct request *request = (const void *)message;
	struct reply reply = { .rkey = 0 };
	int ret = -EBADMSG;

	if (message->len_bytes == sizeof(*request) && request->kind <= MODEL_RIGHTS_REGION)
		ret = request->kind ?
			      act[message->op - OP_TAKE][request->kind](arg, lane, request) :
			      nothing(lane, request);
	if (ret)
		ptni_node_reply(lane, message, ret, &reply, sizeof(reply));
}

static void rights_close(void *arg)
{
	free(arg);
}

int model_rights_add(struct ptn_node *node, const struct model_rights_costs *costs)
{
	struct rights *rights = calloc(1, sizeof(*rights));
	struct ptni_service service = { .first_op = OP_TAKE,
					.last_op = OP_DROP,
					.arg = rights,
					.handle = handle,
					.close = rights_close };

	if (!rights)
		return -ENOMEM;
	rights->node = node;
	rights->costs = *costs;
	return ptni_node_service_add(node, &service);
}

/* ---- the client's side */

uint64_t model_rights_region(struct model_fiber *fiber, unsigned node, uint64_t *len_out)
{
	const struct ptni_welcome *welcome =
		ptni_client_node(ptni_worker_client(fiber->worker), node);

	*len_out = welcome->region_len_bytes;
	return welcome->region_addr;
}

static int ask(struct model_fiber *fiber, struct ptni_call *call, unsigned node,
	       struct request *request)
{
	int ret = ptni_call_start(call, fiber->worker, node, request, sizeof(*request), TIMEOUT_NS);

	return ret ? ret : ptni_call_wait(call);
}

int model_right_take(struct model_fiber *fiber, unsigned node, enum model_rights_kind kind,
		     uint64_t addr, uint64_t len_bytes, struct model_right *right_out)
{
	struct model_right *right = right_out;
	struct request request = {
		.head.op = OP_TAKE, .kind = kind, .addr = addr, .len_bytes = len_bytes
	};
	const struct reply *reply;
	struct ptni_call call;
	int ret = 0;

	*right = (struct model_right){ .kind = kind, .node = node };
	if (kind == MODEL_RIGHTS_WINDOW)
		ret = ptni_window_reserve(fiber->worker, node, &right->reserved);
	if (!ret && right->reserved)
		request.tag = right->reserved->tag;
	if (!ret)
		ret = ask(fiber, &call, node, &request);
	if (ret)
		return ret;
	reply = (const void *)call.reply;
	right->handle = reply->handle;
	right->region = (struct ptni_window){ .addr = addr,
					      .len_bytes = len_bytes,
					      .access = ACCESS,
					      .node = (uint16_t)node,
					      .deadline_ns = &ptni_deadline_never };
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		right->region.rkey[i] = reply->rkey;
	right->window = right->reserved ? right->reserved : &right->region;
	return right->reserved ? ptni_window_accept(right->reserved, &call, &reply->window,
						    &ptni_deadline_never) :
				 0;
}

int model_right_drop(struct model_fiber *fiber, struct model_right *right)
{
	struct request request = { .head.op = OP_DROP,
				   .kind = right->kind,
				   .handle = right->handle,
				   .addr = right->window->addr,
				   .len_bytes = right->window->len_bytes };
	struct ptni_call call;
	int ret = ask(fiber, &call, right->node, &request);

	if (!ret && right->reserved)
		ptni_window_release(right->reserved);
	return ret;
}
