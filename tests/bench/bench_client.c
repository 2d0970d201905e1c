/* SPDX-License-Identifier: MIT */
/*
 * What the client adds to the verbs of an operation, and how long a switch to a spare lane takes.
 *
 *     bench_client
 *
 * get     a warm get, [READ 8 B, READ 64 B] in one batch: by hand on the queue pair, with prepared
 *         work requests; and as an operation with pin, clock, deadline check and counters. The
 *         difference is the client's own.
 * switch  an access is refused by a window that died; until it was posted again on the spare.
 */
#include "core/batch.h"
#include "tests/support/client_fixture.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	RUNS = 301,
	OPERATIONS = 2000,
	SWITCHES = 2000
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *name, double *ns, size_t count)
{
	qsort(ns, count, sizeof(*ns), compare);
	printf("%-28s median %9.1f ns   p99 %9.1f ns   max %9.1f ns\n", name, ns[count / 2],
	       ns[count * 99 / 100], ns[count - 1]);
}

static void raw_gets(struct fixture *fixture, const struct ptni_batch *prepared)
{
	struct ibv_send_wr wr[2] = { prepared->wr[0], prepared->wr[1] }, *bad;
	struct ibv_qp *qp = fixture->worker->peer[0]->active->qp;
	struct ibv_wc wc;

	wr[0].next = &wr[1];
	wr[1].next = NULL;
	wr[1].send_flags = IBV_SEND_SIGNALED;
	for (int i = 0; i < OPERATIONS; i++)
		if (ibv_post_send(qp, wr, &bad) || ibv_poll_cq(fixture->worker->cq, 1, &wc) != 1 ||
		    wc.status)
			abort();
}

static void batch_make(struct fixture *fixture, struct ptni_batch *batch, struct ptni_op *op)
{
	uint64_t *slot = ptni_op_buffer(op, 8), *block = ptni_op_buffer(op, 64);

	ptni_batch_init(batch, op, 0);
	ptni_batch_read(batch, fixture->window, fixture->window->addr, slot, 8);
	ptni_batch_read(batch, fixture->window, fixture->window->addr + 128, block, 64);
}

static void operation_gets(struct fixture *fixture)
{
	for (int i = 0; i < OPERATIONS; i++) {
		struct ptni_batch batch;
		struct ptni_op op;

		if (ptni_op_begin(fixture->worker, &op))
			abort();
		batch_make(fixture, &batch, &op);
		if (ptni_batch_run(&batch))
			abort();
		ptni_op_end(&op);
	}
}

static void bench_get(struct fixture *fixture)
{
	static double raw[RUNS], operation[RUNS], clock[RUNS];
	struct ptni_batch prepared;
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	batch_make(fixture, &prepared, &op);
	for (int run = 0; run < RUNS; run++) {
		uint64_t a = ptni_clock_now_ns(), b, c, d;

		raw_gets(fixture, &prepared);
		b = ptni_clock_now_ns();
		operation_gets(fixture);
		c = ptni_clock_now_ns();
		for (int i = 0; i < OPERATIONS; i++)
			(void)ptni_clock_now_ns();
		d = ptni_clock_now_ns();
		raw[run] = (double)(b - a) / OPERATIONS;
		operation[run] = (double)(c - b) / OPERATIONS;
		clock[run] = (double)(d - c) / OPERATIONS;
	}
	ptni_op_end(&op);
	print("get, two READs by hand", raw, RUNS);
	print("get, as an operation", operation, RUNS);
	print("of that, the clock", clock, RUNS);
}

/* One refused access: the lane breaks, the spare answers. */
static double switch_once(struct fixture *fixture)
{
	struct ptn_counters before = fixture_counters(fixture), after;
	struct ptni_batch batch;
	struct ptni_op op;

	fake_revoke(&fixture->node, fixture->worker->index, fixture_active(fixture),
		    fixture->window->tag);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), 0);
	batch_make(fixture, &batch, &op);
	assert_int_equal(ptni_batch_run(&batch), 0);
	ptni_op_end(&op);
	after = fixture_counters(fixture);
	assert_int_equal(after.lane_recoveries - before.lane_recoveries, 1);
	return (double)(after.lane_recovery_ns - before.lane_recovery_ns);
}

static bool spare_there(struct fixture *fixture)
{
	struct ptni_peer *peer = fixture->worker->peer[0];

	return ptni_lane_state(&peer->lane[0]) == PTNI_LANE_READY &&
	       ptni_lane_state(&peer->lane[1]) == PTNI_LANE_READY && fixture->window->rkey[0] &&
	       fixture->window->rkey[1];
}

static void bench_switch(struct fixture *fixture)
{
	static double ns[SWITCHES];

	for (int i = 0; i < SWITCHES; i++) {
		ns[i] = switch_once(fixture);
		while (!spare_there(fixture)) {
			ptni_worker_chores(fixture->worker);
			ptni_fiber_suspend();
			(void)ptni_worker_poll(fixture->worker);
		}
	}
	print("switch to the spare", ns, SWITCHES);
}

static void body(struct fixture *fixture)
{
	fixture->worker->clock = &ptni_clock_real;
	bench_get(fixture);
	bench_switch(fixture);
	fixture->worker->clock = &fixture->world.clock;
}

int main(void)
{
	struct fixture *fixture = fixture_init();

	fixture->options.op_timeout_ns = 1000000000;
	fixture_run(fixture, body);
	return 0;
}
