/* SPDX-License-Identifier: MIT */
#include "core/base/fiber.h"
#include "core/base/sanitizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct ptni_fiber_pool *pool_open(uint32_t fibers_max)
{
	struct ptni_fiber_pool *pool = NULL;

	assert_int_equal(ptni_fiber_pool_open(fibers_max, 0, &pool), 0);
	return pool;
}

struct steps {
	struct ptni_fiber_pool *pool;
	int rounds;
	int done;
};

static void step_through(void *arg)
{
	struct steps *steps = arg;
	char local[256];

	for (int i = 0; i < steps->rounds; i++) {
		memset(local, i, sizeof(local));
		assert_non_null(ptni_fiber_current());
		ptni_fiber_suspend();
		for (size_t byte = 0; byte < sizeof(local); byte++)
			assert_int_equal(local[byte], (char)i);
		steps->done++;
	}
}

static void resume__alternates_until_return(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(1);
	struct steps steps = { .rounds = 5 };
	struct ptni_fiber *fiber;

	assert_int_equal(ptni_fiber_create(pool, step_through, &steps, &fiber), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(steps.done, i ? i - 1 : 0);
		assert_true(ptni_fiber_resume(fiber));
		assert_null(ptni_fiber_current());
		assert_int_equal(steps.done, i);
	}
	assert_false(ptni_fiber_resume(fiber));
	assert_int_equal(steps.done, 5);
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static void many__interleaved(void **state)
{
	enum {
		FIBERS = 64
	};
	struct ptni_fiber_pool *pool = pool_open(FIBERS);
	struct ptni_fiber *fibers[FIBERS];
	struct steps steps[FIBERS];
	int live = FIBERS;

	for (int i = 0; i < FIBERS; i++) {
		steps[i] = (struct steps){ .rounds = i % 7 };
		assert_int_equal(ptni_fiber_create(pool, step_through, &steps[i], &fibers[i]), 0);
	}
	for (int round = 0; live; round++)
		for (int i = 0; i < FIBERS; i++)
			if (fibers[i] && !ptni_fiber_resume(fibers[i])) {
				fibers[i] = NULL;
				live--;
			}
	for (int i = 0; i < FIBERS; i++)
		assert_int_equal(steps[i].done, i % 7);
	assert_int_equal(ptni_fiber_pool_live(pool), 0);
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static void nothing(void *arg)
{
}

static void create__reuses_stacks_and_reports_a_full_pool(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(2);
	struct ptni_fiber *first, *second, *third = NULL;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(ptni_fiber_create(pool, nothing, NULL, &first), 0);
		assert_int_equal(ptni_fiber_create(pool, nothing, NULL, &second), 0);
		assert_ptr_not_equal(first, second);
		assert_int_equal(ptni_fiber_create(pool, nothing, NULL, &third), -EAGAIN);
		assert_null(third);
		assert_false(ptni_fiber_resume(second));
		assert_false(ptni_fiber_resume(first));
	}
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static void note_frame(void *arg)
{
	*(uintptr_t *)arg = (uintptr_t)__builtin_frame_address(0);
}

/* Stacks whose hot ends share the sets of the cache push each other out. */
static void stacks__start_at_different_offsets(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(8);
	struct ptni_fiber *fibers[8];
	uintptr_t frames[8];

	for (int i = 0; i < 8; i++)
		assert_int_equal(ptni_fiber_create(pool, note_frame, &frames[i], &fibers[i]), 0);
	for (int i = 0; i < 8; i++) {
		assert_false(ptni_fiber_resume(fibers[i]));
		for (int j = 0; j < i; j++)
			assert_int_not_equal(frames[i] % 4096 / 64, frames[j] % 4096 / 64);
	}
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static void pool_close__busy_while_a_fiber_lives(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(2);
	struct steps steps = { .rounds = 3 };
	struct ptni_fiber *fiber;

	assert_int_equal(ptni_fiber_create(pool, step_through, &steps, &fiber), 0);
	assert_int_equal(ptni_fiber_pool_close(pool), -EBUSY);
	assert_true(ptni_fiber_resume(fiber));
	assert_int_equal(ptni_fiber_pool_close(pool), -EBUSY);
	ptni_fiber_pool_abandon(pool);
	assert_int_equal(steps.done, 0);
	assert_int_equal(ptni_fiber_pool_live(pool), 0);
	assert_int_equal(ptni_fiber_create(pool, nothing, NULL, &fiber), 0);
	assert_false(ptni_fiber_resume(fiber));
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static void pool_open__refuses_nonsense(void **state)
{
	struct ptni_fiber_pool *pool = NULL;

	assert_int_equal(ptni_fiber_pool_open(0, 0, &pool), -EINVAL);
	assert_int_equal(ptni_fiber_pool_open(1, 100, &pool), -EINVAL);
	assert_int_equal(ptni_fiber_pool_open(UINT32_MAX, SIZE_MAX / 2, &pool), -EINVAL);
	assert_int_equal(ptni_fiber_pool_open(1U << 20, SIZE_MAX >> 24, &pool), -ENOMEM);
	assert_null(pool);
}

static void run_inner(void *arg)
{
	struct steps *steps = arg;
	struct ptni_fiber *self = ptni_fiber_current();
	struct ptni_fiber *inner;

	if (steps->rounds == 0)
		return;
	steps->rounds--;
	assert_int_equal(ptni_fiber_create(steps->pool, run_inner, steps, &inner), 0);
	while (ptni_fiber_resume(inner)) {
		assert_ptr_equal(ptni_fiber_current(), self);
		ptni_fiber_suspend();
		steps->done++;
	}
	assert_ptr_equal(ptni_fiber_current(), self);
	ptni_fiber_suspend();
	steps->done++;
}

/* Each level suspends to the one above it, down to depth 5: 5 + 4 + 3 + 2 + 1 suspensions. */
static void resume__nests(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(8);
	struct steps steps = { .pool = pool, .rounds = 5 };
	struct ptni_fiber *fiber;
	int resumes = 0;

	assert_int_equal(ptni_fiber_create(pool, run_inner, &steps, &fiber), 0);
	while (ptni_fiber_resume(fiber))
		resumes++;
	assert_int_equal(resumes, 5);
	assert_int_equal(steps.done, 15);
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static void round_up(void *arg)
{
	assert_int_equal(fesetround(FE_UPWARD), 0);
	ptni_fiber_suspend();
	*(int *)arg = fegetround();
}

static void floating_point_environment__is_kept(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(1);
	struct ptni_fiber *fiber;
	int rounding = -1;

	assert_int_equal(ptni_fiber_create(pool, round_up, &rounding, &fiber), 0);
	assert_true(ptni_fiber_resume(fiber));
	assert_int_equal(fegetround(), FE_TONEAREST);
	assert_false(ptni_fiber_resume(fiber));
	assert_int_equal(rounding, FE_UPWARD);
	assert_int_equal(fegetround(), FE_TONEAREST);
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static __attribute__((noinline)) void touch_stack(size_t bytes)
{
	volatile char *local = __builtin_alloca(bytes);

	for (size_t i = 0; i < bytes; i++)
		local[i] = 1;
}

static void use_stack(void *arg)
{
	touch_stack(*(size_t *)arg);
}

static void stack_used__is_a_high_water_mark(void **state)
{
	struct ptni_fiber_pool *pool = pool_open(1);
	size_t bytes[] = { 8000, 30000, 100 };
	struct ptni_fiber *fiber;
	size_t used[3];

	for (int i = 0; i < 3; i++) {
		assert_int_equal(ptni_fiber_create(pool, use_stack, &bytes[i], &fiber), 0);
		assert_false(ptni_fiber_resume(fiber));
		used[i] = ptni_fiber_pool_stack_used(pool);
	}
	assert_in_range(used[0], 8000, 8000 + 4096);
	assert_in_range(used[1], 30000, 30000 + 4096);
	assert_int_equal(used[2], used[1]);
	assert_int_equal(ptni_fiber_stack_used(fiber), used[2]);
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

static struct ptni_fiber_pool *overflowing;
static struct ptni_fiber *below; /* never run: its stack is the next one down */

static void on_fault(int signal, siginfo_t *info, void *context)
{
	if (ptni_fiber_stack_used(below) > 256) /* the frame that make_fcontext() laid */
		_exit(46);
	_exit(ptni_fiber_pool_is_guard(overflowing, info->si_addr) ? 42 : 43);
}

static __attribute__((noinline)) int recurse(volatile int *depth)
{
	volatile int local[64];

	local[*depth % 64] = *depth;
	if (++*depth < 0)
		return 0;
	return recurse(depth) + local[0];
}

static void overflow(void *arg)
{
	volatile int depth = 0;

	(void)recurse(&depth);
}

static void overflow_in_child(void)
{
	static unsigned char signal_stack[64 * 1024];
	stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof(signal_stack) };
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct ptni_fiber *fiber;

	if (sigaltstack(&stack, NULL) || sigaction(SIGSEGV, &action, NULL) ||
	    ptni_fiber_pool_open(3, PTNI_FIBER_STACK_MIN_BYTES, &overflowing) ||
	    ptni_fiber_create(overflowing, nothing, NULL, &below) ||
	    ptni_fiber_create(overflowing, overflow, NULL, &fiber))
		_exit(44);
	ptni_fiber_resume(fiber);
	_exit(45);
}

static void overflow__hits_the_guard_page(void **state)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		overflow_in_child();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

static void *pool_of_a_thread(void *arg)
{
	struct ptni_fiber_pool *pool;
	struct ptni_fiber *fibers[4];
	struct steps steps[4];

	if (ptni_fiber_pool_open(4, 0, &pool))
		return NULL;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 4; i++) {
			steps[i] = (struct steps){ .rounds = 3 };
			if (ptni_fiber_create(pool, step_through, &steps[i], &fibers[i]))
				return NULL;
		}
		for (int resume = 0; resume < 4; resume++)
			for (int i = 0; i < 4; i++)
				if (ptni_fiber_resume(fibers[i]) != (resume < 3))
					return NULL;
	}
	*(bool *)arg = ptni_fiber_pool_close(pool) == 0;
	return NULL;
}

static void pools__of_several_threads_at_once(void **state)
{
	enum {
		THREADS = 3
	};
	bool passed[THREADS] = { false };
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pool_of_a_thread, &passed[i]),
				 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(passed[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resume__alternates_until_return),
		cmocka_unit_test(many__interleaved),
		cmocka_unit_test(create__reuses_stacks_and_reports_a_full_pool),
		cmocka_unit_test(stacks__start_at_different_offsets),
		cmocka_unit_test(pool_close__busy_while_a_fiber_lives),
		cmocka_unit_test(pool_open__refuses_nonsense),
		cmocka_unit_test(resume__nests),
		cmocka_unit_test(floating_point_environment__is_kept),
		cmocka_unit_test(stack_used__is_a_high_water_mark),
		cmocka_unit_test(overflow__hits_the_guard_page),
		cmocka_unit_test(pools__of_several_threads_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
