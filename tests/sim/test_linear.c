/* SPDX-License-Identifier: MIT */
/* The check for linearizability on histories whose answer is known. */
#include "tests/sim/linear.h"

#include <patronus/error.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NEVER HISTORY_NEVER

enum {
	KEYS = 3
};

struct bed {
	struct history *history;
	struct linear *linear;
	struct linear_report report;
};

static int setup(void **state)
{
	static struct bed bed;

	assert_int_equal(history_open(64, 4, KEYS, &bed.history), 0);
	assert_int_equal(linear_open(1024, &bed.linear), 0);
	*state = &bed;
	return 0;
}

static int teardown(void **state)
{
	struct bed *bed = *state;

	history_close(bed->history);
	linear_close(bed->linear);
	return 0;
}

/* One line of a history: numbers of the events are given, so that lines may overlap. */
struct line {
	uint64_t began, ended;
	enum history_kind kind;
	enum history_outcome outcome;
	uint32_t value;
};

static enum linear_verdict judge(struct bed *bed, const struct line *line, unsigned count)
{
	history_clear(bed->history);
	for (unsigned i = 0; i < count; i++) {
		uint32_t op = history_begin(bed->history, i, line[i].kind, 0, line[i].value, 0);

		if (line[i].outcome != HISTORY_RUNNING)
			history_end(bed->history, op, line[i].outcome, line[i].value, 0);
		bed->history->op[op].began = line[i].began;
		bed->history->op[op].ended = line[i].ended;
	}
	return linear_check(bed->linear, bed->history, &bed->report);
}

#define JUDGE(...)                                          \
	judge(*state, (const struct line[]){ __VA_ARGS__ }, \
	      sizeof((const struct line[]){ __VA_ARGS__ }) / sizeof(struct line))
#define good(...) assert_int_equal(JUDGE(__VA_ARGS__), LINEAR_GOOD)
#define bad(...)  assert_int_equal(JUDGE(__VA_ARGS__), LINEAR_BAD)

static void get__of_a_stale_value(void **state)
{
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_PUT, HISTORY_OK, 2 },
	    { 5, 6, HISTORY_GET, HISTORY_OK, 1 });
	/* while the second put runs, either is right, but not new and then old */
	good({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 9, HISTORY_PUT, HISTORY_OK, 2 },
	     { 4, 5, HISTORY_GET, HISTORY_OK, 1 }, { 6, 7, HISTORY_GET, HISTORY_OK, 2 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 9, HISTORY_PUT, HISTORY_OK, 2 },
	    { 4, 5, HISTORY_GET, HISTORY_OK, 2 }, { 6, 7, HISTORY_GET, HISTORY_OK, 1 });
	bad({ 1, 2, HISTORY_GET, HISTORY_OK, 1 }, { 3, 4, HISTORY_PUT, HISTORY_OK, 1 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_GET, HISTORY_OK, 77 });
}

static void update__that_is_lost(void **state)
{
	bad({ 1, 2, HISTORY_INSERT, HISTORY_OK, 1 }, { 3, 6, HISTORY_UPDATE, HISTORY_OK, 2 },
	    { 4, 5, HISTORY_UPDATE, HISTORY_OK, 3 }, { 7, 8, HISTORY_GET, HISTORY_OK, 1 });
	good({ 1, 2, HISTORY_INSERT, HISTORY_OK, 1 }, { 3, 6, HISTORY_UPDATE, HISTORY_OK, 2 },
	     { 4, 5, HISTORY_UPDATE, HISTORY_OK, 3 }, { 7, 8, HISTORY_GET, HISTORY_OK, 2 });
	good({ 1, 2, HISTORY_INSERT, HISTORY_OK, 1 }, { 3, 6, HISTORY_UPDATE, HISTORY_OK, 2 },
	     { 4, 5, HISTORY_UPDATE, HISTORY_OK, 3 }, { 7, 8, HISTORY_GET, HISTORY_OK, 3 });
}

static void delete__that_is_undone(void **state)
{
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_DELETE, HISTORY_OK, 0 },
	    { 5, 6, HISTORY_GET, HISTORY_OK, 1 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 6, HISTORY_DELETE, HISTORY_OK, 0 },
	    { 4, 7, HISTORY_DELETE, HISTORY_OK, 0 });
	bad({ 1, 2, HISTORY_DELETE, HISTORY_OK, 0 });
	good({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 6, HISTORY_DELETE, HISTORY_OK, 0 },
	     { 4, 7, HISTORY_DELETE, HISTORY_ABSENT, 0 });
}

