/* SPDX-License-Identifier: MIT */
/* Short forms of one-sided operations for tests of the client. */
#ifndef TESTS_CLIENT_STEPS_H
#define TESTS_CLIENT_STEPS_H

#include "core/batch.h"
#include "tests/support/client_fixture.h"

static inline uint64_t addr_of(const struct fixture *fixture, uint64_t offset)
{
	return fixture->window->addr + offset;
}

static inline int word_read(struct fixture *fixture, uint64_t offset, uint64_t *word_out)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *word;
	int ret = ptni_op_begin(fixture->worker, &op);

	if (ret)
		return ret;
	word = ptni_op_buffer(&op, 8);
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_read(&batch, fixture->window, addr_of(fixture, offset), word, 8);
	ret = ptni_batch_run(&batch);
	if (!ret)
		*word_out = *word;
	ptni_op_end(&op);
	return ret;
}

/* [WRITE 8 bytes at offset + 64, CAS word at offset], as a put would. */
static inline int word_publish(struct fixture *fixture, uint64_t offset, uint64_t expected,
			       uint64_t desired, uint64_t *old_out, uint16_t *done_out)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *old, *block;
	int ret = ptni_op_begin(fixture->worker, &op);

	if (ret)
		return ret;
	old = ptni_op_buffer(&op, 8);
	block = ptni_op_buffer(&op, 8);
	*block = desired;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, fixture->window, addr_of(fixture, offset + 64), block, 8);
	ptni_batch_cas(&batch, fixture->window, addr_of(fixture, offset), expected, desired, old);
	ret = ptni_batch_run(&batch);
	*done_out = batch.done;
	if (!ret)
		*old_out = *old;
	ptni_op_end(&op);
	return ret;
}

static inline enum ptni_lane_state lane_state(struct fixture *fixture, unsigned lane)
{
	return ptni_lane_state(&fixture->worker->peer[0]->lane[lane]);
}

/* Until every lane of the worker is usable again. */
static inline void lanes_settle(struct fixture *fixture)
{
	for (unsigned i = 0; i < fixture->worker->lanes; i++)
		while (lane_state(fixture, i) != PTNI_LANE_READY || !fixture->window->rkey[i]) {
			ptni_worker_chores(fixture->worker);
			ptni_fiber_suspend();
			(void)ptni_worker_poll(fixture->worker);
		}
}

static inline struct ptn_cause cause_of(struct fixture *fixture)
{
	struct ptn_cause cause;

	ptn_worker_cause(fixture->worker, &cause);
	return cause;
}

#endif
