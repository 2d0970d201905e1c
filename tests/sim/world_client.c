/* SPDX-License-Identifier: MIT */
/*
 * One life of a client: a process with a task that opens the client, a task for its keeper and one for each
 * worker. A session that ends before its time is followed by a new life.
 */
#include "ds/hashtable/table.h"
#include "tests/sim/world_private.h"

#include <stdio.h>

enum {
	OPEN_TRIES = 80,
	CALM_FAILURES = 2,
	MEMORY_FAILURES = 50, /* what the dead left is adopted step by step */
	SCARCE_BYTES = 4 << 20,
	MEMORY_PAUSE_NS = 3000000,
	OPEN_PAUSE_NS = 300000,
	POLL_NS = 20000,
};

static void keeper_main(void *arg)
{
	struct world_life *life = arg;

	while (life->keeping)
		ptni_sim_doze(ptn_client_keep(life->client) + 1);
}

/* ---- opening */

static int client_open(struct world_life *life)
{
	const struct world_config *config = &life->world->config;
	const char *address[WORLD_NODES_MAX];
	struct ptn_client_options options = {
		.size = sizeof(options),
		.manual_keeper = 1,
		.term_ns = config->term_ns,
		.connect_timeout_ns = 20 * config->term_ns,
		.spare_lanes = config->spare_lanes,
		.seed = config->sim.seed * 64 + ptni_sim_process_number(life->process) + 1,
	};
	struct ptni_client_env env = { .clock = ptni_sim_process_clock(life->process) };

	for (unsigned i = 0; i < config->nodes; i++)
		address[i] = life->world->node[i].address;
	return ptni_client_open(address, config->nodes, &options, &env, &life->client);
}

static int table_open(struct world_life *life, struct ptn_worker *worker)
{
	const struct world_config *config = &life->world->config;
	struct ptni_hash_params params = { .groups = config->groups,
					   .subtables = config->subtables,
					   .seed = world_keys_seed(config) };
	struct ptn_hash_options options = { .size = sizeof(options),
					    .cache_entries = config->cache_entries };

	return ptni_hash_open(worker, "table", &options, &params, &life->hash);
}

static bool faults_are_on(const struct world_life *life)
{
	return life->world->phase == WORLD_LOAD;
}

/* What others hold, as long as they live, may be all that there is. */
static bool memory_is_scarce(const struct world_life *life)
{
	return !life->verifier && life->world->config.node_memory < SCARCE_BYTES;
}

static bool too_often(struct world_life *life, int ret)
{
	bool scarce = ret == -ENOMEM || world_is_scarce(life->world, ret);

	return ++life->calm_failures > (scarce ? MEMORY_FAILURES : CALM_FAILURES);
}

/* With faults on anything may fail that takes a while; without, only what began before. */
static bool again(struct world_life *life, const char *what, int ret, int try)
{
	if (!ret)
		return false;
	world_told(life->world, ret);
	if (life->world->broken_off || (ret == -ENOMEM && memory_is_scarce(life)))
		return false;
	if (ret == -ENOMEM && life->verifier && !life->world->made) {
		life->world->broken_off = true; /* died making the table until nothing was left */
		return false;
	}
	if (!life->verifier && !faults_are_on(life) && world_is_scarce(life->world, ret))
		return false;
	if (!faults_are_on(life) && too_often(life, ret)) {
		world_fail(life->world, "without faults, client %u could not open its %s: %s (%d)",
			   life->client_number, what, ptn_strerror(ret), ret);
		return false;
	}
	if (try >= OPEN_TRIES)
		return false;
	ptni_sim_sleep(ret == -ENOMEM ? MEMORY_PAUSE_NS : OPEN_PAUSE_NS);
	return true;
}

static void keeper_start(struct world_life *life)
{
	life->keeping = true;
	if (ptni_sim_task_open(life->process, "keeper", keeper_main, life, &life->keeper_task))
		abort();
}

static bool session_over(int ret)
{
	return ptn_error_scope(ret) == PTN_SCOPE_NODE;
}

/* Of the library's. */
static unsigned own_workers(const struct world_life *life)
{
	return life->world->config.one_worker ? 1 : life->workers;
}

/* The first worker opens the table for all; in the first life of all it puts what is there before. */
static int workers_open(struct world_life *life)
{
	int ret = 0;

	for (unsigned i = 0; i < own_workers(life) && !ret; i++)
		for (int try = 0;
		     again(life, "worker",
			   ret = ptn_worker_open(life->client, &life->worker[i].worker), try);
		     try++)
			if (session_over(ret))
				return ret;
	for (unsigned i = own_workers(life); i < life->workers; i++)
		life->worker[i].worker = life->worker[0].worker;
	for (int try = 0;
	     !ret && again(life, "table", ret = table_open(life, life->worker[0].worker), try);
	     try++) {
		if (session_over(ret))
			return ret;
		ret = 0;
	}
	return life->hash ? ret : ret ? ret : -ETIMEDOUT;
}

