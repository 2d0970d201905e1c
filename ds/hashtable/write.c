/* SPDX-License-Identifier: MIT */
/* Put, insert, update, delete: everything that changes a slot by one CAS (table.h: H2, H4). */
#include "ds/hashtable/table.h"

/*
 * A CAS that goes by the cache alone saves a round trip if the slot is as the cache says, and costs the card
 * a CAS in vain if not. Where many write, most words are another's by now. Doubt grows with each that fails and
 * shrinks with each that does not, so that it settles where three of five succeed; in great doubt the slot
 * is read first, but for one in DOUBT_PROBE.
 */
enum {
	DOUBT_FAILED = 3,
	DOUBT_GOOD = 2,
	DOUBT_GREAT = 24,
	DOUBT_MAX = 48,
	DOUBT_PROBE = 16,
};

enum write_mode {
	WRITE_PUT,
	WRITE_INSERT,
	WRITE_UPDATE
};

bool ptni_hash_uncertain(int code)
{
	return code == PTN_E_OUTCOME_UNKNOWN || code == -ETIMEDOUT ||
	       ptn_error_scope(code) == PTN_SCOPE_NODE || ptn_error_scope(code) == PTN_SCOPE_LANE;
}

void ptni_hash_give_back(struct ptni_hash_op *op, struct ptni_space *space,
			 const struct ptni_block *block, int code)
{
	if (ptni_hash_uncertain(code))
		ptni_block_lose(&op->op, space, block);
	else
		ptni_block_cancel(&op->op, space, block);
}

int ptni_hash_make_block(struct ptni_hash_op *op)
{
	size_t len_bytes = ptni_block_bytes(op->key_len, op->value_len);
	void *image;
	int ret;

	if (op->word)
		return 0;
	ret = ptni_hash_buffer(op, len_bytes, &image);
	if (!ret)
		ret = ptni_block_alloc(&op->op, op->hash->space[op->node], len_bytes, &op->block);
	if (ret)
		return ret;
	op->image = image;
	op->word = ptni_slot_word(ptni_hash_print(op->code), op->block.block_class,
				  op->block.version, op->block.addr - op->hash->base[op->node]);
	if (op->moves)
		op->word |= PTNI_SLOT_MOVED;
	ptni_block_fill(image, op->word, op->key, op->key_len, op->value, op->value_len);
	return 0;
}

static void retire(struct ptni_hash_op *op, uint64_t word)
{
	uint64_t addr;

	if (!ptni_hash_block_addr(op, word, &addr))
		ptni_block_retire(&op->op, op->hash->space[op->node], addr, ptni_slot_class(word));
}

void ptni_hash_retire_soon(struct ptni_hash_op *op, uint64_t word, bool again)
{
	uint64_t addr;

	if (!ptni_hash_block_addr(op, word, &addr))
		ptni_block_retire_soon(&op->op, op->hash->space[op->node], addr,
				       ptni_slot_class(word), again);
}

int ptni_hash_published(struct ptni_hash_op *op, const struct ptni_found *found)
{
	if (!ptni_planted(PTNI_BUG_WRITE_LEAK))
		retire(op, found->word);
	ptni_slot_cache_store(&op->state->cache, op->code, ptni_hash_second(op), found->index,
			      op->word, op->epoch);
	op->word = 0;
	return 0;
}

/* The slot as it is now that nothing of the failed batch can land any more. */
static int reread(struct ptni_hash_op *op, uint32_t index, uint64_t *word_out)
{
	int ret;

	ptni_hash_batch(op);
	ret = ptni_hash_read(op, ptni_hash_word_addr(op, index), &op->nic->word[0], 8);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	if (!ret)
		*word_out = op->nic->word[0];
	return ret;
}

/* A move put it there, not a write (H4). */
static bool was_moved(uint64_t word)
{
	return word & PTNI_SLOT_MOVED && !ptni_planted(PTNI_BUG_MOVE_ABSORBS);
}

/*
 * The batch failed under the CAS. If the slot has moved on, our block may or may not have been in it, so it
 * stays allocated until its chunk is adopted. What the caller is told: see H4, either way the
 * write took effect, if this operation had seen the old word itself.
 */
int ptni_hash_publish_failed(struct ptni_hash_op *op, const struct ptni_found *found, bool observed,
			     int code)
{
	uint64_t word;

	op->lost = ptni_hash_uncertain(code);
	if (code != PTN_E_OUTCOME_UNKNOWN || reread(op, found->index, &word))
		return code;
	op->lost = false;
	if (ptni_slot_bare(word) == op->word)
		return ptni_hash_published(op, found);
	if (ptni_slot_bare(word) == ptni_slot_bare(found->word))
		return ptni_planted(PTNI_BUG_WRITE_DOUBT) ? 0 : -EAGAIN;
	op->lost = true;
	return observed && !was_moved(word) ? 0 : code;
}

