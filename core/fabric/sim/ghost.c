/* SPDX-License-Identifier: MIT */
/*
 * Ghosts: requests that were on the wire when their queue pair broke, and land afterwards, as long as the
 * responder's queue pair is open to them. Their bytes are those of the moment when they were sent.
 */
#include "core/fabric/sim/state.h"

#include <stdlib.h>
#include <string.h>

enum {
	GHOSTS_MAX = 8, /* requests of one */
};

struct ghost {
	struct sim_object object;
	struct sim_nic *nic, *peer;
	struct soft_map *map; /* the peer's stays mapped */
	struct soft_qp soft; /* as it was */
	uint64_t number;
	uint32_t peer_qp, count, at;
	struct ibv_send_wr wr[GHOSTS_MAX];
	struct ibv_sge sge[GHOSTS_MAX];
	uint8_t *bytes[GHOSTS_MAX];
};

static void ghost_end(struct ghost *ghost)
{
	if (ghost->map)
		ptni_soft_map_put(ghost->map);
	ghost->map = NULL;
	for (uint32_t i = 0; i < GHOSTS_MAX; i++) {
		free(ghost->bytes[i]);
		ghost->bytes[i] = NULL;
	}
}

static void ghost_free(struct sim_object *object)
{
	ghost_end((struct ghost *)object);
	free(object);
}

static void tell(struct ghost *ghost, enum ptni_sim_kind kind, int verdict)
{
	struct sim_qp stand_in = { .soft = &ghost->soft,
				   .nic = ghost->nic,
				   .peer_nic = ghost->peer,
				   .peer_qp = ghost->peer_qp,
				   .number = ghost->number };
	struct ptni_sim_event event =
		ptni_sim_event_of_wr(&stand_in, kind, ghost->at, &ghost->wr[ghost->at], verdict);

	event.ghost = true;
	event.local = ghost->bytes[ghost->at];
	if (kind == PTNI_SIM_ACCESS_SLICE && sim_is_atomic(ghost->wr[ghost->at].opcode))
		memcpy(&event.old, ghost->bytes[ghost->at], sizeof(event.old));
	ptni_sim_tell(ghost->nic->sim, &event);
}

static void ghost_run(void *arg, uint64_t stamp);

static void ghost_later(struct ghost *ghost)
{
	struct ptni_sim *sim = ghost->nic->sim;
	uint64_t delay_ns = 1 + sim_draw(sim, sim->config.faults.ghost_ns);

	(void)ptni_sim_event_add(sim, sim->now_ns + delay_ns, ghost_run, ghost, 0);
}

static void ghost_run(void *arg, uint64_t stamp)
{
	struct ghost *ghost = arg;
	const struct ibv_send_wr *wr = &ghost->wr[ghost->at];
	bool access = sim_is_access(wr->opcode);
	struct sim_cut cut;
	uint32_t len;
	int verdict;

	if (sim_is_cut(ghost->nic->process, ghost->peer->process, &cut)) {
		ghost_end(ghost);
		return;
	}
	if (access)
		tell(ghost, PTNI_SIM_ACCESS_BEGIN, 0);
	verdict = ptni_soft_run(&ghost->soft, wr, &len);
	ptni_sim_retire(&ghost->soft, ghost->peer);
	if (!verdict && access)
		tell(ghost, PTNI_SIM_ACCESS_SLICE, 0);
	tell(ghost, access ? PTNI_SIM_ACCESS_END : PTNI_SIM_SEND,
	     verdict >= AGAIN_RECV ? soft_verdict(IBV_WC_RETRY_EXC_ERR, CAUSE_NONE) : verdict);
	if (!verdict && ++ghost->at < ghost->count)
		ghost_later(ghost);
	else
		ghost_end(ghost);
}

/* What goes over the wire of a request. False: no memory. */
static bool ghost_copy(struct ghost *ghost, const struct ibv_send_wr *wr)
{
	uint32_t at = ghost->count;
	uint64_t len = ptni_sim_bytes(wr), done = 0;

	ghost->bytes[at] = malloc(len ? len : 1);
	if (!ghost->bytes[at])
		return false;
	for (int i = 0; i < wr->num_sge; done += wr->sg_list[i++].length)
		memcpy(ghost->bytes[at] + done, (const void *)(uintptr_t)wr->sg_list[i].addr,
		       wr->sg_list[i].length);
	ghost->sge[at] =
		(struct ibv_sge){ .addr = (uintptr_t)ghost->bytes[at], .length = (uint32_t)len };
	ghost->wr[at] = *wr;
	ghost->wr[at].sg_list = &ghost->sge[at];
	ghost->wr[at].num_sge = 1;
	ghost->wr[at].send_flags = IBV_SEND_INLINE; /* no local key is asked for */
	ghost->count++;
	return true;
}

/* READs leave no trace, and what is local to the requester is not on the wire. */
static void ghost_fill(struct ghost *ghost, struct sim_qp *qp, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i != end && ghost->count < GHOSTS_MAX; i++) {
		const struct ibv_send_wr *wr = &ptni_soft_send_wqe(qp->soft, i)->wr;

		if (wr->opcode == IBV_WR_BIND_MW || wr->opcode == IBV_WR_LOCAL_INV)
			return;
		if (wr->opcode != IBV_WR_RDMA_READ && !ghost_copy(ghost, wr))
			return;
	}
}

void ptni_sim_ghost_add(struct sim_qp *qp, uint32_t first, uint32_t end)
{
	struct ptni_sim *sim = qp->nic->sim;
	struct ghost *ghost;

	if (first == end || !qp->peer_nic || !qp->soft->peer_map)
		return;
	ghost = calloc(1, sizeof(*ghost));
	if (!ghost)
		return;
	ptni_sim_object_add(sim, &ghost->object, ghost_free);
	ghost_fill(ghost, qp, first, end);
	if (!ghost->count)
		return;
	ghost->nic = qp->nic;
	ghost->peer = qp->peer_nic;
	ghost->peer_qp = qp->peer_qp;
	ghost->number = qp->number + first;
	memcpy(&ghost->soft, qp->soft, sizeof(ghost->soft));
	ghost->map = ptni_soft_map_find(ghost->soft.peer_map->nic_id);
	ghost_later(ghost);
}
