/* SPDX-License-Identifier: MIT */
/* The worker's side of the mock: operations and batches. */
#include "tests/ds/mock_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- operations ------------------------------------------------------------------------------------- */

int ptni_op_begin(struct ptn_worker *worker, struct ptni_op *op)
{
	unsigned slot = 0;

	while (slot < PTNI_OPS_MAX && worker->slots >> slot & 1)
		slot++;
	if (slot == PTNI_OPS_MAX)
		return -EAGAIN;
	worker->slots |= UINT64_C(1) << slot;
	worker->client->pinned++;
	if (!worker->buffer[slot]) {
		worker->buffer[slot] = aligned_alloc(64, PTNI_OP_BUFFER);
		memset(worker->buffer[slot], 0, PTNI_OP_BUFFER);
	}
	if (worker->client->world->apart)
		mock_apart_begin(worker);
	worker->buffer_used = 0;
	memset(op, 0, sizeof(*op));
	op->worker = worker;
	op->slot = (uint16_t)slot;
	op->start_ns = *mock_clock(worker->client);
	op->deadline_ns = op->start_ns + (worker->client->world->op_timeout_ns ?
						  worker->client->world->op_timeout_ns :
						  OP_TIMEOUT_NS);
	op->buffer = worker->buffer[slot];
	op->buffer_len_bytes = PTNI_OP_BUFFER;
	return 0;
}

void ptni_op_end(struct ptni_op *op)
{
	struct ptn_worker *worker = op->worker;

	CHECK(worker->slots >> op->slot & 1);
	worker->slots &= ~(UINT64_C(1) << op->slot);
	if (op->buffer == worker->large)
		worker->large_used = false;
	worker->client->pinned--;
}

void *ptni_op_buffer(struct ptni_op *op, size_t len_bytes)
{
	struct ptn_worker *worker = op->worker;
	void *buffer;

	len_bytes = (len_bytes + 15) & ~(size_t)15;
	if (op->buffer_used + len_bytes > op->buffer_len_bytes) {
		CHECK(!worker->client->world->apart); /* its bytes would have to be hashed */
		if (worker->large_used || len_bytes > PTNI_OP_BUFFER_LARGE)
			return NULL;
		if (!worker->large)
			worker->large = aligned_alloc(64, PTNI_OP_BUFFER_LARGE);
		worker->large_used = true;
		op->buffer = worker->large;
		op->buffer_used = 0;
		op->buffer_len_bytes = PTNI_OP_BUFFER_LARGE;
	}
	buffer = op->buffer + op->buffer_used;
	op->buffer_used += len_bytes;
	if (op->buffer_used > worker->buffer_used)
		worker->buffer_used = op->buffer_used;
	return buffer;
}

enum mock_action mock_step(struct ptn_client *client, struct mock_verb next)
{
	struct mock_world *world = client->world;
	enum mock_action action = MOCK_GO;

	client->next = next;
	if (world->fibers && ptni_fiber_current())
		ptni_fiber_suspend();
	if (world->before)
		action = world->before(world, client, world->before_arg);
	if (action == MOCK_DIE) {
		mock_client_kill(client);
		for (;;)
			ptni_fiber_suspend();
	}
	if (!world->apart)
		world->now_ns += MOCK_VERB_NS;
	world->steps++;
	return action;
}

int ptni_op_backoff(struct ptni_op *op, unsigned attempt)
{
	struct mock_world *world = op->worker->client->world;

	if (world->fibers && ptni_fiber_current()) {
		op->worker->client->waits = true;
		ptni_fiber_suspend();
		op->worker->client->waits = false;
	}
	*mock_clock(op->worker->client) += world->backoff_ns;
	if (world->apart)
		mock_apart_backoff(op->worker);
	PTNI_COUNT(&op->worker->counters, backoffs);
	if (*mock_clock(op->worker->client) >= op->deadline_ns)
		return -ETIMEDOUT;
	return attempt >= BACKOFF_ATTEMPTS ? PTN_E_CONFLICT : 0;
}

/* --- batches ----------------------------------------------------------------------------------------- */

void ptni_batch_init(struct ptni_batch *batch, struct ptni_op *op, unsigned node)
{
	batch->op = op;
	batch->node = (uint16_t)node;
	batch->count = 0;
	batch->atomics = 0;
	batch->done = 0;
	batch->in_doubt = false;
	batch->bytes_read = 0;
	batch->bytes_written = 0;
}

