/* SPDX-License-Identifier: MIT */
/*
 * Waiting. Every suspension of the client side is the one in ptni_wait_turn.
 *
 * Each turn polls the completion queue first, and what is there is taken before anything else is done: the
 * kernel is entered in a turn that found nothing only. Such turns in a row
 *
 *      1 .. SPIN_TURNS-1      poll, pause the CPU: on a real network the answer is a few microseconds away, and a
 *                             wait is this poll loop and nothing else
 *      .. +YIELD_TURNS        sched_yield(2): a node, or a NIC in software, may need this very core to answer
 *      after that             sleep on the queue's descriptor, for short times only, because some of what is
 *                             waited for arrives elsewhere (the channel, another thread)
 *
 * A batch on a NIC that executes at once never gets here at all: ptni_batch_await polls before it waits.
 */
#include "core/client.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <time.h>

enum {
	SPIN_TURNS = 400,
	YIELD_TURNS = 200,
	SLEEP_MAX_NS = 200000,
	BUSY_TURNS =
		64, /* completions of others do not keep us from looking at the clock for ever */
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

void ptni_wait_begin(struct ptni_wait *wait, struct ptn_worker *worker, uint64_t deadline_ns)
{
	*wait = (struct ptni_wait){ .worker = worker, .deadline_ns = deadline_ns };
}

static void sleep_on_queue(struct ptn_worker *worker, uint64_t left_ns)
{
	const struct ptni_fabric_ops *ops = worker->client->fabric->ops;
	struct timespec time = { .tv_nsec = left_ns < SLEEP_MAX_NS ? (long)left_ns : SLEEP_MAX_NS };
	struct pollfd fd = { .fd = ops->cq_fd(worker->cq), .events = POLLIN };

	if (ops->cq_arm(worker->cq) == 0 && !ptni_worker_poll(worker))
		(void)ppoll(&fd, 1, &time, NULL);
	ops->cq_disarm(worker->cq);
}

static void suspend(struct ptni_wait *wait)
{
	struct ptni_strand *strand = wait->worker->strand;

	if (strand) {
		strand->flag = wait->flag;
		strand->wake_ns = wait->deadline_ns;
	}
	ptni_fiber_suspend();
	if (strand)
		wait->worker->strand = strand;
}

int ptni_wait_turn(struct ptni_wait *wait)
{
	struct ptn_worker *worker = wait->worker;
	uint64_t now_ns;

	worker->waits++;
	if (ptni_worker_poll(worker) && ++wait->busy % BUSY_TURNS)
		return 0;
	if (atomic_load_explicit(&worker->chores, memory_order_relaxed))
		ptni_worker_chores(worker);
	now_ns = ptni_worker_clock(worker);
	if (now_ns >= wait->deadline_ns)
		return -ETIMEDOUT;
	if (ptni_fiber_current())
		suspend(wait);
	else if (++wait->turns < SPIN_TURNS)
		cpu_relax();
	else if (wait->turns < SPIN_TURNS + YIELD_TURNS)
		(void)sched_yield();
	else
		sleep_on_queue(worker, wait->deadline_ns - now_ns);
	return 0;
}

int ptni_wait_keeper(struct ptni_wait *wait)
{
	struct ptn_client *client = wait->worker->client;

	if (client->options.manual_keeper)
		(void)ptn_client_keep(client);
	return ptni_wait_turn(wait);
}

/* --- fibers ----------------------------------------------------------------------------------- */

static void strand_main(void *arg)
{
	struct ptni_strand *strand = arg;

	strand->fn(strand->arg);
}

static int strand_make(struct ptn_worker *worker, void (*fn)(void *arg), void *arg,
		       struct ptni_strand **strand_out)
{
	struct ptni_strand *strand = worker->strand_table;
	int ret;

	if (!worker->fibers && (ret = ptni_fiber_pool_open(PTNI_OPS_MAX, 0, &worker->fibers)))
		return ret;
	while (strand < worker->strand_table + PTNI_OPS_MAX && strand->fiber)
		strand++;
	if (strand == worker->strand_table + PTNI_OPS_MAX)
		return -EAGAIN;
	*strand = (struct ptni_strand){ .fn = fn, .arg = arg };
	ret = ptni_fiber_create(worker->fibers, strand_main, strand, &strand->fiber);
	if (ret)
		return ret;
	worker->strands++;
	*strand_out = strand;
	return 0;
}

int ptni_worker_spawn(struct ptn_worker *worker, void (*fn)(void *arg), void *arg)
{
	struct ptni_strand *strand;

	return strand_make(worker, fn, arg, &strand);
}

static void strand_resume(struct ptn_worker *worker, struct ptni_strand *strand)
{
	strand->flag = NULL;
	worker->strand = strand;
	if (!ptni_fiber_resume(strand->fiber)) {
		strand->fiber = NULL;
		worker->strands--;
	}
	worker->strand = NULL;
}

int ptni_worker_start(struct ptn_worker *worker, void (*fn)(void *arg), void *arg)
{
	struct ptni_strand *strand;
	int ret = strand_make(worker, fn, arg, &strand);

	if (!ret)
		strand_resume(worker, strand);
	return ret;
}

static bool can_go_on(const struct ptn_worker *worker, const struct ptni_strand *strand)
{
	return strand->fiber &&
	       (!strand->flag || *strand->flag || ptni_worker_clock(worker) >= strand->wake_ns);
}

unsigned ptni_worker_run(struct ptn_worker *worker)
{
	if (!worker->strands)
		return 0;
	(void)ptni_worker_poll(worker);
	for (unsigned i = 0; i < PTNI_OPS_MAX; i++) {
		struct ptni_strand *strand = &worker->strand_table[i];

		if (can_go_on(worker, strand))
			strand_resume(worker, strand);
	}
	return worker->strands;
}

int ptni_worker_fd(struct ptn_worker *worker)
{
	return worker->client->fabric->ops->cq_fd(worker->cq);
}

int ptni_worker_arm(struct ptn_worker *worker)
{
	const struct ptni_fabric_ops *ops = worker->client->fabric->ops;

	ops->cq_disarm(worker->cq);
	return ops->cq_arm(worker->cq) != 0;
}
