/* SPDX-License-Identifier: MIT */
#include "core/base/rng.h"
#include "core/fabric/soft/soft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

enum {
	PAGE = 4096,
	PAGES = 256,
	BASE = 3 * PAGE
};

/* Against a model: an array with a byte a page. */
static void never_twice_never_lost(void **state)
{
	struct {
		uint64_t offset;
		uint64_t len;
	} held[64] = { { 0, 0 } };
	uint8_t used[PAGES] = { 0 };
	struct soft_pool pool;
	struct ptni_rng rng;
	uint64_t offset;

	ptni_rng_seed(&rng, 7);
	ptni_soft_pool_init(&pool, BASE, PAGES * PAGE);
	for (int step = 0; step < 20000; step++) {
		size_t at = (size_t)ptni_rng_below(&rng, 64);
		uint64_t len = (1 + ptni_rng_below(&rng, 9)) * PAGE;
		uint64_t align = (uint64_t)PAGE << ptni_rng_below(&rng, 4);

		if (held[at].len) {
			memset(&used[(held[at].offset - BASE) / PAGE], 0, held[at].len / PAGE);
			assert_int_equal(ptni_soft_pool_give(&pool, held[at].offset, held[at].len),
					 0);
			held[at].len = 0;
		} else if (ptni_soft_pool_take(&pool, len, align, &offset) == 0) {
			assert_int_equal(offset % align, 0);
			assert_true(offset >= BASE && offset + len <= BASE + PAGES * PAGE);
			for (uint64_t i = 0; i < len / PAGE; i++)
				assert_int_equal(used[(offset - BASE) / PAGE + i]++, 0);
			held[at].offset = offset;
			held[at].len = len;
		}
	}
	for (size_t i = 0; i < 64; i++)
		if (held[i].len)
			assert_int_equal(ptni_soft_pool_give(&pool, held[i].offset, held[i].len),
					 0);
	assert_int_equal(ptni_soft_pool_take(&pool, pool.used_end - BASE, PAGE, &offset), 0);
	assert_int_equal(offset, BASE); /* all of it came together again */
	ptni_soft_pool_fini(&pool);
}

static void too_much(void **state)
{
	struct soft_pool pool;
	uint64_t offset;

	ptni_soft_pool_init(&pool, BASE, 4 * PAGE);
	assert_int_equal(ptni_soft_pool_take(&pool, 5 * PAGE, PAGE, &offset), -ENOMEM);
	assert_int_equal(ptni_soft_pool_take(&pool, UINT64_MAX - PAGE + 1, PAGE, &offset), -ENOMEM);
	assert_int_equal(ptni_soft_pool_take(&pool, 4 * PAGE, PAGE, &offset), 0);
	assert_int_equal(ptni_soft_pool_take(&pool, PAGE, PAGE, &offset), -ENOMEM);
	ptni_soft_pool_fini(&pool);
}

/* A number comes back late, so that a stale holder of it meets nothing rather than another's. */
static void numbers_come_back_late(void **state)
{
	struct soft_ids ids;
	uint32_t id;

	assert_int_equal(ptni_soft_ids_init(&ids, 100), 0);
	for (uint32_t i = 0; i < 64; i++) {
		assert_int_equal(ptni_soft_ids_take(&ids, &id), 0);
		assert_int_equal(id, i);
		ptni_soft_ids_give(&ids, id);
	}
	assert_int_equal(ptni_soft_ids_take(&ids, &id), 0);
	assert_int_equal(id, 0);
	for (int i = 0; i < 99; i++)
		assert_int_equal(ptni_soft_ids_take(&ids, &id), 0);
	assert_int_equal(ptni_soft_ids_take(&ids, &id), -ENOSPC);
	ptni_soft_ids_fini(&ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_twice_never_lost),
		cmocka_unit_test(too_much),
		cmocka_unit_test(numbers_come_back_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