static struct ibv_send_wr *add(struct ptni_batch *batch, const struct ptni_window *window,
			       uint64_t addr, const void *local, uint32_t len_bytes,
			       enum ibv_wr_opcode opcode)
{
	struct ibv_send_wr *wr = &batch->wr[batch->count];

	CHECK(batch->count < PTNI_BATCH_MAX);
	CHECK(window->node == batch->node);
	CHECK(addr >= window->addr && addr + len_bytes <= window->addr + window->len_bytes);
	batch->window[batch->count] = window;
	batch->sge[batch->count].addr = (uint64_t)local;
	batch->sge[batch->count].length = len_bytes;
	wr->opcode = opcode;
	wr->wr.rdma.remote_addr = addr;
	batch->count++;
	return wr;
}

void ptni_batch_read(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		     void *local, uint32_t len_bytes)
{
	add(batch, window, addr, local, len_bytes, IBV_WR_RDMA_READ);
	batch->bytes_read += len_bytes;
}

void ptni_batch_write(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		      const void *local, uint32_t len_bytes)
{
	CHECK(window->access & IBV_ACCESS_REMOTE_WRITE);
	add(batch, window, addr, local, len_bytes, IBV_WR_RDMA_WRITE);
	batch->bytes_written += len_bytes;
}

void ptni_batch_cas(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		    uint64_t expected, uint64_t desired, uint64_t *old)
{
	struct ibv_send_wr *wr = add(batch, window, addr, old, 8, IBV_WR_ATOMIC_CMP_AND_SWP);

	CHECK(window->access & IBV_ACCESS_REMOTE_ATOMIC && addr % 8 == 0);
	wr->wr.atomic.remote_addr = addr;
	wr->wr.atomic.compare_add = expected;
	wr->wr.atomic.swap = desired;
	batch->atomics++;
	batch->bytes_read += 8;
	batch->bytes_written += 8;
}

void ptni_batch_faa(struct ptni_batch *batch, const struct ptni_window *window, uint64_t addr,
		    uint64_t add_value, uint64_t *old)
{
	struct ibv_send_wr *wr = add(batch, window, addr, old, 8, IBV_WR_ATOMIC_FETCH_AND_ADD);

	wr->wr.atomic.remote_addr = addr;
	wr->wr.atomic.compare_add = add_value;
	batch->atomics++;
	batch->bytes_read += 8;
	batch->bytes_written += 8;
}

static void count_batch(struct ptni_batch *batch)
{
	struct ptni_counters *counters = &batch->op->worker->counters;

	PTNI_COUNT(counters, round_trips);
	PTNI_COUNT(counters, doorbells);
	for (unsigned i = 0; i < batch->count; i++) {
		switch (batch->wr[i].opcode) {
		case IBV_WR_RDMA_READ:
			PTNI_COUNT(counters, verbs_read);
			break;
		case IBV_WR_RDMA_WRITE:
			PTNI_COUNT(counters, verbs_write);
			break;
		case IBV_WR_ATOMIC_CMP_AND_SWP:
			PTNI_COUNT(counters, verbs_cas);
			break;
		default:
			PTNI_COUNT(counters, verbs_faa);
		}
	}
	PTNI_COUNT_ADD(counters, bytes_read, batch->bytes_read);
	PTNI_COUNT_ADD(counters, bytes_written, batch->bytes_written);
}

static void check_word(struct mock_world *world, unsigned n, uint64_t addr)
{
	struct mock_node *node = &world->node[n];
	struct mock_block *block;

	if (world->corrupt || addr - (uint64_t)node->region < MOCK_BLOCKS_FIRST)
		return;
	block = mock_block_covering(node, addr);
	CHECK(block && block->state != MOCK_FREE);
	CHECK(block->shown); /* words of structures that were published only */
}

/* A sibling is published with the child that names it. */
static void show_sibling(struct mock_world *world, unsigned n, uint64_t addr)
{
	struct mock_block *block = mock_block_find(world, n, addr);
	uint64_t offset_mask = (UINT64_C(1) << 36) - 1;

	if (block && block->shown && ((uint64_t *)addr)[0] >> 32 == 0x53554800) {
		uint64_t sibling = ((uint64_t *)addr)[2] & offset_mask;
		struct mock_block *other =
			mock_block_find(world, n, (uint64_t)world->node[n].region + (sibling << 4));

		if (other && sibling)
			other->shown = true;
	}
}

