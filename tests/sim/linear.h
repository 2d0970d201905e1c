/* SPDX-License-Identifier: MIT */
/*
 * Is a history (tests/sim/history.h) linearizable: can every operation be given a moment between its beginning
 * and its end so that, one after the other, each would have given what it gave? Keys are independent,
 * so each is asked alone; the object is "absent, or a value".
 *
 * Method. Just-in-time linearization (Lowe, 2017, after Wing and Gong, 1993): the events are gone through in
 * order with the set of all configurations {value, which of the pending operations have taken effect} that
 * explain what was seen so far. Only the end of an operation forces pending ones to take effect, in every order
 * that ends with this one. No configuration left: not linearizable.
 *
 * What keeps the set small and the answer the same:
 *  - an operation that changes nothing takes effect as soon as the value allows it;
 *  - of two configurations that differ only in which uncertain operations have happened, one with fewer of them
 *    can do everything that the other can;
 *  - all values that nobody ever reads are one;
 *  - of operations that do the same, the one that ends first takes effect first.
 *
 * The work is capped. LINEAR_UNDECIDED says that it did not suffice, or that the history is incomplete; it is to be
 * treated as a failure of the test.
 */
#ifndef TESTS_SIM_LINEAR_H
#define TESTS_SIM_LINEAR_H

#include "tests/sim/history.h"

enum {
	LINEAR_PENDING_MAX = 256, /* operations on one key at once, uncertain ones for ever */
	LINEAR_CONFIGS_DEFAULT = 1 << 16,
};

enum linear_verdict {
	LINEAR_GOOD,
	LINEAR_BAD,
	LINEAR_UNDECIDED
};

struct linear_report {
	uint32_t key;
	uint32_t op; /* of the history: whose end cannot be explained; HISTORY_NONE: a walk's */
	uint32_t walk; /* HISTORY_NONE: not a walk's */
	uint32_t pending_max; /* of any key */
	uint64_t configs; /* that were looked at */
	const char *why;
};

struct linear;

/* configs_max: that may be alive at one event; each takes about 100 bytes. -ENOMEM. */
int linear_open(uint32_t configs_max, struct linear **linear_out);
void linear_close(struct linear *linear);
/* Every key. report_out may be NULL; it is written in every case. Allocates only when a history has more
 * operations than all before. */
enum linear_verdict linear_check(struct linear *linear, const struct history *history,
				 struct linear_report *report_out);

#endif
