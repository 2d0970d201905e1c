/* SPDX-License-Identifier: MIT */
/*
 * Latency histogram with the bucket layout of HdrHistogram at 3 significant digits: values 1 ns to
 * 2^42 ns (73 minutes), each kept to within 1 part in 1024; longer ones count as the longest.
 *
 * One thread records; any thread may read at any time (ycsb_histogram_add) and sees each counter
 * at some recent value: counters are relaxed atomics with a single writer, so recording is a plain
 * increment.
 */
#ifndef YCSB_HISTOGRAM_H
#define YCSB_HISTOGRAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	YCSB_HIST_SUB_BITS = 11,
	YCSB_HIST_HALF = 1 << (YCSB_HIST_SUB_BITS - 1),
	YCSB_HIST_VALUE_BITS = 42,
	YCSB_HIST_BUCKETS = YCSB_HIST_VALUE_BITS - YCSB_HIST_SUB_BITS + 1,
	YCSB_HIST_COUNTS = (YCSB_HIST_BUCKETS + 1) * YCSB_HIST_HALF,
};

#define YCSB_HIST_VALUE_MAX ((UINT64_C(1) << YCSB_HIST_VALUE_BITS) - 1)

struct ycsb_histogram {
	_Atomic uint64_t sum, min, max; /* min: UINT64_MAX while empty */
	_Atomic uint64_t counts[YCSB_HIST_COUNTS];
};

static inline uint32_t ycsb_histogram_index(uint64_t value)
{
	uint32_t bucket = (uint32_t)(64 - YCSB_HIST_SUB_BITS -
				     __builtin_clzll(value | (2 * YCSB_HIST_HALF - 1)));

	return (bucket << (YCSB_HIST_SUB_BITS - 1)) + (uint32_t)(value >> bucket);
}

static inline void ycsb_histogram_bump(_Atomic uint64_t *counter, uint64_t by)
{
	uint64_t was = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, was + by, memory_order_relaxed);
}

static inline void ycsb_histogram_record(struct ycsb_histogram *histogram, uint64_t value)
{
	if (value > YCSB_HIST_VALUE_MAX)
		value = YCSB_HIST_VALUE_MAX;
	ycsb_histogram_bump(&histogram->counts[ycsb_histogram_index(value)], 1);
	ycsb_histogram_bump(&histogram->sum, value);
	if (value > atomic_load_explicit(&histogram->max, memory_order_relaxed))
		atomic_store_explicit(&histogram->max, value, memory_order_relaxed);
	if (value < atomic_load_explicit(&histogram->min, memory_order_relaxed))
		atomic_store_explicit(&histogram->min, value, memory_order_relaxed);
}

/* Whether anything was recorded. */
static inline bool ycsb_histogram_used(const struct ycsb_histogram *histogram)
{
	return atomic_load_explicit(&histogram->min, memory_order_relaxed) != UINT64_MAX;
}

/* Empty, or NULL without memory; freed with free(). */
struct ycsb_histogram *ycsb_histogram_new(void);
void ycsb_histogram_clear(struct ycsb_histogram *histogram);
/* What follows is for one thread at a time on `to`, `histogram`, `base`. */
void ycsb_histogram_add(struct ycsb_histogram *to, const struct ycsb_histogram *from);
/* Leaves in `histogram` what was recorded since `base`, an earlier copy of it; min and max become
 * those of the difference. */
void ycsb_histogram_subtract(struct ycsb_histogram *histogram, const struct ycsb_histogram *base);

uint64_t ycsb_histogram_count(const struct ycsb_histogram *histogram);
double ycsb_histogram_mean(const struct ycsb_histogram *histogram); /* 0 while empty */
double ycsb_histogram_deviation(const struct ycsb_histogram *histogram);
uint64_t ycsb_histogram_min(const struct ycsb_histogram *histogram); /* 0 while empty */
uint64_t ycsb_histogram_max(const struct ycsb_histogram *histogram);
/* The largest value that counts in the same counter as the one at `percentile` (0..100). */
uint64_t ycsb_histogram_percentile(const struct ycsb_histogram *histogram, double percentile);
/* The smallest and the largest value that `index` stands for. */
uint64_t ycsb_histogram_lowest(uint32_t index);
uint64_t ycsb_histogram_highest(uint32_t index);

#endif
