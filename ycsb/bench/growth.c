/* SPDX-License-Identifier: MIT */
/*
 * One table of 16-byte values grows from 1024 slots, one insert after the other: per doubling the
 * latency of its inserts and the memory it holds against what lives in it.
 */
#include "ycsb/bench/bench.h"
#include "ycsb/bench/plot.h"
#include "ycsb/bind_hash.h"
#include "ycsb/client.h"
#include "ycsb/json.h"
#include "ycsb/time.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FIRST_CNT = 1024
};

struct growth {
	const struct bench_options *options;
	struct bench_table table;
	struct ycsb_client client;
	struct plot plot;
};

/* Inserts up to `until` records; the latencies are in client.measure. */
static int insert_until(struct growth *growth, uint64_t from, uint64_t until, double *rate_out,
			struct ycsb_message *why_out)
{
	uint64_t start_ns = ycsb_now_ns(), report_ns = start_ns;
	int error = 0;

	ycsb_measure_clear(&growth->client.measure);
	for (uint64_t done = from; done < until && error == 0; done++) {
		error = ycsb_client_load(&growth->client);
		if (done % 65536 == 0 && ycsb_now_ns() - report_ns > UINT64_C(5000000000)) {
			report_ns = ycsb_now_ns();
			bench_say("growth: %llu of %llu records", (unsigned long long)done,
				  (unsigned long long)growth->options->growth_cnt);
		}
	}
	*rate_out = (double)(until - from) / ((double)(ycsb_now_ns() - start_ns) / 1e9);
	if (error != 0)
		ycsb_message_set(why_out, "an insert failed: %s",
				 growth->table.ops->error_text(error));
	return error;
}

static void add_point(struct growth *growth, uint64_t records, const struct ycsb_histogram *h,
		      double held_per_live)
{
	struct plot *plot = &growth->plot;
	size_t at = plot->point_cnt;

	if (at == PLOT_POINTS_MAX)
		return;
	plot->x[at] = (double)records;
	plot->panels[0].lines[0].y[at] = (double)ycsb_histogram_percentile(h, 50) / 1000;
	plot->panels[0].lines[1].y[at] = (double)ycsb_histogram_percentile(h, 99.9) / 1000;
	plot->panels[0].lines[2].y[at] = (double)ycsb_histogram_max(h) / 1000;
	plot->panels[1].lines[0].y[at] = held_per_live;
	plot->point_cnt++;
}

static int report_step(struct growth *growth, uint64_t records, double rate,
		       struct ycsb_message *why_out)
{
	const struct ycsb_histogram *h =
		growth->client.measure.histograms[YCSB_METRIC_INSERT][0][0];
	struct ycsb_json *out = growth->options->out;
	struct ptn_hash_info info;
	double held_per_live;
	int error = ycsb_hash_info(growth->table.session.store, &info);

	if (error != 0) {
		ycsb_message_set(why_out, "the table cannot be walked: %s",
				 growth->table.ops->error_text(error));
		return error;
	}
	if (info.entries != records) {
		ycsb_message_set(why_out, "the table has %llu records and not %llu: some were lost",
				 (unsigned long long)info.entries, (unsigned long long)records);
		return -EIO;
	}
	held_per_live = (double)info.held_bytes / (double)info.live_bytes;
	printf("%10llu %9.3f %8.2f %8.2f %8.2f %10.2f %11llu %7.3f %9.1f %9.1f %7.3f\n",
	       (unsigned long long)records, rate / 1e6,
	       (double)ycsb_histogram_percentile(h, 50) / 1000,
	       (double)ycsb_histogram_percentile(h, 99) / 1000,
	       (double)ycsb_histogram_percentile(h, 99.9) / 1000,
	       (double)ycsb_histogram_max(h) / 1000, (unsigned long long)info.slots,
	       (double)info.entries / (double)info.slots, (double)info.live_bytes / 1048576,
	       (double)info.held_bytes / 1048576, held_per_live);
	fflush(stdout);
	add_point(growth, records, h, held_per_live);
	if (out == NULL)
		return 0;
	ycsb_json_open(out, NULL, '{');
	ycsb_json_count(out, "records", records);
	ycsb_json_real(out, "inserts_per_s", rate);
	ycsb_json_count(out, "lat_ns_p50", ycsb_histogram_percentile(h, 50));
	ycsb_json_count(out, "lat_ns_p99", ycsb_histogram_percentile(h, 99));
	ycsb_json_count(out, "lat_ns_p99.9", ycsb_histogram_percentile(h, 99.9));
	ycsb_json_count(out, "lat_ns_max", ycsb_histogram_max(h));
	ycsb_json_count(out, "slots", info.slots);
	ycsb_json_count(out, "live_bytes", info.live_bytes);
	ycsb_json_count(out, "held_bytes", info.held_bytes);
	ycsb_json_close(out, '}');
	return 0;
}

