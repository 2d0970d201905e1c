/* SPDX-License-Identifier: MIT */
/*
 * Reclamation epochs (R7). E is the node's epoch, H its horizon; both only grow.
 *
 *   E ─────────── 7 ───────────────────────────── 8 ──────────
 *   session a's report  6 ──── 7 ───────────────────── 8
 *   session b's report  6 ─────────── 7 ──────────────────── 8
 *   H ───────────────── 6 ─────────── 7 ──────────────────── 8
 *
 * 1. H is the least report of all sessions whose windows may still work (fenced ones count until
 *    their last invalidation has completed), and E when there are none. A session that has not
 *    reported counts as having reported the E of its welcome.
 * 2. E grows by one when H == E, epoch_min_ns have passed since it last grew, and somebody waits: a
 *    session's `want` or a service. So at most one grace period is under way.
 * 3. A session that has not reported E two terms after E grew is fenced: the term that was running
 *    then, and one more.
 * 4. A report beyond E counts as E, one that goes back as the greatest so far: it can only harm the
 *    liar, who may find memory re-used that he still reads.
 *
 * The client dies here, or sleeps for ten seconds: H stands still until rule 3, its lease or its
 * channel end it; until then nothing is re-used, and nothing else waits.
 */
#include "core/node_loop.h"

#include <patronus/error.h>

enum {
	REPORT_TERMS = 2
};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void publish(struct ptn_node *node)
{
	__atomic_store_n(&node->status->epoch, node->epochs.epoch, __ATOMIC_RELEASE);
	__atomic_store_n(&node->status->horizon, node->epochs.horizon, __ATOMIC_RELEASE);
}

void ptni_epochs_open(struct ptn_node *node)
{
	node->epochs.epoch = node->epochs.horizon = node->epochs.told_horizon = 1;
	node->epochs.advanced_ns = ptni_node_clock_ns(node);
	publish(node);
}

static bool session_counts(const struct ptni_node_session *session)
{
	return session->state != PTNI_SESSION_ENDED;
}

static void report_take(struct ptni_node_session *session)
{
	uint64_t report = load(&session->page->report), epoch = session->node->epochs.epoch;

	if (report > epoch)
		report = epoch;
	if (report > session->report)
		session->report = report;
}

/* True if somebody waits for E to grow. */
static bool reports_take(struct ptn_node *node)
{
	struct ptni_node_session *session;
	uint64_t horizon = node->epochs.epoch;
	bool want = node->epochs.want;

	cds_list_for_each_entry(session, &node->sessions, link) {
		if (!session_counts(session))
			continue;
		report_take(session);
		if (session->report < horizon)
			horizon = session->report;
		want = want || load(&session->page->want);
	}
	if (horizon > node->epochs.horizon)
		node->epochs.horizon = horizon;
	return want;
}

static void laggards_fence(struct ptn_node *node, uint64_t now_ns)
{
	struct ptni_node_session *session;

	cds_list_for_each_entry(session, &node->sessions, link)
		if (session->state == PTNI_SESSION_OPEN && session->report < node->epochs.epoch &&
		    ptni_clock_since_ns(now_ns, node->epochs.advanced_ns) >
			    REPORT_TERMS * session->term_ns)
			ptni_node_session_fence(session, PTN_E_SESSION_FENCED);
}

void ptni_epochs_look(struct ptn_node *node)
{
	struct ptni_node_epochs *epochs = &node->epochs;
	uint64_t now_ns = ptni_node_clock_ns(node);
	bool want = reports_take(node);

	if (want)
		node->active = true;
	if (epochs->horizon < epochs->epoch) {
		node->active = true;
		laggards_fence(node, now_ns);
	} else if (want &&
		   ptni_clock_since_ns(now_ns, epochs->advanced_ns) >= node->options.epoch_min_ns) {
		epochs->epoch++;
		epochs->advanced_ns = now_ns;
		epochs->want = false;
	}
	publish(node);
}

static void services_tick(struct ptn_node *node)
{
	for (uint32_t i = 0; i < node->service_count; i++)
		if (node->services[i].tick)
			node->services[i].tick(node->services[i].arg, node->epochs.epoch,
					       node->epochs.horizon);
}

void ptni_epochs_beat(struct ptn_node *node)
{
	ptni_epochs_look(node);
	services_tick(node);
	if (node->epochs.told_horizon != node->epochs.horizon)
		node->active = true;
	node->epochs.told_horizon = node->epochs.horizon;
}

uint64_t ptni_node_epoch(const struct ptn_node *node)
{
	return node->epochs.epoch;
}

uint64_t ptni_node_horizon(const struct ptn_node *node)
{
	return node->epochs.horizon;
}

void ptni_node_want_epoch(struct ptn_node *node)
{
	node->epochs.want = true;
	ptni_node_beat_soon(node);
}
