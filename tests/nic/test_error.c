/* SPDX-License-Identifier: MIT */
/* What an error does to a queue pair and its peer, posting in each state, reset and reconnect. */
#include "tests/nic/groups.h"

static struct nic_op good(struct nic *nic)
{
	return nic_faa(nic, 0, nic_at(&nic->node, 0), 1, nic->node.mr->rkey);
}

static struct nic_op denied(struct nic *nic)
{
	return nic_write(nic, 0, nic_at(&nic->node, 0), 8, 0xdeadbeef);
}

/*
 * Rule: a remote access violation ends its request with REM_ACCESS_ERR, everything behind it is
 * flushed in order, both queue pairs go to ERROR, posted RECVs on both sides are flushed, and
 * nothing behind the violation is executed.
 */
static void violation_breaks_both_sides(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (uint64_t i = 0; i < 3; i++) {
		nic_post_recv(nic->link.node, &nic->node, 100 + i, 4096, 64);
		nic_post_recv(nic->link.client, &nic->client, 200 + i, 4096, 64);
	}
	struct nic_op list[] = { good(nic), nic_signalled(denied(nic), 1),
				 nic_signalled(good(nic), 2), good(nic),
				 nic_signalled(good(nic), 4) };
	nic_post(nic->link.client, list, 5);
	uint64_t next_send = 1, next_recv = 200;
	while (next_recv < 203 || next_send < 5) {
		struct ibv_wc wc = nic_wait(nic->client.cq);
		if (wc.wr_id >= 200) {
			assert_int_equal(wc.wr_id, next_recv++);
			assert_int_equal(wc.status, IBV_WC_WR_FLUSH_ERR);
			continue;
		}
		/* wr_id 0 is the unsignalled one: a flushed request always completes. */
		assert_int_equal(wc.wr_id, next_send == 3 ? 0 : next_send);
		assert_int_equal(wc.status,
				 next_send == 1 ? IBV_WC_REM_ACCESS_ERR : IBV_WC_WR_FLUSH_ERR);
		next_send++;
	}
	for (uint64_t i = 0; i < 3; i++)
		nic_expect(nic->node.cq, 100 + i, IBV_WC_WR_FLUSH_ERR);
	nic_state_becomes(nic, nic->link.client, IBV_QPS_ERR);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
	assert_int_equal(nic_load(nic->node.memory), 1);
}

/* Rule: an unsignalled request that fails still completes, with its error. */
static void unsignalled_failure_is_reported(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op op = denied(nic);
	op.wr.wr_id = 77;
	nic_post(nic->link.client, &op, 1);
	nic_expect(nic->client.cq, 77, IBV_WC_REM_ACCESS_ERR);
}

/* Rule: a violation on one queue pair does not touch another between the same two sides. */
static void others_are_not_touched(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link other = nic_link_another(nic);
	assert_int_equal(nic_run(nic->link.client, denied(nic)), IBV_WC_REM_ACCESS_ERR);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
	nic_run_ok(other.client, good(nic));
	assert_int_equal(nic_state(nic, other.client), IBV_QPS_RTS);
	assert_int_equal(nic_state(nic, other.node), IBV_QPS_RTS);
}

