/* SPDX-License-Identifier: MIT */
/* Processes, their clocks and tasks, and how they die. */
#include "core/fabric/sim/state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
	FIBERS_MAX = 16, /* tasks of a process */
	STACK_BYTES = 128 << 10,
	POOLS_KEPT = 64,
	IDLE_DEFAULT_NS = 50000,
	BACKOFF_FIRST_NS = 500,
	CLOCK_BASE_NS = 1000000000,
};

/* ---- clocks */

static uint64_t clock_now(struct ptni_clock *clock)
{
	struct sim_clock *own = (struct sim_clock *)clock;
	uint64_t now_ns = ptni_sim_cpu_now_ns(own->process->sim);

	ptni_sim_enter(own->process);
	return own->base_ns + now_ns + (uint64_t)((int64_t)now_ns * own->drift_ppm / 1000000);
}

void ptni_sim_clock_step(struct ptni_sim_process *process, int64_t span_ns)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_CLOCK_STEP,
					.process = process->number,
					.addr = (uint64_t)span_ns };

	process->clock.base_ns += (uint64_t)span_ns;
	ptni_sim_tell(process->sim, &event);
}

static void clock_wander(struct ptni_sim_process *process)
{
	struct ptni_sim *sim = process->sim;
	uint64_t ahead_ns = sim_draw(sim, sim->config.faults.step_ns + UINT64_C(1));
	uint64_t before_ns = process->clock.ahead_ns;

	process->clock.ahead_ns = ahead_ns;
	ptni_sim_clock_step(process, (int64_t)(ahead_ns - before_ns));
}

static void clock_init(struct ptni_sim_process *process)
{
	struct ptni_sim *sim = process->sim;
	uint32_t ppm = sim->config.faults.drift_ppm;

	process->clock = (struct sim_clock){
		.clock = { clock_now },
		.process = process,
		.base_ns = CLOCK_BASE_NS + sim_draw(sim, CLOCK_BASE_NS),
		.drift_ppm = (int64_t)sim_draw(sim, 2 * (uint64_t)ppm + 1) - ppm,
	};
}

struct ptni_clock *ptni_sim_process_clock(struct ptni_sim_process *process)
{
	return &process->clock.clock;
}

/* ---- processes */

/* Stacks that were used before need no fresh pages; they wait for the next simulation. */
static struct ptni_fiber_pool *pool_kept[POOLS_KEPT];
static unsigned pools_kept;

static void pool_give(struct ptni_fiber_pool *pool)
{
	ptni_fiber_pool_abandon(pool);
	if (pools_kept < POOLS_KEPT)
		pool_kept[pools_kept++] = pool;
	else
		(void)ptni_fiber_pool_close(pool);
}

static void process_free(struct sim_object *object)
{
	struct ptni_sim_process *process = (struct ptni_sim_process *)object;

	pool_give(process->pool);
	ptni_sim_port_close(process);
	free(process);
}

int ptni_sim_process_open(struct ptni_sim *sim, const char *name,
			  struct ptni_sim_process **process_out)
{
	struct ptni_sim_process *process;
	struct ptni_sim_event event = { .kind = PTNI_SIM_PROCESS_OPEN };
	int ret = 0;

	if (sim->processes == PTNI_SIM_PROCESSES_MAX)
		return -ENOSPC;
	process = calloc(1, sizeof(*process));
	if (!process)
		return -ENOMEM;
	if (pools_kept)
		process->pool = pool_kept[--pools_kept];
	else
		ret = ptni_fiber_pool_open(FIBERS_MAX, STACK_BYTES, &process->pool);
	if (!ret) {
		ret = ptni_sim_port_open(process);
		if (ret)
			pool_give(process->pool);
	}
	if (ret) {
		free(process);
		return ret;
	}
	process->sim = sim;
	process->name = name;
	process->number = sim->processes++;
	process->tasks_end = &process->tasks;
	clock_init(process);
	ptni_sim_object_add(sim, &process->object, process_free);
	event.process = process->number;
	ptni_sim_tell(sim, &event);
	*process_out = process;
	return 0;
}

/* Tasks first, as they lie on the processes' stacks: objects are freed newest first. */
void ptni_sim_processes_close(struct ptni_sim *sim)
{
	sim->current = NULL;
	sim->task = NULL;
}

uint32_t ptni_sim_process_number(const struct ptni_sim_process *process)
{
	return process->number;
}

