/* SPDX-License-Identifier: MIT */
#include "ycsb/cli.h"

#include "ycsb/report.h"
#include "ycsb/runner.h"

#include <patronus/version.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum {
	EXIT_FINE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2
};

static void on_interrupt(int signal_number)
{
	/* The second time the default applies: somebody wants out at once. */
	signal(signal_number, SIG_DFL);
	ycsb_phase_interrupt();
}

static int complain(const char *what)
{
	fprintf(stderr, "patronus-ycsb: %s\n", what);
	return EXIT_FAILED;
}

/* What went wrong in a phase, in words; EXIT_FAILED if anything did. */
static int judge(const struct ycsb_result *result, const struct ycsb_store_ops *ops)
{
	uint64_t wrong = ycsb_measure_failed(&result->measure, YCSB_METRIC_VERIFY);
	uint64_t failed = ycsb_result_failed(result) - wrong;
	char text[256];

	if (wrong != 0) {
		snprintf(text, sizeof(text),
			 "%llu values were not what was written; the table is damaged, or it was "
			 "not loaded with dataintegrity=true and the same fields",
			 (unsigned long long)wrong);
		complain(text);
	}
	if (failed != 0 && result->first_error == -ENOENT) {
		snprintf(text, sizeof(text),
			 "%llu operations failed, the first one a %s that found no record; was the "
			 "table loaded with the same recordcount, insertorder and zeropadding?",
			 (unsigned long long)failed, ycsb_metric_name(result->first_error_metric));
		complain(text);
	} else if (failed != 0) {
		snprintf(text, sizeof(text), "%llu operations failed, the first: %s: %s",
			 (unsigned long long)failed, ycsb_metric_name(result->first_error_metric),
			 ops->error_text(result->first_error));
		complain(text);
	}
	if (result->interrupted)
		complain("interrupted; the results cover what was done until then");
	return wrong != 0 || failed != 0 || result->interrupted ? EXIT_FAILED : EXIT_FINE;
}

static int run_phase(struct ycsb_session *session, enum ycsb_phase phase,
		     struct ycsb_report *report)
{
	struct ycsb_message why;
	struct ycsb_result result;
	int status;

	if (ycsb_phase_run(session, phase, &result, &why) != 0)
		return complain(why.text);
	status = judge(&result, session->ops);
	if (ycsb_report_phase(report, &result, &why) != 0)
		status = complain(why.text);
	ycsb_result_fini(&result);
	return status;
}

static int run_phases(const struct ycsb_cli *cli, struct ycsb_session *session,
		      struct ycsb_report *report)
{
	int status = EXIT_FINE;

	if (cli->phases & YCSB_LOAD)
		status = run_phase(session, YCSB_LOAD, report);
	if (cli->phases & YCSB_RUN && status == EXIT_FINE)
		status = run_phase(session, YCSB_RUN, report);
	return status;
}

static int with_store(const struct ycsb_cli *cli, struct ycsb_workload *workload,
		      struct ycsb_report *report)
{
	const struct ycsb_config *config = &cli->config;
	struct ycsb_session session = { config, cli->ops, NULL, workload, stderr };
	const struct ycsb_store_options store_options = {
		.schema = &workload->schema,
		.table = config->table,
		.target = config->target,
		.memory_bytes = config->memory_bytes,
		.record_cnt = (uint64_t)(config->record_cnt + ycsb_config_expected_inserts(config)),
		.initial_slots = (uint64_t)config->initial_slots,
		.term_ns = (uint64_t)config->term_ms * 1000000,
		.seed = (uint64_t)config->seed,
		.worker_cnt = (uint32_t)config->thread_cnt,
		.depth = (uint32_t)config->depth,
		.protection = config->protection != 0,
		.create = (cli->phases & YCSB_LOAD) != 0 || config->insert_proportion >= 1,
	};
	const char *why = NULL;
	char text[YCSB_TEXT_MAX + 256];
	int status, error = cli->ops->open(&store_options, &session.store, &why);

	if (error != 0) {
		snprintf(text, sizeof(text), "cannot open %s on %s: %s", cli->ops->name,
			 config->target, why != NULL ? why : cli->ops->error_text(error));
		return complain(text);
	}
	status = run_phases(cli, &session, report);
	cli->ops->close(session.store);
	return status;
}

static int benchmark(const struct ycsb_cli *cli, int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	struct ycsb_workload workload;
	struct ycsb_report report;
	struct ycsb_message why;
	int status = EXIT_FAILED;

	if (cli->config.note_cnt != 0)
		fprintf(stderr,
			"patronus-ycsb: %u properties have no effect here; 'patronus-ycsb "
			"properties' says which and why\n",
			cli->config.note_cnt);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (ycsb_workload_init(&workload, &cli->config) != 0)
		return complain("out of memory");
	if (ycsb_report_open(&report, &cli->config, cli->ops->name, argc, argv, &why) != 0) {
		complain(why.text);
	} else {
		status = with_store(cli, &workload, &report);
		if (ycsb_report_close(&report, &why) != 0)
			status = complain(why.text);
	}
	ycsb_workload_fini(&workload);
	return status;
}

int ycsb_main(int argc, char **argv, const struct ycsb_store_ops *const *stores)
{
	struct ycsb_message why;
	struct ycsb_cli cli;

	if (ycsb_cli_parse(argc, argv, stores, &cli, &why) != 0) {
		complain(why.text);
		return EXIT_USAGE;
	}
	switch (cli.command) {
	case YCSB_COMMAND_HELP:
		ycsb_cli_usage(stores, stdout);
		return EXIT_FINE;
	case YCSB_COMMAND_VERSION:
		printf("patronus-ycsb %s\n", ptn_version());
		return EXIT_FINE;
	case YCSB_COMMAND_PROPERTIES:
		ycsb_config_help(stdout);
		return EXIT_FINE;
	case YCSB_COMMAND_PHASES:
		break;
	}
	return benchmark(&cli, argc, argv);
}
