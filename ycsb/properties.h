/* SPDX-License-Identifier: MIT */
/*
 * Reads property files as java.util.Properties does: `key = value`, `key: value` or `key value`;
 * lines that start with # or ! are comments; a backslash at the end continues the line; \t \n \r
 * \f \\ \uXXXX and any escaped character. Two differences: blanks at the end of a value are dropped,
 * and a line with a key alone is an error, not an empty value.
 */
#ifndef YCSB_PROPERTIES_H
#define YCSB_PROPERTIES_H

#include "ycsb/message.h"

#include <stddef.h>

enum {
	YCSB_LINE_MAX = 4096
};

/* Called per property, in file order; a negative result ends the reading and is returned. */
typedef int (*ycsb_property_fn)(void *context, const char *name, const char *value,
				const char *origin, struct ycsb_message *why_out);

/* `origin_file` names the text in messages as "file:line". Errors: -EINVAL, or what `fn` returns. */
int ycsb_properties_parse(const char *text, size_t len_bytes, const char *origin_file,
			  ycsb_property_fn fn, void *context, struct ycsb_message *why_out);
/* Errors: those of open and read (why_out set), -EFBIG above 1 MiB, and those of parse. */
int ycsb_properties_load(const char *path, ycsb_property_fn fn, void *context,
			 struct ycsb_message *why_out);

/* The Damerau-Levenshtein distance of two strings, capped at `limit` + 1. */
unsigned int ycsb_edit_distance(const char *a, const char *b, unsigned int limit);

#endif
