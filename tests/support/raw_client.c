/* SPDX-License-Identifier: MIT */
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define ONE_SIDED   (UINT64_C(1) << 33)
#define WAIT_MAX_NS UINT64_C(10000000000)

enum {
	MEMORY_BYTES = 4 << 20,
	CQ_ENTRIES = 8192,
	SEND_DEPTH = 512
};

static void *memory_take(struct raw_client *client, size_t len_bytes)
{
	void *place = client->memory + client->memory_used;

	client->memory_used += (len_bytes + 63) & ~(size_t)63;
	assert_true(client->memory_used <= MEMORY_BYTES);
	return place;
}

static void client_init(struct raw_client *client, struct bed *bed)
{
	void *memory;

	memset(client, 0, sizeof(*client));
	client->bed = bed;
	assert_int_equal(ptni_fabric_open(bed->address, NULL, &client->fabric), 0);
	client->ops = client->fabric->ops;
	assert_int_equal(client->ops->pd_open(client->fabric, &client->pd), 0);
	assert_int_equal(client->ops->cq_open(client->fabric, CQ_ENTRIES, &client->cq), 0);
	assert_int_equal(client->ops->memory_alloc(client->fabric, MEMORY_BYTES, &memory), 0);
	client->memory = memory;
	assert_int_equal(client->ops->mr_register(client->pd, memory, MEMORY_BYTES,
						  IBV_ACCESS_LOCAL_WRITE, &client->mr),
			 0);
	assert_int_equal(client->ops->dial(client->fabric, bed->address, &client->channel), 0);
}

struct ptni_hello raw_hello_make(uint64_t term_ns)
{
	return (struct ptni_hello){ .op = PTNI_HELLO,
				    .version = PTNI_WIRE_VERSION,
				    .magic = PTNI_WIRE_MAGIC,
				    .term_ns = term_ns };
}

int raw_hello(struct raw_client *client, struct bed *bed, const void *hello, size_t len_bytes)
{
	client_init(client, bed);
	raw_channel_send(client, hello, len_bytes);
	bed_turns(bed);
	assert_int_equal(raw_channel_recv(client, &client->welcome, sizeof(client->welcome)),
			 sizeof(client->welcome));
	assert_int_equal(client->welcome.op, PTNI_WELCOME);
	return client->welcome.status;
}

void raw_open(struct raw_client *client, struct bed *bed, uint64_t term_ns)
{
	struct ptni_hello hello = raw_hello_make(term_ns);

	assert_int_equal(raw_hello(client, bed, &hello, sizeof(hello)), 0);
}

static void lane_free(struct raw_lane *lane)
{
	lane->client->ops->qp_close(lane->qp);
	for (int i = 0; i < lane->client->lane_count; i++)
		if (lane->client->lane[i] == lane)
			lane->client->lane[i] = NULL;
	free(lane);
}

void raw_close(struct raw_client *client)
{
	client->ops->channel_close(client->channel);
	for (int i = 0; i < client->lane_count; i++)
		if (client->lane[i])
			lane_free(client->lane[i]);
	client->ops->mr_deregister(client->mr);
	client->ops->memory_free(client->fabric, client->memory, MEMORY_BYTES);
	client->ops->cq_close(client->cq);
	client->ops->pd_close(client->pd);
	client->ops->close(client->fabric);
	if (client->bed)
		bed_turns(client->bed);
}

void raw_channel_send(struct raw_client *client, const void *message, size_t len_bytes)
{
	int ret = client->ops->channel_send(client->channel, message, len_bytes);

	for (int i = 0; ret == -EAGAIN && i < 1000; i++) {
		bed_turns(client->bed);
		ret = client->ops->channel_send(client->channel, message, len_bytes);
	}
	assert_true(ret == 0 || ret == -ECONNRESET);
}

/* The next message that somebody waits for. */
static int channel_next(struct raw_client *client, uint8_t *bytes)
{
	uint32_t op = 0;
	int ret;

	do {
		ret = client->ops->channel_recv(client->channel, bytes, PTNI_CHANNEL_MAX);
		if (ret > 0)
			memcpy(&op, bytes, sizeof(op));
		client->lanes_lost += ret > 0 && op == PTNI_LANE_LOST;
	} while (ret > 0 && op == PTNI_LANE_LOST);
	return ret;
}

