/* SPDX-License-Identifier: MIT */
/* What a table's words lead to, and who changes it (P1 to P6 of published.h), on a table made by hand. */
#include "alloc/class.h"
#include "ds/hashtable/layout.h"
#include "tests/sim/published.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
	NODE = 5, /* its process */
	CLIENT = 7,
	REGION_BYTES = 1 << 16,
	ROOT = 4096,
	PARENT = 8192,
	CHILD0 = 12288,
	CHILD1 = 16384,
	BLOCKS = 32768,
	BLOCK_BYTES = 64,
	GROUPS = 2,
	SLOT = PTNI_SUB_HEAD_WORDS + 1, /* the first three slots */
};

struct bed {
	struct published *published;
	struct history *history;
	_Alignas(4096) uint8_t region[REGION_BYTES];
	bool fenced;
	unsigned found;
	char text[300];
};

static struct bed bed;

static void find(void *arg, const char *text)
{
	bed.found++;
	(void)snprintf(bed.text, sizeof(bed.text), "%s", text);
}

static bool counts(void *arg, unsigned client, unsigned node)
{
	return !bed.fenced;
}

static void expect(const char *rule)
{
	if (bed.found != 1 || strncmp(bed.text, rule, strlen(rule)))
		fail_msg("expected %s, found %u: %s", rule, bed.found, bed.text);
	bed.found = 0;
}

static uint64_t *word_at(uint64_t offset, uint32_t index)
{
	return (uint64_t *)(void *)(bed.region + offset) + index;
}

static uint64_t entry(unsigned depth, uint64_t offset)
{
	return ptni_entry_word(depth, 0, offset);
}

static uint64_t slot(unsigned block)
{
	return ptni_slot_word(3, ptni_block_class(BLOCK_BYTES), 1, BLOCKS + block * BLOCK_BYTES);
}

static void subtable(uint64_t offset, unsigned depth, uint64_t sibling)
{
	memset(bed.region + offset, 0, ptni_subtable_words(GROUPS) * 8);
	*word_at(offset, PTNI_SUB_MAGIC) = PTNI_SUBTABLE_MAGIC;
	*word_at(offset, PTNI_SUB_IDENT) = ptni_header_word(depth, 0);
	*word_at(offset, PTNI_SUB_SIBLING) = sibling;
}

/* --- what clients do: first to memory, then told ----------------------------------------------------------- */

static void tell(enum ibv_wr_opcode opcode, uint64_t offset, uint64_t len, uint64_t old,
		 uint64_t compare, uint64_t swap)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_ACCESS_SLICE,
					.process = CLIENT,
					.peer = NODE,
					.opcode = opcode,
					.addr = (uint64_t)(uintptr_t)bed.region + offset,
					.len = len,
					.old = old,
					.compare = compare,
					.swap = swap };

	published_told(bed.published, &event);
}

static void cas(uint64_t *word, uint64_t compare, uint64_t swap)
{
	uint64_t old = *word;

	if (old == compare)
		*word = swap;
	tell(IBV_WR_ATOMIC_CMP_AND_SWP, (uint64_t)((uint8_t *)word - bed.region), 8, old, compare,
	     swap);
}

static void write_block(unsigned block, uint8_t byte)
{
	memset(bed.region + BLOCKS + block * BLOCK_BYTES, byte, BLOCK_BYTES);
	tell(IBV_WR_RDMA_WRITE, BLOCKS + block * BLOCK_BYTES, BLOCK_BYTES, 0, 0, 0);
}

static int setup(void **state)
{
	struct published_options options = {
		.found = find,
		.nodes = 1,
		.node = { { NODE, bed.region, REGION_BYTES } },
		.counts = counts,
	};

	memset(&bed, 0, sizeof(bed));
	assert_int_equal(history_open(16, 0, 4, &bed.history), 0);
	bed.history->events = 10;
	options.history = bed.history;
	subtable(PARENT, 0, 0);
	*word_at(PARENT, SLOT) = slot(0);
	*word_at(ROOT, PTNI_ROOT_ENTRIES) = entry(0, PARENT);
	assert_int_equal(published_open(&options, &bed.published), 0);
	assert_int_equal(
		published_table(bed.published, (uint64_t)(uintptr_t)bed.region + ROOT, GROUPS), 0);
	assert_int_equal(published_links(bed.published), 1);
	return 0;
}

static int teardown(void **state)
{
	published_close(bed.published);
	history_close(bed.history);
	return 0;
}

/* Freeze, build, publish: as split.c does it. */
static void split_parent(void)
{
	subtable(CHILD0, 1, entry(1, CHILD1));
	subtable(CHILD1, 1, 0);
	*word_at(CHILD0, SLOT) = slot(0);
	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < ptni_subtable_words(GROUPS); i++)
		cas(word_at(PARENT, i), *word_at(PARENT, i),
		    *word_at(PARENT, i) | PTNI_SLOT_FROZEN);
	tell(IBV_WR_RDMA_WRITE, CHILD0, ptni_subtable_words(GROUPS) * 8, 0, 0, 0);
	tell(IBV_WR_RDMA_WRITE, CHILD1, ptni_subtable_words(GROUPS) * 8, 0, 0, 0);
	cas(word_at(PARENT, PTNI_SUB_SUCCESSOR), 0, entry(1, CHILD0));
}

