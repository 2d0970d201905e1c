/* SPDX-License-Identifier: MIT */
#include "core/node_session.h"

#include "core/base/log.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>

/* --- what services see --------------------------------------------------------------------------- */

uint32_t ptni_session_id(const struct ptni_node_session *session)
{
	return session->id;
}

uint32_t ptni_session_epoch(const struct ptni_node_session *session)
{
	return session->epoch;
}

bool ptni_session_fenced(const struct ptni_node_session *session)
{
	return session->state == PTNI_SESSION_ENDED;
}

void *ptni_session_state(struct ptni_node_session *session, const void *service_arg)
{
	for (int i = 0; i < PTNI_SERVICES_MAX; i++)
		if (session->states[i].service_arg == service_arg)
			return session->states[i].state;
	return NULL;
}

int ptni_session_state_set(struct ptni_node_session *session, const void *service_arg, void *state)
{
	for (int i = 0; i < PTNI_SERVICES_MAX; i++) {
		if (session->states[i].service_arg && session->states[i].service_arg != service_arg)
			continue;
		session->states[i].service_arg = service_arg;
		session->states[i].state = state;
		return 0;
	}
	return -ENOSPC;
}

int ptni_session_charge(struct ptni_node_session *session, int64_t bytes)
{
	uint64_t max = session->node->options.session_bytes_max;

	if (bytes > 0 && ((uint64_t)bytes > max || session->bytes > max - (uint64_t)bytes))
		return -EDQUOT;
	session->bytes += (uint64_t)bytes;
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------ */

void ptni_node_session_ref(struct ptni_node_session *session)
{
	session->refs++;
}

void ptni_node_session_unref(struct ptni_node_session *session)
{
	session->refs--;
	ptni_node_session_check(session);
}

void ptni_node_session_check(struct ptni_node_session *session)
{
	if (session->state != PTNI_SESSION_OPEN && cds_list_empty(&session->done_link))
		cds_list_add_tail(&session->done_link, &session->node->sessions_done);
}

static void session_init(struct ptni_node_session *session, struct ptni_guest *guest,
			 const struct ptni_hello *hello)
{
	struct ptn_node *node = guest->node;
	uint64_t term_ns = hello->term_ns ? hello->term_ns : node->options.term_ns;

	session->node = node;
	session->channel = guest->channel;
	session->source = (struct ptni_source){ .kind = PTNI_SOURCE_SESSION,
						.fd = guest->source.fd,
						.owner = session };
	session->epoch = 1;
	if (term_ns < PTNI_TERM_MIN_NS)
		term_ns = PTNI_TERM_MIN_NS;
	session->term_ns = term_ns < node->options.term_max_ns ? term_ns :
								 node->options.term_max_ns;
	session->report = node->epochs.epoch;
	CDS_INIT_LIST_HEAD(&session->lanes);
	CDS_INIT_LIST_HEAD(&session->leases);
	CDS_INIT_LIST_HEAD(&session->slots_free);
	CDS_INIT_LIST_HEAD(&session->done_link);
	CDS_INIT_LIST_HEAD(&session->ops);
	CDS_INIT_LIST_HEAD(&session->ops_link);
	ptni_bucket_init(&session->bucket, node->options.session_requests_per_s,
			 ptni_node_clock_ns(node));
}

static int page_take(struct ptni_node_session *session)
{
	struct ptn_node *node = session->node;

	if (node->pages_head == node->pages_tail)
		return PTN_E_NODE_FULL;
	session->page_index = node->pages_free[node->pages_head++ % node->options.sessions_max];
	session->page =
		(void *)(node->control + (size_t)(session->page_index + 1) * PTNI_PAGE_BYTES);
	memset(session->page, 0, sizeof(*session->page));
	return 0;
}

static void page_put(struct ptni_node_session *session)
{
	struct ptn_node *node = session->node;

	if (session->page)
		node->pages_free[node->pages_tail++ % node->options.sessions_max] =
			session->page_index;
}

static void session_free(struct ptni_node_session *session)
{
	page_put(session);
	if (session->lease)
		ptni_wheel_cancel(&session->node->wheel, &session->lease->timer);
	free(session->lease);
	free(session->slots);
	free(session->workers);
	free(session);
}

int ptni_node_session_open(struct ptni_guest *guest, const struct ptni_hello *hello,
			   struct ptni_node_session **session_out)
{
	struct ptn_node *node = guest->node;
	struct ptni_node_session *session = calloc(1, sizeof(*session));
	int ret;

	if (!session)
		return -ENOMEM;
	session_init(session, guest, hello);
	session->workers = calloc(node->options.session_workers_max, sizeof(*session->workers));
	ret = session->workers ? page_take(session) : -ENOMEM;
	if (!ret)
		ret = ptni_node_leases_init(session);
	if (ret) {
		session_free(session);
		return ret;
	}
	session->id = ++node->session_id_last;
	session->pid = guest->pid;
	cds_list_add_tail(&session->link, &node->sessions);
	node->session_count++;
	node->info.sessions++;
	*session_out = session;
	return 0;
}

/* --- fence ------------------------------------------------------------------------------------------ */

void ptni_node_session_fence(struct ptni_node_session *session, int status)
{
	struct ptn_node *node = session->node;

	if (session->state != PTNI_SESSION_OPEN)
		return;
	session->state = PTNI_SESSION_FENCING;
	session->end_status = status;
	session->epoch++;
	node->active = true;
	if (session->channel) /* what it still says is not read: it must not keep the loop awake */
		ptni_loop_unwatch(node, &session->source);
	if (status) {
		node->info.fences++;
		PTNI_LOG(INFO, core, "session %u is fenced: %s", session->id, ptn_strerror(status));
	}
	for (uint32_t i = 0; i < node->options.session_workers_max; i++)
		for (int j = 0; session->workers[i] && j < PTNI_LANES_MAX; j++)
			if (session->workers[i]->lane[j])
				ptni_node_lane_break(session->workers[i]->lane[j]);
	ptni_node_leases_fence(session);
	ptni_node_session_check(session);
}

static void workers_free(struct ptni_node_session *session)
{
	for (uint32_t i = 0; i < session->node->options.session_workers_max; i++)
		if (session->workers[i])
			ptni_node_worker_free(session->workers[i]);
}

/* No access of the session can land any more and its leases are told: the rest hears of it. */
static void session_end(struct ptni_node_session *session)
{
	struct ptn_node *node = session->node;
	struct ptni_ended ended = { .op = PTNI_ENDED, .status = session->end_status };

	session->state = PTNI_SESSION_ENDED;
	for (uint32_t i = 0; i < node->service_count; i++)
		if (node->services[i].session_ended)
			node->services[i].session_ended(node->services[i].arg, session);
	workers_free(session);
	node->info.sessions--;
	if (!session->channel)
		return;
	ptni_node_session_say(session, &ended, sizeof(ended));
	ptni_node_session_channel_close(session);
}

static void session_proceed(struct ptni_node_session *session)
{
	struct ptn_node *node = session->node;

	if (session->state == PTNI_SESSION_FENCING && !session->lane_count && !session->mw_count &&
	    cds_list_empty(&session->leases))
		session_end(session);
	if (session->state != PTNI_SESSION_ENDED || session->refs ||
	    !cds_list_empty(&session->lanes))
		return;
	cds_list_del(&session->link);
	cds_list_del_init(&session->done_link);
	node->session_count--;
	session_free(session);
}

int ptni_node_sessions_run(struct ptn_node *node)
{
	int count = 0;

	for (; !cds_list_empty(&node->sessions_done); count++) {
		struct ptni_node_session *session = cds_list_first_entry(
			&node->sessions_done, struct ptni_node_session, done_link);

		cds_list_del_init(&session->done_link);
		session_proceed(session);
	}
	return count;
}

/* --- offences ------------------------------------------------------------------------------------- */

void ptni_node_session_offence(struct ptni_node_session *session)
{
	session->node->info.refusals++;
	if (++session->offences > PTNI_OFFENCES_MAX)
		ptni_node_session_fence(session, PTN_E_PROTOCOL);
}

int ptni_node_session_take_token(struct ptni_node_session *session)
{
	struct ptn_node *node = session->node;
	int ret = ptni_bucket_take(&session->bucket, ptni_node_clock_ns(node));

	if (ret == -EBUSY) {
		ptni_node_session_fence(session, PTN_E_FLOOD);
		ret = PTN_E_FLOOD;
	}
	return ret;
}
