/* SPDX-License-Identifier: MIT */
/*
 * Lanes by the id that their work requests carry: a place in the table and how often it was used
 * before, so that a late completion of a lane that is gone finds nobody.
 */
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

enum {
	FIRST = 1, /* no lane has id 0 */
	CAPACITY_MIN = 64,
	GENERATION_MASK = 0xfff
};

static int table_grow(struct ptn_node *node)
{
	uint32_t old = node->lanes_capacity, capacity = old ? 2 * old : CAPACITY_MIN;
	void *lanes, *generations, *ids;

	if (capacity > PTNI_ID_MANAGERS)
		return PTN_E_NODE_FULL;
	if (!(lanes = realloc(node->lanes, capacity * sizeof(*node->lanes))))
		return -ENOMEM;
	node->lanes = lanes;
	if (!(generations =
		      realloc(node->lane_generations, capacity * sizeof(*node->lane_generations))))
		return -ENOMEM;
	node->lane_generations = generations;
	if (!(ids = realloc(node->lane_ids_free, capacity * sizeof(*node->lane_ids_free))))
		return -ENOMEM;
	node->lane_ids_free = ids;
	memset(node->lanes + old, 0, (capacity - old) * sizeof(*node->lanes));
	memset(node->lane_generations + old, 0, (capacity - old) * sizeof(*node->lane_generations));
	for (uint32_t i = capacity; i-- > (old ? old : FIRST);)
		node->lane_ids_free[node->lane_ids_free_count++] = i;
	node->lanes_capacity = capacity;
	return 0;
}

int ptni_table_add(struct ptn_node *node, struct ptni_node_lane *lane)
{
	uint32_t slot;
	int ret;

	if (!node->lane_ids_free_count && (ret = table_grow(node)))
		return ret;
	slot = node->lane_ids_free[--node->lane_ids_free_count];
	node->lanes[slot] = lane;
	node->lane_generations[slot]++;
	lane->id = slot | (uint32_t)(node->lane_generations[slot] & GENERATION_MASK)
				  << PTNI_ID_SLOT_BITS;
	return 0;
}

void ptni_table_remove(struct ptn_node *node, struct ptni_node_lane *lane)
{
	uint32_t slot = lane->id % PTNI_ID_SLOTS;

	if (slot < FIRST || node->lanes[slot] != lane)
		return;
	node->lanes[slot] = NULL;
	node->lane_ids_free[node->lane_ids_free_count++] = slot;
}

struct ptni_node_lane *ptni_table_find(struct ptn_node *node, uint32_t id)
{
	uint32_t slot = id % PTNI_ID_SLOTS;

	if (slot >= node->lanes_capacity || !node->lanes[slot] || node->lanes[slot]->id != id)
		return NULL;
	return node->lanes[slot];
}

void ptni_table_close(struct ptn_node *node)
{
	free(node->lanes);
	free(node->lane_generations);
	free(node->lane_ids_free);
}
