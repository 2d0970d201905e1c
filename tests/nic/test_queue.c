/* SPDX-License-Identifier: MIT */
/* Work queues: depth, accounting, lists with a bad entry, the limits of a queue pair. */
#include "tests/nic/groups.h"

enum {
	LIST_MAX = 4 * NIC_DEPTH
};

static struct nic_op small_write(struct nic *nic)
{
	return nic_write(nic, 0, nic_at(&nic->node, 0), 8, nic->node.mr->rkey);
}

/*
 * Rule: slots of the send queue come back when a later signalled completion is polled, so a queue
 * with one signalled request in every NIC_DEPTH / 2 never runs full.
 */
static void selective_signalling_never_fills(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		BATCH = NIC_DEPTH / 2,
		BATCHES = 40
	};
	struct nic_op list[BATCH];
	for (uint64_t i = 0; i < BATCHES; i++) {
		for (size_t k = 0; k < BATCH; k++)
			list[k] = small_write(nic);
		list[BATCH - 1] = nic_signalled(list[BATCH - 1], i);
		nic_post(nic->link.client, list, BATCH);
		if (i)
			nic_expect(nic->client.cq, i - 1, IBV_WC_SUCCESS);
	}
	nic_expect(nic->client.cq, BATCHES - 1, IBV_WC_SUCCESS);
	assert_int_equal(nic_drain(nic->client.cq), 0);
}

/*
 * Rule: a send queue takes at least the depth it was made with. A list that is longer fails with
 * ENOMEM at the first request without a slot, bad_wr names it, and those before it are executed.
 */
static void send_queue_full(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	static struct nic_op list[LIST_MAX];
	for (uint64_t i = 0; i < LIST_MAX; i++)
		list[i] = nic_signalled(
			nic_faa(nic, 0, nic_at(&nic->node, 0), 1, nic->node.mr->rkey), i);
	size_t bad = 0;
	assert_int_equal(nic_try_post(nic->link.client, list, LIST_MAX, &bad), ENOMEM);
	assert_in_range(bad, NIC_DEPTH, LIST_MAX - 1);
	for (uint64_t i = 0; i < bad; i++)
		nic_expect(nic->client.cq, i, IBV_WC_SUCCESS);
	assert_int_equal(nic_drain(nic->client.cq), 0);
	assert_int_equal(nic_load(nic->node.memory), bad);
	nic_run_ok(nic->link.client, small_write(nic));
}

/* Rule: a receive queue takes at least its depth, then ENOMEM with bad_wr. */
static void recv_queue_full(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_sge sge = { nic_at(&nic->node, 0), 64, nic->node.mr->lkey };
	struct ibv_recv_wr wr = { .sg_list = &sge, .num_sge = 1 }, *bad = NULL;
	int ret = 0;
	size_t posted = 0;
	while (!(ret = ibv_post_recv(nic->link.node, &wr, &bad)) && posted < LIST_MAX)
		posted++;
	assert_int_equal(ret, ENOMEM);
	assert_ptr_equal(bad, &wr);
	assert_in_range(posted, NIC_DEPTH, LIST_MAX);
}

/*
 * Rule: ibv_post_send stops at the first request it refuses: bad_wr names it, those before are
 * executed, it and those after are not, and the queue pair goes on.
 */
static void list_with_bad_entry(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op list[5];
	struct ibv_sge many[64];
	struct ptni_fabric_limits limits;
	nic->client.fabric->ops->limits(nic->client.fabric, &limits);
	for (uint64_t i = 0; i < 64; i++)
		many[i] = (struct ibv_sge){ nic_at(&nic->client, 0), 8, nic->client.mr->lkey };
	for (uint64_t i = 0; i < 5; i++) {
		nic_store(nic->client.memory + 8 * i, i + 1);
		list[i] = nic_signalled(
			nic_write(nic, 8 * i, nic_at(&nic->node, 8 * i), 8, nic->node.mr->rkey), i);
	}
	list[2].wr.sg_list = many;
	list[2].wr.num_sge = 64; /* far more than NIC_SGE, rounded up or not */
	size_t bad = 0;
	assert_in_range(nic_try_post(nic->link.client, list, 5, &bad), 1, 4095);
	assert_int_equal(bad, 2);
	nic_expect(nic->client.cq, 0, IBV_WC_SUCCESS);
	nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	nic_run_ok(nic->link.client,
		   nic_write(nic, 40, nic_at(&nic->node, 40), 8, nic->node.mr->rkey));
	assert_int_equal(nic_load(nic->node.memory + 8), 2);
	for (size_t i = 2; i < 5; i++)
		assert_int_equal(nic_load(nic->node.memory + 8 * i), 0);
}