/* Words that name blocks, not headers of buckets nor a subtable's split word. */
static bool may_point(struct mock_world *world, unsigned n, uint64_t addr)
{
	struct mock_block *block = mock_block_covering(&world->node[n], addr);
	uint64_t index;

	if (!block || *(uint64_t *)block->addr >> 32 != 0x53554800)
		return true;
	index = (addr - block->addr) / 8;
	return index == 3 || (index >= 8 && index % 8);
}

static void touch(struct mock_world *world, uint64_t addr, uint32_t len_bytes, bool wrote)
{
	world->touch = (struct mock_touch){ addr, len_bytes, wrote };
}

static void observe(struct ptn_client *client, const void *bytes, uint32_t len_bytes)
{
	if (client->world->apart)
		mock_apart_deliver(client, bytes, len_bytes);
}

static void execute_cas(struct ptn_client *client, unsigned n, struct ibv_send_wr *wr,
			uint64_t *old)
{
	struct mock_world *world = client->world;
	_Atomic uint64_t *word = (_Atomic uint64_t *)wr->wr.atomic.remote_addr;
	uint64_t offset_mask = (UINT64_C(1) << 36) - 1;
	uint64_t desired = wr->wr.atomic.swap;

	check_word(world, n, wr->wr.atomic.remote_addr);
	*old = atomic_load(word);
	observe(client, old, 8);
	touch(world, wr->wr.atomic.remote_addr, 8, *old == wr->wr.atomic.compare_add);
	if (*old != wr->wr.atomic.compare_add)
		return;
	atomic_store(word, desired);
	if (!may_point(world, n, wr->wr.atomic.remote_addr))
		return;
	/* what it points at is published; an entry says on which node */
	for (unsigned i = 0; i < world->node_count; i++) {
		uint64_t base = (uint64_t)world->node[i].region;
		struct mock_block *block =
			mock_block_find(world, i, base + ((desired & offset_mask) << 4));

		if (!block || block->state != MOCK_HELD || (i != n && n != 0))
			continue;
		block->shown = true;
		show_sibling(world, i, block->addr);
	}
}

static void execute_write(struct mock_world *world, struct ptn_client *client, unsigned n,
			  struct ibv_send_wr *wr, struct ibv_sge *sge)
{
	struct mock_block *block = mock_block_covering(&world->node[n], wr->wr.rdma.remote_addr);

	CHECK(block && block->state == MOCK_HELD && block->owner == client->index);
	CHECK(wr->wr.rdma.remote_addr + sge->length <=
	      block->addr + ptni_block_class_bytes(block->block_class));
	if (block->shown && !world->corrupt) /* repeating a lost batch writes the same again */
		CHECK(!memcmp((void *)wr->wr.rdma.remote_addr, (void *)sge->addr, sge->length));
	memcpy((void *)wr->wr.rdma.remote_addr, (void *)sge->addr, sge->length);
	touch(world, wr->wr.rdma.remote_addr, sge->length, true);
}

static void execute_read(struct mock_world *world, struct ptn_client *client, uint64_t addr,
			 struct ibv_sge *sge)
{
	uint32_t at = 0;

	for (; world->sliced && at + 8 < sge->length; at += 8) {
		memcpy((uint8_t *)sge->addr + at, (uint8_t *)addr + at, 8);
		touch(world, addr + at, 8, false);
		(void)mock_step(client, (struct mock_verb){ IBV_WR_RDMA_READ, 8, addr + at + 8 });
	}
	memcpy((uint8_t *)sge->addr + at, (uint8_t *)addr + at, sge->length - at);
	touch(world, addr + at, sge->length - at, false);
	observe(client, (void *)sge->addr, sge->length);
}

static void execute(struct mock_world *world, struct ptn_client *client, unsigned node,
		    struct ibv_send_wr *wr, struct ibv_sge *sge)
{
	uint64_t addr = wr->wr.rdma.remote_addr;

	switch (wr->opcode) {
	case IBV_WR_RDMA_READ:
		execute_read(world, client, addr, sge);
		break;
	case IBV_WR_RDMA_WRITE:
		execute_write(world, client, node, wr, sge);
		break;
	case IBV_WR_ATOMIC_CMP_AND_SWP:
		execute_cas(client, node, wr, (uint64_t *)sge->addr);
		break;
	default:
		check_word(world, node, addr);
		touch(world, addr, 8, true);
		*(uint64_t *)sge->addr =
			atomic_fetch_add((_Atomic uint64_t *)addr, wr->wr.atomic.compare_add);
		observe(client, (void *)sge->addr, 8);
	}
}

