/* SPDX-License-Identifier: MIT */
#include "tests/sim/kinds.h"

#include "tests/sim/oracle.h"

#include <string.h>

/* Few keys, many writers of each, a table that grows all the time, a network that cuts and shuffles. */
static void crowd(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 5);
	world_config_quiet(seed, config);
	config->clients = 2 + (uint32_t)ptni_rng_below(&rng, 3);
	config->keys = 8 << ptni_rng_below(&rng, 4);
	config->hot = 1 + (uint32_t)ptni_rng_below(&rng, 4);
	config->preset = config->keys / 2;
	config->sim.faults.jitter_ns = 200 << ptni_rng_below(&rng, 5);
	config->sim.faults.slice_bytes = 8 << ptni_rng_below(&rng, 5);
	config->sim.faults.slice_ns = 100 << ptni_rng_below(&rng, 4);
	config->sim.faults.late_one_in = (uint32_t)ptni_rng_below(&rng, 2) * 20;
	config->sim.faults.late_ns = 20000;
	config->calm_ns = 5000000000;
}

/* Clients die at any verb; others come in their place. */
static void deaths_draw(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 6);
	config->blows = config->clients - 1;
	for (uint32_t i = 0; i < config->blows; i++)
		config->blow[i] = (struct world_blow){
			.client = i,
			.verb = 1 + ptni_rng_below(&rng, 6 * (uint64_t)config->ops),
			.restart = true,
			.span_ns = ptni_rng_below(&rng, config->term_ns),
			.how = (enum ptni_sim_death)ptni_rng_below(&rng, 3),
		};
}

/* The same as a crowd, and lanes break under operations. */
static void lanes(uint64_t seed, struct world_config *config)
{
	crowd(seed, config);
	config->sim.faults.transport_one_in = 40;
	config->sim.faults.ghost_ns = 5000;
}

/* A table that begins empty and grows under everybody's hands. */
static void growth(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 8);
	config->keys = 96;
	config->hot = 0;
	config->preset = 0;
	config->ops = 80;
	config->clients = 3;
	config->weight[WORLD_INSERT] = 40;
	config->weight[WORLD_PUT] = 15;
	config->cache_entries = 64;
	config->sim.faults.stall_one_in = (uint32_t)ptni_rng_below(&rng, 2) * 200;
	config->sim.faults.stall_ns = 300000;
}

/* The same as growth, and clients die at any verb. */
static void growth_deaths(uint64_t seed, struct world_config *config)
{
	growth(seed, config);
	deaths_draw(seed, config);
}

/* Blocks as large as subtables, so that they are made of each other's memory soon. */
static void scarce(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 7);
	config->ops = 150;
	config->value_fixed = 420;
	config->epoch_min_ns = 50000;
	config->think_ns = 1u << (10 + ptni_rng_below(&rng, 5));
	config->node_memory = 3 << 20;
	config->sim.faults.stall_one_in = (uint32_t)ptni_rng_below(&rng, 2) * 200;
	config->sim.faults.stall_ns = 3000000;
}

/*
 * What a reader may see of memory that is being filled again. The oracles that would find the re-use itself are not
 * told of these worlds: what has to speak up is whoever looks at the value.
 */
static void torn(uint64_t seed, struct world_config *config)
{
	scarce(seed, config);
	config->clients = 4;
	config->keys = 3;
	config->hot = 1;
	config->preset = 3;
	config->think_ns = 0;
	config->sim.faults.slice_bytes = 16;
	config->sim.faults.slice_ns = 300;
}

/* Two pairs of keys that a slot cache cannot tell apart come and go. */
static void twins(uint64_t seed, struct world_config *config)
{
	crowd(seed, config);
	config->key.style = WORLD_KEYS_TWINS;
	config->keys = 4;
	config->hot = 0;
	config->preset = 2;
	config->weight[WORLD_INSERT] = 30;
	config->weight[WORLD_DELETE] = 40;
}

