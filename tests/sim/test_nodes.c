/* SPDX-License-Identifier: MIT */
/*
 * One of three nodes is lost, and nothing else happens: it dies, loudly or silently, or a client's channel to it
 * breaks. Whoever worked on all three goes on with the other two (ds/hashtable/table.h: H12, H13).
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
	NODES = 3,
	ROUNDS = 4, /* of each case */
	CASES = 3 * NODES,
};
#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

static const char *const way[] = { "dies", "dies silently", "hangs up" };

static void configure(uint64_t item, struct world_config *config)
{
	uint32_t node = (uint32_t)item % NODES, how = (uint32_t)item / NODES % 3;

	world_config_quiet(1000 + item, config);
	config->nodes = NODES;
	config->clients = 2;
	config->subtables = 4;
	config->ops = 100;
	config->keys = 100;
	config->hot = 0;
	config->preset = 60;
	config->think_ns = 20 * US;
	config->weight[WORLD_WALK] = 1;
	config->weight[WORLD_MULTI_GET] = 10;
	config->stay = true;
	config->node_dies = node;
	config->node_silent = how == 1;
	if (how < 2)
		config->node_dies_ns = 600 * US + 170 * US * (item / CASES);
	else
		config->blow[config->blows++] = (struct world_blow){
			.hang_up = true, .node = node, .at_ns = 600 * US + 170 * US * (item / CASES)
		};
	oracle_attach(config);
}

static void lose_one(void *arg, uint64_t item, struct world_result *result_out)
{
	struct world_config config;
	uint32_t parted;

	configure(item, &config);
	parted = config.blows ? 1 : config.clients;
	world_run(&config, result_out);
	if (result_out->failed)
		return;
	result_out->failed = true;
	if (result_out->lives != config.clients || result_out->parted != parted ||
	    result_out->lost != parted)
		(void)snprintf(result_out->text, sizeof(result_out->text),
			       "node %u %s: %u lives of %u clients, %u of them lost %u nodes",
			       config.node_dies, way[item / NODES % 3], result_out->lives,
			       config.clients, result_out->parted, result_out->lost);
	else if (result_out->longest_ns > config.term_ns)
		(void)snprintf(result_out->text, sizeof(result_out->text),
			       "node %u %s: an operation took %llu us", config.node_dies,
			       way[item / NODES % 3],
			       (unsigned long long)result_out->longest_ns / 1000);
	else
		result_out->failed = false;
}

static void test_one_of_three_is_lost(void **state)
{
	struct runner runner = {
		.run = lose_one, .count = CASES * ROUNDS, .jobs = 1, .quiet = true
	};
	struct runner_sum sum;

	if (!getenv("PTN_LOG"))
		(void)ptn_log_level_set("off");
	assert_int_equal(runner_run(&runner, &sum), 0);
	if (sum.failed)
		print_message("case %llu: %s\n", (unsigned long long)sum.failed_item,
			      sum.failure.text);
	assert_false(sum.failed);
	assert_int_equal(sum.runs, runner.count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_of_three_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