int raw_channel_recv(struct raw_client *client, void *message, size_t capacity)
{
	uint8_t bytes[PTNI_CHANNEL_MAX];
	int ret = channel_next(client, bytes);
	uint64_t end_ns = ptni_clock_now_ns() + WAIT_MAX_NS;
	uint32_t op;

	while (ret == -EAGAIN && client->bed && client->bed->running &&
	       ptni_clock_now_ns() < end_ns) {
		sched_yield();
		ret = channel_next(client, bytes);
	}
	if (ret <= 0)
		return 0;
	memcpy(&op, bytes, sizeof(op));
	if (op == PTNI_ENDED) {
		memcpy(&client->ended, bytes, sizeof(client->ended));
		return 0;
	}
	memcpy(message, bytes, (size_t)ret < capacity ? (size_t)ret : capacity);
	return ret;
}

/* --- lanes ------------------------------------------------------------------------------------------ */

static void recv_post(struct raw_lane *lane, uint64_t i)
{
	struct ibv_sge sge = { .addr = (uint64_t)(uintptr_t)(lane->recv + i * PTNI_MESSAGE_MAX),
			       .length = PTNI_MESSAGE_MAX,
			       .lkey = lane->client->mr->lkey };
	struct ibv_recv_wr *bad, wr = { .wr_id = i, .sg_list = &sge, .num_sge = 1 };

	ibv_post_recv(lane->qp, &wr, &bad);
}

static struct raw_lane *lane_make(struct raw_client *client, uint32_t worker, uint32_t index)
{
	struct raw_lane *lane = calloc(1, sizeof(*lane));
	struct ibv_qp_init_attr attr = {
		.send_cq = client->cq,
		.recv_cq = client->cq,
		.cap = { .max_send_wr = SEND_DEPTH,
			 .max_recv_wr = BED_RECVS,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = 1,
	};

	assert_non_null(lane);
	lane->client = client;
	lane->worker = worker;
	lane->lane = index;
	assert_int_equal(client->ops->qp_open(client->pd, &attr, &lane->qp), 0);
	lane->recv = memory_take(client, BED_RECVS * PTNI_MESSAGE_MAX);
	lane->scratch = memory_take(client, 2 * PTNI_MESSAGE_MAX);
	client->lane[client->lane_count++] = lane;
	return lane;
}

static const struct ptni_qp_params lane_params = { .retry_count = 6,
						   .rnr_retry = 7,
						   .timeout = 12,
						   .min_rnr_timer = 1,
						   .rd_atomic = 4 };

struct raw_lane *raw_lane_try(struct raw_client *client, uint32_t worker, uint32_t index)
{
	struct raw_lane *lane = lane_make(client, worker, index);
	struct ptni_lane_open open = { .op = PTNI_LANE_OPEN, .worker = worker, .lane = index };
	struct ptni_lane_addr message;
	struct ptni_qp_address address;

	assert_int_equal(client->ops->qp_init(lane->qp, &lane_params), 0);
	for (uint64_t i = 0; i < BED_RECVS; i++)
		recv_post(lane, i);
	assert_int_equal(client->ops->qp_address(lane->qp, &address), 0);
	memcpy(open.address, address.bytes, sizeof(open.address));
	raw_channel_send(client, &open, sizeof(open));
	bed_turns(client->bed);
	assert_int_equal(raw_channel_recv(client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_ADDR);
	assert_int_equal(message.lane, index);
	lane->refused = message.status;
	if (lane->refused)
		return lane;
	memcpy(address.bytes, message.address, sizeof(message.address));
	assert_int_equal(client->ops->qp_connect(lane->qp, &lane_params, &address), 0);
	message = (struct ptni_lane_addr){ .op = PTNI_LANE_GO, .worker = worker, .lane = index };
	raw_channel_send(client, &message, sizeof(message));
	bed_turns(client->bed);
	return lane;
}

struct raw_lane *raw_lane_open(struct raw_client *client, uint32_t worker, uint32_t index)
{
	struct raw_lane *lane = raw_lane_try(client, worker, index);
	struct ptni_lane_ready ready;

