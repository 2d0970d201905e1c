/* SPDX-License-Identifier: MIT */
/*
 * The software NIC: what is private to the process that opened it. segment.h has what peers see.
 *
 *   soft_nic -- soft_map (own segment)       soft_pd <- soft_mr, soft_mw, soft_srq, soft_qp
 *   soft_qp  -- soft_map (peer's segment)    soft_cq <- soft_qp (twice: sends, receives)
 *
 * nic.c open, close, limits, domains    map.c  segments mapped here               pool.c  pages of a segment
 * keeper.c a sign of life                 deliver.c  a RECV, by the requester
 * key.c regions and windows             qp.c   life of a queue pair               cq.c    completions
 * send.c post, queue, retry             run.c  one work request executed          recv.c  RECVs, arrivals
 * srq.c shared receive queues           channel.c  finding peers
 *
 * Threads: as fabric.h says. `lock` guards the tables of objects, never the data path.
 */
#ifndef PTNI_SOFT_H
#define PTNI_SOFT_H

#include "core/base/clock.h"
#include "core/fabric/fabric.h"
#include "core/fabric/soft/segment.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define soft_likely(x)                    __builtin_expect(!!(x), 1)
#define soft_unlikely(x)                  __builtin_expect(!!(x), 0)
#define soft_container(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

enum {
	SOFT_WR_MAX = 16384,
	SOFT_SGE_MAX = 16,
	SOFT_INLINE_MAX = 512,
	SOFT_CQE_MAX = 1 << 20,
	SOFT_MR_MAX = 1 << 16,
	SOFT_MW_MAX = 1 << 18,
	SOFT_RD_ATOMIC_MAX = 16,
	SOFT_PAGE = 4096,
};

#define SOFT_MESSAGE_MAX (1ull << 31)
#define SOFT_RING_BYTES  (4ull << 30) /* address space for receive queues */

/* vendor_err: why exactly. */
enum soft_cause {
	CAUSE_NONE,
	CAUSE_KEY_STALE, /* no such key, or its tag changed */
	CAUSE_KEY_RIGHTS,
	CAUSE_KEY_RANGE,
	CAUSE_KEY_DOMAIN,
	CAUSE_KEY_QP, /* a window bound to another queue pair */
	CAUSE_KEY_MEMORY, /* not reachable from this process */
	CAUSE_KEY_REVOKED, /* while being read */
	CAUSE_QP_RIGHTS,
	CAUSE_ALIGNMENT,
	CAUSE_LENGTH,
	CAUSE_RECV_LENGTH,
	CAUSE_RECV_KEY,
	CAUSE_PEER_STATE,
	CAUSE_PEER_DEAD,
	CAUSE_RECV_NONE,
	CAUSE_WINDOW_STATE,
	CAUSE_WINDOW_TAG,
	CAUSE_WINDOW_RIGHTS,
	CAUSE_WINDOW_RANGE,
	CAUSE_WINDOW_REGION,
};

/* ---- pool.c: page-granular first fit over an address range; not thread safe */

struct soft_extent {
	struct soft_extent *next;
	uint64_t offset;
	uint64_t len;
};

struct soft_pool {
	uint64_t offset;
	uint64_t size;
	uint64_t used_end; /* nothing above was ever handed out */
	struct soft_extent *free; /* by ascending offset, never adjacent */
};

void ptni_soft_pool_init(struct soft_pool *pool, uint64_t offset, uint64_t size);
void ptni_soft_pool_fini(struct soft_pool *pool);
int ptni_soft_pool_take(struct soft_pool *pool, uint64_t len, uint64_t align, uint64_t *offset_out);
int ptni_soft_pool_give(struct soft_pool *pool, uint64_t offset, uint64_t len);

/* Small numbers, re-used as late as possible. */
struct soft_ids {
	uint32_t *queue; /* of freed numbers */
	uint32_t head;
	uint32_t tail;
	uint32_t fresh; /* numbers below were handed out before */
	uint32_t max;
};

int ptni_soft_ids_init(struct soft_ids *ids, uint32_t max);
void ptni_soft_ids_fini(struct soft_ids *ids);
int ptni_soft_ids_take(struct soft_ids *ids, uint32_t *id_out);
void ptni_soft_ids_give(struct soft_ids *ids, uint32_t id);

