/* SPDX-License-Identifier: MIT */
/* Worlds by seed. */
#include "tests/sim/world.h"

#include <string.h>

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

static const struct ptni_sim_timing fast_network = {
	.doorbell_ns = 150,
	.qp_request_ns = 20,
	.nic_request_ns = 5,
	.nic_response_ns = 5,
	.wire_ns = 500,
	.wire_ps_per_byte = 80,
	.pcie_ns = 200,
	.pcie_ps_per_byte = 60,
	.read_ns = 150,
	.write_ns = 100,
	.atomic_ns = 250,
	.send_ns = 150,
	.bind_ns = 200,
	.invalidate_ns = 200,
	.completion_ns = 200,
	.channel_ns = 5000,
	.turn_ns = 100,
	.turn_cost_ns = 100,
	.idle_ns = 50000,
};

void world_config_quiet(uint64_t seed, struct world_config *config_out)
{
	*config_out = (struct world_config){
		.sim = { .seed = seed, .timing = fast_network },
		.nodes = 1,
		.clients = 3,
		.workers = 1,
		.ops = 60,
		.keys = 72,
		.hot = 4,
		.preset = 24,
		.weight = { [WORLD_GET] = 30,
			    [WORLD_PUT] = 25,
			    [WORLD_INSERT] = 15,
			    [WORLD_UPDATE] = 12,
			    [WORLD_DELETE] = 12,
			    [WORLD_MULTI_GET] = 4,
			    [WORLD_MULTI_PUT] = 4,
			    [WORLD_WALK] = 1 },
		.value_max = 3000,
		.groups = 2,
		.subtables = 1,
		.cache_entries = 256,
		.node_memory = 8 << 20,
		.term_ns = 10 * MS,
		.epoch_min_ns = 500 * US,
		.spare_lanes = 1,
		.load_ns = 1000 * MS,
		.calm_ns = 1000 * MS,
		.events_max = 20000000,
	};
}

static uint32_t pick(struct ptni_rng *rng, const uint32_t *of, size_t count)
{
	return of[ptni_rng_below(rng, count)];
}
#define PICK(rng, ...) \
	pick(rng, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)

static bool half(struct ptni_rng *rng)
{
	return ptni_rng_next(rng) & 1;
}

static void faults_draw(struct ptni_rng *rng, struct ptni_sim_faults *faults)
{
	*faults = (struct ptni_sim_faults){
		.jitter_ns = PICK(rng, 0, 300, 2000, 20000),
		.late_one_in = PICK(rng, 0, 0, 50, 500),
		.late_ns = PICK(rng, 20000, 300000, 3000000),
		.slice_bytes = PICK(rng, 0, 8, 64, 64),
		.slice_ns = PICK(rng, 50, 500, 5000),
		.slice_shuffle = PICK(rng, 0, 1),
		.inside_one_in = PICK(rng, 0, 0, 20, 100),
		.inside_ns = PICK(rng, 3000, 50000, 1000000),
		.overtake_one_in = PICK(rng, 0, 3, 20),
		.writeback_one_in = PICK(rng, 0, 0, 2, 10),
		.writeback_ns = PICK(rng, 200, 3000),
		.refuse_one_in = PICK(rng, 0, 0, 0, 40, 200, 1000),
		.transport_one_in = PICK(rng, 0, 0, 0, 30, 100, 1000),
		.ghost_ns = PICK(rng, 0, 2000, 50000, 500000),
		.bind_one_in = PICK(rng, 0, 0, 0, 30, 100, 300),
		.window_one_in = PICK(rng, 0, 0, 0, 10, 50),
		.post_one_in = PICK(rng, 0, 0, 0, 50, 300),
		.channel_ns = PICK(rng, 0, 5000, 50000, 500000),
		.turn_ns = PICK(rng, 0, 500, 5000),
		.stall_one_in = PICK(rng, 0, 0, 100, 1000),
		.stall_ns = PICK(rng, 20000, 300000, 3000000),
		.drift_ppm = PICK(rng, 0, 100, 240),
	};
}