	assert_int_equal(lane->refused, 0);
	assert_true(raw_await(lane, 0, &ready, sizeof(ready)));
	assert_int_equal(ready.head.op, PTNI_OP_LANE_READY);
	lane->page_rkey = ready.page_rkey;
	lane->status_rkey = ready.status_rkey;
	return lane;
}

void raw_lane_close(struct raw_lane *lane)
{
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE,
					  .worker = lane->worker,
					  .lane = lane->lane };
	struct raw_client *client = lane->client;

	raw_channel_send(client, &message, sizeof(message));
	bed_turns(client->bed);
	assert_int_equal(raw_channel_recv(client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_CLOSED);
	assert_int_equal(message.lane, lane->lane);
	lane_free(lane);
}

/* --- two-sided --------------------------------------------------------------------------------------- */

void raw_send_bytes(struct raw_lane *lane, const void *bytes, size_t len_bytes)
{
	uint8_t *place = memory_take(lane->client, len_bytes ? len_bytes : 1);
	struct ibv_sge sge = { .addr = (uint64_t)(uintptr_t)place,
			       .length = (uint32_t)len_bytes,
			       .lkey = lane->client->mr->lkey };
	struct ibv_send_wr *bad, wr = {
		.wr_id = UINT64_C(1) << 32, .opcode = IBV_WR_SEND, .sg_list = &sge, .num_sge = 1
	};

	memcpy(place, bytes, len_bytes);
	assert_int_equal(ibv_post_send(lane->qp, &wr, &bad), 0);
}

uint32_t raw_send(struct raw_lane *lane, void *message, size_t len_bytes)
{
	struct ptni_message *head = message;

	head->len_bytes = (uint16_t)len_bytes;
	if (!head->cookie)
		head->cookie = ++lane->client->cookie;
	head->session_epoch = lane->client->welcome.epoch;
	raw_send_bytes(lane, message, len_bytes);
	return head->cookie;
}

static struct raw_lane *lane_of(struct raw_client *client, uint32_t qp_num)
{
	for (int i = 0; i < client->lane_count; i++)
		if (client->lane[i] && client->lane[i]->qp->qp_num == qp_num)
			return client->lane[i];
	return NULL;
}

static void completed(struct raw_lane *lane, const struct ibv_wc *wc)
{
	if (wc->wr_id == ONE_SIDED) {
		lane->sent_done = true;
		lane->sent_status = (int)wc->status;
	}
	if (wc->status)
		lane->broken = true;
	if (wc->status || wc->opcode != IBV_WC_RECV)
		return;
	assert_true(lane->inbox_count < 64);
	memcpy(lane->inbox[lane->inbox_count++], lane->recv + wc->wr_id * PTNI_MESSAGE_MAX,
	       PTNI_MESSAGE_MAX);
	if (lane->recvs_held)
		return;
	recv_post(lane, wc->wr_id);
}

void raw_poll(struct raw_client *client)
{
	struct ibv_wc wc[16];
	int got;

	while ((got = ibv_poll_cq(client->cq, 16, wc)) > 0)
		for (int i = 0; i < got; i++) {
			struct raw_lane *lane = lane_of(client, wc[i].qp_num);

			if (lane)
				completed(lane, &wc[i]);
		}
}

bool raw_take(struct raw_lane *lane, uint16_t op, void *message, size_t capacity)
{
	raw_poll(lane->client);
	for (int i = 0; i < lane->inbox_count; i++) {
		struct ptni_message *head = (void *)lane->inbox[i];

		if (op && head->op != op)
			continue;
		memcpy(message, head, capacity < head->len_bytes ? capacity : head->len_bytes);
		memmove(lane->inbox[i], lane->inbox[i + 1],
			(size_t)(lane->inbox_count - i - 1) * PTNI_MESSAGE_MAX);
		lane->inbox_count--;
		return true;
	}
	return false;
}

bool raw_await(struct raw_lane *lane, uint16_t op, void *message, size_t capacity)
{
	uint64_t end_ns = ptni_clock_now_ns() + WAIT_MAX_NS;

	for (int i = 0; i < 8 || (lane->client->bed->running && ptni_clock_now_ns() < end_ns);
	     i++) {
		bed_turns(lane->client->bed);
		if (raw_take(lane, op, message, capacity))
			return true;
	}
	return false;
}

int raw_call(struct raw_lane *lane, void *message, size_t len_bytes, void *reply, size_t capacity)
{
	struct ptni_message *head = message, answer;
	uint32_t cookie = raw_send(lane, message, len_bytes);

	assert_true(raw_await(lane, head->op | PTNI_REPLY, reply ? reply : &answer,
			      reply ? capacity : sizeof(answer)));
	if (reply)
		memcpy(&answer, reply, sizeof(answer));
	assert_int_equal(answer.cookie, cookie);
	return answer.status;
}

int raw_grant(struct raw_lane *lane, uint64_t term_ns, uint64_t offset, uint64_t len_bytes,
	      uint32_t access, uint32_t tag, uint32_t count, struct bed_granted *granted_out)
{
	struct bed_grant request = {
		.head.op = BED_GRANT,
		.term_ns = term_ns,
		.offset = offset,
		.len_bytes = len_bytes,
		.access = access,
		.tag = tag,
		.count = count,
	};

	return raw_call(lane, &request, sizeof(request), granted_out, sizeof(*granted_out));
}

int raw_release(struct raw_lane *lane, const struct ptni_lease_grant *lease, uint32_t flags)
{
	struct ptni_lease_release request = {
		.head.op = PTNI_OP_LEASE_RELEASE,
		.index = lease->index,
		.generation = lease->generation,
		.flags = flags,
	};

	return raw_call(lane, &request, sizeof(request), NULL, 0);
}

/* --- one-sided ----------------------------------------------------------------------------------------- */

static int one_sided(struct raw_lane *lane, struct ibv_send_wr *wr)
{
	struct ibv_sge sge = { .addr = (uint64_t)(uintptr_t)lane->scratch,
			       .length = sizeof(uint64_t),
			       .lkey = lane->client->mr->lkey };
	struct ibv_send_wr *bad;

	wr->wr_id = ONE_SIDED;
	wr->sg_list = &sge;
	wr->num_sge = 1;
	lane->sent_done = false;
	if (ibv_post_send(lane->qp, wr, &bad))
		return -1;
	for (int i = 0; (i < 100 || lane->client->bed->running) && !lane->sent_done; i++) {
		raw_poll(lane->client);
		if (!lane->sent_done)
			bed_turns(lane->client->bed);
	}
	assert_true(lane->sent_done);
	return lane->sent_status;
}

int raw_read(struct raw_lane *lane, uint32_t rkey, uint64_t addr, uint64_t *value_out)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_READ,
				  .wr.rdma = { .remote_addr = addr, .rkey = rkey } };
	int status = one_sided(lane, &wr);

