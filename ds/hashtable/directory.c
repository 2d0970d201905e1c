/* SPDX-License-Identifier: MIT */
#include "ds/hashtable/directory.h"

#include "ds/hashtable/table.h"

#include <sys/mman.h>

enum {
	ASK_DIVISOR = 6 /* of 3/4 of a term: an eighth */
};
#define DIRECTORY_BYTES (sizeof(uint64_t) << PTNI_DEPTH_MAX)

int ptni_directory_open(struct ptni_directory *directory)
{
	void *memory = mmap(NULL, DIRECTORY_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	/* most directories need a page or two of it */
	madvise(memory, DIRECTORY_BYTES, MADV_NOHUGEPAGE);
	directory->entry = memory;
	atomic_init(&directory->depth, 0);
	atomic_flag_clear(&directory->growing);
	directory->changes = 0;
	for (unsigned i = 0; i < PTNI_PIECES_MAX; i++)
		atomic_init(&directory->piece[i], 0);
	return 0;
}

void ptni_directory_close(struct ptni_directory *directory)
{
	if (directory->entry)
		munmap(directory->entry, DIRECTORY_BYTES);
	directory->entry = NULL;
}

/* --- the local array --------------------------------------------------------------------------- */

static void set_deeper(_Atomic uint64_t *place, uint64_t entry)
{
	uint64_t known = atomic_load(place);

	while (!known || ptni_entry_depth(known) < ptni_entry_depth(entry) ||
	       (ptni_planted(PTNI_BUG_DIRECTORY_SHALLOW) && known != entry))
		if (atomic_compare_exchange_weak(place, &known, entry))
			return;
}

static void copy_up(struct ptni_directory *directory, uint32_t depth)
{
	uint32_t half = 1u << depth;

	for (uint32_t i = 0; i < half; i++) {
		uint64_t entry = atomic_load(&directory->entry[i]);

		if (entry)
			set_deeper(&directory->entry[half + i], entry);
	}
}

/* The array reaches `depth` afterwards, unless another thread is growing it. */
static void grow(struct ptni_directory *directory, uint32_t depth)
{
	uint32_t now;

	if (atomic_flag_test_and_set(&directory->growing))
		return;
	while ((now = atomic_load(&directory->depth)) < depth) {
		copy_up(directory, now);
		atomic_store(&directory->depth, now + 1);
		copy_up(directory, now);
	}
	atomic_flag_clear(&directory->growing);
}

bool ptni_directory_learn(struct ptni_directory *directory, uint32_t suffix, uint64_t entry)
{
	uint32_t depth = ptni_entry_depth(entry);
	uint32_t now, then;

	if (atomic_load(&directory->depth) < depth)
		grow(directory, depth);
	if (atomic_load(&directory->depth) < depth)
		return false;
	do {
		then = atomic_load(&directory->depth);
		for (uint64_t i = suffix; i < UINT64_C(1) << then; i += UINT64_C(1) << depth)
			set_deeper(&directory->entry[i], entry);
		now = atomic_load(&directory->depth);
	} while (now != then);
	return true;
}

/* --- the remote pages --------------------------------------------------------------------------- */

/* The directory lies on node 0, wherever the operation aims. */
static void batch(struct ptni_hash_op *op)
{
	ptni_batch_init(&op->batch, &op->op, 0);
}

static int run(struct ptni_hash_op *op, int ret)
{
	return ret ? ret : ptni_batch_run(&op->batch);
}

static size_t piece_bytes(unsigned piece)
{
	return 8 * (PTNI_PIECE_HEAD_WORDS + (size_t)ptni_piece_entries(piece));
}

static int piece_zero(struct ptni_hash_op *op, const struct ptni_block *block, unsigned piece)
{
	size_t left = piece_bytes(piece);
	uint64_t *words;
	uint64_t at = 0;
	int ret = ptni_hash_stage(op);

	if (ret)
		return ret;
	words = (uint64_t *)(void *)op->stage;
	memset(words, 0, PTNI_STAGE_BYTES);
	words[0] = PTNI_PIECE_MAGIC;
	while (left) {
		size_t len_bytes = left < PTNI_STAGE_BYTES ? left : PTNI_STAGE_BYTES;

		batch(op);
		ptni_batch_write(&op->batch, block->window, block->addr + at, words,
				 (uint32_t)len_bytes);
		ret = ptni_batch_run(&op->batch);
		if (ret)
			return ret;
		words[0] = 0;
		at += len_bytes;
		left -= len_bytes;
	}
	return 0;
}

/* Small pieces lie among the subtables: a slab of their own would be nearly empty. */
static size_t piece_room(const struct ptn_hash *hash, unsigned piece)
{
	size_t bytes = piece_bytes(piece);

	return bytes < hash->subtable_bytes ? hash->subtable_bytes : bytes;
}

/* A zeroed piece behind the root's pointer, ours or another client's. */
static int piece_make(struct ptni_hash_op *op, unsigned piece, uint64_t *pointer_out)
{
	uint64_t place = op->hash->root + 8 * (PTNI_ROOT_PIECES + piece);
	struct ptni_space *space = op->hash->space[0];
	struct ptni_block block;
	uint64_t pointer;
	int ret = ptni_block_alloc(&op->op, space, piece_room(op->hash, piece), &block);

	if (ret)
		return ret;
	ret = piece_zero(op, &block, piece);
	if (ret) {
		ptni_hash_give_back(op, space, &block, ret);
		return ret;
	}
	pointer = ptni_entry_word(0, 0, block.addr - op->hash->base[0]);
	ret = ptni_hash_set_once(op, 0, place, pointer, pointer_out);
	if (ret) {
		ptni_block_lose(&op->op, space, &block); /* the pointer may have landed */
		return ret;
	}
	if (*pointer_out != pointer)
		ptni_block_cancel(&op->op, space, &block);
	return 0;
}

static int piece_find(struct ptni_hash_op *op, unsigned piece, bool make, uint64_t *pointer_out)
{
	_Atomic uint64_t *known = &op->hash->directory.piece[piece];
	uint64_t pointer = atomic_load_explicit(known, memory_order_relaxed);
	int ret;

	if (!pointer) {
		batch(op);
		ret = run(op, ptni_hash_read(op, op->hash->root + 8 * (PTNI_ROOT_PIECES + piece),
					     &op->nic->word[0], 8));
		if (ret)
			return ret;
		pointer = op->nic->word[0];
	}
	if (!pointer && make) {
		ret = piece_make(op, piece, &pointer);
		if (ret)
			return ret;
	}
	if (pointer)
		atomic_store_explicit(known, pointer, memory_order_relaxed);
	*pointer_out = pointer;
	return 0;
}

int ptni_directory_slot(struct ptni_hash_op *op, uint32_t index, bool make, uint64_t *addr_out)
{
	uint64_t pointer, addr;
	unsigned piece;
	int ret;

	if (index < PTNI_ROOT_ENTRIES) {
		*addr_out = op->hash->root + 8 * (uint64_t)(PTNI_ROOT_ENTRIES + index);
		return 0;
	}
	piece = ptni_piece_of(index);
	ret = piece_find(op, piece, make, &pointer);
	if (ret)
		return ret;
	*addr_out = 0;
	if (!pointer)
		return 0;
	if (ptni_entry_node(pointer) || ptni_hash_entry_addr(op, pointer, &addr))
		return ptni_hash_corrupt(op, "a directory piece outside the node");
	*addr_out =
		addr + 8 * (PTNI_PIECE_HEAD_WORDS + (uint64_t)(index - ptni_piece_first(piece)));
	return 0;
}

/* --- refresh ------------------------------------------------------------------------------------ */

/* 0, 1 when some could not be learned because another thread was growing the array. */
static int learn_entries(struct ptni_hash_op *op, const uint64_t *entries, uint32_t first,
			 uint32_t count)
{
	int ret = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t addr;

		if (!entries[i])
			continue;
		if (ptni_entry_depth(entries[i]) > PTNI_DEPTH_MAX ||
		    (first + i) >> ptni_entry_depth(entries[i]) ||
		    ptni_hash_entry_addr(op, entries[i], &addr))
			return ptni_hash_corrupt(op, "a directory entry that makes no sense");
		if (!ptni_directory_learn(&op->hash->directory, first + i, entries[i]))
			ret = 1;
	}
	return ret;
}

