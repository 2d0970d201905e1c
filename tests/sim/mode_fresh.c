/* SPDX-License-Identifier: MIT */
/* Fresh seeds, one seed, seeds twice, kinds of worlds. */
#include "tests/sim/kinds.h"
#include "tests/sim/lease_world.h"
#include "tests/sim/modes.h"
#include "tests/sim/oracle.h"
#include "tests/sim/runner.h"
#include "tests/sim/trace.h"

#include <stdio.h>
#include <sys/random.h>

enum {
	LEASES_ONE_IN = 8
};

/* Most seeds are worlds of tables, some are worlds of leases. */
static bool is_leases(uint64_t seed)
{
	return seed % LEASES_ONE_IN == 0;
}

static void run_leases(uint64_t seed, struct world_result *result_out)
{
	const struct lease_options options = { .seed = seed, .harsh = true };
	struct lease_result lease;

	lease_world_run_with(&options, &lease);
	*result_out = (struct world_result){ .failed = lease.oracle,
					     .hash = lease.hash,
					     .events = lease.events,
					     .ops = lease.acts,
					     .fences = lease.fences };
	if (lease.oracle)
		(void)snprintf(result_out->text, sizeof(result_out->text), "%s: %s", lease.oracle,
			       lease.text);
}

static void run_seed(void *arg, uint64_t seed, struct world_result *result_out)
{
	struct world_config config;

	if (is_leases(seed)) {
		run_leases(seed, result_out);
		return;
	}
	kind_any(seed, &config);
	world_run(&config, result_out);
}

static void say_failure(const char *how, uint64_t seed, const struct world_result *result)
{
	printf("seed %llu FAILED: %s\n"
	       "to see it again: ./do sim %s%llu\n",
	       (unsigned long long)seed, result->text, how, (unsigned long long)seed);
}

static void say_sum(const struct runner_sum *sum)
{
	printf("%llu worlds in %.1f s (%.0f a minute): %llu events, %llu operations, "
	       "%llu tables grew\n",
	       (unsigned long long)sum->runs, sum->seconds, (double)sum->runs * 60 / sum->seconds,
	       (unsigned long long)sum->events, (unsigned long long)sum->ops,
	       (unsigned long long)sum->grown);
	printf("%llu clients killed, %llu lives, %llu sessions fenced, %llu lanes broken (%llu switches "
	       "to a spare), %llu refusals by nodes, %llu errors told to callers, %llu of them unknown "
	       "outcomes\n",
	       (unsigned long long)sum->kills, (unsigned long long)sum->lives,
	       (unsigned long long)sum->fences, (unsigned long long)sum->lane_breaks,
	       (unsigned long long)sum->lane_recoveries, (unsigned long long)sum->refusals,
	       (unsigned long long)sum->errors, (unsigned long long)sum->unknown);
}

int mode_fresh(const struct mode_options *options)
{
	struct runner runner = { .run = run_seed,
				 .seconds = options->seconds,
				 .jobs = options->jobs };
	struct runner_sum sum;
	uint32_t first = 0;

	if (getrandom(&first, sizeof(first), 0) != (ssize_t)sizeof(first))
		return 2;
	runner.first = first;
	printf("seeds from %llu on, for %llu s\n", (unsigned long long)runner.first,
	       (unsigned long long)options->seconds);
	if (runner_run(&runner, &sum))
		return 2;
	say_sum(&sum);
	if (sum.failed)
		say_failure("", sum.failed_item, &sum.failure);
	return sum.failed;
}

/* One world, in this process; how: what shows it again. */
static int show(const struct mode_options *options, struct world_config *config, const char *how)
{
	struct world_result result;
	struct oracle_sums sums;

	if (options->trace)
		trace_attach(config);
	trace_config(config, stdout);
	world_run(config, &result);
	printf("seed %llu: %llu events, %llu operations (%u failed), %llu us of virtual time, "
	       "%u lives, %u killed, hash %016llx\n",
	       (unsigned long long)config->sim.seed, (unsigned long long)result.events,
	       (unsigned long long)result.ops, result.errors,
	       (unsigned long long)result.virtual_ns / 1000, result.lives, result.kills,
	       (unsigned long long)result.hash);
	oracle_sums(&sums);
	printf("judged: %llu accesses, %llu blocks linked, %llu walks over the table\n",
	       (unsigned long long)sums.accesses, (unsigned long long)sums.links,
	       (unsigned long long)sums.walks);
	if (result.failed)
		say_failure(how, config->sim.seed, &result);
	return result.failed;
}

