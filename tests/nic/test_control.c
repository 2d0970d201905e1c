/* SPDX-License-Identifier: MIT */
/* The control operations: what they refuse, memory, limits, addresses. */
#include "tests/nic/groups.h"

#include <stdlib.h>

/* Rule: an address without a known scheme or with a malformed rest opens nothing: -EINVAL. */
static void malformed_addresses(void **state)
{
	(void)nic_begin(state, __func__);
	static const char *const addresses[] = {
		"",           "inproc",      "inproc:",     "shm:", "verbs:",
		"verbs:rxe0", "verbs:rxe0,", "tcp:1.2.3.4", ":",    "INPROC:x"
	};
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct ptni_fabric *fabric = NULL;
		assert_int_equal(ptni_fabric_open(addresses[i], NULL, &fabric), -EINVAL);
		assert_null(fabric);
	}
}

/* Rule: a device that is not there: -ENODEV. */
static void missing_device(void **state)
{
	(void)nic_begin(state, __func__);
	struct ptni_fabric *fabric = NULL;
	assert_int_equal(ptni_fabric_open("verbs:no_such_device,/tmp/x", NULL, &fabric), -ENODEV);
	assert_null(fabric);
}

/* Rule: memory_alloc gives zero, page aligned memory and no more than it was told to. */
static void memory_is_zero_aligned_and_bounded(void **state)
{
	(void)nic_begin(state, __func__);
	const struct ptni_fabric_options options = { .memory_max_bytes = 8 << 20 };
	static const size_t lengths[] = { 1, 4096, 100000, 2 << 20, (2 << 20) + 1 };
	struct ptni_fabric *fabric;
	void *addr[5], *more = NULL;
	assert_int_equal(ptni_fabric_open(nic_address(), &options, &fabric), 0);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < 5; i++) {
			assert_int_equal(fabric->ops->memory_alloc(fabric, lengths[i], &addr[i]),
					 0);
			assert_int_equal((uintptr_t)addr[i] % 4096, 0);
			for (size_t k = 0; k < lengths[i]; k += 64)
				assert_int_equal(((uint8_t *)addr[i])[k], 0);
			memset(addr[i], 0xff, lengths[i]);
		}
		for (size_t i = 0; i < 5; i++)
			fabric->ops->memory_free(fabric, addr[i], lengths[i]);
	}
	assert_int_equal(fabric->ops->memory_alloc(fabric, 9 << 20, &more), -ENOMEM);
	assert_int_equal(fabric->ops->memory_alloc(fabric, SIZE_MAX - 10, &more), -ENOMEM);
	assert_int_equal(fabric->ops->memory_alloc(fabric, 0, &more), -EINVAL);
	assert_null(more);
	fabric->ops->close(fabric);
}

/* Rule: the limits are those of something usable. */
static void limits_are_sane(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ptni_fabric_limits limits = { 0 };
	nic->node.fabric->ops->limits(nic->node.fabric, &limits);
	assert_true(limits.qp_max >= 64 && limits.cq_max >= 64 && limits.srq_max >= 1);
	assert_true(limits.mr_max >= 64 && limits.mw_max >= 1024);
	assert_true(limits.wr_max >= NIC_DEPTH && limits.cqe_max >= NIC_CQ_ENTRIES);
	assert_true(limits.sge_max >= NIC_SGE && limits.inline_max >= NIC_INLINE_BYTES);
	assert_true(limits.rd_atomic_max >= 8 && limits.message_max >= 1 << 20);
}

/* Rule: the inline limit that is reported can be had. */
static void inline_limit_can_be_had(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ptni_fabric_limits limits;
	nic->client.fabric->ops->limits(nic->client.fabric, &limits);
	struct nic_link_spec spec = nic_link_usual(nic);
	spec.inline_bytes = limits.inline_max;
	struct nic_link link = nic_link_open(nic, &spec);
	struct nic_op op =
		nic_write(nic, 0, nic_at(&nic->node, 0), limits.inline_max, nic->node.mr->rkey);
	memset(nic->client.memory, 7, limits.inline_max);
	op.wr.send_flags = IBV_SEND_INLINE;
	nic_run_ok(link.client, op);
	assert_memory_equal(nic->node.memory, nic->client.memory, limits.inline_max);
}

