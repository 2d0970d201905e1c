/* SPDX-License-Identifier: MIT */
#include "tests/sim/leak.h"

#include "alloc/view.h"
#include "ds/hashtable/table.h"
#include "tests/ds/table_walk.h"
#include "tests/sim/world_private.h"

enum {
	GRANULE = 16,
	SETTLE_TRIES = 400,
	SETTLE_NS = 500000
};

static struct check check;
static uint8_t
	*reached[WORLD_NODES_MAX]; /* by granule: something that the table leads to begins here */

static const char *reach(void *arg, unsigned node, const void *addr, uint32_t len_bytes,
			 bool *before_out)
{
	const struct table_memory *memory = arg;
	uint64_t offset = (uint64_t)((const uint8_t *)addr - memory->region[node]);

	*before_out = reached[node][offset / GRANULE];
	reached[node][offset / GRANULE] = 1;
	return NULL;
}

static const char *walk_table(const struct ptn_hash *hash)
{
	static struct table_memory memory;

	memory = (struct table_memory){ .node_count = hash->node_count,
					.root = (uint64_t *)(uintptr_t)hash->root,
					.seed = hash->seed,
					.groups = hash->groups,
					.reach = reach,
					.arg = &memory };
	for (unsigned n = 0; n < hash->node_count; n++) {
		memory.region[n] = (uint8_t *)(uintptr_t)hash->base[n];
		memory.region_len_bytes[n] = hash->limit[n] - hash->base[n];
		free(reached[n]);
		reached[n] = calloc(memory.region_len_bytes[n] / GRANULE + 1, 1);
		if (!reached[n])
			abort(); /* no memory for the test itself */
	}
	return table_walk(&memory, &check);
}

/* Until nothing waits. False: something does for ever. */
static bool settle(struct world_worker *worker)
{
	const struct ptn_hash *hash = worker->life->hash;

	for (int try = 0; try < SETTLE_TRIES && !world_failed(worker->life->world); try++) {
		bool settled = true;

		for (unsigned n = 0; n < hash->node_count; n++) {
			struct ptni_space_usage usage;
			int ret = ptni_space_trim(worker->worker, hash->space[n]);

			if (ret)
				world_fail(worker->life->world, "without faults, a trim: %s",
					   ptn_strerror(ret));
			ptni_space_usage(worker->worker, hash->space[n], &usage);
			settled &= !usage.limbo_bytes && !usage.adopting;
		}
		if (settled)
			return true;
		ptni_sim_sleep(SETTLE_NS);
	}
	return false;
}

static bool in_use(const struct ptni_heap *heap, const struct ptni_owned_slab *slab, uint32_t index)
{
	uint64_t free_bits = slab->free[index / 64] | slab->limbo[PTNI_OLD][index / 64] |
			     slab->limbo[PTNI_YOUNG][index / 64];

	if (slab == heap->current && index / 64 == heap->word)
		free_bits |= heap->bits;
	return !(free_bits >> index % 64 & 1);
}

static bool lossless(const struct world *world)
{
	const struct ptni_sim_faults *faults = &world->config.sim.faults;
	const struct world_result *result = world->result;

	return !result->kills && !result->errors && !result->lane_breaks && !result->refusals &&
	       !faults->transport_one_in && !faults->refuse_one_in && !faults->post_one_in &&
	       !faults->bind_one_in && !faults->window_one_in && !world->config.sim.limits.mw_max &&
	       !world->config.limits.windows;
}

static void check_slab(struct world *world, const struct ptni_space *space,
		       const struct ptni_heap *heap, const struct ptni_owned_slab *slab)
{
	for (uint32_t i = 0; i < heap->layout.blocks; i++) {
		uint64_t offset = slab->base + heap->layout.first +
				  (uint64_t)i * heap->block_bytes - space->region;
		bool led_to = reached[space->node][offset / GRANULE];

		if (in_use(heap, slab, i) == led_to || (!led_to && !lossless(world)))
			continue;
		world_fail(world,
			   led_to ? "L2: the table leads to the block at %#llx of node %u, which "
				    "its owner has free" :
				    "L1: the block at %#llx of node %u (%u bytes) is lost",
			   (unsigned long long)offset, space->node, heap->block_bytes);
	}
}

static void check_space(struct world_worker *worker, struct ptni_space *space)
{
	const struct ptni_view *view = ptni_view_of(worker->worker, space);

	if (view && view->refused)
		world_fail(worker->life->world, "L3: %llu blocks were given back twice",
			   (unsigned long long)view->refused);
	for (unsigned c = 0; view && c < PTNI_BLOCK_CLASSES; c++) {
		const struct ptni_heap *heap = view->heap[c];
		const struct cds_list_head *at;

		if (!heap)
			continue;
		/* by links: the head is in no slab, and not aligned like one */
		for (at = heap->all.next; at != &heap->all; at = at->next)
			check_slab(worker->life->world, space, heap,
				   cds_list_entry(at, struct ptni_owned_slab, all_link));
	}
}

void leak_check(struct world_worker *worker)
{
	struct world *world = worker->life->world;
	struct ptn_hash *hash = worker->life->hash;
	const char *wrong;

	if (world_failed(world))
		return;
	if (!settle(worker)) {
		world_fail(world, "without faults, blocks wait for their grace period for ever");
		return;
	}
	wrong = walk_table(hash);
	if (wrong)
		world_fail(world, "the table is not sound: %s", wrong);
	for (unsigned n = 0; n < hash->node_count && !world_failed(world); n++)
		check_space(worker, hash->space[n]);
	for (unsigned n = 0; n < WORLD_NODES_MAX; n++) {
		free(reached[n]);
		reached[n] = NULL;
	}
}
