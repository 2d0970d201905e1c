/* SPDX-License-Identifier: MIT */
/* Grants: windows on every lane of a worker, exact rights, fresh keys, calls that are repeated. */
#include "tests/support/node_bed.h"

#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

#define MS UINT64_C(1000000)

static uint64_t region(struct raw_client *client)
{
	return client->welcome.region_addr;
}

static void test_grant_gives_all_rights_asked_for(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 4096, 64, BED_ALL, 7, 2, &granted), 0);
	assert_int_equal(granted.window[1].tag, 8);
	assert_int_equal(raw_write(lane, granted.window[1].rkey, region(&client) + 4096 + 64, 5),
			 0);
	assert_int_equal(raw_cas(lane, granted.window[1].rkey, region(&client) + 4096 + 64, 5, 6,
				 &value),
			 0);
	assert_int_equal(value, 5);
	assert_int_equal(
		raw_read(lane, granted.window[1].rkey, region(&client) + 4096 + 64, &value), 0);
	assert_int_equal(value, 6);
	assert_int_equal(bed_info(&bed).windows, 2);
	assert_int_equal(bed_info(&bed).grants, 1);
	/* the other window's key does not open this one */
	assert_int_equal(raw_read(lane, granted.window[0].rkey, region(&client) + 4096 + 64,
				  &value),
			 IBV_WC_REM_ACCESS_ERR);
	raw_close(&client);
	bed_close(&bed);
}

/* R12: a right that was not granted is refused by the NIC. */
static void refused(uint32_t access, uint32_t op)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	uint64_t value;
	int status;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, access, 0, 1, &granted), 0);
	status = op == BED_READ ?
			 raw_read(lane, granted.window[0].rkey, region(&client), &value) :
		 op == BED_WRITE ?
			 raw_write(lane, granted.window[0].rkey, region(&client), 1) :
			 raw_cas(lane, granted.window[0].rkey, region(&client), 0, 1, &value);
	assert_int_equal(status, IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(*(uint64_t *)(void *)bed.region, 0);
	raw_close(&client);
	bed_close(&bed);
}

static void test_missing_rights_are_refused(void **state)
{
	refused(BED_READ, BED_WRITE);
	refused(BED_READ, BED_ATOMIC);
	refused(BED_READ | BED_ATOMIC, BED_WRITE);
	refused(BED_READ | BED_WRITE, BED_ATOMIC);
	refused(BED_WRITE, BED_READ);
}

