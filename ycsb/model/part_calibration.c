/* SPDX-License-Identifier: MIT */
#include "ycsb/model/calibrate.h"
#include "ycsb/model/parts.h"

#include <string.h>

int model_part_parameters(const struct model_options *options, FILE *to)
{
	fprintf(to, "| parameter | unit | %s | %s | from |\n|---|---|---:|---:|---|\n",
		ptni_sim_card_name(PTNI_SIM_CX5), ptni_sim_card_name(PTNI_SIM_CX6));
	for (unsigned i = 0; i < ptni_sim_parameter_count; i++) {
		const struct ptni_sim_parameter *parameter = &ptni_sim_parameters[i];

		fprintf(to, "| `%s` | %s | %u | %u | %s |\n", parameter->name, parameter->unit,
			parameter->value[PTNI_SIM_CX5], parameter->value[PTNI_SIM_CX6],
			parameter->source);
	}
	return 0;
}

/* How far outside of what was published, in per cent of its nearer end. */
static void deviation_print(const struct model_point *point, double value, FILE *to)
{
	double nearest = value < point->low ? point->low : point->high;

	if (value >= point->low && value <= point->high)
		fprintf(to, "within");
	else
		fprintf(to, "%+.0f %%", (value / nearest - 1) * 100);
}

static void published_print(const struct model_point *point, FILE *to)
{
	if (point->high > point->low)
		fprintf(to, "%.3g to %.3g", point->low, point->high);
	else
		fprintf(to, "%.3g", point->low);
}

int model_part_calibration(const struct model_options *options, FILE *to)
{
	struct model_result result;
	double value, base = 0;
	int ret = 0;

	fprintf(to,
		"| what | unit | published | model | off by | |\n|---|---|---:|---:|---:|---|\n");
	for (unsigned i = 0; i < model_point_count && !ret; i++) {
		const struct model_point *point = &model_points[i];

		ret = model_point_run(point, &value, &result);
		if (ret) {
			fprintf(stderr, "patronus-model: %s: %s\n", point->what, result.error);
			return ret;
		}
		fprintf(to, "| %s | %s | ", point->what, point->latency ? "us" : "M/s");
		if (point->high > 0) {
			published_print(point, to);
			fprintf(to, " [%s] | %.3g | ", point->source, value);
			deviation_print(point, value, to);
		} else {
			fprintf(to, "%s | %.3g | ", point->note, value);
			if (base > 0)
				fprintf(to, "%.0f %% of it", value / base * 100);
			base = value;
		}
		fprintf(to, " | %s |\n", point->high > 0 ? point->note : "");
	}
	return ret;
}
