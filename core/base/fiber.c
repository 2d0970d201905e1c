/* SPDX-License-Identifier: MIT */
/*
 * One mapping per pool, a guard page below each stack and one above the last:
 *
 *   | guard | stack 0 ...... | guard | stack 1 ...... | guard |
 *           ^ low            ^ high: a stack grows down from here, less its colour
 *
 * The stacks lie at equal distances, so their hot ends would all fall into the same few sets of the
 * cache; the colour, a number of cache lines that differs from stack to stack, spreads them.
 *
 * The switch itself is Boost.Context's, two assembly routines with a C interface: they exchange stack
 * pointer, callee-saved registers and floating-point control, nothing else.
 */
#include "core/base/fiber.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if PTNI_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if PTNI_TSAN
#include <sanitizer/tsan_interface.h>
#endif

void *make_fcontext(void *stack_high, size_t stack_bytes,
		    void (*entry)(struct ptni_fiber_transfer));

struct fiber {
	struct ptni_fiber base; /* first: a handle is its fiber */
	ptni_fiber_fn fn;
	void *arg;
	bool live;
	unsigned char *stack_low;
	unsigned char *stack_high;
	struct ptni_fiber_pool *pool;
	struct fiber *free_next;
#if PTNI_ASAN
	void *asan_fake_stack;
	const void *asan_resumer_low;
	size_t asan_resumer_bytes;
#endif
#if PTNI_TSAN
	void *tsan_fiber;
	void *tsan_resumer;
#endif
};

struct ptni_fiber_pool {
	unsigned char *map;
	size_t map_bytes;
	size_t stack_bytes;
	size_t page_bytes;
	uint32_t fibers_max;
	uint32_t live;
	struct fiber *free;
	struct fiber fibers[];
};

enum {
	COLOURS = 8,
	COLOUR_BYTES = 512
};

static_assert(COLOURS * COLOUR_BYTES < PTNI_FIBER_STACK_MIN_BYTES / 2, "the stack must remain");

_Thread_local struct ptni_fiber *ptni_fiber_running;

static inline size_t stack_bytes_of(const struct fiber *fiber)
{
	return (size_t)(fiber->stack_high - fiber->stack_low);
}

/*
 * The sanitizers keep a picture of each stack and must be told of every switch. Each hook is called
 * by the side that is about to leave (leave_*) or has just arrived (arrive_*).
 */
#if PTNI_ASAN
static inline void leave_for_fiber(struct fiber *fiber, void **fake_stack)
{
	__sanitizer_start_switch_fiber(fake_stack, fiber->stack_low, stack_bytes_of(fiber));
}

static inline void arrive_at_resumer(void *fake_stack)
{
	__sanitizer_finish_switch_fiber(fake_stack, NULL, NULL);
}

/* With `last` the fiber does not come back. */
static inline void leave_for_resumer(struct fiber *fiber, bool last)
{
	__sanitizer_start_switch_fiber(last ? NULL : &fiber->asan_fake_stack,
				       fiber->asan_resumer_low, fiber->asan_resumer_bytes);
}

static inline void arrive_at_fiber(struct fiber *fiber, bool first)
{
	__sanitizer_finish_switch_fiber(first ? NULL : fiber->asan_fake_stack,
					&fiber->asan_resumer_low, &fiber->asan_resumer_bytes);
}

static inline void sanitizer_forget(struct fiber *fiber)
{
	ASAN_UNPOISON_MEMORY_REGION(fiber->stack_low, stack_bytes_of(fiber));
}

static inline void sanitizer_create(struct fiber *fiber)
{
}
#elif PTNI_TSAN
static inline void leave_for_fiber(struct fiber *fiber, void **fake_stack)
{
	fiber->tsan_resumer = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(fiber->tsan_fiber, 0);
}

static inline void arrive_at_resumer(void *fake_stack)
{
}

static inline void leave_for_resumer(struct fiber *fiber, bool last)
{
	__tsan_switch_to_fiber(fiber->tsan_resumer, 0);
}

