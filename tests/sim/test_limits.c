/* SPDX-License-Identifier: MIT */
/*
 * What is used up: windows of the device, windows, leases and bytes of a session, sessions, memory. Each is so scarce
 * in worlds of its own that it really runs out; then callers are told so, by the error that is documented for
 * it and no other, nobody loses anything, a client that comes alone afterwards can do everything, and in the end
 * the nodes hold nothing (which every world checks).
 */
#include "tests/sim/modes.h"
#include "tests/sim/oracle.h"
#include "tests/sim/runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <patronus/log.h>

#include <stdio.h>
#include <stdlib.h>

enum {
	WORLDS = 8, /* of each */
	DEVICE_WINDOWS = 160,
	SESSION_WINDOWS = 70,
};

enum scarce {
	SCARCE_NOTHING,
	SCARCE_DEVICE_WINDOWS,
	SCARCE_SESSION_WINDOWS,
	SCARCE_LEASES,
	SCARCE_SESSIONS,
	SCARCE_SESSION_BYTES,
	SCARCE_MEMORY,
	SCARCES
};

static const char *const name[] = { "nothing",
				    "the device's windows",
				    "a session's windows",
				    "leases",
				    "sessions",
				    "a session's bytes",
				    "memory" };

static void configure(enum scarce scarce, uint64_t seed, struct world_config *config)
{
	world_config_quiet(seed, config);
	config->clients = 4;
	config->workers = 2;
	config->ops = 60;
	config->term_ns = 4000000;
	config->load_ns = 400000000;
	config->value_max = 1000;
	config->keys = 128;
	config->weight[WORLD_MEMORY] = 15;
	config->weight[WORLD_TABLE_USE] = 10;
	config->weight[WORLD_TABLE_DROP] = 2;
	if (scarce == SCARCE_DEVICE_WINDOWS)
		config->sim.limits.mw_max = DEVICE_WINDOWS;
	if (scarce == SCARCE_SESSION_WINDOWS)
		config->limits.windows = SESSION_WINDOWS;
	if (scarce == SCARCE_LEASES)
		config->limits.leases = 1;
	if (scarce == SCARCE_SESSIONS)
		config->limits.sessions = 2;
	if (scarce == SCARCE_SESSION_BYTES)
		config->limits.bytes = 1 << 20;
	if (scarce == SCARCE_MEMORY) {
		config->node_memory = 2 << 20;
		config->value_max = 5900;
	}
	oracle_attach(config);
}

/* How often callers were told what is documented for it. */
static uint32_t told(enum scarce scarce, const struct world_result *result)
{
	switch (scarce) {
	case SCARCE_DEVICE_WINDOWS:
	case SCARCE_SESSIONS:
		return result->full;
	case SCARCE_SESSION_WINDOWS:
	case SCARCE_LEASES:
	case SCARCE_SESSION_BYTES:
		return result->quota;
	case SCARCE_MEMORY:
		return result->memory;
	default:
		return 0;
	}
}

/*
 * Nothing else, with two exceptions: memory is waited for, so an operation may come to the end of its time; and a
 * client whose keeper gets no window either loses its session.
 */
static bool as_documented(enum scarce scarce, const struct world_result *result)
{
	uint32_t others = result->full + result->quota + result->memory - told(scarce, result);
	bool excused = scarce == SCARCE_MEMORY || scarce == SCARCE_DEVICE_WINDOWS ||
		       scarce == SCARCE_SESSION_WINDOWS;

	return !others && (excused || !result->other);
}

static void one(void *arg, uint64_t item, struct world_result *result_out)
{
	enum scarce scarce = (enum scarce)(item / WORLDS);
	struct world_config config;

	configure(scarce, 1 + item, &config);
	world_run(&config, result_out);
	if (result_out->failed || (as_documented(scarce, result_out)))
		return;
	result_out->failed = true;
	(void)snprintf(
		result_out->text, sizeof(result_out->text),
		"%s: told %u times that the node is full, %u of a quota, %u of memory, %u of "
		"something else",
		name[scarce], result_out->full, result_out->quota, result_out->memory,
		result_out->other);
}

static uint32_t total[SCARCES];

static bool took(void *arg, uint64_t item, const struct world_result *result)
{
	total[item / WORLDS] += told((enum scarce)(item / WORLDS), result);
	return !result->failed;
}

static void test_what_is_used_up_is_told_and_comes_back(void **state)
{
	struct runner runner = { .run = one,
				 .count = (uint64_t)SCARCES * WORLDS,
				 .jobs = 1,
				 .took = took,
				 .quiet = true };
	struct runner_sum sum;

	if (!getenv("PTN_LOG"))
		(void)ptn_log_level_set("off");
	assert_int_equal(runner_run(&runner, &sum), 0);
	if (sum.failed)
		print_message("world %llu: %s\n", (unsigned long long)sum.failed_item,
			      sum.failure.text);
	assert_false(sum.failed);
	assert_int_equal(sum.runs, runner.count);
	for (unsigned i = SCARCE_NOTHING + 1; i < SCARCES; i++)
		assert_true(total[i] >= WORLDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_used_up_is_told_and_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
