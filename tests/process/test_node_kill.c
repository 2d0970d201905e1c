/* SPDX-License-Identifier: MIT */
/*
 * A table on two nodes, one of which goes: its process is killed, or it closes. H13 of ds/hashtable/table.h: the
 * keys of the other one are served on, by old workers and new ones; what concerns the lost one fails in time,
 * item by item; everything can be closed.
 *
 * The test runs itself as the node that is killed: test_node_kill node ADDRESS
 */
#include "ds/hashtable/table.h"
#include "tests/support/child.h"

#include <patronus/client.h>
#include <patronus/error.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEYS = 400,
	NODES = 2,
	TRIES = 3000, /* of 10 ms, for a process to come up */
	MULTI = 64,
};
/* Long, for machines that are busy with other things: a node that goes loudly is noticed at once. */
#define TERM_NS UINT64_C(10000000000)

struct stage {
	char dir[32], address[NODES][48];
	struct ptn_node *node[NODES];
	pid_t pid; /* of the node that is a process of its own; 0 = none */
	unsigned lost;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
};

static const struct ptn_node_options node_options = { .size = sizeof(node_options),
						      .memory_bytes = (size_t)64 << 20 };

static void node_start(struct stage *stage, unsigned number)
{
	char self[] = "test_node_kill", role[] = "node";
	char *const argv[] = { self, role, stage->address[number], NULL };

	stage->pid = child_start(argv);
}

static void client_open(struct stage *stage)
{
	struct ptn_client_options options = { .size = sizeof(options), .term_ns = TERM_NS };
	const char *const address[] = { stage->address[0], stage->address[1] };
	int ret = -ECONNREFUSED;

	for (int i = 0; i < TRIES && (ret == -ECONNREFUSED || ret == -ENOENT); i++) {
		ret = ptn_client_open(address, NODES, &options, &stage->client);
		if (ret)
			poll(NULL, 0, 10);
	}
	assert_int_equal(ret, 0);
	assert_int_equal(ptn_worker_open(stage->client, &stage->worker), 0);
	assert_int_equal(ptn_hash_open(stage->worker, "t", NULL, &stage->hash), 0);
	for (uint32_t i = 0; i < KEYS; i++)
		assert_int_equal(
			ptn_hash_put(stage->worker, stage->hash, &i, sizeof(i), &i, sizeof(i)), 0);
}

static void stage_open(struct stage *stage, unsigned lost, bool process)
{
	*stage = (struct stage){ .lost = lost, .dir = "/tmp/ptn-node-XXXXXX" };
	assert_non_null(mkdtemp(stage->dir));
	for (unsigned i = 0; i < NODES; i++)
		snprintf(stage->address[i], sizeof(stage->address[i]), "shm:%s/%u", stage->dir, i);
	if (process)
		node_start(stage, lost);
	for (unsigned i = 0; i < NODES; i++)
		if (!process || i != lost)
			assert_int_equal(ptn_node_open(stage->address[i], &node_options,
						       &stage->node[i]),
					 0);
	client_open(stage);
}

static void lose(struct stage *stage)
{
	if (stage->pid) {
		(void)child_kill(stage->pid);
	} else {
		ptn_node_close(stage->node[stage->lost]);
		stage->node[stage->lost] = NULL;
	}
}

static void stage_close(struct stage *stage)
{
	ptn_hash_close(stage->hash);
	ptn_worker_close(stage->worker);
	assert_int_equal(ptn_client_close(stage->client), 0);
	for (unsigned i = 0; i < NODES; i++) {
		if (stage->node[i])
			ptn_node_close(stage->node[i]);
		unlink(stage->address[i] + strlen("shm:"));
	}
	rmdir(stage->dir);
}

static bool is_lost(const struct stage *stage, uint32_t key)
{
	return ptni_hash_key_node(stage->hash, &key, sizeof(key)) == stage->lost;
}

/* What an operation on the lost node may say. */
static bool is_told(int ret)
{
	return ptn_error_scope(ret) == PTN_SCOPE_NODE || ptn_error_scope(ret) == PTN_SCOPE_LANE ||
	       ret == PTN_E_OUTCOME_UNKNOWN || ret == -ETIMEDOUT;
}

