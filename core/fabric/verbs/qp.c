/* SPDX-License-Identifier: MIT */
/*
 * Queue pairs: reliable connected ones, connected by numbers that the two ends exchanged.
 *
 * The device does not keep the first packet number of a queue pair that is not yet connected, so a
 * small table does. It is drawn anew on every reset: a packet of the former connection that was
 * delayed in the network must not fit into the new one.
 */
#include "core/fabric/verbs/verbs.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
	ADDRESS_MAGIC = 0x70746e31, /* "ptn1" */
	PSN_MASK = 0xffffff,
	RETRY_COUNT_MAX = 6,
	FIELD3_MAX = 7,
	FIELD5_MAX = 31,
	HOP_LIMIT = 64,
};

/* The layout of struct ptni_qp_address. All multi-byte fields are in network order. */
struct wire_address {
	uint32_t magic;
	uint32_t qp_num;
	uint32_t psn;
	uint16_t lid;
	uint8_t mtu;
	uint8_t is_global;
	uint8_t gid[16];
};

struct ptni_verbs_qp {
	struct ptni_verbs_qp *next;
	struct ibv_qp *qp;
	uint32_t psn;
};

static struct ptni_verbs_fabric *fabric_of(const struct ibv_qp *qp)
{
	return qp->send_cq->cq_context;
}

static struct ptni_verbs_qp **bucket_of(struct ptni_verbs_fabric *verbs, const struct ibv_qp *qp)
{
	return &verbs->qps[qp->qp_num % PTNI_VERBS_QP_BUCKETS];
}

static uint32_t psn_draw(void)
{
	uint32_t psn = 0;
	/* Short of entropy, zero is a valid start. */
	(void)!getrandom(&psn, sizeof(psn), GRND_NONBLOCK);
	return psn & PSN_MASK;
}

static uint32_t psn_get(struct ibv_qp *qp)
{
	struct ptni_verbs_fabric *verbs = fabric_of(qp);
	pthread_mutex_lock(&verbs->qps_lock);
	struct ptni_verbs_qp *entry = *bucket_of(verbs, qp);
	while (entry && entry->qp != qp)
		entry = entry->next;
	uint32_t psn = entry ? entry->psn : 0;
	pthread_mutex_unlock(&verbs->qps_lock);
	return psn;
}

static void psn_renew(struct ibv_qp *qp)
{
	struct ptni_verbs_fabric *verbs = fabric_of(qp);
	pthread_mutex_lock(&verbs->qps_lock);
	for (struct ptni_verbs_qp *entry = *bucket_of(verbs, qp); entry; entry = entry->next)
		if (entry->qp == qp)
			entry->psn = psn_draw();
	pthread_mutex_unlock(&verbs->qps_lock);
}

static void entry_add(struct ptni_verbs_fabric *verbs, struct ptni_verbs_qp *entry)
{
	pthread_mutex_lock(&verbs->qps_lock);
	struct ptni_verbs_qp **bucket = bucket_of(verbs, entry->qp);
	entry->next = *bucket;
	*bucket = entry;
	pthread_mutex_unlock(&verbs->qps_lock);
}

static struct ptni_verbs_qp *entry_take(struct ptni_verbs_fabric *verbs, const struct ibv_qp *qp)
{
	pthread_mutex_lock(&verbs->qps_lock);
	struct ptni_verbs_qp **link = bucket_of(verbs, qp), *entry;
	while ((entry = *link) && entry->qp != qp)
		link = &entry->next;
	if (entry)
		*link = entry->next;
	pthread_mutex_unlock(&verbs->qps_lock);
	return entry;
}

