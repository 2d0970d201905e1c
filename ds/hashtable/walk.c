/* SPDX-License-Identifier: MIT */
/* Reading whole subtables. */
#include "ds/hashtable/table.h"

int ptni_hash_copy(struct ptni_hash_op *op, uint64_t addr, void *to, size_t len_bytes)
{
	uint8_t *bytes = to;
	int ret = ptni_hash_stage(op);

	while (len_bytes && !ret) {
		size_t now = len_bytes < PTNI_STAGE_BYTES ? len_bytes : PTNI_STAGE_BYTES;

		ptni_hash_batch(op);
		ret = ptni_hash_read(op, addr, op->stage, now);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
		if (ret)
			break;
		memcpy(bytes, op->stage, now);
		bytes += now;
		addr += now;
		len_bytes -= now;
	}
	return ret;
}

static bool any_frozen(const uint64_t *words, uint32_t count)
{
	uint64_t flags = 0;

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < count; i++)
		flags |= words[i];
	return flags & PTNI_SLOT_FROZEN;
}

/* The argument is H3's: all words unfrozen when read, or no successor afterwards. */
int ptni_hash_read_subtable(struct ptni_hash_op *op, uint64_t *words)
{
	uint32_t count = ptni_subtable_words(op->hash->groups);

	for (;;) {
		unsigned depth = ptni_entry_depth(op->entry);
		uint32_t suffix = (uint32_t)(op->code & ptni_suffix_mask(depth));
		int ret = ptni_hash_copy(op, op->addr, words, 8 * (size_t)count);

		if (ret)
			return ret;
		if (words[PTNI_SUB_MAGIC] != PTNI_SUBTABLE_MAGIC ||
		    words[PTNI_SUB_IDENT] != ptni_header_word(depth, suffix))
			return ptni_hash_corrupt(op, "a subtable that is none");
		if (!any_frozen(words, count))
			return 0;
		ret = ptni_hash_copy(op, op->addr, op->nic->head, sizeof(op->nic->head));
		if (ret || !op->nic->head[PTNI_SUB_SUCCESSOR])
			return ret;
		ret = ptni_hash_descend(op);
		if (ret)
			return ret;
	}
}
