/* SPDX-License-Identifier: MIT */
/* What the parts of a world of leases share. */
#ifndef TESTS_SIM_LEASE_PRIVATE_H
#define TESTS_SIM_LEASE_PRIVATE_H

#include "alloc/service.h"
#include "core/base/rng.h"
#include "core/worker.h"
#include "tests/sim/lease_world.h"
#include "tests/sim/shadow.h"

#include <patronus/error.h>
#include <patronus/memory.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LEASE_AREAS = 6, /* that others may acquire */
	LEASE_WORDS = 64, /* of an area */
	LEASE_MARKS = 1024,
	LEASE_TERM_MIN_NS = 100000,
};

/* Memory that its owner shows to the others. */
struct lease_area {
	struct ptn_memory *memory; /* the owner's; valid while it is shown */
	struct ptn_address address;
	uint32_t mark; /* in the upper half of every word written there; 0 = nothing is shown */
};

enum lease_state {
	LEASE_HELD,
	LEASE_ENDING, /* its owner has begun to end it */
	LEASE_FREED, /* and was told that it is */
};

struct lease_client {
	struct lease_world *world;
	unsigned number;
	struct ptni_sim_process *process;
	struct ptni_sim_task *keeper;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptni_rng rng;
	bool keeping, working, done;
};

struct lease_world {
	uint64_t seed;
	struct ptni_sim *sim;
	struct ptni_rng rng;
	const struct lease_options *options;
	struct lease_result *result;
	struct shadow *shadow;
	struct ptni_sim_process *node_process;
	struct ptn_node *node;
	struct ptni_allocator *allocator;
	bool calm, closing, node_closing;
	bool rough; /* lanes may break, processes may stall for longer than a term */
	uint64_t term_ns; /* of leases, at most */
	uint32_t marks; /* given out */
	uint32_t rounds; /* of a client */
	uint32_t leases_max; /* of a session: few words are used again soon */
	struct lease_area area[LEASE_AREAS];
	uint8_t state[LEASE_MARKS]; /* by mark */
	struct lease_client client[LEASE_CLIENTS];
};

/* lease_work.c */
void lease_work(struct lease_client *client);

/* The first finding counts. */
void lease_fail(struct lease_world *world, const char *oracle, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