/* Keys that share buckets, fingerprint and first slot come and go, and clients with warm caches sleep. */
static void alike(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 10);
	config->key.style = ptni_rng_chance(&rng, 1, 2) ? WORLD_KEYS_ALIKE : WORLD_KEYS_PREFIX;
	config->key.share = WORLD_SHARE_PLACE | WORLD_SHARE_PRINT | WORLD_SHARE_START;
	config->key.same = 2 + (uint32_t)ptni_rng_below(&rng, 3);
	config->keys = config->key.same;
	config->hot = 0;
	config->preset = 1;
	config->clients = 3;
	config->ops = 150;
	config->weight[WORLD_INSERT] = 30;
	config->weight[WORLD_DELETE] = 40;
	config->nap_one_in = 8;
	config->nap_ns = 10000 << ptni_rng_below(&rng, 5);
}

/* A home that is always nearly full, so that the same keys are now there and now in their second bucket. */
static void spilling(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	alike(seed, config);
	ptni_rng_seed_stream(&rng, seed, 11);
	config->key.style = WORLD_KEYS_ALIKE;
	config->key.share = WORLD_SHARE_PLACE;
	config->key.same = 14 + (uint32_t)ptni_rng_below(&rng, 6);
	config->keys = config->key.same;
	config->hot = 2;
	config->preset = config->keys;
	config->clients = 4;
	config->nap_one_in = 0;
}

/* Clients whose workers sleep while their keepers report, and memory that is used again soon. */
static void sleepers(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	scarce(seed, config);
	ptni_rng_seed_stream(&rng, seed, 12);
	config->term_ns = 1000000 << ptni_rng_below(&rng, 3);
	config->key.style = WORLD_KEYS_ALIKE;
	config->key.share_depth = 2 + (uint32_t)ptni_rng_below(&rng, 4);
	config->key.same = config->keys = 64;
	config->preset = 0;
	config->hot = 2;
	config->weight[WORLD_INSERT] = 40;
	config->nap_one_in = 10;
	config->nap_ns = 1000000 << ptni_rng_below(&rng, 4);
	config->sim.faults.late_one_in = 20 * (uint32_t)ptni_rng_below(&rng, 3);
	config->sim.faults.late_ns = 2000000;
}

/* One size of blocks, and clients that die in each of their lives. */
static void heirs(uint64_t seed, struct world_config *config)
{
	growth_deaths(seed, config);
	config->value_fixed = 200;
	config->blows = config->clients;
	for (uint32_t i = 0; i < config->blows; i++) {
		if (i + 1 == config->clients)
			config->blow[i] = config->blow[0];
		config->blow[i].client = i;
		config->blow[i].again = true;
		config->blow[i].restart = true;
	}
}

static const struct {
	const char *name;
	void (*draw)(uint64_t seed, struct world_config *config);
} kinds[] = {
	[KIND_CROWD] = { "crowd", crowd },
	[KIND_LANES] = { "lanes", lanes },
	[KIND_GROWTH] = { "growth", growth },
	[KIND_GROWTH_DEATHS] = { "growth-deaths", growth_deaths },
	[KIND_SCARCE] = { "scarce", scarce },
	[KIND_TORN] = { "torn", torn },
	[KIND_TWINS] = { "twins", twins },
	[KIND_ALIKE] = { "alike", alike },
	[KIND_SPILLING] = { "spilling", spilling },
	[KIND_SLEEPERS] = { "sleepers", sleepers },
	[KIND_HEIRS] = { "heirs", heirs },
};

void kind_draw(enum kind kind, uint64_t seed, struct world_config *config_out)
{
	kinds[kind].draw(seed, config_out);
	if (kind != KIND_TORN)
		oracle_attach(config_out);
}

const char *kind_name(enum kind kind)
{
	return kinds[kind].name;
}

enum kind kind_find(const char *name)
{
	unsigned i = 0;

	while (i < KINDS && strcmp(kinds[i].name, name))
		i++;
	return (enum kind)i;
}

void kind_any(uint64_t seed, struct world_config *config_out)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 16);
	if (ptni_rng_chance(&rng, 1, 4)) {
		kind_draw((enum kind)ptni_rng_below(&rng, KINDS), seed, config_out);
		return;
	}
	world_config_draw(seed, config_out);
	oracle_attach(config_out);
}
