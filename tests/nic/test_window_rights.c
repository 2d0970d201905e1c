/* SPDX-License-Identifier: MIT */
/* Rights of a window, and through which queue pair it may be used. */
#include "tests/nic/groups.h"

enum {
	PAGE = 4096
};

/*
 * Rule: a window allows exactly what it was bound with: READ needs the read right, WRITE the write
 * right, CAS and FAA the atomic right, and none stands in for another. What is denied changes nothing
 * on either side.
 */
static void rights_matrix(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (size_t i = 0; i < 8; i++) {
		for (int kind = 0; kind < NIC_KINDS; kind++) {
			struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, nic_rights_sets[i]);
			nic_store(nic->client.memory, 3);
			nic_store(nic->node.memory, 4);
			enum ibv_wc_status status =
				nic_run(nic->link.client,
					nic_access(nic, kind, nic_at(&nic->node, 0), mw->rkey));
			nic_window_close(nic, mw);
			if (nic_rights_allow(nic_rights_sets[i], kind)) {
				assert_int_equal(status, IBV_WC_SUCCESS);
				continue;
			}
			assert_int_equal(status, IBV_WC_REM_ACCESS_ERR);
			assert_int_equal(nic_load(nic->node.memory), 4);
			assert_int_equal(nic_load(nic->client.memory), 3);
			nic_link_renew(nic, &nic->link);
		}
	}
}

/* Rule: a denied CAS that would have succeeded does not swap, a denied FAA does not add. */
static void denied_atomics_do_nothing(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	int rights = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, rights);
	struct nic_op ops[] = { nic_cas(nic, 8, nic_at(&nic->node, 0), 0, 1, mw->rkey),
				nic_faa(nic, 8, nic_at(&nic->node, 0), 1, mw->rkey) };
	nic_store(nic->client.memory + 8, 99);
	assert_int_equal(nic_run(nic->link.client, ops[0]), IBV_WC_REM_ACCESS_ERR);
	nic_window_close(nic, mw);
	nic_link_renew(nic, &nic->link);
	mw = nic_window_bound(nic, 0, PAGE, rights);
	ops[1].wr.wr.atomic.rkey = mw->rkey;
	assert_int_equal(nic_run(nic->link.client, ops[1]), IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(nic_load(nic->node.memory), 0);
	assert_int_equal(nic_load(nic->client.memory + 8), 99);
}

/* Rule: a denied WRITE of any length changes no byte, not even those within the window. */
static void denied_write_changes_no_byte(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, 1 << 16, IBV_ACCESS_REMOTE_READ);
	memset(nic->client.memory, 0xff, 1 << 16);
	assert_int_equal(nic_run(nic->link.client,
				 nic_write(nic, 0, nic_at(&nic->node, 0), 1 << 16, mw->rkey)),
			 IBV_WC_REM_ACCESS_ERR);
	for (size_t i = 0; i < 1 << 16; i += 8)
		assert_int_equal(nic_load(nic->node.memory + i), 0);
}

/*
 * Rule: a type 2 window works through the queue pair it was bound on and no other, not even one of the
 * same domain. The wrong pair breaks; window and right pair do not notice.
 */
static void other_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link other = nic_link_another(nic);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	struct nic_op read = nic_read(nic, 0, nic_at(&nic->node, 0), 8, mw->rkey);
	assert_int_equal(nic_run(other.client, read), IBV_WC_REM_ACCESS_ERR);
	nic_state_becomes(nic, other.node, IBV_QPS_ERR);
	nic_run_ok(nic->link.client, read);
	assert_int_equal(nic_state(nic, nic->link.node), IBV_QPS_RTS);
}

/* Rule: nor through a queue pair of another domain. */
static void queue_pair_of_another_domain(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.node_pd = nic_pd_open(nic, &nic->node);
	struct nic_link other = nic_link_open(nic, &spec);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	struct nic_op read = nic_read(nic, 0, nic_at(&nic->node, 0), 8, mw->rkey);
	assert_int_equal(nic_run(other.client, read), IBV_WC_REM_ACCESS_ERR);
	nic_run_ok(nic->link.client, read);
}

/* Rule: the queue pair's access flags bound its windows too. */
static void queue_pair_flags_bound_windows(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.node_params.access_flags = IBV_ACCESS_REMOTE_READ;
	nic->link = nic_link_open(nic, &spec);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	nic_run_ok(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, mw->rkey));
	nic_store(nic->client.memory, 1);
	enum ibv_wc_status status =
		nic_run(nic->link.client, nic_write(nic, 0, nic_at(&nic->node, 0), 8, mw->rkey));
	assert_true(status == IBV_WC_REM_INV_REQ_ERR || status == IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(nic_load(nic->node.memory), 0);
}

/* Rule: a window's rkey is no lkey: its holder cannot name local memory with it. */
static void rkey_is_no_lkey(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->client.pd);
	assert_int_equal(nic_run_bind(nic->link.client, mw, nic->client.mr, nic_at(&nic->client, 0),
				      PAGE, NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	struct nic_op read = nic_read(nic, 0, nic_at(&nic->node, 0), 8, nic->node.mr->rkey);
	read.sge.lkey = mw->rkey;
	enum ibv_wc_status status = nic_run(nic->link.client, read);
	assert_true(status == IBV_WC_LOC_PROT_ERR || status == IBV_WC_LOC_QP_OP_ERR);
}

const struct CMUnitTest nic_window_rights_tests[] = {
	NIC_TEST(rights_matrix),
	NIC_TEST(denied_atomics_do_nothing),
	NIC_TEST(denied_write_changes_no_byte),
	NIC_TEST(other_queue_pair),
	NIC_TEST(queue_pair_of_another_domain),
	NIC_TEST(queue_pair_flags_bound_windows),
	NIC_TEST(rkey_is_no_lkey),
};
NIC_COUNT(window_rights);
