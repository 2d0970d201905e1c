/* SPDX-License-Identifier: MIT */
/* Two connected queue pairs of the software NIC in this process, and short forms of the verbs. */
#ifndef TESTS_SOFT_PAIR_H
#define TESTS_SOFT_PAIR_H

#include "core/fabric/fabric.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <string.h>

enum {
	PAIR_BYTES = 1 << 16,
	PAIR_DEPTH = 16,
	PAIR_ALL = 15 | IBV_ACCESS_MW_BIND
};

struct pair_end {
	struct ptni_fabric *fabric;
	struct ibv_pd *pd;
	struct ibv_cq *send_cq;
	struct ibv_cq *recv_cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	uint8_t *memory;
};

struct pair {
	struct pair_end a; /* requester */
	struct pair_end b; /* responder */
};

static const struct ptni_qp_params pair_params = {
	.access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	.retry_count = 1,
	.rnr_retry = 1,
	.timeout = 4,
	.min_rnr_timer = 1,
	.rd_atomic = 16,
};

static inline void pair_qp_open(struct pair_end *end, struct ibv_srq *srq)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = end->send_cq,
		.recv_cq = end->recv_cq,
		.srq = srq,
		.cap = { .max_send_wr = PAIR_DEPTH,
			 .max_recv_wr = PAIR_DEPTH,
			 .max_send_sge = 4,
			 .max_recv_sge = 4,
			 .max_inline_data = 256 },
		.qp_type = IBV_QPT_RC,
	};

	assert_int_equal(end->fabric->ops->qp_open(end->pd, &attr, &end->qp), 0);
}

static inline void pair_end_open(struct pair_end *end, const char *address)
{
	struct ptni_fabric_options options = { .memory_max_bytes = 1 << 24 };
	const struct ptni_fabric_ops *ops;
	void *memory;

	assert_int_equal(ptni_fabric_open(address, &options, &end->fabric), 0);
	ops = end->fabric->ops;
	assert_int_equal(ops->pd_open(end->fabric, &end->pd), 0);
	assert_int_equal(ops->cq_open(end->fabric, 256, &end->send_cq), 0);
	assert_int_equal(ops->cq_open(end->fabric, 256, &end->recv_cq), 0);
	assert_int_equal(ops->memory_alloc(end->fabric, PAIR_BYTES, &memory), 0);
	end->memory = memory;
	assert_int_equal(ops->mr_register(end->pd, memory, PAIR_BYTES, PAIR_ALL, &end->mr), 0);
}

static inline void pair_connect(struct pair_end *end, struct ibv_qp *to,
				const struct ptni_qp_params *params)
{
	struct ptni_qp_address address;

	assert_int_equal(end->fabric->ops->qp_address(to, &address), 0);
	assert_int_equal(end->fabric->ops->qp_connect(end->qp, params, &address), 0);
}

static inline void pair_connect_both(struct pair *pair, const struct ptni_qp_params *params)
{
	assert_int_equal(pair->a.fabric->ops->qp_init(pair->a.qp, params), 0);
	assert_int_equal(pair->b.fabric->ops->qp_init(pair->b.qp, params), 0);
	pair_connect(&pair->a, pair->b.qp, params);
	pair_connect(&pair->b, pair->a.qp, params);
}

static inline void pair_open(struct pair *pair, const char *address)
{
	memset(pair, 0, sizeof(*pair));
	pair_end_open(&pair->a, address);
	pair_end_open(&pair->b, address);
	pair_qp_open(&pair->a, NULL);
	pair_qp_open(&pair->b, NULL);
	pair_connect_both(pair, &pair_params);
}

static inline void pair_end_close(struct pair_end *end)
{
	const struct ptni_fabric_ops *ops = end->fabric->ops;

	if (end->qp)
		assert_int_equal(ops->qp_close(end->qp), 0);
	assert_int_equal(ops->mr_deregister(end->mr), 0);
	ops->memory_free(end->fabric, end->memory, PAIR_BYTES);
	assert_int_equal(ops->cq_close(end->send_cq), 0);
	assert_int_equal(ops->cq_close(end->recv_cq), 0);
	assert_int_equal(ops->pd_close(end->pd), 0);
	ops->close(end->fabric);
}

static inline void pair_close(struct pair *pair)
{
	pair_end_close(&pair->a);
	pair_end_close(&pair->b);
}

static inline struct ibv_sge pair_sge(const struct pair_end *end, uint64_t offset, uint32_t len)
{
	return (struct ibv_sge){ (uintptr_t)end->memory + offset, len, end->mr->lkey };
}

/* A signalled one-sided work request from a's memory to b's. */
static inline struct ibv_send_wr pair_wr(enum ibv_wr_opcode opcode, struct ibv_sge *sge,
					 const struct pair_end *to, uint64_t offset)
{
	return (struct ibv_send_wr){
		.sg_list = sge,
		.num_sge = 1,
		.opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { (uintptr_t)to->memory + offset, to->mr->rkey },
	};
}

static inline int pair_post(struct pair_end *end, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;

	return ibv_post_send(end->qp, wr, &bad);
}

/* The next completion of `cq`, or an error of the test: nothing here takes a second. */
static inline struct ibv_wc pair_wait(struct ibv_cq *cq)
{
	struct ibv_wc wc = { .status = IBV_WC_GENERAL_ERR };
	int got = 0;

	for (int i = 0; i < 100000000 && got == 0; i++) {
		got = ibv_poll_cq(cq, 1, &wc);
		if (i > 100)
			sched_yield();
	}
	assert_int_equal(got, 1);
	return wc;
}

static inline enum ibv_wc_status pair_run(struct pair_end *end, struct ibv_send_wr *wr)
{
	assert_int_equal(pair_post(end, wr), 0);
	return pair_wait(end->send_cq).status;
}

static inline void pair_recv(struct pair_end *end, uint64_t wr_id, uint64_t offset, uint32_t len)
{
	struct ibv_sge sge = pair_sge(end, offset, len);
	struct ibv_recv_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1 };
	struct ibv_recv_wr *bad;

	assert_int_equal(ibv_post_recv(end->qp, &wr, &bad), 0);
}

static inline enum ibv_qp_state pair_state(struct pair_end *end)
{
	enum ibv_qp_state state;

	assert_int_equal(end->fabric->ops->qp_state(end->qp, &state), 0);
	return state;
}

static inline int pair_idle(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	return ibv_poll_cq(cq, 1, &wc) == 0;
}

#endif
