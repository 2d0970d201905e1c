/* SPDX-License-Identifier: MIT */
/*
 * Walking a table. The hash suffixes, bit-reversed, are a line of 2^24 positions on which every subtable is an
 * interval, and a split cuts an interval in two. The walk goes along that line:
 *
 *   cursor   | position 25.. | depth 8 | print 8 |
 *
 * print == 0: everything before `position` was visited. Otherwise the interval of `depth` that begins at
 * `position` is under way: its keys with a fingerprint below `print` were visited. A key's position and
 * fingerprint never change, so a key that is there all the time is visited exactly once, however
 * the subtables are split meanwhile.
 *
 * Not for the data path: a call allocates room for one subtable's words.
 */
#include "ds/hashtable/table.h"

#include <patronus/error.h>

#include <stdlib.h>

enum {
	PRINTS = 1 << PTNI_SLOT_PRINT_BITS,
	POSITIONS = 1 << PTNI_DEPTH_MAX
};

struct walk {
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	ptn_hash_visit_fn visit;
	void *arg;
	uint32_t position;
	unsigned depth;
	unsigned print, print_end;
	uint64_t visited;

	uint64_t *words;
	uint16_t *order; /* slots to be visited, by fingerprint */
	uint32_t ordered;
	uint64_t (*codes)[2]; /* of the keys of one fingerprint */
};

/* The hash suffix at a position. */
static uint64_t suffix_at(uint32_t position)
{
	uint32_t bits = position;

	bits = (bits & 0x55555555) << 1 | (bits >> 1 & 0x55555555);
	bits = (bits & 0x33333333) << 2 | (bits >> 2 & 0x33333333);
	bits = (bits & 0x0f0f0f0f) << 4 | (bits >> 4 & 0x0f0f0f0f);
	bits = __builtin_bswap32(bits);
	return bits >> (32 - PTNI_DEPTH_MAX);
}

static uint32_t interval(unsigned depth)
{
	return 1u << (PTNI_DEPTH_MAX - depth);
}

/* The subtable at a position: op aims at it and walk->words has it. */
static int read_at(struct walk *walk, struct ptni_hash_op *op, uint32_t position)
{
	op->code = suffix_at(position);
	ptni_hash_aim(op);
	return ptni_hash_read_subtable(op, walk->words);
}

static bool wanted(const struct walk *walk, uint32_t index)
{
	return ptni_word_is_slot(index) && ptni_slot_committed(walk->words[index]) &&
	       ptni_slot_print(walk->words[index]) >= walk->print;
}

/* How far to go in one step: whole fingerprints until there are about `limit` keys. */
static void choose_end(struct walk *walk, uint64_t limit)
{
	uint32_t words = ptni_subtable_words(walk->hash->groups);
	uint32_t counts[PRINTS] = { 0 };
	uint64_t sum = 0;

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < words; i++)
		if (wanted(walk, i))
			counts[ptni_slot_print(walk->words[i])]++;
	for (walk->print_end = walk->print; walk->print_end < PRINTS; walk->print_end++) {
		if (sum && sum + counts[walk->print_end] > limit)
			break;
		sum += counts[walk->print_end];
	}
}

/* Counting sort of the slots with fingerprints in [print, print_end). */
static void put_in_order(struct walk *walk)
{
	uint32_t words = ptni_subtable_words(walk->hash->groups);
	uint32_t place[PRINTS + 1] = { 0 };

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < words; i++)
		if (wanted(walk, i) && ptni_slot_print(walk->words[i]) < walk->print_end)
			place[ptni_slot_print(walk->words[i]) + 1]++;
	for (unsigned i = 0; i < PRINTS; i++)
		place[i + 1] += place[i];
	walk->ordered = place[PRINTS];
	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < words; i++)
		if (wanted(walk, i) && ptni_slot_print(walk->words[i]) < walk->print_end)
			walk->order[place[ptni_slot_print(walk->words[i])]++] = (uint16_t)i;
}