static void insert__of_one_key_by_two(void **state)
{
	bad({ 1, 3, HISTORY_INSERT, HISTORY_OK, 1 }, { 2, 4, HISTORY_INSERT, HISTORY_OK, 2 });
	good({ 1, 3, HISTORY_INSERT, HISTORY_OK, 1 }, { 2, 4, HISTORY_INSERT, HISTORY_EXISTS, 2 });
	bad({ 1, 3, HISTORY_INSERT, HISTORY_EXISTS, 1 },
	    { 2, 4, HISTORY_INSERT, HISTORY_EXISTS, 2 });
	good({ 1, 5, HISTORY_INSERT, HISTORY_OK, 1 }, { 2, 6, HISTORY_INSERT, HISTORY_OK, 2 },
	     { 3, 4, HISTORY_DELETE, HISTORY_OK, 0 });
}

static void update__of_an_absent_key(void **state)
{
	bad({ 1, 2, HISTORY_UPDATE, HISTORY_OK, 1 });
	good({ 1, 2, HISTORY_UPDATE, HISTORY_ABSENT, 1 });
	bad({ 1, 2, HISTORY_UPDATE, HISTORY_ABSENT, 1 }, { 3, 4, HISTORY_GET, HISTORY_OK, 1 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_UPDATE, HISTORY_ABSENT, 2 });
}

static void unknown__takes_effect_late_or_never(void **state)
{
	good({ 1, 2, HISTORY_PUT, HISTORY_UNKNOWN, 1 }, { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 },
	     { 5, 6, HISTORY_GET, HISTORY_OK, 1 });
	good({ 1, 2, HISTORY_PUT, HISTORY_UNKNOWN, 1 }, { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 });
	good({ 1, NEVER, HISTORY_PUT, HISTORY_RUNNING, 1 },
	     { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 }, { 5, 6, HISTORY_GET, HISTORY_OK, 1 });
	good({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_DELETE, HISTORY_UNKNOWN, 0 },
	     { 5, 6, HISTORY_GET, HISTORY_OK, 1 }, { 7, 8, HISTORY_GET, HISTORY_ABSENT, 0 });
}

static void unknown__takes_effect_once(void **state)
{
	bad({ 1, 2, HISTORY_PUT, HISTORY_UNKNOWN, 1 }, { 3, 4, HISTORY_GET, HISTORY_OK, 1 },
	    { 5, 6, HISTORY_GET, HISTORY_ABSENT, 0 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_UNKNOWN, 1 }, { 3, 4, HISTORY_GET, HISTORY_OK, 1 },
	    { 5, 6, HISTORY_DELETE, HISTORY_OK, 0 }, { 7, 8, HISTORY_GET, HISTORY_OK, 1 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_OK, 1 }, { 3, 4, HISTORY_DELETE, HISTORY_UNKNOWN, 0 },
	    { 5, 6, HISTORY_DELETE, HISTORY_OK, 0 }, { 7, 8, HISTORY_DELETE, HISTORY_OK, 0 });
	/* not before it began */
	bad({ 1, 2, HISTORY_GET, HISTORY_OK, 1 }, { 3, 4, HISTORY_PUT, HISTORY_UNKNOWN, 1 });
}

/* What the fence promises: not after the operation ended. */
static void maybe__takes_effect_in_time_or_never(void **state)
{
	good({ 1, 4, HISTORY_PUT, HISTORY_MAYBE, 1 }, { 2, 3, HISTORY_GET, HISTORY_ABSENT, 0 },
	     { 5, 6, HISTORY_GET, HISTORY_OK, 1 });
	good({ 1, 2, HISTORY_PUT, HISTORY_MAYBE, 1 }, { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_MAYBE, 1 }, { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 },
	    { 5, 6, HISTORY_GET, HISTORY_OK, 1 });
}

static void nothing__changes_nothing(void **state)
{
	good({ 1, 2, HISTORY_PUT, HISTORY_NOTHING, 1 }, { 3, 4, HISTORY_GET, HISTORY_ABSENT, 0 });
	bad({ 1, 2, HISTORY_PUT, HISTORY_NOTHING, 1 }, { 3, 4, HISTORY_GET, HISTORY_OK, 1 });
}

