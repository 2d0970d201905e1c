/* SPDX-License-Identifier: MIT */
#include "ycsb/model/calibrate.h"

#include <errno.h>

enum {
	SPAN_BYTES = 8 << 20,
	BUCKET_BYTES = 256,
	BLOCK_BYTES = 64,
	WARM_NS = 500000,
	MEASURE_NS = 2000000,
	/* CPU of an operation of the original hash table and its coroutines: made of its own read-only rate, 5.0 M/s by
	 * 8 threads, less what the model charges for posting and polling. */
	RACE_CPU_NS = 1430,
	/* [F]: a region ended and made again, of memory that has been registered before, 46.5 us; 21.9 for the end. */
	DEREGISTER_NS = 21900,
	REGISTER_NS = 46500 - DEREGISTER_NS,
};

/* ---- single verbs */

static uint64_t somewhere(struct model_fiber *fiber, unsigned node, uint64_t len_bytes)
{
	uint64_t len, base = model_rights_region(fiber, node, &len);

	return base + ptni_rng_below(&fiber->rng, (SPAN_BYTES - len_bytes) / 8) * 8;
}

static int verb_step(struct model_fiber *fiber)
{
	const struct model_point *point = model_config(fiber->cluster)->arg;
	const struct ptni_window *window = ptni_window_region(fiber->worker, 0);
	uint64_t addr = point->one_word ? window->addr : somewhere(fiber, 0, 8);
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *word;
	int ret = ptni_op_begin(fiber->worker, &op);

	if (ret)
		return ret;
	word = ptni_op_buffer(&op, sizeof(*word));
	ptni_batch_init(&batch, &op, 0);
	if (point->verb == IBV_WR_RDMA_READ)
		ptni_batch_read(&batch, window, addr, word, sizeof(*word));
	else if (point->verb == IBV_WR_RDMA_WRITE)
		ptni_batch_write(&batch, window, addr, word, sizeof(*word));
	else
		ptni_batch_cas(&batch, window, addr, 0, 0, word);
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	return ret;
}

/* ---- rights, each used for nothing */

static unsigned node_of(const struct model_fiber *fiber)
{
	const struct model_config *config = model_config(fiber->cluster);

	return fiber->number / config->fibers % config->nodes;
}

static int rights_step(struct model_fiber *fiber)
{
	const struct model_point *point = model_config(fiber->cluster)->arg;
	unsigned node = node_of(fiber);
	struct model_right right;
	int ret = model_right_take(fiber, node, point->rights, somewhere(fiber, node, BLOCK_BYTES),
				   BLOCK_BYTES, &right);

	if (ret || point->rights == MODEL_RIGHTS_NONE)
		return ret;
	return model_right_drop(fiber, &right);
}

/* ---- the original hash table */

static int reads(struct model_fiber *fiber, unsigned node, const struct ptni_window *window,
		 uint32_t len_bytes, unsigned count, bool write)
{
	struct ptni_batch batch;
	struct ptni_op op;
	int ret = ptni_op_begin(fiber->worker, &op);
	uint8_t *bytes;

	if (ret)
		return ret;
	bytes = ptni_op_buffer(&op, BUCKET_BYTES);
	ptni_batch_init(&batch, &op, node);
	for (unsigned i = 0; i < count; i++) {
		uint64_t span = window->len_bytes < SPAN_BYTES ? window->len_bytes : SPAN_BYTES;
		uint64_t addr =
			window->addr + ptni_rng_below(&fiber->rng, (span - len_bytes) / 8 + 1) * 8;

		if (write)
			ptni_batch_write(&batch, window, addr, bytes, len_bytes);
		else
			ptni_batch_read(&batch, window, addr, bytes, len_bytes);
	}
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	return ret;
}

