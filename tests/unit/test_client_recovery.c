/* SPDX-License-Identifier: MIT */
/*
 * Lanes that break: what was executed, what is repeated, what is in doubt. The numbers are the
 * guarantees of core/recovery.c.
 */
#include "tests/support/client_steps.h"

#include <patronus/log.h>

/* --- acknowledgements that are lost ---------------------------------------------------------------- */

/*
 * What the software NIC cannot do by itself: the requests are executed, but the completion says that
 * no answer came. Sits between the client and the completion queue.
 */
static int (*real_poll)(struct ibv_cq *cq, int count, struct ibv_wc *wc);
static unsigned lose_acks;

static int losing_poll(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	int got = real_poll(cq, count, wc);

	for (int i = 0; i < got && lose_acks; i++)
		if (wc[i].wr_id < PTNI_WR_BATCH_LIMIT && wc[i].status == IBV_WC_SUCCESS) {
			wc[i].status = IBV_WC_RETRY_EXC_ERR;
			wc[i].vendor_err = 129;
			lose_acks--;
		}
	return got;
}

static void acks_lose(struct fixture *fixture, unsigned count)
{
	struct ibv_context *context = fixture->client->fabric->context;

	lose_acks = count;
	if (context->ops.poll_cq != losing_poll) {
		real_poll = context->ops.poll_cq;
		context->ops.poll_cq = losing_poll;
	}
}

/* A lane whose completion was forged has to break in fact too, so that its RECVs come back. */
static void break_in_fact(struct fixture *fixture, unsigned lane)
{
	(void)fixture->client->fabric->ops->qp_error(fixture->worker->peer[0]->lane[lane].qp);
}

/* --- refusals ---------------------------------------------------------------------------------------- */

static void refused_once_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	unsigned active = fixture_active(fixture);
	uint64_t old;
	uint16_t done;

	/* The window died on this lane only: the spare still has it. */
	fake_revoke(&fixture->node, fixture->worker->index, active, fixture->window->tag);
	assert_int_equal(word_publish(fixture, 0, 0, 5, &old, &done), 0);
	assert_int_equal(old, 0);
	assert_int_equal(done, 2);
	assert_int_equal(*fake_word(&fixture->node, 0), 5);
	assert_int_not_equal(fixture_active(fixture), active);
	after = fixture_counters(fixture);
	assert_int_equal(after.access_violations - before.access_violations, 1);
	assert_int_equal(after.lane_breaks - before.lane_breaks, 1);
	assert_int_equal(after.lane_recoveries - before.lane_recoveries, 1);
	/* The broken one is fenced, built anew and gets its keys again. */
	lanes_settle(fixture);
	assert_int_equal(fixture->node.closes, 1);
	assert_int_equal(fixture_counters(fixture).lane_rebuilds - before.lane_rebuilds, 1);
	fake_revoke(&fixture->node, fixture->worker->index, fixture_active(fixture),
		    fixture->window->tag);
	assert_int_equal(word_publish(fixture, 0, 5, 6, &old, &done), 0);
	assert_int_equal(fixture_active(fixture), active);
}

/* 3. A refusal gets a second chance, and a lane comes back. */
static void refusal__moves_to_the_spare(void **state)
{
	fixture_run(fixture_init(), refused_once_body);
}

static void refused_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture);
	const struct ptni_window *readable;
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *words;

	readable =
		fixture_window(fixture, 4096, 4096, IBV_ACCESS_REMOTE_READ, &ptni_deadline_never);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	words = ptni_op_buffer(&op, 32);
	words[1] = 3;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, fixture->window, addr_of(fixture, 0), &words[1], 8);
	ptni_batch_write(&batch, readable, readable->addr, &words[1], 8);
	ptni_batch_faa(&batch, fixture->window, addr_of(fixture, 8), 1, &words[2]);
	assert_int_equal(ptni_batch_run(&batch), -EACCES);
	assert_int_equal(batch.done, 1);
	ptni_op_end(&op);
	assert_int_equal(*fake_word(&fixture->node, 0), 3);
	assert_int_equal(*fake_word(&fixture->node, 4096), 0);
	assert_int_equal(*fake_word(&fixture->node, 8), 0);
	assert_int_equal(cause_of(fixture).code, -EACCES);
	assert_int_equal(cause_of(fixture).wc_status, IBV_WC_REM_ACCESS_ERR);
	/* The right was never held: nothing to gain from a second lane. */
	assert_int_equal(fixture_counters(fixture).lane_breaks - before.lane_breaks, 1);
	lanes_settle(fixture);
	assert_int_equal(*fake_word(&fixture->node, 8), 0);
}

