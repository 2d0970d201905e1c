/* SPDX-License-Identifier: MIT */
/*
 * The send queue under virtual time.
 *
 *      completed (soft)      next_index            posted_seen
 *        |   executed, the CPU       |   waiting for their time |
 *        |   cannot see it yet       |   (one of them in slices)|
 *
 * Requests of a queue pair are executed one after the other, each no earlier than its due time, and complete in
 * that order; an event is made for the next one to execute and for each completion that the CPU asked for.
 */
#include "core/fabric/sim/state.h"

#include <errno.h>
#include <stdlib.h>

static void executing(void *arg, uint64_t stamp);
static void completing(void *arg, uint64_t stamp);

static void event_add(struct sim_qp *qp, uint64_t time_ns, void (*fn)(void *, uint64_t))
{
	if (ptni_sim_event_add(qp->nic->sim, time_ns, fn, qp, qp->stamp))
		abort(); /* no memory for the simulation itself */
}

/* ---- times */

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t jitter(struct ptni_sim *sim)
{
	const struct ptni_sim_faults *faults = &sim->config.faults;
	uint64_t span_ns = sim_draw(sim, faults->jitter_ns);

	if (sim_chance(sim, faults->late_one_in))
		span_ns += sim_draw(sim, faults->late_ns);
	return span_ns;
}

static uint64_t verb_ns(const struct ptni_sim_timing *timing, enum ibv_wr_opcode opcode)
{
	switch (opcode) {
	case IBV_WR_RDMA_READ:
		return timing->read_ns;
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return timing->write_ns;
	case IBV_WR_ATOMIC_CMP_AND_SWP:
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
		return timing->atomic_ns;
	case IBV_WR_BIND_MW:
		return timing->bind_ns;
	case IBV_WR_LOCAL_INV:
		return timing->invalidate_ns;
	default:
		return timing->send_ns;
	}
}

/* When a request just posted is due at who executes it. */
static uint64_t due_ns(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	const struct ptni_sim_timing *timing = &sim->config.timing;
	uint64_t bytes = wr->opcode == IBV_WR_RDMA_READ ? 0 : ptni_sim_bytes(wr);
	uint64_t at_ns = later(sim->now_ns + timing->doorbell_ns,
			       later(qp->free_ns, qp->nic->sender_free_ns));

	qp->free_ns = at_ns + timing->qp_request_ns;
	qp->nic->sender_free_ns = at_ns + timing->nic_request_ns;
	if (!sim_is_local(wr->opcode)) {
		struct sim_nic *peer = qp->peer_nic;

		if (bytes && !(wr->send_flags & IBV_SEND_INLINE))
			at_ns += timing->pcie_ns + bytes * timing->pcie_ps_per_byte / 1000;
		at_ns += timing->wire_ns + bytes * timing->wire_ps_per_byte / 1000;
		at_ns = later(at_ns, peer->responder_free_ns);
		peer->responder_free_ns = at_ns + timing->nic_response_ns;
	}
	at_ns += verb_ns(timing, wr->opcode) + jitter(sim);
	qp->due_last_ns = later(at_ns, qp->due_last_ns);
	return qp->due_last_ns;
}

/* When the requester's CPU can see the end of a request executed now. */
static uint64_t done_ns(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	const struct ptni_sim_timing *timing = &sim->config.timing;
	uint64_t bytes = wr->opcode == IBV_WR_RDMA_READ ? ptni_sim_bytes(wr) : 0;
	uint64_t at_ns;

	if (sim_paced(sim))
		return ptni_sim_pace_done(qp, wr);
	at_ns = sim->now_ns + timing->completion_ns + jitter(sim);
	if (!sim_is_local(wr->opcode))
		at_ns += timing->wire_ns + bytes * timing->wire_ps_per_byte / 1000;
	if (bytes)
		at_ns += timing->pcie_ns + bytes * timing->pcie_ps_per_byte / 1000;
	qp->done_last_ns = later(at_ns, qp->done_last_ns);
	return qp->done_last_ns;
}

/* ---- executing */

static void execute_soon(struct sim_qp *qp)
{
	if (qp->executing || qp->halted || qp->next_index == qp->posted_seen || !qp->steps_left ||
	    sim_request_at(qp, qp->next_index)->due_ns == SIM_UNDERWAY)
		return;
	qp->executing = true;
	event_add(qp, sim_request_at(qp, qp->next_index)->due_ns, executing);
}

static void executed(struct sim_qp *qp, const struct ibv_send_wr *wr, int verdict)
{
	struct sim_request *request = sim_request_at(qp, qp->next_index);

	request->verdict = verdict;
	request->waiting = false; /* from now on: for its answer */
	request->done_ns = done_ns(qp, wr);
	qp->next_index++;
	qp->halted = verdict != 0;
	if (verdict || qp->soft->sig_all || (wr->send_flags & IBV_SEND_SIGNALED))
		event_add(qp, request->done_ns, completing);
}

