/* SPDX-License-Identifier: MIT */
#include "core/base/rng.h"
#include "core/base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

struct timer {
	struct ptni_wheel_node node;
	uint64_t deadline_ns; /* the model's */
	bool pending;
	int calls;
};

enum {
	TIMERS = 200
};

/* The model: an array searched from end to end; what was called is checked as it is called. */
struct model {
	struct ptni_wheel wheel;
	struct timer timers[TIMERS];
	uint64_t now_ns;
	uint64_t tick_called;
	uint64_t wheel_tick; /* as last seen: the wheel does not turn back */
	size_t pending;
	struct ptni_rng *rng;
};

static struct model *model; /* the functions get the wheel only */

static uint64_t tick_of(uint64_t deadline_ns)
{
	return deadline_ns / 1000 + (deadline_ns % 1000 != 0);
}

static void timer_add(struct timer *timer, uint64_t deadline_ns);

/* Guarantees 1, 2 and 3, seen from inside a call. */
static void on_timer(struct ptni_wheel *wheel, struct ptni_wheel_node *node)
{
	struct timer *timer = (struct timer *)node;
	uint64_t tick = tick_of(timer->deadline_ns);

	assert_ptr_equal(wheel, &model->wheel);
	assert_true(wheel->tick >= model->wheel_tick);
	model->wheel_tick = wheel->tick;
	assert_true(timer->pending);
	assert_false(ptni_wheel_pending(node));
	assert_false(ptni_wheel_cancel(wheel, node));
	assert_true(timer->deadline_ns <= model->now_ns);
	assert_true(tick >= model->tick_called);
	for (int i = 0; i < TIMERS; i++)
		if (model->timers[i].pending)
			assert_true(tick_of(model->timers[i].deadline_ns) >= tick);
	model->tick_called = tick;
	timer->pending = false;
	timer->calls++;
	model->pending--;
	if (ptni_rng_chance(model->rng, 1, 8))
		timer_add(timer, model->now_ns + 1 + ptni_rng_below(model->rng, 100000));
	if (ptni_rng_chance(model->rng, 1, 8)) {
		struct timer *other = &model->timers[ptni_rng_below(model->rng, TIMERS)];

		assert_int_equal(ptni_wheel_cancel(wheel, &other->node), other->pending);
		model->pending -= other->pending;
		other->pending = false;
	}
}

static void timer_add(struct timer *timer, uint64_t deadline_ns)
{
	model->pending += !timer->pending;
	timer->pending = true;
	timer->deadline_ns = deadline_ns;
	if (deadline_ns < model->now_ns)
		timer->deadline_ns = model->now_ns; /* the past counts as now */
	assert_int_not_equal(ptni_wheel_add(&model->wheel, &timer->node, deadline_ns, on_timer), 0);
}

static uint64_t earliest_ns(void)
{
	uint64_t earliest = UINT64_MAX;

	for (int i = 0; i < TIMERS; i++)
		if (model->timers[i].pending && model->timers[i].deadline_ns < earliest)
			earliest = model->timers[i].deadline_ns;
	return earliest;
}

/* Deadlines from the past to hours ahead, many of them near a power of 64 ticks, where slots begin. */
static uint64_t deadline_random(struct ptni_rng *rng, uint64_t now_ns)
{
	uint64_t span_ns = UINT64_C(1000) << ptni_rng_below(rng, 34);
	uint64_t aligned;

	if (ptni_rng_chance(rng, 1, 16))
		return ptni_rng_below(rng, now_ns + 1);
	if (ptni_rng_chance(rng, 1, 3)) {
		aligned = (now_ns / span_ns + 1) * span_ns;
		return aligned - 2000 + ptni_rng_below(rng, 4000);
	}
	return now_ns + ptni_rng_below(rng, span_ns);
}

static void advance_and_check(struct ptni_rng *rng)
{
	uint64_t next_ns = ptni_wheel_next_ns(&model->wheel);
	size_t budget = ptni_rng_chance(rng, 1, 2) ? 3 : 1000;

	assert_int_equal(next_ns == UINT64_MAX, model->pending == 0);
	if (model->pending)
		assert_true(next_ns <= tick_of(earliest_ns()) * 1000);
	if (next_ns != UINT64_MAX && ptni_rng_chance(rng, 1, 2))
		model->now_ns = next_ns > model->now_ns ? next_ns : model->now_ns;
	else
		model->now_ns += ptni_rng_below(rng, UINT64_C(1) << ptni_rng_below(rng, 42));
	while (ptni_wheel_advance(&model->wheel, model->now_ns, budget))
		;
	for (int i = 0; i < TIMERS; i++) {
		struct timer *timer = &model->timers[i];

		assert_int_equal(ptni_wheel_pending(&timer->node), timer->pending);
		if (timer->pending)
			assert_true(tick_of(timer->deadline_ns) > model->now_ns / 1000);
	}
	assert_int_equal(model->wheel.pending, model->pending);
}

