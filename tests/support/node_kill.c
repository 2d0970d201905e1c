/* SPDX-License-Identifier: MIT */
#include "tests/support/node_kill.h"

#include "core/node_loop.h"

#include <stdlib.h>

void node_lane_kill(struct ptn_node *node, unsigned worker, unsigned lane)
{
	struct ptni_node_session *session =
		cds_list_first_entry(&node->sessions, struct ptni_node_session, link);

	if (node->ops->qp_error(session->workers[worker]->lane[lane]->qp))
		abort();
}
