/* SPDX-License-Identifier: MIT */
/* The simulator alone: two processes, raw verbs, events one by one (guarantees of core/fabric/sim/sim.h). */
#include "core/base/fiber.h"
#include "tests/unit/sim_bed.h"

/* ---- time and order */

/* Nothing happens at the post; then in order, later the completions. */
static void requests__are_executed_in_their_order(void **state)
{
	struct ptni_sim_config config = { .seed = 1,
					  .timing = { .wire_ns = 500, .completion_ns = 100 } };
	struct ibv_wc wc;
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 7;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 100, 0, 1), 0);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_READ, 100, 1, 1), 0);
	assert_int_equal(bed.node.memory[100], 0);
	pass(&bed, 499);
	assert_int_equal(bed.node.memory[100], 0);
	pass(&bed, 101);
	assert_int_equal(bed.node.memory[100], 7);
	assert_int_equal(bed.client.memory[1], 7);
	assert_int_equal(poll(&bed, &wc), 0);
	pass(&bed, 1000);
	expect(&bed, 100, IBV_WC_SUCCESS);
	expect(&bed, 100, IBV_WC_SUCCESS);
	assert_int_equal(poll(&bed, &wc), 0);
	ptni_sim_close(bed.sim);
}

static void watch_tearing(void *arg, const struct ptni_sim_event *event)
{
	struct bed *bed = arg;

	bed->slices += event->kind == PTNI_SIM_ACCESS_SLICE;
}

/* Slices of two queue pairs mix: a READ may see half of a WRITE. */
static bool tears(uint64_t seed)
{
	struct ptni_sim_config config = { .seed = seed,
					  .faults = { .slice_bytes = 64, .slice_ns = 100 } };
	struct bed bed;
	struct ptni_sim_observer observer = { .told = watch_tearing, .arg = &bed };
	bool first, last;

	bed_open(&bed, &config);
	assert_int_equal(ptni_sim_observe(bed.sim, &observer), 0);
	for (unsigned i = 0; i < 64; i++)
		bed.client.memory[i] = 1;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 0, 0, 64), 0);
	assert_int_equal(post(&bed, 1, IBV_WR_RDMA_READ, 0, 128, 64), 0);
	pass(&bed, NEVER_NS);
	assert_int_equal(bed.slices, 16);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(bed.node.memory[i], 1);
	first = bed.client.memory[128];
	last = bed.client.memory[191];
	ptni_sim_close(bed.sim);
	return first != last;
}

static void slices__of_queue_pairs_mix(void **state)
{
	unsigned torn = 0;

	for (uint64_t seed = 1; seed <= 20; seed++)
		torn += tears(seed);
	assert_true(torn > 0 && torn < 20);
}

static uint64_t hash_of(uint64_t seed)
{
	struct ptni_sim_config config = { .seed = seed,
					  .faults = { .jitter_ns = 1000, .slice_bytes = 8 } };
	struct bed bed;
	uint64_t hash;

	bed_open(&bed, &config);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(post(&bed, i % 2, IBV_WR_RDMA_WRITE, 8 * i, 0, 8), 0);
	pass(&bed, NEVER_NS);
	hash = ptni_sim_hash(bed.sim);
	ptni_sim_close(bed.sim);
	return hash;
}

static void seed__decides_everything(void **state)
{
	assert_int_equal(hash_of(5), hash_of(5));
	assert_int_not_equal(hash_of(5), hash_of(6));
}

/* ---- failures */

/* The transport gives up: the effect is there, is not, or comes later, and nothing behind it overtakes it. */
static void transport_error__hides_the_outcome(void **state)
{
	unsigned done = 0, later = 0;

	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct ptni_sim_config config = {
			.seed = seed, .faults = { .transport_one_in = 1, .ghost_ns = 10000 }
		};
		uint64_t soon;
		struct bed bed;

		bed_open(&bed, &config);
		bed.client.memory[0] = bed.client.memory[1] = 9;
		assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
		assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 11, 1, 1), 0);
		pass(&bed, 0);
		soon = bed.node.memory[10];
		bed.client.memory[0] = bed.client.memory[1] = 5; /* ours again after the failure */
		expect(&bed, 10, IBV_WC_RETRY_EXC_ERR);
		expect(&bed, 11, IBV_WC_WR_FLUSH_ERR);
		pass(&bed, NEVER_NS);
		assert_true(bed.node.memory[11] == 0 || bed.node.memory[10] == 9);
		assert_true(bed.node.memory[10] == 0 || bed.node.memory[10] == 9);
		done += soon != 0;
		later += !soon && bed.node.memory[10];
		ptni_sim_close(bed.sim);
	}
	assert_true(done > 0 && later > 0 && done + later < 60);
}

