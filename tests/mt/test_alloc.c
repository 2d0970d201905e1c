/* SPDX-License-Identifier: MIT */
/*
 * Workers of several clients, in threads of their own, that allocate blocks, hand them over through
 * words of the root and free each other's. Every block's address is looked up in a table of this
 * process: one that is handed out while somebody still has it is found at once, and so is one that
 * is handed out while a reader, who began before it was freed, may still look at it.
 */
#include "alloc/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <patronus/client.h>
#include <patronus/node.h>
#include <pthread.h>
#include <stdlib.h>

enum {
	CLIENTS = 2,
	THREADS = 4,
	ROUNDS = 4000,
	SLOTS = 64, /* words of the root, from 512 on */
	GRAINS = (32 << 20) / 16,
};

static struct ptn_node *node;
static struct ptn_client *client[CLIENTS];
static struct ptni_space *space[CLIENTS];
static uint64_t region;
static _Atomic uint32_t
	taken[GRAINS]; /* by address / 16: how often it was handed out, odd = in use */

struct thread_work {
	unsigned number;
	uint64_t wrong, replaced;
	int error;
};

static _Atomic uint32_t *grain(uint64_t addr)
{
	return &taken[(addr - region) / 16];
}

/* {class 8, address / 16}: what the words of the root hold. */
static uint64_t pack(const struct ptni_block *block)
{
	return (uint64_t)block->block_class << 56 | (block->addr - region) / 16;
}

static uint64_t unpack(uint64_t word, unsigned *class_out)
{
	*class_out = (unsigned)(word >> 56);
	return region + (word & 0xffffffffff) * 16;
}

/* READ the slot; look at its block twice within one operation: it stays the same one. */
static int look(struct thread_work *work, struct ptni_op *op, struct ptni_space *at, uint64_t slot,
		uint64_t *word_out)
{
	uint64_t *copy = ptni_op_buffer(op, 8);
	const struct ptni_window *window;
	struct ptni_batch batch;
	uint32_t before;
	unsigned block_class;
	int ret = ptni_space_window_fetch(op, at, slot, &window);

	if (ret)
		return ret;
	ptni_batch_init(&batch, op, 0);
	ptni_batch_read(&batch, window, slot, copy, 8);
	ret = ptni_batch_run(&batch);
	*word_out = *copy;
	if (ret || !*word_out)
		return ret;
	before = atomic_load(grain(unpack(*word_out, &block_class)));
	ptni_batch_init(&batch, op, 0);
	ptni_batch_read(&batch, window, slot, copy, 8);
	ret = ptni_batch_run(&batch);
	/* it may have been retired meanwhile, but not handed out again */
	if (atomic_load(grain(unpack(*word_out, &block_class))) > ((before + 1) & ~UINT32_C(1)))
		work->wrong++;
	return ret;
}

static int replace(struct thread_work *work, struct ptn_worker *worker, struct ptni_space *at,
		   struct ptni_rng *rng)
{
	uint64_t slot = ptni_space_root(at) + 512 + 8 * ptni_rng_below(rng, SLOTS), word, *copy;
	const struct ptni_window *window;
	struct ptni_batch batch;
	struct ptni_block block;
	struct ptni_op op;
	unsigned old_class;
	uint64_t old;
	int ret = ptni_op_begin(worker, &op);

	if (ret)
		return ret;
	ret = look(work, &op, at, slot, &word);
	if (!ret)
		ret = ptni_block_alloc(&op, at, 40 + ptni_rng_below(rng, 3) * 900, &block);
	if (ret) {
		ptni_op_end(&op);
		return ret;
	}
	if (atomic_fetch_add(grain(block.addr), 1) % 2)
		work->wrong++; /* somebody has it */
	copy = ptni_op_buffer(&op, 8);
	ret = ptni_space_window_fetch(&op, at, slot, &window);
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, block.window, block.addr, copy, 8);
	ptni_batch_cas(&batch, window, slot, word, pack(&block), copy);
	ret = ret ? ret : ptni_batch_run(&batch);
	if (!ret && *copy == word) {
		work->replaced++;
		old = word ? unpack(word, &old_class) : 0;
		if (old) {
			atomic_fetch_add(grain(old), 1);
			ptni_block_retire(&op, at, old, old_class);
		}
	} else if (!ret) {
		atomic_fetch_add(grain(block.addr), 1);
		ptni_block_cancel(&op, at, &block);
	}
	ptni_op_end(&op);
	return ret;
}

static void *thread_main(void *arg)
{
	struct thread_work *work = arg;
	struct ptni_space *at = space[work->number % CLIENTS];
	struct ptn_worker *worker;
	struct ptni_rng rng;

	ptni_rng_seed(&rng, work->number + 1);
	work->error = ptn_worker_open(client[work->number % CLIENTS], &worker);
	for (int i = 0; !work->error && i < ROUNDS; i++) {
		work->error = replace(work, worker, at, &rng);
		if (i == ROUNDS / 2 && !work->error) { /* leave, and come again */
			ptn_worker_close(worker);
			work->error = ptn_worker_open(client[work->number % CLIENTS], &worker);
		}
	}
	if (!work->error)
		work->error = ptni_space_trim(worker, at);
	ptn_worker_close(worker);
	return NULL;
}

static void setup(void)
{
	const char *address = "inproc:mt-alloc";
	struct ptn_node_options options = { .size = sizeof(options),
					    .memory_bytes = 32 << 20,
					    .epoch_min_ns = 1000000,
					    .term_ns = UINT64_C(5000000000) };
	struct ptni_space_params params = { .kind = 1 };
	struct ptn_worker *worker;

	assert_int_equal(ptn_node_open(address, &options, &node), 0);
	for (int i = 0; i < CLIENTS; i++) {
		params = (struct ptni_space_params){ .kind = 1 };
		assert_int_equal(ptn_client_open(&address, 1, NULL, &client[i]), 0);
		assert_int_equal(ptn_worker_open(client[i], &worker), 0);
		assert_int_equal(
			ptni_space_open(worker, 0, "mt", PTNI_SPACE_CREATE, &params, &space[i]), 0);
		ptn_worker_close(worker);
	}
	region = ptni_client_node(client[0], 0)->region_addr;
}

static void nobody_gets_what_another_has(void **state)
{
	struct thread_work work[THREADS] = { 0 };
	pthread_t thread[THREADS];
	uint64_t replaced = 0;

	setup();
	for (unsigned i = 0; i < THREADS; i++) {
		work[i].number = i;
		assert_int_equal(pthread_create(&thread[i], NULL, thread_main, &work[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(work[i].error, 0);
		assert_int_equal(work[i].wrong, 0);
		replaced += work[i].replaced;
	}
	assert_true(replaced > THREADS * ROUNDS / 4);
	for (int i = 0; i < CLIENTS; i++) {
		ptni_space_close(space[i]);
		assert_int_equal(ptn_client_close(client[i]), 0);
	}
	ptn_node_close(node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_gets_what_another_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
