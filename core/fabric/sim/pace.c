/* SPDX-License-Identifier: MIT */
/*
 * The model of time: what each request waits for, and for how long.
 *
 *   requester                        link                     responder
 *   CPU ─► doorbell ─► queue pair    headers + payload        link in ─► NIC by kind ─► word (atomics)
 *          ─► NIC's rate ─► link out ─────────────────────►           ─► latency of the verb: executed
 *          (BIND, LOCAL_INV: the NIC's rate of those, their latency: executed)
 *   CPU ◄─ completion ◄─ link in ◄──────────────────────── link out (READ's payload; an acknowledgement costs no room)
 *
 * Each ─► is a server that does one thing at a time, in the order in which requests get to it, except latencies,
 * which overlap. So a request gets to each of them by an event of its own, and is given its place then: a core that is
 * charged for a long time posts late, and nobody waits for what it has yet to post.
 * What the card does for other cards of its machine does not exist; NICs beside each other are one.
 */
#include "core/fabric/sim/state.h"

#include <errno.h>
#include <stdlib.h>

enum {
	WORD_BITS = 15, /* so many words' times are kept */
	WORDS = 1 << WORD_BITS,
	PS = 1000,
	ATOMIC_BYTES = 28, /* of a request beyond the headers: two operands; the answer has one */
	ATOMIC_ANSWER_BYTES = 8,
};

struct sim_port {
	uint32_t users;
	uint64_t request_ps, response_ps, control_ps; /* when each is free again */
	uint64_t out_ps, in_ps;
	uint64_t word_ps[WORDS];
};

int ptni_sim_port_open(struct ptni_sim_process *process)
{
	process->port = calloc(1, sizeof(*process->port));
	if (!process->port)
		return -ENOMEM;
	process->port->users = 1;
	return 0;
}

void ptni_sim_port_close(struct ptni_sim_process *process)
{
	if (process->port && !--process->port->users)
		free(process->port);
	process->port = NULL;
}

