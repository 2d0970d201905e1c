/* SPDX-License-Identifier: MIT */
/* Several operations of one thread at a time, on a store that only counts them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ycsb/client.h"
#include "ycsb/config.h"
#include "ycsb/counter.h"

#include <errno.h>
#include <stdlib.h>

enum {
	DEPTH = 16,
	KEYS = 5
};

static uint32_t done;

static void many(struct ycsb_worker *worker, struct ycsb_request *requests, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		requests[i].error = -ENOENT;
		requests[i].end_ns = 1;
	}
	done += count;
}

static void set(struct ycsb_config *config, const char *name, const char *value)
{
	struct ycsb_message why = { "" };

	assert_int_equal(ycsb_config_set(config, name, value, "test", &why), 0);
}

/* The run is cancelled while a lot looks for its next key: the ones that it had were done, and count. */
static void lot__that_is_cut_off_counts_what_it_did(void **state)
{
	static const struct ycsb_store_ops ops = { .many = many };
	struct ycsb_client client = { .ops = &ops };
	struct ycsb_workload workload;
	struct ycsb_message why = { "" };
	struct ycsb_config config;
	uint64_t count = 99;

	ycsb_config_init(&config);
	set(&config, "recordcount", "1000000");
	set(&config, "operationcount", "1000");
	set(&config, "requestdistribution", "sequential");
	set(&config, "readproportion", "1");
	set(&config, "updateproportion", "0");
	assert_int_equal(ycsb_config_check(&config, YCSB_BENCH, &why), 0);
	assert_int_equal(ycsb_workload_init(&workload, &config), 0);
	assert_int_equal(ycsb_stream_init(&client.stream, &workload, YCSB_RUN, 0), 0);
	assert_int_equal(ycsb_measure_init(&client.measure, 1), 0);
	assert_int_equal(ycsb_lot_open(&client, DEPTH), 0);
	atomic_store(&workload.inserts->limit, KEYS); /* only so many are there yet */
	atomic_store(&workload.stop, true);
	done = 0;
	assert_int_equal(ycsb_client_transact_lot(&client, UINT64_MAX, &count), -ECANCELED);
	assert_int_equal(done, KEYS);
	assert_int_equal(count, KEYS);
	/* nothing more */
	assert_int_equal(ycsb_client_transact_lot(&client, UINT64_MAX, &count), -ECANCELED);
	assert_int_equal(count, 0);
	ycsb_lot_close(&client);
	ycsb_measure_fini(&client.measure);
	ycsb_stream_fini(&client.stream);
	ycsb_workload_fini(&workload);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lot__that_is_cut_off_counts_what_it_did),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
