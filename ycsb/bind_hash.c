/* SPDX-License-Identifier: MIT */
#include "ycsb/bind_hash.h"

#include "ycsb/time.h"

#include <patronus/client.h>
#include <patronus/counters.h>
#include <patronus/error.h>
#include <patronus/node.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ycsb_store {
	const struct ycsb_schema *schema;
	struct ptn_node *node; /* of target inproc; NULL: somebody else's */
	struct ptn_client *client;
	struct ptn_worker *control; /* opens the table and asks for its state */
	struct ptn_hash *hash;
	uint32_t depth;
	pthread_mutex_t lock; /* of sum */
	struct ptn_counters sum; /* of the workers closed so far */
};

struct ycsb_worker {
	struct ycsb_store *store;
	struct ptn_worker *worker;
	uint32_t capacity_bytes; /* of one record */
	uint8_t *record, *merged; /* as many records as the depth */
};

/* Room for the records, the garbage that awaits its grace period, the directory and a split or two. */
static uint64_t memory_needed(const struct ycsb_store_options *options)
{
	const uint64_t floor = UINT64_C(256) << 20, per_record = 96;
	uint64_t bytes = ycsb_record_len_max(options->schema) + per_record;

	return floor + options->record_cnt * bytes * 2;
}

static int open_node(struct ycsb_store *store, const struct ycsb_store_options *options,
		     char *address, size_t capacity)
{
	const struct ptn_node_options node_options = {
		.size = sizeof(node_options),
		.allow_unprotected = 1,
		.memory_bytes = options->memory_bytes != 0 ? options->memory_bytes :
							     memory_needed(options),
		.session_workers_max = options->worker_cnt + 8, /* the client has some of its own */
	};

	if (strcmp(options->target, "inproc") != 0) {
		snprintf(address, capacity, "%s", options->target);
		return 0;
	}
	snprintf(address, capacity, "inproc:ycsb-%ld-%p", (long)getpid(), (void *)store);
	return ptn_node_open(address, &node_options, &store->node);
}

/* Of each worker: twice the records, as sets do not fill evenly; at most 100 MB. */
static uint64_t cache_entries(const struct ycsb_store_options *options)
{
	const uint64_t max = UINT64_C(4) << 20;

	return options->record_cnt < max / 2 ? 2 * options->record_cnt : max;
}

static int open_table(struct ycsb_store *store, const struct ycsb_store_options *options,
		      const char *address)
{
	const struct ptn_client_options client_options = {
		.size = sizeof(client_options),
		.unprotected = !options->protection,
		.term_ns = options->term_ns,
		.seed = options->seed,
	};
	const struct ptn_hash_options hash_options = {
		.size = sizeof(hash_options),
		.create = options->create ? 1 : 0xff,
		.initial_slots = options->initial_slots,
		.cache_entries = cache_entries(options),
	};
	int error = ptn_client_open(&address, 1, &client_options, &store->client);

	if (error == 0)
		error = ptn_worker_open(store->client, &store->control);
	if (error == 0)
		error = ptn_hash_open(store->control, options->table, &hash_options, &store->hash);
	return error;
}

