/* SPDX-License-Identifier: MIT */
/* What others have measured, measured again in the model. */
#ifndef YCSB_MODEL_CALIBRATE_H
#define YCSB_MODEL_CALIBRATE_H

#include "ycsb/model/rights.h"

struct model_point {
	const char *what;
	enum ptni_sim_card card;
	unsigned machines, processes, workers, fibers, nodes;
	int (*step)(struct model_fiber *fiber);
	enum model_rights_kind rights;
	enum ibv_wr_opcode verb;
	bool one_word;
	bool latency; /* compares the mean in us, else M operations a second */
	double low, high; /* published; both the same if there is one number */
	const char *source;
	const char *note; /* "input": a parameter was made of it */
};

extern const struct model_point model_points[];
extern const unsigned model_point_count;

/* *value_out in the point's unit. */
int model_point_run(const struct model_point *point, double *value_out,
		    struct model_result *result_out);

#endif
