/* SPDX-License-Identifier: MIT */
/*
 * Regions and windows.
 *
 *   window:  FREE --BIND_MW--> busy --> LIVE --LOCAL_INV, SEND_WITH_INV, close of its QP--> FREE
 *            any --dealloc--> busy --> no key
 *
 * A FREE window still names the queue pair that it was bound to last: whoever deallocates it waits
 * for a requester that may still be inside, even if the LOCAL_INV that should have waited was
 * flushed. Windows keep no list: what is bound to a region or a queue pair is found by a scan, as
 * only closing them asks.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
	ACCESS_REMOTE = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	ACCESS_CHANGES = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	ACCESS_MR = IBV_ACCESS_LOCAL_WRITE | ACCESS_REMOTE | IBV_ACCESS_MW_BIND,
	ACCESS_MW = ACCESS_REMOTE | IBV_ACCESS_ZERO_BASED,
	INVALIDATE_SPINS = 300,
};

#define KEY_GENERATION_MASK (0xffffull << 48)

static uint64_t state_next(uint64_t old, uint64_t bits)
{
	return bits | ((old & KEY_GENERATION_MASK) + KEY_GENERATION);
}

static uint64_t tag_next(uint64_t state)
{
	return (state + 1) & KEY_TAG;
}

static bool key_is(uint64_t state, uint64_t kind_and_bits)
{
	return (state & (KEY_KIND_MASK | KEY_LIVE | KEY_BUSY)) == kind_and_bits;
}

static struct qp_entry *state_qp(struct segment *segment, uint64_t state)
{
	return &segment->qp[(state & KEY_QP_MASK) >> 24 & (SEGMENT_QP_MAX - 1)];
}

static int key_take(struct soft_nic *nic, uint32_t *count, uint32_t max, uint32_t *index_out)
{
	int rc = -ENOSPC;

	pthread_mutex_lock(&nic->lock);
	if (*count < max)
		rc = ptni_soft_ids_take(&nic->key_ids, index_out);
	if (!rc)
		++*count;
	pthread_mutex_unlock(&nic->lock);
	return rc;
}

static void key_give(struct soft_nic *nic, uint32_t *count, uint32_t index)
{
	struct key_entry *key = &nic->segment->key[index];
	uint64_t state = atomic_load_explicit(&key->state, memory_order_relaxed);

	atomic_store_explicit(&key->state, state_next(state, state & KEY_TAG),
			      memory_order_release);
	pthread_mutex_lock(&nic->lock);
	ptni_soft_ids_give(&nic->key_ids, index);
	--*count;
	pthread_mutex_unlock(&nic->lock);
}

static uint32_t keys_used(struct soft_nic *nic)
{
	uint32_t used;

	pthread_mutex_lock(&nic->lock);
	used = nic->key_ids.fresh;
	pthread_mutex_unlock(&nic->lock);
	return used;
}

static void key_range_set(struct key_entry *key, uint64_t start, uint64_t len, uint64_t base)
{
	atomic_store_explicit(&key->start, start, memory_order_relaxed);
	atomic_store_explicit(&key->len, len, memory_order_relaxed);
	atomic_store_explicit(&key->base, base, memory_order_relaxed);
}

/* msync of unmapped pages fails without side effects. */
static bool range_mapped(const void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr & ~(uintptr_t)(SOFT_PAGE - 1);

	return msync((void *)start, len + ((uintptr_t)addr - start), MS_ASYNC) == 0;
}

static int mr_check(struct soft_nic *nic, const void *addr, size_t len, int access,
		    bool *foreign_out)
{
	int known = ACCESS_MR | IBV_ACCESS_OPTIONAL_RANGE;

	if (!len || (uintptr_t)addr + len < (uintptr_t)addr || (access & ~known))
		return -EINVAL;
	if ((access & ACCESS_CHANGES) && !(access & IBV_ACCESS_LOCAL_WRITE))
		return -EINVAL;
	*foreign_out = !soft_nic_owns(nic, addr, len);
	if (*foreign_out && nic->shared && (access & (ACCESS_REMOTE | IBV_ACCESS_MW_BIND)))
		return -EINVAL;
	if (*foreign_out && !range_mapped(addr, len))
		return -EFAULT;
	return 0;
}

static void mr_publish(struct soft_mr *mr, struct segment *segment, int access, bool foreign)
{
	struct key_entry *key = &segment->key[mr->index];
	uint64_t start = (uint64_t)(uintptr_t)mr->mr.addr;
	uint64_t old = atomic_load_explicit(&key->state, memory_order_relaxed);
	uint64_t state = state_next(old, KEY_MR | KEY_LIVE | KEY_RIGHTS(access & ACCESS_MR) |
						 (foreign ? KEY_FOREIGN : 0) | tag_next(old));

	key_range_set(key, start, mr->mr.length, start);
	atomic_store_explicit(&key->pd, soft_pd_of(mr->mr.pd)->id, memory_order_relaxed);
	atomic_store_explicit(&key->state, state, memory_order_release);
	mr->mr.lkey = mr->index << 8 | (uint32_t)(state & KEY_TAG);
	mr->mr.rkey = mr->mr.lkey;
}

