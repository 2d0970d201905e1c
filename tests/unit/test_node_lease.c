/* SPDX-License-Identifier: MIT */
/* Leases: the guarantees 1 to 5 of core/node_lease.h, by number where a test is about one. */
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)

/* One client with one lane and one lease of `term_ns` on 64 bytes with all rights. */
struct scene {
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
};

static void scene_open(struct scene *scene, uint64_t term_ns)
{
	bed_open(&scene->bed, NULL);
	raw_open(&scene->client, &scene->bed, 3600000 * MS);
	scene->lane = raw_lane_open(&scene->client, 1, 0);
	assert_int_equal(raw_grant(scene->lane, term_ns, 0, 64, BED_ALL, 0, 1, &scene->granted), 0);
}

static void scene_close(struct scene *scene)
{
	raw_close(&scene->client);
	bed_close(&scene->bed);
}

static int touch(struct scene *scene)
{
	return raw_write(scene->lane, scene->granted.window[0].rkey, scene->granted.window[0].addr,
			 1);
}

static uint32_t units(const struct scene *scene)
{
	return scene->granted.lease.units;
}

static void test_lease_expires_and_not_before(void **state)
{
	struct scene s;

	scene_open(&s, 10 * MS);
	assert_int_equal(s.granted.lease.unit_ns * units(&s), 10 * MS);
	bed_pass(&s.bed, 10 * MS - 50 * US);
	assert_int_equal(s.bed.lease[0].ended, 0);
	assert_int_equal(touch(&s), 0);
	bed_pass(&s.bed, 100 * US);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(s.bed.lease[0].how, PTNI_LEASE_EXPIRED);
	assert_int_equal(bed_info(&s.bed).expirations, 1);
	assert_int_equal(bed_info(&s.bed).windows, 0);
	assert_int_equal(bed_info(&s.bed).leases, 0);
	assert_int_equal(touch(&s), IBV_WC_REM_ACCESS_ERR);
	scene_close(&s);
}

/* 1: what the client's CAS bought is honoured, to the unit. */
static void test_extension_is_honoured(void **state)
{
	struct scene s;

	scene_open(&s, 10 * MS);
	bed_pass(&s.bed, 9 * MS);
	assert_true(raw_extend(s.lane, &s.granted.lease, units(&s), units(&s) + 3, NULL));
	bed_pass(&s.bed, 8 * MS); /* 17 of 17.5 ms */
	assert_int_equal(touch(&s), 0);
	bed_pass(&s.bed, 1 * MS);
	assert_int_equal(s.bed.lease[0].ended, 1);
	scene_close(&s);
}

/* 1: the node decided to close, the client's CAS came first: the node's CAS loses and time goes on.
 * The node's own CAS is stopped between decision and execution by stepping only its timers. */
static void test_close_that_loses_to_an_extension_is_undone(void **state)
{
	struct scene s;
	struct ptni_session_page *page;
	uint64_t *word;

	scene_open(&s, 10 * MS);
	page = (void *)(uintptr_t)s.client.welcome.page_addr;
	word = &page->lease[s.granted.lease.index];
	bed_hold_manager(&s.bed, true);
	s.bed.now_ns += 11 * MS;
	bed_turns(&s.bed); /* decided: the CAS waits */
	assert_int_equal(*word, ptni_lease_word(s.granted.lease.generation, units(&s)));
	assert_true(raw_extend(s.lane, &s.granted.lease, units(&s), 2 * units(&s), NULL));
	bed_hold_manager(&s.bed, false);
	bed_turns(&s.bed);
	assert_int_equal(*word, ptni_lease_word(s.granted.lease.generation, 2 * units(&s)));
	assert_int_equal(s.bed.lease[0].ended, 0);
	assert_int_equal(touch(&s), 0);
	bed_pass(&s.bed, 8 * MS);
	assert_int_equal(touch(&s), 0);
	bed_pass(&s.bed, 2 * MS);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(bed_info(&s.bed).expirations, 1);
	scene_close(&s);
}

