/* SPDX-License-Identifier: MIT */
/*
 * Chunks that wait for an adopter, and what is known of them.
 *
 *   left in good order   told[class]    which blocks are free stands in the slabs' heads (CHUNK_TELL);
 *                                       what was freed since stands in their free words
 *   owner died           orphan[class]  nothing is known; the adopter asks about every block
 *
 * A told chunk is *useful* when at least an eighth of its blocks is free or about to be: only those are handed
 * out ahead of fresh memory, the others are as full as they should be. The node looks at a few told chunks in
 * each tick and at each request; its CPU reads the free words, it changes none (R3). One in which every
 * block is free goes back without any client: when the horizon has passed the epoch in which that was seen,
 * since no bit is still to come, and no session can be looking at a block there any more.
 *
 * The client dies or sleeps after CHUNK_TELL: nothing has happened, the chunk is still its own and becomes an
 * orphan of which nothing is known. The adopter of a told chunk dies: likewise.
 */
#include "alloc/service.h"

#include <errno.h>
#include <stdatomic.h>

enum {
	LOOKED_AT = 32, /* told chunks in one tick, and for one request */
};

struct orphan_count {
	uint32_t blocks, now, soon; /* all; free at once; free, in limbo or freed by others */
	uint64_t tag;
};

static uint64_t word_at(uint64_t addr)
{
	return atomic_load_explicit((const _Atomic uint64_t *)(uintptr_t)addr,
				    memory_order_relaxed);
}

static uint32_t bits_of(uint64_t word)
{
	return (uint32_t)__builtin_popcountll(word);
}

static void slab_count(const struct ptni_slab_layout *layout, uint64_t slab, uint64_t horizon,
		       struct orphan_count *count)
{
	uint32_t words = ptni_slab_words(layout);
	uint64_t told = slab + words * sizeof(uint64_t), tag = word_at(told);

	count->blocks += layout->blocks;
	count->tag = tag > count->tag ? tag : count->tag;
	for (uint32_t i = 0; i < words; i++) {
		uint64_t freed = word_at(slab + i * 8);
		uint64_t at_once = word_at(told + 8 + i * 8);
		uint64_t limbo = word_at(told + 8 + (words + i) * 8);

		count->soon += bits_of(freed | at_once | limbo);
		count->now += bits_of(horizon > tag ? at_once | limbo : at_once);
	}
}

static struct orphan_count chunk_count(const struct ptni_chunk *chunk)
{
	const struct ptni_allocator *allocator = chunk->space->allocator;
	const struct ptni_slab_layout *layout = &allocator->layout[chunk->block_class];
	struct orphan_count count = { 0 };

	for (uint32_t i = 0; i < chunk->slabs; i++)
		slab_count(layout, chunk->addr + (uint64_t)i * layout->slab_bytes,
			   ptni_node_horizon(allocator->node), &count);
	return count;
}

/* Clients read it when they look for announcements. */
static void board_tell(struct ptni_node_space *space)
{
	if (space->board)
		atomic_store_explicit((_Atomic uint64_t *)&space->board->orphans,
				      ptni_orphans_useful(space), memory_order_relaxed);
}

/* Told chunks that are useful stand in front. */
static void place(struct ptni_chunk *chunk, bool useful)
{
	struct cds_list_head *list = &chunk->space->told[chunk->block_class];

	chunk->space->useful += (uint32_t)useful - (uint32_t)chunk->useful;
	chunk->useful = useful;
	cds_list_del(&chunk->link);
	if (useful)
		cds_list_add(&chunk->link, list);
	else
		cds_list_add_tail(&chunk->link, list);
}

static bool is_useful(const struct orphan_count *count)
{
	return count->soon && count->soon >= count->blocks / 8;
}

