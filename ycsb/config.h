/* SPDX-License-Identifier: MIT */
/*
 * The configuration of a run: every property of the YCSB core workload and client that means
 * something here, and ours under "patronus.". One table (config_table.c) gives each its type, range,
 * default and help; the files, the command line, --help and the JSON report all go through it.
 */
#ifndef YCSB_CONFIG_H
#define YCSB_CONFIG_H

#include "ycsb/message.h"
#include "ycsb/record.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	YCSB_TEXT_MAX = 1024,
	YCSB_PERCENTILES_MAX = 16,
	YCSB_THREADS_MAX = 1024
};

enum ycsb_phase {
	YCSB_LOAD = 1,
	YCSB_RUN = 2,
	YCSB_BENCH = YCSB_LOAD | YCSB_RUN
};

enum ycsb_distribution {
	YCSB_UNIFORM,
	YCSB_ZIPFIAN,
	YCSB_LATEST,
	YCSB_HOTSPOT,
	YCSB_SEQUENTIAL,
	YCSB_EXPONENTIAL,
};

enum ycsb_interval {
	YCSB_INTERVAL_OP = 1,
	YCSB_INTERVAL_INTENDED = 2,
	YCSB_INTERVAL_BOTH = 3
};
enum ycsb_exporter {
	YCSB_EXPORT_TEXT,
	YCSB_EXPORT_JSON,
	YCSB_EXPORT_JSON_ARRAY
};

struct ycsb_config {
	int64_t record_cnt, operation_cnt, insert_start, insert_cnt; /* insert_cnt < 0: not given */
	int64_t field_cnt, field_len, field_len_min, field_len_distribution;
	bool read_all_fields, write_all_fields, data_integrity;
	double read_proportion, update_proportion, insert_proportion, scan_proportion;
	double rmw_proportion;
	int64_t scan_len_min, scan_len_max, scan_len_distribution;
	int64_t request_distribution;
	double hotspot_data_fraction, hotspot_operation_fraction;
	double exponential_percentile, exponential_fraction;
	int64_t workload_class, measurement_type; /* one each so far */
	int64_t insert_ordered, zero_padding;
	int64_t insert_retry_limit, insert_retry_interval_s;
	bool insert_keep_going;
	int64_t execution_max_s, thread_cnt, target_ops;
	bool status;
	int64_t status_interval_s;
	int64_t interval, exporter;
	bool hdr_file, histogram_verbose;
	double percentiles[YCSB_PERCENTILES_MAX];
	uint32_t percentile_cnt;
	char percentile_text[YCSB_TEXT_MAX];
	char hdr_path[YCSB_TEXT_MAX], export_file[YCSB_TEXT_MAX], label[YCSB_TEXT_MAX];
	char table[YCSB_TEXT_MAX];

	char target[YCSB_TEXT_MAX];
	int64_t protection;
	uint64_t memory_bytes;
	int64_t term_ms, seed, initial_slots, depth;
	char json_file[YCSB_TEXT_MAX], hgrm_dir[YCSB_TEXT_MAX];

	uint32_t note_cnt; /* properties that were accepted and mean nothing here */
};

/* Every property at its default. */
void ycsb_config_init(struct ycsb_config *config);
/*
 * Sets one property; `origin` says where it stands ("file:12", "-p"). Has the form of ycsb_property_fn with the
 * configuration as context. Errors: -EINVAL (why_out: unknown name with the nearest one, or a bad value).
 */
int ycsb_config_set(void *config, const char *name, const char *value, const char *origin,
		    struct ycsb_message *why_out);
/* Checks what concerns several properties, once all are set; fills in what follows from others. */
int ycsb_config_check(struct ycsb_config *config, enum ycsb_phase phases,
		      struct ycsb_message *why_out);
void ycsb_config_schema(const struct ycsb_config *config, struct ycsb_schema *schema_out);
/* Keys inserted by the run phase, as far as is known beforehand. */
int64_t ycsb_config_expected_inserts(const struct ycsb_config *config);
/* Number of inserts of the load phase. */
int64_t ycsb_config_load_cnt(const struct ycsb_config *config);

/* A table of all properties with defaults and meaning. */
void ycsb_config_help(FILE *to);
/* Calls fn for each property with its value as text. */
void ycsb_config_each(const struct ycsb_config *config,
		      void (*fn)(void *context, const char *name, const char *value, bool quoted),
		      void *context);

#endif
