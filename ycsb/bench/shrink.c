/* SPDX-License-Identifier: MIT */
/*
 * A table is filled, then nine records of ten are deleted in random order: how the memory that it holds follows.
 * First the deletes alone, then updates of the survivors, then requests to compact. One thread; beside the
 * memory the round trips and verbs of each step, of which one an operation is its own.
 */
#include "ycsb/bench/bench.h"
#include "ycsb/json.h"
#include "ycsb/time.h"

#include <patronus/client.h>
#include <patronus/counters.h>
#include <patronus/error.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_BYTES = 23, /* as YCSB's: "user" and 19 digits */
	VALUE_MAX = 1000,
	KEPT = 10, /* one of so many */
};

#define TERM_NS UINT64_C(10000000000) /* also on a busy machine */

struct shrink {
	const struct bench_options *options;
	struct ptn_node *node;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	uint64_t *order; /* of the records: the first tenth stays */
	uint64_t kept_cnt, random;
	size_t value_bytes;
};

/* --- records ------------------------------------------------------------------------------------ */

static uint64_t next_random(struct shrink *shrink)
{
	uint64_t word = shrink->random += UINT64_C(0x9e3779b97f4a7c15);

	word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
	return word ^ word >> 31;
}

static void shuffle(struct shrink *shrink)
{
	for (uint64_t i = 0; i < shrink->options->record_cnt; i++) {
		uint64_t at = next_random(shrink) % (i + 1);

		shrink->order[i] = shrink->order[at];
		shrink->order[at] = i;
	}
}

static void key_of(uint64_t record, char *key)
{
	char text[KEY_BYTES + 2];

	snprintf(text, sizeof(text), "user%019" PRIu64, record * UINT64_C(0x9e3779b97f4a7c15) >> 1);
	memcpy(key, text, KEY_BYTES);
}

static int put(struct shrink *shrink, uint64_t record)
{
	char key[KEY_BYTES], value[VALUE_MAX];

	key_of(record, key);
	memset(value, (int)(record % 251), shrink->value_bytes);
	return ptn_hash_put(shrink->worker, shrink->hash, key, KEY_BYTES, value,
			    shrink->value_bytes);
}

static int delete (struct shrink *shrink, uint64_t record)
{
	char key[KEY_BYTES];

	key_of(record, key);
	return ptn_hash_delete(shrink->worker, shrink->hash, key, KEY_BYTES);
}

/* --- steps -------------------------------------------------------------------------------------- */

static int fill(struct shrink *shrink)
{
	int error = 0;

	for (uint64_t i = 0; i < shrink->options->record_cnt && error == 0; i++)
		error = put(shrink, i);
	return error;
}

static int delete_most(struct shrink *shrink)
{
	int error = 0;

	for (uint64_t i = shrink->kept_cnt; i < shrink->options->record_cnt && error == 0; i++)
		error = delete (shrink, shrink->order[i]);
	return error;
}

static int update_all(struct shrink *shrink)
{
	int error = 0;

	for (uint64_t i = 0; i < shrink->kept_cnt && error == 0; i++)
		error = put(shrink, shrink->order[i]);
	return error;
}

static int compact(struct shrink *shrink)
{
	int more;

	do
		more = ptn_hash_compact(shrink->worker, shrink->hash, 1024);
	while (more > 0);
	return more;
}

struct step {
	const char *name;
	int (*run)(struct shrink *shrink);
	uint64_t op_cnt, time_ns;
	struct ptn_counters count; /* during it */
};

static uint64_t verbs(const struct ptn_counters *count)
{
	return count->verbs_read + count->verbs_write + count->verbs_cas + count->verbs_faa;
}

static void count_since(struct ptn_counters *count, const struct ptn_counters *before)
{
	uint64_t *now = (uint64_t *)(void *)count;
	const uint64_t *then = (const uint64_t *)(const void *)before;

	for (size_t i = 0; i < sizeof(*count) / sizeof(*now); i++)
		now[i] -= then[i];
}

static int measure(struct shrink *shrink, struct step *step)
{
	struct ptn_counters before;
	uint64_t start_ns = ycsb_now_ns();
	int error;

	ptn_worker_counters(shrink->worker, &before);
	error = step->run(shrink);
	step->time_ns = ycsb_now_ns() - start_ns;
	ptn_worker_counters(shrink->worker, &step->count);
	count_since(&step->count, &before);
	return error;
}

static void report_json(struct ycsb_json *out, const struct shrink *shrink, const struct step *step,
			const struct ptn_hash_info *info)
{
	if (out == NULL)
		return;
	ycsb_json_open(out, NULL, '{');
	ycsb_json_count(out, "value_bytes", shrink->value_bytes);
	ycsb_json_text(out, "step", step->name);
	ycsb_json_count(out, "records", info->entries);
	ycsb_json_count(out, "operations", step->op_cnt);
	ycsb_json_count(out, "time_ns", step->time_ns);
	ycsb_json_count(out, "live_bytes", info->live_bytes);
	ycsb_json_count(out, "held_bytes", info->held_bytes);
	ycsb_json_count(out, "slot_bytes", info->slot_bytes);
	ycsb_json_count(out, "round_trips", step->count.round_trips);
	ycsb_json_count(out, "verbs", verbs(&step->count));
	ycsb_json_count(out, "blocks_moved", step->count.blocks_moved);
	ycsb_json_close(out, '}');
}

