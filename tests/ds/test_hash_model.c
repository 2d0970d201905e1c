/* SPDX-License-Identifier: MIT */
/* What the operations mean and what they cost, against a map in ordinary memory. */
#include "core/base/rng.h"
#include "ds/hashtable/table.h"
#include "tests/ds/hash_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct check check;

struct table {
	struct mock_world *world;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
};

static struct ptn_hash *open_with(struct ptn_client *client, uint32_t groups, uint32_t subtables)
{
	struct ptni_hash_params params = { .groups = groups, .subtables = subtables, .seed = 7 };
	struct ptn_hash_options options = { .size = sizeof(options), .cache_entries = 4096 };
	struct ptn_hash *hash;

	assert_int_equal(ptni_hash_open(mock_worker(client), "t", &options, &params, &hash), 0);
	return hash;
}

static void table_open(struct table *table, unsigned nodes, uint32_t groups, uint32_t subtables)
{
	table->world = mock_world_new(nodes);
	table->client = mock_client_new(table->world);
	table->worker = mock_worker(table->client);
	table->hash = open_with(table->client, groups, subtables);
}

static void table_close(struct table *table)
{
	ptn_hash_close(table->hash);
	mock_world_free(table->world);
}

static void expect_cost(struct table *table, const struct ptn_counters *before,
			uint64_t round_trips, uint64_t verbs, uint64_t bytes_max)
{
	struct ptn_counters now = mock_counters(table->client);
	uint64_t bytes =
		now.bytes_read + now.bytes_written - before->bytes_read - before->bytes_written;
	uint64_t posted = now.verbs_read + now.verbs_write + now.verbs_cas + now.verbs_faa -
			  before->verbs_read - before->verbs_write - before->verbs_cas -
			  before->verbs_faa;

	assert_int_equal(now.round_trips - before->round_trips, round_trips);
	assert_int_equal(posted, verbs);
	assert_in_range(bytes, 1, bytes_max);
}

/* The budgets of the design for a record of 16 bytes. */
static void cost__is_within_budget(void **state)
{
	const char key[8] = "budget1", other[8] = "absent", value[8] = "valuev1";
	struct ptn_counters before;
	struct table t;
	char got[16];
	size_t len;

	table_open(&t, 1, 20, 1);
	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_insert(t.worker, t.hash, key, 8, value, 8), 0);
	expect_cost(&t, &before, 3, 6, 640);

	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_get(t.worker, t.hash, key, 8, got, 16, &len), 0);
	assert_int_equal(len, 8);
	assert_memory_equal(got, value, 8);
	expect_cost(&t, &before, 1, 2, 72);

	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_update(t.worker, t.hash, key, 8, "valuev2", 8), 0);
	expect_cost(&t, &before, 1, 2, 72);
	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, key, 8, "valuev3", 8), 0);
	expect_cost(&t, &before, 1, 2, 72);

	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_get(t.worker, t.hash, other, 8, got, 16, &len), -ENOENT);
	expect_cost(&t, &before, 1, 2, 256);

	ptn_hash_close(t.hash); /* and its caches */
	t.hash = open_with(t.client, 20, 1);
	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_get(t.worker, t.hash, key, 8, got, 16, &len), 0);
	assert_memory_equal(got, "valuev3", 8);
	expect_cost(&t, &before, 2, 3, 320);

	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_delete(t.worker, t.hash, key, 8), 0);
	expect_cost(&t, &before, 1, 1, 16);
	table_close(&t);
}

static void multi_get__costs_as_one(void **state)
{
	struct ptn_counters before;
	struct ptn_hash_item items[20];
	char keys[20][8], values[20][16];
	struct table t;

	table_open(&t, 1, 40, 1);
	for (unsigned i = 0; i < 20; i++) {
		memset(keys[i], 0, 8);
		snprintf(keys[i], 8, "k%u", i);
		if (i != 7)
			assert_int_equal(ptn_hash_put(t.worker, t.hash, keys[i], 8, keys[i], i % 8),
					 0);
		items[i] = (struct ptn_hash_item){ keys[i], 8, values[i], 5, 0, 1 };
	}
	ptn_hash_close(t.hash);
	t.hash = open_with(t.client, 40, 1);
	for (int round = 0; round < 2; round++) {
		before = mock_counters(t.client);
		assert_int_equal(ptn_hash_multi_get(t.worker, t.hash, items, 20), 0);
		/* cold: 2 READs a key, and a block each but for the absent one; warm: 2 a key */
		expect_cost(&t, &before, round ? 1 : 2, round ? 40 : 59, 1 << 14);
		for (unsigned i = 0; i < 20; i++) {
			assert_int_equal(items[i].result, i == 7    ? -ENOENT :
							  i % 8 > 5 ? -ENOBUFS :
								      0);
			if (i == 7)
				continue;
			assert_int_equal(items[i].len_bytes, i % 8);
			assert_memory_equal(values[i], keys[i], i % 8 > 5 ? 5 : i % 8);
		}
	}
	table_close(&t);
}

