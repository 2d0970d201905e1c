/* SPDX-License-Identifier: MIT */
/*
 * Completion queues: a ring private to the owner. Completions of sends are put into it by the post
 * that caused them; those of RECVs when a poll begins, from the arrivals that peers have marked. As
 * the number of completions only falls while the owner polls, an overrun is seen exactly.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void entry_init(struct cq_entry *entry)
{
	atomic_store(&entry->armed, 0);
	atomic_store(&entry->fd, -1);
	for (uint32_t i = 0; i < SEGMENT_SUMMARIES; i++)
		atomic_store(&entry->summary[i], 0);
}

static int cq_id_take(struct soft_nic *nic, uint32_t *index_out)
{
	int rc;

	pthread_mutex_lock(&nic->lock);
	rc = ptni_soft_ids_take(&nic->cq_ids, index_out);
	pthread_mutex_unlock(&nic->lock);
	return rc;
}

static void cq_free(struct soft_cq *cq)
{
	pthread_mutex_lock(&cq->nic->lock);
	ptni_soft_ids_give(&cq->nic->cq_ids, cq->index);
	pthread_mutex_unlock(&cq->nic->lock);
	free(cq->ring);
	free(cq);
}

int ptni_soft_cq_open(struct ptni_fabric *fabric, uint32_t entries, struct ibv_cq **cq_out)
{
	struct soft_nic *nic = soft_container(fabric, struct soft_nic, fabric);
	struct soft_cq *cq;
	uint32_t size = 1;
	int rc;

	if (!entries || entries > SOFT_CQE_MAX)
		return -EINVAL;
	while (size < entries)
		size *= 2;
	cq = aligned_alloc(SEGMENT_LINE, sizeof(*cq));
	if (!cq)
		return -ENOMEM;
	*cq = (struct soft_cq){ .nic = nic, .mask = size - 1, .capacity = entries, .fd = -1 };
	cq->ring = aligned_alloc(SEGMENT_LINE, size * sizeof(*cq->ring));
	rc = cq->ring ? cq_id_take(nic, &cq->index) : -ENOMEM;
	if (rc) {
		free(cq->ring);
		free(cq);
		return rc;
	}
	cq->entry = &nic->segment->cq[cq->index];
	entry_init(cq->entry);
	cq->cq.context = &nic->context;
	cq->cq.handle = cq->index;
	cq->cq.cqe = (int)entries;
	*cq_out = &cq->cq;
	return 0;
}

int ptni_soft_cq_close(struct ibv_cq *ibcq)
{
	struct soft_cq *cq = soft_cq_of(ibcq);

	if (cq->senders || cq->receivers)
		return -EBUSY;
	atomic_store(&cq->entry->armed, 0);
	atomic_store(&cq->entry->fd, -1);
	if (cq->fd >= 0)
		close(cq->fd);
	cq_free(cq);
	return 0;
}

/* ---- waking */

/*
 * Within a process an eventfd. Between processes a datagram socket with a name that follows from the
 * NIC and the queue, so that no descriptor has to travel for a queue that is opened later. Such
 * names do not leave a network namespace: the processes share one.
 */
