/* SPDX-License-Identifier: MIT */
#include "ycsb/generator.h"

#include <math.h>
#include <stddef.h>

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(1099511628211)

static inline uint64_t fnv_octets(uint64_t hash, uint64_t value, int octet_cnt)
{
	for (int i = 0; i < octet_cnt; i++) {
		hash = (hash ^ (value & 0xff)) * FNV_PRIME;
		value >>= 8;
	}
	return hash;
}

/* A zero octet only multiplies, so the zero octets above 40 bits are one multiplication by p^3. */
uint64_t ycsb_fnv64(uint64_t value)
{
	uint64_t hash;

	if (value >> 40 == 0)
		hash = fnv_octets(FNV_BASIS, value, 5) * (FNV_PRIME * FNV_PRIME * FNV_PRIME);
	else
		hash = fnv_octets(FNV_BASIS, value, 8);
	return hash >> 63 && hash != UINT64_C(1) << 63 ? -hash : hash & INT64_MAX;
}

/*
 * Euler-Maclaurin from EM_FIRST on: the error of the terms left out is far below the rounding of the sum.
 */
enum {
	EM_FIRST = 1000
};

static double zeta_tail(double first, double last, double theta)
{
	double ff = pow(first, -theta), fl = pow(last, -theta);
	double integral = first * ff * expm1((1.0 - theta) * log(last / first)) / (1.0 - theta);
	double d1 = -theta * (fl / last - ff / first);
	double d3 = -theta * (theta + 1.0) * (theta + 2.0) *
		    (fl / (last * last * last) - ff / (first * first * first));

	return integral + (ff + fl) / 2.0 + d1 / 12.0 - d3 / 720.0;
}

double ycsb_zeta(uint64_t n, double theta)
{
	double sum = 0.0;
	uint64_t direct = n <= EM_FIRST ? n : EM_FIRST - 1;

	for (uint64_t i = direct; i >= 1; i--)
		sum += pow((double)i, -theta);
	if (n > EM_FIRST)
		sum += zeta_tail(EM_FIRST, (double)n, theta);
	return sum;
}

static double zipfian_eta(const struct ycsb_zipfian *zipfian)
{
	return (1.0 - pow(2.0 / (double)zipfian->item_cnt, 1.0 - zipfian->theta)) /
	       (1.0 - zipfian->zeta2 / zipfian->zetan);
}

void ycsb_zipfian_init_zeta(struct ycsb_zipfian *zipfian, uint64_t item_cnt, double theta,
			    double zetan)
{
	zipfian->item_cnt = item_cnt;
	zipfian->zeta_cnt = item_cnt;
	zipfian->theta = theta;
	zipfian->alpha = 1.0 / (1.0 - theta);
	zipfian->alpha_is_100 = fabs(zipfian->alpha - 100.0) < 1e-9;
	zipfian->zetan = zetan;
	zipfian->zeta2 = ycsb_zeta(2, theta);
	zipfian->second = 1.0 + pow(0.5, theta);
	zipfian->eta = zipfian_eta(zipfian);
}

void ycsb_zipfian_init(struct ycsb_zipfian *zipfian, uint64_t item_cnt, double theta)
{
	ycsb_zipfian_init_zeta(zipfian, item_cnt, theta, ycsb_zeta(item_cnt, theta));
}

void ycsb_zipfian_grow(struct ycsb_zipfian *zipfian, uint64_t item_cnt)
{
	enum {
		STEP_MAX = 16
	};

	if (item_cnt <= zipfian->zeta_cnt)
		return;
	if (item_cnt - zipfian->zeta_cnt > STEP_MAX) {
		zipfian->zetan = ycsb_zeta(item_cnt, zipfian->theta);
	} else {
		for (uint64_t i = zipfian->zeta_cnt + 1; i <= item_cnt; i++)
			zipfian->zetan += pow((double)i, -zipfian->theta);
	}
	zipfian->zeta_cnt = item_cnt;
	zipfian->eta = zipfian_eta(zipfian);
}

/*
 * x^alpha. For theta 0.99 alpha is 100 to 13 digits, and x^100 in seven multiplications differs from pow() by
 * some 1e-14 of the value: one draw in a million comes out one apart, at the far end of 10^10 ranks.
 */
static inline double power(const struct ycsb_zipfian *zipfian, double x)
{
	double x2 = x * x, x4 = x2 * x2, x8 = x4 * x4, x16 = x8 * x8, x32 = x16 * x16;

	if (zipfian->alpha_is_100)
		return x32 * x32 * (x32 * x4);
	return pow(x, zipfian->alpha);
}

uint64_t ycsb_zipfian_next(const struct ycsb_zipfian *zipfian, struct ptni_rng *random)
{
	double u = ptni_rng_unit(random);
	double uz = u * zipfian->zetan;
	uint64_t item;

	if (uz < 1.0)
		return 0;
	if (uz < zipfian->second)
		return zipfian->zeta_cnt > 1;
	item = (uint64_t)((double)zipfian->zeta_cnt *
			  power(zipfian, zipfian->eta * u - zipfian->eta + 1.0));
	return item < zipfian->zeta_cnt ? item : zipfian->zeta_cnt - 1;
}

void ycsb_scrambled_init(struct ycsb_zipfian *zipfian)
{
	ycsb_zipfian_init_zeta(zipfian, YCSB_SCRAMBLED_ITEMS + 1, YCSB_ZIPFIAN_THETA,
			       YCSB_SCRAMBLED_ZETAN);
}

uint64_t ycsb_scrambled_next(const struct ycsb_zipfian *zipfian, struct ptni_rng *random,
			     uint64_t span)
{
	return ycsb_fnv64(ycsb_zipfian_next(zipfian, random)) % span;
}

void ycsb_latest_init(struct ycsb_zipfian *zipfian, uint64_t last)
{
	ycsb_zipfian_init(zipfian, last, YCSB_ZIPFIAN_THETA);
}

uint64_t ycsb_latest_next(struct ycsb_zipfian *zipfian, struct ptni_rng *random, uint64_t last)
{
	uint64_t back;

	ycsb_zipfian_grow(zipfian, last);
	back = ycsb_zipfian_next(zipfian, random);
	return back < last ? last - back : 0;
}

void ycsb_hotspot_init(struct ycsb_hotspot *hotspot, uint64_t first, uint64_t item_cnt,
		       double data_fraction, double operation_fraction)
{
	hotspot->first = first;
	hotspot->hot_cnt = (uint64_t)((double)item_cnt * data_fraction);
	hotspot->cold_cnt = item_cnt - hotspot->hot_cnt;
	hotspot->hot_fraction = operation_fraction;
}

uint64_t ycsb_hotspot_next(const struct ycsb_hotspot *hotspot, struct ptni_rng *random)
{
	if (ptni_rng_unit(random) < hotspot->hot_fraction)
		return hotspot->first + ptni_rng_below(random, hotspot->hot_cnt);
	return hotspot->first + hotspot->hot_cnt + ptni_rng_below(random, hotspot->cold_cnt);
}

double ycsb_exponential_rate(double percentile, double range)
{
	return -log(1.0 - percentile / 100.0) / range;
}

double ycsb_exponential_next(double rate, struct ptni_rng *random)
{
	return -log(ptni_rng_unit(random)) / rate;
}
