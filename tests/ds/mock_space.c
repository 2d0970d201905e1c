/* SPDX-License-Identifier: MIT */
/* The allocator's side of the mock: spaces, windows, blocks. */
#include "tests/ds/mock_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

unsigned ptni_space_node(const struct ptni_space *space)
{
	return space->node;
}

int ptni_space_open(struct ptn_worker *worker, unsigned n, const char *name, unsigned flags,
		    struct ptni_space_params *params, struct ptni_space **space_out)
{
	struct ptn_client *client = worker->client;
	struct mock_node *node = &client->world->node[n];
	struct ptni_space *space;

	if (!node->made && !(flags & PTNI_SPACE_CREATE))
		return -ENOENT;
	if (node->made && flags & PTNI_SPACE_EXCLUSIVE)
		return -EEXIST;
	if (!node->made)
		node->params = *params;
	node->made = true;
	*params = node->params;
	space = calloc(1, sizeof(*space));
	space->client = client;
	space->node = n;
	client->space[n] = space;
	*space_out = space;
	return 0;
}

void ptni_space_close(struct ptni_space *space)
{
	space->client->space[space->node] = NULL;
	free(space);
}

int ptni_space_drop(struct ptn_worker *worker, unsigned n, const char *name)
{
	struct mock_node *node = &worker->client->world->node[n];

	if (!node->made)
		return -ENOENT;
	for (unsigned i = 0; i < MOCK_CLIENTS_MAX; i++)
		if (worker->client->world->client[i] && worker->client->world->client[i]->space[n])
			return -EBUSY;
	memset(node->region, 0, node->bump);
	memset(node->block_at, 0, sizeof(node->block_at));
	node->block_count = 0;
	node->bump = MOCK_BLOCKS_FIRST;
	node->made = false;
	return 0;
}

uint64_t ptni_space_root(const struct ptni_space *space)
{
	return (uint64_t)space->client->world->node[space->node].region + 4096;
}

int ptni_space_held_bytes(struct ptn_worker *worker, struct ptni_space *space, uint64_t *bytes_out)
{
	const struct mock_node *node = &worker->client->world->node[space->node];

	*bytes_out = PTNI_SPACE_ROOT_BYTES;
	for (uint32_t i = 0; i < node->block_count; i++)
		if (node->block[i].state != MOCK_FREE)
			*bytes_out += ptni_block_class_bytes(node->block[i].block_class);
	return 0;
}

int ptni_space_set_live(struct ptni_space *space, ptni_block_live_fn live, void *arg)
{
	space->live = live;
	space->live_arg = arg;
	return 0;
}

void ptni_space_set_move(struct ptni_space *space, ptni_block_move_fn move)
{
}

int ptni_space_trim(struct ptn_worker *worker, struct ptni_space *space)
{
	return 0;
}

int ptni_space_compact(struct ptn_worker *worker, struct ptni_space *space, uint32_t *budget)
{
	return 0;
}

void ptni_space_await(struct ptn_worker *worker, struct ptni_space *space, uint64_t span_ns)
{
}

void ptni_space_set_scan(struct ptni_space *space, ptni_block_scan_fn scan)
{
	space->scan = scan;
}

void ptni_block_lose(struct ptni_op *op, struct ptni_space *space, const struct ptni_block *block)
{
}

const struct ptni_window *ptni_space_window(struct ptn_worker *worker, struct ptni_space *space,
					    uint64_t addr)
{
	const struct ptni_window *window = &worker->client->extent[space->node];

	return addr - window->addr < window->len_bytes ? window : NULL;
}

int ptni_space_window_fetch(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    const struct ptni_window **window_out)
{
	*window_out = ptni_space_window(op->worker, space, addr);
	return *window_out ? 0 : -EFAULT;
}

static bool may_take(const struct ptn_client *client, const struct mock_block *block)
{
	uint64_t own = (uint64_t)client->world->node[0].region + mock_apart_first(client);

	return !client->world->apart || block->addr - own < MOCK_APART_BYTES;
}

static struct mock_block *take_free(const struct ptn_client *client, struct mock_node *node,
				    unsigned block_class)
{
	for (uint32_t i = 0; i < node->block_count; i++)
		if (node->block[i].state == MOCK_FREE &&
		    node->block[i].block_class == block_class && may_take(client, &node->block[i]))
			return &node->block[i];
	return NULL;
}

