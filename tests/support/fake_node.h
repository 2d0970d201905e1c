/* SPDX-License-Identifier: MIT */
/*
 * A node that does what the test says: the wire protocol's side of a node for one client, without
 * policy of its own, with switches for every way to misbehave. Stepped by hand (world.h).
 *
 *   memory: [ status page | session page | data ... ]
 */
#ifndef TESTS_FAKE_NODE_H
#define TESTS_FAKE_NODE_H

#include "core/fabric/fabric.h"
#include "core/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

enum {
	FAKE_TERM_NS = 40000000,
	FAKE_PAGE = 4096,
	FAKE_DATA = 2 * FAKE_PAGE,
	FAKE_BYTES = 1 << 20,
	FAKE_WORKERS = 8,
	FAKE_TAGS = 8,
	FAKE_RECVS = 8,
	FAKE_RIGHTS = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
};

struct fake_window {
	uint64_t offset, len_bytes; /* len 0: none */
	uint32_t access;
};

struct fake_lane {
	struct ibv_qp *qp;
	struct ibv_mw *mw[FAKE_TAGS];
	uint8_t *recv; /* FAKE_RECVS messages, then one to send from */
	bool gone; /* closed, not yet opened anew */
};

struct fake_node {
	struct ptni_fabric *fabric;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	struct ptni_listener *listener;
	struct ptni_channel *channel;
	uint8_t *memory, *messages;
	struct ibv_mr *messages_mr;
	struct fake_lane lane[FAKE_WORKERS][PTNI_LANES_MAX];
	struct fake_window window[FAKE_WORKERS][FAKE_TAGS];
	struct ptni_welcome welcome; /* sent as it is, addresses filled in */
	/* switches */
	bool deaf; /* hears no channel message; what came waits */
	int open_status; /* of LANE_ADDR */
	unsigned hellos, opens, closes, goodbyes;
	struct ptni_hello hello;
	/* a request arrived on a lane: answers or not */
	void (*on_request)(struct fake_node *node, unsigned worker, unsigned lane,
			   const struct ptni_message *message);
	void *arg;
};

static const struct ptni_qp_params fake_params = {
	.access_flags = FAKE_RIGHTS,
	.retry_count = 1,
	.rnr_retry = 1,
	.timeout = 4,
	.min_rnr_timer = 1,
	.rd_atomic = 16,
};

static inline const struct ptni_fabric_ops *fake_ops(struct fake_node *node)
{
	return node->fabric->ops;
}

static inline struct ptni_session_page *fake_page(struct fake_node *node)
{
	return (struct ptni_session_page *)(node->memory + FAKE_PAGE);
}

static inline struct ptni_status_page *fake_status(struct fake_node *node)
{
	return (struct ptni_status_page *)node->memory;
}

static inline uint64_t *fake_word(struct fake_node *node, uint64_t offset)
{
	return (uint64_t *)(node->memory + FAKE_DATA + offset);
}

static inline void fake_open(struct fake_node *node, const char *address)
{
	size_t lanes = FAKE_WORKERS * PTNI_LANES_MAX;
	size_t messages_bytes = lanes * (FAKE_RECVS + 1) * PTNI_MESSAGE_MAX;
	void *memory;

	memset(node, 0, sizeof(*node));
	assert_int_equal(ptni_fabric_open(address, NULL, &node->fabric), 0);
	assert_int_equal(fake_ops(node)->pd_open(node->fabric, &node->pd), 0);
	assert_int_equal(fake_ops(node)->cq_open(node->fabric, 4096, &node->cq), 0);
	assert_int_equal(fake_ops(node)->memory_alloc(node->fabric, FAKE_BYTES, &memory), 0);
	node->memory = memory;
	assert_int_equal(fake_ops(node)->mr_register(node->pd, memory, FAKE_BYTES,
						     FAKE_RIGHTS | IBV_ACCESS_LOCAL_WRITE |
							     IBV_ACCESS_MW_BIND,
						     &node->mr),
			 0);
	assert_int_equal(fake_ops(node)->memory_alloc(node->fabric, messages_bytes, &memory), 0);
	node->messages = memory;
	assert_int_equal(fake_ops(node)->mr_register(node->pd, memory, messages_bytes,
						     IBV_ACCESS_LOCAL_WRITE, &node->messages_mr),
			 0);
	assert_int_equal(fake_ops(node)->listen(node->fabric, address, &node->listener), 0);
	node->welcome = (struct ptni_welcome){
		.op = PTNI_WELCOME,
		.version = PTNI_WIRE_VERSION,
		.session = 7,
		.epoch = 1,
		.region_rkey = node->mr->rkey,
		.region_addr = (uintptr_t)node->memory,
		.region_len_bytes = FAKE_BYTES,
		.page_addr = (uintptr_t)node->memory + FAKE_PAGE,
		.status_addr = (uintptr_t)node->memory,
		.term_ns = FAKE_TERM_NS,
		.term_max_ns = 1000000000000,
		.extent_shift = 20,
		.page_shift = 16,
		.workers_max = FAKE_WORKERS,
		.lanes_max = PTNI_LANES_MAX,
		.windows_max = 1000,
		.leases_max = 255,
		.drift_ppm = 500,
	};
	fake_page(node)->lease[0] = ptni_lease_word(5, 1);
}

