/* SPDX-License-Identifier: MIT */
/* Completion queues: polling several, overrun, and waking a sleeper. */
#include "tests/nic/groups.h"

static struct nic_op faa_one(struct nic *nic)
{
	return nic_faa(nic, 0, nic_at(&nic->node, 0), 1, nic->node.mr->rkey);
}

static struct nic_link link_with_cq(struct nic *nic, struct ibv_cq *cq, uint32_t depth)
{
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.client_cq = cq;
	spec.depth = depth;
	return nic_link_open(nic, &spec);
}

static int wake_wait(struct nic *nic, struct ibv_cq *cq, int timeout_ms)
{
	return nic_readable(nic->client.fabric->ops->cq_fd(cq), timeout_ms);
}

/* Rule: ibv_poll_cq gives up to as many completions as asked for, and 0 of an empty queue. */
static void poll_several_at_once(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		COUNT = 20
	};
	struct ibv_wc wc[8];
	assert_int_equal(ibv_poll_cq(nic->client.cq, 8, wc), 0);
	struct nic_op list[COUNT];
	for (uint64_t i = 0; i < COUNT; i++)
		list[i] = nic_signalled(faa_one(nic), i);
	nic_post(nic->link.client, list, COUNT);
	uint64_t next = 0, deadline = nic_now_ns() + NIC_DEADLINE_MS * 1000000ull;
	while (next < COUNT && nic_now_ns() < deadline) {
		int got = ibv_poll_cq(nic->client.cq, 8, wc);
		assert_in_range(got, 0, 8);
		for (int i = 0; i < got; i++)
			assert_int_equal(wc[i].wr_id, next++);
	}
	assert_int_equal(next, COUNT);
}

/*
 * Rule: a completion queue that runs over is broken: no completion is made up, and the queue pairs
 * that overran it go to ERROR, so that nobody waits for what was lost.
 */
static void overrun_is_an_error(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		ENTRIES = 8,
		COUNT = 128
	};
	struct nic_link link = link_with_cq(nic, nic_cq_open(nic, &nic->client, ENTRIES), COUNT);
	struct nic_op list[COUNT];
	for (uint64_t i = 0; i < COUNT; i++)
		list[i] = nic_signalled(faa_one(nic), i);
	nic_post(link.client, list, COUNT);
	/* A second queue pair shows when the list has been worked off. */
	uint64_t deadline = nic_now_ns() + NIC_DEADLINE_MS * 1000000ull;
	if (nic_differs(__func__)) {
		while (nic_load(nic->node.memory) < COUNT && nic_now_ns() < deadline)
			nic_run_ok(nic->link.client, nic_read(nic, 64, nic_at(&nic->node, 64), 8,
							      nic->node.mr->rkey));
		assert_int_equal(nic_load(nic->node.memory), COUNT);
		assert_int_equal(nic_state(nic, link.client), IBV_QPS_RTS);
		assert_in_range(nic_drain(link.client->send_cq), ENTRIES, 4 * ENTRIES);
		return;
	}
	nic_state_becomes(nic, link.client, IBV_QPS_ERR);
	struct ibv_wc wc;
	uint64_t next = 0;
	while (ibv_poll_cq(link.client->send_cq, 1, &wc) > 0)
		assert_int_equal(wc.wr_id, next++);
	assert_in_range(next, 0, COUNT - 1);
}

/* Rule: a queue that is polled in time never overruns, however often it wraps. */
static void full_but_not_overrun(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		ENTRIES = 16,
		ROUNDS = 50
	};
	struct nic_link link = link_with_cq(nic, nic_cq_open(nic, &nic->client, ENTRIES), 64);
	struct nic_op list[ENTRIES];
	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (uint64_t i = 0; i < ENTRIES; i++)
			list[i] = nic_signalled(faa_one(nic), i);
		nic_post(link.client, list, ENTRIES);
		for (uint64_t i = 0; i < ENTRIES; i++)
			nic_expect(link.client->send_cq, i, IBV_WC_SUCCESS);
	}
	assert_int_equal(nic_load(nic->node.memory), ENTRIES * ROUNDS);
	assert_int_equal(nic_state(nic, link.client), IBV_QPS_RTS);
}