/* 3. Done says what was executed, nothing after it was. */
static void refusal__of_a_right_never_held_costs_one_lane(void **state)
{
	fixture_run(fixture_init(), refused_body);
}

static void refused_twice_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture);
	uint64_t word;

	for (unsigned lane = 0; lane < 2; lane++)
		fake_revoke(&fixture->node, fixture->worker->index, lane, fixture->window->tag);
	assert_int_equal(word_read(fixture, 0, &word), -EACCES);
	assert_int_equal(cause_of(fixture).wc_status, IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(fixture_counters(fixture).lane_breaks - before.lane_breaks, 2);
	lanes_settle(fixture);
}

/* 3. The right was granted, no lease ended, and yet no lane's key works: withdrawn. */
static void refusal__on_every_lane_is_eacces(void **state)
{
	fixture_run(fixture_init(), refused_twice_body);
}

static void expired_body(struct fixture *fixture)
{
	uint64_t word;

	/* The node took the window away when its time had come, we were a little late. */
	atomic_store(&fixture->deadline_ns, fixture->world.now_ns + 1);
	fake_revoke(&fixture->node, fixture->worker->index, fixture_active(fixture),
		    fixture->window->tag);
	fixture->world.tick_ns = 0;
	{
		struct ptni_batch batch;
		struct ptni_op op;

		assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
		ptni_batch_init(&batch, &op, 0);
		ptni_batch_read(&batch, fixture->window, addr_of(fixture, 0),
				ptni_op_buffer(&op, 8), 8);
		fixture->world.now_ns += 10; /* op began before the deadline */
		assert_int_equal(ptni_batch_run(&batch), PTN_E_LEASE_EXPIRED);
		ptni_op_end(&op);
	}
	fixture->world.tick_ns = 1000;
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_EXPIRED);
}

/* 3. A refusal that time explains is an expiry, and costs one lane only. */
static void refusal__past_the_deadline_is_an_expiry(void **state)
{
	fixture_run(fixture_init(), expired_body);
}

/* --- others in flight -------------------------------------------------------------------------------- */

enum {
	FIBERS = 32,
	ROUNDS = 20
};

struct strand_work {
	struct fixture *fixture;
	unsigned number, done;
	int error;
};

/* Every FAA counts exactly once, whatever happens to the lane. */
static void count_up(void *arg)
{
	struct strand_work *work = arg;

	for (unsigned i = 0; i < ROUNDS && !work->error; i++) {
		struct ptni_batch batch;
		struct ptni_op op;

		work->error = ptni_op_begin(work->fixture->worker, &op);
		if (work->error)
			return;
		ptni_batch_init(&batch, &op, 0);
		for (unsigned k = 0; k < 4; k++)
			ptni_batch_faa(&batch, work->fixture->window,
				       addr_of(work->fixture, 8 * work->number), 1,
				       ptni_op_buffer(&op, 8));
		work->error = ptni_batch_run(&batch);
		ptni_op_end(&op);
		work->done += !work->error;
		ptni_fiber_suspend();
	}
}

/* Completions are held back while `held`, so that many batches are on the wire at once. */
static bool held;

static int holding_poll(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	return held ? 0 : real_poll(cq, count, wc);
}

