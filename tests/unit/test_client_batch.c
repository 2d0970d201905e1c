/* SPDX-License-Identifier: MIT */
/* The data path: what a batch posts, what it costs, when it refuses. */
#include "tests/support/client_steps.h"

static void get_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *slot, *block;

	*fake_word(&fixture->node, 0) = 0x1234;
	*fake_word(&fixture->node, 128) = 0x5678;
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	slot = ptni_op_buffer(&op, 8);
	block = ptni_op_buffer(&op, 64);
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_read(&batch, fixture->window, addr_of(fixture, 0), slot, 8);
	ptni_batch_read(&batch, fixture->window, addr_of(fixture, 128), block, 64);
	assert_int_equal(ptni_batch_run(&batch), 0);
	assert_int_equal(batch.done, 2);
	assert_int_equal(*slot, 0x1234);
	assert_int_equal(*block, 0x5678);
	ptni_op_end(&op);
	after = fixture_counters(fixture);
	assert_int_equal(after.doorbells - before.doorbells, 1);
	assert_int_equal(after.round_trips - before.round_trips, 1);
	assert_int_equal(after.verbs_read - before.verbs_read, 2);
	assert_int_equal(after.bytes_read - before.bytes_read, 72);
	assert_int_equal(after.completions - before.completions, 1);
	assert_int_equal(after.polls_empty - before.polls_empty, 0);
}

/* A warm get is one doorbell, one poll, one completion. */
static void get__is_one_round_trip(void **state)
{
	fixture_run(fixture_init(), get_body);
}

static void publish_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	uint64_t old = 1;
	uint16_t done;

	*fake_word(&fixture->node, 8) = 41;
	assert_int_equal(word_publish(fixture, 8, 41, 42, &old, &done), 0);
	assert_int_equal(old, 41);
	assert_int_equal(done, 2);
	assert_int_equal(*fake_word(&fixture->node, 8), 42);
	assert_int_equal(*fake_word(&fixture->node, 72), 42);
	after = fixture_counters(fixture);
	assert_int_equal(after.doorbells - before.doorbells, 1);
	assert_int_equal(after.round_trips - before.round_trips, 1);
	assert_int_equal(after.verbs_write - before.verbs_write, 1);
	assert_int_equal(after.verbs_cas - before.verbs_cas, 1);
	assert_int_equal(after.bytes_written - before.bytes_written, 16);
	/* A CAS that finds something else is no error: the caller looks at what it found. */
	assert_int_equal(word_publish(fixture, 8, 41, 43, &old, &done), 0);
	assert_int_equal(old, 42);
	assert_int_equal(*fake_word(&fixture->node, 8), 42);
}

static void publish__is_one_round_trip(void **state)
{
	fixture_run(fixture_init(), publish_body);
}

static void full_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *old;

	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	old = ptni_op_buffer(&op, 8 * PTNI_BATCH_MAX);
	ptni_batch_init(&batch, &op, 0);
	for (unsigned i = 0; i < PTNI_BATCH_MAX; i++)
		ptni_batch_faa(&batch, fixture->window, addr_of(fixture, 0), 1, &old[i]);
	assert_int_equal(ptni_batch_run(&batch), 0);
	ptni_op_end(&op);
	for (unsigned i = 0; i < PTNI_BATCH_MAX; i++)
		assert_int_equal(old[i], i); /* in order */
	assert_int_equal(*fake_word(&fixture->node, 0), PTNI_BATCH_MAX);
	after = fixture_counters(fixture);
	assert_int_equal(after.verbs_faa - before.verbs_faa, PTNI_BATCH_MAX);
	assert_int_equal(after.doorbells - before.doorbells, 1);
	assert_int_equal(after.completions - before.completions, 1);
}

static void batch__of_the_most_requests_runs_in_order(void **state)
{
	fixture_run(fixture_init(), full_body);
}

static void deadline_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	uint64_t word = 77;

	atomic_store(&fixture->deadline_ns, fixture->world.now_ns);
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_EXPIRED);
	assert_int_equal(cause_of(fixture).code, PTN_E_LEASE_EXPIRED);
	after = fixture_counters(fixture);
	assert_int_equal(after.doorbells, before.doorbells);
	assert_int_equal(word, 77);
	atomic_store(&fixture->deadline_ns, fixture->world.now_ns + 10);
	assert_int_equal(word_read(fixture, 0, &word), 0);
}

/* Nothing is posted past a deadline. */
static void access__past_the_deadline_is_not_started(void **state)
{
	fixture_run(fixture_init(), deadline_body);
}

/* Before its first access the operation waits for something else, an answer of the node's for one. */
static void waited_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ptni_batch batch;
	struct ptni_wait wait;
	struct ptni_op op;
	uint64_t *word;

	atomic_store(&fixture->deadline_ns, fixture->world.now_ns + 1000000);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	word = ptni_op_buffer(&op, 8);
	ptni_wait_begin(&wait, fixture->worker, UINT64_MAX);
	(void)ptni_wait_turn(&wait);
	fixture->world.now_ns += 1000000;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_read(&batch, fixture->window, addr_of(fixture, 0), word, 8);
	assert_int_equal(ptni_batch_run(&batch), PTN_E_LEASE_EXPIRED);
	ptni_op_end(&op);
	after = fixture_counters(fixture);
	assert_int_equal(after.verbs_read, before.verbs_read);
}

static void deadline__is_looked_at_after_any_wait(void **state)
{
	fixture_run(fixture_init(), waited_body);
}

