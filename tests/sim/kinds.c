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

enum {
	HOME_KEYS = 8, /* one more than there is room for in the main bucket */
	HOMES = 24,
};

/*
 * Full homes: all at once delete a key of the next one and insert another. One finds room at home, the other did not
 * yet and spills; that is told once in a home's life, so there are many homes.
 */
static void spilling(uint64_t seed, struct world_config *config)
{
	static struct world_step insert[2 * HOMES], delete[2 * HOMES];

	crowd(seed, config);
	for (uint32_t i = 0; i < HOMES; i++) {
		insert[2 * i] = delete[2 * i] = (struct world_step){ .act = WORLD_MEET };
		insert[2 * i + 1] = (struct world_step){ WORLD_INSERT, HOME_KEYS * (i + 1) - 1 };
		delete[2 * i + 1] = (struct world_step){ WORLD_DELETE, HOME_KEYS * i + i % 7 };
	}
	config->clients = 4;
	for (uint32_t i = 0; i < config->clients; i++)
		config->script[i] = i ? insert : delete;
	config->ops = 2 * HOMES;
	config->groups = 16;
	config->key.style = WORLD_KEYS_ALIKE;
	config->key.share = WORLD_SHARE_PLACE;
	config->key.same = HOME_KEYS;
	config->keys = config->preset = HOME_KEYS * HOMES;
	config->preset_but = HOME_KEYS;
	config->hot = 0;
}

/* Clients whose workers sleep while their keepers report, and subtables that are made of records soon, and back. */
static void sleepers(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	scarce(seed, config);
	ptni_rng_seed_stream(&rng, seed, 12);
	config->term_ns = 2000000 << ptni_rng_below(&rng, 3);
	config->groups = 5;
	config->value_fixed = 1000;
	config->key.style = WORLD_KEYS_ALIKE;
	config->key.share = WORLD_SHARE_PLACE;
	config->key.same = 60;
	config->keys = 240;
	config->preset = 0;
	config->hot = 2;
	config->ops = 200;
	config->weight[WORLD_INSERT] = 40;
	config->weight[WORLD_WALK] = 6;
	config->think_ns = 0;
	config->nap_one_in = 4 + (uint32_t)ptni_rng_below(&rng, 12);
	config->nap_ns = 250000 << ptni_rng_below(&rng, 5);
}

/* Large records, so that the same memory comes back soon, for two or three keys that want the same slot. */
static void returning(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	alike(seed, config);
	ptni_rng_seed_stream(&rng, seed, 13);
	config->clients = 2;
	config->ops = 300;
	config->key.style = WORLD_KEYS_ALIKE;
	config->value_fixed = 5900;
	config->sim.faults.slice_bytes = 0;
	config->weight[WORLD_PUT] = 60;
	config->term_ns = 1000000;
	config->epoch_min_ns = 50000;
	config->think_ns = 200000;
	config->nap_alone = true;
	config->nap_one_in = 10;
	config->nap_ns = 500000 << ptni_rng_below(&rng, 4);
}

/* Everything is moved all the time. */
static void moving(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 18);
	config->term_ns = 1000000 << ptni_rng_below(
				  &rng, 2); /* moves wait for epochs, which keepers look for then */
	config->think_ns = 5000;
	config->cache_entries = 4; /* who writes by the cache alone looks again anyway */
	config->keys = 8;
	config->preset = 8;
	config->hot = 0;
	config->ops = 200;
	config->epoch_min_ns = 50000;
	config->weight[WORLD_COMPACT] = 12;
	config->weight[WORLD_MULTI_PUT] = 20;
}

/* What clients leave behind in good order, and its next owners. */
static void leaving(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	scarce(seed, config);
	ptni_rng_seed_stream(&rng, seed, 17);
	config->clients = 4;
	config->value_fixed = 5900;
	config->ops = 60;
	config->keys = 12;
	config->preset = 12;
	config->leave_one_in = 15;
}

/* Leased memory goes from hand to hand, and several want it. */
static void tickets(uint64_t seed, struct world_config *config)
{
	crowd(seed, config);
	config->clients = 4;
	config->weight[WORLD_MEMORY] = 600;
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

/* Clients that die inserting where nobody comes after them but who adopts what they left. */
static void orphans(uint64_t seed, struct world_config *config)
{
	crowd(seed, config);
	config->clients = 3;
	config->ops = 30;
	config->keys = 120;
	config->hot = 0;
	config->preset = 0;
	config->groups = 8;
	config->value_fixed = 200;
	memset(config->weight, 0, sizeof(config->weight));
	config->weight[WORLD_INSERT] = 60;
	config->weight[WORLD_GET] = 2;
	deaths_draw(seed, config);
	for (uint32_t i = 0; i < config->blows; i++)
		config->blow[i].again = true;
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
	[KIND_RETURNING] = { "returning", returning },
	[KIND_MOVING] = { "moving", moving },
	[KIND_LEAVING] = { "leaving", leaving },
	[KIND_TICKETS] = { "tickets", tickets },
	[KIND_ORPHANS] = { "orphans", orphans },
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
