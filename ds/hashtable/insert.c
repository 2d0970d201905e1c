/* SPDX-License-Identifier: MIT */
/* A new key: reserve a slot, look for a second copy, commit (table.h: H1). */
#include "ds/hashtable/table.h"

enum {
	WITHDRAWN,
	COMMITTED_ELSEWHERE,
	RIVAL,
	FREE_TO_COMMIT
};

/* What an insert knows of its slot and of whom it met. */
struct claim {
	uint32_t index;
	unsigned where; /* 0 at home, 1 in b */
	bool both; /* b was read after the slot was reserved */
	uint32_t rival_index;
	uint64_t rival_word;
};

static uint64_t home_header(const struct ptni_hash_op *op)
{
	return op->nic->bucket[0][op->place.main[0] - op->place.first[0]];
}

/*
 * An empty slot of a combined bucket, main bucket first; where the search begins depends on the key, so that
 * inserts of different keys rarely want the same one. 0: none.
 */
static uint32_t empty_slot(const struct ptni_hash_op *op, unsigned which)
{
	const uint64_t *bucket = op->nic->bucket[which];
	uint32_t main = op->place.main[which] - op->place.first[which];
	uint32_t start = (uint32_t)(op->code >> 24);

	for (unsigned half = 0; half < 2; half++) {
		uint32_t base = half ? PTNI_BUCKET_WORDS - main : main;

		for (unsigned i = 0; i < PTNI_BUCKET_WORDS; i++) {
			uint32_t k = base + (start + i) % PTNI_BUCKET_WORDS;

			if (ptni_word_is_slot(k) && !bucket[k])
				return op->place.first[which] + k;
		}
	}
	return 0;
}

/* Empty slots of a combined bucket, in its two halves: [0] the main bucket, [1] the overflow that it shares. */
static void count_empty(const struct ptni_hash_op *op, unsigned which, unsigned empty[2])
{
	uint32_t main = op->place.main[which] - op->place.first[which];

	empty[0] = empty[1] = 0;
	for (unsigned k = 0; k < PTNI_COMBINED_WORDS; k++)
		if (ptni_word_is_slot(k) && !op->nic->bucket[which][k])
			empty[k / PTNI_BUCKET_WORDS != main / PTNI_BUCKET_WORDS]++;
}

/*
 * At home while its main bucket has room: that costs no look at b. Then where there is more room, which lets a
 * subtable fill to 0.93 on average before it must be split; home first to the end would be 0.69.
 */
static bool choose(const struct ptni_hash_op *op, struct claim *claim)
{
	unsigned home[2], other[2];

	count_empty(op, 0, home);
	count_empty(op, 1, other);
	claim->where = !home[0] && other[0] + other[1] > home[1];
	claim->index = empty_slot(op, claim->where);
	return claim->index;
}

static int read_bucket(struct ptni_hash_op *op, unsigned which)
{
	return ptni_hash_read(op, ptni_hash_word_addr(op, op->place.first[which]),
			      op->nic->bucket[which], PTNI_COMBINED_BYTES);
}

/* Read the buckets again after the slot was reserved; b when somebody may be there. */
static int reread(struct ptni_hash_op *op, struct claim *claim)
{
	int ret = read_bucket(op, 0);

	if (!ret && claim->both)
		ret = read_bucket(op, 1);
	return ret;
}

/* [WRITE block, (CAS spilled), CAS slot, READ a, (READ b)] */
static int reserve_post(struct ptni_hash_op *op, struct claim *claim)
{
	uint64_t header = home_header(op);
	int ret = 0;

	claim->both = claim->where == 1 || header & PTNI_HEADER_SPILLED;
	ptni_hash_batch(op);
	if (!op->written)
		ptni_batch_write(&op->batch, op->block.window, op->block.addr, op->image,
				 (uint32_t)ptni_block_bytes(op->key_len, op->value_len));
	op->nic->word[1] = header;
	if (claim->where == 1 && !(header & PTNI_HEADER_SPILLED) &&
	    !ptni_planted(PTNI_BUG_INSERT_SPILL))
		ret = ptni_hash_cas(op, ptni_hash_word_addr(op, op->place.main[0]), header,
				    header | PTNI_HEADER_SPILLED, &op->nic->word[1]);
	if (!ret)
		ret = ptni_hash_cas(op, ptni_hash_word_addr(op, claim->index), 0,
				    op->word | PTNI_SLOT_TENTATIVE, &op->nic->word[0]);
	return ret ? ret : reread(op, claim);
}

