/* SPDX-License-Identifier: MIT */
/*
 * H11 of ds/hashtable/table.h: whatever bytes a broken or hostile client leaves in the table's memory, no operation
 * reads, writes or waits beyond its bounds; what cannot be is PTN_E_CORRUPT. (The mock fails on every
 * access outside the node's memory; the address sanitizer sees the rest.)
 */
#include "core/base/rng.h"
#include "ds/hashtable/table.h"
#include "tests/ds/mock_fabric.h"

#include <string.h>

enum {
	SEED = 5,
	GROUPS = 2,
	KEYS = 150,
	ROUNDS = 6000,
	VALUE = 100
};

struct tampered {
	struct mock_world *world;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	struct mock_image *image;
	struct ptni_rng rng;
	unsigned corrupt; /* operations that said so */
};

static const struct ptni_hash_params params = { GROUPS, 1, SEED };
static const struct ptn_hash_options options = { .size = sizeof(options), .cache_entries = 64 };

static void open_table(struct tampered *t)
{
	t->client = mock_client_new(t->world);
	t->worker = mock_worker(t->client);
	assert_int_equal(ptni_hash_open(t->worker, "t", &options, &params, &t->hash), 0);
}

static void prepare(struct tampered *t)
{
	uint8_t value[VALUE] = { 1 };

	memset(t, 0, sizeof(*t));
	ptni_rng_seed(&t->rng, 1);
	t->world = mock_world_new(1);
	open_table(t);
	for (unsigned i = 0; i < KEYS; i++)
		assert_int_equal(ptn_hash_put(t->worker, t->hash, &i, 4, value, i % VALUE), 0);
	ptn_hash_close(t->hash);
	mock_client_free(t->client);
	t->image = mock_save(t->world);
	t->world->corrupt = true;
}

/* One word becomes another: a bit, a byte, noise, or a word from elsewhere. */
static void tamper(struct tampered *t, uint64_t *word)
{
	struct mock_node *node = &t->world->node[0];

	switch (ptni_rng_below(&t->rng, 5)) {
	case 0:
		*word ^= UINT64_C(1) << ptni_rng_below(&t->rng, 64);
		break;
	case 1:
		*word ^= ptni_rng_below(&t->rng, 256) << 8 * ptni_rng_below(&t->rng, 8);
		break;
	case 2:
		*word = ptni_rng_next(&t->rng);
		break;
	case 3:
		*word = ptni_rng_below(&t->rng, 2) ? 0 : UINT64_MAX;
		break;
	default:
		*word = ((uint64_t *)(void *)node->region)[ptni_rng_below(&t->rng, node->bump / 8)];
	}
}

static void tamper_somewhere(struct tampered *t)
{
	struct mock_node *node = &t->world->node[0];
	uint64_t *region = (uint64_t *)(void *)node->region;
	const struct mock_block *block;

	switch (ptni_rng_below(&t->rng, 3)) {
	case 0: /* the root's pieces and entries */
		tamper(t, region + 512 + ptni_rng_below(&t->rng, 2) * 248 + 8 +
				  ptni_rng_below(&t->rng, 16));
		break;
	case 1: /* a block of any kind: mostly its head */
		block = &node->block[ptni_rng_below(&t->rng, node->block_count)];
		tamper(t, (uint64_t *)block->addr + ptni_rng_below(&t->rng, 2));
		break;
	default: /* a subtable's words */
		do
			block = &node->block[ptni_rng_below(&t->rng, node->block_count)];
		while (block->block_class != ptni_block_class(8 * ptni_subtable_words(GROUPS)));
		tamper(t, (uint64_t *)block->addr +
				  ptni_rng_below(&t->rng, ptni_subtable_words(GROUPS)));
	}
}

static void result_is_known(struct tampered *t, int ret)
{
	static const int known[] = { 0,       1,          -ENOENT, -EEXIST,        -ENOBUFS,
				     -ENOMEM, -ETIMEDOUT, -EPROTO, PTN_E_CONFLICT, PTN_E_FORMAT };

	if (ret == PTN_E_CORRUPT) {
		t->corrupt++;
		return;
	}
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (ret == known[i])
			return;
	fail_msg("result %d", ret);
}

static int visit(void *arg, const void *key, size_t key_len, const void *value, size_t value_len)
{
	return key_len && key_len <= 2047 && value_len <= PTN_VALUE_MAX * 2 ? 0 : -EPROTO;
}

static void operate(struct tampered *t)
{
	unsigned key = (unsigned)ptni_rng_below(&t->rng, KEYS + 100);
	uint8_t value[VALUE] = { 2 }, got[VALUE];
	struct ptn_hash_item items[3];
	struct ptn_hash_info info;
	uint64_t cursor = 0;
	size_t len;

	switch (ptni_rng_below(&t->rng, 8)) {
	case 0:
		result_is_known(t, ptn_hash_put(t->worker, t->hash, &key, 4, value, 50));
		break;
	case 1:
		result_is_known(t, ptn_hash_insert(t->worker, t->hash, &key, 4, value, 5));
		break;
	case 2:
		result_is_known(t, ptn_hash_delete(t->worker, t->hash, &key, 4));
		break;
	case 3:
		result_is_known(t,
				ptn_hash_iterate(t->worker, t->hash, &cursor, 1000, visit, NULL));
		break;
	case 4:
		result_is_known(t, ptn_hash_info(t->worker, t->hash, &info));
		break;
	case 5:
		for (unsigned i = 0; i < 3; i++)
			items[i] = (struct ptn_hash_item){ &key, 4, got, sizeof(got), 0, 0 };
		result_is_known(t, ptn_hash_multi_get(t->worker, t->hash, items, 3));
		break;
	default:
		result_is_known(t,
				ptn_hash_get(t->worker, t->hash, &key, 4, got, sizeof(got), &len));
	}
}

static void adopt(struct tampered *t)
{
	struct mock_node *node = &t->world->node[0];
	const struct mock_block *block = &node->block[ptni_rng_below(&t->rng, node->block_count)];
	size_t bytes = ptni_block_class_bytes(block->block_class);
	struct ptni_hash_home home = { t->hash, t->hash->space[0], 0 };
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(t->worker, &op), 0);
	result_is_known(t, ptni_hash_live(&home, &op, block->addr, block->block_class,
					  (void *)block->addr, bytes < 2048 ? bytes : 2048));
	ptni_op_end(&op);
}

static void operations__survive_any_bytes(void **state)
{
	static struct tampered t;

	prepare(&t);
	for (unsigned round = 0; round < ROUNDS; round++) {
		mock_restore(t.world, t.image);
		open_table(&t);
		for (unsigned i = 0; i < 6; i++)
			operate(&t);
		for (unsigned i = 0; i < 12; i++) {
			tamper_somewhere(&t);
			operate(&t);
		}
		adopt(&t);
		ptn_hash_close(t.hash);
		mock_client_free(t.client);
	}
	assert_true(t.corrupt > ROUNDS / 10);
	mock_image_free(t.image);
	mock_world_free(t.world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operations__survive_any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
