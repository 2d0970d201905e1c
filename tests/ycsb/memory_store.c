/* SPDX-License-Identifier: MIT */
#include "memory_store.h"

#include "ycsb/time.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct ycsb_key key;
	uint8_t *data;
	uint32_t len_bytes;
};

struct ycsb_store {
	pthread_mutex_t lock;
	const struct ycsb_schema *schema;
	struct entry **entries; /* sorted */
	size_t count, capacity;
	uint64_t reads, inserts, workers, closed;
	double operations;
};

struct ycsb_worker {
	struct ycsb_store *store;
	uint8_t *buffer, *merged;
	double operations;
};

struct memory_store_faults memory_store_faults;
static struct ycsb_store *last_store;

static int memory_open(const struct ycsb_store_options *options, struct ycsb_store **store_out,
		       const char **why_out)
{
	struct ycsb_store *store = calloc(1, sizeof(*store));

	if (store == NULL)
		return -ENOMEM;
	if (strcmp(options->target, "nowhere") == 0) {
		free(store);
		*why_out = "nowhere is no place; use inproc";
		return -EINVAL;
	}
	pthread_mutex_init(&store->lock, NULL);
	store->schema = options->schema;
	last_store = store;
	*store_out = store;
	return 0;
}

static void memory_close(struct ycsb_store *store)
{
	for (size_t i = 0; i < store->count; i++) {
		free(store->entries[i]->data);
		free(store->entries[i]);
	}
	free(store->entries);
	pthread_mutex_destroy(&store->lock);
	free(store);
	last_store = NULL;
}

static int memory_worker_open(struct ycsb_store *store, uint32_t worker_idx,
			      struct ycsb_worker **worker_out)
{
	struct ycsb_worker *worker;
	size_t room = ycsb_record_len_max(store->schema) + 8;
	bool fails;

	pthread_mutex_lock(&store->lock);
	fails = ++store->workers == memory_store_faults.worker_fails_at;
	pthread_mutex_unlock(&store->lock);
	if (fails)
		return -ECONNREFUSED;
	worker = calloc(1, sizeof(*worker));
	if (worker == NULL)
		return -ENOMEM;
	worker->store = store;
	worker->buffer = malloc(room);
	worker->merged = malloc(room);
	*worker_out = worker;
	return 0;
}

static void memory_worker_close(struct ycsb_worker *worker)
{
	pthread_mutex_lock(&worker->store->lock);
	worker->store->operations += worker->operations;
	worker->store->closed++;
	pthread_mutex_unlock(&worker->store->lock);
	free(worker->buffer);
	free(worker->merged);
	free(worker);
}

static int compare(const struct ycsb_key *a, const struct ycsb_key *b)
{
	uint32_t len = a->len_bytes < b->len_bytes ? a->len_bytes : b->len_bytes;
	int order = memcmp(a->bytes, b->bytes, len);

	return order != 0 ? order : (a->len_bytes > b->len_bytes) - (a->len_bytes < b->len_bytes);
}

/* The first entry that is not below the key. */
static size_t find(const struct ycsb_store *store, const struct ycsb_key *key, bool *found_out)
{
	size_t low = 0, high = store->count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare(&store->entries[middle]->key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*found_out = low < store->count && compare(&store->entries[low]->key, key) == 0;
	return low;
}

static void busy(struct ycsb_worker *worker)
{
	uint64_t end = ycsb_now_ns() + memory_store_faults.delay_ns;

	worker->operations++;
	while (memory_store_faults.delay_ns != 0 && ycsb_now_ns() < end)
		;
}

static bool every(uint64_t number, uint64_t interval)
{
	return interval != 0 && number % interval == 0;
}

/* As if the reader had seen half of one write and half of the next. */
static void mix(const struct ycsb_schema *schema, const struct ycsb_key *key, uint8_t *record)
{
	struct ptni_rng random;
	uint8_t other[4096];
	uint32_t half = schema->field_len_max / 2;

	ptni_rng_seed_stream(&random, 1, 1);
	ycsb_field_build(schema, &random, key, 0, UINT32_C(0x7ffffff1), other);
	memcpy(record + half, other + half, schema->field_len_max - half);
}

static int memory_read(struct ycsb_worker *worker, const struct ycsb_key *key,
		       struct ycsb_bytes *record_out)
{
	struct ycsb_store *store = worker->store;
	struct entry *entry;
	bool found;
	size_t at;

	busy(worker);
	pthread_mutex_lock(&store->lock);
	at = find(store, key, &found);
	if (found) {
		entry = store->entries[at];
		memcpy(worker->buffer, entry->data, entry->len_bytes);
		store->reads++;
		if (every(store->reads, memory_store_faults.damage_every))
			worker->buffer[store->reads % entry->len_bytes] ^= 1;
		if (every(store->reads, memory_store_faults.mix_every))
			mix(store->schema, key, worker->buffer);
		*record_out = (struct ycsb_bytes){ worker->buffer, entry->len_bytes };
	}
	pthread_mutex_unlock(&store->lock);
	return found ? 0 : -ENOENT;
}

static void replace(struct entry *entry, const uint8_t *data, uint32_t len_bytes)
{
	entry->data = realloc(entry->data, len_bytes > 0 ? len_bytes : 1);
	memcpy(entry->data, data, len_bytes);
	entry->len_bytes = len_bytes;
}

static int memory_update(struct ycsb_worker *worker, const struct ycsb_key *key,
			 const struct ycsb_write *write)
{
	struct ycsb_store *store = worker->store;
	int len = (int)write->len_bytes;
	bool found;
	size_t at;

	busy(worker);
	pthread_mutex_lock(&store->lock);
	at = find(store, key, &found);
	if (found && write->field < 0) {
		replace(store->entries[at], write->data, write->len_bytes);
	} else if (found) {
		struct entry *entry = store->entries[at];

		len = ycsb_record_merge(store->schema,
					(struct ycsb_bytes){ entry->data, entry->len_bytes }, write,
					worker->merged);
		if (len >= 0)
			replace(entry, worker->merged, (uint32_t)len);
	}
	pthread_mutex_unlock(&store->lock);
	if (!found)
		return -ENOENT;
	return len < 0 ? len : 0;
}

static void insert_at(struct ycsb_store *store, size_t at, const struct ycsb_key *key,
		      const struct ycsb_write *write)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (store->count == store->capacity) {
		store->capacity = store->capacity * 2 + 64;
		store->entries = realloc(store->entries, store->capacity * sizeof(*store->entries));
	}
	memmove(store->entries + at + 1, store->entries + at,
		(store->count - at) * sizeof(*store->entries));
	entry->key = *key;
	replace(entry, write->data, write->len_bytes);
	store->entries[at] = entry;
	store->count++;
}