/* --- given up, and on their way still ------------------------------------------------------------- */

/* The block that a CAS would publish: a slot's, or the child that a successor names. */
static const struct mock_block *named(struct mock_world *world, unsigned n, uint64_t addr,
				      uint64_t desired)
{
	uint64_t offset = (desired & ((UINT64_C(1) << 36) - 1)) << 4;
	const struct mock_block *in = mock_block_covering(&world->node[n], addr);

	if (!offset || desired >> 63 || !in || !may_point(world, n, addr) ||
	    *(uint64_t *)in->addr >> 32 != 0x53554800)
		return NULL;
	return mock_block_find(world, n, (uint64_t)world->node[n].region + offset);
}

static void give_up(struct ptni_batch *batch, unsigned first)
{
	struct ptn_client *client = batch->op->worker->client;
	struct mock_world *world = client->world;

	for (unsigned i = first; i < batch->count; i++) {
		struct mock_late *late = &world->late[world->late_count];

		if (batch->wr[i].opcode == IBV_WR_RDMA_READ)
			continue;
		CHECK(world->late_count < MOCK_LATE_MAX);
		world->late_count++;
		*late = (struct mock_late){ client,
					    batch->node,
					    batch->wr[i],
					    batch->sge[i],
					    malloc(batch->sge[i].length),
					    NULL };
		memcpy(late->bytes, (void *)batch->sge[i].addr, batch->sge[i].length);
		late->sge.addr = (uint64_t)late->bytes;
		client->pinned++; /* no report before that */
		if (late->wr.opcode == IBV_WR_ATOMIC_CMP_AND_SWP)
			late->names = named(world, batch->node, late->wr.wr.atomic.remote_addr,
					    late->wr.wr.atomic.swap);
	}
}

bool mock_block_late(const struct mock_world *world, const struct mock_block *block)
{
	uint64_t bytes = ptni_block_class_bytes(block->block_class);

	for (unsigned i = 0; i < world->late_count; i++)
		if (world->late[i].names == block ||
		    world->late[i].wr.wr.rdma.remote_addr - block->addr < bytes)
			return true;
	return false;
}

void mock_land(struct mock_world *world, bool lands)
{
	for (unsigned i = 0; i < world->late_count; i++) {
		struct mock_late *late = &world->late[i];

		if (lands)
			execute(world, late->client, late->node, &late->wr, &late->sge);
		if (!late->client->dead)
			late->client->pinned--;
		free(late->bytes);
	}
	world->late_count = 0;
}

static struct mock_verb verb_of(const struct mock_world *world, const struct ptni_batch *batch,
				unsigned i)
{
	const struct ibv_send_wr *wr = &batch->wr[i];
	uint32_t len_bytes = batch->sge[i].length;

	if (world->sliced && wr->opcode == IBV_WR_RDMA_READ && len_bytes > 8)
		len_bytes = 8;
	return (struct mock_verb){ wr->opcode, len_bytes, wr->wr.rdma.remote_addr };
}

/* What was posted is of no consequence any more; let it not tell one state from another. */
static void wipe(struct ptni_batch *batch)
{
	memset(batch->wr, 0, batch->count * sizeof(batch->wr[0]));
	memset(batch->sge, 0, batch->count * sizeof(batch->sge[0]));
	memset(batch->window, 0, batch->count * sizeof(batch->window[0]));
}

int ptni_batch_run(struct ptni_batch *batch)
{
	struct ptn_client *client = batch->op->worker->client;

	CHECK(batch->count);
	CHECK(!client->dead);
	count_batch(batch);
	for (unsigned i = 0; i < batch->count; i++) {
		enum mock_action action = mock_step(client, verb_of(client->world, batch, i));

		if (action == MOCK_BREAK_BEFORE && batch->atomics) {
			batch->done = (uint16_t)i;
			return PTN_E_OUTCOME_UNKNOWN;
		}
		if (action == MOCK_GIVE_UP) {
			batch->done = (uint16_t)i;
			give_up(batch, i);
			return -ETIMEDOUT;
		}
		execute(client->world, client, batch->node, &batch->wr[i], &batch->sge[i]);
		if (action == MOCK_BREAK_AFTER && batch->atomics) {
			batch->done = (uint16_t)i;
			return PTN_E_OUTCOME_UNKNOWN;
		}
		batch->done = (uint16_t)(i + 1);
	}
	if (client->world->apart)
		wipe(batch);
	return 0;
}
