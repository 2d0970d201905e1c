/* SPDX-License-Identifier: MIT */
/*
 * A NIC of a simulated process: a software NIC whose table of functions is ours. Control operations are the
 * software NIC's own, told to observers; posting, and what has a time, is elsewhere.
 */
#include "core/fabric/sim/state.h"

#include <errno.h>
#include <stdlib.h>

/* Free on Linux' x86-64 and arm64, also under the sanitizers; the thread sanitizer has other places. */
#define NIC_BASE   (PTNI_TSAN ? UINT64_C(0x4000000000) : UINT64_C(0x200000000000))
#define NIC_STRIDE (UINT64_C(1) << 32)

enum {
	RING_BYTES = 64 << 20,
	MEMORY_BYTES = 256 << 20,
	GONE_NS = 200000, /* until the peers of a dead process get no answer any more */
};

static struct sim_nic *nic_of(struct ptni_fabric *fabric)
{
	return sim_nic_of(fabric->context);
}

static struct sim_qp *sim_qp_of(struct ibv_qp *qp)
{
	return soft_qp_of(qp)->driver;
}

static struct ptni_sim_event event_of(const struct sim_nic *nic, enum ptni_sim_kind kind)
{
	return (struct ptni_sim_event){ .kind = kind, .process = nic->process->number };
}

/* ---- memory, regions, windows */

static void limits(struct ptni_fabric *fabric, struct ptni_fabric_limits *limits_out)
{
	struct sim_nic *nic = nic_of(fabric);
	const struct ptni_sim_limits *own = &nic->sim->config.limits;

	nic->soft_ops->limits(fabric, limits_out);
	if (own->mw_max)
		limits_out->mw_max = own->mw_max;
	if (own->cqe_max)
		limits_out->cqe_max = own->cqe_max;
	if (own->wr_max)
		limits_out->wr_max = own->wr_max;
}

/* As the software NIC's, but never of huge pages: a run touches few. */
static int memory_alloc(struct ptni_fabric *fabric, size_t len, void **addr_out)
{
	struct sim_nic *nic = nic_of(fabric);
	uint64_t offset;
	int ret;

	ptni_sim_enter(nic->process);
	if (!len)
		return -EINVAL;
	if (len > nic->soft->memory_max)
		return -ENOMEM;
	len = (len + SOFT_PAGE - 1) & ~(size_t)(SOFT_PAGE - 1);
	ret = ptni_soft_pool_take(&nic->soft->memory_pool, len, SOFT_PAGE, &offset);
	if (!ret)
		*addr_out = (uint8_t *)nic->soft->segment + offset;
	return ret;
}

static int mr_register(struct ibv_pd *pd, void *addr, size_t len, int access,
		       struct ibv_mr **mr_out)
{
	struct sim_nic *nic = sim_nic_of(pd->context);
	struct ptni_sim_event event = event_of(nic, PTNI_SIM_REGION_OPEN);
	int ret;

	ptni_sim_enter(nic->process);
	ret = ptni_soft_mr_register(pd, addr, len, access, mr_out);
	if (ret)
		return ret;
	event.key = (*mr_out)->rkey;
	event.addr = (uint64_t)(uintptr_t)addr;
	event.len = len;
	event.access = (uint32_t)access;
	ptni_sim_tell(nic->sim, &event);
	return 0;
}

static int mr_deregister(struct ibv_mr *mr)
{
	struct sim_nic *nic = sim_nic_of(mr->context);
	struct ptni_sim_event event = event_of(nic, PTNI_SIM_REGION_CLOSE);
	int ret;

	ptni_sim_enter(nic->process);
	event.key = mr->rkey;
	ret = ptni_soft_mr_deregister(mr);
	if (!ret)
		ptni_sim_tell(nic->sim, &event);
	return ret;
}

static struct ibv_mw *mw_alloc(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct sim_nic *nic = sim_nic_of(pd->context);
	struct ptni_sim_event event = event_of(nic, PTNI_SIM_WINDOW_OPEN);
	uint32_t max = nic->sim->config.limits.mw_max;
	struct ibv_mw *mw;

	ptni_sim_enter(nic->process);
	if ((max && nic->windows >= max) ||
	    sim_chance(nic->sim, nic->sim->config.faults.window_one_in)) {
		errno = ENOMEM;
		return NULL;
	}
	mw = ptni_soft_mw_alloc(pd, type);
	if (!mw)
		return NULL;
	nic->windows++;
	event.key = mw->rkey;
	ptni_sim_tell(nic->sim, &event);
	return mw;
}

