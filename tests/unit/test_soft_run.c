/* SPDX-License-Identifier: MIT */
#include "tests/unit/soft_pair.h"

#include <stdlib.h>

static struct pair pair;

static int setup(void **state)
{
	pair_open(&pair, "inproc:soft_run");
	return 0;
}

static int teardown(void **state)
{
	pair_close(&pair);
	return 0;
}

static uint64_t *word(struct pair_end *end, uint64_t offset)
{
	return (uint64_t *)(void *)(end->memory + offset);
}

static void reads_and_writes(void **state)
{
	static const uint32_t lens[] = { 1, 7, 8, 13, 64, 511, 512, 513, 4096, 30001 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		uint32_t len = lens[i];
		struct ibv_sge from = pair_sge(&pair.a, 3, len);
		struct ibv_sge back = pair_sge(&pair.a, 32768, len);
		struct ibv_send_wr write = pair_wr(IBV_WR_RDMA_WRITE, &from, &pair.b, 5);
		struct ibv_send_wr read = pair_wr(IBV_WR_RDMA_READ, &back, &pair.b, 5);

		memset(pair.b.memory, 0xee, PAIR_BYTES);
		for (uint32_t at = 0; at < len; at++)
			pair.a.memory[3 + at] = (uint8_t)(at * 7 + i);
		assert_int_equal(pair_run(&pair.a, &write), IBV_WC_SUCCESS);
		assert_memory_equal(pair.b.memory + 5, pair.a.memory + 3, len);
		assert_int_equal(pair.b.memory[4], 0xee);
		assert_int_equal(pair.b.memory[5 + len], 0xee);
		memset(pair.a.memory + 32768, 0, 30002);
		assert_int_equal(pair_run(&pair.a, &read), IBV_WC_SUCCESS);
		assert_memory_equal(pair.a.memory + 32768, pair.b.memory + 5, len);
		assert_int_equal(pair.a.memory[32768 + len], 0);
	}
}

static void atomics(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = pair_wr(IBV_WR_ATOMIC_CMP_AND_SWP, &sge, &pair.b, 0);

	wr.wr.atomic.remote_addr = (uintptr_t)pair.b.memory + 64;
	wr.wr.atomic.rkey = pair.b.mr->rkey;
	wr.wr.atomic.compare_add = 0;
	wr.wr.atomic.swap = 77;
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	assert_int_equal(*word(&pair.a, 0), 0);
	assert_int_equal(*word(&pair.b, 64), 77);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS); /* fails: 77 is there */
	assert_int_equal(*word(&pair.a, 0), 77);
	assert_int_equal(*word(&pair.b, 64), 77);
	wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
	wr.wr.atomic.compare_add = 5;
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	assert_int_equal(*word(&pair.b, 64), 82);
	wr.wr.atomic.remote_addr += 4;
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_REM_INV_REQ_ERR);
}

static void sends(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 100);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND_WITH_IMM,
				  .send_flags = IBV_SEND_SIGNALED,
				  .imm_data = 0x1234 };
	struct ibv_wc wc;

	memset(pair.a.memory, 0x5a, 100);
	pair_recv(&pair.b, 42, 1000, 200);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	wc = pair_wait(pair.b.recv_cq);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.wr_id, 42);
	assert_int_equal(wc.byte_len, 100);
	assert_int_equal(wc.imm_data, 0x1234);
	assert_int_equal(wc.wc_flags, IBV_WC_WITH_IMM);
	assert_int_equal(wc.qp_num, pair.b.qp->qp_num);
	assert_memory_equal(pair.b.memory + 1000, pair.a.memory, 100);
	assert_int_equal(pair.b.memory[1100], 0);
}

/* No RECV: the SEND waits in the queue, what follows waits behind it, and order is kept. */
static void send_waits_for_recv(void **state)
{
	struct ptni_qp_params patient = pair_params;
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = { .wr_id = 1,
				  .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE };
	struct ibv_send_wr write = pair_wr(IBV_WR_RDMA_WRITE, &sge, &pair.b, 512);

	patient.rnr_retry = 7;
	assert_int_equal(pair.a.fabric->ops->qp_reset(pair.a.qp), 0);
	assert_int_equal(pair.b.fabric->ops->qp_reset(pair.b.qp), 0);
	pair_connect_both(&pair, &patient);
	write.wr_id = 2;
	*word(&pair.a, 0) = 1;
	assert_int_equal(pair_post(&pair.a, &wr), 0);
	*word(&pair.a, 0) = 2; /* inline: was copied */
	assert_int_equal(pair_post(&pair.a, &write), 0);
	assert_true(pair_idle(pair.a.send_cq));
	assert_int_equal(*word(&pair.b, 512), 0);
	pair_recv(&pair.b, 9, 0, 8);
	assert_int_equal(pair_wait(pair.a.send_cq).wr_id, 1);
	assert_int_equal(pair_wait(pair.a.send_cq).wr_id, 2);
	assert_int_equal(pair_wait(pair.b.recv_cq).wr_id, 9);
	assert_int_equal(*word(&pair.b, 0), 1);
	assert_int_equal(*word(&pair.b, 512), 2);
}

