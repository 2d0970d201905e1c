/* SPDX-License-Identifier: MIT */
/*
 * Three processes on one host: a node, a client that publishes blocks in words of the root and is
 * killed, and this one, which frees some of its blocks one-sidedly, adopts its chunks and must never
 * be given what is still published.
 */
#include "tests/support/child.h"
#include "tests/support/space_use.h"

#include <patronus/client.h>
#include <signal.h>

enum {
	PUBLISHED = 200,
	FREED = 80, /* of them, by the other process */
	LEN = 1000,
};

static char address[64];

static uint64_t slot_addr(struct ptni_space *space, int i)
{
	return ptni_space_root(space) + 8 * (uint64_t)i;
}

static void user_open(struct ptn_client **client, struct ptn_worker **worker,
		      struct ptni_space **space)
{
	const char *name = address;
	struct ptni_space_params params = { .kind = 1 };
	int ret = -ECONNREFUSED;

	for (int i = 0; ret && i < 500; i++) { /* the node is on its way */
		ret = ptn_client_open(&name, 1, NULL, client);
		if (ret)
			usleep(10000);
	}
	assert_int_equal(ret, 0);
	assert_int_equal(ptn_worker_open(*client, worker), 0);
	assert_int_equal(ptni_space_open(*worker, 0, "table", PTNI_SPACE_CREATE, &params, space),
			 0);
}

/* A test that fails leaves no process behind. */
static void die_with_parent(void)
{
	if (getppid() == 1)
		_exit(1);
}

static void node_main(void)
{
	struct ptn_node_options options = { .size = sizeof(options), .memory_bytes = 32 << 20 };
	struct ptn_node *node;

	die_with_parent();
	if (ptn_node_open(address, &options, &node))
		_exit(1);
	for (;;)
		pause();
}

static void owner_main(int ready)
{
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptni_space *space;
	uint64_t zero = 0, value;

	die_with_parent();
	user_open(&client, &worker, &space);
	for (int i = 0; i < PUBLISHED; i++) {
		struct ptni_block block = block_alloc(worker, space, LEN);

		if (word_write(worker, &block, block.addr) ||
		    word_use(worker, space, slot_addr(space, i), &zero, block.addr, &value))
			_exit(1);
	}
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static uint64_t published[PUBLISHED];

static int table_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		      const void *prefix, size_t prefix_len_bytes)
{
	for (int i = 0; i < PUBLISHED; i++)
		if (published[i] == addr)
			return 1;
	return 0;
}

static void survive(struct ptn_worker *worker, struct ptni_space *space, pid_t owner)
{
	uint64_t dead[FREED], value;
	unsigned block_class = ptni_block_class(LEN);
	int again = 0;

	for (int i = 0; i < PUBLISHED; i++) {
		assert_int_equal(
			word_use(worker, space, slot_addr(space, i), NULL, 0, &published[i]), 0);
		assert_int_equal(word_use(worker, space, published[i], NULL, 0, &value), 0);
		assert_true(value == published[i]);
	}
	for (int i = 0; i < FREED; i++) {
		struct ptni_block block = { .addr = published[i],
					    .block_class = (uint16_t)block_class };

		dead[i] = published[i];
		assert_int_equal(
			word_use(worker, space, slot_addr(space, i), &published[i], 0, &value), 0);
		published[i] = 0;
		block_retire(worker, space, &block);
	}
	assert_true(child_kill(owner));
	for (int round = 0; round < 400 && again < FREED / 2; round++) {
		for (int i = 0; i < 20; i++) {
			struct ptni_block block = block_alloc(worker, space, LEN);

			for (int j = 0; j < PUBLISHED; j++)
				assert_true(block.addr != published[j]);
			for (int j = 0; j < FREED; j++)
				again += block.addr == dead[j];
		}
		assert_int_equal(ptni_space_trim(worker, space), 0);
		usleep(5000);
	}
	assert_true(again >= FREED / 2);
	for (int i = FREED; i < PUBLISHED; i++) { /* what was acknowledged is there */
		assert_int_equal(word_use(worker, space, published[i], NULL, 0, &value), 0);
		assert_true(value == published[i]);
	}
}

static void killed_owners_blocks_are_kept_and_its_garbage_reused(void **state)
{
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptni_space *space;
	pid_t node, owner;
	char byte;
	int ready[2];

	(void)snprintf(address, sizeof(address), "shm:/tmp/ptn-alloc-%d.sock", getpid());
	assert_int_equal(pipe(ready), 0);
	node = child_fork();
	if (!node)
		node_main();
	owner = child_fork();
	if (!owner)
		owner_main(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	user_open(&client, &worker, &space);
	ptni_space_set_live(space, table_live, NULL);
	survive(worker, space, owner);
	ptni_space_close(space);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(client), 0);
	assert_true(child_kill(node));
	(void)unlink(address + 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(killed_owners_blocks_are_kept_and_its_garbage_reused,
					  children_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
