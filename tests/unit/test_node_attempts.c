/* SPDX-License-Identifier: MIT */
/* Wrong credentials: who is not listened to, for how long, and who does not notice. */
#include "core/node_attempts.h"

#include "core/node_loop.h"
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <patronus/log.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

static void test_block_grows_and_ends(void **state)
{
	struct ptni_attempts attempts = { 0 };
	uint64_t now_ns = S, block_ns = PTNI_ATTEMPTS_BLOCK_MIN_NS;

	for (int i = 0; i < PTNI_ATTEMPTS_FREE; i++) {
		assert_int_equal(ptni_attempts_wrong(&attempts, 7, now_ns), 0);
		assert_int_equal(ptni_attempts_blocked_ns(&attempts, 7, now_ns), 0);
	}
	for (int i = 0; i < 12; i++) {
		assert_int_equal(ptni_attempts_wrong(&attempts, 7, now_ns), block_ns);
		assert_int_equal(ptni_attempts_blocked_ns(&attempts, 7, now_ns), block_ns);
		assert_int_equal(ptni_attempts_blocked_ns(&attempts, 7, now_ns + block_ns - 1), 1);
		assert_int_equal(ptni_attempts_blocked_ns(&attempts, 8, now_ns), 0);
		now_ns += block_ns;
		assert_int_equal(ptni_attempts_blocked_ns(&attempts, 7, now_ns), 0);
		block_ns = 2 * block_ns < PTNI_ATTEMPTS_BLOCK_MAX_NS ? 2 * block_ns :
								       PTNI_ATTEMPTS_BLOCK_MAX_NS;
	}
	assert_int_equal(block_ns, PTNI_ATTEMPTS_BLOCK_MAX_NS);
	/* quiet for long enough, or right */
	now_ns += PTNI_ATTEMPTS_FORGET_NS;
	assert_int_equal(ptni_attempts_wrong(&attempts, 7, now_ns), 0);
	for (int i = 1; i < PTNI_ATTEMPTS_FREE; i++)
		assert_int_equal(ptni_attempts_wrong(&attempts, 7, now_ns), 0);
	ptni_attempts_right(&attempts, 7);
	assert_int_equal(ptni_attempts_wrong(&attempts, 7, now_ns), 0);
}

/* 2. More misbehave than there are records. */
static void test_those_beyond_the_table_share_one_record(void **state)
{
	struct ptni_attempts attempts = { 0 };
	uint64_t now_ns = S;

	for (int32_t pid = 1; pid <= PTNI_ATTEMPTS_PEERS; pid++) {
		assert_int_equal(ptni_attempts_blocked_ns(&attempts, 1000, now_ns), 0);
		for (int i = 0; i <= PTNI_ATTEMPTS_FREE; i++)
			(void)ptni_attempts_wrong(&attempts, pid, now_ns);
	}
	assert_int_equal(ptni_attempts_blocked_ns(&attempts, 1000, now_ns), 0);
	for (int32_t i = 0; i <= PTNI_ATTEMPTS_FREE; i++)
		(void)ptni_attempts_wrong(&attempts, 2000 + i, now_ns);
	assert_int_not_equal(ptni_attempts_blocked_ns(&attempts, 1000, now_ns), 0);
	/* each known one keeps its own, and when the first of them ends so does the sharing */
	assert_int_equal(ptni_attempts_blocked_ns(&attempts, 1, now_ns),
			 PTNI_ATTEMPTS_BLOCK_MIN_NS);
	now_ns += PTNI_ATTEMPTS_BLOCK_MIN_NS;
	assert_int_equal(ptni_attempts_blocked_ns(&attempts, 1000, now_ns), 0);
}

static int try(struct bed *bed, const char *secret)
{
	struct ptni_hello hello = raw_hello_make(0);
	struct raw_client client;
	int ret;

	hello.credentials_len_bytes = (uint32_t)strlen(secret);
	memcpy(hello.credentials, secret, hello.credentials_len_bytes);
	ret = raw_hello(&client, bed, &hello, sizeof(hello));
	raw_close(&client);
	bed_turns(bed);
	return ret;
}

static void test_node_stops_listening_to_who_guesses(void **state)
{
	struct ptn_node_options options = { .size = sizeof(options), .credentials = "open sesame" };
	struct bed bed;
	uint64_t refusals;
	int32_t own;

	bed_open(&bed, &options);
	for (int i = 0; i <= PTNI_ATTEMPTS_FREE; i++)
		assert_int_equal(try(&bed, "open barley"), PTN_E_REFUSED);
	refusals = bed_info(&bed).refusals;
	/* not even the right ones are looked at */
	assert_int_equal(try(&bed, "open barley"), PTN_E_ATTEMPTS);
	assert_int_equal(try(&bed, "open sesame"), PTN_E_ATTEMPTS);
	assert_int_equal(bed_info(&bed).refusals - refusals, 2);
	/* another process is none of its business */
	own = bed.node->attempts.peer[0].pid;
	bed.node->attempts.peer[0].pid = own + 1;
	assert_int_equal(try(&bed, "open sesame"), 0);
	bed.node->attempts.peer[0].pid = own;
	assert_int_equal(try(&bed, "open sesame"), PTN_E_ATTEMPTS);
	bed_pass(&bed, PTNI_ATTEMPTS_BLOCK_MIN_NS);
	assert_int_equal(try(&bed, "open sesame"), 0);
	for (int i = 0; i < PTNI_ATTEMPTS_FREE; i++)
		assert_int_equal(try(&bed, "open barley"), PTN_E_REFUSED);
	assert_int_equal(try(&bed, "open sesame"), 0);
	bed_close(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_grows_and_ends),
		cmocka_unit_test(test_those_beyond_the_table_share_one_record),
		cmocka_unit_test(test_node_stops_listening_to_who_guesses),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
