/* SPDX-License-Identifier: MIT */
/* The driver end to end, on a store in plain memory: phases, output, faults, exit codes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "memory_store.h"
#include "ycsb/cli.h"
#include "ycsb/runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct ycsb_store_ops *const stores[] = { &memory_store_ops,
						       &memory_store_unordered_ops, NULL };

struct outcome {
	int status;
	char *out, *err; /* what it printed */
};

static char *slurp(FILE *file)
{
	long len;
	char *text;

	fseek(file, 0, SEEK_END);
	len = ftell(file);
	rewind(file);
	text = malloc((size_t)len + 1);
	text[fread(text, 1, (size_t)len, file)] = '\0';
	fclose(file);
	return text;
}

/* Runs the program inside this process with its output caught. */
static struct outcome run(const char *line)
{
	struct outcome outcome;
	FILE *out = tmpfile(), *err = tmpfile();
	int saved_out, saved_err, argc = 1;
	char text[1024], *rest, *argv[40] = { (char[]){ "patronus-ycsb" } };

	snprintf(text, sizeof(text), "%s", line);
	for (char *at = strtok_r(text, " ", &rest); at != NULL; at = strtok_r(NULL, " ", &rest))
		argv[argc++] = at;
	fflush(stdout);
	fflush(stderr);
	saved_out = dup(1);
	saved_err = dup(2);
	dup2(fileno(out), 1);
	dup2(fileno(err), 2);
	outcome.status = ycsb_main(argc, argv, stores);
	fflush(stdout);
	fflush(stderr);
	dup2(saved_out, 1);
	dup2(saved_err, 2);
	close(saved_out);
	close(saved_err);
	outcome.out = slurp(out);
	outcome.err = slurp(err);
	return outcome;
}

static void outcome_free(struct outcome *outcome)
{
	free(outcome->out);
	free(outcome->err);
}

static void expect(const char *line, int status, const char *in_out, const char *in_err)
{
	struct outcome outcome = run(line);

	if (outcome.status != status || strstr(outcome.out, in_out) == NULL ||
	    strstr(outcome.err, in_err) == NULL)
		fail_msg("'%s' ended with %d, not %d, or lacks '%s' or '%s':\n%s\n%s", line,
			 outcome.status, status, in_out, in_err, outcome.out, outcome.err);
	outcome_free(&outcome);
}

/* The value after "[metric], measurement, ". */
static double number(const char *out, const char *metric, const char *measurement)
{
	char text[128];
	const char *at;

	snprintf(text, sizeof(text), "[%s], %s, ", metric, measurement);
	at = strstr(out, text);
	if (at == NULL)
		fail_msg("no '%s' in:\n%s", text, out);
	return strtod(at + strlen(text), NULL);
}

#define SMALL " -p recordcount=500 -p operationcount=4000 -p fieldcount=3 -p fieldlength=20"

static void bench__prints_both_blocks(void **state)
{
	struct outcome outcome =
		run("bench memory -threads 3 -p readproportion=0.5 "
		    "-p updateproportion=0.5 -p requestdistribution=zipfian" SMALL);
	const char *second;

	assert_int_equal(outcome.status, 0);
	assert_string_equal(outcome.err, "");
	assert_true(number(outcome.out, "INSERT", "Operations") == 500);
	assert_true(number(outcome.out, "INSERT", "Return=OK") == 500);
	second = strstr(outcome.out, "[OVERALL], Phase, run");
	assert_non_null(second);
	assert_true(number(second, "READ", "Operations") + number(second, "UPDATE", "Operations") ==
		    4000);
	assert_true(number(second, "READ", "50thPercentileLatency(us)") <=
		    number(second, "READ", "99.9PercentileLatency(us)"));
	assert_true(number(second, "OVERALL", "Throughput(ops/sec)") > 0);
	assert_true(number(second, "CLEANUP", "Operations") == 3);
	/* Counters of this phase alone, and of the whole where they are a state. */
	assert_true(number(second, "PATRONUS", "RoundTrips") == 4000);
	assert_true(number(second, "PATRONUS", "RoundTripsPerOp") == 1);
	assert_true(number(second, "PATRONUS", "RecordsHeld") == 500);
	assert_null(strstr(second, "RecordsHeldPerOp"));
	outcome_free(&outcome);
}

