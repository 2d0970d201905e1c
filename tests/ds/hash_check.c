/* SPDX-License-Identifier: MIT */
#include "tests/ds/hash_check.h"

#include <string.h>

struct reached {
	struct mock_world *world;
	bool block[MOCK_NODES_MAX][MOCK_BLOCKS_MAX];
};

static const char *reach(void *arg, unsigned node, const void *addr, uint32_t len_bytes,
			 bool *before_out)
{
	struct reached *reached = arg;
	struct mock_block *block = mock_block_find(reached->world, node, (uint64_t)addr);
	uint32_t index;

	if (!block || len_bytes > ptni_block_class_bytes(block->block_class))
		return "a word leads to what is not a block";
	if (block->state != MOCK_HELD)
		return "a word leads to a block that was freed";
	index = (uint32_t)(block - reached->world->node[node].block);
	*before_out = reached->block[node][index];
	reached->block[node][index] = true;
	return NULL;
}

const char *hash_check_try(struct mock_world *world, struct check *check_out)
{
	static struct reached reached;
	struct table_memory memory = { .node_count = world->node_count,
				       .root = (uint64_t *)(void *)(world->node[0].region + 4096),
				       .seed = world->node[0].params.word[0],
				       .groups = (uint32_t)world->node[0].params.word[1],
				       .reach = reach,
				       .arg = &reached };
	const char *wrong;

	reached.world = world;
	for (unsigned n = 0; n < world->node_count; n++) {
		memory.region[n] = world->node[n].region;
		memory.region_len_bytes[n] = MOCK_REGION_BYTES;
		memset(reached.block[n], 0, world->node[n].block_count);
	}
	wrong = table_walk(&memory, check_out);
	for (unsigned n = 0; n < world->node_count; n++)
		for (uint32_t i = 0; i < world->node[n].block_count; i++)
			check_out->leaked += world->node[n].block[i].state == MOCK_HELD &&
					     !reached.block[n][i];
	return wrong;
}

void hash_check(struct mock_world *world, struct check *check_out)
{
	const char *wrong = hash_check_try(world, check_out);

	if (wrong)
		fail_msg("table: %s", wrong);
}
