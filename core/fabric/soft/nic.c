/* SPDX-License-Identifier: MIT */
#include "core/fabric/soft/copy.h"
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The thread sanitizer's address space is small. */
#define MEMORY_DEFAULT (PTNI_TSAN ? 1ull << 30 : 64ull << 30)
#define RING_BYTES     (PTNI_TSAN ? 256ull << 20 : SOFT_RING_BYTES)
#define MEMORY_LIMIT   (1ull << 44)

enum {
	HUGE_PAGE = 2 << 20
};

static struct soft_nic *nic_of(struct ptni_fabric *fabric)
{
	return soft_container(fabric, struct soft_nic, fabric);
}

static uint64_t page_up(uint64_t len)
{
	return (len + SOFT_PAGE - 1) & ~(uint64_t)(SOFT_PAGE - 1);
}

int ptni_soft_ring_alloc(struct soft_nic *nic, uint64_t len, uint64_t *offset_out)
{
	uint64_t offset;
	int rc;

	pthread_mutex_lock(&nic->lock);
	rc = ptni_soft_pool_take(&nic->ring_pool, page_up(len), SOFT_PAGE, &offset);
	pthread_mutex_unlock(&nic->lock);
	if (!rc)
		*offset_out = offset;
	return rc;
}

/* Gives the pages back to the host; they read as zero afterwards. */
static void pages_drop(struct soft_nic *nic, uint64_t offset, uint64_t len)
{
	madvise((uint8_t *)nic->segment + offset, len, nic->shared ? MADV_REMOVE : MADV_DONTNEED);
}

void ptni_soft_ring_free(struct soft_nic *nic, uint64_t offset, uint64_t len)
{
	pages_drop(nic, offset, page_up(len));
	pthread_mutex_lock(&nic->lock);
	ptni_soft_pool_give(&nic->ring_pool, offset, page_up(len));
	pthread_mutex_unlock(&nic->lock);
}

static int memory_alloc(struct ptni_fabric *fabric, size_t len, void **addr_out)
{
	struct soft_nic *nic = nic_of(fabric);
	uint64_t offset;
	int rc;

	if (!len)
		return -EINVAL;
	if (len > nic->memory_max)
		return -ENOMEM;
	pthread_mutex_lock(&nic->lock);
	rc = ptni_soft_pool_take(&nic->memory_pool, page_up(len),
				 len < HUGE_PAGE ? SOFT_PAGE : HUGE_PAGE, &offset);
	pthread_mutex_unlock(&nic->lock);
	if (rc)
		return rc;
	if (len >= HUGE_PAGE) /* a wish: the host may have none */
		madvise((uint8_t *)nic->segment + offset, page_up(len), MADV_HUGEPAGE);
	*addr_out = (uint8_t *)nic->segment + offset;
	return 0;
}

static void memory_free(struct ptni_fabric *fabric, void *addr, size_t len)
{
	struct soft_nic *nic = nic_of(fabric);
	uint64_t offset;

	if (!addr)
		return;
	offset = (uint64_t)((uint8_t *)addr - (uint8_t *)nic->segment);
	pages_drop(nic, offset, page_up(len));
	pthread_mutex_lock(&nic->lock);
	ptni_soft_pool_give(&nic->memory_pool, offset, page_up(len));
	pthread_mutex_unlock(&nic->lock);
}

static void limits(struct ptni_fabric *fabric, struct ptni_fabric_limits *limits_out)
{
	*limits_out = (struct ptni_fabric_limits){
		.qp_max = SEGMENT_QP_MAX,
		.cq_max = SEGMENT_CQ_MAX,
		.cqe_max = SOFT_CQE_MAX,
		.mr_max = SOFT_MR_MAX,
		.mw_max = SOFT_MW_MAX,
		.srq_max = SEGMENT_SRQ_MAX,
		.wr_max = SOFT_WR_MAX,
		.sge_max = SOFT_SGE_MAX,
		.inline_max = SOFT_INLINE_MAX,
		.rd_atomic_max = SOFT_RD_ATOMIC_MAX,
		.message_max = SOFT_MESSAGE_MAX,
	};
}

static int pd_open(struct ptni_fabric *fabric, struct ibv_pd **pd_out)
{
	struct soft_nic *nic = nic_of(fabric);
	struct soft_pd *pd = calloc(1, sizeof(*pd));

	if (!pd)
		return -ENOMEM;
	pd->id = atomic_fetch_add_explicit(&nic->pds, 1, memory_order_relaxed) + 1;
	pd->pd.context = &nic->context;
	pd->pd.handle = pd->id;
	*pd_out = &pd->pd;
	return 0;
}

