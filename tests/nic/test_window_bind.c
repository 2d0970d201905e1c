/* SPDX-License-Identifier: MIT */
/* Binds that must fail, and that a failed bind leaves everything as it was. */
#include "tests/nic/groups.h"

enum {
	PAGE = 4096
};

/*
 * Posts the bind on a link of its own: it must fail with MW_BIND_ERR, the posting queue pair goes to
 * ERROR, the peer's does not (nothing went over the wire), and the window's key allows nothing.
 */
static void bind_fails(struct nic *nic, struct ibv_mr *mr, uint64_t addr, uint64_t len, int rights)
{
	struct nic_link link = nic_link_another(nic);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic_run_bind(link.node, mw, mr, addr, len, rights), IBV_WC_MW_BIND_ERR);
	nic_state_becomes(nic, link.node, IBV_QPS_ERR);
	assert_int_equal(nic_state(nic, link.client), IBV_QPS_RTS);
	nic_window_close(nic, mw);
	nic_link_close(nic, &link);
}

/* Rule: a window cannot be bound over a region that was registered without MW_BIND. */
static void region_without_mw_bind(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, PAGE,
					NIC_MR_ALL & ~IBV_ACCESS_MW_BIND);
	bind_fails(nic, mr, nic_at(&nic->node, 0), PAGE, IBV_ACCESS_REMOTE_READ);
}

/* Rule: a window that lets peers change memory needs a region with LOCAL_WRITE. */
static void region_without_local_write(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, PAGE,
					IBV_ACCESS_REMOTE_READ | IBV_ACCESS_MW_BIND);
	bind_fails(nic, mr, nic_at(&nic->node, 0), PAGE, IBV_ACCESS_REMOTE_WRITE);
	bind_fails(nic, mr, nic_at(&nic->node, 0), PAGE, IBV_ACCESS_REMOTE_ATOMIC);
}

/* Rule: a window's region belongs to the window's domain. */
static void region_of_another_domain(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_pd *other = nic_pd_open(nic, &nic->node);
	struct ibv_mr *mr = nic_mr_open(nic, other, nic->node.memory, PAGE, NIC_MR_ALL);
	if (!nic_differs(__func__)) {
		bind_fails(nic, mr, nic_at(&nic->node, 0), PAGE, NIC_RIGHTS_ALL);
		return;
	}
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic_run_bind(nic->link.node, mw, mr, nic_at(&nic->node, 0), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	nic_window_close(nic, mw);
}

/* Rule: a window is bound through a queue pair of its own domain. */
static void window_of_another_domain(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic_pd_open(nic, &nic->node));
	assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, nic_at(&nic->node, 0), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_MW_BIND_ERR);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
}

/* Rule: a window lies inside its region: not before it, not behind it. */
static void beside_the_region(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr =
		nic_mr_open(nic, nic->node.pd, nic->node.memory + PAGE, PAGE, NIC_MR_ALL);
	uint64_t start = nic_at(&nic->node, PAGE);
	const struct {
		uint64_t addr;
		uint64_t len;
	} cases[] = { { start - 1, 2 },       { start, PAGE + 1 }, { start + PAGE, 1 },
		      { start - PAGE, PAGE }, { start + 1, PAGE }, { 0, PAGE } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		bind_fails(nic, mr, cases[i].addr, cases[i].len, NIC_RIGHTS_ALL);
}

/* Rule: the address of a zero-based window is where it starts, so it too lies inside its region. */
static void zero_based_beside_the_region(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr =
		nic_mr_open(nic, nic->node.pd, nic->node.memory + PAGE, PAGE, NIC_MR_ALL);
	int rights = NIC_RIGHTS_ALL | IBV_ACCESS_ZERO_BASED;
	const uint64_t starts[] = { nic_at(&nic->node, 0), nic_at(&nic->node, 2 * PAGE) };
	for (size_t i = 0; i < 2; i++) {
		if (!nic_differs(__func__)) {
			bind_fails(nic, mr, starts[i], PAGE, rights);
			continue;
		}
		struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
		assert_int_equal(nic_run_bind(nic->link.node, mw, mr, starts[i], PAGE, rights),
				 IBV_WC_SUCCESS);
		nic_window_close(nic, mw);
	}
}

/* Rule: nor does it wrap round the end of the address space. */
static void out_of_the_address_space(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint64_t start = nic_at(&nic->node, 0);
	const struct {
		uint64_t addr;
		uint64_t len;
	} cases[] = { { start, UINT64_MAX }, { start + 8, UINT64_MAX - 7 }, { start, -start } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (!nic_differs(__func__)) {
			bind_fails(nic, nic->node.mr, cases[i].addr, cases[i].len, NIC_RIGHTS_ALL);
			continue;
		}
		struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
		assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, cases[i].addr,
					      cases[i].len, NIC_RIGHTS_ALL),
				 IBV_WC_SUCCESS);
		nic_window_close(nic, mw);
	}
}

