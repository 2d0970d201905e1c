/* SPDX-License-Identifier: MIT */
/*
 * A process of a client machine: a task that opens all, a task for the keeper, a task for each worker, which
 * runs its fibers. A worker that has nothing to do sleeps until something arrives or a fiber's time comes; on a real
 * machine it would poll.
 */
#include "core/client.h"
#include "ycsb/model/cluster_private.h"

#include <errno.h>
#include <stdlib.h>

enum {
	POLL_NS = 20000,
	SLEEP_MAX_NS = 50000,
};

static void keeper_main(void *arg)
{
	struct model_client *self = arg;

	for (;;)
		ptni_sim_doze(ptn_client_keep(self->client) + 1);
}

/* ---- fibers */

uint64_t model_now_ns(const struct model_fiber *fiber)
{
	return ptni_worker_now_ns(fiber->worker);
}

void model_nap(struct model_fiber *fiber, uint64_t span_ns)
{
	struct ptni_wait wait;

	ptni_wait_begin(&wait, fiber->worker, model_now_ns(fiber) + span_ns);
	while (!ptni_wait_turn(&wait))
		;
}

static void ops_run(struct model_fiber *fiber)
{
	struct model_cluster *cluster = fiber->cluster;
	int ret = 0;

	while (cluster->phase != MODEL_STOP && !ret) {
		uint64_t from_ns = model_now_ns(fiber);

		ret = cluster->config.step(fiber);
		if (ret < 0)
			model_fail(cluster, "an operation failed", ret);
		if (ret || cluster->phase != MODEL_MEASURE)
			continue;
		cluster->ops++;
		ycsb_histogram_record(cluster->histogram, model_now_ns(fiber) - from_ns);
	}
}

static void fiber_main(void *arg)
{
	struct model_fiber *fiber = arg;
	struct model_cluster *cluster = fiber->cluster;
	const struct model_config *config = &cluster->config;
	int ret = config->open ? config->open(fiber) : 0;

	if (!ret && config->load)
		ret = config->load(fiber);
	if (ret)
		model_fail(cluster, "loading failed", ret);
	if (++cluster->loaded == cluster->fibers)
		model_phase_set(cluster, config->warm_ns ? MODEL_WARM : MODEL_MEASURE);
	while (cluster->phase < MODEL_WARM)
		model_nap(fiber, POLL_NS);
	ops_run(fiber);
	if (++cluster->stopped == cluster->fibers && cluster->phase != MODEL_STOP)
		model_phase_set(cluster, MODEL_STOP);
}

/* ---- workers */

static uint64_t next_ns(const struct ptn_worker *worker)
{
	uint64_t now_ns = ptni_worker_clock(worker), first_ns = now_ns + SLEEP_MAX_NS;

	for (unsigned i = 0; i < PTNI_OPS_MAX; i++) {
		const struct ptni_strand *strand = &worker->strand_table[i];

		if (!strand->fiber)
			continue;
		if (strand->flag && *strand->flag)
			return 1;
		if (strand->wake_ns < first_ns)
			first_ns = strand->wake_ns;
	}
	return first_ns > now_ns ? first_ns - now_ns : 1;
}

static int fibers_open(struct model_worker *self)
{
	struct model_cluster *cluster = self->client->cluster;
	const struct model_config *config = &cluster->config;
	int ret = 0;

	for (unsigned i = 0; i < config->fibers && !ret; i++) {
		struct model_fiber *fiber = calloc(1, sizeof(*fiber));

		if (!fiber)
			return -ENOMEM;
		fiber->cluster = cluster;
		fiber->worker = self->worker;
		fiber->table = self->client->table;
		fiber->number = self->first + i;
		fiber->count = cluster->fibers;
		ptni_rng_seed_stream(&fiber->rng, config->seed, 1000 + fiber->number);
		ret = ptni_worker_spawn(self->worker, fiber_main, fiber);
	}
	return ret;
}

static void worker_main(void *arg)
{
	struct model_worker *self = arg;
	int ret = fibers_open(self);

	if (ret)
		model_fail(self->client->cluster, "a worker could not begin", ret);
	while (ptni_worker_run(self->worker))
		ptni_sim_doze(next_ns(self->worker));
}

/* ---- opening */

static int client_open(struct model_client *self)
{
	const struct model_config *config = &self->cluster->config;
	const char *address[MODEL_NODES_MAX];
	struct ptn_client_options options = {
		.size = sizeof(options),
		.manual_keeper = 1,
		.unprotected = config->unprotected,
		.spare_lanes = config->no_spares ? UINT32_MAX : 0,
		.seed = config->seed * 4096 + self->number + 1,
	};
	struct ptni_client_env env = { .clock = ptni_sim_process_clock(self->process) };

	for (unsigned i = 0; i < config->nodes; i++)
		address[i] = self->cluster->node[i].address;
	return ptni_client_open(address, config->nodes, &options, &env, &self->client);
}

static int all_open(struct model_client *self)
{
	const struct model_config *config = &self->cluster->config;
	int ret = client_open(self);

	if (!ret)
		ret = ptni_sim_task_open(self->process, "keeper", keeper_main, self, NULL);
	for (unsigned i = 0; i < config->workers && !ret; i++)
		ret = ptn_worker_open(self->client, &self->worker[i].worker);
	if (!ret && config->table)
		ret = ptn_hash_open(self->worker[0].worker, "table", config->table, &self->table);
	return ret;
}

/* One after the other, so that one makes the table; all begin to work together. */
static void client_main(void *arg)
{
	struct model_client *self = arg;
	struct model_cluster *cluster = self->cluster;
	int ret;

	for (unsigned i = 0; i < cluster->config.nodes; i++)
		while (!cluster->node[i].ready)
			ptni_sim_doze(POLL_NS);
	while (cluster->opened != self->number)
		ptni_sim_doze(POLL_NS);
	ret = all_open(self);
	if (ret)
		model_fail(cluster, "a client could not be opened", ret);
	cluster->opened++;
	while (cluster->opened != cluster->clients)
		ptni_sim_doze(POLL_NS);
	for (unsigned i = 0; i < cluster->config.workers && !ret; i++)
		ret = ptni_sim_task_open(self->process, "worker", worker_main, &self->worker[i],
					 &self->worker[i].task);
	if (ret)
		model_fail(cluster, "a worker could not be started", ret);
}

int model_client_start(struct model_cluster *cluster, unsigned number)
{
	struct model_client *self = &cluster->client[number];
	unsigned first = number - number % cluster->config.processes;
	int ret = ptni_sim_process_open(cluster->sim, "client", &self->process);

	if (ret)
		return ret;
	if (number != first)
		ptni_sim_beside(self->process, cluster->client[first].process);
	self->cluster = cluster;
	self->number = number;
	for (unsigned i = 0; i < cluster->config.workers; i++) {
		self->worker[i].client = self;
		self->worker[i].first =
			(number * cluster->config.workers + i) * cluster->config.fibers;
	}
	return ptni_sim_task_open(self->process, "main", client_main, self, NULL);
}
