/* SPDX-License-Identifier: MIT */
/* Sessions: the greeting, who is refused, lanes, and every way in which a session ends. */
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <string.h>

#define MS UINT64_C(1000000)

static void test_welcome_says_what_is_true(void **state)
{
	struct bed bed;
	struct raw_client client;
	struct ptn_session_info info;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 400 * MS);
	assert_int_equal(client.welcome.version, PTNI_WIRE_VERSION);
	assert_int_equal(client.welcome.session, 1);
	assert_int_equal(client.welcome.region_rkey, 0);
	assert_int_equal(client.welcome.region_addr, (uintptr_t)bed.region);
	assert_int_equal(client.welcome.term_ns * client.welcome.term_units, 400 * MS);
	assert_int_equal(ptn_node_sessions(bed.node, &info, 1), 1);
	assert_int_equal(info.id, 1);
	assert_false(info.fenced);
	assert_in_range(info.lease_left_ns, 399 * MS, 401 * MS);
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

/* The page window ends with the page: the neighbour's words are out of reach. */
static void test_page_of_another_session_is_out_of_reach(void **state)
{
	struct bed bed;
	struct raw_client client, other;
	struct raw_lane *lane;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	raw_open(&other, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_write(lane, lane->page_rkey, other.welcome.page_addr, 1),
			 IBV_WC_REM_ACCESS_ERR);
	raw_close(&client);
	raw_close(&other);
	bed_close(&bed);
}

/* --- who is refused --------------------------------------------------------------------------------- */

static void expect_refusal(struct bed *bed, const void *hello, size_t len_bytes, int status)
{
	struct raw_client client;

	assert_int_equal(raw_hello(&client, bed, hello, len_bytes), status);
	assert_int_equal(client.welcome.version, PTNI_WIRE_VERSION);
	assert_int_equal(client.welcome.session, 0);
	assert_int_equal(client.welcome.region_addr, 0);
	raw_close(&client);
	assert_int_equal(bed_info(bed).sessions, 0);
}

static void test_bad_hellos_are_refused(void **state)
{
	struct bed bed;
	struct ptni_hello hello = raw_hello_make(0);

	bed_open(&bed, NULL);
	hello.version++;
	expect_refusal(&bed, &hello, sizeof(hello), PTN_E_VERSION);
	/* whatever else another version says, it must learn that it is the version */
	expect_refusal(&bed, &hello, sizeof(hello) - 40, PTN_E_VERSION);
	hello = raw_hello_make(0);
	hello.magic ^= 1;
	expect_refusal(&bed, &hello, sizeof(hello), PTN_E_PROTOCOL);
	hello = raw_hello_make(0);
	hello.op = PTNI_GOODBYE;
	expect_refusal(&bed, &hello, sizeof(hello), PTN_E_PROTOCOL);
	hello = raw_hello_make(0);
	expect_refusal(&bed, &hello, sizeof(hello) - 1, PTN_E_PROTOCOL);
	expect_refusal(&bed, &hello, 1, PTN_E_PROTOCOL);
	hello.credentials_len_bytes = PTNI_CREDENTIALS_MAX + 1;
	expect_refusal(&bed, &hello, sizeof(hello), PTN_E_PROTOCOL);
	hello = raw_hello_make(0);
	hello.flags = 1 << 7;
	expect_refusal(&bed, &hello, sizeof(hello), PTN_E_PROTOCOL);
	assert_int_equal(bed_info(&bed).refusals, 8);
	bed_close(&bed);
}

static void test_credentials_must_match_whole(void **state)
{
	static const char *const wrong[] = { "", "s3cre", "s3cret!", "s3creT", "S3cret" };
	struct ptn_node_options options = { .credentials = "s3cret" };
	struct bed bed;
	struct raw_client client;
	struct ptni_hello hello = raw_hello_make(0);

	bed_open(&bed, &options);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		hello = raw_hello_make(0);
		hello.credentials_len_bytes = (uint32_t)strlen(wrong[i]);
		memcpy(hello.credentials, wrong[i], strlen(wrong[i]));
		expect_refusal(&bed, &hello, sizeof(hello), PTN_E_REFUSED);
	}
	memset(&hello.credentials, 0, sizeof(hello.credentials));
	hello.credentials_len_bytes = 6;
	memcpy(hello.credentials, "s3cret", 6);
	assert_int_equal(raw_hello(&client, &bed, &hello, sizeof(hello)), 0);
	raw_close(&client);
	bed_close(&bed);
}

static void test_unprotected_needs_the_nodes_permission(void **state)
{
	struct ptn_node_options options = { .allow_unprotected = 1 };
	struct ptni_hello hello = raw_hello_make(0);
	struct raw_client client;
	struct raw_lane *lane;
	struct bed bed;
	uint64_t value;

	hello.flags = PTNI_HELLO_UNPROTECTED;
	bed_open(&bed, NULL);
	expect_refusal(&bed, &hello, sizeof(hello), -EPERM);
	bed_close(&bed);
	bed_open(&bed, &options);
	assert_int_equal(raw_hello(&client, &bed, &hello, sizeof(hello)), 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_write(lane, client.welcome.region_rkey, client.welcome.region_addr, 3),
			 0);
	assert_int_equal(
		raw_read(lane, client.welcome.region_rkey, client.welcome.region_addr, &value), 0);
	assert_int_equal(value, 3);
	raw_close(&client);
	bed_close(&bed);
}