/* The block: under a right of its own, or the region's. */
static int block_use(struct model_fiber *fiber, unsigned node, bool write)
{
	const struct model_point *point = model_config(fiber->cluster)->arg;
	struct model_right right;
	int ret;

	if (point->rights == MODEL_RIGHTS_NONE)
		return reads(fiber, node, ptni_window_region(fiber->worker, node), BLOCK_BYTES, 1,
			     write);
	ret = model_right_take(fiber, node, point->rights, somewhere(fiber, node, BLOCK_BYTES),
			       BLOCK_BYTES, &right);
	if (!ret)
		ret = reads(fiber, node, right.window, BLOCK_BYTES, 1, write);
	return ret ? ret : model_right_drop(fiber, &right);
}

static int buckets_read(struct model_fiber *fiber, unsigned node)
{
	ptni_sim_charge(RACE_CPU_NS);
	return reads(fiber, node, ptni_window_region(fiber->worker, node), BUCKET_BYTES, 2, false);
}

static int race_absent_step(struct model_fiber *fiber)
{
	return buckets_read(fiber, node_of(fiber));
}

static int race_found_step(struct model_fiber *fiber)
{
	unsigned node = node_of(fiber);
	int ret = buckets_read(fiber, node);

	return ret ? ret : block_use(fiber, node, false);
}

/*
 * The mix of the published run, by its own count of 81339 operations of one coroutine: 7971 inserts, each with a
 * block of its own; 7400 deletes, 139 of which found their key; 65968 gets, 3586 of which did.
 */
static int race_mix_step(struct model_fiber *fiber)
{
	uint64_t draw = ptni_rng_below(&fiber->rng, 81339);
	unsigned node = node_of(fiber);
	int ret = buckets_read(fiber, node);

	if (ret)
		return ret;
	if (draw < 7971)
		return block_use(fiber, node, true);
	return draw < 7971 + 139 + 3586 ? block_use(fiber, node, false) : 0;
}

/* ---- the points */

#define VERB(text, opcode, m, p, w, f, unit_is_us, number, remark)                                 \
	{                                                                                          \
		.what = text, .card = PTNI_SIM_CX5, .machines = m, .processes = p, .workers = w,   \
		.fibers = f, .nodes = 1, .step = verb_step, .verb = opcode, .latency = unit_is_us, \
		.low = number, .high = number, .source = "C", .note = remark                       \
	}