static void ordinary__life_is_not_reported(void **state)
{
	write_block(1, 1);
	cas(word_at(PARENT, SLOT), slot(0), slot(1)); /* update */
	write_block(1, 1); /* the same again, late */
	write_block(0, 2); /* nobody runs */
	cas(word_at(PARENT, SLOT + 1), 0, slot(0) | PTNI_SLOT_TENTATIVE);
	cas(word_at(PARENT, SLOT + 1), slot(0) | PTNI_SLOT_TENTATIVE, slot(0));
	cas(word_at(PARENT, SLOT + 1), 77, slot(9)); /* fails */
	cas(word_at(PARENT, SLOT), slot(1), 0); /* delete */
	write_block(1, 3);
	split_parent();
	cas(word_at(ROOT, PTNI_ROOT_ENTRIES + 1), 0, entry(1, CHILD1));
	cas(word_at(ROOT, PTNI_ROOT_ENTRIES), entry(0, PARENT), entry(1, CHILD0));
	memset(bed.region + PARENT, 9, 64); /* used again */
	tell(IBV_WR_RDMA_WRITE, PARENT, 64, 0, 0, 0);
	cas(word_at(CHILD0, SLOT), slot(0), 0);
	assert_int_equal(bed.found, 0);
}

static void write__into_what_is_published(void **state)
{
	write_block(0, 1);
	expect("P1");
	cas(word_at(PARENT, SLOT + 1), 0, slot(3) | PTNI_SLOT_TENTATIVE);
	write_block(3, 1);
	expect("P1");
	*word_at(PARENT, SLOT + 2) = 5;
	tell(IBV_WR_RDMA_WRITE, PARENT + 8 * (SLOT + 2), 8, 0, 0, 0);
	expect("P1");
	*word_at(ROOT, PTNI_ROOT_ENTRIES + 3) = 5;
	tell(IBV_WR_RDMA_WRITE, ROOT + 8 * (PTNI_ROOT_ENTRIES + 3), 8, 0, 0, 0);
	expect("P1");
	published_stop(bed.published);
	write_block(0, 2);
	assert_int_equal(bed.found, 0);
}

static void write__while_somebody_may_still_read(void **state)
{
	uint32_t op = history_begin(bed.history, 3, HISTORY_GET, 0, 0, 0);

	cas(word_at(PARENT, SLOT), slot(0), slot(1));
	(void)history_begin(bed.history, 4, HISTORY_GET, 0, 0, 0);
	write_block(0, 1);
	expect("P2");
	cas(word_at(PARENT, SLOT), slot(1), 0);
	bed.fenced = true;
	write_block(1, 1);
	assert_int_equal(bed.found, 0);
	bed.fenced = false;
	history_end(bed.history, op, HISTORY_ABSENT, 0, 0);
	write_block(1, 2); /* judged when it was used first */
	assert_int_equal(bed.found, 0);
}

static void write__after_who_could_read_has_ended(void **state)
{
	uint32_t op = history_begin(bed.history, 3, HISTORY_GET, 0, 0, 0);

	cas(word_at(PARENT, SLOT), slot(0), slot(1));
	(void)history_begin(bed.history, 4, HISTORY_GET, 0, 0, 0);
	history_end(bed.history, op, HISTORY_ABSENT, 0, 0);
	write_block(0, 1);
	assert_int_equal(bed.found, 0);
}

static void word__of_a_split_subtable(void **state)
{
	split_parent();
	assert_int_equal(bed.found, 0);
	cas(word_at(PARENT, SLOT), slot(0) | PTNI_SLOT_FROZEN, slot(1));
	expect("P3");
}

static void block__with_two_words(void **state)
{
	cas(word_at(PARENT, SLOT + 1), 0, slot(0));
	expect("P4");
	cas(word_at(PARENT, SLOT + 2), 0, ptni_slot_word(1, 1, 1, REGION_BYTES));
	expect("P4");
}

static void atomic__on_a_block(void **state)
{
	cas(word_at(BLOCKS, 1), 0, 5);
	expect("P5");
}

static void directory__leads_away_too_soon(void **state)
{
	subtable(CHILD0, 1, entry(1, CHILD1));
	cas(word_at(ROOT, PTNI_ROOT_ENTRIES), entry(0, PARENT), entry(1, CHILD0));
	expect("P6");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(ordinary__life_is_not_reported),
		test(write__into_what_is_published),
		test(write__while_somebody_may_still_read),
		test(write__after_who_could_read_has_ended),
		test(word__of_a_split_subtable),
		test(block__with_two_words),
		test(atomic__on_a_block),
		test(directory__leads_away_too_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