/* ---- map.c: segments mapped in this process, own and foreign, counted */

struct soft_map {
	struct soft_map *next;
	uint64_t nic_id;
	struct segment *segment;
	ptrdiff_t delta; /* our address - the owner's address */
	uint64_t size;
	uint32_t refs;
	int memfd; /* of a shared segment that is ours, else -1 */
	int pidfd; /* of the owner; -1: this process */
	int wake_fd; /* for datagrams to completion queues of a shared segment, else -1 */
	bool shared;
};

int ptni_soft_map_create(bool shared, uint64_t size, struct soft_map **map_out);
/* Private memory at `base` under a number of the caller's choice; -EEXIST: one of them is taken. */
int ptni_soft_map_place(void *base, uint64_t nic_id, uint64_t size, struct soft_map **map_out);
int ptni_soft_map_import(uint64_t nic_id, int memfd, int pidfd, struct soft_map **map_out);
struct soft_map *ptni_soft_map_find(uint64_t nic_id); /* takes a reference; NULL */
void ptni_soft_map_put(struct soft_map *map);
/* No thread of that NIC's process will execute another instruction. */
bool ptni_soft_nic_dead(uint64_t nic_id);

/* ---- keeper.c: tells peers when this process is gone */

struct soft_keeper;

int ptni_soft_keeper_start(struct segment *segment, struct soft_keeper **keeper_out);
void ptni_soft_keeper_stop(struct soft_keeper *keeper);

/* Did the process that owns the segment die, or is it dying? Its threads may still be at work. */
static inline bool soft_segment_dead(const struct segment *segment)
{
	return atomic_load_explicit(&segment->header.keeper, memory_order_acquire) &
	       SEGMENT_OWNER_DIED;
}

/* ---- nic.c */

struct soft_nic {
	struct ptni_fabric fabric;
	struct ibv_context context;
	struct soft_keeper *keeper; /* of a shared segment */
	struct ptni_clock *clock; /* for what waits in a queue */
	struct soft_map *map;
	struct segment *segment;
	uint64_t id;
	uint64_t memory_offset;
	uint64_t memory_max;
	bool shared;
	_Atomic uint32_t pds;

	pthread_mutex_t lock;
	uint64_t memory_used;
	struct soft_pool ring_pool;
	struct soft_pool memory_pool;
	struct soft_ids qp_ids;
	struct soft_ids cq_ids;
	struct soft_ids srq_ids;
	struct soft_ids key_ids;
	uint32_t mr_count;
	uint32_t mw_count;
	_Atomic(struct soft_qp *) *qps; /* by index */
	struct ptni_channel *channels; /* whose peer has not introduced itself yet */
	uint16_t *qp_generation; /* of the next number of each index */
	void *driver; /* sim's, if it drives this NIC */
};

struct soft_pd {
	struct ibv_pd pd;
	_Atomic uint32_t users;
	uint32_t id;
};

static inline struct soft_nic *soft_nic_of(struct ibv_context *context)
{
	return soft_container(context, struct soft_nic, context);
}

static inline struct soft_pd *soft_pd_of(struct ibv_pd *pd)
{
	return soft_container(pd, struct soft_pd, pd);
}

static inline bool soft_nic_owns(const struct soft_nic *nic, const void *addr, uint64_t len)
{
	uint64_t start = (uint64_t)(uintptr_t)nic->segment + nic->memory_offset;
	uint64_t at = (uint64_t)(uintptr_t)addr;

	return at >= start && len <= nic->memory_max && at - start <= nic->memory_max - len;
}

int ptni_soft_open(const char *address, const struct ptni_fabric_options *options,
		   struct ptni_fabric **fabric_out);
/*
 * For a driver of its own (sim): a private NIC whose segment lies at `base`, with ring_bytes for receive
 * queues and memory_bytes behind it. Nothing of it depends on chance or on real time but `clock`.
 */
struct soft_place {
	void *base;
	uint64_t nic_id;
	uint64_t ring_bytes, memory_bytes;
	struct ptni_clock *clock;
};
int ptni_soft_open_place(const struct soft_place *place, struct ptni_fabric **fabric_out);
int ptni_soft_ring_alloc(struct soft_nic *nic, uint64_t len, uint64_t *offset_out);
void ptni_soft_ring_free(struct soft_nic *nic, uint64_t offset, uint64_t len);

