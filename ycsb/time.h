/* SPDX-License-Identifier: MIT */
#ifndef YCSB_TIME_H
#define YCSB_TIME_H

#include "core/base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Two of these around every operation: the time stamp counter where it can be trusted. */
static inline uint64_t ycsb_now_ns(void)
{
	return ptni_clock_now_ns();
}

/* Sleeps until shortly before the time and spins the rest; false if `stop` was set before it. */
bool ycsb_sleep_until(uint64_t time_ns, const _Atomic bool *stop);

#endif
