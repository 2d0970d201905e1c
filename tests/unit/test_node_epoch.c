/* SPDX-License-Identifier: MIT */
/* Reclamation epochs: the four rules of core/node_epoch.c, by number. */
#include "tests/support/node_bed.h"

#include <patronus/error.h>
#include <string.h>

#define MS UINT64_C(1000000)

struct member {
	struct raw_client client;
	struct raw_lane *lane;
};

static void member_open(struct member *member, struct bed *bed, uint64_t term_ns)
{
	raw_open(&member->client, bed, term_ns);
	member->lane = raw_lane_open(&member->client, 0, 0);
}

static void word_write(struct member *member, size_t offset, uint64_t value)
{
	assert_int_equal(raw_write(member->lane, member->lane->page_rkey,
				   member->client.welcome.page_addr + offset, value),
			 0);
}

static void report(struct member *member, uint64_t epoch)
{
	word_write(member, offsetof(struct ptni_session_page, report), epoch);
}

static void want(struct member *member, uint64_t value)
{
	word_write(member, offsetof(struct ptni_session_page, want), value);
}

static void expect(struct bed *bed, struct member *member, uint64_t epoch, uint64_t horizon)
{
	uint64_t value;

	assert_int_equal(ptni_node_epoch(bed->node), epoch);
	assert_int_equal(ptni_node_horizon(bed->node), horizon);
	assert_int_equal(raw_read(member->lane, member->lane->status_rkey,
				  member->client.welcome.status_addr, &value),
			 0);
	assert_int_equal(value, epoch);
	assert_int_equal(raw_read(member->lane, member->lane->status_rkey,
				  member->client.welcome.status_addr + 8, &value),
			 0);
	assert_int_equal(value, horizon);
}

/* 1, 2 */
static void test_horizon_is_the_least_report(void **state)
{
	struct bed bed;
	struct member a, b;

	bed_open(&bed, NULL);
	member_open(&a, &bed, 100000 * MS);
	member_open(&b, &bed, 100000 * MS);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &a, 1, 1); /* nobody wants */
	want(&a, 4096);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &a, 2, 1); /* once, and no further before all have reported */
	report(&a, 2);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &a, 2, 1);
	want(&a, 0);
	report(&b, 2);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &b, 2, 2);
	raw_close(&a.client);
	raw_close(&b.client);
	bed_close(&bed);
}

/* 2 */
static void test_epochs_keep_their_distance(void **state)
{
	struct ptn_node_options options = { .epoch_min_ns = 40 * MS };
	struct bed bed;
	struct member a;
	uint64_t last_ns = 0;

	bed_open(&bed, &options);
	member_open(&a, &bed, 100000 * MS);
	want(&a, 1);
	for (uint64_t epoch = 2; epoch < 6; epoch++) {
		while (ptni_node_epoch(bed.node) < epoch)
			bed_pass(&bed, 1 * MS);
		if (last_ns)
			assert_in_range(bed.now_ns - last_ns, 40 * MS, 44 * MS);
		last_ns = bed.now_ns;
		report(&a, epoch);
	}
	raw_close(&a.client);
	bed_close(&bed);
}

/* 1: who joins while E = 2 vouches for 2 and not for later ones. */
static void test_newcomer_counts_from_its_welcome(void **state)
{
	struct bed bed;
	struct member a, b;

	bed_open(&bed, NULL);
	member_open(&a, &bed, 100000 * MS);
	want(&a, 1);
	bed_pass(&bed, 100 * MS);
	want(&a, 0);
	report(&a, 2);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &a, 2, 2);
	member_open(&b, &bed, 100000 * MS);
	want(&a, 1);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &b, 3, 2);
	report(&a, 3);
	bed_pass(&bed, 100 * MS);
	expect(&bed, &a, 3, 2); /* b, which has never reported, holds it */
	report(&b, 3);
	bed_pass(&bed, 3 * MS);
	assert_true(ptni_node_horizon(bed.node) >= 3);
	raw_close(&a.client);
	raw_close(&b.client);
	bed_close(&bed);
}

