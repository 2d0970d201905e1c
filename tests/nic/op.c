/* SPDX-License-Identifier: MIT */
#include "tests/nic/nic.h"

uint64_t nic_at(const struct nic_side *side, size_t offset)
{
	return (uint64_t)(uintptr_t)side->memory + offset;
}

static struct nic_op local_op(struct nic_side *side, enum ibv_wr_opcode opcode, size_t local,
			      uint32_t len)
{
	return (struct nic_op){
		.wr = { .opcode = opcode, .num_sge = 1 },
		.sge = { .addr = nic_at(side, local), .length = len, .lkey = side->mr->lkey },
	};
}

struct nic_op nic_read(struct nic *nic, size_t local, uint64_t remote, uint32_t len, uint32_t rkey)
{
	struct nic_op op = local_op(&nic->client, IBV_WR_RDMA_READ, local, len);
	op.wr.wr.rdma.remote_addr = remote;
	op.wr.wr.rdma.rkey = rkey;
	return op;
}

struct nic_op nic_write(struct nic *nic, size_t local, uint64_t remote, uint32_t len, uint32_t rkey)
{
	struct nic_op op = nic_read(nic, local, remote, len, rkey);
	op.wr.opcode = IBV_WR_RDMA_WRITE;
	return op;
}

struct nic_op nic_cas(struct nic *nic, size_t local, uint64_t remote, uint64_t expected,
		      uint64_t desired, uint32_t rkey)
{
	struct nic_op op = local_op(&nic->client, IBV_WR_ATOMIC_CMP_AND_SWP, local, 8);
	op.wr.wr.atomic.remote_addr = remote;
	op.wr.wr.atomic.rkey = rkey;
	op.wr.wr.atomic.compare_add = expected;
	op.wr.wr.atomic.swap = desired;
	return op;
}

struct nic_op nic_faa(struct nic *nic, size_t local, uint64_t remote, uint64_t add, uint32_t rkey)
{
	struct nic_op op = nic_cas(nic, local, remote, add, 0, rkey);
	op.wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
	return op;
}

struct nic_op nic_send(struct nic_side *side, size_t local, uint32_t len)
{
	return local_op(side, IBV_WR_SEND, local, len);
}

struct nic_op nic_bind(struct ibv_mw *mw, uint32_t rkey, struct ibv_mr *mr, uint64_t addr,
		       uint64_t len, int rights)
{
	struct nic_op op = { .wr = { .opcode = IBV_WR_BIND_MW } };
	op.wr.bind_mw.mw = mw;
	op.wr.bind_mw.rkey = rkey;
	op.wr.bind_mw.bind_info.mr = mr;
	op.wr.bind_mw.bind_info.addr = addr;
	op.wr.bind_mw.bind_info.length = len;
	op.wr.bind_mw.bind_info.mw_access_flags = (unsigned)rights;
	return op;
}

struct nic_op nic_invalidate(uint32_t rkey)
{
	return (struct nic_op){ .wr = { .opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = rkey } };
}

/* The CAS swaps the value expected for itself and the FAA adds nothing: an allowed one is harmless. */
struct nic_op nic_access(struct nic *nic, int kind, uint64_t remote, uint32_t rkey)
{
	switch (kind) {
	case NIC_READ:
		return nic_read(nic, 0, remote, 8, rkey);
	case NIC_WRITE:
		return nic_write(nic, 0, remote, 8, rkey);
	case NIC_CAS:
		return nic_cas(nic, 0, remote, 0, 0, rkey);
	default:
		return nic_faa(nic, 0, remote, 0, rkey);
	}
}

bool nic_rights_allow(int rights, int kind)
{
	static const int needed[NIC_KINDS] = { IBV_ACCESS_REMOTE_READ, IBV_ACCESS_REMOTE_WRITE,
					       IBV_ACCESS_REMOTE_ATOMIC, IBV_ACCESS_REMOTE_ATOMIC };
	return rights & needed[kind];
}

const int nic_rights_sets[8] = {
	0,
	IBV_ACCESS_REMOTE_READ,
	IBV_ACCESS_REMOTE_WRITE,
	IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
	IBV_ACCESS_REMOTE_ATOMIC,
	IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_REMOTE_READ,
	IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_REMOTE_WRITE,
	NIC_RIGHTS_ALL,
};

