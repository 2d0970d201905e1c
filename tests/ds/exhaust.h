/* SPDX-License-Identifier: MIT */
/*
 * All schedules of a few operations, without a limit on preemptions, each judged by the walk over the table and by
 * the check for linearizability. What is the same but for the order of what does not matter is run once. The model:
 *
 *   step      one verb of one client, with what it computes until the next one. A client that backs off makes no step.
 *   history   an operation begins with its first verb and ends with its last: as late, and as early, as can be. So as
 *             many operations as possible come after one another, and linearizability is asked at its strictest.
 *   apart     each client has a clock of its own, which its back-offs move, and its own part of memory to allocate
 *             from (mock_apart()): so it does what it does by what it has read, and by nothing else.
 *   waiting   A client that backs off has seen nothing new until somebody writes what it has read since it backed off
 *             last; before, it goes on only `spins` times (to remove a rival's tentative slot, or take over a split),
 *             or when everybody else waits or is through. `hasty`: a back-off takes longer than the patience with a
 *             split. Two clients can make each other try again without end, if the schedule is unkind enough; so a
 *             client backs off `backoffs` times at most, and then stays where it is for ever. What the others did
 *             is judged all the same (`starved`).
 *
 * What is left out, and why nothing is lost:
 *
 *  E1  Eager. A WRITE to a block that no word has pointed at yet, and a READ inside a published key-value block, are
 *      part of the step before: nobody can see that WRITE before a later step of the same client, and nobody
 *      changes those bytes any more (the mock fails a test at once that does). So such a verb commutes with all
 *      that others will ever do: it alone is a persistent set (Godefroid 1996), and nobody's step comes between.
 *      The same goes for the return from a back-off, which is one step with the verb that follows it. An operation's
 *      beginning is counted from its first verb that is not of this kind, so that E1 does not make the question of
 *      linearizability easier.
 *  E2  Sleep sets (Godefroid 1996). Two steps commute when neither writes what the other touches, byte by byte, a
 *      CAS that fails being a READ; when they are not the end of one operation and the beginning of another; and, for
 *      the return from a back-off, when the other does not write what was read before it. Of schedules
 *      that differ only in the order of steps that commute, one is run. Sleep sets alone leave out steps, never
 *      a state.
 *  E3  States. A state is: remote memory, and what the mock knows of its blocks; each client's local memory (its
 *      stack, all that was allocated for it, what its operations have returned); for each operation who was through
 *      with what when it began, which is all that the history adds to results and memory; and what `waiting`
 *      looks at: news, what was read, spins and back-offs left. What can happen from a state, and how it will be
 *      judged, is a function of this, so a state that was met before need not be left again, but for those
 *      that were asleep whenever it was met and are not now: they are tried, and from then on asleep is who was each
 *      time (Godefroid 1996, 5.2: a step that slept at the first visit was taken where it fell asleep, before
 *      the path to this visit came by; what was tried at the first visit needs no second). No path comes back to a
 *      state that it has left, since each back-off is counted and between two of them a client does finitely
 *      much; so what follows a state that was met has been gone through, or is being told so by its own path.
 *      When all wait and one is woken all the same, nobody sleeps on, because then that one's step holds the others up.
 *      States are told apart by 61 bits of a hash: among n of them one is taken for another with a probability of
 *      n^2 / 2^62, for ten million 2 * 10^-5.
 *  E4  Dead data. What is left on a stack below its top, in NIC memory before an operation begins, what READs and
 *      atomics have brought before a back-off, posted work requests, counters: all these are overwritten, so that
 *      they do not tell states apart. This changes what the client under test finds there, so it is not a matter
 *      of taking one state for another: who relies on such data is found out.
 *
 * With a limit to preemptions, states with their number left are remembered and nobody sleeps (orders of steps that
 * commute differ in it); what is seen then is everything up to that limit.
 *
 * That E3 knows all of a client's memory is tested: what a client is after a step must be a function of what it was
 * before and of what the step brought it (`functions`). That nothing is lost by the rest is tested against every order
 * of all steps, and with each part left out, by results and remote memory at the end (test_hash_exhaust.c).
 */
#ifndef TESTS_EXHAUST_H
#define TESTS_EXHAUST_H

#include "tests/ds/schedule.h"

/* Parts of the reduction. */
enum exhaust_part {
	EXHAUST_SLEEP = 1, /* sleep sets */
	EXHAUST_STATES = 2, /* states are remembered */
	EXHAUST_EAGER = 4, /* private verbs are done at once */
	EXHAUST_REDUCTION = 7
};

struct exhaust_result;

struct exhaust {
	struct schedule schedule; /* its preemptions are ignored */
	unsigned spins; /* of each client without news */
	unsigned backoffs; /* of each client in all; it then stays where it is */
	bool hasty;
	unsigned preemptions; /* of clients that neither wait nor are through; 0 = no limit */
	unsigned without; /* parts of the reduction, EXHAUST_REDUCTION: every order of all steps */
	bool functions; /* see exhaust_functions_check() */
	unsigned long limit; /* runs; 0 = no limit */
	void (*progress)(const struct exhaust *exhaust, const struct exhaust_result *result);
};

struct exhaust_result {
	unsigned long schedules; /* run to the end and judged */
	unsigned long
		starved; /* judged, with a client that had backed off too often left in the middle */
	unsigned long cut; /* given up because the rest is like one that was run */
	unsigned long met; /* states, again */
	unsigned long runs; /* all of these */
	unsigned long states; /* different ones */
	unsigned long steps;
	unsigned longest; /* steps of a schedule */
	uint64_t outcomes; /* sum of hashes of the different results, each once */
	uint64_t endings; /* the same of results and remote memory at the end */
	unsigned outcome_count, ending_count;
	bool limited; /* the limit was reached: not all */
};

/* Fails the test at the first schedule that is wrong. */
void exhaust_run(const struct exhaust *exhaust, struct exhaust_result *result_out);
/* Who made each step of the schedule under way, "" when none is. */
const char *exhaust_now(void);

#endif
