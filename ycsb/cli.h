/* SPDX-License-Identifier: MIT */
/*
 * The command line: `patronus-ycsb bench|load|run STORE [-P FILE] [-p NAME=VALUE] ...`. As in YCSB files are
 * read in order, then -p and the other options in order over them. Each option may have one dash or two.
 */
#ifndef YCSB_CLI_H
#define YCSB_CLI_H

#include "ycsb/config.h"
#include "ycsb/store.h"

enum ycsb_command {
	YCSB_COMMAND_HELP,
	YCSB_COMMAND_VERSION,
	YCSB_COMMAND_PROPERTIES,
	YCSB_COMMAND_PHASES
};

struct ycsb_cli {
	enum ycsb_command command;
	enum ycsb_phase phases;
	const struct ycsb_store_ops *ops;
	struct ycsb_config config;
};

/* `stores` is ended by NULL. Errors: -EINVAL and those of reading a file; why_out says what to do next. */
int ycsb_cli_parse(int argc, char **argv, const struct ycsb_store_ops *const *stores,
		   struct ycsb_cli *cli, struct ycsb_message *why_out);
void ycsb_cli_usage(const struct ycsb_store_ops *const *stores, FILE *to);

/* The whole program: 0 fine, 1 a failure, 2 a wrong command line or property. */
int ycsb_main(int argc, char **argv, const struct ycsb_store_ops *const *stores);

#endif