static int report(struct shrink *shrink, const struct step *step)
{
	const double mib = 1048576;
	struct ptn_hash_info info;
	double blocks, live;
	int error = ptn_hash_info(shrink->worker, shrink->hash, &info);

	if (error != 0)
		return error;
	live = (double)info.live_bytes / mib;
	blocks = (double)(info.held_bytes - info.slot_bytes) / mib;
	printf("%7zu  %-10s %8" PRIu64 " %8.2f %8.1f %8.1f %8.1f %7.2f %7.2f %9" PRIu64 " %9" PRIu64
	       " %8" PRIu64 "\n",
	       shrink->value_bytes, step->name, info.entries, (double)step->time_ns / 1e9, live,
	       blocks, (double)info.slot_bytes / mib, blocks / live,
	       (double)info.held_bytes / (double)info.live_bytes, step->count.round_trips,
	       verbs(&step->count), step->count.blocks_moved);
	fflush(stdout);
	report_json(shrink->options->out, shrink, step, &info);
	return 0;
}

/* --- all of it ---------------------------------------------------------------------------------- */

static int run_steps(struct shrink *shrink, struct ycsb_message *why_out)
{
	const uint64_t all = shrink->options->record_cnt, kept = shrink->kept_cnt;
	struct step steps[] = {
		{ "filled", fill, all, 0, { 0 } },
		{ "deleted", delete_most, all - kept, 0, { 0 } },
		{ "updated", update_all, kept, 0, { 0 } },
		{ "updated", update_all, kept, 0, { 0 } },
		{ "updated", update_all, kept, 0, { 0 } },
		{ "updated", update_all, kept, 0, { 0 } },
		{ "compacted", compact, 0, 0, { 0 } },
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && error == 0; i++) {
		error = measure(shrink, &steps[i]);
		if (error == 0)
			error = report(shrink, &steps[i]);
		if (error != 0)
			ycsb_message_set(why_out, "shrink, %s: %s", steps[i].name,
					 ptn_strerror(error));
	}
	return error;
}

static int open_table(struct shrink *shrink)
{
	struct ptn_node_options node = { .size = sizeof(node) };
	struct ptn_client_options client = { .size = sizeof(client), .term_ns = TERM_NS };
	struct ptn_hash_options table = { .size = sizeof(table) };
	char address[64];
	const char *addresses[] = { address };
	int error;

	node.memory_bytes = shrink->options->memory_bytes;
	if (!node.memory_bytes)
		node.memory_bytes =
			shrink->options->record_cnt * (shrink->value_bytes * 5 / 4 + 128) +
			(64 << 20);
	node.memory_bytes = (node.memory_bytes + (1 << 24) - 1) >> 24 << 24;
	snprintf(address, sizeof(address), "inproc:shrink-%d", (int)getpid());
	error = ptn_node_open(address, &node, &shrink->node);
	if (error == 0)
		error = ptn_client_open(addresses, 1, &client, &shrink->client);
	if (error == 0)
		error = ptn_worker_open(shrink->client, &shrink->worker);
	if (error == 0)
		error = ptn_hash_open(shrink->worker, "shrink", &table, &shrink->hash);
	return error;
}

static void close_table(struct shrink *shrink)
{
	ptn_hash_close(shrink->hash);
	if (shrink->worker != NULL)
		ptn_worker_close(shrink->worker);
	(void)ptn_client_close(shrink->client);
	ptn_node_close(shrink->node);
}

static int shrink_one(const struct bench_options *options, size_t value_bytes,
		      struct ycsb_message *why_out)
{
	struct shrink shrink = { .options = options,
				 .value_bytes = value_bytes,
				 .random = options->seed,
				 .kept_cnt = options->record_cnt / KEPT };
	int error;

	shrink.order = calloc(options->record_cnt, sizeof(*shrink.order));
	if (shrink.order == NULL)
		return ycsb_message_set(why_out, "out of memory");
	shuffle(&shrink);
	error = open_table(&shrink);
	if (error != 0)
		ycsb_message_set(why_out, "cannot open a table: %s", ptn_strerror(error));
	else
		error = run_steps(&shrink, why_out);
	close_table(&shrink);
	free(shrink.order);
	return error;
}

int bench_shrink(const struct bench_options *options, struct ycsb_message *why_out)
{
	int error;

	printf("\nNine records of ten are deleted at random, one thread: memory held for what lives\n"
	       "(time in s, memory in MiB; live: keys and values)\n\n");
	printf("%7s  %-10s %8s %8s %8s %8s %8s %7s %7s %9s %9s %8s\n", "value", "step", "records",
	       "time", "live", "blocks", "slots", "b/live", "all/l", "trips", "verbs", "moved");
	if (options->out != NULL)
		ycsb_json_open(options->out, "shrink", '[');
	error = shrink_one(options, VALUE_MAX, why_out);
	if (error == 0)
		error = shrink_one(options, 100, why_out);
	if (options->out != NULL)
		ycsb_json_close(options->out, ']');
	return error;
}
