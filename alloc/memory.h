/* SPDX-License-Identifier: MIT */
/* Inside of ptn_memory, for the files that share it. */
#ifndef PTNI_ALLOC_MEMORY_H
#define PTNI_ALLOC_MEMORY_H

#include "alloc/wire.h"
#include "core/worker.h"

#include <patronus/memory.h>

struct ptn_memory {
	struct ptn_worker *worker;
	uint32_t node;
	unsigned rights;
	uint64_t id, secret, addr, len_bytes;
	const struct ptni_window *window;
	struct ptni_window *own_window; /* NULL when unprotected */
	struct ptni_lease lease;
};

enum {
	PTNI_MEMORY_TRANSFER_MAX = PTNI_OP_BUFFER - 64 /* bytes of one batch */
};
#define PTNI_MEMORY_CALL_NS UINT64_C(5000000000)

/* A handle without a lease yet; its tag is to be named in a request (PTNI_TAG_NONE: unprotected). */
int ptni_memory_make(struct ptn_worker *worker, unsigned node, unsigned rights,
		     struct ptn_memory **memory_out);
uint32_t ptni_memory_tag(const struct ptn_memory *memory);
/* `granted`: a request that named the tag may have been granted; then the tag is lost. */
void ptni_memory_unmake(struct ptn_memory *memory, bool granted);
/* Send a request that is answered with struct ptni_memory_granted; a failure unmakes the handle. */
int ptni_memory_ask(struct ptn_memory *memory, void *request, size_t len_bytes,
		    struct ptn_memory **memory_out);
/* 0, -EACCES, -ERANGE: may it be asked for at all? */
int ptni_memory_check(struct ptn_memory *memory, uint64_t offset, uint64_t len_bytes,
		      unsigned right);
/* Run a batch of accesses that were checked, unless the lease is over. */
int ptni_memory_run(struct ptn_memory *memory, struct ptni_batch *batch);

#endif
