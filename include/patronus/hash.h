/* SPDX-License-Identifier: MIT */
/*
 * A hash table in remote memory: named, shared by any number of clients, grown online, used purely
 * one-sidedly. Operations on one key are linearizable across all clients; what was acknowledged
 * survives the death of any client (not of the node).
 *
 * Keys: 1..PTN_KEY_MAX bytes; values: 0..PTN_VALUE_MAX bytes; any bytes.
 */
#ifndef PATRONUS_HASH_H
#define PATRONUS_HASH_H

#include <patronus/client.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	PTN_KEY_MAX = 1024,
	PTN_VALUE_MAX = 1 << 20,
	PTN_NAME_MAX = 63
};

struct ptn_hash;

struct ptn_hash_options {
	uint32_t size;
	uint32_t create; /* 1 = create when there is none (default), 2 = must not exist, 0xff = never create */
	uint64_t initial_slots; /* default 1024; the table grows by itself */
	uint64_t cache_entries; /* of each worker's slot cache; default 1 Mi; UINT64_MAX = none */
};

/* Open by name on the client's nodes. One handle per client and table, used with all its workers.
 * Errors: -EINVAL; -ENOENT there is none (create 0xff); -EEXIST there is one (create 2); -EBUSY the client has it open;
 * PTN_E_EXISTS_OTHER it was made with other nodes or in another order; PTN_E_FORMAT, -EINVAL not a table of this
 * release's layout; -ENOMEM, -EDQUOT, -ENOSPC no room for it; session and node errors. */
PTN_API int ptn_hash_open(struct ptn_worker *worker, const char *name,
			  const struct ptn_hash_options *options, struct ptn_hash **hash_out);
PTN_API void ptn_hash_close(struct ptn_hash *hash); /* after the workers' last operation on it */
/* Remove the table and give its memory back; -EBUSY while another session has it open. */
PTN_API int ptn_hash_drop(struct ptn_worker *worker, const char *name);

/*
 * Common errors of the operations: -EINVAL (key or value size; ptn_worker_cause names the limit), -ENOMEM node full,
 * -EDQUOT the session's share of it is, PTN_E_QUOTA, PTN_E_NODE_FULL no window is left,
 * PTN_E_CONFLICT too many retries, -ETIMEDOUT, PTN_E_OUTCOME_UNKNOWN (the transport failed under the
 * publishing CAS and what happened cannot be told), PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN, PTN_E_CORRUPT.
 */

/* Copy the value into buffer. *len_out is the value's length; when it exceeds capacity, capacity bytes
 * were copied and -ENOBUFS is returned. -ENOENT: no such key. Cost: 1 round trip warm, 2 cold. */
PTN_API int ptn_hash_get(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
			 size_t key_len_bytes, void *buffer, size_t capacity_bytes,
			 size_t *len_out);
/* Insert or replace. Cost: as update when the key exists, as insert when not. */
PTN_API int ptn_hash_put(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
			 size_t key_len_bytes, const void *value, size_t value_len_bytes);
/* -EEXIST when the key is there. Cost: 3 round trips. */
PTN_API int ptn_hash_insert(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
			    size_t key_len_bytes, const void *value, size_t value_len_bytes);
/* -ENOENT when it is not. Cost: 1 round trip warm. */
PTN_API int ptn_hash_update(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
			    size_t key_len_bytes, const void *value, size_t value_len_bytes);
PTN_API int ptn_hash_delete(struct ptn_worker *worker, struct ptn_hash *hash, const void *key,
			    size_t key_len_bytes);

/* Many gets in the round trips of one. Each item has its own result; returns 0 or the first fatal error.
 * What one node fails at does not keep the items on other nodes. */
struct ptn_hash_item {
	const void *key;
	size_t key_len_bytes;
	void *buffer;
	size_t capacity_bytes;
	size_t len_bytes; /* out */
	int result; /* out: 0, -ENOENT, -ENOBUFS, ... */
};
PTN_API int ptn_hash_multi_get(struct ptn_worker *worker, struct ptn_hash *hash,
			       struct ptn_hash_item *items, size_t count);