static void keys__are_judged_apart(void **state)
{
	struct bed *bed = *state;
	uint32_t op;

	history_clear(bed->history);
	for (uint32_t key = 0; key < KEYS; key++) {
		op = history_begin(bed->history, 0, HISTORY_INSERT, key, key + 1, 0);
		history_end(bed->history, op, HISTORY_OK, 0, 0);
	}
	for (uint32_t key = 0; key < KEYS; key++) {
		op = history_begin(bed->history, 0, HISTORY_GET, key, 0, 0);
		history_end(bed->history, op, HISTORY_OK, key + 1, 0);
	}
	assert_int_equal(linear_check(bed->linear, bed->history, NULL), LINEAR_GOOD);
	bed->history->op[op].value = 1;
	assert_int_equal(linear_check(bed->linear, bed->history, &bed->report), LINEAR_BAD);
	assert_int_equal(bed->report.key, KEYS - 1);
	assert_int_equal(bed->report.op, op);
}

static void preset__is_there_before(void **state)
{
	struct bed *bed = *state;
	uint32_t op;

	history_clear(bed->history);
	history_preset(bed->history, 1, 9);
	op = history_begin(bed->history, 0, HISTORY_INSERT, 1, 10, 0);
	history_end(bed->history, op, HISTORY_EXISTS, 0, 0);
	op = history_begin(bed->history, 0, HISTORY_GET, 1, 0, 0);
	history_end(bed->history, op, HISTORY_OK, 9, 0);
	assert_int_equal(linear_check(bed->linear, bed->history, NULL), LINEAR_GOOD);
	op = history_begin(bed->history, 0, HISTORY_GET, 1, 0, 0);
	history_end(bed->history, op, HISTORY_ABSENT, 0, 0);
	assert_int_equal(linear_check(bed->linear, bed->history, NULL), LINEAR_BAD);
}

/* --- walks -------------------------------------------------------------------------------------------- */

static void write_one(struct bed *bed, enum history_kind kind, uint32_t key, uint32_t value)
{
	uint32_t op = history_begin(bed->history, 1, kind, key, value, 0);

	history_end(bed->history, op, HISTORY_OK, value, 0);
}

static enum linear_verdict verdict(struct bed *bed)
{
	return linear_check(bed->linear, bed->history, &bed->report);
}

static void walk__visits_what_is_there(void **state)
{
	struct bed *bed = *state;
	uint32_t walk;

	history_clear(bed->history);
	write_one(bed, HISTORY_PUT, 0, 1);
	write_one(bed, HISTORY_PUT, 1, 2);
	walk = history_walk_begin(bed->history, 0, 0);
	history_visit(bed->history, walk, 0, 1, 0);
	history_walk_step(bed->history, walk);
	history_visit(bed->history, walk, 1, 2, 0);
	history_walk_end(bed->history, walk, true, 0);
	assert_int_equal(verdict(bed), LINEAR_GOOD);
	bed->history->op[3].value = 1; /* of another key */
	assert_int_equal(verdict(bed), LINEAR_BAD);
}

static void walk__misses_a_key(void **state)
{
	struct bed *bed = *state;
	uint32_t walk;

	for (int there = 0; there < 2; there++) {
		history_clear(bed->history);
		write_one(bed, HISTORY_PUT, 0, 1);
		walk = history_walk_begin(bed->history, 0, 0);
		if (!there)
			write_one(bed, HISTORY_DELETE, 0, 0);
		write_one(bed, HISTORY_PUT, 0, 2);
		history_walk_end(bed->history, walk, true, 0);
		assert_int_equal(verdict(bed), there ? LINEAR_BAD : LINEAR_GOOD);
		assert_int_equal(bed->report.walk, there ? walk : HISTORY_NONE);
		bed->history->walk[walk].whole = false; /* then it promises nothing of this */
		assert_int_equal(verdict(bed), LINEAR_GOOD);
	}
}

static void walk__visits_a_key_twice(void **state)
{
	struct bed *bed = *state;
	uint32_t walk;

	for (int gone = 0; gone < 2; gone++) {
		history_clear(bed->history);
		write_one(bed, HISTORY_PUT, 0, 1);
		walk = history_walk_begin(bed->history, 0, 0);
		history_visit(bed->history, walk, 0, 1, 0);
		if (gone)
			write_one(bed, HISTORY_DELETE, 0, 0);
		write_one(bed, HISTORY_PUT, 0, 2);
		history_visit(bed->history, walk, 0, 2, 0);
		history_walk_end(bed->history, walk, true, 0);
		assert_int_equal(verdict(bed), gone ? LINEAR_GOOD : LINEAR_BAD);
		bed->history->walk[walk].whole = false;
		assert_int_equal(verdict(bed), gone ? LINEAR_GOOD : LINEAR_BAD);
		history_walk_excuse(bed->history, walk);
		assert_int_equal(verdict(bed), LINEAR_GOOD);
	}
}