static void multi_update__costs_as_one(void **state)
{
	struct ptn_counters before;
	struct ptn_hash_write items[20];
	char keys[20][8], got[16];
	struct table t;
	size_t len;

	table_open(&t, 1, 40, 1);
	for (unsigned i = 0; i < 20; i++) {
		memset(keys[i], 0, 8);
		snprintf(keys[i], 8, "k%u", i);
		if (i != 7)
			assert_int_equal(ptn_hash_put(t.worker, t.hash, keys[i], 8, "old", 3), 0);
		items[i] = (struct ptn_hash_write){ keys[i], 8, keys[19 - i], i % 8, 1 };
	}
	before = mock_counters(t.client);
	assert_int_equal(ptn_hash_multi_update(t.worker, t.hash, items, 20), 0);
	/* [WRITE, CAS] of 19 keys in one doorbell; the absent one is looked for afterwards */
	expect_cost(&t, &before, 2, 2 * 19 + 2, 4096);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(items[i].result, i == 7 ? -ENOENT : 0);
		assert_int_equal(ptn_hash_get(t.worker, t.hash, keys[i], 8, got, 16, &len),
				 i == 7 ? -ENOENT : 0);
		if (i == 7)
			continue;
		assert_int_equal(len, i % 8);
		assert_memory_equal(got, keys[19 - i], i % 8);
	}
	assert_int_equal(ptn_hash_multi_put(t.worker, t.hash, items, 20), 0);
	assert_int_equal(ptn_hash_get(t.worker, t.hash, keys[7], 8, got, 16, &len), 0);
	assert_int_equal(len, 7);
	table_close(&t);
}

