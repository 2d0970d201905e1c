/* SPDX-License-Identifier: MIT */
/*
 * The distributions, on fixed seeds, against what the formulas say (chi-square). Each statistical
 * test is also fed a generator with a planted bug and must reject it, or it would prove nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ycsb/generator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	DRAWS = 1000000
};

/* Chi-square as a number of standard deviations from its mean; bins of less than 5 are pooled. */
static double chi_square_sigmas(const uint64_t *seen, const double *expected, size_t bins)
{
	double chi = 0, pool_expected = 0, pool_seen = 0;
	size_t used = 0;

	for (size_t i = 0; i < bins; i++) {
		pool_expected += expected[i];
		pool_seen += (double)seen[i];
		if (pool_expected < 5 && i + 1 < bins)
			continue;
		if (pool_expected > 0)
			chi += (pool_seen - pool_expected) * (pool_seen - pool_expected) /
			       pool_expected;
		else if (pool_seen > 0)
			return (double)INFINITY;
		used++;
		pool_expected = pool_seen = 0;
	}
	assert_true(used > 1);
	return (chi - (double)(used - 1)) / sqrt(2.0 * (double)(used - 1));
}

/* The seeds are fixed, so this is no matter of luck: 4 sigmas tell right from wrong. */
enum {
	SIGMAS = 4
};

/* The share of item k that Gray's inversion gives, for k >= 0, by inverting it. */
static double gray_share(const struct ycsb_zipfian *z, uint64_t k)
{
	double n = (double)z->item_cnt, low, high, second = z->second / z->zetan;

	if (k == 0)
		return 1.0 / z->zetan;
	low = (pow((double)k / n, 1.0 / z->alpha) - 1.0 + z->eta) / z->eta;
	high = (pow((double)(k + 1) / n, 1.0 / z->alpha) - 1.0 + z->eta) / z->eta;
	low = low < second ? second : low;
	high = high < second ? second : high > 1 ? 1 : high;
	return high - low + (k == 1 ? second - 1.0 / z->zetan : 0);
}

static double zipfian_sigmas(double theta_drawn)
{
	enum {
		ITEMS = 1000
	};
	static uint64_t seen[ITEMS];
	static double expected[ITEMS];
	struct ycsb_zipfian drawn, model;
	struct ptni_rng random;

	memset(seen, 0, sizeof(seen));
	ptni_rng_seed_stream(&random, 7, 0);
	ycsb_zipfian_init(&drawn, ITEMS, theta_drawn);
	ycsb_zipfian_init(&model, ITEMS, 0.99);
	for (int i = 0; i < DRAWS; i++)
		seen[ycsb_zipfian_next(&drawn, &random)]++;
	for (uint64_t k = 0; k < ITEMS; k++)
		expected[k] = gray_share(&model, k) * DRAWS;
	return chi_square_sigmas(seen, expected, ITEMS);
}

static void zipfian__matches_the_formula(void **state)
{
	assert_true(fabs(zipfian_sigmas(0.99)) < SIGMAS);
}

static void zipfian__a_theta_of_0_9_or_0_98_is_caught(void **state)
{
	assert_true(zipfian_sigmas(0.9) > SIGMAS);
	assert_true(zipfian_sigmas(0.98) > SIGMAS);
}

/* Gray's inversion is an approximation of Zipf's law: near it, and exact for the first two. */
static void zipfian__is_near_zipfs_law(void **state)
{
	enum {
		ITEMS = 1000
	};
	struct ycsb_zipfian z;
	double apart = 0, total = 0;

	ycsb_zipfian_init(&z, ITEMS, 0.99);
	for (uint64_t k = 0; k < ITEMS; k++) {
		double law = pow((double)(k + 1), -0.99) / z.zetan;

		apart += fabs(gray_share(&z, k) - law);
		total += gray_share(&z, k);
		if (k < 2)
			assert_true(fabs(gray_share(&z, k) - law) < 1e-3);
	}
	assert_true(fabs(total - 1) < 1e-9);
	assert_true(apart / 2 < 0.05);
}