static int learn_piece(struct ptni_hash_op *op, unsigned piece)
{
	const uint32_t step = PTNI_STAGE_BYTES / 8;
	uint32_t first = ptni_piece_first(piece);
	uint32_t end = first + ptni_piece_entries(piece);
	int skipped = 0;

	for (uint32_t i = first; i < end; i += step) {
		uint32_t count = end - i < step ? end - i : step;
		uint64_t addr;
		int ret = ptni_directory_slot(op, i, false, &addr);

		if (ret || !addr)
			return ret;
		batch(op);
		ret = run(op, ptni_hash_read(op, addr, op->stage, 8 * (size_t)count));
		if (!ret)
			ret = learn_entries(op, (const uint64_t *)(const void *)op->stage, i,
					    count);
		if (ret < 0)
			return ret;
		skipped |= ret;
	}
	return skipped;
}

int ptni_directory_refresh(struct ptni_hash_op *op)
{
	uint64_t pointers[PTNI_PIECES_MAX];
	const uint64_t *root;
	int skipped = 0;
	int ret = ptni_hash_stage(op);

	if (ret)
		return ret;
	PTNI_COUNT(op->counters, dir_cache_misses);
	root = (const uint64_t *)(const void *)op->stage;
	batch(op);
	ret = run(op, ptni_hash_read(op, op->hash->root, op->stage, 8 * PTNI_ROOT_WORDS));
	if (ret)
		return ret;
	if (root[PTNI_ROOT_FORMAT_WORD] != PTNI_ROOT_FORMAT)
		return ptni_worker_fail(op->op.worker, PTN_E_FORMAT, "the table's root page");
	memcpy(pointers, root + PTNI_ROOT_PIECES, sizeof(pointers));
	ret = learn_entries(op, root + PTNI_ROOT_ENTRIES, 0, PTNI_ROOT_WORDS - PTNI_ROOT_ENTRIES);
	for (unsigned i = 0; i < PTNI_PIECES_MAX && ret >= 0; i++) {
		skipped |= ret;
		if (pointers[i])
			ret = learn_piece(op, i);
	}
	return ret < 0 ? ret : skipped | ret;
}

