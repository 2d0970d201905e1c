/* SPDX-License-Identifier: MIT */
/* Workers: what their lanes share, and their end. */
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>

struct ptni_node_worker *ptni_node_worker_get(struct ptni_node_session *session, uint32_t index)
{
	return index < session->node->options.session_workers_max ? session->workers[index] : NULL;
}

int ptni_node_worker_make(struct ptni_node_session *session, uint32_t index,
			  struct ptni_node_worker **worker_out)
{
	struct ptni_node_worker *worker;

	if (index >= session->node->options.session_workers_max)
		return PTN_E_QUOTA;
	if (session->workers[index]) {
		*worker_out = session->workers[index];
		return 0;
	}
	worker = calloc(1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	worker->session = session;
	worker->index = index;
	CDS_INIT_LIST_HEAD(&worker->windows);
	CDS_INIT_LIST_HEAD(&worker->calls);
	CDS_INIT_LIST_HEAD(&worker->done_link);
	for (int i = 0; i < PTNI_CALL_BUCKETS; i++)
		CDS_INIT_LIST_HEAD(&worker->buckets[i]);
	session->workers[index] = worker;
	session->worker_count++;
	*worker_out = worker;
	return 0;
}

static bool worker_idle(struct ptni_node_worker *worker)
{
	for (int i = 0; i < PTNI_LANES_MAX; i++)
		if (worker->lane[i])
			return false;
	return cds_list_empty(&worker->windows);
}

void ptni_node_worker_check(struct ptni_node_worker *worker)
{
	if (worker->closing && cds_list_empty(&worker->done_link))
		cds_list_add_tail(&worker->done_link, &worker->session->node->workers_done);
}

void ptni_node_worker_close_ask(struct ptni_node_worker *worker)
{
	struct ptni_node_window *window, *next;

	if (worker->closing)
		return;
	worker->closing = true;
	for (int i = 0; i < PTNI_LANES_MAX; i++) {
		free(worker->reopen[i]);
		worker->reopen[i] = NULL;
		if (worker->lane[i])
			ptni_node_lane_break(worker->lane[i]);
	}
	cds_list_for_each_entry_safe(window, next, &worker->windows, worker_link)
		ptni_node_window_withdraw(window);
	ptni_node_worker_check(worker);
}

void ptni_node_worker_free(struct ptni_node_worker *worker)
{
	struct ptni_node_session *session = worker->session;

	ptni_node_calls_forget(worker);
	for (int i = 0; i < PTNI_LANES_MAX; i++)
		free(worker->reopen[i]);
	session->workers[worker->index] = NULL;
	session->worker_count--;
	cds_list_del(&worker->done_link);
	free(worker);
}

int ptni_node_workers_run(struct ptn_node *node)
{
	int count = 0;

	for (; !cds_list_empty(&node->workers_done); count++) {
		struct ptni_node_worker *worker = cds_list_first_entry(
			&node->workers_done, struct ptni_node_worker, done_link);
		struct ptni_node_session *session = worker->session;
		uint32_t index = worker->index;

		cds_list_del_init(&worker->done_link);
		if (!worker_idle(worker))
			continue;
		ptni_node_worker_free(worker);
		ptni_node_session_say_lane(session, PTNI_LANE_CLOSED, 0, index, PTNI_LANE_ALL,
					   NULL);
	}
	return count;
}
