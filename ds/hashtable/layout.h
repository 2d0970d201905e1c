/* SPDX-License-Identifier: MIT */
/*
 * Where everything of a hash table lies in remote memory. Arithmetic only; what is done with it is
 * argued in table.h.
 *
 * Key's hash (64 bits):  | print 7 | side a 1 | side b 1 | group a 15 | group b 16 | suffix 24 |
 *
 * Subtable: one block of the allocator, 64 + 192 * groups bytes.
 *
 *   words 0..7    | magic | ident | sibling | successor | split | 0 | 0 | 0 |
 *   group 0       | header | slot 1..7 || header | slot 1..7 || header | slot 1..7 |
 *   group 1       |      main 0        ||      overflow      ||      main 1        |
 *   ...            `---- combined, side 0 ----'
 *                                       `---- combined, side 1 ----'
 *
 *   A key may lie in two combined buckets, in different groups: a (its home) and b.
 *   header of a bucket: | frozen 1 | spilled 1 | 1 | 0.. | depth 6 | suffix 32 |  main buckets only: spilled
 *   ident  (immutable)  the same without flags: which hash suffix this subtable serves
 *   sibling             entry, immutable; 0 in the first subtables
 *   successor           0, then once and for all the entry of the child with suffix bit 0
 *   split               who is splitting, and a beat that shows that it goes on: | owner 40 | beat 24 |
 *
 * Entry (names a subtable): | depth 6 | node 6 | 0.. | offset / 16, 36 |
 *
 * Root page, 512 words:  | format | changes | 0.. | piece pointers 8..143 | 0.. | entries 256..511 |
 *
 *   Directory index i serves the hashes that end in i. Indices 0..255 lie in the root; the others in
 *   pieces: of 2^(k-1) entries for the indices of k bits, k = 9..18, then of 2^17 entries each. A piece
 *   is a block: | magic | 0 x 7 | entries |. A piece pointer is 0 or an entry with depth 0.
 *   An entry that is 0 means: as the index without its top bit. So the directory doubles by nothing
 *   but a piece pointer changing from 0, and exactly one entry ever points at a subtable.
 */
#ifndef PTNI_HASH_LAYOUT_H
#define PTNI_HASH_LAYOUT_H

#include "ds/common/slot.h"

#include <stddef.h>
#include <stdint.h>

/* Bits 32..42 are zero, which in a key-value block would be a key of no bytes. */
#define PTNI_SUBTABLE_MAGIC UINT64_C(0x5355480000545550)
#define PTNI_PIECE_MAGIC    UINT64_C(0x5049480000545550)
#define PTNI_ROOT_FORMAT    UINT64_C(0x31304854484e5450)

enum {
	PTNI_DEPTH_MAX = 24,
	PTNI_GROUP_WORDS = 24,
	PTNI_BUCKET_WORDS = 8,
	PTNI_COMBINED_WORDS = 16,
	PTNI_COMBINED_BYTES = 128,
	PTNI_GROUP_SLOTS = 21,
	PTNI_GROUPS_MIN = 2,
	PTNI_GROUPS_MAX = 2728, /* word indices fit 16 bits */
	PTNI_GROUPS_DEFAULT = 66, /* 12.5 KiB: five fit a slab of 64 KiB */
	PTNI_SPLIT_BEAT_BITS = 24,
};

enum ptni_subtable_word {
	PTNI_SUB_MAGIC,
	PTNI_SUB_IDENT,
	PTNI_SUB_SIBLING,
	PTNI_SUB_SUCCESSOR,
	PTNI_SUB_SPLIT,
	PTNI_SUB_HEAD_WORDS = 8,
};

enum ptni_root_word {
	PTNI_ROOT_FORMAT_WORD,
	PTNI_ROOT_CHANGES,
	PTNI_ROOT_PIECES = 8,
	PTNI_ROOT_ENTRIES = 256,
	PTNI_ROOT_WORDS = 512,
	PTNI_PIECES_MAX = 136,
	PTNI_PIECE_HEAD_WORDS = 8,
};

/* --- bucket headers --------------------------------------------------------------------------- */

#define PTNI_HEADER_FROZEN  PTNI_SLOT_FROZEN
#define PTNI_HEADER_SPILLED (UINT64_C(1) << 62)
#define PTNI_HEADER_VALID   (UINT64_C(1) << 61)

