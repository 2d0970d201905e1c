/* SPDX-License-Identifier: MIT */
/* Partitions that heal, and clocks that step (core/fabric/sim/sim.h). */
#include "tests/unit/sim_bed.h"

/* 4.096 us << 8, twice: as sim_bed.h's queue pairs are. */
#define RETRY_LIMIT_NS (2 * (UINT64_C(4096) << 8))

/* Nothing gets through as long as the cut lasts; what is not given up by then arrives late. */
static void cut__heals_within_the_retry_limit(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct ibv_wc wc;
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 7;
	ptni_sim_cut(bed.client.process, bed.node.process, RETRY_LIMIT_NS / 2);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
	pass(&bed, RETRY_LIMIT_NS / 2 - 1000);
	assert_int_equal(bed.node.memory[10], 0);
	assert_int_equal(poll(&bed, &wc), 0);
	pass(&bed, 10000);
	assert_int_equal(bed.node.memory[10], 7);
	expect(&bed, 10, IBV_WC_SUCCESS);
	ptni_sim_close(bed.sim);
}

static void cut__outlasts_the_retry_limit(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct ibv_wc wc;
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 7;
	ptni_sim_cut(bed.client.process, NULL, 3 * RETRY_LIMIT_NS);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 11, 0, 1), 0);
	pass(&bed, RETRY_LIMIT_NS - 1000);
	assert_int_equal(poll(&bed, &wc), 0);
	pass(&bed, 10000);
	expect(&bed, 10, IBV_WC_RETRY_EXC_ERR);
	expect(&bed, 11, IBV_WC_WR_FLUSH_ERR);
	pass(&bed, NEVER_NS);
	assert_int_equal(bed.node.memory[10] | bed.node.memory[11], 0);
	ptni_sim_close(bed.sim);
}

/* The request was executed, its answer is what does not get through. */
static void cut__hides_what_was_executed(void **state)
{
	struct ptni_sim_config config = { .seed = 1, .timing = { .completion_ns = 1000 } };
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 7;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
	pass(&bed, 500);
	assert_int_equal(bed.node.memory[10], 7);
	ptni_sim_cut(bed.node.process, NULL, 3 * RETRY_LIMIT_NS);
	pass(&bed, NEVER_NS);
	expect(&bed, 10, IBV_WC_RETRY_EXC_ERR);
	ptni_sim_close(bed.sim);
}

/* A WRITE under way stops between two slices, and nobody waits for it. */
static void cut__stops_what_is_inside(void **state)
{
	struct ptni_sim_config config = {
		.seed = 1, .faults = { .slice_bytes = 8, .inside_one_in = 1, .inside_ns = 1000 }
	};
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = bed.client.memory[1] = 9;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 2), 0);
	pass(&bed, 0);
	assert_int_equal(bed.node.memory[10], 9);
	ptni_sim_cut(bed.client.process, bed.node.process, RETRY_LIMIT_NS / 2);
	pass(&bed, 2000);
	assert_int_equal(bed.node.memory[11], 0);
	assert_int_equal(bed.node.fabric->ops->qp_error_try(bed.node.qp[0]), 0);
	pass(&bed, NEVER_NS);
	assert_int_equal(bed.node.memory[11], 0);
	expect(&bed, 10, IBV_WC_RETRY_EXC_ERR);
	ptni_sim_close(bed.sim);
}

static void cut__is_between_two_only(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct ptni_sim_process *third;
	struct bed bed;

	bed_open(&bed, &config);
	assert_int_equal(ptni_sim_process_open(bed.sim, "third", &third), 0);
	ptni_sim_cut(bed.client.process, third, NEVER_NS);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
	pass(&bed, 10000);
	expect(&bed, 10, IBV_WC_SUCCESS);
	ptni_sim_cut(third, NULL, NEVER_NS);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 11, 0, 1), 0);
	pass(&bed, 10000);
	expect(&bed, 11, IBV_WC_SUCCESS);
	ptni_sim_close(bed.sim);
}

static void cut__heals_when_told(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct bed bed;

	bed_open(&bed, &config);
	ptni_sim_cut(bed.client.process, bed.node.process, RETRY_LIMIT_NS);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
	pass(&bed, 10000);
	ptni_sim_cuts_heal(bed.sim);
	pass(&bed, RETRY_LIMIT_NS - 20000);
	expect(&bed, 10, IBV_WC_SUCCESS);
	ptni_sim_close(bed.sim);
}