/* READ the blocks of some slots in order; how many fit is returned. */
static int read_blocks(struct walk *walk, struct ptni_hash_op *op, uint32_t first,
		       uint32_t *offsets)
{
	const size_t together = 32 << 10;
	size_t bytes = 0;
	uint32_t n;
	int ret;

	for (n = 0; first + n < walk->ordered && n < PTNI_BATCH_MAX; n++) {
		uint64_t word = walk->words[walk->order[first + n]];
		uint64_t addr;

		if (ptni_hash_block_addr(op, word, &addr))
			return ptni_hash_corrupt(op, "a slot names a block outside the node");
		offsets[n] = (uint32_t)bytes;
		bytes += ptni_block_class_bytes(ptni_slot_class(word));
		if (n && bytes > together)
			break;
	}
	ret = ptni_hash_area(op, bytes < together ? together : bytes);
	if (ret)
		return ret;
	ptni_hash_batch(op);
	for (uint32_t i = 0; i < n && !ret; i++) {
		uint64_t word = walk->words[walk->order[first + i]];
		uint64_t addr;

		ptni_hash_block_addr(op, word, &addr);
		ret = ptni_hash_read(op, addr, op->area + offsets[i],
				     ptni_block_class_bytes(ptni_slot_class(word)));
	}
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	return ret ? ret : (int)n;
}

/*
 * A key that was deleted and inserted again while its subtable was being read may have been met
 * twice. Two keys with 128 equal hash bits count as one.
 */
static bool seen_before(struct walk *walk, const uint8_t *block, uint32_t *codes_count)
{
	uint32_t len = ptni_block_key_len(block);
	uint64_t one = ptni_hash_key(ptni_block_key(block), len, walk->hash->seed);
	uint64_t two = ptni_hash_key(ptni_block_key(block), len, ~walk->hash->seed);

	for (uint32_t i = 0; i < *codes_count; i++)
		if (walk->codes[i][0] == one && walk->codes[i][1] == two)
			return true;
	walk->codes[*codes_count][0] = one;
	walk->codes[(*codes_count)++][1] = two;
	return false;
}

static int visit_block(struct walk *walk, struct ptni_hash_op *op, uint64_t word,
		       const uint8_t *block, uint32_t *codes_count)
{
	if (ptni_block_verify(block, ptni_block_class_bytes(ptni_slot_class(word)), word))
		return ptni_hash_corrupt(op, "a block that fails its checksum");
	if (seen_before(walk, block, codes_count))
		return 0;
	walk->visited++;
	return walk->visit(walk->arg, ptni_block_key(block), ptni_block_key_len(block),
			   ptni_block_value(block), ptni_block_value_len(block));
}

static int visit_ordered(struct walk *walk, struct ptni_hash_op *op)
{
	uint32_t offsets[PTNI_BATCH_MAX];
	uint32_t codes_count = 0;
	unsigned print = PRINTS;

	for (uint32_t first = 0; first < walk->ordered;) {
		int n = read_blocks(walk, op, first, offsets);

		if (n < 0)
			return n;
		for (uint32_t i = 0; i < (uint32_t)n; i++) {
			uint64_t word = walk->words[walk->order[first + i]];
			int ret;

			if (ptni_slot_print(word) != print)
				codes_count = 0;
			print = ptni_slot_print(word);
			ret = visit_block(walk, op, word, op->area + offsets[i], &codes_count);
			if (ret)
				return ret;
		}
		first += (uint32_t)n;
	}
	return 0;
}

/* The subtables of the interval under way, one operation each. */
static int visit_interval(struct walk *walk, uint64_t limit)
{
	uint32_t at = walk->position, end = walk->position;
	bool first = true;

	do {
		struct ptni_hash_op op;
		int ret = ptni_hash_op_begin(&op, walk->worker, walk->hash, NULL, 0);

		if (ret)
			return ret;
		ret = read_at(walk, &op, at);
		if (!ret) {
			if (first && !walk->print)
				walk->depth = ptni_entry_depth(op.entry);
			if (first)
				choose_end(walk, limit);
			first = false;
			end = walk->position + interval(walk->depth);
			put_in_order(walk);
			ret = visit_ordered(walk, &op);
			at += interval(ptni_entry_depth(op.entry));
		}
		ptni_hash_op_end(&op);
		if (ret)
			return ret;
	} while (at < end);
	walk->print = walk->print_end;
	if (walk->print == PRINTS) {
		walk->position = end;
		walk->print = 0;
	}
	return 0;
}

/* The node of the interval under way is lost for good: the next call goes on behind its subtable. */
static bool pass_over(struct walk *walk, int error)
{
	uint64_t entry = ptni_directory_lookup(&walk->hash->directory, suffix_at(walk->position));
	unsigned depth = walk->print ? walk->depth : ptni_entry_depth(entry);

	if (ptn_error_scope(error) != PTN_SCOPE_NODE ||
	    !ptni_client_node_error(walk->hash->client, ptni_entry_node(entry)))
		return false;
	walk->position += interval(depth);
	walk->print = 0;
	return true;
}

static int walk_open(struct walk *walk)
{
	size_t words = ptni_subtable_words(walk->hash->groups);

	walk->words = malloc(words * (8 + 16 + 2));
	if (!walk->words)
		return -ENOMEM;
	walk->codes = (void *)(walk->words + words);
	walk->order = (void *)(walk->codes + words);
	return 0;
}

