/* SPDX-License-Identifier: MIT */
/* Memory regions: rights, bounds and life of their own keys; what a queue pair lets its peer do. */
#include "tests/nic/groups.h"

/* Rule: a region's rkey allows exactly what it was registered for, in all eight combinations. */
static void rights_of_a_region(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (size_t i = 0; i < 8; i++) {
		struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, 4096,
						nic_rights_sets[i] | IBV_ACCESS_LOCAL_WRITE);
		for (int kind = 0; kind < NIC_KINDS; kind++) {
			enum ibv_wc_status status =
				nic_run(nic->link.client,
					nic_access(nic, kind, nic_at(&nic->node, 0), mr->rkey));
			assert_int_equal(status, nic_rights_allow(nic_rights_sets[i], kind) ?
							 IBV_WC_SUCCESS :
							 IBV_WC_REM_ACCESS_ERR);
			if (status)
				nic_link_renew(nic, &nic->link);
		}
	}
}

/*
 * Rule: the access flags of a queue pair bound what its peer may do through it, whatever the key says.
 * Devices report REM_INV_REQ_ERR or REM_ACCESS_ERR.
 */
static void rights_of_a_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (size_t i = 0; i < 8; i++) {
		for (int kind = 0; kind < NIC_KINDS; kind++) {
			struct nic_link_spec spec = nic_link_usual(nic);
			spec.node_params.access_flags = nic_rights_sets[i];
			struct nic_link link = nic_link_open(nic, &spec);
			nic_store(nic->client.memory, 3);
			nic_store(nic->node.memory, 4);
			enum ibv_wc_status status =
				nic_run(link.client, nic_access(nic, kind, nic_at(&nic->node, 0),
								nic->node.mr->rkey));
			if (nic_rights_allow(nic_rights_sets[i], kind)) {
				assert_int_equal(status, IBV_WC_SUCCESS);
			} else {
				assert_true(status == IBV_WC_REM_INV_REQ_ERR ||
					    status == IBV_WC_REM_ACCESS_ERR);
				assert_int_equal(nic_load(nic->node.memory), 4);
				assert_int_equal(nic_load(nic->client.memory), 3);
			}
			nic_link_close(nic, &link);
		}
	}
}

/* Rule: an access must lie in the region as a whole, on both sides and without wrapping round. */
static void bounds_of_a_region(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr =
		nic_mr_open(nic, nic->node.pd, nic->node.memory + 4096, 4096, NIC_MR_ALL);
	uint64_t start = nic_at(&nic->node, 4096);
	const struct {
		uint64_t addr;
		uint32_t len;
		bool inside;
	} cases[] = {
		{ start, 4096, true },        { start + 4088, 8, true },
		{ start + 4095, 1, true },    { start + 4096, 1, false },
		{ start - 1, 1, false },      { start - 8, 16, false },
		{ start + 4089, 8, false },   { start, 4097, false },
		{ start - 1, 4097, false },   { 0, 8, false },
		{ UINT64_MAX - 3, 8, false }, { UINT64_MAX - start + 1, 64, false },
		{ start + 65536, 8, false },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int write = 0; write < 2; write++) {
			struct nic_op op = nic_read(nic, 0, cases[i].addr, cases[i].len, mr->rkey);
			op.wr.opcode = write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
			enum ibv_wc_status status = nic_run(nic->link.client, op);
			assert_int_equal(status,
					 cases[i].inside ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
			if (status)
				nic_link_renew(nic, &nic->link);
		}
	}
}

/* Rule: a deregistered region's keys are dead, for the peer and at home. */
static void deregistered_key_is_dead(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, 4096, NIC_MR_ALL);
	uint32_t rkey = mr->rkey;
	nic_run_ok(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey));
	nic_mr_close(nic, mr);
	assert_int_equal(nic_run(nic->link.client,
				 nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey)),
			 IBV_WC_REM_ACCESS_ERR);
}

/* Rule: a region's key works only through queue pairs of its own protection domain. */
static void key_of_another_domain(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_pd *other = nic_pd_open(nic, &nic->node);
	struct ibv_mr *mr = nic_mr_open(nic, other, nic->node.memory, 4096, NIC_MR_ALL);
	assert_int_equal(nic_run(nic->link.client,
				 nic_read(nic, 0, nic_at(&nic->node, 0), 8, mr->rkey)),
			 IBV_WC_REM_ACCESS_ERR);
}

/* Rule: a region that peers may change needs LOCAL_WRITE too, and some bytes. */
static void impossible_regions_are_refused(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	struct ibv_mr *mr = NULL;
	void *memory = nic->node.memory;
	assert_int_equal(ops->mr_register(nic->node.pd, memory, 4096, IBV_ACCESS_REMOTE_WRITE, &mr),
			 -EINVAL);
	assert_int_equal(ops->mr_register(nic->node.pd, memory, 4096, IBV_ACCESS_REMOTE_ATOMIC,
					  &mr),
			 -EINVAL);
	assert_int_equal(ops->mr_register(nic->node.pd, memory, 0, NIC_MR_ALL, &mr), -EINVAL);
	assert_null(mr);
}

/* Rule: keys of live regions and windows are all different. */
static void keys_are_distinct(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		COUNT = 100
	};
	uint32_t keys[2 * COUNT];
	for (size_t i = 0; i < COUNT; i++) {
		keys[2 * i] =
			nic_mr_open(nic, nic->node.pd, nic->node.memory, 64, NIC_MR_ALL)->rkey;
		keys[2 * i + 1] = nic_window_open(nic, nic->node.pd)->rkey;
	}
	for (size_t i = 0; i < 2 * COUNT; i++)
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(keys[i] >> 8, keys[k] >> 8);
}

const struct CMUnitTest nic_region_tests[] = {
	NIC_TEST(rights_of_a_region),    NIC_TEST(rights_of_a_queue_pair),
	NIC_TEST(bounds_of_a_region),    NIC_TEST(deregistered_key_is_dead),
	NIC_TEST(key_of_another_domain), NIC_TEST(impossible_regions_are_refused),
	NIC_TEST(keys_are_distinct),
};
NIC_COUNT(region);
