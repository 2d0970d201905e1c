/* SPDX-License-Identifier: MIT */
/*
 * Clients that misbehave: garbage on both carriers, floods, quotas, a full device. In every test a
 * well-behaved neighbour goes on as if nothing were.
 */
#include "tests/support/node_bed.h"

#include "core/base/rng.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

struct scene {
	struct bed bed;
	struct raw_client neighbour;
	struct raw_lane *other;
	struct bed_granted kept;
};

static void scene_open(struct scene *scene, const struct ptn_node_options *options)
{
	bed_open(&scene->bed, options);
	raw_open(&scene->neighbour, &scene->bed, 3600000 * MS);
	scene->other = raw_lane_open(&scene->neighbour, 1, 0);
	assert_int_equal(raw_grant(scene->other, 0, 4096, 64, BED_ALL, 0, 1, &scene->kept), 0);
}

static void neighbour_works(struct scene *scene)
{
	struct ptni_message ping = { .op = PTNI_OP_PING };

	assert_int_equal(raw_call(scene->other, &ping, sizeof(ping), NULL, 0), 0);
	assert_int_equal(raw_write(scene->other, scene->kept.window[0].rkey,
				   scene->kept.window[0].addr, 1),
			 0);
}

static void scene_close(struct scene *scene)
{
	neighbour_works(scene);
	raw_close(&scene->neighbour);
	assert_int_equal(bed_info(&scene->bed).sessions, 0);
	assert_int_equal(bed_info(&scene->bed).windows, 0);
	bed_close(&scene->bed);
}

static bool session_lives(struct scene *scene, const struct raw_client *client)
{
	struct ptn_session_info info[8];
	int count = ptn_node_sessions(scene->bed.node, info, 8);

	for (int i = 0; i < count; i++)
		if (info[i].id == client->welcome.session && !info[i].fenced)
			return true;
	return false;
}

/* --- garbage ------------------------------------------------------------------------------------------ */

static void test_malformed_messages_are_refused_then_fatal(void **state)
{
	struct ptni_message message, answer;
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;
	int sent = 0;

	scene_open(&s, NULL);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (; sent < PTNI_OFFENCES_MAX; sent++) {
		uint32_t len = 16;

		message = (struct ptni_message){ .op = PTNI_OP_PING,
						 .len_bytes = 16,
						 .cookie = (uint32_t)sent,
						 .session_epoch = client.welcome.epoch };
		switch (sent % 5) {
		case 0:
			message.op = 0;
			break;
		case 1:
			message.op |= PTNI_REPLY;
			break;
		case 2:
			message.len_bytes = 17;
			break;
		case 3:
			message.op = PTNI_OP_LEASE_RELEASE; /* too short for it */
			break;
		default:
			message.op = 9999;
		}
		raw_send_bytes(lane, &message, len);
		bed_turns(&s.bed);
		assert_true(raw_take(lane, 0, &answer, sizeof(answer)));
		assert_int_equal(answer.status, -EBADMSG);
		assert_int_equal(answer.cookie, sent);
		assert_true(session_lives(&s, &client));
	}
	raw_send_bytes(lane, "x", 1);
	bed_turns(&s.bed);
	assert_false(session_lives(&s, &client));
	assert_int_equal(raw_channel_recv(&client, &answer, sizeof(answer)), 0);
	assert_int_equal(client.ended.status, PTN_E_PROTOCOL);
	raw_close(&client);
	scene_close(&s);
}

static void test_message_longer_than_any_costs_the_lane(void **state)
{
	static uint8_t bytes[PTNI_MESSAGE_MAX + 64];
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;

	scene_open(&s, NULL);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	raw_send_bytes(lane, bytes, sizeof(bytes));
	bed_turns(&s.bed);
	raw_poll(&client);
	assert_true(lane->broken);
	assert_true(session_lives(&s, &client));
	raw_lane_close(lane);
	raw_lane_open(&client, 1, 0);
	raw_close(&client);
	scene_close(&s);
}

static void bytes_random(struct ptni_rng *rng, uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)ptni_rng_next(rng);
}

