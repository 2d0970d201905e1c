/* SPDX-License-Identifier: MIT */
/* What the program patronus-sim can do; one file each. Exit status: 0 nothing was found, 1 something, 2 usage. */
#ifndef TESTS_SIM_MODES_H
#define TESTS_SIM_MODES_H

#include <stdbool.h>
#include <stdint.h>

struct mode_options {
	uint64_t seconds; /* of wall time, for modes that go on */
	uint32_t jobs;
	bool trace; /* one line an event, to standard output */
	const char *bug; /* of --bugs: this one only; NULL: all */
};

/* Fresh seeds for so long, or until one fails. */
int mode_fresh(const struct mode_options *options);
/* One seed, in this process, told about. */
int mode_seed(const struct mode_options *options, uint64_t seed);
/* The same for one kind of worlds (kinds.h), and `count` seeds of every kind. */
int mode_kind(const struct mode_options *options, const char *name, uint64_t seed);
int mode_kinds(const struct mode_options *options, uint64_t first, uint64_t count);
/* `count` seeds from `first` on, each twice: the same events both times. */
int mode_twice(const struct mode_options *options, uint64_t first, uint64_t count);
/* Every operation, killed behind each of its verbs. */
int mode_crash(const struct mode_options *options, bool all);
/* One point of it, in this process, by the number that a failure names. */
int mode_crash_point(const struct mode_options *options, uint64_t item);
/* All schedules of small scopes: the short ones, or all. Does not return when all is well. */
int mode_exhaustive(bool all);
/* Every planted bug must be found. */
int mode_bugs(const struct mode_options *options);

#endif
