/* SPDX-License-Identifier: MIT */
/* A whole node: the control loop with the allocator in it. */
#include "alloc/service.h"

#include <patronus/node.h>

int ptn_node_open(const char *address, const struct ptn_node_options *options,
		  struct ptn_node **node_out)
{
	struct ptni_allocator *allocator;
	struct ptn_node *node;
	int ret;

	ret = ptni_node_open(address, options, &node);
	if (ret)
		return ret;
	ret = ptni_allocator_add(node, &allocator);
	if (!ret)
		ret = ptni_node_run(node);
	if (ret) {
		ptn_node_close(node);
		return ret;
	}
	*node_out = node;
	return 0;
}
