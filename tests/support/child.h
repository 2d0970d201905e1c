/* SPDX-License-Identifier: MIT */
/*
 * Processes that a test starts. They end with the test, however that ends: a failed test kills them in its teardown
 * (`children_end`), and one that is killed itself takes them along. Nobody waits for one without bound: what
 * is not there in time is shown as far as /proc tells, killed, and the test fails.
 */
#ifndef TESTS_CHILD_H
#define TESTS_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	CHILDREN_MAX = 64,
	CHILD_PATIENCE_MS = 60000, /* for what takes no time on a machine that has some */
};

static pid_t child_pids[CHILDREN_MAX];

static inline pid_t *child_place(pid_t pid)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (child_pids[i] == pid)
			return &child_pids[i];
	fail_msg("%s", pid ? "no such child" : "too many children");
	return NULL;
}

/* As fork(2), but for the child's end. */
static inline pid_t child_fork(void)
{
	pid_t *place = child_place(0), parent = getpid(), pid = fork();

	if (pid < 0)
		fail_msg("no process");
	if (!pid && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent))
		_exit(126);
	if (pid > 0)
		*place = pid;
	return pid;
}

/* This program once more, with these arguments. */
static inline pid_t child_start(char *const argv[])
{
	pid_t pid = child_fork();

	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	return pid;
}

static inline void child_show_file(pid_t pid, const char *task, const char *name)
{
	char path[320], text[512];
	FILE *file;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", (int)pid, task, name);
	file = fopen(path, "re");
	if (!file)
		return;
	len = fread(text, 1, sizeof(text) - 1, file);
	text[len] = 0;
	print_message("  %s %s: %s%s", task, name, text, len && text[len - 1] == '\n' ? "" : "\n");
	(void)fclose(file);
}

/* Where its threads are. */
static inline void child_show(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		child_show_file(pid, entry->d_name, "stat");
		child_show_file(pid, entry->d_name, "wchan");
		child_show_file(pid, entry->d_name, "syscall");
	}
	if (dir)
		(void)closedir(dir);
}

static inline void child_forget(pid_t *place)
{
	(void)kill(*place, SIGKILL); /* also when it is stopped */
	(void)waitpid(*place, NULL, 0);
	*place = 0;
}

/* How it ended, or with WUNTRACED was stopped, as waitpid(2) says. */
static inline int child_wait_for(pid_t pid, int options)
{
	pid_t *place = child_place(pid);
	int status;

	for (unsigned ms = 0; ms < CHILD_PATIENCE_MS; ms++) {
		if (waitpid(pid, &status, options | WNOHANG) == pid) {
			if (!WIFSTOPPED(status))
				*place = 0;
			return status;
		}
		(void)poll(NULL, 0, 1);
	}
	child_show(pid);
	child_forget(place);
	fail_msg("process %d does not end", (int)pid);
	return 0;
}

static inline int child_wait(pid_t pid)
{
	return child_wait_for(pid, 0);
}

/* Kill it; true if that was what ended it. */
static inline bool child_kill(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	status = child_wait(pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* Teardown of each test that starts some. */
static inline int children_end(void **state)
{
	for (unsigned i = 0; i < CHILDREN_MAX; i++)
		if (child_pids[i])
			child_forget(&child_pids[i]);
	return 0;
}

#endif