int ptni_soft_mr_register(struct ibv_pd *pd, void *addr, size_t len, int access,
			  struct ibv_mr **mr_out)
{
	struct soft_nic *nic = soft_nic_of(pd->context);
	struct soft_mr *mr;
	bool foreign;
	int rc = mr_check(nic, addr, len, access, &foreign);

	if (rc)
		return rc;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return -ENOMEM;
	rc = key_take(nic, &nic->mr_count, SOFT_MR_MAX, &mr->index);
	if (rc) {
		free(mr);
		return rc;
	}
	mr->mr.context = pd->context;
	mr->mr.pd = pd;
	mr->mr.addr = addr;
	mr->mr.length = len;
	mr->mr.handle = mr->index;
	mr_publish(mr, nic->segment, access, foreign);
	atomic_fetch_add(&soft_pd_of(pd)->users, 1);
	*mr_out = &mr->mr;
	return 0;
}

static bool mr_has_windows(struct soft_nic *nic, uint32_t mr_index)
{
	uint32_t used = keys_used(nic);

	for (uint32_t i = 0; i < used; i++) {
		struct key_entry *key = &nic->segment->key[i];

		if (key_is(atomic_load(&key->state), KEY_MW | KEY_LIVE) &&
		    atomic_load_explicit(&key->mr, memory_order_relaxed) == mr_index)
			return true;
	}
	return false;
}

/* After this no requester is inside who could have seen a key as it was before. */
static int all_settle(struct soft_nic *nic)
{
	uint32_t used;

	pthread_mutex_lock(&nic->lock);
	used = nic->qp_ids.fresh;
	pthread_mutex_unlock(&nic->lock);
	for (uint32_t i = 0; i < used; i++) {
		if (ptni_soft_settle(&nic->segment->qp[i]))
			return -EBUSY;
	}
	return 0;
}

/* A window may be bound while we look: kill the region, look again, and give up if one was. */
int ptni_soft_mr_deregister(struct ibv_mr *ibmr)
{
	struct soft_mr *mr = soft_container(ibmr, struct soft_mr, mr);
	struct soft_nic *nic = soft_nic_of(ibmr->context);
	struct key_entry *key = &nic->segment->key[mr->index];
	uint64_t state = atomic_load_explicit(&key->state, memory_order_relaxed);
	bool bindable = state & KEY_RIGHTS(IBV_ACCESS_MW_BIND);
	uint64_t dead =
		state_next(state, (state & (KEY_TAG | KEY_RIGHTS(0xff))) | KEY_MR | KEY_BUSY);

	if (bindable && mr_has_windows(nic, mr->index))
		return -EBUSY;
	atomic_exchange(&key->state, dead);
	if (bindable && mr_has_windows(nic, mr->index)) {
		atomic_store(&key->state, state_next(dead, state & ~KEY_GENERATION_MASK));
		return -EBUSY;
	}
	if (all_settle(nic))
		return -EBUSY; /* the key is dead already; the caller tries again */
	key_give(nic, &nic->mr_count, mr->index);
	atomic_fetch_sub(&soft_pd_of(ibmr->pd)->users, 1);
	free(mr);
	return 0;
}

struct ibv_mw *ptni_soft_mw_alloc(struct ibv_pd *pd, enum ibv_mw_type type)
{
	struct soft_nic *nic = soft_nic_of(pd->context);
	struct soft_mw *mw;
	struct key_entry *key;
	uint64_t state;

	if (type != IBV_MW_TYPE_2) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	mw = calloc(1, sizeof(*mw));
	if (!mw || key_take(nic, &nic->mw_count, SOFT_MW_MAX, &mw->index)) {
		free(mw);
		errno = ENOMEM;
		return NULL;
	}
	key = &nic->segment->key[mw->index];
	state = atomic_load_explicit(&key->state, memory_order_relaxed);
	state = state_next(state, KEY_MW | tag_next(state));
	atomic_store_explicit(&key->pd, soft_pd_of(pd)->id, memory_order_relaxed);
	atomic_store_explicit(&key->state, state, memory_order_release);
	mw->mw.context = pd->context;
	mw->mw.pd = pd;
	mw->mw.handle = mw->index;
	mw->mw.type = type;
	mw->mw.rkey = mw->index << 8 | (uint32_t)(state & KEY_TAG);
	atomic_fetch_add(&soft_pd_of(pd)->users, 1);
	return &mw->mw;
}

