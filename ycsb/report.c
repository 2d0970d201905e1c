/* SPDX-License-Identifier: MIT */
#include "ycsb/report.h"

#include "ycsb/histogram_file.h"

#include <patronus/version.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

/* One triple; `value` is a number as text, or any text if quoted. */
static void triple(struct ycsb_report *report, const char *metric, const char *measurement,
		   const char *value, bool quoted)
{
	struct ycsb_json *json = &report->json;

	if (report->config->exporter == YCSB_EXPORT_TEXT) {
		fprintf(report->to, "[%s], %s, %s\n", metric, measurement, value);
		return;
	}
	/* YCSB's plain JSON form is one object after the other, without an array around them. */
	if (report->config->exporter == YCSB_EXPORT_JSON)
		ycsb_json_init(json, report->to);
	ycsb_json_open(json, NULL, '{');
	ycsb_json_text(json, "metric", metric);
	ycsb_json_text(json, "measurement", measurement);
	if (quoted)
		ycsb_json_text(json, "value", value);
	else
		ycsb_json_bare(json, "value", value);
	ycsb_json_close(json, '}');
}

static void triple_count(struct ycsb_report *report, const char *metric, const char *measurement,
			 uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	triple(report, metric, measurement, text, false);
}

static void triple_real(struct ycsb_report *report, const char *metric, const char *measurement,
			double value, int digits)
{
	char text[352];

	snprintf(text, sizeof(text), "%.*f", digits, value);
	triple(report, metric, measurement, text, false);
}

static void triple_us(struct ycsb_report *report, const char *metric, const char *measurement,
		      double ns)
{
	triple_real(report, metric, measurement, ns / 1000.0, 3);
}

/* "50th", "91st", "99.9": as YCSB names percentiles. */
static void percentile_name(double percentile, const char *suffix, char *text, size_t capacity)
{
	static const char *const endings[10] = { "th", "st", "nd", "rd", "th",
						 "th", "th", "th", "th", "th" };
	int whole = (int)percentile;

	if (percentile != floor(percentile))
		snprintf(text, capacity, "%.10g%s", percentile, suffix);
	else
		snprintf(text, capacity, "%d%s%s", whole,
			 whole >= 11 && whole <= 13 ? "th" : endings[whole % 10], suffix);
}

static void report_histogram(struct ycsb_report *report, const char *name,
			     const struct ycsb_histogram *histogram)
{
	const struct ycsb_config *config = report->config;
	char text[64];

	triple_count(report, name, "Operations", ycsb_histogram_count(histogram));
	triple_us(report, name, "AverageLatency(us)", ycsb_histogram_mean(histogram));
	triple_us(report, name, "MinLatency(us)", (double)ycsb_histogram_min(histogram));
	triple_us(report, name, "MaxLatency(us)", (double)ycsb_histogram_max(histogram));
	for (uint32_t i = 0; i < config->percentile_cnt; i++) {
		percentile_name(config->percentiles[i], "PercentileLatency(us)", text,
				sizeof(text));
		triple_us(report, name, text,
			  (double)ycsb_histogram_percentile(histogram, config->percentiles[i]));
	}
}

static void report_buckets(struct ycsb_report *report, const char *name,
			   const struct ycsb_histogram *histogram)
{
	char text[64];

	for (uint32_t i = 0; i < YCSB_HIST_COUNTS; i++) {
		uint64_t count = atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);

		if (count == 0)
			continue;
		snprintf(text, sizeof(text), "%.3f", (double)ycsb_histogram_highest(i) / 1000.0);
		triple_count(report, name, text, count);
	}
}

/* "READ", "Intended-READ", "READ-FAILED" ... */
static void series_name(const struct ycsb_config *config, int metric, int intended, int failed,
			char *text, size_t capacity)
{
	snprintf(text, capacity, "%s%s%s",
		 intended && config->interval == YCSB_INTERVAL_BOTH ? "Intended-" : "",
		 ycsb_metric_name((enum ycsb_metric)metric), failed ? "-FAILED" : "");
}