	if (!status && value_out)
		*value_out = *lane->scratch;
	return status;
}

int raw_write(struct raw_lane *lane, uint32_t rkey, uint64_t addr, uint64_t value)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_RDMA_WRITE,
				  .wr.rdma = { .remote_addr = addr, .rkey = rkey } };

	*lane->scratch = value;
	return one_sided(lane, &wr);
}

int raw_cas(struct raw_lane *lane, uint32_t rkey, uint64_t addr, uint64_t expected,
	    uint64_t desired, uint64_t *old_out)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_ATOMIC_CMP_AND_SWP,
				  .wr.atomic = { .remote_addr = addr,
						 .compare_add = expected,
						 .swap = desired,
						 .rkey = rkey } };
	int status = one_sided(lane, &wr);

	if (!status && old_out)
		*old_out = *lane->scratch;
	return status;
}

bool raw_extend(struct raw_lane *lane, const struct ptni_lease_grant *lease, uint32_t units,
		uint32_t units_new, uint64_t *old_out)
{
	uint64_t expected = ptni_lease_word(lease->generation, units), old = 0;
	uint64_t addr = lane->client->welcome.page_addr +
			offsetof(struct ptni_session_page, lease) + lease->index * sizeof(uint64_t);

	assert_int_equal(raw_cas(lane, lane->page_rkey, addr, expected,
				 ptni_lease_word(lease->generation, units_new), &old),
			 0);
	if (old_out)
		*old_out = old;
	return old == expected;
}