/* Short ones end while requests are tried again, long ones outlast leases and sessions. */
static void cut_draw(struct ptni_rng *rng, const struct world_config *config,
		     struct world_blow *blow)
{
	blow->cut = (enum world_cut)PICK(rng, WORLD_CUT_LINK, WORLD_CUT_LINK, WORLD_CUT_CLIENT,
					 WORLD_CUT_NODE);
	blow->node = (uint32_t)ptni_rng_below(rng, config->nodes);
	blow->span_ns = 1 + ptni_rng_below(rng, config->term_ns * PICK(rng, 1, 3, 40));
}

/*
 * Further than any bound: leases end too early or too late for somebody then. Nothing may become unsafe by that, as
 * whose right ends when is decided in one place, and nobody may hang.
 */
static void jump_draw(struct ptni_rng *rng, const struct world_config *config,
		      struct world_blow *blow)
{
	int64_t span_ns = 1 + (int64_t)ptni_rng_below(rng, 2 * config->term_ns);

	blow->step_ns = half(rng) ? span_ns : -span_ns;
	blow->step_node = half(rng);
	blow->node = (uint32_t)ptni_rng_below(rng, config->nodes);
}

static void blow_draw(struct ptni_rng *rng, const struct world_config *config,
		      struct world_blow *blow)
{
	*blow = (struct world_blow){
		.client = (uint32_t)ptni_rng_below(rng, config->clients),
		.pause = ptni_rng_chance(rng, 1, 3),
		.silent = ptni_rng_chance(rng, 1, 3),
		.restart = half(rng),
		.how = (enum ptni_sim_death)ptni_rng_below(rng, 3),
	};
	if (!blow->pause && half(rng))
		blow->verb = 1 + ptni_rng_below(rng, 8 * (uint64_t)config->ops);
	else
		blow->at_ns = 50 * US + ptni_rng_below(rng, half(rng) ? 500 * US : 5 * MS);
	if (config->nodes > 1 && blow->at_ns && ptni_rng_chance(rng, 1, 4)) {
		blow->hang_up = true;
		blow->node = (uint32_t)ptni_rng_below(rng, config->nodes);
	}
	blow->span_ns = ptni_rng_below(rng, 3 * config->term_ns);
	if (blow->at_ns && ptni_rng_chance(rng, 1, 4))
		cut_draw(rng, config, blow);
	else if (blow->at_ns && ptni_rng_chance(rng, 1, 10))
		jump_draw(rng, config, blow);
}

/*
 * Steps that the bound on rates allows for: over the shortest lease the clocks of a client and a node move apart by no
 * more than DRIFT_PPM of it, drift and steps of both together.
 */
static void steps_draw(struct ptni_rng *rng, struct world_config *config)
{
	struct ptni_sim_faults *faults = &config->sim.faults;
	uint64_t shortest_ns = config->weight[WORLD_MEMORY] ? WORLD_MEMORY_TERM_MIN_NS :
							      config->term_ns;
	uint64_t left_ppm = WORLD_DRIFT_PPM - 2 * (uint64_t)faults->drift_ppm;

	faults->step_one_in = PICK(rng, 0, 0, 5, 50, 500);
	faults->step_ns = (uint32_t)(shortest_ns * left_ppm / 1000000 / 2);
}

static void weights_draw(struct ptni_rng *rng, uint32_t *weight)
{
	for (int i = 0; i <= WORLD_WALK; i++)
		weight[i] = (uint32_t)(weight[i] * PICK(rng, 0, 1, 1, 1, 4));
	weight[WORLD_MEMORY] = PICK(rng, 0, 0, 5, 40);
	weight[WORLD_COMPACT] = PICK(rng, 0, 0, 1, 6);
	weight[WORLD_PUT] += 2;
	weight[WORLD_GET] += 2;
}