/* A visit tells what was there in its own call, not in an earlier one. */
static void walk__visits_a_value_of_an_earlier_call(void **state)
{
	struct bed *bed = *state;
	uint32_t walk;

	for (int earlier = 0; earlier < 2; earlier++) {
		history_clear(bed->history);
		write_one(bed, HISTORY_PUT, 0, 1);
		walk = history_walk_begin(bed->history, 0, 0);
		if (!earlier)
			history_walk_step(bed->history, walk);
		write_one(bed, HISTORY_PUT, 0, 2);
		if (earlier)
			history_walk_step(bed->history, walk);
		history_visit(bed->history, walk, 0, 1, 0);
		history_walk_end(bed->history, walk, true, 0);
		assert_int_equal(verdict(bed), earlier ? LINEAR_BAD : LINEAR_GOOD);
	}
}

/* --- limits --------------------------------------------------------------------------------------------- */

/* Many that nobody can tell apart are one; many whose order matters exceed the cap, and that is no "good". */
static void check__says_when_it_cannot_decide(void **state)
{
	struct bed *bed = *state;
	uint32_t op[20];

	for (int read = 0; read < 2; read++) {
		history_clear(bed->history);
		for (uint32_t i = 0; i < 20; i++)
			op[i] = history_begin(bed->history, i, HISTORY_PUT, 0, i + 1, 0);
		for (uint32_t i = 0; i < 20; i++)
			history_end(bed->history, op[i], HISTORY_OK, 0, 0);
		for (uint32_t i = 0; read && i < 20; i++) {
			op[i] = history_begin(bed->history, i, HISTORY_GET, 0, 0, 0);
			history_end(bed->history, op[i], HISTORY_OK, i + 1, 0);
		}
		assert_int_equal(verdict(bed), read ? LINEAR_UNDECIDED : LINEAR_GOOD);
	}
	assert_non_null(bed->report.why);
}

static void check__does_not_trust_a_full_history(void **state)
{
	struct bed *bed = *state;
	uint32_t op = 0;

	history_clear(bed->history);
	for (uint32_t i = 0; i < 65; i++) {
		op = history_begin(bed->history, 0, HISTORY_PUT, 0, i + 1, 0);
		history_end(bed->history, op, HISTORY_OK, 0, 0);
	}
	assert_int_equal(op, HISTORY_NONE);
	assert_int_equal(verdict(bed), LINEAR_UNDECIDED);
}

static void outcome__of_what_the_library_returns(void **state)
{
	assert_int_equal(history_outcome(HISTORY_PUT, 0), HISTORY_OK);
	assert_int_equal(history_outcome(HISTORY_GET, -ENOENT), HISTORY_ABSENT);
	assert_int_equal(history_outcome(HISTORY_INSERT, -EEXIST), HISTORY_EXISTS);
	assert_int_equal(history_outcome(HISTORY_PUT, PTN_E_CONFLICT), HISTORY_NOTHING);
	assert_int_equal(history_outcome(HISTORY_PUT, PTN_E_OUTCOME_UNKNOWN), HISTORY_UNKNOWN);
	assert_int_equal(history_outcome(HISTORY_PUT, -ETIMEDOUT), HISTORY_UNKNOWN);
	assert_int_equal(history_outcome(HISTORY_PUT, PTN_E_SESSION_FENCED), HISTORY_UNKNOWN);
	assert_int_equal(history_outcome(HISTORY_GET, -ETIMEDOUT), HISTORY_NOTHING);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(get__of_a_stale_value),
		test(update__that_is_lost),
		test(delete__that_is_undone),
		test(insert__of_one_key_by_two),
		test(update__of_an_absent_key),
		test(unknown__takes_effect_late_or_never),
		test(unknown__takes_effect_once),
		test(maybe__takes_effect_in_time_or_never),
		test(nothing__changes_nothing),
		test(keys__are_judged_apart),
		test(preset__is_there_before),
		test(walk__visits_what_is_there),
		test(walk__misses_a_key),
		test(walk__visits_a_key_twice),
		test(walk__visits_a_value_of_an_earlier_call),
		test(check__says_when_it_cannot_decide),
		test(check__does_not_trust_a_full_history),
		test(outcome__of_what_the_library_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
