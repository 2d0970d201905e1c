/* SPDX-License-Identifier: MIT */
/* patronus-sim: hostile worlds in virtual time. */
#include "core/base/clock.h"
#include "core/base/sanitizer.h"
#include "tests/sim/modes.h"

#include <patronus/log.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	SECONDS_DEFAULT = 60
};

static const char usage[] =
	"usage: patronus-sim [MODE] [OPTION...]\n"
	"\n"
	"  (nothing)        fresh seeds, until one fails or the time is over\n"
	"  SEED             this seed, with what it found\n"
	"  --kind KIND SEED one of the worlds in which planted bugs are hunted\n"
	"  --kinds N        seeds 1 to N of every kind\n"
	"  --twice N        seeds 1 to N, each twice: the same events both times\n"
	"  --crash [all]    kill a client behind every verb of every operation\n"
	"  --crash-point N  one of these, by the number that a failure names\n"
	"  --exhaustive [all] every schedule of small scopes\n"
	"  --bugs [NAME]    every planted bug must be found (core/base/planted.h)\n"
	"\n"
	"  --seconds N      of wall time (60)\n"
	"  --jobs N         worlds at a time (the number of CPUs)\n"
	"  --first N        first seed of --twice and --kinds\n"
	"  --trace          with SEED or --kind: one line an event\n"
	"\n"
	"Environment: PTN_LOG as for the library (off here, else); PTN_SIM_HISTORY=1 prints the history of a\n"
	"key that cannot be explained.\n";

#if PTNI_ASAN
/* What a killed client had allocated is lost on purpose. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

struct arguments {
	struct mode_options options;
	const char *mode, *kind;
	uint64_t number, first;
	bool all;
};

static bool number_parse(const char *text, uint64_t *number_out)
{
	char *end;

	if (!text || !*text)
		return false;
	*number_out = strtoull(text, &end, 0);
	return !*end;
}

/* Returns how many arguments were used, 0 for none that we know. */
static int argument_take(struct arguments *args, char **argv)
{
	uint64_t number = 0, seed;
	bool numeric = argv[1] && number_parse(argv[1], &number);

	if (!strcmp(argv[0], "--trace")) {
		args->options.trace = true;
		return 1;
	}
	if (!strcmp(argv[0], "--bugs")) {
		args->mode = argv[0] + 2;
		args->options.bug = argv[1] && *argv[1] != '-' ? argv[1] : NULL;
		return 1 + (args->options.bug != NULL);
	}
	if (!strcmp(argv[0], "--crash") || !strcmp(argv[0], "--exhaustive")) {
		args->mode = argv[0] + 2;
		args->all = argv[1] && !strcmp(argv[1], "all");
		return 1 + args->all;
	}
	if (!strcmp(argv[0], "--kind") && argv[1] && number_parse(argv[2], &args->number)) {
		args->mode = argv[0] + 2;
		args->kind = argv[1];
		return 3;
	}
	if (number_parse(argv[0], &seed)) {
		args->mode = "seed";
		args->number = seed;
		return 1;
	}
	if (!numeric)
		return 0;
	if (!strcmp(argv[0], "--twice")) {
		args->mode = "twice";
		args->number = number;
	} else if (!strcmp(argv[0], "--kinds")) {
		args->mode = "kinds";
		args->number = number;
	} else if (!strcmp(argv[0], "--crash-point")) {
		args->mode = "crash-point";
		args->number = number;
	} else if (!strcmp(argv[0], "--seconds")) {
		args->options.seconds = number;
	} else if (!strcmp(argv[0], "--jobs")) {
		args->options.jobs = (uint32_t)number;
	} else if (!strcmp(argv[0], "--first")) {
		args->first = number;
	} else {
		return 0;
	}
	return 2;
}

static int run(const struct arguments *args)
{
	if (!args->mode)
		return mode_fresh(&args->options);
	if (!strcmp(args->mode, "seed"))
		return mode_seed(&args->options, args->number);
	if (!strcmp(args->mode, "kind"))
		return mode_kind(&args->options, args->kind, args->number);
	if (!strcmp(args->mode, "kinds"))
		return mode_kinds(&args->options, args->first, args->number);
	if (!strcmp(args->mode, "twice"))
		return mode_twice(&args->options, args->first, args->number);
	if (!strcmp(args->mode, "crash"))
		return mode_crash(&args->options, args->all);
	if (!strcmp(args->mode, "crash-point"))
		return mode_crash_point(&args->options, args->number);
	if (!strcmp(args->mode, "exhaustive"))
		return mode_exhaustive(args->all);
	return mode_bugs(&args->options);
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct arguments args = {
		.options = { .seconds = SECONDS_DEFAULT, .jobs = cpus > 0 ? (uint32_t)cpus : 1 },
		.first = 1,
	};

	for (int i = 1, used; i < argc; i += used) {
		used = argument_take(&args, argv + i);
		if (!used) {
			bool help = !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");

			fputs(usage, help ? stdout : stderr);
			return help ? 0 : 2;
		}
	}
	if (!args.options.jobs)
		args.options.jobs = 1;
	if (!getenv("PTN_LOG"))
		(void)ptn_log_level_set("off");
	(void)ptni_clock_now_ns(); /* calibrates once for all children */
	setvbuf(stdout, NULL, _IOLBF, 0);
	return run(&args);
}
