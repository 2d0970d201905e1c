/* SPDX-License-Identifier: MIT */
#include "tests/sim/oracle.h"

#include "ds/hashtable/table.h"
#include "tests/ds/table_walk.h"
#include "tests/sim/published.h"
#include "tests/sim/shadow.h"
#include "tests/sim/world_private.h"

enum {
	WALK_EVERY = 4096, /* events */
	GRANULE = 16
};

struct oracle {
	struct world *world;
	struct shadow *shadow;
	struct published *published;
	struct world_life *opener; /* whose handle told where the table is */
	struct table_memory memory;
	uint32_t *reached[WORLD_NODES_MAX]; /* by granule: in which walk */
	uint32_t walk;
	uint64_t events;
	bool table, over;
	struct oracle_sums sums;
	/* what was attached before */
	int (*attach)(struct world *world, void *arg);
	void (*detach)(struct world *world, void *arg);
	void *arg;
};

static struct oracle oracle;
static struct check check;

static void found(void *arg, const char *text)
{
	world_fail(oracle.world, "%s", text);
}

/* --- the table -------------------------------------------------------------------------------------------- */

static struct world_life *who_opened(const struct world *world)
{
	for (struct world_life *life = world->lives; life; life = life->next)
		if (life->hash)
			return life;
	return NULL;
}

static const struct world_worker *worker_of(const struct world *world, unsigned number)
{
	for (const struct world_life *life = world->lives; life; life = life->next)
		for (unsigned i = 0; i < life->workers; i++)
			if (life->worker[i].number == number)
				return &life->worker[i];
	return NULL;
}

/* The client's session with this node lives as long as the node lets one of its queue pairs live. */
static bool counts(void *arg, unsigned client, unsigned node)
{
	const struct world_worker *worker = worker_of(oracle.world, client);

	return worker && !ptni_sim_dead(worker->life->process) &&
	       shadow_connected(oracle.shadow, node,
				ptni_sim_process_number(worker->life->process));
}

static bool nodes_up(const struct world *world)
{
	for (unsigned i = 0; i < world->config.nodes; i++)
		if (!world->node[i].node)
			return false;
	return true;
}

static const char *reach(void *arg, unsigned node, const void *addr, uint32_t len_bytes,
			 bool *before_out)
{
	uint64_t offset = (uint64_t)((const uint8_t *)addr - oracle.memory.region[node]);
	uint32_t *reached = &oracle.reached[node][offset / GRANULE];

	*before_out = *reached == oracle.walk;
	*reached = oracle.walk;
	return NULL;
}

static bool table_learn(struct world *world)
{
	struct world_life *life = who_opened(world);
	struct published_options options = { .found = found,
					     .nodes = world->config.nodes,
					     .history = world->history,
					     .counts = counts };

	if (!life || !nodes_up(world))
		return false;
	oracle.memory = (struct table_memory){ .node_count = world->config.nodes,
					       .root = (uint64_t *)(uintptr_t)life->hash->root,
					       .seed = life->hash->seed,
					       .groups = life->hash->groups,
					       .reach = reach };
	for (unsigned i = 0; i < world->config.nodes; i++) {
		size_t len_bytes;

		oracle.memory.region[i] = ptni_node_region(world->node[i].node, &len_bytes);
		oracle.memory.region_len_bytes[i] = len_bytes;
		oracle.reached[i] = calloc(len_bytes / GRANULE + 1, sizeof(*oracle.reached[i]));
		options.node[i] =
			(struct published_node){ ptni_sim_process_number(world->node[i].process),
						 oracle.memory.region[i], len_bytes };
	}
	if (published_open(&options, &oracle.published) ||
	    published_table(oracle.published, life->hash->root, life->hash->groups))
		abort(); /* no memory for the test itself */
	return true;
}

static void walk_table(struct world *world)
{
	const char *wrong;

	oracle.walk++;
	oracle.sums.walks++;
	wrong = table_walk(&oracle.memory, &check);
	if (wrong)
		world_fail(world, "the table is not sound: %s", wrong);
}

/* --- events ----------------------------------------------------------------------------------------------- */

/* The verifier closes the table to drop it. */
static bool is_over(const struct world *world)
{
	return world->phase == WORLD_CLOSE || (world->verifier && world->verifier->dropping);
}

static void told(void *arg, const struct ptni_sim_event *event)
{
	struct world *world = oracle.world;

	shadow_told(oracle.shadow, event);
	if (oracle.over)
		return;
	if (!oracle.table)
		oracle.table = table_learn(world);
	if (!oracle.table)
		return;
	oracle.over = is_over(world);
	published_told(oracle.published, event);
	if (!world_failed(world) && (oracle.over || !(++oracle.events % WALK_EVERY)))
		walk_table(world);
}

static int attach(struct world *world, void *arg)
{
	struct shadow_options options = { .found = found, .faults = ptni_sim_faults(world->sim) };
	struct ptni_sim_observer observer = { .told = told };
	int ret = oracle.attach ? oracle.attach(world, oracle.arg) : 0;

	oracle.world = world;
	if (!ret)
		ret = shadow_open(&options, &oracle.shadow);
	return ret ? ret : ptni_sim_observe(world->sim, &observer);
}

static void detach(struct world *world, void *arg)
{
	bool over = !world_failed(world) && !world->broken_off; /* and not just broken off */

	if (over)
		shadow_finish(oracle.shadow);
	oracle.sums.accesses = shadow_accesses(oracle.shadow);
	if (oracle.published)
		oracle.sums.links = published_links(oracle.published);
	if (over && !world_failed(world) && !oracle.sums.walks)
		world_fail(world, "the table was never looked at");
	shadow_close(oracle.shadow);
	published_close(oracle.published);
	for (unsigned i = 0; i < WORLD_NODES_MAX; i++)
		free(oracle.reached[i]);
	if (oracle.detach)
		oracle.detach(world, oracle.arg);
}

void oracle_attach(struct world_config *config)
{
	memset(&oracle, 0, sizeof(oracle));
	oracle.attach = config->attach;
	oracle.detach = config->detach;
	oracle.arg = config->arg;
	config->attach = attach;
	config->detach = detach;
	config->arg = NULL;
}

void oracle_sums(struct oracle_sums *sums_out)
{
	*sums_out = oracle.sums;
}
