/* SPDX-License-Identifier: MIT */
/* Calls to the node's CPU: matched by cookie, repeated when their lane breaks, never confused by garbage. */
#include "tests/support/client_steps.h"

enum {
	OP_ECHO = PTNI_OP_ALLOC_FIRST,
	CALLS = 100
};

struct echo {
	struct ptni_message head;
	uint64_t value;
};

/* What the node does with requests, and what it saw. */
static struct {
	unsigned requests, mute;
	uint32_t cookie[4 * CALLS];
	int32_t sent_before[4 * CALLS];
	uint64_t value[4 * CALLS];
} seen;

static void answer(struct fake_node *node, unsigned worker, unsigned lane,
		   const struct ptni_message *message)
{
	struct echo reply;

	memcpy(&reply, message, sizeof(reply));
	assert_true(seen.requests < 4 * CALLS);
	seen.cookie[seen.requests] = reply.head.cookie;
	seen.sent_before[seen.requests] = reply.head.status;
	seen.value[seen.requests++] = reply.value;
	if (seen.mute) {
		seen.mute--;
		return;
	}
	reply.head.op |= PTNI_REPLY;
	reply.head.status = 0;
	reply.value += 1;
	fake_send(node, worker, lane, &reply, sizeof(reply));
}

static struct fixture *calls_init(void)
{
	struct fixture *fixture = fixture_init();

	memset(&seen, 0, sizeof(seen));
	fixture->node.on_request = answer;
	return fixture;
}

static int echo_start(struct fixture *fixture, struct ptni_call *call, uint64_t value)
{
	struct echo request = { .head = { .op = OP_ECHO }, .value = value };

	return ptni_call_start(call, fixture->worker, 0, &request, sizeof(request), 10000000);
}

static uint64_t echo_value(const struct ptni_call *call)
{
	return ((const struct echo *)call->reply)->value;
}

static void echo_body(struct fixture *fixture)
{
	struct ptni_call call;

	assert_int_equal(echo_start(fixture, &call, 7), 0);
	assert_false(ptni_call_done(&call));
	assert_int_equal(ptni_call_wait(&call), 0);
	assert_true(ptni_call_done(&call));
	assert_int_equal(call.reply_len_bytes, sizeof(struct echo));
	assert_int_equal(echo_value(&call), 8);
	assert_int_equal(call.lane, fixture_active(fixture));
	assert_true(call.sent_ns < fixture->world.now_ns);
}

static void call__is_answered(void **state)
{
	fixture_run(calls_init(), echo_body);
}

static void many_body(struct fixture *fixture)
{
	static struct ptni_call calls[CALLS];

	for (unsigned i = 0; i < CALLS; i++) /* more than there is room to send at once */
		assert_int_equal(echo_start(fixture, &calls[i], i), 0);
	for (unsigned i = CALLS; i-- > 0;) {
		assert_int_equal(ptni_call_wait(&calls[i]), 0);
		assert_int_equal(echo_value(&calls[i]), i + 1);
	}
	assert_int_equal(seen.requests, CALLS);
	for (unsigned i = 0; i < CALLS; i++) {
		assert_int_equal(seen.value[i], i); /* in order */
		assert_int_equal(seen.cookie[i], seen.cookie[0] + i);
	}
}

static void calls__side_by_side_keep_their_order(void **state)
{
	fixture_run(calls_init(), many_body);
}

static void repeated_body(struct fixture *fixture)
{
	unsigned active = fixture_active(fixture);
	struct ptni_call call;

	seen.mute = 1;
	assert_int_equal(echo_start(fixture, &call, 7), 0);
	world_pass(&fixture->world, 5000);
	assert_int_equal(seen.requests, 1);
	assert_int_equal(
		fixture->client->fabric->ops->qp_error(fixture->worker->peer[0]->lane[active].qp),
		0);
	assert_int_equal(ptni_call_wait(&call), 0);
	assert_int_equal(seen.requests, 2);
	assert_int_equal(seen.cookie[1], seen.cookie[0]); /* the same call */
	assert_int_equal(seen.sent_before[0], 0);
	assert_int_equal(seen.sent_before[1], 1);
	assert_int_equal(call.lane, !active);
	assert_int_equal(echo_value(&call), 8);
}