int ptni_soft_mw_dealloc(struct ibv_mw *ibmw)
{
	struct soft_mw *mw = soft_container(ibmw, struct soft_mw, mw);
	struct soft_nic *nic = soft_nic_of(ibmw->context);
	struct key_entry *key = &nic->segment->key[mw->index];
	uint64_t state = atomic_load(&key->state);
	uint64_t dead;

	do { /* against the one SEND_WITH_INV that may get in between */
		dead = state_next(state, (state & (KEY_TAG | KEY_QP_MASK)) | KEY_MW | KEY_BUSY);
	} while (!atomic_compare_exchange_strong(&key->state, &state, dead));
	if ((dead & KEY_QP_MASK) && ptni_soft_settle(state_qp(nic->segment, dead)))
		return EBUSY; /* the key is dead already; the caller tries again */
	key_give(nic, &nic->mw_count, mw->index);
	atomic_fetch_sub(&soft_pd_of(ibmw->pd)->users, 1);
	free(mw);
	return 0;
}

/* What a bind asks of the region below: 0 or the cause of refusal. */
static enum soft_cause bind_region_check(struct soft_qp *qp, const struct ibv_mw_bind_info *info,
					 uint64_t mr_state)
{
	const struct soft_mr *mr = soft_container(info->mr, struct soft_mr, mr);
	const struct key_entry *key = &qp->segment->key[mr->index];
	uint64_t start = atomic_load_explicit(&key->start, memory_order_relaxed);
	uint64_t len = atomic_load_explicit(&key->len, memory_order_relaxed);
	uint64_t offset = info->addr - start;

	if (!key_is(mr_state, KEY_MR | KEY_LIVE) || (mr_state & KEY_TAG) != (mr->mr.lkey & KEY_TAG))
		return CAUSE_WINDOW_REGION;
	if (atomic_load_explicit(&key->pd, memory_order_relaxed) != qp->pd_id)
		return CAUSE_KEY_DOMAIN;
	if (!(mr_state & KEY_RIGHTS(IBV_ACCESS_MW_BIND)) ||
	    (info->mw_access_flags & ~(unsigned int)ACCESS_MW) ||
	    ((info->mw_access_flags & ACCESS_CHANGES) &&
	     !(mr_state & KEY_RIGHTS(IBV_ACCESS_LOCAL_WRITE))))
		return CAUSE_WINDOW_RIGHTS;
	if (!info->length || info->addr < start || offset > len || info->length > len - offset)
		return CAUSE_WINDOW_RANGE;
	return CAUSE_NONE;
}

static enum soft_cause bind_window_check(struct soft_qp *qp, const struct soft_mw *mw,
					 uint32_t rkey, uint64_t state)
{
	const struct key_entry *key = &qp->segment->key[mw->index];

	if (!key_is(state, KEY_MW))
		return CAUSE_WINDOW_STATE;
	if (atomic_load_explicit(&key->pd, memory_order_relaxed) != qp->pd_id)
		return CAUSE_KEY_DOMAIN;
	if (mw->mw.rkey != (mw->index << 8 | (state & KEY_TAG)))
		return CAUSE_KEY_STALE;
	if (rkey >> 8 != mw->index || (rkey & KEY_TAG) == (state & KEY_TAG))
		return CAUSE_WINDOW_TAG;
	return CAUSE_NONE;
}

/* The region may be deregistered while we bind: one of the two sees the other (both sides write
 * their own state, full barrier, then read the other's). */
static enum soft_cause bind_publish(struct soft_qp *qp, const struct ibv_send_wr *wr,
				    struct key_entry *key, uint64_t state, uint64_t mr_state)
{
	const struct ibv_mw_bind_info *info = &wr->bind_mw.bind_info;
	const struct soft_mr *mr = soft_container(info->mr, struct soft_mr, mr);
	bool zero_based = info->mw_access_flags & IBV_ACCESS_ZERO_BASED;
	uint64_t busy = state_next(state, KEY_MW | KEY_BUSY | (state & KEY_TAG));
	uint64_t live =
		state_next(busy, KEY_MW | KEY_LIVE | (wr->bind_mw.rkey & KEY_TAG) |
					 KEY_RIGHTS(info->mw_access_flags & ACCESS_REMOTE) |
					 KEY_QP(qp->entry->qp_num) | (mr_state & KEY_FOREIGN));