static int grow(struct growth *growth, struct ycsb_message *why_out)
{
	uint64_t done = 0, until = FIRST_CNT;
	int error = 0;

	while (done < growth->options->growth_cnt && error == 0) {
		double rate;

		if (until > growth->options->growth_cnt)
			until = growth->options->growth_cnt;
		error = insert_until(growth, done, until, &rate, why_out);
		if (error == 0)
			error = report_step(growth, until, rate, why_out);
		done = until;
		until *= 2;
	}
	return error;
}

static int open_client(struct growth *growth, struct ycsb_message *why_out)
{
	struct ycsb_client *client = &growth->client;
	struct bench_table *table = &growth->table;
	int error = ycsb_stream_init(&client->stream, &table->workload, YCSB_LOAD, 0);

	if (error == 0)
		error = ycsb_measure_init(&client->measure, YCSB_INTERVAL_OP);
	if (error == 0)
		error = table->ops->worker_open(table->session.store, 0, &client->worker);
	client->ops = table->ops;
	if (error != 0)
		ycsb_message_set(why_out, "cannot open a worker: %s",
				 table->ops->error_text(error));
	return error;
}

static void close_client(struct growth *growth)
{
	struct ycsb_client *client = &growth->client;

	if (client->worker != NULL)
		client->ops->worker_close(client->worker);
	ycsb_measure_fini(&client->measure);
	ycsb_stream_fini(&client->stream);
}

static int draw(struct growth *growth, struct ycsb_message *why_out)
{
	const char *path = growth->options->svg;
	FILE *file;

	if (path == NULL || growth->plot.point_cnt < 2)
		return 0;
	file = fopen(path, "we");
	if (file != NULL) {
		plot_write(&growth->plot, file);
		if (fclose(file) == 0) {
			bench_say("growth: drawn in %s", path);
			return 0;
		}
	}
	return ycsb_message_set(why_out, "%s: %s; give --svg a path that can be written", path,
				strerror(errno));
}

static int run_growth(struct growth *growth, struct ycsb_message *why_out)
{
	int error = open_client(growth, why_out);

	if (error == 0)
		error = grow(growth, why_out);
	close_client(growth);
	return error != 0 ? error : draw(growth, why_out);
}

int bench_growth(const struct bench_options *options, struct ycsb_message *why_out)
{
	struct bench_options own = *options;
	struct growth *growth = calloc(1, sizeof(*growth));
	int error;

	if (growth == NULL)
		return ycsb_message_set(why_out, "out of memory");
	own.record_cnt = options->growth_cnt;
	own.op_cnt = 1;
	growth->options = options;
	growth->plot = (struct plot){
		.title = "A hash table grows from 1024 slots: 16-byte values, one thread",
		.x_title = "records in the table",
		.panel_cnt = 2,
		.panels = { { .title = "insert latency per doubling, us",
			      .log = true,
			      .line_cnt = 3,
			      .lines = { { .name = "median" },
					 { .name = "99.9 %" },
					 { .name = "longest" } } },
			    { .title = "memory held / live bytes of keys and values",
			      .line_cnt = 1,
			      .lines = { { .name = "held / live" } } } },
	};
	printf("\nGrowth from 1024 slots, 16-byte values, one thread, protection on: inserts of each "
	       "doubling (latency in us), memory after it\n\n");
	printf("%10s %9s %8s %8s %8s %10s %11s %7s %9s %9s %7s\n", "records", "M ins/s", "50 %",
	       "99 %", "99.9 %", "longest", "slots", "full", "live MiB", "held MiB", "ratio");
	if (options->out != NULL)
		ycsb_json_open(options->out, "growth", '[');
	error = bench_table_open(&growth->table, &own,
				 "fieldcount=1 fieldlength=16 patronus.initial.slots=1024",
				 why_out);
	if (error == 0) {
		error = run_growth(growth, why_out);
		bench_table_close(&growth->table);
	}
	if (options->out != NULL)
		ycsb_json_close(options->out, ']');
	free(growth);
	return error;
}
