/* SPDX-License-Identifier: MIT */
/*
 * Seeded randomness: xoshiro256** (Blackman and Vigna, 2018), seeded through splitmix64. The same
 * seed gives the same numbers everywhere; nothing here reads the clock or the system's entropy.
 * Not for secrets. A generator belongs to one thread.
 */
#ifndef PTNI_RNG_H
#define PTNI_RNG_H

#include <stdint.h>

struct ptni_rng {
	uint64_t state[4];
};

static inline uint64_t ptni_splitmix64(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline void ptni_rng_seed(struct ptni_rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		rng->state[i] = ptni_splitmix64(&seed);
}

/* A generator of its own for component number `stream` of a run: no order of creation is involved. */
static inline void ptni_rng_seed_stream(struct ptni_rng *rng, uint64_t seed, uint64_t stream)
{
	uint64_t mixed = stream;

	ptni_rng_seed(rng, seed ^ ptni_splitmix64(&mixed));
}

static inline uint64_t ptni_rotl64(uint64_t x, unsigned int bits)
{
	return x << bits | x >> (64 - bits);
}

/* 64 uniform bits. */
static inline uint64_t ptni_rng_next(struct ptni_rng *rng)
{
	uint64_t *s = rng->state;
	uint64_t result = ptni_rotl64(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = ptni_rotl64(s[3], 45);
	return result;
}

/* Uniform in 0 .. bound-1 without modulo bias (Lemire's multiplication); bound > 0. */
static inline uint64_t ptni_rng_below(struct ptni_rng *rng, uint64_t bound)
{
	unsigned __int128 product = (unsigned __int128)ptni_rng_next(rng) * bound;

	if ((uint64_t)product < bound) {
		uint64_t reject_below = -bound % bound;

		while ((uint64_t)product < reject_below)
			product = (unsigned __int128)ptni_rng_next(rng) * bound;
	}
	return (uint64_t)(product >> 64);
}

/* Uniform in [0, 1), 53 bits. */
static inline double ptni_rng_unit(struct ptni_rng *rng)
{
	return (double)(ptni_rng_next(rng) >> 11) * 0x1p-53;
}

/* True `numerator` times in `denominator`. */
static inline int ptni_rng_chance(struct ptni_rng *rng, uint64_t numerator, uint64_t denominator)
{
	return ptni_rng_below(rng, denominator) < numerator;
}

/* A child that shares no numbers with its parent; the parent moves on by one draw. */
static inline void ptni_rng_fork(struct ptni_rng *parent, struct ptni_rng *child_out)
{
	ptni_rng_seed(child_out, ptni_rng_next(parent));
}

#endif
