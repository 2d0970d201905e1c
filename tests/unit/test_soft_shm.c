/* SPDX-License-Identifier: MIT */
/*
 * Two processes. The child is the requester, by its own NIC; the parent owns the memory. What the
 * child finds wrong becomes its exit status (the line number).
 */
#include "core/fabric/soft/soft.h"
#include "tests/unit/soft_pair.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What one end tells the other. */
struct hello {
	struct ptni_qp_address address;
	uint64_t memory;
	uint32_t rkey;
	uint32_t window;
};

struct remote {
	struct pair_end end;
	struct ptni_channel *channel;
	struct hello peer;
};

static char address[64];
static char path[48];

#define CHILD_CHECK(x)                                                         \
	do {                                                                   \
		if (!(x)) {                                                    \
			fprintf(stderr, "child, line %d: %s\n", __LINE__, #x); \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static void channel_wait(struct ptni_channel *channel, const struct ptni_fabric_ops *ops,
			 void *data, size_t len)
{
	struct pollfd pollfd = { .fd = ops->channel_fd(channel), .events = POLLIN };
	int got;

	while ((got = ops->channel_recv(channel, data, len)) == -EAGAIN)
		poll(&pollfd, 1, 1000);
	assert_int_equal(got, (int)len);
}

/* Opens a queue pair, tells the peer and connects to the peer's. */
static void meet(struct remote *remote, uint32_t window)
{
	const struct ptni_fabric_ops *ops = remote->end.fabric->ops;
	struct ptni_qp_params params = pair_params;
	struct hello mine = { .memory = (uintptr_t)remote->end.memory,
			      .rkey = remote->end.mr->rkey,
			      .window = window };

	params.rnr_retry = 7;
	params.timeout = 14;
	pair_qp_open(&remote->end, NULL);
	assert_int_equal(ops->qp_init(remote->end.qp, &params), 0);
	assert_int_equal(ops->qp_address(remote->end.qp, &mine.address), 0);
	assert_int_equal(ops->channel_send(remote->channel, &mine, sizeof(mine)), 0);
	channel_wait(remote->channel, ops, &remote->peer, sizeof(remote->peer));
	assert_int_equal(ops->qp_connect(remote->end.qp, &params, &remote->peer.address), 0);
}

static struct ptni_channel *accept_wait(struct ptni_fabric *fabric, struct ptni_listener *listener)
{
	struct pollfd pollfd = { .fd = fabric->ops->listener_fd(listener), .events = POLLIN };
	struct ptni_channel *channel;
	int rc;

	while ((rc = fabric->ops->accept(listener, &channel)) == -EAGAIN)
		poll(&pollfd, 1, 1000);
	assert_int_equal(rc, 0);
	return channel;
}

static void child_dial(struct remote *remote)
{
	memset(remote, 0, sizeof(*remote));
	pair_end_open(&remote->end, address);
	CHILD_CHECK(remote->end.fabric->ops->dial(remote->end.fabric, address, &remote->channel) ==
		    0);
	meet(remote, 0);
}

static struct ibv_send_wr remote_wr(struct remote *remote, enum ibv_wr_opcode opcode,
				    struct ibv_sge *sge, uint64_t offset)
{
	struct ibv_send_wr wr = pair_wr(opcode, sge, &remote->end, 0);

	wr.wr.rdma.remote_addr = remote->peer.memory + offset;
	wr.wr.rdma.rkey = remote->peer.rkey;
	return wr;
}

static void child_all_verbs(void)
{
	struct remote remote;
	struct ibv_sge sge;
	struct ibv_send_wr wr;
	uint64_t *words;

	child_dial(&remote);
	words = (uint64_t *)(void *)remote.end.memory;
	sge = pair_sge(&remote.end, 0, 4096);
	for (int i = 0; i < 512; i++)
		words[i] = 3u * (unsigned int)i;
	wr = remote_wr(&remote, IBV_WR_RDMA_WRITE, &sge, 0);
	CHILD_CHECK(pair_run(&remote.end, &wr) == IBV_WC_SUCCESS);
	sge = pair_sge(&remote.end, 8192, 4096);
	wr = remote_wr(&remote, IBV_WR_RDMA_READ, &sge, 0);
	CHILD_CHECK(pair_run(&remote.end, &wr) == IBV_WC_SUCCESS);
	CHILD_CHECK(memcmp(words, words + 1024, 4096) == 0);
	sge = pair_sge(&remote.end, 0, 8);
	wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
	wr.wr.atomic.remote_addr = remote.peer.memory + 8;
	wr.wr.atomic.rkey = remote.peer.rkey;
	wr.wr.atomic.compare_add = 100;
	CHILD_CHECK(pair_run(&remote.end, &wr) == IBV_WC_SUCCESS && words[0] == 3);
	pair_recv(&remote.end, 5, 16384, 64);
	wr = remote_wr(&remote, IBV_WR_SEND, &sge, 0); /* waits for the parent's RECV */
	CHILD_CHECK(pair_run(&remote.end, &wr) == IBV_WC_SUCCESS);
	CHILD_CHECK(pair_wait(remote.end.recv_cq).byte_len == 16);
	CHILD_CHECK(words[2048] == 0x1111);
	wr = remote_wr(&remote, IBV_WR_RDMA_READ, &sge, PAIR_BYTES); /* one byte too far */
	CHILD_CHECK(pair_run(&remote.end, &wr) == IBV_WC_REM_ACCESS_ERR);
	remote.end.fabric->ops->channel_close(remote.channel);
	pair_end_close(&remote.end);
}

/* A process that starts when it is told to: forked while this one has no thread but ours. */
static pid_t child_fork(void (*child)(void), int *go_out)
{
	int fds[2];
	pid_t pid;
	char go;

	snprintf(path, sizeof(path), "/tmp/soft_shm_%d", (int)getpid());
	snprintf(address, sizeof(address), "shm:%s", path);
	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		if (read(fds[0], &go, 1) != 1)
			_exit(2);
		child();
		_exit(0);
	}
	close(fds[0]);
	*go_out = fds[1];
	return pid;
}

static void child_go(int go)
{
	assert_int_equal(write(go, "!", 1), 1);
	close(go);
}

static void child_reap(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void node_open(struct remote *node, struct ptni_listener **listener_out)
{
	snprintf(path, sizeof(path), "/tmp/soft_shm_%d", (int)getpid());
	snprintf(address, sizeof(address), "shm:%s", path);
	memset(node, 0, sizeof(*node));
	pair_end_open(&node->end, address);
	assert_int_equal(node->end.fabric->ops->listen(node->end.fabric, address, listener_out), 0);
}

static void all_verbs(void **state)
{
	struct ptni_listener *listener;
	struct remote node;
	const struct ptni_fabric_ops *ops;
	struct ibv_send_wr send = { .opcode = IBV_WR_SEND,
				    .num_sge = 1,
				    .send_flags = IBV_SEND_SIGNALED };
	struct ibv_sge sge;
	uint64_t *words;
	pid_t child;
	int go;
	char c;

	child = child_fork(child_all_verbs, &go);
	node_open(&node, &listener);
	ops = node.end.fabric->ops;
	child_go(go);
	node.channel = accept_wait(node.end.fabric, listener);
	meet(&node, 0);
	pair_recv(&node.end, 7, 32768, 64);
	pair_recv(&node.end, 8, 32768, 64);
	assert_int_equal(pair_wait(node.end.recv_cq).wr_id, 7);
	words = (uint64_t *)(void *)node.end.memory;
	assert_int_equal(words[1], 103);
	assert_int_equal(words[511], 3 * 511);
	assert_int_equal(words[4096], 3); /* what the SEND carried */
	words[0] = 0x1111;
	sge = pair_sge(&node.end, 0, 16);
	send.sg_list = &sge;
	assert_int_equal(pair_run(&node.end, &send), IBV_WC_SUCCESS);
	assert_int_equal(pair_wait(node.end.recv_cq).status,
			 IBV_WC_WR_FLUSH_ERR); /* child's last READ */
	assert_int_equal(pair_state(&node.end), IBV_QPS_ERR);
	child_reap(child);
	assert_int_equal(ops->channel_recv(node.channel, &c, 1), -ECONNRESET);
	ops->channel_close(node.channel);
	ops->listener_close(listener);
	pair_end_close(&node.end);
}

/* Only memory_alloc memory can be reached by another process. */
static void ordinary_memory_is_refused(void **state)
{
	static uint8_t memory[64];
	struct ptni_listener *listener;
	struct remote node;
	struct ibv_sge sge = { (uintptr_t)memory, sizeof(memory), 0 };
	struct ibv_recv_wr recv = { .sg_list = &sge, .num_sge = 1 };
	struct ibv_recv_wr *bad;
	struct ibv_mr *mr;

	node_open(&node, &listener);
	pair_qp_open(&node.end, NULL);
	assert_int_equal(node.end.fabric->ops->qp_init(node.end.qp, &pair_params), 0);
	assert_int_equal(node.end.fabric->ops->mr_register(node.end.pd, memory, sizeof(memory),
							   PAIR_ALL, &mr),
			 -EINVAL);
	assert_int_equal(node.end.fabric->ops->mr_register(node.end.pd, memory, sizeof(memory),
							   IBV_ACCESS_LOCAL_WRITE, &mr),
			 0);
	sge.lkey = mr->lkey;
	assert_int_equal(ibv_post_recv(node.end.qp, &recv, &bad), EINVAL);
	assert_int_equal(node.end.fabric->ops->mr_deregister(mr), 0);
	node.end.fabric->ops->listener_close(listener);
	pair_end_close(&node.end);
}

/* A NIC for several processes serves one process as well. */
static void same_process(void **state)
{
	struct pair pair;
	struct ibv_sge sge;
	struct ibv_send_wr wr;

	pair_open(&pair, "shm:/nowhere");
	pair.b.memory[9] = 9;
	sge = pair_sge(&pair.a, 0, 10);
	wr = pair_wr(IBV_WR_RDMA_READ, &sge, &pair.b, 0);
	assert_int_equal(pair_run(&pair.a, &wr), IBV_WC_SUCCESS);
	assert_int_equal(pair.a.memory[9], 9);
	pair_close(&pair);
}

static void child_wakes(void)
{
	struct remote remote;
	struct ibv_sge sge;
	struct ibv_send_wr wr;
	char go;

	child_dial(&remote);
	sge = pair_sge(&remote.end, 0, 8);
	channel_wait(remote.channel, remote.end.fabric->ops, &go, 1);
	wr = remote_wr(&remote, IBV_WR_SEND, &sge, 0);
	CHILD_CHECK(pair_run(&remote.end, &wr) == IBV_WC_SUCCESS);
	remote.end.fabric->ops->channel_close(remote.channel);
	pair_end_close(&remote.end);
}

static void sleeper_is_woken(void **state)
{
	struct pollfd pollfd = { .events = POLLIN };
	struct ptni_listener *listener;
	const struct ptni_fabric_ops *ops;
	struct remote node;
	pid_t child;
	int go;

	child = child_fork(child_wakes, &go);
	node_open(&node, &listener);
	ops = node.end.fabric->ops;
	child_go(go);
	node.channel = accept_wait(node.end.fabric, listener);
	meet(&node, 0);
	pair_recv(&node.end, 7, 0, 64);
	assert_true(pair_idle(node.end.recv_cq));
	assert_int_equal(ops->cq_arm(node.end.recv_cq), 0);
	pollfd.fd = ops->cq_fd(node.end.recv_cq);
	assert_int_equal(poll(&pollfd, 1, 0), 0);
	assert_int_equal(ops->channel_send(node.channel, "!", 1), 0);
	assert_int_equal(poll(&pollfd, 1, 20000), 1);
	ops->cq_disarm(node.end.recv_cq);
	assert_int_equal(poll(&pollfd, 1, 0), 0);
	assert_int_equal(pair_wait(node.end.recv_cq).wr_id, 7);
	child_reap(child);
	ops->channel_close(node.channel);
	ops->listener_close(listener);
	pair_end_close(&node.end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_verbs),
		cmocka_unit_test(ordinary_memory_is_refused),
		cmocka_unit_test(same_process),
		cmocka_unit_test(sleeper_is_woken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
