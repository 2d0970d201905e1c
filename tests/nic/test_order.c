/* SPDX-License-Identifier: MIT */
/* Order within one queue pair: execution, completion, fence. */
#include "tests/nic/groups.h"

enum {
	WORD = 0, /* offset in node memory of the word under CAS */
	BLOCK = 64, /* of the block that is written before */
	RESULT = 4096, /* offset in client memory */
	ROUNDS = 200,
};

/*
 * Rule: the responder executes the requests of one queue pair in the order of posting; a READ posted
 * after a WRITE sees it, and a CAS posted after both takes effect after both.
 */
static void write_read_cas_in_one_list(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint32_t rkey = nic->node.mr->rkey;
	uint64_t block = nic_at(&nic->node, BLOCK), word = nic_at(&nic->node, WORD);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		memset(nic->client.memory, (int)i, 512);
		struct nic_op list[] = {
			nic_write(nic, 0, block, 512, rkey),
			nic_read(nic, RESULT, block, 512, rkey),
			nic_cas(nic, RESULT + 512, word, i - 1, i, rkey),
			nic_signalled(nic_read(nic, RESULT + 520, word, 8, rkey), i),
		};
		nic_post(nic->link.client, list, 4);
		nic_expect(nic->client.cq, i, IBV_WC_SUCCESS);
		assert_memory_equal(nic->client.memory + RESULT, nic->client.memory, 512);
		assert_int_equal(nic_load(nic->client.memory + RESULT + 512), i - 1);
		assert_int_equal(nic_load(nic->client.memory + RESULT + 520), i);
	}
}

/*
 * Rule: the last of several overlapping WRITEs of one queue pair wins, also when each is a list of
 * its own and none waits for the one before.
 */
static void overlapping_writes_keep_order(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		COUNT = 64
	};
	for (uint64_t i = 0; i < COUNT; i++) {
		nic_store(nic->client.memory + 8 * i, i);
		struct nic_op op =
			nic_write(nic, 8 * i, nic_at(&nic->node, WORD), 8, nic->node.mr->rkey);
		op = i + 1 < COUNT ? op : nic_signalled(op, i);
		nic_post(nic->link.client, &op, 1);
	}
	nic_expect(nic->client.cq, COUNT - 1, IBV_WC_SUCCESS);
	assert_int_equal(nic_load(nic->node.memory + WORD), COUNT - 1);
}

/* Rule: completions of one send queue come in the order of posting, whatever the operations. */
static void completions_in_order(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint32_t rkey = nic->node.mr->rkey;
	uint64_t word = nic_at(&nic->node, WORD), block = nic_at(&nic->node, BLOCK);
	static const enum ibv_wc_opcode opcodes[] = { IBV_WC_RDMA_READ, IBV_WC_RDMA_WRITE,
						      IBV_WC_COMP_SWAP, IBV_WC_FETCH_ADD };
	for (uint64_t i = 0; i < ROUNDS; i += 4) {
		struct nic_op list[] = {
			nic_signalled(nic_read(nic, RESULT, block, 20000, rkey), i),
			nic_signalled(nic_write(nic, 0, block, 8, rkey), i + 1),
			nic_signalled(nic_cas(nic, 16, word, 0, 1, rkey), i + 2),
			nic_signalled(nic_faa(nic, 24, word, 1, rkey), i + 3),
		};
		nic_post(nic->link.client, list, 4);
		for (uint64_t k = i; k < i + 4; k++) {
			struct ibv_wc wc = nic_wait(nic->client.cq);
			assert_int_equal(wc.wr_id, k);
			assert_int_equal(wc.status, IBV_WC_SUCCESS);
			assert_int_equal(wc.opcode, opcodes[k - i]);
			assert_int_equal(wc.qp_num, nic->link.client->qp_num);
		}
	}
}

/* Rule: SENDs arrive in order, one RECV each, the RECVs used in the order of posting. */
static void sends_in_order(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		COUNT = 100
	};
	struct nic_op list[COUNT];
	for (uint64_t i = 0; i < COUNT; i++) {
		nic_post_recv(nic->link.node, &nic->node, i, 64 * i, 64);
		nic_store(nic->client.memory + 64 * i, i + 1);
		list[i] = nic_send(&nic->client, 64 * i, 8 + (uint32_t)i % 50);
	}
	list[COUNT - 1] = nic_signalled(list[COUNT - 1], COUNT);
	nic_post(nic->link.client, list, COUNT);
	for (uint64_t i = 0; i < COUNT; i++) {
		struct ibv_wc wc = nic_wait(nic->node.cq);
		assert_int_equal(wc.wr_id, i);
		assert_int_equal(wc.status, IBV_WC_SUCCESS);
		assert_int_equal(wc.opcode, IBV_WC_RECV);
		assert_int_equal(wc.byte_len, 8 + i % 50);
		assert_int_equal(nic_load(nic->node.memory + 64 * i), i + 1);
	}
	nic_expect(nic->client.cq, COUNT, IBV_WC_SUCCESS);
}

