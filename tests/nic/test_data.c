/* SPDX-License-Identifier: MIT */
/* What moves: lengths, alignment, gather and scatter, inline, zero bytes, local keys. */
#include "tests/nic/groups.h"

enum {
	HALF = NIC_MEMORY_BYTES / 2,
	GUARD = 0x5a,
};

static void pattern(uint8_t *memory, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		memory[i] = (uint8_t)(i * 7 + (i >> 8) + seed);
}

/* Rule: READ and WRITE of any length and alignment move exactly those bytes. */
static void lengths_and_alignments(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	static const uint32_t lengths[] = { 1,    2,    3,    7,    8,    9,     63,     64,
					    1023, 1024, 4095, 4096, 4097, 65536, 100001, 262144 };
	uint32_t rkey = nic->node.mr->rkey;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		uint32_t len = lengths[i];
		size_t local = 64 + i % 8, remote = 64 + (i * 3) % 8;
		pattern(nic->client.memory + local, len, (unsigned)i);
		memset(nic->node.memory, GUARD, len + 128);
		memset(nic->client.memory + HALF, GUARD, len + 128);
		nic_run_ok(nic->link.client,
			   nic_write(nic, local, nic_at(&nic->node, remote), len, rkey));
		assert_memory_equal(nic->node.memory + remote, nic->client.memory + local, len);
		assert_int_equal(nic->node.memory[remote - 1], GUARD);
		assert_int_equal(nic->node.memory[remote + len], GUARD);
		nic_run_ok(nic->link.client,
			   nic_read(nic, HALF + local, nic_at(&nic->node, remote), len, rkey));
		assert_memory_equal(nic->client.memory + HALF + local, nic->client.memory + local,
				    len);
		assert_int_equal(nic->client.memory[HALF + local - 1], GUARD);
		assert_int_equal(nic->client.memory[HALF + local + len], GUARD);
	}
}

/* Rule: a WRITE gathers its SGEs in order, a READ scatters into them in order. */
static void gather_and_scatter(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint32_t lkey = nic->client.mr->lkey, rkey = nic->node.mr->rkey;
	pattern(nic->client.memory, 4096, 1);
	struct ibv_sge pieces[NIC_SGE] = {
		{ nic_at(&nic->client, 1000), 5, lkey },
		{ nic_at(&nic->client, 0), 100, lkey },
		{ nic_at(&nic->client, 3000), 1, lkey },
		{ nic_at(&nic->client, 2000), 333, lkey },
	};
	struct nic_op write = nic_write(nic, 0, nic_at(&nic->node, 3), 0, rkey);
	struct nic_op read = nic_read(nic, 0, nic_at(&nic->node, 3), 0, rkey);
	write.wr.sg_list = read.wr.sg_list = pieces;
	write.wr.num_sge = read.wr.num_sge = NIC_SGE;
	nic_run_ok(nic->link.client, write);
	assert_memory_equal(nic->node.memory + 3, nic->client.memory + 1000, 5);
	assert_memory_equal(nic->node.memory + 8, nic->client.memory, 100);
	assert_memory_equal(nic->node.memory + 108, nic->client.memory + 3000, 1);
	assert_memory_equal(nic->node.memory + 109, nic->client.memory + 2000, 333);
	for (size_t i = 0; i < NIC_SGE; i++)
		pieces[i].addr += HALF;
	nic_run_ok(nic->link.client, read);
	assert_memory_equal(nic->client.memory + HALF + 1000, nic->client.memory + 1000, 5);
	assert_memory_equal(nic->client.memory + HALF, nic->client.memory, 100);
	assert_memory_equal(nic->client.memory + HALF + 2000, nic->client.memory + 2000, 333);
	assert_int_equal(nic->client.memory[HALF + 1005], 0);
}

/* Rule: a SEND gathers and its RECV scatters; byte_len is the total. */
static void send_gathers_recv_scatters(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	pattern(nic->client.memory, 200, 9);
	struct ibv_sge out[2] = { { nic_at(&nic->client, 0), 70, nic->client.mr->lkey },
				  { nic_at(&nic->client, 100), 30, nic->client.mr->lkey } };
	struct ibv_sge in[3] = { { nic_at(&nic->node, 0), 10, nic->node.mr->lkey },
				 { nic_at(&nic->node, 64), 80, nic->node.mr->lkey },
				 { nic_at(&nic->node, 256), 80, nic->node.mr->lkey } };
	struct ibv_recv_wr recv = { .wr_id = 5, .sg_list = in, .num_sge = 3 }, *bad;
	assert_int_equal(ibv_post_recv(nic->link.node, &recv, &bad), 0);
	struct nic_op send = nic_send(&nic->client, 0, 0);
	send.wr.sg_list = out;
	send.wr.num_sge = 2;
	nic_run_ok(nic->link.client, send);
	struct ibv_wc wc = nic_wait(nic->node.cq);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.byte_len, 100);
	assert_memory_equal(nic->node.memory, nic->client.memory, 10);
	assert_memory_equal(nic->node.memory + 64, nic->client.memory + 10, 60);
	assert_memory_equal(nic->node.memory + 124, nic->client.memory + 100, 20);
	assert_memory_equal(nic->node.memory + 256, nic->client.memory + 120, 10);
	assert_int_equal(nic->node.memory[266], 0);
}

/*
 * Rule: inline data is taken at posting: no lkey is looked at, the buffer need not be registered and
 * may be re-used as soon as ibv_post_send returns.
 */