static int pd_close(struct ibv_pd *pd)
{
	if (atomic_load(&soft_pd_of(pd)->users))
		return -EBUSY;
	free(soft_pd_of(pd));
	return 0;
}

bool ptni_soft_settled(struct qp_entry *entry, uint64_t seen)
{
	uint64_t active;

	if (!(seen & 1))
		return true;
	active = atomic_load_explicit(&entry->active, memory_order_acquire);
	if (active != seen)
		return true;
	return ptni_soft_nic_dead(atomic_load_explicit(&entry->peer_nic, memory_order_relaxed));
}

uint64_t ptni_soft_settle_max_ns = 1000000000;

int ptni_soft_settle(struct qp_entry *entry)
{
	uint64_t seen = atomic_load(&entry->active);
	uint64_t deadline;

	for (int spin = 0; spin < 200; spin++) {
		if (!(seen & 1) ||
		    atomic_load_explicit(&entry->active, memory_order_acquire) != seen)
			return 0;
	}
	if (!ptni_soft_settle_max_ns)
		return ptni_soft_settled(entry, seen) ? 0 : -EBUSY;
	deadline = ptni_clock_now_ns() + ptni_soft_settle_max_ns;
	while (!ptni_soft_settled(entry, seen)) {
		if (ptni_clock_now_ns() > deadline)
			return -EBUSY;
		sched_yield();
	}
	return 0;
}

static void nic_free(struct soft_nic *nic)
{
	ptni_soft_pool_fini(&nic->ring_pool);
	ptni_soft_pool_fini(&nic->memory_pool);
	ptni_soft_ids_fini(&nic->qp_ids);
	ptni_soft_ids_fini(&nic->cq_ids);
	ptni_soft_ids_fini(&nic->srq_ids);
	ptni_soft_ids_fini(&nic->key_ids);
	free(nic->qps);
	free(nic->qp_generation);
	ptni_soft_keeper_stop(nic->keeper);
	if (nic->map)
		ptni_soft_map_put(nic->map);
	pthread_mutex_destroy(&nic->lock);
	pthread_mutex_destroy(&nic->context.mutex);
	free(nic);
}

static void nic_close(struct ptni_fabric *fabric)
{
	nic_free(nic_of(fabric));
}

static const struct ptni_fabric_ops soft_ops = {
	.name = "soft",
	.close = nic_close,
	.limits = limits,
	.memory_alloc = memory_alloc,
	.memory_free = memory_free,
	.pd_open = pd_open,
	.pd_close = pd_close,
	.mr_register = ptni_soft_mr_register,
	.mr_deregister = ptni_soft_mr_deregister,
	.cq_open = ptni_soft_cq_open,
	.cq_close = ptni_soft_cq_close,
	.cq_fd = ptni_soft_cq_fd,
	.cq_arm = ptni_soft_cq_arm,
	.cq_disarm = ptni_soft_cq_disarm,
	.srq_open = ptni_soft_srq_open,
	.srq_close = ptni_soft_srq_close,
	.qp_open = ptni_soft_qp_open,
	.qp_close = ptni_soft_qp_close,
	.qp_address = ptni_soft_qp_address,
	.qp_init = ptni_soft_qp_init,
	.qp_connect = ptni_soft_qp_connect,
	.qp_reset = ptni_soft_qp_reset,
	.qp_error = ptni_soft_qp_error,
	.qp_error_try = ptni_soft_qp_error_try,
	.qp_state = ptni_soft_qp_state,
	.listen = ptni_soft_listen,
	.listener_fd = ptni_soft_listener_fd,
	.accept = ptni_soft_accept,
	.listener_close = ptni_soft_listener_close,
	.dial = ptni_soft_dial,
	.channel_fd = ptni_soft_channel_fd,
	.channel_send = ptni_soft_channel_send,
	.channel_recv = ptni_soft_channel_recv,
	.channel_close = ptni_soft_channel_close,
};

