/* SPDX-License-Identifier: MIT */
/*
 * Statistics, declared once: the table in <patronus/counters.h> makes the structs and what
 * is written of them.
 *
 * A struct ptni_counters has one writer, its worker (or node loop), and any number of readers. An
 * increment is a plain load, add and store, not a locked instruction; readers see each counter
 * whole, and all of them at slightly different times.
 */
#ifndef PTNI_COUNTERS_H
#define PTNI_COUNTERS_H

#include <patronus/counters.h>

#include <stdatomic.h>
#include <stdint.h>

struct ptni_counters {
#define PTNI_COUNTER_FIELD(name, unit, help) _Atomic uint64_t name;
	PTN_COUNTER_TABLE(PTNI_COUNTER_FIELD)
#undef PTNI_COUNTER_FIELD
};

/* Only the owner calls these: PTNI_COUNT(&worker->counters, doorbells). */
#define PTNI_COUNT(counters, name)        PTNI_COUNT_ADD(counters, name, 1)
#define PTNI_COUNT_ADD(counters, name, n) ptni_counter_bump(&(counters)->name, (uint64_t)(n))

static inline void ptni_counter_bump(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

/* What `counters` holds now, stored in or added to what users see. Threads: any. */
void ptni_counters_snapshot(const struct ptni_counters *counters,
			    struct ptn_counters *counters_out);
void ptni_counters_add(struct ptn_counters *sum, const struct ptni_counters *counters);

#endif
