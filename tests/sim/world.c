/* SPDX-License-Identifier: MIT */
/* The course of a world, from its first process to the last leak. */
#include "tests/sim/world_private.h"

#include <stdio.h>

enum {
	OPS_MAX = 1 << 14,
	WALKS_MAX = 1 << 10,
	SLICE_NS = 50000, /* how often we look */
};
#define CLOSE_MAX_NS UINT64_C(2000000000)

/* ---- for who is attached */

struct ptni_sim *world_sim(struct world *world)
{
	return world->sim;
}

struct history *world_history(struct world *world)
{
	return world->history;
}

const struct world_config *world_config(const struct world *world)
{
	return &world->config;
}

struct ptn_node *world_node(struct world *world, unsigned node)
{
	return node < world->config.nodes ? world->node[node].node : NULL;
}

bool world_is_node(const struct world *world, uint32_t process)
{
	return process < world->config.nodes;
}

void world_fail(struct world *world, const char *format, ...)
{
	va_list args;

	if (world->result->failed)
		return;
	world->result->failed = true;
	va_start(args, format);
	(void)vsnprintf(world->result->text, sizeof(world->result->text), format, args);
	va_end(args);
	ptni_sim_stop(world->sim);
}

bool world_failed(const struct world *world)
{
	return world->result->failed;
}

void world_told(struct world *world, int ret)
{
	struct world_result *result = world->result;

	result->errors++;
	result->unknown += ret == PTN_E_OUTCOME_UNKNOWN;
	if (ret == PTN_E_NODE_FULL)
		result->full++;
	else if (ret == PTN_E_QUOTA || ret == -EDQUOT)
		result->quota++;
	else if (ret == -ENOMEM)
		result->memory++;
	else
		result->other++;
}

bool world_is_scarce(const struct world *world, int ret)
{
	const struct world_limits *limits = &world->config.limits;

	if (ret == PTN_E_NODE_FULL)
		return world->config.sim.limits.mw_max || limits->sessions;
	return (ret == PTN_E_QUOTA || ret == -EDQUOT) &&
	       (limits->windows || limits->leases || limits->bytes);
}

/* ---- blows */

struct blow {
	struct world *world;
	const struct world_blow *blow;
};

static bool alive(const struct world_life *life)
{
	return life && !life->ended && !ptni_sim_dead(life->process);
}

static void cut_fall(const struct world_blow *blow, struct ptni_sim_process *client,
		     struct ptni_sim_process *node)
{
	if (blow->cut == WORLD_CUT_LINK)
		ptni_sim_cut(client, node, blow->span_ns);
	else
		ptni_sim_cut(blow->cut == WORLD_CUT_NODE ? node : client, NULL, blow->span_ns);
}

static void blow_fall(void *arg)
{
	struct blow *own = arg;
	const struct world_blow *blow = own->blow;
	struct world *world = own->world;
	struct world_life *life = world->client[blow->client].life;
	struct ptni_sim_process *node = world->node[blow->node].process;

	free(own);
	if (world->phase != WORLD_LOAD || !alive(life))
		return;
	if (blow->cut)
		cut_fall(blow, life->process, node);
	else if (blow->step_ns)
		ptni_sim_clock_step(blow->step_node ? node : life->process, blow->step_ns);
	else if (blow->hang_up)
		ptni_sim_hang_up(life->process, node);
	else if (blow->pause)
		ptni_sim_pause(life->process, blow->span_ns);
	else
		ptni_sim_kill(life->process, blow->how, blow->silent);
}

static void node_dies(void *arg)
{
	struct world *world = arg;

	if (world->phase != WORLD_LOAD)
		return;
	world->broken_off = true;
	world->node_died = true;
	ptni_sim_kill(world->node[world->config.node_dies].process, PTNI_SIM_DROP,
		      world->config.node_silent);
}

static int blows_start(struct world *world)
{
	if (world->config.node_dies_ns &&
	    ptni_sim_after(world->sim, world->config.node_dies_ns, node_dies, world))
		return -ENOMEM;
	for (uint32_t i = 0; i < world->config.blows; i++) {
		const struct world_blow *own = &world->config.blow[i];
		struct blow *blow;
		int ret;

		if (!own->at_ns || own->client >= world->config.clients)
			continue;
		blow = malloc(sizeof(*blow));
		if (!blow)
			return -ENOMEM;
		*blow = (struct blow){ world, own };
		ret = ptni_sim_after(world->sim, own->at_ns, blow_fall, blow);
		if (ret)
			return ret;
	}
	return 0;
}

static const struct world_blow *restart_of(const struct world *world, unsigned client)
{
	for (uint32_t i = 0; i < world->config.blows; i++)
		if (world->config.blow[i].client == client && world->config.blow[i].restart)
			return &world->config.blow[i];
	return NULL;
}

