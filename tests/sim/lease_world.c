/* SPDX-License-Identifier: MIT */
#include "tests/sim/lease_private.h"

#include "core/base/fiber.h"

enum {
	EVENTS_MAX = 3000000,
	STEP_NS = 200000,
	POLL_NS = 20000,
	NODE_IDLE_NS = 5000,
	DRIFT_PPM = 1000, /* that the node allows for */
};
#define SESSION_TERM_NS UINT64_C(20000000)
#define PATIENCE_NS     UINT64_C(500000000)

static const struct ptni_sim_timing timing = {
	.doorbell_ns = 200,
	.qp_request_ns = 50,
	.nic_request_ns = 20,
	.nic_response_ns = 20,
	.wire_ns = 600,
	.wire_ps_per_byte = 80,
	.pcie_ns = 200,
	.read_ns = 100,
	.write_ns = 50,
	.atomic_ns = 100,
	.send_ns = 100,
	.bind_ns = 200,
	.invalidate_ns = 200,
	.completion_ns = 300,
	.channel_ns = 5000,
	.turn_ns = 100,
	.turn_cost_ns = 200,
};

void lease_fail(struct lease_world *world, const char *oracle, const char *format, ...)
{
	va_list list;

	if (world->result->oracle)
		return;
	world->result->oracle = oracle;
	va_start(list, format);
	(void)vsnprintf(world->result->text, LEASE_TEXT, format, list);
	va_end(list);
	ptni_sim_stop(world->sim);
}

/* --- who takes part --------------------------------------------------------------------------------------- */

static void node_main(void *arg)
{
	struct lease_world *world = arg;
	struct ptn_node_options options = {
		.size = sizeof(options),
		.memory_bytes = 1 << 20,
		.term_ns = SESSION_TERM_NS,
		.epoch_min_ns = 100000,
		.sessions_max = 8,
		.session_workers_max = 4,
		.session_leases_max = world->leases_max,
		.drift_ppm = DRIFT_PPM,
	};
	struct ptn_node_info info;
	int ret = ptni_node_open_clock("sim:node", &options,
				       ptni_sim_process_clock(world->node_process), &world->node);

	if (!ret)
		ret = ptni_allocator_add(world->node, &world->allocator);
	if (ret)
		lease_fail(world, "error", "opening the node: %s", ptn_errname(ret));
	while (!ret && !world->node_closing) {
		ptni_node_step(world->node);
		ptni_sim_doze(NODE_IDLE_NS);
	}
	if (!ret && !ptn_node_info(world->node, &info))
		world->result->fences = (uint32_t)info.fences;
	ptn_node_close(world->node);
	world->node = NULL;
}

static void keeper_main(void *arg)
{
	struct lease_client *client = arg;

	while (client->keeping)
		ptni_sim_doze(ptn_client_keep(client->client) + 1);
}

static void client_close(struct lease_client *client)
{
	if (client->worker)
		ptn_worker_close(client->worker);
	client->keeping = false;
	while (client->keeper && !ptni_sim_task_ended(client->keeper))
		ptni_sim_doze(POLL_NS);
	if (client->client)
		(void)ptn_client_close(client->client);
}

static void client_main(void *arg)
{
	struct lease_client *client = arg;
	struct lease_world *world = client->world;
	struct ptn_client_options options = { .size = sizeof(options),
					      .manual_keeper = 1,
					      .seed = world->seed * 8 + client->number + 1 };
	struct ptni_client_env env = { .clock = ptni_sim_process_clock(client->process) };
	const char *address = "sim:node";
	int ret = ptni_client_open(&address, 1, &options, &env, &client->client);

	client->keeping = true;
	if (!ret)
		ret = ptni_sim_task_open(client->process, "keeper", keeper_main, client,
					 &client->keeper);
	if (!ret)
		ret = ptn_worker_open(client->client, &client->worker);
	if (ret)
		lease_fail(world, "error", "opening a client: %s", ptn_errname(ret));
	else
		lease_work(client);
	client->working = false;
	while (!world->closing)
		ptni_sim_doze(POLL_NS);
	client_close(client);
	client->done = true;
}

