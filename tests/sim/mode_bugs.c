/* SPDX-License-Identifier: MIT */
/*
 * patronus-sim --bugs: every planted bug (core/base/planted.h) is found within the number of seeds stated here, and
 * without a bug the same seeds find nothing.
 */
#include "core/base/planted.h"
#include "tests/sim/modes.h"

#include <stdio.h>

#ifndef PTN_PLANTED

int mode_bugs(const struct mode_options *options)
{
	fputs("patronus-sim was built without planted bugs: cmake -DPTN_PLANTED=ON\n", stderr);
	return 2;
}

#else

#include "tests/sim/lease_world.h"
#include "tests/sim/oracle.h"
#include "tests/sim/runner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- worlds ------------------------------------------------------------------------------------------------- */

/* Few keys, many writers of each, a table that grows all the time, a network that cuts and shuffles. */
static void crowd(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 5);
	world_config_quiet(seed, config);
	config->clients = 2 + (uint32_t)ptni_rng_below(&rng, 3);
	config->keys = 8 << ptni_rng_below(&rng, 4);
	config->hot = 1 + (uint32_t)ptni_rng_below(&rng, 4);
	config->preset = config->keys / 2;
	config->sim.faults.jitter_ns = 200 << ptni_rng_below(&rng, 5);
	config->sim.faults.slice_bytes = 8 << ptni_rng_below(&rng, 5);
	config->sim.faults.slice_ns = 100 << ptni_rng_below(&rng, 4);
	config->sim.faults.late_one_in = (uint32_t)ptni_rng_below(&rng, 2) * 20;
	config->sim.faults.late_ns = 20000;
	config->calm_ns = 5000000000;
}

/* Clients die at any verb; others come in their place. */
static void deaths_draw(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	ptni_rng_seed_stream(&rng, seed, 6);
	config->blows = config->clients - 1;
	for (uint32_t i = 0; i < config->blows; i++)
		config->blow[i] = (struct world_blow){
			.client = i,
			.verb = 1 + ptni_rng_below(&rng, 6 * (uint64_t)config->ops),
			.restart = true,
			.span_ns = ptni_rng_below(&rng, config->term_ns),
			.how = (enum ptni_sim_death)ptni_rng_below(&rng, 3),
		};
}

/* The same as a crowd, and lanes break under operations. */
static void lanes(uint64_t seed, struct world_config *config)
{
	crowd(seed, config);
	config->sim.faults.transport_one_in = 40;
	config->sim.faults.ghost_ns = 5000;
}

/* A table that begins empty and grows under everybody's hands. */
static void growth(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 8);
	config->keys = 96;
	config->hot = 0;
	config->preset = 0;
	config->ops = 80;
	config->clients = 3;
	config->weight[WORLD_INSERT] = 40;
	config->weight[WORLD_PUT] = 15;
	config->cache_entries = 64;
	config->sim.faults.stall_one_in = (uint32_t)ptni_rng_below(&rng, 2) * 200;
	config->sim.faults.stall_ns = 300000;
}

/* Buckets that are nearly full: keys come and go at home and in their second bucket. */
static void full(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 9);
	config->keys = 30 + (uint32_t)ptni_rng_below(&rng, 8);
	config->hot = 1;
	config->preset = config->keys;
	config->clients = 4;
	config->ops = 60;
	config->weight[WORLD_INSERT] = 60;
	config->weight[WORLD_DELETE] = 50;
}

/* The same as growth, and clients die at any verb. */
static void growth_deaths(uint64_t seed, struct world_config *config)
{
	growth(seed, config);
	deaths_draw(seed, config);
}

/* Blocks as large as subtables, so that they are made of each other's memory soon. */
static void scarce(uint64_t seed, struct world_config *config)
{
	struct ptni_rng rng;

	crowd(seed, config);
	ptni_rng_seed_stream(&rng, seed, 7);
	config->ops = 150;
	config->value_fixed = 420;
	config->epoch_min_ns = 50000;
	config->think_ns = 1u << (10 + ptni_rng_below(&rng, 5));
	config->node_memory = 3 << 20;
	config->sim.faults.stall_one_in = (uint32_t)ptni_rng_below(&rng, 2) * 200;
	config->sim.faults.stall_ns = 3000000;
}

/*
 * What a reader may see of memory that is being filled again. The oracles that would find the re-use itself are not
 * told of these worlds: what has to speak up is whoever looks at the value.
 */
static void torn(uint64_t seed, struct world_config *config)
{
	scarce(seed, config);
	config->clients = 4;
	config->keys = 3;
	config->hot = 1;
	config->preset = 3;
	config->think_ns = 0;
	config->sim.faults.slice_bytes = 16;
	config->sim.faults.slice_ns = 300;
}

typedef void (*drawing)(uint64_t seed, struct world_config *config);