/* Any bytes at all, some of them nearly right. The node must survive, and so must the neighbour. */
static void lane_message_random(struct ptni_rng *rng, struct raw_lane *lane, uint8_t *bytes,
				size_t *len_out)
{
	static const uint16_t ops[] = { PTNI_OP_PING,   PTNI_OP_LEASE_RELEASE, BED_GRANT,
					BED_WITHDRAW,   PTNI_OP_LANE_READY,    PTNI_OP_SHADOW,
					PTNI_OP_REVOKED };
	struct ptni_message head;
	size_t len = ptni_rng_below(rng, 200);

	bytes_random(rng, bytes, 256);
	if (ptni_rng_chance(rng, 3, 4) && len >= sizeof(head)) {
		memcpy(&head, bytes, sizeof(head));
		head.op = ops[ptni_rng_below(rng, sizeof(ops) / sizeof(ops[0]))];
		if (head.op == BED_WITHDRAW && !lane->client->bed->lease_count)
			head.op = PTNI_OP_PING;
		if (head.op == PTNI_OP_LEASE_RELEASE)
			len = sizeof(struct ptni_lease_release);
		if (head.op == BED_GRANT || head.op == BED_WITHDRAW)
			len = sizeof(struct bed_grant);
		head.len_bytes = (uint16_t)len;
		head.session_epoch = lane->client->welcome.epoch;
		memcpy(bytes, &head, sizeof(head));
	}
	*len_out = len;
}

static void channel_message_random(struct ptni_rng *rng, uint8_t *bytes, size_t *len_out)
{
	struct ptni_lane_addr message;

	bytes_random(rng, bytes, 256);
	memcpy(&message, bytes, sizeof(message));
	message.op = (uint32_t)ptni_rng_below(rng, 10);
	if (message.op == PTNI_GOODBYE)
		message.op = PTNI_LANE_OPEN;
	if (ptni_rng_chance(rng, 3, 4)) {
		message.worker = (uint32_t)ptni_rng_below(rng, 4);
		message.lane = (uint32_t)ptni_rng_below(rng, 6);
		if (message.lane == 5)
			message.lane = PTNI_LANE_ALL;
	}
	memcpy(bytes, &message, sizeof(message));
	*len_out = ptni_rng_chance(rng, 3, 4) ? sizeof(message) : ptni_rng_below(rng, 256) + 1;
}

static void fuzz(uint64_t seed)
{
	struct ptni_rng rng;
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;
	uint8_t bytes[256];
	size_t len;

	print_message("seed %llu\n", (unsigned long long)seed);
	ptni_rng_seed(&rng, seed);
	scene_open(&s, NULL);
	for (int life = 0; life < 8; life++) {
		raw_open(&client, &s.bed, 3600000 * MS);
		lane = raw_lane_open(&client, 1, 0);
		for (int i = 0; i < 60 && session_lives(&s, &client); i++) {
			if (ptni_rng_chance(&rng, 1, 3)) {
				channel_message_random(&rng, bytes, &len);
				raw_channel_send(&client, bytes, len);
			} else if (!lane->broken) {
				lane_message_random(&rng, lane, bytes, &len);
				if (s.bed.deferred_count < 8)
					raw_send_bytes(lane, bytes, len);
			}
			bed_turns(&s.bed);
			while (raw_take(lane, 0, bytes, sizeof(bytes)))
				;
			while (raw_channel_recv(&client, bytes, sizeof(bytes)))
				;
		}
		neighbour_works(&s);
		raw_close(&client);
		bed_answer_deferred(&s.bed, 0);
	}
	scene_close(&s);
}

static void test_garbage_is_survived(void **state)
{
	const char *seed = getenv("PTN_SEED");

	if (seed) {
		fuzz(strtoull(seed, NULL, 0));
		return;
	}
	for (uint64_t i = 1; i <= 12; i++)
		fuzz(i);
}

/* --- floods and quotas -------------------------------------------------------------------------------- */

static void test_requests_per_second_are_limited(void **state)
{
	struct ptn_node_options options = { .session_requests_per_s = 100 };
	struct ptni_message ping = { .op = PTNI_OP_PING };
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;
	int good = 0, refused = 0;

	scene_open(&s, &options);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < 120; i++) {
		int status = raw_call(lane, &ping, sizeof(ping), NULL, 0);

		ping.cookie = 0;
		good += !status;
		refused += status == PTN_E_QUOTA;
	}
	assert_int_equal(good + refused, 120);
	assert_in_range(good, 60, 64); /* the burst */
	bed_pass(&s.bed, 100 * MS);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(raw_call(lane, &ping, sizeof(ping), NULL, 0), 0);
		ping.cookie = 0;
	}
	assert_int_equal(raw_call(lane, &ping, sizeof(ping), NULL, 0), PTN_E_QUOTA);
	/* who goes on for another hundred within the second is a flood */
	for (int i = 0; i < 120 && session_lives(&s, &client); i++) {
		ping.cookie = 0;
		raw_send(lane, &ping, sizeof(ping));
		bed_turns(&s.bed);
		while (raw_take(lane, 0, &ping, sizeof(ping)))
			ping.op = PTNI_OP_PING;
	}
	assert_false(session_lives(&s, &client));
	raw_close(&client);
	scene_close(&s);
}

