/* SPDX-License-Identifier: MIT */
/*
 * Splitting a subtable: freeze every word, fork the frozen content into two children (table.h: H2, H6, H8).
 * Any number of clients may do this to the same subtable at the same time; each step may be repeated.
 *
 * 1. make room  two children and, if need be, a directory piece are allocated before anything freezes, so that a
 *               full node refuses the write that needed room and harms nobody else
 * 2. freeze     CAS w -> w|F, 62 words and a beat of the split word a doorbell, until none is left
 * 3. sort       READ the keys behind the committed words; the next bit of their hash says which child
 * 4. fork       same positions, so a child always has room; tentative words are left out (their insert's commit
 *               fails); `spilled` is computed anew
 * 5. publish    CAS successor 0 -> child 0; who loses throws its children away
 */
#include "ds/hashtable/table.h"

#include <stdlib.h>

struct ptni_split_scratch {
	uint64_t *word; /* the subtable's words, frozen */
	uint16_t *pending; /* indices still to be frozen, then to be sorted */
	uint16_t *later;
	uint8_t *child; /* by index: bit that sorts the slot's key */
	uint8_t *spilled; /* by index of a main header: bit 0, 1 = in child 0, 1 */
};

struct split {
	struct ptni_hash_op *op;
	struct ptni_split_scratch *scratch;
	uint32_t words;
	uint32_t suffix;
	unsigned depth; /* of the parent */
	struct ptni_block block[2];
	unsigned blocks; /* allocated */
	uint64_t entry[2];
};

int ptni_split_scratch_open(uint32_t subtable_words, struct ptni_split_scratch **scratch_out)
{
	struct ptni_split_scratch *scratch;
	size_t words = subtable_words;

	scratch = malloc(sizeof(*scratch) + words * (8 + 2 + 2 + 1 + 1));
	if (!scratch)
		return -ENOMEM;
	scratch->word = (uint64_t *)(void *)(scratch + 1);
	scratch->pending = (uint16_t *)(void *)(scratch->word + words);
	scratch->later = scratch->pending + words;
	scratch->child = (uint8_t *)(scratch->later + words);
	scratch->spilled = scratch->child + words;
	*scratch_out = scratch;
	return 0;
}

void ptni_split_scratch_close(struct ptni_split_scratch *scratch)
{
	free(scratch);
}

/* --- freeze ------------------------------------------------------------------------------------- */

/* Part of every doorbell: shows the waiters that somebody is at it (H8). */
static int beat(struct ptni_hash_op *op)
{
	return ptni_hash_faa(op, ptni_hash_word_addr(op, PTNI_SUB_SPLIT), 1,
			     &op->nic->word[PTNI_BATCH_MAX - 1]);
}

/* One doorbell: CAS the first `count` pending words. */
static int freeze_post(struct split *split, unsigned count)
{
	struct ptni_hash_op *op = split->op;
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < count && !ret; i++) {
		uint32_t index = split->scratch->pending[i];
		uint64_t word = split->scratch->word[index];

		ret = ptni_hash_cas(op, ptni_hash_word_addr(op, index), word,
				    word | PTNI_SLOT_FROZEN, &op->nic->word[i]);
	}
	if (!ret)
		ret = beat(op);
	return ret ? ret : ptni_batch_run(&op->batch);
}

/* Which of them are frozen now; the others changed in between and stay pending. Returns how many. */
static unsigned freeze_sift(struct split *split, unsigned count)
{
	struct ptni_split_scratch *scratch = split->scratch;
	unsigned left = 0;

	for (unsigned i = 0; i < count; i++) {
		uint32_t index = scratch->pending[i];
		uint64_t old = split->op->nic->word[i];

		if (old == scratch->word[index])
			old |= PTNI_SLOT_FROZEN;
		else if (ptni_planted(PTNI_BUG_SPLIT_UPDATE))
			old = PTNI_SLOT_FROZEN;
		else if (ptni_planted(PTNI_BUG_SPLIT_STALE))
			old = scratch->word[index] | PTNI_SLOT_FROZEN;
		scratch->word[index] = old;
		if (!(old & PTNI_SLOT_FROZEN))
			scratch->pending[left++] = (uint16_t)index;
	}
	return left;
}

