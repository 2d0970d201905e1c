/* SPDX-License-Identifier: MIT */
/* The life of a type 2 window: allocate, bind, use, invalidate, bind again, deallocate. */
#include "tests/nic/groups.h"

enum {
	TAGS = 256,
	PAGE = 4096
};

static enum ibv_wc_status bind_page(struct nic *nic, struct ibv_mw *mw)
{
	return nic_run_bind(nic->link.node, mw, nic->node.mr, nic_at(&nic->node, 0), PAGE,
			    NIC_RIGHTS_ALL);
}

static enum ibv_wc_status read_page(struct nic *nic, uint32_t rkey)
{
	return nic_run(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, 0), 8, rkey));
}

/* Rule: once bound, a window allows READ, WRITE, CAS and FAA with its new key; once invalidated, none. */
static void life_cycle(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(mw->type, IBV_MW_TYPE_2);
	assert_int_equal(bind_page(nic, mw), IBV_WC_SUCCESS);
	uint64_t word = nic_at(&nic->node, 8);
	nic_store(nic->client.memory, 41);
	nic_run_ok(nic->link.client, nic_write(nic, 0, word, 8, mw->rkey));
	nic_run_ok(nic->link.client, nic_faa(nic, 16, word, 1, mw->rkey));
	nic_run_ok(nic->link.client, nic_cas(nic, 24, word, 42, 43, mw->rkey));
	nic_run_ok(nic->link.client, nic_read(nic, 32, word, 8, mw->rkey));
	assert_int_equal(nic_load(nic->client.memory + 16), 41);
	assert_int_equal(nic_load(nic->client.memory + 24), 42);
	assert_int_equal(nic_load(nic->client.memory + 32), 43);
	nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
	assert_int_equal(nic_run(nic->link.client, nic_write(nic, 0, word, 8, mw->rkey)),
			 IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(nic_load(nic->node.memory + 8), 43);
	nic_window_close(nic, mw);
}

/* Rule: BIND_MW and LOCAL_INV complete with their own opcodes. */
static void completion_opcodes(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	uint32_t rkey = ibv_inc_rkey(mw->rkey);
	struct nic_op list[] = {
		nic_signalled(nic_bind(mw, rkey, nic->node.mr, nic_at(&nic->node, 0), PAGE,
				       NIC_RIGHTS_ALL),
			      1),
		nic_signalled(nic_invalidate(rkey), 2),
	};
	nic_post(nic->link.node, list, 2);
	struct ibv_wc wc = nic_wait(nic->node.cq);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.opcode, IBV_WC_BIND_MW);
	wc = nic_wait(nic->node.cq);
	assert_int_equal(wc.status, IBV_WC_SUCCESS);
	assert_int_equal(wc.opcode, IBV_WC_LOCAL_INV);
}

/* Rule: a window that was never bound allows nothing. */
static void unbound_window_allows_nothing(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(read_page(nic, mw->rkey), IBV_WC_REM_ACCESS_ERR);
}

/*
 * Rule: the low eight bits of a key are the binder's tag: each bind makes the key with that tag valid
 * and no other.
 */
static void only_the_current_tag_is_valid(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	for (int round = 0; round < 3; round++) {
		uint32_t old = mw->rkey;
		assert_int_equal(bind_page(nic, mw), IBV_WC_SUCCESS);
		assert_int_equal(mw->rkey & ~0xffu, old & ~0xffu);
		const uint32_t wrong[] = { old, ibv_inc_rkey(mw->rkey), mw->rkey ^ 0x80,
					   mw->rkey ^ 0x100 };
		for (size_t i = 0; i < 4; i++) {
			struct nic_link link = nic->link = nic_link_another(nic);
			assert_int_equal(read_page(nic, wrong[i]), IBV_WC_REM_ACCESS_ERR);
			nic_link_close(nic, &link);
		}
		nic->link = nic_link_another(nic);
		nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
	}
}

/*
 * Rule: a tag has eight bits: after 256 binds the first key comes back, and then it works. Whoever
 * binds must know (R12); no card can tell an old holder from a new one.
 */
static void tags_wrap_after_256_binds(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(bind_page(nic, mw), IBV_WC_SUCCESS);
	uint32_t first = mw->rkey;
	for (int i = 0; i < TAGS; i++) {
		nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
		assert_int_equal(bind_page(nic, mw), IBV_WC_SUCCESS);
		assert_true((mw->rkey == first) == (i == TAGS - 1));
	}
	assert_int_equal(read_page(nic, first), IBV_WC_SUCCESS);
}

/* Rule: a rebound window gives only its new range. */
static void rebind_moves_the_range(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
	uint32_t old = mw->rkey;
	nic_run_ok(nic->link.node, nic_invalidate(old));
	nic_store(nic->node.memory + PAGE, 1234);
	assert_int_equal(nic_run_bind(nic->link.node, mw, nic->node.mr, nic_at(&nic->node, PAGE),
				      PAGE, IBV_ACCESS_REMOTE_READ),
			 IBV_WC_SUCCESS);
	nic_run_ok(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, PAGE), 8, mw->rkey));
	assert_int_equal(nic_load(nic->client.memory), 1234);
	assert_int_equal(read_page(nic, old), IBV_WC_REM_ACCESS_ERR);
}