/* ---- closing */

static void worker_close(struct world_life *life, struct world_worker *worker)
{
	struct world_result *result = life->world->result;
	struct ptn_counters counters;

	if (worker->worker) {
		ptn_worker_counters(worker->worker, &counters);
		result->lane_breaks += counters.lane_breaks;
		result->lane_recoveries += counters.lane_recoveries;
	}
	ptn_worker_close(worker->worker);
	worker->worker = NULL;
}

static void close_all(struct world_life *life)
{
	int ret;

	life->stage = "closing the table";
	ptn_hash_close(life->hash);
	life->hash = NULL;
	for (unsigned i = 0; i < life->workers; i++)
		world_tables_close(&life->worker[i]);
	life->stage = "closing workers";
	for (unsigned i = 0; i < own_workers(life); i++)
		worker_close(life, &life->worker[i]);
	life->stage = "waiting for the keeper";
	life->keeping = false;
	while (life->keeper_task && !ptni_sim_task_ended(life->keeper_task))
		ptni_sim_doze(POLL_NS);
	life->stage = "closing the client";
	ret = ptn_client_close(life->client);
	if (ret)
		world_fail(life->world, "client %u could not be closed: %s", life->client_number,
			   ptn_strerror(ret));
	life->client = NULL;
}

/* ---- a life */

static void worker_main(void *arg)
{
	struct world_worker *worker = arg;

	world_work(worker);
	worker->ended = true;
}

static bool workers_ended(const struct world_life *life)
{
	for (unsigned i = 0; i < life->workers; i++)
		if (!life->worker[i].ended)
			return false;
	return true;
}

static void workers_run(struct world_life *life)
{
	for (unsigned i = 0; i < life->workers; i++)
		if (ptni_sim_task_open(life->process, "worker", worker_main, &life->worker[i],
				       &life->worker[i].task))
			abort();
	while (!workers_ended(life))
		ptni_sim_doze(POLL_NS);
}

static void blows_arm(struct world_life *life)
{
	const struct world_config *config = &life->world->config;

	for (uint32_t i = 0; i < config->blows; i++) {
		const struct world_blow *blow = &config->blow[i];

		if (blow->client == life->client_number && blow->verb && !blow->pause &&
		    (blow->again || !life->life_number))
			ptni_sim_kill_at(life->process, blow->verb, blow->how, blow->silent);
	}
}

static void live(struct world_life *life)
{
	struct world *world = life->world;

	if (life->verifier) {
		world_verify(&life->worker[0]);
		return;
	}
	if (!world->made) {
		world->made = true;
		world_preset(&life->worker[0]);
	}
	life->verbs_at_open = ptni_sim_verbs(life->process);
	blows_arm(life);
	workers_run(life);
	if (!life->life_number)
		world->result->verbs[life->client_number] =
			ptni_sim_verbs(life->process) - life->verbs_at_open;
	ptni_sim_kill_at(life->process, 0, PTNI_SIM_DRAIN, false);
	if (world_parted(life) ||
	    (world->node_died && world->config.stay && world->config.nodes > 1 && !life->error))
		world_part_end(life);
}

static void life_main(void *arg)
{
	struct world_life *life = arg;
	int ret = 0;

	for (unsigned i = 0; i < life->world->config.nodes; i++)
		while (!life->world->node[i].ready && !life->world->broken_off)
			ptni_sim_doze(POLL_NS);
	life->stage = "opening the client";
	for (int try = 0; again(life, "client", ret = client_open(life), try); try++)
		;
	if (!ret) {
		keeper_start(life);
		life->stage = "opening workers and table";
		ret = workers_open(life);
		life->stage = "working";
		if (!ret)
			live(life);
		close_all(life);
	}
	life->error = life->error || ret;
	life->ended = true;
}

int world_life_start(struct world *world, unsigned client, bool verifier)
{
	static const char *const name[] = { "client 0", "client 1", "client 2", "client 3",
					    "verifier" };
	struct world_life *life = calloc(1, sizeof(*life));
	int ret;

	if (!life)
		return -ENOMEM;
	life->world = world;
	life->next = world->lives;
	world->lives = life;
	life->client_number = client;
	life->verifier = verifier;
	life->workers = verifier ? 1 : world->config.workers;
	if (verifier) {
		world->verifier = life;
	} else {
		life->life_number = world->client[client].lives++;
		world->client[client].life = life;
		world->result->lives++;
	}
	for (unsigned i = 0; i < life->workers; i++) {
		life->worker[i].life = life;
		life->worker[i].number = world->workers++;
		ptni_rng_seed_stream(&life->worker[i].rng, world->config.sim.seed,
				     1000 + life->worker[i].number);
	}
	ret = ptni_sim_process_open(world->sim, name[verifier ? WORLD_CLIENTS_MAX : client],
				    &life->process);
	if (!ret)
		ret = ptni_sim_task_open(life->process, "main", life_main, life, &life->main_task);
	return ret;
}