/* 1: a release that was asked for while the expiry's CAS loses is a release. */
static void test_release_wins_over_a_lost_expiry(void **state)
{
	struct scene s;
	struct ptni_lease_release release;

	scene_open(&s, 10 * MS);
	bed_hold_manager(&s.bed, true);
	s.bed.now_ns += 11 * MS;
	bed_turns(&s.bed);
	assert_true(raw_extend(s.lane, &s.granted.lease, units(&s), 2 * units(&s), NULL));
	release = (struct ptni_lease_release){ .head.op = PTNI_OP_LEASE_RELEASE,
					       .index = s.granted.lease.index,
					       .generation = s.granted.lease.generation,
					       .flags = PTNI_RELEASE_KEEP_MEMORY };
	raw_send(s.lane, &release, sizeof(release));
	bed_turns(&s.bed);
	bed_hold_manager(&s.bed, false);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(s.bed.lease[0].how, PTNI_LEASE_RELEASED);
	assert_int_equal(s.bed.lease[0].flags, PTNI_RELEASE_KEEP_MEMORY);
	scene_close(&s);
}

/* 2: the node closed first. */
static void test_extension_after_the_close_fails(void **state)
{
	struct scene s;
	uint64_t old;

	scene_open(&s, 10 * MS);
	bed_pass(&s.bed, 11 * MS);
	assert_false(raw_extend(s.lane, &s.granted.lease, units(&s), 4 * units(&s), &old));
	assert_true(old & PTNI_LEASE_CLOSED ||
		    ptni_lease_word_generation(old) != s.granted.lease.generation);
	bed_pass(&s.bed, 40 * MS);
	assert_int_equal(s.bed.lease[0].ended, 1);
	scene_close(&s);
}

/* 3: the slot's next lease lives its own time, whatever the first one's timer and client do. */
static void test_old_lease_does_not_touch_the_next(void **state)
{
	struct scene s;
	struct bed_granted next;
	uint64_t old;

	scene_open(&s, 10 * MS);
	/* all slots are used in turn, so take every one until the first comes again */
	assert_int_equal(raw_release(s.lane, &s.granted.lease, 0), 0);
	do {
		assert_int_equal(raw_grant(s.lane, 30 * MS, 0, 64, BED_ALL, 0, 1, &next), 0);
		if (next.lease.index != s.granted.lease.index)
			assert_int_equal(raw_release(s.lane, &next.lease, 0), 0);
	} while (next.lease.index != s.granted.lease.index);
	assert_int_not_equal(next.lease.generation, s.granted.lease.generation);
	/* its old term passes; its late extension and its late release come */
	bed_pass(&s.bed, 12 * MS);
	assert_false(raw_extend(s.lane, &s.granted.lease, units(&s), 9 * units(&s), &old));
	assert_int_equal(old, ptni_lease_word(next.lease.generation, next.lease.units));
	assert_int_equal(raw_release(s.lane, &s.granted.lease, 0), PTN_E_LEASE_EXPIRED);
	assert_int_equal(raw_write(s.lane, next.window[0].rkey, next.window[0].addr, 1), 0);
	bed_pass(&s.bed, 17 * MS);
	assert_int_equal(raw_write(s.lane, next.window[0].rkey, next.window[0].addr, 1), 0);
	bed_pass(&s.bed, 2 * MS);
	assert_int_equal(s.bed.lease[s.bed.lease_count - 1].ended, 1);
	assert_int_equal(s.bed.lease[s.bed.lease_count - 1].how, PTNI_LEASE_EXPIRED);
	assert_int_equal(bed_info(&s.bed).expirations, 1);
	scene_close(&s);
}

/* 3 */
static void test_release_is_answered_when_nothing_can_land(void **state)
{
	struct scene s;

	scene_open(&s, 10 * MS);
	assert_int_equal(raw_release(s.lane, &s.granted.lease, 0), 0);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(s.bed.lease[0].how, PTNI_LEASE_RELEASED);
	assert_int_equal(bed_info(&s.bed).windows, 0);
	assert_int_equal(raw_release(s.lane, &s.granted.lease, 0), PTN_E_LEASE_EXPIRED);
	bed_pass(&s.bed, 20 * MS);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(bed_info(&s.bed).expirations, 0);
	assert_int_equal(touch(&s), IBV_WC_REM_ACCESS_ERR);
	scene_close(&s);
}