static void random_steps__match_the_model(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct ptni_rng rng;
		int calls = 0;

		ptni_rng_seed(&rng, seed);
		model = calloc(1, sizeof(*model));
		assert_non_null(model);
		model->rng = &rng;
		model->now_ns = ptni_rng_next(&rng) >> ptni_rng_below(&rng, 64) >> 4;
		ptni_wheel_init(&model->wheel, model->now_ns);
		for (int step = 0; step < 600; step++) {
			struct timer *timer = &model->timers[ptni_rng_below(&rng, TIMERS)];

			if (ptni_rng_chance(&rng, 3, 4)) {
				timer_add(timer, deadline_random(&rng, model->now_ns));
			} else {
				assert_int_equal(ptni_wheel_cancel(&model->wheel, &timer->node),
						 timer->pending);
				model->pending -= timer->pending;
				timer->pending = false;
			}
			if (ptni_rng_chance(&rng, 1, 4))
				advance_and_check(&rng);
		}
		for (int i = 0; i < TIMERS; i++)
			calls += model->timers[i].calls;
		assert_true(calls > 20);
		free(model);
	}
}

static int calls;

static void count_call(struct ptni_wheel *wheel, struct ptni_wheel_node *node)
{
	calls++;
}

/* Guarantee 1: not a nanosecond early, at every level. */
static void deadline__is_never_early(void **state)
{
	static struct ptni_wheel wheel;

	for (uint64_t after = 1; after < UINT64_C(1) << 62; after = after * 3 + 1) {
		struct ptni_wheel_node node = { 0 };
		uint64_t due;

		calls = 0;
		ptni_wheel_init(&wheel, 123456789);
		(void)ptni_wheel_add(&wheel, &node, 123456789 + after, count_call);
		due = tick_of(123456789 + after) * 1000;
		while (ptni_wheel_advance(&wheel, due - 1, 1))
			;
		assert_int_equal(calls, 0);
		while (ptni_wheel_advance(&wheel, due, 1))
			;
		assert_int_equal(calls, 1);
	}
}

/* Guarantee 3: a stale ticket must not end a newer lease's timer. */
static void ticket__names_one_adding_only(void **state)
{
	static struct ptni_wheel wheel;
	struct ptni_wheel_node node = { 0 };
	uint64_t first, second;

	calls = 0;
	ptni_wheel_init(&wheel, 0);
	first = ptni_wheel_add(&wheel, &node, 5000, count_call);
	assert_false(ptni_wheel_advance(&wheel, 5000, 10));
	assert_int_equal(calls, 1);
	assert_false(ptni_wheel_cancel_ticket(&wheel, &node, first));
	second = ptni_wheel_add(&wheel, &node, 9000, count_call);
	assert_int_not_equal(first, second);
	assert_false(ptni_wheel_cancel_ticket(&wheel, &node, first));
	assert_true(ptni_wheel_pending(&node));
	assert_true(ptni_wheel_cancel_ticket(&wheel, &node, second));
	assert_false(ptni_wheel_cancel_ticket(&wheel, &node, second));
	assert_false(ptni_wheel_advance(&wheel, 20000, 10));
	assert_int_equal(calls, 1);
}

static void add_again_now(struct ptni_wheel *wheel, struct ptni_wheel_node *node)
{
	calls++;
	(void)ptni_wheel_add(wheel, node, 0, add_again_now);
}

/* Guarantee 4, with a function that would keep the wheel busy for ever. */
static void advance__is_bounded(void **state)
{
	static struct ptni_wheel wheel;
	struct ptni_wheel_node node = { 0 };

	calls = 0;
	ptni_wheel_init(&wheel, 0);
	(void)ptni_wheel_add(&wheel, &node, 100, add_again_now);
	assert_true(ptni_wheel_advance(&wheel, 5000, 64));
	assert_in_range(calls, 60, 64);
}

static void time_back__calls_nothing(void **state)
{
	static struct ptni_wheel wheel;
	struct ptni_wheel_node node = { 0 };

	calls = 0;
	ptni_wheel_init(&wheel, 1000000);
	(void)ptni_wheel_add(&wheel, &node, 1500000, count_call);
	assert_false(ptni_wheel_advance(&wheel, 1200000, 10));
	assert_false(ptni_wheel_advance(&wheel, 0, 10));
	assert_int_equal(wheel.tick, 1200);
	assert_int_equal(calls, 0);
	assert_false(ptni_wheel_advance(&wheel, 1500000, 10));
	assert_int_equal(calls, 1);
	assert_int_equal(ptni_wheel_next_ns(&wheel), UINT64_MAX);
}

static void latest_deadline__fits(void **state)
{
	static struct ptni_wheel wheel;
	struct ptni_wheel_node node = { 0 };

	ptni_wheel_init(&wheel, 0);
	(void)ptni_wheel_add(&wheel, &node, UINT64_MAX, count_call);
	assert_false(ptni_wheel_advance(&wheel, UINT64_MAX / 2, 100));
	assert_true(ptni_wheel_pending(&node));
	assert_true(ptni_wheel_cancel(&wheel, &node));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_steps__match_the_model),
		cmocka_unit_test(deadline__is_never_early),
		cmocka_unit_test(ticket__names_one_adding_only),
		cmocka_unit_test(advance__is_bounded),
		cmocka_unit_test(time_back__calls_nothing),
		cmocka_unit_test(latest_deadline__fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
