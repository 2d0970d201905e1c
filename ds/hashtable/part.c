/* SPDX-License-Identifier: MIT */
/*
 * Parts: what one of several keys in a lot has of the operation that they share, for who publishes many blocks in
 * one doorbell (multi_put.c, scan.c). How a death in between leaves each of them is told there.
 */
#include "ds/hashtable/table.h"

void ptni_hash_part_load(struct ptni_hash_op *op, const struct ptni_hash_part *part)
{
	op->key = part->key;
	op->key_len = part->key_len;
	op->value = part->value;
	op->value_len = part->value_len;
	op->code = part->code;
	ptni_hash_aim_at(op, part->entry);
	op->block = part->block;
	op->word = part->word;
	op->image = part->image;
	op->lost = false;
}

int ptni_hash_part_make_block(struct ptni_hash_op *op, struct ptni_hash_part *part)
{
	int ret = ptni_hash_make_block(op);

	if (ret)
		return ret;
	part->block = op->block;
	part->word = op->word;
	part->image = op->image;
	op->word = 0;
	return 0;
}

int ptni_hash_part_post(struct ptni_hash_op *op, struct ptni_hash_part *part, uint64_t *old)
{
	uint64_t slot = op->hash->base[op->node] + ptni_entry_offset(part->entry) +
			8 * (uint64_t)part->found.index;

	ptni_batch_write(&op->batch, part->block.window, part->block.addr, part->image,
			 (uint32_t)ptni_block_bytes(part->key_len, part->value_len));
	part->cas = op->batch.count;
	return ptni_hash_cas(op, slot, ptni_slot_bare(part->found.word), part->word, old);
}
