/* SPDX-License-Identifier: MIT */
/*
 * Operations: what a get or put holds while it runs.
 *
 * Data path: everything but the moment after a lane broke, when op_begin has its queue pair reset.
 */
#include "core/client.h"

#include <errno.h>

enum {
	BUFFER_ALIGN = 16,
	BACKOFF_BASE_NS = 500,
	BACKOFF_DOUBLINGS = 8, /* 128 us at most */
	BACKOFF_ATTEMPTS = 256,
};

/*
 * The pin is what the keeper waits for (epoch.c). The plain store suffices where the keeper can make
 * every thread of the process pass a barrier before it looks.
 */
static void pin(struct ptn_worker *worker, struct ptni_slot *slot)
{
	uint64_t epoch = atomic_load_explicit(&worker->client->epoch_local, memory_order_relaxed);

	if (__builtin_expect(!worker->pin_fenced, 1)) {
		atomic_store_explicit(&slot->pin, epoch, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		(void)atomic_exchange_explicit(&slot->pin, epoch, memory_order_acq_rel);
	}
}

int ptni_op_begin(struct ptn_worker *worker, struct ptni_op *op)
{
	int error = atomic_load_explicit(&worker->client->error, memory_order_relaxed);
	unsigned slot;

	if (__builtin_expect(atomic_load_explicit(&worker->chores, memory_order_relaxed), 0))
		ptni_worker_chores(worker);
	if (__builtin_expect(error || !worker->slots_free, 0))
		return error ? ptni_worker_fail(worker, error, "beginning an operation") : -EAGAIN;
	slot = (unsigned)__builtin_ctzll(worker->slots_free);
	worker->slots_free &= worker->slots_free - 1;
	pin(worker, &worker->slot[slot]);
	op->worker = worker;
	op->start_ns = ptni_worker_clock(worker);
	op->deadline_ns = op->start_ns + worker->op_timeout_ns;
	op->buffer = worker->memory + (size_t)slot * PTNI_OP_BUFFER;
	op->buffer_used = 0;
	op->buffer_len_bytes = PTNI_OP_BUFFER;
	op->slot = (uint16_t)slot;
	op->time_fresh = true;
	op->waits = worker->waits;
	return 0;
}

void ptni_op_end(struct ptni_op *op)
{
	struct ptn_worker *worker = op->worker;

	if (__builtin_expect(worker->large_slot == op->slot, 0))
		worker->large_slot = -1;
	atomic_store_explicit(&worker->slot[op->slot].pin, 0, memory_order_release);
	worker->slots_free |= UINT64_C(1) << op->slot;
}

void ptni_op_unpin(struct ptni_op *op)
{
	atomic_store_explicit(&op->worker->slot[op->slot].pin, 0, memory_order_release);
}

/* What was handed out of the small buffer stays valid: the large one comes in addition. */
static void *large_buffer(struct ptni_op *op, size_t len_bytes)
{
	struct ptn_worker *worker = op->worker;

	if (worker->large_slot >= 0 || len_bytes > PTNI_OP_BUFFER_LARGE)
		return NULL;
	worker->large_slot = op->slot;
	op->buffer = worker->large;
	op->buffer_used = len_bytes;
	op->buffer_len_bytes = PTNI_OP_BUFFER_LARGE;
	return op->buffer;
}

void *ptni_op_buffer(struct ptni_op *op, size_t len_bytes)
{
	size_t start = op->buffer_used;

	if (len_bytes > PTNI_OP_BUFFER_LARGE)
		return NULL;
	len_bytes = (len_bytes + BUFFER_ALIGN - 1) & ~(size_t)(BUFFER_ALIGN - 1);
	if (__builtin_expect(len_bytes > op->buffer_len_bytes - start, 0))
		return large_buffer(op, len_bytes);
	op->buffer_used = start + len_bytes;
	return op->buffer + start;
}

int ptni_op_backoff(struct ptni_op *op, unsigned attempt)
{
	struct ptn_worker *worker = op->worker;
	unsigned doublings = attempt < BACKOFF_DOUBLINGS ? attempt : BACKOFF_DOUBLINGS;
	uint64_t delay_ns = ptni_rng_below(&worker->rng, (uint64_t)BACKOFF_BASE_NS << doublings);
	uint64_t now_ns = ptni_worker_clock(worker);
	struct ptni_wait wait;

	if (now_ns >= op->deadline_ns)
		return ptni_worker_fail(worker, -ETIMEDOUT, "backing off");
	if (attempt >= BACKOFF_ATTEMPTS)
		return ptni_worker_fail(worker, PTN_E_CONFLICT, "backing off");
	PTNI_COUNT(worker->counters, backoffs);
	PTNI_COUNT_ADD(worker->counters, backoff_ns, delay_ns);
	ptni_wait_begin(&wait, worker, now_ns + delay_ns);
	while (!ptni_wait_turn(&wait))
		;
	op->time_fresh = false;
	return 0;
}
