/* SPDX-License-Identifier: MIT */
/*
 * The block: a key and its value, never changed once a slot word points at it (rules R1, R4).
 *
 *   0          4                    8        8+klen      8+klen+vlen      class
 *   | checksum | klen 11 | vlen 21  | key ...| value ... | unused ...    |
 *
 * checksum  low 32 bits of XXH3 over everything after it, seeded with the bare slot word that the block
 *           is published by: class, version and address. A stale, torn or foreign block does not pass.
 */
#ifndef PTNI_BLOCK_H
#define PTNI_BLOCK_H

#include "core/base/hash.h"
#include "ds/common/slot.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ptni_block_head {
	uint32_t checksum;
	uint32_t lengths;
};

enum {
	PTNI_BLOCK_HEAD_BYTES = sizeof(struct ptni_block_head),
	PTNI_BLOCK_KEY_BITS = 11,
};

static inline size_t ptni_block_bytes(size_t key_len_bytes, size_t value_len_bytes)
{
	return PTNI_BLOCK_HEAD_BYTES + key_len_bytes + value_len_bytes;
}

static inline uint32_t ptni_block_lengths(size_t key_len_bytes, size_t value_len_bytes)
{
	return (uint32_t)(key_len_bytes | value_len_bytes << PTNI_BLOCK_KEY_BITS);
}

static inline uint32_t ptni_block_key_len(const void *block)
{
	const struct ptni_block_head *head = block;

	return head->lengths & ((1u << PTNI_BLOCK_KEY_BITS) - 1);
}

static inline uint32_t ptni_block_value_len(const void *block)
{
	const struct ptni_block_head *head = block;

	return head->lengths >> PTNI_BLOCK_KEY_BITS;
}

static inline const uint8_t *ptni_block_key(const void *block)
{
	return (const uint8_t *)block + PTNI_BLOCK_HEAD_BYTES;
}

static inline const uint8_t *ptni_block_value(const void *block)
{
	return (const uint8_t *)block + PTNI_BLOCK_HEAD_BYTES + ptni_block_key_len(block);
}

/* Write a block's bytes for publication by `word`; returns how many. 4-byte aligned, like all blocks. */
static inline size_t ptni_block_fill(void *block, uint64_t word, const void *key,
				     size_t key_len_bytes, const void *value,
				     size_t value_len_bytes)
{
	struct ptni_block_head *head = block;
	uint8_t *bytes = (uint8_t *)block + PTNI_BLOCK_HEAD_BYTES;

	head->lengths = ptni_block_lengths(key_len_bytes, value_len_bytes);
	memcpy(bytes, key, key_len_bytes);
	if (value_len_bytes)
		memcpy(bytes + key_len_bytes, value, value_len_bytes);
	head->checksum = (uint32_t)ptni_checksum(
		&head->lengths, 4 + key_len_bytes + value_len_bytes, ptni_slot_bare(word));
	return ptni_block_bytes(key_len_bytes, value_len_bytes);
}

/* -EBADMSG: these are not the bytes that `word` was published with. */
static inline int ptni_block_verify(const void *block, size_t len_bytes, uint64_t word)
{
	const struct ptni_block_head *head = block;
	size_t used = ptni_block_bytes(ptni_block_key_len(block), ptni_block_value_len(block));

	if (used > len_bytes || !ptni_block_key_len(block))
		return -EBADMSG;
	if ((uint32_t)ptni_checksum(&head->lengths, used - 4, ptni_slot_bare(word)) !=
		    head->checksum &&
	    !ptni_planted(PTNI_BUG_READ_TORN))
		return -EBADMSG;
	return 0;
}

/* Needs the block's first PTNI_BLOCK_HEAD_BYTES + key_len_bytes only. */
static inline bool ptni_block_has_key(const void *block, const void *key, size_t key_len_bytes)
{
	return (ptni_block_key_len(block) == key_len_bytes || ptni_planted(PTNI_BUG_READ_PREFIX)) &&
	       !memcmp(ptni_block_key(block), key, key_len_bytes);
}

#endif
