/* SPDX-License-Identifier: MIT */
/*
 * Requests per second: a bucket that fills at the rate allowed and holds a tenth of a second's worth.
 */
#ifndef PTNI_NODE_BUCKET_H
#define PTNI_NODE_BUCKET_H

#include <stdint.h>

struct ptni_bucket {
	uint64_t rate_per_s;
	uint64_t filled_ns;
	uint64_t tokens; /* in 1e-9 requests */
	uint64_t refused, refused_since_ns;
};

void ptni_bucket_init(struct ptni_bucket *bucket, uint64_t rate_per_s, uint64_t now_ns);
/* 0, PTN_E_QUOTA: too many; -EBUSY: within a second as many were refused as are allowed: a flood. */
int ptni_bucket_take(struct ptni_bucket *bucket, uint64_t now_ns);

#endif
