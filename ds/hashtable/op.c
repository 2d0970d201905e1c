/* SPDX-License-Identifier: MIT */
/* One operation on a table: its beginning and end, its buffers, addresses made into work requests. */
#include "ds/hashtable/table.h"

int ptni_hash_check_key(struct ptn_worker *worker, const void *key, size_t key_len_bytes)
{
	if (!key || !key_len_bytes || key_len_bytes > PTN_KEY_MAX)
		return ptni_worker_fail(worker, -EINVAL, "a key has 1 to 1024 bytes (PTN_KEY_MAX)");
	return 0;
}

int ptni_hash_check_value(struct ptn_worker *worker, const void *value, size_t value_len_bytes)
{
	if (value_len_bytes > PTN_VALUE_MAX || (!value && value_len_bytes))
		return ptni_worker_fail(worker, -EINVAL,
					"a value has at most 1 MiB (PTN_VALUE_MAX)");
	return 0;
}

static struct ptni_hash_worker *worker_state(struct ptn_hash *hash, struct ptn_worker *worker)
{
	uint32_t index = ptni_worker_index(worker);
	struct ptni_hash_worker *state;

	state = atomic_load_explicit(&hash->worker[index], memory_order_acquire);
	return state ? state : ptni_hash_worker_open(hash, index);
}

static void op_init(struct ptni_hash_op *op, struct ptn_worker *worker, struct ptn_hash *hash,
		    const void *key, size_t key_len_bytes)
{
	op->hash = hash;
	op->counters = ptni_worker_counters(worker);
	op->key = key;
	op->key_len = key_len_bytes;
	op->node = 0;
	op->tries = 0;
	op->frozen = false;
	op->area = NULL;
	op->area_len = 0;
	op->stage = NULL;
	op->word = 0;
	op->image = NULL;
	op->written = false;
	op->shown = false;
	op->lost = false;
	op->moves = false;
	op->known_count = 0;
}

int ptni_hash_op_begin(struct ptni_hash_op *op, struct ptn_worker *worker, struct ptn_hash *hash,
		       const void *key, size_t key_len_bytes)
{
	int ret;

	op_init(op, worker, hash, key, key_len_bytes);
	op->state = worker_state(hash, worker);
	if (__builtin_expect(!op->state, 0))
		return ptni_worker_fail(worker, -ENOMEM, "no memory for the worker's slot cache");
	if (key) {
		op->code = ptni_hash_key(key, key_len_bytes, hash->seed);
		ptni_slot_cache_prefetch(&op->state->cache, op->code);
	}
	ret = ptni_op_begin(worker, &op->op);
	if (__builtin_expect(ret, 0))
		return ret;
	op->nic = ptni_op_buffer(&op->op, sizeof(*op->nic));
	if (__builtin_expect(!op->nic, 0)) {
		ptni_op_end(&op->op);
		return -ENOMEM;
	}
	if (key)
		ptni_hash_aim(op);
	return 0;
}

/*
 * A block that a tentative slot has shown may be being read: it goes the slow way. One that a word may point at, and
 * nobody knows, stays until somebody asks (live.c).
 */
void ptni_hash_drop_block(struct ptni_hash_op *op)
{
	struct ptni_space *space = op->hash->space[op->node];

	if (!op->word)
		return;
	if (op->lost)
		ptni_block_lose(&op->op, space, &op->block);
	else if (op->shown)
		ptni_block_retire(&op->op, space, op->block.addr, op->block.block_class);
	else
		ptni_block_cancel(&op->op, space, &op->block);
	op->word = 0;
}

void ptni_hash_op_end(struct ptni_hash_op *op)
{
	ptni_hash_drop_block(op);
	ptni_op_end(&op->op);
}

void ptni_hash_aim_at(struct ptni_hash_op *op, uint64_t entry)
{
	op->entry = entry;
	op->node = ptni_entry_node(entry);
	op->addr = op->hash->base[op->node] + ptni_entry_offset(entry);
}

void ptni_hash_aim_entry(struct ptni_hash_op *op, uint64_t entry)
{
	struct ptni_epochs epochs;

	ptni_hash_aim_at(op, entry);
	ptni_client_epochs(op->hash->client, op->node, &epochs);
	op->epoch = epochs.epoch;
	ptni_slot_cache_epoch(&op->state->cache, op->node, op->epoch);
}

void ptni_hash_aim(struct ptni_hash_op *op)
{
	ptni_hash_aim_entry(op, ptni_directory_lookup(&op->hash->directory, op->code));
}

unsigned ptni_hash_key_node(const struct ptn_hash *hash, const void *key, size_t key_len_bytes)
{
	return ptni_entry_node(ptni_directory_lookup(
		&hash->directory, ptni_hash_key(key, key_len_bytes, hash->seed)));
}

int ptni_hash_corrupt(struct ptni_hash_op *op, const char *where)
{
	return ptni_worker_fail(op->op.worker, PTN_E_CORRUPT, where);
}

int ptni_hash_entry_addr(const struct ptni_hash_op *op, uint64_t entry, uint64_t *addr_out)
{
	unsigned node = ptni_entry_node(entry);
	uint64_t addr;

	if (node >= op->hash->node_count)
		return PTN_E_CORRUPT;
	addr = op->hash->base[node] + ptni_entry_offset(entry);
	if (!ptni_entry_offset(entry) || addr >= op->hash->limit[node])
		return PTN_E_CORRUPT;
	*addr_out = addr;
	return 0;
}

