/* SPDX-License-Identifier: MIT */
#include "ycsb/json.h"

#include <inttypes.h>
#include <math.h>

static void put_string(FILE *to, const char *text)
{
	fputc('"', to);
	for (const char *at = text; *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;

		if (c == '"' || c == '\\')
			fprintf(to, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			/* Bytes beyond ASCII as the characters of Latin-1: valid whatever they were. */
			fprintf(to, "\\u%04x", c);
		else
			fputc(c, to);
	}
	fputc('"', to);
}

static void put_name(struct ycsb_json *json, const char *name)
{
	if (!json->empty)
		fputc(',', json->to);
	json->empty = false;
	if (json->depth > 0) {
		fputc('\n', json->to);
		for (unsigned int i = 0; i < json->depth; i++)
			fputs("  ", json->to);
	}
	if (name != NULL) {
		put_string(json->to, name);
		fputs(": ", json->to);
	}
}

void ycsb_json_init(struct ycsb_json *json, FILE *to)
{
	*json = (struct ycsb_json){ .to = to, .empty = true };
}

void ycsb_json_open(struct ycsb_json *json, const char *name, char bracket)
{
	put_name(json, name);
	fputc(bracket, json->to);
	json->depth++;
	json->empty = true;
}

void ycsb_json_close(struct ycsb_json *json, char bracket)
{
	json->depth--;
	if (!json->empty) {
		fputc('\n', json->to);
		for (unsigned int i = 0; i < json->depth; i++)
			fputs("  ", json->to);
	}
	fputc(bracket, json->to);
	json->empty = false;
	if (json->depth == 0)
		fputc('\n', json->to);
}

void ycsb_json_text(struct ycsb_json *json, const char *name, const char *value)
{
	put_name(json, name);
	put_string(json->to, value);
}

void ycsb_json_bare(struct ycsb_json *json, const char *name, const char *value)
{
	put_name(json, name);
	fputs(value, json->to);
}

void ycsb_json_count(struct ycsb_json *json, const char *name, uint64_t value)
{
	put_name(json, name);
	fprintf(json->to, "%" PRIu64, value);
}

void ycsb_json_real(struct ycsb_json *json, const char *name, double value)
{
	put_name(json, name);
	if (isfinite(value))
		fprintf(json->to, "%.12g", value);
	else
		fputs("null", json->to);
}
