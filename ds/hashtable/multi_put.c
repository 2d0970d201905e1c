/* SPDX-License-Identifier: MIT */
/*
 * Many updates in the round trip of one: [WRITE block, CAS slot] of every key whose slot is cached, in one
 * doorbell. What is not cached, or met another word than the cache said, is done on its own afterwards.
 *
 * The client dies anywhere in the list: requests are executed in order, so each key has its old block or its
 * new one, and the blocks that no slot points at are found when their chunk is adopted. The lane fails
 * in the list: what was executed counts; the one CAS in doubt is settled as a single update's would be; what
 * comes after it has not been executed (or, if even that is unknown, is reported so).
 */
#include "ds/hashtable/table.h"

enum {
	TOGETHER_MAX = PTNI_BATCH_MAX / 2,
	TOGETHER_BLOCK_BYTES = 4096, /* larger blocks go one by one */
	TOGETHER_BYTES = 40 << 10,
};

typedef int (*write_one)(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
			 size_t key_len_bytes, const void *value, size_t value_len_bytes);

struct lot_write {
	struct ptn_hash_write *item;
	struct ptni_hash_part part;
	uint64_t *old;
};

struct lot {
	struct ptni_hash_op *op;
	unsigned count;
	struct lot_write at[TOGETHER_MAX];
};

/* The cache knows the slot, and there is a block for the new value. */
static bool prepare(struct ptni_hash_op *op, struct lot_write *at)
{
	struct ptni_hash_part *part = &at->part;

	if (ptni_block_bytes(part->key_len, part->value_len) > TOGETHER_BLOCK_BYTES)
		return false;
	ptni_hash_part_load(op, part);
	op->written = false;
	if (!ptni_hash_blind(op, &part->found) || ptni_hash_part_make_block(op, part))
		return false;
	PTNI_COUNT(op->counters, slot_cache_hits);
	return true;
}

/* The CAS was executed: published, or the slot had another word: then it is done again on its own. */
static void executed(struct ptni_hash_op *op, struct lot_write *at)
{
	bool good = *at->old == ptni_slot_bare(at->part.found.word) ||
		    ptni_planted(PTNI_BUG_LOT_UNCHECKED);

	ptni_hash_part_load(op, &at->part);
	ptni_hash_doubt(op, good);
	if (good) {
		at->item->result = ptni_hash_published(op, &at->part.found);
		PTNI_COUNT(op->counters, ops_put);
		return;
	}
	ptni_hash_learn_changed(op, &at->part.found, *at->old);
	at->item->result = -EAGAIN;
	ptni_hash_drop_block(op);
}

/*
 * The batch stopped at this CAS or before it. Of a transport that failed nobody knows how much it had
 * carried, so each slot is asked; nothing can land any more.
 */
static void stopped(struct ptni_hash_op *op, struct lot_write *at, int code)
{
	int ret = code;

	ptni_hash_part_load(op, &at->part);
	if (code == PTN_E_OUTCOME_UNKNOWN)
		ret = ptni_hash_publish_failed(op, &at->part.found, false, code);
	else
		op->lost = ptni_hash_uncertain(code);
	at->item->result = ret;
	ptni_hash_drop_block(op);
}

static int publish_all(struct lot *lot)
{
	struct ptni_hash_op *op = lot->op;
	unsigned done = 0;
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < lot->count && !ret; i++) {
		ptni_hash_retire_soon(op, lot->at[i].part.found.word, false);
		lot->at[i].old = &op->nic->word[i];
		ret = ptni_hash_part_post(op, &lot->at[i].part, lot->at[i].old);
	}
	for (unsigned i = 0; i < lot->count && !ret; i++)
		ptni_hash_retire_soon(op, lot->at[i].part.found.word, true);
	if (!ret) {
		ret = ptni_batch_run(&op->batch);
		done = op->batch.done;
	}
	for (unsigned i = 0; i < lot->count; i++) {
		if (!ret || lot->at[i].part.cas < done)
			executed(op, &lot->at[i]);
		else
			stopped(op, &lot->at[i], ret);
	}
	return ret == PTN_E_OUTCOME_UNKNOWN ? 0 : ret;
}

/*
 * Items still pending whose keys live on the first such item's node. The cache's lines are asked for before
 * the first is looked at. What cannot go together is marked -EAGAIN. Returns the index behind the last one.
 */
