/* SPDX-License-Identifier: MIT */
/* What a schedule runner shares with the judge of its runs. */
#ifndef TESTS_SCHEDULE_PRIVATE_H
#define TESTS_SCHEDULE_PRIVATE_H

#include "core/base/rng.h"
#include "ds/hashtable/table.h"
#include "tests/ds/schedule.h"

enum {
	SCHEDULE_FILL_MAX = 28,
	SCHEDULE_SEED = 11
};

enum outcome {
	PENDING,
	RUNNING,
	DONE,
	UNKNOWN,
	DEAD
};

struct deed {
	struct act act;
	enum outcome outcome;
	int result;
	uint32_t got;
	unsigned long began, ended; /* events */
};

struct actor {
	struct run *run;
	struct ptn_client *client;
	struct ptn_hash *hash;
	struct ptni_fiber_pool *pool; /* of its own: it always has the same stack */
	struct ptni_fiber *fiber;
	const uint8_t *stack_high; /* where its stack begins */
	struct deed deed[SCHEDULE_ACTS];
	unsigned count;
	bool finished;
};

/* A depth-first walk over choices. */
struct chooser {
	uint8_t choice[SCHEDULE_STEPS_MAX], options[SCHEDULE_STEPS_MAX];
	unsigned length; /* decided */
	unsigned at;
};

struct run {
	const struct schedule *schedule;
	struct mock_world *world;
	struct mock_image *image;
	struct ptn_client *after; /* works when the others are through */
	struct ptn_hash *after_hash;
	struct actor actor[SCHEDULE_CLIENTS];
	unsigned actors;
	unsigned long events;
	unsigned long verb; /* of client 0, for crashes */
	unsigned long hit;
	enum mock_action action;
	struct ptni_rng *rng;
	struct chooser chooser;
	unsigned key[SCHEDULE_KEYS];
	uint64_t block[SCHEDULE_KEYS]; /* of the keys that are there before */
	unsigned blocks;
};

/* --- one run: schedule.c ----------------------------------------------------------------------------------- */

void schedule_prepare(struct run *run, const struct schedule *schedule);
void schedule_finish(struct run *run);
void schedule_open(struct run *run); /* everything as it was prepared, nobody has begun */
void schedule_close(struct run *run);
bool schedule_can_run(const struct actor *actor);
void schedule_resume(struct run *run, unsigned index); /* one verb, or one back-off */
/* Walks the table and explains the run; fails the test, also if anything is left behind. */
void schedule_must_be_clean(struct run *run);

/* Fails the test unless the deeds are linearizable, with what is in the table as the last reads. */
void schedule_explain(const struct run *run, const struct check *check);

/* --- schedule_keys.c ------------------------------------------------------------------------------------------ */

unsigned schedule_subtables(const struct schedule *schedule);
/* Keys that share subtable and both buckets with key 0: run->key its fingerprint, too, the others to `fill`. */
void schedule_choose_keys(struct run *run, unsigned *fill);

#endif