void ptni_chunk_orphan(struct ptni_chunk *chunk)
{
	struct ptni_node_space *space = chunk->space;
	struct orphan_count count;

	cds_list_del(&chunk->link);
	chunk->user = NULL;
	chunk->putting = NULL;
	chunk->useful = false;
	chunk->empty = false;
	space->orphans++;
	if (chunk->told) {
		CDS_INIT_LIST_HEAD(&chunk->link);
		cds_list_add_tail(&chunk->told_link, &space->allocator->told);
		count = chunk_count(chunk);
		place(chunk, is_useful(&count));
	} else {
		cds_list_add_tail(&chunk->link, &space->orphan[chunk->block_class]);
		space->unknown++;
	}
	board_tell(space);
}

void ptni_orphan_leave(struct ptni_chunk *chunk)
{
	struct ptni_node_space *space = chunk->space;

	cds_list_del(&chunk->link);
	CDS_INIT_LIST_HEAD(&chunk->link);
	space->orphans--;
	if (chunk->told) {
		cds_list_del(&chunk->told_link);
		space->useful -= chunk->useful;
		space->allocator->emptying -= chunk->empty;
	} else {
		space->unknown--;
	}
	chunk->useful = false;
	chunk->empty = false;
	board_tell(space);
}

/* --- choosing ------------------------------------------------------------------------------------- */

/* A told chunk of the class; `now`: with blocks that are free at once. `any`: also with few of them. */
static struct ptni_chunk *told_find(struct ptni_node_space *space, unsigned block_class, bool now,
				    bool any)
{
	struct ptni_chunk *chunk, *next;
	int looked = 0;

	cds_list_for_each_entry_safe(chunk, next, &space->told[block_class], link) {
		struct orphan_count count = chunk_count(chunk);
		uint32_t free = now ? count.now : count.soon;

		if (free && (any || free >= count.blocks / (now ? 16 : 8)))
			return chunk;
		if (++looked == LOOKED_AT)
			break;
	}
	return NULL;
}

static struct ptni_chunk *unknown_find(struct ptni_node_space *space, unsigned first)
{
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES && space->unknown; i++) {
		struct cds_list_head *list = &space->orphan[(first + i) % PTNI_BLOCK_CLASSES];

		if (!cds_list_empty(list))
			return cds_list_first_entry(list, struct ptni_chunk, link);
	}
	return NULL;
}

struct ptni_chunk *ptni_orphan_find(struct ptni_node_space *space, unsigned block_class,
				    uint32_t flags)
{
	struct ptni_chunk *chunk = told_find(space, block_class, flags & PTNI_CHUNK_NOW, false);

	if (chunk || flags & PTNI_CHUNK_FRESH)
		return chunk;
	if (flags & PTNI_CHUNK_ORPHAN)
		return unknown_find(space, block_class);
	if (cds_list_empty(&space->orphan[block_class]))
		return NULL;
	return cds_list_first_entry(&space->orphan[block_class], struct ptni_chunk, link);
}

struct ptni_chunk *ptni_orphan_find_any(struct ptni_node_space *space, unsigned block_class)
{
	struct ptni_chunk *chunk = told_find(space, block_class, false, true);

	return chunk ? chunk : unknown_find(space, block_class);
}

/* --- what is told --------------------------------------------------------------------------------- */

/* The user's chunk around a slab's address. */
static struct ptni_chunk *chunk_around(struct ptni_allocator *allocator,
				       const struct ptni_space_user *user, uint64_t addr)
{
	const uint64_t page = 1 << PTNI_PAGE_SHIFT;

	for (uint64_t back = 0; back < PTNI_CHUNK_MAX_BYTES; back += page) {
		struct ptni_chunk *chunk = ptni_chunk_at(allocator, addr - back);

		if (!chunk)
			continue;
		if (chunk->user != user || chunk->putting ||
		    back >= (uint64_t)chunk->pages << PTNI_PAGE_SHIFT)
			return NULL;
		return chunk;
	}
	return NULL;
}

