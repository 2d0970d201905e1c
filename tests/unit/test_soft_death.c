/* SPDX-License-Identifier: MIT */
/*
 * A process is killed at any instruction inside a verb (segment.h, C1 to C4). A victim loops over
 * every kind of verb on the node's memory, by a receive queue of its own and by a shared one; the
 * node kills it after a random number of its operations. Then the node must be able to invalidate,
 * flush and close everything, nothing may be lost from the shared receive queue, and another
 * client, who works all the time, must not notice.
 */
#include "core/base/rng.h"
#include "core/base/sanitizer.h"
#include "core/fabric/soft/soft.h"
#include "tests/unit/soft_pair.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <unistd.h>

enum {
	ROUNDS = PTNI_TSAN || PTNI_ASAN ? 15 : 60,
	SLOTS = 64,
	LANES = 2,
	WINDOW = 4096
};

/* How far the child is, outside of all NICs. */
struct progress {
	_Atomic uint64_t operations;
	_Atomic uint64_t failed;
};

struct lane_hello {
	struct ptni_qp_address address;
	uint64_t memory;
	uint32_t rkey;
};

struct lane {
	struct pair_end end;
	struct ibv_mw *mw;
	struct lane_hello peer;
};

/* One client as the node sees it. */
struct guest {
	pid_t pid;
	struct ptni_channel *channel;
	struct lane lanes[LANES]; /* the second one receives into the shared queue */
};

static struct pair_end node;
static struct ibv_srq *srq;
static struct ptni_listener *listener;
static struct progress *progress; /* [0] the survivor's, [1] the victim's */
static char address[64];
static uint64_t died_inside;

static struct ptni_qp_params params(void)
{
	struct ptni_qp_params params = pair_params;

	params.rnr_retry = 7;
	params.timeout = 18;
	return params;
}

static int message_wait(struct pair_end *end, struct ptni_channel *channel, void *data, size_t len)
{
	struct pollfd pollfd = { .fd = end->fabric->ops->channel_fd(channel), .events = POLLIN };
	int got;

	while ((got = end->fabric->ops->channel_recv(channel, data, len)) == -EAGAIN)
		poll(&pollfd, 1, 1000);
	return got;
}

/* ---- the client's process */

static void client_connect(struct lane *lanes, struct ptni_channel **channel_out)
{
	struct ptni_qp_params p = params();
	struct ptni_channel *channel;

	pair_end_open(&lanes[0].end, address);
	if (lanes[0].end.fabric->ops->dial(lanes[0].end.fabric, address, &channel))
		_exit(1);
	for (int i = 0; i < LANES; i++) {
		struct pair_end *end = &lanes[i].end;
		struct lane_hello mine = { .memory = 0 };

		*end = lanes[0].end;
		pair_qp_open(end, NULL);
		end->fabric->ops->qp_init(end->qp, &p);
		end->fabric->ops->qp_address(end->qp, &mine.address);
		end->fabric->ops->channel_send(channel, &mine, sizeof(mine));
		if (message_wait(end, channel, &lanes[i].peer, sizeof(mine)) != (int)sizeof(mine) ||
		    end->fabric->ops->qp_connect(end->qp, &p, &lanes[i].peer.address))
			_exit(2);
	}
	*channel_out = channel;
}

static void client_operation(struct lane *lane, struct ptni_rng *rng, struct progress *mine)
{
	static const enum ibv_wr_opcode opcodes[] = { IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE,
						      IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_SEND,
						      IBV_WR_SEND };
	uint32_t kind = (uint32_t)ptni_rng_below(rng, 5);
	struct ibv_sge sge = pair_sge(
		&lane->end, 0, kind == 2 ? 8 : 1 + (uint32_t)ptni_rng_below(rng, WINDOW - 8));
	struct ibv_send_wr wr = pair_wr(opcodes[kind], &sge, &lane->end, 0);
	struct ibv_send_wr rest;

	wr.wr.rdma.remote_addr = lane->peer.memory + 8;
	wr.wr.rdma.rkey = lane->peer.rkey;
	if (kind == 2) {
		wr.wr.atomic.remote_addr = lane->peer.memory;
		wr.wr.atomic.compare_add = 1;
		wr.wr.atomic.rkey = lane->peer.rkey;
	}
	if (kind >= 3 && sge.length > 256)
		sge.length = 256;
	rest = wr;
	wr.next = kind < 3 ? &rest : NULL; /* a list is longer inside */
	wr.send_flags = kind < 3 ? 0 : IBV_SEND_SIGNALED;
	if (pair_run(&lane->end, &wr))
		atomic_fetch_add(&mine->failed, 1);
	atomic_fetch_add(&mine->operations, 1);
}

