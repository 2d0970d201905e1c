/* SPDX-License-Identifier: MIT */
/*
 * Moving a block to another place: an update of its key with the value that it has. Its CAS expects the word that
 * this operation read and that points at the block, so it succeeds only if the block was the key's until then; if
 * it fails, somebody else has unlinked the block. Either way nothing points at it afterwards, and no reader can tell.
 *
 * It is no write, though: a writer whose CAS it beats was not overwritten by anything newer, and must not take itself
 * for done (H4). Hence the flag in the word.
 *
 * It runs while memory is asked for (alloc/block.c), so the worker may be in the middle of a split itself, of this very
 * subtable if another client began it and died. Then nobody would end what a move that meets a frozen word waits
 * for. So the block stays where it is, and is asked about again with its chunk.
 */
#include "ds/hashtable/table.h"

enum {
	MOVE_MAX =
		24 << 10, /* longer blocks stay: old and new together would need the large buffer */
};

static int move_once(struct ptni_hash_op *op, uint64_t offset)
{
	struct ptni_found found;
	int ret = ptni_hash_find(op, PTNI_LOOK_WHOLE, &found);

	if (ret)
		return ret;
	if (ptni_slot_offset(found.word) != offset)
		return 0;
	op->moves = true;
	if (found.word & PTNI_SLOT_FROZEN) {
		ret = ptni_hash_settle(op);
		return ret ? ret : -EAGAIN;
	}
	op->value = ptni_block_value(found.block);
	op->value_len = ptni_block_value_len(found.block);
	PTNI_COUNT(op->counters, blocks_moved);
	return ptni_hash_publish(op, &found, true);
}

int ptni_hash_move(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		   const void *prefix, size_t prefix_len_bytes)
{
	const struct ptni_hash_home *home = arg;
	uint64_t offset = addr - home->hash->base[home->node];
	const uint64_t *words = prefix;
	struct ptni_hash_op own;
	int ret;

	if (words[0] == PTNI_PIECE_MAGIC || words[0] == PTNI_SUBTABLE_MAGIC ||
	    ptni_block_class_bytes(block_class) > MOVE_MAX)
		return -ENOTSUP;
	if (!ptni_block_key_len(prefix) || ptni_block_key_len(prefix) > PTN_KEY_MAX ||
	    PTNI_BLOCK_HEAD_BYTES + ptni_block_key_len(prefix) > prefix_len_bytes)
		return -EINVAL;
	ret = ptni_hash_op_begin(&own, op->worker, home->hash, ptni_block_key(prefix),
				 ptni_block_key_len(prefix));
	if (ret)
		return ret;
	ret = own.node == home->node ? move_once(&own, offset) : 0;
	while (ret == -EAGAIN) {
		ret = ptni_hash_retry(&own);
		if (!ret)
			ret = move_once(&own, offset);
	}
	ptni_hash_op_end(&own);
	return ret == -ENOENT ? 0 : ret;
}
