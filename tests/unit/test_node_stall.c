/* SPDX-License-Identifier: MIT */
/*
 * A client's process that is stopped in the middle of an access, as a NIC in software lets it be: the
 * access cannot be waited out. What depends on it waits; nobody else does.
 */
#include "tests/support/node_bed.h"

#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <patronus/log.h>
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

/*
 * Many stopped peers: an invalidation of one of their keys does not complete, nor does anything that was posted
 * behind it on the same queue pair.
 */
enum {
	PEERS = 40
};
static uint32_t stuck_key[2 * PEERS];
static int stuck_count;
static struct held {
	struct ibv_qp *qp;
	struct ibv_send_wr wr;
	struct ibv_sge sge;
} held[256];
static int held_count;

static bool stuck(const struct ibv_qp *qp, const struct ibv_send_wr *wr)
{
	for (int i = 0; i < held_count; i++)
		if (held[i].qp == qp)
			return true;
	for (int i = 0; wr->opcode == IBV_WR_LOCAL_INV && i < stuck_count; i++)
		if (stuck_key[i] == wr->invalidate_rkey)
			return true;
	return false;
}

static int post_sticky(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	struct ibv_send_wr one;
	int ret = 0;

	for (; wr && !ret; wr = wr->next) {
		if (stuck(qp, wr)) {
			assert_true(held_count < 256);
			held[held_count] = (struct held){ .qp = qp, .wr = *wr };
			held[held_count].wr.next = NULL;
			if (wr->num_sge)
				held[held_count].sge = *wr->sg_list;
			held[held_count].wr.sg_list = &held[held_count].sge;
			held_count++;
			continue;
		}
		one = *wr;
		one.next = NULL;
		ret = real_post(qp, &one, bad_wr);
	}
	return ret;
}

static void held_go_on(void)
{
	struct ibv_send_wr *bad;

	stuck_count = 0;
	for (int i = 0; i < held_count; i++)
		assert_int_equal(real_post(held[i].qp, &held[i].wr, &bad), 0);
	held_count = 0;
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
	stopped_manager = bed.node->managers[0]->qp;
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
		assert_true(cds_list_empty(&bed.node->managers[i]->posted));
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

/* The client holds a window whose taking back will not complete; returns the bed's lease. */
static int peer_stuck(struct bed *bed, struct raw_client *client)
{
	struct bed_granted granted;
	struct raw_lane *lane;

	raw_open(client, bed, 3600000 * MS);
	lane = raw_lane_open(client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 1, &granted), 0);
	stuck_key[stuck_count++] = granted.window[0].rkey;
	return bed->lease_count - 1;
}

/* A lease of the neighbour's ends when its time has come, whatever becomes of others. */
static void neighbour_is_served(struct bed *bed, struct raw_lane *lane)
{
	struct bed_granted granted;
	int index = bed->lease_count;

	assert_int_equal(raw_grant(lane, 2 * MS, 4096, 64, BED_ALL, 0, 1, &granted), 0);
	bed_pass(bed, 3 * MS);
	assert_int_equal(bed->lease[index].ended, 1);
	assert_in_range(bed->lease[index].ended_ns - bed->lease[index].asked_ns, 2 * MS,
			2 * MS + 500 * US);
}

static void bed_sticky(struct bed *bed)
{
	stuck_count = held_count = 0;
	bed_open(bed, NULL);
	real_post = bed->node->fabric->context->ops.post_send;
	bed->node->fabric->context->ops.post_send = post_sticky;
}

/* One after the other gets stuck, many more than there are queue pairs: 1. and 2. of node_manager.h. */
static void test_any_number_of_stopped_peers_delays_nobody_else(void **state)
{
	static struct raw_client peers[PEERS];
	struct raw_client neighbour;
	struct raw_lane *lane;
	struct bed bed;

	bed_sticky(&bed);
	raw_open(&neighbour, &bed, 3600000 * MS);
	lane = raw_lane_open(&neighbour, 1, 0);
	for (int i = 0; i < PEERS; i++) {
		int lease = peer_stuck(&bed, &peers[i]);

		ptni_lease_close(bed.lease[lease].lease, PTNI_LEASE_REVOKED);
		neighbour_is_served(&bed, lane);
		assert_int_equal(bed.lease[lease].ended, 0);
	}
	assert_int_equal(held_count, PEERS);
	/* a new one comes and goes as if nothing were */
	raw_close(&neighbour);
	bed_pass(&bed, 1 * MS);
	assert_int_equal(bed.sessions_ended, 1);
	held_go_on();
	bed_turns(&bed);
	for (int i = 0; i < bed.lease_count; i++)
		assert_int_equal(bed.lease[i].ended, 1);
	for (int i = 0; i < PEERS; i++)
		raw_close(&peers[i]);
	bed_close(&bed);
}

