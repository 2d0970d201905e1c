/* SPDX-License-Identifier: MIT */
/* Free blocks and limbo of a worker's slabs, with epochs in the test's hand (slab.h, guarantees). */
#include "alloc/slab.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum {
	BASE = 1 << 24,
	MODEL_BLOCKS = 8192,
	STEPS = 60000,
};

static struct ptni_heap heap;

static void heap_open(size_t block_bytes)
{
	struct ptni_slab_layout layout;

	ptni_slab_layout(ptni_block_class(block_bytes), 24, &layout);
	ptni_heap_init(&heap, &layout);
}

static struct ptni_owned_chunk *chunk_add(unsigned number, uint32_t slabs, uint64_t epoch)
{
	struct ptni_owned_chunk *chunk = ptni_heap_add(
		&heap, ptni_block_class(heap.block_bytes),
		BASE + (uint64_t)number * 16 * heap.layout.slab_bytes, slabs, epoch, false);

	assert_non_null(chunk);
	return chunk;
}

static void heap_close(void)
{
	struct ptni_owned_chunk *chunk, *next;

	cds_list_for_each_entry_safe(chunk, next, &heap.chunks, link)
		ptni_heap_remove(&heap, chunk);
	cds_list_for_each_entry_safe(chunk, next, &heap.empty, link)
		ptni_heap_remove(&heap, chunk);
	assert_int_equal(heap.blocks, 0);
	assert_int_equal(heap.blocks_free, 0);
	assert_int_equal(heap.blocks_limbo, 0);
	assert_int_equal(heap.slabs, 0);
	assert_int_equal(heap.chunk_count, 0);
	assert_int_equal(heap.empty_count, 0);
}

static bool take(uint64_t *addr_out)
{
	while (!ptni_heap_take(&heap, addr_out))
		if (!ptni_heap_refill(&heap))
			return false;
	return true;
}

static struct ptni_owned_slab *slab_of(uint64_t addr, uint32_t *index_out)
{
	uint64_t base = BASE + ptni_slab_base(&heap.layout, addr - BASE);
	struct ptni_owned_slab *slab;

	*index_out = ptni_slab_index(&heap.layout, addr - base);
	cds_list_for_each_entry(slab, &heap.all, all_link)
		if (slab->base == base)
			return slab;
	fail();
	return NULL;
}

static bool retire(uint64_t addr, uint64_t tag)
{
	uint32_t index;
	struct ptni_owned_slab *slab = slab_of(addr, &index);

	return ptni_slab_retire(&heap, slab, index, tag);
}

static bool cancel(uint64_t addr)
{
	uint32_t index;
	struct ptni_owned_slab *slab = slab_of(addr, &index);

	return ptni_slab_cancel(&heap, slab, index);
}

/* Guarantee 1, at the edge: a horizon equal to the tag is not enough. */
static void retired_block_waits_for_the_horizon(void **state)
{
	uint64_t addr, first, count = 0;

	heap_open(64);
	chunk_add(0, 1, 10);
	assert_true(take(&first));
	while (take(&addr))
		count++;
	assert_int_equal(count + 1, heap.layout.blocks);
	assert_true(retire(first, 11));
	assert_int_equal(ptni_heap_promote(&heap, 10, 10, 64), 0);
	assert_int_equal(ptni_heap_promote(&heap, 11, 11, 64), 0);
	assert_false(take(&addr));
	assert_int_equal(ptni_heap_promote(&heap, 12, 12, 64), 1);
	assert_true(take(&addr));
	assert_int_equal(addr, first);
	assert_int_equal(heap.version, 12); /* guarantee 3 */
	assert_false(take(&addr));
	heap_close();
}

/* Who takes the last blocks comes back to the slow path while some are left. */
static void last_word_is_handed_out_in_halves(void **state)
{
	uint64_t addr, taken = 0, left;

	heap_open(2048);
	chunk_add(0, 1, 10);
	left = heap.layout.blocks;
	assert_in_range(left, 8, 64); /* one word */
	while (ptni_heap_refill(&heap)) {
		uint64_t half = (left + 1) / 2;

		for (uint64_t i = 0; i < half; i++, taken++)
			assert_true(ptni_heap_take(&heap, &addr));
		assert_false(ptni_heap_take(&heap, &addr));
		left -= half;
	}
	assert_int_equal(left, 0);
	assert_int_equal(taken, heap.layout.blocks);
	heap_close();
}

/* Guarantee 2: blocks that go on being retired do not hold back those retired before. */
static void steady_retiring_starves_nobody(void **state)
{
	enum {
		LAG = 4
	};
	uint64_t addr[512], again;
	uint32_t freed = 0;

	heap_open(64);
	chunk_add(0, 1, 1);
	for (int i = 0; i < 512; i++)
		assert_true(take(&addr[i]));
	while (take(&again))
		;
	for (uint64_t epoch = 1; epoch <= 512; epoch++) {
		assert_true(retire(addr[epoch - 1], epoch + 1));
		if (epoch > LAG)
			freed += (uint32_t)ptni_heap_promote(&heap, epoch - LAG, epoch, 64);
		/* waits at most for two lags and the step between them */
		assert_true(freed + 2 * LAG + 4 >= epoch);
	}
	heap_close();
}

