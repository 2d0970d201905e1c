/* SPDX-License-Identifier: MIT */
/* Several operations of one thread under way at a time. */
#include "ycsb/client.h"

#include "ycsb/time.h"

#include <errno.h>
#include <stdlib.h>

struct ycsb_lot {
	uint32_t depth, count;
	uint32_t record_bytes;
	uint8_t *bytes; /* what the writes write */
	struct ycsb_request requests[];
};

int ycsb_lot_open(struct ycsb_client *client, uint32_t depth)
{
	struct ycsb_lot *lot;

	client->lot = NULL;
	if (depth <= 1 || client->ops->many == NULL)
		return 0;
	lot = calloc(1, sizeof(*lot) + depth * sizeof(lot->requests[0]));
	if (lot == NULL)
		return -ENOMEM;
	lot->depth = depth;
	lot->record_bytes = ycsb_record_len_max(&client->stream.workload->schema);
	lot->bytes = malloc((size_t)depth * lot->record_bytes);
	if (lot->bytes == NULL) {
		free(lot);
		return -ENOMEM;
	}
	client->lot = lot;
	return 0;
}

void ycsb_lot_close(struct ycsb_client *client)
{
	if (client->lot != NULL)
		free(client->lot->bytes);
	free(client->lot);
	client->lot = NULL;
}

/* 1: joined. 0: it has to be done alone. */
static int join(struct ycsb_client *client, enum ycsb_op op)
{
	static const enum ycsb_request_kind kinds[] = {
		[YCSB_READ] = YCSB_REQUEST_READ,
		[YCSB_UPDATE] = YCSB_REQUEST_UPDATE,
		[YCSB_RMW] = YCSB_REQUEST_RMW,
	};
	struct ycsb_lot *lot = client->lot;
	struct ycsb_request *request = &lot->requests[lot->count];
	int error;

	if (op != YCSB_READ && op != YCSB_UPDATE && op != YCSB_RMW)
		return 0;
	error = ycsb_client_key(client, &request->key);
	if (error != 0)
		return error;
	request->kind = kinds[op];
	if (op != YCSB_READ)
		request->write = ycsb_stream_update_into(&client->stream, &request->key,
							 lot->bytes + (size_t)lot->count *
									      lot->record_bytes);
	lot->count++;
	return 1;
}

static void note_one(struct ycsb_client *client, const struct ycsb_request *request,
		     uint64_t start_ns)
{
	static const enum ycsb_metric metrics[] = {
		[YCSB_REQUEST_READ] = YCSB_METRIC_READ,
		[YCSB_REQUEST_UPDATE] = YCSB_METRIC_UPDATE,
		[YCSB_REQUEST_RMW] = YCSB_METRIC_RMW,
	};

	if (request->kind == YCSB_REQUEST_RMW && request->error == 0) {
		ycsb_client_note(client, YCSB_METRIC_READ, 0, start_ns, request->read_end_ns);
		ycsb_client_note(client, YCSB_METRIC_UPDATE, 0, request->read_end_ns,
				 request->end_ns);
	}
	ycsb_client_note(client, metrics[request->kind], request->error, start_ns, request->end_ns);
	if (request->kind != YCSB_REQUEST_UPDATE && request->error == 0)
		ycsb_client_verify(client, &request->key, request->record);
}

static void do_all(struct ycsb_client *client)
{
	struct ycsb_lot *lot = client->lot;
	uint64_t start_ns = ycsb_now_ns();

	client->ops->many(client->worker, lot->requests, lot->count);
	for (uint32_t i = 0; i < lot->count; i++)
		note_one(client, &lot->requests[i], start_ns);
}

int ycsb_client_transact_lot(struct ycsb_client *client, uint64_t max, uint64_t *done_out)
{
	struct ycsb_lot *lot = client->lot;
	enum ycsb_op op = YCSB_READ;
	int joined = 1, error;

	lot->count = 0;
	while (joined == 1 && lot->count < lot->depth && lot->count < max) {
		op = ycsb_stream_op(&client->stream);
		joined = join(client, op);
	}
	if (lot->count != 0)
		do_all(client);
	*done_out = lot->count;
	if (joined != 0)
		return joined < 0 ? joined : 0;
	error = ycsb_client_do(client, op);
	*done_out += error == 0;
	return error;
}
