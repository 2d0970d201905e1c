/* SPDX-License-Identifier: MIT */
#include "tests/nic/nic.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	SLOW_MS = 1000
};

static struct {
	const char *address;
	struct ptni_fabric *node;
	struct ptni_fabric *client;
	struct ptni_listener *listener;
	struct ptni_channel *channels[2]; /* stay open: a backend may tie the two fabrics to them */
} suite;

const char *nic_address(void)
{
	return suite.address;
}

struct ptni_listener *nic_listener(void)
{
	return suite.listener;
}

bool nic_is_device(void)
{
	return !strcmp(suite.node->ops->name, "verbs");
}

static int introduce(void)
{
	const struct ptni_fabric_ops *ops = suite.node->ops;
	int ret = ops->listen(suite.node, suite.address, &suite.listener);
	if (ret)
		return ret;
	ret = suite.client->ops->dial(suite.client, suite.address, &suite.channels[0]);
	if (ret)
		return ret;
	uint64_t deadline = nic_now_ns() + NIC_DEADLINE_MS * 1000000ull;
	do {
		ret = ops->accept(suite.listener, &suite.channels[1]);
		nic_pause();
	} while (ret == -EAGAIN && nic_now_ns() < deadline);
	return ret;
}

int nic_open(const char *address)
{
	suite.address = address;
	int ret = nic_node_open(address, &suite.node);
	if (!ret)
		ret = ptni_fabric_open(address, NULL, &suite.client);
	if (!ret)
		ret = nic_variant_choose(suite.node->ops->name);
	return ret ? ret : introduce();
}

void nic_close(void)
{
	for (size_t i = 0; i < 2; i++)
		if (suite.channels[i])
			suite.node->ops->channel_close(suite.channels[i]);
	if (suite.listener)
		suite.node->ops->listener_close(suite.listener);
	if (suite.client)
		suite.client->ops->close(suite.client);
	if (suite.node)
		suite.node->ops->close(suite.node);
}

static int side_open(struct nic *nic, struct nic_side *side, struct ptni_fabric *fabric)
{
	void *memory;
	side->fabric = fabric;
	int ret = fabric->ops->memory_alloc(fabric, NIC_MEMORY_BYTES, &memory);
	if (ret)
		return ret;
	side->memory = memory;
	side->pd = nic_pd_open(nic, side);
	side->cq = nic_cq_open(nic, side, NIC_CQ_ENTRIES);
	side->mr = nic_mr_open(nic, side->pd, memory, NIC_MEMORY_BYTES, NIC_MR_ALL);
	return 0;
}

int nic_setup(void **state)
{
	struct nic *nic = calloc(1, sizeof(*nic));
	if (!nic)
		return -1;
	*state = nic;
	nic->start_ns = nic_now_ns();
	if (side_open(nic, &nic->node, suite.node) || side_open(nic, &nic->client, suite.client))
		return -1;
	struct nic_link_spec spec = nic_link_usual(nic);
	nic->link = nic_link_open(nic, &spec);
	return 0;
}

static const struct ptni_fabric_ops *ops_get(void)
{
	return suite.node->ops;
}

static int close_window(void *object)
{
	return -ibv_dealloc_mw(object);
}

static int close_qp(void *object)
{
	return ops_get()->qp_close(object);
}

static int close_srq(void *object)
{
	return ops_get()->srq_close(object);
}

static int close_mr(void *object)
{
	return ops_get()->mr_deregister(object);
}

static int close_cq(void *object)
{
	return ops_get()->cq_close(object);
}

static int close_pd(void *object)
{
	return ops_get()->pd_close(object);
}

static int close_all(struct nic_objects *objects, const char *kind, int (*close)(void *object))
{
	int failed = 0;
	for (size_t i = 0; i < objects->count; i++) {
		int ret = close(objects->items[i]);
		if (ret)
			print_error("teardown: closing a %s: %s\n", kind, strerror(-ret));
		failed |= ret;
	}
	return failed;
}

/* Windows first, then queue pairs, then memory: the order that every device takes well. */
int nic_teardown(void **state)
{
	struct nic *nic = *state;
	int failed = close_all(&nic->windows, "window", close_window);
	failed |= close_all(&nic->qps, "queue pair", close_qp);
	failed |= close_all(&nic->srqs, "shared receive queue", close_srq);
	failed |= close_all(&nic->mrs, "memory region", close_mr);
	failed |= close_all(&nic->cqs, "completion queue", close_cq);
	failed |= close_all(&nic->pds, "protection domain", close_pd);
	struct nic_side *sides[] = { &nic->node, &nic->client };
	for (size_t i = 0; i < 2; i++)
		if (sides[i]->memory)
			sides[i]->fabric->ops->memory_free(sides[i]->fabric, sides[i]->memory,
							   NIC_MEMORY_BYTES);
	unsigned took_ms = (unsigned)((nic_now_ns() - nic->start_ns) / 1000000);
	if (took_ms > SLOW_MS)
		print_message("[  SLOW    ] %u ms\n", took_ms);
	free(nic);
	return failed ? -1 : 0;
}

struct nic *nic_begin(void **state, const char *test)
{
	const struct nic_difference *row = nic_difference_find(test);
	if (row && row->how == NIC_SKIPPED) {
		print_message("[  REASON  ] %s: %s: %s\n", test, row->instead, row->why);
		skip();
	}
	return *state;
}

bool nic_differs(const char *test)
{
	const struct nic_difference *row = nic_difference_find(test);
	return row && row->how == NIC_PINNED;
}
