/* SPDX-License-Identifier: MIT */
/*
 * The slot word: what an index publishes a block with, 64 bits changed only by CAS.
 *
 *    63       62        61..55       54..47     46    45..36    35..0
 *   |frozen|tentative|fingerprint|length class|moved|  version  | offset / 16 |
 *
 * offset      of the block from its node's region base: 36 bits of 16 bytes, 1 TiB a node. Never 0.
 * version     ptni_block.version: differs between two uses of one address
 * moved       not a write: the block is a copy of the one before, made to empty a chunk
 * class       of the allocator: a READ of ptni_block_class_bytes(class) gets the whole block
 * fingerprint of the key's hash
 * tentative   an insert has reserved the slot and not yet committed; readers do not see it
 * frozen      the word never changes again; also set on empty slots
 *
 * 0 is an empty slot. A word without its two flags is the identity of one published block: it does not
 * come back to a slot with another block behind it except as ptni_slot_blind_ok() says.
 */
#ifndef PTNI_SLOT_H
#define PTNI_SLOT_H

#include "core/base/planted.h"

#include <stdbool.h>
#include <stdint.h>

#define PTNI_SLOT_FROZEN    (UINT64_C(1) << 63)
#define PTNI_SLOT_TENTATIVE (UINT64_C(1) << 62)
#define PTNI_SLOT_MOVED     (UINT64_C(1) << 46)
#define PTNI_SLOT_FLAGS     (PTNI_SLOT_FROZEN | PTNI_SLOT_TENTATIVE)

enum {
	PTNI_SLOT_PRINT_BITS = 7,
	PTNI_SLOT_PRINT_SHIFT = 55,
	PTNI_SLOT_CLASS_SHIFT = 47,
	PTNI_SLOT_VERSION_BITS = 10,
	PTNI_SLOT_VERSION_SHIFT = 36,
	PTNI_SLOT_OFFSET_BITS = 36,
};

static inline uint64_t ptni_slot_word(unsigned print, unsigned block_class, unsigned version,
				      uint64_t offset_bytes)
{
	unsigned bits = ptni_planted(PTNI_BUG_REUSE_CACHED) ? 1 : PTNI_SLOT_VERSION_BITS;

	return (uint64_t)print << PTNI_SLOT_PRINT_SHIFT |
	       (uint64_t)block_class << PTNI_SLOT_CLASS_SHIFT |
	       (uint64_t)(version & ((1u << bits) - 1)) << PTNI_SLOT_VERSION_SHIFT |
	       offset_bytes >> 4;
}

static inline uint64_t ptni_slot_bare(uint64_t word)
{
	return word & ~PTNI_SLOT_FLAGS;
}

static inline unsigned ptni_slot_print(uint64_t word)
{
	return (unsigned)(word >> PTNI_SLOT_PRINT_SHIFT) & ((1u << PTNI_SLOT_PRINT_BITS) - 1);
}

static inline unsigned ptni_slot_class(uint64_t word)
{
	return (unsigned)(word >> PTNI_SLOT_CLASS_SHIFT) & 0xff;
}

static inline unsigned ptni_slot_version(uint64_t word)
{
	return (unsigned)(word >> PTNI_SLOT_VERSION_SHIFT) & ((1u << PTNI_SLOT_VERSION_BITS) - 1);
}

static inline uint64_t ptni_slot_offset(uint64_t word)
{
	return (word & ((UINT64_C(1) << PTNI_SLOT_OFFSET_BITS) - 1)) << 4;
}

/* A block that readers may see: not empty, not tentative. Frozen or not. */
static inline bool ptni_slot_committed(uint64_t word)
{
	return ptni_slot_bare(word) &&
	       (!(word & PTNI_SLOT_TENTATIVE) || ptni_planted(PTNI_BUG_READ_TENTATIVE));
}

/*
 * May a CAS that expects `word`, seen in its slot by an operation that ran in epoch `seen`, be sent
 * by an operation that runs in epoch `now` without reading first?
 *
 * The danger is that the block was unlinked since, its address re-used, and the same bits put into
 * the same slot for another key. A block's version is (the low 10 bits of) the epoch that its worker
 * knew when the block became free. A re-use since `seen` was unlinked at E >= seen and freed at H > that, by
 * somebody who had then read an E >= H: its version stands for some x > seen. And x <= now + 1: the node
 * keeps E <= H + 1, and H cannot get beyond what this session reports, which cannot get beyond `now` before
 * this operation ends (worker.h, "epochs"). So the bits can only have come back if some x with
 * seen < x <= now + 1 has the word's version.
 */
static inline bool ptni_slot_blind_ok(uint64_t word, uint64_t seen, uint64_t now)
{
	const uint64_t mask = (1u << PTNI_SLOT_VERSION_BITS) - 1;
	uint64_t next = ((ptni_slot_version(word) - seen - 1) & mask) + 1; /* least x - seen */

	return now + 1 - seen < next || ptni_planted(PTNI_BUG_REUSE_CACHED);
}

#endif
