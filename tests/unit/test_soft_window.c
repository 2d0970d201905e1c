/* SPDX-License-Identifier: MIT */
#include "core/fabric/soft/soft.h"
#include "tests/unit/soft_pair.h"

#include <errno.h>

static struct pair pair;
static struct ibv_mw *mw;

static int setup(void **state)
{
	pair_open(&pair, "inproc:soft_window");
	mw = ibv_alloc_mw(pair.b.pd, IBV_MW_TYPE_2);
	assert_non_null(mw);
	return 0;
}

static int teardown(void **state)
{
	if (mw)
		assert_int_equal(ibv_dealloc_mw(mw), 0);
	mw = NULL;
	pair_close(&pair);
	return 0;
}

static struct ibv_send_wr bind_wr(uint64_t offset, uint64_t len, unsigned int rights)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED };

	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
		.mr = pair.b.mr,
		.addr = (uintptr_t)pair.b.memory + offset,
		.length = len,
		.mw_access_flags = rights,
	};
	return wr;
}

static enum ibv_wc_status bind(uint64_t offset, uint64_t len, unsigned int rights)
{
	struct ibv_send_wr wr = bind_wr(offset, len, rights);
	enum ibv_wc_status status = pair_run(&pair.b, &wr);

	if (status == IBV_WC_SUCCESS)
		mw->rkey = wr.bind_mw.rkey;
	return status;
}

static enum ibv_wc_status invalidate(struct pair_end *end, uint32_t rkey)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_LOCAL_INV, .send_flags = IBV_SEND_SIGNALED };

	wr.invalidate_rkey = rkey;
	return pair_run(end, &wr);
}

static enum ibv_wc_status access_at(enum ibv_wr_opcode opcode, uint64_t offset, uint32_t len)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, len);
	struct ibv_send_wr wr = pair_wr(opcode, &sge, &pair.b, offset);

	wr.wr.rdma.rkey = mw->rkey;
	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = (uintptr_t)pair.b.memory + offset;
		wr.wr.atomic.compare_add = 1;
		wr.wr.atomic.rkey = mw->rkey;
	}
	return pair_run(&pair.a, &wr);
}

/* Both queue pairs start afresh; windows stay as they are. */
static void reconnect(void)
{
	assert_int_equal(pair.a.fabric->ops->qp_reset(pair.a.qp), 0);
	assert_int_equal(pair.b.fabric->ops->qp_reset(pair.b.qp), 0);
	pair_connect_both(&pair, &pair_params);
}

static void life(void **state)
{
	uint32_t old;

	assert_int_equal(access_at(IBV_WR_RDMA_READ, 4096, 8), IBV_WC_REM_ACCESS_ERR);
	reconnect();
	assert_int_equal(bind(4096, 4096, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 4096, 4096), IBV_WC_SUCCESS);
	assert_int_equal(pair.b.fabric->ops->mr_deregister(pair.b.mr), -EBUSY);
	old = mw->rkey;
	assert_int_equal(invalidate(&pair.b, old), IBV_WC_SUCCESS);
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 4096, 8), IBV_WC_REM_ACCESS_ERR);
	reconnect();
	assert_int_equal(bind(0, 64, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 0, 64), IBV_WC_SUCCESS);
	mw->rkey = old;
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 0, 64), IBV_WC_REM_ACCESS_ERR);
}

static void bounds(void **state)
{
	static const struct {
		int64_t offset;
		uint32_t len;
	} bad[] = { { -1, 1 }, { -1, 8 }, { 4096, 1 }, { 4089, 8 }, { 0, 4097 }, { 8192, 1 } };

	assert_int_equal(bind(4096, 4096, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t offset = 4096 + (uint64_t)bad[i].offset;

		assert_int_equal(access_at(IBV_WR_RDMA_READ, offset, bad[i].len),
				 IBV_WC_REM_ACCESS_ERR);
		reconnect();
	}
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 8191, 1), IBV_WC_SUCCESS);
}