/* Rule: retry_count 7 means for ever on some devices, and is refused, as is any value too big. */
static void wrong_parameters(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	struct nic_link_spec spec = nic_link_usual(nic);
	struct ibv_qp *qp = nic_qp_open(nic, &nic->client, &spec);
	struct ptni_qp_params wrong[5];
	for (size_t i = 0; i < 5; i++)
		wrong[i] = spec.client_params;
	wrong[0].retry_count = 7;
	wrong[1].rnr_retry = 8;
	wrong[2].timeout = 32;
	wrong[3].min_rnr_timer = 32;
	wrong[4].access_flags = IBV_ACCESS_ON_DEMAND;
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(ops->qp_init(qp, &wrong[i]), -EINVAL);
		assert_int_equal(nic_state(nic, qp), IBV_QPS_RESET);
	}
}

/* Rule: an address comes from the peer: one that is garbage is refused and does no harm. */
static void garbage_for_an_address(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->client.fabric->ops;
	struct nic_link_spec spec = nic_link_usual(nic);
	unsigned seed = 20240611;
	for (int i = 0; i < 50; i++) {
		struct ibv_qp *qp = nic_qp_open(nic, &nic->client, &spec);
		struct ptni_qp_address garbage;
		for (size_t k = 0; k < sizeof(garbage.bytes); k++)
			garbage.bytes[k] = i ? (uint8_t)(rand_r(&seed) >> 7) : 0;
		assert_int_equal(ops->qp_init(qp, &spec.client_params), 0);
		assert_int_equal(ops->qp_connect(qp, &spec.client_params, &garbage), -EINVAL);
	}
	nic_run_ok(nic->link.client,
		   nic_read(nic, 0, nic_at(&nic->node, 0), 8, nic->node.mr->rkey));
}

/* Rule: two queue pairs have two addresses. */
static void addresses_are_distinct(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link other = nic_link_another(nic);
	struct ptni_qp_address one, two;
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	assert_int_equal(ops->qp_address(nic->link.node, &one), 0);
	assert_int_equal(ops->qp_address(other.node, &two), 0);
	assert_memory_not_equal(one.bytes, two.bytes, sizeof(one.bytes));
	assert_int_not_equal(nic->link.node->qp_num, other.node->qp_num);
}

/* Rule: a queue pair may be connected to one of its own fabric: that is how a node changes words. */
static void loop_back(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	struct nic_link_spec spec = nic_link_usual(nic);
	struct nic_link link = { nic_qp_open(nic, &nic->node, &spec),
				 nic_qp_open(nic, &nic->node, &spec), spec };
	nic_link_connect(nic, &link);
	struct nic_op op = nic_faa(nic, 0, nic_at(&nic->node, 0), 5, nic->node.mr->rkey);
	op.sge = (struct ibv_sge){ nic_at(&nic->node, 64), 8, nic->node.mr->lkey };
	nic_run_ok(link.client, op);
	assert_int_equal(nic_load(nic->node.memory), 5);
	assert_int_equal(ops->qp_reset(link.client), 0);
}

const struct CMUnitTest nic_control_tests[] = {
	NIC_TEST(malformed_addresses),
	NIC_TEST(missing_device),
	NIC_TEST(memory_is_zero_aligned_and_bounded),
	NIC_TEST(limits_are_sane),
	NIC_TEST(inline_limit_can_be_had),
	NIC_TEST(wrong_parameters),
	NIC_TEST(garbage_for_an_address),
	NIC_TEST(addresses_are_distinct),
	NIC_TEST(loop_back),
};
NIC_COUNT(control);
