/* SPDX-License-Identifier: MIT */
/*
 * The check for linearizability on random histories: those made from a sequential execution are good; changed
 * ones are what a search through all orders says that they are.
 */
#include "core/base/rng.h"
#include "tests/sim/linear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>

enum {
	SMALL = 7, /* operations that the search through all orders can take */
	LARGE = 4000,
	CLIENTS = 6
};

/* --- all orders ----------------------------------------------------------------------------------------- */

/* What the operation does to the value, written down a second time. */
static bool happens(const struct history_op *op, uint32_t *value)
{
	bool sure = op->outcome == HISTORY_OK || op->outcome == HISTORY_ABSENT ||
		    op->outcome == HISTORY_EXISTS;
	bool there = *value != 0;

	if (sure && op->outcome == HISTORY_ABSENT)
		return !there;
	if (op->outcome == HISTORY_EXISTS)
		return there;
	switch (op->kind) {
	case HISTORY_GET:
		return !sure || *value == op->value;
	case HISTORY_INSERT:
		if (there)
			return !sure;
		break;
	case HISTORY_UPDATE:
	case HISTORY_DELETE:
		if (!there)
			return !sure;
		break;
	default:
		break;
	}
	*value = op->kind == HISTORY_DELETE ? 0 : op->value;
	return true;
}

static bool must_happen(const struct history_op *op)
{
	return op->outcome == HISTORY_OK || op->outcome == HISTORY_ABSENT ||
	       op->outcome == HISTORY_EXISTS;
}

/* Latest event at which it may happen. */
static uint64_t latest(const struct history_op *op)
{
	return op->outcome == HISTORY_UNKNOWN ? HISTORY_NEVER : op->ended;
}

/* Is there an order of what is left? `at`: the latest beginning among those that have happened. */
static bool explain(const struct history *history, uint32_t done, uint64_t at, uint32_t value)
{
	bool all = true;

	for (uint32_t i = 0; i < history->ops; i++)
		if (!(done >> i & 1))
			all &= !must_happen(&history->op[i]);
	if (all)
		return true;
	for (uint32_t i = 0; i < history->ops; i++) {
		const struct history_op *op = &history->op[i];
		uint32_t next = value;

		if (done >> i & 1 || op->outcome == HISTORY_NOTHING || latest(op) < at)
			continue;
		if (!happens(op, &next))
			continue;
		if (explain(history, done | 1u << i, op->began > at ? op->began : at, next))
			return true;
	}
	return false;
}

/* --- histories ------------------------------------------------------------------------------------------ */

struct moment {
	uint64_t began, ended, at;
};

/* Intervals of a few clients, one operation at a time each, and a moment in each where it happens. */
static void make_moments(struct ptni_rng *rng, struct moment *moment, uint32_t count)
{
	uint64_t free_at[CLIENTS] = { 0 };

	for (uint32_t i = 0; i < count; i++) {
		uint64_t *now = &free_at[ptni_rng_below(rng, CLIENTS)];

		moment[i].began = *now + 1 + ptni_rng_below(rng, 40);
		moment[i].at = moment[i].began + 1 + ptni_rng_below(rng, 30);
		moment[i].ended = moment[i].at + 1 + ptni_rng_below(rng, 30);
		*now = moment[i].ended;
	}
}

static void perform(struct ptni_rng *rng, struct history_op *op, uint32_t *value, uint32_t *values)
{
	bool there = *value != 0;

	op->kind = (uint8_t)ptni_rng_below(rng, HISTORY_DELETE + 1);
	op->outcome = HISTORY_OK;
	op->value = op->kind == HISTORY_GET || op->kind == HISTORY_DELETE ? 0 : ++*values;
	if (op->kind == HISTORY_INSERT && there) {
		op->outcome = HISTORY_EXISTS;
	} else if (op->kind != HISTORY_INSERT && op->kind != HISTORY_PUT && !there) {
		op->outcome = HISTORY_ABSENT;
	} else if (op->kind == HISTORY_GET) {
		op->value = *value;
	} else if (ptni_rng_chance(rng, 1, 8)) {
		op->outcome = HISTORY_UNKNOWN;
		if (ptni_rng_chance(rng, 1, 2))
			*value = op->value;
	} else {
		*value = op->value;
	}
}