/* Rule: when the RECV of a SEND completes, the WRITEs posted before that SEND are in memory. */
static void send_after_write_announces_it(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		memset(nic->client.memory, (int)i, 5000);
		nic_post_recv(nic->link.node, &nic->node, i, 8192, 8);
		struct nic_op list[] = {
			nic_write(nic, 0, nic_at(&nic->node, 0), 5000, nic->node.mr->rkey),
			nic_signalled(nic_send(&nic->client, 0, 8), i),
		};
		nic_post(nic->link.client, list, 2);
		nic_expect(nic->node.cq, i, IBV_WC_SUCCESS);
		assert_memory_equal(nic->node.memory, nic->client.memory, 5000);
		nic_expect(nic->client.cq, i, IBV_WC_SUCCESS);
	}
}

/*
 * Rule: a request with IBV_SEND_FENCE starts after all READs and atomics posted before it are
 * complete, so it may use what they brought.
 */
static void fence_waits_for_reads(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint32_t rkey = nic->node.mr->rkey;
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		nic_store(nic->node.memory, i);
		nic_store(nic->client.memory, 0);
		struct nic_op list[] = {
			nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey),
			nic_write(nic, 0, nic_at(&nic->node, 8), 8, rkey),
			nic_faa(nic, 8, nic_at(&nic->node, 16), 1, rkey),
			nic_write(nic, 8, nic_at(&nic->node, 24), 8, rkey),
			nic_signalled(nic_read(nic, 16, nic_at(&nic->node, 8), 24, rkey), i),
		};
		list[1].wr.send_flags = IBV_SEND_FENCE;
		list[3].wr.send_flags = IBV_SEND_FENCE;
		nic_post(nic->link.client, list, 5);
		nic_expect(nic->client.cq, i, IBV_WC_SUCCESS);
		assert_int_equal(nic_load(nic->client.memory + 16), i);
		assert_int_equal(nic_load(nic->client.memory + 32), i - 1);
	}
}

/*
 * Rule: a signalled completion says that every request before it, signalled or not, is complete: the
 * results of unsignalled READs are there.
 */
static void unsignalled_complete_with_next_signalled(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		COUNT = 32
	};
	uint32_t rkey = nic->node.mr->rkey;
	for (size_t i = 0; i < COUNT; i++)
		nic_store(nic->node.memory + 8 * i, i * i + 7);
	struct nic_op list[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		list[i] = nic_read(nic, 8 * i, nic_at(&nic->node, 8 * i), 8, rkey);
	list[COUNT - 1] = nic_signalled(list[COUNT - 1], 1);
	nic_post(nic->link.client, list, COUNT);
	nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	assert_memory_equal(nic->client.memory, nic->node.memory, 8 * COUNT);
	assert_int_equal(nic_drain(nic->client.cq), 0);
}

/* Rule: two queue pairs share a completion queue without mixing up whose completion is whose. */
static void queue_pairs_share_a_cq(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct nic_link other = nic_link_another(nic);
	enum {
		COUNT = 32
	};
	for (uint64_t i = 0; i < COUNT; i++) {
		struct nic_op op = nic_write(nic, 0, nic_at(&nic->node, 0), 8, nic->node.mr->rkey);
		struct nic_op first = nic_signalled(op, i), second = nic_signalled(op, COUNT + i);
		nic_post(nic->link.client, &first, 1);
		nic_post(other.client, &second, 1);
	}
	uint64_t next[2] = { 0, COUNT };
	for (int i = 0; i < 2 * COUNT; i++) {
		struct ibv_wc wc = nic_wait(nic->client.cq);
		int which = wc.qp_num == other.client->qp_num;
		assert_int_equal(wc.qp_num,
				 which ? other.client->qp_num : nic->link.client->qp_num);
		assert_int_equal(wc.wr_id, next[which]++);
		assert_int_equal(wc.status, IBV_WC_SUCCESS);
	}
}

const struct CMUnitTest nic_order_tests[] = {
	NIC_TEST(write_read_cas_in_one_list),
	NIC_TEST(overlapping_writes_keep_order),
	NIC_TEST(completions_in_order),
	NIC_TEST(sends_in_order),
	NIC_TEST(send_after_write_announces_it),
	NIC_TEST(fence_waits_for_reads),
	NIC_TEST(unsignalled_complete_with_next_signalled),
	NIC_TEST(queue_pairs_share_a_cq),
};
NIC_COUNT(order);
