/* SPDX-License-Identifier: MIT */
/* The one end of sessions, by each of its causes; and that the neighbours do not notice. */
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)

/* A victim with two lanes and windows on both, charged for memory; and a neighbour. */
struct scene {
	struct bed bed;
	struct raw_client victim, neighbour;
	struct raw_lane *lane, *spare, *other;
	struct bed_granted granted, kept;
};

static void charge(struct scene *scene)
{
	struct bed_grant request = { .head.op = BED_GRANT,
				     .term_ns = 100000 * MS,
				     .len_bytes = 64,
				     .access = BED_ALL,
				     .count = 1,
				     .charge_bytes = 65536 };

	assert_int_equal(raw_call(scene->lane, &request, sizeof(request), &scene->granted,
				  sizeof(scene->granted)),
			 0);
	/* one under the session's own lease, too */
	request.head.cookie = 0;
	request.term_ns = 0;
	request.tag = 1;
	assert_int_equal(raw_call(scene->lane, &request, sizeof(request), &scene->granted,
				  sizeof(scene->granted)),
			 0);
}

static void scene_open(struct scene *scene, uint64_t term_ns)
{
	bed_open(&scene->bed, NULL);
	raw_open(&scene->victim, &scene->bed, term_ns);
	raw_open(&scene->neighbour, &scene->bed, 3600000 * MS);
	scene->other = raw_lane_open(&scene->neighbour, 1, 0);
	assert_int_equal(
		raw_grant(scene->other, 3000000 * MS, 4096, 64, BED_ALL, 0, 1, &scene->kept), 0);
	scene->lane = raw_lane_open(&scene->victim, 1, 0);
	scene->spare = raw_lane_open(&scene->victim, 1, 1);
	charge(scene);
}

/* Everything of the victim is gone, and of the neighbour nothing. */
static void expect_fenced(struct scene *scene, uint64_t fences)
{
	struct ptn_session_info info[2];
	struct ptn_node_info node = bed_info(&scene->bed);

	assert_int_equal(node.sessions, 1);
	assert_int_equal(node.lanes, 1);
	assert_int_equal(node.windows, 1);
	assert_int_equal(node.leases, 1);
	assert_int_equal(node.fences, fences);
	assert_int_equal(scene->bed.sessions_ended, 1);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(scene->bed.lease[i].ended, 1);
		assert_int_equal(scene->bed.lease[i].how, PTNI_LEASE_FENCED);
	}
	assert_int_equal(ptn_node_sessions(scene->bed.node, info, 2), 1);
	assert_int_equal(info[0].id, scene->neighbour.welcome.session);
	assert_int_not_equal(raw_write(scene->lane, scene->granted.window[0].rkey,
				       scene->granted.window[0].addr, 9),
			     0);
	assert_int_equal(*(uint64_t *)(void *)scene->bed.region, 0);
	assert_int_equal(raw_write(scene->other, scene->kept.window[0].rkey,
				   scene->kept.window[0].addr, 9),
			 0);
	assert_false(scene->other->broken);
}

static void expect_ended(struct scene *scene, int status)
{
	uint64_t nothing;

	assert_int_equal(raw_channel_recv(&scene->victim, &nothing, sizeof(nothing)), 0);
	assert_int_equal(scene->victim.ended.op, PTNI_ENDED);
	assert_int_equal(scene->victim.ended.status, status);
}

static void scene_close(struct scene *scene)
{
	raw_close(&scene->victim);
	raw_close(&scene->neighbour);
	assert_int_equal(bed_info(&scene->bed).sessions, 0);
	bed_close(&scene->bed);
}

static void test_session_lease_runs_out(void **state)
{
	struct scene s;

	scene_open(&s, 20 * MS);
	bed_pass(&s.bed, 19 * MS);
	assert_int_equal(bed_info(&s.bed).sessions, 2);
	bed_pass(&s.bed, 2 * MS);
	expect_fenced(&s, 1);
	expect_ended(&s, PTN_E_SESSION_FENCED);
	scene_close(&s);
}

