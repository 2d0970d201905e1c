/* SPDX-License-Identifier: MIT */
/*
 * Making a table. Until the format word is set that is done by anyone who opens it; every step may be done by
 * several, and each may die behind any of them:
 *
 *   after                       what is left                       who repairs
 *   WRITE of a first subtable   a block without a word             adoption of its chunk, by the rule below
 *   CAS entry 0 -> subtable     done                               -
 *   WRITE of a piece, CAS       likewise                           likewise
 *   CAS format                  done                               -
 *
 * What dead creators left is needed for making the table at all when the node is small, so it is asked about
 * before the table is made. The asker knows that the owner was fenced on the block's node, but it may still be alive
 * on node 0 and set an entry there (H13). So a whole first subtable, which its owner may be about to enter, is
 * entered by the asker; if the entry is another's then it is too late for the owner as well, since an entry that was
 * set once is never 0 again. One that is not whole will never be, nor be entered, unless it was entered already and
 * is in use: then the table has been made meanwhile, and the question is another one.
 */
#include "ds/hashtable/table.h"

#include <string.h>

enum {
	ROOM_WAITS = 8, /* of up to 128 us each */
	COMPARED_WORDS = 128,
};

static void image(unsigned depth, uint32_t suffix, uint64_t *words, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t index = first + i;

		words[i] = 0;
		if (index == PTNI_SUB_MAGIC)
			words[i] = PTNI_SUBTABLE_MAGIC;
		else if (index == PTNI_SUB_IDENT ||
			 (index >= PTNI_SUB_HEAD_WORDS && !ptni_word_is_slot(index)))
			words[i] = ptni_header_word(depth, suffix);
	}
}

static int subtable_write(struct ptni_hash_op *op, const struct ptni_block *block, unsigned node,
			  uint32_t suffix)
{
	const uint32_t step = PTNI_STAGE_BYTES / 8;
	uint32_t words = ptni_subtable_words(op->hash->groups);
	int ret = ptni_hash_stage(op);

	for (uint32_t first = 0; first < words && !ret; first += step) {
		uint32_t count = words - first < step ? words - first : step;

		image(op->hash->first_depth, suffix, (uint64_t *)(void *)op->stage, first, count);
		ptni_batch_init(&op->batch, &op->op, node);
		ptni_batch_write(&op->batch, block->window, block->addr + 8 * (uint64_t)first,
				 op->stage, count * 8);
		ret = ptni_batch_run(&op->batch);
	}
	return ret;
}

/* First subtable number `suffix`; whoever is first makes it. */
static int subtable_make(struct ptni_hash_op *op, uint32_t suffix)
{
	struct ptn_hash *hash = op->hash;
	unsigned node = suffix % hash->node_count;
	struct ptni_block block;
	uint64_t place, entry, now;
	int ret = ptni_directory_slot(op, suffix, true, &place);

	if (!ret)
		ret = ptni_block_alloc(&op->op, hash->space[node], hash->subtable_bytes, &block);
	if (ret)
		return ret;
	ret = subtable_write(op, &block, node, suffix);
	if (ret) {
		ptni_hash_give_back(op, hash->space[node], &block, ret);
		return ret;
	}
	entry = ptni_entry_word(hash->first_depth, node, block.addr - hash->base[node]);
	ret = ptni_hash_set_once(op, 0, place, entry, &now);
	if (ret)
		ptni_block_lose(&op->op, hash->space[node], &block);
	else if (now != entry)
		ptni_block_cancel(&op->op, hash->space[node], &block);
	return ret;
}

static int read_format(struct ptni_hash_op *op, uint64_t *format_out)
{
	int ret;

	ptni_batch_init(&op->batch, &op->op, 0);
	ret = ptni_hash_read(op, op->hash->root, &op->nic->word[0], 8);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	*format_out = op->nic->word[0];
	return ret;
}

