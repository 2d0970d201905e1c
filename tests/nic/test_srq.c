/* SPDX-License-Identifier: MIT */
/* Shared receive queues. */
#include "tests/nic/groups.h"

enum {
	DEPTH = 64
};

struct shared {
	struct ibv_srq *srq;
	struct nic_link links[3];
};

static struct shared shared_open(struct nic *nic)
{
	struct shared shared = { .srq = nic_srq_open(nic, nic->node.pd, DEPTH) };
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.node_srq = shared.srq;
	for (size_t i = 0; i < 3; i++)
		shared.links[i] = nic_link_open(nic, &spec);
	return shared;
}

static int shared_post(struct nic *nic, struct ibv_srq *srq, uint64_t wr_id)
{
	struct ibv_sge sge = { nic_at(&nic->node, 64 * wr_id), 64, nic->node.mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1 }, *bad;
	return ibv_post_srq_recv(srq, &wr, &bad);
}

/*
 * Rule: queue pairs with one shared receive queue take from it in the order of posting; the completion
 * names the queue pair that took it.
 */
static void several_queue_pairs_take_in_order(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct shared shared = shared_open(nic);
	enum {
		COUNT = 30
	};
	for (uint64_t i = 0; i < COUNT; i++)
		assert_int_equal(shared_post(nic, shared.srq, i), 0);
	for (uint64_t i = 0; i < COUNT; i++) {
		nic_store(nic->client.memory, i + 1);
		nic_run_ok(shared.links[i % 3].client, nic_send(&nic->client, 0, 8));
		struct ibv_wc wc = nic_wait(nic->node.cq);
		assert_int_equal(wc.wr_id, i);
		assert_int_equal(wc.status, IBV_WC_SUCCESS);
		assert_int_equal(wc.opcode, IBV_WC_RECV);
		assert_int_equal(wc.qp_num, shared.links[i % 3].node->qp_num);
		assert_int_equal(nic_load(nic->node.memory + 64 * i), i + 1);
	}
}

/* Rule: an empty shared queue answers "not ready" as an empty own one does. */
static void empty_queue_is_not_ready(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct shared shared = shared_open(nic);
	struct nic_op op = nic_signalled(nic_send(&nic->client, 0, 8), 5);
	struct ibv_wc wc;
	nic_post(shared.links[0].client, &op, 1);
	assert_false(nic_try_wait(nic->client.cq, 20, &wc));
	assert_int_equal(shared_post(nic, shared.srq, 9), 0);
	nic_expect(nic->client.cq, 5, IBV_WC_SUCCESS);
	nic_expect(nic->node.cq, 9, IBV_WC_SUCCESS);
}

/* Rule: it takes at least its depth, then ENOMEM; what it took is delivered. */
static void full_queue(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct shared shared = shared_open(nic);
	uint64_t posted = 0;
	int ret;
	while (!(ret = shared_post(nic, shared.srq, posted)) && posted < 16 * DEPTH)
		posted++;
	assert_int_equal(ret, ENOMEM);
	assert_in_range(posted, DEPTH, 16 * DEPTH - 1);
	for (uint64_t i = 0; i < posted; i++) {
		nic_run_ok(shared.links[i % 3].client, nic_send(&nic->client, 0, 8));
		nic_expect(nic->node.cq, i, IBV_WC_SUCCESS);
	}
}

/*
 * Rule: when one of the queue pairs breaks, RECVs in the shared queue stay for the others: they are
 * not flushed.
 */
static void survives_a_broken_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct shared shared = shared_open(nic);
	assert_int_equal(shared_post(nic, shared.srq, 1), 0);
	assert_int_equal(nic_run(shared.links[0].client,
				 nic_read(nic, 0, nic_at(&nic->node, 0), 8, 0xdeadbeef)),
			 IBV_WC_REM_ACCESS_ERR);
	nic_state_becomes(nic, shared.links[0].node, IBV_QPS_ERR);
	nic_run_ok(shared.links[1].client, nic_send(&nic->client, 0, 8));
	nic_expect(nic->node.cq, 1, IBV_WC_SUCCESS);
	assert_int_equal(nic_drain(nic->node.cq), 0);
}

/* Rule: a shared queue is not closed under its queue pairs. */
static void close_is_refused_while_used(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct shared shared = shared_open(nic);
	assert_int_equal(nic->node.fabric->ops->srq_close(shared.srq), -EBUSY);
	assert_int_equal(shared_post(nic, shared.srq, 1), 0);
}

const struct CMUnitTest nic_srq_tests[] = {
	NIC_TEST(several_queue_pairs_take_in_order),
	NIC_TEST(empty_queue_is_not_ready),
	NIC_TEST(full_queue),
	NIC_TEST(survives_a_broken_queue_pair),
	NIC_TEST(close_is_refused_while_used),
};
NIC_COUNT(srq);