static void run_one(void *arg, uint64_t seed, struct world_result *result_out)
{
	const drawing *draw = arg;
	struct lease_result lease;
	struct world_config config;

	if (*draw) {
		(*draw)(seed, &config);
		if (*draw != torn)
			oracle_attach(&config);
		world_run(&config, result_out);
		return;
	}
	lease_world_run(seed, &lease);
	*result_out = (struct world_result){ .failed = lease.oracle,
					     .hash = lease.hash,
					     .events = lease.events,
					     .ops = lease.acts };
	if (lease.oracle)
		(void)snprintf(result_out->text, sizeof(result_out->text), "%s: %s", lease.oracle,
			       lease.text);
}

/* --- bugs ------------------------------------------------------------------------------------------------------ */

/* In which worlds (NULL: worlds of leases) a bug is found within so many seeds. */
static const struct hunt {
	enum ptni_bug bug;
	drawing draw;
	uint32_t limit;
} hunts[] = {
	/* clang-format off */
	{ PTNI_BUG_SPLIT_INSERT, growth, 600 },
	{ PTNI_BUG_SPLIT_UPDATE, growth, 100 },
	{ PTNI_BUG_SPLIT_STALE, growth, 100 },
	{ PTNI_BUG_SPLIT_TENTATIVE, growth_deaths, 300 },
	{ PTNI_BUG_SPLIT_SPILLED, growth, 300 },
	{ PTNI_BUG_INSERT_BLIND, crowd, 300 },
	{ PTNI_BUG_INSERT_RIVAL, crowd, 100 },
	{ PTNI_BUG_INSERT_SPILL, crowd, 300 },
	{ PTNI_BUG_INSERT_SPILL_LATE, full, 600 },
	{ PTNI_BUG_READ_TENTATIVE, scarce, 150 },
	{ PTNI_BUG_READ_TORN, torn, 300 },
	{ PTNI_BUG_READ_PREFIX, growth, 200 },
	{ PTNI_BUG_WRITE_ORDER, crowd, 300 },
	{ PTNI_BUG_WRITE_FROZEN, growth, 300 },
	{ PTNI_BUG_WRITE_BLIND, crowd, 300 },
	{ PTNI_BUG_WRITE_DOUBT, lanes, 300 },
	{ PTNI_BUG_DELETE_ONE, crowd, 300 },
	{ PTNI_BUG_REUSE_EARLY, scarce, 300 },
	{ PTNI_BUG_DOUBT_REPEATED, lanes, 300 },
	{ PTNI_BUG_LEASE_OVERWRITTEN, NULL, 400 },
	{ PTNI_BUG_LEASE_TIMER, NULL, 500 },
	{ PTNI_BUG_LEASE_REPLY, NULL, 400 },
	{ PTNI_BUG_LEASE_UNCHECKED, NULL, 300 },
	{ PTNI_BUG_LEASE_LEAK, NULL, 300 },
	{ PTNI_BUG_WINDOW_KEY, NULL, 300 },
	{ PTNI_BUG_WINDOW_EARLY, NULL, 300 },
	{ PTNI_BUG_TAKE_UNFENCED, NULL, 300 },
	{ PTNI_BUG_DIRECTORY_RETIRE, scarce, 400 },
	{ PTNI_BUG_READ_FROZEN, scarce, 800 },
	{ PTNI_BUG_READ_FROZEN_HINT, scarce, 800 },
	{ PTNI_BUG_WRITE_LEAK, scarce, 100 },
	/* clang-format on */
};
#define HUNTS (sizeof(hunts) / sizeof(hunts[0]))

struct trophy {
	uint32_t seeds; /* that it took; 0: not found */
	double seconds;
	char text[WORLD_TEXT];
};

/* --- hunting --------------------------------------------------------------------------------------------------- */

/* One after the other, in a process of its own: a bug may end it in any way. */
static void hunt_alone(drawing draw, enum ptni_bug bug, uint32_t seeds, int fd)
{
	struct runner runner = {
		.run = run_one, .arg = &draw, .first = 1, .count = seeds, .jobs = 1, .quiet = true
	};
	struct trophy trophy = { 0 };
	struct runner_sum sum;

	ptni_plant(bug);
	if (!runner_run(&runner, &sum) && sum.failed) {
		trophy.seeds = (uint32_t)sum.failed_item;
		memcpy(trophy.text, sum.failure.text, sizeof(trophy.text));
	}
	trophy.seconds = sum.seconds;
	_exit(write(fd, &trophy, sizeof(trophy)) != sizeof(trophy));
}

struct hunter {
	pid_t pid; /* 0: none */
	int fd;
	unsigned number; /* of what it hunts */
};

static int hunter_send(struct hunter *hunter, unsigned number, drawing draw, enum ptni_bug bug,
		       uint32_t seeds)
{
	int fd[2];

	if (pipe(fd))
		return -errno;
	fflush(stdout);
	hunter->number = number;
	hunter->fd = fd[0];
	hunter->pid = fork();
	if (!hunter->pid)
		hunt_alone(draw, bug, seeds, fd[1]);
	close(fd[1]);
	return hunter->pid < 0 ? -errno : 0;
}

