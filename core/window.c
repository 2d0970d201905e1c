/* SPDX-License-Identifier: MIT */
/*
 * Windows of a worker, by tag. The table grows in chunks and never moves, because callers keep
 * pointers; tags are re-used oldest first, so that a late message about a tag finds it free as long as
 * possible. Keys that arrive ahead of their grant (a spare's SHADOW may overtake the reply) are kept
 * with the address they are for and count only if the grant turns out to be for the same.
 */
#include "core/window.h"

#include "core/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct ptni_window_slot *slot_of(struct ptni_peer *peer, uint32_t tag)
{
	if (tag >= peer->windows)
		return NULL;
	return &peer->window_chunk[tag / PTNI_WINDOW_CHUNK][tag % PTNI_WINDOW_CHUNK];
}

static void fixed_window(struct ptni_peer *peer, struct ptni_window *window, uint64_t addr,
			 uint64_t len_bytes, uint32_t access)
{
	*window = (struct ptni_window){ .addr = addr,
					.len_bytes = len_bytes,
					.tag = UINT32_MAX,
					.access = access,
					.node = peer->session->node,
					.deadline_ns = &ptni_deadline_never };
}

/*
 * The page may be used past the session's deadline: whether the lease is still ours is just what a CAS
 * there finds out, and a fenced session's key is invalid before the page gets another owner.
 */
void ptni_window_init_peer(struct ptni_peer *peer)
{
	const struct ptni_welcome *welcome = &peer->session->welcome;

	fixed_window(peer, &peer->page, welcome->page_addr, sizeof(struct ptni_session_page),
		     IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC);
	fixed_window(peer, &peer->status, welcome->status_addr, sizeof(struct ptni_status_page),
		     IBV_ACCESS_REMOTE_READ);
	fixed_window(peer, &peer->region, welcome->region_addr, welcome->region_len_bytes,
		     IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC);
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		peer->region.rkey[i] = welcome->region_rkey;
}

void ptni_window_fini_peer(struct ptni_peer *peer)
{
	for (unsigned i = 0; i < PTNI_WINDOW_CHUNKS; i++)
		free(peer->window_chunk[i]);
}

static void free_push(struct ptni_peer *peer, struct ptni_window_slot *slot)
{
	slot->next_free = NULL;
	if (peer->window_free)
		peer->window_free_last->next_free = slot;
	else
		peer->window_free = slot;
	peer->window_free_last = slot;
}

static int grow(struct ptn_worker *worker, struct ptni_peer *peer)
{
	unsigned chunk = peer->windows / PTNI_WINDOW_CHUNK;
	struct ptni_window_slot *slots;

	if (chunk == PTNI_WINDOW_CHUNKS)
		return -EDQUOT;
	slots = calloc(PTNI_WINDOW_CHUNK, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	peer->window_chunk[chunk] = slots;
	for (unsigned i = 0; i < PTNI_WINDOW_CHUNK; i++) {
		slots[i].worker = worker;
		slots[i].window.tag = peer->windows + i;
		slots[i].window.node = peer->session->node;
		free_push(peer, &slots[i]);
	}
	peer->windows += PTNI_WINDOW_CHUNK;
	return 0;
}

int ptni_window_reserve(struct ptn_worker *worker, unsigned node, struct ptni_window **window_out)
{
	struct ptni_peer *peer = worker->peer[node];
	struct ptni_window_slot *slot;
	int ret;

	if (!peer->window_free && (ret = grow(worker, peer)))
		return ptni_worker_fail(worker, ret, "reserving a window");
	slot = peer->window_free;
	peer->window_free = slot->next_free;
	slot->reserved = true;
	slot->window.deadline_ns = &ptni_deadline_never;
	*window_out = &slot->window;
	return 0;
}

void ptni_window_release(struct ptni_window *window)
{
	struct ptni_window_slot *slot = (struct ptni_window_slot *)window;

	memset(window->rkey, 0, sizeof(window->rkey));
	memset(slot->shadow_addr, 0, sizeof(slot->shadow_addr));
	window->len_bytes = 0;
	slot->reserved = false;
	slot->accepted = false;
	free_push(slot->worker->peer[window->node], slot);
}

int ptni_window_accept(struct ptni_window *window, const struct ptni_call *call,
		       const struct ptni_window_grant *grant, const _Atomic uint64_t *deadline_ns)
{
	struct ptni_window_slot *slot = (struct ptni_window_slot *)window;
	struct ptni_lane *lane = &slot->worker->peer[window->node]->lane[call->lane];
	enum ptni_lane_state state = ptni_lane_state(lane);

	if (grant->tag != window->tag || !grant->rkey)
		return -EBADMSG;
	window->addr = grant->addr;
	window->len_bytes = grant->len_bytes;
	window->access = grant->access;
	window->deadline_ns = deadline_ns;
	slot->accepted = true;
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		if (slot->shadow_addr[i] != grant->addr)
			window->rkey[i] = 0;
	/* A lane that broke meanwhile has other keys by now, or will. */
	if ((state == PTNI_LANE_READY || state == PTNI_LANE_CONNECTED) &&
	    (uint16_t)lane->generation == call->lane_generation)
		window->rkey[call->lane] = grant->rkey;
	return 0;
}

void ptni_window_shadow(struct ptni_lane *lane, const struct ptni_shadow *message)
{
	struct ptni_peer *peer = lane->worker->peer[lane->node];

	if (message->head.len_bytes < sizeof(*message) || message->count > PTNI_SHADOW_MAX ||
	    message->head.len_bytes !=
		    sizeof(*message) + message->count * sizeof(message->window[0])) {
		PTNI_COUNT(lane->worker->counters, rpc_malformed);
		return;
	}
	for (uint32_t i = 0; i < message->count; i++) {
		const struct ptni_window_grant *grant = &message->window[i];
		struct ptni_window_slot *slot = slot_of(peer, grant->tag);

		if (!slot || !slot->reserved ||
		    (slot->accepted && (slot->window.addr != grant->addr ||
					slot->window.len_bytes != grant->len_bytes)))
			continue; /* released meanwhile */
		slot->window.rkey[lane->index] = grant->rkey;
		slot->shadow_addr[lane->index] = grant->addr;
	}
}

void ptni_window_forget_lane(struct ptni_peer *peer, unsigned lane_index)
{
	peer->page.rkey[lane_index] = 0;
	peer->status.rkey[lane_index] = 0;
	for (uint32_t tag = 0; tag < peer->windows; tag++) {
		struct ptni_window_slot *slot = slot_of(peer, tag);

		slot->window.rkey[lane_index] = 0;
		slot->shadow_addr[lane_index] = 0;
	}
}

const struct ptni_window *ptni_window_page(struct ptn_worker *worker, unsigned node)
{
	return &worker->peer[node]->page;
}

const struct ptni_window *ptni_window_status(struct ptn_worker *worker, unsigned node)
{
	return &worker->peer[node]->status;
}

const struct ptni_window *ptni_window_region(struct ptn_worker *worker, unsigned node)
{
	return worker->client->options.unprotected ? &worker->peer[node]->region : NULL;
}
