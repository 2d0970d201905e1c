/* SPDX-License-Identifier: MIT */
/* From a history to what one key's object sees. */
#include "tests/sim/linear_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- room ------------------------------------------------------------------------------------------- */

static int reserve(struct linear_ops *ops, uint32_t count, uint32_t walks, uint32_t keys)
{
	struct linear_ops room = { .ops_max = count, .walks_max = walks, .keys_max = keys };

	if (count <= ops->ops_max && walks <= ops->walks_max && keys <= ops->keys_max)
		return 0;
	room.op = calloc((size_t)count + walks + 1, sizeof(*room.op));
	room.event = calloc(((size_t)count + walks + 1) * 2, sizeof(*room.event));
	room.read = calloc((size_t)count + 1, sizeof(*room.read));
	room.by_key = calloc((size_t)count + 1, sizeof(*room.by_key));
	room.key_first = calloc((size_t)keys + 2, sizeof(*room.key_first));
	room.visits = calloc((size_t)walks + 1, sizeof(*room.visits));
	room.visited = calloc((size_t)walks + 1, sizeof(*room.visited));
	linear_ops_free(ops);
	*ops = room;
	if (room.op && room.event && room.read && room.by_key && room.key_first && room.visits &&
	    room.visited)
		return 0;
	linear_ops_free(ops);
	return -ENOMEM;
}

void linear_ops_free(struct linear_ops *ops)
{
	free(ops->op);
	free(ops->event);
	free(ops->read);
	free(ops->by_key);
	free(ops->key_first);
	free(ops->visits);
	free(ops->visited);
	memset(ops, 0, sizeof(*ops));
}

int linear_ops_load(struct linear_ops *ops, const struct history *history)
{
	int ret = reserve(ops, history->ops_max, history->walks_max, history->keys);

	if (ret)
		return ret;
	memset(ops->key_first, 0, ((size_t)history->keys + 2) * sizeof(*ops->key_first));
	for (uint32_t i = 0; i < history->ops; i++)
		ops->key_first[history->op[i].key + 2]++;
	for (uint32_t key = 0; key < history->keys; key++)
		ops->key_first[key + 2] += ops->key_first[key + 1];
	for (uint32_t i = 0; i < history->ops; i++)
		ops->by_key[ops->key_first[history->op[i].key + 1]++] = i;
	return 0;
}

/* --- one key ---------------------------------------------------------------------------------------- */

static bool is_optional(const struct history_op *from)
{
	return from->outcome == HISTORY_RUNNING || from->outcome == HISTORY_MAYBE ||
	       from->outcome == HISTORY_UNKNOWN;
}

static enum linear_step step_of(const struct history_op *from)
{
	if (from->outcome == HISTORY_ABSENT)
		return STEP_READ;
	if (from->outcome == HISTORY_EXISTS)
		return STEP_PRESENT;
	switch (from->kind) {
	case HISTORY_PUT:
		return STEP_WRITE;
	case HISTORY_INSERT:
		return STEP_INSERT;
	case HISTORY_UPDATE:
		return STEP_UPDATE;
	case HISTORY_DELETE:
		return STEP_DELETE;
	default:
		return STEP_READ;
	}
}

static void add(struct linear_ops *ops, const struct linear_op *op)
{
	if (op->step == STEP_READ && op->value)
		ops->read[ops->reads++] = op->value;
	ops->op[ops->count++] = *op;
}

static void add_op(struct linear_ops *ops, const struct history *history, uint32_t index)
{
	const struct history_op *from = &history->op[index];
	struct linear_op op = { .began = from->began,
				.ended = from->ended,
				.value = from->value,
				.source = index,
				.walk = from->walk,
				.step = (uint8_t)step_of(from),
				.optional = is_optional(from) };

	if (from->outcome == HISTORY_NOTHING)
		return;
	if (from->kind == HISTORY_GET && op.optional)
		return;
	if (from->outcome == HISTORY_UNKNOWN)
		op.ended = HISTORY_NEVER;
	if (from->outcome == HISTORY_ABSENT || from->kind == HISTORY_DELETE)
		op.value = 0;
	if (from->kind == HISTORY_VISIT) {
		ops->visits[from->walk]++;
		ops->visited[from->walk] = from->ended;
	}
	add(ops, &op);
}

/* A key that a walk did not visit exactly once was absent at some moment of it. */
static void add_walk(struct linear_ops *ops, const struct history *history, uint32_t index)
{
	const struct history_walk *walk = &history->walk[index];
	struct linear_op op = { .began = walk->began,
				.ended = walk->ended,
				.source = HISTORY_NONE,
				.walk = index,
				.step = STEP_READ };

	if (ops->visits[index] == 1 || (ops->visits[index] && walk->excused) ||
	    (!ops->visits[index] && !walk->whole))
		return;
	if (!walk->whole)
		op.ended = ops->visited[index];
	add(ops, &op);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Beginnings before ends of the same number: then they overlap. */
static int by_time(const void *a, const void *b)
{
	const struct linear_event *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->end - y->end;
}

static bool is_read(const struct linear_ops *ops, uint32_t value)
{
	return bsearch(&value, ops->read, ops->reads, sizeof(value), by_value);
}

static void make_events(struct linear_ops *ops)
{
	ops->events = 0;
	for (uint32_t i = 0; i < ops->count; i++) {
		const struct linear_op *op = &ops->op[i];

		ops->event[ops->events++] = (struct linear_event){ op->began, i, false };
		if (op->ended != HISTORY_NEVER)
			ops->event[ops->events++] = (struct linear_event){ op->ended, i, true };
	}
	qsort(ops->event, ops->events, sizeof(*ops->event), by_time);
}

void linear_ops_of(struct linear_ops *ops, const struct history *history, uint32_t key)
{
	ops->count = 0;
	ops->reads = 0;
	memset(ops->visits, 0, history->walks * sizeof(*ops->visits));
	for (uint32_t i = ops->key_first[key]; i < ops->key_first[key + 1]; i++)
		add_op(ops, history, ops->by_key[i]);
	for (uint32_t i = 0; i < history->walks; i++)
		add_walk(ops, history, i);
	qsort(ops->read, ops->reads, sizeof(*ops->read), by_value);
	for (uint32_t i = 0; i < ops->count; i++) {
		struct linear_op *op = &ops->op[i];

		if (op->step >= STEP_WRITE && op->step <= STEP_UPDATE && !is_read(ops, op->value))
			op->value = LINEAR_UNREAD;
	}
	ops->initial = history->initial[key];
	if (ops->initial && !is_read(ops, ops->initial))
		ops->initial = LINEAR_UNREAD;
	make_events(ops);
}
