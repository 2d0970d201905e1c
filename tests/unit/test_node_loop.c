/* SPDX-License-Identifier: MIT */
/* The control thread in real time: how late leases end, what an idle node costs, who may ask it. */
#include "core/base/sanitizer.h"
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)

/* Half of the leases must end this soon; a sanitizer's build is slow and says nothing about time. */
enum {
	LATE_MAX_MS = PTNI_TSAN || PTNI_ASAN ? 50 : 1
};

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void leases_await(struct bed *bed, uint32_t left)
{
	uint64_t end_ns = ptni_clock_now_ns() + 10000 * MS;

	while (bed_info(bed).leases > left && ptni_clock_now_ns() < end_ns)
		;
	assert_int_equal(bed_info(bed).leases, left);
}

/* Leases of 100 us: none ends early; the bound on lateness allows for a machine that is busy. */
static void test_short_leases_end_on_time(void **state)
{
	enum {
		COUNT = 300
	};
	static uint64_t late_ns[COUNT];
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	static struct bed bed;

	bed_open_real_time(&bed, NULL);
	bed_run(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(raw_grant(lane, 100 * US, 0, 64, BED_ALL, 0, 1, &granted), 0);
		leases_await(&bed, 0);
	}
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(bed.lease[i].ended, 1);
		assert_true(bed.lease[i].ended_ns >= bed.lease[i].asked_ns + 100 * US);
		late_ns[i] = bed.lease[i].ended_ns - bed.lease[i].asked_ns - 100 * US;
	}
	qsort(late_ns, COUNT, sizeof(late_ns[0]), by_size);
	print_message("late: half of them %.1f us, nine tenths %.1f us, the last %.1f us\n",
		      (double)late_ns[COUNT / 2] / 1e3, (double)late_ns[COUNT * 9 / 10] / 1e3,
		      (double)late_ns[COUNT - 1] / 1e3);
	assert_true(late_ns[COUNT / 2] < LATE_MAX_MS * MS);
	assert_true(late_ns[COUNT - 1] < 500 * MS);
	raw_close(&client);
	bed_close(&bed);
}

/* The same when the loop has been asleep: nothing but the timer wakes it. */
static void test_sleeping_node_wakes_for_a_lease(void **state)
{
	enum {
		COUNT = 30
	};
	static uint64_t late_ns[COUNT];
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	static struct bed bed;

	bed_open_real_time(&bed, NULL);
	bed_run(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(raw_grant(lane, 5 * MS, 0, 64, BED_ALL, 0, 1, &granted), 0);
		poll(NULL, 0, 8);
		leases_await(&bed, 0);
		late_ns[i] = bed.lease[i].ended_ns - bed.lease[i].asked_ns - 5 * MS;
	}
	qsort(late_ns, COUNT, sizeof(late_ns[0]), by_size);
	print_message("late after sleep: half of them %.1f us, the last %.1f us\n",
		      (double)late_ns[COUNT / 2] / 1e3, (double)late_ns[COUNT - 1] / 1e3);
	assert_true(late_ns[COUNT / 2] < LATE_MAX_MS * MS);
	raw_close(&client);
	bed_close(&bed);
}

static uint64_t cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 * MS +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * US;
}

/* A session is open, a lease is held, nobody does anything. */
static void test_idle_node_costs_next_to_nothing(void **state)
{
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	static struct bed bed;
	uint64_t start_ns, used_ns;

	bed_open_real_time(&bed, NULL);
	bed_run(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(raw_grant(lane, 3600000 * MS, 0, 64, BED_ALL, 0, 1, &granted), 0);
	poll(NULL, 0, 200); /* until its beat has slowed down */
	start_ns = cpu_ns();
	poll(NULL, 0, 500);
	used_ns = cpu_ns() - start_ns;
	print_message("half an idle second: %.3f ms of CPU\n", (double)used_ns / 1e6);
	assert_true(used_ns < 25 * MS);
	raw_close(&client);
	bed_close(&bed);
}

static atomic_bool asking;

static void *asker(void *arg)
{
	struct ptn_session_info sessions[4];
	struct ptn_node_info info;
	struct bed *bed = arg;
	uintptr_t count = 0;

	while (atomic_load(&asking)) {
		if (ptn_node_sessions(bed->node, sessions, 4) < 0 ||
		    ptn_node_info(bed->node, &info) ||
		    ptn_node_session_end(bed->node, UINT32_MAX) != -ENOENT)
			return NULL;
		count++;
	}
	return (void *)count;
}

static void test_any_thread_may_ask(void **state)
{
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	static struct bed bed;
	pthread_t thread[3];

	bed_open_real_time(&bed, NULL);
	bed_run(&bed);
	atomic_store(&asking, true);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, asker, &bed), 0);
	for (int i = 0; i < 10; i++) {
		raw_open(&client, &bed, 3600000 * MS);
		lane = raw_lane_open(&client, 1, 0);
		assert_int_equal(raw_grant(lane, 1000 * MS, 0, 64, BED_ALL, 0, 3, &granted), 0);
		if (i & 1)
			assert_int_equal(ptn_node_session_end(bed.node, client.welcome.session), 0);
		raw_close(&client);
		leases_await(&bed, 0);
	}
	atomic_store(&asking, false);
	for (int i = 0; i < 3; i++) {
		void *count;

		pthread_join(thread[i], &count);
		assert_non_null(count);
	}
	bed_close(&bed);
}

/* Closed in the middle of everything: leases run, a client writes. */
static void test_running_node_closes_under_its_clients(void **state)
{
	struct bed_granted granted;
	struct raw_client client;
	struct raw_lane *lane;
	static struct bed bed;

	bed_open_real_time(&bed, NULL);
	bed_run(&bed);
	raw_open(&client, &bed, 3600000 * MS);
	lane = raw_lane_open(&client, 1, 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(raw_grant(lane, 1 * MS, 0, 64, BED_ALL, 0, 3, &granted), 0);
	bed_close(&bed);
	assert_int_equal(bed.ended_count, 20);
	assert_int_equal(bed.sessions_ended, 1);
	bed.running = false;
	assert_int_equal(raw_channel_recv(&client, &granted, sizeof(granted)), 0);
	assert_int_equal(client.ended.status, PTN_E_NODE_CLOSING);
	client.bed = NULL;
	raw_close(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_leases_end_on_time),
		cmocka_unit_test(test_sleeping_node_wakes_for_a_lease),
		cmocka_unit_test(test_idle_node_costs_next_to_nothing),
		cmocka_unit_test(test_any_thread_may_ask),
		cmocka_unit_test(test_running_node_closes_under_its_clients),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