static inline uint64_t ptni_header_word(unsigned depth, uint32_t suffix)
{
	return PTNI_HEADER_VALID | (uint64_t)depth << 32 | suffix;
}

static inline unsigned ptni_header_depth(uint64_t header)
{
	return (unsigned)(header >> 32) & 0x3f;
}

static inline uint32_t ptni_header_suffix(uint64_t header)
{
	return (uint32_t)header;
}

static inline uint64_t ptni_suffix_mask(unsigned depth)
{
	return (UINT64_C(1) << depth) - 1;
}

/* Does a bucket with this header serve keys of this hash? */
static inline bool ptni_header_serves(uint64_t header, uint64_t hash)
{
	unsigned depth = ptni_header_depth(header);

	return header & PTNI_HEADER_VALID && depth <= PTNI_DEPTH_MAX &&
	       (hash & ptni_suffix_mask(depth)) == ptni_header_suffix(header);
}

/* --- entries ---------------------------------------------------------------------------------- */

static inline uint64_t ptni_entry_word(unsigned depth, unsigned node, uint64_t offset_bytes)
{
	return (uint64_t)depth << 58 | (uint64_t)node << 52 | offset_bytes >> 4;
}

static inline unsigned ptni_entry_depth(uint64_t entry)
{
	return (unsigned)(entry >> 58);
}

static inline unsigned ptni_entry_node(uint64_t entry)
{
	return (unsigned)(entry >> 52) & 0x3f;
}

static inline uint64_t ptni_entry_offset(uint64_t entry)
{
	return (entry & ((UINT64_C(1) << PTNI_SLOT_OFFSET_BITS) - 1)) << 4;
}

/* --- subtables -------------------------------------------------------------------------------- */

static inline uint32_t ptni_subtable_words(uint32_t groups)
{
	return PTNI_SUB_HEAD_WORDS + PTNI_GROUP_WORDS * groups;
}

/* Is the word of this index a slot (or a bucket's header)? Not for the subtable's head. */
static inline bool ptni_word_is_slot(uint32_t index)
{
	return index % PTNI_BUCKET_WORDS != 0;
}

/* Is this header a main bucket's? */
static inline bool ptni_header_is_main(uint32_t index)
{
	return (index - PTNI_SUB_HEAD_WORDS) % PTNI_GROUP_WORDS != PTNI_BUCKET_WORDS;
}

/* Where a key may be: index of the first word of each combined bucket and of its main header. */
struct ptni_place {
	uint32_t first[2]; /* [0] is home */
	uint32_t main[2];
};

static inline unsigned ptni_hash_print(uint64_t hash)
{
	return (unsigned)(hash >> 57);
}

static inline void ptni_hash_place(uint64_t hash, uint32_t groups, struct ptni_place *place)
{
	uint32_t a = (uint32_t)(((hash >> 40) & 0x7fff) * groups >> 15);
	uint32_t b = a + 1 + (uint32_t)(((hash >> 24) & 0xffff) * (groups - 1) >> 16);
	uint32_t side_a = (hash >> 56) & 1;
	uint32_t side_b = (hash >> 55) & 1;

	if (b >= groups)
		b -= groups;
	place->first[0] = PTNI_SUB_HEAD_WORDS + a * PTNI_GROUP_WORDS + side_a * PTNI_BUCKET_WORDS;
	place->first[1] = PTNI_SUB_HEAD_WORDS + b * PTNI_GROUP_WORDS + side_b * PTNI_BUCKET_WORDS;
	place->main[0] = place->first[0] + side_a * PTNI_BUCKET_WORDS;
	place->main[1] = place->first[1] + side_b * PTNI_BUCKET_WORDS;
}

static inline bool ptni_place_has(const struct ptni_place *place, unsigned which, uint32_t index)
{
	return index - place->first[which] < PTNI_COMBINED_WORDS;
}

/* --- directory pieces ------------------------------------------------------------------------- */

/* For indices from 256 on. */
static inline unsigned ptni_piece_of(uint32_t index)
{
	unsigned bits = 32 - (unsigned)__builtin_clz(index);

	return bits <= 18 ? bits - 9 : 10 + (index >> 17) - 2;
}

static inline uint32_t ptni_piece_first(unsigned piece)
{
	return piece < 10 ? 256u << piece : (piece - 8) << 17;
}

static inline uint32_t ptni_piece_entries(unsigned piece)
{
	return piece < 10 ? 256u << piece : 1u << 17;
}

#endif
