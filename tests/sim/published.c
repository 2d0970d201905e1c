/* SPDX-License-Identifier: MIT */
#include "tests/sim/published.h"

#include "alloc/class.h"
#include "ds/hashtable/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	GRANULE = 16, /* blocks begin at multiples of it */
	TEXT_BYTES = 240,
	CLIENTS_MAX = 256,
	ROOT_BYTES = PTNI_ROOT_WORDS * 8
};

#define LINKED UINT64_MAX

/* What a granule belongs to, besides being linked or not. */
enum owner {
	OWNER_BLOCK,
	OWNER_SUBTABLE,
	OWNER_SPLIT, /* a subtable that has a successor */
	OWNER_DIRECTORY
};

struct granule {
	uint64_t linked; /* LINKED; else the event that unlinked it, 0 = none has */
	uint32_t first; /* granule with which the object begins */
	uint8_t owner;
};

struct map {
	struct published_node node;
	struct granule *granule;
	uint8_t *mirror; /* what is linked, as it was published and changed by atomics */
	uint64_t granules;
};

struct published {
	struct published_options options;
	struct map map[PUBLISHED_NODES_MAX];
	uint32_t groups;
	uint64_t root;
	uint64_t links;
	bool on;
	uint32_t seen; /* operations of the history */
	uint32_t running[CLIENTS_MAX]; /* by client: its operation that began last, + 1 */
};

__attribute__((format(printf, 2, 3))) static void found(struct published *published,
							const char *format, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	published->options.found(published->options.arg, text);
}

static uint32_t subtable_bytes(const struct published *published)
{
	return ptni_subtable_words(published->groups) * 8;
}

static bool inside(const struct map *map, uint64_t offset, uint64_t len)
{
	return offset && len <= map->node.len_bytes && offset <= map->node.len_bytes - len;
}

/* --- linking -------------------------------------------------------------------------------------------- */

static void mark(struct map *map, uint64_t offset, uint64_t len, uint64_t linked, enum owner owner)
{
	uint64_t end = offset + len < map->node.len_bytes ? offset + len : map->node.len_bytes;

	for (uint64_t at = offset; at < end; at += GRANULE)
		map->granule[at / GRANULE] =
			(struct granule){ linked, (uint32_t)(offset / GRANULE), (uint8_t)owner };
	if (linked == LINKED)
		memcpy(map->mirror + offset, map->node.region + offset, end - offset);
}

static struct granule *granule_of(const struct map *map, uint64_t offset)
{
	return &map->granule[offset / GRANULE];
}

static uint64_t now(const struct published *published)
{
	return published->options.history ? published->options.history->events : 1;
}

static void link_block(struct published *published, struct map *map, uint64_t word)
{
	uint64_t offset = ptni_slot_offset(word);
	uint64_t len = ptni_block_class_bytes(ptni_slot_class(word));

	if (!inside(map, offset, len)) {
		found(published, "P4: a word %#" PRIx64 " leads out of node %u's memory", word,
		      map->node.process);
		return;
	}
	published->links++;
	if (granule_of(map, offset)->linked == LINKED ||
	    granule_of(map, offset + len - 1)->linked == LINKED)
		found(published,
		      "P4: two words lead to the block at %#" PRIx64
		      " of node %u, one is %#" PRIx64,
		      offset, map->node.process, word);
	mark(map, offset, len, LINKED, OWNER_BLOCK);
}

static void unlink_block(struct published *published, struct map *map, uint64_t word)
{
	uint64_t offset = ptni_slot_offset(word);
	uint64_t len = ptni_block_class_bytes(ptni_slot_class(word));

	if (inside(map, offset, len))
		mark(map, offset, len, now(published), OWNER_BLOCK);
}

static const uint64_t *words_at(const struct map *map, uint64_t offset)
{
	return (const uint64_t *)(const void *)(map->node.region + offset);
}

