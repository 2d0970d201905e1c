/* SPDX-License-Identifier: MIT */
/*
 * What is shown while a phase runs: with -s a line every status.interval seconds in YCSB's form;
 * without it, on a terminal, one line that is rewritten every second and removed at the end.
 */
#ifndef YCSB_PROGRESS_H
#define YCSB_PROGRESS_H

#include "ycsb/config.h"
#include "ycsb/measure.h"

#include <stdint.h>
#include <stdio.h>

struct ycsb_session;

struct ycsb_progress {
	const struct ycsb_config *config;
	FILE *to;
	enum ycsb_phase phase;
	uint64_t planned; /* operations; 0: unknown */
	uint64_t last_done, last_ns;
	bool terminal;
	bool shown; /* a line is on the terminal that must be removed */
	struct ycsb_measure now; /* totals so far, filled in by the caller before a show */
	struct ycsb_measure last; /* totals at the last show */
};

/* Errors: -ENOMEM. fini also after a failed init. */
int ycsb_progress_init(struct ycsb_progress *progress, const struct ycsb_session *session,
		       enum ycsb_phase phase, uint64_t planned);
void ycsb_progress_fini(struct ycsb_progress *progress);
uint64_t ycsb_progress_interval_ns(const struct ycsb_progress *progress);
void ycsb_progress_show(struct ycsb_progress *progress, uint64_t done, uint64_t elapsed_ns);
void ycsb_progress_end(struct ycsb_progress *progress);

#endif
