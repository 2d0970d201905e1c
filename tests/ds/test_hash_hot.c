/* SPDX-License-Identifier: MIT */
/* Keys that many write: how many CASes a write takes (ds/hashtable/table.h: H4; ds/common/slot_cache.h: heat). */
#include "ds/hashtable/table.h"
#include "tests/ds/hash_check.h"

enum {
	ROUNDS = 64,
	KEYS = 32,
	COLD_AFTER = 2 * PTNI_CACHE_HEAT_MAX,
};

static struct mock_world *world;
static struct ptn_client *client[2];
static struct ptn_worker *worker[2];
static struct ptn_hash *hash[2];

static int open_both(void **state)
{
	struct ptni_hash_params params = { 2, 1, 11 };
	struct ptn_hash_options options = { .size = sizeof(options), .cache_entries = 1024 };

	world = mock_world_new(1);
	for (int i = 0; i < 2; i++) {
		client[i] = mock_client_new(world);
		worker[i] = mock_worker(client[i]);
		assert_int_equal(ptni_hash_open(worker[i], "t", &options, &params, &hash[i]), 0);
	}
	return 0;
}

static int close_both(void **state)
{
	for (int i = 0; i < 2; i++)
		ptn_hash_close(hash[i]);
	mock_world_free(world);
	return 0;
}

static void put_key(int who, unsigned key, unsigned value)
{
	assert_int_equal(ptn_hash_put(worker[who], hash[who], &key, 4, &value, 4), 0);
}

static void put(int who, unsigned value)
{
	put_key(who, 1, value);
}

static struct ptn_counters of(int who)
{
	return mock_counters(client[who]);
}

/* One write of client 0 costs so many CASes and round trips. */
static void put_costs(unsigned cas, unsigned trips)
{
	struct ptn_counters was = of(0);

	put(0, 7);
	assert_int_equal(of(0).verbs_cas - was.verbs_cas, cas);
	assert_int_equal(of(0).round_trips - was.round_trips, trips);
}

/* A key that others change all the time is read before it is written, slot and block: one CAS, not two. */
static void contended_keys_are_read_first(void **state)
{
	put(0, 0);
	put(1, 0);
	put_costs(2, 3); /* in vain by what the cache says, then again */
	for (unsigned i = 0; i < ROUNDS; i++) {
		put(1, i);
		put(0, i);
	}
	put(1, 0);
	put_costs(1, 3);
}

/* Once they leave it alone, it is written in one round trip again. */
static void left_alone_they_are_not(void **state)
{
	put(0, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		put(1, i);
		put(0, i);
	}
	for (unsigned i = 0; i < COLD_AFTER; i++)
		put(0, i);
	put_costs(1, 1);
}

/*
 * Where every key was changed by another since, the cache is no guide: after a while all but one in sixteen are
 * read first, whichever key it is; and not any more when most are as they were.
 */
static void a_cache_that_errs_is_asked_less(void **state)
{
	struct ptn_counters was;

	for (unsigned key = 0; key < KEYS; key++)
		put_key(0, key, 0);
	for (unsigned key = 0; key < KEYS; key++)
		put_key(1, key, 0);
	for (unsigned key = 0; key < KEYS / 2; key++)
		put_key(0, key, 1);
	was = of(0);
	for (unsigned key = KEYS / 2; key < KEYS; key++)
		put_key(0, key, 1);
	assert_in_range(of(0).verbs_cas - was.verbs_cas, KEYS / 2, KEYS / 2 + 2);
	for (unsigned round = 0; round < 8; round++)
		for (unsigned key = 0; key < KEYS; key++)
			put_key(0, key, 2);
	was = of(0);
	for (unsigned key = 0; key < KEYS; key++)
		put_key(0, key, 3);
	assert_int_equal(of(0).round_trips - was.round_trips, KEYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(contended_keys_are_read_first, open_both,
						close_both),
		cmocka_unit_test_setup_teardown(left_alone_they_are_not, open_both, close_both),
		cmocka_unit_test_setup_teardown(a_cache_that_errs_is_asked_less, open_both,
						close_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
