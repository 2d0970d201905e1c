/* SPDX-License-Identifier: MIT */
/*
 * What the driver asks of a store. A store is opened once per process and once more per thread; a
 * worker is used by the thread that opened it and by no other. All calls return 0 or a positive
 * count on success and a negative errno or library code on failure; out-parameters are written on
 * success only.
 *
 * A record is one packed value (see record.h): a store keeps bytes under a key and need not know
 * the fields. Only update of one field has to look inside, with ycsb_record_merge().
 */
#ifndef YCSB_STORE_H
#define YCSB_STORE_H

#include "ycsb/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	YCSB_KEY_MAX = 128,
	YCSB_DEPTH_MAX = 64
};

struct ycsb_key {
	uint32_t len_bytes;
	char bytes[YCSB_KEY_MAX + 24]; /* room for the fixed-width copies that build a name */
};

struct ycsb_bytes {
	const uint8_t *data;
	uint32_t len_bytes;
};

/* What to write: the whole packed record (field < 0), or the new bytes of one field. */
struct ycsb_write {
	int32_t field;
	uint32_t len_bytes;
	const uint8_t *data;
};

enum ycsb_request_kind {
	YCSB_REQUEST_READ,
	YCSB_REQUEST_UPDATE,
	YCSB_REQUEST_RMW
};

/* One of several operations that a thread has under way at a time. */
struct ycsb_request {
	enum ycsb_request_kind kind;
	struct ycsb_key key;
	struct ycsb_write write; /* not for reads */
	/* out */
	int error;
	struct ycsb_bytes record; /* as read, not for updates; valid until the worker's next call */
	uint64_t read_end_ns; /* of the read part of a read-modify-write */
	uint64_t end_ns;
};

struct ycsb_store_options {
	const struct ycsb_schema *schema; /* outlives the store */
	const char *table;
	const char *target; /* "inproc", "shm:PATH", ... */
	uint64_t memory_bytes; /* of an in-process node; 0: sized from record_cnt */
	uint64_t record_cnt; /* most records the table will hold */
	uint64_t initial_slots; /* 0: the store's own default */
	uint64_t term_ns; /* lease term; 0: the store's own default */
	uint64_t seed;
	uint32_t worker_cnt; /* most workers open at a time */
	uint32_t depth; /* most requests of one call of many() */
	bool protection;
	bool create; /* the table, if it is not there */
};

struct ycsb_store;
struct ycsb_worker;

/* One library counter for the report; `name` is a literal. */
struct ycsb_counter {
	const char *name;
	double value;
	bool gauge; /* a state and not a sum: not divided by the operations of a phase */
};

/* Called once per record of a scan, in key order; the bytes are valid during the call only. */
typedef void (*ycsb_row_fn)(void *context, const char *key, uint32_t key_len_bytes,
			    struct ycsb_bytes record);

struct ycsb_store_ops {
	const char *name;
	const char *summary; /* one line for the list of stores */
	const char *unordered_reason; /* NULL: keeps keys in order and can scan */

	/* On failure *why_out, if set, is a literal or static string that says what to do next. */
	int (*open)(const struct ycsb_store_options *options, struct ycsb_store **store_out,
		    const char **why_out);
	void (*close)(struct ycsb_store *store); /* after every worker is closed */
	int (*worker_open)(struct ycsb_store *store, uint32_t worker_idx,
			   struct ycsb_worker **worker_out);
	void (*worker_close)(struct ycsb_worker *worker);

	/* -ENOENT: no such key. The bytes are valid until the worker's next call. */
	int (*read)(struct ycsb_worker *worker, const struct ycsb_key *key,
		    struct ycsb_bytes *record_out);
	int (*update)(struct ycsb_worker *worker, const struct ycsb_key *key,
		      const struct ycsb_write *write); /* -ENOENT */
	int (*insert)(struct ycsb_worker *worker, const struct ycsb_key *key,
		      const struct ycsb_write *write); /* write->field < 0; -EEXIST */
	/* Read the record, then write; *read_end_ns_out: when the read part was done. */
	int (*read_modify_write)(struct ycsb_worker *worker, const struct ycsb_key *key,
				 const struct ycsb_write *write, struct ycsb_bytes *record_out,
				 uint64_t *read_end_ns_out); /* -ENOENT */
	/* All of them at once, each with its own outcome. NULL: one by one. */
	void (*many)(struct ycsb_worker *worker, struct ycsb_request *requests, uint32_t count);
	int (*remove)(struct ycsb_worker *worker, const struct ycsb_key *key); /* -ENOENT */
	/* Up to record_cnt records from key on; returns how many. NULL if unordered. */
	int (*scan)(struct ycsb_worker *worker, const struct ycsb_key *key, uint32_t record_cnt,
		    ycsb_row_fn row, void *context);

	/* Sums over the workers closed so far; returns how many of `capacity` it filled. NULL: none. */
	size_t (*counters)(struct ycsb_store *store, struct ycsb_counter *counters,
			   size_t capacity);
	const char *(*error_text)(int error); /* a static string */
};

#endif