static int mw_dealloc(struct ibv_mw *mw)
{
	struct sim_nic *nic = sim_nic_of(mw->context);
	struct ptni_sim_event event = event_of(nic, PTNI_SIM_WINDOW_CLOSE);
	int ret;

	ptni_sim_enter(nic->process);
	event.key = mw->rkey;
	ret = ptni_soft_mw_dealloc(mw);
	if (ret)
		return ret;
	nic->windows--;
	ptni_sim_tell(nic->sim, &event);
	return 0;
}

/* ---- queues */

static int poller_place(struct sim_nic *nic, uint32_t index)
{
	if (index >= nic->pollers) {
		uint32_t count = 2 * index + 8;
		struct ptni_sim_task **poller = realloc(nic->poller, count * sizeof(*poller));

		if (!poller)
			return -ENOMEM;
		nic->poller = poller;
		nic->pollers = count;
	}
	nic->poller[index] = NULL;
	return 0;
}

static int cq_open(struct ptni_fabric *fabric, uint32_t entries, struct ibv_cq **cq_out)
{
	struct sim_nic *nic = nic_of(fabric);
	int ret;

	ptni_sim_enter(nic->process);
	ret = ptni_soft_cq_open(fabric, entries, cq_out);
	if (ret)
		return ret;
	ret = poller_place(nic, soft_cq_of(*cq_out)->index);
	if (ret)
		(void)ptni_soft_cq_close(*cq_out);
	return ret;
}

static int cq_close(struct ibv_cq *cq)
{
	ptni_sim_enter(sim_nic_of(cq->context)->process);
	return ptni_soft_cq_close(cq);
}

static int cq_poll(struct ibv_cq *cq, int entries, struct ibv_wc *wc)
{
	struct sim_nic *nic = sim_nic_of(cq->context);
	const struct ptni_sim_timing *timing = &nic->sim->config.timing;
	int count;

	ptni_sim_enter(nic->process);
	nic->poller[soft_cq_of(cq)->index] = nic->sim->task;
	count = ptni_soft_cq_poll(cq, entries, wc);
	ptni_sim_charge(timing->cpu_poll_ns);
	for (int i = 0; i < count; i++)
		ptni_sim_charge(timing->cpu_completion_ns +
				(wc[i].opcode & IBV_WC_RECV ? timing->cpu_message_ns : 0));
	return count;
}

/* Tasks are woken by the simulator: there is no descriptor to wait on, and no poll(2) that would. */
static int no_fd(struct ibv_cq *cq)
{
	return -1;
}

static int cq_arm(struct ibv_cq *cq)
{
	return 1;
}

static void cq_disarm(struct ibv_cq *cq)
{
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr)
{
	struct sim_nic *nic = sim_nic_of(qp->context);

	ptni_sim_enter(nic->process);
	ptni_sim_charge(nic->sim->config.timing.cpu_request_ns);
	return ptni_soft_post_recv(qp, wr, bad_wr);
}

/* ---- queue pairs */

static void qp_free(struct sim_object *object)
{
	struct sim_qp *qp = (struct sim_qp *)object;

	free(qp->request);
	free(qp);
}

static int qp_open(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out)
{
	struct sim_nic *nic = sim_nic_of(pd->context);
	struct ptni_sim_event event;
	struct sim_qp *qp;
	struct soft_qp *soft;
	int ret;

	ptni_sim_enter(nic->process);
	ret = ptni_soft_qp_open(pd, attr, qp_out);
	if (ret)
		return ret;
	soft = soft_qp_of(*qp_out);
	qp = calloc(1, sizeof(*qp));
	if (qp)
		qp->request = calloc(soft->wqe_mask + 1u, sizeof(*qp->request));
	if (!qp || !qp->request) {
		free(qp);
		(void)ptni_soft_qp_close(*qp_out);
		return -ENOMEM;
	}
	ptni_sim_object_add(nic->sim, &qp->object, qp_free);
	qp->soft = soft;
	qp->nic = nic;
	qp->steps_left = UINT64_MAX;
	qp->next = nic->qps;
	nic->qps = qp;
	soft->driver = qp;
	event = ptni_sim_event_of(qp, PTNI_SIM_QP_OPEN);
	ptni_sim_tell(nic->sim, &event);
	return 0;
}

static void qp_unlink(struct sim_qp *qp)
{
	struct sim_qp **link = &qp->nic->qps;

	while (*link != qp)
		link = &(*link)->next;
	*link = qp->next;
}

