/* SPDX-License-Identifier: MIT */
/*
 * Small scopes, exhaustively: a few clients with a few operations each, on one key or on keys that collide, in a table
 * with room and in one that is about to split, which may double the directory; all schedules of all combinations of
 * operations.
 *
 *     patronus-exhaustive [--all] [--list] [--only TEXT] [--limit RUNS]
 *
 * --all   also the scopes that take long       --only   scopes whose name contains the text
 * --list  names only                           --limit  of each scope (0 = none); reaching it is told
 *
 * One line for each scope: schedules that were judged (one for all that end alike), states, runs (each goes on from
 * where another one branched off), endings with a client left in a back-off. What takes long tells how far it is.
 * Exit status: 0 all is well, 1 a schedule is wrong, 2 usage.
 */
#include "tests/ds/exhaust.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	SCOPES_MAX = 8192,
	NAME_MAX_BYTES = 96,
	KINDS = 5,
	FREEZERS_PREEMPTIONS = 2,
	INSERTS_PREEMPTIONS = 3
};

struct scope {
	struct exhaust exhaust;
	char name[NAME_MAX_BYTES];
	bool large; /* with --all only */
};

static struct scope scopes[SCOPES_MAX];
static unsigned scope_count;

/* Over all scopes. */
static struct {
	unsigned long schedules, states;
	struct timespec began;
} total;

static struct {
	struct timespec began,
		told; /* the scope under way; when something was last said about it */
} now;

static const enum act_kind kinds[KINDS] = { ACT_GET, ACT_PUT, ACT_INSERT, ACT_UPDATE, ACT_DELETE };
static const char *const names[] = { "-", "get", "put", "insert", "update", "delete" };

/* --- scopes -------------------------------------------------------------------------------------------------- */

/* "one key: insert0 get0 | put0, present 1, warm" */
static void name_scope(struct scope *scope, const char *family)
{
	const struct schedule *schedule = &scope->exhaust.schedule;
	size_t at = (size_t)snprintf(scope->name, sizeof(scope->name), "%s:", family);

	for (unsigned c = 0; c < SCHEDULE_CLIENTS && schedule->act[c][0].kind; c++)
		for (unsigned i = 0; i < SCHEDULE_ACTS && schedule->act[c][i].kind; i++)
			at += (size_t)snprintf(scope->name + at, sizeof(scope->name) - at, "%s%s%u",
					       c && !i ? " | " : " ",
					       names[schedule->act[c][i].kind],
					       schedule->act[c][i].key);
	snprintf(scope->name + at, sizeof(scope->name) - at, "%s%s%s%s%s%s",
		 schedule->present & 1 ? ", 0 there" : "", schedule->present & 2 ? ", 1 there" : "",
		 schedule->warm ? ", warm" : "", schedule->sliced ? ", sliced" : "",
		 scope->exhaust.hasty ? ", hasty" : "",
		 scope->exhaust.preemptions ? ", few preemptions" : "");
}

static void add(const char *family, const struct exhaust *exhaust, bool large)
{
	struct scope *scope = &scopes[scope_count++];
	uint32_t value = 1;

	if (scope_count > SCOPES_MAX) {
		fprintf(stderr, "too many scopes\n");
		exit(2);
	}
	scope->exhaust = *exhaust;
	scope->large = large;
	for (unsigned c = 0; c < SCHEDULE_CLIENTS; c++)
		for (unsigned i = 0; i < SCHEDULE_ACTS; i++)
			scope->exhaust.schedule.act[c][i].value = value++;
	name_scope(scope, family);
	scope->exhaust.schedule.name = scope->name;
}

/* Two clients, one operation each, every pair. */
static void add_pairs(const char *family, const struct exhaust *from, unsigned key, bool large)
{
	struct exhaust exhaust = *from;

	for (unsigned a = 0; a < KINDS; a++)
		for (unsigned b = key ? 0 : a; b < KINDS; b++) {
			exhaust.schedule.act[0][0] = (struct act){ kinds[a], 0, 0 };
			exhaust.schedule.act[1][0] = (struct act){ kinds[b], key, 0 };
			add(family, &exhaust, large);
		}
}

/* The first client has two, the second one or two of them. */
static void add_twos(const char *family, const struct exhaust *from, unsigned key, bool both)
{
	struct exhaust exhaust = *from;

	for (unsigned n = 0; n < KINDS * KINDS * KINDS * (both ? KINDS : 1); n++) {
		exhaust.schedule.act[0][0] = (struct act){ kinds[n % KINDS], 0, 0 };
		exhaust.schedule.act[0][1] = (struct act){ kinds[n / KINDS % KINDS], key, 0 };
		exhaust.schedule.act[1][0] =
			(struct act){ kinds[n / (KINDS * KINDS) % KINDS], 0, 0 };
		if (both)
			exhaust.schedule.act[1][1] =
				(struct act){ kinds[n / (KINDS * KINDS * KINDS)], key, 0 };
		add(family, &exhaust, both);
	}
}

