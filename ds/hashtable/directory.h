/* SPDX-License-Identifier: MIT */
/*
 * The directory: remotely some pages of entries (layout.h), in each process an array of them,
 *
 *   entry[i], i < 1 << depth:  the subtable that serves the hashes whose low `depth` bits are i
 *
 * in address space reserved for the largest depth, so that it grows in place: a lookup is two loads
 * and needs neither a lock nor a grace period. Entries only ever get deeper (H7), by CAS from whichever thread
 * learned better; growing is one thread's, the others go on with the smaller array meanwhile.
 *
 * Growing copies the lower half up, publishes the depth and copies again. Who sets an entry looks at
 * the depth again afterwards. So of a setter and a grower at the same time at least one brings the news
 * to the upper half. A grower is inside an operation; so when the keeper's hook has refreshed the array and
 * the operations that began before its end have ended, nothing older is on its way up any more.
 */
#ifndef PTNI_DIRECTORY_H
#define PTNI_DIRECTORY_H

#include "ds/hashtable/layout.h"

#include <stdatomic.h>
#include <stdbool.h>

struct ptn_hash;
struct ptn_worker;
struct ptni_hash_op;

struct ptni_directory {
	_Atomic uint64_t *entry;
	_Atomic uint32_t depth;
	atomic_flag growing;
	uint64_t changes; /* as the last refresh read it; the hook's */
	_Atomic uint64_t piece[PTNI_PIECES_MAX]; /* piece pointers known: they never change again */
};

int ptni_directory_open(struct ptni_directory *directory); /* -ENOMEM */
void ptni_directory_close(struct ptni_directory *directory);

static inline uint64_t ptni_directory_lookup(const struct ptni_directory *directory, uint64_t hash)
{
	uint32_t depth = atomic_load_explicit(&directory->depth, memory_order_acquire);

	return atomic_load_explicit(&directory->entry[hash & ptni_suffix_mask(depth)],
				    memory_order_relaxed);
}

/* The subtable that serves `suffix` is this one; nothing changes where deeper ones are known. False: not
 * now, another thread is growing the array (a lookup then takes the way through the parent). */
bool ptni_directory_learn(struct ptni_directory *directory, uint32_t suffix, uint64_t entry);

/* Remote address of directory index; a missing piece is made when `make`, else 0. */
int ptni_directory_slot(struct ptni_hash_op *op, uint32_t index, bool make, uint64_t *addr_out);
/* Read all of it. 1: some of it could not be learned, see _learn. */
int ptni_directory_refresh(struct ptni_hash_op *op);
/* Parent (serving suffix, depth) was split into child 0 and 1: bring the directory up to date; who
 * changes the parent's entry retires the parent. */
int ptni_directory_publish(struct ptni_hash_op *op, uint64_t parent, uint32_t suffix,
			   uint64_t child0, uint64_t child1);
/* In place of reading it: every cached entry that leads to `node` is held against its subtable, and followed to
 * what is current (table.h: H13). */
int ptni_directory_check(struct ptn_hash *hash, struct ptn_worker *worker, unsigned node);
/* The epoch hook (worker.h). */
int ptni_directory_hook(void *arg, struct ptn_worker *worker, unsigned node);

#endif