/* All at once, and the neighbour's in the same turn, behind them. */
static void test_peers_that_stop_together_take_nobody_with_them(void **state)
{
	static struct raw_client peers[PEERS];
	struct raw_client neighbour;
	struct bed_granted granted;
	struct raw_lane *lane;
	int leases[PEERS];
	struct bed bed;

	bed_sticky(&bed);
	raw_open(&neighbour, &bed, 3600000 * MS);
	lane = raw_lane_open(&neighbour, 1, 0);
	for (int i = 0; i < PEERS; i++)
		leases[i] = peer_stuck(&bed, &peers[i]);
	assert_int_equal(raw_grant(lane, 0, 4096, 64, BED_ALL, 0, 1, &granted), 0);
	for (int i = 0; i < PEERS; i++)
		ptni_lease_close(bed.lease[leases[i]].lease, PTNI_LEASE_REVOKED);
	ptni_lease_close(bed.lease[bed.lease_count - 1].lease, PTNI_LEASE_REVOKED);
	bed_pass(&bed,
		 1 * MS); /* 8, 16, 32, 41: three times until it is known that all are stuck */
	assert_int_equal(bed.lease[bed.lease_count - 1].ended, 1);
	assert_int_equal(bed.ended_count, 1);
	neighbour_is_served(&bed, lane);
	held_go_on();
	bed_turns(&bed);
	assert_int_equal(bed.ended_count, PEERS + 2);
	raw_close(&neighbour);
	for (int i = 0; i < PEERS; i++)
		raw_close(&peers[i]);
	bed_close(&bed);
}

/* The device has no queue pair to spare: work waits, nothing is lost. */
static int qp_open_none(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out)
{
	return -ENOMEM;
}

static void test_without_queue_pairs_to_spare_work_waits(void **state)
{
	static struct raw_client peers[PTNI_MANAGERS + 1];
	int leases[PTNI_MANAGERS + 1];
	struct bed bed;

	bed_sticky(&bed);
	for (int i = 0; i <= PTNI_MANAGERS; i++)
		leases[i] = peer_stuck(&bed, &peers[i]);
	stuck_count--; /* the last one is not */
	real_ops = bed.node->ops;
	slow_ops = *real_ops;
	slow_ops.qp_open = qp_open_none;
	bed.node->ops = &slow_ops;
	for (int i = 0; i <= PTNI_MANAGERS; i++)
		ptni_lease_close(bed.lease[leases[i]].lease, PTNI_LEASE_REVOKED);
	bed_pass(&bed, 5 * MS);
	assert_int_equal(bed.ended_count, 0);
	bed.node->ops = real_ops;
	bed_pass(&bed, 3 * MS);
	assert_int_equal(bed.ended_count, 1);
	assert_int_equal(bed.lease[leases[PTNI_MANAGERS]].ended, 1);
	held_go_on();
	bed_turns(&bed);
	assert_int_equal(bed.ended_count, PTNI_MANAGERS + 1);
	for (int i = 0; i <= PTNI_MANAGERS; i++)
		raw_close(&peers[i]);
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
		rebuilt = bed.node->managers[0]->incarnation;
		bed.node->ops->qp_error(bed.node->managers[0]->qp);
		bed_pass(&bed, 100 * MS);
		assert_int_equal(bed.lease[index].ended, 1);
		assert_int_equal(bed_info(&bed).windows, 0);
		/* use it, so that the failure is noticed at the latest now */
		assert_int_equal(raw_grant(lane, 1 * MS, 0, 64, BED_ALL, 0, 1, &granted), 0);
		bed_pass(&bed, 100 * MS);
		assert_int_equal(raw_read(lane, lane->page_rkey, client.welcome.page_addr, NULL),
				 0);
		assert_true(bed.node->managers[0]->up);
		assert_int_equal(bed.node->managers[0]->incarnation, rebuilt + 1);
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
		cmocka_unit_test(test_any_number_of_stopped_peers_delays_nobody_else),
		cmocka_unit_test(test_peers_that_stop_together_take_nobody_with_them),
		cmocka_unit_test(test_without_queue_pairs_to_spare_work_waits),
		cmocka_unit_test(test_failed_manager_loses_no_work),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */

	return cmocka_run_group_tests(tests, NULL, NULL);
}