static void test_release_of_what_never_was_is_harmless(void **state)
{
	struct scene s;
	struct ptni_lease_grant lease = { .index = 200, .generation = 1 };

	scene_open(&s, 10 * MS);
	assert_int_equal(raw_release(s.lane, &lease, 0), PTN_E_LEASE_EXPIRED);
	lease.index = 70000;
	assert_int_equal(raw_release(s.lane, &lease, 0), PTN_E_LEASE_UNKNOWN);
	lease.index = 0; /* the session's own is ended by saying goodbye */
	assert_int_equal(raw_release(s.lane, &lease, 0), PTN_E_LEASE_UNKNOWN);
	assert_int_equal(touch(&s), 0);
	scene_close(&s);
}

static void test_revoke_ends_it_and_tells(void **state)
{
	struct scene s;
	struct ptni_revoked revoked;

	scene_open(&s, 10 * MS);
	ptni_lease_close(s.bed.lease[0].lease, PTNI_LEASE_REVOKED);
	ptni_lease_close(s.bed.lease[0].lease, PTNI_LEASE_REVOKED);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(s.bed.lease[0].how, PTNI_LEASE_REVOKED);
	assert_int_equal(bed_info(&s.bed).revocations, 1);
	assert_true(raw_take(s.lane, PTNI_OP_REVOKED, &revoked, sizeof(revoked)));
	assert_int_equal(revoked.index, s.granted.lease.index);
	assert_int_equal(revoked.generation, s.granted.lease.generation);
	assert_int_equal(touch(&s), IBV_WC_REM_ACCESS_ERR);
	scene_close(&s);
}

