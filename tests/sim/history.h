/* SPDX-License-Identifier: MIT */
/*
 * What clients did and were told, in the order in which it happened: the input of the check for
 * linearizability (tests/sim/linear.h).
 *
 * Order. Every begin and every end of an operation gets a number of one count: an operation that ended
 * before another began has the smaller numbers, whatever the clocks said. Times are kept for reports only.
 *
 * Values. Each write writes a value that nobody else writes (history_value); a value is known by its
 * number, and 0 means that the key is absent.
 *
 * Walks (ptn_hash_iterate). The promise of <patronus/hash.h> becomes reads: what a walk visited is a read of
 * that value between the call in which it was visited and the visit. A key that the whole walk did not visit
 * exactly once must have been absent at some moment of it: a read of "absent" that takes as long as the
 * walk; for a walk that was broken off and met a key twice, until then. (When a call failed or was stopped by
 * its visitor and the walk went on with the same cursor, keys may come again: history_walk_excuse.)
 *
 * Memory is allocated when the history is opened, none while it is written. One thread.
 */
#ifndef TESTS_SIM_HISTORY_H
#define TESTS_SIM_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum history_kind {
	HISTORY_GET, /* also each of a multi-get: begin them all, then end them all; so for writes */
	HISTORY_PUT,
	HISTORY_INSERT,
	HISTORY_UPDATE,
	HISTORY_DELETE,
	HISTORY_VISIT, /* made by history_visit() */
};

enum history_outcome {
	HISTORY_RUNNING, /* did not end: the client was killed, or the history was cut off */
	HISTORY_OK, /* done; a read: with the value that it saw */
	HISTORY_ABSENT, /* get, update, delete: no such key */
	HISTORY_EXISTS, /* insert: the key is there */
	HISTORY_NOTHING, /* failed, and certainly changed nothing */
	HISTORY_MAYBE, /* failed; happened before it ended, or never will */
	HISTORY_UNKNOWN, /* failed; happens at any time after it began, also after it ended, or never */
};

enum {
	HISTORY_NONE = UINT32_MAX /* no operation: the history is full */
};

#define HISTORY_NEVER UINT64_MAX /* `ended` of what is running */

struct history_op {
	uint64_t began, ended; /* numbers of events */
	uint64_t began_ns, ended_ns;
	uint32_t key;
	uint32_t value; /* written or seen; 0 = none */
	uint32_t walk; /* of a visit */
	uint16_t client;
	uint8_t kind, outcome;
	bool lot; /* one of several in one call, which the library may do one by one */
};

struct history_walk {
	uint64_t began, step, ended; /* step: when the call under way began */
	uint64_t began_ns, ended_ns;
	uint16_t client;
	bool whole; /* it reached the end */
	bool excused; /* may have visited keys twice */
};

struct history {
	struct history_op *op;
	struct history_walk *walk;
	uint32_t *initial; /* value of each key before the first event */
	uint32_t ops, ops_max, walks, walks_max, keys;
	uint32_t values; /* given out */
	uint64_t events;
	bool full; /* something was not recorded: the history proves nothing */
};

/* -ENOMEM. Keys are 0 .. keys - 1. */
int history_open(uint32_t ops_max, uint32_t walks_max, uint32_t keys, struct history **history_out);
void history_close(struct history *history);
void history_clear(struct history *history); /* also the initial values */
void history_preset(struct history *history, uint32_t key, uint32_t value);
uint32_t history_value(struct history *history); /* 1, 2, ... */

uint32_t history_begin(struct history *history, unsigned client, enum history_kind kind,
		       uint32_t key, uint32_t value, uint64_t now_ns);
/* value: what a get saw, else ignored. op may be HISTORY_NONE. */
void history_end(struct history *history, uint32_t op, enum history_outcome outcome, uint32_t value,
		 uint64_t now_ns);
/* The operation that has just begun is one of a lot. */
void history_lot(struct history *history, uint32_t op);
/* What a call of the library that returned `ret` means. A write that a session's or a lane's end
 * interrupted may still be under way. */
enum history_outcome history_outcome(enum history_kind kind, int ret);

/* A walk: begin, then step before each call of ptn_hash_iterate with its cursor, visit within, end. */
uint32_t history_walk_begin(struct history *history, unsigned client, uint64_t now_ns);
void history_walk_step(struct history *history, uint32_t walk);
void history_visit(struct history *history, uint32_t walk, uint32_t key, uint32_t value,
		   uint64_t now_ns);
void history_walk_excuse(struct history *history, uint32_t walk);
/* whole: the call returned 0. */
void history_walk_end(struct history *history, uint32_t walk, bool whole, uint64_t now_ns);

/* One line each, in the order of their beginnings: of one key, walks included. */
void history_print(const struct history *history, uint32_t key, FILE *to);

#endif
