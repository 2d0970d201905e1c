/* SPDX-License-Identifier: MIT */
#include "core/node_bucket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#include <patronus/error.h>

enum {
	RATE = 1000, /* a second */
	BURST = 100, /* a tenth of it */
};
#define START_NS  UINT64_C(5000000000)
#define TOKEN_NS  UINT64_C(1000000)
#define SECOND_NS UINT64_C(1000000000)

static void drain(struct ptni_bucket *bucket)
{
	ptni_bucket_init(bucket, RATE, START_NS);
	for (int i = 0; i < BURST; i++)
		assert_int_equal(ptni_bucket_take(bucket, START_NS), 0);
	assert_int_equal(ptni_bucket_take(bucket, START_NS), PTN_E_QUOTA);
}

static void bucket__fills_at_its_rate(void **state)
{
	struct ptni_bucket bucket;

	drain(&bucket);
	assert_int_equal(ptni_bucket_take(&bucket, START_NS + TOKEN_NS), 0);
	assert_int_equal(ptni_bucket_take(&bucket, START_NS + TOKEN_NS), PTN_E_QUOTA);
	for (int i = 0; i < BURST; i++)
		assert_int_equal(ptni_bucket_take(&bucket, START_NS + 10 * SECOND_NS), 0);
	assert_int_equal(ptni_bucket_take(&bucket, START_NS + 10 * SECOND_NS), PTN_E_QUOTA);
}

/* A clock that is set back a little gives nothing away, and takes no more than it was set back. */
static void bucket__clock_set_back(void **state)
{
	struct ptni_bucket bucket;

	drain(&bucket);
	assert_int_equal(ptni_bucket_take(&bucket, START_NS - 1), PTN_E_QUOTA);
	assert_int_equal(ptni_bucket_take(&bucket, START_NS - 1 + TOKEN_NS), 0);
	assert_int_equal(ptni_bucket_take(&bucket, START_NS - 1 + TOKEN_NS), PTN_E_QUOTA);
}

/* Who goes on asking as fast as it may be served, with nothing left for a second, is a flood. */
static void bucket__tells_a_flood(void **state)
{
	struct ptni_bucket bucket;
	int ret = PTN_E_QUOTA;

	drain(&bucket);
	for (int i = 1; i < RATE; i++)
		assert_int_equal(ptni_bucket_take(&bucket, START_NS - (uint64_t)i % 2),
				 PTN_E_QUOTA);
	ret = ptni_bucket_take(&bucket, START_NS);
	assert_int_equal(ret, -EBUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bucket__fills_at_its_rate),
		cmocka_unit_test(bucket__clock_set_back),
		cmocka_unit_test(bucket__tells_a_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