/* Rule: armed, the next completion makes the descriptor readable; disarming empties it. */
static void armed_queue_wakes(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	struct nic_op op = nic_signalled(faa_one(nic), 1);
	if (nic_differs(__func__)) {
		assert_int_equal(ops->cq_arm(nic->client.cq), 1);
		assert_int_equal(ops->cq_fd(nic->client.cq), -1);
		return;
	}
	for (int i = 0; i < 10; i++) {
		assert_int_equal(ops->cq_arm(nic->client.cq), 0);
		assert_int_equal(wake_wait(nic, nic->client.cq, 0), 0);
		nic_post(nic->link.client, &op, 1);
		assert_int_equal(wake_wait(nic, nic->client.cq, NIC_DEADLINE_MS), 1);
		ops->cq_disarm(nic->client.cq);
		assert_int_equal(wake_wait(nic, nic->client.cq, 0), 0);
		nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	}
}

/* Rule: a queue that is not armed does not wake anybody. */
static void unarmed_queue_is_silent(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	nic_run_ok(nic->link.client, faa_one(nic));
	assert_int_equal(wake_wait(nic, nic->client.cq, 0), 0);
}

/*
 * Rule: poll, arm, poll, sleep loses nothing: what completed before arming is either announced by
 * cq_arm (1) or found by the poll after it.
 */
static void arming_loses_nothing(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	enum {
		COUNT = 200
	};
	for (uint64_t i = 0; i < COUNT; i++) {
		struct nic_op op = nic_signalled(faa_one(nic), i);
		struct ibv_wc wc;
		nic_post(nic->link.client, &op, 1);
		int armed = ops->cq_arm(nic->client.cq);
		assert_in_range(armed, 0, 1);
		int got = ibv_poll_cq(nic->client.cq, 1, &wc);
		if (armed)
			assert_int_equal(got, 1);
		if (!got) {
			assert_int_equal(wake_wait(nic, nic->client.cq, NIC_DEADLINE_MS), 1);
			got = ibv_poll_cq(nic->client.cq, 1, &wc);
		}
		assert_int_equal(got, 1);
		assert_int_equal(wc.wr_id, i);
		ops->cq_disarm(nic->client.cq);
	}
}

/* Rule: an arriving SEND and an error wake as well as a success does. */
static void receive_and_error_wake(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	nic_post_recv(nic->link.node, &nic->node, 1, 0, 64);
	nic_post_recv(nic->link.node, &nic->node, 2, 0, 64);
	assert_int_equal(ops->cq_arm(nic->node.cq), 0);
	nic_run_ok(nic->link.client, nic_send(&nic->client, 0, 8));
	assert_int_equal(wake_wait(nic, nic->node.cq, NIC_DEADLINE_MS), 1);
	ops->cq_disarm(nic->node.cq);
	nic_expect(nic->node.cq, 1, IBV_WC_SUCCESS);
	assert_int_equal(ops->cq_arm(nic->node.cq), 0);
	assert_int_equal(ops->qp_error(nic->link.node), 0);
	assert_int_equal(wake_wait(nic, nic->node.cq, NIC_DEADLINE_MS), 1);
	ops->cq_disarm(nic->node.cq);
	nic_expect(nic->node.cq, 2, IBV_WC_WR_FLUSH_ERR);
}

const struct CMUnitTest nic_cq_tests[] = {
	NIC_TEST(poll_several_at_once),    NIC_TEST(overrun_is_an_error),
	NIC_TEST(full_but_not_overrun),    NIC_TEST(armed_queue_wakes),
	NIC_TEST(unarmed_queue_is_silent), NIC_TEST(arming_loses_nothing),
	NIC_TEST(receive_and_error_wake),
};
NIC_COUNT(cq);
