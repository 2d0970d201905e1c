/* SPDX-License-Identifier: MIT */
#include "tests/support/node_bed.h"

#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t bed_now(struct ptni_clock *clock)
{
	return ((struct bed *)((char *)clock - offsetof(struct bed, clock)))->now_ns;
}

static void lease_ended(void *arg, enum ptni_lease_end how, uint32_t flags)
{
	struct bed_lease *lease = arg;

	lease->ended++;
	lease->how = how;
	lease->flags = flags;
	lease->ended_ns = ptni_node_now_ns(lease->bed->node);
	lease->lease = NULL;
	lease->bed->ended_count++;
	ptni_session_charge(lease->session, -(int64_t)lease->charge_bytes);
}

static int grant_windows(struct bed *bed, struct ptni_grant *grant, const struct bed_grant *request,
			 struct bed_granted *granted)
{
	for (uint32_t i = 0; i < request->count; i++) {
		int ret = ptni_grant_window(
			grant,
			(uint64_t)(uintptr_t)bed->region + request->offset + i * request->len_bytes,
			request->len_bytes, request->access, request->tag + i, &granted->window[i]);

		if (ret)
			return ret;
	}
	granted->count = request->count;
	return 0;
}

static void grant_handle(struct bed *bed, struct ptni_node_lane *lane,
			 const struct bed_grant *request)
{
	struct bed_lease *lease = &bed->lease[bed->lease_count];
	struct bed_granted granted = { 0 };
	bool take_back = request->head.op == BED_TAKE_BACK; /* gone once it is answered */
	struct ptni_grant *grant;
	int ret;

	if (request->head.len_bytes != sizeof(*request) || request->count > 28 ||
	    bed->lease_count == BED_LEASES) {
		ptni_node_reply(lane, &request->head, -EBADMSG, &granted, sizeof(granted.head));
		return;
	}
	*lease = (struct bed_lease){ .bed = bed,
				     .session = ptni_lane_session(lane),
				     .asked_ns = ptni_node_now_ns(bed->node) };
	ret = ptni_session_charge(lease->session, request->charge_bytes);
	if (!ret) {
		ret = ptni_lease_open(lease->session, request->term_ns, lease_ended, lease,
				      &lease->lease);
		if (ret)
			ptni_session_charge(lease->session, -(int64_t)request->charge_bytes);
	}
	if (ret) {
		ptni_node_reply(lane, &request->head, ret, &granted, sizeof(granted.head));
		return;
	}
	lease->charge_bytes = request->charge_bytes;
	bed->lease_count++;
	ptni_lease_describe(lease->lease, &granted.lease);
	lease->index = granted.lease.index;
	lease->generation = granted.lease.generation;
	ptni_grant_begin(lane, &request->head, lease->lease, &grant);
	ret = grant_windows(bed, grant, request, &granted);
	ptni_grant_reply(grant, ret, &granted, sizeof(granted));
	if (ret || take_back)
		ptni_lease_close(lease->lease, PTNI_LEASE_REVOKED);
}

static void deferred_answer(struct bed *bed, int i, int status)
{
	struct ptni_message reply = { 0 };

	ptni_node_reply(bed->deferred[i].lane, bed->deferred[i].message, status, &reply,
			sizeof(reply));
}

void bed_answer_deferred(struct bed *bed, int status)
{
	for (int i = 0; i < bed->deferred_count; i++)
		deferred_answer(bed, i, status);
	bed->deferred_count = 0;
	bed_turns(bed);
}

static void withdrawn(void *arg)
{
	struct bed *bed = arg;

	while (bed->deferred_count)
		deferred_answer(bed, --bed->deferred_count, 0);
}

