/* SPDX-License-Identifier: MIT */
#include "ycsb/cli.h"

#include "ycsb/properties.h"

#include <errno.h>
#include <string.h>

struct option {
	const char *name;
	const char *property; /* set to the argument; NULL: -P and -p themselves */
	const char *argument; /* NULL: takes none */
	const char *help;
};

static const struct option options[] = {
	{ "P", NULL, "FILE", "read properties from FILE; a later file overrides an earlier one" },
	{ "p", NULL, "NAME=VALUE", "set a property; overrides the files" },
	{ "threads", "threadcount", "N", "client threads [1]" },
	{ "target", "target", "N", "operations per second of all threads; 0: as many as possible" },
	{ "s", "status", NULL, "show a status line every status.interval seconds" },
	{ "l", "label", "TEXT", "put TEXT before the status line" },
	{ NULL, NULL, NULL, NULL },
};

void ycsb_cli_usage(const struct ycsb_store_ops *const *stores, FILE *to)
{
	fputs("Usage: patronus-ycsb COMMAND STORE [OPTION]...\n"
	      "Run YCSB's core workload against a store of Patronus.\n\nCommands:\n"
	      "  bench       load the table, then run the workload on it, in one process\n"
	      "  load        insert the records\n"
	      "  run         run the workload on a table that was loaded before\n"
	      "  properties  list all properties (takes no store)\n\nStores:\n",
	      to);
	for (; *stores != NULL; stores++)
		fprintf(to, "  %-11s %s\n", (*stores)->name, (*stores)->summary);
	fputs("\nOptions (with one dash or two):\n", to);
	for (const struct option *o = options; o->name != NULL; o++)
		fprintf(to, "  -%s %-*s %s\n", o->name, 19 - (int)strlen(o->name),
			o->argument != NULL ? o->argument : "", o->help);
	fputs("  --help               this text\n"
	      "  --version            the version\n\n"
	      "Example:\n"
	      "  patronus-ycsb bench hash -P workloads/workloada -p recordcount=100000 \\\n"
	      "      -p operationcount=1000000 -s\n\n"
	      "Results go to standard output, status and errors to standard error.\n"
	      "Exit status: 0 fine, 1 failed operations or values, 2 wrong command line.\n",
	      to);
}

/* "-threads" and "--threads" -> "threads"; NULL if it is no option. */
static const char *option_text(const char *argument)
{
	if (argument[0] != '-' || argument[1] == '\0')
		return NULL;
	return argument + (argument[1] == '-' ? 2 : 1);
}

static const struct option *option_find(const char *text)
{
	for (const struct option *o = options; o->name != NULL; o++) {
		if (strcmp(o->name, text) == 0)
			return o;
	}
	return NULL;
}

static int set_pair(struct ycsb_config *config, const char *pair, struct ycsb_message *why_out)
{
	const char *equals = strchr(pair, '=');
	char name[128];

	if (equals == NULL || equals == pair)
		return ycsb_message_set(why_out,
					"-p %.100s: write -p NAME=VALUE, for instance "
					"-p recordcount=1000000",
					pair);
	if ((size_t)(equals - pair) >= sizeof(name))
		return ycsb_message_set(why_out, "-p %.40s...: no property has so long a name",
					pair);
	memcpy(name, pair, (size_t)(equals - pair));
	name[equals - pair] = '\0';
	return ycsb_config_set(config, name, equals + 1, "-p", why_out);
}

static int apply(struct ycsb_cli *cli, const struct option *option, const char *argument,
		 bool files, struct ycsb_message *why_out)
{
	char origin[32];

	if (strcmp(option->name, "P") == 0)
		return files ? ycsb_properties_load(argument, ycsb_config_set, &cli->config,
						    why_out) :
			       0;
	if (files)
		return 0;
	if (strcmp(option->name, "p") == 0)
		return set_pair(&cli->config, argument, why_out);
	snprintf(origin, sizeof(origin), "-%s", option->name);
	return ycsb_config_set(&cli->config, option->property,
			       option->argument != NULL ? argument : "true", origin, why_out);
}

