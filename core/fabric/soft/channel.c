/* SPDX-License-Identifier: MIT */
/*
 * Finding a peer: a SEQPACKET socket of the Unix domain, which keeps messages whole, in order, and
 * tells when the other end is gone. "inproc:NAME" is a name of this process in the abstract
 * namespace, "shm:PATH" a path in the file system.
 */
#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	int fd;
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

static int channel_make(struct soft_nic *nic, int fd, struct ptni_channel **channel_out)
{
	struct ptni_channel *channel = calloc(1, sizeof(*channel));

	if (!channel) {
		close(fd);
		return -ENOMEM;
	}
	*channel = (struct ptni_channel){ .nic = nic, .fd = fd };
	*channel_out = channel;
	return 0;
}

int ptni_soft_accept(struct ptni_listener *listener, struct ptni_channel **channel_out)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
	return channel_make(listener->nic, fd, channel_out);
}

int ptni_soft_dial(struct ptni_fabric *fabric, const char *address,
		   struct ptni_channel **channel_out)
{
	struct sockaddr_un name;
	socklen_t len;
	int rc = address_parse(address, &name, &len);
	int fd;

	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&name, len)) {
		rc = errno == ENOENT ? -ECONNREFUSED : -errno;
		close(fd);
		return rc;
	}
	return channel_make(soft_container(fabric, struct soft_nic, fabric), fd, channel_out);
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

/* The length of the message. One longer than `capacity` is refused and stays where it is. */
int ptni_soft_channel_recv(struct ptni_channel *channel, void *data, size_t capacity)
{
	ssize_t got = recv(channel->fd, data, capacity, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC);

	if (got < 0)
		return -errno;
	if (got == 0)
		return -ECONNRESET;
	if ((size_t)got > capacity)
		return -EMSGSIZE;
	got = recv(channel->fd, data, capacity, MSG_DONTWAIT);
	return got > 0 ? (int)got : -ECONNRESET;
}

void ptni_soft_channel_close(struct ptni_channel *channel)
{
	close(channel->fd);
	free(channel);
}
