/* SPDX-License-Identifier: MIT */
/*
 * The number generators of the YCSB core workload, draw for draw the same distributions. A generator
 * belongs to one thread; where YCSB shares a counter between threads (sequential), the counter is
 * the caller's.
 *
 * Zipfian is the method of Gray et al. ("Quickly generating billion-record synthetic databases",
 * SIGMOD 1994), theta 0.99. Three properties of YCSB's use of it are kept on purpose, because
 * published results contain them:
 *  - scrambled zipfian draws a rank out of 10^10 + 1 whatever the size of the table, with the
 *    published zeta, and maps it by fnv64(rank) mod size: flatter than Zipf over the table's own keys;
 *  - latest never draws its oldest item, and keeps the eta of the first item count as the table grows;
 *  - the hash is folded to 63 bits by its absolute value.
 */
#ifndef YCSB_GENERATOR_H
#define YCSB_GENERATOR_H

#include "core/base/rng.h"

#include <stdbool.h>
#include <stdint.h>

#define YCSB_ZIPFIAN_THETA   0.99
#define YCSB_SCRAMBLED_ITEMS UINT64_C(10000000000)
#define YCSB_SCRAMBLED_ZETAN 26.46902820178302

struct ycsb_zipfian {
	uint64_t item_cnt; /* that eta was made for */
	uint64_t zeta_cnt; /* that zetan stands for */
	double theta, alpha, zetan, eta, zeta2;
	bool alpha_is_100;
	double second; /* draws of u * zetan below it are item 1 */
};

struct ycsb_hotspot {
	uint64_t first, hot_cnt, cold_cnt;
	double hot_fraction;
};

/* 64-bit FNV-1a over the eight octets, low first, then the absolute value as a signed number. */
uint64_t ycsb_fnv64(uint64_t value);

/* The sum of 1 / i^theta over i = 1..n, to about 14 digits, in constant time for large n. */
double ycsb_zeta(uint64_t n, double theta);

void ycsb_zipfian_init(struct ycsb_zipfian *zipfian, uint64_t item_cnt, double theta);
void ycsb_zipfian_init_zeta(struct ycsb_zipfian *zipfian, uint64_t item_cnt, double theta,
			    double zetan);
/* As the item count grows, zeta grows with it; a smaller count changes nothing. */
void ycsb_zipfian_grow(struct ycsb_zipfian *zipfian, uint64_t item_cnt);
/* In [0, item_cnt), 0 the most popular. */
uint64_t ycsb_zipfian_next(const struct ycsb_zipfian *zipfian, struct ptni_rng *random);

void ycsb_scrambled_init(struct ycsb_zipfian *zipfian);
/* In [0, span). */
uint64_t ycsb_scrambled_next(const struct ycsb_zipfian *zipfian, struct ptni_rng *random,
			     uint64_t span);

/* `last`: the newest acknowledged item, >= 1 at init. In [0, last], last the most popular. */
void ycsb_latest_init(struct ycsb_zipfian *zipfian, uint64_t last);
uint64_t ycsb_latest_next(struct ycsb_zipfian *zipfian, struct ptni_rng *random, uint64_t last);

void ycsb_hotspot_init(struct ycsb_hotspot *hotspot, uint64_t first, uint64_t item_cnt,
		       double data_fraction, double operation_fraction);
uint64_t ycsb_hotspot_next(const struct ycsb_hotspot *hotspot, struct ptni_rng *random);

/* The rate at which `percentile` per cent of the draws fall below `range`. */
double ycsb_exponential_rate(double percentile, double range);
double ycsb_exponential_next(double rate, struct ptni_rng *random);

#endif
