/* SPDX-License-Identifier: MIT */
#include "ycsb/bench/bench.h"

#include "ycsb/json.h"
#include "ycsb/runner.h"

#include <patronus/version.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	PAIRS_MAX = 101
};

static const char usage[] =
	"Usage: patronus-bench [OPTION]... [PART]...\n"
	"Measure the hash table in this process, on the software network card.\n\n"
	"Parts (default: all):\n"
	"  speed       one thread: operations per second, latency, round trips, bytes\n"
	"  protection  leased windows against none, workloads A B C D F, interleaved pairs\n"
	"  growth      from 1024 slots up: latency and memory per doubling\n"
	"  shrink      nine records of ten are deleted: memory held for what lives\n\n"
	"Options:\n"
	"  --records N   records of speed and shrink [1000000]; protection uses a fifth of it\n"
	"  --ops N       operations of one measured run [1000000]\n"
	"  --pairs N     pairs of runs per workload, 1 to 101 [11]\n"
	"  --growth N    records at the end of growth [10000000]\n"
	"  --memory N    bytes of each node [computed]\n"
	"  --seed N      seed of the random numbers [1]\n"
	"  --svg FILE    draw growth into FILE\n"
	"  --json FILE   write all numbers into FILE\n"
	"  --help        this text\n"
	"  --version     the version\n\n"
	"Tables go to standard output, progress and errors to standard error.\n"
	"Exit status: 0 fine, 1 a failure, 2 wrong command line.\n";

enum part {
	PART_SPEED = 1,
	PART_PROTECTION = 2,
	PART_GROWTH = 4,
	PART_SHRINK = 8,
	PART_ALL = 15
};

static void on_interrupt(int signal_number)
{
	signal(signal_number, SIG_DFL);
	ycsb_phase_interrupt();
}

static int usage_error(const char *what, const char *which)
{
	fprintf(stderr, "patronus-bench: %s '%s'; see patronus-bench --help\n", what, which);
	return EXIT_USAGE;
}

static int parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *count_out)
{
	char *end;
	unsigned long long count;

	errno = 0;
	count = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || count < min ||
	    count > max)
		return -EINVAL;
	*count_out = count;
	return 0;
}

static int parse_option(int option, struct bench_options *options)
{
	uint64_t pairs = options->pair_cnt;
	int error = 0;

	switch (option) {
	case 'r':
		error = parse_count(optarg, 1000, UINT64_C(1) << 40, &options->record_cnt);
		break;
	case 'o':
		error = parse_count(optarg, 1000, UINT64_C(1) << 40, &options->op_cnt);
		break;
	case 'p':
		error = parse_count(optarg, 1, PAIRS_MAX, &pairs);
		options->pair_cnt = (uint32_t)pairs;
		break;
	case 'g':
		error = parse_count(optarg, 2048, UINT64_C(1) << 40, &options->growth_cnt);
		break;
	case 'm':
		error = parse_count(optarg, 1 << 20, UINT64_C(1) << 50, &options->memory_bytes);
		break;
	case 's':
		error = parse_count(optarg, 0, INT64_MAX / 2, &options->seed);
		break;
	case 'v':
		options->svg = optarg;
		break;
	case 'j':
		options->json = optarg;
		break;
	default:
		return -EINVAL;
	}
	if (error != 0)
		usage_error("not possible:", optarg);
	return error;
}

/* Returns an exit status, or -1 to go on. */
static int parse(int argc, char **argv, struct bench_options *options, unsigned int *parts_out)
{
	static const struct option known[] = {
		{ "records", required_argument, NULL, 'r' },
		{ "ops", required_argument, NULL, 'o' },
		{ "pairs", required_argument, NULL, 'p' },
		{ "growth", required_argument, NULL, 'g' },
		{ "memory", required_argument, NULL, 'm' },
		{ "seed", required_argument, NULL, 's' },
		{ "svg", required_argument, NULL, 'v' },
		{ "json", required_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	static const char *const names[] = { "speed", "protection", "growth", "shrink" };
	unsigned int parts = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return EXIT_FINE;
		}
		if (option == 'V') {
			printf("patronus-bench %s\n", ptn_version());
			return EXIT_FINE;
		}
		if (parse_option(option, options) != 0)
			return EXIT_USAGE;
	}
	for (; optind < argc; optind++) {
		unsigned int part = 0;

		while (part < 4 && strcmp(names[part], argv[optind]) != 0)
			part++;
		if (part == 4)
			return usage_error("there is no part", argv[optind]);
		parts |= 1U << part;
	}
	*parts_out = parts != 0 ? parts : PART_ALL;
	return -1;
}

static void json_begin(struct ycsb_json *json, const struct bench_options *options)
{
	struct utsname host;

	ycsb_json_open(json, NULL, '{');
	ycsb_json_count(json, "schema_version", 1);
	ycsb_json_text(json, "tool", "patronus-bench");
	ycsb_json_text(json, "version", ptn_version());
	if (uname(&host) == 0) {
		ycsb_json_text(json, "host", host.nodename);
		ycsb_json_text(json, "kernel", host.release);
	}
	ycsb_json_count(json, "records", options->record_cnt);
	ycsb_json_count(json, "ops", options->op_cnt);
	ycsb_json_count(json, "seed", options->seed);
}

/* Wall-clock numbers of a machine that does other things say little, and nobody would know later. */
static void load_check(const struct bench_options *options)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	double load;

	if (getloadavg(&load, 1) != 1)
		return;
	if (options->out != NULL) {
		ycsb_json_real(options->out, "load_average", load);
		ycsb_json_count(options->out, "cpus", (uint64_t)cpus);
	}
	if (load > (double)cpus / 2)
		printf("\nThis machine is busy: load %.1f on %ld processors. Throughput and tail latency "
		       "below are not the library's; repeat on an idle machine.\n",
		       load, cpus);
}

static int run_parts(const struct bench_options *options, unsigned int parts,
		     struct ycsb_message *why_out)
{
	struct bench_options fewer = *options;
	int error = 0;

	fewer.record_cnt = options->record_cnt / 5;
	if (parts & PART_SPEED)
		error = bench_speed(options, why_out);
	if (parts & PART_PROTECTION && error == 0)
		error = bench_protection(&fewer, why_out);
	if (parts & PART_GROWTH && error == 0)
		error = bench_growth(options, why_out);
	if (parts & PART_SHRINK && error == 0)
		error = bench_shrink(options, why_out);
	return error;
}

int main(int argc, char **argv)
{
	struct bench_options options = { .record_cnt = 1000000,
					 .op_cnt = 1000000,
					 .growth_cnt = 10000000,
					 .pair_cnt = 11,
					 .seed = 1 };
	struct sigaction action = { .sa_handler = on_interrupt };
	struct ycsb_message why = { "" };
	struct ycsb_json json;
	FILE *file = NULL;
	unsigned int parts;
	int error, status = parse(argc, argv, &options, &parts);

	if (status >= 0)
		return status;
	sigaction(SIGINT, &action, NULL);
	if (options.json != NULL) {
		file = fopen(options.json, "we");
		if (file == NULL)
			return usage_error(strerror(errno), options.json);
		ycsb_json_init(&json, file);
		json_begin(&json, &options);
		options.out = &json;
	}
	load_check(&options);
	error = run_parts(&options, parts, &why);
	if (file != NULL) {
		ycsb_json_close(&json, '}');
		if (fclose(file) != 0 && error == 0)
			error = ycsb_message_set(&why, "%s: %s", options.json, strerror(errno));
	}
	if (error == 0)
		return EXIT_FINE;
	bench_say("%s", why.text);
	return EXIT_FAILED;
}
