/* SPDX-License-Identifier: MIT */
/* The status line and the growth plot, into memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ycsb/bench/plot.h"
#include "ycsb/progress.h"
#include "ycsb/runner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void record(struct ycsb_progress *progress, struct ycsb_measure *total, uint64_t from,
		   uint64_t until)
{
	for (uint64_t i = from; i < until; i++)
		ycsb_measure_record(total, YCSB_METRIC_READ, YCSB_STATUS_OK, 0, 0, i * 1000);
	ycsb_measure_clear(&progress->now);
	ycsb_measure_add(&progress->now, total);
}

/* The second line covers the second interval alone. */
static void status__shows_the_interval_and_what_is_left(void **state)
{
	struct ycsb_config config;
	struct ycsb_message why;
	struct ycsb_progress progress;
	struct ycsb_measure total;
	char *text = NULL;
	size_t len = 0;
	struct ycsb_session session = { .config = &config, .log = open_memstream(&text, &len) };

	ycsb_config_init(&config);
	ycsb_config_set(&config, "status", "true", "t", &why);
	ycsb_config_set(&config, "label", "try ", "t", &why);
	assert_int_equal(ycsb_measure_init(&total, YCSB_INTERVAL_OP), 0);
	assert_int_equal(ycsb_progress_init(&progress, &session, YCSB_RUN, 400000), 0);
	assert_int_equal(ycsb_progress_interval_ns(&progress), UINT64_C(10000000000));
	record(&progress, &total, 1, 101);
	ycsb_progress_show(&progress, 100000, UINT64_C(10000000000));
	record(&progress, &total, 501, 551);
	ycsb_progress_show(&progress, 150000, UINT64_C(20000000000));
	fflush(session.log);
	assert_non_null(strstr(text, "try 2"));
	assert_non_null(strstr(text, " 10 sec: 100000 operations; 10000.00 current ops/sec; "
				     "est completion in 30 seconds [READ: Count=100, "));
	assert_non_null(strstr(text, " 20 sec: 150000 operations; 5000.00 current ops/sec; "
				     "est completion in 34 seconds [READ: Count=50, "));
	ycsb_progress_end(&progress);
	ycsb_progress_fini(&progress);
	ycsb_measure_fini(&total);
	fclose(session.log);
	free(text);
}

/* Tags close, every point is inside its panel. */
static void plot__is_well_formed_and_inside(void **state)
{
	struct plot *plot = calloc(1, sizeof(*plot));
	char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	int circles = 0;

	plot->title = "t";
	plot->x_title = "x";
	plot->point_cnt = 20;
	plot->panel_cnt = 2;
	for (size_t i = 0; i < 20; i++) {
		plot->x[i] = (double)(1000 << i);
		plot->panels[0].lines[0].y[i] = 0.1 * (double)(i + 1);
		plot->panels[1].lines[0].y[i] = 1.5 + (double)i / 100;
	}
	plot->panels[0].title = plot->panels[1].title = "y";
	plot->panels[0].log = true;
	plot->panels[0].line_cnt = plot->panels[1].line_cnt = 1;
	plot->panels[0].lines[0].name = plot->panels[1].lines[0].name = "n";
	plot_write(plot, file);
	fclose(file);
	for (const char *at = text; (at = strstr(at, "<circle")) != NULL; at++) {
		double x, y;

		assert_int_equal(sscanf(at, "<circle r=\"3\" cx=\"%lf\" cy=\"%lf\"", &x, &y), 2);
		assert_true(x >= 80 && x <= 630 && y >= 40 && y <= 640);
		circles++;
	}
	assert_int_equal(circles, 40);
	assert_non_null(strstr(text, "</svg>"));
	assert_null(strstr(text, "nan"));
	free(text);
	free(plot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status__shows_the_interval_and_what_is_left),
		cmocka_unit_test(plot__is_well_formed_and_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
