/* SPDX-License-Identifier: MIT */
/*
 * The other end in a process of its own, and killed: what is left must be told, and must go on
 * working. The other process is this program again, see nic_peer_main. An address that stays in one
 * process (inproc) has no such tests.
 */
#include "tests/nic/groups.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ADDITIONS = 500,
	PAGE = 4096,
};

/* What each end tells the other over the channel. */
struct introduction {
	struct ptni_qp_address address;
	uint64_t remote_addr;
	uint32_t rkey;
	uint32_t additions; /* 0 = until it fails */
};

static const struct ptni_qp_params params = {
	.access_flags = NIC_RIGHTS_ALL,
	.retry_count = 3,
	.rnr_retry = 7,
	.timeout = 14,
	.min_rnr_timer = 1,
	.rd_atomic = 8,
};

/* All that one process needs; of the child, which does without cmocka. */
struct station {
	struct ptni_fabric *fabric;
	const struct ptni_fabric_ops *ops;
	struct ptni_channel *channel;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	struct ibv_qp *qp;
	struct ibv_mw *mw;
	void *memory;
};

static int recv_all(const struct ptni_fabric_ops *ops, struct ptni_channel *channel, void *data,
		    size_t len)
{
	struct pollfd fd = { .fd = ops->channel_fd(channel), .events = POLLIN };
	int ret;
	while ((ret = ops->channel_recv(channel, data, len)) == -EAGAIN)
		if (poll(&fd, 1, NIC_DEADLINE_MS) != 1)
			return -ETIMEDOUT;
	return ret;
}

static int station_open(struct station *station, const char *address)
{
	struct ibv_qp_init_attr attr = { .qp_type = IBV_QPT_RC, .cap = { 16, 16, 1, 1, 0 } };
	int ret = ptni_fabric_open(address, NULL, &station->fabric);
	if (ret)
		return ret;
	const struct ptni_fabric_ops *ops = station->ops = station->fabric->ops;
	if ((ret = ops->memory_alloc(station->fabric, PAGE, &station->memory)) ||
	    (ret = ops->pd_open(station->fabric, &station->pd)) ||
	    (ret = ops->cq_open(station->fabric, 32, &station->cq)) ||
	    (ret = ops->mr_register(station->pd, station->memory, PAGE, NIC_MR_ALL, &station->mr)))
		return ret;
	attr.send_cq = attr.recv_cq = station->cq;
	ret = ops->qp_open(station->pd, &attr, &station->qp);
	return ret ? ret : ops->qp_init(station->qp, &params);
}

static int station_close(struct station *station)
{
	const struct ptni_fabric_ops *ops = station->ops;
	int ret = 0;
	if (station->channel)
		ops->channel_close(station->channel);
	if (station->qp)
		ret = ops->qp_close(station->qp);
	if (!ret && station->mr)
		ret = ops->mr_deregister(station->mr);
	if (!ret && station->cq)
		ret = ops->cq_close(station->cq);
	if (!ret && station->pd)
		ret = ops->pd_close(station->pd);
	if (!ret && station->memory)
		ops->memory_free(station->fabric, station->memory, PAGE);
	if (!ret && station->fabric)
		ops->close(station->fabric);
	return ret;
}

/* Returns when both ends are connected: whoever sends earlier would wait for a timeout. */
static int introduce(struct station *station, struct introduction *mine,
		     struct introduction *theirs)
{
	char ready = 'r';
	int ret = station->ops->qp_address(station->qp, &mine->address);
	if (!ret)
		ret = station->ops->channel_send(station->channel, mine, sizeof(*mine));
	if (!ret)
		ret = recv_all(station->ops, station->channel, theirs, sizeof(*theirs));
	if (ret >= 0)
		ret = station->ops->qp_connect(station->qp, &params, &theirs->address);
	if (!ret)
		ret = station->ops->channel_send(station->channel, &ready, 1);
	return ret < 0 ? ret : recv_all(station->ops, station->channel, &ready, 1);
}

static int add_one(struct station *station, const struct introduction *node)
{
	struct ibv_sge sge = { (uint64_t)(uintptr_t)station->memory, 8, station->mr->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge,
				  .num_sge = 1,
				  .opcode = IBV_WR_ATOMIC_FETCH_AND_ADD,
				  .send_flags = IBV_SEND_SIGNALED };
	struct ibv_send_wr *bad;
	struct ibv_wc wc;
	int got = 0;
	wr.wr.atomic.remote_addr = node->remote_addr;
	wr.wr.atomic.rkey = node->rkey;
	wr.wr.atomic.compare_add = 1;
	if (ibv_post_send(station->qp, &wr, &bad))
		return -EIO;
	while (!(got = ibv_poll_cq(station->cq, 1, &wc)))
		sched_yield();
	return got < 0 || wc.status ? -EIO : 0;
}

