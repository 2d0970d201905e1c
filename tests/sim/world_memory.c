/* SPDX-License-Identifier: MIT */
/*
 * The allocator alone: memory under a lease of its own, from allocation to its end, or to a hand-over and on
 * with who claims it. What is read must be what its holders wrote, or zero before they wrote anything, whatever
 * happened to whoever had that memory before. No ticket is claimed twice.
 */
#include "tests/sim/world_private.h"

#include <stdio.h>

enum {
	STEPS_MAX = 6,
};

struct holding {
	struct world_worker *worker;
	struct ptn_memory *memory;
	uint32_t words;
	bool sure; /* nothing has failed: we know what is there */
	uint64_t expected[WORLD_LEASED_WORDS], got[WORLD_LEASED_WORDS];
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
	return ptn_error_scope(ret) == PTN_SCOPE_LEASE || ret == PTN_E_LEASE_CONFLICT;
}

/* --- from hand to hand ------------------------------------------------------------------------------------------- */

static struct world_offer *offer_free(struct world *world)
{
	for (unsigned i = 0; i < WORLD_OFFERS; i++)
		if (!world->offer[i].open)
			return &world->offer[i];
	return NULL;
}

static struct world_offer *offer_open(struct world *world, struct ptni_rng *rng)
{
	unsigned first = (unsigned)ptni_rng_below(rng, WORLD_OFFERS);

	for (unsigned i = 0; i < WORLD_OFFERS; i++)
		if (world->offer[(first + i) % WORLD_OFFERS].open)
			return &world->offer[(first + i) % WORLD_OFFERS];
	return NULL;
}

/* 0: the memory is on offer, the handle gone. */
static int give(struct holding *holding, uint64_t term_ns)
{
	struct world *world = holding->worker->life->world;
	struct ptn_ticket ticket;
	struct world_offer *offer;
	int ret = ptn_memory_give(holding->memory, term_ns, &ticket);

	offer = ret || world->tickets == WORLD_TICKETS ? NULL : offer_free(world);
	if (offer) { /* else the ticket is lost, and the memory freed in time */
		*offer = (struct world_offer){ .ticket = ticket,
					       .number = world->tickets++,
					       .open = true,
					       .sure = holding->sure,
					       .words = holding->words };
		memcpy(offer->expected, holding->expected, sizeof(offer->expected));
	}
	return ret;
}

/* Several may try at a time, and die while they do: one of them succeeds at most. */
static int claim(struct holding *holding, struct world_offer *offer, uint64_t term_ns)
{
	struct world *world = holding->worker->life->world;
	struct ptn_ticket ticket = offer->ticket;
	uint32_t number = offer->number;
	int ret;

	holding->words = offer->words;
	holding->sure = offer->sure;
	memcpy(holding->expected, offer->expected, sizeof(offer->expected));
	ret = ptn_memory_claim(holding->worker->worker, &ticket, term_ns, &holding->memory);
	if ((!ret || ret == -ENOENT) && offer->number == number)
		offer->open = false;
	if (ret)
		return ret;
	if (world->claimed[number])
		world_fail(world, "ticket %u was claimed twice", number);
	world->claimed[number] = true;
	return step_read(holding);
}

static int alloc(struct holding *holding, uint64_t term_ns)
{
	struct world_worker *worker = holding->worker;
	unsigned node = (unsigned)ptni_rng_below(&worker->rng, worker->life->world->config.nodes);

	holding->sure = true;
	holding->words = 1 + (uint32_t)ptni_rng_below(&worker->rng, WORLD_LEASED_WORDS);
	return ptn_memory_alloc(worker->worker, node, holding->words * 8, term_ns,
				&holding->memory);
}

static int end(struct holding *holding, uint64_t term_ns)
{
	uint64_t how = ptni_rng_below(&holding->worker->rng, 6);

	if (how < 2 && !give(holding, term_ns))
		return 0;
	return how == 2 ? ptn_memory_release(holding->memory) : ptn_memory_free(holding->memory);
}

int world_memory(struct world_worker *worker)
{
	struct world *world = worker->life->world;
	struct holding holding = { .worker = worker };
	uint64_t term_ns =
		WORLD_MEMORY_TERM_MIN_NS + ptni_rng_below(&worker->rng, world->config.term_ns);
	uint32_t steps = (uint32_t)ptni_rng_below(&worker->rng, STEPS_MAX + 1);
	struct world_offer *offer = offer_open(world, &worker->rng);
	int ret, last;

	if (offer && ptni_rng_chance(&worker->rng, 2, 3))
		ret = claim(&holding, offer, term_ns);
	else
		ret = alloc(&holding, term_ns);
	if (!holding.memory)
		return ret;
	while (!ret && steps--) {
		ret = step(&holding);
		holding.sure &= !ret;
	}
	last = end(&holding, term_ns);
	ret = told_of_its_end(ret) ? 0 : ret;
	return ret ? ret : told_of_its_end(last) ? 0 : last;
}
