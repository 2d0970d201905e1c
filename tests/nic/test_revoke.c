/* SPDX-License-Identifier: MIT */
/*
 * Revocation while the holder is at work. What all of the protection rests on: when the LOCAL_INV of a
 * window has completed, nothing that went through the window changes a byte any more.
 */
#include "tests/nic/groups.h"

#include <stdlib.h>

enum {
	PAGE = 4096,
	BIG = 1 << 18,
	HOLDERS = 2,
	ROUNDS = 24,
};

/* A client thread that writes, reads and adds through a window until it is denied. */
struct holder {
	struct nic *nic;
	struct nic_link link;
	struct ibv_mw *mw;
	uint32_t rkey;
	size_t page; /* offset in node memory and in client memory */
	uint32_t len; /* of its WRITEs and READs */
	_Atomic unsigned done; /* requests that succeeded */
	enum ibv_wc_status end;
	bool stuck;
	_Atomic bool ended;
	int taken; /* how taking the window away ended */
	uint64_t *snapshot;
};

static void *holder_main(void *arg)
{
	struct holder *holder = arg;
	struct nic *nic = holder->nic;
	uint64_t remote = nic_at(&nic->node, holder->page);
	uint32_t rkey = holder->rkey;
	struct ibv_wc wc = { 0 };
	for (uint64_t i = 1;; i++) {
		nic_store(nic->client.memory + holder->page, i);
		struct nic_op list[] = {
			nic_write(nic, holder->page, remote, holder->len, rkey),
			nic_faa(nic, NIC_MEMORY_BYTES - 64 - holder->page / 64,
				remote + holder->len - 8, 1, rkey),
			nic_signalled(nic_read(nic, NIC_MEMORY_BYTES / 2 + holder->page, remote,
					       holder->len, rkey),
				      i),
		};
		if (nic_try_post(holder->link.client, list, 3, NULL) ||
		    !nic_try_wait(holder->link.client->send_cq, NIC_DEADLINE_MS, &wc)) {
			holder->stuck = true;
			break;
		}
		if (wc.status != IBV_WC_SUCCESS)
			break;
		holder->done++;
	}
	holder->end = wc.status;
	holder->ended = true;
	return NULL;
}

static void holder_prepare(struct nic *nic, struct holder *holder, size_t index, uint32_t len)
{
	static uint64_t snapshots[HOLDERS][BIG / 8];
	*holder = (struct holder){ .nic = nic,
				   .link = holder->link,
				   .page = index * BIG / 2,
				   .len = len,
				   .snapshot = snapshots[index] };
	holder->mw = nic_window_open(nic, nic->node.pd);
	assert_int_equal(nic_run_bind(holder->link.node, holder->mw, nic->node.mr,
				      nic_at(&nic->node, holder->page), len, NIC_RIGHTS_ALL),
			 IBV_WC_SUCCESS);
	holder->rkey = holder->mw->rkey;
}

static void holder_await(struct holder *holder, unsigned requests)
{
	uint64_t deadline = nic_now_ns() + NIC_DEADLINE_MS * 1000000ull;
	while (holder->done < requests && !holder->ended && nic_now_ns() < deadline)
		nic_pause();
}

static void words_copy(uint64_t *to, const uint8_t *memory, uint32_t len)
{
	for (uint32_t i = 0; i < len / 8; i++)
		to[i] = nic_load(memory + 8 * i);
}

static void words_check(const uint64_t *was, const uint8_t *memory, uint32_t len)
{
	for (uint32_t i = 0; i < len / 8; i++)
		assert_int_equal(nic_load(memory + 8 * i), was[i]);
}

/* Links with a completion queue for each thread; short timeouts, see peer_in_error. */
static void holders_connect(struct nic *nic, struct holder holders[HOLDERS])
{
	for (size_t i = 0; i < HOLDERS; i++) {
		struct nic_link_spec spec = nic_link_usual(nic);
		spec.client_cq = nic_cq_open(nic, &nic->client, 64);
		spec.client_params.timeout = 12;
		spec.client_params.retry_count = 6;
		holders[i].link = nic_link_open(nic, &spec);
	}
}

/* How a window is taken away from a holder at work. */
enum way {
	BY_MANAGER,
	BY_ITS_QUEUE_PAIR,
	BY_DEALLOCATION,
	BY_ERROR
};

struct revocation {
	enum way way;
	unsigned rounds;
	uint32_t len;
	/* Pins a device that carries out what it had begun: nothing changes once the holder knows. */
	bool late;
	/* Pins one on which a LOCAL_INV that took effect may complete as flushed, and no more than that. */
	bool flushed;
};

