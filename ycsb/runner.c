/* SPDX-License-Identifier: MIT */
#include "ycsb/runner.h"

#include "ycsb/client.h"
#include "ycsb/progress.h"
#include "ycsb/time.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct thread {
	_Alignas(64) struct ycsb_client client;
	struct run *run;
	uint32_t idx;
	uint64_t op_max; /* 0: no limit */
	_Alignas(64) _Atomic uint64_t op_cnt;
	pthread_t handle;
	uint64_t cpu_ns; /* of its operations; set when it is done */
	int error; /* why it did not start, or why it stopped loading */
};

/* Threads first all open their workers, then wait until the main thread lets them go. */
struct run {
	struct ycsb_session *session;
	enum ycsb_phase phase;
	uint64_t tick_ns; /* between the operations of a thread; 0: no schedule */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint32_t ready_cnt, done_cnt;
	bool go;
	uint32_t thread_cnt, started_cnt;
	struct thread *threads;
};

static _Atomic bool *_Atomic interrupt_flag;
static _Atomic bool interrupted;

void ycsb_phase_interrupt(void)
{
	_Atomic bool *flag = atomic_load(&interrupt_flag);

	atomic_store(&interrupted, true);
	if (flag != NULL)
		atomic_store(flag, true);
}

static int operate(struct thread *thread)
{
	struct ycsb_client *client = &thread->client;
	struct ycsb_workload *workload = thread->run->session->workload;
	uint64_t tick_ns = thread->run->tick_ns, start_ns = ycsb_now_ns(), done = 0;
	bool load = thread->run->phase == YCSB_LOAD;
	int error = 0;

	/* Threads of a slow schedule spread over one tick, so that they do not all come at once. */
	if (tick_ns >= 1000000)
		start_ns += ptni_rng_below(&client->stream.random, tick_ns);
	if (!ycsb_sleep_until(start_ns, &workload->stop))
		return 0;
	while ((thread->op_max == 0 || done < thread->op_max) &&
	       !atomic_load_explicit(&workload->stop, memory_order_relaxed)) {
		uint64_t count;

		if (!load && client->lot != NULL) {
			error = ycsb_client_transact_lot(
				client, thread->op_max == 0 ? UINT64_MAX : thread->op_max - done,
				&count);
		} else {
			error = load ? ycsb_client_load(client) : ycsb_client_transact(client);
			count = error == 0;
		}
		done += count;
		atomic_store_explicit(&thread->op_cnt, done, memory_order_relaxed);
		if (error != 0)
			break;
		if (tick_ns == 0)
			continue;
		client->scheduled_ns = start_ns + done * tick_ns;
		if (!ycsb_sleep_until(client->scheduled_ns, &workload->stop))
			break;
	}
	client->scheduled_ns = 0;
	return error == -ECANCELED ? 0 : error;
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

static int thread_open(struct thread *thread)
{
	struct ycsb_session *session = thread->run->session;
	int error;

	thread->client.ops = session->ops;
	error = ycsb_stream_init(&thread->client.stream, session->workload, thread->run->phase,
				 thread->idx);

	if (error == 0)
		error = ycsb_measure_init(&thread->client.measure,
					  (unsigned int)session->config->interval);
	if (error == 0)
		error = session->ops->worker_open(session->store, thread->idx,
						  &thread->client.worker);
	if (error == 0)
		error = ycsb_lot_open(&thread->client, (uint32_t)session->config->depth);
	return error;
}

static void thread_close(struct thread *thread)
{
	struct ycsb_client *client = &thread->client;
	uint64_t start_ns = ycsb_now_ns();

	if (client->worker == NULL)
		return;
	client->ops->worker_close(client->worker);
	ycsb_measure_record(&client->measure, YCSB_METRIC_CLEANUP, YCSB_STATUS_OK, 0, start_ns,
			    ycsb_now_ns());
}

static void *thread_main(void *argument)
{
	struct thread *thread = argument;
	struct run *run = thread->run;
	bool go;

	thread->error = thread_open(thread);
	pthread_mutex_lock(&run->lock);
	run->ready_cnt++;
	pthread_cond_broadcast(&run->changed);
	while (!run->go)
		pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
	go = !atomic_load(&run->session->workload->stop);
	if (go && thread->error == 0) {
		uint64_t start_ns = thread_cpu_ns();

		thread->error = operate(thread);
		thread->cpu_ns = thread_cpu_ns() - start_ns;
	}
	/* One thread that cannot go on ends the phase: the others' numbers would mean nothing. */
	if (thread->error != 0)
		atomic_store(&run->session->workload->stop, true);
	pthread_mutex_lock(&run->lock);
	run->done_cnt++;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
	thread_close(thread);
	return NULL;
}

static uint64_t planned_ops(const struct run *run)
{
	const struct ycsb_config *config = run->session->config;

	return (uint64_t)(run->phase == YCSB_LOAD ? ycsb_config_load_cnt(config) :
						    config->operation_cnt);
}

static int threads_start(struct run *run)
{
	uint64_t planned = planned_ops(run);

	for (uint32_t i = 0; i < run->thread_cnt; i++) {
		struct thread *thread = &run->threads[i];
		int error;

		thread->run = run;
		thread->idx = i;
		thread->op_max = planned / run->thread_cnt + (i < planned % run->thread_cnt);
		error = pthread_create(&thread->handle, NULL, thread_main, thread);
		if (error != 0)
			return -error;
		run->started_cnt++;
	}
	return 0;
}

/* Waits for `*counter` to reach the started threads, at most until the time; true if it did. */
static bool wait_until(struct run *run, const uint32_t *counter, uint64_t time_ns)
{
	struct timespec until = { (time_t)(time_ns / 1000000000), (long)(time_ns % 1000000000) };
	bool reached;

	pthread_mutex_lock(&run->lock);
	while (*counter < run->started_cnt &&
	       pthread_cond_timedwait(&run->changed, &run->lock, &until) == 0)
		;
	reached = *counter == run->started_cnt;
	pthread_mutex_unlock(&run->lock);
	return reached;
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t progress_sample(struct run *run, struct ycsb_measure *total)
{
	uint64_t done = 0;

	for (uint32_t i = 0; i < run->started_cnt; i++) {
		done += atomic_load_explicit(&run->threads[i].op_cnt, memory_order_relaxed);
		if (total != NULL)
			ycsb_measure_add(total, &run->threads[i].client.measure);
	}
	return done;
}

/* Until all are done: status lines, and the end of time. */
static void supervise(struct run *run, struct ycsb_progress *progress)
{
	const struct ycsb_config *config = run->session->config;
	_Atomic bool *stop = &run->session->workload->stop;
	uint64_t start_ns = monotonic_ns(), end_ns = UINT64_MAX;
	uint64_t interval_ns = ycsb_progress_interval_ns(progress),
		 next_ns = start_ns + interval_ns;

	if (config->execution_max_s != 0)
		end_ns = start_ns + (uint64_t)config->execution_max_s * 1000000000;
	while (!wait_until(run, &run->done_cnt, next_ns < end_ns ? next_ns : end_ns)) {
		uint64_t now_ns = monotonic_ns();

		if (now_ns >= end_ns) {
			atomic_store(stop, true);
			end_ns = UINT64_MAX;
		}
		if (now_ns < next_ns)
			continue;
		next_ns += interval_ns;
		ycsb_measure_clear(&progress->now);
		ycsb_progress_show(progress, progress_sample(run, &progress->now),
				   now_ns - start_ns);
	}
}

static int first_failure(struct run *run, struct ycsb_message *why_out)
{
	const struct ycsb_store_ops *ops = run->session->ops;

	for (uint32_t i = 0; i < run->started_cnt; i++) {
		int error = run->threads[i].error;

		if (error == 0 || run->threads[i].client.worker != NULL)
			continue;
		ycsb_message_set(why_out, "thread %u cannot start: %s", i,
				 error == -ENOMEM ? "out of memory" : ops->error_text(error));
		return error;
	}
	return 0;
}

static void collect_counters(struct run *run, struct ycsb_result *result,
			     const struct ycsb_counter *before, size_t before_cnt)
{
	const struct ycsb_session *session = run->session;

	if (session->ops->counters == NULL)
		return;
	result->counter_cnt =
		session->ops->counters(session->store, result->counters, YCSB_COUNTERS_MAX);
	for (size_t i = 0; i < result->counter_cnt && i < before_cnt; i++) {
		if (!result->counters[i].gauge)
			result->counters[i].value -= before[i].value;
	}
}

static int collect(struct run *run, struct ycsb_result *result)
{
	int error =
		ycsb_measure_init(&result->measure, (unsigned int)run->session->config->interval);

	result->op_cnt = progress_sample(run, error == 0 ? &result->measure : NULL);
	for (uint32_t i = 0; i < run->started_cnt; i++) {
		const struct ycsb_client *client = &run->threads[i].client;

		result->cpu_ns += run->threads[i].cpu_ns;
		if (client->first_error != 0 &&
		    (result->first_error == 0 || result->first_error == -ENOENT)) {
			result->first_error = client->first_error;
			result->first_error_metric = client->first_error_metric;
		}
	}
	return error;
}

static int run_init(struct run *run)
{
	const struct ycsb_config *config = run->session->config;
	uint64_t planned = planned_ops(run);
	pthread_condattr_t attributes;

	run->thread_cnt = (uint32_t)config->thread_cnt;
	if (planned != 0 && run->thread_cnt > planned)
		run->thread_cnt = (uint32_t)planned;
	if (config->target_ops != 0)
		run->tick_ns = (uint64_t)(1e9 * run->thread_cnt / (double)config->target_ops);
	run->threads = aligned_alloc(64, run->thread_cnt * sizeof(*run->threads));
	if (run->threads == NULL)
		return -ENOMEM;
	memset(run->threads, 0, run->thread_cnt * sizeof(*run->threads));
	pthread_mutex_init(&run->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&run->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return 0;
}

static void run_fini(struct run *run)
{
	for (uint32_t i = 0; i < run->thread_cnt; i++) {
		ycsb_lot_close(&run->threads[i].client);
		ycsb_stream_fini(&run->threads[i].client.stream);
		ycsb_measure_fini(&run->threads[i].client.measure);
	}
	pthread_cond_destroy(&run->changed);
	pthread_mutex_destroy(&run->lock);
	free(run->threads);
}

static void let_go(struct run *run, bool go)
{
	if (!go)
		atomic_store(&run->session->workload->stop, true);
	pthread_mutex_lock(&run->lock);
	run->go = true;
	pthread_cond_broadcast(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

/* Start, supervise, join; the threads' results stay in run->threads. */
static int run_threads(struct run *run, struct ycsb_result *result, struct ycsb_progress *progress,
		       struct ycsb_message *why_out)
{
	int error = threads_start(run);
	uint64_t start_ns;

	if (error != 0)
		ycsb_message_set(why_out, "cannot start %u threads: %s; lower -threads",
				 run->thread_cnt, strerror(-error));
	while (!wait_until(run, &run->ready_cnt, monotonic_ns() + 1000000000))
		;
	for (uint32_t i = 0; i < run->started_cnt && error == 0; i++)
		error = run->threads[i].error;
	let_go(run, error == 0);
	start_ns = monotonic_ns();
	supervise(run, progress);
	result->runtime_ns = monotonic_ns() - start_ns;
	for (uint32_t i = 0; i < run->started_cnt; i++)
		pthread_join(run->threads[i].handle, NULL);
	if (run->started_cnt == run->thread_cnt)
		error = first_failure(run, why_out);
	ycsb_progress_end(progress);
	return error;
}

static int run_phase(struct run *run, struct ycsb_result *result, struct ycsb_message *why_out)
{
	const struct ycsb_session *session = run->session;
	struct ycsb_counter before[YCSB_COUNTERS_MAX];
	struct ycsb_progress progress;
	size_t before_cnt = 0;
	int error;

	if (session->ops->counters != NULL)
		before_cnt = session->ops->counters(session->store, before, YCSB_COUNTERS_MAX);
	error = ycsb_progress_init(&progress, session, run->phase, planned_ops(run));
	if (error == 0)
		error = run_threads(run, result, &progress, why_out);
	if (error == 0) {
		error = collect(run, result);
		collect_counters(run, result, before, before_cnt);
	}
	ycsb_progress_fini(&progress);
	return error;
}

int ycsb_phase_run(struct ycsb_session *session, enum ycsb_phase phase,
		   struct ycsb_result *result_out, struct ycsb_message *why_out)
{
	struct run run = { .session = session, .phase = phase };
	struct ycsb_result result = { .phase = phase };
	int error = run_init(&run);

	if (error != 0) {
		ycsb_message_set(why_out, "out of memory for %u threads; lower -threads",
				 run.thread_cnt);
		return error;
	}
	ycsb_message_set(why_out, "out of memory");
	atomic_store(&interrupt_flag, &session->workload->stop);
	atomic_store(&session->workload->stop, atomic_load(&interrupted));
	error = run_phase(&run, &result, why_out);
	atomic_store(&interrupt_flag, NULL);
	result.interrupted = atomic_load(&interrupted);
	result.thread_cnt = run.thread_cnt;
	run_fini(&run);
	if (error != 0)
		ycsb_result_fini(&result);
	else
		*result_out = result;
	return error;
}

void ycsb_result_fini(struct ycsb_result *result)
{
	ycsb_measure_fini(&result->measure);
}

uint64_t ycsb_result_failed(const struct ycsb_result *result)
{
	uint64_t failed = 0;

	for (int metric = 0; metric < YCSB_METRIC_CNT; metric++)
		failed += ycsb_measure_failed(&result->measure, (enum ycsb_metric)metric);
	return failed;
}
