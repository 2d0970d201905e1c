/* SPDX-License-Identifier: MIT */
/* Finding a key: by the slot cache in one round trip, by its buckets in two (table.h: H3, H5). */
#include "ds/hashtable/table.h"

/* How much of a block is read, 0 if the block is too small for the key. */
static size_t look_bytes(const struct ptni_hash_op *op, enum ptni_look look, uint64_t word)
{
	size_t class_bytes = ptni_block_class_bytes(ptni_slot_class(word));
	size_t head_bytes = PTNI_BLOCK_HEAD_BYTES + op->key_len;

	if (ptni_slot_class(word) >= PTNI_BLOCK_CLASSES || class_bytes < head_bytes)
		return 0;
	return look == PTNI_LOOK_WHOLE ? class_bytes : head_bytes;
}

static int read_block(struct ptni_hash_op *op, uint64_t word, void *local, size_t len_bytes)
{
	uint64_t addr;

	if (ptni_hash_block_addr(op, word, &addr))
		return ptni_hash_corrupt(op, "a slot names a block outside the node");
	return ptni_hash_read(op, addr, local, len_bytes);
}

static int read_head(struct ptni_hash_op *op)
{
	return ptni_hash_read(op, op->addr, op->nic->head, sizeof(op->nic->head));
}

/* 1: this block is the key's. 0: another's. -EBADMSG. */
static int examine(const struct ptni_hash_op *op, enum ptni_look look, uint64_t word,
		   const void *block, size_t len_bytes)
{
	if (look == PTNI_LOOK_WHOLE && ptni_block_verify(block, len_bytes, word))
		return -EBADMSG;
	return ptni_block_has_key(block, op->key, op->key_len);
}

/* --- through the slot cache ------------------------------------------------------------------- */

/* First batch: the slot, and the block that it should name unless that would be a waste. */
static int hint_post(struct ptni_hash_op *op, const struct ptni_slot_hint *hint, size_t len_bytes)
{
	uint64_t addr;
	int ret;

	ptni_hash_batch(op);
	ret = ptni_hash_read(op, ptni_hash_word_addr(op, hint->index), &op->nic->word[0], 8);
	if (ret)
		return ret;
	if (len_bytes) {
		const struct ptni_window *window;

		if (ptni_hash_block_addr(op, hint->word, &addr))
			return -EAGAIN;
		window = ptni_space_window(op->op.worker, op->hash->space[op->node], addr);
		if (!window || addr - window->addr + len_bytes > window->len_bytes)
			return -EAGAIN; /* its extent was given back: the entry is old */
		ptni_batch_read(&op->batch, window, addr, op->area, (uint32_t)len_bytes);
	}
	return ptni_batch_run(&op->batch);
}

/* Second batch, if the slot has another word by now, is frozen, or the block was not read ahead. */
static int hint_follow(struct ptni_hash_op *op, enum ptni_look look, uint64_t slot, bool have)
{
	size_t len_bytes = look_bytes(op, look, slot);
	int ret = 0;

	if (!len_bytes)
		return -EAGAIN;
	if (!have)
		ret = ptni_hash_area(op, len_bytes);
	if (ret)
		return ret;
	ptni_hash_batch(op);
	if (!have)
		ret = read_block(op, slot, op->area, len_bytes);
	if (!ret && slot & PTNI_SLOT_FROZEN)
		ret = read_head(op);
	return ret ? ret : ptni_batch_run(&op->batch);
}

static void hint_account(struct ptni_hash_op *op, const struct ptni_slot_hint *hint,
			 const struct ptni_found *found)
{
	struct ptni_slot_cache *cache = &op->state->cache;

	if (ptni_slot_bare(found->word) == hint->word) {
		PTNI_COUNT(op->counters, slot_cache_hits);
		ptni_slot_cache_confirm(cache, op->code, hint, op->epoch);
		return;
	}
	PTNI_COUNT(op->counters, slot_cache_wrong);
	ptni_slot_cache_heat(cache, op->code);
	ptni_slot_cache_store(cache, op->code, ptni_hash_second(op), found->index, found->word,
			      op->epoch);
}

/* One try at the subtable aimed at. 0, -EAGAIN: the hint is of no use, 1: moved to the child. */
static int hint_try(struct ptni_hash_op *op, enum ptni_look look, const struct ptni_slot_hint *hint,
		    struct ptni_found *found)
{
	const size_t always_bytes =
		256; /* reading so little in vain is cheaper than asking first */
	size_t len_bytes = look_bytes(op, look, hint->word);
	bool ahead = hint->heat < PTNI_CACHE_HOT || len_bytes <= always_bytes;
	uint64_t slot;
	bool have;
	int ret;

