/* SPDX-License-Identifier: MIT */
#include "core/base/rng.h"
#include "core/fabric/soft/copy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdbool.h>

enum {
	BYTES = 8192,
	WORDS = BYTES / 8,
	ROUNDS = 1000
};

static _Alignas(64) uint8_t from[BYTES];
static _Alignas(64) uint8_t to[BYTES];
static _Alignas(64) uint64_t words[WORDS + 3];
static uint64_t *const shared = words + 3; /* not aligned as the local side is */
static atomic_bool stop;

/* G3, and that the right bytes arrive, for every alignment of both sides. */
static void exact(void **state)
{
	struct ptni_rng rng;

	ptni_rng_seed(&rng, 3);
	for (size_t i = 0; i < BYTES; i++)
		from[i] = (uint8_t)ptni_rng_next(&rng);
	for (int step = 0; step < 5000; step++) {
		size_t len = (size_t)ptni_rng_below(&rng, step % 8 ? 80 : 3000);
		size_t source = (size_t)ptni_rng_below(&rng, 64);
		size_t target = 8 + (size_t)ptni_rng_below(&rng, 64);

		memset(to, 0xa5, sizeof(to));
		if (step % 2)
			copy_in(to + target, from + source, len);
		else
			copy_out(to + target, from + source, len);
		assert_memory_equal(to + target, from + source, len);
		for (size_t i = 0; i < 8; i++) {
			assert_int_equal(to[target - 1 - i], 0xa5);
			assert_int_equal(to[target + len + i], 0xa5);
		}
	}
}

/* Every word always holds eight times the same byte, unless somebody tears it. */
static void *writer(void *arg)
{
	static _Alignas(64) uint8_t pattern[BYTES + 8];
	size_t misalignment = (size_t)(uintptr_t)arg;

	for (int value = 0; !atomic_load_explicit(&stop, memory_order_relaxed); value++) {
		memset(pattern, value & 0xff, sizeof(pattern));
		copy_out(shared, pattern + misalignment, BYTES);
	}
	return NULL;
}

/* G1, long and short copies, local side aligned or not. */
static void words_are_whole(void **state)
{
	static const size_t lens[] = { 64, 256, 512, 520, 1024, BYTES };
	static _Alignas(64) uint8_t copy[BYTES + 8];
	pthread_t thread;

	for (size_t misalignment = 0; misalignment < 8; misalignment += 3) {
		atomic_store(&stop, false);
		assert_int_equal(
			pthread_create(&thread, NULL, writer, (void *)(uintptr_t)misalignment), 0);
		for (int round = 0; round < ROUNDS; round++) {
			size_t len = lens[round % 6];

			copy_in(copy + misalignment, shared, len);
			for (size_t i = 0; i < len; i += 8) {
				uint64_t word;

				memcpy(&word, copy + misalignment + i, sizeof(word));
				assert_int_equal(word, (word & 0xff) * 0x0101010101010101ull);
			}
		}
		atomic_store(&stop, true);
		pthread_join(thread, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exact),
		cmocka_unit_test(words_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