/* Rule: a type 2 window of length zero cannot be bound. */
static void length_zero(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	bind_fails(nic, nic->node.mr, nic_at(&nic->node, 0), 0, NIC_RIGHTS_ALL);
}

/*
 * Rule: a bound window must be invalidated before it is bound again, by whichever queue pair. The queue
 * pair that tried breaks; the old binding stays as it was.
 */
static void bound_already(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, IBV_ACCESS_REMOTE_READ);
	struct nic_link other = nic_link_another(nic);
	assert_int_equal(nic_run_bind(other.node, mw, nic->node.mr, nic_at(&nic->node, PAGE), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_MW_BIND_ERR);
	nic_state_becomes(nic, other.node, IBV_QPS_ERR);
	nic_run_ok(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, mw->rkey));
	assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, nic_at(&nic->node, PAGE),
				      PAGE, NIC_RIGHTS_ALL),
			 IBV_WC_MW_BIND_ERR);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
}

/*
 * Rule: the key a bind asks for differs from the current one in its tag only, and the window's current
 * key must be named rightly: a stale one fails.
 */
static void stale_current_key(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	uint32_t current = mw->rkey;
	nic_run_ok(nic->link.node, nic_invalidate(current));
	mw->rkey = current - 1;
	enum ibv_wc_status status =
		nic_run(nic->link.node, nic_bind(mw, ibv_inc_rkey(current), nic->node.mr,
						 nic_at(&nic->node, 0), PAGE, NIC_RIGHTS_ALL));
	mw->rkey = current;
	assert_int_equal(status, IBV_WC_MW_BIND_ERR);
}

/*
 * Rule: a fresh tag on every bind (R12): with the tag it has, a window is not bound again, for whoever
 * held the old key could use the new binding.
 */
static void same_tag_again(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
	enum ibv_wc_status status =
		nic_run(nic->link.node, nic_bind(mw, mw->rkey, nic->node.mr, nic_at(&nic->node, 0),
						 PAGE, NIC_RIGHTS_ALL));
	assert_int_equal(status, nic_differs(__func__) ? IBV_WC_SUCCESS : IBV_WC_MW_BIND_ERR);
}

/* Rule: a bind flushed behind an error is not executed: the key it would have made allows nothing. */
static void flushed_bind(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *bad = nic_window_open(nic, nic->node.pd);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	uint64_t addr = nic_at(&nic->node, 0);
	struct nic_op list[] = {
		nic_signalled(nic_bind(bad, ibv_inc_rkey(bad->rkey), nic->node.mr, addr, 0,
				       NIC_RIGHTS_ALL),
			      1),
		nic_signalled(nic_bind(mw, ibv_inc_rkey(mw->rkey), nic->node.mr, addr, PAGE,
				       NIC_RIGHTS_ALL),
			      2),
	};
	nic_post(nic->link.node, list, 2);
	nic_expect(nic->node.cq, 1, IBV_WC_MW_BIND_ERR);
	nic_expect(nic->node.cq, 2, IBV_WC_WR_FLUSH_ERR);
	nic_link_renew(nic, &nic->link);
	assert_int_equal(nic_run(nic->link.client,
				 nic_read(nic, 0, addr, 8, ibv_inc_rkey(mw->rkey))),
			 IBV_WC_REM_ACCESS_ERR);
}

/* Rule: before its queue pair is connected, a window cannot be bound on it. */
static void before_connected(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	struct ibv_qp *qp = nic_qp_open(nic, &nic->node, &spec);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic->node.fabric->ops->qp_init(qp, &spec.node_params), 0);
	struct nic_op op = nic_bind(mw, ibv_inc_rkey(mw->rkey), nic->node.mr, nic_at(&nic->node, 0),
				    PAGE, NIC_RIGHTS_ALL);
	assert_int_equal(nic_try_post(qp, &op, 1, NULL), EINVAL);
}

const struct CMUnitTest nic_window_bind_tests[] = {
	NIC_TEST(region_without_mw_bind),
	NIC_TEST(region_without_local_write),
	NIC_TEST(region_of_another_domain),
	NIC_TEST(window_of_another_domain),
	NIC_TEST(beside_the_region),
	NIC_TEST(zero_based_beside_the_region),
	NIC_TEST(out_of_the_address_space),
	NIC_TEST(length_zero),
	NIC_TEST(bound_already),
	NIC_TEST(stale_current_key),
	NIC_TEST(same_tag_again),
	NIC_TEST(flushed_bind),
	NIC_TEST(before_connected),
};
NIC_COUNT(window_bind);
