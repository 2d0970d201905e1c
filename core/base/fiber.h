/* SPDX-License-Identifier: MIT */
/*
 * Fibers: functions with stacks of their own that give up the CPU at one place only,
 * ptni_fiber_suspend(), and go on when their owner resumes them.
 *
 *      resumer                         fiber
 *         | ptni_fiber_resume(f) ------> fn(arg)
 *         | <------ ptni_fiber_suspend()   |
 *         | ptni_fiber_resume(f) ------>   |
 *         | <-------------------- return ---  the stack goes back to the pool
 *
 * A pool belongs to one thread at a time, and so do its fibers. All memory is reserved when the pool
 * is opened and touched when first used; create, resume and suspend neither allocate nor enter the
 * kernel. Each stack ends in a guard page: an overflow is a fault at the place, never a silent
 * overwrite. A fiber may create and resume others. Floating-point environment is kept per fiber.
 *
 * In the function of a fiber no C++ exception and no longjmp may leave the fiber's own stack, and a
 * thread-local variable's address must not be kept across a suspend when fibers change threads.
 */
#ifndef PTNI_FIBER_H
#define PTNI_FIBER_H

#include "core/base/sanitizer.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ptni_fiber_pool;

/* What the switch touches; the rest of a fiber is the pool's. Read by this file's functions only. */
struct ptni_fiber {
	void *context; /* where to go on; NULL while it runs */
	void *resumer_context;
	bool returned;
};

typedef void (*ptni_fiber_fn)(void *arg);

enum {
	PTNI_FIBER_STACK_DEFAULT_BYTES = 64 * 1024,
	PTNI_FIBER_STACK_MIN_BYTES = 16 * 1024,
};

/*
 * Reserve `fibers_max` stacks of `stack_bytes` (0 = default; rounded up to pages). A build under the
 * address or thread sanitizer gives every stack four times that, for their larger frames.
 * -EINVAL: no fibers, or a stack below the minimum. -ENOMEM: no memory or address space.
 */
int ptni_fiber_pool_open(uint32_t fibers_max, size_t stack_bytes,
			 struct ptni_fiber_pool **pool_out);

/* -EBUSY while a fiber lives that has not returned; the pool is then unchanged. */
int ptni_fiber_pool_close(struct ptni_fiber_pool *pool);

/*
 * Drop the fibers that still live, without running them: what their stacks own is lost. For
 * unwinding after a simulated death. The caller must not be one of them.
 */
void ptni_fiber_pool_abandon(struct ptni_fiber_pool *pool);

/* Fibers that were created and have not returned. */
uint32_t ptni_fiber_pool_live(const struct ptni_fiber_pool *pool);

/*
 * A fiber that will run fn(arg) when first resumed. -EAGAIN: all of the pool's fibers live.
 */
int ptni_fiber_create(struct ptni_fiber_pool *pool, ptni_fiber_fn fn, void *arg,
		      struct ptni_fiber **fiber_out);

/* The interface of libboost_context, as its assembly defines it. */
struct ptni_fiber_transfer {
	void *context; /* where control came from; valid for one jump back */
	void *data;
};

struct ptni_fiber_transfer jump_fcontext(void *to, void *data);

/* The running fiber of this thread. One load, also from within a shared library. */
extern _Thread_local struct ptni_fiber *ptni_fiber_running
	__attribute__((tls_model("initial-exec")));

/* Takes a fiber that returned back into its pool. */
void ptni_fiber_recycle(struct ptni_fiber *fiber);

/*
 * ptni_fiber_resume: run the fiber until it suspends or returns. True: it suspended and may be resumed
 * again. False: it returned and the handle is no longer valid. Not for a fiber that is running or
 * waits for one that it resumed itself (asserted).
 *
 * ptni_fiber_suspend: give control back to whoever resumed the running fiber. Only inside a fiber.
 *
 * Inline, because each return after a switch is one that the CPU predicts wrongly.
 */
#if PTNI_ASAN || PTNI_TSAN
bool ptni_fiber_resume(struct ptni_fiber *fiber);
void ptni_fiber_suspend(void);
#else
static inline bool ptni_fiber_resume(struct ptni_fiber *fiber)
{
	struct ptni_fiber *self = ptni_fiber_running;
	void *context = fiber->context;
	struct ptni_fiber_transfer from;

	assert(context);
	fiber->context = NULL;
	ptni_fiber_running = fiber;
	from = jump_fcontext(context, fiber);
	ptni_fiber_running = self;
	if (__builtin_expect(fiber->returned, 0)) {
		ptni_fiber_recycle(fiber);
		return false;
	}
	fiber->context = from.context;
	return true;
}

static inline void ptni_fiber_suspend(void)
{
	struct ptni_fiber *fiber = ptni_fiber_running;
	struct ptni_fiber_transfer from;

	assert(fiber);
	from = jump_fcontext(fiber->resumer_context, NULL);
	fiber->resumer_context = from.context;
}
#endif

/* The running fiber, NULL on a thread's own stack. */
static inline struct ptni_fiber *ptni_fiber_current(void)
{
	return ptni_fiber_running;
}

/*
 * The most stack, in bytes, that any fiber has used on this fiber's stack; reads the unused part, so
 * for diagnosis only. The second form is the maximum over the pool's stacks.
 */
size_t ptni_fiber_stack_used(const struct ptni_fiber *fiber);
size_t ptni_fiber_pool_stack_used(const struct ptni_fiber_pool *pool);

/* True if `addr` lies in one of the pool's guard pages: what a fault handler asks. Signal-safe. */
bool ptni_fiber_pool_is_guard(const struct ptni_fiber_pool *pool, const void *addr);

#endif
