/* SPDX-License-Identifier: MIT */
/*
 * Block sizes, and how blocks of one size lie in a slab. Everything here is arithmetic on a node's
 * geometry (region base, extent_shift), so that any client can compute from (address, class) which
 * bit of which free word stands for the block, without reading anything.
 *
 *   slab   | free words, 1 bit a block | told | pad to 64 | block 0 | block 1 | ... | block n-1 | tail |
 *          ^ aligned to its size (from the region's base), or, where a power of two would waste
 *            more (`run`), some whole pages with a single block at offset 64
 *
 *   told   | tag | free, 1 bit a block | limbo, 1 bit a block |   of a slab that waits for an adopter (wire.h)
 *
 * A chunk (what a node hands out under one WRITE window) is one or more adjacent slabs of a class.
 */
#ifndef PTNI_CLASS_H
#define PTNI_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PTNI_BLOCK_ALIGN = 16,
	PTNI_BLOCK_MAX = (1 << 20) + 2048, /* bytes that a caller may ask for */
	PTNI_BLOCK_CLASSES = 224,
	PTNI_PAGE_SHIFT = 16, /* chunks are made of such pages */
	PTNI_SLAB_HEAD = 64, /* blocks start at a multiple of it */
	PTNI_SLAB_MAX_SHIFT = 20,
	PTNI_SLAB_BLOCKS_MAX = 4096,
	PTNI_SLAB_WORDS_MAX = PTNI_SLAB_BLOCKS_MAX / 64,
	PTNI_CHUNK_MAX_BYTES =
		1 << 20, /* chunks grow to this (or to one slab, if that is longer) */
};

/* Classes: multiples of 16 B to 256 B, then 16 steps per doubling. len_bytes <= PTNI_BLOCK_MAX. */
static inline unsigned ptni_block_class(size_t len_bytes)
{
	size_t last = len_bytes ? len_bytes - 1 : 0;
	unsigned exponent;

	if (last < 256)
		return (unsigned)(last / 16);
	exponent = 63u - (unsigned)__builtin_clzll(last);
	return (exponent - 8) * 16 + (unsigned)(last >> (exponent - 4));
}

static inline size_t ptni_block_class_bytes(unsigned block_class)
{
	if (block_class < 16)
		return ((size_t)block_class + 1) * 16;
	return ((size_t)block_class % 16 + 17) << (block_class / 16 + 3);
}

struct ptni_slab_layout {
	uint32_t slab_bytes; /* 0: a block of this class fits no extent of this node */
	uint32_t block_bytes;
	uint32_t blocks;
	uint32_t first; /* offset of block 0 */
	uint64_t inverse; /* 2^40 / block_bytes, rounded up */
	bool run;
};

void ptni_slab_layout(unsigned block_class, unsigned extent_shift,
		      struct ptni_slab_layout *layout_out);

static inline uint32_t ptni_slab_pages(const struct ptni_slab_layout *layout)
{
	return layout->slab_bytes >> PTNI_PAGE_SHIFT;
}

/* What a chunk must be aligned to, in pages. */
static inline uint32_t ptni_slab_align_pages(const struct ptni_slab_layout *layout)
{
	return layout->run ? 1 : ptni_slab_pages(layout);
}

static inline uint32_t ptni_slab_words(const struct ptni_slab_layout *layout)
{
	return (layout->blocks + 63) / 64;
}

static inline uint32_t ptni_slab_told_words(const struct ptni_slab_layout *layout)
{
	return 1 + 2 * ptni_slab_words(layout);
}

/* Most slabs of a chunk. */
static inline uint32_t ptni_slab_chunk_max(const struct ptni_slab_layout *layout,
					   unsigned extent_shift)
{
	uint64_t limit = UINT64_C(1) << (extent_shift - 4);

	limit = limit < PTNI_CHUNK_MAX_BYTES ? limit : PTNI_CHUNK_MAX_BYTES;
	return limit > layout->slab_bytes ? (uint32_t)(limit / layout->slab_bytes) : 1;
}

/* Offsets count from the region's base. */
static inline uint64_t ptni_slab_base(const struct ptni_slab_layout *layout, uint64_t block_offset)
{
	return layout->run ? block_offset - layout->first :
			     block_offset & ~((uint64_t)layout->slab_bytes - 1);
}

/* Index of the block at an offset within its slab; layout->blocks if no block begins there. */
static inline uint32_t ptni_slab_index(const struct ptni_slab_layout *layout, uint64_t in_slab)
{
	uint64_t offset = in_slab - layout->first;
	uint64_t index = (offset * layout->inverse) >> 40;

	if (in_slab >= layout->slab_bytes || offset > in_slab || index >= layout->blocks ||
	    index * layout->block_bytes != offset)
		return layout->blocks;
	return (uint32_t)index;
}

#endif
