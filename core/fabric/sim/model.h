/* SPDX-License-Identifier: MIT */
/*
 * The parameters of the model of time, in one table, each with where it comes from. Of two cards: those
 * on which most of the published systems were measured.
 */
#ifndef PTNI_SIM_MODEL_H
#define PTNI_SIM_MODEL_H

#include "core/fabric/sim/sim.h"

enum ptni_sim_card {
	PTNI_SIM_CX5, /* ConnectX-5, 100 Gb/s */
	PTNI_SIM_CX6, /* ConnectX-6, 200 Gb/s */
	PTNI_SIM_CARDS
};

struct ptni_sim_parameter {
	const char *name, *unit;
	size_t offset; /* of a uint32_t in struct ptni_sim_timing */
	uint32_t value[PTNI_SIM_CARDS];
	const char *source;
};

extern const struct ptni_sim_parameter ptni_sim_parameters[];
extern const unsigned ptni_sim_parameter_count;

void ptni_sim_model(enum ptni_sim_card card, struct ptni_sim_timing *timing_out);
const char *ptni_sim_card_name(enum ptni_sim_card card);

#endif
