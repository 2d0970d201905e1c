/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ycsb/counter.h"
#include "ycsb/record.h"
#include "ycsb/workload.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ycsb_config config_of(const char *pairs)
{
	struct ycsb_config config;
	struct ycsb_message why = { "" };
	char text[512], *rest, *pair;

	ycsb_config_init(&config);
	snprintf(text, sizeof(text), "recordcount=1000 operationcount=1000 %s", pairs);
	for (pair = strtok_r(text, " ", &rest); pair != NULL; pair = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(pair, '=');

		*equals = '\0';
		if (ycsb_config_set(&config, pair, equals + 1, "test", &why) != 0)
			fail_msg("%s", why.text);
	}
	if (ycsb_config_check(&config, YCSB_BENCH, &why) != 0)
		fail_msg("%s", why.text);
	return config;
}

static void expect_key(uint64_t number, bool ordered, uint32_t padding, const char *expected)
{
	struct ycsb_key key;

	ycsb_key_name(number, ordered, padding, &key);
	assert_int_equal(key.len_bytes, strlen(expected));
	assert_memory_equal(key.bytes, expected, key.len_bytes);
}

static void key_name__known_answers(void **state)
{
	expect_key(0, false, 1, "user6284781860667377211");
	expect_key(1, false, 1, "user8517097267634966620");
	expect_key(0, true, 1, "user0");
	expect_key(0, true, 0, "user0");
	expect_key(5, true, 8, "user00000005");
	expect_key(123456789, true, 3, "user123456789");
	expect_key(7, true, 30, "user000000000000000000000000000007");
}

static void key_name__every_length_of_number(void **state)
{
	struct ptni_rng random;
	char expected[64];

	ptni_rng_seed_stream(&random, 2, 0);
	for (int i = 0; i < 200000; i++) {
		uint64_t number = ptni_rng_next(&random) >> (1 + i % 63);

		snprintf(expected, sizeof(expected), "user%llu", (unsigned long long)number);
		expect_key(number, true, 1, expected);
	}
	for (uint64_t power = 1; power < UINT64_C(9000000000000000000); power *= 10) {
		for (int step = -1; step <= 1; step++) {
			snprintf(expected, sizeof(expected), "user%llu",
				 (unsigned long long)(power + (uint64_t)step));
			expect_key(power + (uint64_t)step, true, 1, expected);
		}
		if (power > UINT64_MAX / 10)
			break;
	}
}

static void ops__come_in_their_proportions(void **state)
{
	enum {
		DRAWS = 200000
	};
	struct ycsb_config config =
		config_of("readproportion=0.4 updateproportion=0.3 insertproportion=0.1 "
			  "scanproportion=0.15 readmodifywriteproportion=0.05");
	const double shares[YCSB_OP_CNT] = { 0.4, 0.3, 0.1, 0.15, 0.05 };
	struct ycsb_workload workload;
	struct ycsb_stream stream;
	uint64_t seen[YCSB_OP_CNT] = { 0 };

	assert_int_equal(ycsb_workload_init(&workload, &config), 0);
	assert_int_equal(ycsb_stream_init(&stream, &workload, YCSB_RUN, 0), 0);
	for (int i = 0; i < DRAWS; i++)
		seen[ycsb_stream_op(&stream)]++;
	for (int i = 0; i < YCSB_OP_CNT; i++)
		assert_true(fabs((double)seen[i] / DRAWS - shares[i]) < 0.005);
	ycsb_stream_fini(&stream);
	ycsb_workload_fini(&workload);
}

static void ops__what_has_no_share_never_comes(void **state)
{
	struct ycsb_config config = config_of("readproportion=0 updateproportion=0.999 "
					      "readmodifywriteproportion=0.001");
	struct ycsb_workload workload;
	struct ycsb_stream stream;

	assert_int_equal(ycsb_workload_init(&workload, &config), 0);
	assert_int_equal(ycsb_stream_init(&stream, &workload, YCSB_RUN, 0), 0);
	for (int i = 0; i < 100000; i++) {
		enum ycsb_op op = ycsb_stream_op(&stream);

		assert_true(op == YCSB_UPDATE || op == YCSB_RMW);
	}
	ycsb_stream_fini(&stream);
	ycsb_workload_fini(&workload);
}

