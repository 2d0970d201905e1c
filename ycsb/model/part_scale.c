/* SPDX-License-Identifier: MIT */
#include "ycsb/model/mix.h"
#include "ycsb/model/parts.h"

enum {
	WARM_NS = 1000000,
	MEASURE_NS = 3000000,
	NODES_MAX = 4,
	CORES = 32, /* of a machine of clients */
	MACHINES = 3,
};

void model_scale_head(FILE *to)
{
	fprintf(to, "| workload | nodes | clients | M op/s | p50, us | p99, us | p99.9, us |\n"
		    "|---|---:|---:|---:|---:|---:|---:|\n");
}

int model_scale_row(const struct model_mix_run *run, FILE *to)
{
	struct model_result result;
	int ret = model_mix_run(run, &result);

	if (ret)
		return ret;
	fprintf(to, "| %c | %u | %u | %.2f | %.1f | %.1f | %.1f |\n", run->letter, run->nodes,
		run->machines * run->processes * run->workers * run->fibers, result.ops_per_s / 1e6,
		result.p50_us, result.p99_us, result.p999_us);
	return 0;
}

int model_part_scale(const struct model_options *options, FILE *to)
{
	int ret = 0;

	model_scale_head(to);
	for (const char *letter = "AC"; *letter && !ret; letter++)
		for (unsigned fibers = 1; fibers <= 8 && !ret; fibers *= 8)
			for (unsigned nodes = 1; nodes <= NODES_MAX && !ret; nodes *= 2) {
				struct model_mix_run run = { .letter = *letter,
							     .nodes = nodes,
							     .machines = MACHINES,
							     .processes = CORES / 8,
							     .workers = 8,
							     .fibers = fibers,
							     .warm_ns = WARM_NS,
							     .measure_ns = MEASURE_NS };

				if (options->quick)
					run.measure_ns /= 10;
				ret = model_scale_row(&run, to);
			}
	return ret;
}
