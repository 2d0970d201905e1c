/* SPDX-License-Identifier: MIT */
/* A memory node inside this process: exports RAM, grants, expires and revokes permission, nothing else. */
#ifndef PATRONUS_NODE_H
#define PATRONUS_NODE_H

#include <patronus/export.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ptn_node;

/* Zero means the default given. `size` is sizeof(struct ptn_node_options). */
struct ptn_node_options {
	uint32_t size;
	uint32_t allow_unprotected; /* serve clients that ask for no protection (benchmarks); default no */
	size_t memory_bytes; /* exported; default 256 MiB; at least 1 MiB */
	const char *credentials; /* clients must present the same bytes; default none needed */
	uint64_t term_ns; /* of a session's lease when the client names none; default 500 ms */
	uint64_t term_max_ns; /* default 1 h */
	uint64_t epoch_min_ns; /* least time between reclamation epochs; default 5 ms */
	/* limits of one session */
	uint64_t session_bytes_max; /* default: all memory */
	uint32_t session_workers_max; /* default 64 */
	uint32_t session_windows_max; /* default 65536, over all its lanes; an eighth, 64 at most, for its keeper */
	uint32_t session_leases_max; /* default 255 */
	uint32_t session_requests_per_s; /* default 200000 */
	uint32_t sessions_max; /* default 256 */
	uint32_t drift_ppm; /* bound on clock drift assumed; default 500 */
	uint32_t extent_shift; /* log2 of an extent's bytes; default 24, less for small nodes */
	uint32_t reserved;
};

struct ptn_session_info {
	uint32_t id;
	uint32_t epoch;
	int32_t pid; /* 0 when not known */
	uint32_t fenced;
	uint32_t workers, lanes, windows, leases;
	uint64_t bytes;
	uint64_t lease_left_ns;
	uint64_t requests;
};

struct ptn_node_info {
	uint64_t memory_bytes, memory_used_bytes; /* used: extents handed out */
	uint32_t sessions, lanes, windows, leases;
	uint64_t epoch, horizon;
	uint64_t grants, binds, invalidations, expirations, revocations, fences, refusals;
};

/*
 * Open a node on `address` and start its control thread: "inproc:NAME" for clients of this process, "shm:PATH" for
 * those of this host, "verbs:DEVICE,PATH" on an RDMA device (an empty DEVICE is the first one); PATH is the Unix
 * socket that clients name.
 * Threads: any. Errors: -EINVAL (options, address), -EADDRINUSE, -ENOMEM, -E2BIG (options from a
 * newer header with members this library does not know); with verbs also -ENODEV.
 */
PTN_API int ptn_node_open(const char *address, const struct ptn_node_options *options,
			  struct ptn_node **node_out);
/* Fence and end all sessions, stop, free. Clients see PTN_E_NODE_DOWN. NULL is fine. */
PTN_API void ptn_node_close(struct ptn_node *node);

/* Up to `capacity` sessions; returns how many there are. Threads: any. */
PTN_API int ptn_node_sessions(struct ptn_node *node, struct ptn_session_info *sessions,
			      size_t capacity);
/* End a session at once: its windows become invalid, its memory is freed or adopted. -ENOENT. */
PTN_API int ptn_node_session_end(struct ptn_node *node, uint32_t id);
PTN_API int ptn_node_info(struct ptn_node *node, struct ptn_node_info *info_out);

#ifdef __cplusplus
}
#endif
#endif
