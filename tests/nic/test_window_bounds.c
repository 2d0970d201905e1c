/* SPDX-License-Identifier: MIT */
/* Bounds of a window: on all sides, with each operation, and where sums wrap round. */
#include "tests/nic/groups.h"

enum {
	START = 8192,
	LEN = 4096,
	GUARD = 0x5a,
};

static void guard_set(struct nic *nic)
{
	memset(nic->node.memory, GUARD, START + 2 * LEN);
}

static bool guarded(const struct nic *nic, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (nic->node.memory[i] != GUARD)
			return false;
	return true;
}

static void guard_check(const struct nic *nic, bool kept)
{
	assert_int_equal(guarded(nic, 0, START + 2 * LEN), kept);
}

/* What a simulated card checks is slices: those inside of the window have moved before one is refused. */
static void guard_check_slices(const struct nic *nic, int64_t offset, uint32_t len)
{
	assert_true(guarded(nic, 0, START));
	assert_true(guarded(nic, START + LEN, START + 2 * LEN));
	assert_int_equal(guarded(nic, START, START + LEN), offset != 0 || len <= LEN);
}

/*
 * One access at an offset from the window's start through a fresh window; with `loose` the device
 * checks the region instead.
 */
static void access_at(struct nic *nic, struct nic_op op, int64_t offset, bool inside)
{
	struct ibv_mw *mw = nic_window_bound(nic, START, LEN, NIC_RIGHTS_ALL);
	uint64_t remote = nic_at(&nic->node, START) + (uint64_t)offset;
	if (op.wr.opcode == IBV_WR_RDMA_READ || op.wr.opcode == IBV_WR_RDMA_WRITE) {
		op.wr.wr.rdma.remote_addr = remote;
		op.wr.wr.rdma.rkey = mw->rkey;
	} else {
		op.wr.wr.atomic.remote_addr = remote;
		op.wr.wr.atomic.rkey = mw->rkey;
	}
	assert_int_equal(nic_run(nic->link.client, op),
			 inside ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
	nic_window_close(nic, mw);
	if (!inside)
		nic_link_renew(nic, &nic->link);
}

/* Rule: the first and the last byte of a window can be reached, and all of it at once. */
static void inside(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	static const struct {
		int64_t offset;
		uint32_t len;
	} cases[] = { { 0, 1 },       { LEN - 1, 1 }, { 0, LEN },
		      { LEN - 8, 8 }, { 1, LEN - 1 }, { 13, 7 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		access_at(nic, nic_read(nic, 0, 0, cases[i].len, 0), cases[i].offset, true);
		access_at(nic, nic_write(nic, 0, 0, cases[i].len, 0), cases[i].offset, true);
	}
	access_at(nic, nic_cas(nic, 0, 0, 0, 0, 0), 0, true);
	access_at(nic, nic_faa(nic, 0, 0, 0, 0), LEN - 8, true);
}

/*
 * Rule: an access that touches one byte outside the window is denied as a whole, though the region
 * reaches further on both sides; no byte is changed.
 */
static void outside_the_window(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	static const struct {
		int64_t offset;
		uint32_t len;
	} cases[] = { { -1, 1 },       { LEN, 1 },       { -4, 8 },       { LEN - 7, 8 },
		      { -1, LEN + 1 }, { 0, LEN + 1 },   { -1, LEN + 2 }, { LEN + 64, 8 },
		      { -START, 8 },   { 4 * LEN, 4096 } };
	bool slices = nic_differs(__func__) && nic_is_sim();
	bool open = nic_differs(__func__) && !slices;
	memset(nic->client.memory, 0xa5, 2 * LEN);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		guard_set(nic);
		access_at(nic, nic_write(nic, 0, 0, cases[i].len, 0), cases[i].offset, open);
		if (slices)
			guard_check_slices(nic, cases[i].offset, cases[i].len);
		else
			guard_check(nic, !open || cases[i].offset >= 4 * LEN);
		access_at(nic, nic_read(nic, 2 * LEN, 0, cases[i].len, 0), cases[i].offset, open);
	}
	guard_set(nic);
	for (int64_t offset = -8; offset <= LEN; offset += LEN + 8) {
		access_at(nic, nic_cas(nic, 0, 0, 0x5a5a5a5a5a5a5a5a, 1, 0), offset, open);
		access_at(nic, nic_faa(nic, 0, 0, 1, 0), offset, open);
	}
	guard_check(nic, !open);
}

/* Rule: an access outside the region is denied all the more, also where address + length wraps. */
static void outside_the_region(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	int64_t start = (int64_t)nic_at(&nic->node, START);
	const struct {
		int64_t offset;
		uint32_t len;
	} cases[] = { { -start, 8 },           { -start - 4, 8 },
		      { -start - 8, 64 },      { INT64_MIN, 8 },
		      { INT64_MAX, 8 },        { NIC_MEMORY_BYTES - START - 4, 8 },
		      { NIC_MEMORY_BYTES, 8 }, { -START - 8, 16 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		access_at(nic, nic_read(nic, 0, 0, cases[i].len, 0), cases[i].offset, false);
		access_at(nic, nic_write(nic, 0, 0, cases[i].len, 0), cases[i].offset, false);
	}
}

/*
 * Rule: a zero-based window counts from its start: address 0 is its first byte, LEN is outside, and so
 * is everything before it.
 */
static void zero_based(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	bool open = nic_differs(__func__);
	static const struct {
		uint64_t addr;
		uint32_t len;
		bool inside;
	} cases[] = { { 0, 8, true },    { LEN - 8, 8, true },  { 0, LEN, true },
		      { LEN, 8, false }, { LEN - 4, 8, false }, { (uint64_t)-8, 8, false } };
	nic_store(nic->node.memory + START, 0x77);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ibv_mw *mw =
			nic_window_bound(nic, START, LEN, NIC_RIGHTS_ALL | IBV_ACCESS_ZERO_BASED);
		enum ibv_wc_status status = nic_run(
			nic->link.client, nic_read(nic, 0, cases[i].addr, cases[i].len, mw->rkey));
		assert_int_equal(status,
				 cases[i].inside || open ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
		if (!cases[i].addr)
			assert_int_equal(nic_load(nic->client.memory), 0x77);
		nic_window_close(nic, mw);
		if (status)
			nic_link_renew(nic, &nic->link);
	}
}

/* Rule: windows of any length and alignment inside the region can be bound and hold exactly that. */
static void any_length_and_alignment(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	bool open = nic_differs(__func__);
	static const uint32_t lengths[] = { 1, 13, 64, 4097 };
	for (size_t i = 0; i < 4; i++) {
		size_t offset = START + 3 + i;
		for (uint32_t extra = 0; extra < 2; extra++) {
			struct ibv_mw *mw =
				nic_window_bound(nic, offset, lengths[i], NIC_RIGHTS_ALL);
			enum ibv_wc_status status = nic_run(
				nic->link.client, nic_write(nic, 0, nic_at(&nic->node, offset),
							    lengths[i] + extra, mw->rkey));
			assert_int_equal(status,
					 extra && !open ? IBV_WC_REM_ACCESS_ERR : IBV_WC_SUCCESS);
			nic_window_close(nic, mw);
			if (status)
				nic_link_renew(nic, &nic->link);
		}
	}
}

/* Rule: neighbours do not leak into each other: of two adjacent windows each reaches its own half. */
static void adjacent_windows(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	bool open = nic_differs(__func__);
	struct ibv_mw *low = nic_window_bound(nic, START, LEN, NIC_RIGHTS_ALL);
	(void)nic_window_bound(nic, START + LEN, LEN, NIC_RIGHTS_ALL);
	nic_run_ok(nic->link.client,
		   nic_read(nic, 0, nic_at(&nic->node, START + LEN - 8), 8, low->rkey));
	assert_int_equal(
		nic_run(nic->link.client,
			nic_read(nic, 0, nic_at(&nic->node, START + LEN - 8), 16, low->rkey)),
		open ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR);
}

const struct CMUnitTest nic_window_bounds_tests[] = {
	NIC_TEST(inside),     NIC_TEST(outside_the_window),       NIC_TEST(outside_the_region),
	NIC_TEST(zero_based), NIC_TEST(any_length_and_alignment), NIC_TEST(adjacent_windows),
};
NIC_COUNT(window_bounds);
