/* SPDX-License-Identifier: MIT */
/* What the program measures: each part prints one table in Markdown. */
#ifndef YCSB_MODEL_PARTS_H
#define YCSB_MODEL_PARTS_H

#include "ycsb/model/mix.h"

#include <stdbool.h>
#include <stdio.h>

struct model_options {
	bool quick; /* a tenth of the time, for a look */
	const char *svg; /* where contention draws; NULL: nowhere */
};

struct model_part {
	const char *name, *help;
	/* Errors: what model_run() returns; said on standard error. */
	int (*run)(const struct model_options *options, FILE *to);
};

extern const struct model_part model_parts[];
extern const unsigned model_part_count;

int model_part_parameters(const struct model_options *options, FILE *to);
int model_part_calibration(const struct model_options *options, FILE *to);
int model_part_protection(const struct model_options *options, FILE *to);
int model_part_allocation(const struct model_options *options, FILE *to);
int model_part_contention(const struct model_options *options, FILE *to);
int model_part_scale(const struct model_options *options, FILE *to);

/* The table of model_part_scale(), for any cluster. */
void model_scale_head(FILE *to);
int model_scale_row(const struct model_mix_run *run, FILE *to);

/*
 * Replace what stands in `file` between the lines "<!-- NAME -->" and "<!-- end -->" of each part, given or all
 * for 0, by what the part prints. -ENOENT: the file or a part's lines are missing.
 */
int model_document_update(const char *file, const struct model_options *options, unsigned parts);

#endif
