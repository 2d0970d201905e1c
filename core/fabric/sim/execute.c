/* SPDX-License-Identifier: MIT */
/* One request at its time: its fate, its slices, its verdict by the software NIC's own checks. */
#include "core/fabric/sim/state.h"
#include "core/fabric/soft/access.h"

#include <errno.h>
#include <stdlib.h>

enum {
	WAIT_MIN_NS = 1000,
	WAIT_MAX_NS = 50000,
	CUT_AGAIN_NS = 1000000, /* a cut may be healed before its time */
	OWN_FAULTS_ONE_IN = 8, /* a loop-back queue pair seldom fails */
};

/* A failed CAS of a NIC that writes whatever it found back: no other atomic gets in between, all else does. */
struct sim_writeback {
	struct sim_object object;
	struct sim_writeback *next;
	struct sim_qp *qp;
	struct sim_nic *nic; /* whose memory */
	uint64_t stamp; /* of the queue pair */
	uint64_t time_ns;
	uint64_t addr, old;
	uint32_t rkey, index;
};

uint64_t ptni_sim_bytes(const struct ibv_send_wr *wr)
{
	uint64_t bytes = 0;

	for (int i = 0; i < wr->num_sge; i++)
		bytes += wr->sg_list[i].length;
	return bytes;
}

void ptni_sim_retire(struct soft_qp *soft, struct sim_nic *peer)
{
	bool arrival = soft->arrival;

	if (soft->announced)
		ptni_soft_retire(soft);
	if (arrival)
		ptni_sim_wake_poller(peer, soft->peer->recv_cq);
}

/* ---- fate */

static enum sim_fate fate_draw(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	const struct ptni_sim_faults *faults = &sim->config.faults;

	if (wr->opcode == IBV_WR_BIND_MW)
		return sim_chance(sim, faults->bind_one_in) ? FATE_BAD_BIND : FATE_GOOD;
	if (wr->opcode == IBV_WR_LOCAL_INV)
		return FATE_GOOD;
	if (qp->peer_nic == qp->nic && !sim_chance(sim, OWN_FAULTS_ONE_IN))
		return FATE_GOOD;
	if (sim_is_access(wr->opcode) && sim_chance(sim, faults->refuse_one_in))
		return FATE_REFUSED;
	if (sim_chance(sim, faults->transport_one_in))
		return (enum sim_fate)(FATE_LOST + (int)sim_draw(sim, faults->ghost_ns ? 3 : 2));
	return FATE_GOOD;
}

static int lost(void)
{
	return soft_verdict(IBV_WC_RETRY_EXC_ERR, CAUSE_PEER_STATE);
}

/* ---- slices */

static uint32_t slice_bytes(const struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	uint32_t bytes = qp->nic->sim->config.faults.slice_bytes;
	bool can = wr->opcode == IBV_WR_RDMA_READ || wr->opcode == IBV_WR_RDMA_WRITE;

	return can && bytes && ptni_sim_bytes(wr) > bytes ? bytes : 0;
}

uint64_t ptni_sim_steps(struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	uint32_t bytes = slice_bytes(qp, wr);

	return bytes ? (ptni_sim_bytes(wr) + bytes - 1) / bytes : 1;
}

/* The pieces of [offset, offset + len) of a request's local side. */
static int pieces_cut(const struct ibv_send_wr *wr, uint64_t offset, uint64_t len,
		      struct ibv_sge *pieces)
{
	int count = 0;

	for (int i = 0; i < wr->num_sge && len; i++) {
		struct ibv_sge piece = wr->sg_list[i];

		if (offset >= piece.length) {
			offset -= piece.length;
			continue;
		}
		piece.addr += offset;
		piece.length -= (uint32_t)offset;
		offset = 0;
		if (piece.length > len)
			piece.length = (uint32_t)len;
		len -= piece.length;
		pieces[count++] = piece;
	}
	return count;
}

static void tell_slice(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr)
{
	struct ptni_sim_event event = ptni_sim_event_of_wr(qp, PTNI_SIM_ACCESS_SLICE, index, wr, 0);

	if (wr->num_sge)
		event.local = (const void *)(uintptr_t)wr->sg_list[0].addr;
	if (sim_is_atomic(wr->opcode) && wr->sg_list[0].length == sizeof(event.old))
		memcpy(&event.old, event.local, sizeof(event.old));
	ptni_sim_tell(qp->nic->sim, &event);
}

