/* SPDX-License-Identifier: MIT */
/* How long a node's loop may sleep: apart from the rest, as only the node's inside tells. */
#include "core/node_loop.h"
#include "tests/sim/world_private.h"

enum {
	IDLE_MAX_NS = 1000000
};

uint64_t world_node_idle_ns(struct ptn_node *node)
{
	uint64_t now_ns = ptni_node_clock_ns(node), next_ns = ptni_wheel_next_ns(&node->wheel);
	uint64_t span_ns = next_ns > now_ns ? next_ns - now_ns : 1;

	return span_ns < IDLE_MAX_NS ? span_ns : IDLE_MAX_NS;
}
