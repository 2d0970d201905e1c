/* SPDX-License-Identifier: MIT */
/*
 * Finding a peer: a SEQPACKET socket of the Unix domain, which keeps messages whole, in order, and
 * tells when the other end is gone. "inproc:NAME" is a name of this process in the abstract
 * namespace, "shm:PATH" a path in the file system.
 *
 * On a shm channel both ends first send a greeting that users never see: {NIC, descriptor of its
 * segment}. It is read by the first receive, or by a connect that needs it, and leaves the peer's
 * segment mapped here.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct ptni_listener {
	struct soft_nic *nic;
	int fd;
	struct sockaddr_un name;
};

struct ptni_channel {
	struct soft_nic *nic;
	struct soft_map *map; /* the peer's, once it has introduced itself; NULL within a process */
	struct ptni_channel *next;
	int fd;
	bool greeted;
};

struct greeting {
	uint64_t magic;
	uint64_t nic_id;
	uint32_t version;
	uint32_t pad;
};

/* Room for the descriptor, aligned as the macros want it. */
union greeting_control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

enum {
	BACKLOG = 4096
};

static int address_parse(const char *address, struct sockaddr_un *name_out, socklen_t *len_out)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	size_t room = sizeof(name.sun_path);
	int written;

	if (strncmp(address, "inproc:", 7) == 0) {
		written = snprintf(name.sun_path + 1, room - 1, "patronus-%d-%s", (int)getpid(),
				   address + 7);
		room -= 1;
	} else if (strncmp(address, "shm:", 4) == 0) {
		written = snprintf(name.sun_path, room, "%s", address + 4);
	} else {
		return -EINVAL;
	}
	if (written <= 0 || (size_t)written >= room || !address[strcspn(address, ":") + 1])
		return -EINVAL;
	*name_out = name;
	*len_out = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)written + 1);
	return 0;
}

int ptni_soft_address_check(const char *address)
{
	struct sockaddr_un name;
	socklen_t len;

	return address_parse(address, &name, &len);
}

/* A path left behind by a process that died has nobody who answers. */
static void path_clear(const struct sockaddr_un *name, socklen_t len)
{
	int fd;

	if (!name->sun_path[0])
		return;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)name, len) && errno == ECONNREFUSED)
		unlink(name->sun_path);
	close(fd);
}

static int listener_bind(struct ptni_listener *listener, socklen_t len)
{
	listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return -errno;
	path_clear(&listener->name, len);
	if (bind(listener->fd, (struct sockaddr *)&listener->name, len) ||
	    listen(listener->fd, BACKLOG)) {
		int rc = -errno;

		close(listener->fd);
		return rc;
	}
	return 0;
}

int ptni_soft_listen(struct ptni_fabric *fabric, const char *address,
		     struct ptni_listener **listener_out)
{
	struct ptni_listener *listener = calloc(1, sizeof(*listener));
	socklen_t len;
	int rc;

	if (!listener)
		return -ENOMEM;
	listener->nic = soft_container(fabric, struct soft_nic, fabric);
	rc = address_parse(address, &listener->name, &len);
	if (!rc && listener->name.sun_path[0] && !listener->nic->shared)
		rc = -EINVAL; /* a NIC of this process alone */
	rc = rc ? rc : listener_bind(listener, len);
	if (rc) {
		free(listener);
		return rc;
	}
	*listener_out = listener;
	return 0;
}

int ptni_soft_listener_fd(struct ptni_listener *listener)
{
	return listener->fd;
}

void ptni_soft_listener_close(struct ptni_listener *listener)
{
	close(listener->fd);
	if (listener->name.sun_path[0])
		unlink(listener->name.sun_path);
	free(listener);
}

/* ---- greeting */

static int greeting_send(struct soft_nic *nic, int fd)
{
	struct greeting greeting = { SEGMENT_MAGIC, nic->id, SEGMENT_VERSION, 0 };
	struct iovec iov = { &greeting, sizeof(greeting) };
	union greeting_control control = { { 0 } };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &nic->map->memfd, sizeof(int));
	return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* The descriptor that came with a message, or -1. */
static int control_fd(struct msghdr *msg)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int fd = -1;

	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
	    cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

static int peer_pidfd(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int pidfd;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	pidfd = pidfd_open(peer.pid, 0);
	if (pidfd < 0)
		return errno == ESRCH ? -ECONNRESET : -errno;
	return pidfd;
}

/* Maps the peer's segment, or finds that it is our own or known. Takes over `memfd`. */
static int peer_map(struct ptni_channel *channel, uint64_t nic_id, int memfd)
{
	int pidfd;

	channel->map = ptni_soft_map_find(nic_id);
	if (channel->map) {
		close(memfd);
		return 0;
	}
	pidfd = peer_pidfd(channel->fd);
	if (pidfd < 0) {
		close(memfd);
		return pidfd;
	}
	return ptni_soft_map_import(nic_id, memfd, pidfd, &channel->map);
}

/*
 * The kernel reports a peer that closed before it read everything of ours as an error, once, even
 * ahead of what the peer had sent: that comes first here.
 */
