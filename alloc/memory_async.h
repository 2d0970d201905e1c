/* SPDX-License-Identifier: MIT */
/* What submitted batches share with those that are waited for. */
#ifndef PTNI_ALLOC_MEMORY_ASYNC_H
#define PTNI_ALLOC_MEMORY_ASYNC_H

#include "alloc/memory.h"

struct ptn_memory_op;

/* 0, or why this batch is not one. Touches nothing. */
int ptni_memory_batch_check(struct ptn_worker *worker, const struct ptn_memory_op *ops,
			    size_t count);
/* Run a batch that was checked, in an operation that holds nothing yet. Fills in every status. */
int ptni_memory_batch_run(struct ptni_op *op, struct ptn_memory_op *ops, size_t count);

#endif
