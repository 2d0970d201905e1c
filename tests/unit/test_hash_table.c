/* SPDX-License-Identifier: MIT */
/* The hash table on the layers it is made for: a node with its thread, clients, the software NIC. */
#include "core/base/rng.h"
#include "core/base/sanitizer.h"
#include "core/worker.h"

#include <patronus/client.h>
#include <patronus/counters.h>
#include <patronus/error.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
	SLOW = PTNI_ASAN || PTNI_TSAN,
	MANY_KEYS = SLOW ? 12000 : 100000,
	VALUE_ROOM = PTN_VALUE_MAX + 64
};

struct bed {
	struct ptn_node *node;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	uint64_t baseline_bytes;
	uint8_t *value, *got;
};

static const char *const address = "inproc:hash-table";

static struct ptn_client *client_open(void)
{
	/* long enough for a machine that is busy with other things */
	struct ptn_client_options options = { .size = sizeof(options), .term_ns = 20000000000 };
	struct ptn_client *client;

	assert_int_equal(ptn_client_open(&address, 1, &options, &client), 0);
	return client;
}

static void bed_open(struct bed *bed)
{
	struct ptn_node_options options = { .size = sizeof(options),
					    .memory_bytes = (size_t)128 << 20 };
	struct ptn_node_info info;

	assert_int_equal(ptn_node_open(address, &options, &bed->node), 0);
	assert_int_equal(ptn_node_info(bed->node, &info), 0);
	bed->baseline_bytes = info.memory_used_bytes;
	bed->client = client_open();
	assert_int_equal(ptn_worker_open(bed->client, &bed->worker), 0);
	assert_int_equal(ptn_hash_open(bed->worker, "t", NULL, &bed->hash), 0);
	bed->value = malloc(VALUE_ROOM);
	bed->got = malloc(VALUE_ROOM);
	assert_true(bed->value && bed->got);
}

/* The node counts what a space gives back when the grace period has passed. */
static void await_baseline(struct bed *bed)
{
	struct ptn_node_info info;

	for (unsigned i = 0;; i++) {
		assert_int_equal(ptn_node_info(bed->node, &info), 0);
		if (info.memory_used_bytes == bed->baseline_bytes)
			return;
		if (i == 5000)
			fail_msg("%lu bytes are still in use",
				 (unsigned long)(info.memory_used_bytes - bed->baseline_bytes));
		poll(NULL, 0, 1);
	}
}

static void bed_close(struct bed *bed)
{
	ptn_hash_close(bed->hash);
	assert_int_equal(ptn_hash_drop(bed->worker, "t"), 0);
	assert_int_equal(ptn_hash_drop(bed->worker, "t"), -ENOENT);
	ptn_worker_close(bed->worker);
	assert_int_equal(ptn_client_close(bed->client), 0);
	await_baseline(bed);
	ptn_node_close(bed->node);
	free(bed->value);
	free(bed->got);
}

static void reopen(struct bed *bed)
{
	ptn_hash_close(bed->hash);
	assert_int_equal(ptn_hash_open(bed->worker, "t", NULL, &bed->hash), 0);
}

/* --- cost --------------------------------------------------------------------------------------------- */

static void expect_cost(struct bed *bed, struct ptn_counters *before, uint64_t round_trips,
			uint64_t verbs, uint64_t bytes_max)
{
	struct ptn_counters now;

	ptn_worker_counters(bed->worker, &now);
	assert_int_equal(now.round_trips - before->round_trips, round_trips);
	assert_int_equal(now.verbs_read + now.verbs_write + now.verbs_cas + now.verbs_faa -
				 before->verbs_read - before->verbs_write - before->verbs_cas -
				 before->verbs_faa,
			 verbs);
	assert_in_range(now.bytes_read + now.bytes_written - before->bytes_read -
				before->bytes_written,
			1, bytes_max);
	*before = now;
}

