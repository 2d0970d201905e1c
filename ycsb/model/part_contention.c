/* SPDX-License-Identifier: MIT */
#include "ycsb/bench/plot.h"
#include "ycsb/model/mix.h"
#include "ycsb/model/parts.h"

#include <errno.h>
#include <string.h>

enum {
	WARM_NS = 8000000, /* until memory is used again */
	MEASURE_NS = 8000000,
	SIZES = 6, /* 8, 16, ... 256 clients */
	WORD_BITS = 12,
};

struct row {
	unsigned clients;
	double ops, tries, p50_us, p99_us;
};

/* word_bits: see atomic_word_bits; 0: the card as it is taken to be. */
static int row_run(unsigned clients, uint32_t word_bits, uint64_t measure_ns, struct row *row_out)
{
	unsigned processes = clients / 8;
	struct ptni_sim_timing timing;
	struct model_result result;
	int ret;

	ptni_sim_model(PTNI_SIM_CX5, &timing);
	timing.atomic_word_bits = word_bits;
	ret = model_mix_run(&(struct model_mix_run){ .letter = 'U',
						     .machines = processes < 4 ? 1 : processes / 4,
						     .processes = processes < 4 ? processes : 4,
						     .workers = 8,
						     .fibers = 1,
						     .warm_ns = WARM_NS,
						     .measure_ns = measure_ns,
						     .timing = &timing },
			    &result);
	if (ret)
		return ret;
	*row_out = (struct row){ .clients = clients,
				 .ops = result.ops_per_s,
				 .tries = (double)result.counters.verbs_cas /
					  (double)result.counters.ops_put,
				 .p50_us = result.p50_us,
				 .p99_us = result.p99_us };
	return 0;
}

static int draw(const struct row *rows, const char *file)
{
	struct plot plot = { .title = "Updates only, Zipf 0.99, one node, ConnectX-5 in the model",
			     .x_title = "clients",
			     .point_cnt = SIZES,
			     .panel_cnt = 3 };
	FILE *to = fopen(file, "we");

	if (!to)
		return -errno;
	plot.panels[0] = (struct plot_panel){ .title = "operations per second", .line_cnt = 1 };
	plot.panels[1] = (struct plot_panel){ .title = "CASes per operation", .line_cnt = 1 };
	plot.panels[2] = (struct plot_panel){ .title = "latency, us", .log = true, .line_cnt = 2 };
	plot.panels[0].lines[0].name = "all clients";
	plot.panels[1].lines[0].name = "mean";
	plot.panels[2].lines[0].name = "median";
	plot.panels[2].lines[1].name = "99 %";
	for (unsigned i = 0; i < SIZES; i++) {
		plot.x[i] = rows[i].clients;
		plot.panels[0].lines[0].y[i] = rows[i].ops;
		plot.panels[1].lines[0].y[i] = rows[i].tries;
		plot.panels[2].lines[0].y[i] = rows[i].p50_us;
		plot.panels[2].lines[1].y[i] = rows[i].p99_us;
	}
	plot_write(&plot, to);
	return fclose(to) ? -errno : 0;
}

static void row_print(const struct row *row, const char *words, FILE *to)
{
	fprintf(to, "| %u | %s | %.3f | %.3f | %.1f | %.1f |\n", row->clients, words,
		row->ops / 1e6, row->tries, row->p50_us, row->p99_us);
}

int model_part_contention(const struct model_options *options, FILE *to)
{
	uint64_t measure_ns = options->quick ? MEASURE_NS / 8 : MEASURE_NS;
	struct row rows[SIZES], other;
	int ret = 0;

	fprintf(to,
		"| clients | words that meet | M op/s | CASes per operation | p50, us | p99, us |\n"
		"|---:|---|---:|---:|---:|---:|\n");
	for (unsigned i = 0; i < SIZES && !ret; i++) {
		ret = row_run(8u << i, 0, measure_ns, &rows[i]);
		if (!ret)
			row_print(&rows[i], "the same ones", to);
	}
	for (unsigned clients = 64; clients <= 256 && !ret; clients *= 4) {
		ret = row_run(clients, WORD_BITS, measure_ns, &other);
		if (!ret)
			row_print(&other, "12 address bits alike", to);
	}
	return ret || !options->svg ? ret : draw(rows, options->svg);
}
