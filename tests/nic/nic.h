/* SPDX-License-Identifier: MIT */
/*
 * The conformance suite of network cards: what every backend of core/fabric/fabric.h must do, as one
 * set of tests that knows nothing but that header and the inline calls of libibverbs.
 *
 * The suite plays both ends in one process: it opens two fabrics on one address, `node` (which
 * listens and binds windows) and `client` (which dials and accesses), and connects queue pairs
 * between them. Every test gets fresh objects on both and gives all of them back; a refusal to close
 * one fails the test.
 *
 * Where a device is known to behave otherwise, a row of the table in difference.c says so; the test
 * then pins what that device does, or is skipped when that could harm the machine.
 */
#ifndef PTN_NIC_H
#define PTN_NIC_H

#include "core/fabric/fabric.h"
#include "tests/nic/difference.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum {
	NIC_MEMORY_BYTES = 1 << 20, /* registered on each side, all rights */
	NIC_CQ_ENTRIES = 1024,
	NIC_DEPTH = 256, /* of the usual queue pair's two queues */
	NIC_SGE = 4,
	NIC_INLINE_BYTES = 64,
	NIC_OBJECTS_MAX = 512, /* of a kind in one test */
	NIC_DEADLINE_MS = 10000, /* for what must happen; an emulated guest is slow */
	NIC_RIGHTS_ALL = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE |
			 IBV_ACCESS_REMOTE_ATOMIC,
	NIC_MR_ALL = NIC_RIGHTS_ALL | IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND,
};

struct nic_side {
	struct ptni_fabric *fabric;
	struct ibv_pd *pd;
	struct ibv_cq *cq; /* of the usual queue pairs, both directions */
	uint8_t *memory; /* NIC_MEMORY_BYTES, zero at the start of a test */
	struct ibv_mr *mr; /* over all of it, NIC_MR_ALL */
};

/* How to make a link; start from nic_link_usual(). */
struct nic_link_spec {
	struct ibv_pd *client_pd, *node_pd;
	struct ibv_cq *client_cq, *node_cq;
	struct ibv_srq *node_srq;
	uint32_t depth, sge, inline_bytes;
	struct ptni_qp_params client_params, node_params;
};

/* Two connected queue pairs and how they are connected. */
struct nic_link {
	struct ibv_qp *client;
	struct ibv_qp *node;
	struct nic_link_spec spec;
};

/* Whatever a test opens goes in here, so that it is closed in the right order even if it fails. */
struct nic_objects {
	void *items[NIC_OBJECTS_MAX];
	size_t count;
};

struct nic {
	struct nic_side client;
	struct nic_side node;
	struct nic_link link; /* connected, usual parameters */
	uint64_t start_ns;
	struct nic_objects windows, qps, srqs, mrs, cqs, pds;
};

/* One work request with room for the usual single SGE; nic_post points sg_list at it. */
struct nic_op {
	struct ibv_send_wr wr;
	struct ibv_sge sge;
};

/* suite life: nic.c */
int nic_open(const char *address);
void nic_close(void);
const char *nic_address(void);
/* Of this process: the listener of the suite, which channel tests share. */
struct ptni_listener *nic_listener(void);
int nic_setup(void **state);
int nic_teardown(void **state);

/* The simulated card (sim.c), sim:SEED: program(arg), with all of the suite, in virtual time. Returns what it did. */
bool nic_is_sim(void);
int nic_sim_run(const char *address, int (*program)(void *arg), void *arg);
/* The node's fabric: of a process of its own, if there are such. */
int nic_node_open(const char *address, struct ptni_fabric **fabric_out);
/* Let others run, and time pass: in every loop that waits. */
void nic_pause(void);
/* True if the descriptor is readable within that time. On a simulated card, which has no descriptors: after it. */
bool nic_readable(int fd, int timeout_ms);

/* A thread of the client's. */
struct nic_thread;
struct nic_thread *nic_thread_start(void *(*fn)(void *arg), void *arg);
void nic_thread_join(struct nic_thread *thread);

/* Every test starts with it; skips the test where a row of the table says so. */
struct nic *nic_begin(void **state, const char *test);
/* True where a row says that this device behaves otherwise and the test pins that. */
bool nic_differs(const char *test);
/* This device is a kernel driver or hardware, not the software NIC. */
bool nic_is_device(void);

/* objects: object.c. All are closed by the test's teardown; nic_*_close does it earlier. */
struct nic_link_spec nic_link_usual(struct nic *nic);
struct nic_link nic_link_open(struct nic *nic, const struct nic_link_spec *spec);
struct nic_link nic_link_another(struct nic *nic);
struct ibv_qp *nic_qp_open(struct nic *nic, struct nic_side *side,
			   const struct nic_link_spec *spec);
