/* SPDX-License-Identifier: MIT */
#include "ycsb/workload.h"

#include <endian.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void op_bounds_init(struct ycsb_workload *workload)
{
	const struct ycsb_config *config = workload->config;
	const double shares[YCSB_OP_CNT] = {
		[YCSB_READ] = config->read_proportion,
		[YCSB_UPDATE] = config->update_proportion,
		[YCSB_INSERT] = config->insert_proportion,
		[YCSB_SCAN] = config->scan_proportion,
		[YCSB_RMW] = config->rmw_proportion,
	};
	double sum = 0, below = 0;
	int last = 0;

	for (int i = 0; i < YCSB_OP_CNT; i++) {
		sum += shares[i];
		if (shares[i] > 0)
			last = i;
	}
	for (int i = 0; i < YCSB_OP_CNT; i++) {
		below += shares[i];
		workload->op_bounds[i] = i >= last ? UINT64_MAX :
						     (uint64_t)ldexp(below / sum, 63) * 2;
	}
}

int ycsb_workload_init(struct ycsb_workload *workload, const struct ycsb_config *config)
{
	memset(workload, 0, sizeof(*workload));
	workload->config = config;
	ycsb_config_schema(config, &workload->schema);
	workload->inserts = ycsb_counter_new((uint64_t)config->record_cnt);
	if (workload->inserts == NULL)
		return -ENOMEM;
	atomic_init(&workload->load_next, (uint64_t)config->insert_start);
	op_bounds_init(workload);
	/* One key more than there are: YCSB gives the last key as its upper bound, inclusive. */
	workload->span = (uint64_t)(config->insert_cnt + ycsb_config_expected_inserts(config) + 1);
	if (config->request_distribution == YCSB_LATEST)
		ycsb_latest_init(&workload->zipfian, (uint64_t)config->record_cnt - 1);
	else
		ycsb_scrambled_init(&workload->zipfian);
	ycsb_hotspot_init(&workload->hotspot, (uint64_t)config->insert_start,
			  (uint64_t)config->insert_cnt, config->hotspot_data_fraction,
			  config->hotspot_operation_fraction);
	workload->rate =
		ycsb_exponential_rate(config->exponential_percentile,
				      (double)config->record_cnt * config->exponential_fraction);
	ycsb_zipfian_init(&workload->scan_zipfian,
			  (uint64_t)(config->scan_len_max - config->scan_len_min + 1),
			  YCSB_ZIPFIAN_THETA);
	return 0;
}

void ycsb_workload_fini(struct ycsb_workload *workload)
{
	free(workload->inserts);
}

int ycsb_stream_init(struct ycsb_stream *stream, struct ycsb_workload *workload,
		     enum ycsb_phase phase, uint32_t thread_idx)
{
	stream->workload = workload;
	stream->zipfian = workload->zipfian;
	stream->version = thread_idx << 21 | (phase == YCSB_RUN ? 1U << 20 : 0);
	ptni_rng_seed_stream(&stream->random, (uint64_t)workload->config->seed,
			     (uint64_t)phase << 32 | thread_idx);
	stream->bytes = malloc((size_t)ycsb_record_len_max(&workload->schema) + 8);
	return stream->bytes == NULL ? -ENOMEM : 0;
}

void ycsb_stream_fini(struct ycsb_stream *stream)
{
	free(stream->bytes);
}

enum ycsb_op ycsb_stream_op(struct ycsb_stream *stream)
{
	const uint64_t *bounds = stream->workload->op_bounds;
	uint64_t draw = ptni_rng_next(&stream->random);
	int op = 0;

	while (draw >= bounds[op] && op < YCSB_OP_CNT - 1)
		op++;
	return (enum ycsb_op)op;
}

/* One draw; UINT64_MAX stands for "older than the oldest". */
static uint64_t draw_key(struct ycsb_stream *stream, uint64_t limit)
{
	struct ycsb_workload *workload = stream->workload;
	const struct ycsb_config *config = workload->config;
	uint64_t start = (uint64_t)config->insert_start, count = (uint64_t)config->insert_cnt;
	double age;

	switch ((enum ycsb_distribution)config->request_distribution) {
	case YCSB_UNIFORM:
		return start + ptni_rng_below(&stream->random, count);
	case YCSB_ZIPFIAN:
		return start +
		       ycsb_scrambled_next(&stream->zipfian, &stream->random, workload->span);
	case YCSB_LATEST:
		return ycsb_latest_next(&stream->zipfian, &stream->random, limit - 1);
	case YCSB_HOTSPOT:
		return ycsb_hotspot_next(&workload->hotspot, &stream->random);
	case YCSB_SEQUENTIAL:
		return start +
		       atomic_fetch_add_explicit(&workload->sequence, 1, memory_order_relaxed) %
			       count;
	case YCSB_EXPONENTIAL:
		age = ycsb_exponential_next(workload->rate, &stream->random);
		return age < (double)limit ? limit - 1 - (uint64_t)age : UINT64_MAX;
	}
	return UINT64_MAX;
}