/* Adds ones to the node's word: as many as asked for, then says so and waits for the end. */
static int client_main(const char *address)
{
	struct station station = { 0 };
	struct introduction mine = { 0 }, node;
	int ret = station_open(&station, address);
	if (!ret)
		ret = station.ops->dial(station.fabric, address, &station.channel);
	if (!ret)
		ret = introduce(&station, &mine, &node);
	ret = ret == 1 ? 0 : -EPROTO;
	for (uint32_t i = 0; !ret && (!node.additions || i < node.additions); i++)
		ret = add_one(&station, &node);
	if (!ret)
		ret = station.ops->channel_send(station.channel, "done", 4);
	if (!ret)
		(void)recv_all(station.ops, station.channel, &node, sizeof(node));
	return station_close(&station) || ret ? 1 : 0;
}

/* Exports a page through a window and waits to be killed. */
static int node_main(const char *address)
{
	struct station station = { 0 };
	struct ptni_listener *listener;
	struct introduction mine = { 0 }, client;
	int ret = station_open(&station, address);
	if (ret || (ret = station.ops->listen(station.fabric, address, &listener)))
		return 1;
	if (write(STDOUT_FILENO, "r", 1) != 1)
		return 1;
	struct pollfd fd = { .fd = station.ops->listener_fd(listener), .events = POLLIN };
	while ((ret = station.ops->accept(listener, &station.channel)) == -EAGAIN)
		(void)poll(&fd, 1, NIC_DEADLINE_MS);
	/* Allocated last: a device's kernel driver frees what a dead process had newest first. */
	station.mw = ibv_alloc_mw(station.pd, IBV_MW_TYPE_2);
	if (ret || !station.mw)
		return 1;
	mine.remote_addr = (uint64_t)(uintptr_t)station.memory;
	mine.rkey = ibv_inc_rkey(station.mw->rkey);
	if (introduce(&station, &mine, &client) != 1)
		return 1;
	struct nic_op op =
		nic_bind(station.mw, mine.rkey, station.mr, mine.remote_addr, PAGE, NIC_RIGHTS_ALL);
	struct ibv_wc wc;
	op = nic_signalled(op, 1);
	if (nic_try_post(station.qp, &op, 1, NULL) ||
	    !nic_try_wait(station.cq, NIC_DEADLINE_MS, &wc) || wc.status ||
	    station.ops->channel_send(station.channel, "bound", 5))
		return 1;
	(void)recv_all(station.ops, station.channel, &client, sizeof(client));
	return 0;
}

int nic_peer_main(const char *address, const char *role)
{
	return strcmp(role, "node") ? client_main(address) : node_main(address);
}

static pid_t spawn(const char *address, const char *role, int *ready_out)
{
	char program[] = "nic_suite", option[] = "--peer", where[256], what[16];
	char *const argv[] = { program, option, where, what, NULL };
	snprintf(where, sizeof(where), "%s", address);
	snprintf(what, sizeof(what), "%s", role);
	posix_spawn_file_actions_t actions;
	int pipes[2];
	pid_t pid;
	assert_int_equal(pipe(pipes), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, pipes[0]);
	posix_spawn_file_actions_addclose(&actions, pipes[1]);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(pipes[1]);
	*ready_out = pipes[0];
	return pid;
}

static void reap(pid_t pid, int expected_signal, int ready)
{
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, expected_signal);
	if (!expected_signal)
		assert_int_equal(WEXITSTATUS(status), 0);
	close(ready);
}

/* The parent's end as a station of the suite's objects; takes the queue pair back to INIT. */
static struct station parent_station(struct nic *nic, struct nic_side *side)
{
	struct nic_link_spec spec = nic_link_usual(nic);
	struct station station = { .fabric = side->fabric,
				   .ops = side->fabric->ops,
				   .pd = side->pd,
				   .cq = side->cq,
				   .mr = side->mr,
				   .memory = side->memory };
	station.qp = nic_qp_open(nic, side, &spec);
	assert_int_equal(station.ops->qp_init(station.qp, &params), 0);
	return station;
}

