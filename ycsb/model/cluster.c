/* SPDX-License-Identifier: MIT */
#include "ycsb/model/cluster_private.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS_MAX UINT64_C(2000000000)
#define OPEN_NS    UINT64_C(20000000000) /* of virtual time, for everything */

enum {
	JITTER_NS = 40,
};

void model_fail(struct model_cluster *cluster, const char *what, int code)
{
	if (!model_failed(cluster))
		snprintf(cluster->result->error, sizeof(cluster->result->error), "%s: %s (%d)",
			 what, ptn_strerror(code), code);
	ptni_sim_stop(cluster->sim);
}

bool model_failed(const struct model_cluster *cluster)
{
	return cluster->result->error[0] != '\0';
}

const struct model_config *model_config(const struct model_cluster *cluster)
{
	return &cluster->config;
}

/* ---- phases */

static void workers_note(struct model_cluster *cluster, bool end)
{
	struct ptn_counters now;
	uint64_t *sum = (uint64_t *)&cluster->result->counters;

	for (uint32_t i = 0; i < cluster->clients; i++) {
		for (unsigned j = 0; j < cluster->config.workers; j++) {
			struct model_worker *worker = &cluster->client[i].worker[j];
			const uint64_t *was = (const uint64_t *)&worker->before;

			ptn_worker_counters(worker->worker, &now);
			for (size_t k = 0; end && k < sizeof(now) / sizeof(*sum); k++)
				sum[k] += ((const uint64_t *)&now)[k] - was[k];
			worker->before = now;
		}
	}
	for (unsigned i = 0; i < cluster->config.nodes; i++) {
		uint64_t busy_ns = cluster->node[i].busy_ns;

		cluster->result->node_busy_ns += end ? busy_ns : -busy_ns;
	}
}

static void measure_end(void *arg)
{
	model_phase_set(arg, MODEL_STOP);
}

static void measure_begin(void *arg)
{
	model_phase_set(arg, MODEL_MEASURE);
}

void model_phase_set(struct model_cluster *cluster, enum model_phase phase)
{
	const struct model_config *config = &cluster->config;
	uint64_t now_ns = ptni_sim_now_ns(cluster->sim);
	int ret = 0;

	cluster->phase = phase;
	if (phase == MODEL_WARM)
		ret = ptni_sim_after(cluster->sim, config->warm_ns, measure_begin, cluster);
	if (phase == MODEL_MEASURE) {
		cluster->from_ns = now_ns;
		workers_note(cluster, false);
		if (config->measure_ns)
			ret = ptni_sim_after(cluster->sim, config->measure_ns, measure_end,
					     cluster);
	}
	if (phase == MODEL_STOP) {
		cluster->to_ns = now_ns;
		workers_note(cluster, true);
		ptni_sim_stop(cluster->sim);
	}
	if (ret)
		model_fail(cluster, "no memory for an event", ret);
}

/* ---- run */

static int build(struct model_cluster *cluster)
{
	const struct model_config *config = &cluster->config;
	int ret = 0;

	for (unsigned i = 0; i < config->nodes && !ret; i++)
		ret = model_node_start(cluster, i);
	for (unsigned i = 0; i < cluster->clients && !ret; i++)
		ret = model_client_start(cluster, i);
	return ret;
}

static void result_fill(struct model_cluster *cluster)
{
	struct model_result *result = cluster->result;
	const struct ycsb_histogram *histogram = cluster->histogram;

	result->span_ns = cluster->to_ns - cluster->from_ns;
	result->ops = cluster->ops;
	result->ops_per_s = (double)cluster->ops / (double)result->span_ns * 1e9;
	result->mean_us = ycsb_histogram_mean(histogram) / 1e3;
	result->p50_us = (double)ycsb_histogram_percentile(histogram, 50) / 1e3;
	result->p99_us = (double)ycsb_histogram_percentile(histogram, 99) / 1e3;
	result->p999_us = (double)ycsb_histogram_percentile(histogram, 99.9) / 1e3;
}

static int run(struct model_cluster *cluster)
{
	struct model_result *result = cluster->result;
	int ret = build(cluster);

	if (!ret)
		ret = ptni_sim_run(cluster->sim, OPEN_NS, EVENTS_MAX);
	if (!ret && !model_failed(cluster) && cluster->phase != MODEL_STOP)
		ret = -ETIMEDOUT;
	if (ret)
		model_fail(cluster, "the simulation did not come to its end", ret);
	result->events = ptni_sim_events(cluster->sim);
	result->virtual_ns = ptni_sim_now_ns(cluster->sim);
	result->hash = ptni_sim_hash(cluster->sim);
	if (model_failed(cluster))
		return -EIO;
	result_fill(cluster);
	return 0;
}

static void sim_config(const struct model_config *config, struct ptni_sim_config *sim_out)
{
	*sim_out = (struct ptni_sim_config){
		.seed = config->seed,
		.faults.jitter_ns = JITTER_NS,
		.limits.memory_bytes = config->node_memory_bytes + (UINT64_C(1) << 29),
	};
	ptni_sim_model(config->card, &sim_out->timing);
	if (config->timing)
		sim_out->timing = *config->timing;
}

static int run_here(const struct model_config *config, struct model_result *result)
{
	struct model_cluster *cluster = calloc(1, sizeof(*cluster));
	struct ptni_sim_config sim;
	int ret;

	if (!cluster)
		return -ENOMEM;
	cluster->result = result;
	cluster->config = *config;
	cluster->config.nodes += !config->nodes;
	cluster->clients = config->machines * config->processes;
	cluster->workers = cluster->clients * config->workers;
	cluster->fibers = cluster->workers * config->fibers;
	cluster->client = calloc(cluster->clients, sizeof(*cluster->client));
	cluster->histogram = ycsb_histogram_new();
	if (!cluster->client || !cluster->histogram)
		return -ENOMEM;
	sim_config(config, &sim);
	ret = ptni_sim_open(&sim, &cluster->sim);
	return ret ? ret : run(cluster);
}

/* In a process of its own, with which everything goes that the simulated processes leave behind. */
int model_run(const struct model_config *config, struct model_result *result_out)
{
	struct model_result *result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0, ret = -EIO;
	pid_t child;

	if (result == MAP_FAILED)
		return -errno;
	fflush(NULL);
	child = fork();
	if (child == 0)
		_exit(run_here(config, result) ? 1 : 0);
	if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	    !WEXITSTATUS(status))
		ret = 0;
	*result_out = *result;
	if (ret && !result_out->error[0])
		snprintf(result_out->error, sizeof(result_out->error),
			 "the run ended with status %d", status);
	(void)munmap(result, sizeof(*result));
	return ret;
}
