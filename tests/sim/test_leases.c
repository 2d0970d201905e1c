/* SPDX-License-Identifier: MIT */
/*
 * Worlds of leases without a planted bug: nothing is found in them, however harsh they are; and their judges see a
 * clock that leaves the bound.
 */
#include "core/base/sanitizer.h"
#include "tests/sim/lease_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <patronus/log.h>

#include <stdlib.h>
#include <string.h>

#if PTNI_ASAN
/* A world in which something is found is left as it is. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

enum {
	WORLDS = 100,
	JUMP_NS = 60000, /* more than half of the shortest term */
};

/* What drift, steps and cuts a world draws is its own; what comes of them is the same twice. */
static void test_harsh_worlds_find_nothing(void **state)
{
	uint32_t cuts = 0, fences = 0;

	for (uint64_t seed = 1; seed <= WORLDS; seed++) {
		const struct lease_options options = { .seed = seed, .harsh = true };
		struct lease_result result;

		lease_world_run_with(&options, &result);
		if (result.oracle)
			fail_msg("seed %lu: %s: %s", seed, result.oracle, result.text);
		cuts += result.cuts;
		fences += result.fences;
	}
	assert_true(cuts > WORLDS / 2);
	assert_true(fences > 0);
}

/* The node's clock is ahead of what the bound allows: leases end while their holders have time left. */
static void test_a_jump_beyond_the_bound_is_seen(void **state)
{
	unsigned seen = 0;

	for (uint64_t seed = 1; seed <= WORLDS / 3; seed++) {
		const struct lease_options options = { .seed = seed, .jump_ns = JUMP_NS };
		struct lease_result result;

		lease_world_run_with(&options, &result);
		if (!result.oracle)
			continue;
		seen++;
		assert_string_equal(result.oracle, "lease");
	}
	assert_in_range(seen, WORLDS / 6, WORLDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_harsh_worlds_find_nothing),
		cmocka_unit_test(test_a_jump_beyond_the_bound_is_seen),
	};

	if (!getenv("PTN_LOG"))
		(void)ptn_log_level_set("off");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
