/* SPDX-License-Identifier: MIT */
/* Opening, ending and losing a session; what a node may send without doing harm. */
#include "tests/support/client_steps.h"

#include <patronus/log.h>

/* --- opening ------------------------------------------------------------------------------------------ */

static void nobody_body(struct fixture *fixture)
{
	const char *missing = "inproc:missing", *mixed[] = { "inproc:a", "verbs:b" }, *none = "x";
	struct ptn_client *client = NULL;
	int ret = ptn_client_open(&missing, 1, NULL, &client);

	assert_int_equal(ret, -ECONNREFUSED);
	assert_non_null(strstr(ptn_strerror(ret), "start the memory node"));
	assert_null(client);
	assert_int_equal(ptn_client_open(mixed, 2, NULL, &client), -EINVAL);
	assert_int_equal(ptn_client_open(&none, 1, NULL, &client), -EINVAL);
	assert_int_equal(ptn_client_open(NULL, 1, NULL, &client), -EINVAL);
	assert_int_equal(ptn_client_open(&missing, 0, NULL, &client), -EINVAL);
	assert_int_equal(ptn_client_close(NULL), 0);
	ptn_worker_close(NULL);
}

static void open__without_a_node_says_what_to_do(void **state)
{
	fixture_run_bare(fixture_init(), nobody_body);
}

static void version_body(struct fixture *fixture)
{
	fixture->node.welcome.version = PTNI_WIRE_VERSION + 1;
	assert_int_equal(fixture_client_open(fixture), PTN_E_VERSION);
	assert_non_null(strstr(ptn_strerror(PTN_E_VERSION), "same release"));
}

static void open__with_another_version_is_refused(void **state)
{
	fixture_run_bare(fixture_init(), version_body);
}

static void credentials_body(struct fixture *fixture)
{
	char long_secret[PTNI_CREDENTIALS_MAX + 2];

	fixture->options.credentials = "sesame";
	fixture->node.welcome.status = PTN_E_REFUSED;
	assert_int_equal(fixture_client_open(fixture), PTN_E_REFUSED);
	assert_int_equal(fixture->node.hello.credentials_len_bytes, 6);
	assert_memory_equal(fixture->node.hello.credentials, "sesame", 6);
	memset(long_secret, 'x', sizeof(long_secret));
	long_secret[sizeof(long_secret) - 1] = 0;
	fixture->options.credentials = long_secret;
	assert_int_equal(fixture_client_open(fixture), -EINVAL);
	assert_int_equal(fixture->node.hellos, 1);
}

static void open__with_wrong_credentials_is_refused(void **state)
{
	fixture_run_bare(fixture_init(), credentials_body);
}

static void silent_body(struct fixture *fixture)
{
	uint64_t before = fixture->world.now_ns;

	fixture->node.deaf = true;
	assert_int_equal(fixture_client_open(fixture), -ETIMEDOUT);
	assert_true(fixture->world.now_ns - before >= fixture->options.connect_timeout_ns);
	assert_true(fixture->world.now_ns - before < 2 * fixture->options.connect_timeout_ns);
}

static void open__of_a_silent_node_times_out(void **state)
{
	fixture_run_bare(fixture_init(), silent_body);
}

static void half_body(struct fixture *fixture)
{
	fixture->node.open_status = PTN_E_NODE_FULL; /* no lanes, so no keeper */
	assert_int_equal(fixture_client_open(fixture), PTN_E_NODE_FULL);
	assert_int_equal(fixture->node.goodbyes, 1); /* a session that was opened is given back */
}

static void open__half_way_is_undone(void **state)
{
	fixture_run_bare(fixture_init(), half_body);
}

struct nonsense {
	const char *name;
	size_t offset, len_bytes;
	uint64_t value;
};

#define NONSENSE(member, nonsense_value)                                              \
	{                                                                             \
#member, offsetof(struct ptni_welcome, member),                       \
			sizeof(((struct ptni_welcome *)NULL)->member), nonsense_value \
	}

/* A welcome that nothing can be built on. */
static const struct nonsense nonsense[] = {
	NONSENSE(op, PTNI_LANE_ADDR), NONSENSE(status, 5),      NONSENSE(term_ns, 0),
	NONSENSE(lanes_max, 0),       NONSENSE(workers_max, 1), NONSENSE(drift_ppm, 1000000),
	NONSENSE(page_addr, 0),       NONSENSE(status_addr, 0), NONSENSE(extent_shift, 64),
	NONSENSE(page_shift, 64),
};

