/* SPDX-License-Identifier: MIT */
/*
 * Many gets in the round trips of one: [slot and block, or both buckets, of every key], then [the blocks of
 * those that were looked up by bucket]. What is not plain sailing (frozen words, a slot that changed,
 * several candidates, large blocks) is looked up on its own afterwards.
 */
#include "ds/hashtable/table.h"

enum {
	TOGETHER_MAX = PTNI_BATCH_MAX / 2,
	TOGETHER_BLOCK_BYTES = 4096, /* larger blocks are got one by one */
	TOGETHER_BYTES =
		32 << 10, /* NIC memory of a lot: what it has no room for waits for the next */
};

enum item_state {
	BY_HINT,
	BY_BUCKET,
	BY_BLOCK,
	ALONE,
	ANSWERED
};

struct lot_item {
	struct ptn_hash_item *item;
	uint64_t code;
	uint64_t addr; /* of the subtable */
	uint64_t entry;
	uint64_t word; /* of the block that was read */
	struct ptni_slot_hint hint;
	struct ptni_place place;
	enum item_state state;
	uint8_t *nic; /* both buckets, or the block */
	uint64_t *slot;
};

struct lot {
	struct ptni_hash_op *op;
	unsigned count;
	size_t used_bytes; /* of op->area */
	struct lot_item at[TOGETHER_MAX];
};

static void answer(struct lot_item *lot_item, const uint8_t *block)
{
	struct ptn_hash_item *item = lot_item->item;
	size_t len_bytes = ptni_block_value_len(block);
	size_t copied = len_bytes < item->capacity_bytes ? len_bytes : item->capacity_bytes;

	if (copied)
		memcpy(item->buffer, ptni_block_value(block), copied);
	item->len_bytes = len_bytes;
	item->result = len_bytes > item->capacity_bytes ? -ENOBUFS : 0;
	lot_item->state = ANSWERED;
}

static size_t block_bytes(const struct lot_item *at, uint64_t word)
{
	size_t bytes = ptni_block_class_bytes(ptni_slot_class(word));

	if (ptni_slot_class(word) >= PTNI_BLOCK_CLASSES || bytes > TOGETHER_BLOCK_BYTES ||
	    bytes < PTNI_BLOCK_HEAD_BYTES + at->item->key_len_bytes)
		return 0;
	return bytes;
}

/* Room for len_bytes of the lot's memory, or NULL. */
static uint8_t *room(struct lot *lot, size_t len_bytes)
{
	size_t at = lot->used_bytes, next = at + ((len_bytes + 15) & ~(size_t)15);

	if (next > TOGETHER_BYTES)
		return NULL;
	lot->used_bytes = next;
	return lot->op->area + at;
}

/* The block's window if there is one at hand. */
static const struct ptni_window *block_window(struct ptni_hash_op *op, uint64_t word,
					      uint64_t *addr_out)
{
	const struct ptni_window *window;

	if (ptni_hash_block_addr(op, word, addr_out))
		return NULL;
	window = ptni_space_window(op->op.worker, op->hash->space[op->node], *addr_out);
	if (window && *addr_out - window->addr + ptni_block_class_bytes(ptni_slot_class(word)) >
			      window->len_bytes)
		return NULL;
	return window;
}

static int post_hint(struct lot *lot, struct lot_item *at)
{
	struct ptni_hash_op *op = lot->op;
	const struct ptni_window *window;
	size_t bytes = block_bytes(at, at->hint.word);
	uint64_t addr;
	int ret;

	window = bytes ? block_window(op, at->hint.word, &addr) : NULL;
	if (!window || at->hint.index >= ptni_subtable_words(op->hash->groups)) {
		at->state = ALONE;
		return 0;
	}
	ret = ptni_hash_read(op, at->addr + 8 * (uint64_t)at->hint.index, at->slot, 8);
	if (!ret)
		ptni_batch_read(&op->batch, window, addr, at->nic, (uint32_t)bytes);
	return ret;
}

static int post_buckets(struct lot *lot, struct lot_item *at)
{
	int ret = 0;

	for (unsigned i = 0; i < 2 && !ret; i++)
		ret = ptni_hash_read(lot->op, at->addr + 8 * (uint64_t)at->place.first[i],
				     at->nic + i * PTNI_COMBINED_BYTES, PTNI_COMBINED_BYTES);
	return ret;
}

