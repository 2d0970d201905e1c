/* SPDX-License-Identifier: MIT */
/*
 * Runs one phase: opens a worker per thread, lets them start together, keeps the schedule of
 * `target`, ends at operationcount, maxexecutiontime or an interrupt, and adds up the results.
 */
#ifndef YCSB_RUNNER_H
#define YCSB_RUNNER_H

#include "ycsb/config.h"
#include "ycsb/measure.h"
#include "ycsb/store.h"
#include "ycsb/workload.h"

#include <stdint.h>
#include <stdio.h>

enum {
	YCSB_COUNTERS_MAX = 128
};

struct ycsb_result {
	enum ycsb_phase phase;
	uint64_t runtime_ns;
	uint64_t op_cnt;
	uint64_t cpu_ns; /* that the client threads ran; less than they took on a busy machine */
	uint32_t thread_cnt;
	struct ycsb_measure measure;
	struct ycsb_counter counters[YCSB_COUNTERS_MAX]; /* of this phase alone */
	size_t counter_cnt;
	int first_error; /* 0: no operation failed with an error */
	enum ycsb_metric first_error_metric;
	bool interrupted;
};

struct ycsb_session {
	const struct ycsb_config *config;
	const struct ycsb_store_ops *ops;
	struct ycsb_store *store;
	struct ycsb_workload *workload;
	FILE *log; /* status and progress */
};

/*
 * Errors: -ENOMEM, -EAGAIN (no threads), what worker_open returns; why_out says what to do. A phase
 * in which operations failed is no error of this call: see result_out. ycsb_result_fini() after success.
 */
int ycsb_phase_run(struct ycsb_session *session, enum ycsb_phase phase,
		   struct ycsb_result *result_out, struct ycsb_message *why_out);
void ycsb_result_fini(struct ycsb_result *result);
/* Operations that did not end well; unexpected values included. */
uint64_t ycsb_result_failed(const struct ycsb_result *result);

/* Ends the running phase early; async-signal-safe. */
void ycsb_phase_interrupt(void);

#endif
