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
	size_t buffer_used; /* of all operations since it was zeroed; worlds apart */
	uint8_t *delivered; /* by 8 bytes of it: READs and atomics brought what is there */
	uint8_t *large;
	struct ptni_rng rng;
	struct ptni_counters counters;
};

/* A verb, or a slice of one, that a client is about to do. */
struct mock_verb {
	enum ibv_wr_opcode opcode;
	uint32_t len_bytes;
	uint64_t addr;
};

struct ptn_client {
	struct mock_world *world;
	uint64_t now_ns; /* apart */
	uint32_t used_bytes, used_blocks; /* of its own memory, apart */
	uint64_t observed;
	struct mock_verb next;
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
/* Does the block hold words, that is, is it not a key-value block? */
bool mock_block_has_words(const struct mock_block *block);
uint32_t mock_apart_first(const struct ptn_client *client); /* offset of its own memory */
void mock_apart_blocks(struct mock_world *world); /* nobody has any */
struct mock_block *mock_apart_block(struct ptn_client *client);
/* Worlds apart: what is in an operation's memory, and what it has read there before it backed off. */
void mock_apart_begin(struct ptn_worker *worker);
void mock_apart_deliver(struct ptn_client *client, const void *bytes, uint32_t len_bytes);
void mock_apart_backoff(struct ptn_worker *worker);
uint64_t *mock_clock(struct ptn_client *client);
/* One verb: suspends, dies, lets time pass; the caller does what is returned. */
enum mock_action mock_step(struct ptn_client *client, struct mock_verb next);

#endif
