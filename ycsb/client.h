/* SPDX-License-Identifier: MIT */
/* One client thread's side of the benchmark: single operations, measured. */
#ifndef YCSB_CLIENT_H
#define YCSB_CLIENT_H

#include "ycsb/measure.h"
#include "ycsb/store.h"
#include "ycsb/workload.h"

#include <stdint.h>

struct ycsb_lot; /* operations under way at a time */

struct ycsb_client {
	const struct ycsb_store_ops *ops;
	struct ycsb_worker *worker;
	struct ycsb_stream stream;
	struct ycsb_measure measure;
	struct ycsb_lot *lot; /* NULL: one by one */
	uint64_t scheduled_ns; /* start of the operation by the schedule; 0: none */
	int first_error;
	enum ycsb_metric first_error_metric;
};

/* One insert of the load phase: 0, or the error of the last try. */
int ycsb_client_load(struct ycsb_client *client);
/* One operation of the run phase: 0 whatever its outcome, -ECANCELED if the run is to end. */
int ycsb_client_transact(struct ycsb_client *client);
/*
 * Up to `max` operations of the run phase, as many at a time as the lot holds; what the store cannot do
 * together with others (inserts, scans) ends the lot and is done after it. 0, or -ECANCELED; in either case
 * *done_out of them were done.
 */
int ycsb_client_transact_lot(struct ycsb_client *client, uint64_t max, uint64_t *done_out);
/* Before the first of these. NULL on a store that works one by one, and for depth 1; -ENOMEM. */
int ycsb_lot_open(struct ycsb_client *client, uint32_t depth);
void ycsb_lot_close(struct ycsb_client *client);

/* For client.c and lot.c: measure one outcome; do one operation of a kind; check a record read. */
void ycsb_client_note(struct ycsb_client *client, enum ycsb_metric metric, int error,
		      uint64_t start_ns, uint64_t end_ns);
int ycsb_client_do(struct ycsb_client *client, enum ycsb_op op);
int ycsb_client_key(struct ycsb_client *client, struct ycsb_key *key_out);
void ycsb_client_verify(struct ycsb_client *client, const struct ycsb_key *key,
			struct ycsb_bytes record);

#endif
