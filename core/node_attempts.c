/* SPDX-License-Identifier: MIT */
#include "core/node_attempts.h"

#include "core/base/clock.h"

#include <stdbool.h>
#include <stddef.h>

static bool forgotten(const struct ptni_attempts_peer *peer, uint64_t now_ns)
{
	return !peer->wrong ||
	       ptni_clock_since_ns(now_ns, peer->last_ns) >= PTNI_ATTEMPTS_FORGET_NS;
}

static struct ptni_attempts_peer *find(const struct ptni_attempts *attempts, int32_t pid)
{
	for (int i = 0; i < PTNI_ATTEMPTS_PEERS; i++)
		if (attempts->peer[i].wrong && attempts->peer[i].pid == pid)
			return (struct ptni_attempts_peer *)&attempts->peer[i];
	return NULL;
}

/* A free place, or that of the one heard of least lately among those that are listened to. */
static struct ptni_attempts_peer *place(struct ptni_attempts *attempts, uint64_t now_ns)
{
	struct ptni_attempts_peer *best = NULL;

	for (int i = 0; i < PTNI_ATTEMPTS_PEERS; i++) {
		struct ptni_attempts_peer *peer = &attempts->peer[i];

		if (forgotten(peer, now_ns))
			return peer;
		if (peer->until_ns <= now_ns && (!best || peer->last_ns < best->last_ns))
			best = peer;
	}
	return best;
}

static bool full(const struct ptni_attempts *attempts, uint64_t now_ns)
{
	for (int i = 0; i < PTNI_ATTEMPTS_PEERS; i++)
		if (forgotten(&attempts->peer[i], now_ns) || attempts->peer[i].until_ns <= now_ns)
			return false;
	return true;
}

uint64_t ptni_attempts_blocked_ns(const struct ptni_attempts *attempts, int32_t pid,
				  uint64_t now_ns)
{
	const struct ptni_attempts_peer *peer = find(attempts, pid);

	if (!peer && full(attempts, now_ns))
		peer = &attempts->peer[PTNI_ATTEMPTS_PEERS];
	return peer && peer->until_ns > now_ns ? peer->until_ns - now_ns : 0;
}

static uint64_t block_of(uint32_t wrong)
{
	uint32_t doublings = wrong - PTNI_ATTEMPTS_FREE - 1;
	uint64_t block_ns = PTNI_ATTEMPTS_BLOCK_MIN_NS << (doublings < 16 ? doublings : 16);

	return block_ns < PTNI_ATTEMPTS_BLOCK_MAX_NS ? block_ns : PTNI_ATTEMPTS_BLOCK_MAX_NS;
}

uint64_t ptni_attempts_wrong(struct ptni_attempts *attempts, int32_t pid, uint64_t now_ns)
{
	struct ptni_attempts_peer *peer = find(attempts, pid);

	if (!peer) {
		peer = place(attempts, now_ns);
		if (peer)
			*peer = (struct ptni_attempts_peer){ .pid = pid };
		else
			peer = &attempts->peer[PTNI_ATTEMPTS_PEERS];
	}
	if (forgotten(peer, now_ns))
		peer->wrong = 0;
	peer->last_ns = now_ns;
	peer->wrong += peer->wrong < UINT32_MAX;
	if (peer->wrong <= PTNI_ATTEMPTS_FREE)
		return 0;
	peer->until_ns = now_ns + block_of(peer->wrong);
	return peer->until_ns - now_ns;
}

void ptni_attempts_right(struct ptni_attempts *attempts, int32_t pid)
{
	struct ptni_attempts_peer *peer = find(attempts, pid);

	if (peer)
		*peer = (struct ptni_attempts_peer){ 0 };
}
