/* SPDX-License-Identifier: MIT */
/* The two file forms of HdrHistogram, for its plotters and readers. */
#ifndef YCSB_HISTOGRAM_FILE_H
#define YCSB_HISTOGRAM_FILE_H

#include "ycsb/histogram.h"

#include <stdint.h>
#include <stdio.h>

/*
 * A .hgrm table: value in us, percentile, count up to it, 1 / (1 - percentile); five steps per halving
 * of the distance to 100 %.
 */
void ycsb_hgrm_write(const struct ycsb_histogram *histogram, FILE *to);

/*
 * A histogram log, version 1.3, with one interval: values in ns, encoding V2. `start_s`
 * and `end_s` are seconds since 1970. Returns 0 or -ENOMEM.
 */
int ycsb_hdrlog_write(const struct ycsb_histogram *histogram, const char *title, double start_s,
		      double end_s, FILE *to);

#endif