static void call__whose_lane_breaks_is_repeated_as_the_same(void **state)
{
	fixture_run(calls_init(), repeated_body);
}

static void late_body(struct fixture *fixture)
{
	struct ptni_call call, next;
	struct echo late = { .head = { .op = OP_ECHO | PTNI_REPLY, .len_bytes = sizeof(late) } };
	uint64_t malformed;

	seen.mute = 2;
	assert_int_equal(echo_start(fixture, &call, 7), 0);
	assert_int_equal(ptni_call_wait(&call), -ETIMEDOUT);
	assert_int_equal(cause_of(fixture).code, -ETIMEDOUT);
	assert_int_equal(echo_start(fixture, &call, 8), 0);
	ptni_call_cancel(&call);
	assert_true(call.done);
	assert_int_equal(call.status, -ECANCELED);
	/* The answers come after all, to nobody. */
	assert_int_equal(echo_start(fixture, &next, 9), 0);
	malformed = fixture_counters(fixture).rpc_malformed;
	world_pass(&fixture->world, 5000);
	for (unsigned i = 0; i < 2; i++) {
		late.head.cookie = seen.cookie[i];
		fake_send(&fixture->node, fixture->worker->index, fixture_active(fixture), &late,
			  sizeof(late));
		world_pass(&fixture->world, 5000);
	}
	assert_int_equal(ptni_call_wait(&next), 0);
	assert_int_equal(echo_value(&next), 10);
	while (fixture_counters(fixture).rpc_malformed < malformed + 2) {
		(void)ptni_worker_poll(fixture->worker);
		ptni_fiber_suspend();
	}
	assert_int_equal(call.status, -ECANCELED);
}

static void answer__that_comes_late_is_ignored(void **state)
{
	fixture_run(calls_init(), late_body);
}

static void refused_body(struct fixture *fixture)
{
	struct ptni_call call;
	struct ptni_message refusal = { .op = OP_ECHO | PTNI_REPLY, .len_bytes = sizeof(refusal) };

	seen.mute = 1;
	assert_int_equal(echo_start(fixture, &call, 7), 0);
	refusal.cookie = call.cookie;
	refusal.status = PTN_E_QUOTA;
	fake_send(&fixture->node, fixture->worker->index, fixture_active(fixture), &refusal,
		  sizeof(refusal));
	assert_int_equal(ptni_call_wait(&call), PTN_E_QUOTA);
}

static void call__refused_gives_the_nodes_status(void **state)
{
	fixture_run(calls_init(), refused_body);
}

/* --- garbage -------------------------------------------------------------------------------------------- */

static void lane_say(struct fixture *fixture, const void *bytes, size_t len_bytes)
{
	fake_send(&fixture->node, fixture->worker->index, fixture_active(fixture), bytes,
		  len_bytes);
	world_pass(&fixture->world, 2000);
	while (ptni_worker_poll(fixture->worker))
		;
}

static void garbage_body(struct fixture *fixture)
{
	static _Alignas(8) uint8_t bytes[PTNI_MESSAGE_MAX];
	struct ptni_message *head = (struct ptni_message *)bytes;
	struct ptni_call call;
	struct ptni_rng rng;
	uint64_t before = fixture_counters(fixture).rpc_malformed, said = 0;

	seen.mute = 1;
	assert_int_equal(echo_start(fixture, &call, 7), 0);
	ptni_rng_seed(&rng, 7);
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = 1 + ptni_rng_below(&rng, sizeof(bytes));

		for (size_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)ptni_rng_next(&rng);
		if (i % 2)
			head->len_bytes = (uint16_t)len;
		if (i % 3 == 0)
			head->op = (uint16_t)ptni_rng_below(&rng, 8);
		if (i % 5 == 0)
			head->cookie = call.cookie;
		if (head->op == PTNI_OP_REVOKED && len == sizeof(struct ptni_revoked))
			continue; /* that would be one */
		lane_say(fixture, bytes, len);
		said++;
	}
	assert_int_equal(fixture_counters(fixture).rpc_malformed - before, said);
	assert_false(call.done);
	assert_int_equal(ptni_session_error(fixture->client->session[0]), 0);
	ptni_call_cancel(&call);
	assert_int_equal(echo_start(fixture, &call, 1), 0);
	assert_int_equal(ptni_call_wait(&call), 0);
}

