/* SPDX-License-Identifier: MIT */
#include "core/session.h"

#include "core/base/log.h"
#include "core/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
	PUMP_MAX = 64, /* messages of one pump */
	DIAL_PAUSE_MS = 1,
	GOODBYE_NS = 100000000, /* how long to wait for the node's last word */
};

static const struct ptni_fabric_ops *ops_of(const struct ptni_session *session)
{
	return session->client->fabric->ops;
}

static uint64_t now_of(const struct ptni_session *session)
{
	return ptni_clock_read(session->client->clock);
}

/* Control path: wait for the channel, or suspend when the caller is a fiber. */
static void channel_wait(struct ptni_session *session)
{
	struct pollfd fd = { .fd = ops_of(session)->channel_fd(session->channel),
			     .events = POLLIN };

	if (ptni_fiber_current())
		ptni_fiber_suspend();
	else
		(void)poll(&fd, 1, DIAL_PAUSE_MS);
}

/* --- opening ---------------------------------------------------------------------------------- */

static int hello_send(struct ptni_session *session, uint64_t deadline_ns)
{
	const struct ptn_client *client = session->client;
	struct ptni_hello hello = { .op = PTNI_HELLO,
				    .version = PTNI_WIRE_VERSION,
				    .magic = PTNI_WIRE_MAGIC,
				    .term_ns = client->options.term_ns };
	int ret;

	if (client->options.unprotected)
		hello.flags |= PTNI_HELLO_UNPROTECTED;
	if (client->credentials) {
		hello.credentials_len_bytes = (uint32_t)strlen(client->credentials);
		memcpy(hello.credentials, client->credentials, hello.credentials_len_bytes);
	}
	session->hello_ns = now_of(session);
	for (;;) {
		ret = ops_of(session)->channel_send(session->channel, &hello, sizeof(hello));
		if (ret != -EAGAIN)
			return ret < 0 ? ret : 0;
		if (now_of(session) >= deadline_ns)
			return -ETIMEDOUT;
		channel_wait(session);
	}
}

/* What the node says is checked once, here, before anything relies on it. */
static int welcome_check(const struct ptni_session *session)
{
	const struct ptni_welcome *welcome = &session->welcome;

	if (welcome->version != PTNI_WIRE_VERSION)
		return PTN_E_VERSION;
	if (welcome->status)
		return welcome->status < 0 ? welcome->status : -EBADMSG;
	if (!welcome->term_ns || !welcome->lanes_max || welcome->workers_max < 2 ||
	    welcome->drift_ppm > 100000 || !welcome->page_addr || !welcome->status_addr ||
	    welcome->extent_shift > 63 || welcome->page_shift > 63 ||
	    (session->client->options.unprotected && !welcome->region_rkey))
		return -EBADMSG;
	return 0;
}

static int welcome_recv(struct ptni_session *session, uint64_t deadline_ns)
{
	union {
		struct ptni_welcome welcome;
		uint8_t bytes[PTNI_CHANNEL_MAX];
	} message;
	int ret;

	for (;;) {
		ret = ops_of(session)->channel_recv(session->channel, &message, sizeof(message));
		if (ret != -EAGAIN)
			break;
		if (now_of(session) >= deadline_ns)
			return -ETIMEDOUT;
		channel_wait(session);
	}
	if (ret < 0)
		return ret;
	if ((size_t)ret != sizeof(message.welcome) || message.welcome.op != PTNI_WELCOME)
		return -EBADMSG;
	session->welcome = message.welcome;
	return welcome_check(session);
}