static void rights(void **state)
{
	static const struct {
		enum ibv_wr_opcode opcode;
		unsigned int right;
	} kinds[] = {
		{ IBV_WR_RDMA_READ, IBV_ACCESS_REMOTE_READ },
		{ IBV_WR_RDMA_WRITE, IBV_ACCESS_REMOTE_WRITE },
		{ IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_ACCESS_REMOTE_ATOMIC },
	};

	for (unsigned int bits = 0; bits < 8; bits++) {
		unsigned int given = bits << 1; /* WRITE, READ, ATOMIC */

		assert_int_equal(bind(64, 64, given), IBV_WC_SUCCESS);
		for (size_t i = 0; i < 3; i++) {
			enum ibv_wc_status status = access_at(kinds[i].opcode, 64, 8);

			assert_int_equal(status, given & kinds[i].right ? IBV_WC_SUCCESS :
									  IBV_WC_REM_ACCESS_ERR);
			if (status)
				reconnect();
		}
		assert_int_equal(invalidate(&pair.b, mw->rkey), IBV_WC_SUCCESS);
	}
}

static void bad_binds(void **state)
{
	struct ibv_send_wr wr;

	assert_int_equal(bind(PAIR_BYTES - 8, 9, IBV_ACCESS_REMOTE_READ), IBV_WC_MW_BIND_ERR);
	assert_int_equal(pair_state(&pair.b), IBV_QPS_ERR);
	assert_int_equal(pair_state(&pair.a), IBV_QPS_RTS);
	reconnect();
	assert_int_equal(bind((uint64_t)-8, 16, IBV_ACCESS_REMOTE_READ), IBV_WC_MW_BIND_ERR);
	reconnect();
	assert_int_equal(bind(0, 0, IBV_ACCESS_REMOTE_READ), IBV_WC_MW_BIND_ERR);
	reconnect();
	assert_int_equal(bind(0, 8, IBV_ACCESS_LOCAL_WRITE), IBV_WC_MW_BIND_ERR);
	reconnect();
	wr = bind_wr(0, 8, IBV_ACCESS_REMOTE_READ);
	wr.bind_mw.rkey = mw->rkey; /* the same tag again */
	assert_int_equal(pair_run(&pair.b, &wr), IBV_WC_MW_BIND_ERR);
	reconnect();
	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ),
			 IBV_WC_MW_BIND_ERR); /* bound already */
	reconnect();
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 0, 8), IBV_WC_SUCCESS);
}

static void bad_invalidations(void **state)
{
	uint32_t keys[] = { 0xffffffff, mw->rkey, pair.b.mr->rkey, 0, 12345 << 8 };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		assert_int_equal(invalidate(&pair.b, keys[i]), IBV_WC_LOC_QP_OP_ERR);
		assert_int_equal(pair_state(&pair.b), IBV_QPS_ERR);
		reconnect();
	}
	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	assert_int_equal(invalidate(&pair.b, mw->rkey + 1), IBV_WC_LOC_QP_OP_ERR);
	reconnect();
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 0, 8), IBV_WC_SUCCESS);
}

static void send_with_inv(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND_WITH_INV,
				  .send_flags = IBV_SEND_SIGNALED };
	struct ibv_wc wc;

	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	wr.invalidate_rkey = mw->rkey;
	pair_recv(&pair.b, 1, 64, 8);
	pair_recv(&pair.b, 2, 64, 8);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	wc = pair_wait(pair.b.recv_cq);
	assert_int_equal(wc.wc_flags, IBV_WC_WITH_INV);
	assert_int_equal(wc.invalidated_rkey, mw->rkey);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS); /* twice: the receiver pays */
	assert_int_equal(pair_wait(pair.b.recv_cq).status, IBV_WC_REM_INV_REQ_ERR);
	assert_int_equal(pair_state(&pair.b), IBV_QPS_ERR);
	assert_int_equal(pair_state(&pair.a), IBV_QPS_RTS);
	assert_int_equal(access_at(IBV_WR_RDMA_READ, 0, 8), IBV_WC_RETRY_EXC_ERR);
}

/* The window belongs to one queue pair; closing that ends it. */
static void bound_to_one_qp(void **state)
{
	struct pair_end a2 = pair.a;
	struct pair_end b2 = pair.b;
	struct pair other;
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr;

	pair_qp_open(&a2, NULL);
	pair_qp_open(&b2, NULL);
	other = (struct pair){ a2, b2 };
	pair_connect_both(&other, &pair_params);
	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	wr = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);
	wr.wr.rdma.rkey = mw->rkey;
	assert_int_equal(pair_run(&a2, &wr), IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	assert_int_equal(pair.b.fabric->ops->qp_close(pair.b.qp), 0);
	pair.b.qp = NULL;
	assert_int_equal(a2.fabric->ops->qp_close(a2.qp), 0);
	assert_int_equal(b2.fabric->ops->qp_close(b2.qp), 0);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_RETRY_EXC_ERR);
	assert_int_equal(pair.b.fabric->ops->mr_deregister(pair.b.mr), 0); /* not bound any more */
	assert_int_equal(pair.b.fabric->ops->mr_register(pair.b.pd, pair.b.memory, PAIR_BYTES,
							 PAIR_ALL, &pair.b.mr),
			 0);
}

