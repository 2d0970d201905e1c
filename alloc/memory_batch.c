/* SPDX-License-Identifier: MIT */
/*
 * Batches of accesses to leased memory, and the same submitted: each submitted batch is a fiber of the worker
 * that runs the synchronous code, so there is one implementation.
 *
 * Data path: all of it.
 *
 * The client dies or sleeps: as for the single accesses (memory.c); of a batch any prefix was executed.
 */
#include "alloc/memory_async.h"

#include <patronus/batch.h>
#include <patronus/error.h>

#include <errno.h>
#include <string.h>

static_assert((int)PTN_BATCH_MAX == (int)PTNI_BATCH_MAX, "one doorbell");
static_assert((int)PTN_BATCH_BYTES == (int)PTNI_OP_BUFFER, "bytes of a batch");

enum {
	ALIGN = 16 /* of what ptni_op_buffer gives */
};

static bool atomic_verb(const struct ptn_memory_op *op)
{
	return op->verb == PTN_VERB_CAS || op->verb == PTN_VERB_FAA;
}

static size_t length_of(const struct ptn_memory_op *op)
{
	return atomic_verb(op) ? sizeof(uint64_t) : op->len_bytes;
}

static int op_check(struct ptn_worker *worker, const struct ptn_memory_op *op, uint32_t node)
{
	static const unsigned rights[] = { [PTN_VERB_READ] = PTN_READ,
					   [PTN_VERB_WRITE] = PTN_WRITE,
					   [PTN_VERB_CAS] = PTN_ATOMIC,
					   [PTN_VERB_FAA] = PTN_ATOMIC };

	if (!op->memory || op->memory->worker != worker || op->memory->node != node ||
	    op->verb < PTN_VERB_READ || op->verb > PTN_VERB_FAA)
		return -EINVAL;
	if (atomic_verb(op) ? (op->memory->addr + op->offset) % sizeof(uint64_t) != 0 :
			      !op->buffer || !op->len_bytes)
		return -EINVAL;
	return ptni_memory_check(op->memory, op->offset, length_of(op), rights[op->verb]);
}

int ptni_memory_batch_check(struct ptn_worker *worker, const struct ptn_memory_op *ops,
			    size_t count)
{
	size_t bytes = 0;

	if (!worker || !ops || !count || count > PTN_BATCH_MAX || !ops[0].memory)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		int ret = op_check(worker, &ops[i], ops[0].memory->node);

		if (ret)
			return ret;
		if (length_of(&ops[i]) > PTN_BATCH_BYTES)
			return -E2BIG;
		bytes += (length_of(&ops[i]) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	}
	return bytes > PTN_BATCH_BYTES ? -E2BIG : 0;
}

static void stage(struct ptni_batch *batch, const struct ptn_memory_op *op, void *local)
{
	const struct ptni_window *window = op->memory->window;
	uint64_t addr = op->memory->addr + op->offset;

	switch (op->verb) {
	case PTN_VERB_READ:
		ptni_batch_read(batch, window, addr, local, (uint32_t)op->len_bytes);
		break;
	case PTN_VERB_WRITE:
		memcpy(local, op->buffer, op->len_bytes);
		ptni_batch_write(batch, window, addr, local, (uint32_t)op->len_bytes);
		break;
	case PTN_VERB_CAS:
		ptni_batch_cas(batch, window, addr, op->expected, op->operand, local);
		break;
	default:
		ptni_batch_faa(batch, window, addr, op->operand, local);
	}
}

static void fetch(struct ptn_memory_op *op, const void *local)
{
	if (op->verb == PTN_VERB_READ)
		memcpy(op->buffer, local, op->len_bytes);
	else if (atomic_verb(op))
		memcpy(&op->old, local, sizeof(op->old));
}

/* The region's own window has no deadline; the lease has, protected or not. */
static int leases_check(struct ptn_worker *worker, const struct ptn_memory_op *ops, size_t count)
{
	uint64_t now_ns = ptni_worker_now_ns(worker);

	for (size_t i = 0; i < count; i++) {
		uint64_t deadline_ns = atomic_load_explicit(&ops[i].memory->lease.deadline_ns,
							    memory_order_acquire);

		if (now_ns >= deadline_ns)
			return ptni_worker_fail(worker, ptni_deadline_error(deadline_ns),
						"using leased memory");
	}
	return 0;
}

int ptni_memory_batch_run(struct ptni_op *op, struct ptn_memory_op *ops, size_t count)
{
	void *local[PTN_BATCH_MAX];
	struct ptni_batch batch;
	int ret;

	ptni_batch_init(&batch, op, ops[0].memory->node);
	for (size_t i = 0; i < count; i++) {
		local[i] = ptni_op_buffer(op, length_of(&ops[i]));
		assert(local[i]);
		stage(&batch, &ops[i], local[i]);
	}
	ret = leases_check(op->worker, ops, count);
	if (!ret)
		ret = ptni_batch_run(&batch);
	for (size_t i = 0; i < count; i++) {
		ops[i].status = ret && i >= batch.done ? ret : 0;
		if (!ops[i].status)
			fetch(&ops[i], local[i]);
	}
	return ret;
}

int ptn_memory_batch(struct ptn_worker *worker, struct ptn_memory_op *ops, size_t count)
{
	struct ptni_op op;
	int ret = ptni_memory_batch_check(worker, ops, count);

	if (!ret)
		ret = ptni_op_begin(worker, &op);
	if (ret) {
		for (size_t i = 0; ops && i < count && count <= PTN_BATCH_MAX; i++)
			ops[i].status = ret;
		return ret;
	}
	ret = ptni_memory_batch_run(&op, ops, count);
	ptni_op_end(&op);
	return ret;
}
