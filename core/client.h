/* SPDX-License-Identifier: MIT */
/* Inside of a client: what its sessions, workers and keeper share. */
#ifndef PTNI_CLIENT_H
#define PTNI_CLIENT_H

#include "core/session.h"
#include "core/worker_state.h"

enum {
	PTNI_HOOKS_MAX = 64,
	PTNI_FINISHERS_MAX = 4,
	PTNI_KEEPER_WORKER = 0,
};

struct ptni_keeper;

struct ptni_hook {
	int (*fn)(void *arg, struct ptn_worker *worker, unsigned node);
	void *arg;
	int (*removed_fn)(void *arg, struct ptn_worker *worker, unsigned node);
	unsigned running;
};

struct ptni_finisher {
	void (*fn)(void *arg, struct ptn_worker *keeper, uint64_t deadline_ns);
	void *arg;
};

struct ptn_client {
	/* read by every operation */
	_Alignas(64) _Atomic uint64_t epoch_local; /* epoch.c */
	_Atomic int error; /* no session is left */

	_Alignas(64) struct ptni_clock *clock;
	struct ptni_fabric *fabric;
	bool fabric_owned;
	bool pin_fenced; /* no membarrier(2): operations pin with a locked instruction */
	struct ibv_pd *pd;
	struct ptn_client_options options;
	char *credentials;
	uint64_t seed;
	unsigned lanes; /* per worker and node */
	unsigned node_count;
	unsigned workers_max;
	struct ptni_session *session[PTNI_NODES_MAX];
	struct ptni_keeper *keeper;

	pthread_mutex_t lock; /* the rest; control path only, never across a wait */
	struct ptn_worker *worker[PTNI_WORKERS_MAX]; /* [0]: the keeper's */
	bool worker_taken[PTNI_WORKERS_MAX];
	unsigned workers;
	struct ptni_hook hook[PTNI_HOOKS_MAX];
	struct ptni_finisher finisher[PTNI_FINISHERS_MAX];
	pthread_cond_t hook_ended; /* with lock: one that ran has returned */
	struct ptni_attachment attachment[PTNI_ATTACHMENTS_MAX];
};

/* The keeper's thread is to look around now: a lane drained, garbage waits. Any thread. */
void ptni_client_wake_keeper(struct ptn_client *client);

#endif
