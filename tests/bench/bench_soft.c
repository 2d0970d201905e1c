/* SPDX-License-Identifier: MIT */
/*
 * What one work request costs on the software NIC, posted and polled, data in cache.
 *
 *     bench_soft [inproc|shm]
 *
 * Prints the median of RUNS runs of OPERATIONS each, in ns per work request.
 */
#include "tests/unit/soft_pair.h"

#include "core/base/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	RUNS = 301,
	OPERATIONS = 2000,
	LIST = 8
};

struct bench {
	const char *name;
	enum ibv_wr_opcode opcode;
	uint32_t len;
	int list; /* work requests a post, the last signalled */
	bool windowed;
};

static struct pair pair;
static uint32_t window_rkey;

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void wr_make(const struct bench *bench, struct ibv_sge *sge, struct ibv_send_wr *wrs)
{
	uint32_t rkey = bench->windowed ? window_rkey : pair.b.mr->rkey;

	*sge = pair_sge(&pair.a, 0, bench->len);
	for (int i = 0; i < bench->list; i++) {
		wrs[i] = pair_wr(bench->opcode, sge, &pair.b, 64);
		wrs[i].next = i + 1 < bench->list ? &wrs[i + 1] : NULL;
		wrs[i].send_flags = i + 1 < bench->list ? 0 : IBV_SEND_SIGNALED;
		wrs[i].wr.rdma.rkey = rkey;
		if (bench->opcode == IBV_WR_ATOMIC_CMP_AND_SWP ||
		    bench->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
			wrs[i].wr.atomic.compare_add = 0;
			wrs[i].wr.atomic.swap = 0;
			wrs[i].wr.atomic.rkey = rkey;
		}
	}
}

static void recv_one(void)
{
	struct ibv_wc wc;

	if (ibv_poll_cq(pair.b.recv_cq, 1, &wc) != 1 || wc.status)
		abort();
}

static double run_ns(const struct bench *bench)
{
	struct ibv_send_wr wrs[LIST];
	struct ibv_sge sge;
	bool send = bench->opcode == IBV_WR_SEND;
	uint64_t start;

	wr_make(bench, &sge, wrs);
	start = ptni_clock_now_ns();
	for (int i = 0; i < OPERATIONS; i++) {
		struct ibv_send_wr *bad;
		struct ibv_wc wc;

		if (send)
			pair_recv(&pair.b, 0, 4096, bench->len);
		if (ibv_post_send(pair.a.qp, wrs, &bad) ||
		    ibv_poll_cq(pair.a.send_cq, 1, &wc) != 1 || wc.status)
			abort();
		if (send)
			recv_one();
	}
	return (double)(ptni_clock_now_ns() - start) / OPERATIONS / bench->list;
}

static void window_bind(void)
{
	struct ibv_mw *mw = ibv_alloc_mw(pair.b.pd, IBV_MW_TYPE_2);
	struct ibv_send_wr wr = { .opcode = IBV_WR_BIND_MW, .send_flags = IBV_SEND_SIGNALED };

	if (!mw)
		abort();
	wr.bind_mw.mw = mw;
	wr.bind_mw.rkey = ibv_inc_rkey(mw->rkey);
	wr.bind_mw.bind_info.mr = pair.b.mr;
	wr.bind_mw.bind_info.addr = (uintptr_t)pair.b.memory;
	wr.bind_mw.bind_info.length = 8192;
	wr.bind_mw.bind_info.mw_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
					       IBV_ACCESS_REMOTE_ATOMIC;
	if (pair_run(&pair.b, &wr))
		abort();
	window_rkey = wr.bind_mw.rkey;
}

int main(int argc, char **argv)
{
	static const struct bench benches[] = {
		{ "READ 64 B", IBV_WR_RDMA_READ, 64, 1, false },
		{ "READ 64 B, window", IBV_WR_RDMA_READ, 64, 1, true },
		{ "READ 64 B, list of 8", IBV_WR_RDMA_READ, 64, LIST, true },
		{ "READ 8 B, window", IBV_WR_RDMA_READ, 8, 1, true },
		{ "READ 256 B, window", IBV_WR_RDMA_READ, 256, 1, true },
		{ "READ 1 KB, window", IBV_WR_RDMA_READ, 1024, 1, true },
		{ "READ 4 KB, window", IBV_WR_RDMA_READ, 4096, 1, true },
		{ "WRITE 64 B, window", IBV_WR_RDMA_WRITE, 64, 1, true },
		{ "WRITE 64 B, list of 8", IBV_WR_RDMA_WRITE, 64, LIST, true },
		{ "CAS, window", IBV_WR_ATOMIC_CMP_AND_SWP, 8, 1, true },
		{ "FAA, list of 8", IBV_WR_ATOMIC_FETCH_AND_ADD, 8, LIST, true },
		{ "SEND 64 B and RECV", IBV_WR_SEND, 64, 1, false },
	};
	static double ns[RUNS];

	pair_open(&pair, argc > 1 && strcmp(argv[1], "shm") == 0 ? "shm:/tmp/bench_soft" :
								   "inproc:bench_soft");
	window_bind();
	for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++) {
		for (int run = 0; run < RUNS; run++)
			ns[run] = run_ns(&benches[i]);
		qsort(ns, RUNS, sizeof(ns[0]), compare);
		printf("%-24s %7.1f ns   (best %.1f)\n", benches[i].name, ns[RUNS / 2], ns[0]);
	}
	return 0;
}
