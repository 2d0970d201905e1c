/* SPDX-License-Identifier: MIT */
/*
 * While a dead client's blocks are asked about (H9, R6), another one goes on: whatever it repairs at whatever moment,
 * nothing that is in use is found to be free.
 */
#include "tests/ds/mock_private.h"
#include "tests/ds/schedule_private.h"

#include <string.h>

enum {
	DEAD_CLIENT,
	ADOPTER,
	OTHER
};

static struct run run;
static struct check check;
static unsigned long asked,
	hit; /* verbs of the adopter so far; before which one the other client works */

static enum mock_action die(struct mock_world *world, struct ptn_client *client, void *arg)
{
	if (client == run.actor[DEAD_CLIENT].client && run.verb++ == run.hit)
		return MOCK_DIE;
	return MOCK_GO;
}

static void work(unsigned index)
{
	while (schedule_can_run(&run.actor[index]))
		schedule_resume(&run, index);
}

static enum mock_action meddle(struct mock_world *world, struct ptn_client *client, void *arg)
{
	if (client == run.actor[ADOPTER].client && asked++ == hit)
		work(OTHER);
	return MOCK_GO;
}

/* False: the adopter had no such verb. */
static bool adopt(void)
{
	struct mock_world *world = run.world;

	asked = 0;
	world->before = meddle;
	mock_adopt(world, run.actor[ADOPTER].client);
	world->before = NULL;
	world->fibers = false;
	hash_check(world, &check);
	for (int i = 0; i < 4; i++)
		mock_epoch(world);
	hash_check(world, &check);
	assert_in_range(check.key_count, run.schedule->fill, run.schedule->fill + 1);
	return asked > hit;
}

/* What was there before is not the dead client's: asking about that repairs what others are to repair. */
static void own_all(void)
{
	struct mock_node *node = &run.world->node[0];
	uint8_t index = 0;

	while (run.world->client[index] != run.actor[ADOPTER].client)
		index++;
	for (uint32_t i = 0; i < node->block_count; i++)
		node->block[i].owner = index;
}

/* Every verb at which the one dies, every verb of the adoption before which the other repairs. */
static unsigned long all(const struct schedule *schedule, bool only_own)
{
	unsigned long count = 0;
	bool died;

	schedule_prepare(&run, schedule);
	for (run.hit = 0;; run.hit++) {
		bool more = true;

		for (hit = 0; more; hit++, count++) {
			schedule_open(&run);
			if (only_own)
				own_all();
			run.world->before = die;
			work(DEAD_CLIENT);
			died = mock_client_dead(run.actor[DEAD_CLIENT].client);
			if (died)
				more = adopt();
			schedule_close(&run);
			if (!died)
				break;
		}
		if (!died)
			break;
	}
	schedule_finish(&run);
	return count;
}

static void split__whose_client_died(void **state)
{
	const struct schedule schedule = {
		.name = "a split that is finished while its blocks are asked about",
		.fill = 28,
		.act = { { { ACT_INSERT, 0, 1 } }, { { ACT_GET, 0, 0 } }, { { ACT_PUT, 0, 2 } } },
	};

	print_message("%s: %lu runs\n", schedule.name,
		      all(&schedule, true) + all(&schedule, false));
}

/* The words of the one subtable. */
static uint64_t *words(void)
{
	uint8_t *region = run.world->node[0].region;
	const uint64_t *root = (const uint64_t *)(void *)(region + 4096);

	return (uint64_t *)(void *)(region + ptni_entry_offset(root[PTNI_ROOT_ENTRIES]));
}

/*
 * An insert that a freeze met, and a split that cannot go on (the node is full), leave a frozen tentative word; the
 * insert's block was given back and has become another key's of the same buckets. Wherever the two words are.
 */