static void bench__every_operation_and_distribution(void **state)
{
	static const char *const distributions[] = { "uniform", "zipfian",    "latest",
						     "hotspot", "sequential", "exponential" };
	char line[512];

	for (size_t i = 0; i < 6; i++) {
		struct outcome outcome;

		snprintf(line, sizeof(line),
			 "bench memory --threads 4 -p requestdistribution=%s -p readproportion=0.3 "
			 "-p updateproportion=0.2 -p insertproportion=0.2 -p scanproportion=0.1 "
			 "-p maxscanlength=20 -p readmodifywriteproportion=0.2 "
			 "-p dataintegrity=true" SMALL,
			 distributions[i]);
		outcome = run(line);
		assert_int_equal(outcome.status, 0);
		assert_true(number(strstr(outcome.out, "Phase, run"), "INSERT", "Return=OK") > 600);
		assert_true(number(outcome.out, "READ-MODIFY-WRITE", "Return=OK") > 600);
		assert_true(number(outcome.out, "SCAN", "Return=OK") > 300);
		assert_true(number(outcome.out, "VERIFY", "Return=OK") > 5000);
		assert_null(strstr(outcome.out, "FAILED"));
		assert_null(strstr(outcome.out, "Return=NOT_FOUND"));
		outcome_free(&outcome);
	}
}

static void fields__of_varying_length(void **state)
{
	expect("bench memory -p fieldlengthdistribution=zipfian -p minfieldlength=2" SMALL, 0,
	       "[UPDATE], Return=OK", "");
	expect("bench memory -p fieldlengthdistribution=uniform -p writeallfields=true" SMALL, 0,
	       "[UPDATE], Return=OK", "");
}

static void faults__wrong_values_make_the_run_fail(void **state)
{
	memory_store_faults.damage_every = 500;
	expect("bench memory -p dataintegrity=true" SMALL, 1,
	       "[VERIFY], Return=UNEXPECTED_STATE, 7", "7 values were not what was written");
	memory_store_faults.damage_every = 0;
	memory_store_faults.mix_every = 1000;
	expect("bench memory -p dataintegrity=true" SMALL, 1, "Return=UNEXPECTED_STATE, 3",
	       "3 values were not what was written");
	memory_store_faults.mix_every = 0;
}

static void faults__a_failed_insert_ends_the_load(void **state)
{
	memory_store_faults.insert_fails_at = 100;
	expect("bench memory" SMALL, 1, "[INSERT], Return=ERROR, 1", "No space left");
	expect("load memory -p core_workload_insertion_keep_going_on_error=true" SMALL, 1,
	       "[INSERT], Return=OK, 499", "1 operations failed, the first: INSERT");
	expect("load memory -p core_workload_insertion_retry_limit=1 "
	       "-p core_workload_insertion_retry_interval=0" SMALL,
	       1, "[INSERT], Return=OK, 500", "1 operations failed");
	memory_store_faults.insert_fails_at = 0;
}

static void faults__a_worker_that_cannot_open(void **state)
{
	memory_store_faults.worker_fails_at = 3;
	expect("bench memory -threads 4" SMALL, 1, "", "thread");
	memory_store_faults.worker_fails_at = 0;
	expect("bench memory -p patronus.target=nowhere" SMALL, 1, "",
	       "cannot open memory on nowhere: nowhere is no place; use inproc");
}

static void run__on_too_few_records_says_so(void **state)
{
	expect("bench memory -p recordcount=900 -p insertcount=400 -p operationcount=200 "
	       "-p requestdistribution=latest",
	       1, "Return=NOT_FOUND", "was the table loaded with the same recordcount");
}

static void usage__errors_name_the_next_step(void **state)
{
	expect("", 2, "", "no command");
	expect("walk memory", 2, "", "use bench, load, run or properties");
	expect("bench btree" SMALL, 2, "", "no store 'btree'; this version has: memory, unordered");
	expect("bench" SMALL, 2, "", "which store?");
	expect("bench memory -x 5", 2, "", "'-x' is not an option");
	expect("bench memory -p", 2, "", "-p needs an argument");
	expect("bench memory -p recordcount", 2, "", "write -p NAME=VALUE");
	expect("bench memory -threads 0" SMALL, 2, "", "-threads: threadcount=0 is not possible");
	expect("bench memory -P /nonexistent/w" SMALL, 2, "", "No such file");
	expect("bench memory", 2, "", "recordcount is not set");
	expect("run memory" SMALL, 2, "", "use 'bench', which loads it first");
	expect("bench unordered -p scanproportion=0.05 -p readproportion=0.9" SMALL, 2, "",
	       "it keeps no order, so it cannot scan");
	expect("--help", 0, "Usage: patronus-ycsb", "");
	expect("bench memory --help", 0, "Usage: patronus-ycsb", "");
	expect("--version", 0, "patronus-ycsb 0.", "");
	expect("properties", 0, "requestdistribution", "");
}

