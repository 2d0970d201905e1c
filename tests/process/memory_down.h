/* SPDX-License-Identifier: MIT */
/* What the dead have left of a table of versioned keys comes back. */
#ifndef TESTS_MEMORY_DOWN_H
#define TESTS_MEMORY_DOWN_H

#include "tests/support/versioned.h"

#include <patronus/client.h>
#include <patronus/hash.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

/* Write every key's value once more. */
static inline void rewrite_all(struct ptn_worker *worker, struct ptn_hash *hash, uint32_t owners,
			       uint32_t keys)
{
	uint8_t value[VERSIONED_VALUE_MAX];
	struct versioned_name name;
	size_t len;
	int ret;

	for (name.owner = 0; name.owner < owners; name.owner++)
		for (name.number = 0; name.number < keys; name.number++) {
			ret = ptn_hash_get(worker, hash, &name, sizeof(name), value, sizeof(value),
					   &len);
			if (ret == -ENOENT)
				continue;
			assert_int_equal(ret, 0);
			assert_int_equal(
				ptn_hash_update(worker, hash, &name, sizeof(name), value, len), 0);
		}
}

/*
 * Memory follows the data, however many have died: one worker that goes on adopts what they left and gives back
 * what it does not need. Usual are 1.6 times the records, the slots, and some slabs of 64 KiB for each of the 26 sizes
 * of blocks: 2 to 2.5 times, here. It was 7 times when nobody adopted in time.
 */
static inline void memory_comes_down(const char *address, uint32_t owners, uint32_t keys)
{
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash_info info;
	struct ptn_hash *hash;
	uint64_t most, before = 0;
	unsigned turn = 0;

	assert_int_equal(ptn_client_open(&address, 1, NULL, &client), 0);
	assert_int_equal(ptn_worker_open(client, &worker), 0);
	assert_int_equal(ptn_hash_open(worker, "kill", NULL, &hash), 0);
	for (;; turn++) {
		assert_int_equal(ptn_hash_info(worker, hash, &info), 0);
		most = info.live_bytes * 4;
		before = before ? before : info.held_bytes;
		if (info.held_bytes <= most)
			break;
		if (turn == 200)
			fail_msg("%.1f MB of records in %.1f MB after %u turns",
				 (double)info.live_bytes / 1e6, (double)info.held_bytes / 1e6,
				 turn);
		rewrite_all(worker, hash, owners, keys);
	}
	print_message("  %.1f MB of records in %.1f MB, %u turns later in %.1f MB\n",
		      (double)info.live_bytes / 1e6, (double)before / 1e6, turn,
		      (double)info.held_bytes / 1e6);
	ptn_hash_close(hash);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(client), 0);
}

#endif
