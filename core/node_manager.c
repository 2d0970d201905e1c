/* SPDX-License-Identifier: MIT */
#include "core/node_manager.h"

#include "core/base/log.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

enum {
	NUMBER_MASK = 0x7fffffff,
	INCARNATION_MASK = 0xfff,
	CQES = 2 * (PTNI_MANAGER_DEPTH + 1),
};

static_assert(PTNI_MANAGER_DEPTH * sizeof(uint64_t) <= PTNI_LANE_BUFFER, "results fit a buffer");

static uint64_t wr_id_of(const struct ptni_manager *manager, uint32_t number)
{
	uint32_t id = (PTNI_ID_MANAGERS + manager->index) |
		      (manager->incarnation & INCARNATION_MASK) << PTNI_ID_SLOT_BITS;

	return (uint64_t)id << 32 | (number & NUMBER_MASK);
}

static int qp_make(struct ptn_node *node, struct ibv_cq *cq, struct ibv_qp **qp_out)
{
	struct ibv_qp_init_attr attr = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = { .max_send_wr = PTNI_MANAGER_DEPTH,
			 .max_recv_wr = 1,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	return node->ops->qp_open(node->pd, &attr, qp_out);
}

static int pair_connect(struct ptni_manager *manager)
{
	const struct ptni_fabric_ops *ops = manager->node->ops;
	struct ptni_qp_params params = {
		.access_flags = IBV_ACCESS_REMOTE_ATOMIC,
		.retry_count = 6,
		.rnr_retry = 6,
		.timeout = 12,
		.min_rnr_timer = 1,
		.rd_atomic = manager->node->limits.rd_atomic_max < 16 ?
				     (uint8_t)manager->node->limits.rd_atomic_max :
				     16,
	};
	struct ptni_qp_address one, other;
	int ret;

	if ((ret = ops->qp_init(manager->qp, &params)) ||
	    (ret = ops->qp_init(manager->target, &params)) ||
	    (ret = ops->qp_address(manager->qp, &one)) ||
	    (ret = ops->qp_address(manager->target, &other)) ||
	    (ret = ops->qp_connect(manager->target, &params, &one)))
		return ret;
	return ops->qp_connect(manager->qp, &params, &other);
}

/* The target's window over the control area; its completion makes the manager usable. */
static int area_bind(struct ptni_manager *manager)
{
	struct ptn_node *node = manager->node;
	struct ibv_send_wr *bad, wr = {
		.wr_id = wr_id_of(manager, 0) | PTNI_WR_RECV,
		.opcode = IBV_WR_BIND_MW,
		.send_flags = IBV_SEND_SIGNALED,
	};

	manager->mw = ibv_alloc_mw(node->pd, IBV_MW_TYPE_2);
	if (!manager->mw)
		return PTN_E_NODE_FULL;
	manager->rkey = ibv_inc_rkey(manager->mw->rkey);
	wr.bind_mw.mw = manager->mw;
	wr.bind_mw.rkey = manager->rkey;
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
		.mr = node->control_mr,
		.addr = (uint64_t)(uintptr_t)node->control,
		.length = node->control_len_bytes,
		.mw_access_flags = IBV_ACCESS_REMOTE_ATOMIC,
	};
	return -ibv_post_send(manager->target, &wr, &bad);
}

static int manager_build(struct ptni_manager *manager)
{
	int ret = pair_connect(manager);

	if (!ret)
		ret = area_bind(manager);
	manager->building = !ret;
	return ret;
}

static void area_unbind(struct ptni_manager *manager)
{
	if (manager->mw)
		ibv_dealloc_mw(manager->mw);
	manager->mw = NULL;
}

static void manager_rebuild(struct ptni_manager *manager)
{
	const struct ptni_fabric_ops *ops = manager->node->ops;
	int ret;

	manager->incarnation++;
	if (!(ret = ops->qp_reset(manager->qp)) && !(ret = ops->qp_reset(manager->target)))
		ret = manager_build(manager);
	if (ret)
		PTNI_LOG(ERROR, core, "loop-back queue pair %u cannot be rebuilt: %s",
			 manager->index, ptn_strerror(ret));
}

/* Nothing is posted any more: the session queues up again if it has more to do. */
static void owner_release(struct ptni_manager *manager)
{
	struct ptni_node_session *session = manager->owner;

	if (!session || !cds_list_empty(&manager->posted))
		return;
	manager->owner = NULL;
	session->manager = NULL;
	if (!cds_list_empty(&session->ops))
		cds_list_add_tail(&session->ops_link, &manager->node->sessions_waiting);
}

/* Everything under way is unknown; the pair is made anew by the next beat. */
static void manager_down(struct ptni_manager *manager)
{
	const struct ptni_fabric_ops *ops = manager->node->ops;
	struct ptni_manager_op *op, *next;
	CDS_LIST_HEAD(unknown);

	manager->up = manager->building = false;
	ops->qp_error(manager->qp);
	ops->qp_error(manager->target);
	area_unbind(manager);
	ptni_node_beat_soon(manager->node);
	cds_list_splice(&manager->posted, &unknown);
	CDS_INIT_LIST_HEAD(&manager->posted);
	manager->head = manager->tail = 0;
	cds_list_for_each_entry_safe(op, next, &unknown, link) {
		cds_list_del_init(&op->link);
		op->done(op, -EIO, 0);
	}
	owner_release(manager);
}

