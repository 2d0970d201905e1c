/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "ycsb/histogram.h"
#include "ycsb/histogram_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void index__every_value_lies_in_its_bucket(void **state)
{
	struct ptni_rng random;

	ptni_rng_seed_stream(&random, 1, 0);
	for (int i = 0; i < 200000; i++) {
		uint64_t value = i < 5000 ? (uint64_t)i : ptni_rng_next(&random) >> (22 + i % 42);
		uint32_t index = ycsb_histogram_index(value);
		uint64_t low = ycsb_histogram_lowest(index), high = ycsb_histogram_highest(index);

		assert_true(index < YCSB_HIST_COUNTS);
		assert_true(low <= value && value <= high);
		assert_true(high - low <= value / 1024);
	}
	assert_int_equal(ycsb_histogram_index(YCSB_HIST_VALUE_MAX), YCSB_HIST_COUNTS - 1);
	for (uint32_t i = 1; i < YCSB_HIST_COUNTS; i++)
		assert_int_equal(ycsb_histogram_lowest(i), ycsb_histogram_highest(i - 1) + 1);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Against the sorted values themselves, on latencies of many magnitudes. */
static void percentile__within_one_part_in_a_thousand(void **state)
{
	enum {
		COUNT = 100000
	};
	static const double percentiles[] = { 0, 1, 50, 90, 95, 99, 99.9, 99.99, 100 };
	static uint64_t values[COUNT];
	struct ycsb_histogram *histogram = ycsb_histogram_new();
	struct ptni_rng random;
	double sum = 0;

	ptni_rng_seed_stream(&random, 4, 0);
	for (int i = 0; i < COUNT; i++) {
		values[i] = (uint64_t)exp(5 + 12 * ptni_rng_unit(&random));
		ycsb_histogram_record(histogram, values[i]);
		sum += (double)values[i];
	}
	qsort(values, COUNT, sizeof(values[0]), by_value);
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
		size_t rank = (size_t)ceil(percentiles[i] / 100 * COUNT - 1e-9);
		double exact = (double)values[rank == 0 ? 0 : rank - 1];
		double found = (double)ycsb_histogram_percentile(histogram, percentiles[i]);

		assert_true(found >= exact && found <= exact * (1 + 1.0 / 1000));
	}
	assert_true(fabs(ycsb_histogram_mean(histogram) - sum / COUNT) < 1e-6 * sum / COUNT);
	assert_int_equal(ycsb_histogram_min(histogram), values[0]);
	assert_int_equal(ycsb_histogram_max(histogram), values[COUNT - 1]);
	assert_int_equal(ycsb_histogram_count(histogram), COUNT);
	free(histogram);
}

static void empty_histogram__is_all_zero(void **state)
{
	struct ycsb_histogram *histogram = ycsb_histogram_new();

	assert_false(ycsb_histogram_used(histogram));
	assert_int_equal(ycsb_histogram_percentile(histogram, 99), 0);
	assert_int_equal(ycsb_histogram_min(histogram), 0);
	assert_int_equal(ycsb_histogram_max(histogram), 0);
	assert_true(ycsb_histogram_mean(histogram) == 0 &&
		    ycsb_histogram_deviation(histogram) == 0);
	free(histogram);
}

static void record__a_value_beyond_the_range_counts_as_the_longest(void **state)
{
	struct ycsb_histogram *histogram = ycsb_histogram_new();

	ycsb_histogram_record(histogram, UINT64_MAX);
	ycsb_histogram_record(histogram, 0);
	assert_int_equal(ycsb_histogram_count(histogram), 2);
	assert_int_equal(ycsb_histogram_max(histogram), YCSB_HIST_VALUE_MAX);
	assert_int_equal(ycsb_histogram_min(histogram), 0);
	free(histogram);
}

static void subtract__leaves_the_interval(void **state)
{
	struct ycsb_histogram *all = ycsb_histogram_new(), *before = ycsb_histogram_new();

	for (uint64_t i = 1; i <= 1000; i++)
		ycsb_histogram_record(all, i);
	ycsb_histogram_add(before, all);
	for (uint64_t i = 5001; i <= 5100; i++)
		ycsb_histogram_record(all, i);
	ycsb_histogram_subtract(all, before);
	assert_int_equal(ycsb_histogram_count(all), 100);
	assert_true(fabs(ycsb_histogram_mean(all) - 5050.5) < 0.01);
	assert_in_range(ycsb_histogram_min(all), 5000, 5001);
	assert_in_range(ycsb_histogram_max(all), 5100, 5103);
	free(all);
	free(before);
}