/* What is on the wire does not land once the responder has moved its queue pair to error. */
static void ghost__stops_at_the_responders_error(void **state)
{
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct ptni_sim_config config = {
			.seed = seed, .faults = { .transport_one_in = 1, .ghost_ns = 10000 }
		};
		uint64_t soon;
		struct bed bed;

		bed_open(&bed, &config);
		bed.client.memory[0] = 9;
		assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
		pass(&bed, 0);
		soon = bed.node.memory[10];
		assert_int_equal(bed.node.fabric->ops->qp_error(bed.node.qp[0]), 0);
		pass(&bed, NEVER_NS);
		assert_int_equal(bed.node.memory[10], soon);
		ptni_sim_close(bed.sim);
	}
}

static void refusal__breaks_both_ends(void **state)
{
	struct ptni_sim_config config = { .seed = 1, .faults = { .refuse_one_in = 1 } };
	enum ibv_qp_state client, node;
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 9;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 1), 0);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 11, 0, 1), 0);
	pass(&bed, NEVER_NS);
	expect(&bed, 10, IBV_WC_REM_ACCESS_ERR);
	expect(&bed, 11, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(bed.node.memory[10] | bed.node.memory[11], 0);
	assert_int_equal(bed.client.fabric->ops->qp_state(bed.client.qp[0], &client), 0);
	assert_int_equal(bed.node.fabric->ops->qp_state(bed.node.qp[0], &node), 0);
	assert_int_equal(client, IBV_QPS_ERR);
	assert_int_equal(node, IBV_QPS_ERR);
	ptni_sim_close(bed.sim);
}

/* A writer inside keeps the responder's queue pair from being settled, for as long as it is inside. */
static void writer__inside_is_waited_for(void **state)
{
	struct ptni_sim_config config = {
		.seed = 1, .faults = { .slice_bytes = 8, .inside_one_in = 1, .inside_ns = 1000000 }
	};
	const struct ptni_fabric_ops *ops;
	struct bed bed;

	bed_open(&bed, &config);
	ops = bed.node.fabric->ops;
	bed.client.memory[0] = bed.client.memory[1] = 9;
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 10, 0, 2), 0);
	pass(&bed, 0);
	assert_int_equal(bed.node.memory[10], 9);
	assert_int_equal(ops->qp_error_try(bed.node.qp[0]), -EBUSY);
	pass(&bed, NEVER_NS);
	assert_int_equal(ops->qp_error_try(bed.node.qp[0]), 0);
	assert_int_equal(bed.node.memory[11], 0); /* its next slice found the door shut */
	expect(&bed, 10, IBV_WC_RETRY_EXC_ERR);
	ptni_sim_close(bed.sim);
}

/* ---- death */

static unsigned landed(enum ptni_sim_death how, uint64_t seed)
{
	struct ptni_sim_config config = { .seed = seed,
					  .timing = { .wire_ns = 100 },
					  .faults = { .slice_bytes = 8 } };
	unsigned words = 0;
	struct bed bed;

	bed_open(&bed, &config);
	for (unsigned i = 0; i < 32; i++)
		bed.client.memory[i] = 1;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 8 * i, 0, 8), 0);
	ptni_sim_kill(bed.client.process, how, false);
	assert_true(ptni_sim_dead(bed.client.process));
	pass(&bed, NEVER_NS);
	while (words < 32 && bed.node.memory[words])
		words++;
	for (unsigned i = words; i < 32; i++)
		assert_int_equal(bed.node.memory[i], 0); /* in order, and then nothing */
	ptni_sim_close(bed.sim);
	return words;
}

static void dead__leave_on_the_wire_what_the_manner_says(void **state)
{
	bool whole = false, within = false;

	assert_int_equal(landed(PTNI_SIM_DRAIN, 1), 32);
	assert_int_equal(landed(PTNI_SIM_DROP, 1), 0);
	for (uint64_t seed = 1; seed <= 40; seed++) {
		unsigned words = landed(PTNI_SIM_CUT, seed);

		whole |= words % 8 == 0;
		within |= words % 8 != 0;
	}
	assert_true(whole && within);
}

static void post_three(void *arg)
{
	struct bed *bed = arg;

	for (unsigned i = 0; i < 3; i++) {
		(void)post(bed, 0, IBV_WR_RDMA_WRITE, i, 0, 1);
		bed->slices++; /* how far its code came */
	}
}

static void process__dies_behind_its_verb(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct ptni_sim_task *task;
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 9;
	assert_int_equal(ptni_sim_task_open(bed.client.process, "task", post_three, &bed, &task),
			 0);
	ptni_sim_kill_at(bed.client.process, 2, PTNI_SIM_DRAIN, false);
	pass(&bed, NEVER_NS);
	assert_int_equal(bed.slices, 1);
	assert_int_equal(bed.node.memory[0], 9);
	assert_int_equal(bed.node.memory[1], 9);
	assert_int_equal(bed.node.memory[2], 0);
	assert_int_equal(ptni_sim_verbs(bed.client.process), 2);
	assert_false(ptni_sim_task_ended(task));
	ptni_sim_close(bed.sim);
}

