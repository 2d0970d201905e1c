/* SPDX-License-Identifier: MIT */
/*
 * What a thread measures: per kind of operation a latency histogram of those that went well and one of those
 * that failed, each from the actual start and, if asked for, from the scheduled start; and how
 * many ended in which way. Written by one thread, readable by any at any time.
 */
#ifndef YCSB_MEASURE_H
#define YCSB_MEASURE_H

#include "ycsb/histogram.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum ycsb_metric {
	YCSB_METRIC_READ,
	YCSB_METRIC_UPDATE,
	YCSB_METRIC_INSERT,
	YCSB_METRIC_SCAN,
	YCSB_METRIC_RMW,
	YCSB_METRIC_VERIFY,
	YCSB_METRIC_CLEANUP,
	YCSB_METRIC_CNT,
};

enum ycsb_status {
	YCSB_STATUS_OK,
	YCSB_STATUS_NOT_FOUND,
	YCSB_STATUS_ERROR,
	YCSB_STATUS_UNEXPECTED, /* verification */
	YCSB_STATUS_CNT,
};

struct ycsb_measure {
	/* [metric][0: from the actual start, 1: from the scheduled one][0: went well, 1: failed] */
	struct ycsb_histogram *histograms[YCSB_METRIC_CNT][2][2];
	_Atomic uint64_t statuses[YCSB_METRIC_CNT][YCSB_STATUS_CNT];
	unsigned int intervals; /* enum ycsb_interval */
};

const char *ycsb_metric_name(enum ycsb_metric metric);
const char *ycsb_status_name(enum ycsb_status status);
enum ycsb_status ycsb_status_of(int error);

/* Errors: -ENOMEM. fini also after a failed init. */
int ycsb_measure_init(struct ycsb_measure *measure, unsigned int intervals);
void ycsb_measure_fini(struct ycsb_measure *measure);
void ycsb_measure_clear(struct ycsb_measure *measure);
void ycsb_measure_add(struct ycsb_measure *to, const struct ycsb_measure *from);
bool ycsb_measure_used(const struct ycsb_measure *measure, enum ycsb_metric metric);
uint64_t ycsb_measure_status(const struct ycsb_measure *measure, enum ycsb_metric metric,
			     enum ycsb_status status);
/* Operations of the metric that ended otherwise than well. */
uint64_t ycsb_measure_failed(const struct ycsb_measure *measure, enum ycsb_metric metric);

/* `scheduled_ns` 0: no schedule, the actual start counts. */
static inline void ycsb_measure_record(struct ycsb_measure *measure, enum ycsb_metric metric,
				       enum ycsb_status status, uint64_t scheduled_ns,
				       uint64_t start_ns, uint64_t end_ns)
{
	int failed = status != YCSB_STATUS_OK;

	ycsb_histogram_bump(&measure->statuses[metric][status], 1);
	if (measure->intervals & 1)
		ycsb_histogram_record(measure->histograms[metric][0][failed], end_ns - start_ns);
	if (measure->intervals & 2)
		ycsb_histogram_record(measure->histograms[metric][1][failed],
				      end_ns - (scheduled_ns != 0 ? scheduled_ns : start_ns));
}

#endif