static void test_silent_guests_are_shown_out(void **state)
{
	struct bed bed;
	struct ptni_channel *channel[80];
	struct ptni_fabric *fabric;
	struct raw_client client;
	uint8_t byte;
	int gone = 0;

	bed_open(&bed, NULL);
	assert_int_equal(ptni_fabric_open(bed.address, NULL, &fabric), 0);
	for (int i = 0; i < 80; i++) {
		assert_int_equal(fabric->ops->dial(fabric, bed.address, &channel[i]), 0);
		bed_turns(&bed);
	}
	for (int i = 0; i < 80; i++)
		gone += fabric->ops->channel_recv(channel[i], &byte, 1) == -ECONNRESET;
	assert_int_equal(gone, 16); /* 64 may wait; those that waited longest made room */
	for (int i = 0; i < 80; i++)
		assert_int_equal(fabric->ops->channel_recv(channel[i], &byte, 1),
				 i < 16 ? -ECONNRESET : -EAGAIN);
	raw_open(&client, &bed, 0); /* and for one who speaks */
	raw_close(&client);
	bed_turns(&bed);
	bed.now_ns += 3000 * MS;
	bed_turns(&bed);
	raw_open(&client, &bed, 0);
	for (int i = 0; i < 80; i++) {
		assert_int_equal(fabric->ops->channel_recv(channel[i], &byte, 1), -ECONNRESET);
		fabric->ops->channel_close(channel[i]);
	}
	fabric->ops->close(fabric);
	raw_close(&client);
	bed_close(&bed);
}

static void test_sessions_are_limited(void **state)
{
	struct ptn_node_options options = { .sessions_max = 2 };
	struct ptni_hello hello = raw_hello_make(0);
	struct raw_client client[2], third;
	struct bed bed;

	bed_open(&bed, &options);
	raw_open(&client[0], &bed, 0);
	raw_open(&client[1], &bed, 0);
	assert_int_equal(raw_hello(&third, &bed, &hello, sizeof(hello)), PTN_E_NODE_FULL);
	raw_close(&third);
	raw_close(&client[0]);
	raw_open(&client[0], &bed, 0);
	assert_int_equal(client[0].welcome.session, 3); /* ids are not used again */
	raw_close(&client[0]);
	raw_close(&client[1]);
	bed_close(&bed);
}

/* --- lanes ---------------------------------------------------------------------------------------------- */

static void test_lanes_out_of_range_are_refused(void **state)
{
	struct ptn_node_options options = { .session_workers_max = 3 };
	struct raw_client client;
	struct bed bed;

	bed_open(&bed, &options);
	raw_open(&client, &bed, 0);
	assert_int_equal(raw_lane_try(&client, 0, PTNI_LANES_MAX)->refused, -EINVAL);
	assert_int_equal(raw_lane_try(&client, 3, 0)->refused, PTN_E_QUOTA);
	assert_int_equal(raw_lane_try(&client, UINT32_MAX, 0)->refused, PTN_E_QUOTA);
	raw_lane_open(&client, 2, 0);
	assert_int_equal(raw_lane_try(&client, 2, 0)->refused, -EEXIST);
	assert_int_equal(bed_info(&bed).lanes, 1);
	raw_close(&client);
	bed_close(&bed);
}

static void test_lane_with_a_garbage_address_is_refused(void **state)
{
	struct ptni_lane_open open = { .op = PTNI_LANE_OPEN, .worker = 1 };
	struct ptni_lane_addr answer;
	struct raw_client client;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	memset(open.address, 0xa5, sizeof(open.address));
	raw_channel_send(&client, &open, sizeof(open));
	bed_turns(&bed);
	assert_int_equal(raw_channel_recv(&client, &answer, sizeof(answer)), sizeof(answer));
	assert_int_equal(answer.op, PTNI_LANE_ADDR);
	assert_true(answer.status < 0);
	assert_int_equal(bed_info(&bed).lanes, 0);
	raw_lane_open(&client, 1, 0);
	raw_close(&client);
	bed_close(&bed);
}