/* A key is good on its own lane only: not on another worker's, not on another client's. */
static void test_key_does_not_work_elsewhere(void **state)
{
	struct bed bed;
	struct raw_client client, thief;
	struct raw_lane *lane, *other, *stolen;
	struct bed_granted granted;
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	raw_open(&thief, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	other = raw_lane_open(&client, 2, 0);
	stolen = raw_lane_open(&thief, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 1, &granted), 0);
	assert_int_equal(raw_read(other, granted.window[0].rkey, region(&client), &value),
			 IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(raw_write(stolen, granted.window[0].rkey, region(&client), 1),
			 IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(raw_read(lane, granted.window[0].rkey, region(&client), &value), 0);
	assert_int_equal(value, 0);
	raw_close(&thief);
	raw_close(&client);
	bed_close(&bed);
}

static void test_spare_gets_keys_of_its_own(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane, *spare, *late;
	struct bed_granted granted;
	struct {
		struct ptni_shadow shadow;
		struct ptni_window_grant window[PTNI_SHADOW_MAX];
	} shadow;
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	spare = raw_lane_open(&client, 1, 1);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 3, 2, &granted), 0);
	assert_true(raw_take(spare, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
	assert_int_equal(shadow.shadow.count, 2);
	assert_int_equal(shadow.window[0].tag, 3);
	assert_int_not_equal(shadow.window[0].rkey, granted.window[0].rkey);
	assert_int_equal(raw_read(spare, shadow.window[1].rkey, region(&client) + 64, &value), 0);
	/* a lane that opens later gets all windows there are */
	late = raw_lane_open(&client, 1, 2);
	assert_true(raw_take(late, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
	assert_int_equal(shadow.shadow.count, 2);
	assert_int_equal(raw_write(late, shadow.window[0].rkey, region(&client), 4), 0);
	assert_int_equal(bed_info(&bed).windows, 6);
	raw_close(&client);
	assert_int_equal(bed_info(&bed).windows, 0);
	bed_close(&bed);
}

static void test_many_windows_take_several_shadows(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane, *late;
	struct bed_granted granted;
	struct {
		struct ptni_shadow shadow;
		struct ptni_window_grant window[PTNI_SHADOW_MAX];
	} shadow;
	uint32_t seen[280] = { 0 }, total = 0;
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(
			raw_grant(lane, 0, i * 28 * 64, 64, BED_READ, i * 28, 28, &granted), 0);
	late = raw_lane_open(&client, 1, 1);
	for (int i = 0; i < 32; i++) {
		bed_turns(&bed);
		while (raw_take(late, PTNI_OP_SHADOW, &shadow, sizeof(shadow)))
			for (uint32_t j = 0; j < shadow.shadow.count; j++, total++) {
				const struct ptni_window_grant *window = &shadow.window[j];

				seen[window->tag]++;
				assert_int_equal(raw_read(late, window->rkey, window->addr, &value),
						 0);
			}
	}
	assert_int_equal(total, 280);
	for (int i = 0; i < 280; i++)
		assert_int_equal(seen[i], 1);
	raw_close(&client);
	bed_close(&bed);
}

/* The reply was lost with its lane: the same call on the next lane grants nothing twice. */
static void test_repeated_call_is_answered_once_more(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane, *spare;
	struct bed_granted granted, again;
	struct bed_grant request = { .head.op = BED_GRANT,
				     .head.cookie = 77,
				     .term_ns = 100 * MS,
				     .len_bytes = 64,
				     .access = BED_ALL,
				     .tag = 1,
				     .count = 2 };
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_call(lane, &request, sizeof(request), &granted, sizeof(granted)), 0);
	raw_lane_close(lane);
	spare = raw_lane_open(&client, 1, 1);
	assert_int_equal(raw_call(spare, &request, sizeof(request), &again, sizeof(again)), 0);
	assert_int_equal(bed.handled, 1);
	assert_int_equal(bed.lease_count, 1);
	assert_memory_equal(&again.lease, &granted.lease, sizeof(again.lease));
	assert_int_equal(again.window[1].tag, 2);
	assert_int_equal(raw_write(spare, again.window[1].rkey, region(&client) + 64, 3), 0);
	/* a later call, of another cookie, is another one */
	request.head.cookie = 78;
	assert_int_equal(raw_call(spare, &request, sizeof(request), &again, sizeof(again)), 0);
	assert_int_equal(bed.handled, 2);
	assert_int_equal(raw_read(spare, again.window[0].rkey, region(&client), &value), 0);
	raw_close(&client);
	bed_close(&bed);
}

/* Repeated while the service still thinks: answered where it was asked last, handled once. */
static void test_repeated_call_moves_before_its_answer(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane, *spare;
	struct ptni_message request = { .op = BED_DEFER, .cookie = 5 }, reply;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	raw_send(lane, &request, sizeof(request));
	bed_turns(&bed);
	assert_int_equal(bed.deferred_count, 1);
	raw_lane_close(lane);
	spare = raw_lane_open(&client, 1, 1);
	raw_send(spare, &request, sizeof(request));
	bed_turns(&bed);
	assert_int_equal(bed.handled, 1);
	assert_false(raw_take(spare, 0, &reply, sizeof(reply)));
	bed_answer_deferred(&bed, -ENOENT);
	assert_true(raw_take(spare, BED_DEFER | PTNI_REPLY, &reply, sizeof(reply)));
	assert_int_equal(reply.status, -ENOENT);
	assert_int_equal(reply.cookie, 5);
	raw_close(&client);
	bed_close(&bed);
}

/* A copy that was sent earlier but arrives later does not draw the answer to a lane that the client has given up. */
static void test_call_is_not_answered_to_a_late_copy(void **state)
{
	struct ptni_message request = { .op = BED_DEFER, .cookie = 5, .status = 1 }, reply;
	struct raw_lane *lane, *spare;
	struct raw_client client;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	spare = raw_lane_open(&client, 1, 1);
	raw_send(spare, &request, sizeof(request));
	bed_turns(&bed);
	request.status = 0;
	raw_send(lane, &request, sizeof(request));
	bed_turns(&bed);
	assert_int_equal(bed.handled, 1);
	bed_answer_deferred(&bed, 0);
	assert_false(raw_take(lane, BED_DEFER | PTNI_REPLY, &reply, sizeof(reply)));
	assert_true(raw_take(spare, BED_DEFER | PTNI_REPLY, &reply, sizeof(reply)));
	raw_close(&client);
	bed_close(&bed);
}

/* Its lease ended between answer and repetition: there is nothing to grant again. */
static void test_repeated_call_of_an_ended_lease_fails(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane, *spare;
	struct bed_granted granted;
	struct bed_grant request = { .head.op = BED_GRANT,
				     .head.cookie = 9,
				     .term_ns = 10 * MS,
				     .len_bytes = 64,
				     .access = BED_ALL,
				     .count = 1 };

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 1000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_call(lane, &request, sizeof(request), &granted, sizeof(granted)), 0);
	raw_lane_close(lane);
	bed_pass(&bed, 20 * MS);
	assert_int_equal(bed.lease[0].ended, 1);
	spare = raw_lane_open(&client, 1, 1);
	assert_int_equal(raw_call(spare, &request, sizeof(request), &granted, sizeof(granted)),
			 PTN_E_LEASE_EXPIRED);
	assert_int_equal(bed.handled, 1);
	raw_close(&client);
	bed_close(&bed);
}

/* The session ends while a service still has its call: the answer is dropped, nothing leaks. */
static void test_answer_after_the_session_is_dropped(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct ptni_message request = { .op = BED_DEFER };

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	raw_send(lane, &request, sizeof(request));
	bed_turns(&bed);
	raw_close(&client);
	assert_int_equal(bed.sessions_ended, 1);
	assert_int_equal(bed_info(&bed).sessions, 0);
	bed_answer_deferred(&bed, 0);
	bed_close(&bed);
}

static void test_keys_differ_from_use_to_use(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted, first;
	static uint32_t keys[4000];

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 1000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 100 * MS, 0, 64, BED_ALL, 0, 1, &first), 0);
	keys[0] = first.window[0].rkey;
	assert_int_equal(raw_release(lane, &first.lease, 0), 0);
	for (int i = 1; i < 300; i++) {
		assert_int_equal(raw_grant(lane, 100 * MS, 0, 64, BED_ALL, 0, 1, &granted), 0);
		keys[i] = granted.window[0].rkey;
		for (int j = 0; j < i; j++)
			assert_int_not_equal(keys[i], keys[j]);
		assert_int_equal(raw_release(lane, &granted.lease, 0), 0);
		client.memory_used -= 128;
	}
	/* not even after all those may the first holder come back */
	assert_int_equal(raw_read(lane, keys[0], region(&client), NULL), IBV_WC_REM_ACCESS_ERR);
	raw_close(&client);
	bed_close(&bed);
}

