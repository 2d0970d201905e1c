/* SPDX-License-Identifier: MIT */
/*
 * The segment: everything of a software NIC that its peers touch. One mapping a NIC, of which every
 * peer process has its own mapping; inside it only indexes and offsets, never pointers.
 *
 *   +--------+---------+---------+----------+----------+---------------+--------------------+
 *   | header | qp[]    | cq[]    | srq[]    | key[]    | heap          | memory             |
 *   |        | 192 B   | 2112 B  | 128 B    | 64 B     | receive queues| memory_alloc       |
 *   +--------+---------+---------+----------+----------+---------------+--------------------+
 *
 *   qp_entry   gate | what the owner fixed        one line, read by the peer at every access
 *              active | arrived                   one line, written by the connected peer alone
 *              rq_posted                          one line, written by the owner alone
 *   key_entry  state | range | owner              one line
 *   cq_entry   armed | summary[4] | arrivals[256] which queue pairs have something for this queue
 *   srq_entry  head | tail + ring of {generation, slot} + slots
 *
 * Who executes: the requester's own thread runs READ, WRITE, atomics and SEND on the responder's
 * segment. The responder's CPU takes no part until it polls.
 *
 * Ordering
 *  O1  gate: opened by the owner with release after everything else of the entry is written. It
 *      holds a tag that only the connected requester can compute, or a queue pair state (< 16).
 *      Owner or peer shut it by CAS/exchange; nobody but the owner opens it.
 *  O2  active: the requester makes it odd by CAS (full barrier), then checks the gate and the key,
 *      then accesses, then makes it even with release. Who takes a right away shuts the gate or
 *      kills the key first, full barrier, then reads active: if even, or no longer the odd value
 *      first seen, no byte will move by that right any more.
 *  O3  The CAS on active starts from the last even value the requester knows; the owner moves it to
 *      a new epoch before it lets the entry be used for another connection. A requester that slept
 *      through that can therefore never announce itself on somebody else's connection.
 *  O4  A READ need not announce itself: it checks key and gate again after the copy and wipes what
 *      it copied if either changed. It does announce itself where the memory may be unmapped
 *      (anything but memory_alloc memory).
 *  O5  key state: the only word that says whether a key is good. It changes on every transition
 *      (16-bit generation), so {state, range, state} reads a consistent range.
 *  O6  arrived: the RECV (its data and result) is written before the release store of arrived; then
 *      the bit in arrivals[], then the bit in summary[]. The poller clears in the opposite order.
 *
 * Crashes (a process may die between any two instructions, or stop for ever)
 *  C1  No word is a lock. A dead requester leaves active odd; who waits asks the kernel (pidfd)
 *      and takes the entry over by moving it to a new epoch.
 *  C2  Dead between writing a RECV's data and arrived: the RECV counts as not consumed and is
 *      flushed when its queue pair leaves RTS, or returned to the shared receive queue (the claim
 *      word of a slot names the claimer).
 *  C3  Dead between arrived and the bits: the RECV is found when its queue pair leaves RTS.
 *  C4  Dead while waking a sleeper: armed is cleared only after the descriptor was written.
 *  C5  A dead owner: its segment stays mapped, but every access looks for its sign of life (keeper.c).
 */
#ifndef PTNI_SOFT_SEGMENT_H
#define PTNI_SOFT_SEGMENT_H

#include <infiniband/verbs.h>
#include <stdatomic.h>
#include <stdint.h>

enum {
	SEGMENT_VERSION = 1,
	SEGMENT_QP_BITS = 14,
	SEGMENT_QP_MAX = 1 << SEGMENT_QP_BITS, /* a queue pair number is {generation, index} */
	SEGMENT_QP_GENERATIONS = 1 << (24 - SEGMENT_QP_BITS),
	SEGMENT_CQ_MAX = 4096,
	SEGMENT_SRQ_MAX = 1024,
	SEGMENT_KEY_MAX = 1 << 19, /* a key is {index, 8-bit tag} */
	SEGMENT_WORDS = SEGMENT_QP_MAX / 64,
	SEGMENT_SUMMARIES = SEGMENT_WORDS / 64,
	SEGMENT_LINE = 64,
};

#define SEGMENT_OWNER_DIED 0x40000000u
#define SEGMENT_MAGIC      0x53756e6f72746150ull

/* Values of a gate that are not a tag: those of enum ibv_qp_state, and this. */
enum {
	GATE_CLOSED = 15,
	GATE_TAG_MIN = 16
};