static void report_metric(struct ycsb_report *report, const struct ycsb_result *result, int metric)
{
	const struct ycsb_measure *measure = &result->measure;
	int first = report->config->interval == YCSB_INTERVAL_INTENDED;
	char name[64], text[64];

	for (int i = 0; i < 4; i++) {
		const struct ycsb_histogram *histogram = measure->histograms[metric][i / 2][i % 2];
		bool main_series = i == 2 * first;

		if (histogram == NULL || (!main_series && !ycsb_histogram_used(histogram)))
			continue;
		series_name(report->config, metric, i / 2, i % 2, name, sizeof(name));
		report_histogram(report, name, histogram);
		for (int s = 0; s < YCSB_STATUS_CNT && main_series; s++) {
			uint64_t count = ycsb_measure_status(measure, (enum ycsb_metric)metric,
							     (enum ycsb_status)s);

			snprintf(text, sizeof(text), "Return=%s",
				 ycsb_status_name((enum ycsb_status)s));
			if (count != 0)
				triple_count(report, name, text, count);
		}
		if (report->config->histogram_verbose)
			report_buckets(report, name, histogram);
	}
}

/* round_trips -> RoundTrips */
static void camel_case(const char *name, char *text, size_t capacity)
{
	size_t len = 0;
	bool upper = true;

	for (; *name != '\0' && len + 1 < capacity; name++) {
		if (*name == '_') {
			upper = true;
			continue;
		}
		text[len++] = upper ? (char)toupper((unsigned char)*name) : *name;
		upper = false;
	}
	text[len] = '\0';
}

static void report_counters(struct ycsb_report *report, const struct ycsb_result *result)
{
	char name[96], per_op[112];

	for (size_t i = 0; i < result->counter_cnt; i++) {
		const struct ycsb_counter *counter = &result->counters[i];

		if (counter->value == 0)
			continue;
		camel_case(counter->name, name, sizeof(name));
		triple_real(report, "PATRONUS", name, counter->value, 0);
		if (counter->gauge || result->op_cnt == 0)
			continue;
		snprintf(per_op, sizeof(per_op), "%sPerOp", name);
		triple_real(report, "PATRONUS", per_op, counter->value / (double)result->op_cnt, 4);
	}
}

static const char *phase_name(enum ycsb_phase phase)
{
	return phase == YCSB_LOAD ? "load" : "run";
}

static double throughput(const struct ycsb_result *result)
{
	return result->runtime_ns == 0 ?
		       0.0 :
		       (double)result->op_cnt / ((double)result->runtime_ns / 1e9);
}

static void report_triples(struct ycsb_report *report, const struct ycsb_result *result)
{
	triple(report, "OVERALL", "Phase", phase_name(result->phase), true);
	triple_real(report, "OVERALL", "RunTime(ms)", (double)result->runtime_ns / 1e6, 0);
	triple_real(report, "OVERALL", "Throughput(ops/sec)", throughput(result), 3);
	triple_count(report, "OVERALL", "Operations", result->op_cnt);
	triple_count(report, "OVERALL", "Threads", result->thread_cnt);
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		if (ycsb_measure_used(&result->measure, (enum ycsb_metric)metric))
			report_metric(report, result, metric);
	}
	report_counters(report, result);
	fflush(report->to);
}

static void full_histogram(struct ycsb_json *json, const struct ycsb_config *config,
			   const char *name, const struct ycsb_histogram *histogram)
{
	char text[64];

	ycsb_json_open(json, name, '{');
	ycsb_json_count(json, "count", ycsb_histogram_count(histogram));
	ycsb_json_real(json, "lat_ns_mean", ycsb_histogram_mean(histogram));
	ycsb_json_real(json, "lat_ns_deviation", ycsb_histogram_deviation(histogram));
	ycsb_json_count(json, "lat_ns_min", ycsb_histogram_min(histogram));
	ycsb_json_count(json, "lat_ns_max", ycsb_histogram_max(histogram));
	for (uint32_t i = 0; i < config->percentile_cnt; i++) {
		snprintf(text, sizeof(text), "lat_ns_p%.10g", config->percentiles[i]);
		ycsb_json_count(json, text,
				ycsb_histogram_percentile(histogram, config->percentiles[i]));
	}
	ycsb_json_close(json, '}');
}

