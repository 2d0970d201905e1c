/* SPDX-License-Identifier: MIT */
#include "ycsb/model/parts.h"

#include <patronus/version.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2
};

static const char usage[] =
	"Usage: patronus-model [OPTION]... [PART]...\n"
	"       patronus-model --workload LETTER [OPTION]...\n"
	"Run the library on a model of network cards, in virtual time, and print tables.\n\n"
	"Options:\n"
	"  --document FILE  replace the parts' tables in FILE instead of printing them\n"
	"  --svg FILE       draw contention into FILE\n"
	"  --quick          shorter runs, for a look: numbers scatter more\n"
	"  --help           this text\n"
	"  --version        the version\n\n"
	"One workload on a cluster of your own:\n"
	"  --workload A     A, B, C, D or F of YCSB, or U: updates only\n"
	"  --nodes N        memory nodes, a card each, 1 to 8 (1)\n"
	"  --machines N     machines of clients, a card each, up to 64 (1)\n"
	"  --cores N        of each, up to 128 (8)\n"
	"  --depth N        operations that a core has under way, up to 64 (1)\n"
	"  --records N      up to 1000000 (5000)\n"
	"  --value BYTES    of a record, up to 8192 (64)\n"
	"  --card NAME      cx5 or cx6 (cx5)\n"
	"  --unprotected    without windows and leases\n\n"
	"Exit status: 0 fine, 1 a failure, 2 wrong command line.\n\n"
	"Parts (default: all):\n";

static int help(void)
{
	fputs(usage, stdout);
	for (unsigned i = 0; i < model_part_count; i++)
		printf("  %-12s %s\n", model_parts[i].name, model_parts[i].help);
	return EXIT_FINE;
}

static int usage_error(const char *option, const char *text)
{
	fprintf(stderr, "patronus-model: --%s cannot be '%s'; see patronus-model --help\n", option,
		text);
	return EXIT_USAGE;
}

static int print_parts(const struct model_options *options, unsigned parts)
{
	for (unsigned i = 0; i < model_part_count; i++) {
		if (parts && !(parts >> i & 1))
			continue;
		printf("\n%s: %s\n\n", model_parts[i].name, model_parts[i].help);
		if (model_parts[i].run(options, stdout))
			return EXIT_FAILED;
	}
	return EXIT_FINE;
}

/* A cluster as the command line has it. */
struct wish {
	bool any;
	unsigned long cores;
	struct model_mix_run run;
};

enum {
	WORKERS_MAX = 8, /* of a process */
	OPTION_WORKLOAD = 256,
	OPTION_NODES,
	OPTION_MACHINES,
	OPTION_CORES,
	OPTION_DEPTH,
	OPTION_RECORDS,
	OPTION_VALUE,
	OPTION_CARD,
	OPTION_UNPROTECTED,
};

static const struct option known[] = {
	{ "document", required_argument, NULL, 'd' },
	{ "svg", required_argument, NULL, 's' },
	{ "quick", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "workload", required_argument, NULL, OPTION_WORKLOAD },
	{ "nodes", required_argument, NULL, OPTION_NODES },
	{ "machines", required_argument, NULL, OPTION_MACHINES },
	{ "cores", required_argument, NULL, OPTION_CORES },
	{ "depth", required_argument, NULL, OPTION_DEPTH },
	{ "records", required_argument, NULL, OPTION_RECORDS },
	{ "value", required_argument, NULL, OPTION_VALUE },
	{ "card", required_argument, NULL, OPTION_CARD },
	{ "unprotected", no_argument, NULL, OPTION_UNPROTECTED },
	{ NULL, 0, NULL, 0 },
};

static bool number(const char *text, unsigned long max, unsigned *number_out)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || !value || value > max)
		return false;
	*number_out = (unsigned)value;
	return true;
}

static bool wish_read(struct wish *wish, int option, const char *text)
{
	struct model_mix_run *run = &wish->run;
	unsigned cores;

	wish->any = true;
	switch (option) {
	case OPTION_WORKLOAD:
		run->letter = text[0];
		return strlen(text) == 1 && strchr("ABCDFU", text[0]);
	case OPTION_NODES:
		return number(text, MODEL_NODES_MAX, &run->nodes);
	case OPTION_MACHINES:
		return number(text, 64, &run->machines);
	case OPTION_CORES:
		if (!number(text, 128, &cores))
			return false;
		wish->cores = cores;
		return true;
	case OPTION_DEPTH:
		return number(text, 64, &run->fibers);
	case OPTION_RECORDS:
		return number(text, 1000000, &run->records);
	case OPTION_VALUE:
		return number(text, 8192, &run->value_bytes);
	case OPTION_CARD:
		run->card = strcmp(text, "cx6") ? PTNI_SIM_CX5 : PTNI_SIM_CX6;
		return !strcmp(text, "cx5") || !strcmp(text, "cx6");
	default:
		run->unprotected = true;
		return true;
	}
}

static int wish_run(struct wish *wish, bool quick)
{
	struct model_mix_run *run = &wish->run;

	if (!run->letter) {
		fprintf(stderr,
			"patronus-model: say which --workload; see patronus-model --help\n");
		return EXIT_USAGE;
	}
	run->workers = WORKERS_MAX;
	while (wish->cores % run->workers)
		run->workers--;
	run->processes = (unsigned)wish->cores / run->workers;
	run->warm_ns = quick ? 200000 : 2000000;
	run->measure_ns = quick ? 800000 : 8000000;
	model_scale_head(stdout);
	return model_scale_row(run, stdout) ? EXIT_FAILED : EXIT_FINE;
}

/* The parts named behind the options, as bits; all bits: one of them does not exist, and was named. */
static unsigned parts_read(char *const *names)
{
	unsigned parts = 0;

	for (; *names; names++) {
		unsigned part = 0;

		while (part < model_part_count && strcmp(model_parts[part].name, *names) != 0)
			part++;
		if (part == model_part_count) {
			fprintf(stderr,
				"patronus-model: there is no part '%s'; see patronus-model --help\n",
				*names);
			return ~0u;
		}
		parts |= 1u << part;
	}
	return parts;
}

int main(int argc, char **argv)
{
	struct model_options options = { .quick = false };
	struct wish wish = { .cores = 8, .run = { .nodes = 1, .machines = 1, .fibers = 1 } };
	const char *document = NULL;
	unsigned parts;
	int option, index = 0;

	while ((option = getopt_long(argc, argv, "", known, &index)) != -1) {
		if (option == 'h')
			return help();
		if (option == 'V')
			return printf("patronus-model %s\n", ptn_version()) < 0;
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'd')
			document = optarg;
		else if (option == 's')
			options.svg = optarg;
		else if (option == 'q')
			options.quick = true;
		else if (!wish_read(&wish, option, optarg))
			return usage_error(known[index].name, optarg);
	}
	parts = parts_read(argv + optind);
	if (parts == ~0u)
		return EXIT_USAGE;
	if (wish.any)
		return wish_run(&wish, options.quick);
	if (document)
		return model_document_update(document, &options, parts) ? EXIT_FAILED : EXIT_FINE;
	return print_parts(&options, parts);
}