static inline void arrive_at_fiber(struct fiber *fiber, bool first)
{
}

static inline void sanitizer_forget(struct fiber *fiber)
{
	__tsan_destroy_fiber(fiber->tsan_fiber);
	fiber->tsan_fiber = NULL;
}

static inline void sanitizer_create(struct fiber *fiber)
{
	fiber->tsan_fiber = __tsan_create_fiber(0);
}
#else
static inline void leave_for_resumer(struct fiber *fiber, bool last)
{
}

static inline void arrive_at_fiber(struct fiber *fiber, bool first)
{
}

static inline void sanitizer_forget(struct fiber *fiber)
{
}

static inline void sanitizer_create(struct fiber *fiber)
{
}
#endif

/* The guard pages must be the kernel's smallest unit, and a huge page would commit 32 stacks at once. */
static int stacks_map(struct ptni_fiber_pool *pool)
{
	size_t stride = pool->stack_bytes + pool->page_bytes;

	pool->map_bytes = stride * pool->fibers_max + pool->page_bytes;
	pool->map = mmap(NULL, pool->map_bytes, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (pool->map == MAP_FAILED)
		return -ENOMEM;
	(void)madvise(pool->map, pool->map_bytes, MADV_NOHUGEPAGE);
	for (uint32_t i = 0; i < pool->fibers_max; i++) {
		unsigned char *low = pool->map + stride * i + pool->page_bytes;

		if (mprotect(low, pool->stack_bytes, PROT_READ | PROT_WRITE)) {
			(void)munmap(pool->map, pool->map_bytes);
			return -ENOMEM; /* the limit of mappings, vm.max_map_count */
		}
		pool->fibers[i].stack_low = low;
		pool->fibers[i].stack_high = low + pool->stack_bytes - i % COLOURS * COLOUR_BYTES;
	}
	return 0;
}

void ptni_fiber_recycle(struct ptni_fiber *handle)
{
	struct fiber *fiber = (struct fiber *)handle;
	struct ptni_fiber_pool *pool = fiber->pool;

	sanitizer_forget(fiber);
	fiber->live = false;
	handle->context = NULL; /* so that resuming it is noticed */
	fiber->free_next = pool->free;
	pool->free = fiber;
	pool->live--;
}

int ptni_fiber_pool_open(uint32_t fibers_max, size_t stack_bytes, struct ptni_fiber_pool **pool_out)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	struct ptni_fiber_pool *pool;
	int ret;

	if (stack_bytes == 0)
		stack_bytes = PTNI_FIBER_STACK_DEFAULT_BYTES;
	if (fibers_max == 0 || stack_bytes < PTNI_FIBER_STACK_MIN_BYTES ||
	    stack_bytes > SIZE_MAX / 8 / fibers_max)
		return -EINVAL;
	if (PTNI_ASAN || PTNI_TSAN)
		stack_bytes *= 4;
	pool = calloc(1, sizeof(*pool) + fibers_max * sizeof(pool->fibers[0]));
	if (!pool)
		return -ENOMEM;
	pool->page_bytes = page_bytes;
	pool->stack_bytes = (stack_bytes + page_bytes - 1) & ~(page_bytes - 1);
	pool->fibers_max = fibers_max;
	ret = stacks_map(pool);
	if (ret) {
		free(pool);
		return ret;
	}
	for (uint32_t i = fibers_max; i-- > 0;) {
		pool->fibers[i].pool = pool;
		pool->fibers[i].free_next = pool->free;
		pool->free = &pool->fibers[i];
	}
	*pool_out = pool;
	return 0;
}

int ptni_fiber_pool_close(struct ptni_fiber_pool *pool)
{
	if (pool->live)
		return -EBUSY;
	(void)munmap(pool->map, pool->map_bytes);
	free(pool);
	return 0;
}

