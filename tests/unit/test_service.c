/* SPDX-License-Identifier: MIT */
/*
 * The node's allocator against a scripted client: requests that make no sense change nothing, and a
 * client may die between any two steps of CHUNK_GET and CHUNK_PUT.
 */
#include "alloc/service.h"
#include "core/base/rng.h"
#include "tests/support/node_bed.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct bed bed;
static struct ptni_allocator *allocator;
static struct raw_client client;
static struct raw_lane *lane;

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
	(void)snprintf(bed.address, sizeof(bed.address), "inproc:service-%d-%d", getpid(),
		       number++);
	assert_int_equal(ptni_node_open_clock(bed.address, &options, &bed.clock, &bed.node), 0);
	assert_int_equal(ptni_allocator_add(bed.node, &allocator), 0);
	bed.region = ptni_node_region(bed.node, NULL);
	bed_turns(&bed);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
}

static void close_all(void)
{
	raw_close(&client);
	bed_close(&bed);
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

static struct ptni_chunk_get_request get_request(uint32_t space, uint32_t tag)
{
	return (struct ptni_chunk_get_request){ .head.op = PTNI_OP_CHUNK_GET,
						.space = space,
						.tag = tag,
						.block_class = 3,
						.slabs = 1 };
}

static struct ptni_chunk_got chunk_get(uint32_t space, uint32_t tag)
{
	struct ptni_chunk_get_request request = get_request(space, tag);
	struct ptni_chunk_got reply;

	assert_int_equal(raw_call(lane, &request, sizeof(request), &reply, sizeof(reply)), 0);
	return reply;
}

static int chunk_put(uint32_t space, uint64_t first, uint64_t second, uint32_t count)
{
	struct ptni_chunk_put_request request = { .head.op = PTNI_OP_CHUNK_PUT,
						  .space = space,
						  .count = count,
						  .addr = { first, second } };
	struct ptni_message reply;

	return raw_call(lane, &request, sizeof(request), &reply, sizeof(reply));
}

static struct ptni_node_space *space_of(uint32_t id)
{
	return ptni_space_find(allocator, id);
}

static int chunk_tell(uint32_t space, const uint64_t *word, uint32_t count)
{
	struct ptni_chunk_tell_request request = { .head.op = PTNI_OP_CHUNK_TELL,
						   .space = space,
						   .count = count };
	struct ptni_message reply;

	memcpy(request.word, word, 10 * sizeof(*word));
	return raw_call(lane, &request, sizeof(request), &reply, sizeof(reply));
}

/* --- sense -------------------------------------------------------------------------------------- */

static void chunk_window_ends_before_its_pages_are_free(void **state)
{
	struct ptni_chunk_got chunk;
	uint64_t value;
	uint32_t space;

	open_all();
	space = space_open();
	chunk = chunk_get(space, 5);
	assert_int_equal(raw_write(lane, chunk.window.rkey, chunk.addr + 4096, 77), 0);
	assert_int_equal(raw_read(lane, chunk.window.rkey, chunk.addr + 4096, &value), 0);
	assert_int_equal(value, 77);
	assert_int_equal(space_of(space)->chunk_bytes, 65536);
	assert_int_equal(chunk_put(space, chunk.addr, 0, 1), 0);
	assert_int_equal(space_of(space)->chunk_bytes, 0);
	assert_int_equal(raw_write(lane, chunk.window.rkey, chunk.addr + 4096, 78),
			 IBV_WC_REM_ACCESS_ERR);
	close_all();
}

/* Class 3: 64 bytes, 16 words of bits, so `told` is words 16 to 48 of the slab. */
static void telling_reaches_the_told_words_only(void **state)
{
	struct ptni_chunk_got chunk;
	uint64_t word[10] = { 0, 1, 0x5555 };
	uint64_t value;
	uint32_t space;

	open_all();
	space = space_open();
	chunk = chunk_get(space, 5);
	word[0] = chunk.addr;
	assert_int_equal(chunk_tell(space, word, 0), 0);
	assert_int_equal(chunk_tell(space, word, 2), -EINVAL);
	assert_int_equal(chunk_tell(space, word, PTNI_CHUNK_TELL_WORDS + 1), -EINVAL);
	assert_int_equal(chunk_tell(space + 1024, word, 3), -ENOENT);
	word[1] = 2; /* more words than there are */
	assert_int_equal(chunk_tell(space, word, 3), -EINVAL);
	word[1] = UINT64_C(33) << 32 | 1; /* past the end */
	assert_int_equal(chunk_tell(space, word, 3), -EINVAL);
	word[1] = UINT64_C(0xffffffff) << 32 | 1;
	assert_int_equal(chunk_tell(space, word, 3), -EINVAL);
	word[1] = 1;
	word[0] = chunk.addr + 64;
	assert_int_equal(chunk_tell(space, word, 3), -EINVAL);
	word[0] = space_of(space)->root;
	assert_int_equal(chunk_tell(space, word, 3), -EINVAL);
	word[0] = 8;
	assert_int_equal(chunk_tell(space, word, 3), -EINVAL);
	for (uint64_t i = 0; i < 64; i++) {
		assert_int_equal(raw_read(lane, chunk.window.rkey, chunk.addr + 8 * i, &value), 0);
		assert_int_equal(value, 0); /* nothing that was refused changed anything */
	}
	word[0] = chunk.addr;
	word[1] = UINT64_C(32) << 32 | 1;
	assert_int_equal(chunk_tell(space, word, 3), 0);
	assert_int_equal(raw_read(lane, chunk.window.rkey, chunk.addr + 8 * 48, &value), 0);
	assert_int_equal(value, 0x5555);
	close_all();
}

/* One good record and one that is not: neither is filed. */
static void telling_is_all_or_nothing(void **state)
{
	struct ptni_chunk_got chunk;
	uint64_t word[10] = { 0, 1, 7, 0, 1, 7 };
	uint64_t value;
	uint32_t space;

	open_all();
	space = space_open();
	chunk = chunk_get(space, 5);
	word[0] = chunk.addr;
	word[3] = chunk.addr + 8;
	assert_int_equal(chunk_tell(space, word, 6), -EINVAL);
	assert_int_equal(raw_read(lane, chunk.window.rkey, chunk.addr + 8 * 16, &value), 0);
	assert_int_equal(value, 0);
	close_all();
}

static void put_of_what_is_not_ones_own_changes_nothing(void **state)
{
	struct ptni_chunk_got one, two;
	uint32_t space;

	open_all();
	space = space_open();
	one = chunk_get(space, 1);
	two = chunk_get(space, 2);
	assert_int_equal(chunk_put(space, one.addr, 0, 0), -EINVAL);
	assert_int_equal(chunk_put(space, one.addr, 0, 65), -EINVAL);
	assert_int_equal(chunk_put(space, one.addr, one.addr, 2), -EINVAL); /* twice */
	assert_int_equal(chunk_put(space, one.addr, two.addr + 65536, 2), -EINVAL);
	assert_int_equal(chunk_put(space, one.addr, 0, 2), -EINVAL);
	assert_int_equal(chunk_put(space, one.addr + 8, 0, 1), -EINVAL);
	assert_int_equal(chunk_put(space, space_of(space)->root, 0, 1), -EINVAL);
	assert_int_equal(chunk_put(space + 1024, one.addr, 0, 1), -ENOENT);
	assert_int_equal(space_of(space)->chunk_bytes, 2 * 65536);
	assert_int_equal(chunk_put(space, one.addr, two.addr, 2), 0); /* still whole */
	assert_int_equal(chunk_put(space, one.addr, 0, 1), -EINVAL);
	close_all();
}

static void malformed_requests_are_refused(void **state)
{
	struct ptni_space_open_request open = { .head.op = PTNI_OP_SPACE_OPEN, .flags = 1 };
	struct ptni_chunk_get_request get;
	struct ptni_message reply;
	uint32_t space;

	open_all();
	space = space_open();
	memset(open.name, 'x', sizeof(open.name)); /* no end */
	assert_int_equal(raw_call(lane, &open, sizeof(open), &reply, sizeof(reply)), -EINVAL);
	open.name[0] = 0;
	assert_int_equal(raw_call(lane, &open, sizeof(open), &reply, sizeof(reply)), -EINVAL);
	assert_int_equal(raw_call(lane, &open, sizeof(open) - 8, &reply, sizeof(reply)), -EBADMSG);
	get = get_request(space, 1);
	get.block_class = PTNI_BLOCK_CLASSES;
	assert_int_equal(raw_call(lane, &get, sizeof(get), &reply, sizeof(reply)), -EINVAL);
	get = get_request(space, 1);
	get.slabs = 0;
	assert_int_equal(raw_call(lane, &get, sizeof(get), &reply, sizeof(reply)), -EINVAL);
	get.slabs = UINT16_MAX;
	assert_int_equal(raw_call(lane, &get, sizeof(get), &reply, sizeof(reply)), -EINVAL);
	get = get_request(space, 1);
	get.block_class = (uint16_t)ptni_block_class(PTNI_BLOCK_MAX); /* extents are 1 MiB */
	assert_int_equal(raw_call(lane, &get, sizeof(get), &reply, sizeof(reply)), -E2BIG);
	assert_int_equal(space_of(space)->chunk_bytes, 0);
	close_all();
}

/* Of every operation, of the right length more often than not. */
static size_t random_request(struct ptni_rng *rng, uint64_t *message)
{
	static const size_t lens[] = {
		sizeof(struct ptni_space_open_request),
		sizeof(struct ptni_space_request),
		sizeof(struct ptni_space_drop_request),
		sizeof(struct ptni_space_windows_request),
		sizeof(struct ptni_space_request),
		sizeof(struct ptni_chunk_get_request),
		sizeof(struct ptni_chunk_put_request),
		sizeof(struct ptni_memory_alloc_request),
		sizeof(struct ptni_memory_acquire_request),
		sizeof(struct ptni_memory_free_request),
		sizeof(struct ptni_chunk_tell_request),
	};
	struct ptni_message *head = (void *)message;
	unsigned op = (unsigned)ptni_rng_below(rng, sizeof(lens) / sizeof(lens[0]));

	for (unsigned i = 0; i < PTNI_MESSAGE_MAX / 8; i++)
		message[i] = ptni_rng_chance(rng, 1, 2) ? ptni_rng_below(rng, 4) :
							  ptni_rng_next(rng);
	if (ptni_rng_chance(rng, 1, 4)) /* an address that may be somebody's */
		message[2 + ptni_rng_below(rng, 6)] =
			(uint64_t)(uintptr_t)bed.region + ptni_rng_below(rng, 16 << 20);
	memset(head, 0, sizeof(*head));
	head->op = (uint16_t)(PTNI_OP_ALLOC_FIRST + op);
	return ptni_rng_chance(rng, 7, 8) ? lens[op] : sizeof(*head) + 8 * ptni_rng_below(rng, 126);
}

/* Clients that send nonsense, and one that does not, afterwards. */
static void random_requests_do_no_harm(void **state)
{
	struct ptni_chunk_got chunk;
	struct ptni_rng rng;

	ptni_rng_seed(&rng, 7);
	open_all();
	for (int i = 0; i < 800; i++) {
		uint64_t message[PTNI_MESSAGE_MAX / 8];
		uint8_t reply[PTNI_MESSAGE_MAX];
		size_t len = random_request(&rng, message);

		(void)raw_send(lane, message, len);
		bed_pass(&bed, 200000);
		raw_poll(&client);
		while (raw_take(lane, 0, reply, sizeof(reply)))
			;
		if (i % 16 == 15) { /* the node ends those that do not stop */
			raw_close(&client);
			bed_pass(&bed, 5000000);
			raw_open(&client, &bed, 0);
			lane = raw_lane_open(&client, 1, 0);
		}
	}
	raw_close(&client);
	bed_pass(&bed, 3000000000);
	assert_int_equal(bed_info(&bed).sessions, 0);
	assert_int_equal(bed_info(&bed).windows, 0);
	raw_open(&client, &bed, 0);
	lane = raw_lane_open(&client, 1, 0);
	chunk = chunk_get(space_open(), 9);
	assert_int_equal(raw_write(lane, chunk.window.rkey, chunk.addr, 1), 0);
	close_all();
}

/* --- death between two steps ---------------------------------------------------------------------- */

/* The client dies `turns` turns of the node's loop after its request was sent. */
static void die_after(int turns, bool putting)
{
	struct ptni_chunk_put_request put = { .head.op = PTNI_OP_CHUNK_PUT, .count = 2 };
	struct ptni_chunk_get_request get;
	struct ptni_chunk_got one, two;
	struct ptn_session_info info;
	struct raw_client other;
	uint32_t space, orphans;

	open_all();
	space = space_open();
	one = chunk_get(space, 1);
	two = chunk_get(space, 2);
	put.space = space;
	put.addr[0] = one.addr;
	put.addr[1] = two.addr;
	get = get_request(space, 3);
	if (putting)
		(void)raw_send(lane, &put, sizeof(put));
	else
		(void)raw_send(lane, &get, sizeof(get));
	for (int i = 0; i < turns; i++)
		(void)ptni_node_step(bed.node);
	raw_close(&client);
	bed_pass(&bed, 20000000);
	assert_int_equal(ptn_node_sessions(bed.node, &info, 1), 0);
	/* each chunk is an orphan or free, none is lost and none is somebody's */
	orphans = space_of(space)->orphans;
	assert_int_equal(space_of(space)->chunk_bytes, (uint64_t)orphans * 65536);
	assert_int_equal(space_of(space)->puttings, 0);
	assert_true(cds_list_empty(&space_of(space)->users));
	assert_true(putting ? orphans <= 2 : orphans == 2 || orphans == 3);
	assert_int_equal(bed_info(&bed).windows, 0);
	/* the next one may have them all, and drop the space */
	raw_open(&other, &bed, 0);
	client = other;
	lane = raw_lane_open(&client, 1, 0);
	assert_int_equal(space_open(), space);
	for (uint32_t i = 0; i < orphans; i++)
		assert_int_equal(chunk_get(space, 10 + i).flags, PTNI_CHUNK_ADOPTED);
	assert_int_equal(chunk_get(space, 20).flags, 0);
	struct ptni_space_drop_request drop = { .head.op = PTNI_OP_SPACE_DROP, .name = "table" };
	struct ptni_message reply;
	assert_int_equal(raw_call(lane, &drop, sizeof(drop), &reply, sizeof(reply)), 0);
	bed_pass(&bed, 20000000);
	assert_int_equal(bed_info(&bed).memory_used_bytes, 0);
	close_all();
}

static void death_at_every_step_of_get_loses_nothing(void **state)
{
	for (int turns = 0; turns < 12; turns++)
		die_after(turns, false);
}

static void death_at_every_step_of_put_loses_nothing(void **state)
{
	for (int turns = 0; turns < 12; turns++)
		die_after(turns, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunk_window_ends_before_its_pages_are_free),
		cmocka_unit_test(telling_reaches_the_told_words_only),
		cmocka_unit_test(telling_is_all_or_nothing),
		cmocka_unit_test(put_of_what_is_not_ones_own_changes_nothing),
		cmocka_unit_test(malformed_requests_are_refused),
		cmocka_unit_test(random_requests_do_no_harm),
		cmocka_unit_test(death_at_every_step_of_get_loses_nothing),
		cmocka_unit_test(death_at_every_step_of_put_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
