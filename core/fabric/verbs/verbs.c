/* SPDX-License-Identifier: MIT */
#include "core/fabric/verbs/verbs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	HUGE_PAGE_BYTES = 2 << 20,
	MEMORY_DEFAULT_SHIFT = 36, /* 64 GiB of address space */
	GID_TABLE_MAX = 256,
};

static const char scheme[] = "verbs:";

int ptni_verbs_address_split(const char *address, char *device_out, const char **path_out)
{
	if (!address || strncmp(address, scheme, sizeof(scheme) - 1))
		return -EINVAL;
	const char *device = address + sizeof(scheme) - 1;
	const char *comma = strchr(device, ',');
	if (!comma || comma - device >= IBV_SYSFS_NAME_MAX || !comma[1])
		return -EINVAL;
	if (device_out) {
		memcpy(device_out, device, (size_t)(comma - device));
		device_out[comma - device] = '\0';
	}
	if (path_out)
		*path_out = comma + 1;
	return 0;
}

static size_t memory_round(size_t len_bytes)
{
	size_t unit = len_bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 4096;
	return len_bytes > SIZE_MAX - unit ? 0 : (len_bytes + unit - 1) / unit * unit;
}

static void *memory_map(size_t len_bytes)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *addr = MAP_FAILED;
	if (len_bytes >= HUGE_PAGE_BYTES)
		addr = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
	if (addr != MAP_FAILED)
		return addr;
	addr = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (addr != MAP_FAILED && len_bytes >= HUGE_PAGE_BYTES)
		(void)madvise(addr, len_bytes, MADV_HUGEPAGE); /* a wish: small pages work too */
	return addr;
}

static int memory_alloc(struct ptni_fabric *fabric, size_t len_bytes, void **addr_out)
{
	struct ptni_verbs_fabric *verbs = (struct ptni_verbs_fabric *)fabric;
	size_t len = memory_round(len_bytes);
	if (!len)
		return len_bytes ? -ENOMEM : -EINVAL;
	size_t used = atomic_fetch_add(&verbs->memory_used_bytes, len);
	if (used + len > verbs->memory_max_bytes || used + len < len) {
		atomic_fetch_sub(&verbs->memory_used_bytes, len);
		return -ENOMEM;
	}
	void *addr = memory_map(len);
	if (addr == MAP_FAILED) {
		atomic_fetch_sub(&verbs->memory_used_bytes, len);
		return -ENOMEM;
	}
	*addr_out = addr;
	return 0;
}

static void memory_free(struct ptni_fabric *fabric, void *addr, size_t len_bytes)
{
	struct ptni_verbs_fabric *verbs = (struct ptni_verbs_fabric *)fabric;
	size_t len = memory_round(len_bytes);
	if (!addr)
		return;
	munmap(addr, len);
	atomic_fetch_sub(&verbs->memory_used_bytes, len);
}

static int pd_open(struct ptni_fabric *fabric, struct ibv_pd **pd_out)
{
	struct ibv_pd *pd = ibv_alloc_pd(fabric->context);
	if (!pd)
		return ptni_verbs_errno();
	*pd_out = pd;
	return 0;
}

static int pd_close(struct ibv_pd *pd)
{
	return -ibv_dealloc_pd(pd);
}

static int mr_register(struct ibv_pd *pd, void *addr, size_t len_bytes, int access,
		       struct ibv_mr **mr_out)
{
	struct ibv_mr *mr = ibv_reg_mr(pd, addr, len_bytes, (unsigned)access);
	if (!mr)
		return ptni_verbs_errno();
	*mr_out = mr;
	return 0;
}

static int mr_deregister(struct ibv_mr *mr)
{
	return -ibv_dereg_mr(mr);
}

/*
 * No device says how much it takes inline before a queue pair is made: this is what the common ones
 * (mlx5, rxe) do take, and qp_open reports what it got in attr->cap.
 */
enum {
	INLINE_MAX_BYTES = 256
};

static void limits(struct ptni_fabric *fabric, struct ptni_fabric_limits *limits_out)
{
	const struct ptni_verbs_fabric *verbs = (struct ptni_verbs_fabric *)fabric;
	const struct ibv_device_attr *device = &verbs->device;
	int rd_atomic = device->max_qp_rd_atom < device->max_qp_init_rd_atom ?
				device->max_qp_rd_atom :
				device->max_qp_init_rd_atom;
	*limits_out = (struct ptni_fabric_limits){
		.qp_max = (uint32_t)device->max_qp,
		.cq_max = (uint32_t)device->max_cq,
		.cqe_max = (uint32_t)device->max_cqe,
		.mr_max = (uint32_t)device->max_mr,
		.mw_max = (uint32_t)device->max_mw,
		.srq_max = (uint32_t)device->max_srq,
		.wr_max = (uint32_t)device->max_qp_wr,
		.sge_max = (uint32_t)device->max_sge,
		.inline_max = INLINE_MAX_BYTES,
		.rd_atomic_max = (uint32_t)rd_atomic,
		.message_max = verbs->port.max_msg_sz,
	};
}

