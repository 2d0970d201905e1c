/* SPDX-License-Identifier: MIT */
/*
 * Statistics, declared once: the table in <patronus/counters.h> makes the structs, the names, the
 * help and both writers.
 *
 * A struct ptni_counters has one writer, its worker (or node loop), and any number of readers. An
 * increment is a plain load, add and store, not a locked instruction; readers see each counter
 * whole, and all of them at slightly different times.
 */
#ifndef PTNI_COUNTERS_H
#define PTNI_COUNTERS_H

#include <patronus/counters.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PTNI_COUNTER_TABLE(X) PTN_COUNTER_TABLE(X)

struct ptni_counters {
#define PTNI_COUNTER_FIELD(name, unit, help) _Atomic uint64_t name;
	PTNI_COUNTER_TABLE(PTNI_COUNTER_FIELD)
#undef PTNI_COUNTER_FIELD
};

enum ptni_counter {
#define PTNI_COUNTER_INDEX(name, unit, help) PTNI_COUNTER_##name,
	PTNI_COUNTER_TABLE(PTNI_COUNTER_INDEX)
#undef PTNI_COUNTER_INDEX
	PTNI_COUNTER_COUNT
};

/* What was read of one or more writers: plain numbers in the order of the table. */
struct ptni_counters_sum {
	uint64_t value[PTNI_COUNTER_COUNT];
};

/* Only the owner calls these: PTNI_COUNT(&worker->counters, doorbells). */
#define PTNI_COUNT(counters, name)        PTNI_COUNT_ADD(counters, name, 1)
#define PTNI_COUNT_ADD(counters, name, n) ptni_counter_bump(&(counters)->name, (uint64_t)(n))

static inline void ptni_counter_bump(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

/* "verbs_read", "verbs", "RDMA READs posted"; NULL for an index out of range. Static strings. */
const char *ptni_counter_name(unsigned int index);
const char *ptni_counter_unit(unsigned int index);
const char *ptni_counter_help(unsigned int index);

/* Add what `counters` holds now to `sum`. Threads: any. */
void ptni_counters_add(struct ptni_counters_sum *sum, const struct ptni_counters *counters);

/* The same as a user sees them. Threads: any. */
void ptni_counters_snapshot(const struct ptni_counters *counters,
			    struct ptn_counters *counters_out);

/* later - earlier, counter by counter. */
void ptni_counters_since(const struct ptni_counters_sum *later,
			 const struct ptni_counters_sum *earlier,
			 struct ptni_counters_sum *difference_out);

/*
 * One "name value # help" a line, or one JSON object of numbers. Written like
 * snprintf(3): at most capacity_bytes with the final zero; returns the length that all of it has, so
 * a result >= capacity_bytes says how much room is needed. buffer may be NULL if the capacity is 0.
 */
size_t ptni_counters_text(const struct ptni_counters_sum *sum, char *buffer, size_t capacity_bytes);
size_t ptni_counters_json(const struct ptni_counters_sum *sum, char *buffer, size_t capacity_bytes);

#endif