static void nonsense_body(struct fixture *fixture)
{
	struct ptni_welcome sane = fixture->node.welcome;

	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		fixture->node.welcome = sane;
		memcpy((uint8_t *)&fixture->node.welcome + nonsense[i].offset, &nonsense[i].value,
		       nonsense[i].len_bytes);
		assert_int_equal(fixture_client_open(fixture), PTN_E_PROTOCOL);
		fake_hang_up(&fixture->node);
	}
}

static void open__with_a_welcome_of_nonsense_is_refused(void **state)
{
	fixture_run_bare(fixture_init(), nonsense_body);
}

/* --- closing ------------------------------------------------------------------------------------------- */

static unsigned complaints;

static void count_complaints(void *arg, enum ptn_log_level level, const char *component,
			     const char *message)
{
	complaints += level == PTN_LOG_ERROR || level == PTN_LOG_WARN;
}

static void close_body(struct fixture *fixture)
{
	assert_int_equal(ptn_client_close(fixture->client), -EBUSY);
	for (unsigned i = 0; i < 20; i++) { /* more than there are indices: they come back */
		ptn_worker_close(fixture->worker);
		assert_int_equal(ptn_worker_open(fixture->client, &fixture->worker), 0);
		assert_int_equal(fixture->worker->index, 1);
	}
	ptn_worker_close(fixture->worker);
	fixture->worker = NULL;
	for (unsigned w = 1; w < FAKE_WORKERS; w++)
		for (unsigned i = 0; i < PTNI_LANES_MAX; i++)
			assert_null(fixture->node.lane[w][i].qp);
}

/* Whatever stays open makes closing the protection domain fail, which is logged as an error; nor does anything
 * else about it deserve a warning. */
static void close__gives_everything_back(void **state)
{
	struct fixture *fixture = fixture_init();

	complaints = 0;
	assert_int_equal(ptn_log_level_set("warn"), 0);
	ptn_log_set(count_complaints, NULL);
	fixture_run(fixture, close_body);
	ptn_log_set(NULL, NULL);
	assert_int_equal(ptn_log_level_set("off"), 0);
	assert_int_equal(complaints, 0);
	assert_int_equal(fixture->node.goodbyes, 1);
}

static void workers_body(struct fixture *fixture)
{
	struct ptn_worker *workers[FAKE_WORKERS];
	struct ptn_worker *one_more;

	for (unsigned i = 0; i < FAKE_WORKERS - 2; i++)
		assert_int_equal(ptn_worker_open(fixture->client, &workers[i]), 0);
	assert_int_equal(ptn_worker_open(fixture->client, &one_more), PTN_E_QUOTA);
	for (unsigned i = 0; i < FAKE_WORKERS - 2; i++)
		ptn_worker_close(workers[i]);
	assert_int_equal(ptn_worker_open(fixture->client, &one_more), 0);
	ptn_worker_close(one_more);
}

static void workers__are_as_many_as_the_node_allows(void **state)
{
	fixture_run(fixture_init(), workers_body);
}

/* --- losing it ------------------------------------------------------------------------------------------ */

static void death_body(struct fixture *fixture)
{
	struct ptni_call call;
	struct ptni_message request = { .op = PTNI_OP_PING };
	struct ptni_op op;
	uint64_t word;

	assert_int_equal(
		ptni_call_start(&call, fixture->worker, 0, &request, sizeof(request), 10000000), 0);
	for (unsigned i = 0; i < 2; i++)
		fake_lane_cut(&fixture->node, fixture->worker->index, i);
	fake_hang_up(&fixture->node);
	fixture->world.node_stopped = true;
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_NODE_DOWN);
	assert_int_equal(ptni_call_wait(&call), PTN_E_NODE_DOWN);
	assert_int_equal(ptni_op_begin(fixture->worker, &op), PTN_E_NODE_DOWN);
	assert_int_equal(ptni_call_start(&call, fixture->worker, 0, &request, sizeof(request), 1),
			 PTN_E_NODE_DOWN);
	assert_int_equal(atomic_load(ptni_client_session_deadline(fixture->client, 0)), 0);
}

