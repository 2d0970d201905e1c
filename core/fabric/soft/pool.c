/* SPDX-License-Identifier: MIT */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <stdlib.h>

void ptni_soft_pool_init(struct soft_pool *pool, uint64_t offset, uint64_t size)
{
	*pool = (struct soft_pool){ .offset = offset, .size = size, .used_end = offset };
}

void ptni_soft_pool_fini(struct soft_pool *pool)
{
	while (pool->free) {
		struct soft_extent *next = pool->free->next;

		free(pool->free);
		pool->free = next;
	}
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

/* Puts [offset, +len) into the sorted list, merged with its neighbours. */
int ptni_soft_pool_give(struct soft_pool *pool, uint64_t offset, uint64_t len)
{
	struct soft_extent **link = &pool->free;
	struct soft_extent *prev = NULL;
	struct soft_extent *extent;

	while (*link && (*link)->offset < offset) {
		prev = *link;
		link = &prev->next;
	}
	extent = *link;
	if (prev && prev->offset + prev->len == offset) {
		prev->len += len;
		if (extent && prev->offset + prev->len == extent->offset) {
			prev->len += extent->len;
			prev->next = extent->next;
			free(extent);
		}
		return 0;
	}
	if (extent && offset + len == extent->offset) {
		extent->offset = offset;
		extent->len += len;
		return 0;
	}
	extent = malloc(sizeof(*extent));
	if (!extent)
		return -ENOMEM; /* the range is lost until the NIC closes, which harms nobody */
	*extent = (struct soft_extent){ .next = *link, .offset = offset, .len = len };
	*link = extent;
	return 0;
}

/* Takes [at, +len) out of the middle of an extent of the list. */
static int extent_carve(struct soft_extent **link, uint64_t at, uint64_t len)
{
	struct soft_extent *extent = *link;
	uint64_t end = extent->offset + extent->len;

	if (at > extent->offset && at + len < end) {
		struct soft_extent *rest = malloc(sizeof(*rest));

		if (!rest)
			return -ENOMEM;
		*rest = (struct soft_extent){ extent->next, at + len, end - at - len };
		extent->next = rest;
		extent->len = at - extent->offset;
	} else if (at > extent->offset) {
		extent->len = at - extent->offset;
	} else if (at + len < end) {
		extent->offset = at + len;
		extent->len = end - at - len;
	} else {
		*link = extent->next;
		free(extent);
	}
	return 0;
}

int ptni_soft_pool_take(struct soft_pool *pool, uint64_t len, uint64_t align, uint64_t *offset_out)
{
	uint64_t at;
	uint64_t gap;
	int rc;

	for (struct soft_extent **link = &pool->free; *link; link = &(*link)->next) {
		at = align_up((*link)->offset, align);
		if (at + len <= (*link)->offset + (*link)->len) {
			rc = extent_carve(link, at, len);
			if (!rc)
				*offset_out = at;
			return rc;
		}
	}
	at = align_up(pool->used_end, align);
	if (len > pool->size || at - pool->offset > pool->size - len)
		return -ENOMEM;
	gap = at - pool->used_end;
	rc = gap ? ptni_soft_pool_give(pool, pool->used_end, gap) : 0;
	if (rc)
		return rc;
	pool->used_end = at + len;
	*offset_out = at;
	return 0;
}

int ptni_soft_ids_init(struct soft_ids *ids, uint32_t max)
{
	*ids = (struct soft_ids){ .max = max };
	ids->queue =
		malloc(max * sizeof(*ids->queue)); /* touched only as far as numbers come back */
	return ids->queue ? 0 : -ENOMEM;
}

void ptni_soft_ids_fini(struct soft_ids *ids)
{
	free(ids->queue);
}

int ptni_soft_ids_take(struct soft_ids *ids, uint32_t *id_out)
{
	if (ids->fresh < ids->max && ids->tail - ids->head < 64)
		*id_out = ids->fresh++;
	else if (ids->tail != ids->head)
		*id_out = ids->queue[ids->head++ % ids->max];
	else
		return -ENOSPC;
	return 0;
}

void ptni_soft_ids_give(struct soft_ids *ids, uint32_t id)
{
	ids->queue[ids->tail++ % ids->max] = id;
}
