/* SPDX-License-Identifier: MIT */
/* What the files of the mock share. */
#ifndef TESTS_MOCK_PRIVATE_H
#define TESTS_MOCK_PRIVATE_H

#include "tests/ds/mock_fabric.h"

enum {
	POISON = 0xa5,
	BACKOFF_ATTEMPTS = 256,
	OP_TIMEOUT_NS = 2000000000
};

struct ptn_worker {
	struct ptn_client *client;
	uint32_t index;
	uint64_t slots;
	bool large_used;
	uint8_t *buffer[PTNI_OPS_MAX];
	uint8_t *large;
	struct ptni_rng rng;
	struct ptni_counters counters;
};

struct ptn_client {
	struct mock_world *world;
	unsigned index;
	unsigned pinned;
	bool dead;
	bool waits;
	struct ptni_epochs epochs[MOCK_NODES_MAX];
	struct ptni_welcome welcome[MOCK_NODES_MAX];
	struct ptni_window extent[MOCK_NODES_MAX], chunk[MOCK_NODES_MAX];
	struct ptni_space *space[MOCK_NODES_MAX];
	int (*hook)(void *arg, struct ptn_worker *worker, unsigned node);
	void *hook_arg;
	struct ptn_worker worker[2]; /* keeper, user */
};

struct ptni_space {
	struct ptn_client *client;
	unsigned node;
	ptni_block_live_fn live;
	ptni_block_scan_fn scan;
	void *live_arg;
};

#define CHECK(condition)                                  \
	do {                                              \
		if (!(condition))                         \
			fail_msg("mock: %s", #condition); \
	} while (0)

/* The block that covers an address. Blocks are few in a test that comes here often. */
struct mock_block *mock_block_covering(struct mock_node *node, uint64_t addr);
void mock_block_free(struct mock_node *node, struct mock_block *block);
/* May a request that was given up write to the block, or publish it? */
bool mock_block_late(const struct mock_world *world, const struct mock_block *block);
/* One verb: suspends, dies, lets time pass; the caller does what is returned. */
enum mock_action mock_step(struct ptn_client *client);

#endif
