/* SPDX-License-Identifier: MIT */
/* What the parts of a world share. */
#ifndef TESTS_SIM_WORLD_PRIVATE_H
#define TESTS_SIM_WORLD_PRIVATE_H

#include "tests/sim/linear.h"
#include "tests/sim/world.h"

#include <patronus/client.h>
#include <patronus/error.h>
#include <patronus/memory.h>

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
	WORLD_LOT_MAX = 8 /* keys of one multi-get or multi-put */
};

struct world_life;

/* What a worker knows of the table beside that it has open, or had (world_tables.c). */
struct world_side {
	struct ptn_hash *hash; /* NULL: closed */
	uint32_t table;
	uint32_t put; /* values so far */
	uint32_t value; /* under its key there, if sure; 0 = none */
	uint64_t drops; /* of that table that somebody had begun when it was closed */
	bool sure;
};

struct world_worker {
	struct world_life *life;
	struct ptni_sim_task *task;
	struct ptn_worker *worker;
	struct ptni_rng rng;
	uint32_t number; /* in the history */
	uint32_t done; /* operations */
	uint64_t op_began_ns; /* virtual; 0 = none runs */
	bool ended;
	struct world_side side;
	uint8_t buffer[WORLD_LOT_MAX][WORLD_VALUE_MAX];
};

/* One process of a client, from birth to its end or death. */
struct world_life {
	struct world *world;
	struct world_life *next;
	struct ptni_sim_process *process;
	struct ptn_client *client;
	struct ptn_hash *hash;
	struct ptni_sim_task *keeper_task, *main_task;
	const char *stage; /* of its main task */
	uint32_t client_number, life_number, calm_failures;
	uint64_t verbs_at_open;
	bool keeping, closing, verifier, ended, error;
	bool dropping; /* the verifier has closed the table to drop it */
	uint32_t workers;
	struct world_worker worker[WORLD_WORKERS_MAX];
};

struct world_node {
	struct world *world;
	struct ptni_sim_process *process;
	struct ptn_node *node;
	struct ptni_sim_task *task;
	char address[32];
	bool ready, closing, closed;
};

struct world_client {
	struct world_life *life; /* the latest */
	uint32_t lives;
	uint32_t ops_left[WORLD_WORKERS_MAX];
	bool dead; /* no more lives */
	bool waiting; /* for its next life */
};

enum world_phase {
	WORLD_LOAD,
	WORLD_CALM,
	WORLD_VERIFY,
	WORLD_CLOSE
};

enum {
	WORLD_LEASED_WORDS = 256, /* of leased memory, at most */
	WORLD_OFFERS = 4, /* at a time */
	WORLD_TICKETS = 1024, /* of which it is known who has claimed them */
};

/* Leased memory that somebody has given away (world_memory.c). */
struct world_offer {
	struct ptn_ticket ticket;
	uint32_t number; /* of the ticket */
	bool open; /* to be claimed */
	bool sure; /* what is there is known */
	uint32_t words;
	uint64_t expected[WORLD_LEASED_WORDS];
};

struct world {
	struct world_config config;
	struct world_result *result;
	struct ptni_sim *sim;
	struct history *history;
	struct linear *linear;
	struct world_key key[WORLD_KEYS_MAX];
	uint8_t key_own[WORLD_KEYS_MAX][WORLD_KEY_OWN_BYTES];
	uint8_t key_base[WORLD_KEY_LONGEST];
	enum world_phase phase;
	struct world_node node[WORLD_NODES_MAX];
	struct world_client client[WORLD_CLIENTS_MAX];
	struct world_life *lives;
	struct world_life *verifier;
	struct world_offer offer[WORLD_OFFERS];
	uint32_t tickets; /* given out */
	bool claimed[WORLD_TICKETS];
	uint64_t drops[WORLD_TABLES]; /* begun */
	uint32_t dropping[WORLD_TABLES]; /* and not known to have ended */
	uint32_t workers; /* numbered so far */
	bool made; /* somebody has opened the table */
	bool broken_off; /* a node died, or no table could be made: only nobody may hang */
	bool node_died;
};

/* Counts an error that a client was told. */
void world_told(struct world *world, int ret);
/* Something is used up, and the world is made so. */
bool world_is_scarce(const struct world *world, int ret);

/* world_node.c */
int world_node_start(struct world *world, unsigned number);

/* world.c: a node is; with the last one the faults begin. */
void world_ready(struct world *world);

/* world_part.c: a client that has lost some of its nodes, but not all, and goes on. */
bool world_parted(const struct world_life *life);
void world_part_end(struct world_life *life);

/* world_loop.c */
uint64_t world_node_idle_ns(struct ptn_node *node);

/* world_client.c */
int world_life_start(struct world *world, unsigned client, bool verifier);

/* world_compact.c: move all that this worker has. */
int world_compact(struct world_worker *worker);

/* world_tables.c; `key` chooses the table */
int world_table_use(struct world_worker *worker, uint32_t key);
int world_table_drop(struct world_worker *worker, uint32_t key);
void world_tables_close(struct world_worker *worker);
void world_tables_verify(struct world_worker *worker);

/* world_memory.c */
int world_memory(struct world_worker *worker);

/* world_lot.c */
int world_multi_get(struct world_worker *worker, uint32_t first);
int world_multi_put(struct world_worker *worker, uint32_t first);

/* world_work.c */
void world_work(struct world_worker *worker);
void world_preset(struct world_worker *worker);
void world_verify(struct world_worker *worker);
int world_get(struct world_worker *worker, uint32_t key);
uint32_t world_key_draw(struct world_worker *worker);
/* Bytes of a value, its length is returned; and its number, 0 and a finding if it is none of ours. */
size_t world_value_fill(const struct world *world, uint32_t key, uint32_t value, uint8_t *bytes);
uint32_t world_value_read(struct world *world, uint32_t key, const uint8_t *bytes, size_t len);
uint64_t world_now_ns(const struct world *world);

#endif