static size_t collect(struct lot *lot, struct ptn_hash_write *items, size_t first, size_t count)
{
	struct ptni_hash_op *op = lot->op;
	unsigned found = 0;
	size_t i, bytes = 0;

	for (i = first; i < count && found < TOGETHER_MAX && bytes < TOGETHER_BYTES; i++) {
		struct lot_write *at = &lot->at[found];

		if (items[i].result != -EINPROGRESS)
			continue;
		at->item = &items[i];
		at->part = (struct ptni_hash_part){ .key = items[i].key,
						    .key_len = items[i].key_len_bytes,
						    .value = items[i].value,
						    .value_len = items[i].value_len_bytes };
		at->part.code = ptni_hash_key(items[i].key, items[i].key_len_bytes, op->hash->seed);
		at->part.entry = ptni_directory_lookup(&op->hash->directory, at->part.code);
		if (!found)
			ptni_hash_aim_entry(op, at->part.entry);
		if (ptni_entry_node(at->part.entry) != op->node)
			continue;
		ptni_slot_cache_prefetch(&op->state->cache, at->part.code);
		ptni_slot_cache_prefetch_check(&op->state->cache, at->part.code);
		items[i].result = -EAGAIN;
		bytes += ptni_block_bytes(items[i].key_len_bytes, items[i].value_len_bytes);
		found++;
	}
	for (unsigned k = 0; k < found; k++) {
		lot->at[lot->count] = lot->at[k];
		lot->count += prepare(op, &lot->at[lot->count]);
	}
	return i;
}

/* The next lot; *next_out is behind its last item, *node_out where its keys live. */
static int together(struct ptn_worker *worker, struct ptn_hash *hash, struct ptn_hash_write *items,
		    size_t first, size_t count, size_t *next_out, unsigned *node_out)
{
	struct ptni_hash_op op;
	struct lot lot;
	int ret = ptni_hash_op_begin(&op, worker, hash, NULL, 0);

	*node_out = hash->node_count;
	if (ret)
		return ret;
	lot.op = &op;
	lot.count = 0;
	*next_out = collect(&lot, items, first, count);
	*node_out = op.node;
	if (lot.count)
		ret = publish_all(&lot);
	ptni_hash_op_end(&op);
	return ret;
}

static bool fatal(int result)
{
	return result && result != -ENOENT && result != PTN_E_OUTCOME_UNKNOWN;
}

static int alone(struct ptn_worker *worker, struct ptn_hash *hash, struct ptn_hash_write *items,
		 size_t count, write_one write)
{
	for (size_t i = 0; i < count; i++) {
		struct ptn_hash_write *item = &items[i];

		if (item->result != -EAGAIN)
			continue;
		item->result = write(worker, hash, item->key, item->key_len_bytes, item->value,
				     item->value_len_bytes);
		if (fatal(item->result))
			return item->result;
	}
	return 0;
}

/* What is pending on this node, or on all (node_count), fails as the lot did. */
static void give_up(struct ptn_hash *hash, struct ptn_hash_write *items, size_t count,
		    unsigned node, int result)
{
	for (size_t i = 0; i < count; i++)
		if ((items[i].result == -EINPROGRESS || items[i].result == -EAGAIN) &&
		    (node == hash->node_count ||
		     node == ptni_hash_key_node(hash, items[i].key, items[i].key_len_bytes)))
			items[i].result = result;
}

static int lots(struct ptn_worker *worker, struct ptn_hash *hash, struct ptn_hash_write *items,
		size_t count, write_one write)
{
	size_t first = 0, next = 0;
	int first_error = 0;

	for (;;) {
		unsigned node;
		int ret;

		while (first < count && items[first].result != -EINPROGRESS)
			first++;
		if (first == count)
			return first_error;
		ret = together(worker, hash, items, first, count, &next, &node);
		if (!ret)
			ret = alone(worker, hash, items + first, next - first, write);
		if (!ret)
			continue;
		give_up(hash, items + first, count - first, node, ret);
		first_error = first_error ? first_error : ret;
	}
}

static int multi_write(struct ptn_worker *worker, struct ptn_hash *hash,
		       struct ptn_hash_write *items, size_t count, write_one write)
{
	for (size_t i = 0; i < count; i++) {
		struct ptn_hash_write *item = &items[i];

		item->result = ptni_hash_check_key(worker, item->key, item->key_len_bytes);
		if (!item->result)
			item->result =
				ptni_hash_check_value(worker, item->value, item->value_len_bytes);
		if (!item->result)
			item->result = -EINPROGRESS;
	}
	return lots(worker, hash, items, count, write);
}

int ptn_hash_multi_update(struct ptn_worker *worker, struct ptn_hash *hash,
			  struct ptn_hash_write *items, size_t count)
{
	return multi_write(worker, hash, items, count, ptn_hash_update);
}

int ptn_hash_multi_put(struct ptn_worker *worker, struct ptn_hash *hash,
		       struct ptn_hash_write *items, size_t count)
{
	return multi_write(worker, hash, items, count, ptn_hash_put);
}
