/* SPDX-License-Identifier: MIT */
#include "ycsb/model/parts.h"

#include <patronus/version.h>

#include <getopt.h>
#include <string.h>

enum {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2
};

static const char usage[] =
	"Usage: patronus-model [OPTION]... [PART]...\n"
	"Run the library on a model of network cards, in virtual time, and print tables.\n\n"
	"Options:\n"
	"  --document FILE  replace the parts' tables in FILE instead of printing them\n"
	"  --svg FILE       draw contention into FILE\n"
	"  --quick          shorter runs, for a look: numbers scatter more\n"
	"  --help           this text\n"
	"  --version        the version\n\n"
	"Exit status: 0 fine, 1 a failure, 2 wrong command line.\n\n"
	"Parts (default: all):\n";

static int help(void)
{
	fputs(usage, stdout);
	for (unsigned i = 0; i < model_part_count; i++)
		printf("  %-12s %s\n", model_parts[i].name, model_parts[i].help);
	return EXIT_FINE;
}

static int usage_error(const char *what)
{
	fprintf(stderr, "patronus-model: there is no part '%s'; see patronus-model --help\n", what);
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

int main(int argc, char **argv)
{
	static const struct option known[] = {
		{ "document", required_argument, NULL, 'd' },
		{ "svg", required_argument, NULL, 's' },
		{ "quick", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	struct model_options options = { .quick = false };
	const char *document = NULL;
	unsigned parts = 0;
	int option, ret;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
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
		else
			options.quick = true;
	}
	for (; optind < argc; optind++) {
		unsigned part = 0;

		while (part < model_part_count && strcmp(model_parts[part].name, argv[optind]) != 0)
			part++;
		if (part == model_part_count)
			return usage_error(argv[optind]);
		parts |= 1u << part;
	}
	ret = document ? model_document_update(document, &options, parts) :
			 print_parts(&options, parts);
	return ret ? EXIT_FAILED : EXIT_FINE;
}