static bool inserts(unsigned kind)
{
	return kinds[kind] == ACT_PUT || kinds[kind] == ACT_INSERT;
}

/* Three clients, one operation each. If all of them insert there are too many ways for them to meet. */
static void add_threes(const char *family, const struct exhaust *from)
{
	struct exhaust exhaust = *from;

	exhaust.backoffs = 1;
	for (unsigned a = 0; a < KINDS; a++)
		for (unsigned b = a; b < KINDS; b++)
			for (unsigned c = b; c < KINDS; c++) {
				exhaust.schedule.act[0][0] = (struct act){ kinds[a], 0, 0 };
				exhaust.schedule.act[1][0] = (struct act){ kinds[b], 0, 0 };
				exhaust.schedule.act[2][0] = (struct act){ kinds[c], 0, 0 };
				exhaust.preemptions = !from->schedule.present && inserts(a) &&
								      inserts(b) && inserts(c) ?
							      INSERTS_PREEMPTIONS :
							      0;
				add(family, &exhaust, true);
			}
}

/* The first one's insert finds no room; what follows knows its slot, so it meets the split word by word. */
static void add_warm_splits(const char *family, const struct exhaust *from, unsigned more)
{
	const enum act_kind first[] = { ACT_NONE, ACT_UPDATE, ACT_DELETE };
	struct exhaust exhaust = *from;

	exhaust.schedule.fill = 27;
	exhaust.schedule.present = 2;
	exhaust.schedule.warm = true;
	for (unsigned n = 0; n < 3 * KINDS * (more ? KINDS : 1); n++) {
		exhaust.schedule.act[0][0] = (struct act){ ACT_INSERT, 0, 0 };
		exhaust.schedule.act[0][1] = (struct act){ first[n % 3], 1, 0 };
		exhaust.schedule.act[1][0] = (struct act){ kinds[n / 3 % KINDS], 1, 0 };
		if (more)
			exhaust.schedule.act[1][1] = (struct act){ kinds[n / (3 * KINDS)], 1, 0 };
		/* what was deleted and comes back looks at the buckets, and may freeze them, too */
		exhaust.preemptions = more && kinds[n / 3 % KINDS] == ACT_DELETE &&
						      inserts(n / (3 * KINDS)) ?
					      FREEZERS_PREEMPTIONS :
					      0;
		add(family, &exhaust, more);
	}
}

/*
 * The first one's insert finds no room. Hasty ones help, if they are no readers, and of two that freeze the same words
 * each wins some, in more patterns than can be gone through.
 */
static void add_splits(const char *family, const struct exhaust *from, unsigned keys)
{
	struct exhaust exhaust = *from;

	exhaust.schedule.fill = 27;
	exhaust.schedule.present = 2;
	for (unsigned b = 0; b < KINDS; b++)
		for (unsigned key = 0; key < keys; key++) {
			exhaust.schedule.act[0][0] = (struct act){ ACT_INSERT, 0, 0 };
			exhaust.schedule.act[1][0] = (struct act){ kinds[b], key, 0 };
			exhaust.preemptions = from->hasty && b ? FREEZERS_PREEMPTIONS : 0;
			add(family, &exhaust, true);
		}
}

/* Two others know the slot of a key beside the first one's insert; who puts it back may freeze, too. */
static void add_split_threes(const char *family, const struct exhaust *from)
{
	struct exhaust exhaust = *from;

	exhaust.schedule.fill = 27;
	exhaust.schedule.present = 2;
	exhaust.schedule.warm = true;
	exhaust.schedule.act[0][0] = (struct act){ ACT_INSERT, 0, 0 };
	for (unsigned b = 0; b < KINDS; b++)
		for (unsigned c = b; c < KINDS; c++) {
			exhaust.schedule.act[1][0] = (struct act){ kinds[b], 1, 0 };
			exhaust.schedule.act[2][0] = (struct act){ kinds[c], 1, 0 };
			exhaust.preemptions = (inserts(b) || inserts(c)) && c == KINDS - 1 ?
						      FREEZERS_PREEMPTIONS :
						      0;
			add(family, &exhaust, true);
		}
}