/* How long ptni_soft_settle waits; where time stands still while it does, not at all. */
extern uint64_t ptni_soft_settle_max_ns;
/* Waits until the requester that may be inside has left: 0; -EBUSY if it has not after a second. */
int ptni_soft_settle(struct qp_entry *entry);

/* True if nobody is inside who was there when `seen` was read (even: nobody was). */
bool ptni_soft_settled(struct qp_entry *entry, uint64_t seen);

/* ---- key.c */

struct soft_mr {
	struct ibv_mr mr;
	uint32_t index;
};

struct soft_mw {
	struct ibv_mw mw;
	uint32_t index;
};

int ptni_soft_mr_register(struct ibv_pd *pd, void *addr, size_t len, int access,
			  struct ibv_mr **mr_out);
int ptni_soft_mr_deregister(struct ibv_mr *mr);
struct ibv_mw *ptni_soft_mw_alloc(struct ibv_pd *pd, enum ibv_mw_type type);
int ptni_soft_mw_dealloc(struct ibv_mw *mw);
void ptni_soft_mw_unbind_qp(struct soft_nic *nic, uint32_t qp_num);

/* ---- cq.c */

enum soft_cqe_kind {
	CQE_SEND,
	CQE_RECV,
	CQE_SRQ
};

struct soft_cqe {
	struct ibv_wc wc;
	struct soft_qp *qp;
	uint32_t index; /* CQE_SEND: the send queue is free up to here; CQE_SRQ: the slot */
	uint32_t kind;
};

_Static_assert(sizeof(struct soft_cqe) == SEGMENT_LINE, "one line a completion");

struct soft_cq {
	struct ibv_cq cq;
	_Alignas(SEGMENT_LINE) struct soft_cqe *ring;
	struct cq_entry *entry;
	struct soft_qp *waiting; /* of `senders`: with work that could not be done yet */
	uint32_t waiting_receivers; /* of `receivers`: with such work and another send queue */
	uint32_t mask;
	uint32_t head;
	uint32_t tail;
	uint32_t capacity;
	bool overrun;

	struct soft_nic *nic;
	struct soft_qp *senders;
	struct soft_qp *receivers;
	uint32_t index;
	int fd;
	uint64_t arm_number;
};

static inline struct soft_cq *soft_cq_of(struct ibv_cq *cq)
{
	return soft_container(cq, struct soft_cq, cq);
}

int ptni_soft_cq_open(struct ptni_fabric *fabric, uint32_t entries, struct ibv_cq **cq_out);
int ptni_soft_cq_close(struct ibv_cq *cq);
int ptni_soft_cq_fd(struct ibv_cq *cq);
int ptni_soft_cq_arm(struct ibv_cq *cq);
void ptni_soft_cq_disarm(struct ibv_cq *cq);
int ptni_soft_cq_notify(struct ibv_cq *cq, int solicited_only);
int ptni_soft_cq_poll(struct ibv_cq *cq, int entries, struct ibv_wc *wc);
struct soft_cqe *ptni_soft_cqe_push_slow(struct soft_cq *cq);
void ptni_soft_cq_purge(struct soft_cq *cq, struct soft_qp *qp);
void ptni_soft_cq_wake(struct soft_map *map,
		       uint32_t index); /* something arrived: wakes if armed */

/* The next completion to fill in, or NULL: the queue has overrun and is dead. */
static inline struct soft_cqe *soft_cqe_push(struct soft_cq *cq)
{
	if (soft_unlikely(cq->tail - cq->head >= cq->capacity ||
			  atomic_load_explicit(&cq->entry->armed, memory_order_relaxed)))
		return ptni_soft_cqe_push_slow(cq);
	return &cq->ring[cq->tail++ & cq->mask];
}

/* ---- qp.c */

struct soft_wqe {
	struct ibv_send_wr wr;
	struct soft_mw mw; /* BIND_MW: what it names, as it was when posted */
	struct soft_mr mr;
	struct ibv_sge sge[];
};

struct soft_qp {
	struct ibv_qp qp;

	/* what a post touches */
	_Alignas(SEGMENT_LINE) struct qp_entry *entry;
	struct qp_entry *peer;
	uint64_t gate; /* of entry while connected, never a tag otherwise */
	uint64_t peer_gate; /* of peer while connected to us */
	struct segment *segment;
	struct segment *peer_segment;
	ptrdiff_t peer_delta;
	struct soft_cq *send_cq;