void ptni_hash_doubt(struct ptni_hash_op *op, bool good)
{
	struct ptni_hash_worker *state = op->state;

	if (good)
		state->doubt -= state->doubt < DOUBT_GOOD ? state->doubt : DOUBT_GOOD;
	else if (state->doubt < DOUBT_MAX)
		state->doubt += DOUBT_FAILED;
}

/*
 * That is what to look at next. But nobody has looked at the block: the key may have gone, and another one with the
 * same fingerprint come to its slot. So the entry's `check` is nobody's: it leads readers, who compare
 * the key, and no CAS that goes by the cache alone.
 */
void ptni_hash_learn_changed(struct ptni_hash_op *op, const struct ptni_found *found, uint64_t word)
{
	uint64_t check = ptni_planted(PTNI_BUG_WRITE_UNSEEN) ? ptni_hash_second(op) :
							       ~ptni_hash_second(op);
	struct ptni_slot_cache *cache = &op->state->cache;

	PTNI_COUNT(op->counters, slot_cache_wrong);
	if (ptni_slot_committed(word) && ptni_slot_print(word) == ptni_hash_print(op->code)) {
		ptni_slot_cache_heat(cache, op->code);
		ptni_slot_cache_store(cache, op->code, check, found->index, word, op->epoch);
	} else {
		ptni_slot_cache_drop(cache, op->code);
	}
}

static void write_block(struct ptni_hash_op *op)
{
	ptni_batch_write(&op->batch, op->block.window, op->block.addr, op->image,
			 (uint32_t)ptni_block_bytes(op->key_len, op->value_len));
}

int ptni_hash_publish(struct ptni_hash_op *op, const struct ptni_found *found, bool observed)
{
	uint64_t expected = ptni_slot_bare(found->word);
	uint64_t word;
	int ret;

	ptni_hash_retire_soon(op, found->word, false);
	ret = ptni_hash_make_block(op);
	if (ret)
		return ret;
	ptni_hash_retire_soon(op, found->word, true);
	ptni_hash_batch(op);
	if (!op->written && !ptni_planted(PTNI_BUG_WRITE_ORDER))
		write_block(op);
	ret = ptni_hash_cas(op, ptni_hash_word_addr(op, found->index), expected, op->word,
			    &op->nic->word[0]);
	if (ret)
		return ret;
	if (ptni_planted(PTNI_BUG_WRITE_ORDER) && !op->written)
		write_block(op);
	ret = ptni_batch_run(&op->batch);
	if (ret)
		return ptni_hash_publish_failed(op, found, observed, ret);
	op->written = true;
	word = op->nic->word[0];
	if (!observed)
		ptni_hash_doubt(op, word == expected);
	if (word == expected)
		return ptni_hash_published(op, found);
	if (word == (expected | PTNI_SLOT_FROZEN) && !ptni_planted(PTNI_BUG_WRITE_FROZEN)) {
		ret = ptni_hash_settle(op);
		return ret ? ret : -EAGAIN;
	}
	PTNI_COUNT(op->counters, retries_conflict);
	ptni_hash_learn_changed(op, found, word);
	if ((!observed && !ptni_planted(PTNI_BUG_WRITE_BLIND)) || was_moved(word))
		return -EAGAIN;
	PTNI_COUNT(op->counters, combined);
	return 0;
}

bool ptni_hash_blind(struct ptni_hash_op *op, struct ptni_found *found)
{
	const struct ptni_slot_cache *cache = &op->state->cache;
	struct ptni_slot_hint hint;

	if (!ptni_slot_cache_find(cache, op->code, op->epoch, &hint) ||
	    hint.heat >= PTNI_CACHE_HOT || !ptni_slot_blind_ok(hint.word, hint.epoch, op->epoch) ||
	    hint.index >= ptni_subtable_words(op->hash->groups) ||
	    (!ptni_slot_cache_is(cache, op->code, ptni_hash_second(op)) &&
	     !ptni_planted(PTNI_BUG_WRITE_KEYLESS)))
		return false;
	if (op->state->doubt >= DOUBT_GREAT && ++op->state->asked % DOUBT_PROBE)
		return false;
	found->index = hint.index;
	found->word = hint.word;
	return true;
}

static int write_once(struct ptni_hash_op *op, enum write_mode mode, bool first)
{
	struct ptni_found found;
	int ret;

	if (first && mode != WRITE_INSERT && ptni_hash_blind(op, &found)) {
		PTNI_COUNT(op->counters, slot_cache_hits);
		return ptni_hash_publish(op, &found, false);
	}
	ret = ptni_hash_lookup(op, PTNI_LOOK_KEY, &found);
	if (ret == -ENOENT && mode != WRITE_UPDATE)
		return ptni_hash_claim(op);
	if (ret)
		return ret;
	if (mode == WRITE_INSERT)
		return -EEXIST;
	if (found.word & PTNI_SLOT_FROZEN) {
		ret = ptni_hash_settle(op);
		return ret ? ret : -EAGAIN;
	}
	return ptni_hash_publish(op, &found, true);
}

