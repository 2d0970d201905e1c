/* SPDX-License-Identifier: MIT */
/*
 * Questions about many blocks at once, and moving many at once, for who empties chunks:
 *
 *   [READ both buckets of every block's key] [WRITE copy, CAS slot old -> copy, of every block that is live]
 *
 * What is not plain sailing (a subtable, a tentative or frozen word, a long block) is asked about and moved on its
 * own afterwards (live.c, move.c), where it says why that is right. What is different here:
 *
 * 1. A block's bytes are read before its slot, not after it. They are those that the word names: the block is in
 *    a chunk that its owner hands nothing out of, so nobody has filled it since; and the checksum says so again.
 * 2. The CAS expects a word that this operation has read in its slot, and the operation pins what it names.
 *    So it succeeds only if the block was the key's until then.
 *
 * The client dies anywhere in the list: requests are executed in order, so each slot has the old block or the copy,
 * and what no slot points at is found when its chunk is adopted or emptied (H9; each move counts as a write in H10).
 */
#include "ds/hashtable/table.h"

enum {
	TOGETHER_MAX = PTNI_SCAN_MAX,
};
_Static_assert(2 * PTNI_SCAN_MAX <= PTNI_BATCH_MAX, "a copy and a CAS for each, in one doorbell");

struct scan_item {
	struct ptni_scan *scan;
	struct ptni_hash_part part; /* its block is the copy */
	uint64_t *bucket; /* both, in NIC memory */
};

struct scan_lot {
	struct ptni_hash_op *op;
	const struct ptni_hash_home *home;
	size_t prefix_len;
	unsigned block_class, count;
	bool move;
	struct scan_item at[TOGETHER_MAX];
};

enum {
	PENDING = -EINPROGRESS,
	ALONE = -EAGAIN,
};

static bool is_record(const void *prefix, size_t prefix_len)
{
	uint32_t key_len = ptni_block_key_len(prefix);

	return key_len && key_len <= PTN_KEY_MAX && PTNI_BLOCK_HEAD_BYTES + key_len <= prefix_len;
}

/* Which of them are plain records of this node, and where their keys would be. */
static int collect(struct scan_lot *lot, struct ptni_scan *scan, unsigned count)
{
	struct ptni_hash_op *op = lot->op;

	for (unsigned i = 0; i < count; i++) {
		struct scan_item *at = &lot->at[lot->count];
		const uint64_t *words = scan[i].prefix;

		scan[i].result = ALONE;
		if (words[0] == PTNI_PIECE_MAGIC || words[0] == PTNI_SUBTABLE_MAGIC ||
		    !is_record(words, lot->prefix_len))
			continue;
		at->scan = &scan[i];
		at->part = (struct ptni_hash_part){ .key = ptni_block_key(words),
						    .key_len = ptni_block_key_len(words),
						    .value = ptni_block_value(words),
						    .value_len = ptni_block_value_len(words) };
		at->part.code = ptni_hash_key(at->part.key, at->part.key_len, op->hash->seed);
		at->part.entry = ptni_directory_lookup(&op->hash->directory, at->part.code);
		if (ptni_entry_node(at->part.entry) != lot->home->node)
			continue;
		at->bucket = ptni_op_buffer(&op->op, 2 * PTNI_COMBINED_BYTES);
		if (!at->bucket)
			return -ENOBUFS;
		if (!lot->count)
			ptni_hash_aim_entry(op, at->part.entry);
		lot->count++;
	}
	return 0;
}

static int read_buckets(struct scan_lot *lot)
{
	struct ptni_hash_op *op = lot->op;
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < lot->count && !ret; i++) {
		struct scan_item *at = &lot->at[i];
		uint64_t addr = op->hash->base[op->node] + ptni_entry_offset(at->part.entry);
		struct ptni_place place;

		ptni_hash_place(at->part.code, op->hash->groups, &place);
		for (unsigned k = 0; k < 2 && !ret; k++)
			ret = ptni_hash_read(op, addr + 8 * (uint64_t)place.first[k],
					     at->bucket + k * PTNI_COMBINED_WORDS,
					     PTNI_COMBINED_BYTES);
	}
	return ret ? ret : ptni_batch_run(&op->batch);
}

/* Free, live (then at->part.found says where), or a case for itself. */
static void judge(const struct scan_lot *lot, struct scan_item *at)
{
	uint64_t offset = at->scan->addr - lot->op->hash->base[lot->home->node], flags = 0;
	struct ptni_place place;
	int result = 0;

	ptni_hash_place(at->part.code, lot->op->hash->groups, &place);
	for (unsigned k = 0; k < 2 * PTNI_COMBINED_WORDS; k++) {
		uint64_t word = at->bucket[k];

		flags |= word;
		if (!ptni_word_is_slot(k) || !ptni_slot_bare(word) ||
		    ptni_slot_offset(word) != offset)
			continue;
		at->part.found.index =
			place.first[k / PTNI_COMBINED_WORDS] + k % PTNI_COMBINED_WORDS;
		at->part.found.word = word;
		result = word & PTNI_SLOT_TENTATIVE ? ALONE : 1;
	}
	at->scan->result = flags & PTNI_SLOT_FROZEN ? ALONE : result;
}

/* --- moving ------------------------------------------------------------------------------------- */

static void take_up(struct ptni_hash_op *op, const struct scan_item *at)
{
	ptni_hash_part_load(op, &at->part);
	op->moves = true;
}

