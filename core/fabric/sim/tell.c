/* SPDX-License-Identifier: MIT */
/* What observers are told of queue pairs and their requests. */
#include "core/fabric/sim/state.h"

struct ptni_sim_event ptni_sim_event_of(const struct sim_qp *qp, enum ptni_sim_kind kind)
{
	struct ptni_sim_event event = { .kind = kind, .process = qp->nic->process->number };

	event.qp = qp->soft->qp.qp_num;
	if (qp->peer_nic) {
		event.peer = qp->peer_nic->process->number;
		event.peer_qp = qp->peer_qp;
	}
	return event;
}

struct ptni_sim_event ptni_sim_event_of_wr(const struct sim_qp *qp, enum ptni_sim_kind kind,
					   uint32_t index, const struct ibv_send_wr *wr,
					   int verdict)
{
	struct ptni_sim_event event = ptni_sim_event_of(qp, kind);

	event.number = qp->number + index;
	event.opcode = wr->opcode;
	event.status = verdict & 0xff;
	event.cause = (uint32_t)verdict >> 8;
	if (sim_is_atomic(wr->opcode)) {
		event.key = wr->wr.atomic.rkey;
		event.addr = wr->wr.atomic.remote_addr;
		event.compare = wr->wr.atomic.compare_add;
		event.swap = wr->wr.atomic.swap;
		event.len = sizeof(uint64_t);
	} else if (sim_is_access(wr->opcode)) {
		event.key = wr->wr.rdma.rkey;
		event.addr = wr->wr.rdma.remote_addr;
		event.len = ptni_sim_bytes(wr);
	} else if (wr->opcode == IBV_WR_BIND_MW) {
		event.key = wr->bind_mw.rkey;
		event.addr = wr->bind_mw.bind_info.addr;
		event.len = wr->bind_mw.bind_info.length;
		event.access = wr->bind_mw.bind_info.mw_access_flags;
	} else {
		event.key = wr->opcode == IBV_WR_LOCAL_INV || wr->opcode == IBV_WR_SEND_WITH_INV ?
				    wr->invalidate_rkey :
				    0;
		event.len = wr->opcode == IBV_WR_LOCAL_INV ? 0 : ptni_sim_bytes(wr);
	}
	return event;
}

void ptni_sim_tell_wr(const struct sim_qp *qp, enum ptni_sim_kind kind, uint32_t index,
		      const struct ibv_send_wr *wr, int verdict)
{
	struct ptni_sim_event event = ptni_sim_event_of_wr(qp, kind, index, wr, verdict);

	ptni_sim_tell(qp->nic->sim, &event);
}