/* The multiplications in place of pow(): rank by rank the same, but for one in the last digits. */
static void zipfian__multiplied_powers_are_those_of_pow(void **state)
{
	struct ycsb_zipfian fast, slow;
	struct ptni_rng a, b;
	int apart = 0;

	ycsb_scrambled_init(&fast);
	slow = fast;
	slow.alpha_is_100 = false;
	assert_true(fast.alpha_is_100);
	ptni_rng_seed_stream(&a, 31, 0);
	ptni_rng_seed_stream(&b, 31, 0);
	for (int i = 0; i < DRAWS; i++) {
		uint64_t x = ycsb_zipfian_next(&fast, &a), y = ycsb_zipfian_next(&slow, &b);

		assert_true(x - y + 1 <= 2);
		apart += x != y;
	}
	assert_true(apart < DRAWS / 10000);
}

static void zipfian__one_and_two_items_stay_in_range(void **state)
{
	struct ycsb_zipfian one, two;
	struct ptni_rng random;

	ptni_rng_seed_stream(&random, 1, 0);
	ycsb_zipfian_init(&one, 1, 0.99);
	ycsb_zipfian_init(&two, 2, 0.99);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(ycsb_zipfian_next(&one, &random), 0);
		assert_true(ycsb_zipfian_next(&two, &random) < 2);
	}
}

static void zeta__equals_the_sum_and_the_published_constant(void **state)
{
	const uint64_t counts[] = { 1, 2, 999, 1000, 1001, 100000, 1000000 };

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		double sum = 0;

		for (uint64_t k = counts[i]; k >= 1; k--)
			sum += pow((double)k, -0.99);
		assert_true(fabs(ycsb_zeta(counts[i], 0.99) / sum - 1) < 1e-13);
	}
	assert_true(fabs(ycsb_zeta(YCSB_SCRAMBLED_ITEMS, 0.99) / YCSB_SCRAMBLED_ZETAN - 1) < 1e-10);
}

static void zipfian_grow__equals_a_new_start_but_for_eta(void **state)
{
	struct ycsb_zipfian grown, fresh;

	ycsb_zipfian_init(&grown, 1000, 0.99);
	ycsb_zipfian_grow(&grown, 1003);
	ycsb_zipfian_grow(&grown, 900);
	ycsb_zipfian_grow(&grown, 5000);
	ycsb_zipfian_init(&fresh, 5000, 0.99);
	assert_int_equal(grown.zeta_cnt, 5000);
	assert_true(fabs(grown.zetan / fresh.zetan - 1) < 1e-13);
	assert_int_equal(grown.item_cnt, 1000);
}

/* Octet by octet as the definition has it, for comparison. */
static uint64_t fnv_plain(uint64_t value)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (int i = 0; i < 8; i++) {
		hash ^= value & 0xff;
		hash *= UINT64_C(0x100000001b3);
		value >>= 8;
	}
	return hash;
}

static void fnv64__known_answers(void **state)
{
	struct ptni_rng random;

	/* FNV-1a of eight zero octets, 0xa8c7f832281a39c5, negative as a signed number. */
	assert_int_equal(fnv_plain(0), UINT64_C(0xa8c7f832281a39c5));
	assert_int_equal(ycsb_fnv64(0), UINT64_C(6284781860667377211));
	assert_int_equal(ycsb_fnv64(1), UINT64_C(8517097267634966620));
	assert_int_equal(ycsb_fnv64(2), UINT64_C(1820151046732198393));
	ptni_rng_seed_stream(&random, 3, 0);
	for (int i = 0; i < 100000; i++) {
		uint64_t value = ptni_rng_next(&random) >> (ptni_rng_next(&random) % 64);
		uint64_t plain = fnv_plain(value);

		assert_int_equal(ycsb_fnv64(value), (int64_t)plain < 0 ? 0 - plain : plain);
	}
}

/*
 * Scrambled: the share of a key is the sum of the shares of the ranks that hash to it. The first million
 * ranks are added up exactly; what is left spreads evenly.
 */