/* ---- tasks, clocks, channels */

static void doze_twice(void *arg)
{
	struct bed *bed = arg;

	ptni_sim_doze(1000000);
	bed->slices++;
	ptni_sim_sleep(1000000);
	bed->slices++;
}

/* A paused process' code stands still, its NIC does not; what arrives ends a doze but no sleep. */
static void paused__process_has_a_running_card(void **state)
{
	struct ptni_sim_config config = { .seed = 1 };
	struct bed bed;

	bed_open(&bed, &config);
	bed.client.memory[0] = 9;
	assert_int_equal(ptni_sim_task_open(bed.client.process, "task", doze_twice, &bed, NULL), 0);
	pass(&bed, 10);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 0, 0, 1), 0);
	ptni_sim_pause(bed.client.process, 5000);
	pass(&bed, 4000);
	assert_int_equal(bed.node.memory[0], 9);
	assert_int_equal(bed.slices, 0);
	pass(&bed, 4000);
	assert_int_equal(bed.slices, 1);
	assert_int_equal(post(&bed, 0, IBV_WR_RDMA_WRITE, 0, 0, 1), 0);
	pass(&bed, 500000);
	assert_int_equal(bed.slices, 1);
	pass(&bed, 600000);
	assert_int_equal(bed.slices, 2);
	ptni_sim_close(bed.sim);
}

static void clocks__drift_within_bounds(void **state)
{
	struct ptni_sim_config config = { .seed = 3, .faults = { .drift_ppm = 200 } };
	struct ptni_sim_process *process;
	int64_t least = 0, most = 0;
	struct ptni_sim *sim;

	assert_int_equal(ptni_sim_open(&config, &sim), 0);
	for (int i = 0; i < 20; i++) {
		struct ptni_clock *clock;
		uint64_t before;
		int64_t drift;

		assert_int_equal(ptni_sim_process_open(sim, "clock", &process), 0);
		clock = ptni_sim_process_clock(process);
		before = ptni_clock_read(clock);
		assert_int_equal(ptni_sim_run(sim, ptni_sim_now_ns(sim) + NEVER_NS, 1), 0);
		drift = (int64_t)(ptni_clock_read(clock) - before) - NEVER_NS;
		least = drift < least ? drift : least;
		most = drift > most ? drift : most;
	}
	assert_true(least < -NEVER_NS / 100000 && least >= -NEVER_NS / 5000 - 1);
	assert_true(most > NEVER_NS / 100000 && most <= NEVER_NS / 5000 + 1);
	ptni_sim_close(sim);
}

static void channel__delivers_in_order_then_says_that_it_ended(void **state)
{
	struct ptni_sim_config config = { .seed = 1, .faults = { .channel_ns = 10000 } };
	struct ptni_channel *dialled, *accepted;
	const struct ptni_fabric_ops *ops;
	struct ptni_listener *listener;
	char got[8];
	struct bed bed;

	bed_open(&bed, &config);
	ops = bed.node.fabric->ops;
	assert_int_equal(ops->dial(bed.client.fabric, "sim:x", &dialled), -ECONNREFUSED);
	assert_int_equal(ops->listen(bed.node.fabric, "sim:x", &listener), 0);
	assert_int_equal(ops->dial(bed.client.fabric, "sim:x", &dialled), 0);
	for (char c = 'a'; c < 'd'; c++)
		assert_int_equal(ops->channel_send(dialled, &c, 1), 0);
	assert_int_equal(ops->accept(listener, &accepted), -EAGAIN);
	pass(&bed, NEVER_NS);
	assert_int_equal(ops->accept(listener, &accepted), 0);
	assert_int_equal(ops->channel_recv(accepted, got, 8), 1);
	assert_int_equal(got[0], 'a');
	ptni_sim_kill(bed.client.process, PTNI_SIM_DROP, false);
	pass(&bed, NEVER_NS);
	for (char c = 'b'; c < 'd'; c++) {
		assert_int_equal(ops->channel_recv(accepted, got, 8), 1);
		assert_int_equal(got[0], c);
	}
	assert_int_equal(ops->channel_recv(accepted, got, 8), -ECONNRESET);
	ptni_sim_close(bed.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests__are_executed_in_their_order),
		cmocka_unit_test(slices__of_queue_pairs_mix),
		cmocka_unit_test(seed__decides_everything),
		cmocka_unit_test(transport_error__hides_the_outcome),
		cmocka_unit_test(ghost__stops_at_the_responders_error),
		cmocka_unit_test(refusal__breaks_both_ends),
		cmocka_unit_test(writer__inside_is_waited_for),
		cmocka_unit_test(dead__leave_on_the_wire_what_the_manner_says),
		cmocka_unit_test(process__dies_behind_its_verb),
		cmocka_unit_test(paused__process_has_a_running_card),
		cmocka_unit_test(clocks__drift_within_bounds),
		cmocka_unit_test(channel__delivers_in_order_then_says_that_it_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
