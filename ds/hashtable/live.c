/* SPDX-License-Identifier: MIT */
/*
 * Is a block of a dead client still in use? Asked for each block of a chunk that is adopted, after its owner
 * was fenced, so nothing is published any more that was not already (alloc/space.h). The block's first
 * bytes only say where to look; in use is what a word names by its address.
 */
#include "ds/hashtable/table.h"

/*
 * 1: committed; 0: not there; 2: a tentative word, at *index_out. There may be two: a tentative word that froze
 * stays until its subtable is split, while its block, given back by then, may have been used again. It never counts
 * for anything.
 */
static int seek(const struct ptni_hash_op *op, uint64_t offset, uint32_t *index_out,
		uint64_t *word_out, bool *frozen_out)
{
	uint64_t flags = 0;
	int state = 0;

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < PTNI_COMBINED_WORDS; k++) {
			uint64_t word = op->nic->bucket[i][k];

			flags |= word;
			if (!ptni_word_is_slot(k) || !ptni_slot_bare(word) ||
			    ptni_slot_offset(word) != offset ||
			    (word & PTNI_SLOT_FLAGS) == PTNI_SLOT_FLAGS)
				continue;
			*index_out = op->place.first[i] + k;
			*word_out = word;
			state = word & PTNI_SLOT_TENTATIVE ? 2 : 1;
		}
	}
	*frozen_out = flags & PTNI_SLOT_FROZEN;
	return state;
}

static int read_all(struct ptni_hash_op *op)
{
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < 2 && !ret; i++)
		ret = ptni_hash_read(op, ptni_hash_word_addr(op, op->place.first[i]),
				     op->nic->bucket[i], PTNI_COMBINED_BYTES);
	if (!ret)
		ret = ptni_hash_read(op, op->addr, op->nic->head, sizeof(op->nic->head));
	return ret ? ret : ptni_batch_run(&op->batch);
}

/* Nobody will commit it: its owner is gone. A frozen one is left out by the split. */
static int clear_tentative(struct ptni_hash_op *op, uint32_t index, uint64_t word)
{
	int ret;

	if (ptni_planted(PTNI_BUG_ADOPT_TENTATIVE))
		return 0;
	ptni_hash_batch(op);
	ret = ptni_hash_cas(op, ptni_hash_word_addr(op, index), word, 0, &op->nic->word[0]);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	if (!ret && op->nic->word[0] == (word | PTNI_SLOT_FROZEN))
		return 0;
	return ret;
}

static int pair_live(struct ptni_hash_op *op, uint64_t offset)
{
	ptni_hash_place(op->code, op->hash->groups, &op->place);
	for (;;) {
		uint64_t word;
		uint32_t index;
		bool frozen;
		int state;
		int ret = read_all(op);

		if (ret)
			return ret;
		state = seek(op, offset, &index, &word, &frozen);
		if (!frozen || !op->nic->head[PTNI_SUB_SUCCESSOR])
			return state == 2 ? clear_tentative(op, index, word) : state;
		ret = ptni_hash_descend(op);
		if (ret)
			return ret;
	}
}

/* What stands in the directory at an index; 0: nothing, or its piece was never made. */
static int entry_read(struct ptni_hash_op *op, uint32_t index, uint64_t *entry_out)
{
	uint64_t addr;
	int ret = ptni_directory_slot(op, index, false, &addr);

	op->nic->word[0] = 0;
	if (!ret && addr) {
		ptni_batch_init(&op->batch, &op->op, 0);
		ret = ptni_hash_read(op, addr, &op->nic->word[0], 8);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
	}
	if (!ret)
		*entry_out = op->nic->word[0];
	return ret;
}

/*
 * The directory's entry for a suffix as it is remotely, by the rule for entries that are 0. Between two READs a split
 * may be published: then the entry that is met is too deep to stand for the suffix, and the one that was 0, which
 * is set first, is none any more.
 */
static int resolve(struct ptni_hash_op *op, uint32_t suffix, uint64_t *entry_out)
{
	uint32_t index = suffix;

	for (;;) {
		uint64_t entry;
		int ret = entry_read(op, index, &entry);

		if (ret)
			return ret;
		if (!entry && index) {
			index &= ~(1u << (31 - (unsigned)__builtin_clz(index)));
			continue;
		}
		if ((suffix & ptni_suffix_mask(ptni_entry_depth(entry))) == index) {
			*entry_out = entry;
			return 0;
		}
		index = suffix;
		ret = ptni_hash_retry(op);
		if (ret)
			return ret;
	}
}

