/* SPDX-License-Identifier: MIT */
/* Two simulated processes, two connected queue pairs, raw verbs. */
#ifndef TESTS_UNIT_SIM_BED_H
#define TESTS_UNIT_SIM_BED_H

#include "core/base/sanitizer.h"
#include "core/fabric/sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#if PTNI_ASAN
/* What a process that was killed had open is lost on purpose, and the tests close nothing. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

enum {
	LEN = 4096,
	WORDS = LEN / 8,
	ENTRIES = 256,
	NEVER_NS = 1000000000,
};

struct end {
	struct ptni_sim_process *process;
	struct ptni_fabric *fabric;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	struct ibv_qp *qp[2];
	uint64_t *memory;
};

struct bed {
	struct ptni_sim *sim;
	struct end client, node;
	uint64_t slices;
	bool torn;
};

static const struct ptni_qp_params params = {
	.access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	.retry_count = 1,
	.rnr_retry = 1,
	.timeout = 8,
	.min_rnr_timer = 1,
	.rd_atomic = 16,
};

static inline void end_open(struct bed *bed, struct end *end, const char *name)
{
	const int rights = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
			   IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND;
	const struct ptni_fabric_ops *ops;
	void *memory;

	assert_int_equal(ptni_sim_process_open(bed->sim, name, &end->process), 0);
	assert_int_equal(ptni_sim_nic_open(end->process, &end->fabric), 0);
	ops = end->fabric->ops;
	assert_int_equal(ops->pd_open(end->fabric, &end->pd), 0);
	assert_int_equal(ops->cq_open(end->fabric, ENTRIES, &end->cq), 0);
	assert_int_equal(ops->memory_alloc(end->fabric, LEN, &memory), 0);
	end->memory = memory;
	assert_int_equal(ops->mr_register(end->pd, memory, LEN, rights, &end->mr), 0);
}

static inline void pair_connect(struct bed *bed, int i)
{
	const struct ptni_fabric_ops *ops = bed->node.fabric->ops;
	struct ptni_qp_address address[2];
	struct end *end[2] = { &bed->client, &bed->node };

	for (int k = 0; k < 2; k++) {
		struct ibv_qp_init_attr attr = { .send_cq = end[k]->cq,
						 .recv_cq = end[k]->cq,
						 .qp_type = IBV_QPT_RC,
						 .cap = { 64, 8, 1, 1, 64 } };

		assert_int_equal(ops->qp_open(end[k]->pd, &attr, &end[k]->qp[i]), 0);
		assert_int_equal(ops->qp_address(end[k]->qp[i], &address[k]), 0);
		assert_int_equal(ops->qp_init(end[k]->qp[i], &params), 0);
	}
	for (int k = 0; k < 2; k++)
		assert_int_equal(ops->qp_connect(end[k]->qp[i], &params, &address[!k]), 0);
}

static inline void bed_open(struct bed *bed, const struct ptni_sim_config *config)
{
	memset(bed, 0, sizeof(*bed));
	assert_int_equal(ptni_sim_open(config, &bed->sim), 0);
	end_open(bed, &bed->node, "node");
	end_open(bed, &bed->client, "client");
	for (int i = 0; i < 2; i++)
		pair_connect(bed, i);
}

static inline void pass(struct bed *bed, uint64_t span_ns)
{
	assert_int_equal(ptni_sim_run(bed->sim, ptni_sim_now_ns(bed->sim) + span_ns, 100000), 0);
}

/* From local words at `from` to the node's at `to`, or back; returns what the post did. */
static inline int post(struct bed *bed, int qp, enum ibv_wr_opcode opcode, unsigned to,
		       unsigned from, unsigned words)
{
	struct ibv_sge sge = { .addr = (uintptr_t)(bed->client.memory + from),
			       .length = words * 8,
			       .lkey = bed->client.mr->lkey };
	struct ibv_send_wr *bad, wr = { .wr_id = to,
					.opcode = opcode,
					.sg_list = &sge,
					.num_sge = 1,
					.send_flags = IBV_SEND_SIGNALED };

	wr.wr.rdma.remote_addr = (uintptr_t)(bed->node.memory + to);
	wr.wr.rdma.rkey = bed->node.mr->rkey;
	return ibv_post_send(bed->client.qp[qp], &wr, &bad);
}

static inline int poll(struct bed *bed, struct ibv_wc *wc)
{
	return ibv_poll_cq(bed->client.cq, 1, wc);
}

static inline void expect(struct bed *bed, uint64_t wr_id, enum ibv_wc_status status)
{
	struct ibv_wc wc;

	assert_int_equal(poll(bed, &wc), 1);
	assert_int_equal(wc.wr_id, wr_id);
	assert_int_equal(wc.status, status);
}

#endif