static int cursor_read(struct walk *walk, uint64_t cursor)
{
	walk->print = cursor & 0xff;
	walk->depth = cursor >> 8 & 0xff;
	walk->position = (uint32_t)(cursor >> 16);
	if (cursor >> 16 > POSITIONS || walk->print >= PRINTS || walk->depth > PTNI_DEPTH_MAX ||
	    (walk->print && walk->position & (interval(walk->depth) - 1)))
		return ptni_worker_fail(walk->worker, -EINVAL,
					"a cursor that ptn_hash_iterate did not make");
	return 0;
}

int ptn_hash_iterate(struct ptn_worker *worker, struct ptn_hash *hash, uint64_t *cursor,
		     size_t limit, ptn_hash_visit_fn visit, void *arg)
{
	struct walk walk = { .worker = worker, .hash = hash, .visit = visit, .arg = arg };
	int ret;

	if (!cursor || !visit || !limit)
		return ptni_worker_fail(worker, -EINVAL,
					"ptn_hash_iterate: cursor, limit or visit");
	ret = cursor_read(&walk, *cursor);
	if (!ret)
		ret = walk_open(&walk);
	while (!ret && walk.visited < limit && walk.position < POSITIONS) {
		ret = visit_interval(&walk, limit - walk.visited);
		if (!ret || pass_over(&walk, ret))
			*cursor = (uint64_t)walk.position << 16 | walk.depth << 8 | walk.print;
	}
	free(walk.words);
	PTNI_COUNT(ptni_worker_counters(worker), ops_scan);
	return ret ? ret : walk.position < POSITIONS;
}

/* --- info ------------------------------------------------------------------------------------------ */

static int count_bytes(struct walk *walk, struct ptni_hash_op *op, uint64_t *bytes)
{
	for (uint32_t first = 0; first < walk->ordered; first += PTNI_BATCH_MAX) {
		uint32_t n = walk->ordered - first;
		int ret = 0;

		n = n < PTNI_BATCH_MAX ? n : PTNI_BATCH_MAX;
		ptni_hash_batch(op);
		for (uint32_t i = 0; i < n && !ret; i++) {
			uint64_t addr;

			if (ptni_hash_block_addr(op, walk->words[walk->order[first + i]], &addr))
				return ptni_hash_corrupt(op,
							 "a slot names a block outside the node");
			ret = ptni_hash_read(op, addr, &op->nic->word[i], PTNI_BLOCK_HEAD_BYTES);
		}
		if (!ret)
			ret = ptni_batch_run(&op->batch);
		if (ret)
			return ret;
		for (uint32_t i = 0; i < n; i++)
			*bytes += ptni_block_key_len(&op->nic->word[i]) +
				  ptni_block_value_len(&op->nic->word[i]);
	}
	return 0;
}

static int count_subtable(struct walk *walk, struct ptn_hash_info *info)
{
	struct ptni_hash_op op;
	unsigned depth;
	int ret = ptni_hash_op_begin(&op, walk->worker, walk->hash, NULL, 0);

	if (ret)
		return ret;
	ret = read_at(walk, &op, walk->position);
	if (!ret) {
		walk->print = 0;
		walk->print_end = PRINTS;
		put_in_order(walk);
		ret = count_bytes(walk, &op, &info->live_bytes);
		depth = ptni_entry_depth(op.entry);
		info->depth = depth > info->depth ? depth : info->depth;
		info->entries += walk->ordered;
		info->subtables++;
		info->slot_bytes += ptni_block_class_bytes(walk->hash->subtable_class);
		info->slots += (uint64_t)walk->hash->groups * PTNI_GROUP_SLOTS;
		walk->position += interval(depth);
	}
	ptni_hash_op_end(&op);
	return ret;
}

int ptn_hash_info(struct ptn_worker *worker, struct ptn_hash *hash, struct ptn_hash_info *info_out)
{
	struct walk walk = { .worker = worker, .hash = hash };
	struct ptn_hash_info info = { 0 };
	int ret = walk_open(&walk);

	while (!ret && walk.position < POSITIONS)
		ret = count_subtable(&walk, &info);
	for (unsigned i = 0; i < hash->node_count && !ret; i++) {
		uint64_t held_bytes;

		ret = ptni_space_held_bytes(worker, hash->space[i], &held_bytes);
		if (!ret)
			info.held_bytes += held_bytes;
	}
	free(walk.words);
	if (!ret)
		*info_out = info;
	return ret;
}