static int freeze(struct split *split)
{
	struct ptni_split_scratch *scratch = split->scratch;
	struct ptni_hash_op *op = split->op;
	uint32_t pending = 0;
	unsigned turn = 0;

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < split->words; i++)
		if (!(scratch->word[i] & PTNI_SLOT_FROZEN) &&
		    !(ptni_planted(PTNI_BUG_SPLIT_INSERT) && !scratch->word[i]))
			scratch->pending[pending++] = (uint16_t)i;
	while (pending) {
		unsigned count = pending < PTNI_BATCH_MAX - 2 ? pending : PTNI_BATCH_MAX - 2;
		unsigned left;
		int ret = freeze_post(split, count);

		if (ret && ret != PTN_E_OUTCOME_UNKNOWN)
			return ret;
		left = ret ? count : freeze_sift(split, count);
		memmove(scratch->pending + left, scratch->pending + count,
			(pending - count) * sizeof(*scratch->pending));
		pending -= count - left;
		/* all that is left keeps changing under us: let the others through */
		if (left == count) {
			ret = ptni_hash_pause(op, turn++ % 3);
			if (ret)
				return ret;
		}
	}
	return 0;
}

/* --- sort --------------------------------------------------------------------------------------- */

static int sort_block(struct split *split, uint32_t index, const uint8_t *block)
{
	struct ptni_hash_op *op = split->op;
	uint64_t code =
		ptni_hash_key(ptni_block_key(block), ptni_block_key_len(block), op->hash->seed);
	struct ptni_place place;
	uint8_t child = code >> split->depth & 1;

	ptni_hash_place(code, op->hash->groups, &place);
	if ((code & ptni_suffix_mask(split->depth)) != split->suffix ||
	    (!ptni_place_has(&place, 0, index) && !ptni_place_has(&place, 1, index)))
		return ptni_hash_corrupt(op, "a key in a place where it cannot be");
	split->scratch->child[index] = child;
	if (!ptni_place_has(&place, 0, index))
		split->scratch->spilled[place.main[0]] |= (uint8_t)(1u << child);
	return 0;
}

static uint32_t prefix_bytes(uint64_t word, uint32_t prefix)
{
	size_t class_bytes = ptni_block_class_bytes(ptni_slot_class(word));

	return class_bytes < prefix ? (uint32_t)class_bytes : prefix;
}

static int sort_post(struct split *split, const uint16_t *indices, unsigned count, uint32_t prefix)
{
	struct ptni_hash_op *op = split->op;
	int ret;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < count; i++) {
		uint64_t word = split->scratch->word[indices[i]];
		uint64_t addr;

		if (ptni_hash_block_addr(op, word, &addr))
			return ptni_hash_corrupt(op, "a slot names a block outside the node");
		ret = ptni_hash_read(op, addr, op->stage + i * prefix, prefix_bytes(word, prefix));
		if (ret)
			return ret;
	}
	ret = beat(op);
	return ret ? ret : ptni_batch_run(&op->batch);
}

/* The lane may fail under the beat, and what the READs fetched is unknown then: all of it again. */
static int sort_read(struct split *split, const uint16_t *indices, unsigned count, uint32_t prefix)
{
	int ret;

	do
		ret = sort_post(split, indices, count, prefix);
	while (ret == PTN_E_OUTCOME_UNKNOWN && !ptni_hash_retry(split->op));
	return ret;
}