static int first_round(struct lot *lot)
{
	struct ptni_hash_op *op = lot->op;
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < lot->count && !ret; i++) {
		struct lot_item *at = &lot->at[i];

		ret = at->state == BY_HINT ? post_hint(lot, at) : post_buckets(lot, at);
	}
	if (ret || !op->batch.count)
		return ret;
	return ptni_batch_run(&op->batch);
}

static void take_hint(struct lot *lot, struct lot_item *at)
{
	struct ptni_hash_op *op = lot->op;

	if (at->state != BY_HINT)
		return;
	at->state = ALONE;
	if (*at->slot != at->hint.word ||
	    ptni_block_verify(at->nic, block_bytes(at, at->hint.word), at->hint.word) ||
	    !ptni_block_has_key(at->nic, at->item->key, at->item->key_len_bytes))
		return;
	PTNI_COUNT(op->counters, slot_cache_hits);
	ptni_slot_cache_confirm(&op->state->cache, at->code, &at->hint, op->epoch);
	answer(at, at->nic);
}

/* Absent, or the one word that may be it, or a case for itself. */
static void take_buckets(struct lot_item *at)
{
	const uint64_t *words = (const uint64_t *)(const void *)at->nic;
	unsigned candidates = 0;
	uint64_t flags = 0;

	if (at->state != BY_BUCKET)
		return;
	at->state = ALONE;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t header =
			words[i * PTNI_COMBINED_WORDS + at->place.main[i] - at->place.first[i]];

		if (!ptni_header_serves(header, at->code) ||
		    ptni_header_depth(header) != ptni_entry_depth(at->entry))
			return;
	}
	for (unsigned k = 0; k < 2 * PTNI_COMBINED_WORDS; k++) {
		flags |= words[k];
		if (!ptni_word_is_slot(k) || !ptni_slot_committed(words[k]) ||
		    ptni_slot_print(words[k]) != ptni_hash_print(at->code))
			continue;
		candidates++;
		at->word = words[k];
		at->hint.index = at->place.first[k / PTNI_COMBINED_WORDS] + k % PTNI_COMBINED_WORDS;
	}
	if (flags & PTNI_SLOT_FROZEN || candidates > 1)
		return;
	if (!candidates) {
		at->item->result = -ENOENT;
		at->state = ANSWERED;
	} else if (block_bytes(at, at->word)) {
		at->state = BY_BLOCK;
	}
}

static int second_round(struct lot *lot)
{
	struct ptni_hash_op *op = lot->op;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < lot->count; i++) {
		struct lot_item *at = &lot->at[i];
		uint64_t addr;
		int ret;

		if (at->state != BY_BLOCK)
			continue;
		at->nic = room(lot, block_bytes(at, at->word));
		if (!at->nic) {
			at->state = ALONE;
			continue;
		}
		if (ptni_hash_block_addr(op, at->word, &addr))
			return ptni_hash_corrupt(op, "a slot names a block outside the node");
		ret = ptni_hash_read(op, addr, at->nic, block_bytes(at, at->word));
		if (ret)
			return ret;
	}
	return op->batch.count ? ptni_batch_run(&op->batch) : 0;
}

static void take_block(struct lot *lot, struct lot_item *at)
{
	struct ptni_hash_op *op = lot->op;
	uint64_t check;

	if (at->state != BY_BLOCK)
		return;
	at->state = ALONE;
	if (ptni_block_verify(at->nic, block_bytes(at, at->word), at->word))
		return;
	if (!ptni_block_has_key(at->nic, at->item->key, at->item->key_len_bytes)) {
		at->item->result = -ENOENT;
		at->state = ANSWERED;
		return;
	}
	check = ptni_hash_key(at->item->key, at->item->key_len_bytes, ~op->hash->seed);
	ptni_slot_cache_store(&op->state->cache, at->code, check, at->hint.index, at->word,
			      op->epoch);
	answer(at, at->nic);
}

/* Item by item what was left over. */
static int take_alone(struct lot *lot, struct ptn_worker *worker)
{
	for (unsigned i = 0; i < lot->count; i++) {
		struct ptn_hash_item *item = lot->at[i].item;

		if (lot->at[i].state != ALONE)
			continue;
		item->result = ptn_hash_get(worker, lot->op->hash, item->key, item->key_len_bytes,
					    item->buffer, item->capacity_bytes, &item->len_bytes);
		if (item->result && item->result != -ENOENT && item->result != -ENOBUFS)
			return item->result;
	}
	return 0;
}