static void fabric_close(struct ptni_fabric *fabric)
{
	struct ptni_verbs_fabric *verbs = (struct ptni_verbs_fabric *)fabric;
	(void)ibv_close_device(fabric->context); /* nothing can be done about a refusal */
	pthread_mutex_destroy(&verbs->qps_lock);
	free(verbs);
}

static const struct ptni_fabric_ops verbs_ops = {
	.name = "verbs",
	.close = fabric_close,
	.limits = limits,
	.memory_alloc = memory_alloc,
	.memory_free = memory_free,
	.pd_open = pd_open,
	.pd_close = pd_close,
	.mr_register = mr_register,
	.mr_deregister = mr_deregister,
	.cq_open = ptni_verbs_cq_open,
	.cq_close = ptni_verbs_cq_close,
	.cq_fd = ptni_verbs_cq_fd,
	.cq_arm = ptni_verbs_cq_arm,
	.cq_disarm = ptni_verbs_cq_disarm,
	.srq_open = ptni_verbs_srq_open,
	.srq_close = ptni_verbs_srq_close,
	.qp_open = ptni_verbs_qp_open,
	.qp_close = ptni_verbs_qp_close,
	.qp_address = ptni_verbs_qp_address,
	.qp_init = ptni_verbs_qp_init,
	.qp_connect = ptni_verbs_qp_connect,
	.qp_reset = ptni_verbs_qp_reset,
	.qp_error = ptni_verbs_qp_error,
	.qp_error_try = ptni_verbs_qp_error,
	.qp_state = ptni_verbs_qp_state,
	.listen = ptni_verbs_listen,
	.listener_fd = ptni_verbs_listener_fd,
	.accept = ptni_verbs_accept,
	.listener_close = ptni_verbs_listener_close,
	.dial = ptni_verbs_dial,
	.channel_fd = ptni_verbs_channel_fd,
	.channel_send = ptni_verbs_channel_send,
	.channel_recv = ptni_verbs_channel_recv,
	.channel_close = ptni_verbs_channel_close,
};

/* RoCE: prefer version 2 over IPv4, then any version 2, then the first entry. */
static int gid_rank(const struct ibv_gid_entry *entry)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	if (entry->gid_type != IBV_GID_TYPE_ROCE_V2)
		return 1;
	return memcmp(entry->gid.raw, mapped, sizeof(mapped)) ? 2 : 3;
}

static int gid_choose(struct ptni_verbs_fabric *verbs)
{
	int best = 0;
	for (int i = 0; i < verbs->port.gid_tbl_len && i < GID_TABLE_MAX; i++) {
		struct ibv_gid_entry entry;
		if (ibv_query_gid_ex(verbs->fabric.context, verbs->port_num, (uint32_t)i, &entry,
				     0))
			continue;
		int rank = gid_rank(&entry);
		if (rank <= best)
			continue;
		best = rank;
		verbs->gid = entry.gid;
		verbs->gid_index = (uint8_t)i;
	}
	return best || verbs->port.link_layer == IBV_LINK_LAYER_INFINIBAND ? 0 : -ENODEV;
}

static int port_choose(struct ptni_verbs_fabric *verbs)
{
	int ret = ibv_query_device(verbs->fabric.context, &verbs->device);
	if (ret)
		return -ret;
	for (uint8_t port = 1; port <= verbs->device.phys_port_cnt; port++) {
		if (ibv_query_port(verbs->fabric.context, port, &verbs->port) ||
		    verbs->port.state != IBV_PORT_ACTIVE)
			continue;
		verbs->port_num = port;
		return gid_choose(verbs);
	}
	return -ENODEV;
}

/* Opens the first device of that name ("" = any) that has an active port. */
static int device_open(struct ptni_verbs_fabric *verbs, const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	if (!list)
		return errno == ENOSYS ? -ENODEV : ptni_verbs_errno();
	int ret = -ENODEV;
	for (struct ibv_device **device = list; *device && ret; device++) {
		if (*name && strcmp(ibv_get_device_name(*device), name))
			continue;
		verbs->fabric.context = ibv_open_device(*device);
		if (!verbs->fabric.context) {
			ret = ptni_verbs_errno();
			continue;
		}
		ret = port_choose(verbs);
		if (ret)
			(void)ibv_close_device(verbs->fabric.context);
	}
	ibv_free_device_list(list);
	return ret;
}

int ptni_verbs_open(const char *address, const struct ptni_fabric_options *options,
		    struct ptni_fabric **fabric_out)
{
	char device[IBV_SYSFS_NAME_MAX];
	int ret = ptni_verbs_address_split(address, device, NULL);
	if (ret)
		return ret;
	struct ptni_verbs_fabric *verbs = calloc(1, sizeof(*verbs));
	if (!verbs)
		return -ENOMEM;
	verbs->fabric.ops = &verbs_ops;
	verbs->memory_max_bytes = options && options->memory_max_bytes ?
					  options->memory_max_bytes :
					  (size_t)1 << MEMORY_DEFAULT_SHIFT;
	pthread_mutex_init(&verbs->qps_lock, NULL);
	const char *wanted = *device || !options || !options->device ? device : options->device;
	ret = device_open(verbs, wanted);
	if (ret) {
		pthread_mutex_destroy(&verbs->qps_lock);
		free(verbs);
		return ret;
	}
	*fabric_out = &verbs->fabric;
	return 0;
}
