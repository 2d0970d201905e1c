/* SPDX-License-Identifier: MIT */
/*
 * All that judges a world while it runs, besides its history: the shadow map (shadow.h), what the table's words lead to
 * (published.h), and the walk over the table in the nodes' memory (tests/ds/table_walk.h), which must find it sound
 * at any moment. What is found fails the world.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include "tests/sim/world.h"

/* Attaches to the next world that is run with this configuration, beside what is attached already. */
void oracle_attach(struct world_config *config);

/* What it did in the world that was run last: a judge that saw nothing proves nothing. */
struct oracle_sums {
	uint64_t accesses, links, walks;
};
void oracle_sums(struct oracle_sums *sums_out);

#endif
