/* SPDX-License-Identifier: MIT */
/*
 * The keeper keeps a client alive: it extends the sessions' leases, reports epochs, builds spare lanes,
 * listens to the channels. It is worker 0 and a thread of its own, or the application's
 * calls of ptn_client_keep.
 *
 * What it does for a session that may have to wait is done in fibers of worker 0, one for the lease and one
 * for the epoch: a node that hangs does not make the leases on the others run out.
 *
 * 1. The lease is extended whenever less than two thirds of the term is left.
 * 2. An extension is not given up before the node is heard to have closed the lease, or has been silent for
 *    SILENCE_TERMS terms: until then our own deadline keeps all accesses off.
 */
#include "core/keeper.h"

#include "core/base/log.h"
#include "core/epoch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	EPOCH_POLL_NS = 10000000,
	EPOCH_HURRY_NS = 1000000,
	BUSY_NS = 50000, /* something is under way */
	TURN_RUNS = 64, /* looks at the completion queue before a turn leaves what is under way */
	TERM_DIVISOR = 3,
	RETRY_DIVISOR = 16,
	EPOCH_TERM_DIVISOR = 8,
	SILENCE_TERMS = 4,
	OP_TIMEOUT_MIN_NS = 10000000,
	EPOCH_FIBERS_MAX = PTNI_OPS_MAX / 2,
};

struct ptni_keeper {
	struct ptn_client *client;
	struct ptn_worker *worker;
	atomic_flag busy;
	atomic_bool stop;
	bool running; /* the thread */
	unsigned polling; /* epoch fibers alive */
	int wake_fd;
	pthread_t thread;
};

/* --- lease ------------------------------------------------------------------------------------ */

/* The word's generation is the node's choice: read it before the first CAS. */
static int word_read(struct ptni_op *op, struct ptni_session *session)
{
	const struct ptni_window *page = ptni_window_page(op->worker, session->node);
	uint64_t *word = ptni_op_buffer(op, sizeof(*word));
	struct ptni_batch batch;
	int ret;

	ptni_batch_init(&batch, op, session->node);
	ptni_batch_read(&batch, page, page->addr + offsetof(struct ptni_session_page, lease), word,
			sizeof(*word));
	ret = ptni_batch_run(&batch);
	if (!ret && *word & PTNI_LEASE_CLOSED)
		ret = PTN_E_LEASE_EXPIRED;
	if (!ret)
		session->lease.word = *word;
	return ret;
}

static int extend(struct ptn_worker *worker, struct ptni_session *session)
{
	/* With fine units, "up to a unit more" makes it a whole term and no longer. */
	uint64_t term_ns = session->welcome.term_units > 1 ?
				   session->term_ns - session->welcome.term_ns :
				   session->term_ns;
	struct ptni_op op;
	int ret = ptni_op_begin(worker, &op);

	if (ret)
		return ret;
	if (!session->lease.word)
		ret = word_read(&op, session);
	if (!ret)
		ret = ptni_lease_extend(&op, &session->lease, term_ns);
	ptni_op_end(&op);
	return ret;
}

static void extended(struct ptni_session *session, int ret, uint64_t now_ns)
{
	uint64_t term_ns = session->term_ns;
	uint64_t deadline_ns =
		atomic_load_explicit(&session->lease.deadline_ns, memory_order_relaxed);

	if (ret == PTN_E_LEASE_EXPIRED || ret == PTN_E_LEASE_REVOKED) {
		ptni_session_fail(session, PTN_E_SESSION_FENCED, "its lease was closed");
		return;
	}
	session->extend_ns = now_ns + (ret ? term_ns / RETRY_DIVISOR : term_ns / TERM_DIVISOR);
	if (!ret && deadline_ns) {
		atomic_store_explicit(&session->deadline_ns, deadline_ns, memory_order_release);
		if (ptni_session_error(session)) /* it may have come before our store */
			atomic_store_explicit(&session->deadline_ns, 0, memory_order_release);
	} else if (ret) {
		deadline_ns = atomic_load_explicit(&session->deadline_ns, memory_order_relaxed);
		if (deadline_ns && now_ns > deadline_ns &&
		    now_ns - deadline_ns > SILENCE_TERMS * term_ns + session->silence_ns)
			ptni_session_fail(session, PTN_E_NODE_DOWN, "it does not answer");
	}
}