static int qp_close(struct ibv_qp *ibqp)
{
	struct sim_qp *qp = sim_qp_of(ibqp);
	int ret;

	ptni_sim_enter(qp->nic->process);
	ptni_sim_qp_cut(qp, PTNI_SIM_QP_CLOSE, true);
	ret = ptni_soft_qp_close(ibqp);
	if (ret)
		return ret;
	qp->soft = NULL;
	qp_unlink(qp);
	return 0;
}

/* The simulated process and queue pair at the other end: for observers, and to wake it. */
static void peer_learn(struct sim_qp *qp)
{
	struct soft_qp *soft = qp->soft;

	qp->peer_qp = soft->peer->qp_num;
	for (struct sim_nic *nic = qp->nic->sim->open_nics; nic; nic = nic->open_next)
		if (nic->soft->segment == soft->peer_segment)
			qp->peer_nic = nic;
}

static int qp_init(struct ibv_qp *qp, const struct ptni_qp_params *params)
{
	ptni_sim_enter(sim_nic_of(qp->context)->process);
	return ptni_soft_qp_init(qp, params);
}

static int qp_connect(struct ibv_qp *ibqp, const struct ptni_qp_params *params,
		      const struct ptni_qp_address *peer)
{
	struct sim_qp *qp = sim_qp_of(ibqp);
	struct ptni_sim_event event;
	int ret;

	ptni_sim_enter(qp->nic->process);
	ret = ptni_soft_qp_connect(ibqp, params, peer);
	if (ret)
		return ret;
	peer_learn(qp);
	event = ptni_sim_event_of(qp, PTNI_SIM_QP_CONNECT);
	ptni_sim_tell(qp->nic->sim, &event);
	return 0;
}

static int qp_reset(struct ibv_qp *ibqp)
{
	struct sim_qp *qp = sim_qp_of(ibqp);
	int ret;

	ptni_sim_enter(qp->nic->process);
	ptni_sim_qp_cut(qp, PTNI_SIM_QP_RESET, true);
	ret = ptni_soft_qp_reset(ibqp);
	if (!ret) {
		qp->number += qp->posted_seen;
		qp->posted_seen = 0;
		sim_all_past(qp);
		qp->halted = false;
		qp->due_last_ns = qp->done_last_ns = qp->free_ns = 0;
		qp->arrive_last_ns = qp->local_last_ns = 0;
	}
	return ret;
}

static int qp_error_try(struct ibv_qp *ibqp)
{
	struct sim_qp *qp = sim_qp_of(ibqp);
	int ret;

	ptni_sim_enter(qp->nic->process);
	if (qp->soft->state != IBV_QPS_ERR)
		ptni_sim_qp_cut(qp, PTNI_SIM_QP_ERROR, true);
	ret = ptni_soft_qp_error_try(ibqp);
	ptni_sim_wake(qp->nic->process);
	return ret;
}

static int qp_state(struct ibv_qp *qp, enum ibv_qp_state *state_out)
{
	ptni_sim_enter(sim_nic_of(qp->context)->process);
	return ptni_soft_qp_state(qp, state_out);
}

/* ---- death */

/* From here on nobody gets an answer from it. */
static void gone(void *arg, uint64_t stamp)
{
	struct sim_nic *nic = arg;

	if (!nic->soft)
		return;
	for (struct sim_qp *qp = nic->qps; qp; qp = qp->next)
		atomic_exchange(&qp->soft->entry->gate, (uint64_t)GATE_CLOSED);
}

void ptni_sim_nics_die(struct ptni_sim_process *process, enum ptni_sim_death how)
{
	for (struct sim_nic *nic = process->nics; nic; nic = nic->next) {
		for (struct sim_qp *qp = nic->qps; qp; qp = qp->next)
			ptni_sim_qp_freeze(qp, how);
		(void)ptni_sim_event_add(nic->sim, nic->sim->now_ns + sim_draw(nic->sim, GONE_NS),
					 gone, nic, 0);
	}
}

/* ---- open, close */

static void nic_unlink(struct sim_nic *nic)
{
	struct sim_nic **link = &nic->sim->open_nics;

	while (*link != nic)
		link = &(*link)->open_next;
	*link = nic->open_next;
	link = &nic->process->nics;
	while (*link != nic)
		link = &(*link)->next;
	*link = nic->next;
}

static void nic_close(struct ptni_fabric *fabric)
{
	struct sim_nic *nic = nic_of(fabric);

	ptni_sim_enter(nic->process);
	nic_unlink(nic);
	nic->soft_ops->close(fabric);
	nic->soft = NULL;
}

