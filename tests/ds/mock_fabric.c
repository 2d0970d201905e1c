/* SPDX-License-Identifier: MIT */
/* World, clients, epochs. */
#include "tests/ds/mock_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct mock_image {
	struct mock_node *node[MOCK_NODES_MAX];
	uint8_t *region[MOCK_NODES_MAX];
};

/* --- world --------------------------------------------------------------------------------------- */

struct mock_world *mock_world_new(unsigned node_count)
{
	struct mock_world *world = calloc(1, sizeof(*world));

	assert_non_null(world);
	world->node_count = node_count;
	world->now_ns = 1000000000;
	world->backoff_ns = MOCK_BACKOFF_NS;
	for (unsigned i = 0; i < node_count; i++) {
		struct mock_node *node = &world->node[i];

		node->region = aligned_alloc(4096, MOCK_REGION_BYTES);
		assert_non_null(node->region);
		memset(node->region, 0, MOCK_REGION_BYTES);
		node->bump = MOCK_BLOCKS_FIRST;
		node->epoch = 1;
	}
	return world;
}

void mock_world_free(struct mock_world *world)
{
	mock_land(world, false);
	for (unsigned i = 0; i < MOCK_CLIENTS_MAX; i++)
		if (world->client[i])
			mock_client_free(world->client[i]);
	for (unsigned i = 0; i < world->node_count; i++)
		free(world->node[i].region);
	free(world);
}

static size_t node_state_bytes(const struct mock_node *node)
{
	return offsetof(struct mock_node, block) + node->block_count * sizeof(node->block[0]);
}

struct mock_image *mock_save(const struct mock_world *world)
{
	struct mock_image *image = calloc(1, sizeof(*image));

	assert_non_null(image);
	for (unsigned i = 0; i < world->node_count; i++) {
		const struct mock_node *node = &world->node[i];

		image->node[i] = malloc(sizeof(*node));
		image->region[i] = malloc(node->bump);
		assert_non_null(image->node[i]);
		assert_non_null(image->region[i]);
		memcpy(image->node[i], node, node_state_bytes(node));
		memcpy(image->region[i], node->region, node->bump);
	}
	return image;
}

void mock_restore(struct mock_world *world, const struct mock_image *image)
{
	mock_land(world, false);
	for (unsigned i = 0; i < world->node_count; i++) {
		struct mock_node *node = &world->node[i];
		uint32_t bump = node->bump;

		for (uint32_t b = image->node[i]->block_count; b < node->block_count; b++)
			if (node->block[b].addr)
				node->block_at[(node->block[b].addr - (uint64_t)node->region) / 16] =
					0;
		memcpy(node, image->node[i], node_state_bytes(image->node[i]));
		memcpy(node->region, image->region[i], node->bump);
		memset(node->region + node->bump, 0, bump - node->bump);
	}
	if (world->apart)
		mock_apart_blocks(world);
	for (unsigned i = 0; world->apart && i < MOCK_CLIENTS_MAX; i++)
		if (world->client[i])
			memset(world->node[0].region + mock_apart_first(world->client[i]), 0,
			       world->client[i]->used_bytes);
	world->steps = 0;
}

void mock_image_free(struct mock_image *image)
{
	for (unsigned i = 0; i < MOCK_NODES_MAX; i++) {
		free(image->node[i]);
		free(image->region[i]);
	}
	free(image);
}

struct ptn_client *mock_client_new(struct mock_world *world)
{
	struct ptn_client *client = calloc(1, sizeof(*client));
	unsigned index = 0;

	assert_non_null(client);
	while (world->client[index])
		index++;
	assert_true(index < MOCK_CLIENTS_MAX);
	world->client[index] = client;
	client->world = world;
	client->index = index;
	for (unsigned i = 0; i < world->node_count; i++) {
		struct mock_node *node = &world->node[i];

		client->welcome[i] = (struct ptni_welcome){
			.session = index + 1,
			.region_addr = (uint64_t)node->region,
			.region_len_bytes = MOCK_REGION_BYTES,
		};
		client->extent[i] = (struct ptni_window){
			.addr = (uint64_t)node->region,
			.len_bytes = MOCK_REGION_BYTES,
			.access = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC,
			.node = (uint16_t)i,
		};
		client->chunk[i] = client->extent[i];
		client->chunk[i].access = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	}
	mock_client_reset(client);
	return client;
}

