/* SPDX-License-Identifier: MIT */
/* Sessions: the greeting, who is refused, lanes, and every way in which a session ends. */
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

static void test_welcome_says_what_is_true(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct ptn_session_info info;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 400000000);
	assert_int_equal(client.welcome.version, PTNI_WIRE_VERSION);
	assert_int_equal(client.welcome.session, 1);
	assert_int_equal(client.welcome.region_rkey, 0);
	assert_int_equal(client.welcome.region_addr, (uintptr_t)bed.region);
	assert_int_equal(client.welcome.term_ns * client.welcome.term_units, 400000000);
	assert_int_equal(ptn_node_sessions(bed.node, &info, 1), 1);
	assert_int_equal(info.id, 1);
	assert_false(info.fenced);
	assert_int_equal(bed_info(&bed).sessions, 1);
	raw_close(&client);
	assert_int_equal(bed_info(&bed).sessions, 0);
	bed_close(&bed);
}

static void test_lane_is_ready_with_both_pages(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct raw_lane *lane;
	uint64_t value;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_read(lane, lane->status_rkey, client.welcome.status_addr, &value), 0);
	assert_int_equal(value, 1);
	assert_int_equal(raw_write(lane, lane->page_rkey, client.welcome.page_addr, 1), 0);
	assert_int_equal(
		raw_read(lane, lane->page_rkey,
			 client.welcome.page_addr + offsetof(struct ptni_session_page, lease),
			 &value),
		0);
	assert_int_equal(value, ptni_lease_word(1, client.welcome.term_units));
	assert_int_equal(raw_write(lane, lane->status_rkey, client.welcome.status_addr, 9),
			 IBV_WC_REM_ACCESS_ERR);
	raw_close(&client);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_welcome_says_what_is_true),
		cmocka_unit_test(test_lane_is_ready_with_both_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
