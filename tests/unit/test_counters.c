/* SPDX-License-Identifier: MIT */
#include "core/base/counters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void table__names_are_unique_and_helped(void **state)
{
	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++) {
		assert_true(strlen(ptni_counter_name(i)) > 0);
		assert_true(strlen(ptni_counter_unit(i)) > 0);
		assert_true(strlen(ptni_counter_help(i)) > 0);
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(ptni_counter_name(i), ptni_counter_name(j));
	}
	assert_null(ptni_counter_name(PTNI_COUNTER_COUNT));
	assert_null(ptni_counter_unit(PTNI_COUNTER_COUNT));
	assert_null(ptni_counter_help(PTNI_COUNTER_COUNT));
}

static void add__sums_several_writers(void **state)
{
	static struct ptni_counters a, b;
	struct ptni_counters_sum before = { { 0 } }, after = { { 0 } }, since;

	PTNI_COUNT(&a, doorbells);
	ptni_counters_add(&before, &a);
	PTNI_COUNT_ADD(&a, bytes_read, 100);
	PTNI_COUNT_ADD(&b, bytes_read, 11);
	PTNI_COUNT(&b, sessions_refused);
	ptni_counters_add(&after, &a);
	ptni_counters_add(&after, &b);
	ptni_counters_since(&after, &before, &since);
	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++) {
		uint64_t expected = i == PTNI_COUNTER_bytes_read       ? 111 :
				    i == PTNI_COUNTER_sessions_refused ? 1 :
									 0;

		assert_int_equal(since.value[i], expected);
	}
	assert_int_equal(after.value[PTNI_COUNTER_doorbells], 1);
}

static void writers__have_every_counter(void **state)
{
	struct ptni_counters_sum sum;
	char text[16384], json[16384], expected[192];
	size_t text_bytes, json_bytes;

	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++)
		sum.value[i] = UINT64_MAX - i;
	text_bytes = ptni_counters_text(&sum, text, sizeof(text));
	json_bytes = ptni_counters_json(&sum, json, sizeof(json));
	assert_int_equal(text_bytes, strlen(text));
	assert_int_equal(json_bytes, strlen(json));
	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++) {
		(void)snprintf(expected, sizeof(expected), "%c\"%s\":%llu%c", i ? ',' : '{',
			       ptni_counter_name(i), (unsigned long long)sum.value[i],
			       i + 1 < PTNI_COUNTER_COUNT ? ',' : '}');
		assert_non_null(strstr(json, expected));
		(void)snprintf(expected, sizeof(expected), "%-24s %20llu  # %s\n",
			       ptni_counter_name(i), (unsigned long long)sum.value[i],
			       ptni_counter_help(i));
		assert_non_null(strstr(text, expected));
	}
}

/* Every cut is a prefix, ends in a zero and reports the whole length. */
static void writers__cut_like_snprintf(void **state)
{
	struct ptni_counters_sum sum = { { 1, 2, 3 } };
	char whole[16384], cut[300];
	size_t len = ptni_counters_json(&sum, whole, sizeof(whole));

	assert_int_equal(ptni_counters_json(&sum, NULL, 0), len);
	for (size_t capacity = 1; capacity < sizeof(cut); capacity++) {
		memset(cut, 'x', sizeof(cut));
		assert_int_equal(ptni_counters_json(&sum, cut, capacity), len);
		assert_int_equal(strlen(cut), capacity - 1);
		assert_memory_equal(cut, whole, capacity - 1);
		assert_int_equal(cut[capacity], 'x');
	}
}

static struct ptni_counters shared;

static void *count_up(void *arg)
{
	for (int i = 0; i < 100000; i++)
		PTNI_COUNT(&shared, doorbells);
	return NULL;
}

static void reader__sees_whole_growing_numbers(void **state)
{
	pthread_t thread;
	uint64_t last = 0;

	assert_int_equal(pthread_create(&thread, NULL, count_up, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		struct ptni_counters_sum sum = { { 0 } };

		ptni_counters_add(&sum, &shared);
		assert_in_range(sum.value[PTNI_COUNTER_doorbells], last, 100000);
		last = sum.value[PTNI_COUNTER_doorbells];
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&shared.doorbells), 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table__names_are_unique_and_helped),
		cmocka_unit_test(add__sums_several_writers),
		cmocka_unit_test(writers__have_every_counter),
		cmocka_unit_test(writers__cut_like_snprintf),
		cmocka_unit_test(reader__sees_whole_growing_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