/* What is asked on the channel is always done, and yet no way round the limit. */
static void test_channel_floods_end_the_session(void **state)
{
	struct ptn_node_options options = { .session_requests_per_s = 100 };
	struct ptni_lane_addr close = { .op = PTNI_LANE_CLOSE, .worker = 7, .lane = 1 }, answer;
	struct raw_client client;
	struct scene s;
	int closed = 0;

	scene_open(&s, &options);
	raw_open(&client, &s.bed, 3600000 * MS);
	for (int i = 0; i < 300 && session_lives(&s, &client); i++) {
		raw_channel_send(&client, &close, sizeof(close));
		bed_turns(&s.bed);
		if (session_lives(&s, &client) &&
		    raw_channel_recv(&client, &answer, sizeof(answer)) == sizeof(answer))
			closed += answer.op == PTNI_LANE_CLOSED;
	}
	assert_in_range(closed, 100, 200);
	assert_false(session_lives(&s, &client));
	raw_close(&client);
	scene_close(&s);
}

/* Far more than the node takes at a time: the flooder's own queue holds it, the neighbour is served. */
static void test_flood_waits_in_the_flooders_queue(void **state)
{
	struct ptni_message ping = { .op = PTNI_OP_PING };
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;
	int answered = 0;

	scene_open(&s, NULL);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < 300; i++) {
		ping.cookie = 0;
		raw_send(lane, &ping, sizeof(ping));
	}
	neighbour_works(&s);
	for (int i = 0; i < 300 && answered < 300; i++) {
		bed_turns(&s.bed);
		while (raw_take(lane, PTNI_OP_PING | PTNI_REPLY, &ping, sizeof(ping)))
			answered++;
	}
	assert_int_equal(answered, 300);
	raw_close(&client);
	scene_close(&s);
}

/* It takes none of its messages any more. Its lease ends on time all the same. */
static void test_client_that_does_not_receive_cannot_keep_a_window(void **state)
{
	struct bed_grant request = { .head.op = BED_GRANT,
				     .term_ns = 10 * MS,
				     .len_bytes = 64,
				     .access = BED_ALL,
				     .count = 1 };
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;
	int leases;

	scene_open(&s, NULL);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	lane->recvs_held = 1;
	for (int i = 0; i < BED_RECVS + 12; i++) {
		request.head.cookie = 0;
		raw_send(lane, &request, sizeof(request));
		bed_turns(&s.bed);
		raw_poll(&client);
		lane->inbox_count = 0;
	}
	leases = s.bed.lease_count;
	assert_true(leases > BED_RECVS);
	bed_pass(&s.bed, 12 * MS);
	assert_int_equal(s.bed.ended_count, leases - 1); /* all but the neighbour's */
	assert_int_equal(bed_info(&s.bed).windows, 1);
	raw_close(&client);
	scene_close(&s);
}

static void test_windows_and_leases_are_limited(void **state)
{
	/* one of them is the keeper's */
	struct ptn_node_options options = { .session_windows_max = 11, .session_leases_max = 3 };
	struct bed_granted granted[4];
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;

	scene_open(&s, &options);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 2, &granted[i]), 0);
	assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 1, &granted[3]),
			 PTN_E_QUOTA);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 5, &granted[3]), PTN_E_QUOTA);
	bed_turns(&s.bed);
	assert_int_equal(bed_info(&s.bed).windows,
			 7); /* of the refused grant none, one the neighbour's */
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 4, &granted[3]), 0);
	assert_int_equal(raw_release(lane, &granted[0].lease, 0), 0);
	assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 2, &granted[0]), 0);
	raw_close(&client);
	scene_close(&s);
}

/* Whatever the other workers take: worker 0 has windows for its client's housekeeping. */
static void test_keeper_gets_a_window_when_others_have_the_rest(void **state)
{
	struct ptn_node_options options = { .session_windows_max = 16 };
	struct bed_granted granted;
	struct raw_lane *lane, *keeper;
	struct raw_client client;
	struct scene s;
	int taken = 0;

	scene_open(&s, &options);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	while (!raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 1, &granted))
		taken++;
	assert_int_equal(taken, 14);
	keeper = raw_lane_open(&client, 0, 0);
	for (; taken < 16; taken++)
		assert_int_equal(raw_grant(keeper, 1000 * MS, 0, 64, BED_ALL, 0, 1, &granted), 0);
	assert_int_equal(raw_grant(keeper, 1000 * MS, 0, 64, BED_ALL, 0, 1, &granted), PTN_E_QUOTA);
	raw_close(&client);
	scene_close(&s);
}