static int hook_refresh(struct ptni_hash_op *op)
{
	struct ptni_directory *directory = &op->hash->directory;
	uint64_t changes;
	int ret;

	batch(op);
	ret = run(op,
		  ptni_hash_read(op, op->hash->root + 8 * PTNI_ROOT_CHANGES, &op->nic->word[0], 8));
	if (ret || op->nic->word[0] == directory->changes)
		return ret;
	changes = op->nic->word[0];
	ret = ptni_directory_refresh(op);
	if (!ret)
		directory->changes = changes;
	return ret == 1 ? -EAGAIN : ret;
}

/* As far as is known. */
static bool directory_answers(struct ptn_hash *hash, struct ptn_worker *worker)
{
	return !ptni_client_node_error(hash->client, 0) &&
	       ptni_worker_now_ns(worker) <
		       atomic_load_explicit(ptni_client_session_deadline(hash->client, 0),
					    memory_order_acquire);
}

/* Other nodes wait for their report while node 0 is asked: it gets a part of an operation's time. */
int ptni_directory_hook(void *arg, struct ptn_worker *worker, unsigned node)
{
	struct ptn_hash *hash = arg;
	struct ptni_hash_op op;
	int ret;

	if (node && !directory_answers(hash, worker))
		return ptni_directory_check(hash, worker, node);
	ret = ptni_hash_op_begin(&op, worker, hash, NULL, 0);
	if (ret)
		return ret;
	if (node)
		op.op.deadline_ns =
			op.op.start_ns + (op.op.deadline_ns - op.op.start_ns) / ASK_DIVISOR;
	ret = hook_refresh(&op);
	ptni_hash_op_end(&op);
	return node && ret && ret != -EAGAIN ? ptni_directory_check(hash, worker, node) : ret;
}

/* --- changes ------------------------------------------------------------------------------------- */

static int read_pair(struct ptni_hash_op *op, uint64_t addr0, uint64_t addr1)
{
	int ret;

	batch(op);
	ret = ptni_hash_read(op, addr0, &op->nic->word[0], 8);
	if (!ret)
		ret = ptni_hash_read(op, addr1, &op->nic->word[1], 8);
	return run(op, ret);
}

/* [CAS entry of child 1, CAS entry of child 0, FAA changes]: in this order. */
static int change_pair(struct ptni_hash_op *op, uint64_t addr0, uint64_t addr1, uint64_t parent,
		       uint64_t child0, uint64_t child1)
{
	int ret;

	batch(op);
	ret = ptni_hash_cas(op, addr1, 0, child1, &op->nic->word[1]);
	if (!ret)
		ret = ptni_hash_cas(op, addr0, parent, child0, &op->nic->word[0]);
	if (!ret)
		ret = ptni_hash_faa(op, op->hash->root + 8 * PTNI_ROOT_CHANGES,
				    !ptni_planted(PTNI_BUG_DIRECTORY_CHANGES), &op->nic->word[2]);
	return run(op, ret);
}

int ptni_directory_publish(struct ptni_hash_op *op, uint64_t parent, uint32_t suffix,
			   uint64_t child0, uint64_t child1)
{
	unsigned node = ptni_entry_node(parent);
	uint64_t addr0, addr1, addr;
	int ret = ptni_directory_slot(op, suffix, true, &addr0);

	if (!ret)
		ret = ptni_directory_slot(op, suffix | 1u << ptni_entry_depth(parent), true,
					  &addr1);
	do {
		if (!ret)
			ret = read_pair(op, addr0, addr1);
		if (ret)
			return ret;
		if (op->nic->word[0] != parent && op->nic->word[1])
			return 0; /* somebody else did it */
		ret = change_pair(op, addr0, addr1, parent, child0, child1);
		if (ret == PTN_E_OUTCOME_UNKNOWN)
			ret = ptni_hash_retry(op);
		else if (!ret)
			break;
	} while (!ret);
	if (ret)
		return ret;
	if ((op->nic->word[0] == parent || ptni_planted(PTNI_BUG_DIRECTORY_RETIRE)) &&
	    !ptni_hash_entry_addr(op, parent, &addr))
		ptni_block_retire(&op->op, op->hash->space[node], addr, op->hash->subtable_class);
	return 0;
}