/* Rule: several windows may lie over the same bytes, each with its own rights and life. */
static void windows_may_overlap(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *reader = nic_window_bound(nic, 0, PAGE, IBV_ACCESS_REMOTE_READ);
	struct ibv_mw *writer = nic_window_bound(nic, 64, 128, IBV_ACCESS_REMOTE_WRITE);
	nic_store(nic->client.memory, 5);
	nic_run_ok(nic->link.client, nic_write(nic, 0, nic_at(&nic->node, 64), 8, writer->rkey));
	nic_run_ok(nic->link.client, nic_read(nic, 8, nic_at(&nic->node, 64), 8, reader->rkey));
	assert_int_equal(nic_load(nic->client.memory + 8), 5);
	nic_run_ok(nic->link.node, nic_invalidate(writer->rkey));
	nic_run_ok(nic->link.client, nic_read(nic, 8, nic_at(&nic->node, 64), 8, reader->rkey));
	assert_int_equal(nic_run(nic->link.client,
				 nic_write(nic, 0, nic_at(&nic->node, 64), 8, writer->rkey)),
			 IBV_WC_REM_ACCESS_ERR);
}

/* Rule: the client's end can carry windows as well: binding is not a matter of who dialled. */
static void either_end_may_bind(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *mw = nic_window_open(nic, nic->client.pd);
	assert_int_equal(nic_run_bind(nic->link.client, mw, nic->client.mr, nic_at(&nic->client, 0),
				      64, IBV_ACCESS_REMOTE_READ),
			 IBV_WC_SUCCESS);
	nic_store(nic->client.memory, 17);
	struct nic_op op = nic_read(nic, 0, nic_at(&nic->client, 0), 8, mw->rkey);
	op.sge = (struct ibv_sge){ nic_at(&nic->node, 0), 8, nic->node.mr->lkey };
	nic_run_ok(nic->link.node, op);
	assert_int_equal(nic_load(nic->node.memory), 17);
}

/* Rule: ten thousand rounds of allocate, bind, invalidate, deallocate leave nothing behind. */
static void many_rounds_leak_nothing(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		ROUNDS = 10000,
		DEVICE_ROUNDS = 1000
	};
	int rounds = nic_is_device() ? DEVICE_ROUNDS : ROUNDS;
	for (int i = 0; i < rounds; i++) {
		struct ibv_mw *mw = nic_window_bound(nic, 0, PAGE, NIC_RIGHTS_ALL);
		if (i % 2)
			nic_run_ok(nic->link.node, nic_invalidate(mw->rkey));
		nic_window_close(nic, mw);
	}
}

/* Rule: a read-only window may lie over a region without LOCAL_WRITE. */
static void read_only_over_read_only(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr =
		nic_mr_open(nic, nic->node.pd, nic->node.memory, PAGE, IBV_ACCESS_MW_BIND);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic_run_bind(nic->link.node, mw, mr, nic_at(&nic->node, 0), PAGE,
				      IBV_ACCESS_REMOTE_READ),
			 IBV_WC_SUCCESS);
	assert_int_equal(read_page(nic, mw->rkey), IBV_WC_SUCCESS);
	nic_window_close(nic, mw);
}

/*
 * Rule: a window gives what it was bound with, even where the region's own rkey gives nothing: regions
 * need not be open to peers for windows over them to be.
 */
static void window_gives_more_than_the_region(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mr *mr = nic_mr_open(nic, nic->node.pd, nic->node.memory, PAGE,
					IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
	struct ibv_mw *mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic_run_bind(nic->link.node, mw, mr, nic_at(&nic->node, 0), PAGE,
				      NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	for (int kind = 0; kind < NIC_KINDS; kind++)
		nic_run_ok(nic->link.client,
			   nic_access(nic, kind, nic_at(&nic->node, 0), mw->rkey));
	assert_int_equal(read_page(nic, mr->rkey), IBV_WC_REM_ACCESS_ERR);
	nic_window_close(nic, mw);
}

const struct CMUnitTest nic_window_tests[] = {
	NIC_TEST(life_cycle),
	NIC_TEST(completion_opcodes),
	NIC_TEST(unbound_window_allows_nothing),
	NIC_TEST(only_the_current_tag_is_valid),
	NIC_TEST(tags_wrap_after_256_binds),
	NIC_TEST(rebind_moves_the_range),
	NIC_TEST(windows_may_overlap),
	NIC_TEST(either_end_may_bind),
	NIC_TEST(many_rounds_leak_nothing),
	NIC_TEST(read_only_over_read_only),
	NIC_TEST(window_gives_more_than_the_region),
};
NIC_COUNT(window);