static int write_begin(struct ptni_hash_op *op, struct ptn_worker *worker, struct ptn_hash *hash,
		       const void *key, size_t key_len_bytes, const void *value,
		       size_t value_len_bytes)
{
	int ret = ptni_hash_check_key(worker, key, key_len_bytes);

	if (!ret)
		ret = ptni_hash_check_value(worker, value, value_len_bytes);
	if (ret)
		return ret;
	ret = ptni_hash_op_begin(op, worker, hash, key, key_len_bytes);
	if (!ret)
		ptni_slot_cache_prefetch_check(&op->state->cache, op->code);
	op->value = value;
	op->value_len = value_len_bytes;
	return ret;
}

static bool failed(int ret)
{
	return ret && ret != -ENOENT && ret != -EEXIST;
}

static int write_run(struct ptn_worker *worker, struct ptn_hash *hash, enum write_mode mode,
		     const void *key, size_t key_len_bytes, const void *value,
		     size_t value_len_bytes)
{
	struct ptni_hash_op op;
	int ret = write_begin(&op, worker, hash, key, key_len_bytes, value, value_len_bytes);

	if (ret)
		return ret;
	ret = write_once(&op, mode, true);
	while (ret == -EAGAIN) {
		ret = ptni_hash_retry(&op);
		if (!ret)
			ret = write_once(&op, mode, false);
	}
	PTNI_COUNT(op.counters, ops_put);
	if (failed(ret))
		PTNI_COUNT(op.counters, ops_failed);
	ptni_hash_op_end(&op);
	return ret;
}

int ptn_hash_put(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
		 size_t key_len_bytes, const void *value, size_t value_len_bytes)
{
	return write_run(worker, hash, WRITE_PUT, key, key_len_bytes, value, value_len_bytes);
}

int ptn_hash_insert(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
		    size_t key_len_bytes, const void *value, size_t value_len_bytes)
{
	return write_run(worker, hash, WRITE_INSERT, key, key_len_bytes, value, value_len_bytes);
}

int ptn_hash_update(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
		    size_t key_len_bytes, const void *value, size_t value_len_bytes)
{
	return write_run(worker, hash, WRITE_UPDATE, key, key_len_bytes, value, value_len_bytes);
}

/* --- delete ------------------------------------------------------------------------------------ */

static int removed(struct ptni_hash_op *op, const struct ptni_found *found)
{
	retire(op, found->word);
	ptni_slot_cache_drop(&op->state->cache, op->code);
	return 0;
}

static int remove_found(struct ptni_hash_op *op, const struct ptni_found *found)
{
	uint64_t expected = ptni_slot_bare(found->word);
	uint64_t word;
	int ret;

	ptni_hash_batch(op);
	ret = ptni_hash_cas(op, ptni_hash_word_addr(op, found->index), expected, 0,
			    &op->nic->word[0]);
	if (ret)
		return ret;
	ret = ptni_batch_run(&op->batch);
	if (ret) {
		if (ret != PTN_E_OUTCOME_UNKNOWN || reread(op, found->index, &word))
			return ret;
		/* empty may be another one's delete, and whose it was cannot be told */
		return ptni_slot_bare(word) == expected ? -EAGAIN : ret;
	}
	word = op->nic->word[0];
	if (word == expected)
		return removed(op, found);
	if (word == (expected | PTNI_SLOT_FROZEN)) {
		ret = ptni_hash_settle(op);
		return ret ? ret : -EAGAIN;
	}
	PTNI_COUNT(op->counters, retries_conflict);
	ptni_hash_learn_changed(op, found, word);
	return ptni_planted(PTNI_BUG_DELETE_ONE) ? 0 : -EAGAIN;
}

static int remove_once(struct ptni_hash_op *op, bool first)
{
	struct ptni_found found;
	int ret;

	if (first && ptni_hash_blind(op, &found)) {
		PTNI_COUNT(op->counters, slot_cache_hits);
		return remove_found(op, &found);
	}
	ret = ptni_hash_lookup(op, PTNI_LOOK_KEY, &found);
	if (ret)
		return ret;
	if (found.word & PTNI_SLOT_FROZEN) {
		ret = ptni_hash_settle(op);
		return ret ? ret : -EAGAIN;
	}
	return remove_found(op, &found);
}

int ptn_hash_delete(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
		    size_t key_len_bytes)
{
	struct ptni_hash_op op;
	int ret = write_begin(&op, worker, hash, key, key_len_bytes, NULL, 0);

	if (ret)
		return ret;
	ret = remove_once(&op, true);
	while (ret == -EAGAIN) {
		ret = ptni_hash_retry(&op);
		if (!ret)
			ret = remove_once(&op, false);
	}
	PTNI_COUNT(op.counters, ops_delete);
	if (failed(ret))
		PTNI_COUNT(op.counters, ops_failed);
	ptni_hash_op_end(&op);
	return ret;
}