/* Rule: moved to ERROR by its owner, a queue pair flushes what is posted and what will be. */
static void error_state_flushes(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	nic_post_recv(nic->link.client, &nic->client, 1, 0, 64);
	assert_int_equal(ops->qp_error(nic->link.client), 0);
	assert_int_equal(nic_state(nic, nic->link.client), IBV_QPS_ERR);
	nic_expect(nic->client.cq, 1, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(nic_run(nic->link.client, good(nic)), IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(nic_load(nic->node.memory), 0);
}

/* Rule: a RECV that is posted in ERROR is flushed like one that was posted before. */
static void recv_posted_in_error_is_flushed(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_wc wc;
	assert_int_equal(nic->client.fabric->ops->qp_error(nic->link.client), 0);
	nic_post_recv(nic->link.client, &nic->client, 2, 0, 64);
	if (nic_differs(__func__))
		assert_false(nic_try_wait(nic->client.cq, 20, &wc));
	else
		nic_expect(nic->client.cq, 2, IBV_WC_WR_FLUSH_ERR);
}

/* Rule: so does the call that does not wait, at once where nobody is in the middle of an access. */
static void error_without_waiting(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	nic_post_recv(nic->link.node, &nic->node, 1, 0, 64);
	assert_int_equal(nic->node.fabric->ops->qp_error_try(nic->link.node), 0);
	assert_int_equal(nic_state(nic, nic->link.node), IBV_QPS_ERR);
	nic_expect(nic->node.cq, 1, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(nic->node.fabric->ops->qp_error_try(nic->link.node), 0);
}

/* Rule: a SEND that waits for a RECV is flushed when its queue pair is moved to ERROR. */
static void waiting_send_is_flushed(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op list[] = { nic_signalled(nic_send(&nic->client, 0, 8), 1),
				 nic_signalled(good(nic), 2) };
	struct ibv_wc wc;
	nic_post(nic->link.client, list, 2);
	assert_false(nic_try_wait(nic->client.cq, 5, &wc));
	assert_int_equal(nic->client.fabric->ops->qp_error(nic->link.client), 0);
	nic_expect(nic->client.cq, 1, IBV_WC_WR_FLUSH_ERR);
	nic_expect(nic->client.cq, 2, IBV_WC_WR_FLUSH_ERR);
	nic_post_recv(nic->link.node, &nic->node, 3, 0, 64);
	assert_false(nic_try_wait(nic->node.cq, 5, &wc));
	assert_int_equal(nic_load(nic->node.memory), 0);
}

/* Rule: requests to a peer in ERROR are not executed: RETRY_EXC after the timeouts. */
static void peer_in_error(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.client_params.timeout = 10;
	struct nic_link link = nic_link_open(nic, &spec);
	assert_int_equal(nic->node.fabric->ops->qp_error(link.node), 0);
	assert_int_equal(nic_run(link.client, good(nic)), IBV_WC_RETRY_EXC_ERR);
	nic_state_becomes(nic, link.client, IBV_QPS_ERR);
	assert_int_equal(nic_load(nic->node.memory), 0);
}

/*
 * Rule: before RTS nothing can be sent: ibv_post_send refuses with EINVAL in RESET and INIT. RECVs can
 * be posted from INIT on, and are used once connected.
 */
static void posting_before_connected(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	struct nic_link_spec spec = nic_link_usual(nic);
	struct nic_link link = { .client = nic_qp_open(nic, &nic->client, &spec),
				 .node = nic_qp_open(nic, &nic->node, &spec) };
	struct ptni_qp_address client, node;
	struct nic_op op =
		nic_signalled(nic_faa(nic, 0, nic_at(&nic->node, 64), 1, nic->node.mr->rkey), 1);
	size_t bad = 9;
	assert_int_equal(nic_state(nic, link.client), IBV_QPS_RESET);
	assert_int_equal(nic_try_post(link.client, &op, 1, &bad), EINVAL);
	assert_int_equal(bad, nic_differs(__func__) ? 9 : 0);
	assert_int_equal(ops->qp_init(link.client, &spec.client_params), 0);
	assert_int_equal(ops->qp_init(link.node, &spec.node_params), 0);
	assert_int_equal(nic_state(nic, link.client), IBV_QPS_INIT);
	assert_int_equal(nic_try_post(link.client, &op, 1, &bad), EINVAL);
	nic_post_recv(link.node, &nic->node, 6, 0, 64);
	assert_int_equal(ops->qp_address(link.client, &client), 0);
	assert_int_equal(ops->qp_address(link.node, &node), 0);
	assert_int_equal(ops->qp_connect(link.client, &spec.client_params, &node), 0);
	assert_int_equal(ops->qp_connect(link.node, &spec.node_params, &client), 0);
	assert_int_equal(nic_state(nic, link.client), IBV_QPS_RTS);
	struct nic_op send = nic_signalled(nic_send(&nic->client, 0, 8), 7);
	nic_post(link.client, &send, 1);
	/* Twice refused, and yet executed: the device pinned here kept the request. */
	for (int i = 0; nic_differs(__func__) && i < 2; i++)
		nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	nic_expect(nic->client.cq, 7, IBV_WC_SUCCESS);
	nic_expect(nic->node.cq, 6, IBV_WC_SUCCESS);
	assert_int_equal(nic_load(nic->node.memory + 64), nic_differs(__func__) ? 2 : 0);
}

/* Rule: a RECV cannot be posted in RESET. */
static void recv_in_reset_is_refused(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	struct ibv_qp *qp = nic_qp_open(nic, &nic->node, &spec);
	struct ibv_sge sge = { nic_at(&nic->node, 0), 64, nic->node.mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = 1, .sg_list = &sge, .num_sge = 1 }, *bad;
	assert_int_equal(ibv_post_recv(qp, &wr, &bad), EINVAL);
}

/* Rule: states change only as verbs allow: no INIT from RTS, no connecting from RESET. */
static void wrong_transitions_are_refused(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	struct nic_link_spec spec = nic_link_usual(nic);
	struct ptni_qp_address address;
	struct ibv_qp *qp = nic_qp_open(nic, &nic->client, &spec);
	assert_int_equal(ops->qp_address(nic->link.node, &address), 0);
	assert_int_equal(ops->qp_connect(qp, &spec.client_params, &address), -EINVAL);
	assert_int_equal(nic_state(nic, qp), IBV_QPS_RESET);
	assert_int_equal(ops->qp_connect(nic->link.client, &spec.client_params, &address), -EINVAL);
	nic_run_ok(nic->link.client, good(nic));
}

/* Rule: after reset and a new exchange of addresses a broken pair works as a new one, many times. */
static void reset_and_reconnect(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		ROUNDS = 30
	};
	for (uint64_t i = 0; i < ROUNDS; i++) {
		nic_post_recv(nic->link.node, &nic->node, i, 4096, 64);
		nic_run_ok(nic->link.client, good(nic));
		nic_run_ok(nic->link.client, nic_send(&nic->client, 0, 8));
		nic_expect(nic->node.cq, i, IBV_WC_SUCCESS);
		assert_int_equal(nic_run(nic->link.client, denied(nic)), IBV_WC_REM_ACCESS_ERR);
		nic_link_renew(nic, &nic->link);
	}
	assert_int_equal(nic_load(nic->node.memory), ROUNDS);
}

/* Rule: reset drops posted RECVs without completions; they do not come back after reconnecting. */
static void reset_drops_work(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	nic_post_recv(nic->link.node, &nic->node, 1, 4096, 64);
	nic_link_renew(nic, &nic->link);
	assert_int_equal(nic_state(nic, nic->link.node), IBV_QPS_RTS);
	nic_post_recv(nic->link.node, &nic->node, 2, 4096, 64);
	nic_run_ok(nic->link.client, nic_send(&nic->client, 0, 8));
	nic_expect(nic->node.cq, 2, IBV_WC_SUCCESS);
	assert_int_equal(nic_drain(nic->node.cq), 0);
}

const struct CMUnitTest nic_error_tests[] = {
	NIC_TEST(violation_breaks_both_sides),
	NIC_TEST(unsignalled_failure_is_reported),
	NIC_TEST(others_are_not_touched),
	NIC_TEST(error_state_flushes),
	NIC_TEST(recv_posted_in_error_is_flushed),
	NIC_TEST(error_without_waiting),
	NIC_TEST(waiting_send_is_flushed),
	NIC_TEST(peer_in_error),
	NIC_TEST(posting_before_connected),
	NIC_TEST(recv_in_reset_is_refused),
	NIC_TEST(wrong_transitions_are_refused),
	NIC_TEST(reset_and_reconnect),
	NIC_TEST(reset_drops_work),
};
NIC_COUNT(error);