static void input__is_checked(void **state)
{
	struct ptn_hash *none;
	struct table t;
	char got[4];
	size_t len;

	table_open(&t, 1, 2, 1);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, "", 0, "v", 1), -EINVAL);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, NULL, 1, "v", 1), -EINVAL);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, got, PTN_KEY_MAX + 1, "v", 1), -EINVAL);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, "k", 1, got, PTN_VALUE_MAX + 1), -EINVAL);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, "k", 1, NULL, 1), -EINVAL);
	assert_int_equal(ptn_hash_update(t.worker, t.hash, "k", 1, "v", 1), -ENOENT);
	assert_int_equal(ptn_hash_delete(t.worker, t.hash, "k", 1), -ENOENT);
	assert_int_equal(ptn_hash_insert(t.worker, t.hash, "k", 1, NULL, 0), 0);
	assert_int_equal(ptn_hash_insert(t.worker, t.hash, "k", 1, "v", 1), -EEXIST);
	assert_int_equal(ptn_hash_get(t.worker, t.hash, "k", 1, NULL, 0, &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(ptn_hash_put(t.worker, t.hash, "k", 1, "value", 5), 0);
	assert_int_equal(ptn_hash_get(t.worker, t.hash, "k", 1, got, 4, &len), -ENOBUFS);
	assert_int_equal(len, 5);
	assert_memory_equal(got, "valu", 4);
	assert_int_equal(ptn_hash_open(t.worker, "", NULL, &none), -EINVAL);
	assert_int_equal(ptn_hash_drop(t.worker, "t"), -EBUSY);
	hash_check(t.world, &check);
	assert_int_equal(check.key_count, 1);
	assert_int_equal(check.leaked, 0);
	table_close(&t);
}

/* --- against a model ------------------------------------------------------------------------------- */

enum {
	MODEL_KEYS = 700,
	MODEL_STEPS = 40000,
	VALUE_MAX = 600
};

struct model {
	bool present[MODEL_KEYS];
	uint32_t version[MODEL_KEYS];
};

/* Key and value from (number, version): any byte, many lengths. */
static size_t make_key(unsigned number, uint8_t *key)
{
	uint64_t mixed = number * UINT64_C(0x9e3779b97f4a7c15);
	size_t len = 4 + number % 5 + (number % 11 ? 0 : 130) + (number % 97 ? 0 : 880);

	for (size_t i = 0; i < len; i++)
		key[i] = (uint8_t)(mixed >> (i % 8 * 8)) ^ (uint8_t)i;
	memcpy(key, &number, 4);
	return len;
}

static size_t make_value(unsigned number, uint32_t version, uint8_t *value)
{
	uint64_t mixed = ptni_hash_word((uint64_t)number << 32 | version);
	size_t len = mixed % 64 + (mixed % 13 ? 0 : mixed % VALUE_MAX);

	for (size_t i = 0; i < len; i++)
		value[i] = (uint8_t)(mixed >> (i % 8 * 8)) ^ (uint8_t)i;
	return len;
}

static void value_is_as_modelled(struct table *t, const struct model *model, unsigned number)
{
	uint8_t key[1100], value[2000], got[2000];
	size_t key_len = make_key(number, key), len = 0;
	size_t value_len = make_value(number, model->version[number], value);
	int ret = ptn_hash_get(t->worker, t->hash, key, key_len, got, sizeof(got), &len);

	assert_int_equal(ret, model->present[number] ? 0 : -ENOENT);
	if (ret)
		return;
	assert_int_equal(len, value_len);
	assert_memory_equal(got, value, len);
}

static void random_step(struct table *t, struct model *model, struct ptni_rng *rng)
{
	unsigned number = (unsigned)ptni_rng_below(rng, MODEL_KEYS);
	uint32_t version = model->version[number] + 1;
	uint8_t key[1100], value[2000];
	size_t key_len = make_key(number, key), value_len = make_value(number, version, value);
	bool present = model->present[number];
	int ret;

	switch (ptni_rng_below(rng, 7)) {
	case 0:
		ret = ptn_hash_insert(t->worker, t->hash, key, key_len, value, value_len);
		assert_int_equal(ret, present ? -EEXIST : 0);
		break;
	case 1:
		ret = ptn_hash_update(t->worker, t->hash, key, key_len, value, value_len);
		assert_int_equal(ret, present ? 0 : -ENOENT);
		break;
	case 2:
	case 3:
		ret = ptn_hash_put(t->worker, t->hash, key, key_len, value, value_len);
		assert_int_equal(ret, 0);
		break;
	case 4:
		ret = ptn_hash_delete(t->worker, t->hash, key, key_len);
		assert_int_equal(ret, present ? 0 : -ENOENT);
		model->present[number] = false;
		return;
	default:
		value_is_as_modelled(t, model, number);
		return;
	}
	if (!ret) {
		model->present[number] = true;
		model->version[number] = version;
	}
}

static void run_model(unsigned nodes, uint32_t groups, uint32_t subtables, uint64_t seed)
{
	static struct model model;
	struct ptn_hash_info info;
	unsigned present = 0;
	struct ptni_rng rng;
	struct table t;

	memset(&model, 0, sizeof(model));
	ptni_rng_seed(&rng, seed);
	table_open(&t, nodes, groups, subtables);
	for (unsigned i = 0; i < MODEL_STEPS; i++) {
		random_step(&t, &model, &rng);
		if (i % 100 == 0)
			mock_epoch(t.world);
	}
	for (unsigned i = 0; i < MODEL_KEYS; i++) {
		value_is_as_modelled(&t, &model, i);
		present += model.present[i];
	}
	hash_check(t.world, &check);
	assert_int_equal(check.key_count, present);
	assert_int_equal(check.tentative + check.frozen + check.superseded + check.leaked, 0);
	assert_int_equal(ptn_hash_info(t.worker, t.hash, &info), 0);
	assert_int_equal(info.entries, present);
	assert_int_equal(info.subtables, check.subtables);
	assert_int_equal(info.depth, check.depth);
	table_close(&t);
}

static void model__one_node(void **state)
{
	run_model(1, 2, 1, 1);
}

static void model__wide_subtables(void **state)
{
	run_model(1, 9, 1, 2);
}

static void model__three_nodes(void **state)
{
	run_model(3, 3, 4, 3);
}

/* --- iterate --------------------------------------------------------------------------------------- */

struct seen {
	struct table *table;
	unsigned count[4000];
	unsigned grow_from, grow_to; /* keys to insert while walking */
};

static int see(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	struct seen *seen = arg;
	unsigned number;

	assert_int_equal(key_len, 4);
	memcpy(&number, key, 4);
	assert_int_equal(value_len, 4);
	assert_memory_equal(value, key, 4);
	assert_in_range(number, 0, 3999);
	seen->count[number]++;
	for (int i = 0; i < 2 && seen->grow_from < seen->grow_to; i++, seen->grow_from++)
		assert_int_equal(ptn_hash_put(seen->table->worker, seen->table->hash,
					      &seen->grow_from, 4, &seen->grow_from, 4),
				 0);
	return 0;
}

/* Every key that is there throughout is met once, in pieces, while the table grows under the walk. */
static void iterate__meets_each_key_once(void **state)
{
	const size_t limits[] = { 1, 17, 1000000 };
	struct seen seen;
	struct table t;

	for (unsigned l = 0; l < 3; l++) {
		uint64_t cursor = 0;
		unsigned calls = 0;
		int ret;

		table_open(&t, 2, 2, 2);
		for (unsigned i = 0; i < 300; i++)
			assert_int_equal(ptn_hash_put(t.worker, t.hash, &i, 4, &i, 4), 0);
		memset(&seen, 0, sizeof(seen));
		seen = (struct seen){ .table = &t, .grow_from = 1000, .grow_to = 1900 };
		do {
			ret = ptn_hash_iterate(t.worker, t.hash, &cursor, limits[l], see, &seen);
			assert_in_range(ret, 0, 1);
			calls++;
		} while (ret);
		for (unsigned i = 0; i < 300; i++)
			assert_int_equal(seen.count[i], 1);
		for (unsigned i = 1000; i < 1900; i++)
			assert_in_range(seen.count[i], 0, 1);
		assert_int_equal(seen.grow_from, 1900);
		if (limits[l] == 1)
			assert_true(calls > 100);
		assert_int_equal(ptn_hash_iterate(t.worker, t.hash, &cursor, 1, see, &seen), 0);
		table_close(&t);
	}
}

static int stop(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	return -42;
}

static void iterate__stops_and_checks(void **state)
{
	uint64_t cursor = 0;
	struct table t;

	table_open(&t, 1, 2, 1);
	assert_int_equal(ptn_hash_iterate(t.worker, t.hash, &cursor, 5, stop, NULL), 0);
	cursor = 0;
	assert_int_equal(ptn_hash_put(t.worker, t.hash, "k", 1, "v", 1), 0);
	assert_int_equal(ptn_hash_iterate(t.worker, t.hash, &cursor, 5, stop, NULL), -42);
	cursor = UINT64_MAX;
	assert_int_equal(ptn_hash_iterate(t.worker, t.hash, &cursor, 5, stop, NULL), -EINVAL);
	assert_int_equal(ptn_hash_iterate(t.worker, t.hash, &cursor, 0, stop, NULL), -EINVAL);
	table_close(&t);
}

/* --- growth ------------------------------------------------------------------------------------------ */

/* Through the directory's first pieces, another client's cache following by epochs and by itself. */
static void growth__reaches_other_clients(void **state)
{
	struct ptn_client *second;
	struct ptn_hash *hash;
	struct table t;
	unsigned got;
	size_t len;

	table_open(&t, 1, 2, 1);
	second = mock_client_new(t.world);
	hash = open_with(second, 2, 1);
	for (unsigned i = 0; i < 7000; i++) {
		assert_int_equal(ptn_hash_insert(t.worker, t.hash, &i, 4, &i, 4), 0);
		if (i % 50 == 0)
			mock_epoch(t.world);
	}
	for (unsigned i = 0; i < 7000; i += 3) {
		assert_int_equal(ptn_hash_get(mock_worker(second), hash, &i, 4, &got, 4, &len), 0);
		assert_int_equal(got, i);
	}
	hash_check(t.world, &check);
	assert_int_equal(check.key_count, 7000);
	assert_true(check.depth > 8); /* pieces are in use */
	assert_int_equal(check.leaked + check.superseded, 0);
	ptn_hash_close(hash);
	table_close(&t);
}

/* A full node refuses what needs room and keeps serving what does not. */
static void growth__ends_with_memory(void **state)
{
	unsigned i, got, full = 0;
	struct table t;
	size_t len;

	table_open(&t, 1, 2, 1);
	t.world->memory_limit = 40000;
	for (i = 0; i < 4000; i++) {
		int ret = ptn_hash_insert(t.worker, t.hash, &i, 4, &i, 4);

		if (ret == -ENOMEM && ++full == 20)
			break;
		assert_true(ret == 0 || ret == -ENOMEM);
	}
	assert_int_equal(full, 20);
	hash_check(t.world, &check);
	assert_int_equal(check.leaked + check.tentative + check.frozen, 0);
	for (unsigned k = 0; k < check.key_count; k++)
		assert_int_equal(ptn_hash_get(t.worker, t.hash, check.key[k].key, 4, &got, 4, &len),
				 0);
	i = 0;
	assert_int_equal(ptn_hash_delete(t.worker, t.hash, &i, 4), 0);
	table_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cost__is_within_budget),
		cmocka_unit_test(multi_get__costs_as_one),
		cmocka_unit_test(multi_update__costs_as_one),
		cmocka_unit_test(input__is_checked),
		cmocka_unit_test(model__one_node),
		cmocka_unit_test(model__wide_subtables),
		cmocka_unit_test(model__three_nodes),
		cmocka_unit_test(iterate__meets_each_key_once),
		cmocka_unit_test(iterate__stops_and_checks),
		cmocka_unit_test(growth__reaches_other_clients),
		cmocka_unit_test(growth__ends_with_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