/* Levels rise to 1, counts to the total, values to the maximum; the footer is there. */
static void hgrm__is_a_table_that_rises_to_all(void **state)
{
	struct ycsb_histogram *histogram = ycsb_histogram_new();
	char *text = NULL, *line, *rest;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	double value, level, last_value = 0, last_level = -1;
	unsigned long long count, last_count = 0;
	int rows = 0, footers = 0;

	for (uint64_t i = 1; i <= 10000; i++)
		ycsb_histogram_record(histogram, i * 100);
	ycsb_hgrm_write(histogram, file);
	fclose(file);
	line = strtok_r(text, "\n", &rest);
	assert_non_null(strstr(line, "Percentile TotalCount 1/(1-Percentile)"));
	while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
		if (line[0] == '#') {
			footers++;
			continue;
		}
		assert_int_equal(sscanf(line, "%lf %lf %llu", &value, &level, &count), 3);
		assert_true(value >= last_value && level > last_level && count >= last_count);
		last_value = value;
		last_level = level;
		last_count = count;
		rows++;
	}
	assert_true(last_level == 1 && last_count == 10000 && last_value == 1000);
	assert_true(rows > 40 && footers == 3);
	free(text);
	free(histogram);
}

/* Unpacks what was written: base64, zlib with stored blocks, V2 counts. */
static size_t unbase64(const char *from, uint8_t *to)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t len = 0;

	for (uint32_t group; *from != '\0' && *from != '\n'; from += 4) {
		group = 0;
		for (int i = 0; i < 4; i++) {
			const char *digit = strchr(digits, from[i]);

			group = group << 6 | (from[i] == '=' ? 0 : (uint32_t)(digit - digits));
		}
		for (int i = 0; i < 3 && (i == 0 || from[i + 1] != '='); i++)
			to[len++] = (uint8_t)(group >> (16 - 8 * i));
	}
	return len;
}

static uint32_t u32_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t signed_at(const uint8_t **at)
{
	uint64_t value = 0;

	for (int i = 0; i < 9; i++) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(i < 8 ? byte & 0x7f : byte) << (7 * i);
		if (i < 8 && byte < 0x80)
			break;
	}
	return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static void check_counts(const uint8_t *at, const uint8_t *end,
			 const struct ycsb_histogram *expected)
{
	uint32_t index = 0;

	while (at < end) {
		int64_t count = signed_at(&at);

		if (count < 0) {
			for (; count < 0; count++)
				assert_int_equal(expected->counts[index++], 0);
		} else {
			assert_int_equal(expected->counts[index++], count);
		}
	}
	for (; index < YCSB_HIST_COUNTS; index++)
		assert_int_equal(expected->counts[index], 0);
}

static void hdrlog__unpacks_to_the_same_counts(void **state)
{
	struct ycsb_histogram *histogram = ycsb_histogram_new();
	static uint8_t packed[1 << 20], plain[1 << 20];
	char *text = NULL, *payload;
	size_t len = 0, packed_len, plain_len = 0, at = 10;
	FILE *file = open_memstream(&text, &len);
	struct ptni_rng random;
	bool last = false;

	ptni_rng_seed_stream(&random, 8, 0);
	for (int i = 0; i < 100000; i++)
		ycsb_histogram_record(histogram, ptni_rng_next(&random) >> (23 + i % 40));
	assert_int_equal(ycsb_hdrlog_write(histogram, "READ", 1000, 1010, file), 0);
	fclose(file);
	assert_non_null(strstr(text, "#[Histogram log format version 1.3]"));
	payload = strrchr(text, ',') + 1;
	packed_len = unbase64(payload, packed);
	assert_int_equal(u32_at(packed), 0x1c849314);
	assert_int_equal(u32_at(packed + 4), packed_len - 8);
	while (!last) {
		size_t part = packed[at + 1] | (size_t)packed[at + 2] << 8;

		last = packed[at] == 1;
		memcpy(plain + plain_len, packed + at + 5, part);
		plain_len += part;
		at += 5 + part;
	}
	assert_int_equal(at + 4, packed_len);
	assert_int_equal(u32_at(plain), 0x1c849313);
	assert_int_equal(u32_at(plain + 4), plain_len - 40);
	check_counts(plain + 40, plain + plain_len, histogram);
	free(text);
	free(histogram);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index__every_value_lies_in_its_bucket),
		cmocka_unit_test(percentile__within_one_part_in_a_thousand),
		cmocka_unit_test(empty_histogram__is_all_zero),
		cmocka_unit_test(record__a_value_beyond_the_range_counts_as_the_longest),
		cmocka_unit_test(subtract__leaves_the_interval),
		cmocka_unit_test(hgrm__is_a_table_that_rises_to_all),
		cmocka_unit_test(hdrlog__unpacks_to_the_same_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
