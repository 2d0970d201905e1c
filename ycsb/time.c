/* SPDX-License-Identifier: MIT */
#include "ycsb/time.h"

#include <time.h>

enum {
	SPIN_NS = 60000,
	SLICE_NS = 20000000
};

bool ycsb_sleep_until(uint64_t time_ns, const _Atomic bool *stop)
{
	for (;;) {
		uint64_t now = ycsb_now_ns(), left = time_ns > now ? time_ns - now : 0;
		struct timespec pause = { 0, SLICE_NS };

		if (atomic_load_explicit(stop, memory_order_relaxed))
			return false;
		if (left == 0)
			return true;
		if (left <= SPIN_NS)
			continue;
		if (left - SPIN_NS < SLICE_NS)
			pause.tv_nsec = (long)(left - SPIN_NS);
		nanosleep(&pause, NULL);
	}
}
