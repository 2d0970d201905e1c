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

static const struct {
	const char *name;
	const char *unit;
	const char *help;
} rows[] = {
#define ROW(name, unit, help) { #name, #unit, help },
	PTN_COUNTER_TABLE(ROW)
#undef ROW
};

enum {
	ROWS = sizeof(rows) / sizeof(rows[0])
};

static void table__helped(void **state)
{
	assert_int_equal(sizeof(struct ptn_counters), ROWS * sizeof(uint64_t));
	for (int i = 0; i < ROWS; i++) {
		assert_true(strlen(rows[i].unit) > 0);
		assert_true(strlen(rows[i].help) > 10);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(rows[i].help, rows[j].help);
	}
}

static void add__sums_several_writers(void **state)
{
	static struct ptni_counters a, b;
	struct ptn_counters sum = { 0 }, expected = { 0 };

	PTNI_COUNT(&a, doorbells);
	PTNI_COUNT_ADD(&a, bytes_read, 100);
	PTNI_COUNT_ADD(&b, bytes_read, 11);
	PTNI_COUNT(&b, lane_breaks);
	ptni_counters_add(&sum, &a);
	ptni_counters_add(&sum, &b);
	expected.doorbells = 1;
	expected.bytes_read = 111;
	expected.lane_breaks = 1;
	assert_memory_equal(&sum, &expected, sizeof(sum));
}

static void snapshot__replaces(void **state)
{
	static struct ptni_counters a;
	struct ptn_counters seen, expected = { .verbs_cas = 2 };

	memset(&seen, 0xff, sizeof(seen));
	PTNI_COUNT_ADD(&a, verbs_cas, 2);
	ptni_counters_snapshot(&a, &seen);
	assert_memory_equal(&seen, &expected, sizeof(seen));
}

static void writers__have_every_counter(void **state)
{
	char text[16384] = "", json[16384] = "", expected[192];
	struct ptn_counters sum;
	uint64_t values[ROWS];
	size_t text_bytes, json_bytes;

	for (unsigned int i = 0; i < ROWS; i++)
		values[i] = UINT64_MAX - i;
	memcpy(&sum, values, sizeof(sum));
	text_bytes = ptn_counters_text(&sum, text, sizeof(text));
	json_bytes = ptn_counters_json(&sum, json, sizeof(json));
	assert_int_equal(text_bytes, strlen(text));
	assert_int_equal(json_bytes, strlen(json));
	for (int i = 0; i < ROWS; i++) {
		(void)snprintf(expected, sizeof(expected), "%c\"%s\":%llu%c", i ? ',' : '{',
			       rows[i].name, (unsigned long long)values[i],
			       i + 1 < ROWS ? ',' : '}');
		assert_non_null(strstr(json, expected));
		(void)snprintf(expected, sizeof(expected), "%-24s %20llu  # %s\n", rows[i].name,
			       (unsigned long long)values[i], rows[i].help);
		assert_non_null(strstr(text, expected));
	}
}

/* Every cut is a prefix, ends in a zero and reports the whole length. */
static void writers__cut_like_snprintf(void **state)
{
	struct ptn_counters sum = { .verbs_read = 1, .verbs_write = 22 };
	char whole[16384], cut[300];
	size_t len = ptn_counters_json(&sum, whole, sizeof(whole));

	assert_int_equal(ptn_counters_json(&sum, NULL, 0), len);
	for (size_t capacity = 1; capacity < sizeof(cut); capacity++) {
		memset(cut, 'x', sizeof(cut));
		assert_int_equal(ptn_counters_json(&sum, cut, capacity), len);
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
		struct ptn_counters seen;

		ptni_counters_snapshot(&shared, &seen);
		assert_in_range(seen.doorbells, last, 100000);
		last = seen.doorbells;
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(atomic_load(&shared.doorbells), 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table__helped),
		cmocka_unit_test(add__sums_several_writers),
		cmocka_unit_test(snapshot__replaces),
		cmocka_unit_test(writers__have_every_counter),
		cmocka_unit_test(writers__cut_like_snprintf),
		cmocka_unit_test(reader__sees_whole_growing_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
