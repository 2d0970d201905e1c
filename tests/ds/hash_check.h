/* SPDX-License-Identifier: MIT */
/*
 * A walk over a hash table in the memory of a mock world, by somebody who may look at everything: are directory,
 * subtables, slots and blocks what ds/hashtable/table.h says, and what is in the table?
 */
#ifndef TESTS_HASH_CHECK_H
#define TESTS_HASH_CHECK_H

#include "tests/ds/mock_fabric.h"

enum {
	CHECK_KEYS_MAX = 8192,
	CHECK_SUBTABLES_MAX = 1024
};

struct check_key {
	const uint8_t *key, *value;
	uint32_t key_len, value_len;
};

struct check {
	unsigned key_count;
	unsigned subtables; /* current */
	unsigned superseded; /* split, and still held because the directory is behind or was never told */
	unsigned tentative;
	unsigned frozen; /* current subtables with frozen words */
	unsigned leaked; /* blocks that are held and that nothing leads to */
	unsigned depth;
	struct check_key key[CHECK_KEYS_MAX];
};

/* Fails the test on anything that is wrong; leaks, tentative and frozen words are only counted. */
void hash_check(struct mock_world *world, struct check *check_out);
/* NULL if it is not there. */
const struct check_key *hash_check_find(const struct check *check, const void *key, size_t key_len);

#endif
