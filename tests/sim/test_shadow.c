/* SPDX-License-Identifier: MIT */
/* The shadow map finds each thing that it is there to find, and nothing else (S1 to S6 of shadow.h). */
#include "tests/sim/shadow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
	NODE = 0,
	ONE = 1, /* clients */
	TWO = 2,
	NODE_QP1 = 11, /* of the node, to client one */
	NODE_QP2 = 12,
	QP1 = 21,
	QP2 = 22,
	REGION = 0x100, /* keys */
	WINDOW = 0x200,
	OTHER = 0x300,
	BASE = 0x10000,
	READ_ATOMIC = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC,
	READ_WRITE = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
};

struct bed {
	struct shadow *shadow;
	struct ptni_sim_faults faults;
	unsigned found;
	char text[300];
	uint64_t now_ns, number;
};

static struct bed bed;

static void find(void *arg, const char *text)
{
	bed.found++;
	(void)snprintf(bed.text, sizeof(bed.text), "%s", text);
}

static void tell(struct ptni_sim_event event)
{
	event.now_ns = ++bed.now_ns;
	shadow_told(bed.shadow, &event);
}

static void connect(uint32_t client, uint32_t qp, uint32_t node_qp)
{
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_QP_OPEN, .process = NODE, .qp = node_qp });
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_QP_CONNECT,
				      .process = NODE,
				      .qp = node_qp,
				      .peer = client,
				      .peer_qp = qp });
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_QP_CONNECT,
				      .process = client,
				      .qp = qp,
				      .peer = NODE,
				      .peer_qp = node_qp });
}

static void bind(uint32_t key, uint32_t node_qp, uint64_t addr, uint64_t len, uint32_t access)
{
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_BIND,
				      .process = NODE,
				      .qp = node_qp,
				      .opcode = IBV_WR_BIND_MW,
				      .key = key,
				      .addr = addr,
				      .len = len,
				      .access = access });
}

static void invalidate(uint32_t key, uint32_t node_qp, enum ptni_sim_kind kind)
{
	tell((struct ptni_sim_event){ .kind = kind,
				      .process = NODE,
				      .qp = node_qp,
				      .opcode = IBV_WR_LOCAL_INV,
				      .key = key });
}

/* Begins, moves its bytes if status is a success, ends. */
static void reach(uint32_t client, enum ibv_wr_opcode opcode, uint32_t key, uint64_t addr,
		  uint64_t len, enum ibv_wc_status status)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_ACCESS_BEGIN,
					.process = client,
					.qp = client == ONE ? QP1 : QP2,
					.peer = NODE,
					.peer_qp = client == ONE ? NODE_QP1 : NODE_QP2,
					.number = ++bed.number,
					.opcode = opcode,
					.key = key,
					.addr = addr,
					.len = len };

	tell(event);
	event.kind = PTNI_SIM_ACCESS_SLICE;
	if (status == IBV_WC_SUCCESS)
		tell(event);
	event.kind = PTNI_SIM_ACCESS_END;
	event.status = status;
	tell(event);
}

static int setup(void **state)
{
	struct shadow_options options = { .found = find, .faults = &bed.faults };

	memset(&bed, 0, sizeof(bed));
	assert_int_equal(shadow_open(&options, &bed.shadow), 0);
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_REGION_OPEN,
				      .process = NODE,
				      .key = REGION,
				      .addr = BASE,
				      .len = 1 << 20,
				      .access = READ_ATOMIC | READ_WRITE });
	tell((struct ptni_sim_event){
		.kind = PTNI_SIM_WINDOW_OPEN, .process = NODE, .key = WINDOW });
	tell((struct ptni_sim_event){
		.kind = PTNI_SIM_WINDOW_OPEN, .process = NODE, .key = OTHER });
	connect(ONE, QP1, NODE_QP1);
	connect(TWO, QP2, NODE_QP2);
	bind(WINDOW + 1, NODE_QP1, BASE + 4096, 4096, READ_ATOMIC);
	assert_int_equal(bed.found, 0);
	return 0;
}

