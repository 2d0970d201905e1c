/* SPDX-License-Identifier: MIT */
#include "ycsb/client.h"

#include "ycsb/time.h"

#include <errno.h>
#include <sched.h>

void ycsb_client_note(struct ycsb_client *client, enum ycsb_metric metric, int error,
		      uint64_t start_ns, uint64_t end_ns)
{
	enum ycsb_status status = ycsb_status_of(error);

	ycsb_measure_record(&client->measure, metric, status, client->scheduled_ns, start_ns,
			    end_ns);
	/* An absent record may only be what another failure left behind: the other one says more. */
	if (error < 0 &&
	    (client->first_error == 0 || (client->first_error == -ENOENT && error != -ENOENT))) {
		client->first_error = error;
		client->first_error_metric = metric;
	}
}

static void key_name(const struct ycsb_client *client, uint64_t number, struct ycsb_key *key_out)
{
	const struct ycsb_config *config = client->stream.workload->config;

	ycsb_key_name(number, config->insert_ordered != 0, (uint32_t)config->zero_padding, key_out);
}

void ycsb_client_verify(struct ycsb_client *client, const struct ycsb_key *key,
			struct ycsb_bytes record)
{
	uint64_t start_ns;
	int error;

	if (!client->stream.workload->schema.integrity)
		return;
	start_ns = ycsb_now_ns();
	error = ycsb_record_verify(&client->stream.workload->schema, key, record);

	ycsb_client_note(client, YCSB_METRIC_VERIFY, error, start_ns, ycsb_now_ns());
}

/* The name of an existing key. */
int ycsb_client_key(struct ycsb_client *client, struct ycsb_key *key_out)
{
	uint64_t number;
	int error = ycsb_stream_key(&client->stream, &number);

	if (error == 0)
		key_name(client, number, key_out);
	return error;
}

static int insert_once(struct ycsb_client *client, const struct ycsb_key *key,
		       const struct ycsb_write *write)
{
	uint64_t start_ns = ycsb_now_ns();
	int error = client->ops->insert(client->worker, key, write);

	ycsb_client_note(client, YCSB_METRIC_INSERT, error, start_ns, ycsb_now_ns());
	return error;
}

int ycsb_client_load(struct ycsb_client *client)
{
	struct ycsb_workload *workload = client->stream.workload;
	const struct ycsb_config *config = workload->config;
	uint64_t number = atomic_fetch_add_explicit(&workload->load_next, 1, memory_order_relaxed);
	struct ycsb_key key;
	struct ycsb_write write;
	int error;

	key_name(client, number, &key);
	write = ycsb_stream_record(&client->stream, &key);
	error = insert_once(client, &key, &write);
	for (int64_t i = 0; error < 0 && i < config->insert_retry_limit; i++) {
		/* YCSB's pause: the interval, give or take a fifth. */
		double pause_s = (double)config->insert_retry_interval_s *
				 (0.8 + 0.4 * ptni_rng_unit(&client->stream.random));

		if (!ycsb_sleep_until(ycsb_now_ns() + (uint64_t)(pause_s * 1e9), &workload->stop))
			break;
		error = insert_once(client, &key, &write);
	}
	return error < 0 && !config->insert_keep_going ? error : 0;
}

static int transact_read(struct ycsb_client *client)
{
	struct ycsb_bytes record = { NULL, 0 };
	struct ycsb_key key;
	uint64_t start_ns;
	int error = ycsb_client_key(client, &key);

	if (error != 0)
		return error;
	start_ns = ycsb_now_ns();
	error = client->ops->read(client->worker, &key, &record);
	ycsb_client_note(client, YCSB_METRIC_READ, error, start_ns, ycsb_now_ns());
	if (error == 0)
		ycsb_client_verify(client, &key, record);
	return 0;
}