/* False: it broke meanwhile, which its owner notices now. */
static bool usable(struct sim_qp *qp)
{
	if (qp->nic->process->dead)
		return true;
	if (qp->soft->state == IBV_QPS_RTS && ptni_soft_qp_look(qp->soft) == IBV_QPS_RTS)
		return true;
	ptni_sim_qp_cut(qp, PTNI_SIM_QP_ERROR, false);
	ptni_sim_wake(qp->nic->process);
	return false;
}

static void executing(void *arg, uint64_t stamp)
{
	struct sim_qp *qp = arg;
	struct ptni_sim *sim = qp->nic->sim;
	struct soft_wqe *wqe;
	int verdict;

	if (stamp != qp->stamp)
		return;
	qp->executing = false;
	if (!usable(qp) || !qp->steps_left || qp->next_index == qp->posted_seen)
		return;
	if (qp->steps_left != UINT64_MAX)
		qp->steps_left--;
	wqe = ptni_soft_send_wqe(qp->soft, qp->next_index);
	verdict = ptni_sim_execute(qp, qp->next_index);
	if (verdict == SIM_SLICED)
		sim_request_at(qp, qp->next_index)->due_ns =
			sim->now_ns + 1 + sim_draw(sim, sim->config.faults.slice_ns);
	else if (verdict == SIM_INSIDE)
		sim_request_at(qp, qp->next_index)->due_ns =
			sim->now_ns + 1 + sim_draw(sim, sim->config.faults.inside_ns);
	else if (verdict != SIM_AGAIN)
		executed(qp, &wqe->wr, verdict);
	execute_soon(qp);
}

/* ---- completing */

static void deliver(struct sim_qp *qp)
{
	struct soft_qp *soft = qp->soft;
	uint32_t index = soft->sq_executed;
	struct sim_request *request = sim_request_at(qp, index);
	const struct ibv_send_wr *wr = &ptni_soft_send_wqe(soft, index)->wr;

	ptni_sim_tell_wr(qp, PTNI_SIM_COMPLETE, index, wr, request->verdict);
	if (wr->opcode == IBV_WR_LOCAL_INV)
		ptni_sim_tell_wr(qp, PTNI_SIM_INVALIDATE_END, index, wr, request->verdict);
	ptni_soft_send_finish(soft, request->verdict, request->len);
	if (request->verdict || soft->state != IBV_QPS_RTS) /* or the completion queue ran over */
		ptni_sim_qp_cut(qp, PTNI_SIM_QP_ERROR, true);
}

/* The answer does not get here, yet or at all. */
static bool held_back(struct sim_qp *qp)
{
	uint32_t index = qp->soft->sq_executed;
	struct sim_request *request = sim_request_at(qp, index);
	uint64_t again_ns;

	if (sim_is_local(ptni_soft_send_wqe(qp->soft, index)->wr.opcode) ||
	    (request->verdict & 0xff) == IBV_WC_RETRY_EXC_ERR) /* there is none */
		return false;
	again_ns = ptni_sim_cut_off(qp, request);
	if (again_ns == SIM_GIVEN_UP) {
		request->verdict = soft_verdict(IBV_WC_RETRY_EXC_ERR, CAUSE_PEER_STATE);
		return false;
	}
	if (again_ns)
		event_add(qp, again_ns, completing);
	return again_ns;
}

static void completing(void *arg, uint64_t stamp)
{
	struct sim_qp *qp = arg;

	if (stamp != qp->stamp || qp->nic->process->dead || !usable(qp))
		return;
	while (stamp == qp->stamp && qp->soft->sq_executed != qp->next_index &&
	       sim_request_at(qp, qp->soft->sq_executed)->done_ns <= qp->nic->sim->now_ns &&
	       !held_back(qp))
		deliver(qp);
	ptni_sim_wake_poller(qp->nic, soft_cq_of(qp->soft->qp.send_cq)->index);
}

/* ---- under way, if there is a model of time */

/* The first one that has yet to get to a stage: those that are executed here skip it. */
static struct ibv_send_wr *next_there(struct sim_qp *qp, uint32_t *index)
{
	while (sim_request_at(qp, *index)->due_ns != SIM_UNDERWAY)
		++*index;
	return &ptni_soft_send_wqe(qp->soft, (*index)++)->wr;
}

static void arriving(void *arg, uint64_t stamp)
{
	struct sim_qp *qp = arg;
	const struct ibv_send_wr *wr;

	if (stamp != qp->stamp)
		return;
	wr = next_there(qp, &qp->arrive_index);
	sim_request_at(qp, qp->arrive_index - 1)->due_ns = ptni_sim_pace_arrive(qp, wr);
	execute_soon(qp);
}

