/* SPDX-License-Identifier: MIT */
#include "core/base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static uint64_t real_now_ns(struct ptni_clock *clock)
{
	return ptni_clock_now_ns();
}

struct ptni_clock ptni_clock_real = { .now_ns = real_now_ns };
struct ptni_clock_scale ptni_clock_scale;

static pthread_once_t calibrated = PTHREAD_ONCE_INIT;

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#if defined(__x86_64__)

/* The counter runs at one rate in every power state. */
static bool counter_invariant(void)
{
	unsigned int eax, ebx, ecx, edx;

	return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && edx & 1U << 8;
}

/* The kernel checks that the counters of all CPUs agree; if it trusts them, we may. */
static bool counter_trusted(void)
{
	char name[16];
	ssize_t len;
	int fd;

	fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
		  O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, name, sizeof(name));
	close(fd);
	return len == 4 && memcmp(name, "tsc\n", 4) == 0;
}

/* One instant on both clocks: of many tries the one that took least time between two counts. */
static void read_both(uint64_t *count_out, uint64_t *ns_out)
{
	uint64_t shortest = UINT64_MAX;

	for (int i = 0; i < 64; i++) {
		uint64_t before = __rdtsc();
		uint64_t ns = monotonic_ns();
		uint64_t after = __rdtsc();

		if (after - before < shortest) {
			shortest = after - before;
			*count_out = before + (after - before) / 2;
			*ns_out = ns;
		}
	}
}

static void calibrate(void)
{
	uint64_t count_start, count_end, ns_start, ns_end;

	if (!counter_invariant() || !counter_trusted())
		return;
	read_both(&count_start, &ns_start);
	while (monotonic_ns() - ns_start < PTNI_CLOCK_CALIBRATION_NS)
		__builtin_ia32_pause();
	read_both(&count_end, &ns_end);
	if (count_end <= count_start)
		return;
	ptni_clock_scale.mult = (uint64_t)(((unsigned __int128)(ns_end - ns_start) << 32) /
					   (count_end - count_start));
	/* pairs with the acquire in ptni_clock_now_ns() */
	atomic_store_explicit(&ptni_clock_scale.ready, ptni_clock_scale.mult != 0,
			      memory_order_release);
}

#else

static void calibrate(void)
{
}

#endif

uint64_t ptni_clock_now_slow_ns(void)
{
	pthread_once(&calibrated, calibrate);
	if (atomic_load_explicit(&ptni_clock_scale.ready, memory_order_acquire))
		return ptni_clock_now_ns();
	return monotonic_ns();
}

const char *ptni_clock_source(void)
{
	ptni_clock_now_ns();
	return atomic_load_explicit(&ptni_clock_scale.ready, memory_order_acquire) ?
		       "tsc" :
		       "clock_gettime";
}
