/* SPDX-License-Identifier: MIT */
/*
 * A client dies before each verb of each operation, or its lane fails there: H9 and H10 of
 * ds/hashtable/table.h. The next client repairs what it meets, and adoption finds the rest.
 */
#include "ds/hashtable/table.h"
#include "tests/ds/schedule.h"

#include <string.h>

enum {
	KEYS = 300
};

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
	{ .name = "move", .present = 7, .act = { { { ACT_MOVE, 0, 0 }, { ACT_GET, 0, 0 } } } },
	{ .name = "move, update, move",
	  .present = 3,
	  .act = { { { ACT_MOVE, 0, 0 }, { ACT_UPDATE, 0, 1 }, { ACT_MOVE, 0, 0 } } } },
	{ .name = "move, then another's",
	  .present = 3,
	  .act = { { { ACT_MOVE, 0, 0 } },
		   { { ACT_MOVE, 0, 0 }, { ACT_UPDATE, 1, 2 }, { ACT_DELETE, 0, 0 } } } },
	{ .name = "a split, then a move",
	  .present = 3,
	  .fill = 26,
	  .act = { { { ACT_INSERT, 2, 1 } }, { { ACT_MOVE, 0, 0 }, { ACT_GET, 0, 0 } } } },
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

/* H3, of who asks whether a block is in use: its directory may know of no split, and nothing tells it before. */
static void adopter__with_an_old_directory(void **state)
{
	static struct check check;
	struct ptni_hash_params params = { .groups = 2, .subtables = 1, .seed = 7 };
	struct ptn_hash_options options = { .size = sizeof(options), .cache_entries = 64 };
	struct mock_world *world = mock_world_new(1);
	struct ptn_client *client[2];
	struct ptn_hash *hash[2];

	for (unsigned i = 0; i < 2; i++) {
		client[i] = mock_client_new(world);
		assert_int_equal(ptni_hash_open(mock_worker(client[i]), "t", &options, &params,
						&hash[i]),
				 0);
	}
	for (unsigned key = 0; key < KEYS; key++)
		assert_int_equal(ptn_hash_put(mock_worker(client[0]), hash[0], &key, sizeof(key),
					      &key, sizeof(key)),
				 0);
	hash_check(world, &check);
	assert_true(check.subtables > 4);
	mock_client_kill(client[0]);
	mock_adopt(world, client[1]);
	hash_check(world, &check);
	assert_int_equal(check.key_count, KEYS);
	assert_int_equal(check.leaked, 0);
	ptn_hash_close(hash[0]);
	ptn_hash_close(hash[1]);
	mock_world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(death__before_every_verb),
		cmocka_unit_test(lane__fails_at_every_verb),
		cmocka_unit_test(mishaps__at_random),
		cmocka_unit_test(adopter__with_an_old_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
