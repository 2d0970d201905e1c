/* SPDX-License-Identifier: MIT */
#include "tests/ds/locals.h"

#include <xxhash.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct local {
	void *addr;
	size_t len_bytes;
	void *image;
};

struct owner {
	struct local local[LOCALS_MAX];
	unsigned count;
};

static struct owner owners[LOCALS_OWNERS];
static int current = LOCALS_NOBODY;

void *__real_malloc(size_t len_bytes);
void *__real_calloc(size_t count, size_t len_bytes);
void __real_free(void *addr);
void *__real_mmap(void *addr, size_t len_bytes, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t len_bytes);
void *__wrap_malloc(size_t len_bytes);
void *__wrap_calloc(size_t count, size_t len_bytes);
void __wrap_free(void *addr);
void *__wrap_mmap(void *addr, size_t len_bytes, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t len_bytes);

/* --- who owns what ------------------------------------------------------------------------------------------- */

static void *note(void *addr, size_t len_bytes)
{
	struct owner *owner = &owners[current < 0 ? 0 : current];

	if (current < 0 || !addr || addr == MAP_FAILED)
		return addr;
	assert(owner->count < LOCALS_MAX);
	owner->local[owner->count++] = (struct local){ addr, len_bytes, NULL };
	return addr;
}

static void forget(const void *addr)
{
	for (unsigned i = 0; i < LOCALS_OWNERS; i++)
		for (unsigned k = 0; k < owners[i].count; k++)
			if (owners[i].local[k].addr == addr) {
				__real_free(owners[i].local[k].image);
				owners[i].local[k] = owners[i].local[--owners[i].count];
				return;
			}
}

void *__wrap_malloc(size_t len_bytes)
{
	return note(__real_malloc(len_bytes), len_bytes);
}

void *__wrap_calloc(size_t count, size_t len_bytes)
{
	return note(__real_calloc(count, len_bytes), count * len_bytes);
}

void __wrap_free(void *addr)
{
	forget(addr);
	__real_free(addr);
}

void *__wrap_mmap(void *addr, size_t len_bytes, int prot, int flags, int fd, off_t offset)
{
	const size_t large_bytes = 1 << 20;

	return note(__real_mmap(addr, len_bytes, prot, flags, fd, offset),
		    len_bytes > large_bytes ? LOCALS_PAGE_BYTES : len_bytes);
}

int __wrap_munmap(void *addr, size_t len_bytes)
{
	forget(addr);
	return __real_munmap(addr, len_bytes);
}

void locals_of(int owner)
{
	current = owner;
}

void locals_forget(void)
{
	current = LOCALS_NOBODY;
	for (unsigned i = 0; i < LOCALS_OWNERS; i++) {
		for (unsigned k = 0; k < owners[i].count; k++)
			__real_free(owners[i].local[k].image);
		owners[i].count = 0;
	}
}

/* --- what is in it ------------------------------------------------------------------------------------------ */

static void save(struct local *local)
{
	if (!local->image)
		local->image = __real_malloc(local->len_bytes);
	if (!local->image)
		abort();
	memcpy(local->image, local->addr, local->len_bytes);
}

void locals_save(void)
{
	for (unsigned i = 0; i < LOCALS_OWNERS; i++)
		for (unsigned k = 0; k < owners[i].count; k++)
			save(&owners[i].local[k]);
}

void locals_restore(void)
{
	for (unsigned i = 0; i < LOCALS_OWNERS; i++)
		for (unsigned k = 0; k < owners[i].count; k++)
			memcpy(owners[i].local[k].addr, owners[i].local[k].image,
			       owners[i].local[k].len_bytes);
}

uint64_t locals_hash_bytes(const void *bytes, size_t len_bytes, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, len_bytes, seed);
}

uint64_t locals_hash(unsigned owner, uint64_t seed)
{
	for (unsigned k = 0; k < owners[owner].count; k++)
		seed = locals_hash_bytes(owners[owner].local[k].addr,
					 owners[owner].local[k].len_bytes, seed);
	return seed;
}