static void full_metric(struct ycsb_report *report, const struct ycsb_result *result, int metric)
{
	struct ycsb_json *json = &report->full_json;

	for (int i = 0; i < 4; i++) {
		const struct ycsb_histogram *histogram =
			result->measure.histograms[metric][i / 2][i % 2];
		char name[64];

		if (histogram == NULL || !ycsb_histogram_used(histogram))
			continue;
		series_name(report->config, metric, i / 2, i % 2, name, sizeof(name));
		full_histogram(json, report->config, name, histogram);
	}
}

static void full_statuses(struct ycsb_json *json, const struct ycsb_result *result)
{
	ycsb_json_open(json, "returns", '{');
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		if (!ycsb_measure_used(&result->measure, (enum ycsb_metric)metric))
			continue;
		ycsb_json_open(json, ycsb_metric_name((enum ycsb_metric)metric), '{');
		for (int s = 0; s < YCSB_STATUS_CNT; s++)
			ycsb_json_count(json, ycsb_status_name((enum ycsb_status)s),
					ycsb_measure_status(&result->measure,
							    (enum ycsb_metric)metric,
							    (enum ycsb_status)s));
		ycsb_json_close(json, '}');
	}
	ycsb_json_close(json, '}');
}

static void report_full(struct ycsb_report *report, const struct ycsb_result *result)
{
	struct ycsb_json *json = &report->full_json;

	ycsb_json_open(json, NULL, '{');
	ycsb_json_text(json, "phase", phase_name(result->phase));
	ycsb_json_count(json, "threads", result->thread_cnt);
	ycsb_json_count(json, "runtime_ns", result->runtime_ns);
	ycsb_json_count(json, "cpu_ns", result->cpu_ns);
	ycsb_json_count(json, "ops", result->op_cnt);
	ycsb_json_real(json, "throughput_ops_per_s", throughput(result));
	ycsb_json_bare(json, "interrupted", result->interrupted ? "true" : "false");
	ycsb_json_open(json, "latencies", '{');
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++)
		full_metric(report, result, metric);
	ycsb_json_close(json, '}');
	full_statuses(json, result);
	ycsb_json_open(json, "stats", '{');
	for (size_t i = 0; i < result->counter_cnt; i++)
		ycsb_json_real(json, result->counters[i].name, result->counters[i].value);
	ycsb_json_close(json, '}');
	ycsb_json_close(json, '}');
}

static FILE *open_file(const char *path, struct ycsb_message *why_out, int *error_out)
{
	FILE *file = fopen(path, "we");

	if (file == NULL) {
		*error_out = -errno;
		ycsb_message_set(why_out, "%s: %s; give a path that can be written", path,
				 strerror(errno));
	}
	return file;
}

/* One file per series: DIR/run-READ.hgrm, PREFIXREAD.hdr. */
static int report_file(struct ycsb_report *report, const struct ycsb_result *result,
		       const struct ycsb_histogram *histogram, const char *name, bool hgrm,
		       struct ycsb_message *why_out)
{
	const struct ycsb_config *config = report->config;
	struct timespec now;
	char path[YCSB_TEXT_MAX + 128];
	int error = 0;
	FILE *file;

	if (hgrm)
		snprintf(path, sizeof(path), "%s/%s-%s.hgrm", config->hgrm_dir,
			 phase_name(result->phase), name);
	else
		snprintf(path, sizeof(path), "%s%s.hdr", config->hdr_path, name);
	file = open_file(path, why_out, &error);
	if (file == NULL)
		return error;
	clock_gettime(CLOCK_REALTIME, &now);
	if (hgrm) {
		ycsb_hgrm_write(histogram, file);
	} else {
		double end_s = (double)now.tv_sec + (double)now.tv_nsec / 1e9;

		error = ycsb_hdrlog_write(histogram, name, end_s - (double)result->runtime_ns / 1e9,
					  end_s, file);
	}
	if (fclose(file) != 0 || error != 0) {
		ycsb_message_set(why_out, "%s: could not be written completely; is the disk full?",
				 path);
		return error != 0 ? error : -EIO;
	}
	return 0;
}

static int report_files(struct ycsb_report *report, const struct ycsb_result *result,
			struct ycsb_message *why_out)
{
	const struct ycsb_config *config = report->config;
	char name[64];
	int error = 0;

