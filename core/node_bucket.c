/* SPDX-License-Identifier: MIT */
#include "core/node_bucket.h"

#include "core/base/clock.h"

#include <errno.h>
#include <patronus/error.h>

#define SECOND_NS UINT64_C(1000000000)
enum {
	BURST_MIN = 64,
	BURST_PER_SECOND = 10
};

static uint64_t burst_of(const struct ptni_bucket *bucket)
{
	uint64_t burst = bucket->rate_per_s / BURST_PER_SECOND;

	return (burst > BURST_MIN ? burst : BURST_MIN) * SECOND_NS;
}

void ptni_bucket_init(struct ptni_bucket *bucket, uint64_t rate_per_s, uint64_t now_ns)
{
	*bucket = (struct ptni_bucket){ .rate_per_s = rate_per_s,
					.filled_ns = now_ns,
					.refused_since_ns = now_ns };
	bucket->tokens = burst_of(bucket);
}

static void bucket_fill(struct ptni_bucket *bucket, uint64_t now_ns)
{
	uint64_t elapsed_ns = ptni_clock_since_ns(now_ns, bucket->filled_ns),
		 burst = burst_of(bucket);

	if (elapsed_ns > SECOND_NS)
		elapsed_ns = SECOND_NS;
	bucket->filled_ns = now_ns;
	bucket->tokens += elapsed_ns * bucket->rate_per_s;
	if (bucket->tokens > burst)
		bucket->tokens = burst;
}

int ptni_bucket_take(struct ptni_bucket *bucket, uint64_t now_ns)
{
	bucket_fill(bucket, now_ns);
	if (bucket->tokens >= SECOND_NS) {
		bucket->tokens -= SECOND_NS;
		return 0;
	}
	if (ptni_clock_since_ns(now_ns, bucket->refused_since_ns) > SECOND_NS) {
		bucket->refused_since_ns = now_ns;
		bucket->refused = 0;
	}
	return ++bucket->refused > bucket->rate_per_s ? -EBUSY : PTN_E_QUOTA;
}