static inline void fake_lane_drop(struct fake_node *node, struct fake_lane *lane)
{
	if (lane->qp)
		assert_int_equal(fake_ops(node)->qp_close(lane->qp), 0);
	for (unsigned i = 0; i < FAKE_TAGS; i++)
		if (lane->mw[i])
			(void)ibv_dealloc_mw(lane->mw[i]);
	*lane = (struct fake_lane){ .gone = true };
}

static inline void fake_close(struct fake_node *node)
{
	for (unsigned w = 0; w < FAKE_WORKERS; w++)
		for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
			fake_lane_drop(node, &node->lane[w][i]);
	if (node->channel)
		fake_ops(node)->channel_close(node->channel);
	fake_ops(node)->listener_close(node->listener);
	assert_int_equal(fake_ops(node)->mr_deregister(node->mr), 0);
	assert_int_equal(fake_ops(node)->mr_deregister(node->messages_mr), 0);
	fake_ops(node)->memory_free(node->fabric, node->memory, FAKE_BYTES);
	fake_ops(node)->memory_free(node->fabric, node->messages,
				    FAKE_WORKERS * PTNI_LANES_MAX * (size_t)(FAKE_RECVS + 1) *
					    PTNI_MESSAGE_MAX);
	assert_int_equal(fake_ops(node)->cq_close(node->cq), 0);
	assert_int_equal(fake_ops(node)->pd_close(node->pd), 0);
	fake_ops(node)->close(node->fabric);
}

/* --- lanes -------------------------------------------------------------------------------------- */

static inline uint8_t *fake_messages(struct fake_node *node, unsigned worker, unsigned lane)
{
	return node->messages +
	       (worker * PTNI_LANES_MAX + lane) * (size_t)(FAKE_RECVS + 1) * PTNI_MESSAGE_MAX;
}

static inline void fake_recv(struct fake_node *node, unsigned worker, unsigned lane, unsigned i)
{
	struct ibv_sge sge = { (uintptr_t)fake_messages(node, worker, lane) +
				       (size_t)i * PTNI_MESSAGE_MAX,
			       PTNI_MESSAGE_MAX, node->messages_mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = (uint64_t)worker << 32 | (uint64_t)lane << 16 | i,
				  .sg_list = &sge,
				  .num_sge = 1 };
	struct ibv_recv_wr *bad;

	(void)ibv_post_recv(node->lane[worker][lane].qp, &wr, &bad);
}

/* Send bytes to the client on a lane, whatever they are. */
static inline void fake_send(struct fake_node *node, unsigned worker, unsigned lane,
			     const void *bytes, size_t len_bytes)
{
	uint8_t *buffer = fake_messages(node, worker, lane) + (size_t)FAKE_RECVS * PTNI_MESSAGE_MAX;
	struct ibv_sge sge = { (uintptr_t)buffer, (uint32_t)len_bytes, node->messages_mr->lkey };
	struct ibv_send_wr wr = { .wr_id = UINT64_MAX,
				  .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED };
	struct ibv_send_wr *bad;

	memcpy(buffer, bytes, len_bytes);
	assert_int_equal(ibv_post_send(node->lane[worker][lane].qp, &wr, &bad), 0);
}

