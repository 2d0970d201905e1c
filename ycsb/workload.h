/* SPDX-License-Identifier: MIT */
/*
 * The core workload: which operation next, on which key, with which bytes. One ycsb_workload is
 * shared by all threads (constant but for its two counters), one ycsb_stream belongs to each.
 *
 * The stream of a thread is a function of (seed, phase, thread number), except for what the shared
 * counters hand out.
 */
#ifndef YCSB_WORKLOAD_H
#define YCSB_WORKLOAD_H

#include "ycsb/config.h"
#include "ycsb/counter.h"
#include "ycsb/generator.h"
#include "ycsb/store.h"

#include <stdatomic.h>
#include <stdint.h>

enum ycsb_op {
	YCSB_READ,
	YCSB_UPDATE,
	YCSB_INSERT,
	YCSB_SCAN,
	YCSB_RMW,
	YCSB_OP_CNT
};

struct ycsb_workload {
	const struct ycsb_config *config;
	struct ycsb_schema schema;
	struct ycsb_ack_counter *inserts; /* keys of the run phase */
	_Atomic uint64_t load_next; /* the next key of the load phase */
	_Atomic uint64_t sequence; /* of requestdistribution=sequential */
	_Atomic bool stop;

	uint64_t op_bounds[YCSB_OP_CNT]; /* a draw below bound i, and not below i - 1, is operation i */
	uint64_t span; /* scrambled zipfian: number of keys it spreads over */
	struct ycsb_zipfian zipfian, scan_zipfian;
	struct ycsb_hotspot hotspot;
	double rate;
};

struct ycsb_stream {
	struct ycsb_workload *workload;
	struct ptni_rng random;
	struct ycsb_zipfian zipfian; /* a copy: grows with the table when `latest` */
	uint32_t version; /* of the next write; the thread number in the upper bits */
	uint8_t *bytes; /* what the next write writes */
};

/* Errors: -ENOMEM. */
int ycsb_workload_init(struct ycsb_workload *workload, const struct ycsb_config *config);
void ycsb_workload_fini(struct ycsb_workload *workload);

int ycsb_stream_init(struct ycsb_stream *stream, struct ycsb_workload *workload,
		     enum ycsb_phase phase, uint32_t thread_idx);
void ycsb_stream_fini(struct ycsb_stream *stream);

enum ycsb_op ycsb_stream_op(struct ycsb_stream *stream);
/* The number of an existing key; -ECANCELED if asked to stop while it looks for one. */
int ycsb_stream_key(struct ycsb_stream *stream, uint64_t *number_out);
uint32_t ycsb_stream_scan_len(struct ycsb_stream *stream);
/* The bytes are valid until the next of these calls. */
struct ycsb_write ycsb_stream_record(struct ycsb_stream *stream, const struct ycsb_key *key);
struct ycsb_write ycsb_stream_update(struct ycsb_stream *stream, const struct ycsb_key *key);
/* The same into the caller's memory of ycsb_record_len_max() bytes, where they stay. */
struct ycsb_write ycsb_stream_update_into(struct ycsb_stream *stream, const struct ycsb_key *key,
					  uint8_t *bytes);

/* "user" and the number (ordered) or its hash, with at least `padding` (up to 100) digits. */
void ycsb_key_name(uint64_t number, bool ordered, uint32_t padding, struct ycsb_key *key_out);

#endif
