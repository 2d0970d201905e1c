/* SPDX-License-Identifier: MIT */
#include "tests/ds/hash_check.h"

#include "ds/common/block.h"
#include "ds/hashtable/layout.h"

#include <string.h>

#define CHECK(condition)                                   \
	do {                                               \
		if (!(condition))                          \
			fail_msg("table: %s", #condition); \
	} while (0)

struct walker {
	struct mock_world *world;
	struct check *check;
	uint64_t seed;
	uint32_t groups;
	uint64_t covered; /* in units of 2^-PTNI_DEPTH_MAX */
	bool reached[MOCK_NODES_MAX][MOCK_BLOCKS_MAX];
};

static uint64_t *address(struct walker *walker, uint64_t entry)
{
	unsigned node = ptni_entry_node(entry);

	CHECK(node < walker->world->node_count);
	CHECK(ptni_entry_offset(entry));
	return (uint64_t *)(void *)(walker->world->node[node].region + ptni_entry_offset(entry));
}

static bool reach(struct walker *walker, unsigned node, const void *addr)
{
	struct mock_block *block = mock_block_find(walker->world, node, (uint64_t)addr);
	uint32_t index;

	CHECK(block);
	CHECK(block->state == MOCK_HELD);
	index = (uint32_t)(block - walker->world->node[node].block);
	if (walker->reached[node][index])
		return false;
	walker->reached[node][index] = true;
	return true;
}

static void walk_block(struct walker *walker, unsigned node, const uint64_t *words, uint32_t index)
{
	uint64_t word = words[index];
	const uint8_t *block = walker->world->node[node].region + ptni_slot_offset(word);
	struct check_key *key = &walker->check->key[walker->check->key_count];
	uint64_t ident = words[PTNI_SUB_IDENT];
	struct ptni_place place;
	uint64_t code;

	CHECK(reach(walker, node, block)); /* one word leads to it */
	if (word & PTNI_SLOT_TENTATIVE) {
		walker->check->tentative++;
		return;
	}
	CHECK(!ptni_block_verify(block, ptni_block_class_bytes(ptni_slot_class(word)), word));
	key->key = ptni_block_key(block);
	key->key_len = ptni_block_key_len(block);
	key->value = ptni_block_value(block);
	key->value_len = ptni_block_value_len(block);
	CHECK(!hash_check_find(walker->check, key->key, key->key_len)); /* H1 */
	CHECK(walker->check->key_count < CHECK_KEYS_MAX - 1);
	walker->check->key_count++;
	code = ptni_hash_key(key->key, key->key_len, walker->seed);
	CHECK(ptni_slot_print(word) == ptni_hash_print(code));
	CHECK((code & ptni_suffix_mask(ptni_header_depth(ident))) == ptni_header_suffix(ident));
	ptni_hash_place(code, walker->groups, &place);
	CHECK(ptni_place_has(&place, 0, index) || ptni_place_has(&place, 1, index));
	if (!ptni_place_has(&place, 0, index))
		CHECK(words[place.main[0]] & PTNI_HEADER_SPILLED);
}

static bool check_words(struct walker *walker, const uint64_t *words, bool *all_frozen_out)
{
	bool any = false, all = true;

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < ptni_subtable_words(walker->groups); i++) {
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
	const uint64_t *words = address(walker, entry);
	unsigned node = ptni_entry_node(entry), depth = ptni_entry_depth(entry);
	uint64_t successor = words[PTNI_SUB_SUCCESSOR];
	bool frozen, all;

	CHECK(words[PTNI_SUB_MAGIC] == PTNI_SUBTABLE_MAGIC);
	CHECK(ptni_header_depth(words[PTNI_SUB_IDENT]) == depth);
	if (!reach(walker, node, words))
		return;
	frozen = check_words(walker, words, &all);
	if (successor) {
		CHECK(all); /* H2 */
		walker->check->superseded++;
		walk_subtable(walker, successor);
		walk_subtable(walker, address(walker, successor)[PTNI_SUB_SIBLING]);
		return;
	}
	walker->check->subtables++;
	walker->check->frozen += frozen;
	walker->covered += UINT64_C(1) << (PTNI_DEPTH_MAX - depth);
	if (depth > walker->check->depth)
		walker->check->depth = depth;
	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < ptni_subtable_words(walker->groups); i++)
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
		words = address(walker, entries[i]);
		CHECK(ptni_header_suffix(words[PTNI_SUB_IDENT]) == first + i);
		walk_subtable(walker, entries[i]);
	}
}

void hash_check(struct mock_world *world, struct check *check_out)
{
	static struct walker walker;
	uint64_t *root = (uint64_t *)(void *)(world->node[0].region + 4096);

	memset(&walker, 0, sizeof(walker));
	memset(check_out, 0, offsetof(struct check, key));
	walker.world = world;
	walker.check = check_out;
	walker.seed = world->node[0].params.word[0];
	walker.groups = (uint32_t)world->node[0].params.word[1];
	CHECK(root[PTNI_ROOT_FORMAT_WORD] == PTNI_ROOT_FORMAT);
	walk_entries(&walker, root + PTNI_ROOT_ENTRIES, 0, 256);
	for (unsigned i = 0; i < PTNI_PIECES_MAX; i++) {
		const uint64_t *piece;

		if (!root[PTNI_ROOT_PIECES + i])
			continue;
		piece = address(&walker, root[PTNI_ROOT_PIECES + i]);
		CHECK(piece[0] == PTNI_PIECE_MAGIC);
		reach(&walker, 0, piece);
		walk_entries(&walker, piece + PTNI_PIECE_HEAD_WORDS, ptni_piece_first(i),
			     ptni_piece_entries(i));
	}
	CHECK(walker.covered == UINT64_C(1) << PTNI_DEPTH_MAX);
	for (unsigned n = 0; n < world->node_count; n++)
		for (uint32_t i = 0; i < world->node[n].block_count; i++)
			check_out->leaked += world->node[n].block[i].state == MOCK_HELD &&
					     !walker.reached[n][i];
}

const struct check_key *hash_check_find(const struct check *check, const void *key, size_t key_len)
{
	for (unsigned i = 0; i < check->key_count; i++)
		if (check->key[i].key_len == key_len && !memcmp(check->key[i].key, key, key_len))
			return &check->key[i];
	return NULL;
}
