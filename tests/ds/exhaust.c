/* SPDX-License-Identifier: MIT */
#include "tests/ds/exhaust.h"

#include "tests/ds/exhaust_state.h"
#include "tests/ds/locals.h"

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
	unsigned begun; /* operations whose beginning has a place in the history */
	uint64_t before; /* hash of who was through with how much when they began */
};

/* A state on the path and what was tried from there. */
struct level {
	unsigned enabled, sleep, done; /* bit = client */
	unsigned todo; /* of those enabled: what is to be tried, with what was */
	unsigned chosen;
	bool all_wait;
	struct footprint print[SCHEDULE_CLIENTS]; /* of those in sleep and done */
	uint64_t local[SCHEDULE_CLIENTS]; /* hashes; 0 = not known */
};

struct search {
	const struct exhaust *exhaust;
	struct exhaust_result *result;
	struct run run;
	struct waiter waiter[SCHEDULE_CLIENTS];
	struct level level[SCHEDULE_STEPS_MAX];
	unsigned at; /* steps done in this run */
	unsigned last; /* whose step was the last one */
	unsigned preemptions; /* left */
	unsigned fixed; /* levels whose choice stands */
	bool opened; /* the clients' memory was saved */
	uint64_t outcome[OUTCOMES_MAX], ending[OUTCOMES_MAX];
	char path[SCHEDULE_STEPS_MAX + 1];
};

static struct search search;
static struct check check;

const char *exhaust_now(void)
{
	return search.path;
}

/* Orders of steps that commute may differ in their preemptions: with a limit to those, nobody sleeps. */
static bool does(enum exhaust_part part)
{
	if (part == EXHAUST_SLEEP && search.exhaust->preemptions)
		return false;
	return !(search.exhaust->without & part);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	uint64_t state = hash ^ value;

	return ptni_splitmix64(&state);
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
	return !(a->began && b->ended) && !(a->ended && b->began) && !memory_conflict(a, b);
}

/* --- steps ---------------------------------------------------------------------------------------------------- */

static bool waits(unsigned index)
{
	return mock_client_waits(search.run.actor[index].client);
}

/* Would somebody else's step be a preemption? */
static bool goes_on(unsigned ready)
{
	return search.at && ready >> search.last & 1 && !waits(search.last);
}

static unsigned enabled(bool *all_wait_out)
{
	unsigned ready = 0, waiting = 0;

	for (unsigned i = 0; i < search.run.actors; i++) {
		const struct waiter *waiter = &search.waiter[i];

		if (!schedule_can_run(&search.run.actor[i]) || (waits(i) && !waiter->backoffs))
			continue;
		if (waits(i) && !waiter->news && !waiter->spins)
			waiting |= 1u << i;
		else
			ready |= 1u << i;
	}
	*all_wait_out = !ready;
	if (search.exhaust->preemptions && goes_on(ready) && !search.preemptions)
		return 1u << search.last;
	return ready ? ready : waiting;
}