static void others_body(struct fixture *fixture)
{
	struct strand_work work[FIBERS] = { 0 };
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ibv_context *context = fixture->client->fabric->context;
	unsigned turn = 0;

	real_poll = context->ops.poll_cq;
	context->ops.poll_cq = holding_poll;
	for (unsigned i = 0; i < FIBERS; i++) {
		work[i] = (struct strand_work){ .fixture = fixture, .number = i };
		assert_int_equal(ptni_worker_spawn(fixture->worker, count_up, &work[i]), 0);
	}
	while (ptni_worker_run(fixture->worker)) {
		held = ++turn % 4 != 0;
		if (turn % 32 == 16 && fixture->worker->peer[0]->active)
			fake_revoke(&fixture->node, fixture->worker->index, fixture_active(fixture),
				    fixture->window->tag);
		ptni_fiber_suspend();
	}
	held = false;
	for (unsigned i = 0; i < FIBERS; i++) {
		assert_int_equal(work[i].error, 0);
		assert_int_equal(work[i].done, ROUNDS);
		assert_int_equal(*fake_word(&fixture->node, 8 * i), 4 * ROUNDS);
	}
	after = fixture_counters(fixture);
	assert_true(after.lane_breaks - before.lane_breaks >= 2);
	assert_true(after.retries_lane - before.retries_lane > 10);
}

/* No operation of another fiber is lost or done twice when one access is refused. */
static void refusal__loses_nothing_of_other_fibers(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->options.spare_lanes = 2;
	fixture_run(fixture, others_body);
}

/* --- transport --------------------------------------------------------------------------------------- */

static void in_doubt_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture), closes = fixture->node.closes;
	uint64_t old = 99, word;
	uint16_t done = 9;

	acks_lose(fixture, 1);
	break_in_fact(fixture, !active); /* the spare as well: the fence does not need it */
	assert_int_equal(word_publish(fixture, 0, 0, 5, &old, &done), PTN_E_OUTCOME_UNKNOWN);
	assert_int_equal(done, 1); /* the WRITE was before what failed */
	assert_int_equal(old, 99);
	assert_int_equal(cause_of(fixture).wc_status, IBV_WC_RETRY_EXC_ERR);
	assert_int_equal(cause_of(fixture).vendor_error, 129);
	/* Fenced already: what is read now is final. */
	assert_true(fixture->node.closes > closes);
	assert_true(fixture->node.lane[fixture->worker->index][active].gone);
	break_in_fact(fixture, active);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(word, 5);
}

/* 2. An atomic whose answer was lost is not repeated; its lane is fenced before the caller hears. */
static void doubt__about_a_cas_is_told_after_the_fence(void **state)
{
	fixture_run(fixture_init(), in_doubt_body);
}

static void read_again_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture);
	uint64_t word;

	*fake_word(&fixture->node, 0) = 8;
	fixture->node.deaf = true; /* no fence to be had */
	acks_lose(fixture, 1);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(word, 8);
	assert_int_not_equal(fixture_active(fixture), active);
	fixture->node.deaf = false;
	break_in_fact(fixture, active);
	lanes_settle(fixture);
}

/* 1. READs are repeated at once, fence or not. */
static void doubt__about_a_read_costs_nothing(void **state)
{
	fixture_run(fixture_init(), read_again_body);
}

static void write_again_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture);
	uint64_t word = 17, *block;
	struct ptni_batch batch;
	struct ptni_op op;

	acks_lose(fixture, 1);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	block = ptni_op_buffer(&op, 8);
	*block = word;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, fixture->window, addr_of(fixture, 0), block, 8);
	assert_int_equal(ptni_batch_run(&batch), 0);
	ptni_op_end(&op);
	assert_true(fixture->node.lane[fixture->worker->index][active].gone);
	assert_int_equal(*fake_word(&fixture->node, 0), 17);
	break_in_fact(fixture, active);
	lanes_settle(fixture);
}

/* 1. WRITEs are repeated once the lane that may still carry the first copy is fenced. */
static void doubt__about_a_write_waits_for_the_fence(void **state)
{
	fixture_run(fixture_init(), write_again_body);
}

