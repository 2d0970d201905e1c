/* SPDX-License-Identifier: MIT */
/* Many windows in one doorbell: lists of binds, invalidations and the message that announces them. */
#include "tests/nic/groups.h"

enum {
	COUNT = 100,
	SLICE = 1024,
	NOTE = 1 << 19, /* offset of the message */
};

static struct nic_op bind_slice(struct nic *nic, struct ibv_mw *mw, size_t slice, uint32_t rkey)
{
	return nic_bind(mw, rkey, nic->node.mr, nic_at(&nic->node, slice * SLICE), SLICE,
			NIC_RIGHTS_ALL);
}

static void windows_open(struct nic *nic, struct ibv_mw *windows[COUNT])
{
	for (size_t i = 0; i < COUNT; i++) {
		windows[i] = nic_window_open(nic, nic->node.pd);
		nic_store(nic->node.memory + i * SLICE, i * 3 + 1);
	}
}

static void bind_all(struct nic *nic, struct ibv_mw *windows[COUNT])
{
	struct nic_op list[COUNT];
	for (size_t i = 0; i < COUNT; i++)
		list[i] = bind_slice(nic, windows[i], i, ibv_inc_rkey(windows[i]->rkey));
	list[COUNT - 1] = nic_signalled(list[COUNT - 1], 1);
	nic_post(nic->link.node, list, COUNT);
	nic_expect(nic->node.cq, 1, IBV_WC_SUCCESS);
	assert_int_equal(nic_drain(nic->node.cq), 0);
	for (size_t i = 0; i < COUNT; i++)
		windows[i]->rkey = ibv_inc_rkey(windows[i]->rkey);
}

static void check_slice(struct nic *nic, uint32_t rkey, size_t slice)
{
	nic_run_ok(nic->link.client, nic_read(nic, 0, nic_at(&nic->node, slice * SLICE), 8, rkey));
	assert_int_equal(nic_load(nic->client.memory), slice * 3 + 1);
}

/* Rule: 100 binds in one list with one signalled: when that one completes all windows are usable. */
static void hundred_binds_one_completion(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *windows[COUNT];
	windows_open(nic, windows);
	bind_all(nic, windows);
	for (size_t i = 0; i < COUNT; i++)
		check_slice(nic, windows[i]->rkey, i);
}

/* Rule: a list of (LOCAL_INV, BIND) pairs moves 100 windows at once; old keys are dead after it. */
static void hundred_rebinds_one_completion(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *windows[COUNT];
	struct nic_op list[2 * COUNT];
	windows_open(nic, windows);
	bind_all(nic, windows);
	for (size_t i = 0; i < COUNT; i++) {
		uint32_t old = windows[i]->rkey;
		list[2 * i] = nic_invalidate(old);
		list[2 * i + 1] = bind_slice(nic, windows[i], COUNT - 1 - i, ibv_inc_rkey(old));
	}
	list[2 * COUNT - 1] = nic_signalled(list[2 * COUNT - 1], 1);
	nic_post(nic->link.node, list, 2 * COUNT);
	nic_expect(nic->node.cq, 1, IBV_WC_SUCCESS);
	for (size_t i = 0; i < COUNT; i++) {
		windows[i]->rkey = ibv_inc_rkey(windows[i]->rkey);
		check_slice(nic, windows[i]->rkey, COUNT - 1 - i);
	}
	assert_int_equal(nic_run(nic->link.client,
				 nic_read(nic, 0, nic_at(&nic->node, (COUNT - 1) * SLICE), 8,
					  windows[0]->rkey - 1)),
			 IBV_WC_REM_ACCESS_ERR);
}

/*
 * Rule: [BIND x n, SEND keys] in one list: when the message is there, every key in it works. A grant
 * therefore needs no wait for the binds' completions.
 */