	uint64_t active; /* the even value of peer->active from which we may announce ourselves */
	uint32_t sq_posted;
	uint32_t sq_executed; /* below sq_posted: the rest waits in `wqes` */
	uint32_t sq_freed;
	uint32_t sq_depth;
	uint32_t sge_max;
	uint32_t inline_max;
	uint32_t pd_id;
	bool sig_all;
	bool announced;
	bool arrival; /* the peer's completion queue is to be told when the announcement ends */
	bool peer_local;
	bool rd_atomic;

	/* receive side */
	_Alignas(SEGMENT_LINE) uint8_t *rq;
	struct soft_cq *recv_cq;
	struct soft_srq *srq;
	uint32_t rq_posted;
	uint32_t rq_collected; /* turned into completions */
	uint32_t rq_freed; /* and polled */
	uint32_t rq_depth;
	uint32_t rq_sge_max;
	uint64_t rq_bytes;

	/* waiting work */
	uint8_t *wqes;
	size_t wqe_stride;
	uint32_t wqe_mask;
	struct soft_qp *waiting_next;
	bool waiting;
	bool rq_settled; /* in ERROR, and nobody is inside any more */
	int wait_why; /* enum soft_again */
	uint64_t wait_since_ns;
	uint64_t wait_checked_ns;
	struct qp_entry *inv_entry; /* LOCAL_INV at the head: key killed, waits for who is inside */
	uint64_t inv_seen;
	uint64_t settle_checked_ns;

	/* control */
	struct soft_nic *nic;
	struct soft_map *peer_map;
	struct soft_qp *sender_next;
	struct soft_qp *receiver_next;
	struct ptni_qp_params params;
	enum ibv_qp_state state;
	uint32_t index;
	bool windows; /* one was bound to it at some time */
	void *driver; /* sim's */
};

static inline struct soft_qp *soft_qp_of(struct ibv_qp *qp)
{
	return soft_container(qp, struct soft_qp, qp);
}

int ptni_soft_qp_open(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out);
int ptni_soft_qp_close(struct ibv_qp *qp);
int ptni_soft_qp_address(struct ibv_qp *qp, struct ptni_qp_address *address_out);
int ptni_soft_qp_init(struct ibv_qp *qp, const struct ptni_qp_params *params);
int ptni_soft_qp_connect(struct ibv_qp *qp, const struct ptni_qp_params *params,
			 const struct ptni_qp_address *peer);
int ptni_soft_qp_reset(struct ibv_qp *qp);
int ptni_soft_qp_error(struct ibv_qp *qp);
int ptni_soft_qp_error_try(struct ibv_qp *qp);
int ptni_soft_qp_state(struct ibv_qp *qp, enum ibv_qp_state *state_out);
enum ibv_qp_state ptni_soft_qp_look(struct soft_qp *qp); /* notices what the peer did to us */
void ptni_soft_qp_break(struct soft_qp *qp); /* -> ERROR, flushes what can be flushed now */

/* ---- send.c, run.c */

/*
 * Verdict of one execution: a work completion status in the low byte, the cause in the next. Or:
 * try again later, and why.
 */
enum soft_again {
	AGAIN_RECV = 0x10000,
	AGAIN_PEER = 0x20000,
	AGAIN_ACTIVE = 0x30000
};

static inline int soft_verdict(enum ibv_wc_status status, enum soft_cause cause)
{
	return (int)((unsigned int)status | (unsigned int)cause << 8);
}

int ptni_soft_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);
void ptni_soft_send_progress(struct soft_cq *cq);
void ptni_soft_send_unwait(struct soft_qp *qp); /* nothing waits any more */
void ptni_soft_send_flush(struct soft_qp *qp);
int ptni_soft_run(struct soft_qp *qp, const struct ibv_send_wr *wr, uint32_t *len_out);
/* The responder's refusal without a reason of its own: as ptni_soft_run's verdict on a bad request. */
int ptni_soft_refuse(struct soft_qp *qp, enum ibv_wc_status status, enum soft_cause cause);
/*
 * The queue without its execution, for a driver that decides when things happen: put a request in it as a
 * post does (positive errno), look at request number `index` of it, complete the oldest by its verdict.
 */
