/* SPDX-License-Identifier: MIT */
/* The hash table as a store: one record is one value. Uses the library's public interface only. */
#ifndef YCSB_BIND_HASH_H
#define YCSB_BIND_HASH_H

#include "ycsb/store.h"

#include <patronus/hash.h>

extern const struct ycsb_store_ops ycsb_hash_ops;

/* The table's own account of itself, counted by walking it: for benchmarks of its memory. */
int ycsb_hash_info(struct ycsb_store *store, struct ptn_hash_info *info_out);

#endif
