/* SPDX-License-Identifier: MIT */
/* Keys that get into each other's way. */
#include "tests/ds/schedule_private.h"

#include <string.h>

static uint64_t code_of(unsigned key)
{
	return ptni_hash_key(&key, sizeof(key), SCHEDULE_SEED);
}

unsigned schedule_subtables(const struct schedule *schedule)
{
	return schedule->subtables ? schedule->subtables : 1;
}

void schedule_choose_keys(struct run *run, unsigned *fill)
{
	uint64_t suffix_mask = schedule_subtables(run->schedule) - 1;
	struct ptni_place place, mine;
	unsigned alike = 1, fillers = 0;

	run->key[0] = 1;
	ptni_hash_place(code_of(1), SCHEDULE_GROUPS, &mine);
	for (unsigned key = 2; alike < SCHEDULE_KEYS || fillers < SCHEDULE_FILL_MAX; key++) {
		uint64_t code = code_of(key);

		ptni_hash_place(code, SCHEDULE_GROUPS, &place);
		if (memcmp(&place, &mine, sizeof(place)) || (code ^ code_of(1)) & suffix_mask)
			continue;
		if (ptni_hash_print(code) == ptni_hash_print(code_of(1))) {
			if (alike < SCHEDULE_KEYS)
				run->key[alike++] = key;
		} else if (fillers < SCHEDULE_FILL_MAX) {
			fill[fillers++] = key;
		}
	}
}