void ptni_fiber_pool_abandon(struct ptni_fiber_pool *pool)
{
	for (uint32_t i = 0; i < pool->fibers_max; i++) {
		struct fiber *fiber = &pool->fibers[i];

		assert(!fiber->live || fiber->base.context);
		if (fiber->live)
			ptni_fiber_recycle(&fiber->base);
	}
}

uint32_t ptni_fiber_pool_live(const struct ptni_fiber_pool *pool)
{
	return pool->live;
}

/* The first frame of every fiber. It never returns: the last jump leaves it behind. */
static void fiber_entry(struct ptni_fiber_transfer from)
{
	struct fiber *fiber = from.data;

	arrive_at_fiber(fiber, true);
	fiber->base.resumer_context = from.context;
	fiber->fn(fiber->arg);
	fiber->base.returned = true;
	leave_for_resumer(fiber, true);
	(void)jump_fcontext(fiber->base.resumer_context, NULL);
	__builtin_unreachable();
}

int ptni_fiber_create(struct ptni_fiber_pool *pool, ptni_fiber_fn fn, void *arg,
		      struct ptni_fiber **fiber_out)
{
	struct fiber *fiber = pool->free;

	if (!fiber)
		return -EAGAIN;
	pool->free = fiber->free_next;
	pool->live++;
	fiber->fn = fn;
	fiber->arg = arg;
	fiber->live = true;
	fiber->base.returned = false;
	fiber->base.context = make_fcontext(fiber->stack_high, stack_bytes_of(fiber), fiber_entry);
	sanitizer_create(fiber);
	*fiber_out = &fiber->base;
	return 0;
}

#if PTNI_ASAN || PTNI_TSAN
bool ptni_fiber_resume(struct ptni_fiber *handle)
{
	struct ptni_fiber *self = ptni_fiber_running;
	struct fiber *fiber = (struct fiber *)handle;
	void *context = handle->context;
	struct ptni_fiber_transfer from;
	void *fake_stack = NULL;

	assert(fiber->live && context);
	handle->context = NULL;
	ptni_fiber_running = handle;
	leave_for_fiber(fiber, &fake_stack);
	from = jump_fcontext(context, fiber);
	arrive_at_resumer(fake_stack);
	ptni_fiber_running = self;
	if (handle->returned) {
		ptni_fiber_recycle(handle);
		return false;
	}
	handle->context = from.context;
	return true;
}

void ptni_fiber_suspend(void)
{
	struct ptni_fiber *handle = ptni_fiber_running;
	struct fiber *fiber = (struct fiber *)handle;
	struct ptni_fiber_transfer from;

	assert(handle);
	leave_for_resumer(fiber, false);
	from = jump_fcontext(handle->resumer_context, NULL);
	arrive_at_fiber(fiber, false);
	handle->resumer_context = from.context;
}
#endif

/* A page never written reads as zeros, so the lowest byte that is not zero was the deepest used. */
PTNI_NO_SANITIZE_ADDRESS
size_t ptni_fiber_stack_used(const struct ptni_fiber *handle)
{
	const struct fiber *fiber = (const struct fiber *)handle;
	const unsigned char *low = fiber->stack_low;
	const unsigned char *high = fiber->stack_high;

	while (low < high && *(const volatile unsigned char *)low == 0)
		low++;
	return (size_t)(high - low);
}

size_t ptni_fiber_pool_stack_used(const struct ptni_fiber_pool *pool)
{
	size_t most = 0;

	for (uint32_t i = 0; i < pool->fibers_max; i++) {
		size_t used = ptni_fiber_stack_used(&pool->fibers[i].base);

		if (used > most)
			most = used;
	}
	return most;
}

bool ptni_fiber_pool_is_guard(const struct ptni_fiber_pool *pool, const void *addr)
{
	size_t stride = pool->stack_bytes + pool->page_bytes;
	size_t offset = (size_t)((uintptr_t)addr - (uintptr_t)pool->map);

	return offset < pool->map_bytes && offset % stride < pool->page_bytes;
}
