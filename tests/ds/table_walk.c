/* SPDX-License-Identifier: MIT */
#include "tests/ds/table_walk.h"

#include "alloc/class.h"
#include "ds/common/block.h"
#include "ds/hashtable/layout.h"

#include <setjmp.h>
#include <string.h>

struct walker {
	const struct table_memory *memory;
	struct check *check;
	uint64_t covered; /* in units of 2^-PTNI_DEPTH_MAX */
	const char *wrong;
	jmp_buf out;
};

#define CHECK(condition) expect(walker, condition, #condition)

static void expect(struct walker *walker, bool condition, const char *what)
{
	if (condition)
		return;
	walker->wrong = what;
	longjmp(walker->out, 1);
}

/* --- keys ------------------------------------------------------------------------------------------- */

static uint32_t key_place(const void *key, size_t key_len)
{
	return (uint32_t)ptni_hash_key(key, key_len, 0) % (2 * CHECK_KEYS_MAX);
}

const struct check_key *hash_check_find(const struct check *check, const void *key, size_t key_len)
{
	uint32_t at = key_place(key, key_len);

	for (; check->index[at]; at = (at + 1) % (2 * CHECK_KEYS_MAX)) {
		const struct check_key *found = &check->key[check->index[at] - 1];

		if (found->key_len == key_len && !memcmp(found->key, key, key_len))
			return found;
	}
	return NULL;
}

static void add_key(struct walker *walker, const void *block)
{
	struct check *check = walker->check;
	struct check_key *key = &check->key[check->key_count];
	uint32_t at = key_place(ptni_block_key(block), ptni_block_key_len(block));

	CHECK(check->key_count < CHECK_KEYS_MAX - 1);
	key->key = ptni_block_key(block);
	key->key_len = ptni_block_key_len(block);
	key->value = ptni_block_value(block);
	key->value_len = ptni_block_value_len(block);
	CHECK(!hash_check_find(check, key->key, key->key_len)); /* H1 */
	while (check->index[at])
		at = (at + 1) % (2 * CHECK_KEYS_MAX);
	check->index[at] = (uint16_t)++check->key_count;
}

/* --- the walk --------------------------------------------------------------------------------------- */

static uint32_t subtable_bytes(const struct walker *walker)
{
	return ptni_subtable_words(walker->memory->groups) * 8;
}

static uint64_t *address(struct walker *walker, uint64_t entry, size_t len_bytes)
{
	unsigned node = ptni_entry_node(entry);

	CHECK(node < walker->memory->node_count);
	CHECK(ptni_entry_offset(entry));
	CHECK(ptni_entry_offset(entry) + len_bytes <= walker->memory->region_len_bytes[node]);
	return (uint64_t *)(void *)(walker->memory->region[node] + ptni_entry_offset(entry));
}

/* False: it was reached before. */
static bool reach(struct walker *walker, unsigned node, const void *addr, size_t len_bytes)
{
	const struct table_memory *memory = walker->memory;
	bool before = false;
	const char *wrong = memory->reach(memory->arg, node, addr, (uint32_t)len_bytes, &before);

	expect(walker, !wrong, wrong);
	return !before;
}

static void walk_block(struct walker *walker, unsigned node, const uint64_t *words, uint32_t index)
{
	uint64_t word = words[index];
	size_t len_bytes = ptni_block_class_bytes(ptni_slot_class(word));
	const uint8_t *block = walker->memory->region[node] + ptni_slot_offset(word);
	uint64_t ident = words[PTNI_SUB_IDENT];
	struct ptni_place place;
	uint64_t code;

	CHECK(ptni_slot_offset(word) + len_bytes <= walker->memory->region_len_bytes[node]);
	walker->check->tentative += (word & PTNI_SLOT_TENTATIVE) != 0;
	if ((word & PTNI_SLOT_FLAGS) == PTNI_SLOT_FLAGS)
		return; /* it leads nobody anywhere, and its block may have been used again */
	CHECK(reach(walker, node, block, len_bytes)); /* one word leads to it */
	if (word & PTNI_SLOT_TENTATIVE)
		return;
	CHECK(!ptni_block_verify(block, len_bytes, word));
	add_key(walker, block);
	code = ptni_hash_key(ptni_block_key(block), ptni_block_key_len(block),
			     walker->memory->seed);
	CHECK(ptni_slot_print(word) == ptni_hash_print(code));
	CHECK((code & ptni_suffix_mask(ptni_header_depth(ident))) == ptni_header_suffix(ident));
	ptni_hash_place(code, walker->memory->groups, &place);
	CHECK(ptni_place_has(&place, 0, index) || ptni_place_has(&place, 1, index));
	if (!ptni_place_has(&place, 0, index))
		CHECK(words[place.main[0]] & PTNI_HEADER_SPILLED);
}

