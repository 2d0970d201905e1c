/* SPDX-License-Identifier: MIT */
/*
 * A lane fails and cannot be fenced in time: the operation ends with an error, and what it had on its way lands later,
 * or never (ptni_batch_run). At every verb of every operation: no memory that such a request would write to, or
 * publish, is used for anything else, and when it lands the table is what it was, with the operation done or not.
 */
#include "tests/ds/schedule_private.h"

static struct run run;
static struct check check;

static const struct schedule scenarios[] = {
	{ .name = "insert", .act = { { { ACT_INSERT, 0, 1 }, { ACT_PUT, 1, 2 } } } },
	{ .name = "update",
	  .present = 1,
	  .act = { { { ACT_UPDATE, 0, 1 }, { ACT_UPDATE, 0, 2 }, { ACT_GET, 0, 0 } } } },
	{ .name = "warm update",
	  .present = 1,
	  .warm = true,
	  .act = { { { ACT_UPDATE, 0, 1 }, { ACT_PUT, 0, 2 } } } },
	{ .name = "delete, insert",
	  .present = 1,
	  .act = { { { ACT_DELETE, 0, 0 }, { ACT_INSERT, 0, 3 } } } },
	{ .name = "insert away",
	  .fill = 14,
	  .act = { { { ACT_INSERT, 0, 1 }, { ACT_DELETE, 0, 0 }, { ACT_PUT, 0, 2 } } } },
	{ .name = "insert that splits",
	  .fill = 28,
	  .act = { { { ACT_INSERT, 0, 1 }, { ACT_PUT, 1, 2 } } } },
	{ .name = "insert that splits, then another's",
	  .fill = 28,
	  .act = { { { ACT_INSERT, 0, 1 }, { ACT_PUT, 0, 3 } },
		   { { ACT_INSERT, 1, 2 }, { ACT_GET, 0, 0 } } } },
	{ .name = "insert, then another's",
	  .fill = 3,
	  .act = { { { ACT_INSERT, 0, 1 } }, { { ACT_INSERT, 0, 2 }, { ACT_DELETE, 0, 0 } } } },
	{ .name = "puts together, one key twice",
	  .present = 5,
	  .warm = true,
	  .together = true,
	  .act = { { { ACT_PUT, 0, 1 }, { ACT_PUT, 1, 2 }, { ACT_PUT, 0, 3 } } } },
	{ .name = "move",
	  .present = 7,
	  .act = { { { ACT_MOVE, 0, 0 }, { ACT_GET, 0, 0 }, { ACT_MOVE, 0, 0 } } } },
	{ .name = "move, then others",
	  .present = 3,
	  .act = { { { ACT_MOVE, 0, 0 } },
		   { { ACT_UPDATE, 0, 2 }, { ACT_MOVE, 0, 0 }, { ACT_DELETE, 1, 0 } } } },
};

static enum mock_action strike(struct mock_world *world, struct ptn_client *client, void *arg)
{
	if (client != run.actor[0].client || run.verb++ != run.hit)
		return MOCK_GO;
	return MOCK_GIVE_UP;
}

static unsigned long give_up(const struct schedule *schedule, bool lands)
{
	schedule_prepare(&run, schedule);
	for (run.hit = 0;; run.hit++) {
		schedule_open(&run);
		run.world->before = strike;
		for (unsigned i = 0; i < run.actors; i++)
			while (schedule_can_run(&run.actor[i]))
				schedule_resume(&run, i);
		run.world->before = NULL;
		run.world->fibers = false;
		hash_check(run.world, &check);
		mock_land(run.world, lands);
		hash_check(run.world, &check);
		schedule_explain(&run, &check);
		for (int i = 0; i < 4; i++)
			mock_epoch(run.world);
		hash_check(run.world, &check);
		schedule_close(&run);
		if (run.verb <= run.hit)
			break;
	}
	schedule_finish(&run);
	return run.hit;
}

static void request__that_lands_late(void **state)
{
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		print_message("%-36s %6lu given up\n", scenarios[i].name,
			      give_up(&scenarios[i], true));
}

static void request__that_never_lands(void **state)
{
	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		(void)give_up(&scenarios[i], false);
}

/* --- at random -------------------------------------------------------------------------------------------- */

static struct ptni_rng rng;

static enum mock_action mishap(struct mock_world *world, struct ptn_client *client, void *arg)
{
	if (ptni_rng_chance(&rng, 1, 60) && world->late_count + PTNI_BATCH_MAX <= MOCK_LATE_MAX)
		return MOCK_GIVE_UP;
	return ptni_rng_chance(&rng, 1, 60) ? MOCK_BREAK_AFTER : MOCK_GO;
}

static bool step(void)
{
	unsigned alive[SCHEDULE_CLIENTS], n = 0;

	for (unsigned i = 0; i < run.actors; i++)
		if (schedule_can_run(&run.actor[i]))
			alive[n++] = i;
	if (!n)
		return false;
	schedule_resume(&run, alive[ptni_rng_below(&rng, n)]);
	if (ptni_rng_chance(&rng, 1, 30))
		mock_land(run.world, true);
	if (ptni_rng_chance(&rng, 1, 10))
		mock_epoch(run.world);
	return true;
}

static void at_random(const struct schedule *schedule, unsigned count)
{
	schedule_prepare(&run, schedule);
	for (unsigned seed = 1; seed <= count; seed++) {
		ptni_rng_seed(&rng, seed);
		schedule_open(&run);
		run.world->before = mishap;
		while (step())
			;
		run.world->before = NULL;
		run.world->fibers = false;
		mock_land(run.world, true);
		hash_check(run.world, &check);
		schedule_explain(&run, &check);
		for (int i = 0; i < 4; i++)
			mock_epoch(run.world);
		hash_check(run.world, &check);
		schedule_close(&run);
	}
	schedule_finish(&run);
}

static void requests__that_land_at_random(void **state)
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
	};

	for (unsigned i = 0; i < 2; i++)
		at_random(&mixed[i], 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request__that_lands_late),
		cmocka_unit_test(request__that_never_lands),
		cmocka_unit_test(requests__that_land_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