static int rounds(struct lot *lot)
{
	int ret = first_round(lot);

	for (unsigned i = 0; i < lot->count && !ret; i++) {
		take_hint(lot, &lot->at[i]);
		take_buckets(&lot->at[i]);
	}
	if (!ret)
		ret = second_round(lot);
	for (unsigned i = 0; i < lot->count && !ret; i++) {
		take_block(lot, &lot->at[i]);
		if (lot->at[i].state == ANSWERED)
			PTNI_COUNT(lot->op->counters, ops_get);
	}
	return ret;
}

/* False: no room left for it. */
static bool prepare(struct lot *lot, struct lot_item *at)
{
	struct ptni_hash_op *op = lot->op;
	size_t bytes = 2 * PTNI_COMBINED_BYTES;

	at->addr = op->hash->base[op->node] + ptni_entry_offset(at->entry);
	at->slot = &op->nic->word[at - lot->at];
	ptni_hash_place(at->code, op->hash->groups, &at->place);
	at->state = BY_BUCKET;
	if (ptni_slot_cache_find(&op->state->cache, at->code, op->epoch, &at->hint)) {
		at->state = BY_HINT;
		bytes = block_bytes(at, at->hint.word);
	} else {
		PTNI_COUNT(op->counters, slot_cache_misses);
	}
	at->nic = room(lot, bytes);
	return at->nic != NULL;
}

/* Items still pending whose keys live on the first such item's node, as many as there is room for. All
 * the cache's lines are asked for before the first is looked at. */
static void collect(struct lot *lot, struct ptn_hash_item *items, size_t first, size_t count)
{
	struct ptni_hash_op *op = lot->op;

	for (size_t i = first; i < count && lot->count < TOGETHER_MAX; i++) {
		struct lot_item *at = &lot->at[lot->count];

		if (items[i].result != -EINPROGRESS)
			continue;
		at->item = &items[i];
		at->code = ptni_hash_key(items[i].key, items[i].key_len_bytes, op->hash->seed);
		at->entry = ptni_directory_lookup(&op->hash->directory, at->code);
		if (!lot->count)
			ptni_hash_aim_entry(op, at->entry);
		ptni_slot_cache_prefetch(&op->state->cache, at->code);
		lot->count += ptni_entry_node(at->entry) == op->node;
	}
	for (unsigned i = 0; i < lot->count; i++)
		if (!prepare(lot, &lot->at[i]))
			lot->count = i;
}

/* *node_out: where the lot's keys live. */
static int some(struct ptn_worker *worker, struct ptn_hash *hash, struct ptn_hash_item *items,
		size_t first, size_t count, unsigned *node_out)
{
	struct ptni_hash_op op;
	struct lot lot;
	int ret = ptni_hash_op_begin(&op, worker, hash, NULL, 0);

	*node_out = hash->node_count;
	if (ret)
		return ret;
	lot.op = &op;
	lot.count = 0;
	lot.used_bytes = 0;
	ret = ptni_hash_area(&op, TOGETHER_BYTES);
	if (!ret) {
		collect(&lot, items, first, count);
		*node_out = op.node;
		ret = rounds(&lot);
	}
	ptni_hash_op_end(&op);
	return ret ? ret : take_alone(&lot, worker);
}

/* What is pending on this node, or on all (node_count), fails as the lot did. */
static void give_up(struct ptn_hash *hash, struct ptn_hash_item *items, size_t count, unsigned node,
		    int result)
{
	for (size_t i = 0; i < count; i++)
		if (items[i].result == -EINPROGRESS &&
		    (node == hash->node_count ||
		     node == ptni_hash_key_node(hash, items[i].key, items[i].key_len_bytes)))
			items[i].result = result;
}

int ptn_hash_multi_get(struct ptn_worker *worker, struct ptn_hash *hash,
		       struct ptn_hash_item *items, size_t count)
{
	size_t first = 0;
	int first_error = 0;

	for (size_t i = 0; i < count; i++) {
		items[i].len_bytes = 0;
		items[i].result = ptni_hash_check_key(worker, items[i].key, items[i].key_len_bytes);
		if (!items[i].result)
			items[i].result = -EINPROGRESS;
	}
	for (;;) {
		unsigned node;
		int ret;

		while (first < count && items[first].result != -EINPROGRESS)
			first++;
		if (first == count)
			return first_error;
		ret = some(worker, hash, items, first, count, &node);
		if (!ret)
			continue;
		give_up(hash, items + first, count - first, node, ret);
		first_error = first_error ? first_error : ret;
	}
}
