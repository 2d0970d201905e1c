/* SPDX-License-Identifier: MIT */
/*
 * A sign of life that costs its readers one load: a word in the segment that the kernel changes when
 * the process dies, however it dies.
 *
 * The keeper is a thread that does nothing but hold that word as a robust futex: its value is the
 * thread's id, and the thread's robust list (set_robust_list(2)) names it. When the process exits, is
 * killed, or executes another program, the kernel sets FUTEX_OWNER_DIED in it before anybody can
 * learn of the death otherwise. Closing the NIC takes the word off the list first.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(SEGMENT_OWNER_DIED == FUTEX_OWNER_DIED, "the kernel's bit");

enum {
	KEEPER_STACK_BYTES = 256 << 10
};

struct soft_keeper {
	pthread_t thread;
	sem_t ready;
	int stop_fd;
	_Atomic uint32_t *word;
	struct robust_list_head head;
	struct robust_list node;
};

static void *keeper_main(void *arg)
{
	struct soft_keeper *keeper = arg;
	struct pollfd pollfd = { .fd = keeper->stop_fd, .events = POLLIN };

	keeper->node.next = &keeper->head.list;
	keeper->head.list.next = &keeper->node;
	keeper->head.futex_offset = (long)((uintptr_t)keeper->word - (uintptr_t)&keeper->node);
	atomic_store(keeper->word, (uint32_t)gettid());
	syscall(SYS_set_robust_list, &keeper->head, sizeof(keeper->head));
	sem_post(&keeper->ready);
	while (poll(&pollfd, 1, -1) < 0)
		; /* signals are blocked, but a debugger may interrupt it */
	keeper->head.list.next = &keeper->head.list;
	atomic_store(keeper->word, 0);
	return NULL;
}

/* A thread without signals: they are the application's. */
static int thread_start(struct soft_keeper *keeper)
{
	pthread_attr_t attr;
	sigset_t all;
	sigset_t old;
	int rc;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, KEEPER_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&keeper->thread, &attr, keeper_main, keeper);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

int ptni_soft_keeper_start(struct segment *segment, struct soft_keeper **keeper_out)
{
	struct soft_keeper *keeper = calloc(1, sizeof(*keeper));
	int rc;

	if (!keeper)
		return -ENOMEM;
	keeper->word = &segment->header.keeper;
	keeper->stop_fd = eventfd(0, EFD_CLOEXEC);
	rc = keeper->stop_fd < 0 ? -errno : 0;
	sem_init(&keeper->ready, 0, 0);
	rc = rc ? rc : thread_start(keeper);
	if (rc) {
		if (keeper->stop_fd >= 0)
			close(keeper->stop_fd);
		free(keeper);
		return rc;
	}
	while (sem_wait(&keeper->ready))
		;
	*keeper_out = keeper;
	return 0;
}

void ptni_soft_keeper_stop(struct soft_keeper *keeper)
{
	uint64_t one = 1;

	if (!keeper)
		return;
	while (write(keeper->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(keeper->thread, NULL);
	close(keeper->stop_fd);
	sem_destroy(&keeper->ready);
	free(keeper);
}
