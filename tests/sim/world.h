/* SPDX-License-Identifier: MIT */
/*
 * A world: nodes and clients that run the library's own code unchanged, on the simulator
 * (core/fabric/sim/sim.h), with a workload, faults and a history, all by one seed.
 *
 *   load      clients open, work on few keys of a small table that grows; kills, pauses, faults
 *   calm      faults have stopped; everything that is alive must finish within world_config.calm_ns
 *   verify    a fresh client reads every key and walks the table: all of it must succeed
 *   close     in good order; then the nodes must hold nothing any more
 *
 * Checked: each phase's end, impossible errors, values that are whole, the history's linearizability, leaks. What
 * else looks on (shadow map, planted bugs) registers with world_config.attach.
 *
 * A killed client's memory stays behind in this process: run many worlds in children (runner.h).
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "core/fabric/sim/sim.h"
#include "core/node.h"
#include "tests/sim/history.h"
#include "tests/sim/world_keys.h"

#include <patronus/hash.h>

enum {
	WORLD_NODES_MAX = 3,
	WORLD_CLIENTS_MAX = 4,
	WORLD_WORKERS_MAX = 2, /* of a client */
	WORLD_KEYS_MAX = 256,
	WORLD_LIVES_MAX = 4, /* of a client, restarts included */
	WORLD_VALUE_MAX = 6000,
	WORLD_TEXT = 400,
	WORLD_TABLES = 4, /* beside the one that all share */
	WORLD_DRIFT_PPM = 500, /* that nodes allow for */
	WORLD_MEMORY_TERM_MIN_NS = 200000, /* of leases of memory */
};

enum world_act {
	WORLD_GET,
	WORLD_PUT,
	WORLD_INSERT,
	WORLD_UPDATE,
	WORLD_DELETE,
	WORLD_MULTI_GET,
	WORLD_MULTI_PUT, /* or a multi-update */
	WORLD_WALK,
	WORLD_MEMORY, /* not the table: leased memory, all its life */
	WORLD_COMPACT, /* every block of this worker's moves */
	WORLD_TABLE_USE, /* another table: opened, made if need be; used; maybe closed */
	WORLD_TABLE_DROP,
	WORLD_ACTS,
	WORLD_REST = WORLD_ACTS, /* in scripts only: nothing, until who is dead has been fenced */
	WORLD_MEET /* in scripts only: all who say so go on at about the same time */
};

/* One action of a script, for who wants to say exactly what a client does. */
struct world_step {
	enum world_act act;
	uint32_t key;
};

/* Between whom nothing gets through for a while. */
enum world_cut {
	WORLD_CUT_NONE,
	WORLD_CUT_LINK, /* the client and `node` */
	WORLD_CUT_CLIENT, /* the client and everybody */
	WORLD_CUT_NODE, /* `node` and everybody */
};

/* When something befalls a client: at a time, or at its verb number `verb` since it opened the table. */
struct world_blow {
	uint32_t client;
	uint64_t at_ns; /* 0: by verb */
	uint64_t verb;
	bool pause; /* else it is killed */
	bool hang_up; /* neither: its channel to `node` breaks */
	enum world_cut cut; /* neither: for span_ns */
	int64_t step_ns; /* not 0: neither: its clock jumps, or that of `node` */
	bool step_node;
	uint32_t node;
	bool silent;
	bool restart;
	bool again; /* by verb, in each of the client's lives */
	enum ptni_sim_death how;
	uint64_t span_ns; /* of a pause or a cut; until a restart */
};

enum {
	WORLD_BLOWS_MAX = 8
};

struct world;

/* Of one session, and how many there may be; 0 = enough. The device's windows are sim.limits.mw_max. */
struct world_limits {
	uint32_t windows, leases, sessions;
	uint64_t bytes;
};

struct world_config {
	struct ptni_sim_config sim; /* seed, timing, faults, limits */
	uint32_t nodes, clients, workers, ops; /* ops of each worker */
	bool one_worker; /* the tasks of a client share one of the library's workers, as its fibers do */
	uint32_t keys; /* numbers 0 .. keys - 1 */
	struct world_key_config key;
	uint32_t hot; /* the first so many get most of the operations */
	uint32_t preset; /* the first so many keys are there before */
	uint32_t preset_but; /* of every so many of them the last is not; 0 = all are there */
	uint32_t weight[WORLD_ACTS];
	bool tables; /* scripts use them, whatever the weights are */
	uint32_t value_max; /* bytes */
	uint32_t value_fixed; /* all of them have so many; 0 = no */
	uint32_t groups; /* of a subtable; 2 = splits soon */
	uint32_t subtables;
	uint64_t cache_entries;
	uint64_t node_memory;
	uint32_t extent_shift;
	struct world_limits limits;
	uint64_t term_ns, epoch_min_ns;
	uint32_t spare_lanes;
	uint32_t think_ns; /* up to so long between two operations */
	uint32_t nap_one_in,
		nap_ns; /* now and then so much longer, while the client's keeper goes on */
	uint32_t leave_one_in; /* now and then a client closes everything and comes back as another */
	bool nap_alone; /* only the first client does */
	uint32_t blows;
	struct world_blow blow[WORLD_BLOWS_MAX];
	const struct world_step *script[WORLD_CLIENTS_MAX]; /* `ops` of them, instead of chance */
	uint64_t node_dies_ns; /* node `node_dies` stops for good then; 0 = never. Nobody may hang */
	uint32_t node_dies;
	bool node_silent; /* its channels do not tell */
	bool stay; /* a client that has lost some of its nodes goes on with the others */
	uint64_t load_ns; /* faults stop then, if the work is not done before */
	uint64_t calm_ns;
	uint64_t events_max;
	/* Before anything runs; and after the sim has come to its end, before it is closed. */
	int (*attach)(struct world *world, void *arg);
	void (*detach)(struct world *world, void *arg);
	void *arg;
};

struct world_result {
	bool failed;
	char text[WORLD_TEXT]; /* why */
	uint64_t hash, events, ops, virtual_ns;
	uint64_t verbs[WORLD_CLIENTS_MAX]; /* of each client's first life, since it opened the table */
	uint32_t kills, lives, errors;
	uint32_t parted; /* lives that lost some nodes and went on with the others to the end */
	uint32_t lost; /* nodes that these had lost */
	uint64_t longest_ns; /* of an operation on one key */
	uint32_t splits; /* subtables at the end */
	/* what happened inside of those who lived to tell */
	uint64_t fences, refusals, lane_breaks, lane_recoveries, unknown;
	/* errors that say that something is used up: of the node, of the session, memory; all others */
	uint32_t full, quota, memory, other;
	uint32_t windows; /* bound at a time, at most, on one node */
};

/* Everything by seed ("swarm"): each fault is on or off, and how often. */
void world_config_draw(uint64_t seed, struct world_config *config_out);
/* A quiet one: no faults, no blows, times of a fast network. */
void world_config_quiet(uint64_t seed, struct world_config *config_out);

/* Runs it. The result says what was found; never returns without. */
void world_run(const struct world_config *config, struct world_result *result_out);

/* ---- for who is attached */

struct ptni_sim *world_sim(struct world *world);
struct history *world_history(struct world *world);
const struct world_config *world_config(const struct world *world);
struct ptn_node *world_node(struct world *world, unsigned node); /* NULL before it is open */
/* Which simulated process it is: node i is process i. */
bool world_is_node(const struct world *world, uint32_t process);
/* The first finding counts; the run ends soon. */
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool world_failed(const struct world *world);

#endif