	if (!atomic_compare_exchange_strong(&key->state, &state, busy))
		return CAUSE_WINDOW_STATE;
	key_range_set(key, zero_based ? 0 : info->addr, info->length, info->addr);
	atomic_store_explicit(&key->mr, mr->index, memory_order_relaxed);
	atomic_exchange(&key->state, live);
	if (atomic_load(&qp->segment->key[mr->index].state) != mr_state) {
		atomic_exchange(&key->state,
				state_next(live, live & (KEY_MW | KEY_TAG | KEY_QP_MASK)));
		return CAUSE_WINDOW_REGION;
	}
	return CAUSE_NONE;
}

int ptni_soft_run_bind(struct soft_qp *qp, const struct ibv_send_wr *wr)
{
	const struct soft_mw *mw = soft_container(wr->bind_mw.mw, struct soft_mw, mw);
	const struct soft_mr *mr = soft_container(wr->bind_mw.bind_info.mr, struct soft_mr, mr);
	struct key_entry *key = &qp->segment->key[mw->index];
	uint64_t mr_state = atomic_load(&qp->segment->key[mr->index].state);
	uint64_t state = atomic_load_explicit(&key->state, memory_order_acquire);
	enum soft_cause cause = bind_window_check(qp, mw, wr->bind_mw.rkey, state);

	cause = cause ? cause : bind_region_check(qp, &wr->bind_mw.bind_info, mr_state);
	cause = cause ? cause : bind_publish(qp, wr, key, state, mr_state);
	if (cause)
		return soft_verdict(IBV_WC_MW_BIND_ERR, cause);
	qp->windows = true;
	return IBV_WC_SUCCESS;
}

/* Kills a live window: the state it had, or 0 if it is not live under that key. */
static uint64_t window_kill(struct key_entry *key, uint32_t rkey, uint32_t qp_num)
{
	uint64_t state = atomic_load_explicit(&key->state, memory_order_acquire);
	uint64_t dead = state_next(state, state & (KEY_MW | KEY_TAG | KEY_QP_MASK));

	if (!key_is(state, KEY_MW | KEY_LIVE) || (state & KEY_TAG) != (rkey & KEY_TAG))
		return 0;
	if (qp_num && (state & KEY_QP_MASK) != KEY_QP(qp_num))
		return 0;
	return atomic_compare_exchange_strong(&key->state, &state, dead) ? state : 0;
}

int ptni_soft_run_invalidate(struct soft_qp *qp, uint32_t rkey)
{
	struct key_entry *key = &qp->segment->key[(rkey >> 8) & (SEGMENT_KEY_MAX - 1)];
	uint64_t state;

	if (!qp->inv_entry) {
		if (rkey >> 8 >= SEGMENT_KEY_MAX)
			return soft_verdict(IBV_WC_LOC_QP_OP_ERR, CAUSE_KEY_STALE);
		if (atomic_load_explicit(&key->pd, memory_order_relaxed) != qp->pd_id)
			return soft_verdict(IBV_WC_LOC_QP_OP_ERR, CAUSE_KEY_DOMAIN);
		state = window_kill(key, rkey, 0);
		if (!state)
			return soft_verdict(IBV_WC_LOC_QP_OP_ERR, CAUSE_KEY_STALE);
		qp->inv_entry = state_qp(qp->segment, state);
		qp->inv_seen = atomic_load(&qp->inv_entry->active);
		for (int spin = 0; spin < INVALIDATE_SPINS && (qp->inv_seen & 1); spin++) {
			if (atomic_load_explicit(&qp->inv_entry->active, memory_order_acquire) !=
			    qp->inv_seen)
				qp->inv_seen = 0;
		}
	}
	if ((qp->inv_seen & 1) &&
	    atomic_load_explicit(&qp->inv_entry->active, memory_order_acquire) == qp->inv_seen)
		return AGAIN_ACTIVE;
	qp->inv_entry = NULL;
	return IBV_WC_SUCCESS;
}

/* By the requester of a SEND_WITH_INV, who is the only one that may be inside: no wait. */
int ptni_soft_key_invalidate_remote(struct soft_qp *qp, uint32_t rkey)
{
	if (rkey >> 8 >= SEGMENT_KEY_MAX)
		return -EINVAL;
	return window_kill(&qp->peer_segment->key[rkey >> 8], rkey, qp->peer->qp_num) ? 0 : -EINVAL;
}

/* The queue pair is shut and settled. */
void ptni_soft_mw_unbind_qp(struct soft_nic *nic, uint32_t qp_num)
{
	uint32_t used = keys_used(nic);

	for (uint32_t i = 0; i < used; i++) {
		struct key_entry *key = &nic->segment->key[i];
		uint64_t state = atomic_load_explicit(&key->state, memory_order_acquire);

		if (key_is(state, KEY_MW | KEY_LIVE) && (state & KEY_QP_MASK) == KEY_QP(qp_num))
			window_kill(key, (uint32_t)(state & KEY_TAG), qp_num);
	}
}
