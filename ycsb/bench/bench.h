/* SPDX-License-Identifier: MIT */
/*
 * patronus-bench: the numbers this project states about itself, measured on the spot. Everything runs
 * in this process on the software network card.
 */
#ifndef YCSB_BENCH_H
#define YCSB_BENCH_H

#include "ycsb/config.h"
#include "ycsb/message.h"
#include "ycsb/runner.h"
#include "ycsb/store.h"
#include "ycsb/workload.h"

#include <stdint.h>

struct ycsb_json;

struct bench_options {
	uint64_t record_cnt; /* of the tables of all parts but growth; of shrink before the deletes */
	uint64_t op_cnt; /* of one measured run */
	uint64_t growth_cnt; /* records at the end of growth */
	uint32_t pair_cnt; /* interleaved pairs of runs with and without protection */
	uint64_t memory_bytes; /* of each node; 0: computed */
	uint64_t seed;
	const char *svg; /* file for the growth plot; NULL: none */
	const char *json; /* file for all numbers; NULL: none */
	struct ycsb_json *out; /* the open JSON object; NULL: none */
};

/* A table with its node, opened and, if asked, loaded. */
struct bench_table {
	const struct ycsb_store_ops *ops;
	struct ycsb_config config;
	struct ycsb_workload workload;
	struct ycsb_session session;
};

/*
 * `properties`: "name=value" pairs with blanks between, over the standard record of ten fields of 100 bytes.
 * Errors: -EINVAL and what the store's open returns; why_out says what to do.
 */
int bench_table_open(struct bench_table *table, const struct bench_options *options,
		     const char *properties, struct ycsb_message *why_out);
void bench_table_close(struct bench_table *table);
/* Changes properties between two phases: another workload on the same table. */
int bench_table_set(struct bench_table *table, const char *properties,
		    struct ycsb_message *why_out);
/* One phase; an operation that failed is an error (-EIO). ycsb_result_fini() after success. */
int bench_table_run(struct bench_table *table, enum ycsb_phase phase,
		    struct ycsb_result *result_out, struct ycsb_message *why_out);
double bench_throughput(const struct ycsb_result *result);
double bench_counter(const struct ycsb_result *result, const char *name);

/* What workload files a..f say, as properties; NULL for another letter. */
const char *bench_workload(char letter);

/* Says on standard error what is being done. */
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The parts; each prints a table. Errors as bench_table_run(). */
int bench_speed(const struct bench_options *options, struct ycsb_message *why_out);
int bench_protection(const struct bench_options *options, struct ycsb_message *why_out);
int bench_growth(const struct bench_options *options, struct ycsb_message *why_out);
int bench_shrink(const struct bench_options *options, struct ycsb_message *why_out);

#endif