static int transact_update(struct ycsb_client *client)
{
	struct ycsb_write write;
	struct ycsb_key key;
	uint64_t start_ns;
	int error = ycsb_client_key(client, &key);

	if (error != 0)
		return error;
	write = ycsb_stream_update(&client->stream, &key);
	start_ns = ycsb_now_ns();
	error = client->ops->update(client->worker, &key, &write);
	ycsb_client_note(client, YCSB_METRIC_UPDATE, error, start_ns, ycsb_now_ns());
	return 0;
}

/* As in YCSB the parts count as a READ and an UPDATE besides the whole. */
static int transact_rmw(struct ycsb_client *client)
{
	struct ycsb_bytes record = { NULL, 0 };
	struct ycsb_write write;
	struct ycsb_key key;
	uint64_t start_ns, read_ns, end_ns;
	int error = ycsb_client_key(client, &key);

	if (error != 0)
		return error;
	write = ycsb_stream_update(&client->stream, &key);
	start_ns = read_ns = ycsb_now_ns();
	error = client->ops->read_modify_write(client->worker, &key, &write, &record, &read_ns);
	end_ns = ycsb_now_ns();
	if (error == 0) {
		ycsb_client_note(client, YCSB_METRIC_READ, 0, start_ns, read_ns);
		ycsb_client_note(client, YCSB_METRIC_UPDATE, 0, read_ns, end_ns);
	}
	ycsb_client_note(client, YCSB_METRIC_RMW, error, start_ns, end_ns);
	if (error == 0)
		ycsb_client_verify(client, &key, record);
	return 0;
}

static int transact_insert(struct ycsb_client *client)
{
	struct ycsb_workload *workload = client->stream.workload;
	struct ycsb_write write;
	struct ycsb_key key;
	uint64_t number;

	while (ycsb_counter_take(workload->inserts, &number) != 0) {
		if (atomic_load_explicit(&workload->stop, memory_order_relaxed))
			return -ECANCELED;
		sched_yield();
	}
	key_name(client, number, &key);
	write = ycsb_stream_record(&client->stream, &key);
	insert_once(client, &key, &write);
	/* Failed or not: a hole would keep all later keys from the readers. */
	ycsb_counter_acknowledge(workload->inserts, number);
	return 0;
}

struct scan_check {
	struct ycsb_client *client;
	uint32_t row_cnt;
};

static void scan_row(void *context, const char *key, uint32_t key_len_bytes,
		     struct ycsb_bytes record)
{
	struct scan_check *check = context;
	struct ycsb_key name = { .len_bytes = key_len_bytes };

	check->row_cnt++;
	if (key_len_bytes > YCSB_KEY_MAX)
		return;
	for (uint32_t i = 0; i < key_len_bytes; i++)
		name.bytes[i] = key[i];
	ycsb_client_verify(check->client, &name, record);
}

static int transact_scan(struct ycsb_client *client)
{
	struct scan_check check = { .client = client };
	struct ycsb_key key;
	uint64_t start_ns;
	uint32_t record_cnt;
	int error = ycsb_client_key(client, &key);

	if (error != 0)
		return error;
	record_cnt = ycsb_stream_scan_len(&client->stream);
	start_ns = ycsb_now_ns();
	error = client->ops->scan(client->worker, &key, record_cnt, scan_row, &check);
	ycsb_client_note(client, YCSB_METRIC_SCAN, error, start_ns, ycsb_now_ns());
	return 0;
}

int ycsb_client_do(struct ycsb_client *client, enum ycsb_op op)
{
	switch (op) {
	case YCSB_READ:
		return transact_read(client);
	case YCSB_UPDATE:
		return transact_update(client);
	case YCSB_INSERT:
		return transact_insert(client);
	case YCSB_SCAN:
		return transact_scan(client);
	case YCSB_RMW:
		return transact_rmw(client);
	case YCSB_OP_CNT:
		break;
	}
	return -ECANCELED;
}

int ycsb_client_transact(struct ycsb_client *client)
{
	return ycsb_client_do(client, ycsb_stream_op(&client->stream));
}