struct birth {
	struct world *world;
	unsigned client;
};

static void birth(void *arg)
{
	struct birth *self = arg;
	struct world *world = self->world;
	struct world_client *client = &world->client[self->client];

	client->waiting = false;
	if (world->phase != WORLD_LOAD)
		client->dead = true;
	else if (world_life_start(world, self->client, false))
		world_fail(world, "no memory for a client's next life");
	free(self);
}

static void birth_later(struct world *world, unsigned client, uint64_t delay_ns)
{
	struct birth *self = malloc(sizeof(*self));

	if (!self)
		abort();
	*self = (struct birth){ world, client };
	world->client[client].waiting = true;
	if (ptni_sim_after(world->sim, delay_ns, birth, self))
		abort();
}

static bool work_left(const struct world *world, const struct world_client *client)
{
	for (unsigned i = 0; i < world->config.workers; i++)
		if (client->ops_left[i])
			return true;
	return false;
}

/* Who died or lost its session begins anew, if it may. */
static void client_look(struct world *world, unsigned number)
{
	struct world_client *client = &world->client[number];
	const struct world_blow *blow = restart_of(world, number);

	if (client->dead || client->waiting || alive(client->life))
		return;
	if (ptni_sim_dead(client->life->process)) {
		world->result->kills++;
		if (blow && client->lives < WORLD_LIVES_MAX && world->phase == WORLD_LOAD)
			birth_later(world, number, blow->span_ns);
		else
			client->dead = true;
	} else if (client->life->error && client->lives < WORLD_LIVES_MAX &&
		   work_left(world, client) && world->phase == WORLD_LOAD) {
		birth_later(world, number, 1000);
	} else {
		client->dead = true;
	}
}

/* ---- phases */

static bool clients_gone(struct world *world)
{
	bool gone = true;

	for (unsigned i = 0; i < world->config.clients; i++) {
		client_look(world, i);
		gone &= world->client[i].dead;
	}
	return gone;
}

static bool verifier_gone(struct world *world)
{
	return world->verifier->ended;
}

static bool held(struct ptn_node_info *info)
{
	return info->sessions || info->lanes || info->windows || info->leases ||
	       info->memory_used_bytes;
}

static bool nodes_empty(struct world *world)
{
	for (unsigned i = 0; i < world->config.nodes; i++) {
		struct ptn_node_info info;

		if (ptn_node_info(world->node[i].node, &info) || held(&info))
			return false;
	}
	return true;
}

static void nodes_count(struct world *world)
{
	for (unsigned i = 0; i < world->config.nodes; i++) {
		struct ptn_node_info info;

		if (!world->node[i].node || ptn_node_info(world->node[i].node, &info))
			continue;
		world->result->fences += info.fences;
		world->result->refusals += info.refusals;
	}
}

static bool nodes_closed(struct world *world)
{
	bool closed = true;

	for (unsigned i = 0; i < world->config.nodes; i++) {
		world->node[i].closing = true;
		closed &= world->node[i].closed;
	}
	return closed;
}

static void windows_look(struct world *world)
{
	for (unsigned i = 0; i < world->config.nodes; i++) {
		struct ptn_node_info info;

		if (world->node[i].ready && world->node[i].node &&
		    !ptn_node_info(world->node[i].node, &info) &&
		    info.windows > world->result->windows)
			world->result->windows = info.windows;
	}
}

/* Until done() or so much time has passed: whether it was done. */
static bool run_until(struct world *world, bool (*done)(struct world *), uint64_t span_ns)
{
	uint64_t end_ns = world_now_ns(world) + span_ns;

	while (!world_failed(world) && !done(world)) {
		uint64_t events = ptni_sim_events(world->sim);

		windows_look(world);
		if (world_now_ns(world) >= end_ns)
			return false;
		if (ptni_sim_run(world->sim, world_now_ns(world) + SLICE_NS,
				 world->config.events_max - events))
			world_fail(world, "more than %llu events: nothing gets done",
				   (unsigned long long)world->config.events_max);
	}
	return true;
}

static void say_who_waits(struct world *world)
{
	uint64_t now_ns = world_now_ns(world);

	for (struct world_life *life = world->lives; life; life = life->next) {
		uint64_t began_ns = 0;

		for (unsigned i = 0; i < life->workers; i++)
			if (life->worker[i].op_began_ns)
				began_ns = life->worker[i].op_began_ns;
		if (alive(life))
			world_fail(world,
				   "without faults, %s does not come to an end: %s, an operation "
				   "since %llu us",
				   ptni_sim_process_name(life->process), life->stage,
				   (unsigned long long)(began_ns ? now_ns - began_ns : 0) / 1000);
	}
	world_fail(world, "somebody does not come to an end");
}