int ptni_hash_block_addr(const struct ptni_hash_op *op, uint64_t word, uint64_t *addr_out)
{
	uint64_t addr = op->hash->base[op->node] + ptni_slot_offset(word);
	unsigned block_class = ptni_slot_class(word);

	if (block_class >= PTNI_BLOCK_CLASSES ||
	    addr + ptni_block_class_bytes(block_class) > op->hash->limit[op->node])
		return PTN_E_CORRUPT;
	*addr_out = addr;
	return 0;
}

int ptni_hash_buffer(struct ptni_hash_op *op, size_t len_bytes, void **buffer_out)
{
	for (unsigned turn = 0;; turn++) {
		void *buffer = ptni_op_buffer(&op->op, len_bytes);
		int ret;

		if (buffer) {
			*buffer_out = buffer;
			return 0;
		}
		if (len_bytes > PTNI_OP_BUFFER_LARGE)
			return -ENOMEM;
		ret = ptni_hash_pause(op, turn);
		if (ret)
			return ret;
	}
}

/* Three sizes, so that one that grows under an operation still fits. */
int ptni_hash_area(struct ptni_hash_op *op, size_t len_bytes)
{
	size_t size = 4 << 10;
	void *area;
	int ret;

	if (len_bytes <= op->area_len)
		return 0;
	if (len_bytes > size)
		size = 32 << 10;
	if (len_bytes > size)
		size = ptni_block_class_bytes(ptni_block_class(PTNI_BLOCK_MAX));
	ret = ptni_hash_buffer(op, size, &area);
	if (ret)
		return ret;
	op->area = area;
	op->area_len = size;
	return 0;
}

int ptni_hash_stage(struct ptni_hash_op *op)
{
	void *stage;
	int ret;

	if (op->stage)
		return 0;
	ret = ptni_hash_buffer(op, PTNI_STAGE_BYTES, &stage);
	if (!ret)
		op->stage = stage;
	return ret;
}

int ptni_hash_retry(struct ptni_hash_op *op)
{
	return ptni_op_backoff(&op->op, op->tries++);
}

int ptni_hash_pause(struct ptni_hash_op *op, unsigned turn)
{
	const unsigned longest = 6; /* of the doublings: waits stay below what they wait for */

	return ptni_op_backoff(&op->op, turn < longest ? turn : longest);
}

uint64_t ptni_hash_second(const struct ptni_hash_op *op)
{
	return ptni_hash_key(op->key, op->key_len, ~op->hash->seed);
}

int ptni_hash_window(struct ptni_hash_op *op, unsigned node, uint64_t addr, size_t len_bytes,
		     const struct ptni_window **window_out)
{
	const struct ptni_window *window;

	window = ptni_space_window(op->op.worker, op->hash->space[node], addr);
	if (__builtin_expect(!window, 0)) {
		int ret = ptni_space_window_fetch(&op->op, op->hash->space[node], addr, &window);

		if (ret == -EFAULT)
			return ptni_hash_corrupt(op, "an address outside the table's memory");
		if (ret)
			return ret;
	}
	if (__builtin_expect(addr - window->addr + len_bytes > window->len_bytes, 0))
		return ptni_hash_corrupt(op, "an address across the end of an extent");
	*window_out = window;
	return 0;
}

int ptni_hash_read(struct ptni_hash_op *op, uint64_t addr, void *local, size_t len_bytes)
{
	const struct ptni_window *window;
	int ret = ptni_hash_window(op, op->batch.node, addr, len_bytes, &window);

	if (__builtin_expect(!ret, 1))
		ptni_batch_read(&op->batch, window, addr, local, (uint32_t)len_bytes);
	return ret;
}

int ptni_hash_cas(struct ptni_hash_op *op, uint64_t addr, uint64_t expected, uint64_t desired,
		  uint64_t *old)
{
	const struct ptni_window *window;
	int ret = ptni_hash_window(op, op->batch.node, addr, 8, &window);

	if (__builtin_expect(!ret, 1))
		ptni_batch_cas(&op->batch, window, addr, expected, desired, old);
	return ret;
}

int ptni_hash_faa(struct ptni_hash_op *op, uint64_t addr, uint64_t add, uint64_t *old)
{
	const struct ptni_window *window;
	int ret = ptni_hash_window(op, op->batch.node, addr, 8, &window);

	if (!ret)
		ptni_batch_faa(&op->batch, window, addr, add, old);
	return ret;
}

int ptni_hash_set_once(struct ptni_hash_op *op, unsigned node, uint64_t addr, uint64_t word,
		       uint64_t *now_out)
{
	for (;;) {
		int ret;

		ptni_batch_init(&op->batch, &op->op, node);
		ret = ptni_hash_cas(op, addr, 0, word, &op->nic->word[0]);
		if (!ret)
			ret = ptni_hash_read(op, addr, &op->nic->word[1], 8);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
		if (!ret)
			*now_out = op->nic->word[1];
		if (ret != PTN_E_OUTCOME_UNKNOWN)
			return ret;
		ret = ptni_hash_retry(op);
		if (ret)
			return ret;
	}
}
