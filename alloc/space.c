/* SPDX-License-Identifier: MIT */
/*
 * Handles on spaces. One per client, name and node; the node knows one user per session.
 *
 * The client dies or sleeps at SPACE_OPEN, SPACE_DROP or SPACE_INFO: see alloc/service_space.c; nothing
 * half done is left. A handle is only memory of this process.
 */
#include "alloc/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	CALL_TIMEOUT_S = 5
};
#define CALL_TIMEOUT_NS (UINT64_C(1000000000) * CALL_TIMEOUT_S)

static char state_key;

/* --- the client's state ----------------------------------------------------------------------- */

static void state_close(void *value)
{
	struct ptni_alloc_state *state = value;
	struct ptni_space *space, *next_space;
	struct ptni_closing *closing, *next;

	ptni_client_hook_remove(state->client, ptni_board_hook, state);
	cds_list_for_each_entry_safe(space, next_space, &state->spaces, link)
		ptni_closing_begin(state, space);
	cds_list_for_each_entry_safe(closing, next, &state->closings, link)
		ptni_closing_free(closing);
	pthread_mutex_destroy(&state->lock);
	free(state);
}

int ptni_alloc_state(struct ptn_client *client, struct ptni_alloc_state **state_out)
{
	static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
	struct ptni_alloc_state *state;
	int ret = 0;

	pthread_mutex_lock(&making);
	state = ptni_client_attachment(client, &state_key);
	if (!state) {
		state = calloc(1, sizeof(*state));
		ret = state ? 0 : -ENOMEM;
	}
	if (state && !state->client) {
		state->client = client;
		pthread_mutex_init(&state->lock, NULL);
		CDS_INIT_LIST_HEAD(&state->spaces);
		CDS_INIT_LIST_HEAD(&state->closings);
		ret = ptni_client_hook_add(client, ptni_board_hook, state);
		if (!ret)
			ret = ptni_client_attach(client, &state_key, state, state_close);
		if (!ret) /* without it the session's end does what is left */
			(void)ptni_client_finisher_add(client, ptni_closings_finish, state);
		if (ret) {
			ptni_client_hook_remove(client, ptni_board_hook, state);
			pthread_mutex_destroy(&state->lock);
			free(state);
		}
	}
	pthread_mutex_unlock(&making);
	if (!ret)
		*state_out = state;
	return ret;
}

/* --- open ----------------------------------------------------------------------------------- */

static struct ptni_space *find(struct ptni_alloc_state *state, unsigned node, const char *name)
{
	struct ptni_space *space;

	cds_list_for_each_entry(space, &state->spaces, link)
		if (space->node == node && !strcmp(space->name, name))
			return space;
	return NULL;
}

static int space_make(struct ptn_client *client, unsigned node, const char *name,
		      const struct ptni_space_opened *reply, struct ptni_space **space_out)
{
	const struct ptni_welcome *welcome = ptni_client_node(client, node);
	struct ptni_space *space = calloc(1, sizeof(*space));

	if (!space)
		return -ENOMEM;
	space->client = client;
	space->node = (uint16_t)node;
	space->region = welcome->region_addr;
	space->extent_shift = welcome->extent_shift;
	space->extents = (uint32_t)(welcome->region_len_bytes >> welcome->extent_shift);
	space->id = reply->space;
	space->opens = reply->opens;
	space->root = reply->root_addr;
	space->board = reply->board_addr;
	space->refs = 1;
	memcpy(space->name, name, strlen(name) + 1);
	space->params.kind = reply->kind;
	space->params.version = reply->version;
	memcpy(space->params.word, reply->word, sizeof(reply->word));
	for (unsigned i = 0; i < PTNI_BLOCK_CLASSES; i++)
		ptni_slab_layout(i, space->extent_shift, &space->layout[i]);
	space->closed = calloc(space->extents, sizeof(*space->closed));
	if (!space->closed) {
		free(space);
		return -ENOMEM;
	}
	*space_out = space;
	return 0;
}

static int open_call(struct ptn_worker *worker, unsigned node, const char *name, unsigned flags,
		     const struct ptni_space_params *params, struct ptni_space_opened *reply_out)
{
	struct ptni_space_open_request request = { .head.op = PTNI_OP_SPACE_OPEN, .flags = flags };
	struct ptni_call call;
	int ret;

	memcpy(request.name, name, strlen(name) + 1);
	request.kind = params->kind;
	request.version = params->version;
	memcpy(request.word, params->word, sizeof(request.word));
	ret = ptni_call_start(&call, worker, node, &request, sizeof(request), CALL_TIMEOUT_NS);
	if (!ret)
		ret = ptni_call_wait(&call);
	if (!ret && call.reply_len_bytes != sizeof(*reply_out))
		ret = -EBADMSG;
	if (ret)
		return ptni_worker_fail(worker, ret, "opening a space");
	memcpy(reply_out, call.reply, sizeof(*reply_out));
	return 0;
}

/* A handle that is there already: another reference, if the caller may have it. Lock held. */
static int share(struct ptni_space *space, unsigned flags, const struct ptni_space_params *params)
{
	if (flags & PTNI_SPACE_EXCLUSIVE)
		return -EEXIST; /* also when its end is still to come: it exists on the node */
	if (params->kind != space->params.kind)
		return -EINVAL;
	space->refs++;
	return 0;
}

/* File the new handle, or use the one that another worker filed meanwhile. */
static int publish(struct ptni_alloc_state *state, struct ptni_space **space)
{
	struct ptni_space *other;

	pthread_mutex_lock(&state->lock);
	other = find(state, (*space)->node, (*space)->name);
	if (other) {
		other->refs++;
		if ((*space)->id == other->id && (*space)->opens > other->opens)
			other->opens = (*space)->opens;
		free((*space)->closed);
		free(*space);
		*space = other;
	} else {
		cds_list_add(&(*space)->link, &state->spaces);
	}
	pthread_mutex_unlock(&state->lock);
	return 0;
}