static inline uint32_t fake_bind(struct fake_node *node, unsigned worker, unsigned lane_index,
				 unsigned tag)
{
	struct fake_lane *lane = &node->lane[worker][lane_index];
	const struct fake_window *window = &node->window[worker][tag];
	struct ibv_send_wr wr = { .wr_id = UINT64_MAX,
				  .opcode = IBV_WR_BIND_MW,
				  .send_flags = IBV_SEND_SIGNALED },
			   *bad;

	if (lane->mw[tag]) /* a window that is bound cannot be bound again */
		assert_int_equal(ibv_dealloc_mw(lane->mw[tag]), 0);
	lane->mw[tag] = ibv_alloc_mw(node->pd, IBV_MW_TYPE_2);
	assert_non_null(lane->mw[tag]);
	wr.bind_mw.mw = lane->mw[tag];
	wr.bind_mw.rkey = ibv_inc_rkey(lane->mw[tag]->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
		.mr = node->mr,
		.addr = (uintptr_t)node->memory + FAKE_DATA + window->offset,
		.length = window->len_bytes,
		.mw_access_flags = window->access,
	};
	assert_int_equal(ibv_post_send(lane->qp, &wr, &bad), 0);
	lane->mw[tag]->rkey = wr.bind_mw.rkey;
	return wr.bind_mw.rkey;
}

static inline struct ptni_window_grant fake_grant(struct fake_node *node, unsigned worker,
						  unsigned lane, unsigned tag)
{
	const struct fake_window *window = &node->window[worker][tag];

	return (struct ptni_window_grant){
		.addr = (uintptr_t)node->memory + FAKE_DATA + window->offset,
		.len_bytes = window->len_bytes,
		.rkey = fake_bind(node, worker, lane, tag),
		.tag = tag,
		.access = window->access,
	};
}

static inline void fake_shadow(struct fake_node *node, unsigned worker, unsigned lane, unsigned tag)
{
	struct {
		struct ptni_shadow head;
		struct ptni_window_grant grant;
	} message = { .head = { .head = { .op = PTNI_OP_SHADOW, .len_bytes = sizeof(message) },
				.count = 1 } };

	message.grant = fake_grant(node, worker, lane, tag);
	fake_send(node, worker, lane, &message, sizeof(message));
}

/* Make a window dead on one lane without telling anybody. */
static inline void fake_revoke(struct fake_node *node, unsigned worker, unsigned lane, unsigned tag)
{
	assert_int_equal(ibv_dealloc_mw(node->lane[worker][lane].mw[tag]), 0);
	node->lane[worker][lane].mw[tag] = NULL;
}

static inline void fake_lane_go(struct fake_node *node, unsigned worker, unsigned lane)
{
	struct ptni_lane_ready ready = {
		.head = { .op = PTNI_OP_LANE_READY, .len_bytes = sizeof(ready) },
		.page_rkey = node->mr->rkey,
		.status_rkey = node->mr->rkey,
	};

	fake_send(node, worker, lane, &ready, sizeof(ready));
	for (unsigned tag = 0; tag < FAKE_TAGS; tag++)
		if (node->window[worker][tag].len_bytes)
			fake_shadow(node, worker, lane, tag);
}

static inline void fake_lane_open(struct fake_node *node, const struct ptni_lane_open *open)
{
	struct fake_lane *lane = &node->lane[open->worker][open->lane];
	struct ptni_lane_addr answer = { .op = PTNI_LANE_ADDR,
					 .status = node->open_status,
					 .worker = open->worker,
					 .lane = open->lane };
	struct ibv_qp_init_attr attr = { .send_cq = node->cq,
					 .recv_cq = node->cq,
					 .cap = { .max_send_wr = 64,
						  .max_recv_wr = FAKE_RECVS,
						  .max_send_sge = 1,
						  .max_recv_sge = 1 },
					 .qp_type = IBV_QPT_RC };
	struct ptni_qp_address address;

	node->opens++;
	if (!answer.status) {
		assert_null(lane->qp); /* or the client opened a lane twice */
		assert_int_equal(fake_ops(node)->qp_open(node->pd, &attr, &lane->qp), 0);
		assert_int_equal(fake_ops(node)->qp_init(lane->qp, &fake_params), 0);
		for (unsigned i = 0; i < FAKE_RECVS; i++)
			fake_recv(node, open->worker, open->lane, i);
		memcpy(address.bytes, open->address, sizeof(address.bytes));
		assert_int_equal(fake_ops(node)->qp_connect(lane->qp, &fake_params, &address), 0);
		assert_int_equal(fake_ops(node)->qp_address(lane->qp, &address), 0);
		memcpy(answer.address, address.bytes, sizeof(answer.address));
		lane->gone = false;
	}
	assert_int_equal(fake_ops(node)->channel_send(node->channel, &answer, sizeof(answer)), 0);
}

