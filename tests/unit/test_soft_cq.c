/* SPDX-License-Identifier: MIT */
#include "core/fabric/soft/soft.h"
#include "tests/unit/soft_pair.h"

#include <errno.h>
#include <poll.h>

static struct pair pair;

static int setup(void **state)
{
	pair_open(&pair, "inproc:soft_cq");
	return 0;
}

static int teardown(void **state)
{
	pair_close(&pair);
	return 0;
}

static bool readable(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) == 1;
}

/* b's queue pair gets completion queues of its own, of `entries`. */
static void small_queue(struct ibv_cq **cq_out, uint32_t entries)
{
	const struct ptni_fabric_ops *ops = pair.b.fabric->ops;

	assert_int_equal(ops->qp_close(pair.b.qp), 0);
	assert_int_equal(ops->cq_open(pair.b.fabric, entries, cq_out), 0);
	assert_int_equal(ops->qp_reset(pair.a.qp), 0);
}

static void sends(int count)
{
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_SEND,
				  .send_flags = IBV_SEND_SIGNALED };

	for (int i = 0; i < count; i++)
		assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
}

/* As many completions as the queue has entries are fine, one more breaks it and its queue pairs. */
static void overrun(void **state)
{
	struct pair_end b = pair.b;
	struct ibv_wc wc[8];
	struct ibv_cq *cq;

	small_queue(&cq, 4);
	b.recv_cq = cq;
	pair_qp_open(&b, NULL);
	pair.b.qp = b.qp;
	pair_connect_both(&pair, &pair_params);
	for (uint64_t i = 0; i < 9; i++)
		pair_recv(&b, i, 4096, 8);
	sends(4);
	assert_int_equal(ibv_poll_cq(cq, 8, wc), 4);
	sends(4);
	assert_int_equal(ibv_poll_cq(cq, 1, wc), 1);
	sends(1);
	assert_int_equal(ibv_poll_cq(cq, 8, wc), 4);
	pair_recv(&b, 9, 4096, 8);
	for (uint64_t i = 0; i < 4; i++)
		pair_recv(&b, i, 4096, 8);
	sends(5);
	assert_true(ibv_poll_cq(cq, 8, wc) < 0);
	assert_true(ibv_poll_cq(cq, 8, wc) < 0);
	assert_int_equal(pair_state(&b), IBV_QPS_ERR);
	assert_int_equal(pair.b.fabric->ops->cq_close(cq), -EBUSY);
	assert_int_equal(pair.b.fabric->ops->qp_close(b.qp), 0);
	assert_int_equal(pair.b.fabric->ops->cq_close(cq), 0);
	pair.b.qp = NULL;
}

static void arm(void **state)
{
	const struct ptni_fabric_ops *ops = pair.b.fabric->ops;
	int fd = ops->cq_fd(pair.b.recv_cq);

	assert_true(fd >= 0);
	for (uint64_t i = 0; i < 4; i++)
		pair_recv(&pair.b, i, 4096, 8);
	assert_int_equal(ops->cq_arm(pair.b.recv_cq), 0);
	assert_false(readable(fd));
	sends(1);
	assert_true(readable(fd));
	assert_int_equal(ops->cq_arm(pair.b.recv_cq), 1); /* something waits */
	ops->cq_disarm(pair.b.recv_cq);
	assert_false(readable(fd));
	assert_int_equal(pair_wait(pair.b.recv_cq).wr_id, 0);
	sends(1); /* not armed: nobody is woken */
	assert_false(readable(fd));
	assert_int_equal(pair_wait(pair.b.recv_cq).wr_id, 1);
	assert_int_equal(ops->cq_arm(pair.a.send_cq), 0);
	sends(1);
	assert_true(readable(ops->cq_fd(pair.a.send_cq)));
}

/* Completions of a queue pair that is closed are gone, those of others stay. */
static void purge(void **state)
{
	struct pair_end a2 = pair.a;
	struct pair_end b2 = pair.b;
	struct ibv_sge sge = pair_sge(&pair.a, 0, 8);
	struct ibv_send_wr wr = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);
	struct pair other;

	pair_qp_open(&a2, NULL);
	pair_qp_open(&b2, NULL);
	other = (struct pair){ a2, b2 };
	pair_connect_both(&other, &pair_params);
	for (uint64_t i = 0; i < 8; i++) {
		wr.wr_id = i;
		assert_int_equal(pair_post(i % 2 ? &a2 : &pair.a, &wr), 0);
	}
	assert_int_equal(a2.fabric->ops->qp_close(a2.qp), 0);
	for (uint64_t i = 0; i < 8; i += 2)
		assert_int_equal(pair_wait(pair.a.send_cq).wr_id, i);
	assert_true(pair_idle(pair.a.send_cq));
	assert_int_equal(b2.fabric->ops->qp_close(b2.qp), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(arm, setup, teardown),
		cmocka_unit_test_setup_teardown(purge, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