/* All distributions: keys exist, the whole range is drawn from, the stream is reproducible. */
static void keys__are_always_of_records_that_exist(void **state)
{
	static const char *const distributions[] = { "uniform", "zipfian",    "latest",
						     "hotspot", "sequential", "exponential" };
	char pairs[256];

	for (size_t d = 0; d < 6; d++) {
		struct ycsb_config config;
		struct ycsb_workload workload;
		struct ycsb_stream a, b;
		uint64_t number, again, above = 0, below = 0;

		snprintf(pairs, sizeof(pairs),
			 "requestdistribution=%s insertproportion=0.05 readproportion=0.9",
			 distributions[d]);
		config = config_of(pairs);
		assert_int_equal(ycsb_workload_init(&workload, &config), 0);
		ycsb_stream_init(&a, &workload, YCSB_RUN, 3);
		ycsb_stream_init(&b, &workload, YCSB_RUN, 3);
		for (int i = 0; i < 20000; i++) {
			assert_int_equal(ycsb_stream_key(&a, &number), 0);
			assert_true(number < 1000);
			above += number >= 500;
			below += number < 500;
			assert_int_equal(ycsb_stream_key(&b, &again), 0);
			if (d != 4)
				assert_int_equal(number, again);
		}
		assert_true(above > 100 && below > 100);
		ycsb_stream_fini(&a);
		ycsb_stream_fini(&b);
		ycsb_workload_fini(&workload);
	}
}

static void keys__insertstart_bounds_the_range(void **state)
{
	struct ycsb_config config = config_of("insertstart=400 insertcount=100");
	struct ycsb_workload workload;
	struct ycsb_stream stream;
	uint64_t number;

	assert_int_equal(ycsb_workload_init(&workload, &config), 0);
	ycsb_stream_init(&stream, &workload, YCSB_RUN, 0);
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(ycsb_stream_key(&stream, &number), 0);
		assert_in_range(number, 400, 499);
	}
	ycsb_stream_fini(&stream);
	ycsb_workload_fini(&workload);
}

static void counter__readers_never_see_an_unacknowledged_number(void **state)
{
	struct ycsb_ack_counter *counter = ycsb_counter_new(10);
	uint64_t a, b, c;

	assert_int_equal(ycsb_counter_take(counter, &a), 0);
	assert_int_equal(ycsb_counter_take(counter, &b), 0);
	assert_int_equal(ycsb_counter_take(counter, &c), 0);
	assert_int_equal(a, 10);
	assert_int_equal(c, 12);
	ycsb_counter_acknowledge(counter, b);
	assert_int_equal(ycsb_counter_limit(counter), 10);
	ycsb_counter_acknowledge(counter, a);
	assert_int_equal(ycsb_counter_limit(counter), 12);
	ycsb_counter_acknowledge(counter, c);
	assert_int_equal(ycsb_counter_limit(counter), 13);
	free(counter);
}

static void counter__a_full_window_refuses(void **state)
{
	struct ycsb_ack_counter *counter = ycsb_counter_new(0);
	uint64_t first, number = 0;

	assert_int_equal(ycsb_counter_take(counter, &first), 0);
	for (int i = 1; i < YCSB_COUNTER_WINDOW; i++) {
		assert_int_equal(ycsb_counter_take(counter, &number), 0);
		ycsb_counter_acknowledge(counter, number);
	}
	assert_int_equal(ycsb_counter_take(counter, &number), -EAGAIN);
	ycsb_counter_acknowledge(counter, first);
	assert_int_equal(ycsb_counter_limit(counter), YCSB_COUNTER_WINDOW);
	assert_int_equal(ycsb_counter_take(counter, &number), 0);
	free(counter);
}

/* Guarantees 1 and 2 of counter.h with real threads. */
struct racer {
	struct ycsb_ack_counter *counter;
	_Atomic uint8_t *done;
	int count;
	_Atomic int *early;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	uint64_t number = 0, limit;

	for (int i = 0; i < racer->count; i++) {
		while (ycsb_counter_take(racer->counter, &number) != 0)
			sched_yield();
		atomic_store(&racer->done[number], 1);
		ycsb_counter_acknowledge(racer->counter, number);
		limit = ycsb_counter_limit(racer->counter);
		if (limit > 0 && atomic_load(&racer->done[limit - 1]) == 0)
			atomic_fetch_add(racer->early, 1);
	}
	return NULL;
}