static int make_step(struct ptni_hash_op *op, uint32_t *at)
{
	struct ptn_hash *hash = op->hash;
	uint32_t subtables = 1u << hash->first_depth;
	uint64_t format;
	int ret = read_format(op, &format);

	if (!ret && format == PTNI_ROOT_FORMAT)
		*at = subtables; /* done by others */
	else if (!ret && *at < subtables)
		ret = subtable_make(op, *at);
	else if (!ret)
		ret = ptni_hash_set_once(op, 0, hash->root, PTNI_ROOT_FORMAT, &format);
	if (!ret && *at == subtables) {
		ret = ptni_directory_refresh(op);
		ret = ret < 0 ? ret : 0;
	}
	return ret;
}

/* Adopt what the dead have left, and let some time pass in which it becomes free. */
static int room_make(struct ptn_worker *worker, struct ptn_hash *hash)
{
	struct ptni_op op;
	int ret;

	for (unsigned i = 0; i < hash->node_count; i++)
		(void)ptni_space_trim(worker, hash->space[i]);
	ret = ptni_op_begin(worker, &op);
	if (ret)
		return ret;
	for (unsigned i = 0; i < ROOM_WAITS && !ret; i++)
		ret = ptni_op_backoff(&op, ROOM_WAITS);
	ptni_op_end(&op);
	return ret;
}

/* Each subtable is an operation of its own, so that many do not outlast a deadline. */
int ptni_hash_make(struct ptn_worker *worker, struct ptn_hash *hash)
{
	uint64_t give_up_ns = 0;
	struct ptni_hash_op op;
	uint32_t at = 0;

	while (at <= 1u << hash->first_depth) {
		int ret = ptni_hash_op_begin(&op, worker, hash, NULL, 0);

		if (ret)
			return ret;
		if (!give_up_ns)
			give_up_ns = op.op.deadline_ns;
		ret = make_step(&op, &at);
		ptni_hash_op_end(&op);
		if (ret == -ENOMEM && ptni_worker_now_ns(worker) < give_up_ns) {
			ret = room_make(worker, hash);
		} else if (!ret) {
			at++;
			give_up_ns = 0;
		}
		if (ret)
			return ret;
	}
	atomic_store_explicit(&hash->made, true, memory_order_release);
	return 0;
}

/* --- asked about by adopters ---------------------------------------------------------------------- */

static int is_whole(struct ptni_hash_op *op, unsigned node, uint64_t addr, uint32_t suffix)
{
	const uint32_t step = COMPARED_WORDS;
	uint32_t words = ptni_subtable_words(op->hash->groups);
	uint64_t expected[COMPARED_WORDS];
	int ret = ptni_hash_stage(op);

	for (uint32_t first = 0; first < words && !ret; first += step) {
		uint32_t count = words - first < step ? words - first : step;

		image(op->hash->first_depth, suffix, expected, first, count);
		ptni_batch_init(&op->batch, &op->op, node);
		ret = ptni_hash_read(op, addr + 8 * (uint64_t)first, op->stage, count * 8);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
		if (!ret && memcmp(op->stage, expected, count * 8) != 0)
			return 0;
	}
	return ret ? ret : 1;
}

int ptni_hash_is_made(struct ptni_hash_op *op)
{
	uint64_t format;
	int ret = read_format(op, &format);

	return ret ? ret : format == PTNI_ROOT_FORMAT;
}

int ptni_hash_first_live(struct ptni_hash_op *op, unsigned node, uint64_t addr, unsigned depth,
			 uint32_t suffix)
{
	const struct ptn_hash *hash = op->hash;
	uint64_t entry, now, place;
	int ret;

	if (depth != hash->first_depth || suffix >> depth || suffix % hash->node_count != node)
		return 0;
	ret = is_whole(op, node, addr, suffix);
	if (!ret && ptni_hash_is_made(op))
		return -EAGAIN; /* or nobody knows */
	if (ret <= 0)
		return ret;
	/* its owner made sure of the place before it took the block */
	ret = ptni_directory_slot(op, suffix, false, &place);
	if (ret || !place)
		return ret;
	entry = ptni_entry_word(depth, node, addr - hash->base[node]);
	ret = ptni_hash_set_once(op, 0, place, entry, &now);
	return ret ? ret : now == entry;
}