/* Guarantee 4 */
static void double_retire_is_refused(void **state)
{
	uint64_t addr, other;

	heap_open(64);
	chunk_add(0, 1, 1);
	assert_true(take(&addr));
	assert_true(take(&other));
	assert_true(retire(addr, 2));
	assert_false(retire(addr, 2));
	assert_false(retire(addr, 3));
	assert_int_equal(heap.blocks_limbo, 1);
	assert_int_equal(ptni_heap_promote(&heap, 3, 3, 64), 1);
	assert_false(retire(addr, 4)); /* free, in another word or in the current one */
	ptni_heap_park(&heap);
	assert_false(retire(addr, 4));
	assert_true(cancel(other));
	assert_false(cancel(other));
	heap_close();
}

static void cancelled_block_is_free_at_once(void **state)
{
	uint64_t addr, again;

	heap_open(4000);
	chunk_add(0, 1, 1);
	while (take(&addr))
		;
	addr = BASE + heap.layout.first + heap.block_bytes;
	assert_true(cancel(addr));
	assert_true(take(&again));
	assert_int_equal(again, addr);
	heap_close();
}

static void collected_bits_go_to_limbo_once(void **state)
{
	struct ptni_owned_slab *slab;
	uint64_t addr[130];
	uint32_t index;

	heap_open(64);
	chunk_add(0, 1, 1);
	for (int i = 0; i < 130; i++)
		assert_true(take(&addr[i]));
	slab = slab_of(addr[0], &index);
	ptni_slab_collect(&heap, slab, 1, 0xf0, 5);
	assert_int_equal(heap.blocks_limbo, 4);
	ptni_slab_collect(&heap, slab, 1, 0xff, 5); /* four are known */
	assert_int_equal(heap.blocks_limbo, 8);
	ptni_slab_collect(&heap, slab, 2, UINT64_MAX, 5); /* two of the word are in use */
	assert_int_equal(heap.blocks_limbo, 10);
	/* bits beyond the last block mean nothing */
	ptni_slab_collect(&heap, slab, ptni_slab_words(&heap.layout) - 1, UINT64_MAX, 5);
	assert_int_equal(heap.blocks_limbo, 10);
	ptni_slab_hold(&heap, slab, PTNI_HELD_CLEAR, true);
	assert_int_equal(ptni_heap_promote(&heap, 9, 9, 64), 0);
	ptni_slab_hold(&heap, slab, PTNI_HELD_CLEAR, false);
	assert_int_equal(ptni_heap_promote(&heap, 9, 9, 64), 10);
	heap_close();
}

static void chunk_is_empty_when_all_its_slabs_are(void **state)
{
	struct ptni_owned_chunk *chunk;
	uint64_t addr[3000];
	int count = 0;

	heap_open(64);
	chunk = chunk_add(0, 2, 1);
	assert_int_equal(heap.empty_count, 1);
	while (take(&addr[count]))
		count++;
	assert_int_equal(count, 2 * heap.layout.blocks);
	assert_int_equal(heap.empty_count, 0);
	for (int i = 0; i < count - 1; i++)
		assert_true(retire(addr[i], 2));
	ptni_heap_promote(&heap, 3, 3, 64);
	ptni_heap_park(&heap);
	assert_int_equal(heap.empty_count, 0);
	assert_true(retire(addr[count - 1], 4));
	ptni_heap_promote(&heap, 5, 5, 64);
	ptni_heap_park(&heap);
	assert_int_equal(heap.empty_count, 1);
	assert_true(chunk->empty);
	assert_true(take(&addr[0])); /* no longer */
	assert_int_equal(heap.empty_count, 0);
	heap_close();
}

static void adopted_chunk_gives_nothing_before_its_scan(void **state)
{
	struct ptni_owned_slab *slab;
	uint64_t addr;

	heap_open(64);
	assert_non_null(ptni_heap_add(&heap, ptni_block_class(64), BASE, 1, 7, true));
	assert_int_equal(heap.held, 1);
	assert_false(take(&addr));
	slab = cds_list_first_entry(&heap.all, struct ptni_owned_slab, all_link);
	assert_true(ptni_slab_retire(&heap, slab, 3, 8)); /* found to be unreachable */
	assert_int_equal(ptni_heap_promote(&heap, 100, 100, 64), 0);
	assert_false(take(&addr));
	ptni_slab_hold(&heap, slab, PTNI_HELD_SCAN, false);
	assert_int_equal(ptni_heap_promote(&heap, 100, 100, 64), 1);
	assert_true(take(&addr));
	assert_int_equal(addr, BASE + heap.layout.first + 3 * 64);
	heap_close();
}

/* --- against a model ---------------------------------------------------------------------------- */

