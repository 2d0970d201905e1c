/* SPDX-License-Identifier: MIT */
#ifndef PTNI_BATCH_H
#define PTNI_BATCH_H

#include "core/worker_state.h"

/* Post requests first.. of the batch, whose keys are those of `lane`. -EIO: the lane broke, nothing is known
 * to be executed: the flight says what is in doubt. */
int ptni_batch_post(struct ptni_batch *batch, struct ptni_lane *lane, unsigned first);
/* Until the flight is done, which it is in the end, if need be by breaking the lane. */
void ptni_batch_await(struct ptni_batch *batch);
/* The long way: waits for a lane, keys, a deadline; repeats what is known not to be executed.
 * posted: an attempt was made already and its flight has ended in an error. */
int ptni_recovery_run(struct ptni_batch *batch, bool posted);

static inline struct ptni_flight *ptni_batch_flight(const struct ptni_batch *batch)
{
	return &batch->op->worker->slot[batch->op->slot].flight;
}

#endif