/* Rule: the same for receive lists. */
static void recv_list_with_bad_entry(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_sge sge = { nic_at(&nic->node, 0), 64, nic->node.mr->lkey }, many[64];
	for (size_t i = 0; i < 64; i++)
		many[i] = sge;
	struct ibv_recv_wr list[3] = {
		{ .wr_id = 1, .sg_list = &sge, .num_sge = 1, .next = &list[1] },
		{ .wr_id = 2, .sg_list = many, .num_sge = 64, .next = &list[2] },
		{ .wr_id = 3, .sg_list = &sge, .num_sge = 1 },
	};
	struct ibv_recv_wr *bad = NULL;
	assert_in_range(ibv_post_recv(nic->link.node, list, &bad), 1, 4095);
	assert_ptr_equal(bad, &list[1]);
	nic_post_recv(nic->link.node, &nic->node, 4, 64, 64);
	for (uint64_t id = 1; id <= 4; id += 3) {
		nic_run_ok(nic->link.client, nic_send(&nic->client, 0, 8));
		nic_expect(nic->node.cq, id, IBV_WC_SUCCESS);
	}
}

/* Rule: an unknown opcode is refused at posting; the queue pair goes on. */
static void unknown_opcode_is_refused(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op op = small_write(nic);
	op.wr.opcode = (enum ibv_wr_opcode)120;
	size_t bad = 9;
	assert_in_range(nic_try_post(nic->link.client, &op, 1, &bad), 1, 4095);
	assert_int_equal(bad, 0);
	nic_run_ok(nic->link.client, small_write(nic));
}

/* Rule: qp_open reports in attr->cap at least what was asked for, and that much works. */
static void capabilities_are_reported(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_qp_init_attr attr = {
		.send_cq = nic->client.cq,
		.recv_cq = nic->client.cq,
		.qp_type = IBV_QPT_RC,
		.cap = { 10, 11, 3, 2, 33 },
	};
	struct ibv_qp *qp;
	assert_int_equal(nic->client.fabric->ops->qp_open(nic->client.pd, &attr, &qp), 0);
	nic_objects_add(&nic->qps, qp);
	assert_true(attr.cap.max_send_wr >= 10 && attr.cap.max_recv_wr >= 11);
	assert_true(attr.cap.max_send_sge >= 3 && attr.cap.max_recv_sge >= 2);
	assert_true(attr.cap.max_inline_data >= 33);
	assert_int_equal(nic_state(nic, qp), IBV_QPS_RESET);
}

/* Rule: what the limits say is not to be had is refused with an error, not given in part. */
static void beyond_the_limits(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	struct ptni_fabric_limits limits;
	ops->limits(nic->client.fabric, &limits);
	struct ibv_qp_cap wrong[] = {
		{ limits.wr_max * 2 + 1, 1, 1, 1, 0 },
		{ 1, limits.wr_max * 2 + 1, 1, 1, 0 },
		{ 1, 1, limits.sge_max + 1, 1, 0 },
		{ 1, 1, 1, limits.sge_max + 1, 0 },
		{ 1, 1, 1, 1, 1 << 20 },
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ibv_qp_init_attr attr = { .send_cq = nic->client.cq,
						 .recv_cq = nic->client.cq,
						 .qp_type = IBV_QPT_RC,
						 .cap = wrong[i] };
		struct ibv_qp *qp = NULL;
		assert_true(ops->qp_open(nic->client.pd, &attr, &qp) < 0);
		assert_null(qp);
	}
	struct ibv_cq *cq = NULL;
	assert_true(ops->cq_open(nic->client.fabric, limits.cqe_max * 2 + 1, &cq) < 0);
	assert_true(ops->cq_open(nic->client.fabric, 0, &cq) < 0);
	assert_null(cq);
}

const struct CMUnitTest nic_queue_tests[] = {
	NIC_TEST(selective_signalling_never_fills),
	NIC_TEST(send_queue_full),
	NIC_TEST(recv_queue_full),
	NIC_TEST(list_with_bad_entry),
	NIC_TEST(recv_list_with_bad_entry),
	NIC_TEST(unknown_opcode_is_refused),
	NIC_TEST(capabilities_are_reported),
	NIC_TEST(beyond_the_limits),
};
NIC_COUNT(queue);
