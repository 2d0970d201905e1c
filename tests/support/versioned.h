/* SPDX-License-Identifier: MIT */
/*
 * Keys with one writer each, whose values show their version: what a reader may see follows from what the
 * writer was told before the read began and what it had begun when the read ended.
 *
 * Version v of a key is a value in which every byte follows from (writer, number, v), or the key's absence when
 * v % 8 == 0. Version 0 is the beginning.
 */
#ifndef TESTS_VERSIONED_H
#define TESTS_VERSIONED_H

#include "core/base/rng.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	VERSIONED_VALUE_MAX = 400
};

struct versioned_name {
	uint32_t owner, number;
};

/* Kept by the writer, read by everybody. */
struct versioned_key {
	_Atomic uint32_t begun, told;
};

static inline size_t versioned_value(uint32_t owner, uint32_t number, uint64_t version,
				     uint8_t *value)
{
	uint64_t state = (uint64_t)owner << 56 ^ (uint64_t)number << 32 ^ version;
	uint64_t mixed = ptni_splitmix64(&state);
	size_t len = 16 + mixed % (VERSIONED_VALUE_MAX - 16);

	memcpy(value, &version, 8);
	memcpy(value + 8, &owner, 4);
	memcpy(value + 12, &number, 4);
	for (size_t i = 16; i < len; i++)
		value[i] = (uint8_t)(mixed >> i % 8 * 8) ^ (uint8_t)i;
	return len;
}

/* Is every byte as its writer made it? */
static inline bool versioned_whole(const uint8_t *value, size_t len, uint32_t *owner,
				   uint32_t *number, uint64_t *version)
{
	uint8_t expected[VERSIONED_VALUE_MAX];

	if (len < 16)
		return false;
	memcpy(version, value, 8);
	memcpy(owner, value + 8, 4);
	memcpy(number, value + 12, 4);
	return versioned_value(*owner, *number, *version, expected) == len &&
	       !memcmp(expected, value, len);
}

static inline bool versioned_absent(uint32_t version)
{
	return version % 8 == 0;
}

/* May a read that gave `ret` (0: this version, -ENOENT) have begun after `told` and ended before
 * anything later than `begun` was begun? */
static inline bool versioned_plausible(int ret, uint64_t version, uint32_t told, uint32_t begun)
{
	if (!ret)
		return version >= told && version <= begun && !versioned_absent((uint32_t)version);
	for (uint32_t v = told; v <= begun; v++)
		if (versioned_absent(v))
			return true;
	return false;
}

#endif