/* Works until killed. */
static _Noreturn void client_main(uint64_t seed, struct progress *mine)
{
	struct lane lanes[LANES] = { 0 };
	struct ptni_channel *channel;
	struct ptni_rng rng;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ptni_rng_seed(&rng, seed);
	client_connect(lanes, &channel);
	for (;;)
		client_operation(&lanes[ptni_rng_below(&rng, LANES)], &rng, mine);
}

/*
 * Forks clients on demand: this process has no threads, which a fork under the thread sanitizer wants.
 * An order is {seed, who}, the answer a process id.
 */
struct order {
	uint64_t seed;
	int who;
};

static int orders[2];

static _Noreturn void zygote_main(int fd)
{
	struct order order;

	signal(SIGCHLD, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, &order, sizeof(order)) == (ssize_t)sizeof(order)) {
		pid_t pid = fork();

		if (pid == 0)
			client_main(order.seed, &progress[order.who]);
		if (write(fd, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
			break;
	}
	_exit(0);
}

static void zygote_start(void)
{
	snprintf(address, sizeof(address), "shm:/tmp/soft_death_%d", (int)getpid());
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, orders) || fork() == 0)
		zygote_main(orders[1]);
	close(orders[1]);
}

static pid_t client_fork(uint64_t seed, int who)
{
	struct order order = { seed, who };
	pid_t pid;

	assert_int_equal(write(orders[0], &order, sizeof(order)), sizeof(order));
	assert_int_equal(read(orders[0], &pid, sizeof(pid)), sizeof(pid));
	return pid;
}

static void client_kill(pid_t pid)
{
	struct pollfd pollfd = { .fd = pidfd_open(pid, 0), .events = POLLIN };

	assert_true(pollfd.fd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&pollfd, 1, 20000), 1);
	close(pollfd.fd);
}

/* ---- the node */

static void lane_window(struct lane *lane, uint64_t offset)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED };

	lane->mw = ibv_alloc_mw(node.pd, IBV_MW_TYPE_2);
	assert_non_null(lane->mw);
	wr.bind_mw.mw = lane->mw;
	wr.bind_mw.rkey = ibv_inc_rkey(lane->mw->rkey);
	wr.bind_mw.bind_info = (struct ibv_mw_bind_info){
		.mr = node.mr,
		.addr = (uintptr_t)node.memory + offset,
		.length = WINDOW,
		.mw_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
				   IBV_ACCESS_REMOTE_ATOMIC,
	};
	assert_int_equal(pair_run(&lane->end, &wr), IBV_WC_SUCCESS);
	lane->mw->rkey = wr.bind_mw.rkey;
}

static void lane_open(struct guest *guest, int index, uint64_t offset)
{
	struct lane *lane = &guest->lanes[index];
	struct ptni_qp_params p = params();
	struct lane_hello mine = { .memory = (uintptr_t)node.memory + offset };

	lane->end = node;
	pair_qp_open(&lane->end, index ? srq : NULL);
	assert_int_equal(message_wait(&node, guest->channel, &lane->peer, sizeof(lane->peer)),
			 sizeof(lane->peer));
	assert_int_equal(node.fabric->ops->qp_init(lane->end.qp, &p), 0);
	assert_int_equal(node.fabric->ops->qp_connect(lane->end.qp, &p, &lane->peer.address), 0);
	lane_window(lane, offset);
	mine.rkey = lane->mw->rkey;
	assert_int_equal(node.fabric->ops->qp_address(lane->end.qp, &mine.address), 0);
	assert_int_equal(node.fabric->ops->channel_send(guest->channel, &mine, sizeof(mine)), 0);
	for (uint64_t i = 0; index == 0 && i < PAIR_DEPTH; i++)
		pair_recv(&lane->end, i, 32768, 256);
}

static void guest_open(struct guest *guest, uint64_t seed, int who)
{
	struct pollfd pollfd = { .fd = node.fabric->ops->listener_fd(listener), .events = POLLIN };

	memset(guest, 0, sizeof(*guest));
	guest->pid = client_fork(seed, who);

	while (node.fabric->ops->accept(listener, &guest->channel) == -EAGAIN)
		poll(&pollfd, 1, 1000);
	for (int i = 0; i < LANES; i++)
		lane_open(guest, i, (uint64_t)(who * LANES + i) * WINDOW);
}

static void srq_post(uint64_t wr_id)
{
	struct ibv_sge sge = pair_sge(&node, 32768, 256);
	struct ibv_recv_wr wr = { .wr_id = wr_id, .sg_list = &sge, .num_sge = 1 };
	struct ibv_recv_wr *bad;

	assert_int_equal(ibv_post_srq_recv(srq, &wr, &bad), 0);
}