/* Offset of fresh memory, 0 if there is none. */
static uint32_t take_fresh(struct ptn_client *client, struct mock_node *node, size_t bytes)
{
	uint64_t limit = client->world->memory_limit;
	uint32_t offset = node->bump;

	if (client->world->apart) {
		offset = mock_apart_first(client) + client->used_bytes;
		client->used_bytes += (uint32_t)bytes;
		CHECK(client->used_bytes <= MOCK_APART_BYTES);
		return offset;
	}
	if (node->bump + bytes > (limit ? limit : MOCK_REGION_BYTES))
		return 0;
	node->bump += (uint32_t)bytes;
	return offset;
}

int ptni_block_alloc(struct ptni_op *op, struct ptni_space *space, size_t len_bytes,
		     struct ptni_block *block_out)
{
	struct ptn_client *client = op->worker->client;
	struct mock_node *node = &client->world->node[space->node];
	unsigned block_class = ptni_block_class(len_bytes);
	size_t bytes = ptni_block_class_bytes(block_class);
	struct mock_block *block;

	if (client->world->allocating)
		client->world->allocating(client->world, client);
	block = take_free(client, node, block_class);
	if (!block) {
		uint32_t offset = take_fresh(client, node, bytes);

		if (!offset)
			return -ENOMEM;
		CHECK(client->world->apart || node->block_count < MOCK_BLOCKS_MAX);
		block = client->world->apart ? mock_apart_block(client) :
					       &node->block[node->block_count++];
		block->addr = (uint64_t)node->region + offset;
		block->block_class = (uint16_t)block_class;
		node->block_at[offset / 16] = (uint16_t)(block - node->block + 1);
	}
	block->state = MOCK_HELD;
	block->shown = false;
	block->owner = (uint8_t)client->index;
	block_out->addr = block->addr;
	block_out->len_bytes = (uint32_t)bytes;
	block_out->block_class = (uint16_t)block_class;
	block_out->version = (uint16_t)(client->epochs[space->node].epoch & 0x7ff);
	block_out->window = &client->chunk[space->node];
	return 0;
}

void ptni_block_cancel(struct ptni_op *op, struct ptni_space *space, const struct ptni_block *given)
{
	struct ptn_client *client = op->worker->client;
	struct mock_block *block = mock_block_find(client->world, space->node, given->addr);

	CHECK(block && block->state == MOCK_HELD && block->owner == client->index);
	CHECK(client->world->corrupt || !block->shown);
	CHECK(!mock_block_late(client->world, block));
	mock_block_free(&client->world->node[space->node], block);
}

void ptni_block_retire_soon(const struct ptni_op *op, struct ptni_space *space, uint64_t addr,
			    unsigned block_class, bool again)
{
}

void ptni_block_retire(struct ptni_op *op, struct ptni_space *space, uint64_t addr,
		       unsigned block_class)
{
	struct mock_world *world = op->worker->client->world;
	struct mock_block *block = mock_block_find(world, space->node, addr);

	if (world->corrupt &&
	    (!block || block->state != MOCK_HELD || block->block_class != block_class))
		return; /* the real one refuses, too */
	CHECK(block && block->state == MOCK_HELD && block->block_class == block_class);
	/* what a failed lane may have shown is retired too, by its owner */
	CHECK(world->corrupt || block->shown || block->owner == op->worker->client->index);
	block->state = MOCK_RETIRED;
	block->retired = op->worker->client->epochs[space->node].epoch + 1;
	CHECK(block->retired >= world->node[space->node].epoch);
	PTNI_COUNT(&op->worker->counters, blocks_free);
}

struct mock_block *mock_block_covering(struct mock_node *node, uint64_t addr)
{
	uint64_t first = (uint64_t)node->region + MOCK_BLOCKS_FIRST;

	for (uint64_t at = addr & ~UINT64_C(15); at >= first; at -= 16) {
		uint16_t index = node->block_at[(at - (uint64_t)node->region) / 16];

		if (index)
			return &node->block[index - 1];
	}
	return NULL;
}
