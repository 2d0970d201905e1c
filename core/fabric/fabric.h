/* SPDX-License-Identifier: MIT */
/*
 * The seam. All code above it speaks libibverbs: its structs and the inline calls that go through
 * ibv_context->ops (ibv_post_send, ibv_post_recv, ibv_post_srq_recv, ibv_poll_cq, ibv_alloc_mw,
 * ibv_dealloc_mw). What libibverbs does with real functions (open, register, create, connect) and
 * what it does not do (find a peer, exchange a few bytes with it) goes through this one table.
 *
 * Backends: soft (a software NIC; "inproc:NAME" within a process, "shm:PATH" between processes of
 * one host), verbs (a real device, "verbs:DEVICE,PATH") and, for tests, sim (the software NIC under
 * virtual time, "sim:NAME").
 *
 * Contract of every operation here: 0 or a positive count on success, negative errno on failure,
 * never errno itself; out-parameters are written only on success. None of them is for the data path.
 *
 * Threads: a fabric, its protection domains, regions and windows may be used by several threads.
 * A queue pair, a completion queue and what is attached to it belong to one thread at a time.
 */
#ifndef PTNI_FABRIC_H
#define PTNI_FABRIC_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ptni_fabric;
struct ptni_listener;
struct ptni_channel;

/* Where a queue pair can be reached: exchanged as bytes between the two ends, opaque above the seam. */
struct ptni_qp_address {
	uint8_t bytes[64];
};

/* How a queue pair behaves once connected; see ibv_modify_qp(3) for the meaning of each. */
struct ptni_qp_params {
	int access_flags; /* what the peer may do: IBV_ACCESS_REMOTE_* */
	uint8_t retry_count; /* 0..6; 7 means for ever on some devices and is refused */
	uint8_t rnr_retry; /* 0..7, 7 = for ever */
	uint8_t timeout; /* 4.096 us << timeout */
	uint8_t min_rnr_timer; /* IBTA code */
	uint8_t rd_atomic; /* READs and atomics outstanding, both directions */
};

/* What one device offers. A soft device reports what it enforces. */
struct ptni_fabric_limits {
	uint32_t qp_max;
	uint32_t cq_max;
	uint32_t cqe_max;
	uint32_t mr_max;
	uint32_t mw_max;
	uint32_t srq_max;
	uint32_t wr_max; /* per queue */
	uint32_t sge_max;
	uint32_t inline_max; /* bytes */
	uint32_t rd_atomic_max;
	uint64_t message_max; /* bytes of one READ, WRITE or SEND */
};

struct ptni_fabric_ops {
	const char *name;
	void (*close)(struct ptni_fabric *fabric); /* after everything opened from it is closed */
	void (*limits)(struct ptni_fabric *fabric, struct ptni_fabric_limits *limits_out);

	/* Memory that the NIC can reach, page aligned and zero; of huge pages where the host has
	 * them. A region that a peer or the peer's SENDs are to reach must lie in such memory. */
	int (*memory_alloc)(struct ptni_fabric *fabric, size_t len_bytes, void **addr_out);
	void (*memory_free)(struct ptni_fabric *fabric, void *addr, size_t len_bytes);

	int (*pd_open)(struct ptni_fabric *fabric, struct ibv_pd **pd_out);
	int (*pd_close)(struct ibv_pd *pd); /* -EBUSY while anything of it lives */
	int (*mr_register)(struct ibv_pd *pd, void *addr, size_t len_bytes, int access,
			   struct ibv_mr **mr_out);
	/* -EBUSY or -EINVAL while a window is bound to it */
	int (*mr_deregister)(struct ibv_mr *mr);

	/* cq_arm: the next completion makes cq_fd readable; returns 1 if completions already wait, so
	 * that poll, arm, poll, sleep loses nothing. 1 also while work of a queue pair of this queue
	 * waits for its peer on a device that needs polls to try again: poll on. cq_disarm empties
	 * the descriptor. */
	int (*cq_open)(struct ptni_fabric *fabric, uint32_t entries, struct ibv_cq **cq_out);
	int (*cq_close)(struct ibv_cq *cq);
	int (*cq_fd)(struct ibv_cq *cq);
	int (*cq_arm)(struct ibv_cq *cq);
	void (*cq_disarm)(struct ibv_cq *cq);

