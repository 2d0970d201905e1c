/* SPDX-License-Identifier: MIT */
/*
 * Moving bytes between local memory and memory that others access at the same time.
 *
 * Guarantees
 *  G1  Every aligned 8 bytes of the *remote* side are accessed as one, whatever the local alignment
 *      and whatever the length: single-copy atomic against CAS, FAA and other copies.
 *  G2  Words are written with release and read with acquire, in ascending order; on long copies the
 *      middle part has no order of its own, but comes after what was posted before and before what
 *      is posted after.
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

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* From here on larger units than words pay. */
enum {
	COPY_LOOP_MAX = 512
};

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

/* The compiler would join neighbours by way of the stack, which costs more than it saves. */
static inline void copy_local(uint8_t *local, uint64_t word)
{
	memcpy(local, &word, sizeof(word));
	__asm__ volatile("" ::: "memory");
}

/* Four words a step: the loads need not wait for each other. */
static inline void copy_words_in(uint8_t *local, const uint8_t *remote)
{
	uint64_t a = copy_word_load(remote);
	uint64_t b = copy_word_load(remote + 8);
	uint64_t c = copy_word_load(remote + 16);
	uint64_t d = copy_word_load(remote + 24);

	copy_local(local, a);
	copy_local(local + 8, b);
	copy_local(local + 16, c);
	copy_local(local + 24, d);
}

static inline void copy_words_out(uint8_t *remote, const uint8_t *local)
{
	uint64_t a;
	uint64_t b;
	uint64_t c;
	uint64_t d;

	memcpy(&a, local, sizeof(a));
	memcpy(&b, local + 8, sizeof(b));
	memcpy(&c, local + 16, sizeof(c));
	memcpy(&d, local + 24, sizeof(d));
	copy_word_store(remote, a);
	copy_word_store(remote + 8, b);
	copy_word_store(remote + 16, c);
	copy_word_store(remote + 24, d);
}

/*
 * 64 bytes a step, by accesses of 16 that the CPU splits nowhere but between aligned words. Not
 * memmove: nothing says in which units that moves, and the address sanitizer's moves single bytes, so
 * that a word that another writes is read half old, half new.
 */
static inline size_t copy_long(void *to, const void *from, size_t len)
{
	size_t done = 0;

#if defined(__SSE2__) && !PTNI_TSAN
	for (; len - done >= 64; done += 64) {
		__m128i_u *target = (__m128i_u *)((uint8_t *)to + done);
		const __m128i_u *source = (const __m128i_u *)((const uint8_t *)from + done);
		__m128i a = _mm_loadu_si128(source);
		__m128i b = _mm_loadu_si128(source + 1);
		__m128i c = _mm_loadu_si128(source + 2);
		__m128i d = _mm_loadu_si128(source + 3);

		_mm_storeu_si128(target, a);
		_mm_storeu_si128(target + 1, b);
		_mm_storeu_si128(target + 2, c);
		_mm_storeu_si128(target + 3, d);
		__asm__ volatile("" ::: "memory"); /* or the compiler makes it a memmove */
	}
#endif
	return done;
}

/* remote -> local */
static inline void copy_in(void *local_addr, const void *remote_addr, size_t len)
{
	uint8_t *local = local_addr;
	const uint8_t *remote = remote_addr;
	size_t head = copy_head(remote, len);

	if (__builtin_expect(head != 0, 0)) {
		copy_bytes_in(local, remote, head);
		local += head;
		remote += head;
		len -= head;
	}
	if (len > COPY_LOOP_MAX) {
		size_t done;

		copy_fence(memory_order_acquire);
		done = copy_long(local, remote, len);
		copy_fence(memory_order_acquire);
		local += done;
		remote += done;
		len -= done;
	}
	for (; len >= 32; len -= 32, local += 32, remote += 32)
		copy_words_in(local, remote);
	for (; len >= 8; len -= 8, local += 8, remote += 8) {
		uint64_t word = copy_word_load(remote);

		memcpy(local, &word, sizeof(word));
	}
	if (__builtin_expect(len != 0, 0))
		copy_bytes_in(local, remote, len);
}

/* local -> remote */
static inline void copy_out(void *remote_addr, const void *local_addr, size_t len)
{
	uint8_t *remote = remote_addr;
	const uint8_t *local = local_addr;
	size_t head = copy_head(remote, len);

	if (__builtin_expect(head != 0, 0)) {
		copy_bytes_out(remote, local, head);
		local += head;
		remote += head;
		len -= head;
	}
	if (len > COPY_LOOP_MAX) {
		size_t done;

		copy_fence(memory_order_release);
		done = copy_long(remote, local, len);
		copy_fence(memory_order_release);
		local += done;
		remote += done;
		len -= done;
	}
	for (; len >= 32; len -= 32, local += 32, remote += 32)
		copy_words_out(remote, local);
	for (; len >= 8; len -= 8, local += 8, remote += 8) {
		uint64_t word;

		memcpy(&word, local, sizeof(word));
		copy_word_store(remote, word);
	}
	if (__builtin_expect(len != 0, 0))
		copy_bytes_out(remote, local, len);
}

#endif
