/* SPDX-License-Identifier: MIT */
/*
 * The results. The first form is YCSB's: triples {metric, measurement, value}, as text lines or
 * JSON; the second is one JSON object with everything (patronus.json); the third one .hgrm or
 * histogram log file per kind of operation.
 */
#ifndef YCSB_REPORT_H
#define YCSB_REPORT_H

#include "ycsb/config.h"
#include "ycsb/json.h"
#include "ycsb/runner.h"

#include <stdio.h>

struct ycsb_report {
	const struct ycsb_config *config;
	FILE *to; /* the triples */
	struct ycsb_json json; /* exporter json and jsonarray */
	bool owned;
	FILE *full; /* patronus.json; NULL: none */
	struct ycsb_json full_json;
};

/*
 * Opens what the configuration names, so that a wrong path fails before the benchmark and not after.
 * Errors: those of open (why_out set).
 */
int ycsb_report_open(struct ycsb_report *report, const struct ycsb_config *config,
		     const char *store, int argc, char **argv, struct ycsb_message *why_out);
int ycsb_report_phase(struct ycsb_report *report, const struct ycsb_result *result,
		      struct ycsb_message *why_out);
/* Errors: -EIO if anything could not be written. */
int ycsb_report_close(struct ycsb_report *report, struct ycsb_message *why_out);

#endif
