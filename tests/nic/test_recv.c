/* SPDX-License-Identifier: MIT */
/* SEND meets RECV: sizes, no RECV posted, invalidation along with the message. */
#include "tests/nic/groups.h"

/*
 * Rule: a message longer than its RECV is an error on both sides: LOC_LEN_ERR for the receiver,
 * REM_INV_REQ_ERR for the sender, both queue pairs to ERROR; nothing beyond the buffer is written.
 */
static void message_longer_than_buffer(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	memset(nic->client.memory, 0xee, 256);
	nic_post_recv(nic->link.node, &nic->node, 1, 0, 64);
	assert_int_equal(nic_run(nic->link.client, nic_send(&nic->client, 0, 65)),
			 nic_differs(__func__) ? IBV_WC_REM_OP_ERR : IBV_WC_REM_INV_REQ_ERR);
	nic_expect(nic->node.cq, 1,
		   nic_differs(__func__) ? IBV_WC_LOC_QP_OP_ERR : IBV_WC_LOC_LEN_ERR);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
	nic_state_becomes(nic, nic->link.client, IBV_QPS_ERR);
	assert_int_equal(nic_load(nic->node.memory + 64), 0);
}

/* Rule: a RECV needs LOCAL_WRITE: without it the message is refused and not written. */
static void recv_needs_local_write(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, 4096, 0);
	struct ibv_sge sge = { nic_at(&nic->node, 0), 64, mr->lkey };
	struct ibv_recv_wr recv = { .wr_id = 4, .sg_list = &sge, .num_sge = 1 }, *bad;
	nic_store(nic->client.memory, 5);
	assert_int_equal(ibv_post_recv(nic->link.node, &recv, &bad), 0);
	assert_int_not_equal(nic_run(nic->link.client, nic_send(&nic->client, 0, 8)),
			     IBV_WC_SUCCESS);
	struct ibv_wc wc = nic_wait(nic->node.cq);
	assert_int_equal(wc.wr_id, 4);
	assert_int_not_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(nic_load(nic->node.memory), 0);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
}

static struct nic_link rnr_link(struct nic *nic, uint8_t rnr_retry, uint8_t timeout)
{
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.client_params.rnr_retry = rnr_retry;
	spec.client_params.timeout = timeout;
	spec.node_params.min_rnr_timer = 12; /* 0.64 ms */
	return nic_link_open(nic, &spec);
}

/* Rule: rnr_retry 0: a SEND that finds no RECV fails at once with RNR_RETRY_EXC. */
static void no_recv_and_no_retry(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link link = rnr_link(nic, 0, 16);
	assert_int_equal(nic_run(link.client, nic_send(&nic->client, 0, 8)),
			 IBV_WC_RNR_RETRY_EXC_ERR);
	nic_state_becomes(nic, link.client, IBV_QPS_ERR);
	assert_int_equal(nic_state(nic, link.node), IBV_QPS_RTS);
}

/*
 * Rule: rnr_retry 7: a SEND waits for a RECV, those behind it wait too and in order, and all of them
 * arrive once there is one.
 */
static void no_recv_waits(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op list[] = {
		nic_signalled(nic_send(&nic->client, 0, 8), 1),
		nic_signalled(nic_write(nic, 0, nic_at(&nic->node, 256), 8, nic->node.mr->rkey), 2),
	};
	struct ibv_wc wc;
	nic_store(nic->client.memory, 99);
	nic_post(nic->link.client, list, 2);
	assert_false(nic_try_wait(nic->client.cq, 20, &wc));
	assert_int_equal(nic_load(nic->node.memory + 256), 0);
	nic_post_recv(nic->link.node, &nic->node, 3, 0, 64);
	if (nic_differs(__func__)) {
		assert_false(nic_try_wait(nic->node.cq, 5, &wc));
		nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
		nic_expect(nic->node.cq, 3, IBV_WC_SUCCESS);
	} else {
		nic_expect(nic->node.cq, 3, IBV_WC_SUCCESS);
		nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	}
	nic_expect(nic->client.cq, 2, IBV_WC_SUCCESS);
	assert_int_equal(nic_load(nic->node.memory), 99);
	assert_int_equal(nic_load(nic->node.memory + 256), 99);
}

/*
 * Rule: with rnr_retry 7 the wait has no end, not even after retry_count timeouts: an answer "not
 * ready" is a sign of life.
 */
static void no_recv_waits_past_the_timeout(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link link = rnr_link(nic, 7, 12); /* four times 17 ms */
	struct nic_op op = nic_signalled(nic_send(&nic->client, 0, 8), 1);
	struct ibv_wc wc;
	nic_post(link.client, &op, 1);
	if (nic_differs(__func__)) {
		nic_expect(nic->client.cq, 1, IBV_WC_RETRY_EXC_ERR);
		return;
	}
	assert_false(nic_try_wait(nic->client.cq, 150, &wc));
	nic_post_recv(link.node, &nic->node, 3, 0, 64);
	nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	nic_expect(nic->node.cq, 3, IBV_WC_SUCCESS);
}