static void launching(void *arg, uint64_t stamp)
{
	struct sim_qp *qp = arg;

	if (stamp == qp->stamp)
		event_add(qp, ptni_sim_pace_launch(qp, next_there(qp, &qp->launch_index)),
			  arriving);
}

static void issuing(void *arg, uint64_t stamp)
{
	struct sim_qp *qp = arg;
	const struct ibv_send_wr *wr;
	uint64_t time_ns;

	if (stamp != qp->stamp)
		return;
	wr = next_there(qp, &qp->issue_index);
	time_ns = ptni_sim_pace_issue(qp, wr);
	if (sim_is_local(wr->opcode)) {
		sim_request_at(qp, qp->issue_index - 1)->due_ns = time_ns;
		execute_soon(qp);
	} else if (time_ns > qp->nic->sim->now_ns) {
		event_add(qp, time_ns, launching);
	} else {
		launching(qp, stamp);
	}
}

static uint64_t set_out(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;

	if (!sim_paced(sim))
		return due_ns(qp, wr);
	event_add(qp, ptni_sim_cpu_now_ns(sim) + sim->config.timing.doorbell_ns, issuing);
	return SIM_UNDERWAY;
}

/* ---- posting */

static void charge_post(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	const struct ptni_sim_timing *timing = &qp->nic->sim->config.timing;

	ptni_sim_charge(timing->cpu_request_ns +
			(sim_is_local(wr->opcode) ? timing->cpu_bind_ns : 0));
}

static int post_one(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	uint32_t index;
	int rc;

	if (sim_chance(sim, sim->config.faults.post_one_in))
		return ENOMEM;
	if (qp->soft->state == IBV_QPS_RTS)
		(void)usable(qp);
	rc = ptni_soft_send_queue(qp->soft, wr);
	if (rc)
		return rc;
	index = qp->posted_seen++;
	if (qp->soft->state != IBV_QPS_RTS) { /* flushed already */
		sim_all_past(qp);
		ptni_sim_wake(qp->nic->process);
		return 0;
	}
	charge_post(qp, wr);
	*sim_request_at(qp, index) = (struct sim_request){ .due_ns = SIM_UNDERWAY };
	sim_request_at(qp, index)->due_ns = set_out(qp, wr);
	ptni_sim_tell_wr(qp, PTNI_SIM_POST, index, wr, 0);
	execute_soon(qp);
	return 0;
}

int ptni_sim_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	struct sim_qp *qp = soft_qp_of(ibqp)->driver;
	int rc = 0;

	ptni_sim_charge(qp->nic->sim->config.timing.cpu_doorbell_ns);
	for (; wr; wr = wr->next) {
		ptni_sim_enter(qp->nic->process);
		rc = post_one(qp, wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
		ptni_sim_posted(qp->nic->process);
	}
	return rc;
}

/* ---- the end */

/* A request is missing that the responder waits for: none behind it will be taken. */
static bool behind_gap(struct sim_qp *qp)
{
	return qp->halted && sim_request_at(qp, qp->next_index - 1)->fate != FATE_UNHEARD;
}

void ptni_sim_qp_cut(struct sim_qp *qp, enum ptni_sim_kind kind, bool ghosts)
{
	struct ptni_sim *sim = qp->nic->sim;
	struct ptni_sim_event event = ptni_sim_event_of(qp, kind);
	uint32_t waiting = qp->posted_seen - qp->next_index;

	if (qp->soft->announced)
		ptni_sim_retire(qp->soft, qp->peer_nic);
	if (ghosts && waiting && !behind_gap(qp) && sim->config.faults.ghost_ns)
		ptni_sim_ghost_add(qp, qp->next_index,
				   qp->next_index + (uint32_t)sim_draw(sim, waiting + 1));
	sim_all_past(qp);
	qp->executing = false;
	qp->fetching = 0;
	qp->stamp++;
	ptni_sim_tell(sim, &event);
}

void ptni_sim_qp_freeze(struct sim_qp *qp, enum ptni_sim_death how)
{
	uint64_t steps = 0;

	if (qp->soft->announced)
		ptni_sim_retire(qp->soft, qp->peer_nic);
	if (how == PTNI_SIM_DRAIN || qp->soft->state != IBV_QPS_RTS)
		return;
	for (uint32_t i = qp->next_index; how == PTNI_SIM_CUT && i != qp->posted_seen; i++)
		steps += ptni_sim_steps(qp, &ptni_soft_send_wqe(qp->soft, i)->wr);
	qp->steps_left = sim_draw(qp->nic->sim, steps + (how == PTNI_SIM_CUT));
}
