/* SPDX-License-Identifier: MIT */
/*
 * The verbs backend: a real device behind core/fabric/fabric.h.
 *
 * Verbs has three error conventions: a pointer or NULL with errno (create), a positive errno
 * (modify, destroy, deregister), and -1 with errno (channels and descriptors). They are turned into
 * negative errno here and nowhere else.
 *
 * Queue pairs are connected directly: the two ends exchange number, first PSN, GID or LID and MTU as
 * a struct ptni_qp_address over a channel. A channel is a Unix SEQPACKET socket.
 *
 * Windows: a device's driver may need an end to them before the queue pair they are bound to is
 * closed (Linux' rdma_rxe otherwise waits for most of a minute). So users invalidate or deallocate
 * windows first, then close queue pairs, then deregister memory. See docs/FIDELITY.md.
 */
#ifndef PTNI_VERBS_H
#define PTNI_VERBS_H

#include "core/fabric/fabric.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
	PTNI_VERBS_QP_BUCKETS = 256, /* of the table from queue pair to its first PSN */
};

struct ptni_verbs_qp; /* what the device does not keep of a queue pair; in qp.c */

struct ptni_verbs_fabric {
	struct ptni_fabric fabric;
	struct ibv_device_attr device;
	struct ibv_port_attr port;
	uint8_t port_num;
	uint8_t gid_index;
	union ibv_gid gid;
	size_t memory_max_bytes;
	_Atomic size_t memory_used_bytes;
	pthread_mutex_t qps_lock;
	struct ptni_verbs_qp *qps[PTNI_VERBS_QP_BUCKETS];
};

/*
 * Open the device named in "verbs:DEVICE,PATH"; an empty DEVICE means options->device, and without
 * that the first device with an active port.
 * Errors: -EINVAL malformed address, -ENODEV no such device or no active port, -ENOMEM.
 */
int ptni_verbs_open(const char *address, const struct ptni_fabric_options *options,
		    struct ptni_fabric **fabric_out);

/* The negative errno of a failed call that returned NULL or -1 and set errno. */
static inline int ptni_verbs_errno(void)
{
	return errno > 0 ? -errno : -ENOMEM;
}

/*
 * Split "verbs:DEVICE,PATH". Either part may be asked for; device_out needs IBV_SYSFS_NAME_MAX bytes.
 * Errors: -EINVAL.
 */
int ptni_verbs_address_split(const char *address, char *device_out, const char **path_out);

/* queue.c */
int ptni_verbs_cq_open(struct ptni_fabric *fabric, uint32_t entries, struct ibv_cq **cq_out);
int ptni_verbs_cq_close(struct ibv_cq *cq);
int ptni_verbs_cq_fd(struct ibv_cq *cq);
int ptni_verbs_cq_arm(struct ibv_cq *cq);
void ptni_verbs_cq_disarm(struct ibv_cq *cq);
int ptni_verbs_srq_open(struct ibv_pd *pd, uint32_t wr_max, uint32_t sge_max,
			struct ibv_srq **srq_out);
int ptni_verbs_srq_close(struct ibv_srq *srq);

/* qp.c */
int ptni_verbs_qp_open(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out);
int ptni_verbs_qp_close(struct ibv_qp *qp);
int ptni_verbs_qp_address(struct ibv_qp *qp, struct ptni_qp_address *address_out);
int ptni_verbs_qp_init(struct ibv_qp *qp, const struct ptni_qp_params *params);
int ptni_verbs_qp_connect(struct ibv_qp *qp, const struct ptni_qp_params *params,
			  const struct ptni_qp_address *peer);
int ptni_verbs_qp_reset(struct ibv_qp *qp);
int ptni_verbs_qp_error(struct ibv_qp *qp);
int ptni_verbs_qp_state(struct ibv_qp *qp, enum ibv_qp_state *state_out);

/* channel.c */
int ptni_verbs_listen(struct ptni_fabric *fabric, const char *address,
		      struct ptni_listener **listener_out);
int ptni_verbs_listener_fd(struct ptni_listener *listener);
int ptni_verbs_accept(struct ptni_listener *listener, struct ptni_channel **channel_out);
void ptni_verbs_listener_close(struct ptni_listener *listener);
int ptni_verbs_dial(struct ptni_fabric *fabric, const char *address,
		    struct ptni_channel **channel_out);
int ptni_verbs_channel_fd(struct ptni_channel *channel);
int ptni_verbs_channel_send(struct ptni_channel *channel, const void *data, size_t len_bytes);
int ptni_verbs_channel_recv(struct ptni_channel *channel, void *data, size_t capacity_bytes);
void ptni_verbs_channel_close(struct ptni_channel *channel);

#endif