static double scrambled_sigmas(double zetan)
{
	enum {
		KEYS = 500,
		RANKS = 1000000
	};
	static uint64_t seen[KEYS];
	static double expected[KEYS];
	struct ycsb_zipfian drawn, model;
	struct ptni_rng random;
	double head = 0;

	memset(seen, 0, sizeof(seen));
	memset(expected, 0, sizeof(expected));
	ycsb_scrambled_init(&drawn);
	ycsb_scrambled_init(&model);
	if (zetan != 0)
		ycsb_zipfian_init_zeta(&drawn, KEYS, YCSB_ZIPFIAN_THETA, zetan);
	ptni_rng_seed_stream(&random, 11, 0);
	for (int i = 0; i < DRAWS; i++)
		seen[ycsb_scrambled_next(&drawn, &random, KEYS)]++;
	for (uint64_t rank = 0; rank < RANKS; rank++) {
		double share = gray_share(&model, rank);

		expected[fnv_plain(rank) >> 63 ? (0 - fnv_plain(rank)) % KEYS :
						 fnv_plain(rank) % KEYS] += share * DRAWS;
		head += share;
	}
	for (int i = 0; i < KEYS; i++)
		expected[i] += (1 - head) / KEYS * DRAWS;
	return chi_square_sigmas(seen, expected, KEYS);
}

static void scrambled__matches_ten_billion_hashed_ranks(void **state)
{
	assert_true(fabs(scrambled_sigmas(0)) < SIGMAS);
}

static void scrambled__ranks_out_of_the_table_only_are_caught(void **state)
{
	/* The bug of many reimplementations: Zipf over the table's own size. */
	assert_true(scrambled_sigmas(ycsb_zeta(500, 0.99)) > SIGMAS);
}

static double latest_sigmas(bool planted)
{
	enum {
		LAST = 700
	};
	static uint64_t seen[LAST + 1];
	static double expected[LAST + 1];
	struct ycsb_zipfian drawn, model;
	struct ptni_rng random;

	memset(seen, 0, sizeof(seen));
	ycsb_latest_init(&drawn, LAST);
	ycsb_latest_init(&model, LAST);
	ptni_rng_seed_stream(&random, 5, 0);
	for (int i = 0; i < DRAWS; i++) {
		uint64_t key = ycsb_latest_next(&drawn, &random, LAST);

		seen[planted ? LAST - key : key]++;
	}
	for (uint64_t k = 0; k <= LAST; k++)
		expected[LAST - k] = k < LAST ? gray_share(&model, k) * DRAWS : 0;
	return chi_square_sigmas(seen, expected, LAST + 1);
}

static void latest__newest_first(void **state)
{
	assert_true(fabs(latest_sigmas(false)) < SIGMAS);
	assert_true(latest_sigmas(true) > SIGMAS);
}

static void latest__follows_a_growing_table_and_never_passes_it(void **state)
{
	struct ycsb_zipfian z;
	struct ptni_rng random;
	uint64_t newest = 0;

	ycsb_latest_init(&z, 1);
	ptni_rng_seed_stream(&random, 5, 0);
	for (uint64_t last = 1; last < 100000; last += 7) {
		uint64_t key = ycsb_latest_next(&z, &random, last);

		assert_true(key <= last);
		newest += key == last;
	}
	/* About 1 / zeta(n) of the draws are the newest item. */
	assert_true(newest > 14285 / 16 && newest < 14285 / 4);
}

static double hotspot_sigmas(double data_fraction)
{
	enum {
		FIRST = 100,
		COUNT = 200
	};
	static uint64_t seen[COUNT];
	static double expected[COUNT];
	struct ycsb_hotspot hotspot;
	struct ptni_rng random;

	memset(seen, 0, sizeof(seen));
	ycsb_hotspot_init(&hotspot, FIRST, COUNT, data_fraction, 0.8);
	ptni_rng_seed_stream(&random, 5, 0);
	for (int i = 0; i < DRAWS; i++)
		seen[ycsb_hotspot_next(&hotspot, &random) - FIRST]++;
	for (int i = 0; i < COUNT; i++)
		expected[i] = (i < 40 ? 0.8 / 40 : 0.2 / 160) * DRAWS;
	return chi_square_sigmas(seen, expected, COUNT);
}