/* It lives as long as it extends, however long, and dies a term and two units after the last time. */
static void test_session_lease_is_extended_for_ever(void **state)
{
	struct ptni_lease_grant own = { .generation = 1 };
	struct scene s;
	uint64_t start_ns;

	scene_open(&s, 20 * MS);
	for (uint32_t units = 4; units < 300; units++) {
		assert_true(raw_extend(s.lane, &own, units, units + 1, NULL));
		bed_pass(&s.bed, 5 * MS);
		assert_int_equal(bed_info(&s.bed).sessions, 2);
	}
	/* one that would last for years is worth no more */
	assert_true(raw_extend(s.lane, &own, 300, UINT32_MAX, NULL));
	start_ns = s.bed.now_ns;
	while (bed_info(&s.bed).sessions == 2 && s.bed.now_ns < start_ns + 100 * MS)
		bed_pass(&s.bed, 1 * MS);
	assert_in_range(s.bed.now_ns - start_ns, 20 * MS, 36 * MS);
	expect_fenced(&s, 1);
	scene_close(&s);
}

static void test_process_that_dies_is_fenced(void **state)
{
	struct scene s;
	struct ptni_fabric *fabric;

	scene_open(&s, 3600000 * MS);
	fabric = s.victim.fabric;
	fabric->ops->channel_close(s.victim.channel);
	bed_turns(&s.bed);
	expect_fenced(&s, 1);
	assert_int_equal(fabric->ops->dial(fabric, s.bed.address, &s.victim.channel), 0);
	scene_close(&s);
}

static void test_goodbye_is_no_fence_but_takes_as_much(void **state)
{
	struct ptni_ended goodbye = { .op = PTNI_GOODBYE };
	struct scene s;

	scene_open(&s, 3600000 * MS);
	raw_channel_send(&s.victim, &goodbye, sizeof(goodbye));
	bed_turns(&s.bed);
	expect_fenced(&s, 0);
	expect_ended(&s, 0);
	scene_close(&s);
}

static void test_operator_ends_a_session(void **state)
{
	struct scene s;

	scene_open(&s, 3600000 * MS);
	assert_int_equal(ptn_node_session_end(s.bed.node, 999), -ENOENT);
	assert_int_equal(ptn_node_session_end(s.bed.node, s.victim.welcome.session), 0);
	bed_turns(&s.bed);
	expect_fenced(&s, 1);
	expect_ended(&s, PTN_E_SESSION_ENDED);
	assert_int_equal(ptn_node_session_end(s.bed.node, s.victim.welcome.session), -ENOENT);
	scene_close(&s);
}

/* R6: the invalidations wait; so do ended(), session_ended() and the message. */
static void test_nobody_is_told_before_the_last_window_is_dead(void **state)
{
	struct ptn_session_info info;
	struct scene s;

	scene_open(&s, 3600000 * MS);
	bed_hold_manager(&s.bed, true);
	assert_int_equal(ptn_node_session_end(s.bed.node, s.victim.welcome.session), 0);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.ended_count, 0);
	assert_int_equal(s.bed.sessions_ended, 0);
	assert_int_equal(ptn_node_sessions(s.bed.node, &info, 1), 2);
	assert_true(info.fenced);
	assert_int_equal(info.epoch, s.victim.welcome.epoch + 1);
	assert_int_equal(info.bytes, 2 * 65536);
	bed_hold_manager(&s.bed, false);
	bed_turns(&s.bed);
	expect_fenced(&s, 1);
	expect_ended(&s, PTN_E_SESSION_ENDED);
	scene_close(&s);
}

