/* SPDX-License-Identifier: MIT */
/* A line plot as SVG: panels one under the other, a common logarithmic x axis. */
#ifndef YCSB_BENCH_PLOT_H
#define YCSB_BENCH_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum {
	PLOT_POINTS_MAX = 64,
	PLOT_LINES_MAX = 4,
	PLOT_PANELS_MAX = 3
};

struct plot_line {
	const char *name;
	double y[PLOT_POINTS_MAX];
};

struct plot_panel {
	const char *title; /* what the y axis shows, with its unit */
	bool log; /* logarithmic y axis; all values above 0 */
	struct plot_line lines[PLOT_LINES_MAX];
	size_t line_cnt;
};

struct plot {
	const char *title;
	const char *x_title;
	double x[PLOT_POINTS_MAX];
	size_t point_cnt;
	struct plot_panel panels[PLOT_PANELS_MAX];
	size_t panel_cnt;
};

void plot_write(const struct plot *plot, FILE *to);

#endif
