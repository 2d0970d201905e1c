/* SPDX-License-Identifier: MIT */
/* Grants as services make them: windows and reply of one call. */
#include "core/node_loop.h"

#include <assert.h>
#include <errno.h>
#include <patronus/error.h>

enum {
	RIGHTS = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
};

static struct ptni_node_call *call_of(struct ptni_node_lane *lane,
				      const struct ptni_message *request)
{
	size_t offset = (size_t)((const uint8_t *)request - lane->buffer);
	struct ptni_node_call *call;

	assert(offset / PTNI_MESSAGE_MAX < PTNI_LANE_RECVS);
	call = lane->slot[offset / PTNI_MESSAGE_MAX].call;
	assert(call && call->origin == lane && !call->answered);
	return call;
}

int ptni_node_reply(struct ptni_node_lane *lane, const struct ptni_message *request, int status,
		    void *reply, size_t len_bytes)
{
	ptni_node_call_answer(call_of(lane, request), status, reply, len_bytes);
	return 0;
}

int ptni_grant_begin(struct ptni_node_lane *lane, const struct ptni_message *request,
		     struct ptni_node_lease *lease, struct ptni_grant **grant_out)
{
	struct ptni_node_call *call = call_of(lane, request);

	call->grant = (struct ptni_grant){ .call = call, .lease = lease };
	*grant_out = &call->grant;
	return 0;
}

static int window_allowed(const struct ptni_grant *grant, uint64_t addr, uint64_t len_bytes,
			  uint32_t access)
{
	const struct ptn_node *node = grant->lease->session->node;
	uint64_t base = (uint64_t)(uintptr_t)node->region;
	uint32_t windows_max = ptni_node_worker_windows_max(grant->call->worker,
							    node->options.session_windows_max);

	if (!len_bytes || addr < base || len_bytes > node->region_len_bytes ||
	    addr - base > node->region_len_bytes - len_bytes || !access ||
	    access & ~(uint32_t)RIGHTS)
		return -EINVAL;
	if (grant->count == PTNI_GRANT_WINDOWS)
		return -E2BIG;
	if (grant->lease->state != PTNI_LEASE_OPEN || grant->call->orphan ||
	    grant->call->worker->closing)
		return PTN_E_LEASE_EXPIRED;
	if (grant->lease->session->window_count >= windows_max ||
	    grant->lease->session->mw_count + grant->count >= windows_max)
		return PTN_E_QUOTA;
	return 0;
}

int ptni_grant_window(struct ptni_grant *grant, uint64_t addr, uint64_t len_bytes, uint32_t access,
		      uint32_t tag, struct ptni_window_grant *place_in_reply)
{
	struct ptni_node_call *call = grant->call;
	struct ptni_node_window *window;
	int ret = window_allowed(grant, addr, len_bytes, access);

	if (!ret)
		ret = ptni_node_window_open(grant->lease, call->worker, addr, len_bytes, access,
					    tag, &window);
	if (ret)
		return ret;
	*place_in_reply = (struct ptni_window_grant){
		.addr = addr,
		.len_bytes = len_bytes,
		.tag = tag,
		.access = access,
	};
	window->call = call;
	cds_list_add_tail(&window->call_link, &call->windows);
	grant->place[grant->count++] = place_in_reply;
	return 0;
}

/* Where in the reply each window's key goes. Windows that were lost meanwhile make the call fail. */
static void places_note(struct ptni_grant *grant, const uint8_t *reply, size_t len_bytes)
{
	struct ptni_node_window *window;
	uint32_t i = 0;

	cds_list_for_each_entry(window, &grant->call->windows, call_link) {
		const uint8_t *place;

		while (grant->place[i]->tag != window->tag || grant->place[i]->addr != window->addr)
			i++;
		assert(i < grant->count);
		place = (const uint8_t *)grant->place[i++];
		assert(place >= reply &&
		       place + sizeof(struct ptni_window_grant) <= reply + len_bytes);
		window->place = (uint32_t)(place - reply);
	}
}

void ptni_grant_watch(struct ptni_grant *grant, void (*lost)(void *arg, uint64_t addr, uint64_t id),
		      void *arg, uint64_t addr, uint64_t id)
{
	grant->lost = lost;
	grant->lost_arg = arg;
	grant->lost_addr = addr;
	grant->lost_id = id;
}

int ptni_grant_reply(struct ptni_grant *grant, int status, void *reply, size_t len_bytes)
{
	struct ptni_node_call *call = grant->call;

	call->granted = grant->count;
	if (status) {
		grant->lost = NULL; /* the service knows */
		ptni_node_call_fail(call, status);
	} else {
		places_note(grant, reply, len_bytes);
		call->origin->node->info.grants++;
	}
	ptni_node_call_answer(call, status, reply, len_bytes);
	return 0;
}