/* Verdict, or SIM_SLICED while there is more. */
static int slice_run(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr,
		     uint32_t bytes)
{
	struct sim_request *request = sim_request_at(qp, index);
	struct ptni_sim *sim = qp->nic->sim;
	uint64_t total = ptni_sim_bytes(wr);
	uint32_t count = (uint32_t)((total + bytes - 1) / bytes), len;
	struct ibv_sge pieces[SOFT_SGE_MAX];
	struct ibv_send_wr part = *wr;
	uint64_t offset;
	int verdict;

	if (!request->moved && sim->config.faults.slice_shuffle) {
		request->first_slice = (uint32_t)sim_draw(sim, count);
		request->backward = sim_draw(sim, 2);
	}
	offset = ((uint64_t)request->first_slice +
		  (request->backward ? count - request->moved : request->moved)) %
		 count * bytes;
	part.num_sge = pieces_cut(wr, offset, bytes, pieces);
	part.sg_list = pieces;
	part.wr.rdma.remote_addr += offset;
	verdict = ptni_soft_run(qp->soft, &part, &len);
	if (verdict)
		return verdict;
	tell_slice(qp, index, &part);
	request->len += len;
	return ++request->moved < count ? SIM_SLICED : 0;
}

/* ---- READs that fetch late */

/*
 * Without a fence a READ need not have fetched its bytes when a WRITE or SEND posted behind it is carried
 * out: it fetches them again.
 */
static void fetch_again(struct sim_qp *qp)
{
	const struct ibv_send_wr *wr = &ptni_soft_send_wqe(qp->soft, qp->fetching - 1)->wr;
	struct soft_qp *soft = qp->soft;
	struct access_grip grip;
	const uint8_t *remote;

	if ((int32_t)(qp->fetching - 1 - soft->sq_executed) < 0 ||
	    atomic_load(&soft->peer->gate) != soft->peer_gate ||
	    access_remote(soft, wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, ptni_sim_bytes(wr),
			  KEY_RIGHTS(IBV_ACCESS_REMOTE_READ), &grip))
		return;
	remote = grip.ptr;
	for (int i = 0; i < wr->num_sge; i++) {
		copy_in((void *)(uintptr_t)wr->sg_list[i].addr, remote, wr->sg_list[i].length);
		remote += wr->sg_list[i].length;
	}
}

static void fetching_note(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;

	if (wr->opcode == IBV_WR_RDMA_READ)
		qp->fetching = sim_chance(sim, sim->config.faults.overtake_one_in) ? index + 1 : 0;
	else if (sim_is_atomic(wr->opcode) || (wr->send_flags & IBV_SEND_FENCE))
		qp->fetching = 0;
	else if (qp->fetching)
		fetch_again(qp);
}

/* ---- atomics that write back */

static void writeback_free(struct sim_object *object)
{
	free(object);
}

static void writeback_run(void *arg, uint64_t stamp)
{
	struct sim_writeback *writeback = arg, **link = &writeback->nic->writebacks;
	struct sim_qp *qp = writeback->qp;
	struct ptni_sim_event event;
	struct access_grip grip;

	while (*link != writeback)
		link = &(*link)->next;
	*link = writeback->next;
	if (writeback->stamp != qp->stamp || !qp->soft ||
	    atomic_load(&qp->soft->peer->gate) != qp->soft->peer_gate ||
	    access_remote(qp->soft, writeback->rkey, writeback->addr, sizeof(uint64_t),
			  KEY_RIGHTS(IBV_ACCESS_REMOTE_ATOMIC), &grip))
		return;
	copy_word_store(grip.ptr, writeback->old);
	event = ptni_sim_event_of(qp, PTNI_SIM_WRITEBACK);
	event.number = qp->number + writeback->index;
	event.key = writeback->rkey;
	event.addr = writeback->addr;
	event.len = sizeof(uint64_t);
	event.old = writeback->old;
	ptni_sim_tell(qp->nic->sim, &event);
}