static socklen_t wake_name(uint64_t nic_id, uint32_t index, struct sockaddr_un *name)
{
	int len;

	*name = (struct sockaddr_un){ .sun_family = AF_UNIX };
	len = snprintf(name->sun_path + 1, sizeof(name->sun_path) - 1,
		       "patronus-cq-%016" PRIx64 "-%u", nic_id, index);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

static int wake_fd_open(const struct soft_cq *cq)
{
	struct sockaddr_un name;
	socklen_t len;
	int fd;

	if (!cq->nic->shared) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		return fd < 0 ? -errno : fd;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	len = wake_name(cq->nic->id, cq->index, &name);
	if (bind(fd, (const struct sockaddr *)&name, len)) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

/* A full counter or queue is awake already. */
static void wake_send(const struct soft_map *map, uint32_t index)
{
	struct sockaddr_un name;
	uint64_t one = 1;
	ssize_t sent;
	int fd;

	if (map->shared) {
		sent = sendto(map->wake_fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL,
			      (const struct sockaddr *)&name, wake_name(map->nic_id, index, &name));
	} else {
		fd = atomic_load(&map->segment->cq[index].fd);
		sent = fd >= 0 ? write(fd, &one, sizeof(one)) : 0;
	}
	(void)sent;
}

int ptni_soft_cq_fd(struct ibv_cq *ibcq)
{
	struct soft_cq *cq = soft_cq_of(ibcq);

	if (cq->fd < 0) {
		int fd = wake_fd_open(cq);

		if (fd < 0)
			return fd;
		cq->fd = fd;
		atomic_store(&cq->entry->fd, fd);
	}
	return cq->fd;
}

static bool cq_has_work(struct soft_cq *cq)
{
	bool arrivals = false;

	for (uint32_t i = 0; i < SEGMENT_SUMMARIES; i++)
		arrivals |= atomic_load(&cq->entry->summary[i]) != 0;
	return arrivals || cq->head != cq->tail || cq->waiting || cq->waiting_receivers ||
	       cq->overrun;
}

int ptni_soft_cq_arm(struct ibv_cq *ibcq)
{
	struct soft_cq *cq = soft_cq_of(ibcq);
	int fd = ptni_soft_cq_fd(ibcq);

	if (fd < 0)
		return fd;
	atomic_store(&cq->entry->armed, ++cq->arm_number);
	return cq_has_work(cq);
}

void ptni_soft_cq_disarm(struct ibv_cq *ibcq)
{
	struct soft_cq *cq = soft_cq_of(ibcq);
	uint64_t count;

	atomic_store(&cq->entry->armed, 0);
	while (cq->fd >= 0 && read(cq->fd, &count, sizeof(count)) > 0)
		;
}

int ptni_soft_cq_notify(struct ibv_cq *cq, int solicited_only)
{
	int rc = ptni_soft_cq_arm(cq);

	return rc < 0 ? -rc : 0;
}

/* The descriptor first: who dies in between wakes the sleeper at worst once too often. */
void ptni_soft_cq_wake(struct soft_map *map, uint32_t index)
{
	struct cq_entry *entry = &map->segment->cq[index];
	uint64_t armed = atomic_load(&entry->armed);

	if (soft_likely(!armed))
		return;
	wake_send(map, index);
	atomic_compare_exchange_strong(&entry->armed, &armed, 0);
}

/* ---- completions */

static void cq_overrun(struct soft_cq *cq)
{
	cq->overrun = true;
	for (struct soft_qp *qp = cq->senders; qp; qp = qp->sender_next)
		ptni_soft_qp_break(qp);
	for (struct soft_qp *qp = cq->receivers; qp; qp = qp->receiver_next)
		ptni_soft_qp_break(qp);
}

struct soft_cqe *ptni_soft_cqe_push_slow(struct soft_cq *cq)
{
	if (cq->overrun)
		return NULL;
	ptni_soft_cq_wake(cq->nic->map, cq->index);
	if (cq->tail - cq->head >= cq->capacity) {
		cq_overrun(cq);
		return NULL;
	}
	return &cq->ring[cq->tail++ & cq->mask];
}

static inline void cqe_release(const struct soft_cqe *cqe)
{
	if (soft_likely(cqe->kind == CQE_SEND)) {
		cqe->qp->sq_freed = cqe->index;
	} else if (cqe->kind == CQE_RECV) {
		cqe->qp->rq_freed++;
	} else {
		ptni_soft_srq_free(cqe->qp->srq, cqe->index);
	}
}

/* Takes out the completions of a queue pair that goes away. */
void ptni_soft_cq_purge(struct soft_cq *cq, struct soft_qp *qp)
{
	uint32_t to = cq->head;

	for (uint32_t from = cq->head; from != cq->tail; from++) {
		struct soft_cqe *cqe = &cq->ring[from & cq->mask];

		if (cqe->qp == qp)
			cqe_release(cqe);
		else
			cq->ring[to++ & cq->mask] = *cqe;
	}
	cq->tail = to;
}

static inline bool arrivals_marked(const struct cq_entry *entry)
{
	uint64_t any = 0;

	for (uint32_t i = 0; i < SEGMENT_SUMMARIES; i++)
		any |= atomic_load_explicit(&entry->summary[i], memory_order_relaxed);
	return any != 0;
}

int ptni_soft_cq_poll(struct ibv_cq *ibcq, int entries, struct ibv_wc *wc)
{
	struct soft_cq *cq = soft_cq_of(ibcq);
	int count = 0;

	if (soft_unlikely(cq->waiting || cq->waiting_receivers))
		ptni_soft_send_progress(cq);
	if (soft_unlikely(arrivals_marked(cq->entry)))
		ptni_soft_recv_collect(cq);
	if (soft_unlikely(cq->overrun))
		return -EOVERFLOW;
	while (count < entries && cq->head != cq->tail) {
		const struct soft_cqe *cqe = &cq->ring[cq->head++ & cq->mask];

		wc[count++] = cqe->wc;
		cqe_release(cqe);
	}
	return count;
}
