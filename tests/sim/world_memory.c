/* SPDX-License-Identifier: MIT */
/*
 * The allocator alone: memory under a lease of its own, from allocation to its end. What is read must be what
 * this holder wrote, or zero before it wrote anything, whatever happened to whoever had that memory before.
 */
#include "tests/sim/world_private.h"

#include <patronus/memory.h>

#include <stdio.h>

enum {
	LEN_MAX = 2048,
	WORDS_MAX = LEN_MAX / 8,
	STEPS_MAX = 6,
};

struct holding {
	struct world_worker *worker;
	struct ptn_memory *memory;
	uint32_t words;
	bool sure; /* nothing has failed: we know what is there */
	uint64_t expected[WORDS_MAX], got[WORDS_MAX];
};

static int step_read(struct holding *holding)
{
	struct world *world = holding->worker->life->world;
	int ret = ptn_memory_read(holding->memory, 0, holding->got, holding->words * 8);

	for (uint32_t i = 0; !ret && holding->sure && i < holding->words; i++)
		if (holding->got[i] != holding->expected[i])
			world_fail(world,
				   "leased memory: word %u of %u is %llx where its holder put %llx",
				   i, holding->words, (unsigned long long)holding->got[i],
				   (unsigned long long)holding->expected[i]);
	return ret;
}

static int step_write(struct holding *holding)
{
	uint32_t first = (uint32_t)ptni_rng_below(&holding->worker->rng, holding->words);
	uint32_t count =
		1 + (uint32_t)ptni_rng_below(&holding->worker->rng, holding->words - first);

	for (uint32_t i = first; i < first + count; i++)
		holding->expected[i] = ptni_rng_next(&holding->worker->rng);
	return ptn_memory_write(holding->memory, first * 8, &holding->expected[first], count * 8);
}

static int step_add(struct holding *holding)
{
	uint32_t at = (uint32_t)ptni_rng_below(&holding->worker->rng, holding->words);
	uint64_t add = ptni_rng_next(&holding->worker->rng), old = 0;
	int ret = ptn_memory_faa(holding->memory, at * 8, add, &old);

	if (!ret && holding->sure && old != holding->expected[at])
		world_fail(holding->worker->life->world,
			   "leased memory: an addition found %llx where its holder put %llx",
			   (unsigned long long)old, (unsigned long long)holding->expected[at]);
	holding->expected[at] += add;
	return ret;
}

static int step(struct holding *holding)
{
	uint64_t term_ns = holding->worker->life->world->config.term_ns;

	switch (ptni_rng_below(&holding->worker->rng, 6)) {
	case 0:
	case 1:
		return step_read(holding);
	case 2:
		return step_write(holding);
	case 3:
		return step_add(holding);
	case 4:
		return ptn_memory_extend(holding->memory,
					 WORLD_MEMORY_TERM_MIN_NS +
						 ptni_rng_below(&holding->worker->rng, term_ns));
	default:
		ptni_sim_sleep(ptni_rng_below(&holding->worker->rng, WORLD_MEMORY_TERM_MIN_NS));
		return 0;
	}
}

/* The lease is over, or will be, or is cut short: an outcome, not a failure. */
static bool told_of_its_end(int ret)
{
	return ptn_error_scope(ret) == PTN_SCOPE_LEASE;
}

int world_memory(struct world_worker *worker)
{
	const struct world_config *config = &worker->life->world->config;
	struct holding holding = { .worker = worker, .sure = true };
	uint64_t term_ns = WORLD_MEMORY_TERM_MIN_NS + ptni_rng_below(&worker->rng, config->term_ns);
	unsigned node = (unsigned)ptni_rng_below(&worker->rng, config->nodes);
	uint32_t steps = (uint32_t)ptni_rng_below(&worker->rng, STEPS_MAX + 1);
	int ret, end;

	holding.words = 1 + (uint32_t)ptni_rng_below(&worker->rng, WORDS_MAX);
	ret = ptn_memory_alloc(worker->worker, node, holding.words * 8, term_ns, &holding.memory);
	if (ret)
		return ret;
	while (!ret && steps--) {
		ret = step(&holding);
		holding.sure &= !ret;
	}
	end = ptni_rng_chance(&worker->rng, 1, 4) ? ptn_memory_release(holding.memory) :
						    ptn_memory_free(holding.memory);
	ret = told_of_its_end(ret) ? 0 : ret;
	return ret ? ret : told_of_its_end(end) ? 0 : end;
}
