/* SPDX-License-Identifier: MIT */
/*
 * Arenas and slabs: what is taken of a leased memory is kept here, by its holder, and nowhere else.
 *
 * The client dies or sleeps: the lease ends and the memory with it, as for any ptn_memory.
 */
#include <patronus/arena.h>

#include <errno.h>
#include <stdlib.h>

enum {
	WORD = 8,
	WORD_BITS = 64
};
#define LEN_MAX (UINT64_C(1) << 30) /* of one allocation */

struct ptn_arena {
	struct ptn_memory *memory;
	uint64_t len_bytes, used_bytes;
};

struct ptn_slab {
	struct ptn_memory *memory;
	uint64_t piece_bytes, count;
	uint64_t first; /* no word of `taken` before this one has a zero */
	uint64_t taken[]; /* bit = piece; those past the last one are set */
};

/* --- arena ------------------------------------------------------------------------------------ */

int ptn_arena_open(struct ptn_worker *worker, unsigned node, uint64_t len_bytes, uint64_t term_ns,
		   struct ptn_arena **arena_out)
{
	struct ptn_arena *arena;
	int ret;

	if (!arena_out)
		return -EINVAL;
	arena = calloc(1, sizeof(*arena));
	if (!arena)
		return -ENOMEM;
	ret = ptn_memory_alloc(worker, node, len_bytes, term_ns, &arena->memory);
	if (ret) {
		free(arena);
		return ret;
	}
	arena->len_bytes = len_bytes;
	*arena_out = arena;
	return 0;
}

int ptn_arena_take(struct ptn_arena *arena, uint64_t len_bytes, uint64_t align,
		   uint64_t *offset_out)
{
	uint64_t start;

	if (!align)
		align = WORD;
	if (!arena || !offset_out || !len_bytes || align & (align - 1))
		return -EINVAL;
	if (align > LEN_MAX)
		return -ENOMEM;
	start = (arena->used_bytes + align - 1) & ~(align - 1);
	if (start > arena->len_bytes || len_bytes > arena->len_bytes - start)
		return -ENOMEM;
	arena->used_bytes = start + len_bytes;
	*offset_out = start;
	return 0;
}

void ptn_arena_reset(struct ptn_arena *arena)
{
	if (arena)
		arena->used_bytes = 0;
}

struct ptn_memory *ptn_arena_memory(struct ptn_arena *arena)
{
	return arena ? arena->memory : NULL;
}

int ptn_arena_close(struct ptn_arena *arena)
{
	int ret;

	if (!arena)
		return 0;
	ret = ptn_memory_free(arena->memory);
	free(arena);
	return ret;
}

/* --- slab ------------------------------------------------------------------------------------- */

static uint64_t words_of(uint64_t count)
{
	return (count + WORD_BITS - 1) / WORD_BITS;
}

int ptn_slab_open(struct ptn_worker *worker, unsigned node, uint64_t piece_bytes, uint64_t count,
		  uint64_t term_ns, struct ptn_slab **slab_out)
{
	struct ptn_slab *slab;
	int ret;

	if (!slab_out || !piece_bytes || !count || piece_bytes > LEN_MAX)
		return -EINVAL;
	piece_bytes = (piece_bytes + WORD - 1) & ~(uint64_t)(WORD - 1);
	if (count > LEN_MAX / piece_bytes)
		return -EINVAL;
	slab = calloc(1, sizeof(*slab) + words_of(count) * sizeof(slab->taken[0]));
	if (!slab)
		return -ENOMEM;
	ret = ptn_memory_alloc(worker, node, piece_bytes * count, term_ns, &slab->memory);
	if (ret) {
		free(slab);
		return ret;
	}
	slab->piece_bytes = piece_bytes;
	slab->count = count;
	if (count % WORD_BITS)
		slab->taken[count / WORD_BITS] = UINT64_MAX << count % WORD_BITS;
	*slab_out = slab;
	return 0;
}

int ptn_slab_take(struct ptn_slab *slab, uint64_t *offset_out)
{
	uint64_t words, bit;

	if (!slab || !offset_out)
		return -EINVAL;
	words = words_of(slab->count);
	while (slab->first < words && slab->taken[slab->first] == UINT64_MAX)
		slab->first++;
	if (slab->first == words)
		return -ENOMEM;
	bit = (uint64_t)__builtin_ctzll(~slab->taken[slab->first]);
	slab->taken[slab->first] |= UINT64_C(1) << bit;
	*offset_out = (slab->first * WORD_BITS + bit) * slab->piece_bytes;
	return 0;
}

int ptn_slab_give(struct ptn_slab *slab, uint64_t offset)
{
	uint64_t piece, bit;

	if (!slab || offset % slab->piece_bytes || offset / slab->piece_bytes >= slab->count)
		return -EINVAL;
	piece = offset / slab->piece_bytes;
	bit = UINT64_C(1) << piece % WORD_BITS;
	if (!(slab->taken[piece / WORD_BITS] & bit))
		return -EINVAL;
	slab->taken[piece / WORD_BITS] &= ~bit;
	if (piece / WORD_BITS < slab->first)
		slab->first = piece / WORD_BITS;
	return 0;
}

struct ptn_memory *ptn_slab_memory(struct ptn_slab *slab)
{
	return slab ? slab->memory : NULL;
}

int ptn_slab_close(struct ptn_slab *slab)
{
	int ret;

	if (!slab)
		return 0;
	ret = ptn_memory_free(slab->memory);
	free(slab);
	return ret;
}
