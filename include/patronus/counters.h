/* SPDX-License-Identifier: MIT */
/*
 * What a worker did so far, counted always: `struct ptn_counters` has one uint64_t of each name below.
 * ptn_worker_counters() (client.h) takes a snapshot; subtract two of them to see what happened
 * between. Each number is whole, all of them are taken at slightly different times. What a node
 * counts is told by ptn_node_info().
 */
#ifndef PATRONUS_COUNTERS_H
#define PATRONUS_COUNTERS_H

#include <patronus/export.h>

#include <stddef.h>
#include <stdint.h>

/* X(name, unit, help) */
#define PTN_COUNTER_TABLE(X)                                                                    \
	X(verbs_read, verbs, "RDMA READs posted")                                               \
	X(verbs_write, verbs, "RDMA WRITEs posted")                                             \
	X(verbs_cas, verbs, "compare-and-swaps posted")                                         \
	X(verbs_faa, verbs, "fetch-and-adds posted")                                            \
	X(verbs_send, verbs, "SENDs posted")                                                    \
	X(verbs_recv, verbs, "RECVs posted")                                                    \
	X(doorbells, calls, "post lists handed to the network card")                            \
	X(round_trips, trips, "times an operation waited for the network")                      \
	X(completions, completions, "work completions polled")                                  \
	X(polls_empty, calls, "polls that found no completion")                                 \
	X(bytes_read, bytes, "payload of READs and atomics, towards the client")                \
	X(bytes_written, bytes, "payload of WRITEs, atomics and SENDs, away from the client")   \
	X(ops_get, operations, "gets completed")                                                \
	X(ops_put, operations, "puts, inserts and updates completed")                           \
	X(ops_delete, operations, "deletes completed")                                          \
	X(ops_scan, operations, "scans completed")                                              \
	X(ops_failed, operations, "operations that ended in an error other than an absent key") \
	X(retries_conflict, retries, "a CAS found another value than expected")                 \
	X(retries_checksum, retries, "a block failed its checksum and was read again")          \
	X(retries_stale, retries, "a cached address or directory turned out to be old")         \
	X(retries_busy, retries, "a structure change by another client was in the way")         \
	X(retries_lane, retries, "a lane failed under the operation")                           \
	X(retries_full, retries, "a bucket, leaf or chunk was full")                            \
	X(backoffs, waits, "waits before a retry")                                              \
	X(backoff_ns, ns, "time spent in those waits")                                          \
	X(combined, operations, "updates that another one's change overwrote at once: done")    \
	X(slot_cache_hits, lookups, "slot cache entries that were right")                       \
	X(slot_cache_misses, lookups, "lookups without a slot cache entry")                     \
	X(slot_cache_wrong, lookups, "slot cache entries that were out of date")                \
	X(slot_cache_bypassed, lookups, "entries not used because their slot changes often")    \
	X(dir_cache_misses, lookups, "directory entries fetched")                               \
	X(splits, splits, "buckets or nodes split")                                             \
	X(splits_helped, splits, "splits of another client finished or joined")                 \
	X(blocks_alloc, blocks, "blocks taken from chunks")                                     \
	X(blocks_free, blocks, "blocks unlinked and handed back")                               \
	X(blocks_reused, blocks, "blocks taken again after their grace period")                 \
	X(blocks_moved, blocks, "live blocks copied, so that their chunk can go back")          \
	X(bytes_live, bytes, "block bytes allocated so far, freed ones not subtracted")         \
	X(chunks_fetched, chunks, "chunks fetched from a node")                                 \
	X(chunks_adopted, chunks, "chunks taken over that another worker left")                 \
	X(chunks_returned, chunks, "empty chunks given back")                                   \
	X(quiescents, reports, "quiescent points reported")                                     \
	X(rpc_requests, requests, "control requests sent")                                      \
	X(rpc_refused, requests, "control requests that the node refused")                      \
	X(rpc_malformed, requests, "control messages that made no sense")                       \
	X(lease_grants, leases, "leases received")                                              \
	X(lease_extensions, leases, "leases extended")                                          \
	X(lease_extensions_failed, leases, "extensions that came too late or hit the limit")    \
	X(lease_releases, leases, "leases given back")                                          \
	X(lease_revocations, leases, "leases taken back by the node or their owner")            \
	X(lease_handovers, leases, "leases handed to another client")                           \
	X(lease_conflicts, leases, "acquires refused because the memory is on offer")           \
	X(lane_breaks, lanes, "lanes that failed")                                              \
	X(lane_recoveries, lanes, "switches to a spare lane")                                   \
	X(lane_recovery_ns, ns, "time from a failure to the first operation on the spare")      \
	X(lane_rebuilds, lanes, "spares built in the background")                               \
	X(access_violations, accesses, "accesses that the network card refused")

struct ptn_counters {
#define PTN_COUNTER_FIELD(name, unit, help) uint64_t name;
	PTN_COUNTER_TABLE(PTN_COUNTER_FIELD)
#undef PTN_COUNTER_FIELD
};

PTN_BEGIN_DECLS

/*
 * All counters as one "name value # help" a line, or as one JSON object of numbers. Written like
 * snprintf(3): at most capacity_bytes with the final zero; returns the length that all of it has, so
 * a result >= capacity_bytes says how much room is needed. buffer may be NULL if the capacity is 0.
 * Threads: any.
 */
PTN_API size_t ptn_counters_text(const struct ptn_counters *counters, char *buffer,
				 size_t capacity_bytes);
PTN_API size_t ptn_counters_json(const struct ptn_counters *counters, char *buffer,
				 size_t capacity_bytes);

PTN_END_DECLS

#endif