/* Each takes effect at its moment, one after the other. */
static void make_history(struct ptni_rng *rng, struct history *history, uint32_t count)
{
	static struct moment moment[LARGE];
	static bool done[LARGE];
	uint32_t value = 0;

	history_clear(history);
	memset(done, 0, sizeof(done));
	make_moments(rng, moment, count);
	for (uint32_t n = 0; n < count; n++) {
		uint32_t next = HISTORY_NONE;
		struct history_op *op = &history->op[history->ops++];

		for (uint32_t i = 0; i < count; i++)
			if (!done[i] && (next == HISTORY_NONE || moment[i].at < moment[next].at))
				next = i;
		done[next] = true;
		memset(op, 0, sizeof(*op));
		op->began = moment[next].began;
		op->ended = moment[next].ended;
		op->walk = HISTORY_NONE;
		perform(rng, op, &value, &history->values);
	}
}

/* Something small goes wrong. */
static void spoil(struct ptni_rng *rng, struct history *history)
{
	struct history_op *op = &history->op[ptni_rng_below(rng, history->ops)];
	struct history_op *other = &history->op[ptni_rng_below(rng, history->ops)];
	uint64_t began = op->began, ended = op->ended;

	switch (ptni_rng_below(rng, 4)) {
	case 0:
		op->value = other->value;
		break;
	case 1:
		op->outcome = other->outcome;
		break;
	case 2:
		op->began = other->began;
		op->ended = other->ended;
		other->began = began;
		other->ended = ended;
		break;
	default:
		op->outcome = HISTORY_MAYBE;
		break;
	}
	/* a read of nothing, or a write of it, would be another kind of mistake */
	if (op->kind == HISTORY_GET && op->outcome != HISTORY_OK)
		op->value = 0;
	if (op->kind != HISTORY_GET && op->kind != HISTORY_DELETE && !op->value)
		op->value = ++history->values;
}

static void made__from_a_sequential_execution_is_good(void **state)
{
	struct history *history;
	struct linear *linear;
	struct ptni_rng rng;

	assert_int_equal(history_open(LARGE, 0, 1, &history), 0);
	assert_int_equal(linear_open(LINEAR_CONFIGS_DEFAULT, &linear), 0);
	for (uint64_t seed = 0; seed < 3000; seed++) {
		struct linear_report report;

		ptni_rng_seed(&rng, seed);
		/* uncertain operations stay pending for ever, and only so many have room */
		make_history(&rng, history, (uint32_t)(seed % 100 ? 1 + seed % 200 : 600));
		if (linear_check(linear, history, &report) != LINEAR_GOOD) {
			history_print(history, 0, stderr);
			fail_msg("seed %lu: %s", (unsigned long)seed, report.why);
		}
	}
	linear_close(linear);
	history_close(history);
}

static void made__and_spoiled_is_what_all_orders_say(void **state)
{
	unsigned good = 0, bad = 0;
	struct history *history;
	struct linear *linear;
	struct ptni_rng rng;

	assert_int_equal(history_open(SMALL, 0, 1, &history), 0);
	assert_int_equal(linear_open(4096, &linear), 0);
	for (uint64_t seed = 0; seed < 60000; seed++) {
		bool explained;

		ptni_rng_seed(&rng, seed);
		make_history(&rng, history, 2 + (uint32_t)(seed % (SMALL - 1)));
		for (uint64_t i = ptni_rng_below(&rng, 8); i; i--)
			spoil(&rng, history);
		explained = explain(history, 0, 0, 0);
		if (linear_check(linear, history, NULL) != (explained ? LINEAR_GOOD : LINEAR_BAD)) {
			history_print(history, 0, stderr);
			fail_msg("seed %lu: all orders say %s", (unsigned long)seed,
				 explained ? "good" : "bad");
		}
		good += explained;
		bad += !explained;
	}
	print_message("%u good, %u bad\n", good, bad);
	assert_true(good > 10000);
	assert_true(bad > 5000);
	linear_close(linear);
	history_close(history);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made__from_a_sequential_execution_is_good),
		cmocka_unit_test(made__and_spoiled_is_what_all_orders_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