int ptni_verbs_qp_open(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **qp_out)
{
	if (attr->qp_type != IBV_QPT_RC || !attr->send_cq || !attr->recv_cq)
		return -EINVAL;
	struct ptni_verbs_qp *entry = malloc(sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	struct ibv_qp *qp = ibv_create_qp(pd, attr);
	if (!qp) {
		int ret = ptni_verbs_errno();
		free(entry);
		return ret;
	}
	*entry = (struct ptni_verbs_qp){ .qp = qp, .psn = psn_draw() };
	entry_add(fabric_of(qp), entry);
	*qp_out = qp;
	return 0;
}

int ptni_verbs_qp_close(struct ibv_qp *qp)
{
	struct ptni_verbs_fabric *verbs = fabric_of(qp);
	/* Taken before the number is free: the next queue pair may get number and address again. */
	struct ptni_verbs_qp *entry = entry_take(verbs, qp);
	int ret = ibv_destroy_qp(qp);
	if (ret && entry)
		entry_add(verbs, entry);
	else
		free(entry);
	return -ret;
}

int ptni_verbs_qp_address(struct ibv_qp *qp, struct ptni_qp_address *address_out)
{
	const struct ptni_verbs_fabric *verbs = fabric_of(qp);
	struct wire_address wire = {
		.magic = htonl(ADDRESS_MAGIC),
		.qp_num = htonl(qp->qp_num),
		.psn = htonl(psn_get(qp)),
		.lid = htons(verbs->port.lid),
		.mtu = (uint8_t)verbs->port.active_mtu,
		.is_global = verbs->port.link_layer == IBV_LINK_LAYER_ETHERNET,
	};
	_Static_assert(sizeof(wire) <= sizeof(address_out->bytes), "an address must fit");
	memcpy(wire.gid, verbs->gid.raw, sizeof(wire.gid));
	memset(address_out, 0, sizeof(*address_out));
	memcpy(address_out->bytes, &wire, sizeof(wire));
	return 0;
}

static int params_check(const struct ptni_qp_params *params)
{
	const int known = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
			  IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND;
	if (params->access_flags & ~known || params->retry_count > RETRY_COUNT_MAX ||
	    params->rnr_retry > FIELD3_MAX || params->timeout > FIELD5_MAX ||
	    params->min_rnr_timer > FIELD5_MAX)
		return -EINVAL;
	return 0;
}

int ptni_verbs_qp_init(struct ibv_qp *qp, const struct ptni_qp_params *params)
{
	int ret = params_check(params);
	if (ret)
		return ret;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = fabric_of(qp)->port_num,
		.qp_access_flags = (unsigned)params->access_flags,
	};
	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int ready_to_receive(struct ibv_qp *qp, const struct ptni_qp_params *params,
			    const struct wire_address *wire)
{
	const struct ptni_verbs_fabric *verbs = fabric_of(qp);
	uint8_t own_mtu = (uint8_t)verbs->port.active_mtu;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = wire->mtu < own_mtu ? wire->mtu : own_mtu,
		.dest_qp_num = ntohl(wire->qp_num),
		.rq_psn = ntohl(wire->psn),
		.max_dest_rd_atomic = params->rd_atomic,
		.min_rnr_timer = params->min_rnr_timer,
		.ah_attr = { .dlid = ntohs(wire->lid),
			     .is_global = wire->is_global,
			     .port_num = verbs->port_num,
			     .grh = { .sgid_index = verbs->gid_index, .hop_limit = HOP_LIMIT } },
	};
	memcpy(attr.ah_attr.grh.dgid.raw, wire->gid, sizeof(wire->gid));
	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				      IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				      IBV_QP_MIN_RNR_TIMER);
}

static int ready_to_send(struct ibv_qp *qp, const struct ptni_qp_params *params)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_RTS,
		.timeout = params->timeout,
		.retry_cnt = params->retry_count,
		.rnr_retry = params->rnr_retry,
		.sq_psn = psn_get(qp),
		.max_rd_atomic = params->rd_atomic,
	};
	return -ibv_modify_qp(qp, &attr,
			      IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				      IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

int ptni_verbs_qp_connect(struct ibv_qp *qp, const struct ptni_qp_params *params,
			  const struct ptni_qp_address *peer)
{
	struct wire_address wire;
	memcpy(&wire, peer->bytes, sizeof(wire));
	/* The blob came from the peer: nothing in it is taken on trust. */
	if (ntohl(wire.magic) != ADDRESS_MAGIC || wire.mtu < IBV_MTU_256 ||
	    wire.mtu > IBV_MTU_4096 || wire.is_global > 1 || ntohl(wire.psn) > PSN_MASK ||
	    ntohl(wire.qp_num) > PSN_MASK)
		return -EINVAL;
	int ret = params_check(params);
	if (!ret)
		ret = ready_to_receive(qp, params, &wire);
	return ret ? ret : ready_to_send(qp, params);
}

static int state_set(struct ibv_qp *qp, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state };
	return -ibv_modify_qp(qp, &attr, IBV_QP_STATE);
}

int ptni_verbs_qp_reset(struct ibv_qp *qp)
{
	int ret = state_set(qp, IBV_QPS_RESET);
	if (!ret)
		psn_renew(qp);
	return ret;
}

int ptni_verbs_qp_error(struct ibv_qp *qp)
{
	return state_set(qp, IBV_QPS_ERR);
}

int ptni_verbs_qp_state(struct ibv_qp *qp, enum ibv_qp_state *state_out)
{
	struct ibv_qp_attr attr;
	struct ibv_qp_init_attr init;
	int ret = ibv_query_qp(qp, &attr, IBV_QP_STATE, &init);
	if (!ret)
		*state_out = attr.qp_state;
	return -ret;
}
