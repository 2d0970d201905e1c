/* SPDX-License-Identifier: MIT */
/*
 * What the node hands out with a window that its NIC then does not bind. The client is told, or finds, that its
 * request has failed, so the node must not count it as the client's.
 */
#include "alloc/service.h"
#include "tests/support/node_bed.h"
#include "tests/support/node_limits.h"

#include <patronus/error.h>
#include <patronus/log.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static struct bed bed;
static struct ptni_allocator *allocator;
static struct raw_client client;
static struct raw_lane *lane, *spare;

static uint64_t now(struct ptni_clock *clock)
{
	return ((struct bed *)clock)->now_ns;
}

static void open_all(void)
{
	static int number;
	struct ptn_node_options options = { .size = sizeof(options), .memory_bytes = 16 << 20 };

	memset(&bed, 0, sizeof(bed));
	bed.clock.now_ns = now;
	bed.now_ns = 1000000000;
	(void)snprintf(bed.address, sizeof(bed.address), "inproc:lost-%d-%d", getpid(), number++);
	assert_int_equal(ptni_node_open_clock(bed.address, &options, &bed.clock, &bed.node), 0);
	assert_int_equal(ptni_allocator_add(bed.node, &allocator), 0);
	bed.region = ptni_node_region(bed.node, NULL);
	bed_turns(&bed);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	spare = raw_lane_open(&client, 1, 1);
}

static void close_all(void)
{
	raw_close(&client);
	bed_close(&bed);
}

/* The request's window is not bound, which breaks the first lane; on the second one the client hears why. */
static void lose(void *request, size_t len_bytes)
{
	uint8_t reply[PTNI_MESSAGE_MAX];

	node_bind_spoil(bed.node);
	raw_send(lane, request, len_bytes);
	bed_turns(&bed);
	raw_poll(&client);
	assert_false(raw_take(lane, 0, reply, sizeof(reply)));
	assert_int_equal(raw_call(spare, request, len_bytes, reply, sizeof(reply)), -EIO);
	bed_pass(&bed, 5 * MS);
}

static uint32_t space_open(void)
{
	struct ptni_space_open_request request = { .head.op = PTNI_OP_SPACE_OPEN,
						   .name = "table",
						   .flags = PTNI_SPACE_CREATE,
						   .kind = 1 };
	struct ptni_space_opened reply;

	assert_int_equal(raw_call(lane, &request, sizeof(request), &reply, sizeof(reply)), 0);
	return reply.space;
}

static struct ptni_chunk_got chunk_get(struct raw_lane *on, uint32_t space, uint32_t tag)
{
	struct ptni_chunk_get_request request = { .head.op = PTNI_OP_CHUNK_GET,
						  .space = space,
						  .tag = tag,
						  .block_class = 3,
						  .slabs = 1 };
	struct ptni_chunk_got reply;

	assert_int_equal(raw_call(on, &request, sizeof(request), &reply, sizeof(reply)), 0);
	return reply;
}

static int chunk_put(struct raw_lane *on, uint32_t space, uint64_t addr, uint32_t flags)
{
	struct ptni_chunk_put_request request = { .head.op = PTNI_OP_CHUNK_PUT,
						  .space = space,
						  .count = 1,
						  .flags = flags,
						  .addr = { addr } };
	struct ptni_message reply;

	return raw_call(on, &request, sizeof(request), &reply, sizeof(reply));
}

static uint64_t session_bytes(void)
{
	struct ptn_session_info info;

	assert_int_equal(ptn_node_sessions(bed.node, &info, 1), 1);
	return info.bytes;
}

static void chunk__that_was_fresh_is_free_again(void **state)
{
	struct ptni_chunk_get_request request = { .head.op = PTNI_OP_CHUNK_GET,
						  .head.cookie = 70,
						  .tag = 5,
						  .block_class = 3,
						  .slabs = 1 };
	uint64_t bytes;

	open_all();
	request.space = space_open();
	bytes = session_bytes();
	lose(&request, sizeof(request));
	assert_int_equal(ptni_space_find(allocator, request.space)->chunk_bytes, 0);
	assert_int_equal(session_bytes(), bytes);
	assert_int_equal(bed_info(&bed).windows, 0);
	/* and it may be had */
	(void)chunk_get(spare, request.space, 6);
	assert_int_equal(ptni_space_find(allocator, request.space)->chunk_bytes, 65536);
	close_all();
}