static struct station accept_child(struct nic *nic, uint32_t additions, uint32_t rkey)
{
	struct station station = parent_station(nic, &nic->node);
	struct pollfd fd = { .fd = station.ops->listener_fd(nic_listener()), .events = POLLIN };
	struct introduction mine = { .remote_addr = nic_at(&nic->node, 0),
				     .rkey = rkey,
				     .additions = additions };
	struct introduction theirs;
	assert_int_equal(poll(&fd, 1, NIC_DEADLINE_MS), 1);
	assert_int_equal(station.ops->accept(nic_listener(), &station.channel), 0);
	assert_int_equal(introduce(&station, &mine, &theirs), 1);
	return station;
}

/* Rule: the fabric reaches another process: its FAAs are atomic against those of this one. */
static void another_process(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	int ready;
	pid_t pid = spawn(nic_address(), "client", &ready);
	struct station station = accept_child(nic, ADDITIONS, nic->node.mr->rkey);
	char word[8];
	for (int i = 0; i < ADDITIONS; i++)
		nic_run_ok(nic->link.client,
			   nic_faa(nic, 0, nic_at(&nic->node, 0), 1, nic->node.mr->rkey));
	assert_int_equal(recv_all(station.ops, station.channel, word, sizeof(word)), 4);
	assert_int_equal(nic_load(nic->node.memory), 2 * ADDITIONS);
	station.ops->channel_close(station.channel);
	reap(pid, 0, ready);
}

/*
 * Rule: a client killed at work leaves the node whole: the channel says so, what the node sends to it
 * fails in bounded time, its window can be taken away, and other queue pairs go on.
 */
static void client_killed(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	char word[8];
	for (unsigned round = 0; round < 3; round++) {
		int ready;
		pid_t pid = spawn(nic_address(), "client", &ready);
		struct station station = accept_child(nic, 0, nic->node.mr->rkey);
		uint64_t start = nic_load(nic->node.memory);
		uint64_t deadline = nic_now_ns() + NIC_DEADLINE_MS * 1000000ull;
		while (nic_load(nic->node.memory) < start + 50 * (round + 1) &&
		       nic_now_ns() < deadline)
			sched_yield();
		assert_true(nic_load(nic->node.memory) > start);
		kill(pid, SIGKILL);
		reap(pid, SIGKILL, ready);
		assert_int_equal(recv_all(station.ops, station.channel, word, sizeof(word)),
				 -ECONNRESET);
		start = nic_load(nic->node.memory);
		enum ibv_wc_status status = nic_run(station.qp, nic_send(&nic->node, 64, 8));
		assert_true(status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_WR_FLUSH_ERR);
		assert_int_equal(nic_load(nic->node.memory), start);
		nic_run_ok(nic->link.client,
			   nic_faa(nic, 0, nic_at(&nic->node, 0), 1, nic->node.mr->rkey));
		station.ops->channel_close(station.channel);
	}
}

/*
 * Rule: a node killed under its clients: requests fail in bounded time, the channel says so, and the
 * client's other connections go on.
 */
static void node_killed(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	char address[256], word[8];
	int ready;
	snprintf(address, sizeof(address), "%s-node", nic_address());
	pid_t pid = spawn(address, "node", &ready);
	assert_int_equal(read(ready, word, 1), 1);
	struct station station = parent_station(nic, &nic->client);
	struct introduction mine = { 0 }, node;
	assert_int_equal(station.ops->dial(station.fabric, address, &station.channel), 0);
	assert_int_equal(introduce(&station, &mine, &node), 1);
	assert_int_equal(recv_all(station.ops, station.channel, word, sizeof(word)), 5);
	for (int i = 0; i < 50; i++)
		assert_int_equal(add_one(&station, &node), 0);
	kill(pid, SIGKILL);
	reap(pid, SIGKILL, ready);
	enum ibv_wc_status status =
		nic_run(station.qp, nic_faa(nic, 0, node.remote_addr, 1, node.rkey));
	assert_true(status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_REM_ACCESS_ERR);
	assert_int_equal(recv_all(station.ops, station.channel, word, sizeof(word)), -ECONNRESET);
	station.ops->channel_close(station.channel);
	nic_run_ok(nic->link.client,
		   nic_read(nic, 0, nic_at(&nic->node, 0), 8, nic->node.mr->rkey));
}

const struct CMUnitTest nic_peer_tests[] = {
	NIC_TEST(another_process),
	NIC_TEST(client_killed),
	NIC_TEST(node_killed),
};
NIC_COUNT(peer);
