/* SPDX-License-Identifier: MIT */
/* Limits that a test changes while the node runs; the node's headers and the client's do not meet. */
#ifndef TESTS_NODE_LIMITS_H
#define TESTS_NODE_LIMITS_H

#include <stdint.h>

struct ptn_node;

/* Windows of a session from now on; returns the limit before. */
uint32_t node_windows_limit(struct ptn_node *node, uint32_t windows);

#endif
