/* SPDX-License-Identifier: MIT */
/*
 * The sequence of inserted keys. Inserters take numbers; a number counts as present once it and all
 * before it are acknowledged, so that nobody asks for a record that is not there yet.
 *
 *   1. ycsb_counter_last() never passes a number that is not acknowledged.
 *   2. When no call is running, ycsb_counter_last() has passed every number acknowledged without gap.
 *   3. No call waits for another thread. At most YCSB_COUNTER_WINDOW numbers are unacknowledged.
 */
#ifndef YCSB_COUNTER_H
#define YCSB_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	YCSB_COUNTER_WINDOW = 1 << 20
};

struct ycsb_ack_counter {
	_Atomic uint64_t next;
	_Alignas(64) _Atomic uint64_t limit; /* numbers below it are acknowledged */
	_Alignas(64) _Atomic uint32_t advancing;
	_Alignas(64) _Atomic uint8_t window[YCSB_COUNTER_WINDOW];
};

/* The first number will be `start`. NULL without memory; freed with free(). */
struct ycsb_ack_counter *ycsb_counter_new(uint64_t start);
/* -EAGAIN while the window is full. */
int ycsb_counter_take(struct ycsb_ack_counter *counter, uint64_t *number_out);
void ycsb_counter_acknowledge(struct ycsb_ack_counter *counter, uint64_t number);
/* One past the highest number that is present. */
static inline uint64_t ycsb_counter_limit(const struct ycsb_ack_counter *counter)
{
	return atomic_load_explicit(&counter->limit, memory_order_acquire);
}

#endif