/* 3 (R7): it extends its lease and does not report. */
static void test_session_that_does_not_report_is_fenced(void **state)
{
	struct ptni_lease_grant own = { .generation = 1 };
	struct bed bed;
	struct member a, b;
	uint64_t start_ns;

	bed_open(&bed, NULL);
	member_open(&a, &bed, 100000 * MS);
	member_open(&b, &bed, 20 * MS);
	want(&a, 1);
	report(&a, 1);
	bed_pass(&bed, 8 * MS);
	assert_int_equal(ptni_node_epoch(bed.node), 2);
	start_ns = bed.now_ns;
	report(&a, 2);
	for (uint32_t units = 4; bed_info(&bed).sessions == 2 && units < 40; units++) {
		assert_true(raw_extend(b.lane, &own, units, units + 1, NULL));
		bed_pass(&bed, 5 * MS);
	}
	assert_in_range(bed.now_ns - start_ns, 30 * MS, 50 * MS);
	assert_int_equal(bed_info(&bed).fences, 1);
	bed_pass(&bed, 2 * MS);
	assert_true(ptni_node_horizon(bed.node) >= 2);
	raw_close(&a.client);
	raw_close(&b.client);
	bed_close(&bed);
}

/* 1: a session whose invalidations have not completed still holds the horizon. */
static void test_fenced_session_counts_until_its_windows_are_dead(void **state)
{
	struct bed bed;
	struct member a, b;
	struct bed_granted granted;

	bed_open(&bed, NULL);
	member_open(&a, &bed, 100000 * MS);
	member_open(&b, &bed, 100000 * MS);
	assert_int_equal(raw_grant(b.lane, 0, 0, 64, BED_ALL, 0, 1, &granted), 0);
	want(&a, 1);
	bed_pass(&bed, 100 * MS);
	report(&a, 2);
	bed_hold_manager(&bed, true);
	assert_int_equal(ptn_node_session_end(bed.node, b.client.welcome.session), 0);
	bed_pass(&bed, 20 * MS);
	assert_int_equal(ptni_node_horizon(bed.node), 1);
	bed_hold_manager(&bed, false);
	bed_pass(&bed, 3 * MS);
	assert_true(ptni_node_horizon(bed.node) >= 2);
	raw_close(&a.client);
	raw_close(&b.client);
	bed_close(&bed);
}

/* 4 */
static void test_lies_harm_the_liar_only(void **state)
{
	struct bed bed;
	struct member a, b;

	bed_open(&bed, NULL);
	member_open(&a, &bed, 100000 * MS);
	member_open(&b, &bed, 100000 * MS);
	report(&a, UINT64_MAX);
	want(&a, 1);
	bed_pass(&bed, 20 * MS);
	expect(&bed, &a, 2, 1); /* b still holds it */
	report(&b, 2);
	want(&a, 0);
	bed_pass(&bed, 20 * MS);
	assert_int_equal(ptni_node_horizon(bed.node), ptni_node_epoch(bed.node));
	report(&b, 0);
	bed_pass(&bed, 20 * MS);
	assert_int_equal(ptni_node_horizon(bed.node), ptni_node_epoch(bed.node));
	raw_close(&a.client);
	raw_close(&b.client);
	bed_close(&bed);
}

static void test_services_may_want_an_epoch_without_sessions(void **state)
{
	struct bed bed;

	bed_open(&bed, NULL);
	bed_pass(&bed, 100 * MS);
	assert_int_equal(ptni_node_epoch(bed.node), 1);
	ptni_node_want_epoch(bed.node);
	bed_pass(&bed, 100 * MS);
	assert_int_equal(ptni_node_epoch(bed.node), 2);
	assert_int_equal(ptni_node_horizon(bed.node), 2);
	assert_true(bed.ticks > 0);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_horizon_is_the_least_report),
		cmocka_unit_test(test_epochs_keep_their_distance),
		cmocka_unit_test(test_newcomer_counts_from_its_welcome),
		cmocka_unit_test(test_session_that_does_not_report_is_fenced),
		cmocka_unit_test(test_fenced_session_counts_until_its_windows_are_dead),
		cmocka_unit_test(test_lies_harm_the_liar_only),
		cmocka_unit_test(test_services_may_want_an_epoch_without_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
