/* SPDX-License-Identifier: MIT */
#include "tests/support/node_limits.h"

#include "core/node_loop.h"

uint32_t node_windows_limit(struct ptn_node *node, uint32_t windows)
{
	uint32_t before = node->options.session_windows_max;

	node->options.session_windows_max = windows;
	return before;
}

static int (*real_post)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);

/* It leaves the region. */
static int post_spoiled(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	for (struct ibv_send_wr *each = wr; each; each = each->next)
		if (each->opcode == IBV_WR_BIND_MW) {
			each->bind_mw.bind_info.length = UINT64_C(1) << 40;
			qp->context->ops.post_send = real_post;
			break;
		}
	return real_post(qp, wr, bad_wr);
}

void node_bind_spoil(struct ptn_node *node)
{
	real_post = node->fabric->context->ops.post_send;
	node->fabric->context->ops.post_send = post_spoiled;
}
