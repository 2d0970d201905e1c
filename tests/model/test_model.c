/* SPDX-License-Identifier: MIT */
/* The model of time and what it says of the library, within bounds, on small runs (docs/PERFORMANCE.md). */
#include "ycsb/model/calibrate.h"
#include "ycsb/model/fill.h"
#include "ycsb/model/mix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

static void mix_run(char letter, unsigned processes, unsigned fibers, uint64_t seed,
		    uint64_t span_ns, struct model_result *result_out)
{
	assert_int_equal(model_mix_run(&(struct model_mix_run){ .letter = letter,
								.card = PTNI_SIM_CX5,
								.machines = 1,
								.processes = processes,
								.workers = 4,
								.fibers = fibers,
								.records = 2000,
								.seed = seed,
								.warm_ns = span_ns,
								.measure_ns = span_ns },
				       result_out),
			 0);
}

/* The same seed gives the same numbers, another seed others. */
static void it_is_deterministic(void **state)
{
	struct model_result first, second, other;

	mix_run('A', 2, 2, 1, MS / 4, &first);
	mix_run('A', 2, 2, 1, MS / 4, &second);
	mix_run('A', 2, 2, 2, MS / 4, &other);
	assert_true(first.hash == second.hash);
	assert_true(first.ops == second.ops);
	assert_true(first.events == second.events);
	assert_memory_equal(&first.counters, &second.counters, sizeof(first.counters));
	assert_true(first.hash != other.hash);
}

static const struct model_point *point_of(const char *what)
{
	for (unsigned i = 0; i < model_point_count; i++)
		if (!strcmp(model_points[i].what, what))
			return &model_points[i];
	fail_msg("there is no point '%s'", what);
	return NULL;
}

/* The model's value is within a part of what was published. */
static void point_holds(const char *what, double part)
{
	const struct model_point *point = point_of(what);
	struct model_result result;
	double value = 0;

	assert_int_equal(model_point_run(point, &value, &result), 0);
	if (value < point->low * (1 - part) || value > point->high * (1 + part))
		fail_msg("%s: published %.3g to %.3g, model %.3g", what, point->low, point->high,
			 value);
}

static void latencies_are_the_published_ones(void **state)
{
	point_holds("READ of 8 B, 24 in flight", 0.03);
	point_holds("WRITE of 8 B, 24 in flight", 0.03);
	point_holds("CAS, 24 in flight", 0.03);
}

static void the_original_lands_near_its_numbers(void **state)
{
	point_holds("RACE, published mix, unprotected", 0.05);
	point_holds("RACE, published mix, window per block", 0.1);
	point_holds("RACE, published mix, region per block", 0.1);
}

/* Clients that do nothing but update report epochs all the same, and what they free is used again. */
static void memory_is_used_again_under_load(void **state)
{
	struct model_result result;

	mix_run('U', 2, 2, 1, 25 * MS, &result);
	assert_true(result.counters.blocks_reused > result.ops / 2);
}

static void hot_keys_cost_few_tries(void **state)
{
	struct model_result result;

	mix_run('U', 4, 4, 1, MS, &result);
	if ((double)result.counters.verbs_cas > 1.4 * (double)result.counters.ops_put)
		fail_msg("%.3f CASes an update",
			 (double)result.counters.verbs_cas / (double)result.counters.ops_put);
}

/* Filling and emptying in blocks of 4 KiB: the node's one core does not slow it down. */
static void allocation_costs_little(void **state)
{
	struct model_result result[3];

	for (unsigned kind = 0; kind < 3; kind++) {
		struct model_fill fill = { .kind = kind,
					   .card = PTNI_SIM_CX5,
					   .block_bytes = 4096,
					   .records = 100,
					   .machines = 1,
					   .processes = 4,
					   .workers = 4 };

		assert_int_equal(model_fill_run(&fill, &result[kind]), 0);
	}
	assert_true(result[MODEL_FILL_OURS].ops_per_s > 0.95 * result[MODEL_FILL_OPEN].ops_per_s);
	assert_true(result[MODEL_FILL_RPC].ops_per_s < 0.8 * result[MODEL_FILL_OPEN].ops_per_s);
}

/* Cards of their own: four nodes answer more than twice as many gets as one. */
static void nodes_add_up(void **state)
{
	struct model_mix_run run = { .letter = 'C',
				     .machines = 2,
				     .processes = 4,
				     .workers = 8,
				     .fibers = 8,
				     .records = 1000,
				     .warm_ns = MS / 10,
				     .measure_ns = MS / 2 };
	struct model_result one, four;

	assert_int_equal(model_mix_run(&run, &one), 0);
	run.nodes = 4;
	assert_int_equal(model_mix_run(&run, &four), 0);
	if (four.ops_per_s < 1.5 * one.ops_per_s || four.p50_us >= one.p50_us)
		fail_msg("one node: %.1f M/s, four: %.1f M/s", one.ops_per_s / 1e6,
			 four.ops_per_s / 1e6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_deterministic),
		cmocka_unit_test(latencies_are_the_published_ones),
		cmocka_unit_test(the_original_lands_near_its_numbers),
		cmocka_unit_test(memory_is_used_again_under_load),
		cmocka_unit_test(hot_keys_cost_few_tries),
		cmocka_unit_test(allocation_costs_little),
		cmocka_unit_test(nodes_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