int ycsb_stream_key(struct ycsb_stream *stream, uint64_t *number_out)
{
	enum {
		STOP_INTERVAL = 4096
	};
	uint64_t limit = ycsb_counter_limit(stream->workload->inserts);

	for (uint32_t tries = 1;; tries++) {
		uint64_t number = draw_key(stream, limit);

		if (number < limit) {
			*number_out = number;
			return 0;
		}
		if (tries % STOP_INTERVAL != 0)
			continue;
		if (atomic_load_explicit(&stream->workload->stop, memory_order_relaxed))
			return -ECANCELED;
		limit = ycsb_counter_limit(stream->workload->inserts);
	}
}

uint32_t ycsb_stream_scan_len(struct ycsb_stream *stream)
{
	const struct ycsb_config *config = stream->workload->config;
	uint64_t span = (uint64_t)(config->scan_len_max - config->scan_len_min + 1);
	uint64_t more;

	if (config->scan_len_distribution == YCSB_ZIPFIAN)
		more = ycsb_zipfian_next(&stream->workload->scan_zipfian, &stream->random);
	else
		more = ptni_rng_below(&stream->random, span);
	return (uint32_t)((uint64_t)config->scan_len_min + more);
}

static struct ycsb_write record_into(struct ycsb_stream *stream, const struct ycsb_key *key,
				     uint8_t *bytes)
{
	uint32_t len_bytes = ycsb_record_build(&stream->workload->schema, &stream->random, key,
					       stream->version++, bytes);

	return (struct ycsb_write){ .field = -1, .len_bytes = len_bytes, .data = bytes };
}

struct ycsb_write ycsb_stream_record(struct ycsb_stream *stream, const struct ycsb_key *key)
{
	return record_into(stream, key, stream->bytes);
}

struct ycsb_write ycsb_stream_update_into(struct ycsb_stream *stream, const struct ycsb_key *key,
					  uint8_t *bytes)
{
	const struct ycsb_schema *schema = &stream->workload->schema;
	struct ycsb_write write = { .data = bytes };

	/* The only field of a record is all of it: no need to read the record first. */
	if (stream->workload->config->write_all_fields || schema->field_cnt == 1)
		return record_into(stream, key, bytes);
	write.field = (int32_t)ptni_rng_below(&stream->random, schema->field_cnt);
	write.len_bytes = ycsb_field_build(schema, &stream->random, key, (uint32_t)write.field,
					   stream->version++, bytes);
	return write;
}

struct ycsb_write ycsb_stream_update(struct ycsb_stream *stream, const struct ycsb_key *key)
{
	return ycsb_stream_update_into(stream, key, stream->bytes);
}

/* Eight digits as eight octets, first digit lowest: split in halves, quarters, digits, in parallel. */
static inline uint64_t eight_digits(uint32_t value)
{
	uint64_t fours = value / 10000 | (uint64_t)(value % 10000) << 32;
	uint64_t high = (fours * 10486 >> 20) & UINT64_C(0x7f0000007f);
	uint64_t twos = high | (fours - 100 * high) << 16;
	uint64_t tens = (twos * 103 >> 10) & UINT64_C(0x000f000f000f000f);

	return (tens | (twos - 10 * tens) << 8) + UINT64_C(0x3030303030303030);
}

/* All eight digits; writes eight octets. */
static inline char *put_eight(char *to, uint32_t value)
{
	uint64_t digits = htole64(eight_digits(value));

	memcpy(to, &digits, sizeof(digits));
	return to + 8;
}

/* Without leading zeros, at least one digit, value below 10^8; writes eight octets. */
static inline char *put_first(char *to, uint32_t value)
{
	uint64_t digits = eight_digits(value);
	/* Leading '0' octets have no low bits set; the last digit stays whatever it is. */
	uint32_t zeros = (uint32_t)__builtin_ctzll((digits & UINT64_C(0x0f0f0f0f0f0f0f0f)) |
						   UINT64_C(1) << 56) /
			 8;

	digits = htole64(digits >> 8 * zeros);
	memcpy(to, &digits, sizeof(digits));
	return to + 8 - zeros;
}

/* Decimal; only writes, so that nothing waits for a store that is on its way. */
static char *put_number(char *to, uint64_t value)
{
	const uint64_t base = UINT64_C(100000000);
	uint64_t high = value / base, top = high / base;

	if (top != 0)
		to = put_eight(put_first(to, (uint32_t)top), (uint32_t)(high % base));
	else if (high != 0)
		to = put_first(to, (uint32_t)high);
	else
		return put_first(to, (uint32_t)value);
	return put_eight(to, (uint32_t)(value % base));
}

void ycsb_key_name(uint64_t number, bool ordered, uint32_t padding, struct ycsb_key *key_out)
{
	enum {
		PREFIX_LEN = 4
	};
	uint64_t value = ordered ? number : ycsb_fnv64(number);
	char *digits = key_out->bytes + PREFIX_LEN, *end = put_number(digits, value);
	uint32_t count = (uint32_t)(end - digits);

	memcpy(key_out->bytes, "user", PREFIX_LEN);
	key_out->len_bytes = PREFIX_LEN + count;
	if (padding <= count)
		return;
	memmove(digits + (padding - count), digits, count);
	memset(digits, '0', padding - count);
	key_out->len_bytes = PREFIX_LEN + padding;
}
