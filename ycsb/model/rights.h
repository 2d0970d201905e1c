/* SPDX-License-Identifier: MIT */
/*
 * Rights asked for one by one, as others do it: a service of the node that binds a window, or registers a region, for
 * one access, and takes it away again. What the library itself does not do on its data path.
 */
#ifndef YCSB_MODEL_RIGHTS_H
#define YCSB_MODEL_RIGHTS_H

#include "core/node.h"
#include "ycsb/model/cluster.h"

enum model_rights_kind {
	MODEL_RIGHTS_NONE, /* a message there and back */
	MODEL_RIGHTS_WINDOW,
	MODEL_RIGHTS_REGION,
};

/* To be set before the node opens; what a registration and its end cost the node's CPU. */
struct model_rights_costs {
	uint64_t register_ns, deregister_ns;
};

struct model_right {
	enum model_rights_kind kind;
	unsigned node;
	struct ptni_window *reserved; /* WINDOW */
	struct ptni_window region; /* REGION */
	const struct ptni_window *window; /* to use it */
	uint32_t handle;
};

int model_rights_add(struct ptn_node *node, const struct model_rights_costs *costs);
/* READ and WRITE on len_bytes from addr on, node memory. */
int model_right_take(struct model_fiber *fiber, unsigned node, enum model_rights_kind kind,
		     uint64_t addr, uint64_t len_bytes, struct model_right *right_out);
int model_right_drop(struct model_fiber *fiber, struct model_right *right);
/* The node's memory. */
uint64_t model_rights_region(struct model_fiber *fiber, unsigned node, uint64_t *len_out);

#endif
