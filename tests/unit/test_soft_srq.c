/* SPDX-License-Identifier: MIT */
#include "core/base/rng.h"
#include "core/fabric/soft/soft.h"
#include "tests/unit/soft_pair.h"

#include <errno.h>
#include <pthread.h>

enum {
	SENDERS = 3,
	SLOTS = 8,
	MESSAGES = 4000
};

struct sender {
	struct pair pair; /* b's half shares one end: the receiver */
	pthread_t thread;
	uint64_t next; /* what the receiver expects */
};

static struct pair_end node;
static struct ibv_srq *srq;
static struct sender senders[SENDERS];

static void srq_post(uint64_t slot)
{
	struct ibv_sge sge = pair_sge(&node, slot * 64, 64);
	struct ibv_recv_wr wr = { .wr_id = slot, .sg_list = &sge, .num_sge = 1 };
	struct ibv_recv_wr *bad;

	assert_int_equal(ibv_post_srq_recv(srq, &wr, &bad), 0);
}

static int setup(void **state)
{
	struct ptni_qp_params params = pair_params;

	params.rnr_retry = 7;
	memset(&node, 0, sizeof(node));
	pair_end_open(&node, "inproc:soft_srq");
	assert_int_equal(node.fabric->ops->srq_open(node.pd, SLOTS, 1, &srq), 0);
	for (int i = 0; i < SENDERS; i++) {
		struct sender *sender = &senders[i];

		memset(sender, 0, sizeof(*sender));
		pair_end_open(&sender->pair.a, "inproc:soft_srq");
		sender->pair.b = node;
		pair_qp_open(&sender->pair.a, NULL);
		pair_qp_open(&sender->pair.b, srq);
		pair_connect_both(&sender->pair, &params);
	}
	return 0;
}

static int teardown(void **state)
{
	for (int i = 0; i < SENDERS; i++) {
		assert_int_equal(node.fabric->ops->srq_close(srq), -EBUSY);
		assert_int_equal(node.fabric->ops->qp_close(senders[i].pair.b.qp), 0);
		pair_end_close(&senders[i].pair.a);
	}
	assert_int_equal(node.fabric->ops->srq_close(srq), 0);
	pair_end_close(&node);
	return 0;
}

static void *sender_main(void *arg)
{
	struct sender *sender = arg;
	uint64_t *message = (uint64_t *)(void *)sender->pair.a.memory;
	struct ibv_sge sge = pair_sge(&sender->pair.a, 0, 16);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED };

	for (uint64_t i = 0; i < MESSAGES; i++) {
		message[0] = i;
		message[1] = ~i;
		if (pair_run(&sender->pair.a, &wr))
			return (void *)1;
	}
	return NULL;
}

static struct sender *sender_of(uint32_t qp_num)
{
	for (int i = 0; i < SENDERS; i++)
		if (senders[i].pair.b.qp->qp_num == qp_num)
			return &senders[i];
	fail();
	return NULL;
}

/* Every message of every sender arrives once, whole, in the order of its sender. */
static void many_senders(void **state)
{
	void *result;

	for (uint64_t i = 0; i < SLOTS; i++)
		srq_post(i);
	for (int i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&senders[i].thread, NULL, sender_main, &senders[i]),
				 0);
	for (int i = 0; i < SENDERS * MESSAGES; i++) {
		struct ibv_wc wc = pair_wait(node.recv_cq);
		uint64_t *message = (uint64_t *)(void *)(node.memory + wc.wr_id * 64);
		struct sender *sender = sender_of(wc.qp_num);

		assert_int_equal(wc.status, IBV_WC_SUCCESS);
		assert_int_equal(wc.byte_len, 16);
		assert_int_equal(message[0], sender->next++);
		assert_int_equal(message[1], ~message[0]);
		srq_post(wc.wr_id);
	}
	for (int i = 0; i < SENDERS; i++) {
		pthread_join(senders[i].thread, &result);
		assert_null(result);
	}
	assert_true(pair_idle(node.recv_cq));
}

static void full_and_empty(void **state)
{
	struct ibv_recv_wr wr = { .wr_id = 99 };
	struct ibv_recv_wr *bad = NULL;

	for (uint64_t i = 0; i < SLOTS; i++)
		srq_post(i);
	assert_int_equal(ibv_post_srq_recv(srq, &wr, &bad), ENOMEM);
	assert_ptr_equal(bad, &wr);
	for (uint64_t i = 0; i < SLOTS; i++) { /* in the order of posting */
		struct ibv_sge sge = pair_sge(&senders[i % SENDERS].pair.a, 0, 8);
		struct ibv_send_wr send = { .sg_list = &sge,
					    .num_sge = 1,
					    .opcode = IBV_WR_SEND,
					    .send_flags = IBV_SEND_SIGNALED };

		assert_int_equal(pair_run(&senders[i % SENDERS].pair.a, &send), IBV_WC_SUCCESS);
		assert_int_equal(pair_wait(node.recv_cq).wr_id, i);
	}
}

/* segment.h C2: a slot taken by a requester that died goes back when its queue pair breaks. */
static void taken_slots_return(void **state)
{
	struct soft_qp *qp = soft_qp_of(senders[0].pair.b.qp);
	struct soft_srq *soft = soft_srq_of(srq);
	struct ibv_sge sge = pair_sge(&senders[1].pair.a, 0, 8);
	struct ibv_send_wr send = { .sg_list = &sge,
				    .num_sge = 1,
				    .opcode = IBV_WR_SEND,
				    .send_flags = IBV_SEND_SIGNALED };
	_Atomic uint64_t *claim;

	srq_post(5);
	claim = &soft_srq_slot(soft, (uint32_t)soft->ring[0])->claim;
	atomic_store(claim,
		     claim_word((uint32_t)(atomic_load(claim) >> 32), CLAIM_TAKEN, qp->qp.qp_num));
	assert_int_equal(node.fabric->ops->qp_error(senders[0].pair.b.qp), 0);
	assert_true(pair_idle(node.recv_cq)); /* nothing of it was completed, nor flushed */
	assert_int_equal(pair_run(&senders[1].pair.a, &send), IBV_WC_SUCCESS);
	assert_int_equal(pair_wait(node.recv_cq).wr_id, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(many_senders, setup, teardown),
		cmocka_unit_test_setup_teardown(full_and_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(taken_slots_return, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
