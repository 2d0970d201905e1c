/* SPDX-License-Identifier: MIT */
/*
 * Networks that fail for a while and heal. A cut shorter than a lease is a delay and nothing else: no error, no lane
 * lost. One that outlasts the session costs this client its session, from which it begins anew, and holds up
 * nobody else.
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
	WORLDS = 24
};
#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

static void configure(uint64_t item, struct world_config *config)
{
	world_config_quiet(item, config);
	config->clients = 2;
	config->nodes = 1 + item % 2;
	config->subtables = config->nodes;
	config->ops = 400;
	config->think_ns = 20 * US;
	config->term_ns = 4 * MS;
	for (int i = 0; i < WORLD_ACTS; i++)
		if (i > WORLD_DELETE) /* operations on one key: those are timed */
			config->weight[i] = 0;
	config->blows = 1;
	config->blow[0] = (struct world_blow){
		.cut = item % 3 ? WORLD_CUT_LINK : WORLD_CUT_CLIENT,
		.at_ns = 2 * MS + 40 * US * item,
	};
	oracle_attach(config);
}

static void judge(struct world_result *result, bool wrong, const char *what)
{
	if (result->failed || !wrong)
		return;
	result->failed = true;
	(void)snprintf(
		result->text, sizeof(result->text),
		"%s: %u lives, %u errors, %llu fences, %llu lanes broken, longest %llu us of %llu",
		what, result->lives, result->errors, (unsigned long long)result->fences,
		(unsigned long long)result->lane_breaks,
		(unsigned long long)result->longest_ns / 1000,
		(unsigned long long)result->virtual_ns / 1000);
}

static void cut_short(void *arg, uint64_t item, struct world_result *result_out)
{
	struct world_config config;

	configure(item, &config);
	config.blow[0].span_ns = config.term_ns / 4; /* a third of the term is left at any moment */
	world_run(&config, result_out);
	judge(result_out,
	      result_out->errors || result_out->fences || result_out->lane_breaks ||
		      result_out->lives != config.clients,
	      "a short cut");
	judge(result_out, result_out->longest_ns < config.blow[0].span_ns / 2, "nothing was cut");
}

static void cut_long(void *arg, uint64_t item, struct world_result *result_out)
{
	struct world_config config;

	configure(item, &config);
	config.blow[0].span_ns = 5 * config.term_ns;
	world_run(&config, result_out);
	judge(result_out, !result_out->fences, "a long cut");
}

static void run(void (*one)(void *arg, uint64_t item, struct world_result *result_out))
{
	struct runner runner = { .run = one, .first = 1, .count = WORLDS, .jobs = 1, .quiet = true };
	struct runner_sum sum;

	if (!getenv("PTN_LOG"))
		(void)ptn_log_level_set("off");
	assert_int_equal(runner_run(&runner, &sum), 0);
	if (sum.failed)
		print_message("world %llu: %s\n", (unsigned long long)sum.failed_item,
			      sum.failure.text);
	assert_false(sum.failed);
	assert_int_equal(sum.runs, WORLDS);
}

static void test_a_short_cut_is_a_delay(void **state)
{
	run(cut_short);
}

static void test_a_long_cut_costs_a_session(void **state)
{
	run(cut_long);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_short_cut_is_a_delay),
		cmocka_unit_test(test_a_long_cut_costs_a_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
