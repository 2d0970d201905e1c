/* SPDX-License-Identifier: MIT */
#include "core/node_window.h"

#include "core/node_loop.h"

#include <assert.h>
#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>

struct ptni_withdrawal {
	struct ptn_node *node;
	void (*done)(void *arg);
	void *arg;
	uint32_t count;
	struct cds_list_head link; /* node's, when done */
	struct cds_list_head waits;
};

/* A window that a withdrawal waits for. */
struct window_wait {
	struct ptni_withdrawal *withdrawal;
	struct cds_list_head window_link, withdrawal_link;
	struct ptni_node_window *window;
};

int ptni_node_window_open(struct ptni_node_lease *lease, struct ptni_node_worker *worker,
			  uint64_t addr, uint64_t len_bytes, uint32_t access, uint32_t tag,
			  struct ptni_node_window **window_out)
{
	struct ptni_node_window *window = calloc(1, sizeof(*window));

	if (!window)
		return -ENOMEM;
	window->lease = lease;
	window->worker = worker;
	window->addr = addr;
	window->len_bytes = len_bytes;
	window->access = access;
	window->tag = tag;
	for (int i = 0; i < PTNI_LANES_MAX; i++)
		CDS_INIT_LIST_HEAD(&window->copy[i].lacking);
	CDS_INIT_LIST_HEAD(&window->call_link);
	CDS_INIT_LIST_HEAD(&window->waits);
	cds_list_add_tail(&window->lease_link, &lease->windows);
	cds_list_add_tail(&window->worker_link, &worker->windows);
	lease->window_count++;
	lease->session->window_count++;
	*window_out = window;
	return 0;
}

int ptni_node_window_bind(struct ptni_node_window *window, struct ptni_node_lane *lane)
{
	struct ptni_copy *copy = &window->copy[lane->index];
	struct ptn_node *node = lane->node;
	int ret;

	if (window->dying)
		return PTN_E_LEASE_EXPIRED;
	cds_list_del_init(&copy->lacking);
	if (copy->mw)
		return 0;
	if (lane->session->mw_count >=
	    ptni_node_worker_windows_max(window->worker, node->options.session_windows_max))
		return PTN_E_QUOTA;
	ret = ptni_mw_bind(lane, window, node->region_mr, window->addr, window->len_bytes,
			   window->access, &copy->mw);
	if (!ret)
		window->copies++;
	return ret;
}

void ptni_node_window_lack(struct ptni_node_window *window, struct ptni_node_lane *lane)
{
	struct ptni_copy *copy = &window->copy[lane->index];

	if (window->dying || copy->mw || !cds_list_empty(&copy->lacking))
		return;
	cds_list_add_tail(&copy->lacking, &lane->lacking);
	ptni_node_lane_touch(lane);
}

static void withdrawal_put(struct ptni_withdrawal *withdrawal)
{
	if (!--withdrawal->count)
		cds_list_add_tail(&withdrawal->link, &withdrawal->node->withdrawals_done);
}

static void window_gone(struct ptni_node_window *window)
{
	struct ptni_node_lease *lease = window->lease;
	struct window_wait *wait, *next;

	cds_list_for_each_entry_safe(wait, next, &window->waits, window_link) {
		cds_list_del(&wait->withdrawal_link);
		withdrawal_put(wait->withdrawal);
		free(wait);
	}
	cds_list_del(&window->lease_link);
	cds_list_del(&window->worker_link);
	cds_list_del(&window->call_link);
	ptni_node_worker_check(window->worker);
	free(window);
	lease->window_count--;
	lease->session->window_count--;
	ptni_node_lease_window_gone(lease);
}

void ptni_node_window_withdraw(struct ptni_node_window *window)
{
	if (window->dying)
		return;
	window->dying = true;
	window->copies++; /* keeps it while the loop below runs */
	for (int i = 0; i < PTNI_LANES_MAX; i++) {
		cds_list_del_init(&window->copy[i].lacking);
		if (window->copy[i].mw)
			ptni_mw_unbind(window->copy[i].mw);
	}
	if (!--window->copies)
		window_gone(window);
}

void ptni_node_window_copy_gone(struct ptni_node_window *window, uint32_t lane_index)
{
	window->copy[lane_index].mw = NULL;
	if (!--window->copies && window->dying)
		window_gone(window);
}

/* --- withdrawals ----------------------------------------------------------------------------- */

int ptni_node_withdrawal_open(struct ptn_node *node, void (*done)(void *arg), void *arg,
			      struct ptni_withdrawal **withdrawal_out)
{
	struct ptni_withdrawal *withdrawal = malloc(sizeof(*withdrawal));

	if (!withdrawal)
		return -ENOMEM;
	*withdrawal =
		(struct ptni_withdrawal){ .node = node, .done = done, .arg = arg, .count = 1 };
	CDS_INIT_LIST_HEAD(&withdrawal->waits);
	*withdrawal_out = withdrawal;
	return 0;
}

int ptni_node_withdrawal_add(struct ptni_withdrawal *withdrawal, struct ptni_node_window *window)
{
	struct window_wait *wait = malloc(sizeof(*wait));

	if (!wait)
		return -ENOMEM;
	*wait = (struct window_wait){ .withdrawal = withdrawal, .window = window };
	cds_list_add_tail(&wait->window_link, &window->waits);
	cds_list_add_tail(&wait->withdrawal_link, &withdrawal->waits);
	withdrawal->count++;
	return 0;
}

void ptni_node_withdrawal_start(struct ptni_withdrawal *withdrawal)
{
	struct window_wait *wait, *next;

	/* A window that goes at once takes its own entry out of the list, and only that. */
	cds_list_for_each_entry_safe(wait, next, &withdrawal->waits, withdrawal_link)
		ptni_node_window_withdraw(wait->window);
	withdrawal_put(withdrawal);
}

void ptni_node_withdrawal_abandon(struct ptni_withdrawal *withdrawal)
{
	struct window_wait *wait, *next;

	cds_list_for_each_entry_safe(wait, next, &withdrawal->waits, withdrawal_link) {
		cds_list_del(&wait->window_link);
		free(wait);
	}
	free(withdrawal);
}

int ptni_node_withdrawals_run(struct ptn_node *node)
{
	int count = 0;

	for (; !cds_list_empty(&node->withdrawals_done); count++) {
		struct ptni_withdrawal *withdrawal =
			cds_list_first_entry(&node->withdrawals_done, struct ptni_withdrawal, link);

		cds_list_del(&withdrawal->link);
		withdrawal->done(withdrawal->arg);
		free(withdrawal);
	}
	return count;
}
