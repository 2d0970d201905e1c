/* SPDX-License-Identifier: MIT */
/* Client and node in processes of their own, over shared memory; processes stopped and killed. */
#include "core/client.h"
#include "tests/support/child.h"
#include "tests/support/granting.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <patronus/log.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define ALL_RIGHTS (IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
#define SECOND_NS  UINT64_C(1000000000)

enum {
	TERM_NS = 100000000,
	STOP_AFTER = 2000,
};

static struct granting granting;

static struct ptn_node *node_start(const char *address)
{
	struct ptn_node_options options = { .size = sizeof(options),
					    .memory_bytes = 1 << 22,
					    .term_ns = TERM_NS };
	struct ptn_node *node;

	if (ptni_node_open(address, &options, &node) || granting_add(&granting, node) ||
	    ptni_node_run(node))
		return NULL;
	return node;
}

/* A client with a worker and a window on the first page. */
struct user {
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptni_window *window;
};

static int user_open(struct user *user, const char *address)
{
	int ret = ptn_client_open(&address, 1, NULL, &user->client);

	if (!ret)
		ret = ptn_worker_open(user->client, &user->worker);
	if (!ret)
		ret = grant_window(user->worker, 0, 0, 4096, ALL_RIGHTS, 0, NULL, &user->window);
	return ret;
}

static int user_faa(struct user *user)
{
	struct ptni_batch batch;
	struct ptni_op op;
	int ret = ptni_op_begin(user->worker, &op);

	if (ret)
		return ret;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_faa(&batch, user->window, user->window->addr, 1, ptni_op_buffer(&op, 8));
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	return ret;
}

static void user_close(struct user *user)
{
	ptn_worker_close(user->worker);
	assert_int_equal(ptn_client_close(user->client), 0);
}

/* A word from the other process, or the end of it. */
static void word_say(int fd)
{
	(void)!write(fd, "x", 1);
}

static bool word_hear(int fd)
{
	char word;

	return read(fd, &word, 1) == 1;
}

static void address_make(char *address, size_t len_bytes, const char *name)
{
	(void)snprintf(address, len_bytes, "shm:/tmp/ptn-test-%d-%s", (int)getpid(), name);
}

static void child_of_node(const char *address, int ready)
{
	if (!node_start(address))
		_exit(1);
	word_say(ready);
	for (;;)
		pause();
}

static void node__killed_is_noticed_by_everybody(void **state)
{
	struct user user;
	char address[64];
	int ready[2], ret = 0;
	uint64_t killed_ns;
	pid_t child;

	address_make(address, sizeof(address), "node");
	assert_int_equal(pipe(ready), 0);
	child = child_fork();
	if (!child)
		child_of_node(address, ready[1]);
	assert_true(word_hear(ready[0]));
	assert_int_equal(user_open(&user, address), 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(user_faa(&user), 0);
	assert_true(child_kill(child));
	killed_ns = ptni_clock_now_ns();
	while (ret != PTN_E_NODE_DOWN && ptni_clock_now_ns() - killed_ns < 5 * SECOND_NS)
		ret = user_faa(&user);
	assert_int_equal(ret, PTN_E_NODE_DOWN);
	assert_true(ptni_clock_now_ns() - killed_ns < 2 * SECOND_NS);
	user_close(&user);
	close(ready[0]);
	close(ready[1]);
}

/*
 * Count until it hurts; the exit code says what hurt. It stops itself, between two accesses: on this
 * card an access is made by the process' own CPU, and one that is stopped within it is not over.
 */
static void child_of_client(const char *address, int ready)
{
	struct user user;
	int ret;

	if (user_open(&user, address))
		_exit(1);
	word_say(ready);
	for (unsigned i = 0; !(ret = user_faa(&user)); i++)
		if (i == STOP_AFTER)
			(void)raise(SIGSTOP);
	_exit(ret == PTN_E_SESSION_FENCED ? 42 : 2);
}

static uint64_t counted(struct ptn_node *node)
{
	size_t len;

	return __atomic_load_n((const uint64_t *)ptni_node_region(node, &len), __ATOMIC_ACQUIRE);
}

static struct ptn_node_info info_of(struct ptn_node *node)
{
	struct ptn_node_info info;

	assert_int_equal(ptn_node_info(node, &info), 0);
	return info;
}

static void sessions_await(struct ptn_node *node, uint32_t sessions)
{
	uint64_t end_ns = ptni_clock_now_ns() + 5 * SECOND_NS;

	while (info_of(node).sessions != sessions && ptni_clock_now_ns() < end_ns)
		;
	assert_int_equal(info_of(node).sessions, sessions);
}

/* The child must fork before this process has threads, so it waits for the node to be there. */
static pid_t client_spawn(const char *address, int go[2], int ready[2])
{
	pid_t child;

	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(ready), 0);
	child = child_fork();
	if (!child) {
		if (word_hear(go[0]))
			child_of_client(address, ready[1]);
		_exit(3);
	}
	return child;
}

static void pipes_close(int go[2], int ready[2])
{
	for (int i = 0; i < 2; i++) {
		close(go[i]);
		close(ready[i]);
	}
}

static void client__stopped_past_its_lease_wakes_up_fenced(void **state)
{
	int go[2], ready[2], status;
	struct ptn_node *node;
	char address[64];
	uint64_t then;
	pid_t child;

	address_make(address, sizeof(address), "stopped");
	child = client_spawn(address, go, ready);
	node = node_start(address);
	assert_non_null(node);
	word_say(go[1]);
	assert_true(word_hear(ready[0]));
	status = child_wait_for(child, WUNTRACED);
	assert_true(WIFSTOPPED(status));
	sessions_await(node, 0); /* its lease ran out, it was fenced */
	then = counted(node);
	assert_int_equal(then, STOP_AFTER + 1);
	assert_int_equal(kill(child, SIGCONT), 0);
	status = child_wait(child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
	assert_int_equal(counted(node), then); /* nothing landed after the fence */
	ptn_node_close(node);
	pipes_close(go, ready);
}

static void client__killed_gives_everything_back(void **state)
{
	int go[2], ready[2];
	struct ptn_node *node;
	char address[64];
	uint64_t killed_ns;
	pid_t child;

	address_make(address, sizeof(address), "killed");
	child = client_spawn(address, go, ready);
	node = node_start(address);
	assert_non_null(node);
	word_say(go[1]);
	assert_true(word_hear(ready[0]));
	while (counted(node) < 1000)
		;
	assert_int_equal(kill(child, SIGKILL), 0);
	killed_ns = ptni_clock_now_ns();
	sessions_await(node, 0);
	assert_true(ptni_clock_now_ns() - killed_ns < SECOND_NS);
	assert_int_equal(info_of(node).windows, 0);
	assert_int_equal(info_of(node).lanes, 0);
	assert_int_equal(granting.ended, 1);
	(void)child_wait(child);
	ptn_node_close(node);
	pipes_close(go, ready);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(client__stopped_past_its_lease_wakes_up_fenced,
					  children_end),
		cmocka_unit_test_teardown(client__killed_gives_everything_back, children_end),
		cmocka_unit_test_teardown(node__killed_is_noticed_by_everybody, children_end),
	};

	(void)ptn_log_level_set("off");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
