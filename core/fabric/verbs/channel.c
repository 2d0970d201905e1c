/* SPDX-License-Identifier: MIT */
/*
 * Channels: Unix SEQPACKET sockets, which keep messages whole and in order and say when the peer is
 * gone. The two ends are processes of one host, whose device loops back.
 */
#include "core/fabric/verbs/verbs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	LISTEN_BACKLOG = 128,
	SOCKET_FLAGS = SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
};

struct ptni_listener {
	int fd;
	struct sockaddr_un name;
};

struct ptni_channel {
	int fd;
};

static int name_of(const char *address, struct sockaddr_un *name_out)
{
	const char *path;
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int ret = ptni_verbs_address_split(address, NULL, &path);
	if (ret)
		return ret;
	if (strlen(path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	memcpy(name.sun_path, path, strlen(path));
	*name_out = name;
	return 0;
}

/* A socket file that a dead process left behind refuses connections; a live one takes them. */
static bool socket_is_stale(const struct sockaddr_un *name)
{
	struct stat status;
	if (lstat(name->sun_path, &status) || !S_ISSOCK(status.st_mode))
		return false;
	int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	if (fd < 0)
		return false;
	bool stale = connect(fd, (const struct sockaddr *)name, sizeof(*name)) &&
		     errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int socket_bind(int fd, const struct sockaddr_un *name)
{
	const struct sockaddr *addr = (const struct sockaddr *)name;
	if (bind(fd, addr, sizeof(*name))) {
		if (errno != EADDRINUSE || !socket_is_stale(name))
			return -errno;
		unlink(name->sun_path);
		if (bind(fd, addr, sizeof(*name)))
			return -errno;
	}
	return listen(fd, LISTEN_BACKLOG) ? -errno : 0;
}

int ptni_verbs_listen(struct ptni_fabric *fabric, const char *address,
		      struct ptni_listener **listener_out)
{
	struct sockaddr_un name;
	int ret = name_of(address, &name);
	if (ret)
		return ret;
	struct ptni_listener *listener = malloc(sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	*listener = (struct ptni_listener){ .name = name };
	listener->fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	ret = listener->fd < 0 ? -errno : socket_bind(listener->fd, &name);
	if (ret) {
		if (listener->fd >= 0)
			close(listener->fd);
		free(listener);
		return ret;
	}
	*listener_out = listener;
	return 0;
}

int ptni_verbs_listener_fd(struct ptni_listener *listener)
{
	return listener->fd;
}

static int channel_new(int fd, struct ptni_channel **channel_out)
{
	struct ptni_channel *channel = malloc(sizeof(*channel));
	if (!channel) {
		close(fd);
		return -ENOMEM;
	}
	channel->fd = fd;
	*channel_out = channel;
	return 0;
}

int ptni_verbs_accept(struct ptni_listener *listener, struct ptni_channel **channel_out)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return fd < 0 ? -errno : channel_new(fd, channel_out);
}

void ptni_verbs_listener_close(struct ptni_listener *listener)
{
	unlink(listener->name.sun_path);
	close(listener->fd);
	free(listener);
}

int ptni_verbs_dial(struct ptni_fabric *fabric, const char *address,
		    struct ptni_channel **channel_out)
{
	struct sockaddr_un name;
	int ret = name_of(address, &name);
	if (ret)
		return ret;
	int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&name, sizeof(name))) {
		ret = -errno;
		close(fd);
		/* Nobody there and nobody there any more are the same to the caller. */
		return ret == -ENOENT ? -ECONNREFUSED : ret;
	}
	return channel_new(fd, channel_out);
}

int ptni_verbs_channel_fd(struct ptni_channel *channel)
{
	return channel->fd;
}

static int channel_error(void)
{
	if (errno == EPIPE || errno == ENOTCONN)
		return -ECONNRESET;
	return errno == EINTR || errno == ENOBUFS ? -EAGAIN : -errno;
}

int ptni_verbs_channel_send(struct ptni_channel *channel, const void *data, size_t len_bytes)
{
	if (!len_bytes || len_bytes > PTNI_CHANNEL_MAX)
		return -EMSGSIZE;
	ssize_t sent = send(channel->fd, data, len_bytes, MSG_NOSIGNAL);
	return sent < 0 ? channel_error() : 0;
}

int ptni_verbs_channel_recv(struct ptni_channel *channel, void *data, size_t capacity_bytes)
{
	ssize_t got = recv(channel->fd, data, capacity_bytes, MSG_TRUNC);
	/* Said once when the peer closed with something unread; what it sent before is still there. */
	if (got < 0 && errno == ECONNRESET)
		got = recv(channel->fd, data, capacity_bytes, MSG_TRUNC);
	if (got < 0)
		return channel_error();
	if (!got)
		return -ECONNRESET;
	return (size_t)got > capacity_bytes ? -EMSGSIZE : (int)got;
}

void ptni_verbs_channel_close(struct ptni_channel *channel)
{
	close(channel->fd);
	free(channel);
}
