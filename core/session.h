/* SPDX-License-Identifier: MIT */
/*
 * Client side of a session with one node: its channel, its lease, what the keeper knows about it.
 *
 * 1. deadline_ns and error are atomics written by whoever learns of a change and read by every worker.
 *    error is set once and never cleared; deadline_ns is 0 from then on.
 * 2. The channel, and lanes that belong to control (lane.h), are touched under `control` only. It is held
 *    for moments, never across a wait; a worker that waits for a lane only tries it.
 */
#ifndef PTNI_SESSION_H
#define PTNI_SESSION_H

#include "core/worker.h"

#include <pthread.h>

struct ptni_lane;

struct ptni_session {
	struct ptn_client *client;
	uint16_t node; /* index in the client */
	struct ptni_welcome welcome;
	uint64_t hello_ns; /* before the hello was sent: the lease counts from here */
	char *address;

	_Alignas(64) _Atomic uint64_t deadline_ns;
	_Atomic int error;

	_Alignas(64) pthread_mutex_t control;
	struct ptni_channel *channel; /* NULL once closed */
	struct ptni_lane *lane[PTNI_WORKERS_MAX][PTNI_LANES_MAX];
	bool worker_closing[PTNI_WORKERS_MAX]; /* LANE_CLOSE of all lanes is on its way */
	bool goodbye; /* we said so */
	bool ended; /* the node said so */
	uint64_t malformed; /* messages that made no sense */

	/* reclamation epochs: written by the keeper, read by all */
	_Atomic uint64_t epoch, horizon, reported;
	/* written by whoever has garbage */
	_Atomic uint64_t garbage_bytes;
	_Atomic uint64_t want_horizon; /* the horizon that is waited for */
	_Atomic uint64_t undone; /* times that an operation left something for the hooks */

	/* the keeper's own */
	struct ptni_lease lease;
	uint64_t term_ns;
	uint64_t silence_ns; /* of the node, on top of some terms, before it counts as down */
	uint64_t extend_ns; /* next extension */
	uint64_t poll_ns; /* next look at the epoch */
	uint64_t want; /* as last written to the page */
	uint64_t vouched; /* epoch as last written to the page */
	bool extending, polling; /* a fiber of the keeper is at it */
};

/* Dial and shake hands. -ECONNREFUSED, PTN_E_VERSION, PTN_E_REFUSED, -ETIMEDOUT, ... */
int ptni_session_open(struct ptn_client *client, unsigned node, const char *address,
		      uint64_t deadline_ns, struct ptni_session **session_out);
/* Says goodbye if there is still somebody to hear it. Its lanes must be gone. */
void ptni_session_close(struct ptni_session *session);

/* The session is over: every operation on it gets `error` from now on. Any thread, the first one counts. */
void ptni_session_fail(struct ptni_session *session, int error, const char *why);
static inline int ptni_session_error(struct ptni_session *session)
{
	return atomic_load_explicit(&session->error, memory_order_acquire);
}

/* Control lock held: -EAGAIN no room now, try in the next step. */
int ptni_session_send(struct ptni_session *session, const void *message, size_t len_bytes);
/* Control lock held: take what came on the channel. */
void ptni_session_pump(struct ptni_session *session);
/* If the control lock is free: pump, and advance this worker's lanes (NULL: all). */
void ptni_session_drive(struct ptni_session *session, struct ptn_worker *worker);

#endif
