/* SPDX-License-Identifier: MIT */
#include "tests/ds/exhaust.h"

#include "tests/ds/schedule_private.h"

#include <string.h>

enum {
	TOUCHES_MAX = 12,
	OUTCOMES_MAX = 1 << 12,
	HASTY_NS = 2 * PTNI_SPLIT_PATIENCE_NS
};

/* What a step did, as far as others could notice. */
struct footprint {
	struct mock_touch touch[TOUCHES_MAX];
	unsigned count;
	bool any; /* more than there is room for */
	bool began, ended; /* an operation */
};

/* A client as the search sees it, besides what it is for the runner. */
struct waiter {
	struct footprint seen; /* read since it backed off last */
	bool news; /* somebody wrote that */
	unsigned spins, backoffs; /* left */
};

/* A state on the path and what was tried from there. */
struct level {
	unsigned enabled, sleep, done; /* bit = client */
	unsigned chosen;
	struct footprint print[SCHEDULE_CLIENTS]; /* of those in sleep and done */
};

struct search {
	const struct exhaust *exhaust;
	struct exhaust_result *result;
	struct run run;
	struct waiter waiter[SCHEDULE_CLIENTS];
	struct level level[SCHEDULE_STEPS_MAX];
	unsigned at; /* steps done in this run */
	unsigned fixed; /* levels whose choice stands */
	uint64_t outcome[OUTCOMES_MAX];
	char path[SCHEDULE_STEPS_MAX + 1];
};

static struct search search;
static struct check check;

const char *exhaust_now(void)
{
	return search.path;
}

/* --- what commutes ------------------------------------------------------------------------------------------ */

static void footprint_add(struct footprint *print, const struct mock_touch *touch)
{
	if (!touch->len_bytes)
		return;
	if (print->count == TOUCHES_MAX) {
		print->any = true;
		return;
	}
	print->touch[print->count++] = *touch;
}

static bool touch_conflict(const struct mock_touch *a, const struct mock_touch *b)
{
	return (a->wrote || b->wrote) && a->addr < b->addr + b->len_bytes &&
	       b->addr < a->addr + a->len_bytes;
}

static bool memory_conflict(const struct footprint *a, const struct footprint *b)
{
	if (a->any || b->any)
		return true;
	for (unsigned i = 0; i < a->count; i++)
		for (unsigned k = 0; k < b->count; k++)
			if (touch_conflict(&a->touch[i], &b->touch[k]))
				return true;
	return false;
}

static bool commute(const struct footprint *a, const struct footprint *b)
{
	return !search.exhaust->whole && !(a->began && b->ended) && !(a->ended && b->began) &&
	       !memory_conflict(a, b);
}

/* --- steps ---------------------------------------------------------------------------------------------------- */

static bool waits(unsigned index)
{
	return mock_client_waits(search.run.actor[index].client);
}

static unsigned enabled(void)
{
	unsigned ready = 0, waiting = 0;

	for (unsigned i = 0; i < search.run.actors; i++) {
		if (!schedule_can_run(&search.run.actor[i]))
			continue;
		if (waits(i) && !search.waiter[i].news && !search.waiter[i].spins)
			waiting |= 1u << i;
		else
			ready |= 1u << i;
	}
	return ready ? ready : waiting;
}

static void count_deeds(const struct actor *actor, unsigned *began, unsigned *ended)
{
	*began = *ended = 0;
	for (unsigned i = 0; i < actor->count; i++) {
		*began += actor->deed[i].began != 0;
		*ended += actor->deed[i].ended != 0;
	}
}

/* The end of a back-off: what comes next depends on whether there is news. */
static void wake(unsigned index, struct footprint *print)
{
	struct waiter *waiter = &search.waiter[index];

	*print = waiter->seen;
	for (unsigned i = 0; i < print->count; i++)
		print->touch[i].wrote = false;
	if (!waiter->news && waiter->spins)
		waiter->spins--;
	waiter->backoffs--;
	waiter->news = false;
	memset(&waiter->seen, 0, sizeof(waiter->seen));
}

static void step(unsigned index, struct footprint *print)
{
	struct actor *actor = &search.run.actor[index];
	struct mock_touch *touch = &search.run.world->touch;
	unsigned began[2], ended[2];

	memset(print, 0, offsetof(struct footprint, touch));
	print->count = 0;
	print->any = false;
	if (waits(index))
		wake(index, print);
	memset(touch, 0, sizeof(*touch));
	count_deeds(actor, &began[0], &ended[0]);
	schedule_resume(&search.run, index);
	count_deeds(actor, &began[1], &ended[1]);
	print->began = began[1] != began[0];
	print->ended = ended[1] != ended[0];
	footprint_add(print, touch);
	footprint_add(&search.waiter[index].seen, touch);
	for (unsigned i = 0; i < search.run.actors; i++)
		if (i != index && touch->wrote && memory_conflict(&search.waiter[i].seen, print))
			search.waiter[i].news = true;
	search.result->steps++;
}

/* --- the search ------------------------------------------------------------------------------------------------ */

