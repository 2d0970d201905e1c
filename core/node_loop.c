/* SPDX-License-Identifier: MIT */
/*
 * One turn: completions, channels, timers, questions; then what came of them, until nothing is left:
 *
 *   lanes flush (BINDs, SENDs) ─► managers flush (invalidations, CAS) ─► lanes, workers, leases,
 *   withdrawals and sessions whose last piece has gone
 *
 * Objects are freed in that second half only, so that whoever handles an event may end anything.
 *
 * Asleep, the loop is woken by descriptors (completion queues are armed) or by the next timer; it
 * spins only for a timer that is nearer than PTNI_SPIN_NS or for work of its own in the NIC.
 *
 * The client dies here, or sleeps for ten seconds: no call in this file waits for a client.
 */
#include "core/node_loop.h"

#include "core/base/log.h"

#include <errno.h>
#include <patronus/error.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
	EVENTS = 64,
	RUN_ROUNDS = 16,
	WHEEL_BUDGET = 1024,
	ACCEPTS = 8
};

/* --- descriptors ---------------------------------------------------------------------------------- */

int ptni_loop_watch(struct ptn_node *node, struct ptni_source *source)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = source };

	if (source->fd < 0)
		return 0;
	return epoll_ctl(node->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) ? -errno : 0;
}

/* Events of the same turn may still name the source: it is forgotten by its owner's life only. */
void ptni_loop_unwatch(struct ptn_node *node, struct ptni_source *source)
{
	struct epoll_event *events = node->events;

	if (source->fd >= 0)
		epoll_ctl(node->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = 0; i < node->event_count; i++)
		if (events[i].data.ptr == source)
			events[i].data.ptr = NULL;
}

int ptni_loop_open(struct ptn_node *node)
{
	node->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (node->epoll_fd < 0)
		return -errno;
	node->wake_source = (struct ptni_source){ .kind = PTNI_SOURCE_WAKE,
						  .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
	if (node->wake_source.fd < 0)
		return -errno;
	return ptni_loop_watch(node, &node->wake_source);
}

void ptni_loop_close(struct ptn_node *node)
{
	if (node->wake_source.fd >= 0)
		close(node->wake_source.fd);
	if (node->epoll_fd >= 0)
		close(node->epoll_fd);
}

static int listener_ready(struct ptn_node *node)
{
	int count = 0;

	while (count < ACCEPTS && ptni_guest_accept(node))
		count++;
	return count;
}

static void wake_drain(struct ptn_node *node)
{
	uint64_t value;

	while (read(node->wake_source.fd, &value, sizeof(value)) > 0)
		;
}

static void source_ready(struct ptn_node *node, struct ptni_source *source)
{
	switch (source->kind) {
	case PTNI_SOURCE_LISTENER:
		listener_ready(node);
		break;
	case PTNI_SOURCE_GUEST:
		ptni_guest_ready(source->owner);
		break;
	case PTNI_SOURCE_SESSION:
		ptni_node_session_ready(source->owner);
		break;
	case PTNI_SOURCE_CQ:
		node->ops->cq_disarm(((struct ptni_node_cq *)source->owner)->cq);
		break;
	case PTNI_SOURCE_WAKE:
		wake_drain(node);
		break;
	}
}

static int sources_poll(struct ptn_node *node)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(node->epoll_fd, events, EVENTS, 0);

	node->events = events;
	node->event_count = count < 0 ? 0 : count;
	for (int i = 0; i < node->event_count; i++)
		if (events[i].data.ptr)
			source_ready(node, events[i].data.ptr);
	node->events = NULL;
	count = node->event_count;
	node->event_count = 0;
	return count;
}

/* Everybody in order of arrival: the same every time, whatever descriptors say. */
static void sources_scan(struct ptn_node *node)
{
	struct ptni_guest *guest, *guest_next;
	struct ptni_node_session *session;

	listener_ready(node);
	cds_list_for_each_entry_safe(guest, guest_next, &node->guests, link)
		ptni_guest_ready(guest);
	cds_list_for_each_entry(session, &node->sessions, link)
		if (session->channel)
			ptni_node_session_ready(session);
}

/* --- completions ------------------------------------------------------------------------------------ */

static void completion(struct ptn_node *node, const struct ibv_wc *wc)
{
	uint32_t id = (uint32_t)(wc->wr_id >> 32);
	struct ptni_node_lane *lane;

	if (id % PTNI_ID_SLOTS >= PTNI_ID_MANAGERS) {
		ptni_manager_complete(node, id % PTNI_ID_SLOTS - PTNI_ID_MANAGERS, wc);
		return;
	}
	lane = ptni_table_find(node, id);
	if (lane)
		ptni_node_lane_complete(lane, wc);
}