/* 4: windows are on a spare too; ended() comes after the last of them. */
static void test_ended_comes_after_the_last_window(void **state)
{
	struct scene s;
	struct raw_lane *spare;
	struct {
		struct ptni_shadow shadow;
		struct ptni_window_grant window[PTNI_SHADOW_MAX];
	} shadow;

	scene_open(&s, 10 * MS);
	spare = raw_lane_open(&s.client, 1, 1);
	assert_true(raw_take(spare, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
	bed_turns(&s.bed);
	ptni_lease_close(s.bed.lease[0].lease, PTNI_LEASE_REVOKED);
	ptni_node_step(s.bed.node); /* the CAS goes out */
	bed_hold_manager(&s.bed, true);
	bed_turns(&s.bed); /* and has won; the invalidations wait */
	assert_int_equal(s.bed.lease[0].ended, 0);
	bed_hold_manager(&s.bed, false);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(raw_read(spare, shadow.window[0].rkey, shadow.window[0].addr, NULL),
			 IBV_WC_REM_ACCESS_ERR);
	scene_close(&s);
}

/* 5: more units than the node's maximum buy the maximum. */
static void test_units_are_capped(void **state)
{
	struct ptn_node_options options = { .term_max_ns = 50 * MS };
	struct scene s;

	bed_open(&s.bed, &options);
	raw_open(&s.client, &s.bed, 50 * MS);
	s.lane = raw_lane_open(&s.client, 1, 0);
	assert_int_equal(raw_grant(s.lane, 10 * MS, 0, 64, BED_ALL, 0, 1, &s.granted), 0);
	assert_true(raw_extend(s.lane, &s.granted.lease, units(&s), UINT32_MAX, NULL));
	for (uint32_t i = 1; i < 25; i++) { /* the session is kept */
		struct ptni_lease_grant own = { .generation = 1 };

		bed_pass(&s.bed, 2 * MS - 10 * US);
		assert_int_equal(s.bed.lease[0].ended, 0);
		assert_true(raw_extend(s.lane, &own, 3 + i, 4 + i, NULL));
	}
	bed_pass(&s.bed, 5 * MS);
	assert_int_equal(s.bed.lease[0].ended, 1);
	scene_close(&s);
}

/* 5: who scribbles over the word neither keeps the lease nor hurts anybody else. */
static void test_scribbled_word_does_not_keep_the_lease(void **state)
{
	struct scene s;
	struct bed_granted other;
	uint64_t addr;

	scene_open(&s, 10 * MS);
	addr = s.client.welcome.page_addr + offsetof(struct ptni_session_page, lease) +
	       s.granted.lease.index * sizeof(uint64_t);
	assert_int_equal(raw_grant(s.lane, 40 * MS, 64, 64, BED_ALL, 1, 1, &other), 0);
	assert_int_equal(raw_write(s.lane, s.lane->page_rkey, addr, UINT64_MAX), 0);
	bed_pass(&s.bed, 11 * MS);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(s.bed.lease[1].ended, 0);
	assert_int_equal(raw_write(s.lane, other.window[0].rkey, other.window[0].addr, 1), 0);
	scene_close(&s);
}

/* 5: a word that changes under every one of the node's tries is closed without it. */
static void test_word_that_always_changes_is_not_asked_for_ever(void **state)
{
	struct scene s;
	struct ptni_session_page *page;
	uint64_t *word, addr, known;

	scene_open(&s, 10 * MS);
	page = (void *)(uintptr_t)s.client.welcome.page_addr;
	word = &page->lease[s.granted.lease.index];
	addr = (uintptr_t)word;
	known = *word;
	bed_hold_manager(&s.bed, true);
	ptni_lease_close(s.bed.lease[0].lease, PTNI_LEASE_REVOKED);
	for (uint64_t i = 1; i < 8; i++) {
		assert_int_equal(raw_write(s.lane, s.lane->page_rkey, addr, known + (i << 40)), 0);
		bed_hold_manager(&s.bed, false);
		ptni_node_step(s.bed.node); /* the CAS goes out and loses */
		bed_hold_manager(&s.bed, true);
		ptni_node_step(s.bed.node); /* the next one waits */
		assert_int_equal(s.bed.lease[0].ended, 0);
	}
	assert_int_equal(raw_write(s.lane, s.lane->page_rkey, addr, known + (UINT64_C(8) << 40)),
			 0);
	bed_hold_manager(&s.bed, false);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.lease[0].ended, 1);
	assert_int_equal(touch(&s), IBV_WC_REM_ACCESS_ERR);
	scene_close(&s);
}

static void test_leases_under_the_session_live_with_it(void **state)
{
	struct scene s;

	scene_open(&s, 0);
	assert_int_equal(s.granted.lease.units, 0);
	bed_pass(&s.bed, 500 * MS);
	assert_int_equal(touch(&s), 0);
	ptni_lease_close(s.bed.lease[0].lease, PTNI_LEASE_REVOKED);
	bed_turns(&s.bed);
	assert_int_equal(s.bed.lease[0].ended, 1);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_expires_and_not_before),
		cmocka_unit_test(test_extension_is_honoured),
		cmocka_unit_test(test_close_that_loses_to_an_extension_is_undone),
		cmocka_unit_test(test_release_wins_over_a_lost_expiry),
		cmocka_unit_test(test_extension_after_the_close_fails),
		cmocka_unit_test(test_old_lease_does_not_touch_the_next),
		cmocka_unit_test(test_release_is_answered_when_nothing_can_land),
		cmocka_unit_test(test_release_of_what_never_was_is_harmless),
		cmocka_unit_test(test_revoke_ends_it_and_tells),
		cmocka_unit_test(test_ended_comes_after_the_last_window),
		cmocka_unit_test(test_units_are_capped),
		cmocka_unit_test(test_scribbled_word_does_not_keep_the_lease),
		cmocka_unit_test(test_word_that_always_changes_is_not_asked_for_ever),
		cmocka_unit_test(test_leases_under_the_session_live_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
