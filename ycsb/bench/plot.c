/* SPDX-License-Identifier: MIT */
#include "ycsb/bench/plot.h"

#include <math.h>

enum {
	WIDTH = 760,
	PANEL_HEIGHT = 260,
	LEFT = 80,
	RIGHT = 130,
	TOP = 40,
	GAP = 60
};

static const char *const colours[PLOT_LINES_MAX] = { "#1b6ca8", "#c8553d", "#588b3f", "#7a5195" };

/* From a value to a place on an axis. */
struct axis {
	bool log;
	double low, high; /* of the axis, in the scale's own terms */
	double from, to; /* in points */
};

static double scaled(const struct axis *axis, double value)
{
	return axis->log ? log10(value) : value;
}

static double place(const struct axis *axis, double value)
{
	return axis->from + (scaled(axis, value) - axis->low) / (axis->high - axis->low) *
				    (axis->to - axis->from);
}

static struct axis axis_over(bool log, double min, double max, double from, double to)
{
	struct axis axis = { log, 0, 0, from, to };

	axis.low = log ? floor(log10(min)) : 0;
	axis.high = log ? ceil(log10(max)) : max * 1.1;
	if (axis.high <= axis.low)
		axis.high = axis.low + 1;
	return axis;
}

/* 1000 -> "1 k", 0.5 -> "0.5" */
static void number_text(double value, char *text, size_t capacity)
{
	static const char *const units[] = { "", " k", " M", " G" };
	int unit = 0;

	while (fabs(value) >= 1000 && unit < 3) {
		value /= 1000;
		unit++;
	}
	snprintf(text, capacity, "%.4g%s", value, units[unit]);
}

/* Powers of ten on a logarithmic axis, steps of 1, 2 or 5 on a linear one. */
static double first_tick(const struct axis *axis, double *step_out)
{
	double raw = (axis->high - axis->low) / 5, power = pow(10, floor(log10(raw)));

	if (axis->log) {
		*step_out = 10;
		return pow(10, axis->low);
	}
	*step_out = raw / power < 2 ? 2 * power : raw / power < 5 ? 5 * power : 10 * power;
	return 0;
}

static double next_tick(const struct axis *axis, double tick, double step)
{
	return axis->log ? tick * step : tick + step;
}

static void draw_y_ticks(const struct axis *axis, FILE *to)
{
	double step, tick = first_tick(axis, &step);
	char text[32];

	for (; scaled(axis, tick) <= axis->high + 1e-9; tick = next_tick(axis, tick, step)) {
		double y = place(axis, tick);

		number_text(tick, text, sizeof(text));
		fprintf(to,
			"<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
			"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, text);
	}
}

static void draw_x_ticks(const struct axis *axis, double bottom, FILE *to)
{
	double step, tick = first_tick(axis, &step);
	char text[32];

	for (; scaled(axis, tick) <= axis->high + 1e-9; tick = next_tick(axis, tick, step)) {
		double x = place(axis, tick);

		number_text(tick, text, sizeof(text));
		fprintf(to,
			"<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#888\"/>"
			"<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
			x, x, bottom, bottom + 5, x, bottom + 20, text);
	}
}

static void draw_line(const struct plot *plot, const struct plot_line *line, const char *colour,
		      const struct axis *x, const struct axis *y, FILE *to)
{
	fprintf(to, "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"%s\" points=\"", colour);
	for (size_t i = 0; i < plot->point_cnt; i++)
		fprintf(to, "%.1f,%.1f ", place(x, plot->x[i]), place(y, line->y[i]));
	fputs("\"/>\n", to);
	for (size_t i = 0; i < plot->point_cnt; i++)
		fprintf(to, "<circle r=\"3\" cx=\"%.1f\" cy=\"%.1f\" fill=\"%s\"/>\n",
			place(x, plot->x[i]), place(y, line->y[i]), colour);
}

static struct axis panel_axis(const struct plot *plot, const struct plot_panel *panel, double top)
{
	double min = (double)INFINITY, max = -(double)INFINITY;

	for (size_t l = 0; l < panel->line_cnt; l++) {
		for (size_t i = 0; i < plot->point_cnt; i++) {
			min = fmin(min, panel->lines[l].y[i]);
			max = fmax(max, panel->lines[l].y[i]);
		}
	}
	return axis_over(panel->log, min, max, top + PANEL_HEIGHT, top);
}

static void draw_panel(const struct plot *plot, const struct plot_panel *panel,
		       const struct axis *x, double top, FILE *to)
{
	struct axis y = panel_axis(plot, panel, top);
	double bottom = top + PANEL_HEIGHT;

	draw_y_ticks(&y, to);
	draw_x_ticks(x, bottom, to);
	fprintf(to,
		"<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\" fill=\"none\" "
		"stroke=\"#888\"/>\n<text x=\"%d\" y=\"%.1f\" font-weight=\"bold\">%s</text>\n",
		LEFT, top, WIDTH - RIGHT - LEFT, PANEL_HEIGHT, LEFT, top - 8, panel->title);
	for (size_t l = 0; l < panel->line_cnt; l++) {
		draw_line(plot, &panel->lines[l], colours[l], x, &y, to);
		fprintf(to, "<text x=\"%d\" y=\"%.1f\" fill=\"%s\">%s</text>\n", WIDTH - RIGHT + 8,
			top + 16 + 18 * (double)l, colours[l], panel->lines[l].name);
	}
}

void plot_write(const struct plot *plot, FILE *to)
{
	double height = TOP + (double)plot->panel_cnt * (PANEL_HEIGHT + GAP) + 20;
	struct axis x =
		axis_over(true, plot->x[0], plot->x[plot->point_cnt - 1], LEFT, WIDTH - RIGHT);

	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		"<text x=\"%d\" y=\"18\" font-size=\"14\">%s</text>\n",
		WIDTH, height, LEFT, plot->title);
	for (size_t p = 0; p < plot->panel_cnt; p++)
		draw_panel(plot, &plot->panels[p], &x, TOP + 14 + (double)p * (PANEL_HEIGHT + GAP),
			   to);
	fprintf(to, "<text x=\"%d\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n</svg>\n",
		(LEFT + WIDTH - RIGHT) / 2, height - 12, plot->x_title);
}