struct qp_entry {
	_Alignas(SEGMENT_LINE) _Atomic uint64_t gate;
	uint32_t qp_num;
	uint32_t access; /* IBV_ACCESS_REMOTE_* */
	uint32_t pd;
	uint32_t recv_cq;
	uint32_t srq; /* index + 1, or 0 */
	uint32_t rq_mask;
	uint32_t rq_stride;
	uint32_t rnr_delay_us;
	uint64_t rq_offset; /* struct recv_wqe[], or with a shared queue the slots that arrived */
	_Atomic uint64_t peer_nic;

	_Alignas(SEGMENT_LINE) _Atomic uint64_t active;
	_Atomic uint32_t arrived; /* RECVs consumed since the connection was made */

	_Alignas(SEGMENT_LINE) _Atomic uint32_t rq_posted;
};

struct cq_entry {
	_Alignas(SEGMENT_LINE) _Atomic uint64_t armed; /* a fresh number each time, 0 = not armed */
	_Atomic uint64_t summary[SEGMENT_SUMMARIES];
	_Atomic int32_t fd; /* to wake a sleeper, in the owner's process */
	_Alignas(SEGMENT_LINE) _Atomic uint64_t arrivals[SEGMENT_WORDS];
};

/*
 * A RECV work request, and its result once consumed. `claim` is used in shared receive queues:
 * {generation:32, what:8, queue pair number:24}.
 */
struct recv_wqe {
	_Atomic uint64_t claim;
	uint64_t wr_id;
	uint32_t num_sge;
	uint32_t status;
	uint32_t byte_len;
	uint32_t imm_or_rkey;
	uint32_t opcode;
	uint32_t wc_flags;
	uint32_t src_qp;
	uint32_t vendor_err;
	struct ibv_sge sge[];
};

enum {
	CLAIM_FREE,
	CLAIM_POSTED,
	CLAIM_TAKEN,
	CLAIM_COLLECTED
};

static inline uint64_t claim_word(uint32_t generation, uint32_t what, uint32_t qp_num)
{
	return (uint64_t)generation << 32 | what << 24 | qp_num;
}

struct srq_entry {
	_Alignas(SEGMENT_LINE) _Atomic uint32_t head; /* next to take; anybody may move it on */
	_Alignas(SEGMENT_LINE) _Atomic uint32_t tail; /* written by the owner alone */
	uint32_t pd;
	uint32_t ring_mask;
	uint32_t slots;
	uint32_t stride;
	uint64_t ring_offset; /* _Atomic uint64_t[]: {generation:32, slot:32} */
	uint64_t slots_offset; /* struct recv_wqe[] */
};

/*
 * state: tag:8 | rights:8 (IBV_ACCESS_*) | kind:2 | live:1 | foreign:1 | busy:1 | -:3 |
 *        queue pair number:24 (windows) | generation:16
 */
struct key_entry {
	_Alignas(SEGMENT_LINE) _Atomic uint64_t state;
	_Atomic uint64_t start; /* as the holder of the key names the first byte */
	_Atomic uint64_t len;
	_Atomic uint64_t base; /* where that is in the owner's address space */
	_Atomic uint32_t pd;
	_Atomic uint32_t mr; /* windows: index of the region below */
};

#define KEY_TAG        0xffull
#define KEY_RIGHTS(r)  ((uint64_t)(uint8_t)(r) << 8)
#define KEY_KIND_MASK  (3ull << 16)
#define KEY_MR         (1ull << 16)
#define KEY_MW         (2ull << 16)
#define KEY_LIVE       (1ull << 18)
#define KEY_FOREIGN    (1ull << 19) /* outside memory_alloc: may be unmapped, same process only */
#define KEY_BUSY       (1ull << 20) /* a bind, deregistration or deallocation is under way */
#define KEY_QP(qp_num) ((uint64_t)(qp_num) << 24)
#define KEY_QP_MASK    (0xffffffull << 24)
#define KEY_GENERATION (1ull << 48)

struct segment_header {
	uint64_t magic;
	uint64_t nic_id;
	uint64_t base; /* where the owner has it mapped */
	uint64_t size;
	uint32_t version;
	uint32_t pid;
	_Alignas(SEGMENT_LINE) _Atomic uint32_t keeper; /* keeper.c: SEGMENT_OWNER_DIED once it did */
};

struct segment {
	struct segment_header header;
	_Alignas(4096) struct qp_entry qp[SEGMENT_QP_MAX];
	struct cq_entry cq[SEGMENT_CQ_MAX];
	struct srq_entry srq[SEGMENT_SRQ_MAX];
	struct key_entry key[SEGMENT_KEY_MAX];
	_Alignas(4096) uint8_t heap[];
};

_Static_assert(sizeof(struct key_entry) == SEGMENT_LINE, "one line a key");
_Static_assert(sizeof(struct qp_entry) == 3 * SEGMENT_LINE, "three lines a queue pair");
_Static_assert(sizeof(struct recv_wqe) == 48, "header and one piece fill a line");

#endif
