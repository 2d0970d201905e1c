/* SPDX-License-Identifier: MIT */
#include "tests/sim/runner.h"

#include "core/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CHILD_ITEMS = 64,
	PATIENCE_S = 60, /* of one run, of CPU time */
	JOBS_MAX = 64,
};
#define SAY_NS      UINT64_C(10000000000)
#define PATIENCE_NS UINT64_C(900000000000) /* of one run, by the wall: the machine may be busy */

struct message {
	uint64_t item;
	struct world_result result;
};

struct job {
	pid_t pid; /* 0: none */
	int fd;
	uint64_t first, count, next; /* `next`: not told about yet */
	uint64_t heard_ns;
};

struct state {
	const struct runner *runner;
	struct runner_sum *sum;
	struct job job[JOBS_MAX];
	uint64_t next, end_ns, said_ns, start_ns;
	bool stop;
};

static bool write_whole(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len) {
		ssize_t put = write(fd, at, len);

		if (put <= 0)
			return false;
		at += put;
		len -= (size_t)put;
	}
	return true;
}

static void child(const struct runner *runner, const struct job *job, int fd)
{
	const struct itimerval patience = { .it_value = { .tv_sec = PATIENCE_S } };

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint64_t i = 0; i < job->count; i++) {
		struct message message = { .item = job->first + i };

		(void)setitimer(ITIMER_PROF, &patience, NULL); /* its signal ends us */
		runner->run(runner->arg, message.item, &message.result);
		if (!write_whole(fd, &message, sizeof(message)))
			break;
	}
	_exit(0);
}

static bool work_left(const struct state *state)
{
	if (state->stop)
		return false;
	if (state->runner->count)
		return state->next < state->runner->first + state->runner->count;
	return ptni_clock_now_ns() < state->end_ns;
}

static int job_start(struct state *state, struct job *job)
{
	const struct runner *runner = state->runner;
	uint64_t left = runner->count ? runner->first + runner->count - state->next : CHILD_ITEMS;
	int fd[2];

	*job = (struct job){ .first = state->next,
			     .next = state->next,
			     .count = left < CHILD_ITEMS ? left : CHILD_ITEMS,
			     .heard_ns = ptni_clock_now_ns() };
	if (pipe(fd))
		return -errno;
	fflush(stdout);
	job->pid = fork();
	if (job->pid < 0)
		return -errno;
	if (!job->pid) {
		close(fd[0]);
		child(runner, job, fd[1]);
	}
	close(fd[1]);
	job->fd = fd[0];
	state->next += job->count;
	return 0;
}

static void took(struct state *state, uint64_t item, const struct world_result *result)
{
	struct runner_sum *sum = state->sum;

	sum->runs++;
	sum->events += result->events;
	sum->ops += result->ops;
	sum->kills += result->kills;
	sum->lives += result->lives;
	sum->errors += result->errors;
	sum->fences += result->fences;
	sum->refusals += result->refusals;
	sum->lane_breaks += result->lane_breaks;
	sum->lane_recoveries += result->lane_recoveries;
	sum->unknown += result->unknown;
	sum->grown += result->splits > 1;
	if (result->failed && !sum->failed) {
		sum->failed = true;
		sum->failed_item = item;
		sum->failure = *result;
	}
	if (state->runner->took ? !state->runner->took(state->runner->arg, item, result) :
				  result->failed)
		state->stop = true;
}

/* The child ended, or was ended: the item it was at is the finding. */
static void job_end(struct state *state, struct job *job, const char *why)
{
	struct world_result result = { .failed = true };
	int status = 0;

	(void)waitpid(job->pid, &status, 0);
	close(job->fd);
	job->pid = 0;
	if (job->next == job->first + job->count || state->stop)
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
		why = "it hangs: no result in a minute of CPU time";
	if (why)
		(void)snprintf(result.text, sizeof(result.text), "%s", why);
	else if (WIFSIGNALED(status))
		(void)snprintf(result.text, sizeof(result.text), "it crashed: %s",
			       strsignal(WTERMSIG(status)));
	else
		(void)snprintf(result.text, sizeof(result.text), "it ended with status %d",
			       WEXITSTATUS(status));
	took(state, job->next, &result);
}