static int memory_insert(struct ycsb_worker *worker, const struct ycsb_key *key,
			 const struct ycsb_write *write)
{
	struct ycsb_store *store = worker->store;
	int error = 0;
	bool found;
	size_t at;

	busy(worker);
	pthread_mutex_lock(&store->lock);
	at = find(store, key, &found);
	if (found)
		error = -EEXIST;
	else if (++store->inserts == memory_store_faults.insert_fails_at)
		error = -ENOSPC;
	else
		insert_at(store, at, key, write);
	pthread_mutex_unlock(&store->lock);
	return error;
}

static int memory_rmw(struct ycsb_worker *worker, const struct ycsb_key *key,
		      const struct ycsb_write *write, struct ycsb_bytes *record_out,
		      uint64_t *read_end_ns_out)
{
	struct ycsb_bytes record;
	int error = memory_read(worker, key, &record);

	if (error != 0)
		return error;
	*read_end_ns_out = ycsb_now_ns();
	error = memory_update(worker, key, write);
	if (error == 0)
		*record_out = record;
	return error;
}

static int memory_remove(struct ycsb_worker *worker, const struct ycsb_key *key)
{
	struct ycsb_store *store = worker->store;
	bool found;
	size_t at;

	pthread_mutex_lock(&store->lock);
	at = find(store, key, &found);
	if (found) {
		free(store->entries[at]->data);
		free(store->entries[at]);
		store->count--;
		memmove(store->entries + at, store->entries + at + 1,
			(store->count - at) * sizeof(*store->entries));
	}
	pthread_mutex_unlock(&store->lock);
	return found ? 0 : -ENOENT;
}

static int memory_scan(struct ycsb_worker *worker, const struct ycsb_key *key, uint32_t record_cnt,
		       ycsb_row_fn row, void *context)
{
	struct ycsb_store *store = worker->store;
	uint32_t seen = 0;
	bool found;

	busy(worker);
	pthread_mutex_lock(&store->lock);
	for (size_t at = find(store, key, &found); at < store->count && seen < record_cnt; at++) {
		const struct entry *entry = store->entries[at];

		row(context, entry->key.bytes, entry->key.len_bytes,
		    (struct ycsb_bytes){ entry->data, entry->len_bytes });
		seen++;
	}
	pthread_mutex_unlock(&store->lock);
	return (int)seen;
}

static size_t memory_counters(struct ycsb_store *store, struct ycsb_counter *counters,
			      size_t capacity)
{
	if (capacity < 2)
		return 0;
	pthread_mutex_lock(&store->lock);
	counters[0] = (struct ycsb_counter){ "round_trips", store->operations, false };
	counters[1] = (struct ycsb_counter){ "records_held", (double)store->count, true };
	pthread_mutex_unlock(&store->lock);
	return 2;
}

static const char *memory_error_text(int error)
{
	return strerror(-error);
}

uint64_t memory_store_record_cnt(void)
{
	return last_store->count;
}

void memory_store_each(void (*fn)(void *context, const struct ycsb_key *key,
				  struct ycsb_bytes record),
		       void *context)
{
	for (size_t i = 0; i < last_store->count; i++) {
		struct entry *entry = last_store->entries[i];

		fn(context, &entry->key, (struct ycsb_bytes){ entry->data, entry->len_bytes });
	}
}

#define MEMORY_OPS                                                                         \
	.open = memory_open, .close = memory_close, .worker_open = memory_worker_open,     \
	.worker_close = memory_worker_close, .read = memory_read, .update = memory_update, \
	.insert = memory_insert, .read_modify_write = memory_rmw, .remove = memory_remove, \
	.counters = memory_counters, .error_text = memory_error_text

const struct ycsb_store_ops memory_store_ops = {
	.name = "memory",
	.summary = "plain memory, for tests",
	.scan = memory_scan,
	MEMORY_OPS,
};

const struct ycsb_store_ops memory_store_unordered_ops = {
	.name = "unordered",
	.summary = "plain memory without order, for tests",
	.unordered_reason = "it keeps no order, so it cannot scan",
	MEMORY_OPS,
};
