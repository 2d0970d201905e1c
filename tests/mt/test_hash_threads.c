/* SPDX-License-Identifier: MIT */
/*
 * Threads of two clients on one table that grows under them, with the keepers' and the node's own threads: H1 to H9
 * of ds/hashtable/table.h where the thread sanitizer sees it. Each thread alone writes its own keys, everybody
 * reads all; a few hot keys are written by all.
 */
#include "core/base/rng.h"
#include "core/base/sanitizer.h"
#include "tests/support/versioned.h"

#include <patronus/client.h>
#include <patronus/error.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

enum {
	CLIENTS = 2,
	THREADS = 4,
	OWN_KEYS = 3000,
	HOT_KEYS = 8,
	ROUNDS = PTNI_TSAN ? 3000 : 9000
};

struct thread {
	struct shared *shared;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	uint32_t number;
	int error, where;
	struct ptni_rng rng;
	_Atomic uint64_t hot_begun;
	struct versioned_key key[OWN_KEYS];
};

struct shared {
	struct ptn_node *node;
	struct ptn_client *client[CLIENTS];
	struct ptn_hash *hash[CLIENTS];
	struct thread thread[THREADS];
};

#define FAIL_UNLESS(thread, condition, code)                         \
	do {                                                         \
		if (!(condition)) {                                  \
			(thread)->where = __LINE__;                  \
			(thread)->error = (code) ? (code) : -EPROTO; \
			return false;                                \
		}                                                    \
	} while (0)

static bool write_own(struct thread *thread)
{
	struct versioned_name name = { thread->number,
				       (uint32_t)ptni_rng_below(&thread->rng, OWN_KEYS) };
	struct versioned_key *key = &thread->key[name.number];
	uint32_t version = atomic_load(&key->begun) + 1;
	uint8_t value[VERSIONED_VALUE_MAX];
	size_t len = versioned_value(name.owner, name.number, version, value);
	bool was_absent = versioned_absent(version - 1);
	int ret;

	atomic_store(&key->begun, version);
	if (versioned_absent(version))
		ret = ptn_hash_delete(thread->worker, thread->hash, &name, sizeof(name));
	else if (version % 3 == 0)
		ret = ptn_hash_put(thread->worker, thread->hash, &name, sizeof(name), value, len);
	else if (was_absent)
		ret = ptn_hash_insert(thread->worker, thread->hash, &name, sizeof(name), value,
				      len);
	else
		ret = ptn_hash_update(thread->worker, thread->hash, &name, sizeof(name), value,
				      len);
	FAIL_UNLESS(thread, !ret, ret);
	atomic_store(&key->told, version);
	return true;
}

static bool read_any(struct thread *thread)
{
	struct versioned_name name[4];
	struct ptn_hash_item item[4];
	uint8_t value[4][VERSIONED_VALUE_MAX];
	uint32_t told[4];
	size_t count = ptni_rng_chance(&thread->rng, 1, 3) ? 4 : 1;
	int ret = 0;

	for (size_t i = 0; i < count; i++) {
		name[i].owner = (uint32_t)ptni_rng_below(&thread->rng, THREADS);
		name[i].number = (uint32_t)ptni_rng_below(&thread->rng, OWN_KEYS);
		told[i] = atomic_load(
			&thread->shared->thread[name[i].owner].key[name[i].number].told);
		item[i] = (struct ptn_hash_item){ &name[i], sizeof(name[i]),
						  value[i], VERSIONED_VALUE_MAX,
						  0,        1 };
	}
	if (count > 1)
		ret = ptn_hash_multi_get(thread->worker, thread->hash, item, count);
	else
		item[0].result = ptn_hash_get(thread->worker, thread->hash, &name[0],
					      sizeof(name[0]), value[0], VERSIONED_VALUE_MAX,
					      &item[0].len_bytes);
	FAIL_UNLESS(thread, !ret, ret);
	for (size_t i = 0; i < count; i++) {
		struct thread *owner = &thread->shared->thread[name[i].owner];
		uint32_t begun = atomic_load(&owner->key[name[i].number].begun);
		struct versioned_name shown = { 0 };
		uint64_t version = 0;

		FAIL_UNLESS(thread, !item[i].result || item[i].result == -ENOENT, item[i].result);
		FAIL_UNLESS(thread,
			    item[i].result ||
				    (versioned_whole(value[i], item[i].len_bytes, &shown.owner,
						     &shown.number, &version) &&
				     shown.owner == name[i].owner &&
				     shown.number == name[i].number),
			    0);
		FAIL_UNLESS(thread, versioned_plausible(item[i].result, version, told[i], begun),
			    0);
	}
	return true;
}

static bool touch_hot(struct thread *thread)
{
	struct versioned_name name = { THREADS, (uint32_t)ptni_rng_below(&thread->rng, HOT_KEYS) };
	struct versioned_name shown;
	uint8_t value[VERSIONED_VALUE_MAX];
	uint64_t version;
	size_t len;
	int ret;

	switch (ptni_rng_below(&thread->rng, 8)) {
	case 0:
		ret = ptn_hash_delete(thread->worker, thread->hash, &name, sizeof(name));
		break;
	case 1:
	case 2:
	case 3:
		version = atomic_fetch_add(&thread->hot_begun, 1) + 1;
		len = versioned_value(thread->number, name.number, version, value);
		ret = ptn_hash_put(thread->worker, thread->hash, &name, sizeof(name), value, len);
		break;
	case 4:
		version = atomic_fetch_add(&thread->hot_begun, 1) + 1;
		len = versioned_value(thread->number, name.number, version, value);
		ret = ptn_hash_insert(thread->worker, thread->hash, &name, sizeof(name), value,
				      len);
		break;
	default:
		ret = ptn_hash_get(thread->worker, thread->hash, &name, sizeof(name), value,
				   sizeof(value), &len);
		FAIL_UNLESS(
			thread,
			ret || (versioned_whole(value, len, &shown.owner, &shown.number,
						&version) &&
				shown.owner < THREADS && shown.number == name.number &&
				version <= atomic_load(
						   &thread->shared->thread[shown.owner].hot_begun)),
			0);
	}
	FAIL_UNLESS(thread, !ret || ret == -ENOENT || ret == -EEXIST, ret);
	return true;
}