static void wr_fill(struct ptni_manager *manager, const struct ptni_manager_op *op,
		    struct ibv_send_wr *wr, struct ibv_sge *sge)
{
	*wr = (struct ibv_send_wr){ .wr_id = wr_id_of(manager, manager->head) };
	if (op->kind == PTNI_MANAGER_INVALIDATE) {
		wr->opcode = IBV_WR_LOCAL_INV;
		wr->invalidate_rkey = op->rkey;
		return;
	}
	*sge = (struct ibv_sge){
		.addr = (uint64_t)(uintptr_t)&manager->results[manager->head % PTNI_MANAGER_DEPTH],
		.length = sizeof(uint64_t),
		.lkey = manager->results_lkey,
	};
	wr->opcode = IBV_WR_ATOMIC_CMP_AND_SWP;
	wr->sg_list = sge;
	wr->num_sge = 1;
	wr->wr.atomic.remote_addr = op->addr;
	wr->wr.atomic.rkey = manager->rkey;
	wr->wr.atomic.compare_add = op->expected;
	wr->wr.atomic.swap = op->desired;
}

/* One doorbell of its owner's work. */
static int list_post(struct ptni_manager *manager)
{
	struct cds_list_head *queued = &manager->owner->ops;
	struct ibv_send_wr wr[PTNI_MANAGER_LIST], *bad;
	struct ibv_sge sge[PTNI_MANAGER_LIST];
	int count = 0;

	if (cds_list_empty(&manager->posted))
		manager->progress_ns = ptni_node_clock_ns(manager->node);
	while (count < PTNI_MANAGER_LIST && !cds_list_empty(queued) &&
	       manager->head - manager->tail < PTNI_MANAGER_DEPTH) {
		struct ptni_manager_op *op =
			cds_list_first_entry(queued, struct ptni_manager_op, link);

		cds_list_del(&op->link);
		cds_list_add_tail(&op->link, &manager->posted);
		wr_fill(manager, op, &wr[count], &sge[count]);
		if (count)
			wr[count - 1].next = &wr[count];
		manager->head++;
		count++;
	}
	if (!count)
		return 0;
	wr[count - 1].send_flags = IBV_SEND_SIGNALED;
	if (ibv_post_send(manager->qp, wr, &bad))
		manager_down(manager);
	return count;
}

static int owner_post(struct ptni_manager *manager)
{
	int count = 0, posted;

	while (manager->owner && manager->up && !cds_list_empty(&manager->owner->ops) &&
	       (posted = list_post(manager)) > 0)
		count += posted;
	return count;
}

static struct ptni_manager *manager_idle(struct ptn_node *node)
{
	for (uint32_t i = 0; i < node->manager_count; i++)
		if (node->managers[i]->up && !node->managers[i]->owner)
			return node->managers[i];
	return NULL;
}

/* No pair is coming, and none that is in use completes anything. */
static bool all_stuck(struct ptn_node *node)
{
	uint64_t now_ns = ptni_node_clock_ns(node);

	for (uint32_t i = 0; i < node->manager_count; i++) {
		const struct ptni_manager *manager = node->managers[i];

		if (manager->building ||
		    (manager->up && now_ns < manager->progress_ns + PTNI_MANAGER_STUCK_NS))
			return false;
	}
	return true;
}

static int manager_open(struct ptn_node *node);

/* As many more as there are, if that many sessions wait: so the time until one is served grows with the
 * logarithm of how many peers are stopped. */
static void managers_grow(struct ptn_node *node)
{
	uint32_t before = node->manager_count;
	struct cds_list_head *waiting;
	int ret = 0;

	if (node->managers_full || !all_stuck(node))
		return;
	cds_list_for_each(waiting, &node->sessions_waiting)
	{
		if (node->manager_count == 2 * before || (ret = manager_open(node)))
			break;
	}
	PTNI_LOG(INFO, core,
		 "%u loop-back queue pairs wait for peers that are stopped in the middle of an "
		 "access; %u more serve the others",
		 before, node->manager_count - before);
	if (!ret)
		return;
	node->managers_full = true;
	ptni_node_beat_soon(node);
	PTNI_LOG(
		WARN, core,
		"no queue pair is left to take windows back with (%s): end or resume the processes "
		"that are stopped",
		ptn_strerror(ret));
}

int ptni_managers_flush(struct ptn_node *node)
{
	struct ptni_manager *manager;
	int count = 0;

	if (cds_list_empty(&node->sessions_waiting))
		for (uint32_t i = 0; i < node->manager_count; i++)
			count += owner_post(node->managers[i]);
	while (!cds_list_empty(&node->sessions_waiting) && (manager = manager_idle(node))) {
		struct ptni_node_session *session = cds_list_first_entry(
			&node->sessions_waiting, struct ptni_node_session, ops_link);

		cds_list_del_init(&session->ops_link);
		session->manager = manager;
		manager->owner = session;
		count += owner_post(manager);
	}
	if (!cds_list_empty(&node->sessions_waiting))
		managers_grow(node);
	return count;
}

