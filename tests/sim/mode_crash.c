/* SPDX-License-Identifier: MIT */
/*
 * The crash sweep: a client does one kind of operation and is killed behind its first verb, behind its second, ...
 * behind its last; with everything that it had posted still carried out, with nothing of it, and cut off
 * anywhere. Another client works on the same keys meanwhile and afterwards; then the world is judged as any other.
 *
 * "adopting": a third client has died before them, and both go on with the memory that it left.
 */
#include "tests/sim/modes.h"
#include "tests/sim/oracle.h"
#include "tests/sim/runner.h"

#include <stdio.h>
#include <string.h>

enum {
	STEPS = 16,
	DEATHS = 3,
	ROUNDS_ALL = 8,
	POINTS_MAX = 4096, /* verbs of one scenario, before which it must have ended */
	HEIR_BYTES = 4000, /* a chunk has few of them */
	HEIR_VERBS = 60, /* of who dies first */
};

struct scenario {
	const char *name;
	enum world_act act;
	uint32_t preset, keys, first; /* key of the first act; then one further each */
	bool stay; /* on the same key */
	uint32_t heir_bytes; /* a third client dies first; values of so many bytes */
};

static const struct scenario scenarios[] = {
	{ "get", WORLD_GET, 16, 16, 0, false, 0 },
	{ "get, absent", WORLD_GET, 8, 24, 8, false, 0 },
	{ "put, present", WORLD_PUT, 16, 16, 0, false, 0 },
	{ "put, one key", WORLD_PUT, 4, 4, 0, true, 0 },
	{ "put, absent", WORLD_PUT, 4, 20, 4, false, 0 },
	{ "insert", WORLD_INSERT, 4, 20, 4, false, 0 },
	{ "insert, present", WORLD_INSERT, 16, 16, 0, false, 0 },
	{ "insert, growing", WORLD_INSERT, 36, 64, 36, false, 0 },
	{ "insert, growing twice", WORLD_INSERT, 80, 128, 80, false, 0 },
	{ "update", WORLD_UPDATE, 16, 16, 0, false, 0 },
	{ "delete", WORLD_DELETE, 16, 16, 0, false, 0 },
	{ "multi-get", WORLD_MULTI_GET, 16, 24, 0, false, 0 },
	{ "multi-put", WORLD_MULTI_PUT, 16, 24, 0, false, 0 },
	{ "walk", WORLD_WALK, 48, 64, 0, false, 0 },
	{ "leased memory", WORLD_MEMORY, 4, 16, 0, false, 0 },
	{ "adopting", WORLD_PUT, 4, 48, 4, false, HEIR_BYTES },
	{ "compacting", WORLD_COMPACT, 12, 12, 0, false, 0 },
	{ "tables, made and dropped", WORLD_TABLE_USE, 4, 16, 0, false, 0 },
};

enum {
	SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0])
};

struct plan {
	struct world_step dies[SCENARIOS][STEPS], lives[SCENARIOS][STEPS], before[STEPS];
	uint64_t verbs[ROUNDS_ALL][SCENARIOS];
	uint32_t rounds;
};

struct point {
	uint32_t round, scenario, death;
	uint64_t verb;
};

/* Both make and drop the same two tables, each at its own pace. */
static void tables_write(struct plan *plan, uint32_t scenario, uint32_t i)
{
	plan->dies[scenario][i] =
		(struct world_step){ i % 4 < 2 ? WORLD_TABLE_USE : WORLD_TABLE_DROP, i % 2 };
	plan->lives[scenario][i] =
		(struct world_step){ i % 3 < 2 ? WORLD_TABLE_USE : WORLD_TABLE_DROP, i / 3 % 2 };
}

/* The other client: reads, writes, deletes and makes anew what the first one is at. */
static void scripts_write(struct plan *plan)
{
	static const enum world_act other[] = { WORLD_GET, WORLD_PUT,    WORLD_GET,   WORLD_DELETE,
						WORLD_GET, WORLD_INSERT, WORLD_UPDATE };

	for (uint32_t s = 0; s < SCENARIOS; s++)
		for (uint32_t i = 0; i < STEPS; i++) {
			const struct scenario *own = &scenarios[s];
			uint32_t key = (own->first + (own->stay ? 0 : i)) % own->keys;

			plan->dies[s][i] = (struct world_step){ own->act, key };
			if (own->act == WORLD_COMPACT && i % 4 != 3) /* what is to be moved */
				plan->dies[s][i].act = WORLD_PUT;
			key = (own->first + (own->stay ? 0 : i / 2)) % own->keys;
			plan->lives[s][i] = (struct world_step){ other[i % 7], key };
			if (own->act == WORLD_MEMORY && i % 2)
				plan->lives[s][i].act = WORLD_MEMORY;
			if (own->act == WORLD_TABLE_USE)
				tables_write(plan, s, i);
			if (own->heir_bytes && !i)
				plan->dies[s][i].act = plan->lives[s][i].act = WORLD_REST;
			if (own->heir_bytes)
				plan->before[i] = (struct world_step){ WORLD_PUT, STEPS + i };
		}
}

static void death_add(struct world_config *config, const struct world_blow *blow)
{
	config->blow[config->blows++] = *blow;
}

