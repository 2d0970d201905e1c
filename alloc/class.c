/* SPDX-License-Identifier: MIT */
#include "alloc/class.h"

/* Blocks of `bytes` in an aligned slab, its three bitmaps and the tag counted. */
static void fill(struct ptni_slab_layout *layout, uint32_t slab_bytes)
{
	uint32_t blocks = slab_bytes / layout->block_bytes, first;

	if (blocks > PTNI_SLAB_BLOCKS_MAX)
		blocks = PTNI_SLAB_BLOCKS_MAX;
	for (;; blocks--) {
		first = (((blocks + 63) / 64 * 3 + 1) * 8 + PTNI_SLAB_HEAD - 1) / PTNI_SLAB_HEAD *
			PTNI_SLAB_HEAD;
		if ((uint64_t)first + (uint64_t)blocks * layout->block_bytes <= slab_bytes)
			break;
	}
	layout->slab_bytes = slab_bytes;
	layout->blocks = blocks;
	layout->first = first;
	layout->run = false;
}

static uint64_t waste(const struct ptni_slab_layout *layout) /* in 1/65536 of the slab */
{
	uint64_t live = (uint64_t)layout->blocks * layout->block_bytes;

	return ((layout->slab_bytes - live) << 16) / layout->slab_bytes;
}

/*
 * The smallest aligned slab that wastes at most 1/16; if there is none, whatever wastes least.
 */
void ptni_slab_layout(unsigned block_class, unsigned extent_shift,
		      struct ptni_slab_layout *layout_out)
{
	unsigned limit = extent_shift - 4 < PTNI_SLAB_MAX_SHIFT ? extent_shift - 4 :
								  PTNI_SLAB_MAX_SHIFT;
	struct ptni_slab_layout best = { 0 }, try = { 0 };

	try.block_bytes = best.block_bytes = (uint32_t)ptni_block_class_bytes(block_class);
	try.inverse = best.inverse = ((UINT64_C(1) << 40) - 1) / try.block_bytes + 1;
	for (unsigned shift = PTNI_PAGE_SHIFT; shift <= limit || shift == PTNI_PAGE_SHIFT;
	     shift++) {
		fill(&try, 1u << shift);
		if (try.blocks && (!best.slab_bytes || waste(&try) < waste(&best)))
			best = try;
		if (best.slab_bytes && waste(&best) <= (1 << 16) / 16)
			break;
	}
	try.slab_bytes = (PTNI_SLAB_HEAD + try.block_bytes + (1u << PTNI_PAGE_SHIFT) - 1) >>
			 PTNI_PAGE_SHIFT << PTNI_PAGE_SHIFT;
	try.blocks = 1;
	try.first = PTNI_SLAB_HEAD;
	try.run = true;
	if (try.slab_bytes <= UINT64_C(1) << extent_shift)
		if (!best.slab_bytes || waste(&try) < waste(&best))
			best = try;
	*layout_out = best;
}
