/* SPDX-License-Identifier: MIT */
/* What the parts of the check for linearizability share. */
#ifndef TESTS_SIM_LINEAR_PRIVATE_H
#define TESTS_SIM_LINEAR_PRIVATE_H

#include "tests/sim/linear.h"

enum linear_step {
	STEP_READ, /* of the value, 0 = absent */
	STEP_PRESENT, /* saw that there is some value */
	STEP_WRITE,
	STEP_INSERT,
	STEP_UPDATE,
	STEP_DELETE
};

#define LINEAR_UNREAD (UINT32_MAX - 1) /* a value that nobody ever reads */

/* An operation on one key as the object sees it. */
struct linear_op {
	uint64_t began, ended;
	uint32_t value;
	uint32_t source; /* in the history, HISTORY_NONE: derived from `walk` */
	uint32_t walk;
	uint8_t step;
	bool optional; /* may never take effect */
};

/* One end of an operation. */
struct linear_event {
	uint64_t at;
	uint32_t op;
	bool end;
};

struct linear_ops {
	struct linear_op *op;
	struct linear_event *event;
	uint32_t *read; /* values that are read, in order */
	uint32_t *by_key, *key_first; /* the history's operations, grouped */
	uint32_t *visits; /* by walk: of the key at hand */
	uint64_t *visited; /* and when the last one ended */
	uint32_t count, events, reads;
	uint32_t ops_max, walks_max, keys_max;
	uint32_t initial;
};

/* Room for a history's operations; groups them by key. -ENOMEM. */
int linear_ops_load(struct linear_ops *ops, const struct history *history);
/* What the object sees of one key, events in order. */
void linear_ops_of(struct linear_ops *ops, const struct history *history, uint32_t key);
void linear_ops_free(struct linear_ops *ops);

/* May it take effect now, and what is the value then? */
static inline bool linear_apply(const struct linear_op *op, uint32_t value, uint32_t *value_out)
{
	bool may;

	switch (op->step) {
	case STEP_READ:
		may = value == op->value;
		break;
	case STEP_PRESENT:
		may = value != 0;
		break;
	case STEP_WRITE:
		may = true;
		break;
	case STEP_INSERT:
		may = value == 0;
		break;
	default:
		may = value != 0;
		break;
	}
	*value_out = op->step <= STEP_PRESENT ? value : op->value;
	return may;
}

#endif