void nic_link_connect(struct nic *nic, const struct nic_link *link);
/* Both ends through RESET to RTS again; completions still queued are dropped. */
void nic_link_renew(struct nic *nic, const struct nic_link *link);
void nic_link_close(struct nic *nic, const struct nic_link *link);
struct ibv_cq *nic_cq_open(struct nic *nic, struct nic_side *side, uint32_t entries);
struct ibv_pd *nic_pd_open(struct nic *nic, struct nic_side *side);
struct ibv_mr *nic_mr_open(struct nic *nic, struct ibv_pd *pd, void *addr, size_t len, int access);
struct ibv_srq *nic_srq_open(struct nic *nic, struct ibv_pd *pd, uint32_t depth);
struct ibv_mw *nic_window_open(struct nic *nic, struct ibv_pd *pd);
/* A window bound through link.node over node memory [offset, +len). */
struct ibv_mw *nic_window_bound(struct nic *nic, size_t offset, size_t len, int rights);
void nic_window_close(struct nic *nic, struct ibv_mw *mw);
void nic_mr_close(struct nic *nic, struct ibv_mr *mr);
void nic_objects_add(struct nic_objects *objects, void *object);
bool nic_objects_take(struct nic_objects *objects, const void *object);

/* work requests: op.c. Local addresses are offsets into the client's memory, remote ones are
 * addresses; nic_at gives the address of an offset. */
uint64_t nic_at(const struct nic_side *side, size_t offset);
struct nic_op nic_read(struct nic *nic, size_t local, uint64_t remote, uint32_t len, uint32_t rkey);
struct nic_op nic_write(struct nic *nic, size_t local, uint64_t remote, uint32_t len,
			uint32_t rkey);
struct nic_op nic_cas(struct nic *nic, size_t local, uint64_t remote, uint64_t expected,
		      uint64_t desired, uint32_t rkey);
struct nic_op nic_faa(struct nic *nic, size_t local, uint64_t remote, uint64_t add, uint32_t rkey);
struct nic_op nic_send(struct nic_side *side, size_t local, uint32_t len);
struct nic_op nic_bind(struct ibv_mw *mw, uint32_t rkey, struct ibv_mr *mr, uint64_t addr,
		       uint64_t len, int rights);
struct nic_op nic_invalidate(uint32_t rkey);

/* The four one-sided operations on 8 bytes, and what each needs; all eight sets of rights. */
enum nic_kind {
	NIC_READ,
	NIC_WRITE,
	NIC_CAS,
	NIC_FAA,
	NIC_KINDS
};
struct nic_op nic_access(struct nic *nic, int kind, uint64_t remote, uint32_t rkey);
bool nic_rights_allow(int rights, int kind);
extern const int nic_rights_sets[8];

struct nic_op nic_signalled(struct nic_op op, uint64_t wr_id);

/* Posts the list; returns ibv_post_send's positive errno, *bad_out the index of *bad_wr. */
int nic_try_post(struct ibv_qp *qp, struct nic_op *ops, size_t count, size_t *bad_out);
void nic_post(struct ibv_qp *qp, struct nic_op *ops, size_t count);
void nic_post_recv(struct ibv_qp *qp, struct nic_side *side, uint64_t wr_id, size_t offset,
		   uint32_t len);

/* Completions: nic_wait fails the test when none comes. */
struct ibv_wc nic_wait(struct ibv_cq *cq);
bool nic_try_wait(struct ibv_cq *cq, unsigned deadline_ms, struct ibv_wc *wc_out);
void nic_expect(struct ibv_cq *cq, uint64_t wr_id, enum ibv_wc_status status);
size_t nic_drain(struct ibv_cq *cq);
/* Posts the one request signalled, waits for it and returns how it ended. */
enum ibv_wc_status nic_run(struct ibv_qp *qp, struct nic_op op);
void nic_run_ok(struct ibv_qp *qp, struct nic_op op);
/* Binds with the next tag and, when that went well, stores the new key in the window. */
enum ibv_wc_status nic_run_bind(struct ibv_qp *qp, struct ibv_mw *mw, struct ibv_mr *mr,
				uint64_t addr, uint64_t len, int rights);

enum ibv_qp_state nic_state(struct nic *nic, struct ibv_qp *qp);
/* Waits until the queue pair is in that state: an error reaches the far end a little later. */
void nic_state_becomes(struct nic *nic, struct ibv_qp *qp, enum ibv_qp_state state);

uint64_t nic_now_ns(void);

/* Words of memory the NIC changes meanwhile. */
static inline uint64_t nic_load(const void *addr)
{
	return __atomic_load_n((const uint64_t *)addr, __ATOMIC_RELAXED);
}

static inline void nic_store(void *addr, uint64_t value)
{
	__atomic_store_n((uint64_t *)addr, value, __ATOMIC_RELAXED);
}

#endif
