/* SPDX-License-Identifier: MIT */
#include "tests/ds/schedule_private.h"

#include "core/base/rng.h"
#include "ds/hashtable/table.h"
#include "tests/ds/locals.h"

#include <stdio.h>
#include <string.h>

enum {
	RECORD_BYTES = PTNI_BLOCK_HEAD_BYTES + 4 + 4,
};

static struct check check;

static struct ptn_hash *open_table(const struct schedule *schedule, struct ptn_client *client)
{
	struct ptni_hash_params params = { SCHEDULE_GROUPS, schedule_subtables(schedule),
					   SCHEDULE_SEED };
	struct ptn_hash_options options = { .size = sizeof(options), .cache_entries = 64 };
	struct ptn_hash *hash;

	assert_int_equal(ptni_hash_open(mock_worker(client), "t", &options, &params, &hash), 0);
	return hash;
}

/* As a client that has just opened the table: empty caches, the directory as it is. */
static void reset_table(struct ptn_client *client, struct ptn_hash *hash)
{
	struct ptni_directory *directory = &hash->directory;
	struct ptni_hash_worker *state = atomic_load(&hash->worker[1]);
	struct ptni_hash_op op;

	mock_client_reset(client);
	for (uint32_t i = 0; i < 1u << atomic_load(&directory->depth); i++)
		atomic_store(&directory->entry[i], 0);
	atomic_store(&directory->depth, 0);
	directory->changes = 0;
	memset(state->cache.set, 0, (state->cache.mask + 1) * sizeof(*state->cache.set));
	state->scratch_busy = false;
	state->doubt = state->asked = 0;
	assert_int_equal(ptni_hash_op_begin(&op, mock_worker(client), hash, NULL, 0), 0);
	assert_int_equal(ptni_directory_refresh(&op), 0);
	ptni_hash_op_end(&op);
}

/* The table as every run finds it. */
void schedule_prepare(struct run *run, const struct schedule *schedule)
{
	unsigned fill[SCHEDULE_FILL_MAX];
	struct ptn_client *client;
	struct ptn_hash *hash;

	memset(run, 0, sizeof(*run));
	locals_forget();
	run->schedule = schedule;
	run->world = mock_world_new(1);
	schedule_choose_keys(run, fill);
	client = mock_client_new(run->world);
	hash = open_table(schedule, client);
	for (uint32_t i = 0; i < SCHEDULE_KEYS; i++) {
		uint32_t value = 100 + i;

		if (schedule->present >> i & 1)
			assert_int_equal(ptn_hash_put(mock_worker(client), hash, &run->key[i], 4,
						      &value, 4),
					 0);
	}
	for (uint32_t i = 0; i < run->world->node[0].block_count; i++) {
		const struct mock_block *block = &run->world->node[0].block[i];

		if (block->block_class == ptni_block_class(RECORD_BYTES))
			run->block[run->blocks++] = block->addr;
	}
	for (unsigned i = 0; i < schedule->fill; i++)
		assert_int_equal(ptn_hash_put(mock_worker(client), hash, &fill[i], 4, &fill[i], 4),
				 0);
	hash_check(run->world, &check);
	assert_int_equal(check.subtables, schedule_subtables(schedule));
	ptn_hash_close(hash);
	mock_client_free(client);
	run->image = mock_save(run->world);
	while (run->actors < SCHEDULE_CLIENTS && schedule->act[run->actors][0].kind) {
		struct actor *actor = &run->actor[run->actors];

		locals_of((int)run->actors++);
		actor->run = run;
		actor->client = mock_client_new(run->world);
		actor->hash = open_table(schedule, actor->client);
		locals_of(LOCALS_NOBODY);
		assert_int_equal(ptni_fiber_pool_open(1, 0, &actor->pool), 0);
	}
	run->after = mock_client_new(run->world);
	run->after_hash = open_table(schedule, run->after);
}

void schedule_finish(struct run *run)
{
	for (unsigned i = 0; i < run->actors; i++) {
		ptn_hash_close(run->actor[i].hash);
		assert_int_equal(ptni_fiber_pool_close(run->actor[i].pool), 0);
	}
	ptn_hash_close(run->after_hash);
	mock_image_free(run->image);
	mock_world_free(run->world);
}

