/* SPDX-License-Identifier: MIT */
/*
 * The two hashes of the project, both XXH3 with 64 bits, inlined. Both are part of the layout of
 * remote memory: changing one is a new format version.
 */
#ifndef PTNI_HASH_H
#define PTNI_HASH_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Where a key belongs. The table's seed keeps clients from choosing keys that all collide. */
static inline uint64_t ptni_hash_key(const void *key, size_t len_bytes, uint64_t seed)
{
	return XXH3_64bits_withSeed(key, len_bytes, seed);
}

/* The checksum of a block; the seed carries what is not among its bytes, its address for one. */
static inline uint64_t ptni_checksum(const void *data, size_t len_bytes, uint64_t seed)
{
	return XXH3_64bits_withSeed(data, len_bytes, seed);
}

/* One word spread over 64 bits, a bijection: for seeds and small tables. */
static inline uint64_t ptni_hash_word(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

#endif