const char *ptni_sim_process_name(const struct ptni_sim_process *process)
{
	return process->name;
}

struct ptni_sim_process *ptni_sim_process_current(void)
{
	struct ptni_sim *sim = ptni_sim_current();

	return sim ? sim->current : NULL;
}

/* ---- tasks */

static void turn(void *arg, uint64_t stamp);

static void task_schedule(struct ptni_sim_task *task, uint64_t when_ns)
{
	struct ptni_sim *sim = task->process->sim;

	if (when_ns < task->busy_until_ns)
		when_ns = task->busy_until_ns;
	task->wake_ns = when_ns;
	if (ptni_sim_event_add(sim, when_ns, turn, task, ++task->stamp))
		abort(); /* no memory for the simulation itself */
}

static uint64_t cpu_delay(struct ptni_sim *sim)
{
	return sim->config.timing.turn_ns + sim_draw(sim, sim->config.faults.turn_ns);
}

static void task_next(struct ptni_sim_task *task)
{
	struct ptni_sim *sim = task->process->sim;
	uint64_t idle_ns = sim->config.timing.idle_ns ? sim->config.timing.idle_ns :
							IDLE_DEFAULT_NS;
	uint64_t span_ns = task->backoff_ns;

	if (task->sleep_until_ns > sim->now_ns) {
		task_schedule(task, task->sleep_until_ns);
		return;
	}
	task->backoff_ns = span_ns ? 2 * span_ns : BACKOFF_FIRST_NS;
	if (task->backoff_ns > idle_ns)
		task->backoff_ns = idle_ns;
	if (task->doze_ns)
		span_ns = task->doze_ns;
	else if (task->woken || !span_ns)
		span_ns = cpu_delay(sim) + 1;
	if (span_ns < sim->config.timing.turn_cost_ns)
		span_ns = sim->config.timing.turn_cost_ns;
	task_schedule(task, sim->now_ns + span_ns + sim_draw(sim, span_ns / 8 + 1));
}

/* When it may run at the earliest, or 0: now. */
static uint64_t task_hindered(struct ptni_sim_task *task)
{
	struct ptni_sim *sim = task->process->sim;

	if (task->process->paused_until_ns > sim->now_ns)
		return task->process->paused_until_ns;
	if (task->sleep_until_ns > sim->now_ns)
		return task->sleep_until_ns;
	if (sim_chance(sim, sim->config.faults.stall_one_in))
		return sim->now_ns + 1 + sim_draw(sim, sim->config.faults.stall_ns);
	return 0;
}

static void turn(void *arg, uint64_t stamp)
{
	struct ptni_sim_task *task = arg;
	struct ptni_sim *sim = task->process->sim;
	struct ptni_sim_event event = { .kind = PTNI_SIM_TURN, .number = task->number };
	uint64_t when_ns;
	bool alive;

	if (stamp != task->stamp || task->process->dead || task->ended)
		return;
	when_ns = task_hindered(task);
	if (when_ns) {
		task_schedule(task, when_ns);
		return;
	}
	if (sim_chance(sim, sim->config.faults.step_one_in))
		clock_wander(task->process);
	event.process = task->process->number;
	ptni_sim_tell(sim, &event);
	task->doze_ns = 0;
	task->woken = false;
	task->running = true;
	sim->current = task->process;
	sim->task = task;
	alive = ptni_fiber_resume(task->fiber);
	sim->task = NULL;
	sim->current = NULL;
	task->running = false;
	task->busy_until_ns = sim->now_ns + task->charge_ns;
	task->charge_ns = 0;
	task->ended = !alive;
	if (alive && !task->process->dead)
		task_next(task);
}

static void task_main(void *arg)
{
	struct ptni_sim_task *task = arg;

	task->fn(task->arg);
}

static void task_free(struct sim_object *object)
{
	free(object);
}

int ptni_sim_task_open(struct ptni_sim_process *process, const char *name, void (*fn)(void *arg),
		       void *arg, struct ptni_sim_task **task_out)
{
	struct ptni_sim_task *task = calloc(1, sizeof(*task));
	int ret;

	if (!task)
		return -ENOMEM;
	*task = (struct ptni_sim_task){ .process = process, .name = name, .fn = fn, .arg = arg };
	ret = ptni_fiber_create(process->pool, task_main, task, &task->fiber);
	if (ret) {
		free(task);
		return ret;
	}
	task->number = process->sim->tasks++;
	*process->tasks_end = task;
	process->tasks_end = &task->next;
	ptni_sim_object_add(process->sim, &task->object, task_free);
	task_schedule(task, process->sim->now_ns + cpu_delay(process->sim));
	if (task_out)
		*task_out = task;
	return 0;
}

