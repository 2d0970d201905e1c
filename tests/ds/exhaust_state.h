/* SPDX-License-Identifier: MIT */
/* What makes up a state of the search through all schedules (exhaust.h), and which states it has met. */
#ifndef TESTS_EXHAUST_STATE_H
#define TESTS_EXHAUST_STATE_H

#include "tests/ds/schedule_private.h"

enum {
	EXHAUST_NEW = ~0u
};

/*
 * All that a client's future depends on, besides remote memory: its stack, all that was allocated for it, what
 * its operations gave so far. Of a client that is through: the latter.
 */
uint64_t exhaust_local_hash(struct actor *actor);
/* Before a run: what others have left there is not part of it. */
void exhaust_clean_stack(const struct actor *actor);
/* After a step: what nobody will read shall not tell states apart. */
void exhaust_clean_dead_stack(const struct actor *actor);

/* A set of states, each with the set of clients that were asleep whenever it was met. */
void exhaust_states_clear(void);
/* Who was asleep before, EXHAUST_NEW if it was not met before; then those are asleep there that were both times. */
unsigned exhaust_states_meet(uint64_t state, unsigned sleep);
unsigned long exhaust_states_count(void);

/*
 * Is what a client is after a step a function of what it was before and of what the step brought it? If not,
 * something is missing in exhaust_local_hash(). Fails the test.
 */
void exhaust_functions_clear(void);
void exhaust_functions_check(uint64_t before, uint64_t observed, uint64_t after);

#endif