	for (int i = 0; i < 4 * YCSB_METRIC_CNT && error == 0; i++) {
		const struct ycsb_histogram *histogram =
			result->measure.histograms[i / 4][i / 2 % 2][i % 2];

		if (histogram == NULL || !ycsb_histogram_used(histogram))
			continue;
		series_name(config, i / 4, i / 2 % 2, i % 2, name, sizeof(name));
		if (config->hgrm_dir[0] != '\0')
			error = report_file(report, result, histogram, name, true, why_out);
		if (error == 0 && config->hdr_file)
			error = report_file(report, result, histogram, name, false, why_out);
	}
	return error;
}

static void config_value(void *context, const char *name, const char *value, bool quoted)
{
	struct ycsb_json *json = context;

	if (quoted)
		ycsb_json_text(json, name, value);
	else
		ycsb_json_bare(json, name, value);
}

static void full_begin(struct ycsb_report *report, const char *store, int argc, char **argv)
{
	struct ycsb_json *json = &report->full_json;
	struct utsname host;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	ycsb_json_init(json, report->full);
	ycsb_json_open(json, NULL, '{');
	ycsb_json_count(json, "schema_version", 1);
	ycsb_json_text(json, "tool", "patronus-ycsb");
	ycsb_json_text(json, "version", ptn_version());
	ycsb_json_real(json, "started_s", (double)now.tv_sec);
	ycsb_json_open(json, "argv", '[');
	for (int i = 0; i < argc; i++)
		ycsb_json_text(json, NULL, argv[i]);
	ycsb_json_close(json, ']');
	if (uname(&host) == 0) {
		ycsb_json_text(json, "host", host.nodename);
		ycsb_json_text(json, "kernel", host.release);
		ycsb_json_text(json, "machine", host.machine);
	}
	ycsb_json_text(json, "store", store);
	ycsb_json_open(json, "config", '{');
	ycsb_config_each(report->config, config_value, json);
	ycsb_json_close(json, '}');
	ycsb_json_open(json, "results", '[');
}

int ycsb_report_open(struct ycsb_report *report, const struct ycsb_config *config,
		     const char *store, int argc, char **argv, struct ycsb_message *why_out)
{
	int error = 0;

	memset(report, 0, sizeof(*report));
	report->config = config;
	report->to = stdout;
	if (config->export_file[0] != '\0') {
		report->to = open_file(config->export_file, why_out, &error);
		report->owned = report->to != NULL;
	}
	if (error == 0 && config->hgrm_dir[0] != '\0' && mkdir(config->hgrm_dir, 0777) != 0 &&
	    errno != EEXIST) {
		error = -errno;
		ycsb_message_set(why_out, "%s: %s; give patronus.hgrm a folder that can be written",
				 config->hgrm_dir, strerror(-error));
	}
	if (error == 0 && config->json_file[0] != '\0')
		report->full = open_file(config->json_file, why_out, &error);
	if (error != 0) {
		if (report->owned)
			fclose(report->to);
		return error;
	}
	if (report->full != NULL)
		full_begin(report, store, argc, argv);
	ycsb_json_init(&report->json, report->to);
	if (config->exporter == YCSB_EXPORT_JSON_ARRAY)
		ycsb_json_open(&report->json, NULL, '[');
	return 0;
}

int ycsb_report_phase(struct ycsb_report *report, const struct ycsb_result *result,
		      struct ycsb_message *why_out)
{
	report_triples(report, result);
	if (report->full != NULL)
		report_full(report, result);
	return report_files(report, result, why_out);
}

static bool stream_good(FILE *file, bool close)
{
	bool good = fflush(file) == 0 && !ferror(file);

	return close ? fclose(file) == 0 && good : good;
}

int ycsb_report_close(struct ycsb_report *report, struct ycsb_message *why_out)
{
	bool good;

	if (report->config->exporter == YCSB_EXPORT_JSON_ARRAY)
		ycsb_json_close(&report->json, ']');
	good = stream_good(report->to, report->owned);
	if (report->full != NULL) {
		ycsb_json_close(&report->full_json, ']');
		ycsb_json_close(&report->full_json, '}');
		good = stream_good(report->full, true) && good;
	}
	if (good)
		return 0;
	ycsb_message_set(why_out, "the results could not be written completely; is the disk full?");
	return -EIO;
}
