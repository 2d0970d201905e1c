/* SPDX-License-Identifier: MIT */
#include "core/base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Both hashes lie in remote memory: values pinned so that no change of a library moves a key. */
static void values__pinned(void **state)
{
	assert_int_equal(ptni_hash_key("", 0, 0), UINT64_C(0x2d06800538d394c2));
	assert_int_equal(ptni_hash_key("user6284781860667377211", 23, 0),
			 UINT64_C(0x5c8c12554f88eabc));
	assert_int_equal(ptni_checksum("user6284781860667377211", 23, 77),
			 UINT64_C(0x0fb943a4e3074f39));
}

/* R4: any change of any byte, of the length or of the seed must show. */
static void checksum__sees_every_bit(void **state)
{
	static const size_t lengths[] = { 1, 8, 16, 24, 100, 200, 241, 1024 };
	unsigned char data[1024];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 37);
	for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
		size_t len = lengths[l];
		uint64_t sum = ptni_checksum(data, len, 5);

		assert_int_not_equal(ptni_checksum(data, len, 6), sum);
		assert_int_not_equal(ptni_checksum(data, len - 1, 5), sum);
		for (size_t bit = 0; bit < len * 8; bit++) {
			data[bit / 8] ^= (unsigned char)(1U << bit % 8);
			assert_int_not_equal(ptni_checksum(data, len, 5), sum);
			data[bit / 8] ^= (unsigned char)(1U << bit % 8);
		}
	}
}

/* Memory that was never written must not pass as a block. */
static void checksum__of_zeros_is_not_zero(void **state)
{
	static const unsigned char zeros[4096];

	for (size_t len = 0; len <= sizeof(zeros); len += 8)
		assert_int_not_equal(ptni_checksum(zeros, len, 0), 0);
}

static void word__is_a_bijection_on_a_sample(void **state)
{
	uint64_t all = 0;

	assert_int_equal(ptni_hash_word(0), 0);
	for (uint64_t i = 1; i < 4096; i++) {
		assert_int_not_equal(ptni_hash_word(i), ptni_hash_word(i - 1));
		all |= ptni_hash_word(i);
	}
	assert_int_equal(all, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values__pinned),
		cmocka_unit_test(checksum__sees_every_bit),
		cmocka_unit_test(checksum__of_zeros_is_not_zero),
		cmocka_unit_test(word__is_a_bijection_on_a_sample),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