static void config_of(struct plan *plan, const struct point *point, struct world_config *config)
{
	const struct scenario *own = &scenarios[point->scenario];

	world_config_quiet(1 + point->round, config);
	config->clients = 2;
	config->ops = STEPS;
	config->keys = own->keys;
	config->preset = own->preset;
	config->term_ns = 4000000;
	config->value_max = 1000;
	config->tables = own->act == WORLD_TABLE_USE;
	config->script[0] = plan->dies[point->scenario];
	config->script[1] = plan->lives[point->scenario];
	config->sim.faults.slice_bytes = 64;
	config->sim.faults.slice_ns = 200;
	config->sim.faults.slice_shuffle = point->round & 1;
	config->sim.faults.jitter_ns = point->round ? 500 : 0;
	config->sim.faults.ghost_ns = 20000;
	config->sim.faults.overtake_one_in = point->round > 1 ? 4 : 0;
	if (own->heir_bytes) {
		config->clients = 3;
		config->value_fixed = own->heir_bytes;
		config->script[2] = plan->before;
		death_add(config, &(struct world_blow){ .client = 2, .verb = HEIR_VERBS });
	}
	if (point->verb)
		death_add(config, &(struct world_blow){ .client = 0,
							.verb = point->verb,
							.silent = point->verb % 2,
							.how = (enum ptni_sim_death)point->death });
	oracle_attach(config);
}

static struct point point_of(const struct plan *plan, uint64_t item)
{
	struct point point = { .death = (uint32_t)(item % DEATHS) };
	uint64_t at = item / DEATHS;

	for (point.round = 0; point.round < plan->rounds; point.round++)
		for (point.scenario = 0; point.scenario < SCENARIOS; point.scenario++) {
			uint64_t verbs = plan->verbs[point.round][point.scenario];

			if (at < verbs) {
				point.verb = at + 1;
				return point;
			}
			at -= verbs;
		}
	return point;
}

static void point_run(void *arg, uint64_t item, struct world_result *result_out)
{
	struct plan *plan = arg;
	struct point point = point_of(plan, item);
	struct world_config config;

	config_of(plan, &point, &config);
	world_run(&config, result_out);
	if (!result_out->failed && !result_out->kills && point.verb > 1 && !point.round) {
		result_out->failed = true;
		(void)snprintf(result_out->text, sizeof(result_out->text),
			       "nobody was killed: there is no verb %llu",
			       (unsigned long long)point.verb);
	}
}

/* How many verbs each scenario has when nobody dies; false: it fails then. */
static bool verbs_count(struct plan *plan, uint64_t *points_out)
{
	*points_out = 0;
	for (uint32_t round = 0; round < plan->rounds; round++)
		for (uint32_t s = 0; s < SCENARIOS; s++) {
			struct point point = { .round = round, .scenario = s };
			struct world_config config;
			struct world_result result;

			config_of(plan, &point, &config);
			world_run(&config, &result);
			if (result.failed || result.verbs[0] > POINTS_MAX) {
				printf("%s, with nobody killed: FAILED: %s\n", scenarios[s].name,
				       result.text);
				return false;
			}
			plan->verbs[round][s] = result.verbs[0];
			*points_out += result.verbs[0] * DEATHS;
		}
	return true;
}

static void say(const struct plan *plan)
{
	for (uint32_t s = 0; s < SCENARIOS; s++) {
		uint64_t verbs = 0;

		for (uint32_t round = 0; round < plan->rounds; round++)
			verbs += plan->verbs[round][s];
		printf("%-24s %6llu verbs, %6llu deaths\n", scenarios[s].name,
		       (unsigned long long)verbs, (unsigned long long)verbs * DEATHS);
	}
}

int mode_crash(const struct mode_options *options, bool all)
{
	static struct plan plan;
	struct runner runner = { .run = point_run, .arg = &plan, .jobs = options->jobs };
	static const char *const death[] = { "drain", "drop", "cut" };
	struct runner_sum sum;
	struct point point;

	plan.rounds = all ? ROUNDS_ALL : 1;
	scripts_write(&plan);
	if (!verbs_count(&plan, &runner.count))
		return 1;
	say(&plan);
	if (runner_run(&runner, &sum))
		return 2;
	printf("%llu crash points in %.1f s, %llu clients killed\n", (unsigned long long)sum.runs,
	       sum.seconds, (unsigned long long)sum.kills);
	if (!sum.failed)
		return 0;
	point = point_of(&plan, sum.failed_item);
	printf("%s, killed behind verb %llu (%s, round %u): FAILED: %s\n"
	       "to see it again: ./do sim --crash-point %llu\n",
	       scenarios[point.scenario].name, (unsigned long long)point.verb, death[point.death],
	       point.round, sum.failure.text, (unsigned long long)sum.failed_item);
	return 1;
}

int mode_crash_point(const struct mode_options *options, uint64_t item)
{
	static struct plan plan;
	struct world_result result;
	uint64_t points;

	plan.rounds = ROUNDS_ALL;
	scripts_write(&plan);
	if (!verbs_count(&plan, &points) || item >= points)
		return 2;
	point_run(&plan, item, &result);
	printf("crash point %llu: %s\n", (unsigned long long)item,
	       result.failed ? result.text : "nothing found");
	return result.failed;
}