static void cut_body(struct fixture *fixture)
{
	uint64_t old, word;
	uint16_t done;

	fake_lane_cut(&fixture->node, fixture->worker->index, fixture_active(fixture));
	assert_int_equal(word_publish(fixture, 0, 0, 5, &old, &done), PTN_E_OUTCOME_UNKNOWN);
	assert_int_equal(done, 0);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(word, 0);
	lanes_settle(fixture);
	fake_lane_cut(&fixture->node, fixture->worker->index, fixture_active(fixture));
	assert_int_equal(word_read(fixture, 0, &word), 0);
	lanes_settle(fixture);
}

/* A node's end that died is a failed transport, not a refusal. */
static void transport__cut_is_in_doubt(void **state)
{
	fixture_run(fixture_init(), cut_body);
}

static void no_fence_body(struct fixture *fixture)
{
	uint64_t old;
	uint16_t done;

	fixture->node.deaf = true;
	fixture->world.tick_ns = 100000;
	acks_lose(fixture, 1);
	assert_int_equal(word_publish(fixture, 0, 0, 5, &old, &done), -ETIMEDOUT);
	fixture->node.deaf = false;
}

static void late_report_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture);
	uint64_t old;
	uint16_t done;

	fixture->world.tick_ns = 100000;
	fake_status(&fixture->node)->epoch = 3;
	world_pass(&fixture->world, 20000000);
	assert_int_equal(fake_page(&fixture->node)->report, 3);
	fixture->node.deaf = true;
	acks_lose(fixture, 1);
	assert_int_equal(word_publish(fixture, 0, 0, 5, &old, &done), -ETIMEDOUT);
	fake_status(&fixture->node)->epoch = 4;
	world_pass(&fixture->world, 20000000);
	assert_int_equal(fake_page(&fixture->node)->report, 3);
	fixture->node.deaf = false;
	world_pass(&fixture->world, 20000000);
	assert_int_equal(fake_page(&fixture->node)->report, 4);
	break_in_fact(fixture, active);
	lanes_settle(fixture);
}

/* What may still land holds memory back as an operation does that still runs. */
static void report__waits_for_the_fence(void **state)
{
	fixture_run(fixture_init(), late_report_body);
}

/* No fence, no promise: the code says that it may still land. */
static void doubt__without_a_fence_is_a_timeout(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->node.welcome.term_ns = UINT64_C(10000000000);
	fixture_run(fixture, no_fence_body);
}

/* --- posting fails --------------------------------------------------------------------------------- */

static int (*real_post)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
static int post_takes; /* requests of the next list, then an error; -1: all */

static int failing_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct ibv_send_wr *last = wr, *rest;
	int takes = post_takes, ret = 0;

	post_takes = -1;
	if (takes < 0)
		return real_post(qp, wr, bad);
	for (int i = 1; i < takes; i++)
		last = last->next;
	rest = takes ? last->next : wr;
	if (takes) {
		last->next = NULL;
		ret = real_post(qp, wr, bad);
		last->next = rest;
	}
	*bad = rest;
	return ret ? ret : ENOMEM;
}

static void post_fails_after(struct fixture *fixture, int requests)
{
	struct ibv_context *context = fixture->client->fabric->context;

	post_takes = requests;
	if (context->ops.post_send != failing_post) {
		real_post = context->ops.post_send;
		context->ops.post_send = failing_post;
	}
}

static void post_body(struct fixture *fixture)
{
	uint64_t old, word;
	uint16_t done;

	/* Nothing was taken: nothing is in doubt. */
	post_fails_after(fixture, 0);
	assert_int_equal(word_publish(fixture, 0, 0, 5, &old, &done), 0);
	assert_int_equal(*fake_word(&fixture->node, 0), 5);
	lanes_settle(fixture);
	/* The WRITE was, the CAS was not; we do not know. */
	post_fails_after(fixture, 1);
	assert_int_equal(word_publish(fixture, 0, 5, 6, &old, &done), PTN_E_OUTCOME_UNKNOWN);
	assert_int_equal(done, 0);
	assert_int_equal(*fake_word(&fixture->node, 0), 5);
	assert_int_equal(*fake_word(&fixture->node, 64), 6);
	assert_int_equal(word_read(fixture, 0, &word), 0);
	lanes_settle(fixture);
	assert_int_equal(word_publish(fixture, 0, 5, 6, &old, &done), 0);
	assert_int_equal(old, 5);
}