static void chunk__that_was_an_orphan_is_one_again(void **state)
{
	struct ptni_chunk_get_request request = { .head.op = PTNI_OP_CHUNK_GET,
						  .head.cookie = 70,
						  .tag = 5,
						  .block_class = 3,
						  .slabs = 1 };
	struct ptni_chunk_got chunk;
	struct ptni_node_space *space;
	uint64_t bytes;

	open_all();
	request.space = space_open();
	bytes = session_bytes();
	chunk = chunk_get(lane, request.space, 4);
	assert_int_equal(chunk_put(lane, request.space, chunk.addr, PTNI_CHUNK_LEFT), 0);
	space = ptni_space_find(allocator, request.space);
	assert_int_equal(space->orphans, 1);
	lose(&request, sizeof(request));
	assert_int_equal(space->orphans, 1);
	assert_int_equal(space->unknown, 1);
	assert_int_equal(space->puttings, 0);
	assert_int_equal(session_bytes(), bytes);
	assert_int_equal(chunk_get(spare, request.space, 6).addr, chunk.addr);
	close_all();
}

/* The client asks again for what it had been given and has put back. */
static void chunk__that_has_changed_hands_since_is_left_alone(void **state)
{
	struct ptni_chunk_get_request request = { .head.op = PTNI_OP_CHUNK_GET,
						  .head.cookie = 70,
						  .tag = 5,
						  .block_class = 3,
						  .slabs = 1 };
	struct ptni_chunk_got chunk, again;

	open_all();
	request.space = space_open();
	assert_int_equal(raw_call(lane, &request, sizeof(request), &chunk, sizeof(chunk)), 0);
	assert_int_equal(chunk_put(lane, request.space, chunk.addr, 0), 0);
	again = chunk_get(lane, request.space, 6);
	assert_int_equal(again.addr, chunk.addr);
	assert_int_equal(raw_call(spare, &request, sizeof(request), &chunk, sizeof(chunk)),
			 PTN_E_LEASE_EXPIRED);
	bed_pass(&bed, 5 * MS);
	assert_int_equal(ptni_space_find(allocator, request.space)->chunk_bytes, 65536);
	assert_int_equal(raw_write(lane, again.window.rkey, again.addr + 4096, 7), 0);
	close_all();
}

static void memory__is_free_again(void **state)
{
	struct ptni_memory_alloc_request request = { .head.op = PTNI_OP_MEMORY_ALLOC,
						     .head.cookie = 70,
						     .len_bytes = 100000,
						     .term_ns = 500 * MS,
						     .tag = 5 };

	open_all();
	lose(&request, sizeof(request));
	assert_int_equal(session_bytes(), 0);
	assert_int_equal(bed_info(&bed).leases, 0);
	assert_int_equal(bed_info(&bed).memory_used_bytes, 0);
	close_all();
}

static void acquire__leaves_the_memory(void **state)
{
	struct ptni_memory_alloc_request alloc = {
		.head.op = PTNI_OP_MEMORY_ALLOC, .len_bytes = 4096, .term_ns = 500 * MS, .tag = 5
	};
	struct ptni_memory_acquire_request request = { .head.op = PTNI_OP_MEMORY_ACQUIRE,
						       .head.cookie = 70,
						       .len_bytes = 4096,
						       .term_ns = 500 * MS,
						       .access = IBV_ACCESS_REMOTE_READ,
						       .tag = 6 };
	struct ptni_memory_granted granted;

	open_all();
	assert_int_equal(raw_call(lane, &alloc, sizeof(alloc), &granted, sizeof(granted)), 0);
	request.addr = granted.addr;
	request.secret = granted.secret;
	lose(&request, sizeof(request));
	assert_int_equal(session_bytes(), 4096);
	assert_int_equal(bed_info(&bed).leases, 1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunk__that_was_fresh_is_free_again),
		cmocka_unit_test(chunk__that_was_an_orphan_is_one_again),
		cmocka_unit_test(chunk__that_has_changed_hands_since_is_left_alone),
		cmocka_unit_test(memory__is_free_again),
		cmocka_unit_test(acquire__leaves_the_memory),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