/* Unlike an empty deadline, one that was never set says so. */
static void lease_init(struct ptni_session *session)
{
	const struct ptni_welcome *welcome = &session->welcome;
	uint32_t units = welcome->term_units ? welcome->term_units : 1;
	uint64_t term_ns;

	if (__builtin_mul_overflow(welcome->term_ns, (uint64_t)units, &term_ns))
		term_ns = UINT64_MAX / 4;
	session->term_ns = term_ns;
	session->lease = (struct ptni_lease){ .node = session->node,
					      .unit_ns = welcome->term_ns,
					      .sent_ns = session->hello_ns };
	atomic_init(&session->deadline_ns,
		    ptni_deadline_ns(session->hello_ns, term_ns, welcome->drift_ppm));
}

static int handshake(struct ptni_session *session, uint64_t deadline_ns)
{
	int ret =
		ops_of(session)->dial(session->client->fabric, session->address, &session->channel);

	if (!ret)
		ret = hello_send(session, deadline_ns);
	if (!ret)
		ret = welcome_recv(session, deadline_ns);
	if (ret == -EBADMSG)
		ret = PTN_E_PROTOCOL;
	if (ret == -ECONNRESET)
		ret = PTN_E_NODE_DOWN;
	return ret;
}

int ptni_session_open(struct ptn_client *client, unsigned node, const char *address,
		      uint64_t deadline_ns, struct ptni_session **session_out)
{
	struct ptni_session *session = aligned_alloc(64, (sizeof(*session) + 63) & ~(size_t)63);
	int ret;

	if (!session)
		return -ENOMEM;
	memset(session, 0, sizeof(*session));
	session->client = client;
	session->node = (uint16_t)node;
	session->address = strdup(address);
	(void)pthread_mutex_init(&session->control, NULL);
	ret = session->address ? handshake(session, deadline_ns) : -ENOMEM;
	if (ret) {
		PTNI_LOG(WARN, core, "no session with %s: %s", address, ptn_strerror(ret));
		if (session->channel)
			ops_of(session)->channel_close(session->channel);
		free(session->address);
		(void)pthread_mutex_destroy(&session->control);
		free(session);
		return ret;
	}
	lease_init(session);
	*session_out = session;
	return 0;
}

/* --- ending ----------------------------------------------------------------------------------- */

void ptni_session_close(struct ptni_session *session)
{
	struct ptni_lane_addr goodbye = { .op = PTNI_GOODBYE };
	uint64_t end_ns = now_of(session) + GOODBYE_NS;

	pthread_mutex_lock(&session->control);
	session->goodbye = true;
	if (!session->ended && !ptni_session_error(session) &&
	    !ptni_session_send(session, &goodbye, sizeof(goodbye))) {
		while (!session->ended && session->channel && !ptni_session_error(session) &&
		       now_of(session) < end_ns) {
			channel_wait(session);
			ptni_session_pump(session);
		}
	}
	if (session->channel)
		ops_of(session)->channel_close(session->channel);
	session->channel = NULL;
	pthread_mutex_unlock(&session->control);
	(void)pthread_mutex_destroy(&session->control);
	free(session->address);
	free(session);
}

void ptni_session_fail(struct ptni_session *session, int error, const char *why)
{
	struct ptn_client *client = session->client;
	int expected = 0;

	if (!atomic_compare_exchange_strong(&session->error, &expected, error))
		return;
	atomic_store_explicit(&session->deadline_ns, 0, memory_order_release);
	PTNI_LOG(WARN, core, "session %u with %s is over (%s): %s", session->welcome.session,
		 session->address, why, ptn_strerror(error));
	for (unsigned i = 0; i < client->node_count; i++)
		if (!client->session[i] || !ptni_session_error(client->session[i]))
			return;
	atomic_store_explicit(&client->error, error, memory_order_release);
}

/* --- channel ---------------------------------------------------------------------------------- */

/* A node that closes in good order says so before it hangs up: what it said counts, though we spoke first. */
int ptni_session_send(struct ptni_session *session, const void *message, size_t len_bytes)
{
	int ret;

	if (!session->channel)
		return -ENOTCONN;
	ret = ops_of(session)->channel_send(session->channel, message, len_bytes);
	if (ret < 0 && ret != -EAGAIN) {
		ptni_session_pump(session);
		if (!session->goodbye && !session->ended)
			ptni_session_fail(session, PTN_E_NODE_DOWN, "the channel broke");
	}
	return ret < 0 ? ret : 0;
}