static void counter__threads_leave_no_gap(void **state)
{
	enum {
		THREADS = 4,
		COUNT = 30000
	};
	struct racer racer = { ycsb_counter_new(0), NULL, COUNT, NULL };
	_Atomic int early = 0;
	pthread_t threads[THREADS];

	racer.done = calloc(THREADS * COUNT, 1);
	racer.early = &early;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racer), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(early, 0);
	assert_int_equal(ycsb_counter_limit(racer.counter), THREADS * COUNT);
	free(racer.done);
	free(racer.counter);
}

static struct ycsb_schema schema_of(uint32_t fields, uint32_t min, uint32_t max,
				    enum ycsb_length_distribution length, bool integrity)
{
	struct ycsb_schema schema = { .field_cnt = fields,
				      .field_len_min = min,
				      .field_len_max = max,
				      .length = length,
				      .integrity = integrity };

	ycsb_schema_init(&schema);
	return schema;
}

static void record__constant_fields_are_a_plain_concatenation(void **state)
{
	struct ycsb_schema schema = schema_of(10, 1, 100, YCSB_LENGTH_CONSTANT, false);
	struct ycsb_bytes record, field;
	struct ptni_rng random;
	struct ycsb_key key;
	uint8_t bytes[1008];

	ptni_rng_seed_stream(&random, 1, 0);
	ycsb_key_name(1, false, 1, &key);
	record = (struct ycsb_bytes){ bytes, ycsb_record_build(&schema, &random, &key, 0, bytes) };
	assert_int_equal(record.len_bytes, 1000);
	for (uint32_t i = 0; i < 1000; i++)
		assert_in_range(bytes[i], ' ', 127);
	assert_int_equal(ycsb_record_field(&schema, record, 3, &field), 0);
	assert_ptr_equal(field.data, bytes + 300);
	record.len_bytes = 999;
	assert_int_equal(ycsb_record_field(&schema, record, 3, &field), -EBADMSG);
}

static void record__merge_replaces_one_field_of_any_length(void **state)
{
	struct ycsb_schema schema = schema_of(7, 3, 50, YCSB_LENGTH_UNIFORM, false);
	struct ptni_rng random;
	struct ycsb_key key;
	uint8_t old[512], out[512], patch[64];

	ptni_rng_seed_stream(&random, 6, 0);
	ycsb_key_name(1, false, 1, &key);
	for (int round = 0; round < 2000; round++) {
		struct ycsb_bytes before = { old,
					     ycsb_record_build(&schema, &random, &key, 0, old) };
		int32_t at = (int32_t)ptni_rng_below(&random, 7);
		struct ycsb_write write = {
			at, ycsb_field_build(&schema, &random, &key, (uint32_t)at, 0, patch), patch
		};
		int len = ycsb_record_merge(&schema, before, &write, out);
		struct ycsb_bytes after = { out, (uint32_t)len }, was, is;

		assert_true(len > 0);
		for (uint32_t i = 0; i < 7; i++) {
			assert_int_equal(ycsb_record_field(&schema, after, i, &is), 0);
			assert_int_equal(ycsb_record_field(&schema, before, i, &was), 0);
			if ((int32_t)i == at)
				was = (struct ycsb_bytes){ patch, write.len_bytes };
			assert_int_equal(is.len_bytes, was.len_bytes);
			assert_memory_equal(is.data, was.data, is.len_bytes);
		}
	}
}

static void record__foreign_bytes_are_refused_not_read(void **state)
{
	struct ycsb_schema schema = schema_of(5, 1, 20, YCSB_LENGTH_ZIPFIAN, false);
	struct ptni_rng random;
	struct ycsb_key key;
	uint8_t bytes[256];
	int refused = 0;

	ptni_rng_seed_stream(&random, 6, 0);
	ycsb_key_name(1, false, 1, &key);
	for (int round = 0; round < 20000; round++) {
		uint32_t len = ycsb_record_build(&schema, &random, &key, 0, bytes);
		struct ycsb_bytes field, record = { NULL, 0 };
		uint8_t *exact;

		/* A length that is not the right one, or a record that ends too early. */
		if (round % 2 == 0)
			len = (uint32_t)ptni_rng_below(&random, len);
		else
			bytes[ptni_rng_below(&random, 20)] ^=
				(uint8_t)(1 + ptni_rng_below(&random, 255));
		exact = malloc(len > 0 ? len : 1);
		memcpy(exact, bytes, len);
		record = (struct ycsb_bytes){ exact, len };
		refused += ycsb_record_field(&schema, record, 4, &field) == -EBADMSG;
		free(exact);
	}
	assert_int_equal(refused, 20000);
}

