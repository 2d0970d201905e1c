/* SPDX-License-Identifier: MIT */
/* May these bytes be touched through this key? Inline, as every access asks. */
#ifndef PTNI_SOFT_ACCESS_H
#define PTNI_SOFT_ACCESS_H

#include "core/fabric/soft/copy.h"
#include "core/fabric/soft/soft.h"

/* A key that let us in: the word that must not have changed, and where the bytes are here. */
struct access_grip {
	struct key_entry *key;
	uint64_t state;
	uint8_t *ptr;
};

static inline enum soft_cause access_range(struct key_entry *key, uint64_t addr, uint64_t len,
					   uint64_t *at_out)
{
	uint64_t offset = addr - atomic_load_explicit(&key->start, memory_order_relaxed);
	uint64_t size = atomic_load_explicit(&key->len, memory_order_relaxed);

	if (soft_unlikely(offset > size || len > size - offset))
		return CAUSE_KEY_RANGE;
	*at_out = atomic_load_explicit(&key->base, memory_order_relaxed) + offset;
	return CAUSE_NONE;
}

/* Local key of a queue pair's domain `pd`; `rights` as in KEY_RIGHTS. */
static inline enum soft_cause access_local(struct segment *segment, uint32_t pd,
					   const struct ibv_sge *sge, uint64_t rights,
					   struct access_grip *grip)
{
	uint32_t index = sge->lkey >> 8;
	struct key_entry *key;
	enum soft_cause cause;
	uint64_t at;

	if (soft_unlikely(index >= SEGMENT_KEY_MAX))
		return CAUSE_KEY_STALE;
	key = &segment->key[index];
	grip->key = key;
	grip->state = atomic_load_explicit(&key->state, memory_order_acquire);
	if (soft_unlikely((grip->state & (KEY_KIND_MASK | KEY_LIVE | KEY_TAG)) !=
			  (KEY_MR | KEY_LIVE | (sge->lkey & KEY_TAG))))
		return CAUSE_KEY_STALE;
	if (soft_unlikely((grip->state & rights) != rights))
		return CAUSE_KEY_RIGHTS;
	if (soft_unlikely(atomic_load_explicit(&key->pd, memory_order_relaxed) != pd))
		return CAUSE_KEY_DOMAIN;
	cause = access_range(key, sge->addr, sge->length, &at);
	grip->ptr = (uint8_t *)(uintptr_t)at;
	return cause;
}

/* Remote key presented on `qp`. */
static inline enum soft_cause access_remote(const struct soft_qp *qp, uint32_t rkey, uint64_t addr,
					    uint64_t len, uint64_t rights, struct access_grip *grip)
{
	uint32_t index = rkey >> 8;
	struct key_entry *key;
	enum soft_cause cause;
	uint64_t state;
	uint64_t at = 0;

	if (soft_unlikely(index >= SEGMENT_KEY_MAX))
		return CAUSE_KEY_STALE;
	key = &qp->peer_segment->key[index];
	state = atomic_load_explicit(&key->state, memory_order_acquire);
	if (soft_unlikely((state & (KEY_LIVE | KEY_TAG)) != (KEY_LIVE | (rkey & KEY_TAG))))
		return CAUSE_KEY_STALE;
	if (soft_unlikely((state & rights) != rights))
		return CAUSE_KEY_RIGHTS;
	if ((state & KEY_QP_MASK) != KEY_QP(qp->peer->qp_num) && (state & KEY_KIND_MASK) == KEY_MW)
		return CAUSE_KEY_QP;
	if (soft_unlikely(atomic_load_explicit(&key->pd, memory_order_relaxed) != qp->peer->pd))
		return CAUSE_KEY_DOMAIN;
	cause = access_range(key, addr, len, &at);
	if (soft_unlikely(cause))
		return cause;
	copy_fence(memory_order_acquire);
	if (soft_unlikely(atomic_load_explicit(&key->state, memory_order_acquire) != state))
		return CAUSE_KEY_STALE; /* the range read may be half of the old and half of the new */
	if (soft_unlikely((state & KEY_FOREIGN) && !qp->peer_local))
		return CAUSE_KEY_MEMORY;
	grip->key = key;
	grip->state = state;
	grip->ptr = (uint8_t *)(uintptr_t)at + qp->peer_delta;
	return CAUSE_NONE;
}

#endif