/* The budgets of the design for a record of 16 bytes, on the counters of the real batch layer. */
static void cost__is_within_budget(void **state)
{
	struct ptn_counters cost;
	struct bed bed;
	char got[8];
	size_t len;

	bed_open(&bed);
	/* the first block brings a chunk, which is a call */
	assert_int_equal(ptn_hash_put(bed.worker, bed.hash, "warm-up1", 8, "12345678", 8), 0);
	ptn_worker_counters(bed.worker, &cost);
	assert_int_equal(ptn_hash_insert(bed.worker, bed.hash, "key-0001", 8, "12345678", 8), 0);
	expect_cost(&bed, &cost, 3, 6, 640);
	assert_int_equal(ptn_hash_get(bed.worker, bed.hash, "key-0001", 8, got, 8, &len), 0);
	expect_cost(&bed, &cost, 1, 2, 72);
	assert_int_equal(ptn_hash_update(bed.worker, bed.hash, "key-0001", 8, "abcdefgh", 8), 0);
	expect_cost(&bed, &cost, 1, 2, 72);
	assert_int_equal(ptn_hash_get(bed.worker, bed.hash, "key-none", 8, got, 8, &len), -ENOENT);
	expect_cost(&bed, &cost, 1, 2, 256);
	reopen(&bed);
	assert_int_equal(ptn_hash_get(bed.worker, bed.hash, "warm-up1", 8, got, 8, &len), 0);
	ptn_worker_counters(bed.worker, &cost);
	assert_int_equal(ptn_hash_get(bed.worker, bed.hash, "key-0001", 8, got, 8, &len), 0);
	assert_memory_equal(got, "abcdefgh", 8);
	expect_cost(&bed, &cost, 2, 3, 320);
	assert_int_equal(ptn_hash_delete(bed.worker, bed.hash, "key-0001", 8), 0);
	ptn_worker_counters(bed.worker, &cost);
	assert_int_equal(ptn_hash_delete(bed.worker, bed.hash, "key-0001", 8), -ENOENT);
	expect_cost(&bed, &cost, 1, 2, 256);
	bed_close(&bed);
}

/* --- sizes ---------------------------------------------------------------------------------------------- */

static void fill(uint8_t *bytes, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed * 131 + i * 7 + (i >> 8));
}

static void put_and_get(struct bed *bed, size_t key_len, size_t value_len)
{
	uint8_t key[PTN_KEY_MAX];
	size_t len = 0;

	fill(key, key_len, key_len + 3);
	fill(bed->value, value_len, value_len + key_len);
	assert_int_equal(ptn_hash_put(bed->worker, bed->hash, key, key_len, bed->value, value_len),
			 0);
	memset(bed->got, 0xee, value_len + 1);
	assert_int_equal(
		ptn_hash_get(bed->worker, bed->hash, key, key_len, bed->got, VALUE_ROOM, &len), 0);
	assert_int_equal(len, value_len);
	assert_int_equal(memcmp(bed->got, bed->value, len), 0);
	assert_int_equal(bed->got[len], 0xee);
	if (!value_len)
		return;
	memset(bed->got, 0xee, value_len);
	assert_int_equal(ptn_hash_get(bed->worker, bed->hash, key, key_len, bed->got, value_len / 2,
				      &len),
			 -ENOBUFS);
	assert_int_equal(len, value_len);
	assert_int_equal(memcmp(bed->got, bed->value, value_len / 2), 0);
	assert_int_equal(bed->got[value_len / 2], 0xee);
}

/* Keys and values of every length that matters; the same key grows and shrinks. */
static void sizes__from_nothing_to_the_most(void **state)
{
	const size_t keys[] = { 1, 7, 8, 9, 63, 64, 65, 1023, 1024 };
	const size_t values[] = {
		0, 1, 15, 16, 17, 240, 4096, 65528, 65536, 70000, 400000, 1 << 20
	};
	struct bed bed;

	bed_open(&bed);
	for (unsigned k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		for (unsigned v = 0; v < sizeof(values) / sizeof(values[0]); v++)
			put_and_get(&bed, keys[k], values[v]);
		put_and_get(&bed, keys[k], 3);
	}
	reopen(&bed);
	put_and_get(&bed, 8, PTN_VALUE_MAX);
	assert_int_equal(ptn_hash_put(bed.worker, bed.hash, "k", 1, bed.value, PTN_VALUE_MAX + 1),
			 -EINVAL);
	assert_int_equal(ptn_hash_put(bed.worker, bed.hash, bed.value, PTN_KEY_MAX + 1, "v", 1),
			 -EINVAL);
	bed_close(&bed);
}