/* A block for the copy. Waits if there is none at hand. */
static void prepare(struct scan_lot *lot, struct scan_item *at)
{
	struct ptni_hash_op *op = lot->op;
	size_t class_bytes = ptni_block_class_bytes(lot->block_class);

	if (at->scan->result != 1)
		return;
	if (class_bytes > lot->prefix_len ||
	    ptni_slot_class(at->part.found.word) != lot->block_class ||
	    ptni_block_verify(at->scan->prefix, class_bytes, at->part.found.word)) {
		at->scan->result = ALONE;
		return;
	}
	take_up(op, at);
	at->scan->result = PTNI_SCAN_STAYS;
	if (!ptni_hash_part_make_block(op, &at->part))
		at->scan->result = PENDING;
}

/* The CAS was executed. If it met another word, somebody else has unlinked the block, or froze the slot. */
static void executed(struct ptni_hash_op *op, struct scan_item *at, uint64_t old)
{
	uint64_t expected = ptni_slot_bare(at->part.found.word);

	take_up(op, at);
	at->scan->result = old == (expected | PTNI_SLOT_FROZEN) ? ALONE : 1;
	if (old == expected || ptni_planted(PTNI_BUG_MOVE_UNCHECKED)) {
		PTNI_COUNT(op->counters, blocks_moved);
		(void)ptni_hash_published(op, &at->part.found);
	}
	ptni_hash_drop_block(op);
}

/* The batch stopped before this CAS, or at it: see ptni_hash_publish_failed(). */
static void stopped(struct ptni_hash_op *op, struct scan_item *at, int code)
{
	int ret = code;

	take_up(op, at);
	if (code == PTN_E_OUTCOME_UNKNOWN)
		ret = ptni_hash_publish_failed(op, &at->part.found, true, code);
	else
		op->lost = ptni_hash_uncertain(code);
	at->scan->result = !ret ? 1 : ret == -EAGAIN ? ALONE : PTNI_SCAN_STAYS;
	ptni_hash_drop_block(op);
}

static void publish_all(struct scan_lot *lot)
{
	struct ptni_hash_op *op = lot->op;
	unsigned done = 0;
	int ret = 0;

	ptni_hash_batch(op);
	for (unsigned i = 0; i < lot->count && !ret; i++)
		if (lot->at[i].scan->result == PENDING)
			ret = ptni_hash_part_post(op, &lot->at[i].part, &op->nic->word[i]);
	if (!ret && !op->batch.count)
		return;
	if (!ret) {
		ret = ptni_batch_run(&op->batch);
		done = op->batch.done;
	}
	for (unsigned i = 0; i < lot->count; i++) {
		struct scan_item *at = &lot->at[i];

		if (at->scan->result != PENDING)
			continue;
		if (!ret || at->part.cas < done)
			executed(op, at, op->nic->word[i]);
		else
			stopped(op, at, ret);
	}
}

/* --- all of it ---------------------------------------------------------------------------------- */

/* Not inlined: a batch is long, and what is done alone needs the stack as well. */
__attribute__((noinline)) static int together(const struct ptni_hash_home *home,
					      struct ptn_worker *worker, unsigned block_class,
					      size_t prefix_len, bool move, struct ptni_scan *scan,
					      unsigned count)
{
	struct ptni_hash_op op;
	struct scan_lot lot = { .op = &op,
				.home = home,
				.prefix_len = prefix_len,
				.block_class = block_class,
				.move = move };
	int ret = ptni_hash_op_begin(&op, worker, home->hash, NULL, 0);

	if (ret)
		return ret;
	ret = collect(&lot, scan, count);
	if (!ret && lot.count)
		ret = read_buckets(&lot);
	for (unsigned i = 0; i < lot.count && !ret; i++)
		judge(&lot, &lot.at[i]);
	for (unsigned i = 0; i < lot.count && !ret && move; i++)
		prepare(&lot, &lot.at[i]);
	if (!ret && move)
		publish_all(&lot);
	ptni_hash_op_end(&op);
	return ret;
}

static int alone(const struct ptni_hash_home *home, struct ptni_op *op, unsigned block_class,
		 size_t prefix_len, bool move, const struct ptni_scan *scan)
{
	void *arg = (void *)(uintptr_t)home;
	int ret = ptni_hash_live(arg, op, scan->addr, block_class, scan->prefix, prefix_len);
	int moved;

	if (ret <= 0 || !move)
		return ret;
	moved = ptni_hash_move(arg, op, scan->addr, block_class, scan->prefix, prefix_len);
	return moved && moved != -EBUSY ? PTNI_SCAN_STAYS : 1;
}

int ptni_hash_scan(void *arg, struct ptni_op *op, unsigned block_class, size_t prefix_len_bytes,
		   bool move, struct ptni_scan *scan, unsigned count)
{
	const struct ptni_hash_home *home = arg;
	int ret;

	if (prefix_len_bytes < 16 || count > TOGETHER_MAX)
		return -EINVAL;
	ret = together(home, op->worker, block_class, prefix_len_bytes, move, scan, count);
	for (unsigned i = 0; i < count && !ret; i++)
		if (scan[i].result == ALONE)
			scan[i].result =
				alone(home, op, block_class, prefix_len_bytes, move, &scan[i]);
	return ret;
}
