/* SPDX-License-Identifier: MIT */
/* Clients side by side, verb by verb in every order: H1 to H8 of ds/hashtable/table.h. */
#include "tests/ds/schedule.h"

#include <string.h>

static void run(const struct schedule *schedule, unsigned long least)
{
	unsigned long count = schedule_run(schedule);

	print_message("%-44s %8lu schedules\n", schedule->name, count);
	assert_in_range(count, least, 100000000);
}

#define SCENARIO(...) (&(const struct schedule){ __VA_ARGS__ })

/* H1: never two copies, one insert wins. */
static void insert__of_one_key_by_two(void **state)
{
	run(SCENARIO(.name = "insert, insert", .preemptions = 5,
		     .act = { { { ACT_INSERT, 0, 1 } }, { { ACT_INSERT, 0, 2 } } }),
	    900);
	run(SCENARIO(.name = "put, put", .preemptions = 5,
		     .act = { { { ACT_PUT, 0, 1 } }, { { ACT_PUT, 0, 2 } } }),
	    900);
}

static void insert__of_one_key_by_three(void **state)
{
	run(SCENARIO(.name = "insert, insert, insert", .preemptions = 3,
		     .act = { { { ACT_INSERT, 0, 1 } },
			      { { ACT_INSERT, 0, 2 } },
			      { { ACT_INSERT, 0, 3 } } }),
	    1000);
	run(SCENARIO(.name = "put, insert, delete + get", .preemptions = 3,
		     .act = { { { ACT_PUT, 0, 1 } },
			      { { ACT_INSERT, 0, 2 } },
			      { { ACT_DELETE, 0, 0 }, { ACT_GET, 0, 0 } } }),
	    1000);
}

/* H1: one at home, one in the second bucket because home was full when it looked. */
static void insert__at_home_and_away(void **state)
{
	run(SCENARIO(.name = "insert away, make room + insert at home", .fill = 13,
		     .preemptions = 4, .present = 2,
		     .act = { { { ACT_INSERT, 0, 1 } },
			      { { ACT_DELETE, 1, 0 }, { ACT_INSERT, 0, 2 } } }),
	    1000);
	run(SCENARIO(.name = "put away, make room, put at home", .fill = 13, .preemptions = 3,
		     .present = 2,
		     .act = { { { ACT_PUT, 0, 1 }, { ACT_GET, 0, 0 } },
			      { { ACT_DELETE, 1, 0 } },
			      { { ACT_PUT, 0, 2 } } }),
	    1000);
	run(SCENARIO(.name = "insert of two keys into one last slot", .fill = 27, .preemptions = 2,
		     .act = { { { ACT_INSERT, 0, 1 } }, { { ACT_INSERT, 1, 2 } } }),
	    100);
}

/* H4: writes that lose against each other are done all the same. */
static void update__of_one_key(void **state)
{
	for (int warm = 0; warm < 2; warm++) {
		run(SCENARIO(.name = "update, update", .preemptions = 6, .present = 1, .warm = warm,
			     .act = { { { ACT_UPDATE, 0, 1 } }, { { ACT_UPDATE, 0, 2 } } }),
		    6);
		run(SCENARIO(.name = "update, delete", .preemptions = 6, .present = 1, .warm = warm,
			     .act = { { { ACT_UPDATE, 0, 1 } }, { { ACT_DELETE, 0, 0 } } }),
		    3);
		run(SCENARIO(.name = "put + get, delete + get", .preemptions = 4, .present = 1,
			     .warm = warm,
			     .act = { { { ACT_PUT, 0, 1 }, { ACT_GET, 0, 0 } },
				      { { ACT_DELETE, 0, 0 }, { ACT_GET, 0, 0 } } }),
		    100);
		run(SCENARIO(.name = "put + get, delete + insert, update", .preemptions = 3,
			     .present = 1, .warm = warm,
			     .act = { { { ACT_PUT, 0, 1 }, { ACT_GET, 0, 0 } },
				      { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 3 } },
				      { { ACT_UPDATE, 0, 4 } } }),
		    1000);
		run(SCENARIO(.name = "delete, delete", .preemptions = 6, .present = 1, .warm = warm,
			     .act = { { { ACT_DELETE, 0, 0 } }, { { ACT_DELETE, 0, 0 } } }),
		    2);
	}
}

/* H4, H5: what a write that lost saw in the slot may be another key, alike to the fingerprint. */
static void put__after_the_slot_changed_hands(void **state)
{
	for (int warm = 0; warm < 2; warm++)
		run(SCENARIO(.name = "put + put, delete + insert of another", .preemptions = 3,
			     .fill = 27, .present = 1, .warm = warm,
			     .act = { { { ACT_PUT, 0, 1 }, { ACT_PUT, 0, 2 } },
				      { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 1, 3 } } }),
		    100);
}

/* H3: a get sees the key or a moment without it, also when its READs are not atomic. */
static void get__beside_writers(void **state)
{
	run(SCENARIO(.name = "get, delete + insert", .preemptions = 6, .present = 1,
		     .act = { { { ACT_GET, 0, 0 } },
			      { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 3 } } }),
	    200);
	run(SCENARIO(.name = "get of sliced READs, delete + insert", .preemptions = 2, .present = 3,
		     .sliced = true,
		     .act = { { { ACT_GET, 0, 0 } },
			      { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 3 } } }),
	    1000);
	run(SCENARIO(.name = "warm get + get, update + delete", .preemptions = 6, .present = 1,
		     .warm = true,
		     .act = { { { ACT_GET, 0, 0 }, { ACT_GET, 0, 0 } },
			      { { ACT_UPDATE, 0, 1 }, { ACT_DELETE, 0, 0 } } }),
	    10);
}

