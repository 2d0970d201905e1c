/* SPDX-License-Identifier: MIT */
/*
 * Completion queues and shared receive queues. Each completion queue has a channel of its own, so that
 * its descriptor is its own; cq_context is the fabric, by which a queue pair finds it.
 */
#include "core/fabric/verbs/verbs.h"

#include <fcntl.h>
#include <limits.h>

static int descriptor_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? -errno : 0;
}

int ptni_verbs_cq_open(struct ptni_fabric *fabric, uint32_t entries, struct ibv_cq **cq_out)
{
	if (!entries || entries > INT_MAX)
		return -EINVAL;
	struct ibv_comp_channel *channel = ibv_create_comp_channel(fabric->context);
	if (!channel)
		return ptni_verbs_errno();
	int ret = descriptor_nonblocking(channel->fd);
	if (ret)
		goto err_channel;
	struct ibv_cq *cq = ibv_create_cq(fabric->context, (int)entries, fabric, channel, 0);
	if (!cq) {
		ret = ptni_verbs_errno();
		goto err_channel;
	}
	*cq_out = cq;
	return 0;
err_channel:
	ibv_destroy_comp_channel(channel);
	return ret;
}

int ptni_verbs_cq_close(struct ibv_cq *cq)
{
	struct ibv_comp_channel *channel = cq->channel;
	/* An event taken but not acknowledged would make the destruction wait for ever. */
	ptni_verbs_cq_disarm(cq);
	int ret = ibv_destroy_cq(cq);
	if (!ret)
		ret = ibv_destroy_comp_channel(channel);
	return -ret;
}

int ptni_verbs_cq_fd(struct ibv_cq *cq)
{
	return cq->channel->fd;
}

/* A device does not say whether completions already wait: always 0, and the caller polls again. */
int ptni_verbs_cq_arm(struct ibv_cq *cq)
{
	return -ibv_req_notify_cq(cq, 0);
}

void ptni_verbs_cq_disarm(struct ibv_cq *cq)
{
	struct ibv_cq *from;
	void *context;
	unsigned events = 0;
	while (!ibv_get_cq_event(cq->channel, &from, &context))
		events++;
	if (events)
		ibv_ack_cq_events(cq, events);
}

int ptni_verbs_srq_open(struct ibv_pd *pd, uint32_t wr_max, uint32_t sge_max,
			struct ibv_srq **srq_out)
{
	struct ibv_srq_init_attr attr = {
		.attr = { .max_wr = wr_max, .max_sge = sge_max },
	};
	struct ibv_srq *srq = ibv_create_srq(pd, &attr);
	if (!srq)
		return ptni_verbs_errno();
	*srq_out = srq;
	return 0;
}

int ptni_verbs_srq_close(struct ibv_srq *srq)
{
	return -ibv_destroy_srq(srq);
}