static void make_scopes(void)
{
	struct exhaust plain = { .backoffs = 2 };

	for (unsigned present = 0; present < 2; present++)
		for (unsigned warm = 0; warm <= present; warm++) {
			plain.schedule.present = present;
			plain.schedule.warm = warm;
			add_pairs("one key", &plain, 0, false);
			add_twos("one key", &plain, 0, false);
			add_twos("one key", &plain, 0, true);
			add_threes("one key", &plain);
		}
	for (unsigned present = 0; present < 4; present++) {
		plain.schedule.present = present;
		plain.schedule.warm = false;
		add_pairs("two keys", &plain, 1, false);
		add_twos("two keys", &plain, 1, false);
		add_twos("two keys", &plain, 1, true);
	}
	plain = (struct exhaust){ .backoffs = 2, .schedule = { .fill = 13, .present = 2 } };
	add_pairs("home full", &plain, 0, false);
	add_twos("home full", &plain, 1, false);
	plain = (struct exhaust){ .backoffs = 2 };
	add_warm_splits("split", &plain, 0);
	add_warm_splits("split", &plain, 1);
	add_splits("split", &plain, 3);
	plain = (struct exhaust){ .backoffs = 2, .spins = 1, .hasty = true };
	add_splits("split", &plain, 3);
	plain = (struct exhaust){ .backoffs = 1, .schedule = { .subtables = 256 } };
	add_warm_splits("doubling", &plain, 0);
	add_splits("doubling", &plain, 1);
	plain = (struct exhaust){ .backoffs = 1 };
	add_split_threes("split", &plain);
	plain = (struct exhaust){ .backoffs = 5, .spins = 4 };
	add_pairs("patience", &plain, 0, true);
}

/* --- running -------------------------------------------------------------------------------------------------- */

static double since_s(const struct timespec *then)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)(at.tv_sec - then->tv_sec) + 1e-9 * (double)(at.tv_nsec - then->tv_nsec);
}

static void tell(const struct exhaust *exhaust, const struct exhaust_result *result)
{
	const double often_s = 5;

	if (result->runs % 256 || since_s(&now.told) < often_s)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now.told);
	fprintf(stderr, "... %s: %lu states, %lu runs, %.0f s\n", exhaust->schedule.name,
		result->states, result->runs, since_s(&now.began));
}

static void run_scope(void **state)
{
	struct scope *scope = *state;
	struct exhaust_result result;

	clock_gettime(CLOCK_MONOTONIC, &now.began);
	now.told = now.began;
	scope->exhaust.progress = tell;
	exhaust_run(&scope->exhaust, &result);
	total.schedules += result.schedules + result.starved;
	total.states += result.states;
	printf("%-64s %4lu schedules, %7lu states, %7lu runs, %4lu starved, %u outcomes, longest %u, %.1f s%s\n",
	       scope->name, result.schedules, result.states, result.runs, result.starved,
	       result.outcome_count, result.longest, since_s(&now.began),
	       result.limited ? ", LIMIT REACHED" : "");
	fflush(stdout);
}

static int say_which(void **state)
{
	if (exhaust_now()[0])
		fprintf(stderr, "the schedule was %s\n", exhaust_now());
	return 0;
}

static int usage(const char *program)
{
	fprintf(stderr, "usage: %s [--all] [--list] [--only TEXT] [--limit RUNS]\n", program);
	return 2;
}

static int run_chosen(const char *only, bool all, bool list, unsigned long limit)
{
	static struct CMUnitTest tests[SCOPES_MAX];
	unsigned count = 0;
	int failed;

	for (unsigned i = 0; i < scope_count; i++) {
		scopes[i].exhaust.limit = limit;
		if ((scopes[i].large && !all) || (only && !strstr(scopes[i].name, only)))
			continue;
		if (list)
			printf("%s\n", scopes[i].name);
		tests[count++] = (struct CMUnitTest){ scopes[i].name, run_scope, NULL, say_which,
						      &scopes[i] };
	}
	if (list)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &total.began);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = _cmocka_run_group_tests("exhaustive", tests, count, NULL, NULL);
	printf("%u scopes, %lu schedules judged, %lu states, %.0f s, %d failed\n", count,
	       total.schedules, total.states, since_s(&total.began), failed);
	return failed != 0;
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	unsigned long limit = 0;
	bool all = false, list = false;

	for (int i = 1; i < argc; i++) {
		char *end = NULL;

		if (!strcmp(argv[i], "--all"))
			all = true;
		else if (!strcmp(argv[i], "--list"))
			list = true;
		else if (!strcmp(argv[i], "--only") && i + 1 < argc)
			only = argv[++i];
		else if (!strcmp(argv[i], "--limit") && i + 1 < argc)
			limit = strtoul(argv[++i], &end, 10);
		else
			return usage(argv[0]);
		if (end && *end)
			return usage(argv[0]);
	}
	make_scopes();
	return run_chosen(only, all, list, limit);
}