static int take_away(struct nic *nic, struct holder *holder, enum way way)
{
	struct nic_op op = nic_signalled(nic_invalidate(holder->rkey), 1);
	struct ibv_qp *qp = way == BY_MANAGER ? nic->link.node : holder->link.node;
	struct ibv_wc wc;
	switch (way) {
	case BY_DEALLOCATION:
		return ibv_dealloc_mw(holder->mw);
	case BY_ERROR:
		return nic->node.fabric->ops->qp_error(holder->link.node);
	default:
		if (nic_try_post(qp, &op, 1, NULL) ||
		    !nic_try_wait(qp->send_cq, NIC_DEADLINE_MS, &wc))
			return -ETIMEDOUT;
		return (int)wc.status;
	}
}

static void holder_check(struct nic *nic, struct holder *holder,
			 const struct revocation *revocation)
{
	const uint8_t *page = nic->node.memory + holder->page;
	if ((revocation->late || revocation->flushed) && revocation->way == BY_ITS_QUEUE_PAIR &&
	    holder->taken)
		assert_int_equal(holder->taken, IBV_WC_WR_FLUSH_ERR);
	else
		assert_int_equal(holder->taken, 0);
	assert_false(holder->stuck);
	if (!revocation->late || holder->end != IBV_WC_WR_FLUSH_ERR)
		assert_true(holder->end == IBV_WC_REM_ACCESS_ERR ||
			    holder->end == IBV_WC_RETRY_EXC_ERR);
	words_check(holder->snapshot, page, revocation->len);
	if (revocation->way == BY_DEALLOCATION)
		assert_true(nic_objects_take(&nic->windows, holder->mw));
	else
		nic_window_close(nic, holder->mw);
	nic_link_renew(nic, &holder->link);
	words_check(holder->snapshot, page, revocation->len);
}

/*
 * Several holders at work; each loses its window at a different moment. Nothing is asserted while one
 * of them runs.
 */
static void revoke_round(struct nic *nic, struct holder holders[HOLDERS], unsigned round,
			 const struct revocation *revocation)
{
	struct nic_thread *threads[HOLDERS];
	for (size_t i = 0; i < HOLDERS; i++)
		holder_prepare(nic, &holders[i], i, revocation->len);
	for (size_t i = 0; i < HOLDERS; i++)
		threads[i] = nic_thread_start(holder_main, &holders[i]);
	for (size_t i = 0; i < HOLDERS; i++) {
		struct holder *holder = &holders[i];
		const uint8_t *page = nic->node.memory + holder->page;
		holder_await(holder, round % 7);
		holder->taken = take_away(nic, holder, revocation->way);
		words_copy(holder->snapshot, page, revocation->len);
		nic_thread_join(threads[i]);
		if (revocation->late)
			words_copy(holder->snapshot, page, revocation->len);
	}
	for (size_t i = 0; i < HOLDERS; i++)
		holder_check(nic, &holders[i], revocation);
}

static void revoke(struct nic *nic, struct revocation revocation)
{
	struct holder holders[HOLDERS];
	holders_connect(nic, holders);
	unsigned rounds = nic_is_device() ? revocation.rounds / 4 : revocation.rounds;
	for (unsigned round = 0; round < rounds; round++)
		revoke_round(nic, holders, round, &revocation);
}

/* Rule: see above; small requests, revoked by a queue pair of the manager's own. */
static void no_byte_changes_after_revocation(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	revoke(nic, (struct revocation){ BY_MANAGER, ROUNDS, 64, nic_differs(__func__), false });
}

/* Rule: the same in the middle of long requests, which may have been carried out in part. */
static void long_requests_stop(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	revoke(nic,
	       (struct revocation){ BY_MANAGER, ROUNDS, BIG / 2, nic_differs(__func__), false });
}

/*
 * Rule: and when it is the holder's own queue pair at the node that revokes. Its LOCAL_INV reports what
 * it did, though the holder, denied at once, breaks that queue pair.
 */
static void revoked_through_its_own_queue_pair(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	bool differs = nic_differs(__func__);
	revoke(nic, (struct revocation){ BY_ITS_QUEUE_PAIR, ROUNDS, PAGE, differs && !nic_is_sim(),
					 differs });
}

/* Rule: deallocating the window ends it in the same way. */
static void no_byte_changes_after_deallocation(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	revoke(nic,
	       (struct revocation){ BY_DEALLOCATION, ROUNDS, 64, nic_differs(__func__), false });
}

/* Rule: and so does moving the node's queue pair to ERROR: that is how a client is fenced (R6). */
static void no_byte_changes_after_error(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	revoke(nic, (struct revocation){ BY_ERROR, ROUNDS, 64, nic_differs(__func__), false });
}

const struct CMUnitTest nic_revoke_tests[] = {
	NIC_TEST(no_byte_changes_after_revocation),   NIC_TEST(long_requests_stop),
	NIC_TEST(revoked_through_its_own_queue_pair), NIC_TEST(no_byte_changes_after_deallocation),
	NIC_TEST(no_byte_changes_after_error),
};
NIC_COUNT(revoke);
