/* SPDX-License-Identifier: MIT */
/*
 * The driver's random numbers: xoshiro256** (Blackman and Vigna), one state per thread, seeded by
 * splitmix64 so that neighbouring seeds give unrelated streams. Same seed, same stream, everywhere.
 */
#ifndef YCSB_RANDOM_H
#define YCSB_RANDOM_H

#include <stdint.h>

struct ycsb_random {
	uint64_t state[4];
};

static inline uint64_t ycsb_splitmix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline void ycsb_random_init(struct ycsb_random *random, uint64_t seed, uint64_t stream)
{
	uint64_t mix = seed;

	mix = ycsb_splitmix(&mix) ^ stream;
	for (int i = 0; i < 4; i++)
		random->state[i] = ycsb_splitmix(&mix);
}

static inline uint64_t ycsb_rotate(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline uint64_t ycsb_random_next(struct ycsb_random *random)
{
	uint64_t *s = random->state;
	uint64_t result = ycsb_rotate(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = ycsb_rotate(s[3], 45);
	return result;
}

/* In [0, 1), 53 bits. */
static inline double ycsb_random_real(struct ycsb_random *random)
{
	return (double)(ycsb_random_next(random) >> 11) * 0x1.0p-53;
}

/* In [0, bound), bound > 0; the bias is below bound / 2^64. */
static inline uint64_t ycsb_random_below(struct ycsb_random *random, uint64_t bound)
{
	return (uint64_t)((unsigned __int128)ycsb_random_next(random) * bound >> 64);
}

#endif