static uint32_t use_all(struct stage *stage, struct ptn_worker *worker)
{
	uint32_t lost = 0, got = 0;
	size_t len;

	for (uint32_t i = 0; i < KEYS; i++) {
		int ret = ptn_hash_update(worker, stage->hash, &i, sizeof(i), &i, sizeof(i));

		assert_true(is_lost(stage, i) ? is_told(ret) : ret == 0);
		ret = ptn_hash_get(worker, stage->hash, &i, sizeof(i), &got, sizeof(got), &len);
		assert_true(is_lost(stage, i) ? is_told(ret) : ret == 0 && got == i);
		lost += is_lost(stage, i);
	}
	return lost;
}

static void use_many(struct stage *stage)
{
	struct ptn_hash_item item[MULTI];
	struct ptn_hash_write write[MULTI];
	uint32_t key[MULTI], got[MULTI];

	for (uint32_t i = 0; i < MULTI; i++) {
		key[i] = i;
		item[i] = (struct ptn_hash_item){ .key = &key[i],
						  .key_len_bytes = sizeof(key[i]),
						  .buffer = &got[i],
						  .capacity_bytes = sizeof(got[i]) };
		write[i] = (struct ptn_hash_write){ .key = &key[i],
						    .key_len_bytes = sizeof(key[i]),
						    .value = &key[i],
						    .value_len_bytes = sizeof(key[i]) };
	}
	assert_true(is_told(ptn_hash_multi_get(stage->worker, stage->hash, item, MULTI)));
	assert_true(is_told(ptn_hash_multi_update(stage->worker, stage->hash, write, MULTI)));
	for (uint32_t i = 0; i < MULTI; i++) {
		assert_true(is_lost(stage, i) ? is_told(item[i].result) :
						item[i].result == 0 && got[i] == i);
		assert_true(is_lost(stage, i) ? is_told(write[i].result) : write[i].result == 0);
	}
}

static int count(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	uint32_t *counted = arg;

	*counted += 1;
	return 0;
}

/* A walk passes over what is lost and visits the rest once. */
static void walk(struct stage *stage, uint32_t lost)
{
	uint32_t visited = 0, failed = 0;
	uint64_t cursor = 0;
	int ret = 1;

	while (ret && failed < KEYS) {
		ret = ptn_hash_iterate(stage->worker, stage->hash, &cursor, 16, count, &visited);
		assert_true(ret >= 0 || is_told(ret));
		failed += ret < 0;
	}
	assert_int_equal(ret, 0);
	assert_true(failed > 0);
	assert_int_equal(visited, KEYS - lost);
}

static void without_one(unsigned which, bool process)
{
	struct ptn_worker *second;
	struct stage stage;
	uint32_t lost;

	stage_open(&stage, which, process);
	lose(&stage);
	lost = use_all(&stage, stage.worker);
	assert_true(lost > KEYS / 8 && lost < KEYS - KEYS / 8); /* H12: it spreads */
	use_many(&stage);
	walk(&stage, lost);
	assert_int_equal(ptn_worker_open(stage.client, &second), 0);
	assert_int_equal(use_all(&stage, second), lost);
	ptn_worker_close(second);
	stage_close(&stage);
}

static void test_first_is_killed(void **state)
{
	without_one(0, true);
}

static void test_second_is_killed(void **state)
{
	without_one(1, true);
}

static void test_first_closes(void **state)
{
	without_one(0, false);
}

static void test_second_closes(void **state)
{
	without_one(1, false);
}

static int node_main(const char *address)
{
	struct ptn_node *node;

	if (ptn_node_open(address, &node_options, &node))
		return 1;
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_first_is_killed, children_end),
		cmocka_unit_test_teardown(test_second_is_killed, children_end),
		cmocka_unit_test_teardown(test_first_closes, children_end),
		cmocka_unit_test_teardown(test_second_closes, children_end),
	};

	if (argc == 3 && !strcmp(argv[1], "node"))
		return node_main(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