/* H2, H3, H6, H7: everything while a subtable splits. */
static void split__beside(void **state)
{
	const struct act beside[][SCHEDULE_ACTS] = {
		{ { ACT_UPDATE, 1, 1 }, { ACT_GET, 1, 0 } },
		{ { ACT_DELETE, 1, 0 }, { ACT_GET, 1, 0 } },
		{ { ACT_GET, 1, 0 }, { ACT_GET, 0, 0 } },
		{ { ACT_INSERT, 0, 2 }, { ACT_GET, 0, 0 } },
		{ { ACT_DELETE, 1, 0 }, { ACT_INSERT, 1, 3 } },
		{ { ACT_INSERT, 2, 2 }, { ACT_UPDATE, 1, 5 } },
	};

	for (unsigned i = 0; i < sizeof(beside) / sizeof(beside[0]); i++)
		for (int warm = 0; warm < 2; warm++) {
			struct schedule schedule = { .name = "insert that splits, beside",
						     .fill = 27,
						     .present = 2,
						     .preemptions = 2,
						     .warm = warm };

			schedule.act[0][0] = (struct act){ ACT_INSERT, 0, 9 };
			memcpy(schedule.act[1], beside[i], sizeof(beside[i]));
			run(&schedule, 200);
		}
}

/* H3: what a cache still leads to after a split may have changed in the child. */
static void split__before_a_warm_get(void **state)
{
	run(SCENARIO(.name = "insert that splits + update, warm gets", .fill = 27, .present = 2,
		     .preemptions = 2, .warm = true,
		     .act = { { { ACT_INSERT, 0, 9 }, { ACT_UPDATE, 1, 8 }, { ACT_GET, 1, 0 } },
			      { { ACT_GET, 1, 0 }, { ACT_GET, 1, 0 } } }),
	    200);
	run(SCENARIO(.name = "insert that splits + delete, warm gets", .fill = 27, .present = 2,
		     .preemptions = 2, .warm = true,
		     .act = { { { ACT_INSERT, 0, 9 }, { ACT_DELETE, 1, 0 } },
			      { { ACT_GET, 1, 0 }, { ACT_UPDATE, 1, 3 } } }),
	    200);
}

/* H8: two that split the same subtable, and one more that writes. */
static void split__by_two(void **state)
{
	run(SCENARIO(.name = "two inserts that split, an update", .fill = 27, .present = 2,
		     .preemptions = 1,
		     .act = { { { ACT_INSERT, 0, 9 } },
			      { { ACT_INSERT, 2, 8 } },
			      { { ACT_UPDATE, 1, 7 }, { ACT_GET, 0, 0 } } }),
	    200);
}

/* H12: a move changes nothing, whoever writes, reads, moves or splits beside it. */
static void move__beside(void **state)
{
	const struct act beside[][SCHEDULE_ACTS] = {
		{ { ACT_UPDATE, 0, 1 }, { ACT_GET, 0, 0 } },
		{ { ACT_DELETE, 0, 0 }, { ACT_GET, 0, 0 } },
		{ { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 3 } },
		{ { ACT_GET, 0, 0 }, { ACT_GET, 1, 0 } },
		{ { ACT_PUT, 0, 1 }, { ACT_PUT, 0, 2 } },
		{ { ACT_INSERT, 2, 5 }, { ACT_UPDATE, 1, 2 } },
		{ { ACT_MOVE, 0, 0 }, { ACT_GET, 0, 0 } },
	};

	for (unsigned i = 0; i < sizeof(beside) / sizeof(beside[0]); i++)
		for (int k = 0; k < 4; k++) {
			struct schedule schedule = {
				.name = k / 2 ? "move in what fills up, beside" : "move, beside",
				.fill = k / 2 ? 26 : 0,
				.present = 3,
				.preemptions = k / 2 ? 2 : 3,
				.warm = k % 2
			};

			schedule.act[0][0] = (struct act){ ACT_MOVE, 0, 0 };
			schedule.act[0][1] = (struct act){ ACT_GET, 0, 0 };
			memcpy(schedule.act[1], beside[i], sizeof(beside[i]));
			run(&schedule, 50);
		}
}

static void move__beside_two(void **state)
{
	run(SCENARIO(.name = "move, update, update", .preemptions = 3, .present = 1,
		     .act = { { { ACT_MOVE, 0, 0 } },
			      { { ACT_UPDATE, 0, 1 }, { ACT_GET, 0, 0 } },
			      { { ACT_UPDATE, 0, 2 }, { ACT_GET, 0, 0 } } }),
	    200);
	run(SCENARIO(.name = "move, delete + insert, move", .preemptions = 3, .present = 1,
		     .act = { { { ACT_MOVE, 0, 0 } },
			      { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 1 } },
			      { { ACT_MOVE, 0, 0 }, { ACT_GET, 0, 0 } } }),
	    200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(insert__of_one_key_by_two),
		cmocka_unit_test(insert__of_one_key_by_three),
		cmocka_unit_test(insert__at_home_and_away),
		cmocka_unit_test(update__of_one_key),
		cmocka_unit_test(put__after_the_slot_changed_hands),
		cmocka_unit_test(get__beside_writers),
		cmocka_unit_test(split__beside),
		cmocka_unit_test(split__before_a_warm_get),
		cmocka_unit_test(split__by_two),
		cmocka_unit_test(move__beside),
		cmocka_unit_test(move__beside_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