static void zero_based(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);

	pair.b.memory[1000] = 0x77;
	assert_int_equal(bind(1000, 100, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ZERO_BASED),
			 IBV_WC_SUCCESS);
	wr.wr.rdma.rkey = mw->rkey;
	wr.wr.rdma.remote_addr = 0;
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	assert_int_equal(pair.a.memory[0], 0x77);
	wr.wr.rdma.remote_addr = 93;
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_REM_ACCESS_ERR);
}

/* segment.h O2: while a requester is inside, an invalidation does not complete. */
static void invalidation_waits(void **state)
{
	struct soft_qp *qp = soft_qp_of(pair.b.qp);
	struct ibv_send_wr wr = { .opcode = IBV_WR_LOCAL_INV, .send_flags = IBV_SEND_SIGNALED };
	uint64_t active;

	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE),
			 IBV_WC_SUCCESS);
	assert_int_equal(access_at(IBV_WR_RDMA_WRITE, 0, 8), IBV_WC_SUCCESS);
	active = atomic_load(&qp->entry->active);
	assert_int_equal(active & 1, 0);
	atomic_store(&qp->entry->active, active + 1);
	wr.invalidate_rkey = mw->rkey;
	assert_int_equal(pair_post(&pair.b, &wr), 0);
	for (int i = 0; i < 100; i++)
		assert_true(pair_idle(pair.b.send_cq));
	atomic_store(&qp->entry->active, active + 2);
	soft_qp_of(pair.a.qp)->active = active + 2;
	assert_int_equal(pair_wait(pair.b.send_cq).opcode, IBV_WC_LOCAL_INV);
	assert_int_equal(access_at(IBV_WR_RDMA_WRITE, 0, 8), IBV_WC_REM_ACCESS_ERR);
}

/* A requester who stays inside: the right is gone, and the caller is told that the memory is not free. */
static void revocation_gives_up(void **state)
{
	struct soft_qp *qp = soft_qp_of(pair.b.qp);
	const struct ptni_fabric_ops *ops = pair.b.fabric->ops;
	uint64_t active;
	struct ibv_mr *mr;

	assert_int_equal(ops->mr_register(pair.b.pd, pair.b.memory, 64, PAIR_ALL, &mr), 0);
	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE),
			 IBV_WC_SUCCESS);
	assert_int_equal(access_at(IBV_WR_RDMA_WRITE, 0, 8), IBV_WC_SUCCESS);
	active = atomic_load(&qp->entry->active);
	atomic_store(&qp->entry->active, active + 1);
	assert_int_equal(ops->mr_deregister(mr), -EBUSY);
	atomic_store(&qp->entry->active, active + 2);
	assert_int_equal(ops->mr_deregister(mr), 0);
	assert_int_equal(access_at(IBV_WR_RDMA_WRITE, 0, 8), IBV_WC_SUCCESS);
}

static void only_type_2(void **state)
{
	errno = 0;
	assert_null(ibv_alloc_mw(pair.b.pd, IBV_MW_TYPE_1));
	assert_int_equal(errno, EOPNOTSUPP);
}

static void dealloc_of_bound(void **state)
{
	uint32_t rkey;
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);

	assert_int_equal(bind(0, 8, IBV_ACCESS_REMOTE_READ), IBV_WC_SUCCESS);
	rkey = mw->rkey;
	assert_int_equal(ibv_dealloc_mw(mw), 0);
	mw = NULL;
	wr.wr.rdma.rkey = rkey;
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_REM_ACCESS_ERR);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(life),
		CASE(bounds),
		CASE(rights),
		CASE(bad_binds),
		CASE(bad_invalidations),
		CASE(send_with_inv),
		CASE(bound_to_one_qp),
		CASE(zero_based),
		CASE(invalidation_waits),
		CASE(revocation_gives_up),
		CASE(only_type_2),
		CASE(dealloc_of_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