void mock_client_reset(struct ptn_client *client)
{
	client->dead = false;
	client->waits = false;
	client->pinned = 0;
	client->now_ns = client->world->now_ns;
	client->used_bytes = 0;
	client->used_blocks = 0;
	client->observed = 0;
	memset(&client->next, 0, sizeof(client->next));
	for (unsigned i = 0; i < client->world->node_count; i++) {
		const struct mock_node *node = &client->world->node[i];

		client->epochs[i].epoch = node->epoch;
		client->epochs[i].horizon = node->horizon;
		client->epochs[i].reported = node->epoch;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct ptn_worker *worker = &client->worker[i];

		worker->client = client;
		worker->index = i;
		worker->slots = 0;
		worker->large_used = false;
		ptni_rng_seed(&worker->rng, client->index * 2 + i + 1);
		memset(&worker->counters, 0, sizeof(worker->counters));
	}
}

void mock_client_free(struct ptn_client *client)
{
	client->world->client[client->index] = NULL;
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < PTNI_OPS_MAX; k++)
			free(client->worker[i].buffer[k]);
		free(client->worker[i].large);
		free(client->worker[i].delivered);
	}
	for (unsigned i = 0; i < MOCK_NODES_MAX; i++)
		free(client->space[i]);
	free(client);
}

struct ptn_worker *mock_worker(struct ptn_client *client)
{
	return &client->worker[1];
}

void mock_client_kill(struct ptn_client *client)
{
	client->dead = true;
	client->pinned = 0;
}

bool mock_client_dead(const struct ptn_client *client)
{
	return client->dead;
}

bool mock_client_busy(const struct ptn_client *client)
{
	return client->pinned;
}

bool mock_client_waits(const struct ptn_client *client)
{
	return client->waits;
}

struct ptn_counters mock_counters(struct ptn_client *client)
{
	struct ptn_counters counters;

	ptni_counters_snapshot(&client->worker[1].counters, &counters);
	return counters;
}

/* --- epochs and blocks ----------------------------------------------------------------------------- */

static void report(struct ptn_client *client, unsigned node)
{
	struct mock_world *world = client->world;
	bool fibers = world->fibers;
	enum mock_action (*before)(struct mock_world *, struct ptn_client *, void *) =
		world->before;

	client->epochs[node].epoch = world->node[node].epoch;
	if (client->pinned)
		return;
	world->fibers = false;
	world->before = NULL;
	if (!client->hook || !client->hook(client->hook_arg, &client->worker[0], node))
		client->epochs[node].reported = client->epochs[node].epoch;
	world->fibers = fibers;
	world->before = before;
}

void mock_block_free(struct mock_node *node, struct mock_block *block)
{
	block->state = MOCK_FREE;
	block->shown = false;
	memset((void *)block->addr, POISON, ptni_block_class_bytes(block->block_class));
}

void mock_epoch(struct mock_world *world)
{
	for (unsigned n = 0; n < world->node_count; n++) {
		struct mock_node *node = &world->node[n];
		uint64_t horizon = node->epoch;

		for (unsigned i = 0; i < MOCK_CLIENTS_MAX; i++) {
			struct ptn_client *client = world->client[i];

			if (!client || client->dead)
				continue;
			report(client, n);
			if (client->epochs[n].reported < horizon)
				horizon = client->epochs[n].reported;
		}
		node->horizon = horizon;
		if (horizon == node->epoch)
			node->epoch++;
		for (unsigned i = 0; i < MOCK_CLIENTS_MAX; i++)
			if (world->client[i])
				world->client[i]->epochs[n].horizon = horizon;
		for (uint32_t i = 0; i < node->block_count; i++)
			if (node->block[i].state == MOCK_RETIRED &&
			    horizon > node->block[i].retired) {
				CHECK(!mock_block_late(world, &node->block[i]));
				mock_block_free(node, &node->block[i]);
			}
	}
}

struct mock_block *mock_block_find(struct mock_world *world, unsigned n, uint64_t addr)
{
	struct mock_node *node = &world->node[n];
	uint64_t offset = addr - (uint64_t)node->region;

	if (offset >= MOCK_REGION_BYTES || offset % 16 || !node->block_at[offset / 16])
		return NULL;
	return &node->block[node->block_at[offset / 16] - 1];
}

unsigned mock_blocks_held(const struct mock_world *world, unsigned node)
{
	unsigned held = 0;

	for (uint32_t i = 0; i < world->node[node].block_count; i++)
		held += world->node[node].block[i].state == MOCK_HELD;
	return held;
}