	if (!len_bytes)
		return -EAGAIN;
	ret = ptni_hash_area(op, len_bytes);
	if (!ret)
		ret = hint_post(op, hint, ahead ? len_bytes : 0);
	if (ret)
		return ret;
	slot = op->nic->word[0];
	if (!ptni_slot_committed(slot) || ptni_slot_print(slot) != ptni_hash_print(op->code))
		return -EAGAIN;
	have = ahead && ptni_slot_bare(slot) == hint->word;
	if (!have || slot & PTNI_SLOT_FROZEN) {
		ret = hint_follow(op, look, slot, have);
		if (ret)
			return ret;
		if (slot & PTNI_SLOT_FROZEN && op->nic->head[PTNI_SUB_SUCCESSOR] &&
		    !ptni_planted(PTNI_BUG_READ_FROZEN_HINT)) {
			ret = ptni_hash_descend(op);
			return ret ? ret : 1;
		}
	}
	if (examine(op, look, slot, op->area, op->area_len) != 1)
		return -EAGAIN;
	found->index = hint->index;
	found->word = slot;
	found->block = op->area;
	if (!ahead)
		PTNI_COUNT(op->counters, slot_cache_bypassed);
	hint_account(op, hint, found);
	return 0;
}

static int find_hint(struct ptni_hash_op *op, enum ptni_look look, struct ptni_found *found)
{
	struct ptni_slot_cache *cache = &op->state->cache;
	struct ptni_slot_hint hint;
	int ret;

	if (!ptni_slot_cache_find(cache, op->code, op->epoch, &hint)) {
		PTNI_COUNT(op->counters, slot_cache_misses);
		return -EAGAIN;
	}
	if (hint.index >= ptni_subtable_words(op->hash->groups))
		return -EAGAIN;
	do
		ret = hint_try(op, look, &hint, found);
	while (ret == 1); /* a child is deeper: at most PTNI_DEPTH_MAX times */
	if (ret == -EAGAIN) {
		PTNI_COUNT(op->counters, slot_cache_wrong);
		ptni_slot_cache_drop(cache, op->code);
	}
	return ret;
}

/* --- through the buckets ----------------------------------------------------------------------- */

struct candidates {
	unsigned count;
	bool frozen; /* some word of the buckets is */
	struct {
		uint64_t word;
		uint32_t index;
		uint32_t offset; /* in the area */
		uint32_t len_bytes;
	} at[PTNI_CANDIDATES_MAX];
};

/* Both buckets, and whether they are what the directory cache said they are. */
static int read_buckets(struct ptni_hash_op *op)
{
	const struct ptni_place *place = &op->place;
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < 2 && !ret; i++)
		ret = ptni_hash_read(op, ptni_hash_word_addr(op, place->first[i]),
				     op->nic->bucket[i], PTNI_COMBINED_BYTES);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	if (ret)
		return ret;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t header = op->nic->bucket[i][place->main[i] - place->first[i]];

		if (!ptni_header_serves(header, op->code) ||
		    ptni_header_depth(header) != ptni_entry_depth(op->entry))
			return -ESTALE;
	}
	return 0;
}

static void gather(const struct ptni_hash_op *op, enum ptni_look look, struct candidates *found)
{
	unsigned print = ptni_hash_print(op->code);
	uint64_t flags = 0;

	found->count = 0;
	for (unsigned i = 0; i < 2; i++) {
		const uint64_t *bucket = op->nic->bucket[i];

		for (unsigned k = 0; k < PTNI_COMBINED_WORDS; k++) {
			uint64_t word = bucket[k];
			size_t len_bytes;

			flags |= word;
			if (k % PTNI_BUCKET_WORDS == 0 || ptni_slot_print(word) != print ||
			    !ptni_slot_committed(word))
				continue;
			len_bytes = look_bytes(op, look, word);
			if (!len_bytes)
				continue;
			found->at[found->count].word = word;
			found->at[found->count].index = op->place.first[i] + k;
			found->at[found->count++].len_bytes = (uint32_t)len_bytes;
		}
	}
	found->frozen = flags & PTNI_SLOT_FROZEN;
}

