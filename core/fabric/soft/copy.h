/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes between local memory and memory that others access at the same time.
 *
 * Guarantees
 *  G1  Every aligned 8 bytes of the *remote* side are accessed as one, whatever the local alignment
 *      and whatever the length: single-copy atomic against CAS, FAA and other copies.
 *  G2  Words are written with release and read with acquire, in ascending order.
 *  G3  No byte outside the range is touched.
 *
 * The local side belongs to the caller while the work request is posted; it is accessed plainly, so
 * that a sanitizer sees an application that breaks this.
 */
#ifndef PTNI_SOFT_COPY_H
#define PTNI_SOFT_COPY_H

#include "core/base/sanitizer.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The sanitizer does not know fences; there every access that needs one is ordered by itself. */
#if PTNI_TSAN
#define copy_fence(order) ((void)0)
#else
#define copy_fence(order) atomic_thread_fence(order)
#endif

/* May alias anything, as the remote memory has whatever type its user gave it. */
typedef uint64_t __attribute__((may_alias)) copy_word;

static inline uint64_t copy_word_load(const void *remote)
{
	return __atomic_load_n((const copy_word *)remote, __ATOMIC_ACQUIRE);
}

static inline void copy_word_store(void *remote, uint64_t word)
{
	__atomic_store_n((copy_word *)remote, word, __ATOMIC_RELEASE);
}

static inline void copy_bytes_in(uint8_t *local, const uint8_t *remote, size_t len)
{
	for (size_t i = 0; i < len; i++)
		local[i] = __atomic_load_n(remote + i, __ATOMIC_ACQUIRE);
}

static inline void copy_bytes_out(uint8_t *remote, const uint8_t *local, size_t len)
{
	for (size_t i = 0; i < len; i++)
		__atomic_store_n(remote + i, local[i], __ATOMIC_RELEASE);
}

/* Bytes before the first aligned word of the remote side. */
static inline size_t copy_head(const void *remote, size_t len)
{
	size_t head = -(uintptr_t)remote & 7;

	return head < len ? head : len;
}

/*
 * Sixteen bytes at an address of the remote side that is a multiple of 8. x86-64 moves each half as
 * one, also where the two lie in different cache lines. Not memmove: nothing says in which units that
 * moves, and the address sanitizer's moves single bytes. The thread sanitizer checks word by word.
 */
#if defined(__x86_64__) && !PTNI_TSAN
#define COPY_VECTORS 1
typedef long long __attribute__((vector_size(16), aligned(8), may_alias)) copy_vector;
#else
#define COPY_VECTORS 0
#endif

#if COPY_VECTORS
static inline void copy_vector_in(uint8_t *local, const uint8_t *remote)
{
	copy_vector vector = *(const volatile copy_vector *)(const void *)remote;

	memcpy(local, &vector, sizeof(vector));
}

static inline void copy_vector_out(uint8_t *remote, const uint8_t *local)
{
	copy_vector vector;

	memcpy(&vector, local, sizeof(vector));
	*(volatile copy_vector *)(void *)remote = vector;
}

/* As much as vectors can: the number of bytes. */
static inline size_t copy_vectors_in(uint8_t *local, const uint8_t *remote, size_t len)
{
	size_t done = 0;

	copy_fence(memory_order_acquire);
	for (; len - done >= 64; done += 64) {
		copy_vector_in(local + done, remote + done);
		copy_vector_in(local + done + 16, remote + done + 16);
		copy_vector_in(local + done + 32, remote + done + 32);
		copy_vector_in(local + done + 48, remote + done + 48);
	}
	for (; len - done >= 16; done += 16)
		copy_vector_in(local + done, remote + done);
	copy_fence(memory_order_acquire);
	return done;
}

static inline size_t copy_vectors_out(uint8_t *remote, const uint8_t *local, size_t len)
{
	size_t done = 0;

	copy_fence(memory_order_release);
	for (; len - done >= 64; done += 64) {
		copy_vector_out(remote + done, local + done);
		copy_vector_out(remote + done + 16, local + done + 16);
		copy_vector_out(remote + done + 32, local + done + 32);
		copy_vector_out(remote + done + 48, local + done + 48);
	}
	for (; len - done >= 16; done += 16)
		copy_vector_out(remote + done, local + done);
	copy_fence(memory_order_release);
	return done;
}
#else
static inline size_t copy_vectors_in(uint8_t *local, const uint8_t *remote, size_t len)
{
	return 0;
}

static inline size_t copy_vectors_out(uint8_t *remote, const uint8_t *local, size_t len)
{
	return 0;
}
#endif

/* remote -> local */
static inline void copy_in(void *local_addr, const void *remote_addr, size_t len)
{
	uint8_t *local = local_addr;
	const uint8_t *remote = remote_addr;
	size_t part = copy_head(remote, len);

	if (__builtin_expect(part != 0, 0)) {
		copy_bytes_in(local, remote, part);
		local += part;
		remote += part;
		len -= part;
	}
	part = copy_vectors_in(local, remote, len);
	for (local += part, remote += part, len -= part; len >= 8; len -= 8) {
		uint64_t word = copy_word_load(remote);

		memcpy(local, &word, sizeof(word));
		local += 8;
		remote += 8;
	}
	if (__builtin_expect(len != 0, 0))
		copy_bytes_in(local, remote, len);
}

/* local -> remote */
static inline void copy_out(void *remote_addr, const void *local_addr, size_t len)
{
	uint8_t *remote = remote_addr;
	const uint8_t *local = local_addr;
	size_t part = copy_head(remote, len);

	if (__builtin_expect(part != 0, 0)) {
		copy_bytes_out(remote, local, part);
		local += part;
		remote += part;
		len -= part;
	}
	part = copy_vectors_out(remote, local, len);
	for (local += part, remote += part, len -= part; len >= 8; len -= 8) {
		uint64_t word;

		memcpy(&word, local, sizeof(word));
		copy_word_store(remote, word);
		local += 8;
		remote += 8;
	}
	if (__builtin_expect(len != 0, 0))
		copy_bytes_out(remote, local, len);
}

#endif
