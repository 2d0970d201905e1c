/* SPDX-License-Identifier: MIT */
/* One thread, protected: how fast, and with how much traffic. */
#include "ycsb/bench/bench.h"
#include "ycsb/json.h"

#include <stdio.h>

struct shape {
	const char *name; /* of the record */
	const char *properties;
};

static const struct shape shapes[] = {
	{ "16 B", "fieldcount=1 fieldlength=16" },
	{ "10 x 100 B", "fieldcount=10 fieldlength=100" },
	{ "10 x 100 B, writeallfields", "fieldcount=10 fieldlength=100 writeallfields=true" },
};

/* One operation at a time, and sixteen of the thread's under way. */
static const struct {
	char letter;
	unsigned depth;
} runs[] = { { 'c', 1 }, { 'c', 16 }, { 'a', 1 }, { 'a', 16 } };

static const struct ycsb_histogram *main_histogram(const struct ycsb_result *result, char letter)
{
	return result->measure
		.histograms[letter == 'a' ? YCSB_METRIC_UPDATE : YCSB_METRIC_READ][0][0];
}

static double verbs(const struct ycsb_result *result)
{
	return bench_counter(result, "verbs_read") + bench_counter(result, "verbs_write") +
	       bench_counter(result, "verbs_cas") + bench_counter(result, "verbs_faa");
}

static double bytes(const struct ycsb_result *result)
{
	return bench_counter(result, "bytes_read") + bench_counter(result, "bytes_written");
}

static void print_row(const struct bench_options *options, const struct shape *shape, char letter,
		      unsigned depth, const struct ycsb_result *result)
{
	const struct ycsb_histogram *h = main_histogram(result, letter);
	double ops = (double)result->op_cnt, rate = bench_throughput(result);

	printf("%-27s %c %5u %9.3f %8.0f %8.0f %8.0f %8.0f %9.3f %7.3f %9.1f\n", shape->name,
	       letter - 'a' + 'A', depth, rate / 1e6, ycsb_histogram_mean(h),
	       (double)ycsb_histogram_percentile(h, 50), (double)ycsb_histogram_percentile(h, 99),
	       (double)ycsb_histogram_percentile(h, 99.9),
	       bench_counter(result, "round_trips") / ops, verbs(result) / ops,
	       bytes(result) / ops);
	fflush(stdout);
	if (options->out == NULL)
		return;
	ycsb_json_open(options->out, NULL, '{');
	ycsb_json_text(options->out, "record", shape->name);
	ycsb_json_text(options->out, "workload", (char[]){ (char)(letter - 'a' + 'A'), '\0' });
	ycsb_json_count(options->out, "depth", depth);
	ycsb_json_real(options->out, "throughput_ops_per_s", rate);
	ycsb_json_real(options->out, "lat_ns_mean", ycsb_histogram_mean(h));
	ycsb_json_count(options->out, "lat_ns_p50", ycsb_histogram_percentile(h, 50));
	ycsb_json_count(options->out, "lat_ns_p99", ycsb_histogram_percentile(h, 99));
	ycsb_json_count(options->out, "lat_ns_p99.9", ycsb_histogram_percentile(h, 99.9));
	ycsb_json_real(options->out, "round_trips_per_op",
		       bench_counter(result, "round_trips") / ops);
	ycsb_json_real(options->out, "verbs_per_op", verbs(result) / ops);
	ycsb_json_real(options->out, "bytes_per_op", bytes(result) / ops);
	ycsb_json_close(options->out, '}');
}

/* Each workload runs twice and the second run counts: the first one fills the caches. */
static int measure(struct bench_table *table, const struct bench_options *options,
		   const struct shape *shape, char letter, unsigned depth,
		   struct ycsb_message *why_out)
{
	struct ycsb_result result;
	int error = bench_table_set(table, bench_workload(letter), why_out);

	table->config.depth = depth;
	for (int run = 0; run < 2 && error == 0; run++) {
		error = bench_table_run(table, YCSB_RUN, &result, why_out);
		if (error == 0 && run == 1)
			print_row(options, shape, letter, depth, &result);
		if (error == 0)
			ycsb_result_fini(&result);
	}
	return error;
}

static int measure_shape(const struct bench_options *options, const struct shape *shape,
			 struct ycsb_message *why_out)
{
	struct bench_table table;
	struct ycsb_result result;
	int error;

	bench_say("%s records: loading %llu", shape->name, (unsigned long long)options->record_cnt);
	error = bench_table_open(&table, options, shape->properties, why_out);
	if (error != 0)
		return error;
	error = bench_table_run(&table, YCSB_LOAD, &result, why_out);
	if (error == 0) {
		ycsb_result_fini(&result);
		bench_say("%s records: running C and A", shape->name);
	}
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]) && error == 0; i++)
		error = measure(&table, options, shape, runs[i].letter, runs[i].depth, why_out);
	bench_table_close(&table);
	return error;
}

int bench_speed(const struct bench_options *options, struct ycsb_message *why_out)
{
	int error = 0;

	printf("\nOne thread, %llu records in this process, protection on, %llu operations "
	       "(second run); latency in ns of the read (C) or the update (A); depth: operations "
	       "of the thread under way at a time\n\n",
	       (unsigned long long)options->record_cnt, (unsigned long long)options->op_cnt);
	printf("%-27s %s %5s %9s %8s %8s %8s %8s %9s %7s %9s\n", "record", " ", "depth", "M op/s",
	       "mean", "50 %", "99 %", "99.9 %", "trips/op", "verbs", "bytes/op");
	if (options->out != NULL)
		ycsb_json_open(options->out, "speed", '[');
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]) && error == 0; i++)
		error = measure_shape(options, &shapes[i], why_out);
	if (options->out != NULL)
		ycsb_json_close(options->out, ']');
	return error;
}