/* By an entry: the subtable, what its slots lead to, and what it was split into. */
static void link_subtable(struct published *published, uint64_t entry)
{
	unsigned node = ptni_entry_node(entry);
	uint64_t offset = ptni_entry_offset(entry), successor;
	struct map *map = &published->map[node < published->options.nodes ? node : 0];
	const uint64_t *words;

	if (node >= published->options.nodes || !inside(map, offset, subtable_bytes(published))) {
		found(published, "P4: an entry %#" PRIx64 " leads out of memory", entry);
		return;
	}
	words = words_at(map, offset);
	successor = words[PTNI_SUB_SUCCESSOR];
	mark(map, offset, subtable_bytes(published), LINKED,
	     successor ? OWNER_SPLIT : OWNER_SUBTABLE);
	for (uint32_t i = PTNI_SUB_HEAD_WORDS; !successor && i < subtable_bytes(published) / 8; i++)
		if (ptni_word_is_slot(i) && ptni_slot_bare(words[i]))
			link_block(published, map, words[i]);
	if (!successor)
		return;
	link_subtable(published, successor);
	node = ptni_entry_node(successor);
	offset = ptni_entry_offset(successor);
	if (node < published->options.nodes &&
	    inside(&published->map[node], offset, subtable_bytes(published)))
		link_subtable(published, words_at(&published->map[node], offset)[PTNI_SUB_SIBLING]);
}

/* Its slots count no more; the subtable itself is still led to. */
static void split(struct published *published, struct map *map, uint64_t offset, uint64_t successor)
{
	const uint64_t *words = words_at(map, offset);
	uint64_t sibling;

	for (uint32_t i = PTNI_SUB_HEAD_WORDS; i < subtable_bytes(published) / 8; i++)
		if (ptni_word_is_slot(i) && ptni_slot_bare(words[i]))
			unlink_block(published, map, words[i]);
	mark(map, offset, subtable_bytes(published), LINKED, OWNER_SPLIT);
	link_subtable(published, successor);
	if (ptni_entry_node(successor) >= published->options.nodes ||
	    !inside(&published->map[ptni_entry_node(successor)], ptni_entry_offset(successor),
		    subtable_bytes(published)))
		return;
	sibling = words_at(&published->map[ptni_entry_node(successor)],
			   ptni_entry_offset(successor))[PTNI_SUB_SIBLING];
	link_subtable(published, sibling);
}

/* --- words that change ------------------------------------------------------------------------------------ */

static void entry_changes(struct published *published, uint64_t old, uint64_t new)
{
	unsigned node = ptni_entry_node(old);
	struct map *map = &published->map[node < published->options.nodes ? node : 0];
	const struct granule *granule;

	if (old && inside(map, ptni_entry_offset(old), subtable_bytes(published))) {
		granule = granule_of(map, ptni_entry_offset(old));
		if (granule->linked == LINKED && granule->owner == OWNER_SUBTABLE)
			found(published,
			      "P6: the directory leads away from a subtable that was not split, "
			      "entry %#" PRIx64,
			      old);
		mark(map, ptni_entry_offset(old), subtable_bytes(published), now(published),
		     OWNER_BLOCK);
	}
	node = ptni_entry_node(new);
	if (!new || node >= published->options.nodes)
		return;
	map = &published->map[node];
	if (inside(map, ptni_entry_offset(new), subtable_bytes(published)) &&
	    granule_of(map, ptni_entry_offset(new))->linked != LINKED)
		link_subtable(published, new);
}

static void piece_changes(struct published *published, uint32_t piece, uint64_t new)
{
	uint64_t len = 8 * ((uint64_t)PTNI_PIECE_HEAD_WORDS + ptni_piece_entries(piece));
	struct map *map = &published->map[0];
	const uint64_t *words;

	if (!new || !inside(map, ptni_entry_offset(new), len))
		return;
	mark(map, ptni_entry_offset(new), len, LINKED, OWNER_DIRECTORY);
	words = words_at(map, ptni_entry_offset(new));
	for (uint32_t i = 0; i < ptni_piece_entries(piece); i++)
		if (words[PTNI_PIECE_HEAD_WORDS + i])
			entry_changes(published, 0, words[PTNI_PIECE_HEAD_WORDS + i]);
}