	int (*srq_open)(struct ibv_pd *pd, uint32_t wr_max, uint32_t sge_max,
			struct ibv_srq **srq_out);
	int (*srq_close)(struct ibv_srq *srq);

	/* A queue pair is opened in RESET. qp_connect takes it to RTS through INIT and RTR.
	 *
	 * Once mr_deregister, ibv_dealloc_mw, qp_reset, qp_error or qp_close has returned 0, or a
	 * LOCAL_INV completed, no byte moves any more by the right that it took away. On a soft device
	 * they wait for a peer that is in the middle of an access; for one that stays there (a stopped
	 * process) they return -EBUSY (ibv_dealloc_mw: EBUSY) after a second: the right is gone, but
	 * the memory is not to be re-used before the same call, made again, has returned 0. */
	int (*qp_open)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out);
	int (*qp_close)(struct ibv_qp *qp); /* windows bound to it are invalidated first */
	int (*qp_address)(struct ibv_qp *qp, struct ptni_qp_address *address_out);
	/* RESET -> INIT: RECVs may be posted */
	int (*qp_init)(struct ibv_qp *qp, const struct ptni_qp_params *params);
	int (*qp_connect)(struct ibv_qp *qp, const struct ptni_qp_params *params,
			  const struct ptni_qp_address *peer); /* INIT -> RTR -> RTS */
	/* any -> RESET; outstanding work is dropped without completions */
	int (*qp_reset)(struct ibv_qp *qp);
	int (*qp_error)(struct ibv_qp *qp); /* any -> ERROR; outstanding work is flushed */
	/* The same without waiting. -EBUSY: it is in ERROR and lets no access begin any more, but one
	 * that the peer began before is still under way; call again. */
	int (*qp_error_try)(struct ibv_qp *qp);
	int (*qp_state)(struct ibv_qp *qp, enum ibv_qp_state *state_out);

	/* Finding a peer. A channel carries whole messages of up to PTNI_CHANNEL_MAX bytes, reliably
	 * and in order; everything is non-blocking: -EAGAIN when nothing is there or no room is left,
	 	 * -ECONNRESET once the peer closed or died, after all that it had sent was received;
	 * -EMSGSIZE for a message of no bytes or of more than PTNI_CHANNEL_MAX, and when the next
	 * message is longer than `capacity_bytes`: it is lost. Descriptors are for poll(2). */
	int (*listen)(struct ptni_fabric *fabric, const char *address,
		      struct ptni_listener **listener_out);
	int (*listener_fd)(struct ptni_listener *listener);
	int (*accept)(struct ptni_listener *listener, struct ptni_channel **channel_out);
	void (*listener_close)(struct ptni_listener *listener);
	int (*dial)(struct ptni_fabric *fabric, const char *address,
		    struct ptni_channel **channel_out);
	int (*channel_fd)(struct ptni_channel *channel);
	int (*channel_send)(struct ptni_channel *channel, const void *data, size_t len_bytes);
	int (*channel_recv)(struct ptni_channel *channel, void *data, size_t capacity_bytes);
	void (*channel_close)(struct ptni_channel *channel);
};

enum {
	PTNI_CHANNEL_MAX = 4096
};

/* What every backend's object starts with. */
struct ptni_fabric {
	const struct ptni_fabric_ops *ops;
	struct ibv_context *context;
};

struct ptni_fabric_options {
	const char *device; /* verbs: device name, NULL = the first; soft: ignored */
	size_t memory_max_bytes; /* most that memory_alloc may hand out; 0 = 64 GiB (address space only) */
};

/*
 * Open the device that serves `address` (its scheme chooses the backend). The fabric is used both to
 * listen on such addresses and to dial them.
 * Errors: -EINVAL unknown scheme or malformed address; -ENODEV no such device; -ENOMEM.
 */
int ptni_fabric_open(const char *address, const struct ptni_fabric_options *options,
		     struct ptni_fabric **fabric_out);

#endif
