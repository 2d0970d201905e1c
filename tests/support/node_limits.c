/* SPDX-License-Identifier: MIT */
#include "tests/support/node_limits.h"

#include "core/node_loop.h"

uint32_t node_windows_limit(struct ptn_node *node, uint32_t windows)
{
	uint32_t before = node->options.session_windows_max;

	node->options.session_windows_max = windows;
	return before;
}