/* One pass over the options: the files first, everything else in the second pass. */
static int parse_options(int argc, char **argv, struct ycsb_cli *cli, bool files,
			 struct ycsb_message *why_out)
{
	for (int i = 3; i < argc; i++) {
		const char *text = option_text(argv[i]), *argument = NULL;
		const struct option *option = text != NULL ? option_find(text) : NULL;
		int error;

		if (option == NULL)
			return ycsb_message_set(why_out,
						"'%.100s' is not an option; 'patronus-ycsb --help' "
						"lists them",
						argv[i]);
		if (option->argument != NULL) {
			if (++i == argc)
				return ycsb_message_set(why_out, "-%s needs an argument: -%s %s",
							option->name, option->name,
							option->argument);
			argument = argv[i];
		}
		error = apply(cli, option, argument, files, why_out);
		if (error != 0)
			return error;
	}
	return 0;
}

static int parse_command(const char *text, struct ycsb_cli *cli, struct ycsb_message *why_out)
{
	static const struct {
		const char *name;
		enum ycsb_command command;
		enum ycsb_phase phases;
	} commands[] = {
		{ "bench", YCSB_COMMAND_PHASES, YCSB_BENCH },
		{ "load", YCSB_COMMAND_PHASES, YCSB_LOAD },
		{ "run", YCSB_COMMAND_PHASES, YCSB_RUN },
		{ "properties", YCSB_COMMAND_PROPERTIES, YCSB_BENCH },
		{ "-h", YCSB_COMMAND_HELP, YCSB_BENCH },
		{ "-help", YCSB_COMMAND_HELP, YCSB_BENCH },
		{ "--help", YCSB_COMMAND_HELP, YCSB_BENCH },
		{ "-version", YCSB_COMMAND_VERSION, YCSB_BENCH },
		{ "--version", YCSB_COMMAND_VERSION, YCSB_BENCH },
	};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, text) == 0) {
			cli->command = commands[i].command;
			cli->phases = commands[i].phases;
			return 0;
		}
	}
	return ycsb_message_set(why_out,
				"'%.100s' is not a command; use bench, load, run or properties, or "
				"--help",
				text);
}

static int parse_store(const char *text, const struct ycsb_store_ops *const *stores,
		       struct ycsb_cli *cli, struct ycsb_message *why_out)
{
	char known[256] = "";
	size_t len = 0;

	for (; *stores != NULL; stores++) {
		if (text != NULL && strcmp((*stores)->name, text) == 0) {
			cli->ops = *stores;
			return 0;
		}
		if (len < sizeof(known))
			len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
						len > 0 ? ", " : "", (*stores)->name);
	}
	if (text == NULL || option_text(text) != NULL)
		return ycsb_message_set(why_out,
					"which store? Name it after the command; there is: "
					"%s",
					known);
	return ycsb_message_set(why_out, "there is no store '%.100s'; this version has: %s", text,
				known);
}

/* What the store and the target can do with this workload. */
static int check_store(const struct ycsb_cli *cli, struct ycsb_message *why_out)
{
	const struct ycsb_config *config = &cli->config;

	if (cli->phases & YCSB_RUN && config->scan_proportion > 0 && cli->ops->scan == NULL)
		return ycsb_message_set(why_out, "scanproportion=%g: %s", config->scan_proportion,
					cli->ops->unordered_reason);
	if (cli->phases == YCSB_RUN && strcmp(config->target, "inproc") == 0 &&
	    config->insert_proportion < 1)
		return ycsb_message_set(
			why_out, "run with patronus.target=inproc starts with an empty table; "
				 "use 'bench', which loads it first, or a node of its own: "
				 "-p patronus.target=shm:PATH");
	return 0;
}

int ycsb_cli_parse(int argc, char **argv, const struct ycsb_store_ops *const *stores,
		   struct ycsb_cli *cli, struct ycsb_message *why_out)
{
	int error;

	memset(cli, 0, sizeof(*cli));
	ycsb_config_init(&cli->config);
	if (argc < 2)
		return ycsb_message_set(why_out, "no command; use bench, load, run or properties, "
						 "or --help");
	error = parse_command(argv[1], cli, why_out);
	for (int i = 2; i < argc && error == 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-help") == 0)
			cli->command = YCSB_COMMAND_HELP;
	}
	if (error != 0 || cli->command != YCSB_COMMAND_PHASES)
		return error;
	error = parse_store(argc > 2 ? argv[2] : NULL, stores, cli, why_out);
	if (error == 0)
		error = parse_options(argc, argv, cli, true, why_out);
	if (error == 0)
		error = parse_options(argc, argv, cli, false, why_out);
	if (error == 0)
		error = ycsb_config_check(&cli->config, cli->phases, why_out);
	return error != 0 ? error : check_store(cli, why_out);
}