static void job_read(struct state *state, struct job *job)
{
	struct message message;
	size_t len = 0;

	while (len < sizeof(message)) {
		ssize_t got = read(job->fd, (char *)&message + len, sizeof(message) - len);

		if (got <= 0) {
			job_end(state, job, NULL);
			return;
		}
		len += (size_t)got;
	}
	job->next = message.item + 1;
	job->heard_ns = ptni_clock_now_ns();
	if (!state->stop)
		took(state, message.item, &message.result);
}

static void jobs_wait(struct state *state)
{
	struct pollfd fds[JOBS_MAX];
	struct job *by_fd[JOBS_MAX];
	nfds_t count = 0;

	for (uint32_t i = 0; i < state->runner->jobs; i++)
		if (state->job[i].pid) {
			by_fd[count] = &state->job[i];
			fds[count++] = (struct pollfd){ .fd = state->job[i].fd, .events = POLLIN };
		}
	if (poll(fds, count, 1000) < 0)
		return;
	for (nfds_t i = 0; i < count; i++) {
		if (fds[i].revents) {
			job_read(state, by_fd[i]);
		} else if (ptni_clock_now_ns() - by_fd[i]->heard_ns > PATIENCE_NS) {
			(void)kill(by_fd[i]->pid, SIGKILL);
			job_end(state, by_fd[i], "it hangs: no result in a quarter of an hour");
		}
	}
}

static void say(struct state *state)
{
	uint64_t now_ns = ptni_clock_now_ns();
	double seconds = (double)(now_ns - state->start_ns) / 1e9;

	if (state->runner->quiet || now_ns - state->said_ns < SAY_NS)
		return;
	state->said_ns = now_ns;
	printf("%6.0f s: %llu worlds (%.0f a minute), %llu operations, %llu killed clients\n",
	       seconds, (unsigned long long)state->sum->runs,
	       (double)state->sum->runs * 60 / seconds, (unsigned long long)state->sum->ops,
	       (unsigned long long)state->sum->kills);
}

static void jobs_kill(struct state *state)
{
	for (uint32_t i = 0; i < state->runner->jobs; i++)
		if (state->job[i].pid) {
			(void)kill(state->job[i].pid, SIGKILL);
			job_end(state, &state->job[i], NULL);
		}
}

static bool any_job(const struct state *state)
{
	for (uint32_t i = 0; i < state->runner->jobs; i++)
		if (state->job[i].pid)
			return true;
	return false;
}

int runner_run(const struct runner *runner, struct runner_sum *sum_out)
{
	struct runner own = *runner;
	struct state state = { .runner = &own, .sum = sum_out, .next = runner->first };
	int ret = 0;

	own.jobs = own.jobs > JOBS_MAX ? JOBS_MAX : own.jobs;
	*sum_out = (struct runner_sum){ .runs = 0 };
	state.start_ns = state.said_ns = ptni_clock_now_ns();
	state.end_ns = state.start_ns + runner->seconds * 1000000000;
	do {
		for (uint32_t i = 0; i < own.jobs && !ret; i++)
			if (!state.job[i].pid && work_left(&state))
				ret = job_start(&state, &state.job[i]);
		if (!any_job(&state))
			break;
		jobs_wait(&state);
		say(&state);
		if (!own.count && ptni_clock_now_ns() >= state.end_ns)
			state.stop = true;
	} while (!state.stop && !ret);
	state.stop = true;
	jobs_kill(&state);
	sum_out->seconds = (double)(ptni_clock_now_ns() - state.start_ns) / 1e9;
	return ret;
}
