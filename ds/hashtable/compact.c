/* SPDX-License-Identifier: MIT */
/* Giving memory back on request: the allocator does it (alloc/trim.c), and asks and moves by scan.c. */
#include "ds/hashtable/table.h"

#define AWAIT_NS UINT64_C(10000000) /* two epochs of most nodes */

enum {
	BUDGET_MIN = PTNI_SCAN_MAX,
};

/* What one node fails at does not keep the others from it. */
static int spaces_compact(struct ptn_worker *worker, struct ptn_hash *hash, uint32_t *budget,
			  struct ptni_space **more_out)
{
	int first_error = 0;

	*more_out = NULL;
	for (unsigned i = 0; i < hash->node_count; i++) {
		int ret = ptni_space_compact(worker, hash->space[i], budget);

		if (ret > 0)
			*more_out = hash->space[i];
		else if (ret && !first_error)
			first_error = ret;
	}
	return first_error;
}

int ptn_hash_compact(struct ptn_worker *worker, struct ptn_hash *hash, size_t budget)
{
	uint32_t had = budget < BUDGET_MIN ? BUDGET_MIN :
		       budget > INT32_MAX  ? INT32_MAX :
					     (uint32_t)budget;
	uint32_t left = had;
	struct ptni_space *more;
	int ret = spaces_compact(worker, hash, &left, &more);

	if (ret)
		return ptni_worker_fail(worker, ret, "compacting a table");
	if (more && left == had)
		ptni_space_await(worker, more, AWAIT_NS);
	return more != NULL;
}