static void directory_changes(struct published *published, uint64_t first, uint64_t addr,
			      uint64_t old, uint64_t new)
{
	uint64_t index = (addr - first) / 8;

	if (first != published->root) {
		if (index >= PTNI_PIECE_HEAD_WORDS)
			entry_changes(published, old, new);
	} else if (index >= PTNI_ROOT_ENTRIES) {
		entry_changes(published, old, new);
	} else if (index >= PTNI_ROOT_PIECES && index < PTNI_ROOT_PIECES + PTNI_PIECES_MAX) {
		piece_changes(published, (uint32_t)index - PTNI_ROOT_PIECES, new);
	}
}

static void subtable_changes(struct published *published, struct map *map,
			     const struct granule *granule, uint64_t offset, uint64_t old,
			     uint64_t new)
{
	uint64_t first = (uint64_t)granule->first * GRANULE;
	uint32_t index = (uint32_t)((offset - first) / 8);

	if (index == PTNI_SUB_SUCCESSOR) {
		split(published, map, first, new);
		return;
	}
	if (index < PTNI_SUB_HEAD_WORDS)
		return; /* who splits it */
	if (granule->owner == OWNER_SPLIT) {
		found(published,
		      "P3: word %u of the split subtable at %#" PRIx64 " of node %u changes from "
		      "%#" PRIx64 " to %#" PRIx64,
		      index, first, map->node.process, old, new);
		return;
	}
	if (!ptni_word_is_slot(index) || ptni_slot_bare(old) == ptni_slot_bare(new))
		return;
	if (ptni_slot_bare(old))
		unlink_block(published, map, old);
	if (ptni_slot_bare(new))
		link_block(published, map, new);
}

static void word_changes(struct published *published, struct map *map, uint64_t offset,
			 uint64_t old, uint64_t new)
{
	struct granule *granule = granule_of(map, offset);

	if (granule->linked != LINKED)
		return;
	if (granule->owner == OWNER_BLOCK)
		found(published,
		      "P5: an atomic on the block at %#" PRIx64 " of node %u, to which a word "
		      "leads",
		      (uint64_t)granule->first * GRANULE, map->node.process);
	if (old == new)
		return;
	memcpy(map->mirror + offset, &new, sizeof(new));
	if (granule->owner == OWNER_BLOCK)
		return;
	if (granule->owner == OWNER_DIRECTORY)
		directory_changes(published,
				  (uint64_t)(uintptr_t)map->node.region +
					  (uint64_t)granule->first * GRANULE,
				  (uint64_t)(uintptr_t)map->node.region + offset, old, new);
	else
		subtable_changes(published, map, granule, offset, old, new);
}

/* --- bytes that change ---------------------------------------------------------------------------------- */

/* An operation that began before the event and still runs: its number, or HISTORY_NONE. */
static uint32_t who_runs_since(struct published *published, unsigned node, uint64_t event)
{
	const struct history *history = published->options.history;

	for (; history && published->seen < history->ops; published->seen++) {
		const struct history_op *op = &history->op[published->seen];

		if (op->client < CLIENTS_MAX && op->kind != HISTORY_VISIT && !op->lot)
			published->running[op->client] = published->seen + 1;
	}
	for (unsigned client = 0; history && client < CLIENTS_MAX; client++) {
		const struct history_op *op;

		if (!published->running[client])
			continue;
		op = &history->op[published->running[client] - 1];
		if (op->ended == HISTORY_NEVER && op->began <= event &&
		    published->options.counts(published->options.arg, client, node))
			return published->running[client] - 1;
	}
	return HISTORY_NONE;
}