static void task_wake(struct ptni_sim_task *task)
{
	struct ptni_sim *sim = task->process->sim;
	uint64_t when_ns;

	if (task->ended)
		return;
	task->backoff_ns = 0;
	task->woken = true;
	if (task->running)
		return;
	when_ns = sim->now_ns + cpu_delay(sim);
	if (when_ns < task->sleep_until_ns)
		when_ns = task->sleep_until_ns;
	if (when_ns < task->busy_until_ns)
		when_ns = task->busy_until_ns;
	if (when_ns < task->wake_ns)
		task_schedule(task, when_ns);
}

void ptni_sim_wake(struct ptni_sim_process *process)
{
	if (process->dead)
		return;
	for (struct ptni_sim_task *task = process->tasks; task; task = task->next)
		task_wake(task);
}

void ptni_sim_wake_poller(struct sim_nic *nic, uint32_t cq_index)
{
	struct ptni_sim_task *task = cq_index < nic->pollers ? nic->poller[cq_index] : NULL;

	if (!task || !sim_paced(nic->sim))
		ptni_sim_wake(nic->process);
	else if (!nic->process->dead)
		task_wake(task);
}

void ptni_sim_charge(uint64_t span_ns)
{
	struct ptni_sim *sim = ptni_sim_current();

	if (sim && sim->task)
		sim->task->charge_ns += span_ns;
}

uint64_t ptni_sim_cpu_now_ns(const struct ptni_sim *sim)
{
	return sim->now_ns + (sim->task ? sim->task->charge_ns : 0);
}

void ptni_sim_sleep(uint64_t span_ns)
{
	struct ptni_sim *sim = ptni_sim_current();
	struct ptni_sim_task *task = sim->task;
	uint64_t until_ns = ptni_sim_cpu_now_ns(sim) + span_ns;

	task->sleep_until_ns = until_ns;
	while (sim->now_ns < until_ns)
		ptni_fiber_suspend();
}

void ptni_sim_doze(uint64_t span_ns)
{
	struct ptni_sim_task *task = ptni_sim_current()->task;

	task->doze_ns = task->charge_ns + (span_ns ? span_ns : 1);
	ptni_fiber_suspend();
}

bool ptni_sim_task_ended(const struct ptni_sim_task *task)
{
	return task->ended;
}

/* ---- death and sleep */

void ptni_sim_enter(const struct ptni_sim_process *process)
{
	while (__builtin_expect(process->dead && process->sim->current == process, 0)) {
		assert(ptni_fiber_current());
		ptni_fiber_suspend();
	}
}

void ptni_sim_kill(struct ptni_sim_process *process, enum ptni_sim_death how, bool silent)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_PROCESS_KILL,
					.process = process->number,
					.len = how };

	if (process->dead)
		return;
	process->dead = true;
	ptni_sim_tell(process->sim, &event);
	ptni_sim_nics_die(process, how);
	if (!silent)
		ptni_sim_channels_die(process);
}

void ptni_sim_kill_at(struct ptni_sim_process *process, uint64_t verbs, enum ptni_sim_death how,
		      bool silent)
{
	process->kill_at = verbs ? process->verbs + verbs : 0;
	process->kill_how = how;
	process->kill_silent = silent;
}

void ptni_sim_posted(struct ptni_sim_process *process)
{
	if (++process->verbs != process->kill_at)
		return;
	ptni_sim_kill(process, process->kill_how, process->kill_silent);
	ptni_sim_enter(process);
}

uint64_t ptni_sim_verbs(const struct ptni_sim_process *process)
{
	return process->verbs;
}

bool ptni_sim_dead(const struct ptni_sim_process *process)
{
	return process->dead;
}

void ptni_sim_pause(struct ptni_sim_process *process, uint64_t span_ns)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_PROCESS_PAUSE,
					.process = process->number,
					.len = span_ns };

	process->paused_until_ns = process->sim->now_ns + span_ns;
	ptni_sim_tell(process->sim, &event);
}
