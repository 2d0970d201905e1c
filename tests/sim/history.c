/* SPDX-License-Identifier: MIT */
#include "tests/sim/history.h"

#include <patronus/error.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int history_open(uint32_t ops_max, uint32_t walks_max, uint32_t keys, struct history **history_out)
{
	struct history *history = calloc(1, sizeof(*history));

	if (!history)
		return -ENOMEM;
	history->op = calloc((size_t)ops_max + 1, sizeof(*history->op));
	history->walk = calloc((size_t)walks_max + 1, sizeof(*history->walk));
	history->initial = calloc((size_t)keys + 1, sizeof(*history->initial));
	history->ops_max = ops_max;
	history->walks_max = walks_max;
	history->keys = keys;
	if (!history->op || !history->walk || !history->initial) {
		history_close(history);
		return -ENOMEM;
	}
	*history_out = history;
	return 0;
}

void history_close(struct history *history)
{
	if (!history)
		return;
	free(history->op);
	free(history->walk);
	free(history->initial);
	free(history);
}

void history_clear(struct history *history)
{
	history->ops = 0;
	history->walks = 0;
	history->values = 0;
	history->events = 0;
	history->full = false;
	memset(history->initial, 0, history->keys * sizeof(*history->initial));
}

void history_preset(struct history *history, uint32_t key, uint32_t value)
{
	if (key < history->keys)
		history->initial[key] = value;
}

uint32_t history_value(struct history *history)
{
	return ++history->values;
}

uint32_t history_begin(struct history *history, unsigned client, enum history_kind kind,
		       uint32_t key, uint32_t value, uint64_t now_ns)
{
	if (history->ops == history->ops_max || key >= history->keys) {
		history->full = true;
		return HISTORY_NONE;
	}
	history->op[history->ops] = (struct history_op){ .began = ++history->events,
							 .ended = HISTORY_NEVER,
							 .began_ns = now_ns,
							 .key = key,
							 .value = value,
							 .walk = HISTORY_NONE,
							 .client = (uint16_t)client,
							 .kind = (uint8_t)kind };
	return history->ops++;
}

void history_end(struct history *history, uint32_t op, enum history_outcome outcome, uint32_t value,
		 uint64_t now_ns)
{
	struct history_op *done;

	if (op == HISTORY_NONE)
		return;
	done = &history->op[op];
	done->ended = ++history->events;
	done->ended_ns = now_ns;
	done->outcome = (uint8_t)outcome;
	if (done->kind == HISTORY_GET)
		done->value = outcome == HISTORY_OK ? value : 0;
}

void history_lot(struct history *history, uint32_t op)
{
	if (op != HISTORY_NONE)
		history->op[op].lot = true;
}

enum history_outcome history_outcome(enum history_kind kind, int ret)
{
	if (ret >= 0)
		return HISTORY_OK;
	if (ret == -ENOENT)
		return HISTORY_ABSENT;
	if (ret == -EEXIST)
		return HISTORY_EXISTS;
	if (kind == HISTORY_GET)
		return HISTORY_NOTHING;
	switch (ret) {
	case PTN_E_CONFLICT:
	case PTN_E_BUSY:
	case PTN_E_NODE_FULL:
	case PTN_E_QUOTA:
	case -EINVAL:
	case -ENOMEM:
	case -EDQUOT:
	case -E2BIG:
	case -EAGAIN:
	case -EBUSY:
		return HISTORY_NOTHING;
	default:
		return HISTORY_UNKNOWN;
	}
}

/* --- walks ------------------------------------------------------------------------------------------ */

uint32_t history_walk_begin(struct history *history, unsigned client, uint64_t now_ns)
{
	uint64_t event = ++history->events;

	if (history->walks == history->walks_max) {
		history->full = true;
		return HISTORY_NONE;
	}
	history->walk[history->walks] = (struct history_walk){ .began = event,
							       .step = event,
							       .ended = HISTORY_NEVER,
							       .began_ns = now_ns,
							       .client = (uint16_t)client };
	return history->walks++;
}

void history_walk_step(struct history *history, uint32_t walk)
{
	if (walk != HISTORY_NONE)
		history->walk[walk].step = ++history->events;
}

void history_visit(struct history *history, uint32_t walk, uint32_t key, uint32_t value,
		   uint64_t now_ns)
{
	uint32_t op;

	if (walk == HISTORY_NONE)
		return;
	op = history_begin(history, history->walk[walk].client, HISTORY_VISIT, key, value, now_ns);
	if (op == HISTORY_NONE)
		return;
	history->op[op].began = history->walk[walk].step;
	history->op[op].walk = walk;
	history_end(history, op, HISTORY_OK, value, now_ns);
}

void history_walk_excuse(struct history *history, uint32_t walk)
{
	if (walk != HISTORY_NONE)
		history->walk[walk].excused = true;
}

void history_walk_end(struct history *history, uint32_t walk, bool whole, uint64_t now_ns)
{
	if (walk == HISTORY_NONE)
		return;
	history->walk[walk].ended = ++history->events;
	history->walk[walk].ended_ns = now_ns;
	history->walk[walk].whole = whole;
}

/* --- printing --------------------------------------------------------------------------------------- */

static void print_event(uint64_t event, FILE *to)
{
	if (event == HISTORY_NEVER)
		fprintf(to, "     - ");
	else
		fprintf(to, "%6" PRIu64 " ", event);
}

static void print_op(const struct history_op *op, FILE *to)
{
	static const char *const kinds[] = { "get", "put", "insert", "update", "delete", "visit" };
	static const char *const outcomes[] = { "running", "ok",    "absent", "exists",
						"nothing", "maybe", "unknown" };

	print_event(op->began, to);
	print_event(op->ended, to);
	fprintf(to, "client %-3u %-6s", op->client, kinds[op->kind]);
	if (op->value)
		fprintf(to, " value %-6" PRIu32, op->value);
	else
		fprintf(to, "             ");
	fprintf(to, " %-8s at %" PRIu64 " ns", outcomes[op->outcome], op->began_ns);
	if (op->ended != HISTORY_NEVER)
		fprintf(to, " .. %" PRIu64 " ns", op->ended_ns);
	fprintf(to, "\n");
}

void history_print(const struct history *history, uint32_t key, FILE *to)
{
	fprintf(to, " began  ended    key %" PRIu32 ", at first %s%" PRIu32 "\n", key,
		history->initial[key] ? "value " : "absent: ", history->initial[key]);
	for (uint32_t i = 0; i < history->walks; i++) {
		print_event(history->walk[i].began, to);
		print_event(history->walk[i].ended, to);
		fprintf(to, "client %-3u walk%s\n", history->walk[i].client,
			history->walk[i].whole ? "" : " (not whole)");
	}
	for (uint32_t i = 0; i < history->ops; i++)
		if (history->op[i].key == key)
			print_op(&history->op[i], to);
}