/* Taken back before its BIND was posted: the key was told to the client, so it counts as used. */
static void test_key_that_was_never_bound_is_not_given_again(void **state)
{
	enum {
		COUNT = 100
	};
	struct bed_grant request = { .len_bytes = 64, .access = BED_ALL, .count = 1 };
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	uint32_t keys[COUNT];
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 1000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < COUNT; i++) {
		request.head = (struct ptni_message){ .op = i & 1 ? BED_GRANT : BED_TAKE_BACK };
		assert_int_equal(
			raw_call(lane, &request, sizeof(request), &granted, sizeof(granted)), 0);
		keys[i] = granted.window[0].rkey;
		for (int j = 0; j < i; j++)
			assert_int_not_equal(keys[i], keys[j]);
	}
	assert_int_equal(bed_info(&bed).windows, COUNT / 2);
	assert_int_equal(raw_read(lane, keys[1], region(&client), NULL), 0);
	assert_int_equal(raw_read(lane, keys[0], region(&client), NULL), IBV_WC_REM_ACCESS_ERR);
	raw_close(&client);
	bed_close(&bed);
}

static void test_ranges_outside_the_region_are_refused(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, client.welcome.region_len_bytes - 32, 64, BED_ALL, 0, 1,
				   &granted),
			 -EINVAL);
	assert_int_equal(raw_grant(lane, 0, 0, 0, BED_ALL, 0, 1, &granted), -EINVAL);
	assert_int_equal(raw_grant(lane, 0, 0, UINT64_MAX - 8, BED_ALL, 0, 1, &granted), -EINVAL);
	assert_int_equal(raw_grant(lane, 0, (uint64_t)0 - 64, 64, BED_ALL, 0, 1, &granted),
			 -EINVAL);
	assert_int_equal(raw_grant(lane, 0, 0, 64, 0, 0, 1, &granted), -EINVAL);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL | IBV_ACCESS_MW_BIND, 0, 1, &granted),
			 -EINVAL);
	assert_int_equal(bed_info(&bed).windows, 0);
	assert_int_equal(bed_info(&bed).leases, 0);
	raw_close(&client);
	bed_close(&bed);
}

