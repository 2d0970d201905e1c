/* SPDX-License-Identifier: MIT */
/*
 * Many runs, each in a child that serves for some of them: what a killed client leaves in memory goes with the
 * child, and a run that crashes is a finding with a number and not our end.
 */
#ifndef TESTS_SIM_RUNNER_H
#define TESTS_SIM_RUNNER_H

#include "tests/sim/world.h"

struct runner {
	/* Run number `item`; in a child. */
	void (*run)(void *arg, uint64_t item, struct world_result *result_out);
	void *arg;
	uint64_t first, count; /* items first, first + 1, ...; count 0 = for `seconds` */
	uint64_t seconds;
	uint32_t jobs;
	/* A result, in the parent, in no order; false: stop. NULL: stop at the first that failed. */
	bool (*took)(void *arg, uint64_t item, const struct world_result *result);
	bool quiet; /* no line every few seconds */
};

struct runner_sum {
	uint64_t runs, events, ops, kills, lives, errors;
	uint64_t fences, refusals, lane_breaks, lane_recoveries, unknown, grown;
	uint64_t failed_item; /* the first, if `failed` */
	bool failed;
	struct world_result failure;
	double seconds;
};

int runner_run(const struct runner *runner, struct runner_sum *sum_out);

#endif
