/* SPDX-License-Identifier: MIT */
#include "ycsb/measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *ycsb_metric_name(enum ycsb_metric metric)
{
	static const char *const names[YCSB_METRIC_CNT] = {
		"READ", "UPDATE", "INSERT", "SCAN", "READ-MODIFY-WRITE", "VERIFY", "CLEANUP",
	};

	return names[metric];
}

const char *ycsb_status_name(enum ycsb_status status)
{
	static const char *const names[YCSB_STATUS_CNT] = { "OK", "NOT_FOUND", "ERROR",
							    "UNEXPECTED_STATE" };

	return names[status];
}

enum ycsb_status ycsb_status_of(int error)
{
	if (error >= 0)
		return YCSB_STATUS_OK;
	if (error == -ENOENT)
		return YCSB_STATUS_NOT_FOUND;
	return error == -EBADMSG ? YCSB_STATUS_UNEXPECTED : YCSB_STATUS_ERROR;
}

int ycsb_measure_init(struct ycsb_measure *measure, unsigned int intervals)
{
	memset(measure, 0, sizeof(*measure));
	measure->intervals = intervals;
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		for (int i = 0; i < 4; i++) {
			if (!(intervals >> (i / 2) & 1))
				continue;
			measure->histograms[metric][i / 2][i % 2] = ycsb_histogram_new();
			if (measure->histograms[metric][i / 2][i % 2] == NULL)
				return -ENOMEM;
		}
	}
	return 0;
}

void ycsb_measure_fini(struct ycsb_measure *measure)
{
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		for (int i = 0; i < 4; i++)
			free(measure->histograms[metric][i / 2][i % 2]);
	}
	memset(measure->histograms, 0, sizeof(measure->histograms));
}

void ycsb_measure_clear(struct ycsb_measure *measure)
{
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		for (int i = 0; i < 4; i++) {
			struct ycsb_histogram *h = measure->histograms[metric][i / 2][i % 2];

			if (h != NULL && ycsb_histogram_used(h))
				ycsb_histogram_clear(h);
		}
		for (int status = 0; status < YCSB_STATUS_CNT; status++)
			atomic_store_explicit(&measure->statuses[metric][status], 0,
					      memory_order_relaxed);
	}
}

void ycsb_measure_add(struct ycsb_measure *to, const struct ycsb_measure *from)
{
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		for (int i = 0; i < 4; i++) {
			const struct ycsb_histogram *h = from->histograms[metric][i / 2][i % 2];

			if (h != NULL && ycsb_histogram_used(h))
				ycsb_histogram_add(to->histograms[metric][i / 2][i % 2], h);
		}
		for (int status = 0; status < YCSB_STATUS_CNT; status++)
			ycsb_histogram_bump(&to->statuses[metric][status],
					    ycsb_measure_status(from, (enum ycsb_metric)metric,
								(enum ycsb_status)status));
	}
}

uint64_t ycsb_measure_status(const struct ycsb_measure *measure, enum ycsb_metric metric,
			     enum ycsb_status status)
{
	return atomic_load_explicit(&measure->statuses[metric][status], memory_order_relaxed);
}

uint64_t ycsb_measure_failed(const struct ycsb_measure *measure, enum ycsb_metric metric)
{
	uint64_t failed = 0;

	for (int status = YCSB_STATUS_OK + 1; status < YCSB_STATUS_CNT; status++)
		failed += ycsb_measure_status(measure, metric, (enum ycsb_status)status);
	return failed;
}

bool ycsb_measure_used(const struct ycsb_measure *measure, enum ycsb_metric metric)
{
	return ycsb_measure_status(measure, metric, YCSB_STATUS_OK) != 0 ||
	       ycsb_measure_failed(measure, metric) != 0;
}
