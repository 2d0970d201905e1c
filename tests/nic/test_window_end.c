/* SPDX-License-Identifier: MIT */
/* How a bound window ends when what it rests on is taken away, in every order. */
#include "tests/nic/groups.h"

enum {
	PAGE = 4096
};

static enum ibv_wc_status read_with(struct nic *nic, uint32_t rkey)
{
	return nic_run(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey));
}

/* Rule: a bound window may be deallocated at any time; its key is dead from then on. */
static void deallocate_while_bound(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	uint32_t rkey = mw->rkey;
	assert_int_equal(read_with(nic, rkey), IBV_WC_SUCCESS);
	nic_window_close(nic, mw);
	assert_int_equal(read_with(nic, rkey), IBV_WC_REM_ACCESS_ERR);
}

/* Rule: a region is not deregistered under a bound window; both live on until the window is gone. */
static void deregister_under_a_window(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, PAGE, NIC_MR_ALL);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic_run_bind(nic->link.node, mw, mr, nic_at(&nic->node, 0), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	int ret = nic->node.fabric->ops->mr_deregister(mr);
	assert_true(ret == -EBUSY || ret == -EINVAL);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_SUCCESS);
	nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
	nic_mr_close(nic, mr);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_REM_ACCESS_ERR);
}

/*
 * Rule: closing a queue pair invalidates the windows bound to it: the region can be deregistered, and
 * the window can be bound again elsewhere or deallocated.
 */
static void close_queue_pair_with_window(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link old = nic->link;
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, PAGE, NIC_MR_ALL);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	uint64_t addr = nic_at(&nic->node, 0);
	assert_int_equal(nic_run_bind(old.node, mw, mr, addr, PAGE, NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	nic_link_close(nic, &old);
	nic_mr_close(nic, mr);
	nic->link = nic_link_another(nic);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_REM_ACCESS_ERR);
	nic_link_renew(nic, &nic->link);
	assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, addr, PAGE, NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_SUCCESS);
}

/* Rule: a window bound on a broken queue pair gives nothing through it, and can be deallocated. */
static void window_on_a_broken_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.client_params.timeout = 10;
	nic->link = nic_link_open(nic, &spec);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	assert_int_equal(nic->node.fabric->ops->qp_error(nic->link.node), 0);
	assert_int_equal(read_with(nic, mw->rkey), IBV_WC_RETRY_EXC_ERR);
	nic_window_close(nic, mw);
}

/*
 * Rule: after a reset the window can be invalidated through another queue pair or deallocated, whether
 * or not the device kept it bound over the reset.
 */
static void deallocate_after_reset(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	uint32_t rkey = mw->rkey;
	nic_link_renew(nic, &nic->link);
	nic_window_close(nic, mw);
	assert_int_equal(read_with(nic, rkey), IBV_WC_REM_ACCESS_ERR);
}

/* Rule: a domain with a queue pair, a region or a window in it is not closed. */
static void domain_in_use(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	struct ibv_pd *pd = nic_pd_open(nic, &nic->node);
	struct ibv_mr *mr = nic_mr_open(nic, pd, nic->node.memory, PAGE, NIC_MR_ALL);
	assert_int_equal(ops->pd_close(pd), -EBUSY);
	nic_mr_close(nic, mr);
	struct ibv_mw *mw = nic_window_open(nic, pd);
	assert_int_equal(ops->pd_close(pd), -EBUSY);
	nic_window_close(nic, mw);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.node_pd = pd;
	struct nic_link link = nic_link_open(nic, &spec);
	assert_int_equal(ops->pd_close(pd), -EBUSY);
	nic_link_close(nic, &link);
	assert_int_equal(ops->pd_close(pd), 0);
	assert_true(nic_objects_take(&nic->pds, pd));
}

/* Rule: a completion queue in use is not closed. */
static void completion_queue_in_use(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	assert_int_equal(nic->node.fabric->ops->cq_close(nic->node.cq), -EBUSY);
	nic_run_ok(nic->link.client,
		   nic_read(nic, 0, nic_at(&nic->node, 0), 8, nic->node.mr->rkey));
}

const struct CMUnitTest nic_window_end_tests[] = {
	NIC_TEST(deallocate_while_bound),       NIC_TEST(deregister_under_a_window),
	NIC_TEST(close_queue_pair_with_window), NIC_TEST(window_on_a_broken_queue_pair),
	NIC_TEST(deallocate_after_reset),       NIC_TEST(domain_in_use),
	NIC_TEST(completion_queue_in_use),
};
NIC_COUNT(window_end);
