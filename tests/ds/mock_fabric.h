/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for the two layers below the tables (core/worker.h, alloc/space.h), in one process and
 * deterministic, so that a table's algorithms can be tested verb by verb:
 *
 *   - every verb of every batch is a step: with clients in fibers a test chooses who does the next one,
 *     stops a client for ever before any step, or makes its lane fail before or after any step;
 *   - it knows every block's state and fails at once on what would otherwise corrupt silently: a WRITE to
 *     a published block, a CAS into memory that was freed, a block retired or cancelled twice;
 *   - time is virtual, epochs advance when the test says so, freed memory is poisoned and re-used soon.
 *
 * What it does not have: windows that end, leases, fencing, a node's CPU.
 */
#ifndef TESTS_MOCK_FABRIC_H
#define TESTS_MOCK_FABRIC_H

#include "alloc/space.h"
#include "core/base/fiber.h"
#include "core/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
	MOCK_CLIENTS_MAX = 4,
	MOCK_REGION_BYTES = 1 << 20,
	MOCK_NODES_MAX = 3,
	MOCK_BLOCKS_MAX = 1 << 13,
	MOCK_BLOCKS_FIRST = 8192, /* offset: root page before it */
	MOCK_VERB_NS = 1000,
	MOCK_BACKOFF_NS = 100000,
	MOCK_LATE_MAX = 256,
	MOCK_APART_BYTES = 16384, /* a client's own memory in a world that keeps them apart */
	MOCK_APART_BLOCKS = 32,
};

enum mock_block_state {
	MOCK_FREE,
	MOCK_HELD,
	MOCK_RETIRED
};

struct mock_block {
	uint64_t addr;
	uint16_t block_class;
	uint8_t state;
	uint8_t owner; /* index of the client that allocated it */
	bool shown; /* a word has pointed at it */
	uint64_t retired; /* E then */
};

struct mock_node {
	uint8_t *region;
	uint32_t bump;
	uint32_t block_count;
	uint64_t epoch, horizon;
	bool made; /* the space exists */
	struct ptni_space_params params;
	struct mock_block block[MOCK_BLOCKS_MAX];
	uint16_t block_at[MOCK_REGION_BYTES / 16]; /* index + 1 of the block that begins there */
};

enum mock_action {
	MOCK_GO,
	MOCK_DIE,
	MOCK_BREAK_BEFORE,
	MOCK_BREAK_AFTER,
	MOCK_GIVE_UP, /* -ETIMEDOUT, and what is left of the batch may yet land */
};

/* A request that was given up and has not landed. */
struct mock_late {
	struct ptn_client *client;
	unsigned node;
	struct ibv_send_wr wr;
	struct ibv_sge sge;
	uint8_t *bytes;
	const struct mock_block *names; /* what its word would publish */
};

/* What the last verb, or slice of one, did to memory. */
struct mock_touch {
	uint64_t addr;
	uint32_t len_bytes; /* 0: nothing */
	bool wrote;
};

struct mock_world {
	unsigned node_count;
	uint64_t now_ns;
	uint64_t backoff_ns; /* how long each back-off takes */
	uint64_t op_timeout_ns; /* 0 = two seconds */
	struct mock_touch touch;
	uint64_t steps; /* verbs executed */
	bool fibers; /* suspend before every verb */
	bool sliced; /* READs word by word: a step each */
	bool apart; /* see mock_apart() */
	uint32_t apart_first; /* offset of the clients' own memory */
	uint32_t apart_block; /* index of their first block */
	bool corrupt; /* the table's bytes were tampered with: anything may be retired or changed */
	uint64_t memory_limit; /* of a node; 0 = all */
	void (*allocating)(struct mock_world *world,
			   struct ptn_client *client); /* NULL; before each */
	struct mock_late late[MOCK_LATE_MAX];
	unsigned late_count;
	/* before every verb; NULL = go */
	enum mock_action (*before)(struct mock_world *world, struct ptn_client *client, void *arg);
	void *before_arg;
	struct ptn_client *client[MOCK_CLIENTS_MAX];
	struct mock_node node[MOCK_NODES_MAX];
};

/* Node memory as it is; the table's own walk over it is in hash_check.h. */
struct mock_world *mock_world_new(unsigned node_count);
void mock_world_free(struct mock_world *world);
/* Keep what the nodes hold now, and set it back to that, clients' memory aside. */
struct mock_image;
struct mock_image *mock_save(const struct mock_world *world);
void mock_restore(struct mock_world *world, const struct mock_image *image);
void mock_image_free(struct mock_image *image);

struct ptn_client *mock_client_new(struct mock_world *world);
void mock_client_free(struct ptn_client *client);
struct ptn_worker *mock_worker(struct ptn_client *client);
/* It never does anything again. Its epoch no longer counts; its blocks stay. */
void mock_client_kill(struct ptn_client *client);
/* As new, but with its tables open. */
void mock_client_reset(struct ptn_client *client);
bool mock_client_dead(const struct ptn_client *client);
bool mock_client_busy(const struct ptn_client *client); /* inside an operation */
bool mock_client_waits(const struct ptn_client *client); /* its fiber is suspended in a back-off */

/* Every node's E grows by one; clients without operations report; what may be is freed. */
void mock_epoch(struct mock_world *world);
/* Ask the table about every block that dead clients hold; free what is not live. Needs a living client. */
void mock_adopt(struct mock_world *world, struct ptn_client *adopter);
/* What was given up lands now, or (`lands` false) never. */
void mock_land(struct mock_world *world, bool lands);
/*
 * From now on a client's own doings leave no trace on the others: each has a clock of its own, which only its
 * back-offs move, and a part of node 0 of its own to allocate from. So it does what it does by what it read, and
 * not by who else did how much in the meantime. One node; the number of a client's blocks is limited.
 */
void mock_apart(struct mock_world *world);
/*
 * Does the verb that the client will do next neither change what others can see nor look at what anybody changes? That
 * is a WRITE to a block that no word has pointed at yet, and a READ inside a key-value block that one has.
 */
bool mock_client_private(const struct ptn_client *client);
/* A client that keeps apart: what all its READs and atomics have brought it since this was asked last. */
uint64_t mock_client_observed(struct ptn_client *client);
/* The same of all its memory: its counters, which nobody reads, aside. They are 0 afterwards. */
uint64_t mock_client_hash(struct ptn_client *client, uint64_t seed);
/* Of all node memory, and of what is known of its blocks. */
uint64_t mock_world_hash(const struct mock_world *world);
unsigned mock_blocks_held(const struct mock_world *world, unsigned node);
struct mock_block *mock_block_find(struct mock_world *world, unsigned node, uint64_t addr);
struct ptn_counters mock_counters(struct ptn_client *client);

#endif