/*
 * Many updates, or puts, in the round trips of one: those whose slots are cached are published with one doorbell (for
 * each 32 of them or 40 KiB),
 * the others one by one after them. Each item has its own result, as ptn_hash_update or ptn_hash_put
 * would give it; returns 0 or the first fatal error. What one node fails at
 * does not keep the items on other nodes. The items are concurrent operations: of two with the same key
 * either may come last.
 */
struct ptn_hash_write {
	const void *key;
	size_t key_len_bytes;
	const void *value;
	size_t value_len_bytes;
	int result; /* out */
};
PTN_API int ptn_hash_multi_update(struct ptn_worker *worker, struct ptn_hash *hash,
				  struct ptn_hash_write *items, size_t count);
PTN_API int ptn_hash_multi_put(struct ptn_worker *worker, struct ptn_hash *hash,
			       struct ptn_hash_write *items, size_t count);

/*
 * Visit entries in no useful order. Every key that is there during the whole walk is visited exactly
 * once; keys that come or go meanwhile may be. `cursor` starts at 0 and is kept between calls, so a walk can be
 * bounded and resumed: at most about `limit` visits a call. Returns 1 while there is more, 0 at the end,
 * a negative error, or what visit returned if that was not 0. When the error is that a node is lost to this
 * client for good (PTN_E_NODE_DOWN, PTN_E_SESSION_FENCED, ...), the cursor has passed over one part of the table that
 * the node holds, so calling on visits what the other nodes hold.
 * A walk that `visit` stopped goes on with the same cursor where the last whole step began, so it may meet
 * some keys again. `visit` runs inside an operation, which holds back the re-use of memory: it is to be short
 * against the session's term, and may use the table itself, but for values of more than 32 KiB.
 */
typedef int (*ptn_hash_visit_fn)(void *arg, const void *key, size_t key_len_bytes,
				 const void *value, size_t value_len_bytes);
PTN_API int ptn_hash_iterate(struct ptn_worker *worker, struct ptn_hash *hash, uint64_t *cursor,
			     size_t limit, ptn_hash_visit_fn visit, void *arg);

struct ptn_hash_info {
	uint64_t slots; /* capacity */
	uint64_t subtables;
	uint32_t depth; /* of the directory */
	uint32_t reserved;
	uint64_t entries; /* counted by walking */
	uint64_t live_bytes; /* keys and values */
	uint64_t held_bytes; /* memory that the table holds on its nodes */
	uint64_t slot_bytes; /* of that: slots; the rest are blocks with keys and values */
};
PTN_API int ptn_hash_info(struct ptn_worker *worker, struct ptn_hash *hash,
			  struct ptn_hash_info *info_out);

/*
 * Give memory back now. What deletes leave behind are blocks that lie scattered; beside puts and deletes a worker moves
 * the rest together by itself, a little at a time. A worker that has deleted much and has nothing more to do calls
 * this, until it returns 0:
 *
 *	while ((ret = ptn_hash_compact(worker, hash, 1024)) > 0)
 *		;
 *
 * It concerns the memory that this worker has filled, and what workers that are gone have left. At most about `budget`
 * records are looked at or moved (32 in three round trips); a call that can only wait for other clients
 * to pass a quiescent point does so for up to 10 ms. 1: there is more to do. 0: what can be given back was; blocks
 * with keys and values then take little more than these. Slots are not given back: the table does not shrink.
 * Records stay what they are, and others may use them meanwhile. Not from within a visit of ptn_hash_iterate.
 * Errors: session and node errors; calling on does what is left, on other nodes too.
 */
PTN_API int ptn_hash_compact(struct ptn_worker *worker, struct ptn_hash *hash, size_t budget);

#ifdef __cplusplus
}
#endif
#endif
