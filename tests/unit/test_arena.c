/* SPDX-License-Identifier: MIT */
/* Arenas and slabs: pieces never overlap, never leave the memory, and come back. */
#include "tests/support/alloc_bed.h"

#include <patronus/arena.h>

#define MS ALLOC_BED_MS

static void arena_body(struct alloc_bed *bed)
{
	struct ptn_arena *arena;
	struct ptni_rng rng;
	uint64_t offset, end;

	alloc_bed_client(bed, 0);
	ptni_rng_seed(&rng, 1);
	assert_int_equal(ptn_arena_open(bed->worker[0], 0, 10000, 500 * MS, &arena), 0);
	for (int round = 0; round < 50; round++) {
		for (end = 0;;) {
			uint64_t len = 1 + ptni_rng_below(&rng, 300);
			uint64_t align = UINT64_C(1) << ptni_rng_below(&rng, 8);
			int ret = ptn_arena_take(arena, len, align, &offset);

			if (ret) {
				assert_int_equal(ret, -ENOMEM);
				assert_true(end + align + len > 10000);
				break;
			}
			assert_true(offset >= end && offset - end < align);
			assert_int_equal(offset % align, 0);
			end = offset + len;
			assert_true(end <= 10000);
			assert_int_equal(ptn_memory_write(ptn_arena_memory(arena), offset, "x", 1),
					 0);
		}
		ptn_arena_reset(arena);
	}
	assert_int_equal(ptn_arena_take(arena, 10000, 0, &offset), 0);
	assert_int_equal(offset, 0);
	assert_int_equal(ptn_arena_take(arena, 1, 0, &offset), -ENOMEM);
	assert_int_equal(ptn_arena_take(arena, UINT64_MAX, 1, &offset), -ENOMEM);
	assert_int_equal(ptn_arena_take(arena, 1, UINT64_C(1) << 63, &offset), -ENOMEM);
	assert_int_equal(ptn_arena_take(arena, 1, 3, &offset), -EINVAL);
	assert_int_equal(ptn_arena_take(arena, 0, 1, &offset), -EINVAL);
	assert_int_equal(ptn_arena_close(arena), 0);
	assert_int_equal(ptn_arena_close(NULL), 0);
	assert_int_equal(ptn_arena_open(bed->worker[0], 0, 0, MS, &arena), -EINVAL);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(alloc_bed_info(bed).memory_used_bytes, 0);
	alloc_bed_client_close(bed, 0);
}

static void arena__pieces_are_apart_until_the_reset(void **state)
{
	alloc_bed_run(NULL, arena_body);
}

/* Against a table of what is taken, at every count around a word's bits. */
static void slab_check(struct alloc_bed *bed, uint64_t count)
{
	bool taken[200] = { false };
	struct ptn_slab *slab;
	struct ptni_rng rng;
	uint64_t offset, live = 0;

	ptni_rng_seed(&rng, count);
	assert_int_equal(ptn_slab_open(bed->worker[0], 0, 20, count, 500 * MS, &slab), 0);
	assert_int_equal(ptn_memory_length(ptn_slab_memory(slab)), 24 * count);
	for (int i = 0; i < 2000; i++) {
		uint64_t piece = ptni_rng_below(&rng, count);

		if (ptni_rng_below(&rng, 5) < 3) {
			int ret = ptn_slab_take(slab, &offset);

			assert_int_equal(ret, live == count ? -ENOMEM : 0);
			if (ret)
				continue;
			piece = offset / 24;
			assert_true(offset % 24 == 0 && piece < count && !taken[piece]);
			for (uint64_t j = 0; j < piece; j++)
				assert_true(taken[j]); /* it is the least */
			taken[piece] = true;
			live++;
		} else {
			assert_int_equal(ptn_slab_give(slab, piece * 24),
					 taken[piece] ? 0 : -EINVAL);
			live -= taken[piece];
			taken[piece] = false;
		}
	}
	assert_int_equal(ptn_slab_give(slab, count * 24), -EINVAL);
	assert_int_equal(ptn_slab_give(slab, 1), -EINVAL);
	assert_int_equal(ptn_slab_give(slab, UINT64_MAX / 24 * 24), -EINVAL);
	assert_int_equal(ptn_slab_close(slab), 0);
}

static void slab_body(struct alloc_bed *bed)
{
	static const uint64_t counts[] = { 1, 2, 63, 64, 65, 127, 128, 129, 200 };
	struct ptn_slab *slab;

	alloc_bed_client(bed, 0);
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		slab_check(bed, counts[i]);
	assert_int_equal(ptn_slab_open(bed->worker[0], 0, 0, 1, MS, &slab), -EINVAL);
	assert_int_equal(ptn_slab_open(bed->worker[0], 0, 8, 0, MS, &slab), -EINVAL);
	assert_int_equal(ptn_slab_open(bed->worker[0], 0, UINT64_MAX, 1, MS, &slab), -EINVAL);
	assert_int_equal(ptn_slab_open(bed->worker[0], 0, 8, UINT64_MAX, MS, &slab), -EINVAL);
	assert_int_equal(ptn_slab_close(NULL), 0);
	alloc_bed_pass(bed, 10 * MS);
	assert_int_equal(alloc_bed_info(bed).memory_used_bytes, 0);
	alloc_bed_client_close(bed, 0);
}

static void slab__takes_the_least_that_is_free(void **state)
{
	alloc_bed_run(NULL, slab_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena__pieces_are_apart_until_the_reset),
		cmocka_unit_test(slab__takes_the_least_that_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