/* Command lines of known words in any order, and words that are nothing. */
static void usage__random_command_lines_are_refused_or_accepted_never_more(void **state)
{
	static const char *const words[] = {
		"bench",
		"load",
		"run",
		"memory",
		"unordered",
		"-p",
		"-P",
		"-s",
		"-threads",
		"--target",
		"-l",
		"recordcount=9",
		"operationcount=9",
		"=",
		"x=",
		"-",
		"--",
		"",
		"5",
		"-5",
		"/dev/null",
		"/",
		"--help",
		"workload=core",
		"table=\xff",
		"-p=1",
		"insertcount=0",
	};
	struct ycsb_cli *cli = malloc(sizeof(*cli));
	struct ycsb_message why;
	struct ptni_rng random;
	int accepted = 0, refused = 0;

	ptni_rng_seed_stream(&random, 12, 0);
	for (int round = 0; round < 20000; round++) {
		char *argv[12] = { (char[]){ "patronus-ycsb" } }, copies[12][40];
		int argc = 1 + (int)ptni_rng_below(&random, 11);

		for (int i = 1; i < argc; i++) {
			size_t first = i == 1 ? 0 : i == 2 ? 3 : 0;
			size_t count = round % 2 == 0 && i < 3 ?
					       3 - (size_t)i + 1 :
					       sizeof(words) / sizeof(words[0]) - first;

			snprintf(copies[i], sizeof(copies[i]), "%s",
				 words[first + ptni_rng_below(&random, count)]);
			argv[i] = copies[i];
		}
		why.text[0] = '\0';
		if (ycsb_cli_parse(argc, argv, stores, cli, &why) == 0) {
			accepted++;
		} else {
			assert_true(why.text[0] != '\0');
			refused++;
		}
	}
	assert_true(accepted > 100 && refused > 1000);
	free(cli);
}

static void options__override_files_and_later_ones_win(void **state)
{
	char path[] = "/tmp/ycsb-test-XXXXXX", line[512];
	int fd = mkstemp(path);
	struct outcome outcome;

	assert_true(fd >= 0);
	dprintf(fd, "recordcount=77\noperationcount=5\ncolumnfamily=x\n");
	close(fd);
	snprintf(line, sizeof(line), "load memory -p recordcount=66 -p recordcount=55 -P %s", path);
	outcome = run(line);
	assert_int_equal(outcome.status, 0);
	assert_true(number(outcome.out, "INSERT", "Return=OK") == 55);
	assert_non_null(strstr(outcome.err, "1 properties have no effect here"));
	outcome_free(&outcome);
	unlink(path);
}

static void target__keeps_the_schedule(void **state)
{
	struct outcome outcome = run("bench memory -threads 2 -target 20000 -p recordcount=100 "
				     "-p operationcount=2000 -p measurement.interval=both");
	const char *second = strstr(outcome.out, "Phase, run");
	double rate = number(second, "OVERALL", "Throughput(ops/sec)");

	/* Never faster; slower only as far as this machine was busy with something else. */
	assert_int_equal(outcome.status, 0);
	assert_true(rate < 20500 && rate > 2000);
	assert_true(number(second, "Intended-READ", "Operations") ==
		    number(second, "READ", "Operations"));
	outcome_free(&outcome);
}

static void maxexecutiontime__ends_an_endless_run(void **state)
{
	struct outcome outcome = run("bench memory -threads 2 -p recordcount=100 "
				     "-p maxexecutiontime=1 -s -p status.interval=1 -l try:");
	const char *second = strstr(outcome.out, "Phase, run");

	assert_int_equal(outcome.status, 0);
	assert_true(number(second, "OVERALL", "RunTime(ms)") < 5000);
	assert_true(number(second, "OVERALL", "Operations") > 100);
	outcome_free(&outcome);
}

static void exporters__json_array_is_one_array(void **state)
{
	struct outcome outcome = run("bench memory -p exporter=jsonarray" SMALL);
	int depth = 0, top = 0;

	assert_int_equal(outcome.status, 0);
	assert_true(outcome.out[0] == '[');
	for (const char *at = outcome.out; *at != '\0'; at++) {
		depth += *at == '[' || *at == '{';
		depth -= *at == ']' || *at == '}';
		top += depth == 0 && *at == ']';
	}
	assert_int_equal(depth, 0);
	assert_int_equal(top, 1);
	assert_non_null(strstr(outcome.out, "\"measurement\": \"99thPercentileLatency(us)\""));
	outcome_free(&outcome);
	expect("bench memory -p exporter=text -p exportfile=/nonexistent/x" SMALL, 1, "",
	       "/nonexistent/x: No such file");
}