static int read_head(struct ptni_hash_op *op, uint64_t entry)
{
	uint64_t addr;
	int ret;

	if (ptni_hash_entry_addr(op, entry, &addr))
		return ptni_hash_corrupt(op, "an entry outside the node");
	ptni_batch_init(&op->batch, &op->op, ptni_entry_node(entry));
	ret = ptni_hash_read(op, addr, op->nic->head, sizeof(op->nic->head));
	return ret ? ret : ptni_batch_run(&op->batch);
}

/* The directory may be behind the successors, so both say what is in use. */
static int subtable_live(struct ptni_hash_op *op, uint64_t entry, uint32_t suffix)
{
	uint64_t at;
	int ret = resolve(op, suffix, &at);

	while (!ret && at && ptni_entry_depth(at) < ptni_entry_depth(entry)) {
		unsigned depth = ptni_entry_depth(at);

		ret = read_head(op, at);
		at = op->nic->head[PTNI_SUB_SUCCESSOR];
		if (!ret && at && suffix >> depth & 1) {
			ret = read_head(op, at);
			at = op->nic->head[PTNI_SUB_SIBLING];
		}
	}
	if (ret)
		return ret;
	if (at == entry)
		return 1;
	/* Its unlinker may have died before it told: caches may still lead here (H6). */
	ptni_batch_init(&op->batch, &op->op, 0);
	ret = ptni_hash_faa(op, op->hash->root + 8 * PTNI_ROOT_CHANGES, 1, &op->nic->word[0]);
	return ret ? ret : ptni_batch_run(&op->batch);
}

static int piece_live(struct ptni_hash_op *op, uint64_t entry)
{
	int ret = ptni_hash_stage(op);

	if (ret)
		return ret;
	ptni_batch_init(&op->batch, &op->op, 0);
	ret = ptni_hash_read(op, op->hash->root + 8 * PTNI_ROOT_PIECES, op->stage,
			     8 * PTNI_PIECES_MAX);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	if (ret)
		return ret;
	for (unsigned i = 0; i < PTNI_PIECES_MAX; i++)
		if (((const uint64_t *)(const void *)op->stage)[i] == entry)
			return 1;
	return 0;
}

static int block_live(struct ptni_hash_op *op, const struct ptni_hash_home *home, uint64_t offset,
		      const uint64_t *prefix, size_t prefix_len_bytes)
{
	bool made = atomic_load_explicit(&home->hash->made, memory_order_acquire);
	uint64_t ident = prefix[PTNI_SUB_IDENT];
	uint32_t suffix = ptni_header_suffix(ident);
	unsigned depth = ptni_header_depth(ident);
	int ret;

	if (prefix[0] == PTNI_PIECE_MAGIC)
		return piece_live(op, ptni_entry_word(0, home->node, offset));
	if (!made) {
		ret = ptni_hash_is_made(op);
		if (ret) /* ask again when we know its directory */
			return ret < 0 ? ret : -EAGAIN;
	}
	if (prefix[0] == PTNI_SUBTABLE_MAGIC) {
		if (prefix_len_bytes < 16 || depth > PTNI_DEPTH_MAX ||
		    suffix & ~ptni_suffix_mask(depth))
			return 0;
		if (!made)
			return ptni_hash_first_live(op, home->node,
						    home->hash->base[home->node] + offset, depth,
						    suffix);
		return subtable_live(op, ptni_entry_word(depth, home->node, offset), suffix);
	}
	if (!made) /* no record is there before the table is */
		return 0;
	if (!ptni_block_key_len(prefix) || ptni_block_key_len(prefix) > PTN_KEY_MAX ||
	    PTNI_BLOCK_HEAD_BYTES + ptni_block_key_len(prefix) > prefix_len_bytes)
		return 0;
	op->code =
		ptni_hash_key(ptni_block_key(prefix), ptni_block_key_len(prefix), home->hash->seed);
	ptni_hash_aim(op);
	if (op->node != home->node)
		return 0;
	return pair_live(op, offset);
}

int ptni_hash_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		   const void *prefix, size_t prefix_len_bytes)
{
	const struct ptni_hash_home *home = arg;
	struct ptni_hash_op own;
	int ret;

	if (prefix_len_bytes < 16)
		return -EINVAL;
	ret = ptni_hash_op_begin(&own, op->worker, home->hash, NULL, 0);
	if (ret)
		return ret;
	ret = block_live(&own, home, addr - home->hash->base[home->node], prefix, prefix_len_bytes);
	ptni_hash_op_end(&own);
	return ret;
}
