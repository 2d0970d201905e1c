/* SPDX-License-Identifier: MIT */
#ifndef YCSB_MODEL_CLUSTER_PRIVATE_H
#define YCSB_MODEL_CLUSTER_PRIVATE_H

#include "ycsb/model/cluster.h"

enum model_phase {
	MODEL_OPEN,
	MODEL_LOAD,
	MODEL_WARM,
	MODEL_MEASURE,
	MODEL_STOP
};

struct model_node {
	struct model_cluster *cluster;
	struct ptni_sim_process *process;
	struct ptn_node *node;
	char address[32];
	uint64_t busy_ns;
	bool ready;
};

struct model_worker {
	struct model_client *client;
	struct ptni_sim_task *task;
	struct ptn_worker *worker;
	struct ptn_counters before;
	struct model_fiber **fiber;
	uint32_t first; /* number of its first fiber */
	bool ended;
};

struct model_client {
	struct model_cluster *cluster;
	struct ptni_sim_process *process;
	struct ptn_client *client;
	struct ptn_hash *table;
	uint32_t number;
	bool keeping;
	struct model_worker worker[MODEL_WORKERS_MAX];
};

struct model_cluster {
	struct model_config config;
	struct ptni_sim *sim;
	enum model_phase phase;
	struct model_node node[MODEL_NODES_MAX];
	struct model_client *client;
	uint32_t clients, workers, fibers;
	uint32_t opened, tables_may, loaded,
		stopped; /* processes; one after the other; fibers; fibers */
	uint64_t from_ns, to_ns; /* measured, the simulation's time */
	uint64_t ops;
	struct ycsb_histogram *histogram;
	struct model_result *result;
};

void model_fail(struct model_cluster *cluster, const char *what, int code);
bool model_failed(const struct model_cluster *cluster);
int model_node_start(struct model_cluster *cluster, unsigned number);
int model_client_start(struct model_cluster *cluster, unsigned number);
void model_phase_set(struct model_cluster *cluster, enum model_phase phase);

#endif
