/* SPDX-License-Identifier: MIT */
/*
 * A client dies before each verb of each operation, or its lane fails there: H9 and H10 of
 * ds/hashtable/table.h. The next client repairs what it meets, and adoption finds the rest.
 */
#include "ds/hashtable/table.h"
#include "tests/ds/schedule.h"

#include <string.h>

static const struct schedule scenarios[] = {
	{ .name = "insert", .act = { { { ACT_INSERT, 0, 1 } } } },
	{ .name = "put, get", .act = { { { ACT_PUT, 0, 1 }, { ACT_GET, 0, 0 } } } },
	{ .name = "update",
	  .present = 1,
	  .act = { { { ACT_UPDATE, 0, 1 }, { ACT_UPDATE, 0, 2 } } } },
	{ .name = "warm update",
	  .present = 1,
	  .warm = true,
	  .act = { { { ACT_UPDATE, 0, 1 }, { ACT_PUT, 0, 2 } } } },
	{ .name = "delete, insert",
	  .present = 1,
	  .act = { { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 3 } } } },
	{ .name = "insert away",
	  .fill = 14,
	  .act = { { { ACT_INSERT, 0, 1 }, { ACT_DELETE, 0, 0 } } } },
	{ .name = "insert that splits", .fill = 28, .act = { { { ACT_INSERT, 0, 1 } } } },
	{ .name = "insert that splits, by those who have less time than patience",
	  .fill = 28,
	  .op_timeout_ns = PTNI_SPLIT_PATIENCE_NS * 3 / 5,
	  .act = { { { ACT_INSERT, 0, 1 } } } },
	{ .name = "put that splits beside alike keys",
	  .fill = 25,
	  .present = 14,
	  .act = { { { ACT_PUT, 0, 1 }, { ACT_UPDATE, 1, 5 } } } },
	{ .name = "insert beside an insert",
	  .fill = 3,
	  .act = { { { ACT_INSERT, 0, 1 } }, { { ACT_INSERT, 0, 2 } } } },
	{ .name = "insert that splits, then another's",
	  .fill = 28,
	  .act = { { { ACT_INSERT, 0, 1 } }, { { ACT_INSERT, 1, 2 }, { ACT_GET, 0, 0 } } } },
	{ .name = "updates together",
	  .present = 7,
	  .warm = true,
	  .together = true,
	  .act = { { { ACT_UPDATE, 0, 1 }, { ACT_UPDATE, 1, 2 }, { ACT_UPDATE, 2, 3 } } } },
	{ .name = "puts together, one key twice",
	  .present = 5,
	  .warm = true,
	  .together = true,
	  .act = { { { ACT_PUT, 0, 1 }, { ACT_PUT, 1, 2 }, { ACT_PUT, 0, 3 } } } },
	{ .name = "updates together beside others",
	  .present = 3,
	  .warm = true,
	  .together = true,
	  .act = { { { ACT_UPDATE, 0, 1 }, { ACT_UPDATE, 1, 2 } },
		   { { ACT_UPDATE, 1, 3 }, { ACT_UPDATE, 2, 4 } } } },
};

static void death__before_every_verb(void **state)
{
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		print_message("%-36s %6lu deaths\n", scenarios[i].name,
			      schedule_crash(&scenarios[i]));
}

static void lane__fails_at_every_verb(void **state)
{
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		print_message("%-36s %6lu failures\n", scenarios[i].name,
			      schedule_break(&scenarios[i]));
}

/* Three clients that keep at it, any of which may die or lose a lane at any verb. */
static void mishaps__at_random(void **state)
{
	const struct schedule mixed[] = {
		{ .name = "one key",
		  .present = 1,
		  .act = { { { ACT_PUT, 0, 1 }, { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 2 } },
			   { { ACT_INSERT, 0, 3 }, { ACT_UPDATE, 0, 4 }, { ACT_GET, 0, 0 } },
			   { { ACT_DELETE, 0, 0 }, { ACT_PUT, 0, 5 }, { ACT_GET, 0, 0 } } } },
		{ .name = "a split",
		  .present = 3,
		  .fill = 26,
		  .act = { { { ACT_PUT, 2, 1 }, { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 2 } },
			   { { ACT_INSERT, 2, 3 }, { ACT_UPDATE, 0, 4 }, { ACT_GET, 1, 0 } },
			   { { ACT_INSERT, 3, 6 }, { ACT_PUT, 1, 5 }, { ACT_GET, 2, 0 } } } },
		{ .name = "a split, READs not atomic",
		  .present = 3,
		  .fill = 26,
		  .sliced = true,
		  .act = { { { ACT_PUT, 2, 1 }, { ACT_GET, 0, 0 }, { ACT_INSERT, 0, 2 } },
			   { { ACT_INSERT, 2, 3 }, { ACT_DELETE, 0, 0 }, { ACT_GET, 1, 0 } },
			   { { ACT_INSERT, 3, 6 }, { ACT_INSERT, 0, 5 }, { ACT_GET, 2, 0 } } } },
	};

	for (unsigned i = 0; i < 3; i++)
		schedule_random(&mixed[i], 1, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(death__before_every_verb),
		cmocka_unit_test(lane__fails_at_every_verb),
		cmocka_unit_test(mishaps__at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