static bool check_words(struct walker *walker, const uint64_t *words, bool *all_frozen_out)
{
	bool any = false, all = true;

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < subtable_bytes(walker) / 8; i++) {
		any |= words[i] >> 63;
		all &= words[i] >> 63;
		if (!ptni_word_is_slot(i))
			CHECK((words[i] & ~(PTNI_HEADER_FROZEN | PTNI_HEADER_SPILLED)) ==
			      words[PTNI_SUB_IDENT]);
	}
	*all_frozen_out = all;
	return any;
}

static void walk_subtable(struct walker *walker, uint64_t entry)
{
	const uint64_t *words = address(walker, entry, subtable_bytes(walker));
	unsigned node = ptni_entry_node(entry), depth = ptni_entry_depth(entry);
	uint64_t successor = words[PTNI_SUB_SUCCESSOR];
	bool frozen, all;

	CHECK(words[PTNI_SUB_MAGIC] == PTNI_SUBTABLE_MAGIC);
	CHECK(depth <= PTNI_DEPTH_MAX);
	CHECK(ptni_header_depth(words[PTNI_SUB_IDENT]) == depth);
	if (!reach(walker, node, words, subtable_bytes(walker)))
		return;
	frozen = check_words(walker, words, &all);
	if (successor) {
		CHECK(all); /* H2 */
		walker->check->superseded++;
		walk_subtable(walker, successor);
		walk_subtable(walker,
			      address(walker, successor, subtable_bytes(walker))[PTNI_SUB_SIBLING]);
		return;
	}
	walker->check->subtables++;
	walker->check->frozen += frozen;
	walker->covered += UINT64_C(1) << (PTNI_DEPTH_MAX - depth);
	if (depth > walker->check->depth)
		walker->check->depth = depth;
	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < subtable_bytes(walker) / 8; i++)
		if (ptni_word_is_slot(i) && ptni_slot_bare(words[i]))
			walk_block(walker, node, words, i);
}

static void walk_entries(struct walker *walker, const uint64_t *entries, uint32_t first,
			 uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t *words;

		if (!entries[i])
			continue;
		words = address(walker, entries[i], subtable_bytes(walker));
		CHECK(ptni_header_suffix(words[PTNI_SUB_IDENT]) == first + i);
		walk_subtable(walker, entries[i]);
	}
}

static void walk_directory(struct walker *walker)
{
	const uint64_t *root = walker->memory->root;

	CHECK(root[PTNI_ROOT_FORMAT_WORD] == PTNI_ROOT_FORMAT);
	walk_entries(walker, root + PTNI_ROOT_ENTRIES, 0, 256);
	for (unsigned i = 0; i < PTNI_PIECES_MAX; i++) {
		size_t len_bytes = (PTNI_PIECE_HEAD_WORDS + ptni_piece_entries(i)) * 8;
		const uint64_t *piece;

		if (!root[PTNI_ROOT_PIECES + i])
			continue;
		piece = address(walker, root[PTNI_ROOT_PIECES + i], len_bytes);
		CHECK(piece[0] == PTNI_PIECE_MAGIC);
		(void)reach(walker, 0, piece, len_bytes);
		walk_entries(walker, piece + PTNI_PIECE_HEAD_WORDS, ptni_piece_first(i),
			     ptni_piece_entries(i));
	}
	CHECK(walker->covered == UINT64_C(1) << PTNI_DEPTH_MAX);
}

const char *table_walk(const struct table_memory *memory, struct check *check_out)
{
	static struct walker walker;

	memset(&walker, 0, offsetof(struct walker, out));
	memset(check_out, 0, offsetof(struct check, key));
	walker.memory = memory;
	walker.check = check_out;
	if (!setjmp(walker.out))
		walk_directory(&walker);
	return walker.wrong;
}
