/* SPDX-License-Identifier: MIT */
/* When a subtable is being split or has been: wait, help, follow to the child (table.h: H2, H6, H8). */
#include "ds/hashtable/table.h"

static int read_head_at(struct ptni_hash_op *op, uint64_t addr, uint64_t *head)
{
	int ret;

	ptni_hash_batch(op);
	ret = ptni_hash_read(op, addr, head, 8 * PTNI_SUB_HEAD_WORDS);
	return ret ? ret : ptni_batch_run(&op->batch);
}

static bool is_child(uint64_t head_ident, unsigned depth, uint32_t suffix)
{
	return head_ident == ptni_header_word(depth, suffix);
}

int ptni_hash_children(struct ptni_hash_op *op, uint64_t child0, uint64_t *child1_out)
{
	unsigned depth = ptni_entry_depth(op->entry);
	uint32_t suffix = (uint32_t)(op->code & ptni_suffix_mask(depth));
	uint64_t child1, addr;
	int ret;

	if (ptni_hash_entry_addr(op, child0, &addr) || ptni_entry_node(child0) != op->node ||
	    ptni_entry_depth(child0) != depth + 1)
		return ptni_hash_corrupt(op, "a successor that is none");
	ret = read_head_at(op, addr, op->nic->word);
	if (ret)
		return ret;
	if (!is_child(op->nic->word[PTNI_SUB_IDENT], depth + 1, suffix))
		return ptni_hash_corrupt(op, "a successor that serves other keys");
	child1 = op->nic->word[PTNI_SUB_SIBLING];
	if (ptni_hash_entry_addr(op, child1, &addr) || ptni_entry_node(child1) != op->node)
		return ptni_hash_corrupt(op, "a sibling that is none");
	*child1_out = child1;
	return 0;
}

int ptni_hash_descend(struct ptni_hash_op *op)
{
	unsigned depth = ptni_entry_depth(op->entry);
	uint32_t suffix = (uint32_t)(op->code & ptni_suffix_mask(depth));
	uint64_t parent = op->entry;
	uint64_t child0 = op->nic->head[PTNI_SUB_SUCCESSOR];
	uint64_t child1;
	int ret;

	PTNI_COUNT(op->counters, retries_stale);
	ret = ptni_hash_children(op, child0, &child1);
	if (ret)
		return ret;
	ret = ptni_directory_publish(op, parent, suffix, child0, child1);
	if (ret && !ptni_client_node_error(op->hash->client, 0))
		return ret; /* never at a child that the directory does not lead to: H6, but see H13 */
	ptni_directory_learn(&op->hash->directory, suffix, child0);
	ptni_directory_learn(&op->hash->directory, suffix | 1u << depth, child1);
	ptni_hash_aim_at(op, op->code >> depth & 1 ? child1 : child0);
	return 0;
}

/* Make the split word ours if it is still `seen`. 1: it is. */
static int take(struct ptni_hash_op *op, uint64_t seen)
{
	struct ptn_worker *worker = op->op.worker;
	uint64_t session = ptni_client_node(op->hash->client, op->node)->session;
	uint64_t owner = (session << 8 | (ptni_worker_index(worker) & 0xff)) &
			 ((UINT64_C(1) << 39) - 1);
	uint64_t beat = (seen + 1) & ((1u << PTNI_SPLIT_BEAT_BITS) - 1);
	uint64_t mine = (owner << 1 | 1) << PTNI_SPLIT_BEAT_BITS | beat;
	int ret;

	ptni_hash_batch(op);
	ret = ptni_hash_cas(op, ptni_hash_word_addr(op, PTNI_SUB_SPLIT), seen, mine,
			    &op->nic->word[0]);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	if (ret)
		return ret == PTN_E_OUTCOME_UNKNOWN ? 0 : ret;
	return op->nic->word[0] == seen;
}

/* Who has less time than that must still have some left to do the split itself. */
static uint64_t patience_ns(const struct ptni_hash_op *op)
{
	uint64_t quarter_ns = (op->op.deadline_ns - op->op.start_ns) / 4;

	return quarter_ns < PTNI_SPLIT_PATIENCE_NS ? quarter_ns : PTNI_SPLIT_PATIENCE_NS;
}

/*
 * Until the subtable is split. `eager`: nobody needs to have begun. A split word that does not
 * change for a while belongs to somebody who died or sleeps: take over.
 */
static int await_split(struct ptni_hash_op *op, bool eager)
{
	uint64_t since = ptni_worker_now_ns(op->op.worker);
	uint64_t seen = UINT64_MAX;

	for (unsigned turn = 0;; turn++) {
		uint64_t now = ptni_worker_now_ns(op->op.worker);
		int ret = read_head_at(op, op->addr, op->nic->head);
		uint64_t split = op->nic->head[PTNI_SUB_SPLIT];

		if (ret)
			return ret;
		if (op->nic->head[PTNI_SUB_SUCCESSOR])
			return ptni_hash_descend(op);
		if (split != seen) {
			seen = split;
			since = now;
		}
		if ((eager && !split) || (ptni_clock_since_ns(now, since) > patience_ns(op) &&
					  !ptni_planted(PTNI_BUG_SPLIT_UNHELPED))) {
			ret = take(op, split);
			if (ret < 0)
				return ret;
			if (ret) {
				if (split)
					PTNI_COUNT(op->counters, splits_helped);
				return ptni_hash_split(op);
			}
		}
		ret = ptni_hash_pause(op, turn);
		if (ret)
			return ret;
	}
}

int ptni_hash_settle(struct ptni_hash_op *op)
{
	PTNI_COUNT(op->counters, retries_busy);
	if (op->moves && op->state->scratch_busy)
		return -EBUSY; /* move.c */
	return await_split(op, false);
}

int ptni_hash_grow(struct ptni_hash_op *op)
{
	return await_split(op, true);
}
