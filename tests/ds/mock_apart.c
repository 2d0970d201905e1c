/* SPDX-License-Identifier: MIT */
/* Clients that keep apart, and what makes up a state of the world. */
#include "tests/ds/locals.h"
#include "tests/ds/mock_private.h"

#include <stdlib.h>
#include <string.h>

void mock_apart(struct mock_world *world)
{
	const uint32_t line_bytes = 64;

	CHECK(world->node_count == 1);
	world->apart_first = (world->node[0].bump + line_bytes - 1) & ~(line_bytes - 1);
	CHECK(world->apart_first + MOCK_CLIENTS_MAX * MOCK_APART_BYTES <= MOCK_REGION_BYTES);
	world->apart_block = world->node[0].block_count;
	CHECK(world->apart_block + MOCK_CLIENTS_MAX * MOCK_APART_BLOCKS <= MOCK_BLOCKS_MAX);
	mock_apart_blocks(world);
	world->apart = true;
	for (unsigned i = 0; i < MOCK_CLIENTS_MAX; i++)
		if (world->client[i])
			mock_client_reset(world->client[i]);
}

/* Each client has its own ones, so that the order in which they allocate does not show. */
void mock_apart_blocks(struct mock_world *world)
{
	struct mock_node *node = &world->node[0];
	const struct mock_block none = { .block_class = UINT16_MAX };

	node->block_count = world->apart_block + MOCK_CLIENTS_MAX * MOCK_APART_BLOCKS;
	for (uint32_t i = world->apart_block; i < node->block_count; i++)
		node->block[i] = none;
}

struct mock_block *mock_apart_block(struct ptn_client *client)
{
	CHECK(client->used_blocks < MOCK_APART_BLOCKS);
	return &client->world->node[0]
			.block[client->world->apart_block + client->index * MOCK_APART_BLOCKS +
			       client->used_blocks++];
}

uint32_t mock_apart_first(const struct ptn_client *client)
{
	return client->world->apart_first + client->index * MOCK_APART_BYTES;
}

uint64_t *mock_clock(struct ptn_client *client)
{
	return client->world->apart ? &client->now_ns : &client->world->now_ns;
}

/* Bits 32..42 of a key-value block's first word are the key's length, which is not 0. */
bool mock_block_has_words(const struct mock_block *block)
{
	return !(*(const uint64_t *)block->addr >> 32 & 0x7ff);
}

bool mock_client_private(const struct ptn_client *client)
{
	const struct mock_verb *next = &client->next;
	const struct mock_block *block = mock_block_covering(&client->world->node[0], next->addr);

	if (!block || client->waits ||
	    next->addr + next->len_bytes > block->addr + ptni_block_class_bytes(block->block_class))
		return false;
	if (next->opcode == IBV_WR_RDMA_WRITE)
		return block->state == MOCK_HELD && !block->shown && block->owner == client->index;
	return next->opcode == IBV_WR_RDMA_READ && block->state != MOCK_FREE && block->shown &&
	       !mock_block_has_words(block);
}

/* --- an operation's memory ----------------------------------------------------------------------------------- */

void mock_apart_begin(struct ptn_worker *worker)
{
	if (!worker->delivered)
		worker->delivered = calloc(PTNI_OP_BUFFER / 8, 1);
	memset(worker->buffer[0], 0, worker->buffer_used);
	memset(worker->delivered, 0, PTNI_OP_BUFFER / 8);
}

void mock_apart_deliver(struct ptn_client *client, const void *bytes, uint32_t len_bytes)
{
	struct ptn_worker *worker = &client->worker[1];
	uint64_t first = ((uint64_t)bytes - (uint64_t)worker->buffer[0]) / 8;

	CHECK(first * 8 + len_bytes <= worker->buffer_used);
	memset(worker->delivered + first, 1, (len_bytes + 7) / 8);
	client->observed = locals_hash_bytes(bytes, len_bytes, client->observed);
}

/* Whoever backed off reads anew: let nobody rely on what he read before, nor tell states apart by it. */
void mock_apart_backoff(struct ptn_worker *worker)
{
	for (size_t i = 0; i < worker->buffer_used / 8; i++)
		if (worker->delivered[i])
			memset(worker->buffer[0] + 8 * i, POISON, 8);
	memset(worker->delivered, 0, worker->buffer_used / 8);
}

/* --- states --------------------------------------------------------------------------------------------------- */

uint64_t mock_client_observed(struct ptn_client *client)
{
	uint64_t observed = client->observed;

	client->observed = 0;
	return observed;
}

uint64_t mock_client_hash(struct ptn_client *client, uint64_t seed)
{
	struct ptn_worker *worker = &client->worker[1];

	CHECK(!(worker->slots & ~UINT64_C(1)) && !worker->large_used);
	memset(&worker->counters, 0, sizeof(worker->counters));
	seed = locals_hash_bytes(worker->buffer[0], worker->buffer_used, seed);
	seed = locals_hash_bytes(worker->delivered, worker->buffer_used / 8, seed);
	return locals_hash(client->index, seed);
}

static uint64_t blocks_hash(const struct mock_node *node)
{
	uint64_t hash = 0;

	for (uint32_t i = 0; i < node->block_count; i++) {
		const struct mock_block *block = &node->block[i];
		uint64_t words[] = { block->addr - (uint64_t)node->region,
				     (uint64_t)block->block_class << 32 | block->state << 16 |
					     block->owner << 8 | block->shown,
				     block->state == MOCK_RETIRED ? block->retired : 0 };

		if (block->addr)
			hash = locals_hash_bytes(words, sizeof(words), hash);
	}
	return hash;
}

uint64_t mock_world_hash(const struct mock_world *world)
{
	const struct mock_node *node = &world->node[0];
	uint64_t hash = locals_hash_bytes(node->region + 4096, world->apart_first - 4096,
					  blocks_hash(node));

	for (unsigned i = 0; i < MOCK_CLIENTS_MAX; i++)
		if (world->client[i] && world->client[i]->used_bytes)
			hash = locals_hash_bytes(node->region + mock_apart_first(world->client[i]),
						 world->client[i]->used_bytes, hash);
	return hash;
}