static inline void fake_lane_close(struct fake_node *node, const struct ptni_lane_addr *close)
{
	struct ptni_lane_addr answer = { .op = PTNI_LANE_CLOSED,
					 .worker = close->worker,
					 .lane = close->lane };

	node->closes++;
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		if (close->lane == PTNI_LANE_ALL || close->lane == i)
			fake_lane_drop(node, &node->lane[close->worker][i]);
	if (close->lane == PTNI_LANE_ALL)
		memset(node->window[close->worker], 0, sizeof(node->window[close->worker]));
	assert_int_equal(fake_ops(node)->channel_send(node->channel, &answer, sizeof(answer)), 0);
}

/* Break a lane as the network would: the node's end stops answering. */
static inline void fake_lane_cut(struct fake_node *node, unsigned worker, unsigned lane)
{
	assert_int_equal(fake_ops(node)->qp_error(node->lane[worker][lane].qp), 0);
}

/* It dies and the node says so. */
static inline void fake_lane_lost(struct fake_node *node, unsigned worker, unsigned lane)
{
	struct ptni_lane_addr lost = { .op = PTNI_LANE_LOST, .worker = worker, .lane = lane };

	fake_lane_cut(node, worker, lane);
	assert_int_equal(fake_ops(node)->channel_send(node->channel, &lost, sizeof(lost)), 0);
}

/* --- steps ---------------------------------------------------------------------------------------- */

static inline void fake_ended(struct fake_node *node, int status)
{
	struct ptni_ended ended = { .op = PTNI_ENDED, .status = status };

	(void)fake_ops(node)->channel_send(node->channel, &ended, sizeof(ended));
}

static inline void fake_hang_up(struct fake_node *node)
{
	fake_ops(node)->channel_close(node->channel);
	node->channel = NULL;
}

static inline void fake_heard(struct fake_node *node, const void *bytes, size_t len_bytes)
{
	const struct ptni_lane_addr *message = bytes;

	switch (message->op) {
	case PTNI_HELLO:
		assert_int_equal(len_bytes, sizeof(struct ptni_hello));
		memcpy(&node->hello, bytes, sizeof(node->hello));
		node->hellos++;
		assert_int_equal(fake_ops(node)->channel_send(node->channel, &node->welcome,
							      sizeof(node->welcome)),
				 0);
		break;
	case PTNI_LANE_OPEN:
		fake_lane_open(node, bytes);
		break;
	case PTNI_LANE_GO:
		fake_lane_go(node, message->worker, message->lane);
		break;
	case PTNI_LANE_CLOSE:
		fake_lane_close(node, message);
		break;
	case PTNI_GOODBYE:
		node->goodbyes++;
		fake_ended(node, 0);
		break;
	default:
		fail_msg("the client sent channel message %u", message->op);
	}
}

/* What is not heard stays in the channel, in order. */
static inline void fake_listen(struct fake_node *node)
{
	_Alignas(8) uint8_t bytes[PTNI_CHANNEL_MAX];
	int len;

	if (!node->channel && fake_ops(node)->accept(node->listener, &node->channel))
		return;
	while (!node->deaf && node->channel &&
	       (len = fake_ops(node)->channel_recv(node->channel, bytes, sizeof(bytes))) >= 0)
		fake_heard(node, bytes, (size_t)len);
}

static inline void fake_poll(struct fake_node *node)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(node->cq, 1, &wc) == 1) {
		unsigned worker = (unsigned)(wc.wr_id >> 32), lane = (uint16_t)(wc.wr_id >> 16);
		unsigned buffer = (uint16_t)wc.wr_id;

		if (wc.wr_id == UINT64_MAX || wc.status != IBV_WC_SUCCESS)
			continue;
		if (node->on_request)
			node->on_request(
				node, worker, lane,
				(const struct ptni_message *)(fake_messages(node, worker, lane) +
							      (size_t)buffer * PTNI_MESSAGE_MAX));
		if (node->lane[worker][lane].qp)
			fake_recv(node, worker, lane, buffer);
	}
}

static inline void fake_step(void *arg)
{
	struct fake_node *node = arg;

	fake_listen(node);
	fake_poll(node);
}

#endif
