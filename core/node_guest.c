/* SPDX-License-Identifier: MIT */
/* Whoever dialled and has not yet said a proper hello. */
#include "core/node_loop.h"

#include "core/base/log.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void greeting_over(struct ptni_wheel *wheel, struct ptni_wheel_node *timer)
{
	ptni_guest_close(caa_container_of(timer, struct ptni_guest, timer));
}

static void guest_free(struct ptni_guest *guest)
{
	struct ptn_node *node = guest->node;

	ptni_wheel_cancel(&node->wheel, &guest->timer);
	cds_list_del(&guest->link);
	node->guest_count--;
	free(guest);
}

void ptni_guest_close(struct ptni_guest *guest)
{
	ptni_loop_unwatch(guest->node, &guest->source);
	guest->node->ops->channel_close(guest->channel);
	guest_free(guest);
}

static int32_t pid_of(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return 0;
	return peer.pid;
}

static int guest_make(struct ptn_node *node, struct ptni_channel *channel)
{
	struct ptni_guest *guest = calloc(1, sizeof(*guest));

	if (!guest)
		return -ENOMEM;
	guest->node = node;
	guest->channel = channel;
	guest->source = (struct ptni_source){ .kind = PTNI_SOURCE_GUEST,
					      .fd = node->ops->channel_fd(channel),
					      .owner = guest };
	guest->pid = pid_of(guest->source.fd);
	if (ptni_loop_watch(node, &guest->source)) {
		free(guest);
		return -ENOMEM;
	}
	cds_list_add_tail(&guest->link, &node->guests);
	node->guest_count++;
	ptni_wheel_add(&node->wheel, &guest->timer, ptni_node_clock_ns(node) + PTNI_GREETING_NS,
		       greeting_over);
	return 0;
}

/*
 * Who says hello does so at once. So when there are too many the one that has been silent longest goes: else a
 * process that dials and says nothing would keep others out.
 */
int ptni_guest_accept(struct ptn_node *node)
{
	struct ptni_channel *channel;

	if (node->ops->accept(node->listener, &channel))
		return 0;
	if (node->guest_count >= PTNI_GUESTS_MAX) {
		node->info.refusals++;
		ptni_guest_close(cds_list_first_entry(&node->guests, struct ptni_guest, link));
	}
	if (node->closing || guest_make(node, channel)) {
		node->info.refusals++;
		node->ops->channel_close(channel);
	}
	return 1;
}

/* The time taken does not tell how much of the secret was right. */
static bool credentials_match(const struct ptn_node *node, const struct ptni_hello *hello)
{
	uint8_t ours[PTNI_CREDENTIALS_MAX] = { 0 };
	size_t ours_len = node->credentials ? strlen(node->credentials) : 0;
	size_t theirs_len = hello->credentials_len_bytes;
	unsigned int differ = ours_len != theirs_len;

	if (!ours_len)
		return true;
	memcpy(ours, node->credentials, ours_len);
	for (size_t i = 0; i < PTNI_CREDENTIALS_MAX; i++) {
		volatile const uint8_t *theirs = &hello->credentials[i];

		differ |= (unsigned int)(ours[i] ^ (i < theirs_len ? *theirs : 0));
	}
	return !differ;
}

static int credentials_check(struct ptn_node *node, int32_t pid, const struct ptni_hello *hello)
{
	uint64_t now_ns = ptni_node_clock_ns(node), block_ns;

	if (ptni_attempts_blocked_ns(&node->attempts, pid, now_ns))
		return PTN_E_ATTEMPTS;
	if (credentials_match(node, hello)) {
		ptni_attempts_right(&node->attempts, pid);
		return 0;
	}
	block_ns = ptni_attempts_wrong(&node->attempts, pid, now_ns);
	if (block_ns)
		PTNI_LOG(
			WARN, core,
			"process %d keeps presenting wrong credentials: not listened to for %llu ms",
			(int)pid, (unsigned long long)(block_ns / 1000000));
	return PTN_E_REFUSED;
}