/* --- clients ------------------------------------------------------------------------------------------ */

static int blocks_read(struct ptni_op *op, const struct actor *actor, uint8_t *to, size_t len)
{
	const struct ptni_window *window;
	struct ptni_batch batch;

	ptni_batch_init(&batch, op, 0);
	for (unsigned i = 0; i < actor->run->blocks; i++) {
		assert_int_equal(ptni_space_window_fetch(op, actor->hash->space[0],
							 actor->run->block[i], &window),
				 0);
		ptni_batch_read(&batch, window, actor->run->block[i], to + i * len, (uint32_t)len);
	}
	return ptni_batch_run(&batch);
}

/* As alloc/adopt.c does it. */
static int move_all(struct actor *actor)
{
	unsigned block_class = ptni_block_class(RECORD_BYTES), count = actor->run->blocks;
	size_t len = ptni_block_class_bytes(block_class);
	struct ptni_scan scan[SCHEDULE_KEYS];
	struct ptni_op op;
	uint8_t *prefix;
	int ret = ptni_op_begin(mock_worker(actor->client), &op);

	assert_int_equal(ret, 0);
	prefix = ptni_op_buffer(&op, count * len);
	ret = blocks_read(&op, actor, prefix, len);
	for (unsigned i = 0; i < count; i++) {
		scan[i].addr = actor->run->block[i];
		scan[i].prefix = prefix + i * len;
	}
	if (!ret)
		ret = ptni_hash_scan(&actor->hash->home[0], &op, block_class, len, true, scan,
				     count);
	for (unsigned i = 0; i < count && !ret; i++)
		assert_in_range(scan[i].result, 0, PTNI_SCAN_STAYS);
	ptni_op_end(&op);
	return ret;
}

static int perform(struct actor *actor, struct deed *deed)
{
	struct ptn_worker *worker = mock_worker(actor->client);
	const unsigned *key = &actor->run->key[deed->act.key];
	const uint32_t *value = &deed->act.value;
	size_t len = 0;
	int ret;

	switch (deed->act.kind) {
	case ACT_GET:
		ret = ptn_hash_get(worker, actor->hash, key, 4, &deed->got, 4, &len);
		if (!ret)
			assert_int_equal(len, 4);
		return ret;
	case ACT_PUT:
		return ptn_hash_put(worker, actor->hash, key, 4, value, 4);
	case ACT_INSERT:
		return ptn_hash_insert(worker, actor->hash, key, 4, value, 4);
	case ACT_UPDATE:
		return ptn_hash_update(worker, actor->hash, key, 4, value, 4);
	case ACT_MOVE:
		return move_all(actor);
	default:
		return ptn_hash_delete(worker, actor->hash, key, 4);
	}
}

static void get_together(struct actor *actor)
{
	struct ptn_hash_item item[SCHEDULE_ACTS];

	for (unsigned i = 0; i < actor->count; i++)
		item[i] = (struct ptn_hash_item){
			&actor->run->key[actor->deed[i].act.key], 4, &actor->deed[i].got, 4, 0, 0
		};
	(void)ptn_hash_multi_get(mock_worker(actor->client), actor->hash, item, actor->count);
	for (unsigned i = 0; i < actor->count; i++)
		actor->deed[i].result = item[i].result;
}

static void write_together(struct actor *actor)
{
	struct ptn_hash_write item[SCHEDULE_ACTS];

	for (unsigned i = 0; i < actor->count; i++)
		item[i] = (struct ptn_hash_write){ &actor->run->key[actor->deed[i].act.key], 4,
						   &actor->deed[i].act.value, 4, 0 };
	(void)(actor->deed[0].act.kind == ACT_PUT ? ptn_hash_multi_put : ptn_hash_multi_update)(
		mock_worker(actor->client), actor->hash, item, actor->count);
	for (unsigned i = 0; i < actor->count; i++)
		actor->deed[i].result = item[i].result;
}

