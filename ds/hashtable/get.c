/* SPDX-License-Identifier: MIT */
#include "ds/hashtable/table.h"

int ptn_hash_get(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
		 size_t key_len_bytes, void *buffer, size_t capacity_bytes, size_t *len_out)
{
	struct ptni_hash_op op;
	struct ptni_found found;
	int ret = ptni_hash_check_key(worker, key, key_len_bytes);

	if (ret)
		return ret;
	ret = ptni_hash_op_begin(&op, worker, hash, key, key_len_bytes);
	if (ret)
		return ret;
	ret = ptni_hash_lookup(&op, PTNI_LOOK_WHOLE, &found);
	if (!ret) {
		size_t len_bytes = ptni_block_value_len(found.block);
		size_t copied = len_bytes < capacity_bytes ? len_bytes : capacity_bytes;

		if (copied)
			memcpy(buffer, ptni_block_value(found.block), copied);
		if (len_out)
			*len_out = len_bytes;
		ret = len_bytes > capacity_bytes ? -ENOBUFS : 0;
	} else if (ret != -ENOENT) {
		PTNI_COUNT(op.counters, ops_failed);
	}
	PTNI_COUNT(op.counters, ops_get);
	ptni_hash_op_end(&op);
	return ret;
}
