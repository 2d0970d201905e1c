/* SPDX-License-Identifier: MIT */
#include "core/base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

struct options_v1 {
	uint32_t size;
	uint32_t threads;
};

struct options_v2 {
	uint32_t size;
	uint32_t threads;
	uint64_t bytes_max;
};

static void null__is_all_defaults(void **state)
{
	struct options_v2 own = { .size = 1, .threads = 2, .bytes_max = 3 };

	assert_int_equal(ptni_options_copy(&own, sizeof(own), NULL), 0);
	assert_int_equal(own.size, sizeof(own));
	assert_int_equal(own.threads, 0);
	assert_int_equal(own.bytes_max, 0);
}

static void older_caller__new_members_are_zero(void **state)
{
	struct options_v1 given = { .size = sizeof(given), .threads = 4 };
	struct options_v2 own = { .bytes_max = 99 };

	assert_int_equal(ptni_options_copy(&own, sizeof(own), &given), 0);
	assert_int_equal(own.size, sizeof(own));
	assert_int_equal(own.threads, 4);
	assert_int_equal(own.bytes_max, 0);
}

static void newer_caller__unset_members_pass(void **state)
{
	struct options_v2 given = { .size = sizeof(given), .threads = 4 };
	struct options_v1 own = { .threads = 99 };

	assert_int_equal(ptni_options_copy(&own, sizeof(own), &given), 0);
	assert_int_equal(own.size, sizeof(own));
	assert_int_equal(own.threads, 4);
}

static void newer_caller__set_members_are_e2big(void **state)
{
	struct options_v2 given = { .size = sizeof(given), .bytes_max = UINT64_C(1) << 63 };
	struct options_v1 own = { .size = 7, .threads = 8 };

	assert_int_equal(ptni_options_copy(&own, sizeof(own), &given), -E2BIG);
	assert_int_equal(own.size, 7);
	assert_int_equal(own.threads, 8);
}

static void size_below_its_own_field__is_einval(void **state)
{
	for (uint32_t size = 0; size < sizeof(uint32_t); size++) {
		struct options_v1 given = { .size = size };
		struct options_v1 own = { .size = 7, .threads = 8 };

		assert_int_equal(ptni_options_copy(&own, sizeof(own), &given), -EINVAL);
		assert_int_equal(own.threads, 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null__is_all_defaults),
		cmocka_unit_test(older_caller__new_members_are_zero),
		cmocka_unit_test(newer_caller__unset_members_pass),
		cmocka_unit_test(newer_caller__set_members_are_e2big),
		cmocka_unit_test(size_below_its_own_field__is_einval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
