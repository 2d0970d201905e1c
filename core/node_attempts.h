/* SPDX-License-Identifier: MIT */
/*
 * Wrong credentials, counted by the process that presents them.
 *
 *   wrong 1..ATTEMPTS_FREE   refused, nothing else
 *   each one more            the process is not listened to for a while: PTNI_ATTEMPTS_BLOCK_MIN_NS,
 *                            twice that, ... up to PTNI_ATTEMPTS_BLOCK_MAX_NS
 *   right, or quiet for PTNI_ATTEMPTS_FORGET_NS: it starts anew
 *
 * 1. While a process is not listened to, its credentials are not looked at: it learns nothing, right or wrong.
 * 2. No other process notices, as long as fewer than PTNI_ATTEMPTS_PEERS misbehave at once; those beyond share
 *    one record, and with it the block.
 * 3. Who cannot be told apart (a channel that does not know its process, or clients in the node's own) is
 *    one process.
 */
#ifndef PTNI_NODE_ATTEMPTS_H
#define PTNI_NODE_ATTEMPTS_H

#include <stdint.h>

enum {
	PTNI_ATTEMPTS_PEERS = 64,
	PTNI_ATTEMPTS_FREE = 8,
};
#define PTNI_ATTEMPTS_BLOCK_MIN_NS UINT64_C(100000000)
#define PTNI_ATTEMPTS_BLOCK_MAX_NS UINT64_C(10000000000)
#define PTNI_ATTEMPTS_FORGET_NS    UINT64_C(60000000000)

struct ptni_attempts {
	struct ptni_attempts_peer {
		int32_t pid;
		uint32_t wrong; /* 0: free */
		uint64_t last_ns, until_ns;
	} peer[PTNI_ATTEMPTS_PEERS + 1]; /* the last one: whoever finds no place */
};

/* How long this process is still not listened to, in ns; 0: it is. */
uint64_t ptni_attempts_blocked_ns(const struct ptni_attempts *attempts, int32_t pid,
				  uint64_t now_ns);
/* It presented wrong ones. Returns for how long it is not listened to from now on, in ns. */
uint64_t ptni_attempts_wrong(struct ptni_attempts *attempts, int32_t pid, uint64_t now_ns);
/* It presented the right ones. */
void ptni_attempts_right(struct ptni_attempts *attempts, int32_t pid);

#endif