struct model_block {
	enum {
		UNKNOWN,
		FREE,
		USED,
		LIMBO
	} state;
	uint64_t addr, tag;
	uint16_t version;
	bool seen;
};

static struct model_block blocks[MODEL_BLOCKS];
static uint32_t block_count;

static struct model_block *block_at(uint64_t addr)
{
	for (uint32_t i = 0; i < block_count; i++)
		if (blocks[i].addr == addr)
			return &blocks[i];
	assert_true(block_count < MODEL_BLOCKS);
	blocks[block_count] = (struct model_block){ .addr = addr, .state = FREE };
	return &blocks[block_count++];
}

static void model_take(uint64_t horizon)
{
	struct model_block *block;
	uint64_t addr;

	if (!take(&addr))
		return;
	block = block_at(addr);
	assert_true(block->state == FREE || (block->state == LIMBO && horizon > block->tag));
	if (block->state == LIMBO)
		assert_int_not_equal(heap.version, block->version);
	block->state = USED;
	block->version = heap.version;
}

static void model_run(uint64_t seed)
{
	uint64_t epoch = 5, horizon = 5;
	struct ptni_rng rng;

	ptni_rng_seed(&rng, seed);
	heap_open(ptni_rng_chance(&rng, 1, 2) ? 700 : 9000);
	block_count = 0;
	for (unsigned i = 0; i < 4; i++)
		chunk_add(i, 1 + (uint32_t)ptni_rng_below(&rng, 3), epoch);
	for (int step = 0; step < STEPS; step++) {
		struct model_block *block =
			block_count ? &blocks[ptni_rng_below(&rng, block_count)] : NULL;

		switch (ptni_rng_below(&rng, 40)) {
		case 0:
			if (horizon == epoch)
				epoch++;
			break;
		case 1:
			horizon = epoch;
			break;
		case 2:
			ptni_heap_promote(&heap, horizon, epoch, 1 + (uint32_t)(step % 4));
			break;
		case 3:
			ptni_heap_park(&heap);
			break;
		case 4:
			if (block && block->state == USED && cancel(block->addr))
				block->state = FREE;
			break;
		default:
			if (ptni_rng_chance(&rng, 1, 2)) {
				model_take(horizon);
			} else if (block && block->state == USED) {
				assert_true(retire(block->addr, epoch + 1));
				block->state = LIMBO;
				block->tag = epoch + 1;
			}
		}
	}
	ptni_heap_promote(&heap, epoch + 3, epoch + 3, 1000);
	ptni_heap_promote(&heap, epoch + 3, epoch + 3, 1000);
	assert_int_equal(heap.blocks_limbo, 0); /* guarantee 2 */
	uint32_t used = 0;
	for (uint32_t i = 0; i < block_count; i++)
		used += blocks[i].state == USED;
	assert_int_equal(heap.blocks - heap.blocks_free, used);
	heap_close();
}

static void agrees_with_a_model(void **state)
{
	for (uint64_t seed = 1; seed <= 6; seed++)
		model_run(seed);
}

/* Blocks retired by the adopter before it had read what was told stay in limbo, each once. */
static void told_of_a_slab_in_use(void **state)
{
	uint64_t told[1 + 2 * 64] = { 4 };
	struct ptni_owned_slab *slab;
	uint32_t words;

	heap_open(64);
	assert_non_null(ptni_heap_add(&heap, ptni_block_class(64), BASE, 1, 7, true));
	slab = cds_list_first_entry(&heap.all, struct ptni_owned_slab, all_link);
	words = ptni_slab_words(&heap.layout);
	assert_true(1 + 2 * words <= sizeof(told) / sizeof(told[0]));
	assert_true(ptni_slab_retire(&heap, slab, 0, 6));
	assert_true(
		ptni_slab_retire(&heap, slab, 1, 7)); /* block 0 is of the older generation now */
	told[1] = 0x0f; /* blocks 0 and 1 too, which is a lie */
	told[1 + words] = 0x30;
	ptni_slab_told(&heap, slab, told, 3, 7);
	assert_int_equal(heap.blocks_free, 2);
	assert_int_equal(slab->free_count, 2);
	assert_int_equal(heap.blocks_limbo, 4);
	assert_false(ptni_slab_retire(&heap, slab, 0, 7));
	assert_false(ptni_slab_retire(&heap, slab, 4, 7));
	heap_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retired_block_waits_for_the_horizon),
		cmocka_unit_test(last_word_is_handed_out_in_halves),
		cmocka_unit_test(steady_retiring_starves_nobody),
		cmocka_unit_test(double_retire_is_refused),
		cmocka_unit_test(cancelled_block_is_free_at_once),
		cmocka_unit_test(collected_bits_go_to_limbo_once),
		cmocka_unit_test(chunk_is_empty_when_all_its_slabs_are),
		cmocka_unit_test(adopted_chunk_gives_nothing_before_its_scan),
		cmocka_unit_test(told_of_a_slab_in_use),
		cmocka_unit_test(agrees_with_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