/* How many candidates from `first` on are read in one go: all that fit, large ones one by one. */
static unsigned arrange(struct candidates *found, unsigned first, size_t *bytes_out)
{
	const size_t together = 32 << 10;
	size_t bytes = 0;
	unsigned i;

	for (i = first; i < found->count; i++) {
		size_t next = bytes + ((found->at[i].len_bytes + 15u) & ~15u);

		if (i > first && next > together)
			break;
		found->at[i].offset = (uint32_t)bytes;
		bytes = next;
	}
	*bytes_out = bytes;
	return i;
}

/* Read the blocks of candidates first..end-1, and the subtable's head after the slots if that matters. */
static int read_candidates(struct ptni_hash_op *op, const struct candidates *found, unsigned first,
			   unsigned end, size_t bytes)
{
	int ret = bytes ? ptni_hash_area(op, bytes) : 0;

	if (ret)
		return ret;
	ptni_hash_batch(op);
	for (unsigned i = first; i < end && !ret; i++)
		ret = read_block(op, found->at[i].word, op->area + found->at[i].offset,
				 found->at[i].len_bytes);
	if (!ret && found->frozen)
		ret = read_head(op);
	if (ret || !op->batch.count)
		return ret;
	return ptni_batch_run(&op->batch);
}

static void remember_other(struct ptni_hash_op *op, uint64_t word)
{
	if (op->known_count < PTNI_CANDIDATES_MAX)
		op->known[op->known_count++] = ptni_slot_bare(word);
}

/* 1 found, 0 none of them, -EBADMSG one could not be read, others: errors; 2: look in the child. */
static int search(struct ptni_hash_op *op, enum ptni_look look, struct candidates *list,
		  struct ptni_found *found)
{
	unsigned first = 0, end;
	size_t bytes;
	int bad = 0;

	op->known_count = 0;
	do {
		int ret;

		end = arrange(list, first, &bytes);
		ret = read_candidates(op, list, first, end, bytes);
		if (ret)
			return ret;
		if (list->frozen && op->nic->head[PTNI_SUB_SUCCESSOR] &&
		    !ptni_planted(PTNI_BUG_READ_FROZEN))
			return 2;
		for (unsigned i = first; i < end; i++) {
			const uint8_t *block = op->area + list->at[i].offset;
			int hit = examine(op, look, list->at[i].word, block, list->at[i].len_bytes);

			if (hit == 1) {
				found->index = list->at[i].index;
				found->word = list->at[i].word;
				found->block = block;
				return 1;
			}
			if (hit < 0)
				bad = hit;
			else
				remember_other(op, list->at[i].word);
		}
		first = end;
	} while (end < list->count);
	return bad;
}

/* The directory cache led to the wrong place, or a block could not be read: once more, not for ever. */
static int again(struct ptni_hash_op *op, int why, unsigned *patience)
{
	int ret;

	if (!(*patience)--)
		return ptni_hash_corrupt(op, why == -ESTALE ? "a subtable that is none" :
							      "a block that fails its checksum");
	if (why == -ESTALE) {
		PTNI_COUNT(op->counters, retries_stale);
		ret = ptni_directory_refresh(op);
		if (ret < 0)
			return ret;
		ptni_hash_aim(op);
	} else {
		PTNI_COUNT(op->counters, retries_checksum);
	}
	return ptni_hash_retry(op);
}

int ptni_hash_find(struct ptni_hash_op *op, enum ptni_look look, struct ptni_found *found)
{
	unsigned patience = PTNI_CORRUPT_PATIENCE;
	struct candidates list;

	ptni_hash_place(op->code, op->hash->groups, &op->place);
	for (;;) {
		int ret = read_buckets(op);

		if (!ret) {
			gather(op, look, &list);
			ret = search(op, look, &list, found);
		}
		if (ret == 1) {
			ptni_slot_cache_store(&op->state->cache, op->code, ptni_hash_second(op),
					      found->index, found->word, op->epoch);
			return 0;
		}
		if (ret == 0) {
			op->frozen = list.frozen;
			return -ENOENT;
		}
		if (ret == 2)
			ret = ptni_hash_descend(op);
		else if (ret == -ESTALE || ret == -EBADMSG)
			ret = again(op, ret, &patience);
		if (ret)
			return ret;
	}
}

int ptni_hash_lookup(struct ptni_hash_op *op, enum ptni_look look, struct ptni_found *found)
{
	int ret = find_hint(op, look, found);

	return ret == -EAGAIN ? ptni_hash_find(op, look, found) : ret;
}