/* Take the tentative slot back. It does not matter who empties it, or whether it froze. */
static int withdraw(struct ptni_hash_op *op, const struct claim *claim)
{
	int ret;

	do {
		ptni_hash_batch(op);
		ret = ptni_hash_cas(op, ptni_hash_word_addr(op, claim->index),
				    op->word | PTNI_SLOT_TENTATIVE, 0, &op->nic->word[0]);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
	} while (ret == PTN_E_OUTCOME_UNKNOWN && !ptni_hash_retry(op));
	if (ret)
		op->lost = true; /* it may still be there */
	return ret;
}

static int withdraw_and_retry(struct ptni_hash_op *op, const struct claim *claim)
{
	int ret = withdraw(op, claim);

	return ret ? ret : -EAGAIN;
}

static int settle_and_retry(struct ptni_hash_op *op)
{
	int ret = ptni_hash_settle(op);

	return ret ? ret : -EAGAIN;
}

static bool is_known(const struct ptni_hash_op *op, uint64_t word)
{
	for (unsigned i = 0; i < op->known_count; i++)
		if (op->known[i] == word)
			return true;
	return false;
}

/* Words that may be another copy of the key: same fingerprint, not ours, not looked at, able to commit. */
static unsigned gather(const struct ptni_hash_op *op, const struct claim *claim, uint64_t *words,
		       uint32_t *indices)
{
	unsigned count = 0;

	for (unsigned i = 0; i < (claim->both ? 2 : 1); i++) {
		for (unsigned k = 0; k < PTNI_COMBINED_WORDS; k++) {
			uint64_t word = op->nic->bucket[i][k];
			uint32_t index = op->place.first[i] + k;

			if (!ptni_word_is_slot(k) || !ptni_slot_bare(word) ||
			    index == claim->index ||
			    ptni_slot_print(word) != ptni_hash_print(op->code) ||
			    (word & PTNI_SLOT_FLAGS) == PTNI_SLOT_FLAGS ||
			    is_known(op, ptni_slot_bare(word) | (word & PTNI_SLOT_TENTATIVE)))
				continue;
			words[count] = word;
			indices[count++] = index;
		}
	}
	return count;
}

/* Read head and key of those blocks, at op->area + i * stride. */
static int read_keys(struct ptni_hash_op *op, const uint64_t *words, unsigned count, size_t stride)
{
	size_t len_bytes = PTNI_BLOCK_HEAD_BYTES + op->key_len;
	int ret = ptni_hash_area(op, count * stride);

	if (ret)
		return ret;
	ptni_hash_batch(op);
	for (unsigned i = 0; i < count; i++) {
		size_t class_bytes = ptni_block_class_bytes(ptni_slot_class(words[i]));
		uint64_t addr;

		if (ptni_hash_block_addr(op, words[i], &addr))
			return ptni_hash_corrupt(op, "a slot names a block outside the node");
		ret = ptni_hash_read(op, addr, op->area + i * stride,
				     class_bytes < len_bytes ? class_bytes : len_bytes);
		if (ret)
			return ret;
	}
	return ptni_batch_run(&op->batch);
}

/* Is the key anywhere else in what was read after our slot was reserved? */
static int look_around(struct ptni_hash_op *op, struct claim *claim)
{
	size_t stride = (PTNI_BLOCK_HEAD_BYTES + op->key_len + 15) & ~(size_t)15;
	uint64_t words[PTNI_CANDIDATES_MAX];
	uint32_t indices[PTNI_CANDIDATES_MAX];
	unsigned count;
	int verdict = FREE_TO_COMMIT;
	int ret;

	if (!claim->both && home_header(op) & PTNI_HEADER_SPILLED &&
	    !ptni_planted(PTNI_BUG_INSERT_SPILL_LATE)) {
		claim->both = true;
		ptni_hash_batch(op);
		ret = read_bucket(op, 1);
		if (!ret)
			ret = ptni_batch_run(&op->batch);
		if (ret)
			return ret;
	}
	count = gather(op, claim, words, indices);
	if (!count)
		return FREE_TO_COMMIT;
	ret = read_keys(op, words, count, stride);
	if (ret)
		return ret;
	for (unsigned i = 0; i < count; i++) {
		if (!ptni_block_has_key(op->area + i * stride, op->key, op->key_len))
			continue;
		if (!(words[i] & PTNI_SLOT_TENTATIVE))
			return COMMITTED_ELSEWHERE;
		if (ptni_planted(PTNI_BUG_INSERT_RIVAL))
			continue;
		verdict = RIVAL;
		claim->rival_index = indices[i];
		claim->rival_word = words[i];
	}
	return verdict;
}

/* [CAS rival -> 0, READ a, (READ b)]: whatever became of it, look again. */
static int oust(struct ptni_hash_op *op, struct claim *claim)
{
	int ret;

	PTNI_COUNT(op->counters, retries_conflict);
	ptni_hash_batch(op);
	ret = ptni_hash_cas(op, ptni_hash_word_addr(op, claim->rival_index), claim->rival_word, 0,
			    &op->nic->word[2]);
	if (!ret)
		ret = reread(op, claim);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	return ret;
}

