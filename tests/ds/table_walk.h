/* SPDX-License-Identifier: MIT */
/*
 * A walk over a hash table by somebody who may look at all of its nodes' memory: are directory, subtables,
 * slots and blocks what ds/hashtable/table.h says, and what is in the table? Reads plain memory, so nothing
 * may move meanwhile.
 */
#ifndef TESTS_TABLE_WALK_H
#define TESTS_TABLE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CHECK_KEYS_MAX = 8192,
	CHECK_NODES_MAX = 64,
};

/* Where the table lies and how it was made. */
struct table_memory {
	unsigned node_count;
	uint8_t *region[CHECK_NODES_MAX];
	size_t region_len_bytes[CHECK_NODES_MAX];
	uint64_t *root; /* of node 0 */
	uint64_t seed;
	uint32_t groups;
	/*
	 * Something that the table leads to: subtable, piece or block. Returns what is wrong with it, or
	 * NULL and whether it was reached before.
	 */
	const char *(*reach)(void *arg, unsigned node, const void *addr, uint32_t len_bytes,
			     bool *before_out);
	void *arg;
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
	uint16_t index[2 * CHECK_KEYS_MAX]; /* of a key by its hash, + 1 */
	struct check_key key[CHECK_KEYS_MAX];
};

/* NULL: the table is sound; else what is wrong first, a static string. Tentative and frozen words are only counted,
 * leaks are not. */
const char *table_walk(const struct table_memory *memory, struct check *check_out);
/* NULL if it is not there. */
const struct check_key *hash_check_find(const struct check *check, const void *key, size_t key_len);

#endif