/* Sort indices[0..count) by their keys' first bytes; those whose key is longer go to `later`. */
static int sort_pass(struct split *split, const uint16_t *indices, uint32_t count, uint32_t prefix,
		     uint32_t *later_out)
{
	const uint32_t together = PTNI_STAGE_BYTES / prefix < PTNI_BATCH_MAX - 2 ?
					  PTNI_STAGE_BYTES / prefix :
					  PTNI_BATCH_MAX - 2;
	uint32_t later = 0;

	for (uint32_t first = 0; first < count; first += together) {
		uint32_t n = count - first < together ? count - first : together;
		int ret = sort_read(split, indices + first, n, prefix);

		for (uint32_t i = 0; i < n && !ret; i++) {
			const uint8_t *block = split->op->stage + i * prefix;
			uint32_t index = indices[first + i];
			uint64_t word = split->scratch->word[index];

			if (PTNI_BLOCK_HEAD_BYTES + ptni_block_key_len(block) <=
			    prefix_bytes(word, prefix))
				ret = sort_block(split, index, block);
			else if (later_out)
				split->scratch->later[later++] = (uint16_t)index;
			else
				ret = ptni_hash_corrupt(split->op, "a key longer than its block");
		}
		if (ret)
			return ret;
	}
	if (later_out)
		*later_out = later;
	return 0;
}

static int sort(struct split *split)
{
	const uint32_t prefix = 64, longest = (PTNI_BLOCK_HEAD_BYTES + PTN_KEY_MAX + 15u) & ~15u;
	struct ptni_split_scratch *scratch = split->scratch;
	uint32_t count = 0, later = 0;
	int ret;

	memset(scratch->spilled, 0, split->words);
	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < split->words; i++)
		if (ptni_word_is_slot(i) && ptni_slot_committed(scratch->word[i]))
			scratch->pending[count++] = (uint16_t)i;
	ret = sort_pass(split, scratch->pending, count, prefix, &later);
	return ret ? ret : sort_pass(split, scratch->later, later, longest, NULL);
}

/* --- fork --------------------------------------------------------------------------------------- */

static uint64_t fork_head(const struct split *split, unsigned child, uint32_t index)
{
	switch (index) {
	case PTNI_SUB_MAGIC:
		return PTNI_SUBTABLE_MAGIC;
	case PTNI_SUB_IDENT:
		return ptni_header_word(split->depth + 1, split->suffix | child << split->depth);
	case PTNI_SUB_SIBLING:
		return split->entry[!child];
	default:
		return 0;
	}
}

static uint64_t fork_word(const struct split *split, unsigned child, uint32_t index)
{
	const struct ptni_split_scratch *scratch = split->scratch;
	uint64_t word;

	if (index < PTNI_SUB_HEAD_WORDS)
		return fork_head(split, child, index);
	if (!ptni_word_is_slot(index)) {
		word = ptni_header_word(split->depth + 1, split->suffix | child << split->depth);
		if (scratch->spilled[index] >> child & 1 && !ptni_planted(PTNI_BUG_SPLIT_SPILLED))
			word |= PTNI_HEADER_SPILLED;
		return word;
	}
	word = scratch->word[index];
	if (ptni_planted(PTNI_BUG_SPLIT_TENTATIVE) && word & PTNI_SLOT_TENTATIVE)
		return ptni_slot_bare(word);
	if (!ptni_slot_committed(word) || scratch->child[index] != child)
		return 0;
	return ptni_slot_bare(word);
}

/* WRITE words [first, first + count) of a child; again if the lane fails under the beat. */
static int fork_write(struct split *split, unsigned child, uint32_t first, uint32_t count)
{
	struct ptni_hash_op *op = split->op;
	const struct ptni_block *block = &split->block[child];
	int ret;

	do {
		ptni_hash_batch(op);
		ptni_batch_write(&op->batch, block->window, block->addr + 8 * (uint64_t)first,
				 op->stage, count * 8);
		ret = beat(op);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
	} while (ret == PTN_E_OUTCOME_UNKNOWN && !ptni_hash_retry(op));
	return ret;
}

static void give_back(struct split *split, int code)
{
	struct ptni_hash_op *op = split->op;

	while (split->blocks)
		ptni_hash_give_back(op, op->hash->space[op->node], &split->block[--split->blocks],
				    code);
}

