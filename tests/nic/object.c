/* SPDX-License-Identifier: MIT */
#include "tests/nic/nic.h"

#include <stdio.h>

void nic_objects_add(struct nic_objects *objects, void *object)
{
	assert_true(objects->count < NIC_OBJECTS_MAX);
	objects->items[objects->count++] = object;
}

bool nic_objects_take(struct nic_objects *objects, const void *object)
{
	for (size_t i = 0; i < objects->count; i++) {
		if (objects->items[i] != object)
			continue;
		objects->items[i] = objects->items[--objects->count];
		return true;
	}
	return false;
}

static const struct ptni_fabric_ops *ops_of(const struct nic *nic)
{
	return nic->node.fabric->ops;
}

struct ibv_pd *nic_pd_open(struct nic *nic, struct nic_side *side)
{
	struct ibv_pd *pd;
	assert_int_equal(side->fabric->ops->pd_open(side->fabric, &pd), 0);
	nic_objects_add(&nic->pds, pd);
	return pd;
}

struct ibv_cq *nic_cq_open(struct nic *nic, struct nic_side *side, uint32_t entries)
{
	struct ibv_cq *cq;
	assert_int_equal(side->fabric->ops->cq_open(side->fabric, entries, &cq), 0);
	nic_objects_add(&nic->cqs, cq);
	return cq;
}

struct ibv_mr *nic_mr_open(struct nic *nic, struct ibv_pd *pd, void *addr, size_t len, int access)
{
	struct ibv_mr *mr;
	assert_int_equal(ops_of(nic)->mr_register(pd, addr, len, access, &mr), 0);
	nic_objects_add(&nic->mrs, mr);
	return mr;
}

void nic_mr_close(struct nic *nic, struct ibv_mr *mr)
{
	assert_int_equal(ops_of(nic)->mr_deregister(mr), 0);
	assert_true(nic_objects_take(&nic->mrs, mr));
}

struct ibv_srq *nic_srq_open(struct nic *nic, struct ibv_pd *pd, uint32_t depth)
{
	struct ibv_srq *srq;
	assert_int_equal(ops_of(nic)->srq_open(pd, depth, 1, &srq), 0);
	nic_objects_add(&nic->srqs, srq);
	return srq;
}

struct ibv_mw *nic_window_open(struct nic *nic, struct ibv_pd *pd)
{
	struct ibv_mw *mw = ibv_alloc_mw(pd, IBV_MW_TYPE_2);
	assert_non_null(mw);
	nic_objects_add(&nic->windows, mw);
	return mw;
}

struct ibv_mw *nic_window_bound(struct nic *nic, size_t offset, size_t len, int rights)
{
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	enum ibv_wc_status status = nic_run_bind(nic->link.node, mw, nic->node.mr,
						 nic_at(&nic->node, offset), len, rights);
	assert_int_equal(status, IBV_WC_SUCCESS);
	return mw;
}

void nic_window_close(struct nic *nic, struct ibv_mw *mw)
{
	assert_int_equal(ibv_dealloc_mw(mw), 0);
	assert_true(nic_objects_take(&nic->windows, mw));
}

struct nic_link_spec nic_link_usual(struct nic *nic)
{
	/* 2^16 * 4.096 us = 0.27 s, four times: no test fails because a guest was slow. */
	const struct ptni_qp_params params = {
		.access_flags = NIC_RIGHTS_ALL,
		.retry_count = 3,
		.rnr_retry = 7,
		.timeout = 16,
		.min_rnr_timer = 1,
		.rd_atomic = 8,
	};
	return (struct nic_link_spec){
		.client_pd = nic->client.pd,
		.node_pd = nic->node.pd,
		.client_cq = nic->client.cq,
		.node_cq = nic->node.cq,
		.depth = NIC_DEPTH,
		.sge = NIC_SGE,
		.inline_bytes = NIC_INLINE_BYTES,
		.client_params = params,
		.node_params = params,
	};
}

struct ibv_qp *nic_qp_open(struct nic *nic, struct nic_side *side, const struct nic_link_spec *spec)
{
	bool node = side == &nic->node;
	struct ibv_cq *cq = node ? spec->node_cq : spec->client_cq;
	struct ibv_srq *srq = node ? spec->node_srq : NULL;
	struct ibv_qp_init_attr attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.srq = srq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = spec->depth,
			 .max_recv_wr = srq ? 0 : spec->depth,
			 .max_send_sge = spec->sge,
			 .max_recv_sge = srq ? 0 : spec->sge,
			 .max_inline_data = spec->inline_bytes },
	};
	struct ibv_qp *qp;
	assert_int_equal(ops_of(nic)->qp_open(node ? spec->node_pd : spec->client_pd, &attr, &qp),
			 0);
	nic_objects_add(&nic->qps, qp);
	return qp;
}

void nic_link_connect(struct nic *nic, const struct nic_link *link)
{
	const struct nic_link_spec *spec = &link->spec;
	const struct ptni_fabric_ops *ops = ops_of(nic);
	struct ptni_qp_address client, node;
	assert_int_equal(ops->qp_init(link->client, &spec->client_params), 0);
	assert_int_equal(ops->qp_init(link->node, &spec->node_params), 0);
	assert_int_equal(ops->qp_address(link->client, &client), 0);
	assert_int_equal(ops->qp_address(link->node, &node), 0);
	assert_int_equal(ops->qp_connect(link->client, &spec->client_params, &node), 0);
	assert_int_equal(ops->qp_connect(link->node, &spec->node_params, &client), 0);
}

struct nic_link nic_link_open(struct nic *nic, const struct nic_link_spec *spec)
{
	struct nic_link link = {
		.client = nic_qp_open(nic, &nic->client, spec),
		.node = nic_qp_open(nic, &nic->node, spec),
		.spec = *spec,
	};
	nic_link_connect(nic, &link);
	return link;
}

struct nic_link nic_link_another(struct nic *nic)
{
	struct nic_link_spec spec = nic_link_usual(nic);
	return nic_link_open(nic, &spec);
}

void nic_link_renew(struct nic *nic, const struct nic_link *link)
{
	assert_int_equal(ops_of(nic)->qp_reset(link->client), 0);
	assert_int_equal(ops_of(nic)->qp_reset(link->node), 0);
	nic_drain(link->client->send_cq);
	nic_drain(link->node->send_cq);
	nic_link_connect(nic, link);
}

void nic_link_close(struct nic *nic, const struct nic_link *link)
{
	assert_int_equal(ops_of(nic)->qp_close(link->client), 0);
	assert_true(nic_objects_take(&nic->qps, link->client));
	assert_int_equal(ops_of(nic)->qp_close(link->node), 0);
	assert_true(nic_objects_take(&nic->qps, link->node));
}
