/* SPDX-License-Identifier: MIT */
/*
 * Kinds of worlds: each draws by seed what makes one sort of trouble likely. The worlds in which planted
 * bugs are hunted (mode_bugs.c), and a part of those that nobody has seen before (mode_fresh.c).
 */
#ifndef TESTS_SIM_KINDS_H
#define TESTS_SIM_KINDS_H

#include "tests/sim/world.h"

enum kind {
	KIND_CROWD,
	KIND_LANES,
	KIND_GROWTH,
	KIND_GROWTH_DEATHS,
	KIND_SCARCE,
	KIND_TORN,
	KIND_TWINS,
	KIND_ALIKE,
	KIND_SPILLING,
	KIND_SLEEPERS,
	KIND_RETURNING,
	KIND_MOVING,
	KIND_LEAVING,
	KIND_TICKETS,
	KIND_ORPHANS,
	KIND_HEIRS,
	KINDS
};

/* A world of this kind, its judges attached. */
void kind_draw(enum kind kind, uint64_t seed, struct world_config *config_out);
/* Of any kind, most by world_config_draw(). */
void kind_any(uint64_t seed, struct world_config *config_out);
const char *kind_name(enum kind kind);
enum kind kind_find(const char *name); /* KINDS: there is none of that name */

#endif