static void extend_main(void *arg)
{
	struct ptni_session *session = arg;
	struct ptn_worker *worker = session->client->worker[PTNI_KEEPER_WORKER];
	int ret = extend(worker, session);

	extended(session, ret, ptni_worker_clock(worker));
	session->extending = false;
}

/* --- epochs ----------------------------------------------------------------------------------- */

/* Often enough to report within the two terms that a node allows, however short they are. */
static uint64_t poll_interval(struct ptni_session *session)
{
	uint64_t interval_ns = ptni_epoch_hurried(session) ? EPOCH_HURRY_NS : EPOCH_POLL_NS;
	uint64_t least_ns = session->term_ns / EPOCH_TERM_DIVISOR;

	return interval_ns < least_ns ? interval_ns : least_ns;
}

static void epoch_main(void *arg)
{
	struct ptni_session *session = arg;
	struct ptn_worker *worker = session->client->worker[PTNI_KEEPER_WORKER];
	(void)ptni_epoch_turn(worker, session); /* what failed is tried again by the next one */

	session->poll_ns = ptni_worker_clock(worker) + poll_interval(session);
	session->polling = false;
	session->client->keeper->polling--;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void begin_due(struct ptni_keeper *keeper, struct ptni_session *session, uint64_t now_ns)
{
	if (!session->extending && now_ns >= session->extend_ns) {
		session->extending = true;
		if (ptni_worker_spawn(keeper->worker, extend_main, session))
			session->extending = false; /* the next turn has room */
	}
	if (ptni_epoch_hurried(session) && session->poll_ns > now_ns + EPOCH_HURRY_NS)
		session->poll_ns = now_ns + EPOCH_HURRY_NS;
	if (!session->polling && now_ns >= session->poll_ns && keeper->polling < EPOCH_FIBERS_MAX) {
		session->polling = true;
		keeper->polling++;
		if (ptni_worker_spawn(keeper->worker, epoch_main, session)) {
			session->polling = false;
			keeper->polling--;
		}
	}
}

static bool lanes_unsettled(struct ptni_session *session)
{
	bool unsettled = false;

	pthread_mutex_lock(&session->control);
	for (unsigned i = 0; i < session->client->workers_max; i++)
		for (unsigned j = 0; j < PTNI_LANES_MAX; j++)
			unsettled |= session->lane[i][j] &&
				     ptni_lane_state(session->lane[i][j]) != PTNI_LANE_READY &&
				     ptni_lane_state(session->lane[i][j]) != PTNI_LANE_CONNECTED;
	pthread_mutex_unlock(&session->control);
	return unsettled;
}

static uint64_t sooner(uint64_t next_ns, uint64_t when_ns, uint64_t now_ns)
{
	uint64_t left_ns = when_ns > now_ns ? when_ns - now_ns : 0;

	return left_ns < next_ns ? left_ns : next_ns;
}

static uint64_t turn(struct ptni_keeper *keeper)
{
	struct ptn_client *client = keeper->client;
	uint64_t now_ns = ptni_worker_clock(keeper->worker), next_ns = EPOCH_POLL_NS;

	for (unsigned node = 0; node < client->node_count; node++) {
		struct ptni_session *session = client->session[node];

		if (!ptni_session_error(session))
			ptni_session_drive(session, NULL);
		if (!ptni_session_error(session))
			begin_due(keeper, session, now_ns);
	}
	(void)ptni_worker_poll(keeper->worker);
	for (unsigned i = 0; i < TURN_RUNS && ptni_worker_run(keeper->worker); i++)
		;
	if (keeper->worker->strands)
		next_ns = BUSY_NS;
	now_ns = ptni_worker_clock(keeper->worker);
	for (unsigned node = 0; node < client->node_count; node++) {
		struct ptni_session *session = client->session[node];

		if (ptni_session_error(session))
			continue;
		if (!session->extending)
			next_ns = sooner(next_ns, session->extend_ns, now_ns);
		if (!session->polling)
			next_ns = sooner(next_ns, session->poll_ns, now_ns);
		if (lanes_unsettled(session))
			next_ns = sooner(next_ns, now_ns + EPOCH_HURRY_NS, now_ns);
	}
	return next_ns;
}

uint64_t ptni_keeper_turn(struct ptni_keeper *keeper)
{
	uint64_t next_ns;

	if (atomic_flag_test_and_set_explicit(&keeper->busy, memory_order_acquire))
		return BUSY_NS; /* another thread is at it */
	next_ns = turn(keeper);
	atomic_flag_clear_explicit(&keeper->busy, memory_order_release);
	return next_ns;
}

uint64_t ptn_client_keep(struct ptn_client *client)
{
	return ptni_keeper_turn(client->keeper);
}

/* --- thread ----------------------------------------------------------------------------------- */

static unsigned descriptors(struct ptni_keeper *keeper, struct pollfd *fds)
{
	struct ptn_client *client = keeper->client;
	unsigned count = 0;

	fds[count++] = (struct pollfd){ .fd = keeper->wake_fd, .events = POLLIN };
	for (unsigned node = 0; node < client->node_count; node++) {
		struct ptni_session *session = client->session[node];

		pthread_mutex_lock(&session->control);
		if (session->channel && !ptni_session_error(session))
			fds[count++] = (struct pollfd){ .fd = client->fabric->ops->channel_fd(
								session->channel),
							.events = POLLIN };
		pthread_mutex_unlock(&session->control);
	}
	return count;
}

static void *thread_main(void *arg)
{
	struct ptni_keeper *keeper = arg;
	struct pollfd fds[1 + PTNI_NODES_MAX];
	uint64_t drained;

	while (!atomic_load_explicit(&keeper->stop, memory_order_acquire)) {
		uint64_t next_ns = ptni_keeper_turn(keeper);
		struct timespec time = { .tv_sec = (time_t)(next_ns / 1000000000u),
					 .tv_nsec = (long)(next_ns % 1000000000u) };

		if (next_ns && ppoll(fds, descriptors(keeper, fds), &time, NULL) > 0 &&
		    fds[0].revents)
			(void)!read(keeper->wake_fd, &drained, sizeof(drained));
	}
	return NULL;
}

void ptni_keeper_wake(struct ptni_keeper *keeper)
{
	uint64_t one = 1;

	if (keeper->running)
		(void)!write(keeper->wake_fd, &one, sizeof(one));
}

void ptni_client_wake_keeper(struct ptn_client *client)
{
	if (client->keeper)
		ptni_keeper_wake(client->keeper);
}

/* --- opening and closing ------------------------------------------------------------------------ */

static int leases_begin(struct ptni_keeper *keeper)
{
	struct ptn_client *client = keeper->client;
	int ret = 0;

	for (unsigned node = 0; !ret && node < client->node_count; node++) {
		struct ptni_session *session = client->session[node];

		session->silence_ns = client->options.connect_timeout_ns;
		ret = extend(keeper->worker, session);
		if (!ret)
			extended(session, ret, ptni_worker_clock(keeper->worker));
		if (!ret)
			ret = ptni_epoch_learn(keeper->worker, session);
	}
	return ptn_error_scope(ret) == PTN_SCOPE_LEASE ? PTN_E_SESSION_FENCED : ret;
}

int ptni_keeper_open(struct ptn_client *client, uint64_t deadline_ns)
{
	struct ptni_keeper *keeper = calloc(1, sizeof(*keeper));
	int ret;

	if (!keeper)
		return -ENOMEM;
	client->keeper = keeper;
	keeper->client = client;
	atomic_flag_clear(&keeper->busy);
	keeper->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (keeper->wake_fd < 0)
		return -errno;
	ret = ptni_worker_create(client, PTNI_KEEPER_WORKER, deadline_ns, &keeper->worker);
	if (ret)
		return ret;
	client->worker[PTNI_KEEPER_WORKER] = keeper->worker;
	ret = leases_begin(keeper);
	if (ret || client->options.manual_keeper)
		return ret;
	ret = -pthread_create(&keeper->thread, NULL, thread_main, keeper);
	keeper->running = !ret;
	return ret;
}

void ptni_keeper_stop(struct ptni_keeper *keeper)
{
	if (!keeper || !keeper->running)
		return;
	atomic_store_explicit(&keeper->stop, true, memory_order_release);
	ptni_keeper_wake(keeper);
	(void)pthread_join(keeper->thread, NULL);
	keeper->running = false;
}

void ptni_keeper_close(struct ptni_keeper *keeper)
{
	if (!keeper)
		return;
	ptni_keeper_stop(keeper);
	if (keeper->worker) {
		keeper->client->worker[PTNI_KEEPER_WORKER] = NULL;
		ptni_worker_destroy(keeper->worker);
	}
	if (keeper->wake_fd >= 0)
		(void)close(keeper->wake_fd);
	free(keeper);
}

struct ptn_worker *ptni_client_keeper(struct ptn_client *client)
{
	return client->keeper->worker;
}