static int teardown(void **state)
{
	shadow_close(bed.shadow);
	return 0;
}

static void expect(const char *rule)
{
	assert_int_equal(bed.found, 1);
	if (strncmp(bed.text, rule, strlen(rule)))
		fail_msg("expected %s, found: %s", rule, bed.text);
	bed.found = 0;
}

static void allowed__is_not_reported(void **state)
{
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 4096, IBV_WC_SUCCESS);
	reach(ONE, IBV_WR_ATOMIC_CMP_AND_SWP, WINDOW + 1, BASE + 8184, 8, IBV_WC_SUCCESS);
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE, 8, IBV_WC_REM_ACCESS_ERR);
	reach(ONE, IBV_WR_RDMA_WRITE, WINDOW + 1, BASE + 4096, 8, IBV_WC_REM_ACCESS_ERR);
	invalidate(WINDOW + 1, NODE_QP1, PTNI_SIM_INVALIDATE_BEGIN);
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_SUCCESS);
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_REM_ACCESS_ERR);
	invalidate(WINDOW + 1, NODE_QP1, PTNI_SIM_INVALIDATE_END);
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_REM_ACCESS_ERR);
	bind(WINDOW + 2, NODE_QP2, BASE, 4096, READ_WRITE);
	reach(TWO, IBV_WR_RDMA_WRITE, WINDOW + 2, BASE, 8, IBV_WC_SUCCESS);
	assert_int_equal(shadow_windows(bed.shadow), 1);
	invalidate(WINDOW + 2, NODE_QP2, PTNI_SIM_INVALIDATE_BEGIN);
	invalidate(WINDOW + 2, NODE_QP2, PTNI_SIM_INVALIDATE_END);
	shadow_finish(bed.shadow);
	assert_int_equal(shadow_windows(bed.shadow), 0);
	assert_int_equal(shadow_accesses(bed.shadow), 4);
	assert_int_equal(bed.found, 0);
}

static void access__beyond_what_was_given(void **state)
{
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4088, 16, IBV_WC_SUCCESS);
	expect("S1: outside");
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 8184, 16, IBV_WC_SUCCESS);
	expect("S1: outside");
	reach(ONE, IBV_WR_RDMA_WRITE, WINDOW + 1, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S1: without the right");
	reach(TWO, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S1: over a queue pair");
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 7, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S1: by a key that was never given");
	reach(ONE, IBV_WR_RDMA_READ, OTHER, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S1: by a key that was never given");
	reach(ONE, IBV_WR_RDMA_READ, REGION, BASE, 8, IBV_WC_SUCCESS);
	expect("S1: by the key of a whole region");
}

static void writeback__needs_the_right_of_an_atomic(void **state)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_WRITEBACK,
					.process = ONE,
					.qp = QP1,
					.peer = NODE,
					.peer_qp = NODE_QP1,
					.key = WINDOW + 1,
					.addr = BASE + 4096,
					.len = 8 };

	tell(event);
	assert_int_equal(bed.found, 0);
	bind(OTHER + 1, NODE_QP1, BASE, 8, READ_WRITE);
	event.key = OTHER + 1;
	event.addr = BASE;
	tell(event);
	expect("S1: without the right: a late write");
}

static void access__after_the_end(void **state)
{
	invalidate(WINDOW + 1, NODE_QP1, PTNI_SIM_INVALIDATE_BEGIN);
	invalidate(WINDOW + 1, NODE_QP1, PTNI_SIM_INVALIDATE_END);
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S2: by a key that was taken back");
	bind(WINDOW + 2, NODE_QP1, BASE + 4096, 4096, READ_ATOMIC);
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S2: by a key that was taken back long ago");
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_QP_ERROR, .process = NODE, .qp = NODE_QP1 });
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 2, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S2: over a queue pair");
}