static void keys_announced_in_the_same_list(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		EACH = 8,
		ROUNDS = COUNT / EACH
	};
	struct ibv_mw *windows[COUNT];
	windows_open(nic, windows);
	for (size_t round = 0; round < ROUNDS; round++) {
		struct nic_op list[EACH + 1];
		for (size_t i = 0; i < EACH; i++) {
			size_t slice = round * EACH + i;
			uint32_t rkey = ibv_inc_rkey(windows[slice]->rkey);
			list[i] = bind_slice(nic, windows[slice], slice, rkey);
			nic_store(nic->node.memory + NOTE + 8 * i, rkey);
		}
		list[EACH] = nic_signalled(nic_send(&nic->node, NOTE, 8 * EACH), 1);
		nic_post_recv(nic->link.client, &nic->client, 2, NOTE, 8 * EACH);
		nic_post(nic->link.node, list, EACH + 1);
		nic_expect(nic->client.cq, 2, IBV_WC_SUCCESS);
		for (size_t i = 0; i < EACH; i++)
			check_slice(nic, (uint32_t)nic_load(nic->client.memory + NOTE + 8 * i),
				    round * EACH + i);
		nic_expect(nic->node.cq, 1, IBV_WC_SUCCESS);
	}
}

/*
 * Rule: a bind that fails in the middle of an unsignalled list reports its own error, flushes those
 * behind it, all of them with completions, and the message at the end is not sent.
 */
static void failing_bind_in_a_list(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ibv_mw *windows[COUNT];
	windows_open(nic, windows);
	struct nic_op list[5];
	for (size_t i = 0; i < 4; i++) {
		list[i] = bind_slice(nic, windows[i], i, ibv_inc_rkey(windows[i]->rkey));
		list[i].wr.wr_id = i;
	}
	list[2].wr.bind_mw.bind_info.length = NIC_MEMORY_BYTES + 1;
	list[4] = nic_send(&nic->node, NOTE, 8);
	list[4].wr.wr_id = 4;
	nic_post_recv(nic->link.client, &nic->client, 9, NOTE, 64);
	nic_post(nic->link.node, list, 5);
	nic_expect(nic->node.cq, 2, IBV_WC_MW_BIND_ERR);
	nic_expect(nic->node.cq, 3, IBV_WC_WR_FLUSH_ERR);
	nic_expect(nic->node.cq, 4, IBV_WC_WR_FLUSH_ERR);
	nic_state_becomes(nic, nic->link.node, IBV_QPS_ERR);
	assert_int_equal(nic_drain(nic->client.cq), 0);
	assert_int_equal(nic_state(nic, nic->link.client), IBV_QPS_RTS);
}

/* Rule: bind, use by the peer, invalidate in turn, thousands of times, with no window ever confused. */
static void many_generations(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		WINDOWS = 10,
		ROUNDS = 100
	};
	struct ibv_mw *windows[COUNT];
	windows_open(nic, windows);
	for (size_t round = 0; round < ROUNDS; round++) {
		struct nic_op list[WINDOWS];
		for (size_t i = 0; i < WINDOWS; i++)
			list[i] = bind_slice(nic, windows[i], (i + round) % COUNT,
					     ibv_inc_rkey(windows[i]->rkey));
		list[WINDOWS - 1] = nic_signalled(list[WINDOWS - 1], round);
		nic_post(nic->link.node, list, WINDOWS);
		nic_expect(nic->node.cq, round, IBV_WC_SUCCESS);
		for (size_t i = 0; i < WINDOWS; i++) {
			windows[i]->rkey = ibv_inc_rkey(windows[i]->rkey);
			check_slice(nic, windows[i]->rkey, (i + round) % COUNT);
			list[i] = nic_invalidate(windows[i]->rkey);
		}
		list[WINDOWS - 1] = nic_signalled(list[WINDOWS - 1], round);
		nic_post(nic->link.node, list, WINDOWS);
		nic_expect(nic->node.cq, round, IBV_WC_SUCCESS);
	}
}

const struct CMUnitTest nic_window_list_tests[] = {
	NIC_TEST(hundred_binds_one_completion),
	NIC_TEST(hundred_rebinds_one_completion),
	NIC_TEST(keys_announced_in_the_same_list),
	NIC_TEST(failing_bind_in_a_list),
	NIC_TEST(many_generations),
};
NIC_COUNT(window_list);
