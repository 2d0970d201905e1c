/* SPDX-License-Identifier: MIT */
#include "ycsb/bench/bench.h"

#include "ycsb/bind_hash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void bench_say(const char *format, ...)
{
	va_list arguments;

	fputs("patronus-bench: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

const char *bench_workload(char letter)
{
	switch (letter) {
	case 'a':
		return "requestdistribution=zipfian readproportion=0.5 updateproportion=0.5 "
		       "insertproportion=0 readmodifywriteproportion=0";
	case 'b':
		return "requestdistribution=zipfian readproportion=0.95 updateproportion=0.05 "
		       "insertproportion=0 readmodifywriteproportion=0";
	case 'c':
		return "requestdistribution=zipfian readproportion=1 updateproportion=0 "
		       "insertproportion=0 readmodifywriteproportion=0";
	case 'd':
		return "requestdistribution=latest readproportion=0.95 updateproportion=0 "
		       "insertproportion=0.05 readmodifywriteproportion=0";
	case 'f':
		return "requestdistribution=zipfian readproportion=0.5 updateproportion=0 "
		       "insertproportion=0 readmodifywriteproportion=0.5";
	default:
		return NULL;
	}
}

static int set_properties(struct ycsb_config *config, const char *properties,
			  struct ycsb_message *why_out)
{
	char text[1024], *rest = NULL;
	int error = 0;

	snprintf(text, sizeof(text), "%s", properties);
	for (char *pair = strtok_r(text, " ", &rest); pair != NULL && error == 0;
	     pair = strtok_r(NULL, " ", &rest)) {
		char *equals = strchr(pair, '=');

		*equals = '\0';
		error = ycsb_config_set(config, pair, equals + 1, "patronus-bench", why_out);
	}
	return error;
}

static int open_store(struct bench_table *table, const struct bench_options *options,
		      struct ycsb_message *why_out)
{
	const struct ycsb_config *config = &table->config;
	const struct ycsb_store_options store_options = {
		.schema = &table->workload.schema,
		.table = config->table,
		.target = config->target,
		.memory_bytes = options->memory_bytes,
		.record_cnt = (uint64_t)(config->record_cnt + config->operation_cnt),
		.initial_slots = (uint64_t)config->initial_slots,
		.seed = options->seed,
		.worker_cnt = (uint32_t)config->thread_cnt + 1,
		.depth = YCSB_DEPTH_MAX,
		.protection = config->protection != 0,
		.create = true,
	};
	const char *why = NULL;
	int error = table->ops->open(&store_options, &table->session.store, &why);

	if (error != 0)
		ycsb_message_set(why_out, "cannot open a table: %s",
				 why != NULL ? why : table->ops->error_text(error));
	return error;
}

int bench_table_open(struct bench_table *table, const struct bench_options *options,
		     const char *properties, struct ycsb_message *why_out)
{
	int error;

	memset(table, 0, sizeof(*table));
	table->ops = &ycsb_hash_ops;
	ycsb_config_init(&table->config);
	table->config.seed = (int64_t)options->seed;
	table->config.record_cnt = (int64_t)options->record_cnt;
	table->config.operation_cnt = (int64_t)options->op_cnt;
	error = set_properties(&table->config, properties, why_out);
	if (error == 0)
		error = ycsb_config_check(&table->config, YCSB_BENCH, why_out);
	if (error != 0)
		return error;
	error = ycsb_workload_init(&table->workload, &table->config);
	if (error != 0) {
		ycsb_message_set(why_out, "out of memory");
		return error;
	}
	table->session = (struct ycsb_session){
		.config = &table->config,
		.ops = table->ops,
		.workload = &table->workload,
		.log = stderr,
	};
	error = open_store(table, options, why_out);
	if (error != 0)
		ycsb_workload_fini(&table->workload);
	return error;
}

void bench_table_close(struct bench_table *table)
{
	table->ops->close(table->session.store);
	ycsb_workload_fini(&table->workload);
}

int bench_table_set(struct bench_table *table, const char *properties, struct ycsb_message *why_out)
{
	struct ycsb_config *config = &table->config;
	int64_t present = (int64_t)ycsb_counter_limit(table->workload.inserts);
	int error = set_properties(config, properties, why_out);

	/* What the runs before inserted belongs to the table now. */
	config->insert_cnt = config->record_cnt = present;
	if (error == 0)
		error = ycsb_config_check(config, YCSB_RUN, why_out);
	if (error != 0)
		return error;
	ycsb_workload_fini(&table->workload);
	error = ycsb_workload_init(&table->workload, config);
	if (error != 0)
		ycsb_message_set(why_out, "out of memory");
	return error;
}

int bench_table_run(struct bench_table *table, enum ycsb_phase phase,
		    struct ycsb_result *result_out, struct ycsb_message *why_out)
{
	struct ycsb_result result;
	int error;

	/* Other keys in every run: a cache must not profit from having seen this very sequence. */
	table->config.seed++;
	error = ycsb_phase_run(&table->session, phase, &result, why_out);
	if (error != 0)
		return error;
	if (ycsb_result_failed(&result) == 0 && !result.interrupted) {
		*result_out = result;
		return 0;
	}
	if (result.interrupted)
		ycsb_message_set(why_out, "interrupted");
	else
		ycsb_message_set(why_out, "%llu operations failed, the first: %s: %s",
				 (unsigned long long)ycsb_result_failed(&result),
				 ycsb_metric_name(result.first_error_metric),
				 table->ops->error_text(result.first_error));
	ycsb_result_fini(&result);
	return -EIO;
}

double bench_throughput(const struct ycsb_result *result)
{
	return (double)result->op_cnt / ((double)result->runtime_ns / 1e9);
}

double bench_counter(const struct ycsb_result *result, const char *name)
{
	for (size_t i = 0; i < result->counter_cnt; i++) {
		if (strcmp(result->counters[i].name, name) == 0)
			return result->counters[i].value;
	}
	return 0;
}
