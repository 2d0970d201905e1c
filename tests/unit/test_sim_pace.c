/* SPDX-License-Identifier: MIT */
/* The model of time (core/fabric/sim/pace.c): who waits for whom, and who does not. */
#include "core/fabric/sim/model.h"
#include "tests/unit/sim_bed.h"

enum {
	BUSY_NS = 100000,
};

static uint64_t busy_ns; /* what the core is charged for before it posts */

/* WRITEs from the node's core, which are sent when the core gets there. */
static void node_core(void *arg)
{
	struct bed *bed = arg;
	struct ibv_sge sge = { .addr = (uintptr_t)bed->node.memory,
			       .length = LEN / 2,
			       .lkey = bed->node.mr->lkey };
	struct ibv_send_wr *bad, wr = { .sg_list = &sge,
					.num_sge = 1,
					.opcode = IBV_WR_RDMA_WRITE,
					.send_flags = IBV_SEND_SIGNALED };

	wr.wr.rdma.remote_addr = (uintptr_t)bed->client.memory;
	wr.wr.rdma.rkey = bed->client.mr->rkey;
	ptni_sim_charge(busy_ns);
	for (int i = 0; i < 8; i++)
		assert_int_equal(ibv_post_send(bed->node.qp[1], &wr, &bad), 0);
}

/* When the client's READ of eight bytes is answered, in ns from its post. */
static uint64_t read_ns(struct bed *bed)
{
	uint64_t from_ns = ptni_sim_now_ns(bed->sim);
	struct ibv_wc wc;

	assert_int_equal(post(bed, 0, IBV_WR_RDMA_READ, 1, 1, 1), 0);
	while (!poll(bed, &wc)) {
		assert_true(ptni_sim_now_ns(bed->sim) < from_ns + 2 * BUSY_NS);
		pass(bed, 10);
	}
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	return ptni_sim_now_ns(bed->sim) - from_ns;
}

static uint64_t read_beside(uint64_t span_ns)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct ptni_sim_task *task;
	struct bed bed;
	uint64_t ns;

	ptni_sim_model(PTNI_SIM_CX5, &config.timing);
	bed_open(&bed, &config);
	busy_ns = span_ns;
	assert_int_equal(ptni_sim_task_open(bed.node.process, "core", node_core, &bed, &task), 0);
	pass(&bed, 1); /* the core has posted, in its own time */
	ns = read_ns(&bed);
	ptni_sim_close(bed.sim);
	return ns;
}

/* A core that is charged for long posts late; until then its card has nothing to do for it. */
static void what_is_posted_later_is_in_nobodys_way(void **state)
{
	uint64_t alone_ns = read_beside(BUSY_NS);

	assert_in_range(alone_ns, 1000, 4000);
	assert_true(read_beside(600) > alone_ns + 100); /* behind two kilobytes, eight times */
}

/* Requests of one queue pair arrive as they were posted, whatever each waits for. */
static void order_on_a_queue_pair_is_kept(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct bed bed;

	ptni_sim_model(PTNI_SIM_CX6, &config.timing);
	bed_open(&bed, &config);
	for (unsigned i = 0; i < 16; i++) {
		bed.client.memory[i] = i + 1;
		assert_int_equal(
			post(&bed, 0, IBV_WR_RDMA_WRITE, 100, i % 2 ? i : 0, i % 2 ? 1 : 200), 0);
	}
	bed.client.memory[0] = 99;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 100, 15, 1), 0);
	pass(&bed, NEVER_NS);
	assert_int_equal(bed.node.memory[100], 16);
	for (unsigned i = 0; i < 17; i++)
		expect(&bed, 100, IBV_WC_SUCCESS);
	ptni_sim_close(bed.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_posted_later_is_in_nobodys_way),
		cmocka_unit_test(order_on_a_queue_pair_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
