/* SPDX-License-Identifier: MIT */
/* One client thread's side of the benchmark: single operations, measured. */
#ifndef YCSB_CLIENT_H
#define YCSB_CLIENT_H

#include "ycsb/measure.h"
#include "ycsb/store.h"
#include "ycsb/workload.h"

#include <stdint.h>

struct ycsb_client {
	const struct ycsb_store_ops *ops;
	struct ycsb_worker *worker;
	struct ycsb_stream stream;
	struct ycsb_measure measure;
	uint64_t scheduled_ns; /* start of the operation by the schedule; 0: none */
	int first_error;
	enum ycsb_metric first_error_metric;
};

/* One insert of the load phase: 0, or the error of the last try. */
int ycsb_client_load(struct ycsb_client *client);
/* One operation of the run phase: 0 whatever its outcome, -ECANCELED if the run is to end. */
int ycsb_client_transact(struct ycsb_client *client);

#endif