static void hash_close(struct ycsb_store *store)
{
	if (store->hash != NULL)
		ptn_hash_close(store->hash);
	if (store->control != NULL)
		ptn_worker_close(store->control);
	ptn_client_close(store->client);
	ptn_node_close(store->node);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

static int hash_open(const struct ycsb_store_options *options, struct ycsb_store **store_out,
		     const char **why_out)
{
	struct ycsb_store *store = calloc(1, sizeof(*store));
	char address[1100];
	int error;

	if (store == NULL)
		return -ENOMEM;
	store->schema = options->schema;
	store->depth = options->depth > 1 ? options->depth : 1;
	pthread_mutex_init(&store->lock, NULL);
	error = open_node(store, options, address, sizeof(address));
	if (error == -ENOMEM)
		*why_out = "the node's memory is not to be had; give it less with "
			   "-p patronus.memory=BYTES, or load fewer records";
	if (error == 0)
		error = open_table(store, options, address);
	if (error == -ENOENT)
		*why_out = "there is no such table on that node; load it first with 'patronus-ycsb "
			   "load hash' and the same properties";
	if (error == -ECONNREFUSED)
		*why_out = "no node answers there; start one with 'patronus-node'";
	if (error == -EINVAL)
		*why_out = "the target is not understood; give -p patronus.target=inproc, "
			   "shm:PATH or verbs:DEVICE,PATH, and a table name of up to 63 bytes";
	if (error != 0)
		hash_close(store);
	else
		*store_out = store;
	return error;
}

static void add_counters(struct ptn_counters *sum, const struct ptn_counters *counters)
{
#define ADD(name, unit, help) sum->name += counters->name;
	PTN_COUNTER_TABLE(ADD)
#undef ADD
}

static void hash_worker_close(struct ycsb_worker *worker)
{
	struct ycsb_store *store = worker->store;
	struct ptn_counters counters;

	if (worker->worker != NULL) {
		ptn_worker_counters(worker->worker, &counters);
		ptn_worker_close(worker->worker);
		pthread_mutex_lock(&store->lock);
		add_counters(&store->sum, &counters);
		pthread_mutex_unlock(&store->lock);
	}
	free(worker->record);
	free(worker->merged);
	free(worker);
}

static int hash_worker_open(struct ycsb_store *store, uint32_t worker_idx,
			    struct ycsb_worker **worker_out)
{
	struct ycsb_worker *worker = calloc(1, sizeof(*worker));
	int error = -ENOMEM;

	if (worker == NULL)
		return error;
	worker->store = store;
	worker->capacity_bytes = ycsb_record_len_max(store->schema);
	worker->record = malloc((size_t)store->depth * worker->capacity_bytes);
	worker->merged = malloc((size_t)store->depth * worker->capacity_bytes);
	if (worker->record != NULL && worker->merged != NULL)
		error = ptn_worker_open(store->client, &worker->worker);
	if (error != 0)
		hash_worker_close(worker);
	else
		*worker_out = worker;
	return error;
}

static int hash_read(struct ycsb_worker *worker, const struct ycsb_key *key,
		     struct ycsb_bytes *record_out)
{
	size_t len_bytes = 0;
	int error = ptn_hash_get(worker->worker, worker->store->hash, key->bytes, key->len_bytes,
				 worker->record, worker->capacity_bytes, &len_bytes);

	if (error != 0)
		return error;
	*record_out = (struct ycsb_bytes){ worker->record, (uint32_t)len_bytes };
	return 0;
}

/* What to write: `old`, the record as read, with one field changed (in `merged`), or all of it. */
static int new_record(const struct ycsb_worker *worker, const struct ycsb_write *write,
		      struct ycsb_bytes old, uint8_t *merged, struct ycsb_bytes *new_out)
{
	int len;

	*new_out = (struct ycsb_bytes){ write->data, write->len_bytes };
	if (write->field < 0)
		return 0;
	len = ycsb_record_merge(worker->store->schema, old, write, merged);
	if (len < 0)
		return len;
	*new_out = (struct ycsb_bytes){ merged, (uint32_t)len };
	return 0;
}

static int write_over(struct ycsb_worker *worker, const struct ycsb_key *key,
		      const struct ycsb_write *write, struct ycsb_bytes old)
{
	struct ycsb_bytes new;
	int error = new_record(worker, write, old, worker->merged, &new);

	if (error != 0)
		return error;
	return ptn_hash_update(worker->worker, worker->store->hash, key->bytes, key->len_bytes,
			       new.data, new.len_bytes);
}

/*
 * One field of a record is written by reading the record, as bindings of YCSB for key-value stores
 * do: of two such updates of one record at the same time one may be lost. writeallfields=true writes without reading.
 */
static int hash_update(struct ycsb_worker *worker, const struct ycsb_key *key,
		       const struct ycsb_write *write)
{
	struct ycsb_bytes old = { NULL, 0 };
	int error = write->field >= 0 ? hash_read(worker, key, &old) : 0;

	return error != 0 ? error : write_over(worker, key, write, old);
}

static int hash_insert(struct ycsb_worker *worker, const struct ycsb_key *key,
		       const struct ycsb_write *write)
{
	return ptn_hash_insert(worker->worker, worker->store->hash, key->bytes, key->len_bytes,
			       write->data, write->len_bytes);
}

static int hash_read_modify_write(struct ycsb_worker *worker, const struct ycsb_key *key,
				  const struct ycsb_write *write, struct ycsb_bytes *record_out,
				  uint64_t *read_end_ns_out)
{
	struct ycsb_bytes record;
	uint64_t read_end_ns;
	int error = hash_read(worker, key, &record);

	if (error != 0)
		return error;
	read_end_ns = ycsb_now_ns();
	error = write_over(worker, key, write, record);
	if (error != 0)
		return error;
	*record_out = record;
	*read_end_ns_out = read_end_ns;
	return 0;
}

static bool reads(const struct ycsb_request *request)
{
	return request->kind != YCSB_REQUEST_UPDATE || request->write.field >= 0;
}

/* The first half: all records that are asked for, or of which one field is to be changed. */
static void read_many(struct ycsb_worker *worker, struct ycsb_request *requests, uint32_t count)
{
	struct ptn_hash_item items[YCSB_DEPTH_MAX];
	uint32_t item_cnt = 0;
	uint64_t end_ns;

	for (uint32_t i = 0; i < count; i++) {
		requests[i].error = 0;
		if (reads(&requests[i]))
			items[item_cnt++] = (struct ptn_hash_item){
				.key = requests[i].key.bytes,
				.key_len_bytes = requests[i].key.len_bytes,
				.buffer = worker->record + (size_t)i * worker->capacity_bytes,
				.capacity_bytes = worker->capacity_bytes,
			};
	}
	if (item_cnt != 0)
		(void)ptn_hash_multi_get(worker->worker, worker->store->hash, items, item_cnt);
	end_ns = ycsb_now_ns();
	item_cnt = 0;
	for (uint32_t i = 0; i < count; i++) {
		requests[i].read_end_ns = requests[i].end_ns = end_ns;
		if (!reads(&requests[i]))
			continue;
		requests[i].error = items[item_cnt].result;
		requests[i].record = (struct ycsb_bytes){ items[item_cnt].buffer,
							  (uint32_t)items[item_cnt].len_bytes };
		item_cnt++;
	}
}

static void hash_many(struct ycsb_worker *worker, struct ycsb_request *requests, uint32_t count)
{
	struct ptn_hash_write writes[YCSB_DEPTH_MAX];
	struct ycsb_request *request_of[YCSB_DEPTH_MAX];
	uint32_t write_cnt = 0;
	uint64_t end_ns;

	read_many(worker, requests, count);
	for (uint32_t i = 0; i < count; i++) {
		struct ycsb_request *request = &requests[i];
		struct ycsb_bytes new;

		if (request->kind == YCSB_REQUEST_READ || request->error != 0)
			continue;
		request->error = new_record(worker, &request->write, request->record,
					    worker->merged + (size_t)i * worker->capacity_bytes,
					    &new);
		if (request->error != 0)
			continue;
		request_of[write_cnt] = request;
		writes[write_cnt++] = (struct ptn_hash_write){ request->key.bytes,
							       request->key.len_bytes, new.data,
							       new.len_bytes, 0 };
	}
	if (write_cnt == 0)
		return;
	(void)ptn_hash_multi_update(worker->worker, worker->store->hash, writes, write_cnt);
	end_ns = ycsb_now_ns();
	for (uint32_t i = 0; i < write_cnt; i++) {
		request_of[i]->error = writes[i].result;
		request_of[i]->end_ns = end_ns;
	}
}

static int hash_remove(struct ycsb_worker *worker, const struct ycsb_key *key)
{
	return ptn_hash_delete(worker->worker, worker->store->hash, key->bytes, key->len_bytes);
}

static size_t hash_counters(struct ycsb_store *store, struct ycsb_counter *counters,
			    size_t capacity)
{
	struct ptn_node_info info;
	size_t count = 0;

	pthread_mutex_lock(&store->lock);
#define TAKE(name, unit, help) \
	if (count < capacity)  \
		counters[count++] = (struct ycsb_counter){ #name, (double)store->sum.name, false };
	PTN_COUNTER_TABLE(TAKE)
#undef TAKE
	pthread_mutex_unlock(&store->lock);
	if (store->node == NULL || count + 2 > capacity || ptn_node_info(store->node, &info) != 0)
		return count;
	counters[count++] =
		(struct ycsb_counter){ "node_memory_bytes", (double)info.memory_bytes, true };
	counters[count++] = (struct ycsb_counter){ "node_memory_used_bytes",
						   (double)info.memory_used_bytes, true };
	return count;
}

static const char *hash_error_text(int error)
{
	if (error == -EEXIST)
		return "the record is there already; was the table loaded before? Use another one "
		       "with -p table=NAME";
	if (error == -ENOBUFS)
		return "a record is longer than fieldcount x fieldlength; use the fields that the "
		       "table was loaded with";
	if (error == -ENOMEM || error == PTN_E_NODE_FULL)
		return "the node is full; give it more with -p patronus.memory=BYTES, or load "
		       "fewer records";
	return ptn_strerror(error);
}

int ycsb_hash_info(struct ycsb_store *store, struct ptn_hash_info *info_out)
{
	return ptn_hash_info(store->control, store->hash, info_out);
}

const struct ycsb_store_ops ycsb_hash_ops = {
	.name = "hash",
	.summary = "the hash table: one record is one value, no order, no scans",
	.unordered_reason =
		"the hash table keeps no order, so it cannot scan (workload E); this version has "
		"no ordered store, so set scanproportion=0",
	.open = hash_open,
	.close = hash_close,
	.worker_open = hash_worker_open,
	.worker_close = hash_worker_close,
	.read = hash_read,
	.update = hash_update,
	.insert = hash_insert,
	.read_modify_write = hash_read_modify_write,
	.many = hash_many,
	.remove = hash_remove,
	.counters = hash_counters,
	.error_text = hash_error_text,
};
