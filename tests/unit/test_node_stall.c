/* SPDX-License-Identifier: MIT */
/*
 * A client's process that is stopped in the middle of an access, as a NIC in software lets it be: the
 * access cannot be waited out. What depends on it waits; nobody else does.
 */
#include "tests/support/node_bed.h"

#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)

/* --- a NIC on which accesses take their time -------------------------------------------------------- */

static struct ptni_fabric_ops slow_ops;
static const struct ptni_fabric_ops *real_ops;
static const struct ibv_qp *stopped_lane; /* an access through it is under way */
static int (*real_post)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);
static struct ibv_qp *stopped_manager; /* what it is given waits here */
static struct ibv_send_wr waiting[64];
static int waiting_count;

static int qp_error_try_slow(struct ibv_qp *qp)
{
	int ret = real_ops->qp_error_try(qp);

	return qp == stopped_lane ? -EBUSY : ret;
}

static int post_slow(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	if (qp != stopped_manager)
		return real_post(qp, wr, bad_wr);
	for (; wr; wr = wr->next) {
		assert_int_equal(wr->opcode, IBV_WR_LOCAL_INV);
		waiting[waiting_count] = *wr;
		waiting[waiting_count++].next = NULL;
	}
	return 0;
}

static void bed_slow(struct bed *bed)
{
	real_ops = bed->node->ops;
	slow_ops = *real_ops;
	slow_ops.qp_error_try = qp_error_try_slow;
	bed->node->ops = &slow_ops;
	real_post = bed->node->fabric->context->ops.post_send;
	bed->node->fabric->context->ops.post_send = post_slow;
	stopped_lane = NULL;
	stopped_manager = NULL;
	waiting_count = 0;
}

static void manager_go_on(void)
{
	struct ibv_qp *qp = stopped_manager;
	struct ibv_send_wr *bad;

	stopped_manager = NULL;
	for (int i = 0; i < waiting_count; i++)
		assert_int_equal(real_post(qp, &waiting[i], &bad), 0);
	waiting_count = 0;
}

static struct ptni_node_lane *lane_of(struct bed *bed, const struct raw_client *client)
{
	struct ptni_node_session *session;

	cds_list_for_each_entry(session, &bed->node->sessions, link)
		if (session->id == client->welcome.session)
			return cds_list_first_entry(&session->lanes, struct ptni_node_lane, link);
	return NULL;
}

/* --------------------------------------------------------------------------------------------------- */

/* LANE_CLOSED is a promise: it is not given while something may still land. */
static void test_lane_is_not_closed_while_an_access_is_under_way(void **state)
{
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE, .worker = 1 };
	struct raw_client client, neighbour;
	struct raw_lane *lane, *other;
	struct bed_granted granted;
	struct bed bed;

	bed_open(&bed, NULL);
	bed_slow(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	raw_open(&neighbour, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	other = raw_lane_open(&neighbour, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 2, &granted), 0);
	stopped_lane = lane_of(&bed, &client)->qp;
	raw_channel_send(&client, &message, sizeof(message));
	bed_pass(&bed, 100 * MS);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), 0);
	assert_int_equal(bed_info(&bed).windows, 2);
	/* no new access begins, and the others go on */
	assert_int_not_equal(raw_write(lane, granted.window[0].rkey, granted.window[0].addr, 1), 0);
	assert_int_equal(raw_grant(other, 5 * MS, 4096, 64, BED_ALL, 0, 1, &granted), 0);
	bed_pass(&bed, 6 * MS);
	assert_int_equal(bed.lease[1].ended, 1);
	stopped_lane = NULL;
	bed_pass(&bed, 2 * MS);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_CLOSED);
	assert_int_equal(bed_info(&bed).windows, 0);
	raw_close(&client);
	raw_close(&neighbour);
	bed_close(&bed);
}

