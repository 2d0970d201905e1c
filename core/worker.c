/* SPDX-License-Identifier: MIT */
#include "core/worker.h"

#include "core/base/log.h"
#include "core/call.h"
#include "core/client.h"
#include "core/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	INLINE_BYTES_MAX = 64,
	CLOSE_NS = 1000000000, /* how long to wait for the node to end a worker's lanes */
};

/* --- opening ---------------------------------------------------------------------------------- */

static size_t memory_of_lanes(const struct ptn_client *client)
{
	return (size_t)client->node_count * client->lanes * PTNI_LANE_MEMORY;
}

static int memory_open(struct ptn_worker *worker)
{
	struct ptn_client *client = worker->client;
	const struct ptni_fabric_ops *ops = client->fabric->ops;
	size_t slots = (size_t)PTNI_OPS_MAX * PTNI_OP_BUFFER;
	void *memory;
	int ret;

	worker->memory_bytes = slots + PTNI_OP_BUFFER_LARGE + memory_of_lanes(client);
	ret = ops->memory_alloc(client->fabric, worker->memory_bytes, &memory);
	if (ret)
		return ret;
	worker->memory = memory;
	worker->large = worker->memory + slots;
	ret = ops->mr_register(client->pd, memory, worker->memory_bytes, IBV_ACCESS_LOCAL_WRITE,
			       &worker->mr);
	if (!ret)
		worker->lkey = worker->mr->lkey;
	return ret;
}

static int queue_open(struct ptn_worker *worker)
{
	struct ptn_client *client = worker->client;
	const struct ptni_fabric_ops *ops = client->fabric->ops;
	struct ptni_fabric_limits limits;
	uint64_t entries = (uint64_t)client->node_count * client->lanes *
			   (PTNI_LANE_SQ_DEPTH + PTNI_LANE_RECVS);

	ops->limits(client->fabric, &limits);
	worker->inline_bytes = limits.inline_max < INLINE_BYTES_MAX ? limits.inline_max :
								      INLINE_BYTES_MAX;
	if (entries > limits.cqe_max) {
		PTNI_LOG(WARN, core,
			 "%u lanes to each of %u nodes need %llu completions, the device "
			 "has %u: use fewer spare lanes or nodes",
			 client->lanes, client->node_count, (unsigned long long)entries,
			 limits.cqe_max);
		return -ENOSPC;
	}
	return ops->cq_open(client->fabric, (uint32_t)entries, &worker->cq);
}

static int peer_open(struct ptn_worker *worker, unsigned node)
{
	struct ptni_session *session = worker->client->session[node];
	uint8_t *memory = worker->large + PTNI_OP_BUFFER_LARGE +
			  (size_t)node * worker->lanes * PTNI_LANE_MEMORY;
	struct ptni_peer *peer = calloc(1, sizeof(*peer));
	int ret = 0;

	if (!peer)
		return -ENOMEM;
	worker->peer[node] = peer;
	peer->session = session;
	ptni_window_init_peer(peer);
	for (unsigned i = 0; !ret && i < worker->lanes; i++)
		ret = ptni_lane_init(&peer->lane[i], worker, session, i,
				     memory + (size_t)i * PTNI_LANE_MEMORY);
	if (ret)
		return ret;
	pthread_mutex_lock(&session->control);
	for (unsigned i = 0; i < worker->lanes; i++)
		session->lane[worker->index][i] = &peer->lane[i];
	pthread_mutex_unlock(&session->control);
	return 0;
}

static bool all_ready(struct ptn_worker *worker)
{
	for (unsigned node = 0; node < worker->client->node_count; node++)
		for (unsigned i = 0; i < worker->lanes; i++)
			if (!ptni_session_error(worker->client->session[node]) &&
			    ptni_lane_state(&worker->peer[node]->lane[i]) != PTNI_LANE_READY)
				return false;
	return true;
}

/* Why a lane could not be opened, unless that may pass. */
static int refusal(struct ptn_worker *worker)
{
	for (unsigned node = 0; node < worker->client->node_count; node++)
		for (unsigned i = 0; i < worker->lanes; i++) {
			int failure = atomic_load_explicit(&worker->peer[node]->lane[i].failure,
							   memory_order_acquire);

			if (failure && failure != -EBUSY && failure != -EAGAIN)
				return failure;
		}
	return 0;
}