static void block__that_a_frozen_tentative_word_names(void **state)
{
	const struct schedule schedule = {
		.name = "frozen",
		.fill = 10,
		.act = { { { ACT_GET, 0, 0 } }, { { ACT_GET, 0, 0 } } },
	};
	uint64_t code = ptni_hash_key(&(unsigned){ 1 }, 4, 11);
	struct ptni_place place;
	unsigned tried = 0;

	ptni_hash_place(code, SCHEDULE_GROUPS, &place);
	schedule_prepare(&run, &schedule);
	for (unsigned k = 0; k < 2 * PTNI_COMBINED_WORDS; k++) {
		uint32_t index = place.first[k / PTNI_COMBINED_WORDS] + k % PTNI_COMBINED_WORDS;
		uint64_t before = mock_blocks_held(run.world, 0);

		schedule_open(&run);
		if (ptni_word_is_slot(index) && !words()[index]) {
			for (uint32_t i = PTNI_SUB_HEAD_WORDS; !words()[index]; i++)
				if (ptni_word_is_slot(i) && words()[i])
					words()[index] = words()[i] | PTNI_SLOT_FLAGS;
			mock_client_kill(run.actor[DEAD_CLIENT].client);
			run.world->fibers = false;
			mock_adopt(run.world, run.actor[ADOPTER].client);
			assert_int_equal(mock_blocks_held(run.world, 0), before);
			tried++;
		}
		schedule_close(&run);
	}
	assert_in_range(tried, 18, 18);
	schedule_finish(&run);
}

/* --- moving while a split asks for memory ----------------------------------------------------------------------- */

static unsigned moves;

/* As compaction does in the worker that asks: every key's block is to be moved. Not again from in there. */
static void move_all(struct mock_world *world, struct ptn_client *client)
{
	struct mock_node *node = &world->node[0];
	uint32_t count = node->block_count;

	world->allocating = NULL;
	world->fibers = false;
	for (uint32_t i = 0; i < count; i++) {
		struct mock_block *block = &node->block[i];
		struct ptni_op op;

		if (block->state != MOCK_HELD || *(uint64_t *)block->addr == PTNI_SUBTABLE_MAGIC)
			continue;
		assert_int_equal(ptni_op_begin(mock_worker(client), &op), 0);
		moves += !ptni_hash_move(&run.actor[OTHER].hash->home[0], &op, block->addr,
					 block->block_class, (void *)block->addr, 16);
		ptni_op_end(&op);
	}
	world->fibers = true;
}

/*
 * A client dies at any verb of a split, another one goes on with it, and while it asks for memory for that its
 * worker moves blocks of the subtable that is half frozen. Nobody waits for anybody.
 */
static void split__that_moves_blocks(void **state)
{
	const struct schedule schedule = {
		.name = "moves in a split",
		.fill = 28,
		.act = { { { ACT_INSERT, 0, 1 } }, { { ACT_GET, 0, 0 } }, { { ACT_PUT, 0, 2 } } },
	};
	const uint64_t longest_ns = 100000000; /* an operation may take two seconds */
	bool died;

	schedule_prepare(&run, &schedule);
	for (run.hit = 0;; run.hit++) {
		uint64_t began_ns;

		schedule_open(&run);
		run.world->before = die;
		work(DEAD_CLIENT);
		run.world->before = NULL;
		died = mock_client_dead(run.actor[DEAD_CLIENT].client);
		began_ns = run.world->now_ns;
		run.world->allocating = move_all;
		work(OTHER);
		run.world->allocating = NULL;
		run.world->fibers = false;
		assert_int_equal(run.actor[OTHER].deed[0].result, 0);
		assert_in_range(run.world->now_ns - began_ns, 0, longest_ns);
		hash_check(run.world, &check);
		schedule_explain(&run, &check);
		schedule_close(&run);
		if (!died)
			break;
	}
	assert_true(moves > 0);
	schedule_finish(&run);
}

/* --- before the table is made ------------------------------------------------------------------------------ */