static int hello_check(const struct ptni_guest *guest, const struct ptni_hello *hello,
		       size_t len_bytes)
{
	struct ptn_node *node = guest->node;
	int ret;

	if (len_bytes < offsetof(struct ptni_hello, term_ns) || hello->op != PTNI_HELLO ||
	    hello->magic != PTNI_WIRE_MAGIC)
		return PTN_E_PROTOCOL;
	if (hello->version != PTNI_WIRE_VERSION)
		return PTN_E_VERSION;
	if (len_bytes != sizeof(*hello) || hello->credentials_len_bytes > PTNI_CREDENTIALS_MAX ||
	    hello->flags & ~(uint32_t)PTNI_HELLO_UNPROTECTED)
		return PTN_E_PROTOCOL;
	if ((ret = credentials_check(node, guest->pid, hello)))
		return ret;
	if (hello->flags & PTNI_HELLO_UNPROTECTED && !node->open_mr)
		return -EPERM;
	if (node->closing)
		return PTN_E_NODE_CLOSING;
	return 0;
}

static void welcome_fill(const struct ptni_node_session *session, bool unprotected,
			 struct ptni_welcome *welcome)
{
	const struct ptn_node *node = session->node;

	*welcome = (struct ptni_welcome){
		.op = PTNI_WELCOME,
		.version = PTNI_WIRE_VERSION,
		.session = session->id,
		.epoch = session->epoch,
		.region_rkey = unprotected ? node->open_mr->rkey : 0,
		.region_addr = (uint64_t)(uintptr_t)node->region,
		.region_len_bytes = node->region_len_bytes,
		.page_addr = (uint64_t)(uintptr_t)session->page,
		.status_addr = (uint64_t)(uintptr_t)node->status,
		.term_ns = session->lease->unit_ns,
		.term_units = PTNI_TERM_UNITS,
		.term_max_ns = node->options.term_max_ns,
		.extent_shift = node->options.extent_shift,
		.page_shift = PTNI_PAGE_SHIFT,
		.workers_max = node->options.session_workers_max,
		.lanes_max = PTNI_LANES_MAX,
		.windows_max = node->options.session_windows_max,
		.leases_max = node->options.session_leases_max,
		.drift_ppm = node->options.drift_ppm,
	};
}

static void guest_refuse(struct ptni_guest *guest, int status)
{
	struct ptni_welcome welcome = { .op = PTNI_WELCOME,
					.status = status,
					.version = PTNI_WIRE_VERSION };

	guest->node->info.refusals++;
	if (status != PTN_E_ATTEMPTS) /* that was said once, and may come often */
		PTNI_LOG(INFO, core, "a client was refused: %s", ptn_strerror(status));
	guest->node->ops->channel_send(guest->channel, &welcome, sizeof(welcome));
	ptni_guest_close(guest);
}

void ptni_guest_ready(struct ptni_guest *guest)
{
	struct ptn_node *node = guest->node;
	struct ptni_node_session *session;
	struct ptni_welcome welcome;
	union {
		struct ptni_hello hello;
		uint8_t bytes[PTNI_CHANNEL_MAX];
	} message;
	int ret;

	memset(&message.hello, 0, sizeof(message.hello));
	ret = node->ops->channel_recv(guest->channel, &message, sizeof(message));
	if (ret == -EAGAIN)
		return;
	if (ret < 0) {
		ptni_guest_close(guest);
		return;
	}
	node->active = true;
	ret = hello_check(guest, &message.hello, (size_t)ret);
	if (!ret)
		ret = ptni_node_session_open(guest, &message.hello, &session);
	if (ret) {
		guest_refuse(guest, ret);
		return;
	}
	ptni_loop_unwatch(node, &guest->source);
	guest_free(guest);
	if (ptni_loop_watch(node, &session->source)) {
		ptni_node_session_fence(session, -ENOMEM);
		return;
	}
	welcome_fill(session, message.hello.flags & PTNI_HELLO_UNPROTECTED, &welcome);
	ptni_node_session_say(session, &welcome, sizeof(welcome));
}
