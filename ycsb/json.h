/* SPDX-License-Identifier: MIT */
/* Writes JSON to a stream. `name` is NULL inside an array; numbers that JSON lacks become null. */
#ifndef YCSB_JSON_H
#define YCSB_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct ycsb_json {
	FILE *to;
	unsigned int depth;
	bool empty; /* nothing yet in the innermost object or array */
};

void ycsb_json_init(struct ycsb_json *json, FILE *to);
void ycsb_json_open(struct ycsb_json *json, const char *name, char bracket); /* { or [ */
void ycsb_json_close(struct ycsb_json *json, char bracket); /* } or ]; a newline after the last */
void ycsb_json_text(struct ycsb_json *json, const char *name, const char *value);
void ycsb_json_bare(struct ycsb_json *json, const char *name, const char *value); /* as it stands */
void ycsb_json_count(struct ycsb_json *json, const char *name, uint64_t value);
void ycsb_json_real(struct ycsb_json *json, const char *name, double value);

#endif