/* The lane would have to be taken away from under it at once, and nobody would know what was done. */
static void late_body(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *old;

	*fake_word(&fixture->node, 0) = 7;
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	old = ptni_op_buffer(&op, 8);
	op.time_fresh = false;
	op.deadline_ns = fixture->world.now_ns;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_faa(&batch, fixture->window, addr_of(fixture, 0), 1, old);
	assert_int_equal(ptni_batch_run(&batch), -ETIMEDOUT);
	assert_false(batch.in_doubt);
	assert_int_equal(batch.done, 0);
	ptni_op_end(&op);
	assert_int_equal(*fake_word(&fixture->node, 0), 7);
	after = fixture_counters(fixture);
	assert_int_equal(after.doorbells, before.doorbells);
	assert_int_equal(after.lane_breaks, before.lane_breaks);
}

static void batch__of_an_operation_whose_time_is_up_is_not_posted(void **state)
{
	fixture_run(fixture_init(), late_body);
}

static void slept_body(struct fixture *fixture)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *word;

	atomic_store(&fixture->deadline_ns, fixture->world.now_ns + 1000000);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	word = ptni_op_buffer(&op, 8);
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_read(&batch, fixture->window, addr_of(fixture, 0), word, 8);
	assert_int_equal(ptni_batch_run(&batch), 0);
	/* The operation began in time, its second access does not. */
	fixture->world.now_ns += 1000000;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_read(&batch, fixture->window, addr_of(fixture, 0), word, 8);
	assert_int_equal(ptni_batch_run(&batch), PTN_E_LEASE_EXPIRED);
	assert_int_equal(batch.done, 0);
	ptni_op_end(&op);
}

static void deadline__is_looked_at_again_within_an_operation(void **state)
{
	fixture_run(fixture_init(), slept_body);
}

static void slots_body(struct fixture *fixture)
{
	static struct ptni_op ops[PTNI_OPS_MAX];
	struct ptni_op one;
	uint8_t *large;

	for (unsigned i = 0; i < PTNI_OPS_MAX; i++)
		assert_int_equal(ptni_op_begin(fixture->worker, &ops[i]), 0);
	assert_int_equal(ptni_op_begin(fixture->worker, &one), -EAGAIN);
	/* Each has its own memory; one at a time has much. */
	for (unsigned i = 1; i < PTNI_OPS_MAX; i++)
		assert_true(ops[i].buffer >= ops[i - 1].buffer + PTNI_OP_BUFFER);
	assert_non_null(ptni_op_buffer(&ops[0], PTNI_OP_BUFFER - 16));
	assert_non_null(ptni_op_buffer(&ops[0], 1));
	large = ptni_op_buffer(&ops[0], PTNI_OP_BUFFER_LARGE);
	assert_non_null(large);
	memset(large, 1, PTNI_OP_BUFFER_LARGE);
	assert_null(ptni_op_buffer(&ops[1], PTNI_OP_BUFFER + 1));
	assert_null(ptni_op_buffer(&ops[0], 1));
	assert_null(ptni_op_buffer(&ops[1], SIZE_MAX));
	ptni_op_end(&ops[0]);
	assert_non_null(ptni_op_buffer(&ops[1], PTNI_OP_BUFFER + 1));
	assert_int_equal(ptni_op_begin(fixture->worker, &one), 0);
	ptni_op_end(&one);
	for (unsigned i = 1; i < PTNI_OPS_MAX; i++)
		ptni_op_end(&ops[i]);
}

static void operations__have_slots_and_memory_of_their_own(void **state)
{
	fixture_run(fixture_init(), slots_body);
}

static void backoff_body(struct fixture *fixture)
{
	uint64_t before = fixture->world.now_ns;
	struct ptni_op op;
	unsigned attempt = 0;
	int ret;

	fixture->world.tick_ns = 100;
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	op.deadline_ns = UINT64_MAX;
	while (!(ret = ptni_op_backoff(&op, attempt)))
		assert_true(attempt++ < 10000);
	assert_int_equal(ret, PTN_E_CONFLICT);
	assert_true(attempt > 16);
	assert_true(fixture->world.now_ns - before < (uint64_t)attempt * 140000);
	op.deadline_ns = fixture->world.now_ns;
	assert_int_equal(ptni_op_backoff(&op, 0), -ETIMEDOUT);
	ptni_op_end(&op);
	assert_int_equal(fixture_counters(fixture).backoffs, attempt);
}

static void backoff__ends(void **state)
{
	fixture_run(fixture_init(), backoff_body);
}

static void unbound_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture);
	uint64_t word;

	/* The key is on its way: the access waits for it. */
	fixture->window->rkey[active] = 0;
	fake_shadow(&fixture->node, fixture->worker->index, active, fixture->window->tag);
	*fake_word(&fixture->node, 0) = 9;
	assert_int_equal(word_read(fixture, 0, &word), 0);
	assert_int_equal(word, 9);
	/* It never comes. */
	fixture->window->rkey[active] = 0;
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_LEASE_EXPIRED);
}

static void window__without_a_key_is_waited_for(void **state)
{
	fixture_run(fixture_init(), unbound_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(get__is_one_round_trip),
		cmocka_unit_test(publish__is_one_round_trip),
		cmocka_unit_test(batch__of_the_most_requests_runs_in_order),
		cmocka_unit_test(access__past_the_deadline_is_not_started),
		cmocka_unit_test(deadline__is_looked_at_after_any_wait),
		cmocka_unit_test(batch__of_an_operation_whose_time_is_up_is_not_posted),
		cmocka_unit_test(deadline__is_looked_at_again_within_an_operation),
		cmocka_unit_test(operations__have_slots_and_memory_of_their_own),
		cmocka_unit_test(backoff__ends),
		cmocka_unit_test(window__without_a_key_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