/* Messages wait for the end of the cut, those who dial as well, and the news of an end. */
static void cut__holds_channels_back(void **state)
{
	struct ptni_sim_config config = { .seed = 1, .faults = { .channel_ns = 10000 } };
	struct ptni_channel *dialled, *accepted;
	const struct ptni_fabric_ops *ops;
	struct ptni_listener *listener;
	char got[8];
	struct bed bed;

	bed_open(&bed, &config);
	ops = bed.node.fabric->ops;
	assert_int_equal(ops->listen(bed.node.fabric, "sim:x", &listener), 0);
	ptni_sim_cut(bed.client.process, bed.node.process, 100000);
	assert_int_equal(ops->dial(bed.client.fabric, "sim:x", &dialled), 0);
	pass(&bed, 90000);
	assert_int_equal(ops->accept(listener, &accepted), -EAGAIN);
	pass(&bed, 20000);
	assert_int_equal(ops->accept(listener, &accepted), 0);
	assert_int_equal(ops->channel_send(dialled, "a", 1), 0);
	ptni_sim_cut(bed.client.process, bed.node.process, 100000);
	ops->channel_close(dialled);
	pass(&bed, 90000);
	assert_int_equal(ops->channel_recv(accepted, got, 8), -EAGAIN);
	pass(&bed, 20000);
	assert_int_equal(ops->channel_recv(accepted, got, 8), 1);
	assert_int_equal(ops->channel_recv(accepted, got, 8), -ECONNRESET);
	ptni_sim_close(bed.sim);
}

/* ---- clocks */

struct watch {
	struct ptni_sim_process *process;
	uint64_t start_ns, least_ns, most_ns;
	bool back;
};

static void clock_watch(void *arg)
{
	struct watch *watch = arg;
	struct ptni_clock *clock = ptni_sim_process_clock(watch->process);
	uint64_t last_ns = 0;

	for (int i = 0; i < 1000; i++) {
		uint64_t now_ns = ptni_clock_read(clock);
		uint64_t ahead_ns = now_ns - ptni_sim_now_ns(ptni_sim_current());

		watch->least_ns = !i || ahead_ns < watch->least_ns ? ahead_ns : watch->least_ns;
		watch->most_ns = ahead_ns > watch->most_ns ? ahead_ns : watch->most_ns;
		watch->back |= now_ns < last_ns;
		last_ns = now_ns;
		ptni_sim_sleep(100);
	}
}

/* It is set forward and back, and is never further than step_ns from where it would be. */
static void clock__steps_within_its_bound(void **state)
{
	struct ptni_sim_config config = { .seed = 1,
					  .faults = { .step_one_in = 3, .step_ns = 5000 } };
	struct watch watch = { .process = NULL };
	struct bed bed;

	bed_open(&bed, &config);
	watch.process = bed.client.process;
	assert_int_equal(ptni_sim_task_open(watch.process, "watch", clock_watch, &watch, NULL), 0);
	pass(&bed, NEVER_NS);
	assert_true(watch.back);
	assert_true(watch.most_ns - watch.least_ns > 4000);
	assert_true(watch.most_ns - watch.least_ns <= 5000);
	ptni_sim_close(bed.sim);
}

static void clock__jumps_and_stays_there(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct ptni_clock *clock;
	uint64_t before_ns;
	struct bed bed;

	bed_open(&bed, &config);
	clock = ptni_sim_process_clock(bed.node.process);
	before_ns = ptni_clock_read(clock);
	ptni_sim_clock_step(bed.node.process, -700);
	assert_int_equal(ptni_clock_read(clock), before_ns - 700);
	pass(&bed, 1000);
	assert_int_equal(ptni_clock_read(clock), before_ns + 300);
	ptni_sim_close(bed.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cut__heals_within_the_retry_limit),
		cmocka_unit_test(cut__outlasts_the_retry_limit),
		cmocka_unit_test(cut__hides_what_was_executed),
		cmocka_unit_test(cut__stops_what_is_inside),
		cmocka_unit_test(cut__is_between_two_only),
		cmocka_unit_test(cut__heals_when_told),
		cmocka_unit_test(cut__holds_channels_back),
		cmocka_unit_test(clock__steps_within_its_bound),
		cmocka_unit_test(clock__jumps_and_stays_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