/* What was given up may yet take effect, as a dead client's. */
static void deed_end(struct actor *actor, struct deed *deed)
{
	bool given_up = deed->result == -ETIMEDOUT;

	deed->ended = given_up ? 0 : ++actor->run->events;
	deed->outcome = given_up ? DEAD : deed->result == PTN_E_OUTCOME_UNKNOWN ? UNKNOWN : DONE;
}

static void act_together(struct actor *actor)
{
	for (unsigned i = 0; i < actor->count; i++) {
		actor->deed[i].began = ++actor->run->events;
		actor->deed[i].outcome = RUNNING;
	}
	if (actor->deed[0].act.kind == ACT_GET)
		get_together(actor);
	else
		write_together(actor);
	for (unsigned i = 0; i < actor->count; i++) {
		deed_end(actor, &actor->deed[i]);
	}
	actor->finished = true;
}

static void actor_main(void *arg)
{
	struct actor *actor = arg;

	actor->stack_high = __builtin_frame_address(0);
	if (actor->run->schedule->together) {
		act_together(actor);
		return;
	}
	for (unsigned i = 0; i < actor->count; i++) {
		struct deed *deed = &actor->deed[i];

		deed->began = ++actor->run->events;
		deed->outcome = RUNNING;
		deed->result = perform(actor, deed);
		deed_end(actor, deed);
	}
	actor->finished = true;
}

static void actor_open(struct run *run, unsigned index)
{
	struct actor *actor = &run->actor[index];
	uint32_t got;
	size_t len;

	reset_table(actor->client, actor->hash);
	memset(actor->deed, 0, sizeof(actor->deed));
	actor->count = 0;
	actor->finished = false;
	for (unsigned i = 0; i < SCHEDULE_ACTS; i++) {
		actor->deed[i].act = run->schedule->act[index][i];
		if (actor->deed[i].act.kind)
			actor->count++;
	}
	for (unsigned i = 0; run->schedule->warm && i < SCHEDULE_KEYS; i++)
		if (run->schedule->present >> i & 1)
			assert_int_equal(ptn_hash_get(mock_worker(actor->client), actor->hash,
						      &run->key[i], 4, &got, 4, &len),
					 0);
	assert_int_equal(ptni_fiber_create(actor->pool, actor_main, actor, &actor->fiber), 0);
}

void schedule_open(struct run *run)
{
	mock_restore(run->world, run->image);
	run->events = 0;
	run->verb = 0;
	for (unsigned i = 0; i < run->actors; i++)
		actor_open(run, i);
	run->world->fibers = true;
	run->world->sliced = run->schedule->sliced;
	run->world->op_timeout_ns = run->schedule->op_timeout_ns;
}

void schedule_close(struct run *run)
{
	run->world->fibers = false;
	run->world->sliced = false;
	run->world->before = NULL;
	for (unsigned i = 0; i < run->actors; i++)
		if (ptni_fiber_pool_live(run->actor[i].pool))
			ptni_fiber_pool_abandon(run->actor[i].pool);
}

bool schedule_can_run(const struct actor *actor)
{
	return !actor->finished && !mock_client_dead(actor->client);
}

void schedule_resume(struct run *run, unsigned index)
{
	struct actor *actor = &run->actor[index];

	(void)ptni_fiber_resume(actor->fiber);
	for (unsigned i = 0; mock_client_dead(actor->client) && i < actor->count; i++)
		if (actor->deed[i].outcome == RUNNING)
			actor->deed[i].outcome = DEAD;
}

/* --- every schedule ----------------------------------------------------------------------------------- */

static unsigned choose(struct chooser *chooser, unsigned options)
{
	assert_true(chooser->at < SCHEDULE_STEPS_MAX);
	if (chooser->at == chooser->length) {
		chooser->choice[chooser->length] = 0;
		chooser->options[chooser->length++] = (uint8_t)options;
	}
	assert_int_equal(chooser->options[chooser->at], options); /* runs must repeat */
	return chooser->choice[chooser->at++];
}

/* False: there is no next one. */
static bool chooser_next(struct chooser *chooser)
{
	while (chooser->length &&
	       chooser->choice[chooser->length - 1] + 1 == chooser->options[chooser->length - 1])
		chooser->length--;
	if (!chooser->length)
		return false;
	chooser->choice[chooser->length - 1]++;
	chooser->at = 0;
	return true;
}

