/* SPDX-License-Identifier: MIT */
#include "ycsb/histogram.h"

#include <math.h>
#include <stdlib.h>

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void set(_Atomic uint64_t *counter, uint64_t value)
{
	atomic_store_explicit(counter, value, memory_order_relaxed);
}

struct ycsb_histogram *ycsb_histogram_new(void)
{
	struct ycsb_histogram *histogram = calloc(1, sizeof(*histogram));

	if (histogram != NULL)
		set(&histogram->min, UINT64_MAX);
	return histogram;
}

void ycsb_histogram_clear(struct ycsb_histogram *histogram)
{
	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++)
		set(&histogram->counts[i], 0);
	set(&histogram->sum, 0);
	set(&histogram->max, 0);
	set(&histogram->min, UINT64_MAX);
}

void ycsb_histogram_add(struct ycsb_histogram *to, const struct ycsb_histogram *from)
{
	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++) {
		uint64_t count = get(&from->counts[i]);

		if (count != 0)
			ycsb_histogram_bump(&to->counts[i], count);
	}
	ycsb_histogram_bump(&to->sum, get(&from->sum));
	if (get(&from->max) > get(&to->max))
		set(&to->max, get(&from->max));
	if (get(&from->min) < get(&to->min))
		set(&to->min, get(&from->min));
}

void ycsb_histogram_subtract(struct ycsb_histogram *histogram, const struct ycsb_histogram *base)
{
	uint64_t min = UINT64_MAX, max = 0;

	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++) {
		uint64_t count = get(&histogram->counts[i]) - get(&base->counts[i]);

		set(&histogram->counts[i], count);
		if (count == 0)
			continue;
		max = ycsb_histogram_highest(i);
		if (min == UINT64_MAX)
			min = ycsb_histogram_lowest(i);
	}
	set(&histogram->sum, get(&histogram->sum) - get(&base->sum));
	if (max > get(&histogram->max))
		max = get(&histogram->max);
	set(&histogram->max, max);
	set(&histogram->min, min);
}

uint64_t ycsb_histogram_count(const struct ycsb_histogram *histogram)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++)
		count += get(&histogram->counts[i]);
	return count;
}

double ycsb_histogram_mean(const struct ycsb_histogram *histogram)
{
	uint64_t count = ycsb_histogram_count(histogram);

	return count == 0 ? 0.0 : (double)get(&histogram->sum) / (double)count;
}

double ycsb_histogram_deviation(const struct ycsb_histogram *histogram)
{
	double mean = ycsb_histogram_mean(histogram), sum = 0.0;
	uint64_t total = 0;

	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++) {
		uint64_t count = get(&histogram->counts[i]);
		double middle;

		if (count == 0)
			continue;
		middle = ((double)ycsb_histogram_lowest(i) + (double)ycsb_histogram_highest(i)) /
			 2.0;
		sum += (double)count * (middle - mean) * (middle - mean);
		total += count;
	}
	return total == 0 ? 0.0 : sqrt(sum / (double)total);
}

uint64_t ycsb_histogram_min(const struct ycsb_histogram *histogram)
{
	uint64_t min = get(&histogram->min);

	return min == UINT64_MAX ? 0 : min;
}

uint64_t ycsb_histogram_max(const struct ycsb_histogram *histogram)
{
	return get(&histogram->max);
}

uint64_t ycsb_histogram_percentile(const struct ycsb_histogram *histogram, double percentile)
{
	uint64_t total = ycsb_histogram_count(histogram), seen = 0, rank;

	if (total == 0)
		return 0;
	rank = (uint64_t)ceil(nextafter(percentile / 100.0 * (double)total, 0.0));
	if (rank < 1)
		rank = 1;
	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++) {
		seen += get(&histogram->counts[i]);
		if (seen >= rank) {
			uint64_t value = ycsb_histogram_highest(i);

			return value < get(&histogram->max) ? value : get(&histogram->max);
		}
	}
	return get(&histogram->max);
}

uint64_t ycsb_histogram_lowest(uint32_t index)
{
	uint32_t bucket = index < 2 * YCSB_HIST_HALF ? 0 : index / YCSB_HIST_HALF - 1;

	return (uint64_t)(index - bucket * YCSB_HIST_HALF) << bucket;
}

uint64_t ycsb_histogram_highest(uint32_t index)
{
	uint32_t bucket = index < 2 * YCSB_HIST_HALF ? 0 : index / YCSB_HIST_HALF - 1;

	return ycsb_histogram_lowest(index) + (UINT64_C(1) << bucket) - 1;
}
