/* SPDX-License-Identifier: MIT */
#include "alloc/extent.h"
#include "core/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SHIFT = 18, /* 256 KiB extents: 4 pages of 64 KiB, 64 of 4 KiB */
	EXTENTS = 12,
	RUNS = 200,
	STEPS = 4000,
};

static uint8_t *region;

static int setup(void **state)
{
	region = aligned_alloc(4096, (size_t)EXTENTS << SHIFT);
	memset(region, 0, (size_t)EXTENTS << SHIFT);
	return region ? 0 : -1;
}

static int teardown(void **state)
{
	free(region);
	return 0;
}

struct run {
	uint64_t addr, pages;
	struct ptni_extent_set *set;
	uint8_t stamp;
};

/* The model: who owns each 4 KiB of the region, 0 = nobody; bytes carry their run's stamp. */
struct model {
	struct ptni_extent_map *map;
	struct ptni_extent_set space, memory;
	uint8_t owner[EXTENTS << (SHIFT - 12)];
	struct run run[RUNS];
	int runs;
	uint8_t stamp;
};

static void owner_set(struct model *model, const struct run *run, uint8_t from, uint8_t to)
{
	uint64_t first = (run->addr - (uint64_t)(uintptr_t)region) >> 12;
	uint64_t count = run->pages << (run->set->page_shift - 12);

	for (uint64_t i = first; i < first + count; i++) {
		assert_int_equal(model->owner[i], from); /* guarantee 1 */
		model->owner[i] = to;
	}
}

static bool is_zero(uint64_t addr, uint64_t len_bytes)
{
	const uint8_t *at = (const uint8_t *)(uintptr_t)addr;

	return !at[0] && !memcmp(at, at + 1, len_bytes - 1);
}

static void run_add(struct model *model, struct run run)
{
	uint64_t bytes = run.pages << run.set->page_shift;

	if (++model->stamp == 0)
		model->stamp = 1;
	run.stamp = model->stamp;
	owner_set(model, &run, 0, run.stamp);
	if (run.set->clean_only)
		assert_true(is_zero(run.addr, bytes)); /* guarantee 2 */
	memset((void *)(uintptr_t)run.addr, run.stamp, bytes);
	model->run[model->runs++] = run;
}

static void take(struct model *model, struct ptni_rng *rng)
{
	struct run run = { .set = ptni_rng_chance(rng, 1, 2) ? &model->space : &model->memory };
	uint32_t per_extent = 1u << (SHIFT - run.set->page_shift), extent, align = 1;
	int ret;

	if (run.set == &model->memory && ptni_rng_chance(rng, 1, 8)) {
		run.pages = per_extent + ptni_rng_below(rng, 2 * per_extent);
		ret = ptni_extent_span_take(model->map, run.set, run.pages, &run.addr);
	} else {
		run.pages = 1 + ptni_rng_below(rng, per_extent);
		align = run.set == &model->space ? 1u << ptni_rng_below(rng, 3) : 1;
		ret = ptni_extent_run_take(model->map, run.set, (uint32_t)run.pages, align,
					   &run.addr);
		if (ret == -ENOMEM && !ptni_extent_set_grow(model->map, run.set, &extent))
			ret = ptni_extent_run_take(model->map, run.set, (uint32_t)run.pages, align,
						   &run.addr);
	}
	if (ret)
		return;
	assert_int_equal((run.addr - (uint64_t)(uintptr_t)region) %
				 ((uint64_t)align << run.set->page_shift),
			 0);
	run_add(model, run);
}

static void give(struct model *model, struct ptni_rng *rng)
{
	int at = (int)ptni_rng_below(rng, (uint64_t)model->runs);
	struct run run = model->run[at];

	for (uint64_t i = 0; i < run.pages << run.set->page_shift; i += 512)
		assert_int_equal(((uint8_t *)(uintptr_t)run.addr)[i], run.stamp);
	model->run[at] = model->run[--model->runs];
	owner_set(model, &run, run.stamp, 0);
	ptni_extent_run_give(model->map, run.addr, run.pages);
}

static void shrink(struct model *model)
{
	for (uint32_t i = 0; i < EXTENTS; i++)
		if (ptni_extent_set_of(model->map, i) == &model->space &&
		    ptni_extent_empty(model->map, i)) {
			ptni_extent_set_close(model->map, i);
			ptni_extent_set_shrink(model->map, i);
			return;
		}
}

static void check(struct model *model)
{
	uint64_t space = 0, memory = 0;

	for (int i = 0; i < model->runs; i++)
		*(model->run[i].set == &model->space ? &space : &memory) +=
			model->run[i].pages << model->run[i].set->page_shift;
	assert_int_equal(model->space.used_bytes, space);
	assert_int_equal(model->memory.used_bytes, memory);
	assert_true(ptni_extent_map_free_count(model->map) + model->space.count +
			    model->memory.count <=
		    EXTENTS);
}

