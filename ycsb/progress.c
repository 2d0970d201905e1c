/* SPDX-License-Identifier: MIT */
#include "ycsb/progress.h"

#include "ycsb/runner.h"

#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int ycsb_progress_init(struct ycsb_progress *progress, const struct ycsb_session *session,
		       enum ycsb_phase phase, uint64_t planned)
{
	unsigned int intervals = (unsigned int)session->config->interval;
	int error;

	memset(progress, 0, sizeof(*progress));
	progress->config = session->config;
	progress->to = session->log;
	progress->phase = phase;
	progress->planned = planned;
	progress->terminal = session->log != NULL && !session->config->status &&
			     isatty(fileno(session->log));
	error = ycsb_measure_init(&progress->now, intervals);
	return error != 0 ? error : ycsb_measure_init(&progress->last, intervals);
}

void ycsb_progress_fini(struct ycsb_progress *progress)
{
	ycsb_measure_fini(&progress->now);
	ycsb_measure_fini(&progress->last);
}

uint64_t ycsb_progress_interval_ns(const struct ycsb_progress *progress)
{
	uint64_t seconds =
		progress->config->status ? (uint64_t)progress->config->status_interval_s : 1;

	return seconds * 1000000000;
}

/* "2 days 3 hours", "1 hour 5 minutes", "12 seconds", as YCSB words it. */
static void remaining_text(double seconds, char *text, size_t capacity)
{
	uint64_t left = (uint64_t)ceil(fmin(seconds, 1e12));
	uint64_t days = left / 86400, hours = left / 3600 % 24, minutes = left / 60 % 60;
	size_t len = 0;

	text[0] = '\0';
	if (days > 0)
		len += (size_t)snprintf(text, capacity, "%llu day%s ", (unsigned long long)days,
					days == 1 ? "" : "s");
	if (hours > 0)
		len += (size_t)snprintf(text + len, capacity - len, "%llu hour%s ",
					(unsigned long long)hours, hours == 1 ? "" : "s");
	if (days == 0 && minutes > 0)
		len += (size_t)snprintf(text + len, capacity - len, "%llu minute%s ",
					(unsigned long long)minutes, minutes == 1 ? "" : "s");
	if (len == 0)
		snprintf(text, capacity, "%llu second%s ", (unsigned long long)left,
			 left == 1 ? "" : "s");
}

static double microseconds(uint64_t ns)
{
	return (double)ns / 1000.0;
}

/* The interval's own latencies: what is in `now` and was not yet in `last`. */
static void print_interval(FILE *to, const char *prefix, const char *name,
			   struct ycsb_histogram *histogram)
{
	fprintf(to,
		"[%s%s: Count=%llu, Max=%.2f, Min=%.2f, Avg=%.2f, 50=%.2f, 90=%.2f, 99=%.2f, "
		"99.9=%.2f, 99.99=%.2f] ",
		prefix, name, (unsigned long long)ycsb_histogram_count(histogram),
		microseconds(ycsb_histogram_max(histogram)),
		microseconds(ycsb_histogram_min(histogram)),
		ycsb_histogram_mean(histogram) / 1000.0,
		microseconds(ycsb_histogram_percentile(histogram, 50)),
		microseconds(ycsb_histogram_percentile(histogram, 90)),
		microseconds(ycsb_histogram_percentile(histogram, 99)),
		microseconds(ycsb_histogram_percentile(histogram, 99.9)),
		microseconds(ycsb_histogram_percentile(histogram, 99.99)));
}

static void print_intervals(struct ycsb_progress *progress)
{
	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++) {
		for (int i = 0; i < 4; i++) {
			struct ycsb_histogram *now = progress->now.histograms[metric][i / 2][i % 2];
			char name[64];

			if (now == NULL || !ycsb_histogram_used(now))
				continue;
			ycsb_histogram_subtract(now,
						progress->last.histograms[metric][i / 2][i % 2]);
			if (!ycsb_histogram_used(now))
				continue;
			snprintf(name, sizeof(name), "%s%s",
				 ycsb_metric_name((enum ycsb_metric)metric),
				 i % 2 == 1 ? "-FAILED" : "");
			print_interval(progress->to, i / 2 == 1 ? "Intended-" : "", name, now);
			/* Back to totals: the next interval is measured from here. */
			ycsb_histogram_add(progress->last.histograms[metric][i / 2][i % 2], now);
		}
	}
}

static void print_status(struct ycsb_progress *progress, uint64_t done, uint64_t elapsed_ns,
			 double rate, const char *remaining)
{
	struct timespec now;
	struct tm date;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &date);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &date);
	fprintf(progress->to, "%s%s:%03ld %llu sec: %llu operations; ", progress->config->label,
		text, now.tv_nsec / 1000000, (unsigned long long)(elapsed_ns / 1000000000),
		(unsigned long long)done);
	if (done != 0)
		fprintf(progress->to, "%.2f current ops/sec; ", rate);
	if (remaining[0] != '\0')
		fprintf(progress->to, "est completion in %s", remaining);
	print_intervals(progress);
	fputc('\n', progress->to);
}

void ycsb_progress_show(struct ycsb_progress *progress, uint64_t done, uint64_t elapsed_ns)
{
	double interval_s = (double)(elapsed_ns - progress->last_ns) / 1e9;
	double rate = interval_s > 0 ? (double)(done - progress->last_done) / interval_s : 0;
	double mean_rate = elapsed_ns > 0 ? (double)done / ((double)elapsed_ns / 1e9) : 0;
	char remaining[96] = "";

	if (progress->planned > done && done > 0)
		remaining_text((double)(progress->planned - done) / mean_rate, remaining,
			       sizeof(remaining));
	if (progress->config->status && progress->to != NULL) {
		print_status(progress, done, elapsed_ns, rate, remaining);
	} else if (progress->terminal) {
		fprintf(progress->to, "\r\033[K%s: %llu operations",
			progress->phase == YCSB_LOAD ? "load" : "run", (unsigned long long)done);
		if (progress->planned != 0)
			fprintf(progress->to, " (%.0f %%)",
				100.0 * (double)done / (double)progress->planned);
		fprintf(progress->to, ", %.0f per second%s%s", rate,
			remaining[0] != '\0' ? ", done in " : "", remaining);
		fflush(progress->to);
		progress->shown = true;
	}
	progress->last_done = done;
	progress->last_ns = elapsed_ns;
}

void ycsb_progress_end(struct ycsb_progress *progress)
{
	if (progress->shown)
		fputs("\r\033[K", progress->to);
	progress->shown = false;
}