static void node__that_dies_ends_everything(void **state)
{
	fixture_run(fixture_init(), death_body);
}

static void ended_body(struct fixture *fixture)
{
	uint64_t word;

	fake_ended(&fixture->node, PTN_E_SESSION_FENCED);
	world_pass(&fixture->world, 10000);
	assert_int_equal(word_read(fixture, 0, &word), PTN_E_SESSION_FENCED);
}

static void node__that_ends_the_session_is_heard(void **state)
{
	fixture_run(fixture_init(), ended_body);
}

static void said_body(struct fixture *fixture)
{
	struct ptni_session *session = fixture->client->session[0];
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSE, .worker = 5, .lane = 0 };

	fixture->world.keeping = false;
	fake_ended(&fixture->node, PTN_E_FLOOD);
	fake_hang_up(&fixture->node);
	pthread_mutex_lock(&session->control);
	assert_true(ptni_session_send(session, &message, sizeof(message)) < 0);
	pthread_mutex_unlock(&session->control);
	assert_int_equal(ptni_session_error(session), PTN_E_FLOOD);
	fixture->world.node_stopped = true;
}

/* Its last word counts, also for a client that speaks before it listens. */
static void node__that_hangs_up_is_heard_out(void **state)
{
	fixture_run(fixture_init(), said_body);
}

/* --- garbage --------------------------------------------------------------------------------------------- */

static void channel_say(struct fixture *fixture, const void *bytes, size_t len_bytes)
{
	struct fake_node *node = &fixture->node;

	assert_int_equal(fake_ops(node)->channel_send(node->channel, bytes, len_bytes), 0);
	world_pass(&fixture->world, 5000);
}

static void garbage_body(struct fixture *fixture)
{
	static uint8_t bytes[PTNI_CHANNEL_MAX];
	struct ptni_lane_addr message = { .op = PTNI_LANE_CLOSED, .worker = 1, .lane = 99 };
	struct ptni_session *session = fixture->client->session[0];
	struct ptni_rng rng;
	uint64_t word, said = 0;

	ptni_rng_seed(&rng, 42);
	for (unsigned op = 0; op < 16; op++)
		for (unsigned i = 0; i < 8; i++) {
			size_t len = 1 + ptni_rng_below(&rng, sizeof(struct ptni_lane_addr) + 4);

			for (size_t k = 0; k < len; k++)
				bytes[k] = (uint8_t)ptni_rng_next(&rng);
			if (len >= 4 && op != PTNI_ENDED)
				memcpy(bytes, &op, 4);
			if (len == sizeof(message))
				len++; /* those come below */
			channel_say(fixture, bytes, len);
			said++;
		}
	channel_say(fixture, &message, sizeof(message));
	message.worker = UINT32_MAX;
	channel_say(fixture, &message, sizeof(message));
	message.op = PTNI_LANE_ADDR;
	message.worker = 7; /* not open */
	message.lane = 0;
	channel_say(fixture, &message, sizeof(message));
	assert_int_equal(session->malformed, said + 2);
	message.worker = 1; /* open, but nobody asked */
	channel_say(fixture, &message, sizeof(message));
	assert_int_equal(ptni_session_error(session), 0);
	assert_int_equal(word_read(fixture, 0, &word), 0);
}

/* What a node sends unasked or wrongly is counted and ignored. */
static void garbage__on_the_channel_does_nothing(void **state)
{
	fixture_run(fixture_init(), garbage_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open__without_a_node_says_what_to_do),
		cmocka_unit_test(open__with_another_version_is_refused),
		cmocka_unit_test(open__with_wrong_credentials_is_refused),
		cmocka_unit_test(open__of_a_silent_node_times_out),
		cmocka_unit_test(open__half_way_is_undone),
		cmocka_unit_test(open__with_a_welcome_of_nonsense_is_refused),
		cmocka_unit_test(close__gives_everything_back),
		cmocka_unit_test(workers__are_as_many_as_the_node_allows),
		cmocka_unit_test(node__that_dies_ends_everything),
		cmocka_unit_test(node__that_ends_the_session_is_heard),
		cmocka_unit_test(node__that_hangs_up_is_heard_out),
		cmocka_unit_test(garbage__on_the_channel_does_nothing),
	};

	(void)ptn_log_level_set("off"); /* most of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
