/* SPDX-License-Identifier: MIT */
/*
 * Submitted batches of a worker.
 *
 *   free ── submit ──► a fiber runs it ──► done, oldest first ── poll ──► free
 *
 * 1. Each is told once. At most PTN_SUBMIT_MAX are not free, so that the worker's synchronous operations
 *    always find a slot.
 * 2. A batch that is under way does not pin the reclamation epoch: leased memory is not reclaimed by
 *    epochs, and a program that polls late must not have its session fenced for it.
 * 3. What is under way when the worker closes is never resumed.
 */
#include "alloc/memory_async.h"

#include <patronus/batch.h>
#include <patronus/error.h>

#include <errno.h>
#include <stdlib.h>

static_assert((int)PTN_SUBMIT_MAX < (int)PTNI_OPS_MAX, "some are left for who waits");

struct async;

struct submitted {
	struct async *async;
	struct ptn_completion completion;
	struct submitted *next; /* free, or done */
};

struct async {
	struct ptn_worker *worker;
	struct submitted *free;
	struct submitted *done, **done_end;
	struct submitted table[PTN_SUBMIT_MAX];
};

static const char key; /* of the attachment */

static int async_get(struct ptn_worker *worker, struct async **async_out)
{
	struct async *async = ptni_worker_attachment(worker, &key);
	int ret;

	if (!async) {
		async = calloc(1, sizeof(*async));
		if (!async)
			return -ENOMEM;
		async->worker = worker;
		async->done_end = &async->done;
		for (unsigned i = 0; i < PTN_SUBMIT_MAX; i++) {
			async->table[i].async = async;
			async->table[i].next = async->free;
			async->free = &async->table[i];
		}
		ret = ptni_worker_attach(worker, &key, async, free);
		if (ret) {
			free(async);
			return ret;
		}
	}
	*async_out = async;
	return 0;
}

static void submitted_main(void *arg)
{
	struct submitted *submitted = arg;
	struct ptn_completion *completion = &submitted->completion;
	struct async *async = submitted->async;
	struct ptni_op op;

	completion->status = ptni_op_begin(async->worker, &op);
	if (completion->status) {
		for (size_t i = 0; i < completion->count; i++)
			completion->ops[i].status = completion->status;
	} else {
		ptni_op_unpin(&op);
		completion->status = ptni_memory_batch_run(&op, completion->ops, completion->count);
		ptni_op_end(&op);
	}
	submitted->next = NULL;
	*async->done_end = submitted;
	async->done_end = &submitted->next;
}

int ptn_memory_submit(struct ptn_worker *worker, struct ptn_memory_op *ops, size_t count,
		      uint64_t user_data)
{
	struct submitted *submitted;
	struct async *async;
	int ret = ptni_memory_batch_check(worker, ops, count);

	if (!ret)
		ret = async_get(worker, &async);
	if (ret)
		return ret;
	submitted = async->free;
	if (!submitted)
		return PTN_E_BUSY;
	submitted->completion =
		(struct ptn_completion){ .user_data = user_data, .ops = ops, .count = count };
	async->free = submitted->next;
	ret = ptni_worker_start(worker, submitted_main, submitted);
	if (ret) {
		submitted->next = async->free;
		async->free = submitted;
	}
	return ret == -EAGAIN ? PTN_E_BUSY : ret;
}

int ptn_memory_poll(struct ptn_worker *worker, struct ptn_completion *completions, size_t capacity)
{
	struct async *async = worker ? ptni_worker_attachment(worker, &key) : NULL;
	size_t count = 0;

	if (!worker || (!completions && capacity))
		return -EINVAL;
	if (!async)
		return 0;
	(void)ptni_worker_run(worker);
	while (count < capacity && async->done) {
		struct submitted *submitted = async->done;

		completions[count++] = submitted->completion;
		async->done = submitted->next;
		if (!async->done)
			async->done_end = &async->done;
		submitted->next = async->free;
		async->free = submitted;
	}
	return (int)count;
}

int ptn_memory_fd(struct ptn_worker *worker)
{
	return worker ? ptni_worker_fd(worker) : -EINVAL;
}

int ptn_memory_arm(struct ptn_worker *worker)
{
	const struct async *async = worker ? ptni_worker_attachment(worker, &key) : NULL;

	if (!worker)
		return -EINVAL;
	return async && async->done ? 1 : ptni_worker_arm(worker);
}
