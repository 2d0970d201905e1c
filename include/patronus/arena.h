/* SPDX-License-Identifier: MIT */
/*
 * Two ways to cut leased memory into pieces without asking the node again. Both are one allocation under one
 * lease (memory.h): `ptn_arena_memory` or `ptn_slab_memory` is the handle to read, write and extend it
 * with, pieces are named by their offset into it, and who cuts is this client alone: what is cut is
 * not known to the node, nor to whoever the memory is handed to.
 *
 *   arena   pieces of any length, given back all at once
 *   slab    pieces of one length, given back one by one
 *
 * Nothing here communicates but open and close. Threads: those of the worker.
 */
#ifndef PATRONUS_ARENA_H
#define PATRONUS_ARENA_H

#include <patronus/memory.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ptn_arena;
struct ptn_slab;

/* An arena of `len_bytes` on `node`, leased for `term_ns`. Errors: as ptn_memory_alloc, -ENOMEM. */
PTN_API int ptn_arena_open(struct ptn_worker *worker, unsigned node, uint64_t len_bytes,
			   uint64_t term_ns, struct ptn_arena **arena_out);
/* A piece, at a multiple of `align` (a power of two; 0 is 8). Zero at first; after a reset what it held
 * before. Errors: -ENOMEM it does not fit any more; -EINVAL. */
PTN_API int ptn_arena_take(struct ptn_arena *arena, uint64_t len_bytes, uint64_t align,
			   uint64_t *offset_out);
/* All pieces come back. The caller sees to it that nobody uses them any more. */
PTN_API void ptn_arena_reset(struct ptn_arena *arena);
/* The arena's, until it is closed: not to be released, freed or given. */
PTN_API struct ptn_memory *ptn_arena_memory(struct ptn_arena *arena);
/* Frees arena and memory; returns what ptn_memory_free did. NULL is fine. */
PTN_API int ptn_arena_close(struct ptn_arena *arena);

/* A slab of `count` pieces of `piece_bytes` (rounded up to 8), at most 1 GiB together. */
PTN_API int ptn_slab_open(struct ptn_worker *worker, unsigned node, uint64_t piece_bytes,
			  uint64_t count, uint64_t term_ns, struct ptn_slab **slab_out);
/* The piece of the least offset that is free; not cleared. -ENOMEM: none is. */
PTN_API int ptn_slab_take(struct ptn_slab *slab, uint64_t *offset_out);
/* -EINVAL: no such piece, or it is free already. */
PTN_API int ptn_slab_give(struct ptn_slab *slab, uint64_t offset);
PTN_API struct ptn_memory *ptn_slab_memory(struct ptn_slab *slab); /* as ptn_arena_memory */
PTN_API int ptn_slab_close(struct ptn_slab *slab); /* as ptn_arena_close */

#ifdef __cplusplus
}
#endif
#endif
