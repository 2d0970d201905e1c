/* SPDX-License-Identifier: MIT */
#include "tests/ds/schedule_private.h"
#include "tests/sim/linear.h"

#include <patronus/error.h>

enum {
	OPS_MAX = SCHEDULE_CLIENTS * SCHEDULE_ACTS + SCHEDULE_KEYS,
	CONFIGS_MAX = 4096
};

static const enum history_kind kinds[] = {
	[ACT_GET] = HISTORY_GET,       [ACT_PUT] = HISTORY_PUT,       [ACT_INSERT] = HISTORY_INSERT,
	[ACT_UPDATE] = HISTORY_UPDATE, [ACT_DELETE] = HISTORY_DELETE,
};

/* Whose client died may yet take effect; after an unknown outcome nothing can land any more. */
static enum history_outcome outcome_of(const struct deed *deed)
{
	switch (deed->outcome) {
	case DONE:
		return history_outcome(kinds[deed->act.kind], deed->result);
	case UNKNOWN:
		return HISTORY_MAYBE;
	default:
		return HISTORY_RUNNING;
	}
}

static void add(struct history *history, const struct deed *deed, unsigned client)
{
	uint32_t op = history_begin(history, client, kinds[deed->act.kind], deed->act.key,
				    deed->act.kind == ACT_DELETE ? 0 : deed->act.value, 0);

	if (deed->outcome == DONE && deed->result && deed->result != -ENOENT &&
	    deed->result != -EEXIST)
		fail_msg("client %u: %s", client, ptn_errname(deed->result));
	history_end(history, op, outcome_of(deed), deed->got, 0);
	history->op[op].began = deed->began;
	history->op[op].ended = deed->ended ? deed->ended : HISTORY_NEVER;
}

void schedule_explain(const struct run *run, const struct check *check)
{
	static struct history *history;
	static struct linear *linear;
	struct linear_report report;

	if (!history) {
		assert_int_equal(history_open(OPS_MAX, 0, SCHEDULE_KEYS, &history), 0);
		assert_int_equal(linear_open(CONFIGS_MAX, &linear), 0);
	}
	history_clear(history);
	for (uint32_t i = 0; i < SCHEDULE_KEYS; i++)
		history_preset(history, i, run->schedule->present >> i & 1 ? 100 + i : 0);
	for (unsigned i = 0; i < run->actors; i++)
		for (unsigned k = 0; k < run->actor[i].count; k++)
			if (run->actor[i].deed[k].outcome != PENDING &&
			    run->actor[i].deed[k].act.kind != ACT_MOVE) /* changes no content */
				add(history, &run->actor[i].deed[k], i);
	history->events = run->events;
	for (uint32_t i = 0; i < SCHEDULE_KEYS; i++) {
		const struct check_key *key = hash_check_find(check, &run->key[i], 4);
		uint32_t op = history_begin(history, run->actors, HISTORY_GET, i, 0, 0);
		uint32_t value = 0;

		if (key)
			memcpy(&value, key->value, 4);
		history_end(history, op, key ? HISTORY_OK : HISTORY_ABSENT, value, 0);
	}
	if (linear_check(linear, history, &report) == LINEAR_GOOD)
		return;
	history_print(history, report.key, stderr);
	fail_msg("%s: %s", run->schedule->name, report.why);
}
