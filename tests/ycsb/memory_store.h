/* SPDX-License-Identifier: MIT */
/*
 * A store in plain memory for the driver's own tests: ordered, behind one lock, with faults to order.
 */
#ifndef YCSB_MEMORY_STORE_H
#define YCSB_MEMORY_STORE_H

#include "ycsb/store.h"

#include <stdint.h>

/* Zero: that fault does not happen. Set before the store is opened. */
struct memory_store_faults {
	uint64_t damage_every; /* every so many reads a byte of the record is wrong */
	uint64_t mix_every; /* every so many reads half a field is of another write */
	uint64_t insert_fails_at; /* the insert of this number fails, counted from 1 */
	uint64_t delay_ns; /* busy time of every operation */
	uint64_t worker_fails_at; /* worker_open of this number fails, counted from 1 */
};

extern struct memory_store_faults memory_store_faults;
extern const struct ycsb_store_ops memory_store_ops; /* "memory" */
extern const struct ycsb_store_ops memory_store_unordered_ops; /* "unordered" */

/* What is in the store that was opened last: records, and the store's count of calls. */
uint64_t memory_store_record_cnt(void);
void memory_store_each(void (*fn)(void *context, const struct ycsb_key *key,
				  struct ycsb_bytes record),
		       void *context);

#endif