/* True: something was found. */
static bool granule_written(struct published *published, unsigned node, uint64_t offset)
{
	struct map *map = &published->map[node];
	struct granule *granule = granule_of(map, offset);
	uint32_t op;

	if (!granule->linked)
		return false;
	if (granule->linked == LINKED) {
		found(published,
		      "P1: a WRITE changes %#" PRIx64 " of node %u, in what begins at %#" PRIx64
		      ", to which a word leads",
		      offset, map->node.process, (uint64_t)granule->first * GRANULE);
		return true;
	}
	op = who_runs_since(published, node, granule->linked);
	if (op != HISTORY_NONE)
		found(published,
		      "P2: %#" PRIx64 " of node %u is used again, unlinked at event %" PRIu64
		      ", while operation %u of client %u runs since event %" PRIu64,
		      offset, map->node.process, granule->linked, op,
		      published->options.history->op[op].client,
		      published->options.history->op[op].began);
	granule->linked = 0;
	return op != HISTORY_NONE;
}

static void written(struct published *published, unsigned node, uint64_t offset, uint64_t len)
{
	struct map *map = &published->map[node];
	uint64_t end = offset + len;

	while (offset < end) {
		uint64_t next = (offset / GRANULE + 1) * GRANULE;
		uint64_t part = (next < end ? next : end) - offset;

		if (granule_of(map, offset)->linked &&
		    memcmp(map->mirror + offset, map->node.region + offset, part) &&
		    granule_written(published, node, offset))
			return; /* one finding is enough */
		offset += part;
	}
}

void published_told(void *arg, const struct ptni_sim_event *event)
{
	struct published *published = arg;

	if (event->kind != PTNI_SIM_ACCESS_SLICE || !published->on)
		return;
	for (unsigned i = 0; i < published->options.nodes; i++) {
		struct map *map = &published->map[i];
		uint64_t offset = event->addr - (uint64_t)(uintptr_t)map->node.region;

		if (event->peer != map->node.process || offset >= map->node.len_bytes ||
		    event->len > map->node.len_bytes - offset)
			continue;
		if (event->opcode == IBV_WR_RDMA_WRITE)
			written(published, i, offset, event->len);
		else if (event->opcode == IBV_WR_ATOMIC_CMP_AND_SWP)
			word_changes(published, map, offset, event->old,
				     event->old == event->compare ? event->swap : event->old);
		else if (event->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD)
			word_changes(published, map, offset, event->old,
				     event->old + event->compare);
	}
}

/* --- the rest ------------------------------------------------------------------------------------------- */

int published_open(const struct published_options *options, struct published **published_out)
{
	struct published *published = calloc(1, sizeof(*published));

	if (!published)
		return -ENOMEM;
	published->options = *options;
	*published_out = published;
	return 0;
}

void published_close(struct published *published)
{
	for (unsigned i = 0; published && i < PUBLISHED_NODES_MAX; i++) {
		free(published->map[i].granule);
		free(published->map[i].mirror);
	}
	free(published);
}

int published_table(struct published *published, uint64_t root, uint32_t groups)
{
	const struct published_options *options = &published->options;
	const uint64_t *words = (const uint64_t *)(uintptr_t)root;

	for (unsigned i = 0; i < options->nodes; i++) {
		struct map *map = &published->map[i];

		map->node = options->node[i];
		map->granules = map->node.len_bytes / GRANULE;
		map->granule = calloc(map->granules + 1, sizeof(*map->granule));
		map->mirror = calloc(1, map->node.len_bytes);
		if (!map->granule || !map->mirror)
			return -ENOMEM;
	}
	published->root = root;
	published->groups = groups;
	published->on = true;
	mark(&published->map[0], root - (uint64_t)(uintptr_t)options->node[0].region, ROOT_BYTES,
	     LINKED, OWNER_DIRECTORY);
	for (uint32_t i = PTNI_ROOT_ENTRIES; i < PTNI_ROOT_WORDS; i++)
		if (words[i])
			entry_changes(published, 0, words[i]);
	for (uint32_t i = 0; i < PTNI_PIECES_MAX; i++)
		piece_changes(published, i, words[PTNI_ROOT_PIECES + i]);
	return 0;
}

void published_stop(struct published *published)
{
	published->on = false;
}

uint64_t published_links(const struct published *published)
{
	return published->links;
}