static void handle(void *arg, struct ptni_node_lane *lane, const struct ptni_message *message)
{
	struct bed *bed = arg;
	const struct bed_grant *request = (const void *)message;

	bed->handled++;
	if (message->op == BED_GRANT || message->op == BED_TAKE_BACK) {
		grant_handle(bed, lane, request);
		return;
	}
	assert_true(bed->deferred_count < BED_DEFERRED);
	bed->deferred[bed->deferred_count].lane = lane;
	bed->deferred[bed->deferred_count++].message = message;
	if (message->op == BED_WITHDRAW)
		assert_int_equal(
			ptni_lease_withdraw(bed->lease[bed->lease_count - 1].lease,
					    (uint64_t)(uintptr_t)bed->region + request->offset,
					    request->len_bytes, withdrawn, bed),
			0);
}

static void session_ended(void *arg, struct ptni_node_session *session)
{
	struct bed *bed = arg;

	bed->sessions_ended++;
	assert_true(ptni_session_fenced(session));
	for (int i = 0; i < bed->lease_count; i++)
		if (bed->lease[i].session == session)
			assert_int_equal(bed->lease[i].ended, 1);
}

static void tick(void *arg, uint64_t epoch, uint64_t horizon)
{
	((struct bed *)arg)->ticks++;
}

static void service_close(void *arg)
{
	struct bed *bed = arg;

	while (bed->deferred_count)
		deferred_answer(bed, --bed->deferred_count, -ECANCELED);
}

static void open_with(struct bed *bed, const struct ptn_node_options *options,
		      struct ptni_clock *clock)
{
	static int number;
	struct ptn_node_options own = { .size = sizeof(own) };
	struct ptni_service service = {
		.first_op = BED_GRANT,
		.last_op = BED_TAKE_BACK,
		.arg = bed,
		.handle = handle,
		.session_ended = session_ended,
		.tick = tick,
		.close = service_close,
	};

	if (options)
		own = *options;
	own.size = sizeof(own);
	if (!own.memory_bytes)
		own.memory_bytes = 4 << 20;
	snprintf(bed->address, sizeof(bed->address), "inproc:bed-%d-%d", getpid(), number++);
	assert_int_equal(ptni_node_open_clock(bed->address, &own, clock, &bed->node), 0);
	assert_int_equal(ptni_node_service_add(bed->node, &service), 0);
	bed->region = ptni_node_region(bed->node, NULL);
	bed_turns(bed);
}

void bed_open(struct bed *bed, const struct ptn_node_options *options)
{
	memset(bed, 0, sizeof(*bed));
	bed->clock.now_ns = bed_now;
	bed->now_ns = 1000000000;
	open_with(bed, options, &bed->clock);
}

void bed_open_real_time(struct bed *bed, const struct ptn_node_options *options)
{
	memset(bed, 0, sizeof(*bed));
	open_with(bed, options, &ptni_clock_real);
}

void bed_close(struct bed *bed)
{
	ptn_node_close(bed->node);
}

void bed_run(struct bed *bed)
{
	assert_int_equal(ptni_node_run(bed->node), 0);
	bed->running = true;
}

void bed_turns(struct bed *bed)
{
	if (bed->running) {
		sched_yield();
		return;
	}
	for (int i = 0; i < BED_TURNS; i++)
		if (!ptni_node_step(bed->node) && i > 2)
			return;
}

void bed_pass(struct bed *bed, uint64_t ns)
{
	for (uint64_t end_ns = bed->now_ns + ns; bed->now_ns < end_ns;) {
		uint64_t step_ns = end_ns - bed->now_ns < 50000 ? end_ns - bed->now_ns : 50000;

		bed->now_ns += step_ns;
		ptni_node_step(bed->node);
		ptni_node_step(bed->node);
	}
	bed_turns(bed);
}

void bed_hold_manager(struct bed *bed, bool hold)
{
	for (uint32_t i = 0; i < bed->node->manager_count; i++) {
		bed->node->managers[i]->up = !hold;
		bed->node->managers[i]->building = hold;
	}
}

struct ptn_node_info bed_info(struct bed *bed)
{
	struct ptn_node_info info;

	assert_int_equal(ptn_node_info(bed->node, &info), 0);
	return info;
}