/* --- growth --------------------------------------------------------------------------------------------- */

struct tally {
	uint8_t seen[MANY_KEYS];
	uint64_t visits;
};

static int tally_visit(void *arg, const void *key, size_t key_len, const void *value,
		       size_t value_len)
{
	struct tally *tally = arg;
	uint32_t number;

	if (key_len != 4 || value_len != 4 || memcmp(key, value, 4))
		return -EPROTO;
	memcpy(&number, key, 4);
	tally->visits++;
	return number >= MANY_KEYS || tally->seen[number]++ ? -EPROTO : 0;
}

/* From one subtable on; every key stays reachable, for this client and for another one. */
static void growth__keeps_every_key(void **state)
{
	struct ptn_hash_info info;
	struct ptn_client *second = NULL;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	struct tally *tally = calloc(1, sizeof(*tally));
	uint64_t cursor = 0;
	struct bed bed;
	uint32_t got;
	size_t len;
	int ret;

	assert_non_null(tally);
	bed_open(&bed);
	second = client_open();
	assert_int_equal(ptn_worker_open(second, &worker), 0);
	assert_int_equal(ptn_hash_open(worker, "t", NULL, &hash), 0);
	assert_int_equal(ptn_hash_info(worker, hash, &info), 0);
	assert_int_equal(info.subtables, 1);
	for (uint32_t i = 0; i < MANY_KEYS; i++)
		assert_int_equal(ptn_hash_insert(i % 7 ? bed.worker : worker,
						 i % 7 ? bed.hash : hash, &i, 4, &i, 4),
				 0);
	for (uint32_t i = 0; i < MANY_KEYS; i++) {
		assert_int_equal(ptn_hash_get(i % 2 ? bed.worker : worker, i % 2 ? bed.hash : hash,
					      &i, 4, &got, 4, &len),
				 0);
		assert_int_equal(got, i);
	}
	while ((ret = ptn_hash_iterate(worker, hash, &cursor, 5000, tally_visit, tally)) == 1)
		;
	assert_int_equal(ret, 0);
	assert_int_equal(tally->visits, MANY_KEYS);
	assert_int_equal(ptn_hash_info(worker, hash, &info), 0);
	assert_int_equal(info.entries, MANY_KEYS);
	assert_int_equal(info.live_bytes, 8 * MANY_KEYS);
	assert_true(info.subtables > 2 && info.slots > info.entries);
	assert_int_equal(ptn_hash_drop(bed.worker, "t"), -EBUSY);
	ptn_hash_close(hash);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(second), 0);
	bed_close(&bed);
	free(tally);
}

/* Memory that updates free comes back: the table does not grow with the number of updates. */
static void updates__reuse_memory(void **state)
{
	const unsigned updates = SLOW ? 20000 : 300000;
	struct ptn_hash_info before, after;
	struct bed bed;

	bed_open(&bed);
	for (uint32_t i = 0; i < updates; i++) {
		uint32_t key = i % 500;

		assert_int_equal(ptn_hash_put(bed.worker, bed.hash, &key, 4, bed.value, 200), 0);
		if (i == updates / 2)
			assert_int_equal(ptn_hash_info(bed.worker, bed.hash, &before), 0);
	}
	assert_int_equal(ptn_hash_info(bed.worker, bed.hash, &after), 0);
	assert_int_equal(after.entries, 500);
	/* at most as much again: what waits for its grace period when the machine is slow */
	assert_true(after.held_bytes <= 2 * before.held_bytes + (8 << 20));
	bed_close(&bed);
}

/* --- opening ---------------------------------------------------------------------------------------------- */

