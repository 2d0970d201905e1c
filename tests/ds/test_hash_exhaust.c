/* SPDX-License-Identifier: MIT */
/*
 * The search through all schedules: with its reduction it sees what it sees without. The scopes that it is for are run
 * by tests/sim (exhaustive).
 */
#include "tests/ds/exhaust.h"

static const struct exhaust scopes[] = {
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
};

static void reduction__sees_the_same(void **state)
{
	for (unsigned i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		struct exhaust_result reduced, whole;
		struct exhaust scope = scopes[i];

		exhaust_run(&scope, &reduced);
		scope.whole = true;
		exhaust_run(&scope, &whole);
		print_message("%-32s %6lu of %8lu schedules (%lu, %lu starved), %u outcomes\n",
			      scope.schedule.name, reduced.schedules, whole.schedules,
			      reduced.starved, whole.starved, whole.outcome_count);
		assert_int_equal(reduced.outcome_count, whole.outcome_count);
		assert_int_equal(reduced.outcomes, whole.outcomes);
		assert_true(reduced.schedules < whole.schedules);
		assert_true(whole.outcome_count > 1);
		assert_int_equal(whole.cut, 0);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