static void writeback_begin(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr)
{
	struct ptni_sim *sim = qp->nic->sim;
	struct sim_writeback *writeback;
	uint64_t old;

	if (wr->opcode != IBV_WR_ATOMIC_CMP_AND_SWP || wr->sg_list[0].length != sizeof(old))
		return;
	memcpy(&old, (const void *)(uintptr_t)wr->sg_list[0].addr, sizeof(old));
	if (old == wr->wr.atomic.compare_add ||
	    !sim_chance(sim, sim->config.faults.writeback_one_in))
		return;
	writeback = calloc(1, sizeof(*writeback));
	if (!writeback)
		return;
	ptni_sim_object_add(sim, &writeback->object, writeback_free);
	writeback->qp = qp;
	writeback->nic = qp->peer_nic;
	writeback->stamp = qp->stamp;
	writeback->addr = wr->wr.atomic.remote_addr;
	writeback->rkey = wr->wr.atomic.rkey;
	writeback->old = old;
	writeback->index = index;
	writeback->time_ns = sim->now_ns + 1 + sim_draw(sim, sim->config.faults.writeback_ns);
	writeback->next = qp->peer_nic->writebacks;
	qp->peer_nic->writebacks = writeback;
	(void)ptni_sim_event_add(sim, writeback->time_ns, writeback_run, writeback, 0);
}

/* When the word is free for another atomic; 0: now. */
static uint64_t word_busy(const struct sim_qp *qp, const struct ibv_send_wr *wr)
{
	const struct sim_writeback *writeback = qp->peer_nic->writebacks;

	while (writeback && writeback->addr != wr->wr.atomic.remote_addr)
		writeback = writeback->next;
	return writeback ? writeback->time_ns + 1 : 0;
}

/* ---- verdicts */

static uint64_t retry_ns(const struct soft_qp *soft)
{
	return (uint64_t)(soft->params.retry_count + 1u) * (4096ull << soft->params.timeout);
}

static uint64_t waited(const struct ptni_sim *sim, struct sim_request *request)
{
	if (!request->waiting)
		request->wait_since_ns = sim->now_ns;
	request->waiting = true;
	return sim->now_ns - request->wait_since_ns;
}

uint64_t ptni_sim_cut_off(struct sim_qp *qp, struct sim_request *request)
{
	const struct ptni_sim *sim = qp->nic->sim;
	uint64_t waited_ns, again_ns, limit_ns = retry_ns(qp->soft);
	struct sim_cut cut;

	if (!qp->peer_nic || !sim_is_cut(qp->nic->process, qp->peer_nic->process, &cut))
		return 0;
	waited_ns = waited(sim, request);
	if (qp->soft->params.timeout && waited_ns >= limit_ns)
		return SIM_GIVEN_UP;
	again_ns = sim->now_ns + CUT_AGAIN_NS;
	if (again_ns > cut.until_ns)
		again_ns = cut.until_ns;
	if (qp->soft->params.timeout && again_ns > request->wait_since_ns + limit_ns)
		again_ns = request->wait_since_ns + limit_ns;
	return again_ns;
}

/* The responder is not ready: ask again, but not for ever. */
static int wait(struct sim_qp *qp, struct sim_request *request, int why)
{
	struct ptni_sim *sim = qp->nic->sim;
	struct soft_qp *soft = qp->soft;
	uint64_t waited_ns = waited(sim, request), pause_ns;

	if (why == AGAIN_RECV && soft->params.rnr_retry < 7 &&
	    waited_ns >= soft->params.rnr_retry * 1000ull * soft->peer->rnr_delay_us)
		return soft_verdict(IBV_WC_RNR_RETRY_EXC_ERR, CAUSE_RECV_NONE);
	if (why == AGAIN_PEER && soft->params.timeout && waited_ns >= retry_ns(soft))
		return lost();
	pause_ns = waited_ns / 4;
	if (pause_ns > WAIT_MAX_NS)
		pause_ns = WAIT_MAX_NS;
	request->due_ns = sim->now_ns + WAIT_MIN_NS + pause_ns + sim_draw(sim, WAIT_MIN_NS);
	return SIM_AGAIN;
}

