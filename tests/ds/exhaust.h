/* SPDX-License-Identifier: MIT */
/*
 * All schedules of a few operations, without a limit on preemptions, each judged by the walk over the table and by
 * the check for linearizability.
 *
 * Reduction (sleep sets, Godefroid 1996). Two steps commute when neither writes what the other touches, and when
 * they are not the end of one operation and the beginning of another (their order is part of the history). Of
 * schedules that differ only in the order of steps that commute, one is run. Virtual time is taken to be the
 * same whatever the order of the steps.
 *
 * Waiting. A client that backs off has seen nothing new until somebody writes what it has read since it backed
 * off last; before, it goes on only `spins` times (to remove a rival's tentative slot, or take over a split), or
 * when everybody else waits or is through. `hasty`: a back-off takes longer than the patience with a split.
 * Two clients can make each other try again without end, if the schedule is unkind enough; so a client backs off
 * `backoffs` times at most, and what lies beyond is counted as `starved`.
 */
#ifndef TESTS_EXHAUST_H
#define TESTS_EXHAUST_H

#include "tests/ds/schedule.h"

struct exhaust {
	struct schedule schedule; /* preemptions are ignored */
	unsigned spins; /* of each client without news */
	unsigned backoffs; /* of each client in all; schedules with more are not followed */
	bool hasty;
	bool whole; /* no reduction: every order of all steps */
	unsigned long limit; /* schedules, with those given up; 0 = no limit */
};

struct exhaust_result {
	unsigned long schedules; /* run to the end and judged */
	unsigned long cut; /* given up because the rest is like one that was run */
	unsigned long starved; /* given up because a client backed off too often */
	unsigned long steps;
	unsigned longest; /* steps of a schedule */
	uint64_t outcomes; /* sum of hashes of the different results, each once */
	unsigned outcome_count;
	bool limited; /* the limit was reached: not all */
};

/* Fails the test at the first schedule that is wrong. */
void exhaust_run(const struct exhaust *exhaust, struct exhaust_result *result_out);
/* Who made each step of the schedule under way, "" when none is. */
const char *exhaust_now(void);

#endif