/* --- faults ------------------------------------------------------------------------------------------------ */

/* In half of the worlds, and then between a half and all of it. */
static uint32_t draw(struct lease_world *world, uint32_t most)
{
	if (ptni_rng_chance(&world->rng, 1, 2))
		return 0;
	return most / 2 + (uint32_t)ptni_rng_below(&world->rng, most - most / 2 + 1);
}

static void faults_draw(struct lease_world *world)
{
	struct ptni_sim_faults *faults = ptni_sim_faults(world->sim);

	faults->jitter_ns = draw(world, 2000);
	faults->late_one_in = draw(world, 12);
	faults->late_ns = 100000;
	faults->slice_bytes = draw(world, 64) & ~7u;
	faults->slice_ns = 500;
	faults->turn_ns = draw(world, 2000);
	faults->stall_one_in = draw(world, 40);
	faults->stall_ns = (uint32_t)world->term_ns;
	world->rough = faults->stall_one_in;
}

/* Drift and steps together: half of what the node allows for is a client's, half its own. */
static void clocks_draw(struct lease_world *world, struct ptni_rng *rng,
			struct ptni_sim_faults *faults)
{
	uint64_t left_ppm = DRIFT_PPM - 2 * (uint64_t)faults->drift_ppm;

	faults->step_one_in = ptni_rng_chance(rng, 1, 3) ? 0 : 1u << (1 + ptni_rng_below(rng, 8));
	faults->step_ns = (uint32_t)(LEASE_TERM_MIN_NS * left_ppm / 1000000 / 2);
}

struct cut {
	struct lease_world *world;
	unsigned client;
	uint64_t span_ns;
};

static void cut_fall(void *arg)
{
	struct cut *cut = arg;
	struct lease_world *world = cut->world;

	if (!world->calm) {
		world->result->cuts++;
		ptni_sim_cut(world->client[cut->client].process, world->node_process, cut->span_ns);
	}
	free(cut);
}

/* From shorter than a lease to longer than a session. */
static void cuts_draw(struct lease_world *world, struct ptni_rng *rng)
{
	uint64_t most_ns[] = { world->term_ns, 4 * world->term_ns, 3 * SESSION_TERM_NS };
	uint32_t count = (uint32_t)ptni_rng_below(rng, 4);

	for (uint32_t i = 0; i < count; i++) {
		struct cut *cut = malloc(sizeof(*cut));

		if (!cut)
			abort(); /* no memory for the test itself */
		*cut = (struct cut){ .world = world,
				     .client = (unsigned)ptni_rng_below(rng, LEASE_CLIENTS) };
		cut->span_ns = 1 + ptni_rng_below(rng, most_ns[ptni_rng_below(rng, 3)]);
		if (ptni_sim_after(world->sim, ptni_rng_below(rng, 40 * world->term_ns), cut_fall,
				   cut))
			abort();
		world->rough = true;
	}
}

static void jump(void *arg)
{
	struct lease_world *world = arg;

	if (world->calm)
		return;
	ptni_sim_clock_step(world->node_process, (int64_t)world->options->jump_ns);
	if (ptni_sim_after(world->sim, world->term_ns, jump, world))
		abort();
}

static void hardships_draw(struct lease_world *world)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, world->seed, 78);
	if (world->options->harsh) {
		clocks_draw(world, &rng, ptni_sim_faults(world->sim));
		cuts_draw(world, &rng);
	}
	if (world->options->jump_ns)
		jump(world);
}

/* --- phases ------------------------------------------------------------------------------------------------- */

static void run_for(struct lease_world *world, uint64_t span_ns)
{
	if (!world->result->oracle &&
	    ptni_sim_run(world->sim, ptni_sim_now_ns(world->sim) + span_ns, EVENTS_MAX))
		lease_fail(world, "progress", "more than %d events", EVENTS_MAX);
}

static bool all_are(const struct lease_world *world, bool done)
{
	for (unsigned i = 0; i < LEASE_CLIENTS; i++)
		if (done ? !world->client[i].done : world->client[i].working)
			return false;
	return true;
}