static void test_withdraw_takes_a_range_and_says_when(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	struct bed_grant withdraw = { .head.op = BED_WITHDRAW, .offset = 64, .len_bytes = 1 };
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 3, &granted), 0);
	assert_int_equal(raw_call(lane, &withdraw, sizeof(withdraw), NULL, 0), 0);
	assert_int_equal(bed_info(&bed).windows, 2);
	assert_int_equal(raw_read(lane, granted.window[0].rkey, granted.window[0].addr, &value), 0);
	assert_int_equal(raw_read(lane, granted.window[2].rkey, granted.window[2].addr, &value), 0);
	assert_int_equal(raw_read(lane, granted.window[1].rkey, granted.window[1].addr, &value),
			 IBV_WC_REM_ACCESS_ERR);
	raw_close(&client);
	bed_close(&bed);
}

static int (*real_post)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);
static int binds_until_bad;

/* A BIND that the NIC cannot carry out: it leaves the region. */
static int post_spoiled(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	for (struct ibv_send_wr *each = wr; each; each = each->next)
		if (each->opcode == IBV_WR_BIND_MW && !--binds_until_bad)
			each->bind_mw.bind_info.length = UINT64_C(1) << 40;
	return real_post(qp, wr, bad_wr);
}

/* R12: the request fails, all its windows go, wherever they are, and asking again changes nothing. */
static void failed_bind(int which)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane, *spare;
	struct bed_granted granted;
	struct bed_grant request = { .head.op = BED_GRANT,
				     .head.cookie = 7,
				     .term_ns = 1000 * MS,
				     .len_bytes = 64,
				     .access = BED_ALL,
				     .count = 3 };

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	spare = raw_lane_open(&client, 1, 1);
	real_post = bed.node->fabric->context->ops.post_send;
	binds_until_bad = which;
	bed.node->fabric->context->ops.post_send = post_spoiled;
	raw_send(lane, &request, sizeof(request));
	bed_turns(&bed);
	raw_poll(&client);
	assert_false(raw_take(lane, BED_GRANT | PTNI_REPLY, &granted, sizeof(granted)));
	assert_int_equal(bed_info(&bed).windows, 0);
	assert_int_equal(bed_info(&bed).lanes, 1);
	assert_int_equal(raw_call(spare, &request, sizeof(request), &granted, sizeof(granted)),
			 -EIO);
	assert_int_equal(bed.handled, 1);
	request.head.cookie = 8;
	assert_int_equal(raw_call(spare, &request, sizeof(request), &granted, sizeof(granted)), 0);
	assert_int_equal(raw_write(spare, granted.window[2].rkey, granted.window[2].addr, 1), 0);
	raw_close(&client);
	bed_close(&bed);
}

static void test_failed_bind_fails_the_request(void **state)
{
	for (int which = 1; which <= 3; which++)
		failed_bind(which);
}

/* A service that answers when lane and worker have ended still finds who asked. */
static void test_lane_can_be_asked_about_after_its_end(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct ptni_message request = { .op = BED_DEFER };

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 9, 0);
	raw_send(lane, &request, sizeof(request));
	bed_turns(&bed);
	raw_lane_close(lane);
	assert_int_equal(ptni_lane_worker(bed.deferred[0].lane), 9);
	assert_int_equal(ptni_session_id(ptni_lane_session(bed.deferred[0].lane)), 1);
	assert_ptr_equal(ptni_lane_node(bed.deferred[0].lane), bed.node);
	assert_int_equal(bed.deferred[0].message->op, BED_DEFER);
	bed_answer_deferred(&bed, 0);
	raw_close(&client);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grant_gives_all_rights_asked_for),
		cmocka_unit_test(test_missing_rights_are_refused),
		cmocka_unit_test(test_key_does_not_work_elsewhere),
		cmocka_unit_test(test_spare_gets_keys_of_its_own),
		cmocka_unit_test(test_many_windows_take_several_shadows),
		cmocka_unit_test(test_repeated_call_is_answered_once_more),
		cmocka_unit_test(test_repeated_call_moves_before_its_answer),
		cmocka_unit_test(test_call_is_not_answered_to_a_late_copy),
		cmocka_unit_test(test_repeated_call_of_an_ended_lease_fails),
		cmocka_unit_test(test_answer_after_the_session_is_dropped),
		cmocka_unit_test(test_keys_differ_from_use_to_use),
		cmocka_unit_test(test_key_that_was_never_bound_is_not_given_again),
		cmocka_unit_test(test_ranges_outside_the_region_are_refused),
		cmocka_unit_test(test_withdraw_takes_a_range_and_says_when),
		cmocka_unit_test(test_failed_bind_fails_the_request),
		cmocka_unit_test(test_lane_can_be_asked_about_after_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