static void hotspot__shares(void **state)
{
	assert_true(fabs(hotspot_sigmas(0.2)) < SIGMAS);
	assert_true(hotspot_sigmas(0.25) > SIGMAS);
}

/* The largest distance between the drawn and the exact distribution function (Kolmogorov-Smirnov). */
static double exponential_distance(double percentile)
{
	enum {
		COUNT = 100000,
		BINS = 1000
	};
	static uint64_t seen[BINS + 1];
	struct ptni_rng random;
	double rate = ycsb_exponential_rate(percentile, 300),
	       model = ycsb_exponential_rate(95, 300);
	double worst = 0;
	uint64_t below = 0;

	memset(seen, 0, sizeof(seen));
	ptni_rng_seed_stream(&random, 9, 0);
	for (int i = 0; i < COUNT; i++) {
		double draw = ycsb_exponential_next(rate, &random);

		seen[draw < BINS ? (int)draw : BINS]++;
	}
	for (int i = 0; i < BINS; i++) {
		below += seen[i];
		worst = fmax(worst, fabs((double)below / COUNT - (1 - exp(-model * (i + 1)))));
	}
	return worst * sqrt(COUNT);
}

static void exponential__95_per_cent_lie_in_range(void **state)
{
	assert_true(exponential_distance(95) < 1.63); /* 1 % level */
	assert_true(exponential_distance(94) > 1.63);
}

static void random__same_seed_same_stream(void **state)
{
	struct ptni_rng a, b, c, d;
	int same = 0;

	ptni_rng_seed_stream(&a, 1, 0);
	ptni_rng_seed_stream(&b, 1, 0);
	ptni_rng_seed_stream(&c, 1, 1);
	ptni_rng_seed_stream(&d, 2, 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t draw = ptni_rng_next(&a);

		assert_int_equal(draw, ptni_rng_next(&b));
		same += draw == ptni_rng_next(&c);
		same += draw == ptni_rng_next(&d);
	}
	assert_int_equal(same, 0);
}

static void random__below_is_uniform(void **state)
{
	enum {
		BOUND = 77
	};
	uint64_t seen[BOUND] = { 0 };
	double expected[BOUND];
	struct ptni_rng random;

	ptni_rng_seed_stream(&random, 21, 0);
	for (int i = 0; i < DRAWS; i++)
		seen[ptni_rng_below(&random, BOUND)]++;
	for (int i = 0; i < BOUND; i++)
		expected[i] = (double)DRAWS / BOUND;
	assert_true(fabs(chi_square_sigmas(seen, expected, BOUND)) < SIGMAS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zipfian__matches_the_formula),
		cmocka_unit_test(zipfian__a_theta_of_0_9_or_0_98_is_caught),
		cmocka_unit_test(zipfian__is_near_zipfs_law),
		cmocka_unit_test(zipfian__multiplied_powers_are_those_of_pow),
		cmocka_unit_test(zipfian__one_and_two_items_stay_in_range),
		cmocka_unit_test(zeta__equals_the_sum_and_the_published_constant),
		cmocka_unit_test(zipfian_grow__equals_a_new_start_but_for_eta),
		cmocka_unit_test(fnv64__known_answers),
		cmocka_unit_test(scrambled__matches_ten_billion_hashed_ranks),
		cmocka_unit_test(scrambled__ranks_out_of_the_table_only_are_caught),
		cmocka_unit_test(latest__newest_first),
		cmocka_unit_test(latest__follows_a_growing_table_and_never_passes_it),
		cmocka_unit_test(hotspot__shares),
		cmocka_unit_test(exponential__95_per_cent_lie_in_range),
		cmocka_unit_test(random__same_seed_same_stream),
		cmocka_unit_test(random__below_is_uniform),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