int ptni_space_open(struct ptn_worker *worker, unsigned node, const char *name, unsigned flags,
		    struct ptni_space_params *params, struct ptni_space **space_out)
{
	struct ptn_client *client = ptni_worker_client(worker);
	struct ptni_alloc_state *state;
	struct ptni_space_opened reply;
	struct ptni_space *space;
	int ret;

	if (!name || !name[0] || strlen(name) >= PTNI_SPACE_NAME_MAX ||
	    node >= ptni_client_node_count(client))
		return -EINVAL;
	ret = ptni_alloc_state(client, &state);
	if (ret)
		return ret;
	pthread_mutex_lock(&state->lock);
	space = find(state, node, name);
	if (space)
		ret = share(space, flags, params);
	pthread_mutex_unlock(&state->lock);
	if (!space) {
		ret = open_call(worker, node, name, flags, params, &reply);
		if (!ret)
			ret = space_make(client, node, name, &reply, &space);
		if (!ret)
			ret = publish(state, &space);
	}
	if (ret)
		return ret;
	*params = space->params;
	*space_out = space;
	return 0;
}

void ptni_space_close(struct ptni_space *space)
{
	struct ptni_alloc_state *state;

	if (!space || ptni_alloc_state(space->client, &state))
		return;
	pthread_mutex_lock(&state->lock);
	if (--space->refs == 0) /* the keeper's hook does the rest: let it run soon */
		ptni_client_want_epoch(space->client, space->node, 1);
	pthread_mutex_unlock(&state->lock);
}

/* --- the rest ------------------------------------------------------------------------------- */

/* The node has refused to drop it: the handle goes on as if nobody had tried, unless its end has begun. */
static void name_again(struct ptni_alloc_state *state, unsigned node, uint32_t id, const char *name)
{
	struct ptni_space *space;

	pthread_mutex_lock(&state->lock);
	if (!find(state, node, name))
		cds_list_for_each_entry(space, &state->spaces, link)
			if (space->node == node && space->id == id && !space->name[0])
				memcpy(space->name, name, strlen(name) + 1);
	pthread_mutex_unlock(&state->lock);
}

int ptni_space_drop(struct ptn_worker *worker, unsigned node, const char *name)
{
	struct ptn_client *client = ptni_worker_client(worker);
	struct ptni_space_drop_request request = { .head.op = PTNI_OP_SPACE_DROP };
	struct ptni_alloc_state *state;
	struct ptni_space *space;
	struct ptni_call call;
	uint32_t id = 0;
	int ret;

	if (!name || !name[0] || strlen(name) >= PTNI_SPACE_NAME_MAX ||
	    node >= ptni_client_node_count(client))
		return -EINVAL;
	ret = ptni_alloc_state(client, &state);
	if (ret)
		return ret;
	pthread_mutex_lock(&state->lock);
	space = find(state, node, name);
	ret = space && space->refs ? -EBUSY : 0;
	if (space && !ret) {
		id = space->id;
		space->name[0] = 0; /* closed, its end to come: nobody may find it again */
	}
	pthread_mutex_unlock(&state->lock);
	memcpy(request.name, name, strlen(name) + 1);
	if (!ret)
		ret = ptni_call_start(&call, worker, node, &request, sizeof(request),
				      CALL_TIMEOUT_NS);
	if (!ret)
		ret = ptni_call_wait(&call);
	if (ret == -EBUSY && id)
		name_again(state, node, id, name);
	return ret ? ptni_worker_fail(worker, ret, "dropping a space") : 0;
}

uint64_t ptni_space_root(const struct ptni_space *space)
{
	return space->root;
}

unsigned ptni_space_node(const struct ptni_space *space)
{
	return space->node;
}

int ptni_space_set_live(struct ptni_space *space, ptni_block_live_fn live, void *arg)
{
	void *none = NULL;

	if (!live) {
		atomic_store_explicit(&space->live, NULL, memory_order_release);
		atomic_store_explicit(&space->live_arg, NULL, memory_order_release);
		return 0;
	}
	if (!atomic_compare_exchange_strong(&space->live_arg, &none, arg))
		return -EBUSY;
	atomic_store_explicit(&space->live, live, memory_order_release);
	return 0;
}

void ptni_space_set_move(struct ptni_space *space, ptni_block_move_fn move)
{
	atomic_store_explicit(&space->move, move, memory_order_release);
}

void ptni_space_set_scan(struct ptni_space *space, ptni_block_scan_fn scan)
{
	atomic_store_explicit(&space->scan, scan, memory_order_release);
}

int ptni_space_held_bytes(struct ptn_worker *worker, struct ptni_space *space, uint64_t *bytes_out)
{
	struct ptni_space_request request = { .head.op = PTNI_OP_SPACE_INFO, .space = space->id };
	struct ptni_space_info reply;
	struct ptni_call call;
	int ret;

	ret = ptni_call_start(&call, worker, space->node, &request, sizeof(request),
			      CALL_TIMEOUT_NS);
	if (!ret)
		ret = ptni_call_wait(&call);
	if (!ret && call.reply_len_bytes != sizeof(reply))
		ret = -EBADMSG;
	if (ret)
		return ptni_worker_fail(worker, ret, "asking what a space holds");
	memcpy(&reply, call.reply, sizeof(reply));
	*bytes_out = reply.chunk_bytes + (1 << PTNI_PAGE_SHIFT);
	return 0;
}