/* Who is next: the one that ran last if it can, others for a preemption. */
static int next_actor(struct run *run, int last, unsigned *preemptions)
{
	unsigned runnable[SCHEDULE_CLIENTS], count = 0, choice;
	bool goes_on = last >= 0 && schedule_can_run(&run->actor[last]);

	if (goes_on)
		runnable[count++] = (unsigned)last;
	for (unsigned i = 0; i < run->actors; i++)
		if ((int)i != last && schedule_can_run(&run->actor[i]))
			runnable[count++] = i;
	if (!count)
		return -1;
	if (count == 1 || (goes_on && !*preemptions))
		return (int)runnable[0];
	choice = choose(&run->chooser, count);
	if (goes_on && choice)
		(*preemptions)--;
	return (int)runnable[choice];
}

void schedule_must_be_clean(struct run *run)
{
	hash_check(run->world, &check);
	schedule_explain(run, &check);
	assert_int_equal(check.leaked, 0);
	assert_int_equal(check.tentative, 0);
	assert_int_equal(check.superseded, 0);
	assert_int_equal(check.frozen, 0);
	assert_int_equal(check.key_count >= run->schedule->fill, 1);
}

unsigned long schedule_run(const struct schedule *schedule)
{
	static struct run run;
	unsigned long count = 0;

	schedule_prepare(&run, schedule);
	do {
		unsigned preemptions = schedule->preemptions;
		int last = -1;

		schedule_open(&run);
		while ((last = next_actor(&run, last, &preemptions)) >= 0)
			schedule_resume(&run, (unsigned)last);
		schedule_must_be_clean(&run);
		schedule_close(&run);
		count++;
	} while (chooser_next(&run.chooser));
	schedule_finish(&run);
	return count;
}

/* --- death and broken lanes ----------------------------------------------------------------------------- */

static enum mock_action strike(struct mock_world *world, struct ptn_client *client, void *arg)
{
	struct run *run = arg;

	if (client != run->actor[0].client || run->verb++ != run->hit)
		return MOCK_GO;
	return run->action;
}

/* A second client does everything, so that it meets whatever the first one left behind. */
static void work_after(struct run *run)
{
	struct ptn_client *client = run->after;
	struct ptn_worker *worker = mock_worker(client);
	struct ptn_hash *hash = run->after_hash;
	uint32_t one = 1, two = 2, got;
	unsigned keys;
	size_t len;

	reset_table(client, hash);
	for (unsigned i = 0; i < SCHEDULE_KEYS; i++) {
		const struct check_key *key = hash_check_find(&check, &run->key[i], 4);
		int ret = ptn_hash_get(worker, hash, &run->key[i], 4, &got, 4, &len);

		assert_int_equal(ret, key ? 0 : -ENOENT);
		if (key)
			assert_memory_equal(&got, key->value, 4);
		ret = ptn_hash_insert(worker, hash, &run->key[i], 4, &one, 4);
		assert_int_equal(ret, key ? -EEXIST : 0);
		assert_int_equal(ptn_hash_update(worker, hash, &run->key[i], 4, &two, 4), 0);
		assert_int_equal(ptn_hash_delete(worker, hash, &run->key[i], 4), 0);
	}
	hash_check(run->world, &check);
	keys = check.key_count;
	for (unsigned i = 0; i < 60; i++) {
		unsigned key = 1000000 + i;

		assert_int_equal(ptn_hash_put(worker, hash, &key, 4, &key, 4), 0);
	}
	/* H10, for each act; a lane that fails again and again adds to it */
	hash_check(run->world, &check);
	assert_int_equal(check.key_count, keys + 60);
	assert_in_range(check.leaked, 0, 5 * run->actors);
	for (int i = 0; i < 4; i++)
		mock_epoch(run->world);
	mock_adopt(run->world, client);
	for (int i = 0; i < 4; i++)
		mock_epoch(run->world);
	hash_check(run->world, &check);
	assert_int_equal(check.key_count, keys + 60);
	assert_int_equal(check.leaked, 0);
	assert_int_equal(check.tentative, 0);
}