struct nic_op nic_signalled(struct nic_op op, uint64_t wr_id)
{
	op.wr.send_flags |= IBV_SEND_SIGNALED;
	op.wr.wr_id = wr_id;
	return op;
}

int nic_try_post(struct ibv_qp *qp, struct nic_op *ops, size_t count, size_t *bad_out)
{
	for (size_t i = 0; i < count; i++) {
		if (ops[i].wr.num_sge == 1 && !ops[i].wr.sg_list)
			ops[i].wr.sg_list = &ops[i].sge;
		ops[i].wr.next = i + 1 < count ? &ops[i + 1].wr : NULL;
	}
	struct ibv_send_wr *bad = NULL;
	int ret = ibv_post_send(qp, &ops[0].wr, &bad);
	for (size_t i = 0; ret && bad_out && i < count; i++)
		if (bad == &ops[i].wr)
			*bad_out = i;
	return ret;
}

void nic_post(struct ibv_qp *qp, struct nic_op *ops, size_t count)
{
	assert_int_equal(nic_try_post(qp, ops, count, NULL), 0);
}

void nic_post_recv(struct ibv_qp *qp, struct nic_side *side, uint64_t wr_id, size_t offset,
		   uint32_t len)
{
	struct ibv_sge sge = { nic_at(side, offset), len, side->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1 }, *bad;
	assert_int_equal(ibv_post_recv(qp, &wr, &bad), 0);
}

bool nic_try_wait(struct ibv_cq *cq, unsigned deadline_ms, struct ibv_wc *wc_out)
{
	uint64_t deadline = nic_now_ns() + deadline_ms * 1000000ull;
	for (;;) {
		int got = ibv_poll_cq(cq, 1, wc_out);
		if (got < 0)
			print_error("ibv_poll_cq: %d\n", got);
		if (got)
			return got > 0;
		if (nic_now_ns() > deadline)
			return false;
		nic_pause();
	}
}

struct ibv_wc nic_wait(struct ibv_cq *cq)
{
	struct ibv_wc wc;
	if (!nic_try_wait(cq, NIC_DEADLINE_MS, &wc))
		fail_msg("no completion within %d ms", NIC_DEADLINE_MS);
	return wc;
}

void nic_expect(struct ibv_cq *cq, uint64_t wr_id, enum ibv_wc_status status)
{
	struct ibv_wc wc = nic_wait(cq);
	assert_int_equal(wc.wr_id, wr_id);
	assert_int_equal(wc.status, status);
}

size_t nic_drain(struct ibv_cq *cq)
{
	struct ibv_wc wc;
	size_t count = 0;
	while (ibv_poll_cq(cq, 1, &wc) > 0)
		count++;
	return count;
}

enum ibv_wc_status nic_run(struct ibv_qp *qp, struct nic_op op)
{
	static _Thread_local uint64_t number = 1ull << 32; /* unlike any that tests choose */
	struct nic_op signalled = nic_signalled(op, ++number);
	nic_post(qp, &signalled, 1);
	struct ibv_wc wc = nic_wait(qp->send_cq);
	assert_int_equal(wc.wr_id, number);
	return wc.status;
}

void nic_run_ok(struct ibv_qp *qp, struct nic_op op)
{
	assert_int_equal(nic_run(qp, op), IBV_WC_SUCCESS);
}

enum ibv_wc_status nic_run_bind(struct ibv_qp *qp, struct ibv_mw *mw, struct ibv_mr *mr,
				uint64_t addr, uint64_t len, int rights)
{
	uint32_t rkey = ibv_inc_rkey(mw->rkey);
	enum ibv_wc_status status = nic_run(qp, nic_bind(mw, rkey, mr, addr, len, rights));
	if (status == IBV_WC_SUCCESS)
		mw->rkey = rkey;
	return status;
}

enum ibv_qp_state nic_state(struct nic *nic, struct ibv_qp *qp)
{
	enum ibv_qp_state state = IBV_QPS_UNKNOWN;
	assert_int_equal(nic->node.fabric->ops->qp_state(qp, &state), 0);
	return state;
}

void nic_state_becomes(struct nic *nic, struct ibv_qp *qp, enum ibv_qp_state state)
{
	uint64_t deadline = nic_now_ns() + NIC_DEADLINE_MS * 1000000ull;
	while (nic_state(nic, qp) != state && nic_now_ns() < deadline)
		nic_pause();
	assert_int_equal(nic_state(nic, qp), state);
}