static void files__hgrm_hdr_and_full_json(void **state)
{
	char dir[] = "/tmp/ycsb-test-XXXXXX", line[512], path[256];
	static const char *const names[] = { "full.json",       "run-READ.hgrm", "load-INSERT.hgrm",
					     "run-UPDATE.hgrm", "READ.hdr",      "INSERT.hdr" };

	assert_non_null(mkdtemp(dir));
	snprintf(line, sizeof(line),
		 "bench memory -p patronus.json=%s/full.json -p patronus.hgrm=%s "
		 "-p hdrhistogram.fileoutput=true -p hdrhistogram.output.path=%s/" SMALL,
		 dir, dir, dir);
	expect(line, 0, "[READ]", "");
	for (size_t i = 0; i < 6; i++) {
		char *text;

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		text = slurp(fopen(path, "re"));
		assert_true(strlen(text) > 100);
		if (i == 0)
			assert_non_null(strstr(text, "\"lat_ns_p99.9\": "));
		free(text);
	}
	snprintf(line, sizeof(line), "rm -r %s", dir);
	assert_int_equal(system(line), 0);
}

/* Same seed, one thread: the same table, byte by byte; another seed: another one. */
struct digest {
	uint64_t sum;
};

static void digest_entry(void *context, const struct ycsb_key *key, struct ycsb_bytes record)
{
	struct digest *digest = context;

	for (uint32_t i = 0; i < key->len_bytes; i++)
		digest->sum = (digest->sum ^ (uint8_t)key->bytes[i]) * UINT64_C(1099511628211);
	for (uint32_t i = 0; i < record.len_bytes; i++)
		digest->sum = (digest->sum ^ record.data[i]) * UINT64_C(1099511628211);
}

static uint64_t digest_of(const char *seed)
{
	struct ycsb_workload workload;
	struct ycsb_session session = { .ops = &memory_store_ops, .workload = &workload };
	struct ycsb_store_options options = { .target = "inproc", .schema = &workload.schema };
	struct ycsb_result result;
	struct digest digest = { 1 };
	struct ycsb_message why;
	struct ycsb_config config;
	const char *reason;

	ycsb_config_init(&config);
	ycsb_config_set(&config, "recordcount", "300", "t", &why);
	ycsb_config_set(&config, "operationcount", "2000", "t", &why);
	ycsb_config_set(&config, "insertproportion", "0", "t", &why);
	ycsb_config_set(&config, "patronus.seed", seed, "t", &why);
	assert_int_equal(ycsb_config_check(&config, YCSB_BENCH, &why), 0);
	session.config = &config;
	assert_int_equal(ycsb_workload_init(&workload, &config), 0);
	assert_int_equal(memory_store_ops.open(&options, &session.store, &reason), 0);
	for (int phase = YCSB_LOAD; phase <= YCSB_RUN; phase++) {
		assert_int_equal(ycsb_phase_run(&session, (enum ycsb_phase)phase, &result, &why),
				 0);
		assert_int_equal(ycsb_result_failed(&result), 0);
		ycsb_result_fini(&result);
	}
	assert_int_equal(memory_store_record_cnt(), 300);
	memory_store_each(digest_entry, &digest);
	memory_store_ops.close(session.store);
	ycsb_workload_fini(&workload);
	return digest.sum;
}

static void seed__makes_a_run_reproducible(void **state)
{
	uint64_t first = digest_of("5");

	assert_int_equal(first, digest_of("5"));
	assert_int_not_equal(first, digest_of("6"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bench__prints_both_blocks),
		cmocka_unit_test(bench__every_operation_and_distribution),
		cmocka_unit_test(fields__of_varying_length),
		cmocka_unit_test(faults__wrong_values_make_the_run_fail),
		cmocka_unit_test(faults__a_failed_insert_ends_the_load),
		cmocka_unit_test(faults__a_worker_that_cannot_open),
		cmocka_unit_test(run__on_too_few_records_says_so),
		cmocka_unit_test(usage__errors_name_the_next_step),
		cmocka_unit_test(usage__random_command_lines_are_refused_or_accepted_never_more),
		cmocka_unit_test(options__override_files_and_later_ones_win),
		cmocka_unit_test(target__keeps_the_schedule),
		cmocka_unit_test(maxexecutiontime__ends_an_endless_run),
		cmocka_unit_test(exporters__json_array_is_one_array),
		cmocka_unit_test(files__hgrm_hdr_and_full_json),
		cmocka_unit_test(seed__makes_a_run_reproducible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