static ssize_t message_recv(int fd, struct msghdr *msg, int flags)
{
	ssize_t got = recvmsg(fd, msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got < 0 && errno == ECONNRESET)
		got = recvmsg(fd, msg, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0)
		return -errno;
	return got ? got : -ECONNRESET;
}

static int greeting_recv(struct ptni_channel *channel)
{
	struct greeting greeting = { 0 };
	struct iovec iov = { &greeting, sizeof(greeting) };
	union greeting_control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t got = message_recv(channel->fd, &msg, 0);
	int memfd;

	if (got < 0)
		return (int)got;
	memfd = control_fd(&msg);
	if (got != (ssize_t)sizeof(greeting) || greeting.magic != SEGMENT_MAGIC || memfd < 0) {
		if (memfd >= 0)
			close(memfd);
		return -EPROTO;
	}
	if (greeting.version != SEGMENT_VERSION) {
		close(memfd);
		return -EPROTONOSUPPORT;
	}
	return peer_map(channel, greeting.nic_id, memfd);
}

static void channels_remove(struct ptni_channel *channel)
{
	struct ptni_channel **link = &channel->nic->channels;

	while (*link && *link != channel)
		link = &(*link)->next;
	if (*link)
		*link = channel->next;
}

/* Under the lock: another thread's connect may read it as well. */
static int channel_greet(struct ptni_channel *channel)
{
	int rc = 0;

	pthread_mutex_lock(&channel->nic->lock);
	if (!channel->greeted)
		rc = greeting_recv(channel);
	if (!rc && !channel->greeted) {
		channel->greeted = true;
		channels_remove(channel);
	}
	pthread_mutex_unlock(&channel->nic->lock);
	return rc;
}

void ptni_soft_channels_greet(struct soft_nic *nic)
{
	struct ptni_channel *next;

	pthread_mutex_lock(&nic->lock);
	for (struct ptni_channel *channel = nic->channels; channel; channel = next) {
		next = channel->next;
		if (greeting_recv(channel) == 0) {
			channel->greeted = true;
			channels_remove(channel);
		}
	}
	pthread_mutex_unlock(&nic->lock);
}

/* ---- channels */

static int channel_make(struct soft_nic *nic, bool shm, int fd, struct ptni_channel **channel_out)
{
	struct ptni_channel *channel = calloc(1, sizeof(*channel));
	int rc = channel ? 0 : -ENOMEM;

	if (!rc && shm)
		rc = greeting_send(nic, fd);
	if (rc && rc != -EPIPE && rc != -ECONNRESET) { /* what it sent before may still be read */
		free(channel);
		close(fd);
		return rc;
	}
	*channel = (struct ptni_channel){ .nic = nic, .fd = fd, .greeted = !shm };
	if (shm) {
		pthread_mutex_lock(&nic->lock);
		channel->next = nic->channels;
		nic->channels = channel;
		pthread_mutex_unlock(&nic->lock);
	}
	*channel_out = channel;
	return 0;
}

int ptni_soft_accept(struct ptni_listener *listener, struct ptni_channel **channel_out)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
	return channel_make(listener->nic, listener->name.sun_path[0] != 0, fd, channel_out);
}

int ptni_soft_dial(struct ptni_fabric *fabric, const char *address,
		   struct ptni_channel **channel_out)
{
	struct soft_nic *nic = soft_container(fabric, struct soft_nic, fabric);
	struct sockaddr_un name;
	socklen_t len;
	int rc = address_parse(address, &name, &len);
	int fd;

	if (rc)
		return rc;
	if (name.sun_path[0] && !nic->shared)
		return -EINVAL; /* a NIC of this process alone */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&name, len)) {
		rc = errno == ENOENT ? -ECONNREFUSED : -errno;
		close(fd);
		return rc;
	}
	return channel_make(nic, name.sun_path[0] != 0, fd, channel_out);
}

int ptni_soft_channel_fd(struct ptni_channel *channel)
{
	return channel->fd;
}

int ptni_soft_channel_send(struct ptni_channel *channel, const void *data, size_t len)
{
	ssize_t sent;

	if (!len || len > PTNI_CHANNEL_MAX)
		return -EMSGSIZE;
	sent = send(channel->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0)
		return errno == EPIPE ? -ECONNRESET : -errno;
	return 0;
}

/* The length of the message. One longer than `capacity` is lost. */
int ptni_soft_channel_recv(struct ptni_channel *channel, void *data, size_t capacity)
{
	struct iovec iov = { data, capacity };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int rc = channel_greet(channel);
	ssize_t got;

	if (rc)
		return rc;
	got = message_recv(channel->fd, &msg, MSG_TRUNC);
	return got > 0 && (size_t)got > capacity ? -EMSGSIZE : (int)got;
}

void ptni_soft_channel_close(struct ptni_channel *channel)
{
	pthread_mutex_lock(&channel->nic->lock);
	channels_remove(channel);
	pthread_mutex_unlock(&channel->nic->lock);
	if (channel->map)
		ptni_soft_map_put(channel->map);
	close(channel->fd);
	free(channel);
}