static void open_run(void)
{
	schedule_open(&search.run);
	search.run.world->backoff_ns = search.exhaust->hasty ? HASTY_NS : MOCK_BACKOFF_NS;
	memset(search.waiter, 0, sizeof(search.waiter));
	for (unsigned i = 0; i < SCHEDULE_CLIENTS; i++) {
		search.waiter[i].spins = search.exhaust->spins;
		search.waiter[i].backoffs = search.exhaust->backoffs;
	}
	search.at = 0;
	search.path[0] = 0;
}

/* Sleeping at the next level: what was tried before and would still do the same. */
static void pass_on(const struct level *level, const struct footprint *print)
{
	struct level *next = &search.level[search.at + 1];

	next->sleep = 0;
	for (unsigned i = 0; i < search.run.actors; i++) {
		if (!((level->sleep | level->done) >> i & 1) || i == level->chosen ||
		    !commute(&level->print[i], print))
			continue;
		next->sleep |= 1u << i;
		next->print[i] = level->print[i];
	}
}

static unsigned first_of(unsigned set)
{
	return (unsigned)__builtin_ctz(set);
}

/* False: everything from here on is like something that was run. */
static bool choose(unsigned ready)
{
	struct level *level = &search.level[search.at];

	assert_true(search.at + 1 < SCHEDULE_STEPS_MAX);
	if (search.at < search.fixed) {
		assert_int_equal(level->enabled, ready); /* runs must repeat */
		return true;
	}
	level->enabled = ready;
	level->done = 0;
	if (!(ready & ~level->sleep))
		return false;
	level->chosen = first_of(ready & ~level->sleep);
	search.fixed++;
	return true;
}

static bool starves(void)
{
	for (unsigned i = 0; i < search.run.actors; i++)
		if (waits(i) && !search.waiter[i].backoffs)
			return true;
	return false;
}

/* One schedule, as far as it is new. True: to its end. */
static bool run_once(void)
{
	unsigned ready;

	while ((ready = enabled())) {
		struct level *level = &search.level[search.at];
		struct footprint print;

		if (starves()) {
			search.result->starved++;
			return false;
		}
		if (!choose(ready)) {
			search.result->cut++;
			return false;
		}
		search.path[search.at] = (char)('0' + level->chosen);
		search.path[search.at + 1] = 0;
		step(level->chosen, &print);
		level->print[level->chosen] = print;
		pass_on(level, &print);
		search.at++;
	}
	return true;
}

static bool next_choice(void)
{
	while (search.fixed) {
		struct level *level = &search.level[search.fixed - 1];
		unsigned left;

		level->done |= 1u << level->chosen;
		left = level->enabled & ~level->sleep & ~level->done;
		if (left) {
			level->chosen = first_of(left);
			return true;
		}
		search.fixed--;
	}
	return false;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	uint64_t state = hash ^ value;

	return ptni_splitmix64(&state);
}

/* Results and content, whatever way they came about. */
static void note_outcome(void)
{
	uint64_t hash = 1;

	hash_check(search.run.world, &check);
	for (unsigned i = 0; i < search.run.actors; i++)
		for (unsigned k = 0; k < search.run.actor[i].count; k++) {
			const struct deed *deed = &search.run.actor[i].deed[k];

			hash = mix(hash, (uint64_t)(uint32_t)deed->result << 32 | deed->got);
		}
	for (unsigned i = 0; i < SCHEDULE_KEYS; i++) {
		const struct check_key *key = hash_check_find(&check, &search.run.key[i], 4);
		uint32_t value = 0;

		if (key)
			memcpy(&value, key->value, 4);
		hash = mix(hash, value);
	}
	hash |= !hash;
	for (uint64_t at = hash % OUTCOMES_MAX;; at = (at + 1) % OUTCOMES_MAX) {
		if (search.outcome[at] == hash)
			return;
		if (search.outcome[at])
			continue;
		assert_true(++search.result->outcome_count < OUTCOMES_MAX);
		search.outcome[at] = hash;
		search.result->outcomes += hash;
		return;
	}
}

void exhaust_run(const struct exhaust *exhaust, struct exhaust_result *result_out)
{
	memset(&search, 0, offsetof(struct search, run));
	memset(search.outcome, 0, sizeof(search.outcome));
	memset(result_out, 0, sizeof(*result_out));
	search.fixed = 0;
	search.level[0].sleep = 0;
	search.exhaust = exhaust;
	search.result = result_out;
	schedule_prepare(&search.run, &exhaust->schedule);
	do {
		if (exhaust->limit &&
		    result_out->schedules + result_out->cut + result_out->starved >=
			    exhaust->limit) {
			result_out->limited = true;
			break;
		}
		open_run();
		if (run_once()) {
			schedule_must_be_clean(&search.run);
			note_outcome();
			result_out->schedules++;
			if (search.at > result_out->longest)
				result_out->longest = search.at;
		}
		schedule_close(&search.run);
	} while (next_choice());
	schedule_finish(&search.run);
	search.path[0] = 0;
}