static struct nic_op send_with_inv(struct nic *nic, uint32_t rkey)
{
	struct nic_op op = nic_send(&nic->client, 0, 16);
	op.wr.opcode = IBV_WR_SEND_WITH_INV;
	op.wr.invalidate_rkey = rkey;
	return op;
}

/*
 * Rule: SEND_WITH_INV invalidates the receiver's window before the RECV completes; the completion
 * names the key and says so in its flags. The key is then dead and the window can be bound again.
 */
static void send_with_invalidate(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, 4096, NIC_RIGHTS_ALL);
	nic_run_ok(nic->link.client, nic_read(nic, 64, nic_at(&nic->node, 0), 8, mw->rkey));
	nic_post_recv(nic->link.node, &nic->node, 1, 8192, 64);
	nic_run_ok(nic->link.client, send_with_inv(nic, mw->rkey));
	struct ibv_wc wc = nic_wait(nic->node.cq);
	assert_int_equal(wc.wr_id, 1);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.byte_len, 16);
	assert_int_equal(wc.invalidated_rkey, mw->rkey);
	if (nic_differs(__func__))
		assert_int_equal(wc.wc_flags & IBV_WC_WITH_INV, 0);
	else
		assert_int_equal(wc.wc_flags & IBV_WC_WITH_INV, IBV_WC_WITH_INV);
	uint32_t dead = mw->rkey;
	assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, nic_at(&nic->node, 0), 4096,
				      NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	nic_run_ok(nic->link.client, nic_read(nic, 64, nic_at(&nic->node, 0), 8, mw->rkey));
	assert_int_equal(nic_run(nic->link.client,
				 nic_read(nic, 64, nic_at(&nic->node, 0), 8, dead)),
			 IBV_WC_REM_ACCESS_ERR);
}

/*
 * Rule: SEND_WITH_INV of a key that is no bound window of the receiver breaks the receiver's queue
 * pair: its RECV ends in error, and nothing is invalidated. What the sender sees differs by device.
 */
static void send_with_wrong_key(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, 4096, NIC_RIGHTS_ALL);
	const uint32_t keys[] = { 0xdeadbe00, nic->node.mr->rkey, mw->rkey ^ 1 };
	for (size_t i = 0; i < 3; i++) {
		struct nic_link link = nic_link_another(nic);
		nic_post_recv(link.node, &nic->node, 1, 8192, 64);
		(void)nic_run(link.client, send_with_inv(nic, keys[i]));
		struct ibv_wc wc = nic_wait(nic->node.cq);
		assert_int_equal(wc.wr_id, 1);
		assert_int_not_equal(wc.status, IBV_WC_SUCCESS);
		nic_state_becomes(nic, link.node, IBV_QPS_ERR);
		nic_run_ok(nic->link.client,
			   nic_read(nic, 64, nic_at(&nic->node, 0), 8, nic->node.mr->rkey));
		nic_run_ok(nic->link.client, nic_read(nic, 64, nic_at(&nic->node, 0), 8, mw->rkey));
	}
}

/*
 * Rule: SEND_WITH_INV reaches only windows of the queue pair that it arrives on: nobody takes away
 * another's window by guessing its key.
 */
static void send_through_another_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link other = nic_link_another(nic);
	struct ibv_mw *mw = nic_window_bound(nic, 0, 4096, NIC_RIGHTS_ALL);
	nic_post_recv(other.node, &nic->node, 1, 8192, 64);
	(void)nic_run(other.client, send_with_inv(nic, mw->rkey));
	struct ibv_wc wc = nic_wait(nic->node.cq);
	enum ibv_wc_status status =
		nic_run(nic->link.client, nic_read(nic, 64, nic_at(&nic->node, 0), 8, mw->rkey));
	if (nic_differs(__func__)) {
		assert_int_equal(wc.status, IBV_WC_SUCCESS);
		assert_int_equal(status, IBV_WC_REM_ACCESS_ERR);
		return;
	}
	assert_int_not_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(status, IBV_WC_SUCCESS);
	nic_state_becomes(nic, other.node, IBV_QPS_ERR);
}

/* Rule: the same twice in a row is such a wrong key the second time; nobody is harmed. */
static void send_with_same_key_twice(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, 4096, NIC_RIGHTS_ALL);
	for (uint64_t i = 0; i < 2; i++) {
		nic_post_recv(nic->link.node, &nic->node, i, 8192, 64);
		(void)nic_run(nic->link.client, send_with_inv(nic, mw->rkey));
		struct ibv_wc wc = nic_wait(nic->node.cq);
		assert_int_equal(wc.wr_id, i);
		assert_true((wc.status == IBV_WC_SUCCESS) == (i == 0));
	}
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
}

const struct CMUnitTest nic_recv_tests[] = {
	NIC_TEST(message_longer_than_buffer),
	NIC_TEST(recv_needs_local_write),
	NIC_TEST(no_recv_and_no_retry),
	NIC_TEST(no_recv_waits),
	NIC_TEST(no_recv_waits_past_the_timeout),
	NIC_TEST(send_with_invalidate),
	NIC_TEST(send_with_wrong_key),
	NIC_TEST(send_through_another_queue_pair),
	NIC_TEST(send_with_same_key_twice),
};
NIC_COUNT(recv);
