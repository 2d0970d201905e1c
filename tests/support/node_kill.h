/* SPDX-License-Identifier: MIT */
/* What a test of the client does to a node from behind; its headers and the client's do not meet. */
#ifndef TESTS_NODE_KILL_H
#define TESTS_NODE_KILL_H

struct ptn_node;

/* The node's end of a lane of its oldest session dies, and the node has not been told. */
void node_lane_kill(struct ptn_node *node, unsigned worker, unsigned lane);

#endif