/* A release that was under way when the session died remains a release, and is one end only. */
static void test_release_and_fence_at_once(void **state)
{
	struct ptni_lease_release release = { .head.op = PTNI_OP_LEASE_RELEASE,
					      .flags = PTNI_RELEASE_KEEP_MEMORY };
	struct scene s;

	scene_open(&s, 3600000 * MS);
	release.index = s.bed.lease[1].index;
	release.generation = s.bed.lease[1].generation;
	bed_hold_manager(&s.bed, true);
	raw_send(s.lane, &release, sizeof(release));
	bed_turns(&s.bed);
	assert_int_equal(ptn_node_session_end(s.bed.node, s.victim.welcome.session), 0);
	bed_turns(&s.bed);
	bed_hold_manager(&s.bed, false);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.lease[1].ended, 1);
	assert_int_equal(s.bed.lease[1].how, PTNI_LEASE_RELEASED);
	assert_int_equal(s.bed.lease[1].flags, PTNI_RELEASE_KEEP_MEMORY);
	assert_int_equal(s.bed.sessions_ended, 1);
	scene_close(&s);
}

/* The epoch that a message carries is the one of its session, or it is refused. */
static void test_message_of_an_old_epoch_is_refused(void **state)
{
	struct ptni_message ping = { .op = PTNI_OP_PING, .len_bytes = sizeof(ping), .cookie = 4 };
	struct scene s;

	scene_open(&s, 3600000 * MS);
	ping.session_epoch = s.victim.welcome.epoch - 1;
	raw_send_bytes(s.lane, &ping, sizeof(ping));
	bed_turns(&s.bed);
	assert_true(raw_take(s.lane, PTNI_OP_PING | PTNI_REPLY, &ping, sizeof(ping)));
	assert_int_equal(ping.status, PTN_E_SESSION_FENCED);
	ping = (struct ptni_message){ .op = PTNI_OP_PING };
	assert_int_equal(raw_call(s.lane, &ping, sizeof(ping), NULL, 0), 0);
	scene_close(&s);
}

static void test_node_that_closes_ends_everybody(void **state)
{
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 20, &granted), 0);
	bed_close(&bed);
	assert_int_equal(bed.ended_count, 1);
	assert_int_equal(bed.sessions_ended, 1);
	assert_int_equal(raw_channel_recv(&client, &granted, sizeof(granted)), 0);
	assert_int_equal(client.ended.status, PTN_E_NODE_CLOSING);
	client.bed = NULL;
	raw_close(&client);
}

/* A whole session again and again: pages, ids, buffers and windows come back. */
static void test_sessions_come_and_go(void **state)
{
	struct ptn_node_options options = { .sessions_max = 3 };
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	struct bed bed;

	bed_open(&bed, &options);
	for (int i = 0; i < 100; i++) {
		raw_open(&client, &bed, 0);
		lane = raw_lane_open(&client, 1, 0);
		raw_lane_open(&client, 1, 1);
		assert_int_equal(
			raw_grant(lane, i & 1 ? 50 * MS : 0, 0, 64, BED_ALL, 0, 5, &granted), 0);
		assert_int_equal(client.welcome.session, i + 1);
		raw_close(&client);
		assert_int_equal(bed_info(&bed).windows, 0);
		assert_int_equal(bed_info(&bed).leases, 0);
	}
	assert_int_equal(bed.ended_count, 100);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session_lease_runs_out),
		cmocka_unit_test(test_session_lease_is_extended_for_ever),
		cmocka_unit_test(test_process_that_dies_is_fenced),
		cmocka_unit_test(test_goodbye_is_no_fence_but_takes_as_much),
		cmocka_unit_test(test_operator_ends_a_session),
		cmocka_unit_test(test_nobody_is_told_before_the_last_window_is_dead),
		cmocka_unit_test(test_release_and_fence_at_once),
		cmocka_unit_test(test_message_of_an_old_epoch_is_refused),
		cmocka_unit_test(test_node_that_closes_ends_everybody),
		cmocka_unit_test(test_sessions_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