/* Gives every RECV that was used back to where it came from. */
static int serve(struct guest *guests, int count)
{
	struct ibv_wc wc[16];
	int got = ibv_poll_cq(node.recv_cq, 16, wc);

	assert_true(got >= 0);
	for (int i = 0; i < got; i++) {
		if (wc[i].wr_id >= 1000) {
			assert_int_equal(wc[i].status, IBV_WC_SUCCESS);
			srq_post(wc[i].wr_id);
		}
		for (int g = 0; g < count && wc[i].wr_id < 1000; g++)
			if (guests[g].lanes[0].end.qp->qp_num == wc[i].qp_num && !wc[i].status)
				pair_recv(&guests[g].lanes[0].end, wc[i].wr_id, 32768, 256);
	}
	return got;
}

static void serve_until(struct guest *guests, int count, int who, uint64_t operations)
{
	uint64_t target = atomic_load(&progress[who].operations) + operations;

	while (atomic_load(&progress[who].operations) < target) {
		if (serve(guests, count) == 0)
			sched_yield();
	}
}

/* All of it must work, whatever the dead one was doing. */
static void guest_bury(struct guest *guest, struct guest *survivor)
{
	client_kill(guest->pid);

	for (int i = 0; i < LANES; i++)
		died_inside += atomic_load(&soft_qp_of(guest->lanes[i].end.qp)->entry->active) & 1;
	for (int i = 0; i < LANES; i++) {
		struct lane *lane = &guest->lanes[i];
		struct ibv_send_wr inv = { .opcode = IBV_WR_LOCAL_INV,
					   .send_flags = IBV_SEND_SIGNALED };

		inv.invalidate_rkey = lane->mw->rkey;
		assert_int_equal(pair_run(&survivor->lanes[0].end, &inv), IBV_WC_SUCCESS);
		assert_int_equal(node.fabric->ops->qp_error(lane->end.qp), 0);
	}
	while (serve(survivor, 1) >
	       0) /* closing drops completions, and with them RECVs to post again */
		;
	for (int i = 0; i < LANES; i++) {
		assert_int_equal(node.fabric->ops->qp_close(guest->lanes[i].end.qp), 0);
		assert_int_equal(ibv_dealloc_mw(guest->lanes[i].mw), 0);
	}
	node.fabric->ops->channel_close(guest->channel);
}

static void node_open(void)
{
	pair_end_open(&node, address);
	assert_int_equal(node.fabric->ops->srq_open(node.pd, SLOTS, 1, &srq), 0);
	assert_int_equal(node.fabric->ops->listen(node.fabric, address, &listener), 0);
	for (uint64_t i = 0; i < SLOTS; i++)
		srq_post(1000 + i);
}

static void node_close(void)
{
	node.fabric->ops->listener_close(listener);
	assert_int_equal(node.fabric->ops->srq_close(srq), 0);
	pair_end_close(&node);
}

/* Every slot is in the queue, free, or in a completion that waits to be polled. */
static void srq_is_whole(void)
{
	struct soft_srq *soft = soft_srq_of(srq);

	for (uint32_t i = 0; i < soft->depth; i++)
		assert_int_not_equal((atomic_load(&soft_srq_slot(soft, i)->claim) >> 24) & 0xff,
				     CLAIM_TAKEN);
}

static void kills(void **state)
{
	struct guest guests[2]; /* the survivor, the victim */
	struct ptni_rng rng;
	uint64_t seed = 20240611;

	print_message("seed %llu\n", (unsigned long long)seed);
	ptni_rng_seed(&rng, seed);
	node_open();
	guest_open(&guests[0], seed, 0);
	for (int round = 0; round < ROUNDS; round++) {
		guest_open(&guests[1], seed + 1 + (uint64_t)round, 1);
		serve_until(guests, 2, 1, 1 + ptni_rng_below(&rng, 500));
		for (uint64_t more = ptni_rng_below(&rng, 300); more; more--)
			serve(guests, 2); /* so that the kill does not follow an operation's end */
		guest_bury(&guests[1], &guests[0]);
		assert_int_equal(atomic_load(&progress[1].failed), 0);
		serve_until(guests, 1, 0, 200);
		assert_int_equal(atomic_load(&progress[0].failed), 0);
	}
	guest_open(&guests[1], seed, 1); /* someone must do the last LOCAL_INV */
	guest_bury(&guests[0], &guests[1]);
	guest_open(&guests[0], seed, 0);
	guest_bury(&guests[1], &guests[0]);
	print_message("%llu of %d died inside a verb\n", (unsigned long long)died_inside,
		      ROUNDS + 2);
	client_kill(guests[0].pid);

	for (int i = 0; i < LANES; i++) {
		assert_int_equal(node.fabric->ops->qp_close(guests[0].lanes[i].end.qp), 0);
		assert_int_equal(ibv_dealloc_mw(guests[0].lanes[i].mw), 0);
	}
	node.fabric->ops->channel_close(guests[0].channel);
	srq_is_whole();
	node_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kills) };

	progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		return 1;
	zygote_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