static int lanes_open(struct ptn_worker *worker, uint64_t deadline_ns)
{
	struct ptn_client *client = worker->client;
	struct ptni_wait wait;
	int ret;

	ptni_wait_begin(&wait, worker, deadline_ns);
	while (!all_ready(worker)) {
		for (unsigned node = 0; node < client->node_count; node++)
			if (!ptni_session_error(client->session[node]))
				ptni_session_drive(client->session[node], worker);
		if ((ret = refusal(worker)))
			return ret;
		if (ptni_wait_turn(&wait))
			return -ETIMEDOUT;
	}
	/* nodes that are lost go without: the others' part of a table can be worked on */
	return atomic_load_explicit(&client->error, memory_order_acquire);
}

static int parts_open(struct ptn_worker *worker, uint64_t deadline_ns)
{
	int ret = memory_open(worker);

	if (!ret)
		ret = queue_open(worker);
	for (unsigned node = 0; !ret && node < worker->client->node_count; node++)
		ret = peer_open(worker, node);
	if (!ret)
		ret = lanes_open(worker, deadline_ns);
	return ret;
}

int ptni_worker_create(struct ptn_client *client, uint32_t index, uint64_t deadline_ns,
		       struct ptn_worker **worker_out)
{
	struct ptn_worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) & ~(size_t)63);
	int ret;

	if (!worker)
		return -ENOMEM;
	memset(worker, 0, sizeof(*worker));
	worker->client = client;
	worker->clock = client->clock;
	worker->index = index;
	worker->lanes = client->lanes;
	worker->slots_free = UINT64_MAX;
	worker->large_slot = -1;
	worker->op_timeout_ns = client->options.op_timeout_ns;
	worker->pin_fenced = client->pin_fenced;
	worker->counters = &worker->counters_body;
	ptni_rng_seed_stream(&worker->rng, client->seed, index);
	worker->peer = calloc(client->node_count, sizeof(worker->peer[0]));
	ret = worker->peer ? parts_open(worker, deadline_ns) : -ENOMEM;
	if (ret) {
		ptni_worker_destroy(worker);
		return ret;
	}
	*worker_out = worker;
	return 0;
}

static unsigned worker_take_index(struct ptn_client *client)
{
	unsigned index = 0;

	pthread_mutex_lock(&client->lock);
	for (unsigned i = PTNI_KEEPER_WORKER + 1; i < client->workers_max && !index; i++)
		if (!client->worker_taken[i])
			index = i;
	if (index)
		client->worker_taken[index] = true;
	pthread_mutex_unlock(&client->lock);
	return index;
}

static void worker_publish(struct ptn_client *client, unsigned index, struct ptn_worker *worker)
{
	pthread_mutex_lock(&client->lock);
	client->worker[index] = worker;
	client->worker_taken[index] = worker != NULL;
	pthread_mutex_unlock(&client->lock);
}

int ptn_worker_open(struct ptn_client *client, struct ptn_worker **worker_out)
{
	struct ptn_worker *worker;
	unsigned index;
	int ret;

	if (!client || !worker_out)
		return -EINVAL;
	index = worker_take_index(client);
	if (!index)
		return PTN_E_QUOTA;
	ret = ptni_worker_create(
		client, index, ptni_clock_read(client->clock) + client->options.connect_timeout_ns,
		&worker);
	worker_publish(client, index, ret ? NULL : worker);
	if (!ret)
		*worker_out = worker;
	return ret;
}

/* --- closing ---------------------------------------------------------------------------------- */

/* Ask the node to end all lanes of this worker, and wait until it has. */
static void lanes_end(struct ptn_worker *worker, struct ptni_session *session)
{
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE,
					  .worker = worker->index,
					  .lane = PTNI_LANE_ALL };
	uint64_t end_ns = ptni_worker_clock(worker) + CLOSE_NS;
	bool sent = false, closing = true;
	struct ptni_wait wait;

	/* From here on nobody steps them: none is opened behind the message that ends them all. */
	pthread_mutex_lock(&session->control);
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		session->lane[worker->index][i] = NULL;
	session->worker_closing[worker->index] = true;
	pthread_mutex_unlock(&session->control);
	ptni_wait_begin(&wait, worker, end_ns);
	while (closing && !ptni_session_error(session)) {
		pthread_mutex_lock(&session->control);
		if (!sent) {
			session->worker_closing[worker->index] = true;
			sent = !ptni_session_send(session, &message, sizeof(message));
		}
		ptni_session_pump(session);
		closing = session->worker_closing[worker->index];
		pthread_mutex_unlock(&session->control);
		if (closing && ptni_wait_turn(&wait))
			break;
	}
}