static void calm_down(struct world *world)
{
	*ptni_sim_faults(world->sim) =
		(struct ptni_sim_faults){ .drift_ppm = world->config.sim.faults.drift_ppm };
	ptni_sim_cuts_heal(world->sim);
	world->phase = WORLD_CALM;
	for (struct world_life *life = world->lives; life; life = life->next)
		if (alive(life)) {
			ptni_sim_pause(life->process, 0);
			ptni_sim_kill_at(life->process, 0, PTNI_SIM_DRAIN, false);
		}
}

static void say_what_is_held(struct world *world)
{
	for (unsigned i = 0; i < world->config.nodes; i++) {
		struct ptn_node_info info;

		if (ptn_node_info(world->node[i].node, &info) || !held(&info))
			continue;
		world_fail(world,
			   "node %u still holds %u sessions, %u lanes, %u windows, %u leases, "
			   "%llu bytes",
			   i, info.sessions, info.lanes, info.windows, info.leases,
			   (unsigned long long)info.memory_used_bytes);
	}
}

void world_ready(struct world *world)
{
	for (unsigned i = 0; i < world->config.nodes; i++)
		if (!world->node[i].ready)
			return;
	*ptni_sim_faults(world->sim) = world->config.sim.faults;
}

static void course(struct world *world)
{
	(void)run_until(world, clients_gone, world->config.load_ns);
	calm_down(world);
	if (!run_until(world, clients_gone, world->config.calm_ns))
		say_who_waits(world);
	if (world->broken_off)
		return;
	world->phase = WORLD_VERIFY;
	if (world_failed(world) || world_life_start(world, 0, true))
		return;
	if (!run_until(world, verifier_gone, world->config.calm_ns))
		say_who_waits(world);
	if (world->broken_off)
		return;
	world->phase = WORLD_CLOSE;
	if (!run_until(world, nodes_empty, CLOSE_MAX_NS))
		say_what_is_held(world);
	nodes_count(world);
	if (!world_failed(world) && !run_until(world, nodes_closed, CLOSE_MAX_NS))
		world_fail(world, "a node does not close");
}

/* ---- the whole */

static int start(struct world *world)
{
	const struct world_config *config = &world->config;
	int ret = config->attach ? config->attach(world, config->arg) : 0;

	for (unsigned i = 0; !ret && i < config->nodes; i++)
		ret = world_node_start(world, i);
	for (unsigned i = 0; !ret && i < config->clients; i++) {
		for (unsigned j = 0; j < config->workers; j++)
			world->client[i].ops_left[j] = config->ops;
		ret = world_life_start(world, i, false);
	}
	return ret ? ret : blows_start(world);
}

static void judge_history(struct world *world)
{
	struct linear_report report;

	if (world_failed(world) ||
	    linear_check(world->linear, world->history, &report) == LINEAR_GOOD)
		return;
	world_fail(world, "the history of key %u cannot be explained (operation %u, walk %u): %s",
		   report.key, report.op, report.walk, report.why ? report.why : "");
	if (getenv("PTN_SIM_HISTORY"))
		history_print(world->history, report.key, stderr);
}

static void finish(struct world *world)
{
	struct world_result *result = world->result;

	result->hash = ptni_sim_hash(world->sim);
	result->events = ptni_sim_events(world->sim);
	result->virtual_ns = ptni_sim_now_ns(world->sim);
	if (world->config.detach)
		world->config.detach(world, world->config.arg);
	ptni_sim_close(world->sim);
	while (world->lives) {
		struct world_life *life = world->lives;

		world->lives = life->next;
		free(life);
	}
}

/* Kept from world to world: they are large. */
static struct history *kept_history;
static struct linear *kept_linear;

static bool judges_open(struct world *world)
{
	if (!kept_history && history_open(OPS_MAX, WALKS_MAX, WORLD_KEYS_MAX, &kept_history))
		return false;
	if (!kept_linear && linear_open(LINEAR_CONFIGS_DEFAULT, &kept_linear))
		return false;
	history_clear(kept_history);
	world->history = kept_history;
	world->linear = kept_linear;
	return true;
}

void world_run(const struct world_config *config, struct world_result *result_out)
{
	struct ptni_sim_config sim = config->sim;
	struct world *world = calloc(1, sizeof(*world));

	/* a node comes up without trouble; but the clocks' rates are fixed when a process begins */
	sim.faults = (struct ptni_sim_faults){ .drift_ppm = config->sim.faults.drift_ppm };
	*result_out = (struct world_result){ .failed = false };
	if (!world || !judges_open(world) || ptni_sim_open(&sim, &world->sim)) {
		result_out->failed = true;
		(void)snprintf(result_out->text, sizeof(result_out->text), "no memory");
		free(world);
		return;
	}
	world->config = *config;
	world->result = result_out;
	if (world_keys_make(world) || start(world))
		world_fail(world, "the world could not be made");
	else
		course(world);
	judge_history(world);
	finish(world);
	free(world);
}