static int count_visit(void *arg, const void *key, size_t key_len, const void *value,
		       size_t value_len)
{
	uint32_t owner, number;
	uint64_t version;

	*(uint64_t *)arg += versioned_whole(value, value_len, &owner, &number, &version);
	return 0;
}

/* Walk along while the others write. */
static bool walk(struct thread *thread)
{
	uint64_t cursor = 0, count = 0;
	int ret;

	while ((ret = ptn_hash_iterate(thread->worker, thread->hash, &cursor, 500, count_visit,
				       &count)) == 1)
		;
	FAIL_UNLESS(thread, !ret, ret);
	FAIL_UNLESS(thread, count <= THREADS * OWN_KEYS + HOT_KEYS, 0);
	return true;
}

static void *thread_main(void *arg)
{
	struct thread *thread = arg;

	for (unsigned i = 0; i < ROUNDS; i++)
		if (!write_own(thread) || !read_any(thread) || !touch_hot(thread) ||
		    (i % (ROUNDS / 3) == thread->number * 500 && !walk(thread)))
			break;
	return NULL;
}

static void shared_open(struct shared *shared)
{
	const char *address = "inproc:hash-threads";
	struct ptn_node_options options = { .size = sizeof(options),
					    .memory_bytes = (size_t)128 << 20 };
	/* long enough for a machine that is busy with other things */
	struct ptn_client_options client = { .size = sizeof(client), .term_ns = 20000000000 };
	struct ptn_hash_options table = { .size = sizeof(table), .cache_entries = 4096 };

	assert_int_equal(ptn_node_open(address, &options, &shared->node), 0);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_int_equal(ptn_client_open(&address, 1, &client, &shared->client[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		struct thread *thread = &shared->thread[i];
		unsigned number = i % CLIENTS;

		thread->shared = shared;
		thread->number = i;
		ptni_rng_seed(&thread->rng, i + 1);
		assert_int_equal(ptn_worker_open(shared->client[number], &thread->worker), 0);
		if (!shared->hash[number])
			assert_int_equal(ptn_hash_open(thread->worker, "threads", &table,
						       &shared->hash[number]),
					 0);
		thread->hash = shared->hash[number];
	}
}

static void final_state(struct shared *shared, struct thread *reader)
{
	uint8_t value[VERSIONED_VALUE_MAX];
	struct versioned_name shown;
	uint64_t version;
	size_t len;

	for (uint32_t t = 0; t < THREADS; t++)
		for (uint32_t k = 0; k < OWN_KEYS; k++) {
			struct versioned_name name = { t, k };
			uint32_t told = atomic_load(&shared->thread[t].key[k].told);
			int ret = ptn_hash_get(reader->worker, reader->hash, &name, sizeof(name),
					       value, sizeof(value), &len);

			assert_int_equal(ret, versioned_absent(told) ? -ENOENT : 0);
			if (ret)
				continue;
			assert_true(
				versioned_whole(value, len, &shown.owner, &shown.number, &version));
			assert_int_equal(version, told);
		}
}

static void shared_close(struct shared *shared)
{
	struct ptn_node_info info;
	const char *name = "threads";

	for (unsigned i = 0; i < CLIENTS; i++)
		ptn_hash_close(shared->hash[i]);
	for (unsigned i = 1; i < THREADS; i++)
		ptn_worker_close(shared->thread[i].worker);
	assert_int_equal(ptn_client_close(shared->client[1]), 0);
	assert_int_equal(ptn_hash_drop(shared->thread[0].worker, name), 0);
	ptn_worker_close(shared->thread[0].worker);
	assert_int_equal(ptn_client_close(shared->client[0]), 0);
	assert_int_equal(ptn_node_info(shared->node, &info), 0);
	ptn_node_close(shared->node);
}

static void threads__share_a_table(void **state)
{
	static struct shared shared;
	pthread_t thread[THREADS];
	struct ptn_hash_info info;

	shared_open(&shared);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, thread_main, &shared.thread[i]),
				 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		if (shared.thread[i].error) {
			struct ptn_cause cause;

			ptn_worker_cause(shared.thread[i].worker, &cause);
			print_error("cause: %s\n", cause.where ? cause.where : "unknown");
			fail_msg("thread %u, line %d: %s (%d)", i, shared.thread[i].where,
				 ptn_strerror(shared.thread[i].error), shared.thread[i].error);
		}
	final_state(&shared, &shared.thread[0]);
	final_state(&shared, &shared.thread[1]);
	assert_int_equal(ptn_hash_info(shared.thread[0].worker, shared.hash[0], &info), 0);
	assert_true(info.subtables > 1); /* it did grow */
	shared_close(&shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads__share_a_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
