/* SPDX-License-Identifier: MIT */
#include "ycsb/model/mix.h"

#include "ycsb/generator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* CPU of an operation of the library beyond what the model charges for posting and polling: measured on
	 * the software network card, see docs/PERFORMANCE.md. */
	OP_CPU_NS = 150,
	KEY_BYTES = 24,
	POLL_NS = 5000,
	RECORDS = 5000,
	VALUE_BYTES = 64,
};
#define NODE_BYTES (UINT64_C(256) << 20)

struct state {
	struct ycsb_zipfian zipfian;
	uint64_t turn;
};

static struct model_mix *mix_of(const struct model_fiber *fiber)
{
	return model_config(fiber->cluster)->arg;
}

static size_t key_make(uint64_t number, char *key)
{
	return (size_t)snprintf(key, KEY_BYTES, "user%016llu",
				(unsigned long long)ycsb_fnv64(number) % 10000000000000000ull);
}

int model_mix_open(struct model_fiber *fiber)
{
	struct state *state = calloc(1, sizeof(*state));
	const struct model_mix *mix = mix_of(fiber);

	if (!state)
		return -ENOMEM;
	if (mix->letter == 'D')
		ycsb_latest_init(&state->zipfian, mix->records - 1);
	else
		ycsb_scrambled_init(&state->zipfian);
	fiber->state = state;
	memset(fiber->buffer, (int)fiber->number, sizeof(fiber->buffer));
	return 0;
}

static int put(struct model_fiber *fiber, uint64_t number)
{
	char key[KEY_BYTES];
	size_t len = key_make(number, key);

	return ptn_hash_put(fiber->worker, fiber->table, key, len, fiber->buffer,
			    mix_of(fiber)->value_bytes);
}

static int update(struct model_fiber *fiber, uint64_t number)
{
	char key[KEY_BYTES];
	size_t len = key_make(number, key);

	return ptn_hash_update(fiber->worker, fiber->table, key, len, fiber->buffer,
			       mix_of(fiber)->value_bytes);
}

static int get(struct model_fiber *fiber, uint64_t number)
{
	char key[KEY_BYTES];
	size_t len = key_make(number, key), got;

	return ptn_hash_get(fiber->worker, fiber->table, key, len, fiber->buffer,
			    sizeof(fiber->buffer), &got);
}

/* Every worker has looked at every record once: its slot cache is warm. */
static int look(struct model_fiber *fiber)
{
	const struct model_mix *mix = mix_of(fiber);
	uint32_t fibers = model_config(fiber->cluster)->fibers;

	for (uint64_t i = fiber->number % fibers; i < mix->records; i += fibers) {
		int ret = get(fiber, i);

		if (ret)
			return ret;
	}
	return 0;
}

int model_mix_load(struct model_fiber *fiber)
{
	struct model_mix *mix = mix_of(fiber);

	for (uint64_t i = fiber->number; i < mix->records; i += fiber->count) {
		int ret = put(fiber, i);

		if (ret)
			return ret;
	}
	mix->loaded++;
	while (mix->loaded < fiber->count)
		model_nap(fiber, POLL_NS);
	return look(fiber);
}

static int latest(struct model_fiber *fiber, struct state *state, struct model_mix *mix)
{
	uint64_t last = mix->records - 1 + mix->inserted;
	int ret;

	if (ptni_rng_below(&fiber->rng, 100) < 5) {
		ret = put(fiber, mix->records + (mix->inserted++));
		return ret;
	}
	ret = get(fiber, ycsb_latest_next(&state->zipfian, &fiber->rng, last));
	return ret == -ENOENT ? 0 : ret; /* being inserted */
}

int model_mix_step(struct model_fiber *fiber)
{
	struct model_mix *mix = mix_of(fiber);
	struct state *state = fiber->state;
	uint64_t number, percent = ptni_rng_below(&fiber->rng, 100);
	int ret;

	ptni_sim_charge(OP_CPU_NS);
	if (mix->letter == 'D')
		return latest(fiber, state, mix);
	number = ycsb_scrambled_next(&state->zipfian, &fiber->rng, mix->records);
	switch (mix->letter) {
	case 'A':
		return percent < 50 ? get(fiber, number) : update(fiber, number);
	case 'B':
		return percent < 95 ? get(fiber, number) : update(fiber, number);
	case 'F':
		ret = get(fiber, number);
		if (ret || percent < 50)
			return ret;
		ptni_sim_charge(OP_CPU_NS);
		return update(fiber, number);
	case 'U':
		return update(fiber, number);
	default:
		return get(fiber, number);
	}
}

int model_mix_run(const struct model_mix_run *run, struct model_result *result_out)
{
	struct model_mix mix = { .letter = run->letter,
				 .records = run->records ? run->records : RECORDS,
				 .value_bytes = run->value_bytes ? run->value_bytes : VALUE_BYTES };
	struct ptn_hash_options table = { .size = sizeof(table),
					  .initial_slots = 3ull * mix.records,
					  .cache_entries = 16384 };
	struct model_config config = {
		.card = run->card,
		.seed = run->seed ? run->seed : 1,
		.nodes = run->nodes,
		.nodes_apart = true,
		.machines = run->machines,
		.processes = run->processes,
		.workers = run->workers,
		.fibers = run->fibers,
		.unprotected = run->unprotected,
		.node_memory_bytes = NODE_BYTES,
		.table = &table,
		.warm_ns = run->warm_ns,
		.measure_ns = run->measure_ns,
		.open = model_mix_open,
		.load = model_mix_load,
		.step = model_mix_step,
		.arg = &mix,
		.timing = run->timing,
	};
	int ret;

	while (config.node_memory_bytes < 8ull * mix.records * (mix.value_bytes + KEY_BYTES))
		config.node_memory_bytes *= 2;
	while (table.cache_entries < 3ull * mix.records)
		table.cache_entries *= 2;
	ret = model_run(&config, result_out);
	if (ret)
		fprintf(stderr, "patronus-model: workload %c: %s\n", run->letter,
			result_out->error);
	return ret;
}
