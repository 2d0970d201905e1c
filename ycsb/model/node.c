/* SPDX-License-Identifier: MIT */
/* A memory node of the cluster: the library's control loop on one core that polls. */
#include "alloc/service.h"
#include "ycsb/model/cluster_private.h"

#include <stdio.h>

enum {
	IDLE_NS = 5000, /* timers are looked at this often; what arrives wakes the loop at once */
	TERM_NS = 20000000,
};

static int node_open(struct model_node *self)
{
	const struct model_config *config = &self->cluster->config;
	struct ptn_node_options options = {
		.size = sizeof(options),
		.allow_unprotected = 1,
		.memory_bytes = config->node_memory_bytes,
		.term_ns = config->term_ns ? config->term_ns : TERM_NS,
		.sessions_max = self->cluster->clients + 8,
		.session_workers_max = MODEL_WORKERS_MAX + 2,
		.session_requests_per_s = 1000000000,
	};
	struct ptni_allocator *allocator;
	int ret = ptni_node_open_clock(self->address, &options,
				       ptni_sim_process_clock(self->process), &self->node);

	if (!ret)
		ret = ptni_allocator_add(self->node, &allocator);
	return ret || !config->node_open ? ret : config->node_open(self->node, config->arg);
}

static void node_main(void *arg)
{
	struct model_node *self = arg;
	int ret = node_open(self);

	if (ret) {
		model_fail(self->cluster, "a node could not be opened", ret);
		return;
	}
	self->ready = true;
	for (;;) {
		uint64_t from_ns = ptni_node_now_ns(self->node);
		bool busy = ptni_node_step(self->node) != 0;

		if (busy)
			self->busy_ns += ptni_node_now_ns(self->node) - from_ns;
		ptni_sim_doze(busy ? 1 : IDLE_NS);
	}
}

int model_node_start(struct model_cluster *cluster, unsigned number)
{
	struct model_node *self = &cluster->node[number];
	int ret;

	self->cluster = cluster;
	(void)snprintf(self->address, sizeof(self->address), "sim:node%u", number);
	ret = ptni_sim_process_open(cluster->sim, "node", &self->process);
	if (!ret && number && !cluster->config.nodes_apart)
		ptni_sim_beside(self->process, cluster->node[0].process);
	return ret ? ret : ptni_sim_task_open(self->process, "loop", node_main, self, NULL);
}
