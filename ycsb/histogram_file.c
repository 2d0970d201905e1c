/* SPDX-License-Identifier: MIT */
#include "ycsb/histogram_file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	TICKS_PER_HALVING = 5
};

static uint64_t count_at(const struct ycsb_histogram *histogram, uint32_t index)
{
	return atomic_load_explicit(&histogram->counts[index], memory_order_relaxed);
}

/* The percentile of the next line: steps become finer as the distance to 100 % halves. */
static double next_level(double level)
{
	double halvings = floor(log2(100.0 / (100.0 - level))) + 1;

	return level + 100.0 / (exp2(halvings) * TICKS_PER_HALVING);
}

static void hgrm_line(FILE *to, uint64_t value_ns, double level, uint64_t seen)
{
	if (level < 100.0)
		fprintf(to, "%12.3f %14.12f %10" PRIu64 " %14.2f\n", (double)value_ns / 1000.0,
			level / 100.0, seen, 100.0 / (100.0 - level));
	else
		fprintf(to, "%12.3f %14.12f %10" PRIu64 "\n", (double)value_ns / 1000.0, 1.0, seen);
}

static void hgrm_lines(const struct ycsb_histogram *histogram, uint64_t total, FILE *to)
{
	uint64_t seen = 0, max = ycsb_histogram_max(histogram);
	double level = 0;

	for (uint32_t i = 0; i < YCSB_HIST_COUNTS && seen < total; i++) {
		uint64_t count = count_at(histogram, i), value = ycsb_histogram_highest(i);

		if (count == 0)
			continue;
		seen += count;
		if (value > max)
			value = max;
		while (level < 100.0 && 100.0 * (double)seen / (double)total >= level &&
		       seen < total) {
			hgrm_line(to, value, level, seen);
			level = next_level(level);
		}
		if (seen == total) {
			/* The last value also stands for all levels that are left above the others. */
			double before = 100.0 * (double)(seen - count) / (double)total;

			while (level < 100.0 && level <= 100.0 - 50.0 / (double)total) {
				if (level >= before)
					hgrm_line(to, value, level, seen);
				level = next_level(level);
			}
			hgrm_line(to, value, 100.0, seen);
		}
	}
}

void ycsb_hgrm_write(const struct ycsb_histogram *histogram, FILE *to)
{
	uint64_t total = ycsb_histogram_count(histogram);

	fprintf(to, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
		"1/(1-Percentile)");
	hgrm_lines(histogram, total, to);
	fprintf(to, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
		ycsb_histogram_mean(histogram) / 1000.0,
		ycsb_histogram_deviation(histogram) / 1000.0);
	fprintf(to, "#[Max     = %12.3f, Total count    = %12" PRIu64 "]\n",
		(double)ycsb_histogram_max(histogram) / 1000.0, total);
	fprintf(to, "#[Buckets = %12d, SubBuckets     = %12d]\n", YCSB_HIST_BUCKETS,
		2 * YCSB_HIST_HALF);
}

/* A growing run of bytes with room for the longest encoding. */
struct bytes {
	uint8_t *data;
	size_t len;
};

static void put_u32(struct bytes *bytes, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		bytes->data[bytes->len++] = (uint8_t)(value >> shift);
}

static void put_u64(struct bytes *bytes, uint64_t value)
{
	put_u32(bytes, (uint32_t)(value >> 32));
	put_u32(bytes, (uint32_t)value);
}

/* Zig-zag, then seven bits a byte, low first; the ninth byte carries eight. */
static void put_signed(struct bytes *bytes, int64_t value)
{
	uint64_t left = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);

	for (int i = 0; i < 8; i++) {
		if (left < 0x80) {
			bytes->data[bytes->len++] = (uint8_t)left;
			return;
		}
		bytes->data[bytes->len++] = (uint8_t)(left | 0x80);
		left >>= 7;
	}
	bytes->data[bytes->len++] = (uint8_t)left;
}

/* Counts in order; a run of empty ones is its negated length. */
static void put_counts(struct bytes *bytes, const struct ycsb_histogram *histogram)
{
	uint32_t end = YCSB_HIST_COUNTS;
	int64_t zeros = 0;

	while (end > 1 && count_at(histogram, end - 1) == 0)
		end--;
	for (uint32_t i = 0; i < end; i++) {
		uint64_t count = count_at(histogram, i);

		if (count == 0) {
			zeros++;
			continue;
		}
		if (zeros != 0)
			put_signed(bytes, -zeros);
		zeros = 0;
		put_signed(bytes, (int64_t)count);
	}
}