static int fork_child(struct split *split, unsigned child)
{
	const uint32_t step = PTNI_STAGE_BYTES / 8;
	uint64_t *words = (uint64_t *)(void *)split->op->stage;
	int ret = 0;

	for (uint32_t first = 0; first < split->words && !ret; first += step) {
		uint32_t count = split->words - first < step ? split->words - first : step;

		for (uint32_t i = 0; i < count; i++)
			words[i] = fork_word(split, child, first + i);
		ret = fork_write(split, child, first, count);
	}
	return ret;
}

static int fork_both(struct split *split)
{
	int ret = fork_child(split, 0);

	if (!ret)
		ret = fork_child(split, 1);
	if (ret)
		give_back(split, ret);
	return ret;
}

/* 1: ours, 0: somebody else's was there. nic->head has the successor in both cases. */
static int publish_children(struct split *split)
{
	struct ptni_hash_op *op = split->op;
	uint64_t *now = &op->nic->head[PTNI_SUB_SUCCESSOR];
	int ret = ptni_hash_set_once(op, op->node, ptni_hash_word_addr(op, PTNI_SUB_SUCCESSOR),
				     split->entry[0], now);

	while (ret && split->blocks) /* they may have been published */
		ptni_block_lose(&op->op, op->hash->space[op->node], &split->block[--split->blocks]);
	return ret ? ret : *now == split->entry[0];
}

/* --- all of it ---------------------------------------------------------------------------------- */

static int make_room(struct split *split)
{
	struct ptni_hash_op *op = split->op;
	struct ptni_space *space = op->hash->space[op->node];
	uint64_t addr;
	int ret;

	/* H13: what has a successor must be in the directory */
	ret = ptni_client_node_error(op->hash->client, 0);
	if (ret)
		return ptni_worker_fail(op->op.worker, ret,
					"the table cannot grow without its first node");
	if (split->depth == PTNI_DEPTH_MAX)
		return ptni_worker_fail(op->op.worker, -ENOMEM,
					"the table is as deep as it can be");
	ret = ptni_directory_slot(op, split->suffix | 1u << split->depth, true, &addr);
	for (unsigned i = 0; i < 2 && !ret; i++) {
		ret = ptni_block_alloc(&op->op, space, op->hash->subtable_bytes, &split->block[i]);
		if (ret)
			break;
		split->blocks++;
		split->entry[i] = ptni_entry_word(split->depth + 1, op->node,
						  split->block[i].addr - op->hash->base[op->node]);
	}
	return ret;
}

static int run_steps(struct split *split)
{
	struct ptni_hash_op *op = split->op;
	int ret = make_room(split);

	if (!ret)
		ret = ptni_hash_copy(op, op->addr, split->scratch->word, 8 * (size_t)split->words);
	if (!ret)
		ret = freeze(split);
	if (!ret)
		ret = sort(split);
	if (!ret)
		ret = fork_both(split);
	if (!ret)
		ret = publish_children(split);
	if (ret == 1) {
		split->blocks = 0;
		PTNI_COUNT(op->counters, splits);
	}
	give_back(split, 0);
	return ret < 0 ? ret : ptni_hash_descend(op);
}

int ptni_hash_split(struct ptni_hash_op *op)
{
	struct split split = { .op = op, .words = ptni_subtable_words(op->hash->groups) };
	int ret;

	split.depth = ptni_entry_depth(op->entry);
	split.suffix = (uint32_t)(op->code & ptni_suffix_mask(split.depth));
	if (op->nic->head[PTNI_SUB_IDENT] != ptni_header_word(split.depth, split.suffix))
		return ptni_hash_corrupt(op, "a subtable that serves other keys");
	for (unsigned turn = 0; op->state->scratch_busy; turn++) {
		ret = ptni_hash_pause(op, turn);
		if (ret)
			return ret;
	}
	ret = ptni_hash_stage(op);
	if (ret)
		return ret;
	op->state->scratch_busy = true;
	split.scratch = op->state->scratch;
	ret = run_steps(&split);
	op->state->scratch_busy = false;
	return ret;
}
