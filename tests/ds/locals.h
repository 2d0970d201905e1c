/* SPDX-License-Identifier: MIT */
/*
 * What a client keeps to itself: memory that was allocated on its behalf, whatever for. Programs of this folder are
 * linked so that malloc(), calloc(), mmap() and their opposites of the code under test come by here (CMakeLists.txt).
 * So nothing has to be listed: a structure that the table keeps tomorrow is part of a client's state by itself.
 *
 * Of a mapping of more than a megabyte only the first page counts (the directory's array; who relies on this looks
 * that no more is used). For one thread.
 */
#ifndef TESTS_LOCALS_H
#define TESTS_LOCALS_H

#include <stddef.h>
#include <stdint.h>

enum {
	LOCALS_OWNERS = 4,
	LOCALS_MAX = 16, /* allocations of an owner */
	LOCALS_PAGE_BYTES = 4096,
	LOCALS_NOBODY = -1
};

/* What is allocated from now on is this one's. */
void locals_of(int owner);
/* Nothing is anybody's. */
void locals_forget(void);
/* Keep the bytes of all, and set them back. */
void locals_save(void);
void locals_restore(void);
uint64_t locals_hash(unsigned owner, uint64_t seed);

/* Of any bytes, poisoned ones of a stack under the address sanitizer among them. */
uint64_t locals_hash_bytes(const void *bytes, size_t len_bytes, uint64_t seed);

#endif