static void put_histogram(struct bytes *bytes, const struct ycsb_histogram *histogram)
{
	enum {
		COOKIE = 0x1c849303,
		DIGITS = 3,
		HEADER_LEN = 40
	};
	const uint64_t ratio_one = UINT64_C(0x3ff0000000000000);
	struct bytes header = { bytes->data, 0 };

	bytes->len = HEADER_LEN;
	put_counts(bytes, histogram);
	put_u32(&header, COOKIE | 0x10);
	put_u32(&header, (uint32_t)(bytes->len - HEADER_LEN));
	put_u32(&header, 0); /* normalizing index offset */
	put_u32(&header, DIGITS);
	put_u64(&header, 1);
	put_u64(&header, YCSB_HIST_VALUE_MAX);
	put_u64(&header, ratio_one);
}

static uint32_t adler32(const struct bytes *bytes)
{
	uint32_t a = 1, b = 0;

	for (size_t i = 0; i < bytes->len; i++) {
		a = (a + bytes->data[i]) % 65521;
		b = (b + a) % 65521;
	}
	return b << 16 | a;
}

/* The form readers expect is zlib's; stored blocks are valid zlib and need no library. */
static void put_zlib(struct bytes *to, const struct bytes *from)
{
	enum {
		STORED_MAX = 65535
	};
	size_t at = 0;

	to->data[to->len++] = 0x78;
	to->data[to->len++] = 0x01;
	do {
		size_t len = from->len - at < STORED_MAX ? from->len - at : STORED_MAX;

		to->data[to->len++] = at + len == from->len;
		to->data[to->len++] = (uint8_t)len;
		to->data[to->len++] = (uint8_t)(len >> 8);
		to->data[to->len++] = (uint8_t)~len;
		to->data[to->len++] = (uint8_t)(~len >> 8);
		memcpy(to->data + to->len, from->data + at, len);
		to->len += len;
		at += len;
	} while (at < from->len);
	put_u32(to, adler32(from));
}

static void write_base64(const struct bytes *bytes, FILE *to)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				     "0123456789+/";

	for (size_t at = 0; at < bytes->len; at += 3) {
		size_t left = bytes->len - at;
		uint32_t group = (uint32_t)bytes->data[at] << 16;

		if (left > 1)
			group |= (uint32_t)bytes->data[at + 1] << 8;
		if (left > 2)
			group |= bytes->data[at + 2];
		fputc(digits[group >> 18], to);
		fputc(digits[group >> 12 & 63], to);
		fputc(left > 1 ? digits[group >> 6 & 63] : '=', to);
		fputc(left > 2 ? digits[group & 63] : '=', to);
	}
}

int ycsb_hdrlog_write(const struct ycsb_histogram *histogram, const char *title, double start_s,
		      double end_s, FILE *to)
{
	enum {
		COOKIE = 0x1c849304,
		COUNT_LEN_MAX = 9,
		ROOM = 128
	};
	size_t room = (size_t)YCSB_HIST_COUNTS * COUNT_LEN_MAX + ROOM;
	struct bytes plain = { malloc(room), 0 }, packed = { malloc(2 * room), 0 };
	struct bytes header = { packed.data, 0 };
	int error = -ENOMEM;

	if (plain.data != NULL && packed.data != NULL) {
		put_histogram(&plain, histogram);
		packed.len = 8;
		put_zlib(&packed, &plain);
		put_u32(&header, COOKIE | 0x10);
		put_u32(&header, (uint32_t)(packed.len - 8));
		fprintf(to, "#[Logging for: %s]\n#[Histogram log format version 1.3]\n", title);
		fprintf(to,
			"#[StartTime: %.3f (seconds since epoch)]\n#[BaseTime: %.3f (seconds "
			"since epoch)]\n",
			start_s, start_s);
		fputs("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\","
		      "\"Interval_Compressed_Histogram\"\n",
		      to);
		fprintf(to, "0.000,%.3f,%.3f,", end_s - start_s,
			(double)ycsb_histogram_max(histogram) / 1e6);
		write_base64(&packed, to);
		fputc('\n', to);
		error = 0;
	}
	free(plain.data);
	free(packed.data);
	return error;
}
