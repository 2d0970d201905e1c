/* SPDX-License-Identifier: MIT */
/* A memory node of a world: the library's control loop, turned by a task. */
#include "alloc/service.h"
#include "tests/sim/world_private.h"

#include <stdio.h>

static int open_node(struct world_node *self)
{
	const struct world_config *config = &self->world->config;
	struct ptn_node_options options = {
		.size = sizeof(options),
		.memory_bytes = config->node_memory,
		.extent_shift = config->extent_shift,
		.epoch_min_ns = config->epoch_min_ns,
		.term_ns = config->term_ns,
		.sessions_max = config->limits.sessions ? config->limits.sessions : 16,
		.session_windows_max = config->limits.windows,
		.session_leases_max = config->limits.leases,
		.session_bytes_max = config->limits.bytes,
		.session_workers_max = 2 + WORLD_WORKERS_MAX,
		.drift_ppm = WORLD_DRIFT_PPM,
	};
	struct ptni_allocator *allocator;
	int ret = ptni_node_open_clock(self->address, &options,
				       ptni_sim_process_clock(self->process), &self->node);

	return ret ? ret : ptni_allocator_add(self->node, &allocator);
}

static void node_main(void *arg)
{
	struct world_node *self = arg;
	int ret = open_node(self);

	if (ret) {
		world_fail(self->world, "a node could not be opened: %s", ptn_strerror(ret));
		return;
	}
	self->ready = true;
	world_ready(self->world);
	while (!self->closing) {
		if (ptni_node_step(self->node))
			ptni_sim_doze(200);
		else
			ptni_sim_doze(world_node_idle_ns(self->node));
	}
	ptn_node_close(self->node);
	self->node = NULL;
	self->closed = true;
}

int world_node_start(struct world *world, unsigned number)
{
	static const char *const name[] = { "node 0", "node 1", "node 2" };
	struct world_node *self = &world->node[number];
	int ret;

	self->world = world;
	(void)snprintf(self->address, sizeof(self->address), "sim:node%u", number);
	ret = ptni_sim_process_open(world->sim, name[number], &self->process);
	if (!ret)
		ret = ptni_sim_task_open(self->process, "loop", node_main, self, &self->task);
	return ret;
}