/* Closed means: its keys are dead, also in work that the client posts before it hears of it. */
static void test_closed_lane_lets_nothing_land(void **state)
{
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE, .worker = 1, .lane = 0 };
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_ALL, 0, 1, &granted), 0);
	raw_channel_send(&client, &message, sizeof(message));
	bed_turns(&bed);
	assert_int_not_equal(raw_write(lane, granted.window[0].rkey, granted.window[0].addr, 7), 0);
	assert_int_equal(*(uint64_t *)(void *)bed.region, 0);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_CLOSED);
	assert_int_equal(bed_info(&bed).windows, 0);
	assert_int_equal(bed_info(&bed).leases, 1); /* the right is kept for the next lane */
	/* closing what is closed already is answered too */
	message = (struct ptni_lane_addr){ .op = PTNI_LANE_CLOSE, .worker = 1, .lane = 0 };
	raw_channel_send(&client, &message, sizeof(message));
	bed_turns(&bed);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_CLOSED);
	raw_close(&client);
	bed_close(&bed);
}

/* An illegal access breaks the lane at both ends; the same index is opened again at once. */
static void test_broken_lane_is_replaced(void **state)
{
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	struct {
		struct ptni_shadow shadow;
		struct ptni_window_grant window[PTNI_SHADOW_MAX];
	} shadow;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	for (int i = 0; i < 5; i++) {
		lane = raw_lane_open(&client, 1, 0);
		if (!i)
			assert_int_equal(raw_grant(lane, 0, 0, 64, BED_READ, 4, 1, &granted), 0);
		else
			assert_true(raw_take(lane, PTNI_OP_SHADOW, &shadow, sizeof(shadow)));
		if (i) {
			assert_int_equal(shadow.window[0].tag, 4);
			assert_int_equal(raw_read(lane, shadow.window[0].rkey,
						  shadow.window[0].addr, NULL),
					 0);
		}
		assert_int_equal(raw_read(lane, 0x1234567, client.welcome.region_addr, NULL),
				 IBV_WC_REM_ACCESS_ERR);
		bed_turns(&bed);
		assert_int_equal(bed_info(&bed).windows, 0);
		raw_lane_close(lane);
		assert_int_equal(client.lanes_lost, i + 1);
	}
	raw_close(&client);
	bed_close(&bed);
}

/* LANE_CLOSE and LANE_OPEN of one index back to back: the second waits for the first. */
static void test_lane_may_be_asked_for_before_the_former_is_buried(void **state)
{
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE, .worker = 1, .lane = 0 };
	struct raw_client client;
	struct raw_lane *lane;
	struct bed_granted granted;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_READ, 4, 3, &granted), 0);
	bed_hold_manager(&bed, true);
	raw_channel_send(&client, &message, sizeof(message));
	bed_turns(&bed);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), 0);
	{
		struct ptni_lane_open open = { .op = PTNI_LANE_OPEN, .worker = 1 };
		struct ptni_qp_address address;

		/* the address of a queue pair that will do */
		assert_int_equal(client.ops->qp_address(lane->qp, &address), 0);
		memcpy(open.address, address.bytes, sizeof(open.address));
		raw_channel_send(&client, &open, sizeof(open));
	}
	bed_turns(&bed);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), 0);
	bed_hold_manager(&bed, false);
	bed_turns(&bed);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_CLOSED);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_ADDR);
	raw_close(&client);
	bed_close(&bed);
}

static void test_worker_that_ends_leaves_nothing(void **state)
{
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE,
					  .worker = 1,
					  .lane = PTNI_LANE_ALL };
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	struct bed bed;

	bed_open(&bed, NULL);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	raw_lane_open(&client, 1, 1);
	assert_int_equal(raw_grant(lane, 0, 0, 64, BED_READ, 4, 3, &granted), 0);
	raw_channel_send(&client, &message, sizeof(message));
	bed_turns(&bed);
	assert_int_equal(raw_channel_recv(&client, &message, sizeof(message)), sizeof(message));
	assert_int_equal(message.op, PTNI_LANE_CLOSED);
	assert_int_equal(message.lane, PTNI_LANE_ALL);
	assert_int_equal(bed_info(&bed).lanes, 0);
	/* the next worker of that number starts with nothing */
	lane = raw_lane_open(&client, 1, 0);
	bed_turns(&bed);
	assert_false(raw_take(lane, PTNI_OP_SHADOW, &message, sizeof(message)));
	assert_int_equal(bed_info(&bed).windows, 0);
	raw_close(&client);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_welcome_says_what_is_true),
		cmocka_unit_test(test_lane_is_ready_with_both_pages),
		cmocka_unit_test(test_page_of_another_session_is_out_of_reach),
		cmocka_unit_test(test_bad_hellos_are_refused),
		cmocka_unit_test(test_credentials_must_match_whole),
		cmocka_unit_test(test_unprotected_needs_the_nodes_permission),
		cmocka_unit_test(test_silent_guests_are_shown_out),
		cmocka_unit_test(test_sessions_are_limited),
		cmocka_unit_test(test_lanes_out_of_range_are_refused),
		cmocka_unit_test(test_lane_with_a_garbage_address_is_refused),
		cmocka_unit_test(test_closed_lane_lets_nothing_land),
		cmocka_unit_test(test_broken_lane_is_replaced),
		cmocka_unit_test(test_lane_may_be_asked_for_before_the_former_is_buried),
		cmocka_unit_test(test_worker_that_ends_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