static void open__as_asked(void **state)
{
	struct ptn_hash_options options = { .size = sizeof(options), .create = 0xff };
	struct ptn_hash_info info;
	struct ptn_hash *hash;
	struct bed bed;

	bed_open(&bed);
	assert_int_equal(ptn_hash_open(bed.worker, "other", &options, &hash), -ENOENT);
	options.create = 2;
	assert_int_equal(ptn_hash_open(bed.worker, "t", &options, &hash), -EEXIST);
	options.create = 1; /* the same table twice */
	assert_int_equal(ptn_hash_open(bed.worker, "t", &options, &hash), -EBUSY);
	options.create = 3;
	assert_int_equal(ptn_hash_open(bed.worker, "t", &options, &hash), -EINVAL);
	options.create = 1;
	options.initial_slots = UINT64_C(1) << 60;
	assert_int_equal(ptn_hash_open(bed.worker, "other", &options, &hash), -EINVAL);
	options.initial_slots = 20000;
	options.cache_entries = UINT64_MAX;
	assert_int_equal(ptn_hash_open(bed.worker, "other", &options, &hash), 0);
	assert_int_equal(ptn_hash_info(bed.worker, hash, &info), 0);
	assert_true(info.slots >= 20000);
	assert_int_equal(info.entries, 0);
	assert_int_equal(ptn_hash_put(bed.worker, hash, "k", 1, "v", 1), 0);
	assert_int_equal(ptn_hash_update(bed.worker, hash, "k", 1, "w", 1), 0);
	ptn_hash_close(hash);
	assert_int_equal(ptn_hash_drop(bed.worker, "other"), 0);
	assert_int_equal(ptn_hash_drop(bed.worker, "never"), -ENOENT);
	bed_close(&bed);
}

/* A client knows the node's epoch before its first operation: what that retires is tagged by it. */
static void open__knows_the_epoch(void **state)
{
	struct ptn_client_options options = { .size = sizeof(options),
					      .manual_keeper = 1,
					      .term_ns = 20000000000 };
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptni_epochs epochs;
	struct ptn_hash *hash;
	struct bed bed;

	bed_open(&bed);
	assert_int_equal(ptn_client_open(&address, 1, &options, &client), 0);
	ptni_client_epochs(client, 0, &epochs);
	assert_true(epochs.epoch >= 1);
	assert_int_equal(ptn_worker_open(client, &worker), 0);
	assert_int_equal(ptn_hash_open(worker, "t", NULL, &hash), 0);
	assert_int_equal(ptn_hash_put(worker, hash, "k", 1, "v", 1), 0);
	ptn_hash_close(hash);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(client), 0);
	bed_close(&bed);
}

/* --- fibers ------------------------------------------------------------------------------------------------ */

enum {
	FIBERS = 12,
	FIBER_KEYS = SLOW ? 300 : 1500
};

struct strand {
	struct bed *bed;
	uint32_t number;
	unsigned wrong;
};

static void strand_main(void *arg)
{
	struct strand *strand = arg;
	struct bed *bed = strand->bed;

	for (uint32_t i = 0; i < FIBER_KEYS; i++) {
		uint32_t key = strand->number << 16 | i, hot = i % 3, got = 0;
		size_t len;

		strand->wrong += ptn_hash_put(bed->worker, bed->hash, &hot, 4, &key, 4) != 0;
		strand->wrong += ptn_hash_insert(bed->worker, bed->hash, &key, 4, &key, 4) != 0;
		strand->wrong += ptn_hash_get(bed->worker, bed->hash, &key, 4, &got, 4, &len) != 0;
		strand->wrong += got != key;
	}
}

/* Operations of one worker side by side, splits among them. */
static void fibers__share_a_worker(void **state)
{
	struct strand strand[FIBERS];
	struct ptn_hash_info info;
	struct bed bed;

	bed_open(&bed);
	for (uint32_t i = 0; i < FIBERS; i++) {
		strand[i] = (struct strand){ &bed, i + 1, 0 };
		assert_int_equal(ptni_worker_spawn(bed.worker, strand_main, &strand[i]), 0);
	}
	while (ptni_worker_run(bed.worker))
		;
	for (uint32_t i = 0; i < FIBERS; i++)
		assert_int_equal(strand[i].wrong, 0);
	assert_int_equal(ptn_hash_info(bed.worker, bed.hash, &info), 0);
	assert_int_equal(info.entries, FIBERS * FIBER_KEYS + 3);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cost__is_within_budget),
		cmocka_unit_test(sizes__from_nothing_to_the_most),
		cmocka_unit_test(growth__keeps_every_key),
		cmocka_unit_test(updates__reuse_memory),
		cmocka_unit_test(open__as_asked),
		cmocka_unit_test(open__knows_the_epoch),
		cmocka_unit_test(fibers__share_a_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
