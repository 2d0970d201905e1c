/* SPDX-License-Identifier: MIT */
#include "ycsb/model/fill.h"
#include "ycsb/model/mix.h"
#include "ycsb/model/parts.h"

enum {
	WARM_NS = 2000000,
	MEASURE_NS = 8000000,
	FILL_RECORDS = 300,
};

static const struct shape {
	unsigned machines, processes, workers, fibers;
} shapes[] = { { 1, 1, 8, 1 }, { 3, 4, 8, 1 }, { 3, 4, 8, 8 } };

static int mix_run(char letter, const struct shape *shape, bool protection, uint64_t measure_ns,
		   struct model_result *result_out)
{
	return model_mix_run(&(struct model_mix_run){ .letter = letter,
						      .card = PTNI_SIM_CX5,
						      .machines = shape->machines,
						      .processes = shape->processes,
						      .workers = shape->workers,
						      .fibers = shape->fibers,
						      .unprotected = !protection,
						      .warm_ns = WARM_NS,
						      .measure_ns = measure_ns },
			     result_out);
}

int model_part_protection(const struct model_options *options, FILE *to)
{
	uint64_t measure_ns = options->quick ? MEASURE_NS / 8 : MEASURE_NS;
	struct model_result on, off;
	int ret = 0;

	fprintf(to,
		"| workload | clients | on, M op/s | off, M op/s | cost | on: p50, p99, p99.9 us | "
		"off: p50, p99, p99.9 us |\n|---|---:|---:|---:|---:|---|---|\n");
	for (const char *letter = "ABCDF"; *letter && !ret; letter++) {
		for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]) && !ret; i++) {
			const struct shape *shape = &shapes[i];

			ret = mix_run(*letter, shape, true, measure_ns, &on);
			if (!ret)
				ret = mix_run(*letter, shape, false, measure_ns, &off);
			if (ret)
				break;
			fprintf(to,
				"| %c | %u | %.3f | %.3f | %.2f %% | %.1f, %.1f, %.1f | %.1f, %.1f, %.1f |\n",
				*letter,
				shape->machines * shape->processes * shape->workers * shape->fibers,
				on.ops_per_s / 1e6, off.ops_per_s / 1e6,
				(1 - on.ops_per_s / off.ops_per_s) * 100, on.p50_us, on.p99_us,
				on.p999_us, off.p50_us, off.p99_us, off.p999_us);
		}
	}
	return ret;
}

static int fill_row(const struct model_options *options, enum ptni_sim_card card,
		    uint32_t block_bytes, FILE *to)
{
	struct model_result result[3];
	int ret = 0;

	for (unsigned kind = 0; kind < 3 && !ret; kind++) {
		struct model_fill fill = { .kind = kind,
					   .card = card,
					   .block_bytes = block_bytes,
					   .records = options->quick ? FILL_RECORDS / 5 :
								       FILL_RECORDS,
					   .machines = 3,
					   .processes = 4,
					   .workers = 8 };

		ret = model_fill_run(&fill, &result[kind]);
		if (ret)
			fprintf(stderr, "patronus-model: blocks of %u: %s\n", block_bytes,
				result[kind].error);
	}
	if (ret)
		return ret;
	fprintf(to,
		"| %s | %u KiB | %.3f | %.3f | **%.1f %%** | %.3f | %.1f %% | %.0f %%, %.0f %% |\n",
		ptni_sim_card_name(card), block_bytes / 1024, result[0].ops_per_s / 1e6,
		result[1].ops_per_s / 1e6, result[1].ops_per_s / result[0].ops_per_s * 100,
		result[2].ops_per_s / 1e6, result[2].ops_per_s / result[0].ops_per_s * 100,
		(double)result[1].node_busy_ns / (double)result[1].span_ns * 100,
		(double)result[2].node_busy_ns / (double)result[2].span_ns * 100);
	return 0;
}

int model_part_allocation(const struct model_options *options, FILE *to)
{
	int ret = 0;

	fprintf(to,
		"| card | block | none, M op/s | ours, M op/s | ours of none | by request, M op/s | "
		"by request of none | node's core: ours, by request |\n"
		"|---|---:|---:|---:|---:|---:|---:|---|\n");
	for (int card = 0; card < PTNI_SIM_CARDS && !ret; card++)
		for (uint32_t kib = 2; kib <= 8 && !ret; kib *= 2)
			ret = fill_row(options, (enum ptni_sim_card)card, kib * 1024, to);
	return ret;
}
