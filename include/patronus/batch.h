/* SPDX-License-Identifier: MIT */
/*
 * Many accesses to leased memory at once: one doorbell, one round trip, in order; waited for, or told later.
 *
 *   struct ptn_memory_op ops[2] = {
 *           { .memory = m, .verb = PTN_VERB_WRITE, .offset = 64, .buffer = block, .len_bytes = 100 },
 *           { .memory = m, .verb = PTN_VERB_CAS, .offset = 0, .expected = 0, .operand = 64 } };
 *
 *   ret = ptn_memory_batch(worker, ops, 2);                    waits: the block is there before the word changes
 *   ret = ptn_memory_submit(worker, ops, 2, 4711);             does not: ptn_memory_poll tells {4711, status}
 *
 * Batches that were submitted run side by side and complete in any order. All calls for a worker are made
 * by the thread that uses it, its synchronous calls too; those do not wait for what was submitted.
 */
#ifndef PATRONUS_BATCH_H
#define PATRONUS_BATCH_H

#include <patronus/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ptn_verb {
	PTN_VERB_READ = 1,
	PTN_VERB_WRITE,
	PTN_VERB_CAS,
	PTN_VERB_FAA
};

enum {
	PTN_BATCH_MAX = 64, /* accesses of a batch */
	PTN_BATCH_BYTES = 64 * 1024, /* of a batch: lengths rounded up to 16; an atomic counts 16 */
	PTN_SUBMIT_MAX = 48 /* batches of a worker that are submitted and not yet polled */
};

struct ptn_memory_op {
	struct ptn_memory *memory; /* of the worker; all of a batch on one node */
	uint32_t verb; /* enum ptn_verb */
	int status; /* out: 0 it was executed; else what the batch returned */
	uint64_t offset; /* into the memory; CAS, FAA: a multiple of 8 */
	void *buffer; /* READ: filled; WRITE: read from, not changed; CAS, FAA: unused */
	size_t len_bytes; /* READ, WRITE */
	uint64_t expected; /* CAS */
	uint64_t operand; /* CAS: the new word; FAA: what to add */
	uint64_t old; /* out: the word before */
};

/*
 * Run `count` (1 to PTN_BATCH_MAX) accesses in the order of the array, with one doorbell and, when nothing goes
 * wrong, in one round trip. A later one sees what an earlier one of the batch did to the same memory.
 * Not atomic as a whole: others may see any part of it.
 *
 * 0: all were executed. Else those with status 0 were, up to the first that was not; the rest carries the
 * batch's error:
 *   PTN_E_LEASE_EXPIRED, PTN_E_LEASE_REVOKED, -EACCES   none of the rest was executed
 *   PTN_E_OUTCOME_UNKNOWN  the first of the rest may have been executed or not; nothing can land any more
 *   -ETIMEDOUT, PTN_E_LANE_BROKEN, PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN   any of the rest may have been
 *                          executed, and may still land
 *   -EINVAL (another worker's or node's memory, an atomic that is not aligned, a verb that is none, too
 *   many), -E2BIG (too many bytes), -ERANGE, -EACCES (a right that was not asked for), -EAGAIN: nothing was tried
 */
PTN_API int ptn_memory_batch(struct ptn_worker *worker, struct ptn_memory_op *ops, size_t count);

/*
 * The same without waiting: posts the batch and returns. `ops`, buffers and memories stay as they are, the
 * leases unreleased, until the completion was polled. To give up what is under way: release the memories,
 * do not poll again, and close the worker; what was executed is then unknown, and nothing lands once the
 * worker is closed. `user_data` comes back with the completion.
 * Errors: PTN_E_BUSY: PTN_SUBMIT_MAX are submitted, poll first; -EINVAL, -E2BIG, -ERANGE, -EACCES as above,
 * -ENOMEM at the first one of a worker. After an error nothing was submitted.
 * No memory is allocated and no system call is made but for the first one of a worker.
 */
PTN_API int ptn_memory_submit(struct ptn_worker *worker, struct ptn_memory_op *ops, size_t count,
			      uint64_t user_data);

struct ptn_completion {
	uint64_t user_data;
	struct ptn_memory_op *ops;
	size_t count;
	int status; /* what ptn_memory_batch would have returned */
	int reserved;
};

/*
 * Take up to `capacity` completions; returns how many, 0 when none is there. Never waits. It is also what
 * drives submitted batches on: lanes are recovered and timeouts noticed while it is called, at least every
 * few milliseconds or when the descriptor says so.
 */
PTN_API int ptn_memory_poll(struct ptn_worker *worker, struct ptn_completion *completions,
			    size_t capacity);

/*
 * To sleep instead of polling: poll until it returns 0, arm, and if that returned 0 sleep in poll(2) on the
 * descriptor for POLLIN, for not more than a few milliseconds while something is submitted; then poll
 * again. ptn_memory_arm returns 1 when something may be there already: poll again. The descriptor is the
 * worker's, for reading readiness only, and stays the same until the worker is closed.
 */
PTN_API int ptn_memory_fd(struct ptn_worker *worker);
PTN_API int ptn_memory_arm(struct ptn_worker *worker);

#ifdef __cplusplus
}
#endif
#endif