static void model_run(uint64_t seed)
{
	struct model model = { .space.page_shift = 16,
			       .memory = { .page_shift = 12, .clean_only = true } };
	struct ptni_rng rng;

	ptni_rng_seed(&rng, seed);
	memset(region, 0, (size_t)EXTENTS << SHIFT);
	assert_int_equal(ptni_extent_map_open(region, (size_t)EXTENTS << SHIFT, SHIFT, &model.map),
			 0);
	for (int step = 0; step < STEPS; step++) {
		bool growing = step / 500 % 2 == 0;

		if (model.runs < RUNS && ptni_rng_chance(&rng, growing ? 3 : 1, 4))
			take(&model, &rng);
		else if (model.runs)
			give(&model, &rng);
		if (ptni_rng_chance(&rng, 1, 4))
			shrink(&model);
		if (ptni_rng_chance(&rng, 1, 2))
			ptni_extent_map_clean(model.map, ptni_rng_below(&rng, 20000));
		check(&model);
	}
	while (model.runs)
		give(&model, &rng);
	for (uint32_t i = 0; i < EXTENTS; i++)
		shrink(&model);
	assert_int_equal(ptni_extent_map_clean(model.map, UINT64_MAX), 0);
	assert_int_equal(ptni_extent_map_free_count(model.map), EXTENTS);
	assert_int_equal(ptni_extent_map_used_bytes(model.map), 0);
	assert_true(is_zero((uint64_t)(uintptr_t)region, (uint64_t)EXTENTS << SHIFT));
	ptni_extent_map_close(model.map);
}

static void agrees_with_a_model(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		model_run(seed);
}

static void takes_the_shortest_run_that_fits(void **state)
{
	struct ptni_extent_map *map;
	struct ptni_extent_set set = { .page_shift = 12 };
	uint64_t base = (uint64_t)(uintptr_t)region, addr, all;
	uint32_t extent;

	assert_int_equal(ptni_extent_map_open(region, (size_t)EXTENTS << SHIFT, SHIFT, &map), 0);
	assert_int_equal(ptni_extent_set_grow(map, &set, &extent), 0);
	assert_int_equal(ptni_extent_run_take(map, &set, 64, 1, &all), 0);
	/* holes of 8, 3 and 5 pages */
	ptni_extent_run_give(map, all + (UINT64_C(2) << 12), 8);
	ptni_extent_run_give(map, all + (UINT64_C(20) << 12), 3);
	ptni_extent_run_give(map, all + (UINT64_C(40) << 12), 5);
	assert_int_equal(ptni_extent_run_take(map, &set, 3, 1, &addr), 0);
	assert_int_equal(addr - base, 20 << 12);
	assert_int_equal(ptni_extent_run_take(map, &set, 4, 1, &addr), 0);
	assert_int_equal(addr - base, 40 << 12);
	assert_int_equal(ptni_extent_run_take(map, &set, 4, 4, &addr), 0);
	assert_int_equal(addr - base, 4 << 12);
	assert_int_equal(ptni_extent_run_take(map, &set, 4, 1, &addr), -ENOMEM);
	ptni_extent_map_close(map);
}

static void says_whether_cleaning_will_help(void **state)
{
	struct ptni_extent_map *map;
	struct ptni_extent_set set = { .page_shift = 12, .clean_only = true };
	uint64_t addr, more;
	uint32_t extent;

	assert_int_equal(ptni_extent_map_open(region, (size_t)EXTENTS << SHIFT, SHIFT, &map), 0);
	assert_int_equal(ptni_extent_span_take(map, &set, EXTENTS * 64, &addr), 0);
	assert_int_equal(ptni_extent_set_grow(map, &set, &extent), -ENOMEM);
	ptni_extent_run_give(map, addr, EXTENTS * 64);
	assert_int_equal(ptni_extent_set_grow(map, &set, &extent), -EAGAIN);
	assert_int_equal(ptni_extent_span_take(map, &set, 1, &more), -EAGAIN);
	/* in bounded pieces */
	assert_int_equal(ptni_extent_map_clean(map, 4096), ((uint64_t)EXTENTS << SHIFT) - 4096);
	assert_int_equal(ptni_extent_map_clean(map, UINT64_C(1) << SHIFT),
			 ((uint64_t)(EXTENTS - 1) << SHIFT) - 4096);
	assert_int_equal(ptni_extent_map_free_count(map), 1);
	assert_int_equal(ptni_extent_set_grow(map, &set, &extent), 0);
	ptni_extent_map_close(map);
}

static void refuses_nonsense(void **state)
{
	struct ptni_extent_map *map;
	struct ptni_extent_set set = { .page_shift = 12 };
	uint64_t addr;

	assert_int_equal(ptni_extent_map_open(region, 4096, SHIFT, &map), -EINVAL);
	assert_int_equal(ptni_extent_map_open(region, 1 << SHIFT, 50, &map), -EINVAL);
	assert_int_equal(ptni_extent_map_open(region, (1 << SHIFT) + 4096, SHIFT, &map), 0);
	assert_int_equal(ptni_extent_map_count(map), 1);
	assert_int_equal(ptni_extent_of(map, (uint64_t)(uintptr_t)region - 1), PTNI_EXTENT_NONE);
	assert_int_equal(ptni_extent_of(map, (uint64_t)(uintptr_t)region + (1 << SHIFT)),
			 PTNI_EXTENT_NONE);
	assert_int_equal(ptni_extent_run_take(map, &set, 0, 1, &addr), -EINVAL);
	assert_int_equal(ptni_extent_run_take(map, &set, 1, 3, &addr), -EINVAL);
	assert_int_equal(ptni_extent_run_take(map, &set, 1, 1, &addr), -ENOMEM);
	assert_int_equal(ptni_extent_span_take(map, &set, UINT64_MAX >> 20, &addr), -ENOMEM);
	ptni_extent_map_close(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_a_model),
		cmocka_unit_test(takes_the_shortest_run_that_fits),
		cmocka_unit_test(says_whether_cleaning_will_help),
		cmocka_unit_test(refuses_nonsense),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