/* Until the key is alone: 0 = commit, -EAGAIN = withdrawn. The lower slot stays, the higher gives way. */
static int clear_the_way(struct ptni_hash_op *op, struct claim *claim)
{
	const unsigned rounds = 8;

	for (unsigned i = 0; i < rounds; i++) {
		int verdict = ptni_planted(PTNI_BUG_INSERT_BLIND) ? FREE_TO_COMMIT :
								    look_around(op, claim);

		if (verdict == FREE_TO_COMMIT)
			return 0;
		if (verdict < 0) {
			withdraw(op, claim);
			return verdict == PTN_E_OUTCOME_UNKNOWN ? -EAGAIN : verdict;
		}
		if (verdict == COMMITTED_ELSEWHERE ||
		    (claim->rival_index < claim->index && op->tries < PTNI_RIVAL_PATIENCE))
			break;
		verdict = oust(op, claim);
		if (verdict) {
			withdraw(op, claim);
			return verdict == PTN_E_OUTCOME_UNKNOWN ? -EAGAIN : verdict;
		}
	}
	return withdraw_and_retry(op, claim);
}

static int committed(struct ptni_hash_op *op, const struct claim *claim)
{
	ptni_slot_cache_store(&op->state->cache, op->code, ptni_hash_second(op), claim->index,
			      op->word, op->epoch);
	op->word = 0;
	return 0;
}

/* The lane failed under the commit; what is in the slot now stays ours to read. */
static int commit_failed(struct ptni_hash_op *op, const struct claim *claim, int code)
{
	int ret;
	uint64_t word;

	op->lost = true;
	if (code != PTN_E_OUTCOME_UNKNOWN)
		return code;
	ptni_hash_batch(op);
	ret = ptni_hash_read(op, ptni_hash_word_addr(op, claim->index), &op->nic->word[0], 8);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	word = op->nic->word[0];
	if (ret || ptni_slot_bare(word) != op->word)
		return code;
	op->lost = false;
	if (!(word & PTNI_SLOT_TENTATIVE))
		return committed(op, claim);
	return withdraw_and_retry(op, claim);
}

static int commit(struct ptni_hash_op *op, const struct claim *claim)
{
	uint64_t word;
	int ret;

	ptni_hash_batch(op);
	ret = ptni_hash_cas(op, ptni_hash_word_addr(op, claim->index),
			    op->word | PTNI_SLOT_TENTATIVE, op->word, &op->nic->word[0]);
	if (!ret)
		ret = ptni_batch_run(&op->batch);
	if (ret)
		return commit_failed(op, claim, ret);
	word = op->nic->word[0];
	if (word == (op->word | PTNI_SLOT_TENTATIVE))
		return committed(op, claim);
	PTNI_COUNT(op->counters, retries_conflict);
	return word & PTNI_SLOT_FROZEN ? settle_and_retry(op) : -EAGAIN;
}

/* Reserve the slot. 0: ours; -EAGAIN: not, look again. */
static int reserve(struct ptni_hash_op *op, struct claim *claim)
{
	uint64_t word, header;
	int ret = reserve_post(op, claim);

	if (ret)
		return ret;
	ret = ptni_batch_run(&op->batch);
	if (ret == PTN_E_OUTCOME_UNKNOWN) {
		op->shown = true;
		return withdraw_and_retry(op, claim);
	}
	if (ret) {
		op->lost = true;
		return ret;
	}
	op->written = true;
	word = op->nic->word[0];
	header = op->nic->word[1];
	if (word) {
		PTNI_COUNT(op->counters, retries_conflict);
		return word & PTNI_SLOT_FROZEN ? settle_and_retry(op) : -EAGAIN;
	}
	op->shown = true;
	/* without the spilled bit nobody would look for our slot */
	if (claim->where == 1 && header & PTNI_HEADER_FROZEN) {
		ret = withdraw(op, claim);
		return ret ? ret : settle_and_retry(op);
	}
	return 0;
}

int ptni_hash_claim(struct ptni_hash_op *op)
{
	struct claim claim = { 0 };
	int ret;

	if (op->frozen)
		return settle_and_retry(op);
	if (!choose(op, &claim)) {
		PTNI_COUNT(op->counters, retries_full);
		ret = ptni_hash_grow(op);
		return ret ? ret : -EAGAIN;
	}
	ret = ptni_hash_make_block(op);
	if (!ret)
		ret = reserve(op, &claim);
	if (!ret)
		ret = clear_the_way(op, &claim);
	return ret ? ret : commit(op, &claim);
}
