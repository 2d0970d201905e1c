/* SPDX-License-Identifier: MIT */
/* A process that uses remote memory: one client, a session with each node, one worker per thread. */
#ifndef PATRONUS_CLIENT_H
#define PATRONUS_CLIENT_H

#include <patronus/counters.h>
#include <patronus/error.h>
#include <patronus/export.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ptn_client;
struct ptn_worker;

/* Zero means the default given. */
struct ptn_client_options {
	uint32_t size; /* sizeof(struct ptn_client_options) */
	uint32_t unprotected; /* use the region's own key: no windows, no leases (benchmarks); default no */
	const char *credentials;
	uint64_t term_ns; /* of the session's lease; default: the node's */
	uint64_t connect_timeout_ns; /* default 5 s */
	uint64_t op_timeout_ns; /* no operation waits longer; default and most: 3/4 of the term */
	uint32_t spare_lanes; /* per worker and node, 1..3; default 1 (UINT32_MAX = none) */
	uint32_t manual_keeper; /* no thread: the application calls ptn_client_keep often; default no */
	uint64_t seed; /* of back-off jitter; default from the clock */
};

/*
 * Connect to `count` nodes (1..64), whose addresses share a scheme.
 * Errors: -EINVAL, -ECONNREFUSED nobody there, PTN_E_REFUSED credentials, PTN_E_ATTEMPTS too many wrong
 * ones lately (the node waits for 0.1 s to 10 s after the ninth and each later one of a process),
 * PTN_E_VERSION, -ETIMEDOUT.
 * Threads: any.
 */
PTN_API int ptn_client_open(const char *const *addresses, size_t count,
			    const struct ptn_client_options *options,
			    struct ptn_client **client_out);
/* -EBUSY while a worker is open. NULL is fine. */
PTN_API int ptn_client_close(struct ptn_client *client);
/* One turn of the keeper, for manual_keeper. Returns when it wants to be called again, in ns from now. */
PTN_API uint64_t ptn_client_keep(struct ptn_client *client);

/*
 * Threads: any may open one; then one thread at a time uses it. Nodes that the client has lost do not hinder it:
 * operations there give PTN_E_NODE_DOWN or why else the session ended, those on other nodes work. A lost
 * node stays lost to this client, also when it is up again: open another client.
 */
PTN_API int ptn_worker_open(struct ptn_client *client, struct ptn_worker **worker_out);
PTN_API void ptn_worker_close(struct ptn_worker *worker);
/* What this worker did so far (see counters.h). Threads: any. */
PTN_API void ptn_worker_counters(struct ptn_worker *worker, struct ptn_counters *counters_out);
/* The cause of the worker's last error, in more detail than its code. */
PTN_API void ptn_worker_cause(const struct ptn_worker *worker, struct ptn_cause *cause_out);

#ifdef __cplusplus
}
#endif
#endif