static void malformed(struct ptni_session *session)
{
	session->malformed++;
	if (session->malformed == 1)
		PTNI_LOG(WARN, core, "%s sent a message that makes no sense; ignored",
			 session->address);
}

static void lane_message(struct ptni_session *session, const struct ptni_lane_addr *message)
{
	struct ptni_lane *lane = NULL;

	if (message->worker >= PTNI_WORKERS_MAX ||
	    (message->lane >= PTNI_LANES_MAX && message->lane != PTNI_LANE_ALL)) {
		malformed(session);
		return;
	}
	if (message->op == PTNI_LANE_CLOSED && message->lane == PTNI_LANE_ALL) {
		session->worker_closing[message->worker] = false;
		return;
	}
	if (message->lane < PTNI_LANES_MAX)
		lane = session->lane[message->worker][message->lane];
	if (lane) /* else it is late: the worker has closed meanwhile */
		ptni_lane_answer(lane, message);
}

static void ended(struct ptni_session *session, const struct ptni_ended *message)
{
	int status = message->status;

	session->ended = true;
	if (session->goodbye)
		return;
	if (status == PTN_E_NODE_CLOSING)
		status = PTN_E_NODE_DOWN; /* for whoever waits it is the same */
	if (ptn_error_scope(status) != PTN_SCOPE_NODE)
		status = status == -ETIMEDOUT ? PTN_E_SESSION_FENCED : PTN_E_SESSION_ENDED;
	ptni_session_fail(session, status,
			  message->status == PTN_E_NODE_CLOSING ? "the node closes" :
								  "the node ended it");
}

static void dispatch(struct ptni_session *session, const void *bytes, size_t len_bytes)
{
	uint32_t op = 0;

	if (len_bytes >= sizeof(op))
		memcpy(&op, bytes, sizeof(op));
	if ((op == PTNI_LANE_ADDR || op == PTNI_LANE_CLOSED || op == PTNI_LANE_LOST) &&
	    len_bytes == sizeof(struct ptni_lane_addr))
		lane_message(session, bytes);
	else if (op == PTNI_ENDED && len_bytes == sizeof(struct ptni_ended))
		ended(session, bytes);
	else
		malformed(session);
}

void ptni_session_pump(struct ptni_session *session)
{
	_Alignas(8) uint8_t bytes[PTNI_CHANNEL_MAX];

	for (int i = 0; i < PUMP_MAX && session->channel; i++) {
		int ret = ops_of(session)->channel_recv(session->channel, bytes, sizeof(bytes));

		if (ret == -EAGAIN)
			return;
		if (ret == -EMSGSIZE) {
			malformed(session);
		} else if (ret < 0) {
			if (!session->goodbye && !session->ended)
				ptni_session_fail(session, PTN_E_NODE_DOWN, "the channel broke");
			ops_of(session)->channel_close(session->channel);
			session->channel = NULL;
		} else {
			dispatch(session, bytes, (size_t)ret);
		}
	}
}

static void step_lanes(struct ptni_session *session, unsigned worker, uint64_t now_ns)
{
	for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
		if (session->lane[worker][i])
			ptni_lane_step(session->lane[worker][i], now_ns);
}

void ptni_session_drive(struct ptni_session *session, struct ptn_worker *worker)
{
	uint64_t now_ns = now_of(session);

	if (pthread_mutex_trylock(&session->control))
		return;
	ptni_session_pump(session);
	if (ptni_session_error(session))
		;
	else if (worker)
		step_lanes(session, worker->index, now_ns);
	else
		for (unsigned i = 0; i < session->client->workers_max; i++)
			step_lanes(session, i, now_ns);
	pthread_mutex_unlock(&session->control);
}