void ptni_sim_beside(struct ptni_sim_process *process, struct ptni_sim_process *other)
{
	other->port->users++;
	ptni_sim_port_close(process);
	process->port = other->port;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Takes a server from `at` on for `span`; returns when it began. */
static uint64_t take(uint64_t *free_ps, uint64_t at_ps, uint64_t span_ps)
{
	uint64_t begin_ps = later(at_ps, *free_ps);

	*free_ps = begin_ps + span_ps;
	return begin_ps;
}

static const struct ptni_sim_timing *timing_of(const struct sim_qp *qp)
{
	return &qp->nic->sim->config.timing;
}

static uint64_t link_ps(const struct ptni_sim_timing *timing, uint64_t bytes)
{
	return (timing->message_bytes + bytes) * timing->link_ps_per_byte;
}

static uint64_t jitter_ps(struct ptni_sim *sim)
{
	return sim_draw(sim, (uint64_t)sim->config.faults.jitter_ns * PS);
}

/* Bytes of the request on the link. */
static uint64_t sent_bytes(const struct ibv_send_wr *wr)
{
	if (wr->opcode == IBV_WR_RDMA_READ)
		return 0;
	return sim_is_atomic(wr->opcode) ? (uint64_t)ATOMIC_BYTES : ptni_sim_bytes(wr);
}

/* ---- at the requester */

static uint64_t local_due(struct sim_qp *qp, const struct ibv_send_wr *wr, uint64_t at_ps)
{
	const struct ptni_sim_timing *timing = timing_of(qp);
	bool bind = wr->opcode == IBV_WR_BIND_MW;
	uint64_t due_ns;

	at_ps = take(&qp->nic->process->port->control_ps, at_ps,
		     bind ? timing->bind_ps : timing->invalidate_ps);
	due_ns = at_ps / PS + (bind ? timing->bind_ns : timing->invalidate_ns);
	qp->due_last_ns = later(due_ns, qp->due_last_ns);
	return qp->due_last_ns;
}

uint64_t ptni_sim_pace_issue(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	const struct ptni_sim_timing *timing = timing_of(qp);
	uint64_t at_ps = take(&qp->nic->process->port->request_ps,
			      later(sim->now_ns, qp->free_ns) * PS, timing->request_ps);

	qp->free_ns = at_ps / PS + timing->qp_request_ns;
	if (!sim_is_local(wr->opcode)) /* it may rely on what was bound before */
		return later(at_ps / PS, qp->local_last_ns);
	qp->local_last_ns = local_due(qp, wr, at_ps);
	return qp->local_last_ns;
}

uint64_t ptni_sim_pace_launch(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	const struct ptni_sim_timing *timing = timing_of(qp);
	uint64_t bytes = sent_bytes(wr), span_ps = link_ps(timing, bytes);
	uint64_t at_ps = take(&qp->nic->process->port->out_ps, sim->now_ns * PS, span_ps) + span_ps;

	if (bytes && !(wr->send_flags & IBV_SEND_INLINE) && !sim_is_atomic(wr->opcode))
		at_ps += timing->pcie_ns * (uint64_t)PS + bytes * timing->pcie_ps_per_byte;
	at_ps += timing->wire_ns * (uint64_t)PS + jitter_ps(sim);
	qp->arrive_last_ns = later(at_ps / PS, qp->arrive_last_ns);
	return qp->arrive_last_ns;
}

/* ---- at the responder */

static uint64_t rate_ps(const struct ptni_sim_timing *timing, enum ibv_wr_opcode opcode)
{
	if (opcode == IBV_WR_RDMA_READ)
		return timing->read_ps;
	return sim_is_atomic(opcode) ? timing->atomic_ps : timing->write_ps;
}

static uint64_t latency_ns(const struct ptni_sim_timing *timing, enum ibv_wr_opcode opcode)
{
	if (opcode == IBV_WR_RDMA_READ)
		return timing->read_ns;
	if (sim_is_send(opcode))
		return timing->send_ns;
	return sim_is_atomic(opcode) ? timing->atomic_ns : timing->write_ns;
}

/* Words that meet by chance are few: their addresses are mixed, unless the card is said to take the low bits. */
static uint64_t *word_of(struct sim_port *port, const struct ptni_sim_timing *timing, uint64_t addr)
{
	unsigned bits = timing->atomic_word_bits;

	if (bits)
		return &port->word_ps[(addr & ((UINT64_C(1) << bits) - 1)) / 8 % WORDS];
	return &port->word_ps[addr * UINT64_C(0x9e3779b97f4a7c15) >> (64 - WORD_BITS)];
}

/* The link is as fast at both ends: a message that found it free has passed when it arrives. */
static uint64_t link_in(struct sim_port *port, uint64_t now_ps, uint64_t span_ps)
{
	port->in_ps = later(now_ps, port->in_ps + span_ps);
	return port->in_ps;
}

uint64_t ptni_sim_pace_arrive(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	const struct ptni_sim_timing *timing = timing_of(qp);
	struct sim_port *port = qp->peer_nic->process->port;
	uint64_t at_ps;

	at_ps = link_in(port, qp->nic->sim->now_ns * PS, link_ps(timing, sent_bytes(wr)));
	at_ps = take(&port->response_ps, at_ps, rate_ps(timing, wr->opcode));
	if (sim_is_atomic(wr->opcode))
		at_ps = take(word_of(port, timing, wr->wr.atomic.remote_addr), at_ps,
			     timing->atomic_word_ns * (uint64_t)PS);
	qp->due_last_ns = later(at_ps / PS + latency_ns(timing, wr->opcode), qp->due_last_ns);
	return qp->due_last_ns;
}

/* ---- back */

uint64_t ptni_sim_pace_done(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	const struct ptni_sim_timing *timing = timing_of(qp);
	uint64_t at_ps = sim->now_ns * PS, bytes = 0, span_ps;

	if (wr->opcode == IBV_WR_RDMA_READ)
		bytes = ptni_sim_bytes(wr);
	else if (sim_is_atomic(wr->opcode))
		bytes = ATOMIC_ANSWER_BYTES;
	if (!sim_is_local(wr->opcode)) {
		if (bytes) {
			span_ps = link_ps(timing, bytes);
			at_ps = take(&qp->peer_nic->process->port->out_ps, at_ps, span_ps) +
				span_ps + timing->wire_ns * (uint64_t)PS;
			at_ps = link_in(qp->nic->process->port, at_ps, span_ps) +
				timing->pcie_ns * (uint64_t)PS + bytes * timing->pcie_ps_per_byte;
		} else {
			at_ps += timing->wire_ns * (uint64_t)PS;
		}
		at_ps += jitter_ps(sim);
	}
	qp->done_last_ns = later(at_ps / PS + timing->completion_ns, qp->done_last_ns);
	return qp->done_last_ns;
}