static void post__that_fails_is_taken_for_what_it_is(void **state)
{
	fixture_run(fixture_init(), post_body);
}

static int refusing_post(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	*bad = wr;
	return EINVAL;
}

static void broken_post_body(struct fixture *fixture)
{
	struct ibv_context *context = fixture->client->fabric->context;
	uint64_t word;

	/* The device takes nothing any more. */
	real_post = context->ops.post_send;
	context->ops.post_send = refusing_post;
	assert_int_not_equal(word_read(fixture, 0, &word), 0);
	context->ops.post_send = real_post;
	assert_int_equal(word_read(fixture, 0, &word), 0);
}

static void post__that_always_fails_ends(void **state)
{
	fixture_run(fixture_init(), broken_post_body);
}

/* --- silence ---------------------------------------------------------------------------------------- */

/* Its process slept in the middle of an operation; the node has taken its lanes away meanwhile. */
static void overslept_body(struct fixture *fixture)
{
	const struct ptni_window *window = fixture_window(
		fixture, 4096, 4096, FAKE_RIGHTS, ptni_client_session_deadline(fixture->client, 0));
	struct ptni_batch batch;
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_read(&batch, window, window->addr, ptni_op_buffer(&op, 8), 8);
	for (unsigned i = 0; i < fixture->worker->lanes; i++)
		break_in_fact(fixture, i);
	while (fixture->worker->peer[0]->active)
		(void)ptni_worker_poll(fixture->worker);
	fixture->node.deaf = true; /* it has not been heard to say why */
	fixture->world.now_ns += 4 * FAKE_TERM_NS;
	assert_int_equal(ptni_batch_run(&batch), PTN_E_LEASE_EXPIRED);
	assert_int_equal(batch.done, 0);
	ptni_op_end(&op);
	fixture->node.deaf = false;
}

/* "Try again" is wrong advice, and lanes that broke are not the reason. */
static void lease__that_ran_out_counts_before_broken_lanes(void **state)
{
	fixture_run(fixture_init(), overslept_body);
}

static void silent_body(struct fixture *fixture)
{
	struct ibv_context *context = fixture->client->fabric->context;
	uint64_t word, before = fixture->world.now_ns;

	real_poll = context->ops.poll_cq;
	context->ops.poll_cq = holding_poll;
	held = true;
	fixture->world.keeping = false; /* shares the switch */
	assert_int_not_equal(word_read(fixture, 0, &word), 0);
	assert_true(fixture->world.now_ns - before < UINT64_C(3000000000));
	held = false;
}

/* Every wait ends, also when the NIC says nothing at all. */
static void silence__of_the_nic_is_bounded(void **state)
{
	struct fixture *fixture = fixture_init();

	fixture->world.tick_ns = 100000;
	fixture_run(fixture, silent_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusal__moves_to_the_spare),
		cmocka_unit_test(refusal__of_a_right_never_held_costs_one_lane),
		cmocka_unit_test(refusal__on_every_lane_is_eacces),
		cmocka_unit_test(refusal__past_the_deadline_is_an_expiry),
		cmocka_unit_test(refusal__loses_nothing_of_other_fibers),
		cmocka_unit_test(doubt__about_a_cas_is_told_after_the_fence),
		cmocka_unit_test(doubt__about_a_read_costs_nothing),
		cmocka_unit_test(doubt__about_a_write_waits_for_the_fence),
		cmocka_unit_test(doubt__without_a_fence_is_a_timeout),
		cmocka_unit_test(report__waits_for_the_fence),
		cmocka_unit_test(transport__cut_is_in_doubt),
		cmocka_unit_test(post__that_fails_is_taken_for_what_it_is),
		cmocka_unit_test(post__that_always_fails_ends),
		cmocka_unit_test(silence__of_the_nic_is_bounded),
		cmocka_unit_test(lease__that_ran_out_counts_before_broken_lanes),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
