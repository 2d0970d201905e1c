/* SPDX-License-Identifier: MIT */
/* What a test changes at a node that runs; the node's headers and those of others do not meet. */
#ifndef TESTS_NODE_LIMITS_H
#define TESTS_NODE_LIMITS_H

#include <stdint.h>

struct ptn_node;

/* Windows of a session from now on; returns the limit before. */
uint32_t node_windows_limit(struct ptn_node *node, uint32_t windows);
/* Its NIC does not carry out the next BIND. */
void node_bind_spoil(struct ptn_node *node);

#endif
