/* SPDX-License-Identifier: MIT */
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The published reference output of splitmix64 for seed 1234567. */
static void splitmix64__reference_values(void **state)
{
	uint64_t seed = 1234567;

	assert_int_equal(ptni_splitmix64(&seed), UINT64_C(6457827717110365317));
	assert_int_equal(ptni_splitmix64(&seed), UINT64_C(3203168211198807973));
	assert_int_equal(ptni_splitmix64(&seed), UINT64_C(9817491932198370423));
}

/* The published reference output of xoshiro256** for the state {1, 2, 3, 4}. */
static void xoshiro__reference_values(void **state)
{
	struct ptni_rng rng = { { 1, 2, 3, 4 } };

	assert_int_equal(ptni_rng_next(&rng), UINT64_C(11520));
	assert_int_equal(ptni_rng_next(&rng), UINT64_C(0));
	assert_int_equal(ptni_rng_next(&rng), UINT64_C(1509978240));
	assert_int_equal(ptni_rng_next(&rng), UINT64_C(1215971899390074240));
}

static void same_seed__same_numbers(void **state)
{
	struct ptni_rng a, b;

	ptni_rng_seed(&a, 42);
	ptni_rng_seed(&b, 42);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(ptni_rng_next(&a), ptni_rng_next(&b));
}

static void streams_and_forks__differ(void **state)
{
	struct ptni_rng rng[4];

	ptni_rng_seed(&rng[0], 42);
	ptni_rng_seed_stream(&rng[1], 42, 1);
	ptni_rng_seed_stream(&rng[2], 42, 2);
	ptni_rng_fork(&rng[0], &rng[3]);
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < i; j++) {
			struct ptni_rng a = rng[i], b = rng[j];
			int equal = 0;

			for (int draw = 0; draw < 64; draw++)
				equal += ptni_rng_next(&a) == ptni_rng_next(&b);
			assert_int_equal(equal, 0);
		}
}

/* For 3 * 2^62 the multiplication alone would give every third value twice as often. */
static void below__in_range_and_unbiased(void **state)
{
	static const uint64_t bounds[] = { 1, 2, 3, 7, 100, UINT64_C(1) << 33, UINT64_MAX };
	const uint64_t biased = UINT64_C(3) << 62;
	struct ptni_rng rng;
	int thirds = 0;

	ptni_rng_seed(&rng, 7);
	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
		for (int draw = 0; draw < 1000; draw++)
			assert_true(ptni_rng_below(&rng, bounds[i]) < bounds[i]);
	for (int draw = 0; draw < 30000; draw++)
		thirds += ptni_rng_below(&rng, biased) % 3 == 0;
	assert_in_range(thirds, 9600, 10400); /* 10000 +- 5 standard deviations */
}

static void below__every_value_occurs_evenly(void **state)
{
	unsigned int seen[10] = { 0 };
	struct ptni_rng rng;

	ptni_rng_seed(&rng, 8);
	for (int draw = 0; draw < 100000; draw++)
		seen[ptni_rng_below(&rng, 10)]++;
	for (int i = 0; i < 10; i++)
		assert_in_range(seen[i], 9500, 10500);
}

static void unit_and_chance__in_range(void **state)
{
	struct ptni_rng rng;
	double sum = 0;
	int hits = 0;

	ptni_rng_seed(&rng, 9);
	for (int draw = 0; draw < 10000; draw++) {
		double x = ptni_rng_unit(&rng);

		assert_true(x >= 0 && x < 1);
		sum += x;
		hits += ptni_rng_chance(&rng, 1, 4);
		assert_true(ptni_rng_chance(&rng, 4, 4));
		assert_false(ptni_rng_chance(&rng, 0, 4));
	}
	assert_true(sum > 4850 && sum < 5150);
	assert_in_range(hits, 2280, 2720);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splitmix64__reference_values),
		cmocka_unit_test(xoshiro__reference_values),
		cmocka_unit_test(same_seed__same_numbers),
		cmocka_unit_test(streams_and_forks__differ),
		cmocka_unit_test(below__in_range_and_unbiased),
		cmocka_unit_test(below__every_value_occurs_evenly),
		cmocka_unit_test(unit_and_chance__in_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
