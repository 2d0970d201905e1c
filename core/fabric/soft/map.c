/* SPDX-License-Identifier: MIT */
/*
 * Segments mapped in this process. A map lives as long as somebody holds it: the NIC that owns it,
 * channels to its owner, queue pairs connected to one of its queue pairs. So a requester never
 * touches unmapped memory, whatever the owner does meanwhile.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAP_ALIGN = 2 << 20
};

static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct soft_map *maps;

static struct soft_map *maps_find(uint64_t nic_id)
{
	struct soft_map *map = maps;

	while (map && map->nic_id != nic_id)
		map = map->next;
	return map;
}

/* Address space aligned for huge pages. */
static void *map_reserve(uint64_t size, int memfd)
{
	int flags = MAP_NORESERVE | (memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
	uint64_t whole = size + MAP_ALIGN;
	char *base =
		mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t skip;
	void *addr;

	if (base == MAP_FAILED)
		return NULL;
	skip = -(uint64_t)(uintptr_t)base & (MAP_ALIGN - 1);
	addr = mmap(base + skip, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, memfd, 0);
	if (addr == MAP_FAILED) {
		munmap(base, whole);
		return NULL;
	}
	if (skip)
		munmap(base, skip);
	munmap(base + skip + size, MAP_ALIGN - skip);
	return addr;
}

static int memfd_make(uint64_t size)
{
	int fd = memfd_create("patronus", MFD_CLOEXEC);
	int rc;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static int nic_id_draw(uint64_t *id_out)
{
	uint64_t id = 0;

	while (id == 0 || maps_find(id)) {
		if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
			return -EIO;
	}
	*id_out = id;
	return 0;
}

static void map_destroy(struct soft_map *map)
{
	if (map->segment)
		munmap(map->segment, map->size);
	if (map->memfd >= 0)
		close(map->memfd);
	if (map->pidfd >= 0)
		close(map->pidfd);
	free(map);
}

static void map_publish(struct soft_map *map)
{
	map->refs = 1;
	map->next = maps;
	maps = map;
}

static void segment_header_write(struct soft_map *map)
{
	map->segment->header = (struct segment_header){
		.magic = SEGMENT_MAGIC,
		.version = SEGMENT_VERSION,
		.nic_id = map->nic_id,
		.base = (uint64_t)(uintptr_t)map->segment,
		.size = map->size,
		.pid = (uint32_t)getpid(),
	};
}

int ptni_soft_map_create(bool shared, uint64_t size, struct soft_map **map_out)
{
	struct soft_map *map = calloc(1, sizeof(*map));
	int rc = 0;

	if (!map)
		return -ENOMEM;
	map->memfd = shared ? memfd_make(size) : -1;
	map->pidfd = -1;
	map->size = size;
	map->shared = shared;
	if (shared && map->memfd < 0)
		rc = map->memfd;
	else
		map->segment = map_reserve(size, map->memfd);
	if (!rc && !map->segment)
		rc = -ENOMEM;
	if (!rc) {
		pthread_mutex_lock(&maps_lock);
		rc = nic_id_draw(&map->nic_id);
		if (!rc) {
			segment_header_write(map);
			map_publish(map);
		}
		pthread_mutex_unlock(&maps_lock);
	}
	if (rc) {
		map_destroy(map);
		return rc;
	}
	*map_out = map;
	return 0;
}

/* The header comes from a peer: nothing in it is believed that the descriptor can tell. */
static int segment_check(const struct soft_map *map)
{
	const struct segment_header *header = &map->segment->header;

	if (header->magic != SEGMENT_MAGIC || header->nic_id != map->nic_id)
		return -EPROTO;
	if (header->version != SEGMENT_VERSION || header->size != map->size)
		return -EPROTONOSUPPORT;
	return 0;
}

static int map_open(struct soft_map *map)
{
	struct stat stat;

	if (fstat(map->memfd, &stat))
		return -errno;
	if ((uint64_t)stat.st_size < sizeof(struct segment))
		return -EPROTO;
	map->size = (uint64_t)stat.st_size;
	map->segment = map_reserve(map->size, map->memfd);
	return map->segment ? segment_check(map) : -ENOMEM;
}

/* Maps a peer's segment, or finds it mapped. Takes over both descriptors in any case. */
int ptni_soft_map_import(uint64_t nic_id, int memfd, int pidfd, struct soft_map **map_out)
{
	struct soft_map *map = calloc(1, sizeof(*map));
	struct soft_map *known;
	int rc;

	if (!map) {
		close(memfd);
		close(pidfd);
		return -ENOMEM;
	}
	*map = (struct soft_map){ .nic_id = nic_id, .memfd = memfd, .pidfd = pidfd, .shared = true };
	pthread_mutex_lock(&maps_lock);
	known = maps_find(nic_id);
	if (known) {
		known->refs++;
		rc = 0;
	} else {
		rc = map_open(map);
		if (!rc) {
			map->delta = (ptrdiff_t)((uintptr_t)map->segment -
						 (uintptr_t)map->segment->header.base);
			map_publish(map);
		}
	}
	pthread_mutex_unlock(&maps_lock);
	if (known || rc)
		map_destroy(map);
	if (!rc)
		*map_out = known ? known : map;
	return rc;
}

struct soft_map *ptni_soft_map_find(uint64_t nic_id)
{
	struct soft_map *map;

	pthread_mutex_lock(&maps_lock);
	map = maps_find(nic_id);
	if (map)
		map->refs++;
	pthread_mutex_unlock(&maps_lock);
	return map;
}

void ptni_soft_map_put(struct soft_map *map)
{
	struct soft_map **link = &maps;
	bool last;

	pthread_mutex_lock(&maps_lock);
	last = --map->refs == 0;
	if (last) {
		while (*link != map)
			link = &(*link)->next;
		*link = map->next;
	}
	pthread_mutex_unlock(&maps_lock);
	if (last)
		map_destroy(map);
}

bool ptni_soft_map_dead(struct soft_map *map)
{
	struct pollfd pollfd = { .fd = map->pidfd, .events = POLLIN };

	if (atomic_load_explicit(&map->dead, memory_order_relaxed))
		return true;
	if (map->pidfd < 0 || poll(&pollfd, 1, 0) <= 0)
		return false;
	atomic_store_explicit(&map->dead, true, memory_order_relaxed);
	return true;
}

/* A NIC that is not mapped here cannot be asked after: it counts as alive. */
bool ptni_soft_nic_dead(uint64_t nic_id)
{
	struct soft_map *map = ptni_soft_map_find(nic_id);
	bool dead;

	if (!map)
		return false;
	dead = ptni_soft_map_dead(map);
	ptni_soft_map_put(map);
	return dead;
}
