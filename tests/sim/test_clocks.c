/* SPDX-License-Identifier: MIT */
/*
 * Clocks that step. Within the bound on their rates nobody notices: no session is fenced, no lane breaks, no call
 * fails. Beyond it leases end too early for somebody, and that is all: every judge of a world is content.
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
	WORLDS = 40
};
#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

/* Half of what nodes allow for is drift, the other half steps; half of each is the client's and half the node's. */
static void configure(uint64_t seed, struct world_config *config)
{
	world_config_quiet(seed, config);
	if (seed % 2)
		config->sim.timing = (struct ptni_sim_timing){ 0 }; /* things happen within ns */
	config->ops = 120;
	config->term_ns = seed % 8 < 4 ? 2 * MS : 40 * MS; /* steps of 50 ns to 5 us */
	config->epoch_min_ns = 50 * US;
	config->think_ns = 20 * US;
	config->value_max = 1000;
	config->weight[WORLD_MEMORY] = seed % 4 < 2 ? 20 : 0;
	config->sim.faults.drift_ppm = WORLD_DRIFT_PPM / 4;
	config->sim.faults.step_one_in = 2;
	config->sim.faults.step_ns =
		(uint32_t)((config->weight[WORLD_MEMORY] ? WORLD_MEMORY_TERM_MIN_NS :
							   config->term_ns) *
			   WORLD_DRIFT_PPM / 4 / 1000000);
	oracle_attach(config);
}

static void step_within(void *arg, uint64_t seed, struct world_result *result_out)
{
	struct world_config config;

	configure(seed, &config);
	world_run(&config, result_out);
	if (result_out->failed)
		return;
	result_out->failed = result_out->fences || result_out->errors || result_out->lane_breaks ||
			     result_out->lives != config.clients;
	if (result_out->failed)
		(void)snprintf(result_out->text, sizeof(result_out->text),
			       "%llu fences, %u errors, %llu lanes broken, %u lives of %u clients",
			       (unsigned long long)result_out->fences, result_out->errors,
			       (unsigned long long)result_out->lane_breaks, result_out->lives,
			       config.clients);
}

/* Forward and back, by more than a term, of the node and of the clients. */
static void step_beyond(void *arg, uint64_t seed, struct world_result *result_out)
{
	struct world_config config;

	configure(seed, &config);
	config.blows = WORLD_BLOWS_MAX;
	for (uint32_t i = 0; i < config.blows; i++)
		config.blow[i] = (struct world_blow){
			.client = i % config.clients,
			.at_ns = 200 * US + 150 * US * i,
			.step_ns = (int64_t)(config.term_ns * (1 + i % 2)) *
				   (((seed >> i % 4) & 1) ? 1 : -1),
			.step_node = i % 4 == 3,
		};
	world_run(&config, result_out);
}

static void run(void (*one)(void *arg, uint64_t seed, struct world_result *result_out),
		struct runner_sum *sum_out)
{
	struct runner runner = { .run = one, .first = 1, .count = WORLDS, .jobs = 1, .quiet = true };

	if (!getenv("PTN_LOG"))
		(void)ptn_log_level_set("off");
	assert_int_equal(runner_run(&runner, sum_out), 0);
	if (sum_out->failed)
		print_message("world %llu: %s\n", (unsigned long long)sum_out->failed_item,
			      sum_out->failure.text);
	assert_false(sum_out->failed);
	assert_int_equal(sum_out->runs, WORLDS);
}

static void test_nobody_notices_a_step_within_the_bound(void **state)
{
	struct runner_sum sum;

	run(step_within, &sum);
}

static void test_a_step_beyond_it_costs_sessions_only(void **state)
{
	struct runner_sum sum;

	run(step_beyond, &sum);
	assert_true(sum.fences > WORLDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_notices_a_step_within_the_bound),
		cmocka_unit_test(test_a_step_beyond_it_costs_sessions_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