static unsigned ended(const struct actor *actor)
{
	unsigned count = 0;

	while (count < actor->count && actor->deed[count].ended)
		count++;
	return count;
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

/* An operation begins with its first verb: as late as can be. */
static void begin(unsigned index, struct footprint *print)
{
	struct actor *actor = &search.run.actor[index];
	struct waiter *waiter = &search.waiter[index];

	if (waiter->begun > ended(actor))
		return;
	actor->deed[waiter->begun++].began = ++search.run.events;
	print->began = true;
	for (unsigned i = 0; i < search.run.actors; i++)
		waiter->before = mix(waiter->before, ended(&search.run.actor[i]));
}

static void do_verb(unsigned index, struct footprint *print)
{
	struct mock_touch *touch = &search.run.world->touch;
	struct footprint now = { .count = 0 };

	begin(index, print);
	memset(touch, 0, sizeof(*touch));
	schedule_resume(&search.run, index);
	footprint_add(&now, touch);
	footprint_add(print, touch);
	footprint_add(&search.waiter[index].seen, touch);
	for (unsigned i = 0; i < search.run.actors; i++)
		if (i != index && touch->wrote && memory_conflict(&search.waiter[i].seen, &now))
			search.waiter[i].news = true;
}

/* Verbs that are nobody else's business are part of the step before them. */
static void do_private_verbs(unsigned index)
{
	struct actor *actor = &search.run.actor[index];

	while (does(EXHAUST_EAGER) && schedule_can_run(actor) && mock_client_private(actor->client))
		schedule_resume(&search.run, index);
}

static void step(unsigned index, struct footprint *print)
{
	struct actor *actor = &search.run.actor[index];
	unsigned before = ended(actor);
	bool only = false;

	memset(print, 0, sizeof(*print));
	if (waits(index)) {
		wake(index, print);
		schedule_resume(&search.run, index);
		do_private_verbs(index);
		only = !does(EXHAUST_EAGER) || waits(index) || ended(actor) != before ||
		       !schedule_can_run(actor);
	}
	if (!only) {
		do_verb(index, print);
		do_private_verbs(index);
	}
	exhaust_clean_dead_stack(actor);
	print->ended = ended(actor) != before;
	assert_true(search.waiter[index].begun >= ended(actor));
}

/* --- the search ------------------------------------------------------------------------------------------------ */

static void open_run(void)
{
	for (unsigned i = 0; i < search.run.actors; i++)
		exhaust_clean_stack(&search.run.actor[i]);
	schedule_open(&search.run);
	search.run.world->backoff_ns = search.exhaust->hasty ? HASTY_NS : MOCK_BACKOFF_NS;
	if (!search.opened)
		locals_save();
	search.opened = true;
	locals_restore();
	memset(search.waiter, 0, sizeof(search.waiter));
	for (unsigned i = 0; i < search.run.actors; i++) {
		search.waiter[i].spins = search.exhaust->spins;
		search.waiter[i].backoffs = search.exhaust->backoffs;
		schedule_resume(&search.run, i); /* to its first verb */
		do_private_verbs(i);
		exhaust_clean_dead_stack(&search.run.actor[i]);
		(void)mock_client_observed(search.run.actor[i].client);
	}
	search.at = 0;
	search.preemptions = search.exhaust->preemptions;
	search.path[0] = 0;
}

static uint64_t waiter_hash(const struct waiter *waiter)
{
	uint64_t hash = mix(waiter->before, waiter->news);

	hash = mix(hash, waiter->seen.any);
	hash = mix(hash, waiter->spins);
	hash = mix(hash, waiter->backoffs);

	for (unsigned i = 0; i < waiter->seen.count && !waiter->seen.any; i++) {
		hash = mix(hash, waiter->seen.touch[i].addr);
		hash = mix(hash, waiter->seen.touch[i].len_bytes);
	}
	return hash;
}

static uint64_t state_hash(struct level *level)
{
	uint64_t hash = mock_world_hash(search.run.world);

	for (unsigned i = 0; i < search.run.actors; i++) {
		if (!level->local[i])
			level->local[i] = exhaust_local_hash(&search.run.actor[i]);
		hash = mix(mix(hash, level->local[i]), waiter_hash(&search.waiter[i]));
	}
	if (search.exhaust->preemptions)
		hash = mix(mix(hash, search.preemptions), search.at ? search.last + 1 : 0);
	return hash;
}

/* Sleeping at the next level: what was tried before and would still do the same. */
static void pass_on(const struct level *level, const struct footprint *print)
{
	struct level *next = &search.level[search.at + 1];

	next->sleep = 0;
	for (unsigned i = 0; i < search.run.actors && does(EXHAUST_SLEEP); i++) {
		if (!((level->sleep | level->done) >> i & 1) || i == level->chosen ||
		    level->all_wait || !commute(&level->print[i], print))
			continue;
		next->sleep |= 1u << i;
		next->print[i] = level->print[i];
	}
	memcpy(next->local, level->local, sizeof(next->local));
	next->local[level->chosen] = 0;
}

static unsigned first_of(unsigned set)
{
	return (unsigned)__builtin_ctz(set);
}

/* What is to be tried from a state that the path has just come to. */
static void arrive(struct level *level)
{
	unsigned before;

	level->done = 0;
	level->todo = level->enabled & ~level->sleep;
	if (!does(EXHAUST_STATES))
		return;
	before = exhaust_states_meet(state_hash(level), level->sleep);
	if (before == EXHAUST_NEW)
		return;
	search.result->met++;
	level->todo = before & ~level->sleep;
	level->sleep &= before;
}

/* False: everything from here on is like something that was run. */
static bool choose(unsigned ready, bool all_wait)
{
	struct level *level = &search.level[search.at];

	assert_true(search.at + 1 < SCHEDULE_STEPS_MAX);
	if (search.at < search.fixed) {
		assert_int_equal(level->enabled, ready); /* runs must repeat */
		return true;
	}
	level->enabled = ready;
	level->all_wait = all_wait;
	arrive(level);
	if (!level->todo)
		return false;
	level->chosen = first_of(level->todo);
	search.fixed++;
	return true;
}

/* What a client is after a step, and, if asked for, whether it had to be that. */
static void check_function(const struct level *level)
{
	struct actor *actor = &search.run.actor[level->chosen];
	uint64_t observed = mock_client_observed(actor->client);
	uint64_t after;

	if (!search.exhaust->functions || !level->local[level->chosen])
		return;
	after = exhaust_local_hash(actor);
	exhaust_functions_check(level->local[level->chosen], observed, after);
}

/* One schedule, as far as it is new. True: to its end. */
static bool run_once(void)
{
	bool all_wait;
	unsigned ready;

	while ((ready = enabled(&all_wait))) {
		struct level *level = &search.level[search.at];
		bool is_new = search.at + 1 >= search.fixed;
		struct footprint print;

		if (!choose(ready, all_wait)) {
			search.result->cut++;
			return false;
		}
		if (level->chosen != search.last && goes_on(ready) && search.preemptions)
			search.preemptions--;
		search.last = level->chosen;
		search.path[search.at] = (char)('0' + level->chosen);
		search.path[search.at + 1] = 0;
		step(level->chosen, &print);
		check_function(level);
		level->print[level->chosen] = print;
		if (is_new) {
			pass_on(level, &print);
			search.result->steps++;
		}
		search.at++;
	}
	return !does(EXHAUST_STATES) ||
	       exhaust_states_meet(state_hash(&search.level[search.at]), 0) == EXHAUST_NEW;
}

static bool next_choice(void)
{
	while (search.fixed) {
		struct level *level = &search.level[search.fixed - 1];
		unsigned left;

		level->done |= 1u << level->chosen;
		left = level->todo & ~level->done;
		if (left) {
			level->chosen = first_of(left);
			return true;
		}
		search.fixed--;
	}
	return false;
}

/* True: it is new. Sets of outcomes are compared by the sums of their members' hashes. */
static bool note(uint64_t *set, uint64_t hash)
{
	uint64_t at;

	hash |= !hash;
	for (at = hash % OUTCOMES_MAX; set[at]; at = (at + 1) % OUTCOMES_MAX)
		if (set[at] == hash)
			return false;
	set[at] = hash;
	return true;
}

/* Results and content, whatever way they came about. */
static void note_outcome(void)
{
	struct exhaust_result *result = search.result;
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
	if (note(search.outcome, hash)) {
		assert_true(++result->outcome_count < OUTCOMES_MAX);
		result->outcomes += hash;
	}
	hash = mix(hash, mock_world_hash(search.run.world));
	if (result->ending_count < OUTCOMES_MAX / 2 && note(search.ending, hash)) {
		result->ending_count++;
		result->endings += hash;
	}
}

/* Somebody was left in a back-off: what the others did must be right all the same. */
static void judge_starved(void)
{
	hash_check(search.run.world, &check);
	schedule_explain(&search.run, &check);
	search.result->starved++;
}

static bool all_through(void)
{
	for (unsigned i = 0; i < search.run.actors; i++)
		if (!search.run.actor[i].finished)
			return false;
	return true;
}

static void judge(void)
{
	if (!all_through()) {
		judge_starved();
		return;
	}
	schedule_must_be_clean(&search.run);
	note_outcome();
	search.result->schedules++;
	if (search.at > search.result->longest)
		search.result->longest = search.at;
}

static void prepare(const struct exhaust *exhaust, struct exhaust_result *result)
{
	memset(result, 0, sizeof(*result));
	memset(search.outcome, 0, sizeof(search.outcome));
	memset(search.ending, 0, sizeof(search.ending));
	search.fixed = 0;
	search.opened = false;
	memset(&search.level[0], 0, sizeof(search.level[0]));
	search.exhaust = exhaust;
	search.result = result;
	schedule_prepare(&search.run, &exhaust->schedule);
	mock_apart(search.run.world);
	exhaust_states_clear();
	if (exhaust->functions)
		exhaust_functions_clear();
}

void exhaust_run(const struct exhaust *exhaust, struct exhaust_result *result_out)
{
	prepare(exhaust, result_out);
	for (unsigned i = 0; i < 2; i++) { /* what a fresh stack holds is no client's doing */
		open_run();
		schedule_close(&search.run);
	}
	do {
		if (exhaust->limit && result_out->runs == exhaust->limit) {
			result_out->limited = true;
			break;
		}
		open_run();
		if (run_once())
			judge();
		result_out->runs++;
		result_out->states = exhaust_states_count();
		if (exhaust->progress)
			exhaust->progress(exhaust, result_out);
		schedule_close(&search.run);
	} while (next_choice());
	schedule_finish(&search.run);
	search.path[0] = 0;
}