static void peer_close(struct ptn_worker *worker, struct ptni_peer *peer)
{
	lanes_end(worker, peer->session);
	while (peer->calls)
		ptni_call_cancel(peer->calls);
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		ptni_lane_fini(&peer->lane[i]);
	ptni_window_fini_peer(peer);
	worker->peer[peer->session->node] = NULL; /* while we wait for the next one's node */
	free(peer);
}

static void attachments_close(struct ptn_worker *worker)
{
	for (unsigned i = PTNI_ATTACHMENTS_MAX; i-- > 0;) {
		struct ptni_attachment *attachment = &worker->attachment[i];

		if (attachment->key && attachment->close)
			attachment->close(attachment->value);
		attachment->key = NULL;
	}
}

void ptni_worker_destroy(struct ptn_worker *worker)
{
	const struct ptni_fabric_ops *ops = worker->client->fabric->ops;

	attachments_close(worker);
	for (unsigned node = 0; worker->peer && node < worker->client->node_count; node++)
		if (worker->peer[node])
			peer_close(worker, worker->peer[node]);
	if (worker->cq)
		(void)ops->cq_close(worker->cq);
	if (worker->mr)
		(void)ops->mr_deregister(worker->mr);
	if (worker->memory)
		ops->memory_free(worker->client->fabric, worker->memory, worker->memory_bytes);
	if (worker->fibers && ptni_fiber_pool_close(worker->fibers)) {
		ptni_fiber_pool_abandon(worker->fibers);
		(void)ptni_fiber_pool_close(worker->fibers);
	}
	free(worker->peer);
	free(worker);
}

void ptn_worker_close(struct ptn_worker *worker)
{
	struct ptn_client *client;
	unsigned index;

	if (!worker)
		return;
	client = worker->client;
	index = worker->index;
	pthread_mutex_lock(&client->lock);
	client->worker[index] = NULL; /* nobody waits for its pins from here on */
	pthread_mutex_unlock(&client->lock);
	ptni_worker_destroy(worker);
	worker_publish(client, index, NULL);
}

void ptni_worker_chores(struct ptn_worker *worker)
{
	/* acquired: what control flagged before is seen below, what it flags later comes round again */
	(void)atomic_exchange_explicit(&worker->chores, false, memory_order_acquire);
	for (unsigned node = 0; node < worker->client->node_count; node++)
		for (unsigned i = 0; worker->peer[node] && i < worker->lanes; i++)
			ptni_lane_chore(&worker->peer[node]->lane[i]);
}

/* --- looking at it ------------------------------------------------------------------------------ */

void ptn_worker_counters(struct ptn_worker *worker, struct ptn_counters *counters_out)
{
	ptni_counters_snapshot(worker->counters, counters_out);
}

void ptn_worker_cause(const struct ptn_worker *worker, struct ptn_cause *cause_out)
{
	*cause_out = worker->cause;
}

int ptni_worker_fail(struct ptn_worker *worker, int code, const char *where)
{
	worker->cause = (struct ptn_cause){ .code = code, .where = where };
	return code;
}

struct ptn_client *ptni_worker_client(struct ptn_worker *worker)
{
	return worker->client;
}

uint32_t ptni_worker_index(const struct ptn_worker *worker)
{
	return worker->index;
}

struct ptni_counters *ptni_worker_counters(struct ptn_worker *worker)
{
	return worker->counters;
}

struct ptni_rng *ptni_worker_rng(struct ptn_worker *worker)
{
	return &worker->rng;
}

uint64_t ptni_worker_now_ns(struct ptn_worker *worker)
{
	return ptni_worker_clock(worker);
}

/* --- attachments -------------------------------------------------------------------------------- */

void *ptni_attachment_find(const struct ptni_attachment *table, const void *key)
{
	for (unsigned i = 0; i < PTNI_ATTACHMENTS_MAX; i++)
		if (table[i].key == key)
			return table[i].value;
	return NULL;
}

int ptni_attachment_add(struct ptni_attachment *table, const void *key, void *value,
			void (*close)(void *))
{
	for (unsigned i = 0; i < PTNI_ATTACHMENTS_MAX; i++) {
		if (table[i].key == key)
			return -EEXIST;
		if (table[i].key)
			continue;
		table[i] = (struct ptni_attachment){ .key = key, .value = value, .close = close };
		return 0;
	}
	return -ENOSPC;
}

void *ptni_worker_attachment(struct ptn_worker *worker, const void *key)
{
	return ptni_attachment_find(worker->attachment, key);
}

int ptni_worker_attach(struct ptn_worker *worker, const void *key, void *value,
		       void (*close)(void *))
{
	return ptni_attachment_add(worker->attachment, key, value, close);
}