static void context_init(struct soft_nic *nic)
{
	nic->context.cmd_fd = -1;
	nic->context.async_fd = -1;
	nic->context.num_comp_vectors = 1;
	pthread_mutex_init(&nic->context.mutex, NULL);
	nic->context.ops.alloc_mw = ptni_soft_mw_alloc;
	nic->context.ops.dealloc_mw = ptni_soft_mw_dealloc;
	nic->context.ops.poll_cq = ptni_soft_cq_poll;
	nic->context.ops.req_notify_cq = ptni_soft_cq_notify;
	nic->context.ops.post_send = ptni_soft_post_send;
	nic->context.ops.post_recv = ptni_soft_post_recv;
	nic->context.ops.post_srq_recv = ptni_soft_post_srq_recv;
	nic->fabric.ops = &soft_ops;
	nic->fabric.context = &nic->context;
}

static int tables_init(struct soft_nic *nic)
{
	int rc = ptni_soft_ids_init(&nic->qp_ids, SEGMENT_QP_MAX);

	rc = rc ? rc : ptni_soft_ids_init(&nic->cq_ids, SEGMENT_CQ_MAX);
	rc = rc ? rc : ptni_soft_ids_init(&nic->srq_ids, SEGMENT_SRQ_MAX);
	rc = rc ? rc : ptni_soft_ids_init(&nic->key_ids, SEGMENT_KEY_MAX);
	nic->qps = calloc(SEGMENT_QP_MAX, sizeof(*nic->qps));
	nic->qp_generation = calloc(SEGMENT_QP_MAX, sizeof(*nic->qp_generation));
	if (!nic->qps || !nic->qp_generation)
		rc = -ENOMEM;
	return rc;
}

static uint64_t ring_offset(void)
{
	return (sizeof(struct segment) + HUGE_PAGE - 1) & ~(uint64_t)(HUGE_PAGE - 1);
}

static void segment_use(struct soft_nic *nic, uint64_t ring_bytes)
{
	nic->segment = nic->map->segment;
	nic->id = nic->map->nic_id;
	ptni_soft_pool_init(&nic->ring_pool, ring_offset(), ring_bytes);
	ptni_soft_pool_init(&nic->memory_pool, nic->memory_offset, nic->memory_max);
}

static int segment_init(struct soft_nic *nic)
{
	int rc;

	nic->memory_offset = ring_offset() + RING_BYTES;
	rc = ptni_soft_map_create(nic->shared, nic->memory_offset + nic->memory_max, &nic->map);
	if (rc)
		return rc;
	segment_use(nic, RING_BYTES);
	return nic->shared ? ptni_soft_keeper_start(nic->segment, &nic->keeper) : 0;
}

static int segment_place(struct soft_nic *nic, const struct soft_place *place)
{
	int rc;

	nic->memory_offset = ring_offset() + place->ring_bytes;
	rc = ptni_soft_map_place(place->base, place->nic_id, nic->memory_offset + nic->memory_max,
				 &nic->map);
	if (!rc)
		segment_use(nic, place->ring_bytes);
	return rc;
}

static struct soft_nic *nic_make(uint64_t memory_max)
{
	struct soft_nic *nic = calloc(1, sizeof(*nic));

	if (!nic)
		return NULL;
	pthread_mutex_init(&nic->lock, NULL);
	context_init(nic);
	nic->clock = &ptni_clock_real;
	nic->memory_max = page_up(memory_max);
	return nic;
}

/* The last step of opening: what was made so far goes if it or an earlier one failed. */
static int nic_finish(struct soft_nic *nic, int rc, struct ptni_fabric **fabric_out)
{
	rc = rc ? rc : tables_init(nic);
	if (rc) {
		nic_free(nic);
		return rc;
	}
	*fabric_out = &nic->fabric;
	return 0;
}

int ptni_soft_open_place(const struct soft_place *place, struct ptni_fabric **fabric_out)
{
	struct soft_nic *nic = nic_make(place->memory_bytes);

	if (!nic)
		return -ENOMEM;
	nic->clock = place->clock;
	return nic_finish(nic, segment_place(nic, place), fabric_out);
}

int ptni_soft_open(const char *address, const struct ptni_fabric_options *options,
		   struct ptni_fabric **fabric_out)
{
	uint64_t memory_max = options && options->memory_max_bytes ? options->memory_max_bytes :
								     MEMORY_DEFAULT;
	struct soft_nic *nic;

	if (memory_max > MEMORY_LIMIT || ptni_soft_address_check(address))
		return -EINVAL;
	nic = nic_make(memory_max);
	if (!nic)
		return -ENOMEM;
	nic->shared = strncmp(address, "shm:", 4) == 0;
	return nic_finish(nic, segment_init(nic), fabric_out);
}