static void table_make(struct sim_nic *nic, struct ptni_fabric *fabric)
{
	struct ibv_context_ops *ops = &fabric->context->ops;

	nic->soft_ops = fabric->ops;
	nic->ops = *fabric->ops;
	nic->ops.name = "sim";
	nic->ops.close = nic_close;
	nic->ops.limits = limits;
	nic->ops.memory_alloc = memory_alloc;
	nic->ops.mr_register = mr_register;
	nic->ops.mr_deregister = mr_deregister;
	nic->ops.cq_open = cq_open;
	nic->ops.cq_close = cq_close;
	nic->ops.cq_fd = no_fd;
	nic->ops.cq_arm = cq_arm;
	nic->ops.cq_disarm = cq_disarm;
	nic->ops.qp_open = qp_open;
	nic->ops.qp_close = qp_close;
	nic->ops.qp_init = qp_init;
	nic->ops.qp_connect = qp_connect;
	nic->ops.qp_reset = qp_reset;
	nic->ops.qp_error = qp_error_try;
	nic->ops.qp_error_try = qp_error_try;
	nic->ops.qp_state = qp_state;
	nic->ops.listen = ptni_sim_listen;
	nic->ops.listener_fd = ptni_sim_listener_fd;
	nic->ops.accept = ptni_sim_accept;
	nic->ops.listener_close = ptni_sim_listener_close;
	nic->ops.dial = ptni_sim_dial;
	nic->ops.channel_fd = ptni_sim_channel_fd;
	nic->ops.channel_send = ptni_sim_channel_send;
	nic->ops.channel_recv = ptni_sim_channel_recv;
	nic->ops.channel_close = ptni_sim_channel_close;
	fabric->ops = &nic->ops;
	ops->alloc_mw = mw_alloc;
	ops->dealloc_mw = mw_dealloc;
	ops->poll_cq = cq_poll;
	ops->post_send = ptni_sim_post_send;
	ops->post_recv = post_recv;
}

static void nic_free(struct sim_object *object)
{
	free(((struct sim_nic *)object)->poller);
	free(object);
}

static uint64_t memory_max(const struct ptni_sim *sim, const struct ptni_fabric_options *options)
{
	uint64_t bytes = sim->config.limits.memory_bytes;

	if (!bytes)
		bytes = MEMORY_BYTES;
	if (options && options->memory_max_bytes && options->memory_max_bytes < bytes)
		bytes = options->memory_max_bytes;
	return bytes;
}

static int nic_open(struct ptni_sim_process *process, const struct ptni_fabric_options *options,
		    struct ptni_fabric **fabric_out)
{
	struct ptni_sim *sim = process->sim;
	struct soft_place place = {
		.base = (void *)(uintptr_t)(NIC_BASE + NIC_STRIDE * sim->nics),
		.nic_id = sim->nics + 1,
		.ring_bytes = RING_BYTES,
		.memory_bytes = memory_max(sim, options),
		.clock = &process->clock.clock,
	};
	struct sim_nic *nic = calloc(1, sizeof(*nic));
	int ret;

	if (!nic)
		return -ENOMEM;
	ret = ptni_soft_open_place(&place, fabric_out);
	if (ret) {
		free(nic);
		return ret;
	}
	sim->nics++;
	ptni_sim_object_add(sim, &nic->object, nic_free);
	nic->sim = sim;
	nic->process = process;
	nic->soft = soft_nic_of((*fabric_out)->context);
	nic->soft->driver = nic;
	nic->next = process->nics;
	process->nics = nic;
	nic->open_next = sim->open_nics;
	sim->open_nics = nic;
	table_make(nic, *fabric_out);
	return 0;
}

int ptni_sim_nic_open(struct ptni_sim_process *process, struct ptni_fabric **fabric_out)
{
	return nic_open(process, NULL, fabric_out);
}

int ptni_sim_fabric_open(const char *address, const struct ptni_fabric_options *options,
			 struct ptni_fabric **fabric_out)
{
	struct ptni_sim_process *process = ptni_sim_process_current();

	return process ? nic_open(process, options, fabric_out) : -ENODEV;
}

/* What dead processes left: queue pairs with what they hold, then the NICs. */
void ptni_sim_nics_close(struct ptni_sim *sim)
{
	for (struct sim_nic *nic = sim->open_nics; nic; nic = nic->open_next)
		while (nic->qps) {
			struct sim_qp *qp = nic->qps;

			nic->qps = qp->next;
			(void)ptni_soft_qp_close(&qp->soft->qp);
			qp->soft = NULL;
		}
	while (sim->open_nics) {
		struct sim_nic *nic = sim->open_nics;

		nic_unlink(nic);
		nic->soft_ops->close(&nic->soft->fabric);
		nic->soft = NULL;
	}
}