int ptni_soft_send_queue(struct soft_qp *qp, const struct ibv_send_wr *wr);
struct soft_wqe *ptni_soft_send_wqe(struct soft_qp *qp, uint32_t index);
void ptni_soft_send_finish(struct soft_qp *qp, int verdict, uint32_t len);
void ptni_soft_retire(struct soft_qp *qp);
int ptni_soft_run_bind(struct soft_qp *qp, const struct ibv_send_wr *wr);
int ptni_soft_run_invalidate(struct soft_qp *qp, uint32_t rkey);
int ptni_soft_key_invalidate_remote(struct soft_qp *qp, uint32_t rkey);

/* ---- recv.c, srq.c */

struct soft_srq {
	struct ibv_srq srq;
	struct soft_nic *nic;
	struct srq_entry *entry;
	_Atomic uint64_t *ring;
	uint8_t *slots;
	uint64_t bytes;
	uint32_t *idle; /* slots without a work request */
	uint32_t idle_count;
	uint32_t depth;
	uint32_t sge_max;
	uint32_t index;
	uint32_t users;
};

static inline struct soft_srq *soft_srq_of(struct ibv_srq *srq)
{
	return soft_container(srq, struct soft_srq, srq);
}

static inline struct recv_wqe *soft_srq_slot(struct soft_srq *srq, uint32_t slot)
{
	return (struct recv_wqe *)(void *)(srq->slots + (size_t)slot * srq->entry->stride);
}

size_t ptni_soft_recv_stride(uint32_t sge_max);
int ptni_soft_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr);
int ptni_soft_recv_fill(struct soft_nic *nic, struct recv_wqe *wqe, const struct ibv_recv_wr *wr,
			uint32_t sge_max);
void ptni_soft_recv_collect(struct soft_cq *cq);
void ptni_soft_recv_drop(struct soft_qp *qp); /* slots that arrived are free again */
void ptni_soft_recv_mark(struct soft_qp *qp); /* look at this queue pair at the next poll */
int ptni_soft_srq_open(struct ibv_pd *pd, uint32_t wr_max, uint32_t sge_max,
		       struct ibv_srq **srq_out);
int ptni_soft_srq_close(struct ibv_srq *srq);
int ptni_soft_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr,
			    struct ibv_recv_wr **bad_wr);
void ptni_soft_srq_free(struct soft_srq *srq, uint32_t slot);
void ptni_soft_srq_reclaim(struct soft_srq *srq, uint32_t qp_num);

/* ---- deliver.c: the requester's side of a RECV */

struct soft_span {
	uint8_t *ptr;
	uint64_t len;
};

struct soft_delivery {
	struct recv_wqe *wqe;
	uint32_t slot; /* of the shared receive queue */
};

int ptni_soft_deliver_take(struct soft_qp *qp, struct soft_delivery *delivery_out);
int ptni_soft_deliver_data(struct soft_qp *qp, struct soft_delivery *delivery,
			   const struct soft_span *spans, uint32_t count, uint64_t len);
void ptni_soft_deliver_done(struct soft_qp *qp, struct soft_delivery *delivery,
			    const struct ibv_send_wr *wr, uint64_t len);
void ptni_soft_deliver_mark(struct soft_map *map, struct qp_entry *entry);

/* ---- channel.c */

int ptni_soft_address_check(const char *address);
int ptni_soft_listen(struct ptni_fabric *fabric, const char *address,
		     struct ptni_listener **listener_out);
int ptni_soft_listener_fd(struct ptni_listener *listener);
int ptni_soft_accept(struct ptni_listener *listener, struct ptni_channel **channel_out);
void ptni_soft_listener_close(struct ptni_listener *listener);
int ptni_soft_dial(struct ptni_fabric *fabric, const char *address,
		   struct ptni_channel **channel_out);
int ptni_soft_channel_fd(struct ptni_channel *channel);
int ptni_soft_channel_send(struct ptni_channel *channel, const void *data, size_t len);
int ptni_soft_channel_recv(struct ptni_channel *channel, void *data, size_t capacity);
void ptni_soft_channel_close(struct ptni_channel *channel);
void ptni_soft_channels_greet(struct soft_nic *nic); /* reads what introductions are there */

#endif