static void tell_end(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr, int verdict)
{
	if (sim_is_access(wr->opcode)) {
		ptni_sim_tell_wr(qp, PTNI_SIM_ACCESS_END, index, wr, verdict);
	} else if (sim_is_send(wr->opcode)) {
		ptni_sim_tell_wr(qp, PTNI_SIM_SEND, index, wr, verdict);
		if (wr->opcode == IBV_WR_SEND_WITH_INV)
			ptni_sim_tell_wr(qp, PTNI_SIM_INVALIDATE_BEGIN, index, wr, verdict);
	} else if (wr->opcode == IBV_WR_BIND_MW) {
		ptni_sim_tell_wr(qp, PTNI_SIM_BIND, index, wr, verdict);
	} else if (wr->opcode == IBV_WR_LOCAL_INV && !sim_request_at(qp, index)->waiting) {
		ptni_sim_tell_wr(qp, PTNI_SIM_INVALIDATE_BEGIN, index, wr, verdict);
	}
}

/* The whole of it, or the next slice. */
static int run(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr)
{
	struct sim_request *request = sim_request_at(qp, index);
	uint32_t bytes = slice_bytes(qp, wr);
	int verdict;

	if (bytes)
		return slice_run(qp, index, wr, bytes);
	verdict = ptni_soft_run(qp->soft, wr, &request->len);
	if (!verdict && sim_is_access(wr->opcode))
		tell_slice(qp, index, wr);
	if (!verdict && sim_is_atomic(wr->opcode))
		writeback_begin(qp, index, wr);
	return verdict;
}

static int by_fate(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr)
{
	switch (sim_request_at(qp, index)->fate) {
	case FATE_REFUSED:
		return ptni_soft_refuse(qp->soft, IBV_WC_REM_ACCESS_ERR, CAUSE_KEY_STALE);
	case FATE_GHOST:
		ptni_sim_ghost_add(
			qp, index,
			index + 1 + (uint32_t)sim_draw(qp->nic->sim, qp->posted_seen - index));
		return lost();
	case FATE_LOST:
		return lost();
	case FATE_BAD_BIND:
		return soft_verdict(IBV_WC_MW_BIND_ERR, CAUSE_WINDOW_STATE);
	default:
		return run(qp, index, wr);
	}
}

/* As its fate says, if it gets there. What a WRITE had inside when the network was cut is not inside any more. */
static int through(struct sim_qp *qp, uint32_t index, const struct ibv_send_wr *wr)
{
	struct sim_request *request = sim_request_at(qp, index);
	uint64_t again_ns = sim_is_local(wr->opcode) ? 0 : ptni_sim_cut_off(qp, request);

	if (!again_ns)
		return by_fate(qp, index, wr);
	if (again_ns == SIM_GIVEN_UP)
		return lost();
	request->due_ns = again_ns;
	return SIM_AGAIN;
}

/* Announced on the responder's queue pair until the next slice: invalidations and fences wait for it. */
static bool stays_inside(struct sim_qp *qp)
{
	return qp->soft->announced && !qp->nic->process->dead &&
	       sim_chance(qp->nic->sim, qp->nic->sim->config.faults.inside_one_in);
}

int ptni_sim_execute(struct sim_qp *qp, uint32_t index)
{
	const struct ibv_send_wr *wr = &ptni_soft_send_wqe(qp->soft, index)->wr;
	struct sim_request *request = sim_request_at(qp, index);
	int verdict;

	if (request->fate == FATE_NONE) {
		request->fate = fate_draw(qp, wr);
		if (sim_is_access(wr->opcode))
			ptni_sim_tell_wr(qp, PTNI_SIM_ACCESS_BEGIN, index, wr, 0);
	}
	if (sim_is_atomic(wr->opcode) && word_busy(qp, wr)) {
		request->due_ns = word_busy(qp, wr);
		return SIM_AGAIN;
	}
	verdict = through(qp, index, wr);
	if (verdict >= AGAIN_RECV) {
		if (verdict == AGAIN_ACTIVE && !request->waiting) /* the key is dead from now on */
			ptni_sim_tell_wr(qp, PTNI_SIM_INVALIDATE_BEGIN, index, wr, 0);
		verdict = wait(qp, request, verdict);
	}
	if (verdict == SIM_SLICED && stays_inside(qp))
		return SIM_INSIDE;
	ptni_sim_retire(qp->soft, qp->peer_nic);
	if (verdict < 0)
		return verdict;
	if (!verdict)
		fetching_note(qp, index, wr);
	if (!verdict && request->fate == FATE_UNHEARD)
		verdict = lost();
	tell_end(qp, index, wr, verdict);
	return verdict;
}
