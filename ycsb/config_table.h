/* SPDX-License-Identifier: MIT */
/* The table of properties: private to config.c, config_table.c and config_help.c. */
#ifndef YCSB_CONFIG_TABLE_H
#define YCSB_CONFIG_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum ycsb_kind {
	YCSB_KIND_INT, /* int64_t in [min, max] */
	YCSB_KIND_REAL, /* double in [min, max] */
	YCSB_KIND_BOOL,
	YCSB_KIND_CHOICE, /* int64_t out of `choices` */
	YCSB_KIND_TEXT, /* char[YCSB_TEXT_MAX] */
	YCSB_KIND_SIZE, /* uint64_t bytes, with an optional suffix K M G T */
	YCSB_KIND_PERCENTILES,
	YCSB_KIND_IGNORED, /* YCSB knows it; it changes nothing here */
};

struct ycsb_choice {
	const char *name;
	int64_t value;
};

struct ycsb_property {
	const char *name;
	enum ycsb_kind kind;
	size_t offset; /* in struct ycsb_config */
	const char *initial; /* default, parsed like any value; NULL: zero or empty */
	double min, max;
	const struct ycsb_choice *choices; /* ended by a NULL name */
	const char *help;
};

/* Ended by a NULL name. */
extern const struct ycsb_property ycsb_property_table[];

#endif