/* One record: where it goes and how long it is; 0 if it makes no sense. */
static uint32_t record_check(struct ptni_allocator *allocator, const struct ptni_space_user *user,
			     const uint64_t *word, uint32_t left, uint64_t *addr_out)
{
	const struct ptni_slab_layout *layout;
	struct ptni_chunk *chunk;
	uint32_t first, n;

	if (left < 3)
		return 0;
	first = (uint32_t)(word[1] >> 32);
	n = (uint32_t)word[1];
	chunk = chunk_around(allocator, user, word[0]);
	if (!chunk || !n || n > left - 2)
		return 0;
	layout = &allocator->layout[chunk->block_class];
	if ((word[0] - chunk->addr) % layout->slab_bytes || first > ptni_slab_told_words(layout) ||
	    n > ptni_slab_told_words(layout) - first)
		return 0;
	*addr_out = word[0] + (ptni_slab_words(layout) + first) * sizeof(uint64_t);
	return 2 + n;
}

/* Check all records, or, when they are known to be right, file them. */
static int records_walk(struct ptni_allocator *allocator, const struct ptni_space_user *user,
			const struct ptni_chunk_tell_request *request, bool file)
{
	for (uint32_t at = 0, n; at < request->count; at += n) {
		uint64_t addr;

		n = record_check(allocator, user, request->word + at, request->count - at, &addr);
		if (!n)
			return -EINVAL;
		for (uint32_t i = 2; file && i < n; i++)
			atomic_store_explicit(
				(_Atomic uint64_t *)(uintptr_t)(addr + (i - 2) * sizeof(uint64_t)),
				request->word[at + i], memory_order_relaxed);
	}
	return 0;
}

int ptni_chunk_tell_handle(struct ptni_allocator *allocator, struct ptni_node_lane *lane,
			   const struct ptni_message *message)
{
	const struct ptni_chunk_tell_request *request = (const void *)message;
	struct ptni_node_space *space = ptni_space_find(allocator, request->space);
	struct ptni_space_user *user =
		space ? ptni_space_user_find(space, ptni_lane_session(lane)) : NULL;
	struct ptni_message reply = { 0 };
	int ret;

	if (request->count > PTNI_CHUNK_TELL_WORDS)
		return -EINVAL;
	if (!user)
		return -ENOENT;
	ret = records_walk(allocator, user, request, false);
	if (ret)
		return ret;
	(void)records_walk(allocator, user, request, true);
	ptni_node_reply(lane, message, 0, &reply, sizeof(reply));
	return 0;
}

/* --- in passing ------------------------------------------------------------------------------------ */

/* True when it is gone. */
static bool consider(struct ptni_chunk *chunk, uint64_t epoch, uint64_t horizon)
{
	struct ptni_allocator *allocator = chunk->space->allocator;
	struct orphan_count count = chunk_count(chunk);

	place(chunk, is_useful(&count));
	if (count.soon < count.blocks)
		return false;
	if (!chunk->empty) {
		chunk->empty = true;
		chunk->empty_tag = epoch;
		allocator->emptying++;
	}
	if (horizon <= chunk->empty_tag || (horizon <= count.tag && count.tag <= epoch + 1))
		return false;
	ptni_orphan_leave(chunk);
	ptni_chunk_free(chunk);
	return true;
}

void ptni_orphans_step(struct ptni_allocator *allocator, uint64_t epoch, uint64_t horizon)
{
	for (int i = 0; i < LOOKED_AT && !cds_list_empty(&allocator->told); i++) {
		struct ptni_chunk *chunk =
			cds_list_first_entry(&allocator->told, struct ptni_chunk, told_link);
		struct ptni_node_space *space = chunk->space;

		cds_list_del(&chunk->told_link);
		cds_list_add_tail(&chunk->told_link, &allocator->told);
		if (!consider(chunk, epoch, horizon))
			board_tell(space);
	}
}
