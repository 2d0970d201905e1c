/* SPDX-License-Identifier: MIT */
/* LOCAL_INV: what it ends, what it waits for, and what it must refuse. */
#include "tests/nic/groups.h"

enum {
	PAGE = 4096
};

static enum ibv_wc_status read_with(struct nic *nic, uint32_t rkey)
{
	return nic_run(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey));
}

/* On a link of its own: the invalidation must fail, and break only the queue pair that posted it. */
static void invalidate_fails(struct nic *nic, uint32_t rkey)
{
	struct nic_link link = nic_link_another(nic);
	enum ibv_wc_status status = nic_run(link.node, nic_invalidate(rkey));
	assert_true(status == IBV_WC_LOC_QP_OP_ERR || status == IBV_WC_MW_BIND_ERR);
	nic_state_becomes(nic, link.node, IBV_QPS_ERR);
	assert_int_equal(nic_state(nic, link.client), IBV_QPS_RTS);
	nic_link_close(nic, &link);
}

/* Rule: a key that is nobody's, a region's key and a stale tag cannot be invalidated. */
static void foreign_keys(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	invalidate_fails(nic, 0xdeadbe00);
	invalidate_fails(nic, nic->node.mr->rkey);
	invalidate_fails(nic, mw->rkey ^ 1);
	invalidate_fails(nic, mw->rkey ^ 0x8000);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_SUCCESS);
	assert_int_equal(read_with(nic, nic->node.mr->rkey), IBV_WC_SUCCESS);
}

/* Rule: the key of a deallocated window cannot be invalidated. */
static void deallocated_window(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	uint32_t rkey = mw->rkey;
	nic_window_close(nic, mw);
	invalidate_fails(nic, rkey);
}

/* Rule: nor can a window be invalidated twice. */
static void twice(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
	invalidate_fails(nic, mw->rkey);
	assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, nic_at(&nic->node, 0), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_SUCCESS);
}

/* Rule: nor one that was never bound. */
static void never_bound(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	invalidate_fails(nic, nic_window_open(nic, nic->node.pd)->rkey);
}

/*
 * Rule: any queue pair of the window's domain may invalidate it. That is how a node takes a window away
 * when the queue pair it is bound on is broken (R6).
 */
static void through_another_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link manager = nic_link_another(nic);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	assert_int_equal(nic->node.fabric->ops->qp_error(nic->link.node), 0);
	nic_run_ok(manager.node, nic_invalidate(mw->rkey));
	assert_int_equal(nic_run_bind(manager.node, mw, nic->node.mr, nic_at(&nic->node, 0), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	nic_run_ok(manager.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, mw->rkey));
}

/* Rule: a queue pair of another domain may not. */
static void through_another_domain(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.node_pd = nic_pd_open(nic, &nic->node);
	struct nic_link link = nic_link_open(nic, &spec);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	enum ibv_wc_status status = nic_run(link.node, nic_invalidate(mw->rkey));
	if (nic_differs(__func__)) {
		assert_int_equal(status, IBV_WC_SUCCESS);
		return;
	}
	assert_true(status == IBV_WC_LOC_QP_OP_ERR || status == IBV_WC_MW_BIND_ERR);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_SUCCESS);
}

/*
 * Rule: LOCAL_INV takes effect after every request posted before it on its queue pair: an own READ
 * through the peer's window just before it still works, in one list.
 */
static void after_everything_before_it(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *own = nic_window_open(nic, nic->client.pd);
	struct ibv_mw *mw = nic_window_bound(nic, 0, 1 << 18, NIC_RIGHTS_ALL);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(nic_run_bind(nic->link.client, own, nic->client.mr,
					      nic_at(&nic->client, 0), PAGE, NIC_RIGHTS_ALL),
				 IBV_WC_SUCCESS);
		struct nic_op list[] = {
			nic_read(nic, 1 << 18, nic_at(&nic->node, 0), 1 << 18, mw->rkey),
			nic_signalled(nic_invalidate(own->rkey), 2),
		};
		nic_store(nic->node.memory + (1 << 18) - 8, (uint64_t)i + 1);
		nic_post(nic->link.client, list, 2);
		nic_expect(nic->client.cq, 2, IBV_WC_SUCCESS);
		assert_int_equal(nic_load(nic->client.memory + (1 << 19) - 8), i + 1);
	}
}

/* Rule: posted on a broken queue pair, LOCAL_INV is flushed and the window stays bound. */
static void flushed_invalidation(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link other = nic_link_another(nic);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	assert_int_equal(nic->node.fabric->ops->qp_error(other.node), 0);
	assert_int_equal(nic_run(other.node, nic_invalidate(mw->rkey)), IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_SUCCESS);
	nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_REM_ACCESS_ERR);
}

const struct CMUnitTest nic_window_invalidate_tests[] = {
	NIC_TEST(foreign_keys),
	NIC_TEST(deallocated_window),
	NIC_TEST(twice),
	NIC_TEST(never_bound),
	NIC_TEST(through_another_queue_pair),
	NIC_TEST(through_another_domain),
	NIC_TEST(after_everything_before_it),
	NIC_TEST(flushed_invalidation),
};
NIC_COUNT(window_invalidate);
