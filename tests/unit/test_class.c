/* SPDX-License-Identifier: MIT */
#include "alloc/class.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const unsigned shifts[] = { 16, 18, 20, 22, 24, 28, 40 };

static void classes_are_tight_and_ordered(void **state)
{
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
		size_t bytes = ptni_block_class_bytes(i);

		assert_int_equal(bytes % PTNI_BLOCK_ALIGN, 0);
		assert_int_equal(ptni_block_class(bytes), i);
		assert_int_equal(ptni_block_class(bytes + 1), i + 1);
		if (bytes > 256) /* 16 steps a doubling: at most 1/16 more than asked for */
			assert_true(bytes - ptni_block_class_bytes(i - 1) <= bytes / 16);
	}
	assert_int_equal(ptni_block_class(0), 0);
	for (size_t len = 1; len <= PTNI_BLOCK_MAX; len += len < 5000 ? 1 : 997)
		assert_true(ptni_block_class_bytes(ptni_block_class(len)) >= len);
	assert_true(ptni_block_class(PTNI_BLOCK_MAX) < PTNI_BLOCK_CLASSES);
}

static void blocks_fit_and_do_not_overlap(void **state)
{
	for (unsigned s = 0; s < sizeof(shifts) / sizeof(shifts[0]); s++)
		for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
			struct ptni_slab_layout layout;
			uint64_t extent = UINT64_C(1) << shifts[s];

			ptni_slab_layout(i, shifts[s], &layout);
			assert_int_equal(layout.block_bytes, ptni_block_class_bytes(i));
			if (!layout.slab_bytes) {
				assert_true(layout.block_bytes + PTNI_SLAB_HEAD > extent);
				continue;
			}
			assert_true(layout.slab_bytes <= extent);
			assert_int_equal(layout.slab_bytes % (1 << PTNI_PAGE_SHIFT), 0);
			assert_true(layout.blocks >= 1 && layout.blocks <= PTNI_SLAB_BLOCKS_MAX);
			assert_true(ptni_slab_words(&layout) * 8 <= layout.first);
			assert_int_equal(layout.first % PTNI_SLAB_HEAD, 0);
			assert_true(layout.first + (uint64_t)layout.blocks * layout.block_bytes <=
				    layout.slab_bytes);
			assert_true(ptni_slab_chunk_max(&layout, shifts[s]) *
					    (uint64_t)layout.slab_bytes <=
				    extent);
			if (!layout.run)
				assert_int_equal(layout.slab_bytes & (layout.slab_bytes - 1), 0);
			else
				assert_int_equal(layout.blocks, 1);
		}
}

/* On a node of usual size no class wastes more than a fifth of its slabs, small ones far less. */
static void slabs_waste_little(void **state)
{
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
		struct ptni_slab_layout layout;
		uint64_t waste;

		ptni_slab_layout(i, 24, &layout);
		waste = layout.slab_bytes - (uint64_t)layout.blocks * layout.block_bytes;
		assert_true(waste <= layout.slab_bytes / 5);
		if (layout.block_bytes <= 32768)
			assert_true(waste <= layout.slab_bytes / 16);
	}
}

/* Any client finds slab, word and bit of a block from its address and class. */
static void address_tells_slab_and_bit(void **state)
{
	for (unsigned s = 0; s < sizeof(shifts) / sizeof(shifts[0]); s++)
		for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++) {
			struct ptni_slab_layout layout;
			uint64_t slab;

			ptni_slab_layout(i, shifts[s], &layout);
			if (!layout.slab_bytes)
				continue;
			/* aligned slabs sit at their multiples, runs at any page */
			slab = layout.run ? (UINT64_C(7) << PTNI_PAGE_SHIFT) :
					    (uint64_t)layout.slab_bytes * 5;
			for (uint32_t b = 0; b < layout.blocks; b++) {
				uint64_t at =
					slab + layout.first + (uint64_t)b * layout.block_bytes;

				assert_int_equal(ptni_slab_base(&layout, at), slab);
				assert_int_equal(ptni_slab_index(&layout, at - slab), b);
				assert_int_equal(ptni_slab_index(&layout, at - slab + 16),
						 layout.block_bytes == 16 && b + 1 < layout.blocks ?
							 b + 1 :
							 layout.blocks);
			}
			assert_int_equal(ptni_slab_index(&layout, 0), layout.blocks);
			assert_int_equal(ptni_slab_index(&layout, layout.slab_bytes),
					 layout.blocks);
			assert_int_equal(ptni_slab_index(&layout, UINT64_MAX), layout.blocks);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_are_tight_and_ordered),
		cmocka_unit_test(blocks_fit_and_do_not_overlap),
		cmocka_unit_test(slabs_waste_little),
		cmocka_unit_test(address_tells_slab_and_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
