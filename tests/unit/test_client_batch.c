/* SPDX-License-Identifier: MIT */
/* The data path: what a batch posts, what it costs, when it refuses. */
#include "core/batch.h"
#include "tests/support/client_fixture.h"

static uint64_t addr_of(struct fixture *fixture, uint64_t offset)
{
	return fixture->window->addr + offset;
}

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

/* A warm get is one doorbell, one completion, one poll. */
static void batch__is_one_round_trip(void **state)
{
	fixture_run(fixture_init(), get_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch__is_one_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