/* A world of its own: who dies making the table, who adopts before it is made, who makes it meanwhile. */
struct making {
	struct mock_world *world;
	struct ptn_client *client[3];
	struct ptn_hash *hash[3];
	unsigned long verb; /* of client `counted` */
	struct ptn_client *counted;
	bool dies;
};
static struct making making;

static int make_table(unsigned who)
{
	struct ptni_hash_params params = { SCHEDULE_GROUPS, 1, 11 };
	struct ptn_hash_options options = { .size = sizeof(options), .cache_entries = 64 };

	return ptni_hash_open(mock_worker(making.client[who]), "t", &options, &params,
			      &making.hash[who]);
}

static void make_main(void *arg)
{
	(void)make_table(arg == &making.client[ADOPTER] ? ADOPTER : DEAD_CLIENT);
}

static void make_and_fill(void)
{
	making.world->fibers = false;
	assert_int_equal(make_table(OTHER), 0);
	for (unsigned key = 0; key < 10; key++)
		assert_int_equal(ptn_hash_put(mock_worker(making.client[OTHER]), making.hash[OTHER],
					      &key, 4, &key, 4),
				 0);
	making.world->fibers = true;
}

static enum mock_action die_or_meddle(struct mock_world *world, struct ptn_client *client,
				      void *arg)
{
	if (client != making.counted || making.verb++ != hit)
		return MOCK_GO;
	if (making.dies)
		return MOCK_DIE;
	make_and_fill();
	return MOCK_GO;
}

/* False: nobody died, or the adopter has no such verb. */
static bool make_once(struct ptni_fiber_pool *pool, unsigned long death, unsigned long verb)
{
	struct ptni_fiber *fiber[2];
	bool died, met;

	making.world = mock_world_new(1);
	making.world->before = die_or_meddle;
	making.world->fibers = true;
	for (int i = 0; i < 3; i++)
		making.client[i] = mock_client_new(making.world);
	for (int i = 0; i < 2; i++)
		assert_int_equal(ptni_fiber_create(pool, make_main, &making.client[i], &fiber[i]),
				 0);
	making.counted = making.client[DEAD_CLIENT];
	making.dies = true;
	making.verb = 0;
	hit = death;
	(void)ptni_fiber_resume(fiber[ADOPTER]); /* it begins to make the table */
	while (!mock_client_dead(making.client[DEAD_CLIENT]) &&
	       ptni_fiber_resume(fiber[DEAD_CLIENT]))
		;
	died = mock_client_dead(making.client[DEAD_CLIENT]);
	making.counted = making.client[ADOPTER];
	making.dies = false;
	making.verb = 0;
	hit = verb;
	if (died)
		mock_adopt(making.world, making.client[ADOPTER]);
	met = making.verb > verb;
	making.world->before = NULL;
	while (ptni_fiber_resume(fiber[ADOPTER]))
		;
	making.world->fibers = false;
	if (died && met) {
		hash_check(making.world, &check);
		assert_int_equal(check.key_count, 10);
	}
	ptni_fiber_pool_abandon(pool);
	for (int i = 0; i < 3; i++)
		if (making.client[i]->hook) /* also a handle that its client died over */
			ptn_hash_close(making.client[i]->hook_arg);
	memset(making.hash, 0, sizeof(making.hash));
	mock_world_free(making.world);
	return died && met;
}

/* The table is finished, and used, while the block of its first subtable is asked about by who has not finished it. */
static void table__that_is_made_meanwhile(void **state)
{
	struct ptni_fiber_pool *pool;
	unsigned long met = 0, verb;

	assert_int_equal(ptni_fiber_pool_open(4, 0, &pool), 0);
	for (unsigned long death = 0; death < 30; death++)
		for (verb = 0; make_once(pool, death, verb); verb++)
			met++;
	assert_true(met > 0);
	assert_int_equal(ptni_fiber_pool_close(pool), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table__that_is_made_meanwhile),
		cmocka_unit_test(split__that_moves_blocks),
		cmocka_unit_test(block__that_a_frozen_tentative_word_names),
		cmocka_unit_test(split__whose_client_died),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