static void inline_is_taken_at_posting(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint8_t buffer[NIC_INLINE_BYTES];
	for (unsigned i = 0; i < 100; i++) {
		pattern(buffer, sizeof(buffer), i);
		struct nic_op op = nic_write(nic, 0, nic_at(&nic->node, 0), sizeof(buffer),
					     nic->node.mr->rkey);
		op.sge.addr = (uint64_t)(uintptr_t)buffer;
		op.sge.lkey = 0xdeadbeef;
		op.wr.send_flags = IBV_SEND_INLINE;
		op = nic_signalled(op, i);
		nic_post(nic->link.client, &op, 1);
		memset(buffer, 0xff, sizeof(buffer));
		nic_expect(nic->client.cq, i, IBV_WC_SUCCESS);
		pattern(buffer, sizeof(buffer), i);
		assert_memory_equal(nic->node.memory, buffer, sizeof(buffer));
	}
}

/* Rule: more inline bytes than the queue pair was made for are refused at posting. */
static void inline_limit(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op op = nic_write(nic, 0, nic_at(&nic->node, 0), 1 << 16, nic->node.mr->rkey);
	op.wr.send_flags = IBV_SEND_INLINE;
	size_t bad = 9;
	assert_in_range(nic_try_post(nic->link.client, &op, 1, &bad), 1, 4095);
	assert_int_equal(bad, 0);
	struct nic_op fits =
		nic_write(nic, 0, nic_at(&nic->node, 0), NIC_INLINE_BYTES, nic->node.mr->rkey);
	fits.wr.send_flags = IBV_SEND_INLINE;
	nic_run_ok(nic->link.client, fits);
}

/* Rule: zero bytes may be read, written and sent; no key is looked at, since nothing is touched. */
static void zero_length(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_op ops[] = {
		nic_read(nic, 0, nic_at(&nic->node, 0), 0, nic->node.mr->rkey),
		nic_write(nic, 0, nic_at(&nic->node, 0), 0, nic->node.mr->rkey),
		nic_read(nic, 0, 0, 0, 0xdeadbeef),
		nic_write(nic, 0, 0, 0, 0xdeadbeef),
	};
	for (size_t i = 0; i < 4; i++) {
		ops[i].wr.num_sge = 0;
		nic_run_ok(nic->link.client, ops[i]);
	}
	nic_post_recv(nic->link.node, &nic->node, 3, 0, 64);
	struct nic_op send = nic_send(&nic->client, 0, 0);
	send.wr.num_sge = 0;
	nic_run_ok(nic->link.client, send);
	struct ibv_wc wc = nic_wait(nic->node.cq);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.byte_len, 0);
}

static void local_fault(struct nic *nic, struct nic_op op, bool loose)
{
	enum ibv_wc_status status = nic_run(nic->link.client, op);
	if (loose)
		assert_true(status == IBV_WC_LOC_PROT_ERR || status == IBV_WC_LOC_QP_OP_ERR);
	else
		assert_int_equal(status, IBV_WC_LOC_PROT_ERR);
	nic_state_becomes(nic, nic->link.client, IBV_QPS_ERR);
	assert_int_equal(nic_state(nic, nic->link.node), IBV_QPS_RTS);
	assert_int_equal(nic_load(nic->node.memory), 0);
	nic_link_renew(nic, &nic->link);
}

/*
 * Rule: a wrong or foreign lkey, or local bytes outside its region, end with LOC_PROT_ERR; only the
 * own queue pair breaks, nothing is moved.
 */
static void local_keys_are_checked(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	bool loose = nic_differs(__func__);
	uint32_t rkey = nic->node.mr->rkey;
	nic_store(nic->client.memory, 77);
	struct nic_op ops[3] = { nic_write(nic, 0, nic_at(&nic->node, 0), 8, rkey),
				 nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey),
				 nic_faa(nic, 0, nic_at(&nic->node, 0), 0, rkey) };
	struct ibv_pd *foreign = nic_pd_open(nic, &nic->client);
	struct ibv_mr *mr = nic_mr_open(nic, foreign, nic->client.memory, 4096, NIC_MR_ALL);
	for (size_t i = 0; i < 3; i++) {
		struct nic_op op = ops[i];
		op.sge.lkey = 0xdeadbeef;
		local_fault(nic, op, loose);
		op.sge.lkey = mr->lkey;
		local_fault(nic, op, loose);
		op = ops[i];
		op.sge.addr = nic_at(&nic->client, NIC_MEMORY_BYTES - 4);
		local_fault(nic, op, loose);
	}
}

/* Rule: READ and atomics need a local region with LOCAL_WRITE; WRITE does not. */
static void local_write_right(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->client.pd, nic->client.memory, 4096, 0);
	struct nic_op write = nic_write(nic, 0, nic_at(&nic->node, 64), 8, nic->node.mr->rkey);
	struct nic_op read = nic_read(nic, 0, nic_at(&nic->node, 64), 8, nic->node.mr->rkey);
	write.sge.lkey = read.sge.lkey = mr->lkey;
	nic_run_ok(nic->link.client, write);
	enum ibv_wc_status status = nic_run(nic->link.client, read);
	assert_true(status == IBV_WC_LOC_PROT_ERR || status == IBV_WC_LOC_ACCESS_ERR ||
		    status == IBV_WC_LOC_QP_OP_ERR);
	nic_state_becomes(nic, nic->link.client, IBV_QPS_ERR);
}

const struct CMUnitTest nic_data_tests[] = {
	NIC_TEST(lengths_and_alignments),
	NIC_TEST(gather_and_scatter),
	NIC_TEST(send_gathers_recv_scatters),
	NIC_TEST(inline_is_taken_at_posting),
	NIC_TEST(inline_limit),
	NIC_TEST(zero_length),
	NIC_TEST(local_keys_are_checked),
	NIC_TEST(local_write_right),
};
NIC_COUNT(data);
