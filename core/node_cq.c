/* SPDX-License-Identifier: MIT */
/*
 * What lanes share: completion queues, opened as they are needed so that none can overrun, and
 * message buffers, cut from slabs of NIC memory.
 */
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>

/* --- completion queues -------------------------------------------------------------------------- */

static int cq_make(struct ptn_node *node, struct ptni_node_cq **cq_out)
{
	struct ptni_node_cq *cq = calloc(1, sizeof(*cq));
	int ret;

	if (!cq)
		return -ENOMEM;
	cq->node = node;
	cq->entries = node->limits.cqe_max < PTNI_CQ_ENTRIES ? node->limits.cqe_max :
							       PTNI_CQ_ENTRIES;
	ret = node->ops->cq_open(node->fabric, cq->entries, &cq->cq);
	if (ret) {
		free(cq);
		return ret;
	}
	cq->source = (struct ptni_source){ .kind = PTNI_SOURCE_CQ,
					   .fd = node->ops->cq_fd(cq->cq),
					   .owner = cq };
	ret = ptni_loop_watch(node, &cq->source);
	if (ret) {
		node->ops->cq_close(cq->cq);
		free(cq);
		return ret;
	}
	cds_list_add_tail(&cq->link, &node->cqs);
	*cq_out = cq;
	return 0;
}

int ptni_cq_reserve(struct ptn_node *node, uint32_t entries, struct ptni_node_cq **cq_out)
{
	struct ptni_node_cq *cq;
	int ret;

	cds_list_for_each_entry(cq, &node->cqs, link)
		if (cq->entries - cq->reserved >= entries)
			break;
	if (&cq->link == &node->cqs) {
		if ((ret = cq_make(node, &cq)))
			return ret;
		if (cq->entries < entries)
			return PTN_E_NODE_FULL;
	}
	cq->reserved += entries;
	*cq_out = cq;
	return 0;
}

void ptni_cq_release(struct ptni_node_cq *cq, uint32_t entries)
{
	cq->reserved -= entries;
}

void ptni_cqs_close(struct ptn_node *node)
{
	struct ptni_node_cq *cq, *next;

	cds_list_for_each_entry_safe(cq, next, &node->cqs, link) {
		ptni_loop_unwatch(node, &cq->source);
		cds_list_del(&cq->link);
		node->ops->cq_close(cq->cq);
		free(cq);
	}
}

/* --- message buffers ----------------------------------------------------------------------------- */

enum {
	SLAB_BUFFERS = 32,
	SLAB_BYTES = SLAB_BUFFERS * PTNI_LANE_BUFFER
};

struct ptni_slab {
	struct ptni_slab *next;
	uint8_t *memory;
	struct ibv_mr *mr;
	uint32_t used; /* bit by buffer */
};

static int slab_make(struct ptn_node *node, struct ptni_slab **slab_out)
{
	struct ptni_slab *slab = calloc(1, sizeof(*slab));
	void *memory;
	int ret;

	if (!slab)
		return -ENOMEM;
	ret = node->ops->memory_alloc(node->fabric, SLAB_BYTES, &memory);
	if (ret) {
		free(slab);
		return ret;
	}
	slab->memory = memory;
	ret = node->ops->mr_register(node->pd, memory, SLAB_BYTES, IBV_ACCESS_LOCAL_WRITE,
				     &slab->mr);
	if (ret) {
		node->ops->memory_free(node->fabric, memory, SLAB_BYTES);
		free(slab);
		return ret;
	}
	slab->next = node->slabs;
	node->slabs = slab;
	*slab_out = slab;
	return 0;
}

int ptni_buffer_get(struct ptn_node *node, uint8_t **buffer_out, uint32_t *lkey_out)
{
	struct ptni_slab *slab = node->slabs;
	int ret, i;

	while (slab && slab->used == UINT32_MAX)
		slab = slab->next;
	if (!slab && (ret = slab_make(node, &slab)))
		return ret;
	i = __builtin_ctz(~slab->used);
	slab->used |= UINT32_C(1) << i;
	*buffer_out = slab->memory + (size_t)i * PTNI_LANE_BUFFER;
	*lkey_out = slab->mr->lkey;
	return 0;
}

void ptni_buffer_put(struct ptn_node *node, uint8_t *buffer)
{
	for (struct ptni_slab *slab = node->slabs; slab; slab = slab->next)
		if (buffer >= slab->memory && buffer < slab->memory + SLAB_BYTES)
			slab->used &= ~(UINT32_C(1) << (buffer - slab->memory) / PTNI_LANE_BUFFER);
}

void ptni_buffers_close(struct ptn_node *node)
{
	while (node->slabs) {
		struct ptni_slab *slab = node->slabs;

		node->slabs = slab->next;
		node->ops->mr_deregister(slab->mr);
		node->ops->memory_free(node->fabric, slab->memory, SLAB_BYTES);
		free(slab);
	}
}
