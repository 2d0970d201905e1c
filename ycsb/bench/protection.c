/* SPDX-License-Identifier: MIT */
/*
 * The cost of protection: two tables of the same content, one reached through leased windows, the other
 * through the region's own key. Runs alternate (on off, off on, on off, ...), so that whatever
 * else this machine does falls on both; what counts is the median of the pairs' ratios.
 */
#include "ycsb/bench/bench.h"
#include "ycsb/json.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	PAIRS_MAX = 101
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
	qsort(values, count, sizeof(values[0]), by_value);
	return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

struct rates {
	double wall, cpu; /* operations per second of each */
};

static int run_rate(struct bench_table *table, struct rates *rates_out,
		    struct ycsb_message *why_out)
{
	struct ycsb_result result;
	int error = bench_table_run(table, YCSB_RUN, &result, why_out);

	if (error != 0)
		return error;
	rates_out->wall = bench_throughput(&result);
	rates_out->cpu = (double)result.op_cnt / ((double)result.cpu_ns / 1e9);
	ycsb_result_fini(&result);
	return 0;
}

struct pairs {
	double on[PAIRS_MAX], off[PAIRS_MAX], ratio[PAIRS_MAX], cpu_ratio[PAIRS_MAX];
};

/* tables[0]: protected, tables[1]: not. */
static int run_pairs(struct bench_table *tables, uint32_t pair_cnt, struct pairs *pairs,
		     struct ycsb_message *why_out)
{
	struct rates on, off;
	int error = run_rate(&tables[0], &on, why_out);

	if (error == 0)
		error = run_rate(&tables[1], &off, why_out);
	for (uint32_t i = 0; i < pair_cnt && error == 0; i++) {
		bool on_first = i % 2 == 0;

		error = run_rate(&tables[on_first ? 0 : 1], on_first ? &on : &off, why_out);
		if (error == 0)
			error = run_rate(&tables[on_first ? 1 : 0], on_first ? &off : &on, why_out);
		pairs->on[i] = on.wall;
		pairs->off[i] = off.wall;
		pairs->ratio[i] = on.wall / off.wall;
		pairs->cpu_ratio[i] = on.cpu / off.cpu;
	}
	return error;
}

static int measure(struct bench_table *tables, const struct bench_options *options, char letter,
		   struct ycsb_message *why_out)
{
	static struct pairs pairs;
	double ratio, cpu_ratio, on, off;
	int error = bench_table_set(&tables[0], bench_workload(letter), why_out);

	if (error == 0)
		error = bench_table_set(&tables[1], bench_workload(letter), why_out);
	bench_say("protection: workload %c, %u pairs", letter - 'a' + 'A', options->pair_cnt);
	if (error == 0)
		error = run_pairs(tables, options->pair_cnt, &pairs, why_out);
	if (error != 0)
		return error;
	ratio = median(pairs.ratio, options->pair_cnt);
	cpu_ratio = median(pairs.cpu_ratio, options->pair_cnt);
	on = median(pairs.on, options->pair_cnt);
	off = median(pairs.off, options->pair_cnt);
	printf("%c %12.3f %12.3f %12.4f %12.4f %12.4f %9.2f %% %12.4f\n", letter - 'a' + 'A',
	       on / 1e6, off / 1e6, ratio, pairs.ratio[options->pair_cnt / 4],
	       pairs.ratio[options->pair_cnt - 1 - options->pair_cnt / 4], (1 - ratio) * 100,
	       cpu_ratio);
	fflush(stdout);
	if (options->out != NULL) {
		ycsb_json_open(options->out, NULL, '{');
		ycsb_json_text(options->out, "workload",
			       (char[]){ (char)(letter - 'a' + 'A'), '\0' });
		ycsb_json_count(options->out, "pairs", options->pair_cnt);
		ycsb_json_real(options->out, "on_ops_per_s_median", on);
		ycsb_json_real(options->out, "off_ops_per_s_median", off);
		ycsb_json_real(options->out, "ratio_median", ratio);
		ycsb_json_real(options->out, "cpu_ratio_median", cpu_ratio);
		ycsb_json_real(options->out, "ratio_min", pairs.ratio[0]);
		ycsb_json_real(options->out, "ratio_max", pairs.ratio[options->pair_cnt - 1]);
		ycsb_json_close(options->out, '}');
	}
	return 0;
}

static int load(struct bench_table *table, const struct bench_options *options, bool protection,
		struct ycsb_message *why_out)
{
	struct ycsb_result result;
	int error = bench_table_open(
		table, options, protection ? "patronus.protection=on" : "patronus.protection=off",
		why_out);

	if (error != 0)
		return error;
	error = bench_table_run(table, YCSB_LOAD, &result, why_out);
	if (error == 0)
		ycsb_result_fini(&result);
	else
		bench_table_close(table);
	return error;
}

static int measure_all(struct bench_table *tables, const struct bench_options *options,
		       struct ycsb_message *why_out)
{
	int error = 0;

	for (const char *letter = "abcdf"; *letter != '\0' && error == 0; letter++)
		error = measure(tables, options, *letter, why_out);
	return error;
}

int bench_protection(const struct bench_options *options, struct ycsb_message *why_out)
{
	struct bench_table *tables = calloc(2, sizeof(*tables));
	int error;

	if (tables == NULL)
		return ycsb_message_set(why_out, "out of memory");
	printf("\nProtection on against off, one thread, %llu records of 10 x 100 B, %u pairs of runs "
	       "of %llu operations; on / off is the median of the pairs' ratios, with quartiles\n\n",
	       (unsigned long long)options->record_cnt, options->pair_cnt,
	       (unsigned long long)options->op_cnt);
	printf("%s %12s %12s %12s %12s %12s %11s %12s\n", " ", "on M op/s", "off M op/s",
	       "on / off", "quarter", "3 quarters", "cost", "CPU on / off");
	if (options->out != NULL)
		ycsb_json_open(options->out, "protection", '[');
	bench_say("protection: loading two tables of %llu records",
		  (unsigned long long)options->record_cnt);
	error = load(&tables[0], options, true, why_out);
	if (error == 0) {
		error = load(&tables[1], options, false, why_out);
		if (error == 0) {
			error = measure_all(tables, options, why_out);
			bench_table_close(&tables[1]);
		}
		bench_table_close(&tables[0]);
	}
	if (options->out != NULL)
		ycsb_json_close(options->out, ']');
	free(tables);
	return error;
}