const struct model_point model_points[] = {
	VERB("READ of 8 B, 24 in flight", IBV_WR_RDMA_READ, 3, 1, 8, 1, true, 2.70, "input"),
	VERB("WRITE of 8 B, 24 in flight", IBV_WR_RDMA_WRITE, 3, 1, 8, 1, true, 2.18, "input"),
	VERB("CAS, 24 in flight", IBV_WR_ATOMIC_CMP_AND_SWP, 3, 1, 8, 1, true, 2.75, "input"),
	VERB("READ, 96 in flight", IBV_WR_RDMA_READ, 3, 4, 8, 1, false, 35.3, ""),
	VERB("READ, 192 in flight", IBV_WR_RDMA_READ, 3, 4, 8, 2, false, 53.9, ""),
	VERB("READ, 360 in flight", IBV_WR_RDMA_READ, 3, 4, 10, 3, false, 84.5, "input"),
	VERB("WRITE, 360 in flight", IBV_WR_RDMA_WRITE, 3, 4, 10, 3, false, 103.6, "input"),
	VERB("CAS, 360 in flight", IBV_WR_ATOMIC_CMP_AND_SWP, 3, 4, 10, 3, false, 50.6, "input"),
	{ .what = "CAS of one word, 360 in flight",
	  .card = PTNI_SIM_CX5,
	  .machines = 3,
	  .processes = 4,
	  .workers = 10,
	  .fibers = 3,
	  .nodes = 1,
	  .step = verb_step,
	  .verb = IBV_WR_ATOMIC_CMP_AND_SWP,
	  .one_word = true,
	  .low = 2.93,
	  .high = 2.93,
	  .source = "C",
	  .note = "input" },
	{ .what = "READ, 96 threads, 1 in flight each",
	  .card = PTNI_SIM_CX6,
	  .machines = 1,
	  .processes = 8,
	  .workers = 12,
	  .fibers = 1,
	  .nodes = 1,
	  .step = verb_step,
	  .verb = IBV_WR_RDMA_READ,
	  .low = 32.9,
	  .high = 32.9,
	  .source = "S",
	  .note = "input" },
	{ .what = "READ, 96 threads, 4 in flight each",
	  .card = PTNI_SIM_CX6,
	  .machines = 1,
	  .processes = 8,
	  .workers = 12,
	  .fibers = 4,
	  .nodes = 1,
	  .step = verb_step,
	  .verb = IBV_WR_RDMA_READ,
	  .low = 80.8,
	  .high = 80.8,
	  .source = "S",
	  .note = "" },
#define RIGHTS(text, kind, m, p, w, f, n, unit_is_us, from, to, remark)                          \
	{                                                                                        \
		.what = text, .card = PTNI_SIM_CX5, .machines = m, .processes = p, .workers = w, \
		.fibers = f, .nodes = n, .step = rights_step, .rights = kind,                    \
		.latency = unit_is_us, .low = from, .high = to, .source = "P", .note = remark    \
	}
	RIGHTS("Requests to 4 server threads, no window", MODEL_RIGHTS_NONE, 3, 4, 8, 4, 4, false,
	       10.0, 10.0, "input"),
	RIGHTS("Window taken and dropped, 4 server threads", MODEL_RIGHTS_WINDOW, 3, 4, 8, 4, 4,
	       false, 3.7, 5.9, ""),
	RIGHTS("Window taken and dropped, alone", MODEL_RIGHTS_WINDOW, 1, 1, 1, 1, 1, true, 6.0,
	       6.0, ""),
#define RACE(text, function, kind, from, to, remark)                                             \
	{                                                                                        \
		.what = text, .card = PTNI_SIM_CX5, .machines = 1, .processes = 4, .workers = 2, \
		.fibers = 16, .nodes = 4, .step = function, .rights = kind, .low = from,         \
		.high = to, .source = "P", .note = remark                                        \
	}
	RACE("RACE, gets of absent keys, 8 threads of 16", race_absent_step, MODEL_RIGHTS_NONE, 5.0,
	     5.0, "input"),
	RACE("RACE, published mix, unprotected", race_mix_step, MODEL_RIGHTS_NONE, 4.9, 5.2, ""),
	RACE("RACE, published mix, window per block", race_mix_step, MODEL_RIGHTS_WINDOW, 4.0, 4.5,
	     ""),
	RACE("RACE, published mix, region per block", race_mix_step, MODEL_RIGHTS_REGION, 0.473,
	     0.609, ""),
	RACE("RACE, every get finds, unprotected", race_found_step, MODEL_RIGHTS_NONE, 0, 0, ""),
	RACE("RACE, every get finds, window per block", race_found_step, MODEL_RIGHTS_WINDOW, 0, 0,
	     "1/3 to 1/2 of unprotected [P]"),
};
const unsigned model_point_count = sizeof(model_points) / sizeof(model_points[0]);

static int node_open(struct ptn_node *node, void *arg)
{
	static const struct model_rights_costs costs = { REGISTER_NS, DEREGISTER_NS };

	return model_rights_add(node, &costs);
}

int model_point_run(const struct model_point *point, double *value_out,
		    struct model_result *result_out)
{
	struct model_point copy = *point;
	struct model_config config = {
		.card = point->card,
		.seed = 1,
		.machines = point->machines,
		.processes = point->processes,
		.workers = point->workers,
		.fibers = point->fibers,
		.nodes = point->nodes,
		.unprotected = true,
		.no_spares = true,
		.node_memory_bytes = UINT64_C(64) << 20,
		.warm_ns = WARM_NS,
		.measure_ns = point->rights == MODEL_RIGHTS_REGION ? 10 * MEASURE_NS : MEASURE_NS,
		.node_open = node_open,
		.step = point->step,
		.arg = &copy,
	};
	int ret = model_run(&config, result_out);

	if (!ret)
		*value_out = point->latency ? result_out->mean_us : result_out->ops_per_s / 1e6;
	return ret;
}
