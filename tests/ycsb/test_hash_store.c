/* SPDX-License-Identifier: MIT */
/*
 * The driver on the real hash table, in this process: every workload with verified values, by one
 * thread and by several, protected and not, growing from few slots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ycsb/bind_hash.h"
#include "ycsb/cli.h"
#include "ycsb/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench {
	struct ycsb_config config;
	struct ycsb_workload workload;
	struct ycsb_session session;
};

static void bench_open(struct bench *bench, const char *properties)
{
	struct ycsb_message why = { "" };
	char text[512], *rest;
	const char *reason = "";

	memset(bench, 0, sizeof(*bench));
	ycsb_config_init(&bench->config);
	snprintf(text, sizeof(text),
		 "recordcount=2000 operationcount=8000 dataintegrity=true fieldlength=20 %s",
		 properties);
	for (char *pair = strtok_r(text, " ", &rest); pair != NULL;
	     pair = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(pair, '=');

		*equals = '\0';
		if (ycsb_config_set(&bench->config, pair, equals + 1, "test", &why) != 0)
			fail_msg("%s", why.text);
	}
	if (ycsb_config_check(&bench->config, YCSB_BENCH, &why) != 0)
		fail_msg("%s", why.text);
	assert_int_equal(ycsb_workload_init(&bench->workload, &bench->config), 0);
	bench->session = (struct ycsb_session){ .config = &bench->config,
						.ops = &ycsb_hash_ops,
						.workload = &bench->workload };
	struct ycsb_store_options options = {
		.schema = &bench->workload.schema,
		.table = bench->config.table,
		.target = "inproc",
		.memory_bytes = UINT64_C(64) << 20,
		.record_cnt = 4000,
		.initial_slots = (uint64_t)bench->config.initial_slots,
		.term_ns = UINT64_C(20000000000), /* a busy machine must not fence the client */
		.worker_cnt = (uint32_t)bench->config.thread_cnt,
		.depth = (uint32_t)bench->config.depth,
		.protection = bench->config.protection != 0,
		.create = true,
	};
	if (ycsb_hash_ops.open(&options, &bench->session.store, &reason) != 0)
		fail_msg("%s", reason);
}

static void bench_close(struct bench *bench)
{
	ycsb_hash_ops.close(bench->session.store);
	ycsb_workload_fini(&bench->workload);
}

static double counter(const struct ycsb_result *result, const char *name)
{
	for (size_t i = 0; i < result->counter_cnt; i++) {
		if (strcmp(result->counters[i].name, name) == 0)
			return result->counters[i].value;
	}
	fail_msg("there is no counter %s", name);
	return 0;
}

/* A phase in which nothing may fail; returns its results. */
static struct ycsb_result run(struct bench *bench, enum ycsb_phase phase)
{
	struct ycsb_message why = { "" };
	struct ycsb_result result;

	if (ycsb_phase_run(&bench->session, phase, &result, &why) != 0)
		fail_msg("%s", why.text);
	if (ycsb_result_failed(&result) != 0)
		fail_msg("%llu operations failed, the first: %s: %s",
			 (unsigned long long)ycsb_result_failed(&result),
			 ycsb_metric_name(result.first_error_metric),
			 ycsb_hash_ops.error_text(result.first_error));
	return result;
}

static void load_and_run(const char *properties)
{
	struct bench bench;
	struct ycsb_result load, result;
	struct ptn_hash_info info;
	uint64_t inserted;

	bench_open(&bench, properties);
	load = run(&bench, YCSB_LOAD);
	assert_int_equal(load.op_cnt, 2000);
	result = run(&bench, YCSB_RUN);
	assert_int_equal(result.op_cnt, 8000);
	assert_true(ycsb_measure_status(&result.measure, YCSB_METRIC_VERIFY, YCSB_STATUS_OK) >
		    3000);
	inserted = ycsb_measure_status(&result.measure, YCSB_METRIC_INSERT, YCSB_STATUS_OK);
	assert_int_equal(ycsb_hash_info(bench.session.store, &info), 0);
	assert_int_equal(info.entries, 2000 + inserted);
	ycsb_result_fini(&load);
	ycsb_result_fini(&result);
	bench_close(&bench);
}

static void workloads__one_thread(void **state)
{
	load_and_run("requestdistribution=zipfian readproportion=0.5 updateproportion=0.5");
	load_and_run("requestdistribution=latest readproportion=0.9 insertproportion=0.1 "
		     "updateproportion=0");
	load_and_run("requestdistribution=zipfian readproportion=0.5 updateproportion=0 "
		     "readmodifywriteproportion=0.5");
}

static void workloads__four_threads(void **state)
{
	load_and_run("threadcount=4 requestdistribution=zipfian readproportion=0.5 "
		     "updateproportion=0.5 writeallfields=true");
	load_and_run("threadcount=4 requestdistribution=latest readproportion=0.8 "
		     "updateproportion=0.1 insertproportion=0.1");
}

static void workloads__without_protection(void **state)
{
	load_and_run("patronus.protection=off threadcount=2 requestdistribution=zipfian "
		     "readproportion=0.5 updateproportion=0.5");
}

/* A warm read is one round trip of two verbs, whatever the record. */
static void traffic__a_warm_read_is_one_round_trip(void **state)
{
	struct bench bench;
	struct ycsb_result result;

	bench_open(&bench, "fieldcount=1 fieldlength=16 readproportion=1 updateproportion=0 "
			   "requestdistribution=sequential");
	result = run(&bench, YCSB_LOAD);
	ycsb_result_fini(&result);
	result = run(&bench, YCSB_RUN);
	/* 2000 cold reads of two trips, 6000 warm ones of one. */
	assert_true(counter(&result, "round_trips") < 8000 + 2000 + 200);
	assert_true(counter(&result, "verbs_read") < 3 * 2000 + 2 * 6000 + 400);
	ycsb_result_fini(&result);
	bench_close(&bench);
}

static void workloads__many_at_a_time(void **state)
{
	load_and_run("patronus.depth=16 requestdistribution=zipfian readproportion=0.5 "
		     "updateproportion=0.5");
	load_and_run("patronus.depth=64 threadcount=2 requestdistribution=zipfian "
		     "readproportion=0.5 updateproportion=0.5 writeallfields=true");
	load_and_run("patronus.depth=7 requestdistribution=latest readproportion=0.6 "
		     "insertproportion=0.1 updateproportion=0 readmodifywriteproportion=0.3");
}

/* A lot of reads is one round trip; a lot of updates that read is two. */
static void traffic__a_lot_is_one_operation(void **state)
{
	struct bench bench;
	struct ycsb_result result;

	bench_open(&bench, "fieldcount=1 fieldlength=16 readproportion=1 updateproportion=0 "
			   "requestdistribution=sequential patronus.depth=32");
	result = run(&bench, YCSB_LOAD);
	ycsb_result_fini(&result);
	result = run(&bench, YCSB_RUN);
	assert_true(counter(&result, "round_trips") < (8000 + 2000) / 32 + 200);
	ycsb_result_fini(&result);
	bench_close(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workloads__one_thread),
		cmocka_unit_test(workloads__four_threads),
		cmocka_unit_test(workloads__without_protection),
		cmocka_unit_test(workloads__many_at_a_time),
		cmocka_unit_test(traffic__a_lot_is_one_operation),
		cmocka_unit_test(traffic__a_warm_read_is_one_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
