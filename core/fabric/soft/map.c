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
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAP_ALIGN = 2 << 20
};

static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t maps_once = PTHREAD_ONCE_INIT;
static struct soft_map *maps;

/* A child has none of the segments (MADV_DONTFORK) and is no NIC's owner. */
static void maps_forget(void)
{
	pthread_mutex_init(&maps_lock, NULL);
	maps = NULL;
}

static void maps_init(void)
{
	pthread_atfork(NULL, NULL, maps_forget);
}

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
	madvise(addr, size, MADV_DONTFORK);
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
	if (map->wake_fd >= 0)
		close(map->wake_fd);
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

/* The socket that wakes sleepers in other processes is made here: the data path makes nothing. */
static int wake_socket(struct soft_map *map)
{
	if (map->shared)
		map->wake_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return map->shared && map->wake_fd < 0 ? -errno : 0;
}

static int segment_make(struct soft_map *map)
{
	if (map->shared) {
		int fd = memfd_make(map->size);

		if (fd < 0)
			return fd;
		map->memfd = fd;
	}
	map->segment = map_reserve(map->size, map->memfd);
	return map->segment ? 0 : -ENOMEM;
}

int ptni_soft_map_create(bool shared, uint64_t size, struct soft_map **map_out)
{
	struct soft_map *map = calloc(1, sizeof(*map));
	int rc;

	if (!map)
		return -ENOMEM;
	*map = (struct soft_map){
		.memfd = -1, .pidfd = -1, .wake_fd = -1, .size = size, .shared = shared
	};
	pthread_once(&maps_once, maps_init);
	rc = wake_socket(map);
	rc = rc ? rc : segment_make(map);
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

int ptni_soft_map_place(void *base, uint64_t nic_id, uint64_t size, struct soft_map **map_out)
{
	int flags = MAP_NORESERVE | MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	struct soft_map *map = calloc(1, sizeof(*map));
	void *segment;
	bool taken;

	if (!map)
		return -ENOMEM;
	segment = mmap(base, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (segment == MAP_FAILED) {
		free(map);
		return -errno;
	}
	*map = (struct soft_map){ .nic_id = nic_id,
				  .segment = segment,
				  .size = size,
				  .memfd = -1,
				  .pidfd = -1,
				  .wake_fd = -1 };
	pthread_mutex_lock(&maps_lock);
	taken = segment != base || maps_find(nic_id);
	if (!taken) {
		segment_header_write(map);
		map_publish(map);
	}
	pthread_mutex_unlock(&maps_lock);
	if (taken) {
		map_destroy(map);
		return -EEXIST;
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
	if (!map->segment)
		return -ENOMEM;
	close(map->memfd); /* the mapping holds it */
	map->memfd = -1;
	return segment_check(map);
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
	*map = (struct soft_map){
		.nic_id = nic_id, .memfd = memfd, .pidfd = pidfd, .wake_fd = -1, .shared = true
	};
	pthread_mutex_lock(&maps_lock);
	known = maps_find(nic_id);
	if (known) {
		known->refs++;
		rc = 0;
	} else {
		rc = wake_socket(map);
		rc = rc ? rc : map_open(map);
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

/*
 * The descriptor of a process is readable once its last thread is gone. The keeper's word changes
 * earlier, when another thread may still be inside a verb: not good enough for who takes a right away.
 * A NIC that is not mapped here cannot be asked after: it counts as alive.
 */
bool ptni_soft_nic_dead(uint64_t nic_id)
{
	struct pollfd pollfd = { .events = POLLIN };
	struct soft_map *map = ptni_soft_map_find(nic_id);
	bool dead;

	if (!map)
		return false;
	pollfd.fd = map->pidfd;
	dead = map->pidfd >= 0 && poll(&pollfd, 1, 0) > 0;
	ptni_soft_map_put(map);
	return dead;
}