static int mode_leases(uint64_t seed)
{
	struct world_result result;

	run_leases(seed, &result);
	printf("seed %llu, a world of leases: %llu events, %llu acts, %llu sessions fenced, hash "
	       "%016llx\n",
	       (unsigned long long)seed, (unsigned long long)result.events,
	       (unsigned long long)result.ops, (unsigned long long)result.fences,
	       (unsigned long long)result.hash);
	if (result.failed)
		say_failure("", seed, &result);
	return result.failed;
}

int mode_seed(const struct mode_options *options, uint64_t seed)
{
	struct world_config config;

	if (is_leases(seed))
		return mode_leases(seed);
	kind_any(seed, &config);
	return show(options, &config, "");
}

static enum kind kind_of(const char *name)
{
	enum kind kind = kind_find(name);

	if (kind != KINDS)
		return kind;
	fprintf(stderr, "patronus-sim: there is no kind of world named %s, but:", name);
	for (unsigned i = 0; i < KINDS; i++)
		fprintf(stderr, " %s", kind_name((enum kind)i));
	fputc('\n', stderr);
	return KINDS;
}

int mode_kind(const struct mode_options *options, const char *name, uint64_t seed)
{
	enum kind kind = kind_of(name);
	struct world_config config;
	char how[64];

	if (kind == KINDS)
		return 2;
	kind_draw(kind, seed, &config);
	(void)snprintf(how, sizeof(how), "--kind %s ", name);
	return show(options, &config, how);
}

static void run_kind(void *arg, uint64_t seed, struct world_result *result_out)
{
	const enum kind *kind = arg;
	struct world_config config;

	kind_draw(*kind, seed, &config);
	world_run(&config, result_out);
}

int mode_kinds(const struct mode_options *options, uint64_t first, uint64_t count)
{
	int failed = 0;

	for (unsigned i = 0; i < KINDS && count; i++) {
		enum kind kind = (enum kind)i;
		struct runner runner = { .run = run_kind,
					 .arg = &kind,
					 .first = first,
					 .count = count,
					 .jobs = options->jobs,
					 .quiet = true };
		struct runner_sum sum;
		char how[64];

		if (runner_run(&runner, &sum))
			return 2;
		printf("%-14s %6llu worlds %8llu operations %7.1f s\n", kind_name(kind),
		       (unsigned long long)sum.runs, (unsigned long long)sum.ops, sum.seconds);
		(void)snprintf(how, sizeof(how), "--kind %s ", kind_name(kind));
		if (sum.failed)
			say_failure(how, sum.failed_item, &sum.failure);
		failed |= sum.failed;
	}
	return failed;
}

static void run_twice(void *arg, uint64_t seed, struct world_result *result_out)
{
	struct world_result second;

	run_seed(arg, seed, result_out);
	if (result_out->failed)
		return;
	run_seed(arg, seed, &second);
	if (second.hash == result_out->hash && second.events == result_out->events)
		return;
	result_out->failed = true;
	(void)snprintf(result_out->text, sizeof(result_out->text),
		       "not the same twice: %llu and %llu events, hashes %016llx and %016llx",
		       (unsigned long long)result_out->events, (unsigned long long)second.events,
		       (unsigned long long)result_out->hash, (unsigned long long)second.hash);
}

int mode_twice(const struct mode_options *options, uint64_t first, uint64_t count)
{
	struct runner runner = {
		.run = run_twice, .first = first, .count = count, .jobs = options->jobs
	};
	struct runner_sum sum;

	if (!count || runner_run(&runner, &sum))
		return 2;
	say_sum(&sum);
	if (sum.failed)
		say_failure("", sum.failed_item, &sum.failure);
	return sum.failed;
}