static void posted_pop(struct ptni_manager *manager)
{
	struct ptni_manager_op *op =
		cds_list_first_entry(&manager->posted, struct ptni_manager_op, link);
	uint64_t old = manager->results[manager->tail % PTNI_MANAGER_DEPTH];

	cds_list_del_init(&op->link);
	manager->tail++;
	op->done(op, 0, op->kind == PTNI_MANAGER_CAS ? old : 0);
}

void ptni_manager_complete(struct ptn_node *node, uint32_t index, const struct ibv_wc *wc)
{
	struct ptni_manager *manager;
	uint32_t incarnation = (uint32_t)(wc->wr_id >> 32) >> PTNI_ID_SLOT_BITS;
	uint32_t number = (uint32_t)wc->wr_id & NUMBER_MASK;

	if (index >= node->manager_count)
		return;
	manager = node->managers[index];
	if (incarnation != (manager->incarnation & INCARNATION_MASK))
		return;
	if (wc->wr_id & PTNI_WR_RECV && !wc->status) {
		manager->up = true;
		manager->building = false;
		manager->mw->rkey = manager->rkey;
		return;
	}
	if (!(wc->wr_id & PTNI_WR_RECV))
		while (manager->tail != manager->head &&
		       (manager->tail & NUMBER_MASK) != ((number + !wc->status) & NUMBER_MASK))
			posted_pop(manager);
	owner_release(manager);
	manager->progress_ns = ptni_node_clock_ns(node);
	if (!wc->status || !(manager->up || manager->building))
		return;
	PTNI_LOG(WARN, core, "loop-back queue pair %u failed: %s", index,
		 ibv_wc_status_str(wc->status));
	manager_down(manager);
}

void ptni_managers_beat(struct ptn_node *node)
{
	node->managers_full = false;
	for (uint32_t i = 0; i < node->manager_count; i++)
		if (!node->managers[i]->up && !node->managers[i]->building)
			manager_rebuild(node->managers[i]);
}

void ptni_manager_submit(struct ptn_node *node, struct ptni_manager_op *op)
{
	struct ptni_node_session *session = op->session;

	if (!session->manager && cds_list_empty(&session->ops_link))
		cds_list_add_tail(&session->ops_link, &node->sessions_waiting);
	cds_list_add_tail(&op->link, &session->ops);
}

bool ptni_managers_busy(struct ptn_node *node)
{
	for (uint32_t i = 0; i < node->manager_count; i++)
		if (!cds_list_empty(&node->managers[i]->posted))
			return true;
	return false;
}

static void manager_close(struct ptni_manager *manager)
{
	const struct ptni_fabric_ops *ops = manager->node->ops;

	if (manager->qp)
		ops->qp_error(manager->qp);
	if (manager->target)
		ops->qp_error(manager->target);
	area_unbind(manager);
	if (manager->qp)
		ops->qp_close(manager->qp);
	if (manager->target)
		ops->qp_close(manager->target);
	if (manager->cq)
		ptni_cq_release(manager->cq, CQES);
	if (manager->results)
		ptni_buffer_put(manager->node, (uint8_t *)manager->results);
	free(manager);
}

static int manager_make(struct ptni_manager *manager)
{
	struct ptn_node *node = manager->node;
	uint8_t *results;
	int ret = ptni_buffer_get(node, &results, &manager->results_lkey);

	if (ret)
		return ret;
	manager->results = (uint64_t *)(void *)results;
	ret = ptni_cq_reserve(node, CQES, &manager->cq);
	if (ret || (ret = qp_make(node, manager->cq->cq, &manager->qp)) ||
	    (ret = qp_make(node, manager->cq->cq, &manager->target)))
		return ret;
	return manager_build(manager);
}

static int manager_open(struct ptn_node *node)
{
	struct ptni_manager **managers, *manager;
	int ret;

	if (node->manager_count == PTNI_MANAGERS_MAX)
		return PTN_E_NODE_FULL;
	managers = realloc(node->managers, (node->manager_count + 1) * sizeof(*managers));
	if (!managers)
		return -ENOMEM;
	node->managers = managers;
	manager = calloc(1, sizeof(*manager));
	if (!manager)
		return -ENOMEM;
	manager->node = node;
	manager->index = node->manager_count;
	CDS_INIT_LIST_HEAD(&manager->posted);
	ret = manager_make(manager);
	if (ret) {
		manager_close(manager);
		return ret;
	}
	node->managers[node->manager_count++] = manager;
	return 0;
}

int ptni_managers_open(struct ptn_node *node)
{
	for (uint32_t i = 0; i < PTNI_MANAGERS; i++) {
		int ret = manager_open(node);

		if (ret)
			return ret;
	}
	return 0;
}

void ptni_managers_close(struct ptn_node *node)
{
	for (uint32_t i = 0; i < node->manager_count; i++)
		manager_close(node->managers[i]);
	node->manager_count = 0;
	free(node->managers);
	node->managers = NULL;
}
