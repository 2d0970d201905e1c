/* SPDX-License-Identifier: MIT */
/*
 * The suite on a simulated card: its program is a task of the process "client", beside it a process "node"; time is
 * virtual. Whoever waits lets it pass, and so does whoever asks for it, so that a loop that polls until a time comes
 * to an end. Threads are tasks.
 */
#include "core/fabric/sim/sim.h"
#include "core/base/fiber.h"
#include "tests/nic/nic.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum {
	PAUSE_NS = 500,
	ARRIVAL_NS = 100000, /* what is under way arrives sooner */
};

/* A network of some microseconds, on which everything meets everything: see struct ptni_sim_faults. */
static const struct ptni_sim_config config = {
	.timing = { .doorbell_ns = 100,
		    .wire_ns = 500,
		    .wire_ps_per_byte = 80,
		    .pcie_ns = 200,
		    .read_ns = 150,
		    .write_ns = 100,
		    .atomic_ns = 250,
		    .send_ns = 150,
		    .bind_ns = 200,
		    .invalidate_ns = 200,
		    .completion_ns = 200,
		    .channel_ns = 5000,
		    .turn_ns = 100 },
	.faults = { .jitter_ns = 2000,
		    .late_one_in = 50,
		    .late_ns = 20000,
		    .slice_bytes = 64,
		    .slice_ns = 100,
		    .channel_ns = 5000,
		    .turn_ns = 1000 },
};

static struct {
	struct ptni_sim *sim;
	struct ptni_sim_process *node, *client;
	int (*program)(void *arg);
	void *arg;
	int result;
	bool ended;
} world;

bool nic_is_sim(void)
{
	return world.sim;
}

static void program_main(void *arg)
{
	world.result = world.program(world.arg);
	world.ended = true;
	ptni_sim_stop(world.sim);
}

int nic_sim_run(const char *address, int (*program)(void *arg), void *arg)
{
	struct ptni_sim_config seeded = config;
	int ret;

	seeded.seed = strtoull(strchr(address, ':') + 1, NULL, 10);
	ret = ptni_sim_open(&seeded, &world.sim);

	if (!ret)
		ret = ptni_sim_process_open(world.sim, "node", &world.node);
	if (!ret)
		ret = ptni_sim_process_open(world.sim, "client", &world.client);
	world.program = program;
	world.arg = arg;
	if (!ret)
		ret = ptni_sim_task_open(world.client, "suite", program_main, NULL, NULL);
	if (!ret)
		ret = ptni_sim_run(world.sim, UINT64_MAX, UINT64_MAX - 1);
	if (world.sim)
		ptni_sim_close(world.sim);
	return ret ? ret : !world.ended ? -EDEADLK : world.result;
}

int nic_node_open(const char *address, struct ptni_fabric **fabric_out)
{
	return world.sim ? ptni_sim_nic_open(world.node, fabric_out) :
			   ptni_fabric_open(address, NULL, fabric_out);
}

void nic_pause(void)
{
	if (world.sim)
		ptni_sim_doze(PAUSE_NS);
	else
		(void)sched_yield();
}

uint64_t nic_now_ns(void)
{
	struct timespec now;

	if (world.sim && ptni_fiber_current()) {
		nic_pause();
		return ptni_sim_now_ns(world.sim);
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool nic_readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	if (!world.sim)
		return poll(&poll_fd, 1, timeout_ms) == 1;
	ptni_sim_sleep(ARRIVAL_NS);
	return true;
}

/* ---- threads */

struct nic_thread {
	pthread_t thread;
	struct ptni_sim_task *task;
	void *(*fn)(void *arg);
	void *arg;
};

static void task_main(void *arg)
{
	struct nic_thread *thread = arg;

	(void)thread->fn(thread->arg);
}

struct nic_thread *nic_thread_start(void *(*fn)(void *arg), void *arg)
{
	struct nic_thread *thread = calloc(1, sizeof(*thread));
	int ret;

	if (!thread)
		abort();
	thread->fn = fn;
	thread->arg = arg;
	if (world.sim)
		ret = ptni_sim_task_open(world.client, "thread", task_main, thread, &thread->task);
	else
		ret = pthread_create(&thread->thread, NULL, fn, arg);
	if (ret)
		abort();
	return thread;
}

void nic_thread_join(struct nic_thread *thread)
{
	if (world.sim)
		while (!ptni_sim_task_ended(thread->task))
			nic_pause();
	else
		(void)pthread_join(thread->thread, NULL);
	free(thread);
}