/* Wait for any of them; returns it, NULL when none is out. */
static struct hunter *hunter_return(struct hunter *hunters, unsigned count, struct trophy *trophy)
{
	int status;
	pid_t pid = wait(&status);

	for (unsigned i = 0; i < count; i++) {
		if (pid <= 0 || hunters[i].pid != pid)
			continue;
		if (read(hunters[i].fd, trophy, sizeof(*trophy)) != sizeof(*trophy))
			*trophy = (struct trophy){ .text = "the hunt itself broke off" };
		close(hunters[i].fd);
		hunters[i].pid = 0;
		return &hunters[i];
	}
	return NULL;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

enum {
	HUNTERS_MAX = 64,
	SOUND_MIN = 100,
};

struct chase {
	const struct mode_options *options;
	struct hunter hunter[HUNTERS_MAX];
	struct trophy trophy[HUNTS];
	bool hunted[HUNTS];
	unsigned missed, alarms;
};

static void show(const struct hunt *hunt, const struct trophy *trophy)
{
	printf("%-20s %4u of %4u seeds %6.1f s  %.70s\n", ptni_planted_name(hunt->bug),
	       trophy->seeds, hunt->limit, trophy->seconds,
	       trophy->seeds ? trophy->text : "NOT FOUND");
}

static int bugs_hunt(struct chase *chase, const char *only)
{
	unsigned next = 0, out = 0;
	int ret = 0;

	while (next < HUNTS || out) {
		struct hunter *hunter = chase->hunter;
		struct trophy trophy;

		if (next < HUNTS && only && strcmp(only, ptni_planted_name(hunts[next].bug))) {
			next++;
			continue;
		}
		while (hunter->pid)
			hunter++;
		if (next < HUNTS && out < chase->options->jobs) {
			const struct hunt *hunt = &hunts[next];

			ret = hunter_send(hunter, next++, hunt->draw, hunt->bug, hunt->limit);
			if (ret)
				return ret;
			out++;
			continue;
		}
		hunter = hunter_return(chase->hunter, HUNTERS_MAX, &trophy);
		if (!hunter)
			return -ECHILD;
		out--;
		chase->trophy[hunter->number] = trophy;
		chase->hunted[hunter->number] = true;
		chase->missed += !trophy.seeds;
		show(&hunts[hunter->number], &trophy);
	}
	return 0;
}

/* The most seeds that any bug took in these worlds, SOUND_MIN at least; 0 but for the first bug hunted there. */
static uint32_t seeds_of(const struct chase *chase, unsigned number)
{
	uint32_t most = SOUND_MIN;

	if (!chase->hunted[number])
		return 0;
	for (unsigned i = 0; i < HUNTS; i++) {
		if (hunts[i].draw != hunts[number].draw || !chase->hunted[i])
			continue;
		if (i < number)
			return 0;
		if (chase->trophy[i].seeds > most)
			most = chase->trophy[i].seeds;
	}
	return most;
}

/* Without a bug the same seeds find nothing. */
static int alarms_look(struct chase *chase)
{
	struct trophy trophy;
	struct hunter *hunter;
	uint32_t worlds = 0;
	int ret = 0;

	for (unsigned i = 0, out = 0; i < HUNTS && !ret; i++)
		if (seeds_of(chase, i)) {
			worlds += seeds_of(chase, i);
			ret = hunter_send(&chase->hunter[out++], i, hunts[i].draw, PTNI_BUG_NONE,
					  seeds_of(chase, i));
		}
	while (!ret && (hunter = hunter_return(chase->hunter, HUNTERS_MAX, &trophy)))
		if (trophy.seeds || *trophy.text) {
			printf("FALSE ALARM: seed %u of the worlds for %s without a bug: %s\n",
			       trophy.seeds, ptni_planted_name(hunts[hunter->number].bug),
			       trophy.text);
			chase->alarms++;
		}
	printf("%u worlds without a bug, %u false alarms\n", worlds, chase->alarms);
	return ret;
}

static bool is_hunted(const char *name)
{
	for (unsigned i = 0; i < HUNTS; i++)
		if (!strcmp(name, ptni_planted_name(hunts[i].bug)))
			return true;
	return false;
}

int mode_bugs(const struct mode_options *options)
{
	static struct chase chase;
	int ret;

	if (options->bug && !is_hunted(options->bug)) {
		fprintf(stderr, "patronus-sim: %s is not hunted here\n", options->bug);
		return 2;
	}
	chase.options = options;
	ret = bugs_hunt(&chase, options->bug);
	if (!ret)
		ret = alarms_look(&chase);
	if (ret)
		fprintf(stderr, "patronus-sim: %s\n", strerror(-ret));
	printf("%u of %zu bugs were not found\n", chase.missed, HUNTS);
	return ret || chase.missed || chase.alarms;
}

#endif