/* The same for a fence: what the session held is not given away while it may be written. */
static void test_fence_waits_for_an_access_under_way(void **state)
{
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	struct bed bed;

	bed_open(&bed, NULL);
	bed_slow(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 2, &granted), 0);
	stopped_lane = lane_of(&bed, &client)->qp;
	assert_int_equal(ptn_node_session_end(bed.node, client.welcome.session), 0);
	bed_pass(&bed, 100 * MS);
	assert_int_equal(bed.sessions_ended, 0);
	assert_int_equal(bed_info(&bed).sessions, 1);
	stopped_lane = NULL;
	bed_pass(&bed, 2 * MS);
	assert_int_equal(bed.ended_count, 1);
	assert_int_equal(bed.sessions_ended, 1);
	raw_close(&client);
	bed_close(&bed);
}

/* An invalidation that does not complete holds up its own session's, through one loop-back pair. */
static void test_invalidation_that_waits_holds_up_its_own_session_only(void **state)
{
	struct raw_client client, neighbour;
	struct raw_lane *lane, *other;
	struct bed_granted granted[3];
	struct bed bed;

	bed_open(&bed, NULL);
	bed_slow(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	raw_open(&neighbour, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	other = raw_lane_open(&neighbour, 1, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 1, &granted[i]), 0);
	stopped_manager = bed.node->managers[0].qp;
	ptni_lease_close(bed.lease[0].lease, PTNI_LEASE_REVOKED);
	bed_pass(&bed, 2 * MS);
	assert_int_equal(waiting_count, 1);
	/* later ones of the same session take no other pair away from the rest */
	for (int i = 1; i < 3; i++) {
		ptni_lease_close(bed.lease[i].lease, PTNI_LEASE_REVOKED);
		bed_pass(&bed, 2 * MS);
	}
	assert_int_equal(bed.ended_count, 0);
	for (int i = 1; i < PTNI_MANAGERS; i++)
		assert_true(cds_list_empty(&bed.node->managers[i].posted));
	assert_int_equal(raw_grant(other, 5 * MS, 4096, 64, BED_ALL, 0, 1, &granted[0]), 0);
	bed_pass(&bed, 6 * MS);
	assert_int_equal(bed.lease[3].ended, 1);
	assert_in_range(bed.lease[3].ended_ns - bed.lease[3].asked_ns, 5 * MS, 5 * MS + 200 * US);
	manager_go_on();
	bed_turns(&bed);
	assert_int_equal(bed.ended_count, 4);
	raw_close(&client);
	raw_close(&neighbour);
	bed_close(&bed);
}

/* --- failures of the loop-back queue pairs ------------------------------------------------------------ */

/* Work under way when a pair fails is finished in other ways; the pair is made anew. */
static void test_failed_manager_loses_no_work(void **state)
{
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	struct bed bed;
	uint64_t rebuilt;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int round = 0; round < 6; round++) {
		int index = 2 * round;

		assert_int_equal(raw_grant(lane, 50 * MS, 0, 64, BED_ALL, 0, 3, &granted), 0);
		ptni_lease_close(bed.lease[index].lease, PTNI_LEASE_REVOKED);
		for (int step = 0; step < round / 2; step++)
			ptni_node_step(bed.node);
		rebuilt = bed.node->managers[0].incarnation;
		bed.node->ops->qp_error(bed.node->managers[0].qp);
		bed_pass(&bed, 100 * MS);
		assert_int_equal(bed.lease[index].ended, 1);
		assert_int_equal(bed_info(&bed).windows, 0);
		/* use it, so that the failure is noticed at the latest now */
		assert_int_equal(raw_grant(lane, 1 * MS, 0, 64, BED_ALL, 0, 1, &granted), 0);
		bed_pass(&bed, 100 * MS);
		assert_int_equal(raw_read(lane, lane->page_rkey, client.welcome.page_addr, NULL),
				 0);
		assert_true(bed.node->managers[0].up);
		assert_int_equal(bed.node->managers[0].incarnation, rebuilt + 1);
	}
	raw_close(&client);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lane_is_not_closed_while_an_access_is_under_way),
		cmocka_unit_test(test_fence_waits_for_an_access_under_way),
		cmocka_unit_test(test_invalidation_that_waits_holds_up_its_own_session_only),
		cmocka_unit_test(test_failed_manager_loses_no_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
