/* SPDX-License-Identifier: MIT */
#include "ycsb/counter.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

struct ycsb_ack_counter *ycsb_counter_new(uint64_t start)
{
	struct ycsb_ack_counter *counter = aligned_alloc(64, sizeof(*counter));

	if (counter == NULL)
		return NULL;
	atomic_init(&counter->next, start);
	atomic_init(&counter->limit, start);
	atomic_init(&counter->advancing, 0);
	for (uint32_t i = 0; i < YCSB_COUNTER_WINDOW; i++)
		atomic_init(&counter->window[i], 0);
	return counter;
}

int ycsb_counter_take(struct ycsb_ack_counter *counter, uint64_t *number_out)
{
	uint64_t number = atomic_load_explicit(&counter->next, memory_order_relaxed);

	do {
		if (number - ycsb_counter_limit(counter) >= YCSB_COUNTER_WINDOW)
			return -EAGAIN;
	} while (!atomic_compare_exchange_weak_explicit(
		&counter->next, &number, number + 1, memory_order_relaxed, memory_order_relaxed));
	*number_out = number;
	return 0;
}

static _Atomic uint8_t *slot_of(struct ycsb_ack_counter *counter, uint64_t number)
{
	return &counter->window[number & (YCSB_COUNTER_WINDOW - 1)];
}

/* Only the thread that holds `advancing` comes here. */
static void advance(struct ycsb_ack_counter *counter)
{
	uint64_t limit = atomic_load_explicit(&counter->limit, memory_order_relaxed);
	uint64_t end = limit;

	while (end - limit < YCSB_COUNTER_WINDOW && atomic_load(slot_of(counter, end)) != 0) {
		atomic_store_explicit(slot_of(counter, end), 0, memory_order_relaxed);
		end++;
	}
	/* Whoever takes the numbers that this makes room for finds their slots cleared. */
	atomic_store(&counter->limit, end);
}

/*
 * A number set while another thread advances may be missed by it, so each thread looks again after
 * letting go: either it sees the flag free and the number at the front, or whoever holds the flag
 * took it after the number was set. (Slots, flag and limit are sequentially consistent for that reason.)
 */
void ycsb_counter_acknowledge(struct ycsb_ack_counter *counter, uint64_t number)
{
	atomic_store(slot_of(counter, number), 1);
	while (atomic_load(slot_of(counter, atomic_load(&counter->limit))) != 0) {
		if (atomic_exchange(&counter->advancing, 1) != 0)
			return;
		advance(counter);
		atomic_store(&counter->advancing, 0);
	}
}