static int completions(struct ptn_node *node)
{
	struct ibv_wc wc[PTNI_POLL];
	struct ptni_node_cq *cq;
	int count = 0;

	cds_list_for_each_entry(cq, &node->cqs, link) {
		int got = ibv_poll_cq(cq->cq, PTNI_POLL, wc);

		for (int i = 0; i < got; i++)
			completion(node, &wc[i]);
		if (got < 0)
			PTNI_LOG(ERROR, core, "completion queue failed: %s", ptn_strerror(got));
		count += got > 0 ? got : 0;
	}
	return count;
}

/* --- questions from other threads ----------------------------------------------------------------- */

static int requests_answer(struct ptn_node *node)
{
	int count = 0;

	if (!__atomic_load_n(&node->asked, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&node->lock);
	__atomic_store_n(&node->asked, false, __ATOMIC_RELAXED);
	for (; !cds_list_empty(&node->requests); count++) {
		struct ptni_request *request =
			cds_list_first_entry(&node->requests, struct ptni_request, link);

		cds_list_del(&request->link);
		request->answer(node, request);
		request->done = true;
	}
	pthread_cond_broadcast(&node->answered);
	pthread_mutex_unlock(&node->lock);
	return count;
}

static void wake(struct ptn_node *node)
{
	uint64_t one = 1;

	while (write(node->wake_source.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

int ptni_loop_ask(struct ptn_node *node, struct ptni_request *request)
{
	pthread_mutex_lock(&node->lock);
	if (!node->running || pthread_equal(node->thread, pthread_self())) {
		pthread_mutex_unlock(&node->lock);
		request->answer(node, request);
		return request->ret;
	}
	cds_list_add_tail(&request->link, &node->requests);
	__atomic_store_n(&node->asked, true, __ATOMIC_RELEASE);
	wake(node);
	while (!request->done)
		pthread_cond_wait(&node->answered, &node->lock);
	pthread_mutex_unlock(&node->lock);
	return request->ret;
}

/* --- turns ------------------------------------------------------------------------------------------- */

static int consequences_round(struct ptn_node *node)
{
	int count = 0;

	while (!cds_list_empty(&node->dirty)) {
		ptni_node_lane_flush(
			cds_list_first_entry(&node->dirty, struct ptni_node_lane, dirty));
		count++;
	}
	count += ptni_managers_flush(node);
	count += ptni_node_lanes_run(node);
	count += ptni_node_workers_run(node);
	count += ptni_node_leases_run(node);
	count += ptni_node_withdrawals_run(node);
	count += ptni_node_sessions_run(node);
	return count;
}

int ptni_loop_turn(struct ptn_node *node, bool by_hand)
{
	int count = completions(node);

	if (by_hand)
		sources_scan(node);
	else
		count += sources_poll(node);
	ptni_wheel_advance(&node->wheel, ptni_node_clock_ns(node), WHEEL_BUDGET);
	count += requests_answer(node);
	for (int i = 0; i < RUN_ROUNDS; i++) {
		int got = consequences_round(node);

		count += got;
		if (!got)
			break;
	}
	return count;
}

/* Nothing gets lost: a completion that came before the queue was armed is polled, not slept over. */
static bool queues_armed(struct ptn_node *node)
{
	struct ptni_node_cq *cq;

	cds_list_for_each_entry(cq, &node->cqs, link)
		if (node->ops->cq_arm(cq->cq))
			return false;
	return true;
}

static uint64_t sleep_ns_of(struct ptn_node *node)
{
	uint64_t now_ns = ptni_node_clock_ns(node), next_ns = ptni_wheel_next_ns(&node->wheel);
	uint64_t left_ns = next_ns > now_ns ? next_ns - now_ns : 0;

	if (ptni_managers_busy(node))
		return 0;
	return left_ns < PTNI_WAIT_MAX_NS ? left_ns : PTNI_WAIT_MAX_NS;
}

static void loop_sleep(struct ptn_node *node)
{
	struct pollfd fd = { .fd = node->epoll_fd, .events = POLLIN };
	uint64_t left_ns = sleep_ns_of(node);
	struct timespec timeout;

	if (left_ns < PTNI_SPIN_NS || !queues_armed(node))
		return;
	left_ns -= PTNI_SPIN_NS / 2; /* the rest is spun: waking takes time */
	timeout = (struct timespec){ .tv_sec = (time_t)(left_ns / 1000000000),
				     .tv_nsec = (long)(left_ns % 1000000000) };
	ppoll(&fd, 1, &timeout, NULL);
}

void *ptni_loop_main(void *arg)
{
	struct ptn_node *node = arg;

	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	prctl(PR_SET_NAME, "ptn-node");
	while (!__atomic_load_n(&node->stop, __ATOMIC_ACQUIRE))
		if (!ptni_loop_turn(node, false))
			loop_sleep(node);
	return NULL;
}