static void integrity__any_changed_byte_is_found(void **state)
{
	struct ycsb_schema schema = schema_of(3, 1, 40, YCSB_LENGTH_CONSTANT, true);
	struct ptni_rng random;
	struct ycsb_key key, other;
	uint8_t bytes[256];
	struct ycsb_bytes record;

	ptni_rng_seed_stream(&random, 1, 0);
	ycsb_key_name(1, false, 1, &key);
	ycsb_key_name(2, false, 1, &other);
	record = (struct ycsb_bytes){ bytes, ycsb_record_build(&schema, &random, &key, 77, bytes) };
	assert_int_equal(ycsb_record_verify(&schema, &key, record), 0);
	assert_int_equal(ycsb_record_verify(&schema, &other, record), -EBADMSG);
	for (uint32_t i = 0; i < record.len_bytes; i++) {
		bytes[i] ^= 0x10;
		assert_int_equal(ycsb_record_verify(&schema, &key, record), -EBADMSG);
		bytes[i] ^= 0x10;
	}
	record.len_bytes--;
	assert_int_equal(ycsb_record_verify(&schema, &key, record), -EBADMSG);
}

static void integrity__halves_of_two_writes_are_found(void **state)
{
	struct ycsb_schema schema = schema_of(2, 1, 40, YCSB_LENGTH_CONSTANT, true);
	struct ptni_rng random;
	struct ycsb_key key;
	uint8_t first[128], second[128];
	struct ycsb_bytes record = { first, 80 };

	ptni_rng_seed_stream(&random, 1, 0);
	ycsb_key_name(1, false, 1, &key);
	ycsb_record_build(&schema, &random, &key, 1, first);
	ycsb_record_build(&schema, &random, &key, 2, second);
	memcpy(first + 20, second + 20, 20);
	assert_int_equal(ycsb_record_verify(&schema, &key, record), -EBADMSG);
	/* Whole fields of two writes: right where fields are written one by one, wrong otherwise. */
	memcpy(first, second, 40);
	assert_int_equal(ycsb_record_verify(&schema, &key, record), 0);
	schema.one_version = true;
	assert_int_equal(ycsb_record_verify(&schema, &key, record), -EBADMSG);
}

static void integrity__short_fields_are_checked_too(void **state)
{
	struct ycsb_schema schema = schema_of(4, 1, 5, YCSB_LENGTH_CONSTANT, true);
	struct ptni_rng random;
	struct ycsb_key key;
	uint8_t bytes[64];
	struct ycsb_bytes record = { bytes, 20 };

	ptni_rng_seed_stream(&random, 1, 0);
	ycsb_key_name(9, false, 1, &key);
	ycsb_record_build(&schema, &random, &key, 5, bytes);
	assert_int_equal(ycsb_record_verify(&schema, &key, record), 0);
	bytes[19] ^= 1;
	assert_int_equal(ycsb_record_verify(&schema, &key, record), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(key_name__known_answers),
		cmocka_unit_test(key_name__every_length_of_number),
		cmocka_unit_test(ops__come_in_their_proportions),
		cmocka_unit_test(ops__what_has_no_share_never_comes),
		cmocka_unit_test(keys__are_always_of_records_that_exist),
		cmocka_unit_test(keys__insertstart_bounds_the_range),
		cmocka_unit_test(counter__readers_never_see_an_unacknowledged_number),
		cmocka_unit_test(counter__a_full_window_refuses),
		cmocka_unit_test(counter__threads_leave_no_gap),
		cmocka_unit_test(record__constant_fields_are_a_plain_concatenation),
		cmocka_unit_test(record__merge_replaces_one_field_of_any_length),
		cmocka_unit_test(record__foreign_bytes_are_refused_not_read),
		cmocka_unit_test(integrity__any_changed_byte_is_found),
		cmocka_unit_test(integrity__halves_of_two_writes_are_found),
		cmocka_unit_test(integrity__short_fields_are_checked_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
