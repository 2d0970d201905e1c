/* SPDX-License-Identifier: MIT */
/*
 * The search through all schedules: with its reduction it sees what it sees without, and what it takes for the state
 * of a client is one. The scopes that it is for are run by tests/sim (exhaustive).
 */
#include "tests/ds/exhaust.h"

/* Small enough for every order of all steps. */
static const struct exhaust small[] = {
	{ .schedule = { .name = "insert, insert",
			.act = { { { ACT_INSERT, 0, 1 } }, { { ACT_INSERT, 0, 2 } } } } },
	{ .backoffs = 1,
	  .schedule = { .name = "put, delete",
			.present = 1,
			.act = { { { ACT_PUT, 0, 1 } }, { { ACT_DELETE, 0, 0 } } } } },
	{ .backoffs = 1,
	  .schedule = { .name = "update, get + get",
			.present = 1,
			.warm = true,
			.act = { { { ACT_UPDATE, 0, 1 } },
				 { { ACT_GET, 0, 0 }, { ACT_GET, 0, 0 } } } } },
	{ .backoffs = 1,
	  .schedule = { .name = "insert, get of another key + get",
			.present = 2,
			.act = { { { ACT_INSERT, 0, 1 } },
				 { { ACT_GET, 1, 0 }, { ACT_GET, 0, 0 } } } } },
	{ .backoffs = 1,
	  .schedule = { .name = "update, delete, get",
			.present = 1,
			.warm = true,
			.act = { { { ACT_UPDATE, 0, 1 } },
				 { { ACT_DELETE, 0, 0 } },
				 { { ACT_GET, 0, 0 } } } } },
};

/* Too large for that: every part of the reduction is left out in turn. */
static const struct exhaust medium[] = {
	{ .backoffs = 1,
	  .schedule = { .name = "put + delete, put + get",
			.act = { { { ACT_PUT, 0, 1 }, { ACT_DELETE, 0, 0 } },
				 { { ACT_PUT, 0, 2 }, { ACT_GET, 0, 0 } } } } },
	{ .backoffs = 2,
	  .spins = 1,
	  .schedule = { .name = "insert, put",
			.act = { { { ACT_INSERT, 0, 1 } }, { { ACT_PUT, 0, 2 } } } } },
	{ .backoffs = 2,
	  .schedule = { .name = "insert, delete of a known key, split",
			.fill = 27,
			.present = 2,
			.warm = true,
			.act = { { { ACT_INSERT, 0, 1 } }, { { ACT_DELETE, 1, 0 } } } } },
	{ .backoffs = 1,
	  .schedule = { .name = "insert + update, get, split",
			.fill = 27,
			.present = 2,
			.warm = true,
			.act = { { { ACT_INSERT, 0, 1 }, { ACT_UPDATE, 1, 2 } },
				 { { ACT_GET, 1, 0 } } } } },
};

/* The sanitizers keep dead stacks as they are, so that there are more states than need be. */
static const bool exact = !PTNI_ASAN && !PTNI_TSAN;

static void run(const struct exhaust *scope, unsigned without, struct exhaust_result *result_out)
{
	struct exhaust exhaust = *scope;

	exhaust.without = without;
	exhaust.functions = exact && !without;
	exhaust_run(&exhaust, result_out);
	print_message("%-40s without %u: %7lu runs, %6lu states, %6lu ends, %u outcomes\n",
		      scope->schedule.name, without, result_out->runs, result_out->states,
		      result_out->schedules, result_out->outcome_count);
}

static void assert_same(const struct exhaust_result *a, const struct exhaust_result *b)
{
	assert_int_equal(a->outcome_count, b->outcome_count);
	assert_int_equal(a->outcomes, b->outcomes);
	assert_int_equal(a->ending_count, b->ending_count);
	assert_int_equal(a->endings, b->endings);
}

static void reduction__sees_the_same(void **state)
{
	for (unsigned i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
		struct exhaust_result reduced, whole;

		run(&small[i], 0, &reduced);
		run(&small[i], EXHAUST_REDUCTION, &whole);
		assert_same(&reduced, &whole);
		assert_true(reduced.runs < whole.runs);
		assert_true(whole.outcome_count > 1);
		assert_int_equal(whole.cut, 0);
	}
}

static void parts__see_the_same(void **state)
{
	const unsigned without[] = { EXHAUST_SLEEP, EXHAUST_EAGER, EXHAUST_SLEEP | EXHAUST_EAGER,
				     EXHAUST_STATES };

	/* one thread, and fibers are dear there */
	const unsigned count = PTNI_TSAN ? 1 : sizeof(medium) / sizeof(medium[0]);

	for (unsigned i = 0; i < count; i++) {
		struct exhaust_result all, some;

		run(&medium[i], 0, &all);
		for (unsigned k = 0; k < sizeof(without) / sizeof(without[0]); k++) {
			run(&medium[i], without[k], &some);
			assert_same(&all, &some);
			if (!exact || without[k] != EXHAUST_SLEEP)
				continue;
			assert_int_equal(some.states, all.states);
			assert_int_equal(some.schedules, all.schedules);
		}
	}
}

static int say_which(void **state)
{
	if (exhaust_now()[0])
		print_error("the schedule was %s\n", exhaust_now());
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(reduction__sees_the_same, say_which),
		cmocka_unit_test_teardown(parts__see_the_same, say_which),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
