/* SPDX-License-Identifier: MIT */
/* Everything that happens in a world, a line each. */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include "tests/sim/world.h"

#include <stdio.h>

/* To standard output; takes the configuration's attach. */
void trace_attach(struct world_config *config);
void trace_config(const struct world_config *config, FILE *to);

#endif
