/* SPDX-License-Identifier: MIT */
#include "tests/ds/schedule_private.h"

#include <string.h>

enum {
	ABSENT = 0
};

/* --- is there an order that explains it? ---------------------------------------------------------------- */

struct explain {
	const struct deed *deed[SCHEDULE_CLIENTS * SCHEDULE_ACTS];
	unsigned count;
	uint32_t final[SCHEDULE_KEYS];
};

/* What a deed does to the content; false if it cannot have had its result here. */
static bool apply(const struct deed *deed, uint32_t *content)
{
	uint32_t *value = &content[deed->act.key];
	bool told = deed->outcome == DONE, there = *value != ABSENT;
	int result = 0;

	switch (deed->act.kind) {
	case ACT_GET:
		result = there ? 0 : -ENOENT;
		if (told && there && deed->got != *value)
			return false;
		break;
	case ACT_PUT:
		*value = deed->act.value;
		break;
	case ACT_INSERT:
		result = there ? -EEXIST : 0;
		*value = there ? *value : deed->act.value;
		break;
	case ACT_UPDATE:
		result = there ? 0 : -ENOENT;
		*value = there ? deed->act.value : ABSENT;
		break;
	default:
		result = there ? 0 : -ENOENT;
		*value = ABSENT;
	}
	return !told || result == deed->result;
}

static bool may_be_next(const struct explain *explain, unsigned taken, unsigned which)
{
	for (unsigned i = 0; i < explain->count; i++)
		if (i != which && !(taken >> i & 1) && explain->deed[i]->ended &&
		    explain->deed[i]->ended < explain->deed[which]->began)
			return false;
	return true;
}

static bool explained(const struct explain *explain, unsigned taken, const uint32_t *content)
{
	if (taken == (1u << explain->count) - 1)
		return !memcmp(content, explain->final, sizeof(explain->final));
	for (unsigned i = 0; i < explain->count; i++) {
		uint32_t next[SCHEDULE_KEYS];

		if (taken >> i & 1 || !may_be_next(explain, taken, i))
			continue;
		memcpy(next, content, sizeof(next));
		if (apply(explain->deed[i], next) && explained(explain, taken | 1u << i, next))
			return true;
		/* nobody was told: it may have done nothing */
		if (explain->deed[i]->outcome != DONE &&
		    explained(explain, taken | 1u << i, content))
			return true;
	}
	return false;
}

void schedule_explain(const struct run *run, const struct check *check)
{
	struct explain explain = { 0 };
	uint32_t content[SCHEDULE_KEYS];

	for (unsigned i = 0; i < SCHEDULE_KEYS; i++) {
		const struct check_key *key = hash_check_find(check, &run->key[i], 4);

		content[i] = run->schedule->present >> i & 1 ? 100 + i : ABSENT;
		if (key)
			memcpy(&explain.final[i], key->value, 4);
	}
	for (unsigned i = 0; i < run->actors; i++)
		for (unsigned k = 0; k < run->actor[i].count; k++) {
			const struct deed *deed = &run->actor[i].deed[k];

			if (deed->outcome != PENDING)
				explain.deed[explain.count++] = deed;
			if (deed->outcome == DONE && deed->result)
				assert_true(deed->result == -ENOENT || deed->result == -EEXIST);
		}
	if (explained(&explain, 0, content))
		return;
	for (unsigned i = 0; i < explain.count; i++)
		print_error("%s: act %d key %u value %u -> %d got %u (%lu..%lu)\n",
			    run->schedule->name, explain.deed[i]->act.kind,
			    explain.deed[i]->act.key, explain.deed[i]->act.value,
			    explain.deed[i]->result, explain.deed[i]->got, explain.deed[i]->began,
			    explain.deed[i]->ended);
	for (unsigned i = 0; i < SCHEDULE_KEYS; i++)
		print_error("  key %u is %u\n", i, explain.final[i]);
	fail_msg("no order of the operations explains this");
}