static void connected__until_it_is_broken(void **state)
{
	assert_true(shadow_connected(bed.shadow, NODE, ONE));
	assert_false(shadow_connected(bed.shadow, NODE, 3));
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_QP_ERROR, .process = NODE, .qp = NODE_QP1 });
	assert_false(shadow_connected(bed.shadow, NODE, ONE));
	assert_true(shadow_connected(bed.shadow, NODE, TWO));
}

static void access__after_a_close(void **state)
{
	tell((struct ptni_sim_event){
		.kind = PTNI_SIM_WINDOW_CLOSE, .process = NODE, .key = WINDOW + 1 });
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_SUCCESS);
	expect("S2: by a key that was taken back");
	bind(OTHER + 1, NODE_QP2, BASE, 8, READ_WRITE);
	tell((struct ptni_sim_event){ .kind = PTNI_SIM_QP_CLOSE, .process = NODE, .qp = NODE_QP2 });
	assert_int_equal(shadow_windows(bed.shadow), 0);
	reach(TWO, IBV_WR_RDMA_WRITE, OTHER + 1, BASE, 8, IBV_WC_SUCCESS);
	expect("S2: over a queue pair");
}

static void refusal__of_what_is_allowed(void **state)
{
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_REM_ACCESS_ERR);
	expect("S3");
	bed.faults.refuse_one_in = 100;
	reach(ONE, IBV_WR_RDMA_READ, WINDOW + 1, BASE + 4096, 8, IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(bed.found, 0);
}

static void window__bound_again(void **state)
{
	bind(WINDOW + 2, NODE_QP1, BASE, 8, READ_ATOMIC);
	expect("S4: a window is bound with key 0x202 while");
	invalidate(WINDOW + 2, NODE_QP1, PTNI_SIM_INVALIDATE_BEGIN);
	invalidate(WINDOW + 2, NODE_QP1, PTNI_SIM_INVALIDATE_END);
	bind(WINDOW + 1, NODE_QP1, BASE, 8, READ_ATOMIC);
	expect("S4: a window is bound with key 0x201 for the second");
	bind(REGION + 1, NODE_QP1, BASE, 8, READ_ATOMIC);
	expect("S4: process 0 binds");
}

static void writers__of_the_same_bytes(void **state)
{
	bind(OTHER + 1, NODE_QP1, BASE + 65536, 8192, READ_WRITE);
	tell((struct ptni_sim_event){
		.kind = PTNI_SIM_WINDOW_OPEN, .process = NODE, .key = 0x400 });
	bind(0x401, NODE_QP2, BASE + 65536 + 8184, 8192, READ_WRITE);
	expect("S5");
	invalidate(0x401, NODE_QP2, PTNI_SIM_INVALIDATE_BEGIN);
	invalidate(0x401, NODE_QP2, PTNI_SIM_INVALIDATE_END);
	bind(0x402, NODE_QP2, BASE + 65536 + 8192, 8192, READ_WRITE);
	assert_int_equal(bed.found, 0);
	invalidate(0x402, NODE_QP2, PTNI_SIM_INVALIDATE_BEGIN);
	invalidate(0x402, NODE_QP2, PTNI_SIM_INVALIDATE_END);
	/* not before the invalidation is known to be complete */
	invalidate(OTHER + 1, NODE_QP1, PTNI_SIM_INVALIDATE_BEGIN);
	bind(0x403, NODE_QP2, BASE + 65536, 16, READ_WRITE);
	expect("S5");
}

static void window__left_at_the_end(void **state)
{
	shadow_finish(bed.shadow);
	expect("S6");
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(allowed__is_not_reported),      test(access__beyond_what_was_given),
		test(access__after_the_end),         test(access__after_a_close),
		test(connected__until_it_is_broken), test(writeback__needs_the_right_of_an_atomic),
		test(refusal__of_what_is_allowed),   test(window__bound_again),
		test(writers__of_the_same_bytes),    test(window__left_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