/* Blocks that are asked about together: of one class. */
struct mock_ask {
	unsigned n, count;
	struct mock_block *block[PTNI_SCAN_MAX];
};

static void ask(struct mock_world *world, struct ptn_client *adopter, struct mock_ask *ask)
{
	_Alignas(16) static uint8_t prefix[PTNI_SCAN_MAX][2048];
	struct ptni_space *space = adopter->space[ask->n];
	size_t bytes = ptni_block_class_bytes(ask->block[0]->block_class);
	struct ptni_scan scan[PTNI_SCAN_MAX];
	struct ptni_op op;

	bytes = bytes < sizeof(prefix[0]) ? bytes : sizeof(prefix[0]);
	for (unsigned i = 0; i < ask->count; i++) {
		memcpy(prefix[i], (void *)ask->block[i]->addr, bytes);
		scan[i].addr = ask->block[i]->addr;
		scan[i].prefix = prefix[i];
	}
	assert_int_equal(ptni_op_begin(mock_worker(adopter), &op), 0);
	if (space->scan)
		assert_int_equal(space->scan(space->live_arg, &op, ask->block[0]->block_class,
					     bytes, false, scan, ask->count),
				 0);
	for (unsigned i = 0; i < ask->count && !space->scan; i++)
		scan[i].result = space->live(space->live_arg, &op, scan[i].addr,
					     ask->block[i]->block_class, prefix[i], bytes);
	ptni_op_end(&op);
	for (unsigned i = 0; i < ask->count; i++) {
		if (scan[i].result == -EAGAIN)
			continue; /* later */
		CHECK(scan[i].result >= 0);
		ask->block[i]->owner = (uint8_t)adopter->index;
		if (scan[i].result)
			continue;
		ask->block[i]->state = MOCK_RETIRED;
		ask->block[i]->retired = world->node[ask->n].epoch + 1;
	}
	ask->count = 0;
}

void mock_adopt(struct mock_world *world, struct ptn_client *adopter)
{
	for (unsigned n = 0; n < world->node_count; n++) {
		struct mock_node *node = &world->node[n];
		struct mock_ask together = { n, 0, { NULL } };

		for (uint32_t i = 0; i < node->block_count; i++) {
			struct mock_block *block = &node->block[i];
			struct ptn_client *owner = world->client[block->owner];

			if (block->state != MOCK_HELD || (owner && !owner->dead))
				continue;
			if (together.count == PTNI_SCAN_MAX ||
			    (together.count &&
			     together.block[0]->block_class != block->block_class))
				ask(world, adopter, &together);
			together.block[together.count++] = block;
		}
		if (together.count)
			ask(world, adopter, &together);
	}
}

/* --- the rest ------------------------------------------------------------------------------------------ */

unsigned ptni_client_node_count(const struct ptn_client *client)
{
	return client->world->node_count;
}

const struct ptni_welcome *ptni_client_node(const struct ptn_client *client, unsigned node)
{
	return &client->welcome[node];
}

int ptni_client_node_error(const struct ptn_client *client, unsigned node)
{
	return 0;
}

const _Atomic uint64_t *ptni_client_session_deadline(const struct ptn_client *client, unsigned node)
{
	static const _Atomic uint64_t never = UINT64_MAX;

	return &never;
}

struct ptn_client *ptni_worker_client(struct ptn_worker *worker)
{
	return worker->client;
}

uint32_t ptni_worker_index(const struct ptn_worker *worker)
{
	return worker->index;
}

struct ptni_counters *ptni_worker_counters(struct ptn_worker *worker)
{
	return &worker->counters;
}

struct ptni_rng *ptni_worker_rng(struct ptn_worker *worker)
{
	return &worker->rng;
}

uint64_t ptni_worker_now_ns(struct ptn_worker *worker)
{
	return *mock_clock(worker->client);
}

int ptni_worker_fail(struct ptn_worker *worker, int code, const char *where)
{
	return code;
}

void ptni_client_epochs(const struct ptn_client *client, unsigned node,
			struct ptni_epochs *epochs_out)
{
	*epochs_out = client->epochs[node];
}

int ptni_client_hook_add(struct ptn_client *client,
			 int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg)
{
	CHECK(!client->hook);
	client->hook = hook;
	client->hook_arg = arg;
	return 0;
}

void ptni_client_hook_remove(struct ptn_client *client,
			     int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg)
{
	client->hook = NULL;
}