static void run_until(struct lease_world *world, bool done, const char *what)
{
	uint64_t end_ns = ptni_sim_now_ns(world->sim) + PATIENCE_NS;

	while (!world->result->oracle && !all_are(world, done)) {
		if (ptni_sim_now_ns(world->sim) > end_ns)
			lease_fail(world, "progress", "a client does not %s", what);
		run_for(world, STEP_NS);
	}
}

static void shadow_found(void *arg, const char *text)
{
	lease_fail(arg, "shadow", "%s", text);
}

static int shadow_begin(struct lease_world *world)
{
	struct shadow_options options = { .found = shadow_found,
					  .arg = world,
					  .faults = ptni_sim_faults(world->sim),
					  .writers_shared = true };
	int ret = shadow_open(&options, &world->shadow);

	return ret ? ret :
		     ptni_sim_observe(world->sim,
				      &(struct ptni_sim_observer){ shadow_told, world->shadow });
}

static int begin(struct lease_world *world)
{
	struct ptni_sim_task *unused;
	int ret = shadow_begin(world);

	if (!ret)
		ret = ptni_sim_process_open(world->sim, "node", &world->node_process);
	if (!ret)
		ret = ptni_sim_task_open(world->node_process, "loop", node_main, world, &unused);
	run_for(world, STEP_NS);
	for (unsigned i = 0; i < LEASE_CLIENTS && !ret; i++) {
		struct lease_client *client = &world->client[i];

		client->world = world;
		client->number = i;
		client->working = true;
		ptni_rng_seed_stream(&client->rng, world->seed, 100 + i);
		ret = ptni_sim_process_open(world->sim, "client", &client->process);
		if (!ret)
			ret = ptni_sim_task_open(client->process, "main", client_main, client,
						 &unused);
	}
	return ret;
}

static void phases(struct lease_world *world)
{
	run_for(world, STEP_NS); /* they open */
	faults_draw(world);
	hardships_draw(world);
	run_until(world, false, "finish its work");
	world->calm = true;
	ptni_sim_cuts_heal(world->sim);
	memset(ptni_sim_faults(world->sim), 0, sizeof(struct ptni_sim_faults));
	run_for(world, 4 * world->term_ns + 2 * STEP_NS);
	if (!world->result->oracle && world->allocator->memory.used_bytes)
		lease_fail(world, "memory", "%lu bytes are not free though no lease is left",
			   world->allocator->memory.used_bytes);
	world->closing = true;
	run_until(world, true, "close");
	world->node_closing = true;
	run_for(world, STEP_NS);
	if (!world->result->oracle)
		shadow_finish(world->shadow);
}

void lease_world_run(uint64_t seed, struct lease_result *result_out)
{
	const struct lease_options options = { .seed = seed };

	lease_world_run_with(&options, result_out);
}

void lease_world_run_with(const struct lease_options *options, struct lease_result *result_out)
{
	static struct lease_world world;
	struct ptni_sim_config config = { .seed = options->seed, .timing = timing };

	memset(&world, 0, sizeof(world));
	memset(result_out, 0, sizeof(*result_out));
	world.options = options;
	world.seed = options->seed;
	world.result = result_out;
	ptni_rng_seed_stream(&world.rng, world.seed, 77);
	if (options->harsh) /* what a process' clock does is settled when it begins */
		config.faults.drift_ppm = (uint32_t)(world.seed % 3 * DRIFT_PPM / 5);
	world.rounds = 20u << ptni_rng_below(&world.rng, 4);
	world.leases_max = 1 + (uint32_t)ptni_rng_below(&world.rng, 3);
	world.term_ns = 200000 << ptni_rng_below(&world.rng, 3);
	config.limits.memory_bytes = UINT64_C(64) << 20;
	if (ptni_sim_open(&config, &world.sim)) {
		result_out->oracle = "error";
		return;
	}
	if (begin(&world))
		lease_fail(&world, "error", "the world cannot be made");
	else
		phases(&world);
	result_out->events = ptni_sim_events(world.sim);
	result_out->hash = ptni_sim_hash(world.sim);
	ptni_sim_close(world.sim);
	if (world.shadow)
		shadow_close(world.shadow);
}