/* Bytes of a node that make no sense are counted, and that is all. */
static void garbage__on_a_lane_does_nothing(void **state)
{
	fixture_run(calls_init(), garbage_body);
}

/* --- windows --------------------------------------------------------------------------------------------- */

static void shadow_body(struct fixture *fixture)
{
	unsigned spare = !fixture_active(fixture), worker = fixture->worker->index;
	struct {
		struct ptni_shadow head;
		struct ptni_window_grant grant[2];
	} message = { .head = { .head = { .op = PTNI_OP_SHADOW, .len_bytes = sizeof(message) },
				.count = 2 } };
	struct ptni_window *window, *again;
	struct ptni_call call = { .lane = (uint8_t)!spare };

	assert_int_equal(ptni_window_reserve(fixture->worker, 0, &window), 0);
	/* Keys of a window that is granted elsewhere, and of a tag that nobody has. */
	message.grant[0] = (struct ptni_window_grant){
		.addr = 4096, .len_bytes = 64, .rkey = 77, .tag = window->tag
	};
	message.grant[1] = (struct ptni_window_grant){ .rkey = 78, .tag = UINT32_MAX };
	fake_send(&fixture->node, worker, spare, &message, sizeof(message));
	world_pass(&fixture->world, 2000);
	(void)ptni_worker_poll(fixture->worker);
	assert_int_equal(window->rkey[spare], 77); /* ahead of the grant */
	message.grant[0].addr = 8192;
	message.grant[0].rkey = 79;
	call.lane_generation = (uint16_t)fixture->worker->peer[0]->lane[!spare].generation;
	assert_int_equal(ptni_window_accept(window, &call, &message.grant[0], &ptni_deadline_never),
			 0);
	assert_int_equal(window->rkey[spare], 0); /* it was for something else */
	assert_int_equal(window->rkey[!spare], 79);
	message.grant[0].tag++;
	assert_int_equal(ptni_window_accept(window, &call, &message.grant[0], &ptni_deadline_never),
			 -EBADMSG);
	/* A reply from a lane that has changed since: no key of it. */
	message.grant[0].tag--;
	call.lane_generation--;
	assert_int_equal(ptni_window_accept(window, &call, &message.grant[0], &ptni_deadline_never),
			 0);
	assert_int_equal(window->rkey[!spare], 0);
	/* Tags rest before they are used again. */
	ptni_window_release(window);
	assert_int_equal(ptni_window_reserve(fixture->worker, 0, &again), 0);
	assert_ptr_not_equal(again, window);
	ptni_window_release(again);
}

static void shadow__counts_for_its_own_grant_only(void **state)
{
	fixture_run(calls_init(), shadow_body);
}

static void table_body(struct fixture *fixture)
{
	struct ptni_window *window;
	unsigned count = 0;
	int ret;

	while (!(ret = ptni_window_reserve(fixture->worker, 0, &window)))
		assert_int_equal(window->tag, ++count); /* 0 is the fixture's */
	assert_int_equal(ret, -EDQUOT);
	assert_int_equal(count, 65535);
}

static void windows__are_many_and_limited(void **state)
{
	fixture_run(calls_init(), table_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(call__is_answered),
		cmocka_unit_test(calls__side_by_side_keep_their_order),
		cmocka_unit_test(call__whose_lane_breaks_is_repeated_as_the_same),
		cmocka_unit_test(answer__that_comes_late_is_ignored),
		cmocka_unit_test(call__refused_gives_the_nodes_status),
		cmocka_unit_test(garbage__on_a_lane_does_nothing),
		cmocka_unit_test(shadow__counts_for_its_own_grant_only),
		cmocka_unit_test(windows__are_many_and_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