/* Nothing else happens first: adoption alone clears away what the dead left. */
static void adopt_at_once(struct run *run)
{
	reset_table(run->after, run->after_hash);
	mock_adopt(run->world, run->after);
	hash_check(run->world, &check);
	assert_int_equal(check.leaked, 0);
	assert_true(!check.tentative || check.frozen);
	schedule_explain(run, &check);
	for (int i = 0; i < 4; i++)
		mock_epoch(run->world);
}

static void run_all(struct run *run)
{
	for (unsigned i = 0; i < run->actors; i++)
		while (schedule_can_run(&run->actor[i]))
			schedule_resume(run, i);
}

unsigned long schedule_crash(const struct schedule *schedule)
{
	static struct run run;
	bool adopt = false;

	schedule_prepare(&run, schedule);
	run.action = MOCK_DIE;
	for (run.hit = 0;; run.hit += !adopt) {
		bool died;

		adopt = !adopt; /* each death twice */
		schedule_open(&run);
		run.world->before = strike;
		run.world->before_arg = &run;
		run_all(&run);
		run.world->before = NULL;
		run.world->fibers = false;
		died = mock_client_dead(run.actor[0].client);
		hash_check(run.world, &check);
		schedule_explain(&run, &check);
		if (adopt)
			adopt_at_once(&run);
		hash_check(run.world, &check);
		work_after(&run);
		schedule_close(&run);
		if (!died)
			break;
	}
	schedule_finish(&run);
	return run.hit;
}

unsigned long schedule_break(const struct schedule *schedule)
{
	static struct run run;
	unsigned long count = 0;

	for (unsigned done = 0; done < 2; done++) {
		schedule_prepare(&run, schedule);
		run.action = done ? MOCK_BREAK_AFTER : MOCK_BREAK_BEFORE;
		for (run.hit = 0;; run.hit++, count++) {
			schedule_open(&run);
			run.world->before = strike;
			run.world->before_arg = &run;
			run_all(&run);
			run.world->before = NULL;
			run.world->fibers = false;
			hash_check(run.world, &check);
			schedule_explain(&run, &check);
			mock_client_kill(
				run.actor[0].client); /* so that adoption finds its leaks */
			work_after(&run);
			schedule_close(&run);
			if (run.verb <= run.hit)
				break;
		}
		schedule_finish(&run);
	}
	return count;
}

/* --- at random -------------------------------------------------------------------------------------------- */

static enum mock_action mishap(struct mock_world *world, struct ptn_client *client, void *arg)
{
	struct run *run = arg;

	if (ptni_rng_chance(run->rng, 1, 100))
		return MOCK_BREAK_BEFORE;
	if (ptni_rng_chance(run->rng, 1, 100))
		return MOCK_BREAK_AFTER;
	return ptni_rng_chance(run->rng, 1, 200) ? MOCK_DIE : MOCK_GO;
}

unsigned long schedule_random(const struct schedule *schedule, uint64_t first, unsigned count)
{
	static struct run run;
	struct ptni_rng rng;

	schedule_prepare(&run, schedule);
	run.rng = &rng;
	for (uint64_t seed = first; seed < first + count; seed++) {
		ptni_rng_seed(&rng, seed);
		schedule_open(&run);
		run.world->before = mishap;
		run.world->before_arg = &run;
		for (;;) {
			unsigned alive[SCHEDULE_CLIENTS], n = 0;

			for (unsigned i = 0; i < run.actors; i++)
				if (schedule_can_run(&run.actor[i]))
					alive[n++] = i;
			if (!n)
				break;
			schedule_resume(&run, alive[ptni_rng_below(&rng, n)]);
			if (ptni_rng_chance(&rng, 1, 50))
				mock_epoch(run.world);
		}
		run.world->before = NULL;
		run.world->fibers = false;
		run.world->sliced = false;
		hash_check(run.world, &check);
		schedule_explain(&run, &check);
		for (unsigned i = 0; i < run.actors; i++)
			mock_client_kill(run.actor[i].client);
		work_after(&run);
		schedule_close(&run);
	}
	schedule_finish(&run);
	return count;
}
