/* SPDX-License-Identifier: MIT */
/*
 * Hash table operations of a few clients, their verbs interleaved in every way (up to a number of
 * preemptions), on a mock world. After each run the table must be sound, and results and content must be
 * those of the operations in some order that respects who was done before whom began.
 */
#ifndef TESTS_SCHEDULE_H
#define TESTS_SCHEDULE_H

#include "tests/ds/hash_check.h"

enum {
	SCHEDULE_CLIENTS = 3,
	SCHEDULE_ACTS = 3, /* of a client */
	SCHEDULE_KEYS = 4, /* that are acted on; others only fill */
	SCHEDULE_STEPS_MAX = 4096,
	SCHEDULE_GROUPS = 2,
	SCHEDULE_ALL = 1000, /* preemptions: no limit */
};

enum act_kind {
	ACT_NONE,
	ACT_GET,
	ACT_PUT,
	ACT_INSERT,
	ACT_UPDATE,
	ACT_DELETE,
	ACT_MOVE, /* all blocks of keys that were there before, together; no epoch may pass in the run */
};

struct act {
	enum act_kind kind;
	unsigned key;
	uint32_t value;
};

struct schedule {
	const char *name;
	unsigned fill; /* keys that share both buckets with key 0, there before; 28 is full */
	unsigned subtables; /* at first, 0 = 1; all those keys lie in one */
	unsigned present; /* bit = key that is there before, value 100 + key */
	unsigned preemptions;
	bool warm; /* the clients' caches know the keys that are there */
	bool together; /* a client's acts, all of one kind, are one call of ptn_hash_multi_... */
	bool sliced; /* READs are not atomic: word by word */
	uint64_t op_timeout_ns; /* 0 = two seconds */
	struct act act[SCHEDULE_CLIENTS][SCHEDULE_ACTS];
};

/* All schedules; returns how many. */
unsigned long schedule_run(const struct schedule *schedule);
/*
 * One client runs its acts and dies before verb number k, for every k; then a second one must find what was
 * acknowledged, do every operation, split, and leave nothing behind but what adoption finds.
 */
unsigned long schedule_crash(const struct schedule *schedule);
/* The same with a lane failure at verb k instead, with the verb done or not: the client goes on. */
unsigned long schedule_break(const struct schedule *schedule);
/*
 * Clients interleave at random and each may die or lose its lane anywhere; seeds first .. first + count - 1.
 */
unsigned long schedule_random(const struct schedule *schedule, uint64_t first, unsigned count);

#endif