static void send_gives_up(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND };

	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_RNR_RETRY_EXC_ERR);
	assert_int_equal(pair_state(&pair.a), IBV_QPS_ERR);
	assert_int_equal(pair_state(&pair.b), IBV_QPS_RTS);
}

/* A violation: its completion, the rest flushed, both sides' RECVs flushed, both in ERROR. */
static void violation_breaks_both(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr bad = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, PAIR_BYTES - 7);
	struct ibv_send_wr rest = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);

	bad.next = &rest;
	bad.wr_id = 1;
	rest.wr_id = 2;
	rest.send_flags = 0;
	pair_recv(&pair.a, 3, 0, 8);
	pair_recv(&pair.b, 4, 0, 8);
	pair_recv(&pair.b, 5, 0, 8);
	assert_int_equal(pair_run(&pair.a, &bad), IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(pair_wait(pair.a.send_cq).status, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(pair_wait(pair.a.recv_cq).wr_id, 3);
	assert_int_equal(pair_wait(pair.b.recv_cq).wr_id, 4);
	assert_int_equal(pair_wait(pair.b.recv_cq).wr_id, 5);
	assert_int_equal(pair_state(&pair.b), IBV_QPS_ERR);
	assert_int_equal(pair_state(&pair.a), IBV_QPS_ERR);
	rest.wr_id = 6;
	rest.next = NULL;
	assert_int_equal(pair_run(&pair.a, &rest), IBV_WC_WR_FLUSH_ERR);
	pair_recv(&pair.b, 7, 0, 8);
	assert_int_equal(pair_wait(pair.b.recv_cq).wr_id, 7);
}

static void recv_too_short(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 64);
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND };

	pair_recv(&pair.b, 4, 0, 63);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_REM_INV_REQ_ERR);
	assert_int_equal(pair_wait(pair.b.recv_cq).status, IBV_WC_LOC_LEN_ERR);
	assert_int_equal(pair_state(&pair.b), IBV_QPS_ERR);
}

/* Any memory of the process may be registered with an in-process NIC. */
static void ordinary_memory(void **state)
{
	uint8_t *memory = malloc(100);
	struct ibv_sge sge = pair_sge(&pair.a, 0, 100);
	struct ibv_send_wr read = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);
	struct ibv_mr *mr;

	assert_non_null(memory);
	memset(memory, 9, 100);
	assert_int_equal(pair.b.fabric->ops->mr_register(pair.b.pd, memory, 100, PAIR_ALL, &mr), 0);
	read.wr.rdma.remote_addr = (uintptr_t)memory;
	read.wr.rdma.rkey = mr->rkey;
	assert_int_equal(pair_run(&pair.a, &read), IBV_WC_SUCCESS);
	assert_memory_equal(pair.a.memory, memory, 100);
	assert_int_equal(pair.b.fabric->ops->mr_deregister(mr), 0);
	free(memory);
	assert_int_equal(pair_run(&pair.a, &read), IBV_WC_REM_ACCESS_ERR);
}

static void send_queue_slots(void **state)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = pair_wr(IBV_WR_RDMA_WRITE, &sge, &pair.b, 0);

	wr.send_flags = 0;
	for (int i = 0; i < PAIR_DEPTH - 1; i++)
		assert_int_equal(pair_post(&pair.a, &wr), 0);
	wr.send_flags = IBV_SEND_SIGNALED;
	assert_int_equal(pair_post(&pair.a, &wr), 0);
	assert_int_equal(pair_post(&pair.a, &wr), ENOMEM);
	assert_int_equal(pair_wait(pair.a.send_cq).status, IBV_WC_SUCCESS);
	assert_true(pair_idle(pair.a.send_cq));
	assert_int_equal(pair_post(&pair.a, &wr), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_and_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(atomics, setup, teardown),
		cmocka_unit_test_setup_teardown(sends, setup, teardown),
		cmocka_unit_test_setup_teardown(send_waits_for_recv, setup, teardown),
		cmocka_unit_test_setup_teardown(send_gives_up, setup, teardown),
		cmocka_unit_test_setup_teardown(violation_breaks_both, setup, teardown),
		cmocka_unit_test_setup_teardown(recv_too_short, setup, teardown),
		cmocka_unit_test_setup_teardown(ordinary_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(send_queue_slots, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