static void test_bytes_are_limited_and_come_back(void **state)
{
	struct ptn_node_options options = { .session_bytes_max = 1 << 20 };
	struct bed_grant request = { .head.op = BED_GRANT,
				     .term_ns = 10 * MS,
				     .len_bytes = 64,
				     .access = BED_ALL,
				     .count = 1,
				     .charge_bytes = 1 << 19 };
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;

	scene_open(&s, &options);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(raw_call(lane, &request, sizeof(request), NULL, 0),
				 i < 2 ? 0 : -EDQUOT);
		request.head.cookie = 0;
	}
	bed_pass(&s.bed, 11 * MS);
	assert_int_equal(raw_call(lane, &request, sizeof(request), NULL, 0), 0);
	raw_close(&client);
	scene_close(&s);
}

/* --- the device's limit ---------------------------------------------------------------------------------- */

static int mw_left;

static struct ibv_mw *(*mw_alloc_real)(struct ibv_pd *pd, enum ibv_mw_type type);
static int (*mw_dealloc_real)(struct ibv_mw *mw);

static struct ibv_mw *mw_alloc_scarce(struct ibv_pd *pd, enum ibv_mw_type type)
{
	if (!mw_left) {
		errno = ENOMEM;
		return NULL;
	}
	mw_left--;
	return mw_alloc_real(pd, type);
}

static int mw_dealloc_scarce(struct ibv_mw *mw)
{
	mw_left++;
	return mw_dealloc_real(mw);
}

static void windows_make_scarce(struct bed *bed, int left)
{
	struct ibv_context_ops *ops = &bed->node->fabric->context->ops;

	mw_left = left;
	mw_alloc_real = ops->alloc_mw;
	mw_dealloc_real = ops->dealloc_mw;
	ops->alloc_mw = mw_alloc_scarce;
	ops->dealloc_mw = mw_dealloc_scarce;
}

static void test_node_at_the_devices_limit_refuses_and_recovers(void **state)
{
	struct bed_granted granted, first;
	struct raw_client client;
	struct raw_lane *lane;
	struct scene s;

	scene_open(&s, NULL);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	windows_make_scarce(&s.bed, 6);
	assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 4, &first), 0);
	assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 9, 4, &granted),
			 PTN_E_NODE_FULL);
	assert_int_equal(bed_info(&s.bed).windows, 5);
	assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 9, 2, &granted), 0);
	/* free ones of any lane make room: the neighbour's request is met from what this one gave back */
	assert_int_equal(raw_release(lane, &first.lease, 0), 0);
	assert_int_equal(raw_grant(s.other, 1000 * MS, 0, 64, BED_ALL, 9, 4, &granted), 0);
	assert_int_equal(raw_write(s.other, granted.window[3].rkey, granted.window[3].addr, 1), 0);
	raw_close(&client);
	scene_close(&s);
}

/* A spare that cannot have its windows now gets them when there are some. */
static void test_starving_spare_is_fed_later(void **state)
{
	struct bed_granted granted, other;
	struct raw_client client;
	struct raw_lane *lane, *spare;
	struct ptni_shadow shadow;
	struct scene s;

	scene_open(&s, NULL);
	raw_open(&client, &s.bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 4, &granted), 0);
	assert_int_equal(raw_grant(s.other, 1000 * MS, 0, 64, BED_ALL, 0, 4, &other), 0);
	windows_make_scarce(&s.bed, 4); /* two pages and two windows */
	spare = raw_lane_open(&client, 1, 1);
	assert_true(raw_take(spare, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
	assert_int_equal(shadow.count, 2);
	bed_pass(&s.bed, 10 * MS);
	assert_false(raw_take(spare, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
	assert_int_equal(raw_release(s.other, &other.lease, 0), 0);
	bed_pass(&s.bed, 70 * MS);
	assert_true(raw_take(spare, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
	assert_int_equal(shadow.count, 2);
	raw_close(&client);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed_messages_are_refused_then_fatal),
		cmocka_unit_test(test_message_longer_than_any_costs_the_lane),
		cmocka_unit_test(test_garbage_is_survived),
		cmocka_unit_test(test_requests_per_second_are_limited),
		cmocka_unit_test(test_channel_floods_end_the_session),
		cmocka_unit_test(test_flood_waits_in_the_flooders_queue),
		cmocka_unit_test(test_client_that_does_not_receive_cannot_keep_a_window),
		cmocka_unit_test(test_windows_and_leases_are_limited),
		cmocka_unit_test(test_keeper_gets_a_window_when_others_have_the_rest),
		cmocka_unit_test(test_bytes_are_limited_and_come_back),
		cmocka_unit_test(test_node_at_the_devices_limit_refuses_and_recovers),
		cmocka_unit_test(test_starving_spare_is_fed_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
