/* SPDX-License-Identifier: MIT */
#include "tests/ds/exhaust_state.h"

#include "tests/ds/locals.h"

#include <stdlib.h>
#include <string.h>

enum {
	SLEEP_BITS = SCHEDULE_CLIENTS,
	STACK_BYTES = 40 << 10, /* more than is used; without what lies above actor_main() */
	DEAD_STACK_BYTES =
		8 << 10, /* below where it is suspended: deeper than it goes until the next time */
	PLACES_FIRST = 1 << 12
};

/* --- hashes --------------------------------------------------------------------------------------------------- */

#if PTNI_ASAN
/* Locals must lie on the fiber's own stack. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_stack_use_after_return=0";
}
#endif

static void clean(const uint8_t *high, size_t len_bytes)
{
	/* the sanitizers have their own idea of what may be written there */
	if (!PTNI_ASAN && !PTNI_TSAN)
		memset((uint8_t *)(uintptr_t)high - len_bytes, 0, len_bytes);
}

void exhaust_clean_stack(const struct actor *actor)
{
	if (actor->stack_high)
		clean(actor->stack_high, STACK_BYTES);
}

void exhaust_clean_dead_stack(const struct actor *actor)
{
	if (!actor->finished)
		clean(actor->fiber->context, DEAD_STACK_BYTES);
}

static uint64_t results_hash(const struct actor *actor)
{
	uint64_t hash = actor->finished;

	for (unsigned i = 0; i < actor->count; i++) {
		const struct deed *deed = &actor->deed[i];
		uint32_t words[] = { deed->outcome, (uint32_t)deed->result, deed->got };

		hash = locals_hash_bytes(words, sizeof(words), hash);
	}
	return hash;
}

uint64_t exhaust_local_hash(struct actor *actor)
{
	uint64_t hash = results_hash(actor);
	const uint8_t *live;

	assert_true(atomic_load(&actor->hash->directory.depth) <= 9); /* locals.h: its first page */
	if (actor->finished)
		return hash;
	live = actor->fiber->context;
	hash = locals_hash_bytes(live, (size_t)(actor->stack_high - live), hash);
	return mock_client_hash(actor->client, hash);
}

/* --- states --------------------------------------------------------------------------------------------------- */

/* Open addressing; 0 is no state. */
static struct {
	uint64_t *place; /* hash without its last bits, who was asleep in their place */
	uint64_t places;
	uint64_t count;
} states;

static const uint64_t sleep_mask = (1u << SLEEP_BITS) - 1;

static void clear(uint64_t **place, uint64_t *places, uint64_t *count, unsigned words)
{
	free(*place);
	*places = PLACES_FIRST;
	*place = calloc(*places * words, sizeof(**place));
	*count = 0;
	assert_non_null(*place);
}

void exhaust_states_clear(void)
{
	clear(&states.place, &states.places, &states.count, 1);
}

unsigned long exhaust_states_count(void)
{
	return states.count;
}

static uint64_t *states_find(uint64_t key)
{
	uint64_t at = key >> SLEEP_BITS;

	for (;; at++) {
		uint64_t *place = &states.place[at & (states.places - 1)];

		if (!*place || (*place & ~sleep_mask) == key)
			return place;
	}
}

static void states_grow(void)
{
	uint64_t *old = states.place;
	uint64_t places = states.places;

	states.places *= 4;
	states.place = calloc(states.places, sizeof(*states.place));
	assert_non_null(states.place);
	for (uint64_t i = 0; i < places; i++)
		if (old[i])
			*states_find(old[i] & ~sleep_mask) = old[i];
	free(old);
}

unsigned exhaust_states_meet(uint64_t state, unsigned sleep)
{
	uint64_t key = state & ~sleep_mask;
	uint64_t *place;
	unsigned before;

	key = key ? key : sleep_mask + 1;
	if (states.count * 2 > states.places)
		states_grow();
	place = states_find(key);
	if (!*place) {
		*place = key | sleep;
		states.count++;
		return EXHAUST_NEW;
	}
	before = *place & sleep_mask;
	*place = key | (before & sleep);
	return before;
}

/* --- functions ------------------------------------------------------------------------------------------------ */

static struct {
	uint64_t *place; /* pairs: argument, value */
	uint64_t places;
	uint64_t count;
} functions;

void exhaust_functions_clear(void)
{
	clear(&functions.place, &functions.places, &functions.count, 2);
}

static uint64_t *functions_find(uint64_t key)
{
	uint64_t at = key >> SLEEP_BITS;

	for (;; at++) {
		uint64_t *place = &functions.place[2 * (at & (functions.places - 1))];

		if (!*place || *place == key)
			return place;
	}
}

static void functions_grow(void)
{
	uint64_t *old = functions.place;
	uint64_t places = functions.places;

	functions.places *= 4;
	functions.place = calloc(functions.places * 2, sizeof(*functions.place));
	assert_non_null(functions.place);
	for (uint64_t i = 0; i < places; i++)
		if (old[2 * i])
			memcpy(functions_find(old[2 * i]), &old[2 * i], 2 * sizeof(*old));
	free(old);
}

void exhaust_functions_check(uint64_t before, uint64_t observed, uint64_t after)
{
	uint64_t words[] = { before, observed };
	uint64_t key = locals_hash_bytes(words, sizeof(words), 0) | 1;
	uint64_t *place;

	if (functions.count * 2 > functions.places)
		functions_grow();
	place = functions_find(key);
	if (*place) {
		assert_int_equal(place[1], after);
		return;
	}
	place[0] = key;
	place[1] = after;
	functions.count++;
}