/* Keys that meet, sleepers with warm caches, deaths in every life: in half of the worlds each. */
static void hostile_draw(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 15);
	if (half(&rng))
		world_keys_draw(&rng, config);
	if (half(&rng)) {
		config->nap_one_in = PICK(&rng, 4, 10, 30);
		config->nap_ns = PICK(&rng, 500, 3000, 15000) * US;
	}
	for (uint32_t i = 0; i < config->blows; i++)
		config->blow[i].again = half(&rng);
	config->leave_one_in = PICK(&rng, 0, 0, 0, 20, 60);
	config->groups = PICK(&rng, 2, 2, 2, 3, 5);
}

/* Tables that are made and dropped, in one world of four. */
static void tables_draw(struct ptni_rng *rng, struct world_config *config)
{
	if (!ptni_rng_chance(rng, 1, 4))
		return;
	config->weight[WORLD_TABLE_USE] = PICK(rng, 5, 20, 60);
	config->weight[WORLD_TABLE_DROP] = config->weight[WORLD_TABLE_USE] / PICK(rng, 1, 2, 5);
}

/* What runs out, in one world of six; enough for who comes alone in the end. */
static void limits_draw(struct ptni_rng *rng, struct world_config *config)
{
	if (!ptni_rng_chance(rng, 1, 6))
		return;
	if (config->spare_lanes <= 2)
		config->sim.limits.mw_max = PICK(rng, 0, 400, 600);
	config->limits.leases = PICK(rng, 0, 1, 4);
	config->limits.sessions = PICK(rng, 0, 0, 2, 3);
}

void world_config_draw(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 3);
	world_config_quiet(seed, config);
	if (half(&rng))
		memset(&config->sim.timing, 0, sizeof(config->sim.timing));
	config->nodes = PICK(&rng, 1, 1, 1, 2, 3);
	config->clients = PICK(&rng, 2, 2, 3, 4);
	config->workers = PICK(&rng, 1, 1, 2);
	config->one_worker = half(&rng);
	config->ops = PICK(&rng, 8, 20, 40, 80);
	config->keys = PICK(&rng, 4, 16, 64, 128);
	config->hot = PICK(&rng, 0, 1, 2, 4);
	config->preset = (uint32_t)ptni_rng_below(&rng, config->keys + 1);
	config->cache_entries = PICK(&rng, 8, 64, 256);
	config->node_memory = (uint64_t)PICK(&rng, 3, 6, 8, 16) << 20;
	config->term_ns = PICK(&rng, 2, 4, 10, 40) * MS;
	config->epoch_min_ns = PICK(&rng, 50, 200, 1000) * US;
	config->spare_lanes = PICK(&rng, 1, 1, 2, UINT32_MAX);
	config->think_ns = PICK(&rng, 0, 0, 3000, 50000);
	config->value_max = PICK(&rng, 200, 3000, 5900);
	weights_draw(&rng, config->weight);
	tables_draw(&rng, config);
	limits_draw(&rng, config);
	faults_draw(&rng, &config->sim.faults);
	steps_draw(&rng, config);
	config->blows = PICK(&rng, 0, 1, 2, 3, 5);
	for (uint32_t i = 0; i < config->blows; i++)
		blow_draw(&rng, config, &config->blow[i]);
	if (ptni_rng_chance(&rng, 1, 16))
		config->node_dies_ns = 1 + ptni_rng_below(&rng, 3 * MS);
	config->node_dies = (uint32_t)ptni_rng_below(&rng, config->nodes);
	config->node_silent = half(&rng);
	config->stay = half(&rng);
	while (config->subtables < config->nodes) /* as for any table: one for each node */
		config->subtables *= 2;
	hostile_draw(seed, config);
	config->load_ns = 10 * config->term_ns + 100 * MS;
	config->calm_ns = 40 * config->term_ns + 3000 * MS;
}
