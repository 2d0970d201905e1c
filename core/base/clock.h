/* SPDX-License-Identifier: MIT */
/*
 * Time: monotonic nanoseconds since some moment of this process's choosing. Readings of different
 * processes or machines are never compared, only differences are, and their rates differ a little.
 *
 * Where the kernel itself keeps time by the CPU's time stamp counter, so do we: no system call, no
 * fence, about the cost of the instruction. The first reading of a process calibrates the counter
 * against CLOCK_MONOTONIC for PTNI_CLOCK_CALIBRATION_NS. Anywhere else clock_gettime(2) is asked.
 *
 * 1. Readings of one thread never go back.
 * 2. Two clocks of one host run at the same rate within PTNI_CLOCK_RATE_ERROR_PPM (calibration), and
 *    within the correction NTP applies on top of that against another host's.
 * 3. A reading is not ordered against surrounding loads and stores; the CPU may take it up to about
 *    a hundred instructions early.
 *
 * Code that must run under virtual time takes a struct ptni_clock and reads it by ptni_clock_read().
 */
#ifndef PTNI_CLOCK_H
#define PTNI_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum {
	PTNI_CLOCK_CALIBRATION_NS = 5000000,
	PTNI_CLOCK_RATE_ERROR_PPM = 50,
};

/* A source of time. The simulator embeds this and sets now_ns; everyone else uses ptni_clock_real. */
struct ptni_clock {
	uint64_t (*now_ns)(struct ptni_clock *clock);
};

extern struct ptni_clock ptni_clock_real;

/* How counts become nanoseconds: (count * mult) >> 32. Written once, before `ready`. */
struct ptni_clock_scale {
	atomic_bool ready; /* the counter is in use and mult is valid */
	uint64_t mult;
};

extern struct ptni_clock_scale ptni_clock_scale;

/* Calibrates on first use, and reads CLOCK_MONOTONIC where the counter cannot be used. */
uint64_t ptni_clock_now_slow_ns(void);

/* "tsc" or "clock_gettime". */
const char *ptni_clock_source(void);

/*
 * Real time in ns. Threads: any.
 */
static inline uint64_t ptni_clock_now_ns(void)
{
#if defined(__x86_64__)
	if (__builtin_expect(atomic_load_explicit(&ptni_clock_scale.ready, memory_order_acquire),
			     1))
		return (uint64_t)((unsigned __int128)__rdtsc() * ptni_clock_scale.mult >> 32);
#endif
	return ptni_clock_now_slow_ns();
}

/* The time of `clock` in ns. Threads: those the clock allows; ptni_clock_real any. */
static inline uint64_t ptni_clock_read(struct ptni_clock *clock)
{
	if (__builtin_expect(clock == &ptni_clock_real, 1))
		return ptni_clock_now_ns();
	return clock->now_ns(clock);
}

/*
 * How long ago; 0 where the later reading is the smaller one: two threads may read out of order, and a clock that was
 * set back a little must not look like one that has run for centuries.
 */
static inline uint64_t ptni_clock_since_ns(uint64_t now_ns, uint64_t then_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

#endif
