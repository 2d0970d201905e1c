/* SPDX-License-Identifier: MIT */
/*
 * The directory's node is silent or lost; the epochs of the others go on, and with each report a client
 * vouches that no cache of it leads to what was retired before (H6). Here that is asked of the subtables.
 *
 * Why what is read still is what it was (H13): at the last report every cached entry led to a subtable that had
 * not been unlinked before, and what is unlinked later is not re-used before the next report, which waits for
 * this. The same holds for its descendants, as they are unlinked after it. A subtable without a
 * successor has not been unlinked.
 */
#include "ds/hashtable/table.h"

enum {
	HEADS_MAX = 32 /* of one round trip */
};

struct check {
	struct ptni_hash_op op;
	unsigned node;
	uint32_t next; /* index of the directory */
	unsigned count;
	uint32_t index[HEADS_MAX];
	uint64_t entry[HEADS_MAX];
};

static uint64_t entry_at(const struct ptni_directory *directory, uint32_t index)
{
	return atomic_load_explicit(&directory->entry[index], memory_order_acquire);
}

static uint64_t end_of(const struct ptni_directory *directory)
{
	return UINT64_C(1) << atomic_load_explicit(&directory->depth, memory_order_acquire);
}

/* The next indices that lead to the node, those left out that only repeat another. */
static void collect(struct check *check)
{
	const struct ptni_directory *directory = &check->op.hash->directory;

	check->count = 0;
	for (; check->count < HEADS_MAX && check->next < end_of(directory); check->next++) {
		uint64_t entry = entry_at(directory, check->next);
		uint32_t first = check->next & (uint32_t)ptni_suffix_mask(ptni_entry_depth(entry));

		if (ptni_entry_node(entry) != check->node ||
		    (first != check->next && entry_at(directory, first) == entry))
			continue;
		check->index[check->count] = check->next;
		check->entry[check->count++] = entry;
	}
}

static uint64_t *head_of(struct check *check, unsigned which)
{
	return (uint64_t *)(void *)check->op.stage + (size_t)which * PTNI_SUB_HEAD_WORDS;
}

static int read_heads(struct check *check)
{
	struct ptni_hash_op *op = &check->op;
	int ret = 0;

	ptni_batch_init(&op->batch, &op->op, check->node);
	for (unsigned i = 0; i < check->count && !ret; i++)
		ret = ptni_hash_read(
			op, op->hash->base[check->node] + ptni_entry_offset(check->entry[i]),
			head_of(check, i), 8 * PTNI_SUB_HEAD_WORDS);
	return ret ? ret : ptni_batch_run(&op->batch);
}

/* Its head was read. 1: it was split, and the cache leads to its children now. */
static int follow(struct check *check, unsigned which)
{
	struct ptni_hash_op *op = &check->op;
	uint64_t child0 = head_of(check, which)[PTNI_SUB_SUCCESSOR], child1;
	unsigned depth = ptni_entry_depth(check->entry[which]);
	uint32_t suffix = check->index[which] & (uint32_t)ptni_suffix_mask(depth);
	int ret;

	if (head_of(check, which)[PTNI_SUB_IDENT] != ptni_header_word(depth, suffix))
		return ptni_hash_corrupt(op, "a cached subtable that serves other keys");
	if (!child0)
		return 0;
	op->code = suffix;
	ptni_hash_aim_at(op, check->entry[which]);
	ret = ptni_hash_children(op, child0, &child1);
	if (ret)
		return ret;
	if (!ptni_directory_learn(&op->hash->directory, suffix, child0) ||
	    !ptni_directory_learn(&op->hash->directory, suffix | 1u << depth, child1))
		return -EAGAIN; /* another thread grows the array: no report now */
	return 1;
}

/* An operation of its own for each, so that many do not outlast a deadline. */
static int some(struct check *check)
{
	int ret = ptni_hash_stage(&check->op);
	unsigned split = 0;

	if (ret)
		return ret;
	collect(check);
	if (!check->count)
		return 0;
	ret = read_heads(check);
	for (unsigned i = 0; i < check->count && ret >= 0; i++) {
		ret = follow(check, i);
		if (ret > 0 && !split++)
			check->next = check->index[i]; /* its children are next */
	}
	return ret < 0 ? ret : 1;
}

int ptni_directory_check(struct ptn_hash *hash, struct ptn_worker *worker, unsigned node)
{
	struct check check = { .node = node };
	int ret;

	do {
		ret = ptni_hash_op_begin(&check.op, worker, hash, NULL, 0);
		if (ret)
			return ret;
		ret = some(&check);
		ptni_hash_op_end(&check.op);
	} while (ret > 0);
	return ret;
}
