/* SPDX-License-Identifier: MIT */
/*
 * Control channels in virtual time: messages arrive in order, a while after they were sent. What the peer sent
 * before it closed or died can still be received; then, if the end was heard of at all, -ECONNRESET.
 */
#include "core/fabric/sim/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	UNREAD_MAX = 64, /* messages on the way; more is -EAGAIN for the sender */
	CHANNEL_MIN_NS = 100,
};

struct message {
	struct message *next;
	uint64_t time_ns;
	size_t len;
	uint8_t bytes[];
};

struct ptni_channel {
	struct sim_object object;
	struct ptni_sim_process *process;
	struct ptni_channel *peer;
	struct ptni_channel *next; /* of its process */
	struct ptni_channel *accept_next;
	struct message *inbox, **inbox_end;
	uint32_t unread;
	uint64_t dialled_ns; /* when the listener can know of it */
	uint64_t last_ns; /* what is sent to us arrives no earlier */
	uint64_t reset_ns; /* 0: the peer's end was not heard of */
	bool closed;
};

struct ptni_listener {
	struct sim_object object;
	struct ptni_listener *next;
	struct ptni_sim_process *process;
	struct ptni_channel *waiting, **waiting_end;
	char *address;
};

static uint64_t delay(struct ptni_sim *sim)
{
	return CHANNEL_MIN_NS + sim->config.timing.channel_ns +
	       sim_draw(sim, sim->config.faults.channel_ns);
}

static void arrived(void *arg, uint64_t stamp)
{
	ptni_sim_wake(arg);
}

static void wake_at(struct ptni_sim_process *process, uint64_t time_ns)
{
	(void)ptni_sim_event_add(process->sim, time_ns, arrived, process, 0);
}

/* What was to arrive by then has: it is time, and nothing has come in between. */
static bool has_come(const struct ptni_channel *channel, uint64_t time_ns)
{
	const struct ptni_sim *sim = channel->process->sim;
	struct sim_cut cut;

	return time_ns <= (sim_is_cut(channel->process, channel->peer->process, &cut) ?
				   cut.from_ns :
				   sim->now_ns);
}

static void tell(struct ptni_channel *channel, enum ptni_sim_kind kind, size_t len)
{
	struct ptni_sim_event event = { .kind = kind,
					.process = channel->process->number,
					.peer = channel->peer->process->number,
					.len = len };

	ptni_sim_tell(channel->process->sim, &event);
}

/* ---- listening */

static void listener_free(struct sim_object *object)
{
	struct ptni_listener *listener = (struct ptni_listener *)object;

	free(listener->address);
	free(listener);
}

static struct ptni_listener *listener_find(struct ptni_sim *sim, const char *address)
{
	struct ptni_listener *listener = sim->listeners;

	while (listener && strcmp(listener->address, address) != 0)
		listener = listener->next;
	return listener;
}

int ptni_sim_listen(struct ptni_fabric *fabric, const char *address,
		    struct ptni_listener **listener_out)
{
	struct sim_nic *nic = sim_nic_of(fabric->context);
	struct ptni_listener *listener;

	ptni_sim_enter(nic->process);
	if (listener_find(nic->sim, address))
		return -EADDRINUSE;
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	listener->address = strdup(address);
	if (!listener->address) {
		free(listener);
		return -ENOMEM;
	}
	listener->process = nic->process;
	listener->waiting_end = &listener->waiting;
	listener->next = nic->sim->listeners;
	nic->sim->listeners = listener;
	ptni_sim_object_add(nic->sim, &listener->object, listener_free);
	*listener_out = listener;
	return 0;
}

int ptni_sim_listener_fd(struct ptni_listener *listener)
{
	return -1;
}

int ptni_sim_accept(struct ptni_listener *listener, struct ptni_channel **channel_out)
{
	struct ptni_channel **link = &listener->waiting, *channel;

	ptni_sim_enter(listener->process);
	while (*link && !has_come(*link, (*link)->dialled_ns))
		link = &(*link)->accept_next;
	channel = *link;
	if (!channel)
		return -EAGAIN;
	*link = channel->accept_next;
	if (!*link)
		listener->waiting_end = link;
	*channel_out = channel;
	return 0;
}

/* Whoever waits in line is turned away. */
void ptni_sim_listener_close(struct ptni_listener *listener)
{
	struct ptni_listener **link = &listener->process->sim->listeners;

	ptni_sim_enter(listener->process);
	while (*link != listener)
		link = &(*link)->next;
	*link = listener->next;
	while (listener->waiting) {
		struct ptni_channel *channel = listener->waiting;

		listener->waiting = channel->accept_next;
		ptni_sim_channel_close(channel);
	}
}

/* ---- channels */

static void channel_free(struct sim_object *object)
{
	struct ptni_channel *channel = (struct ptni_channel *)object;

	while (channel->inbox) {
		struct message *message = channel->inbox;

		channel->inbox = message->next;
		free(message);
	}
	free(channel);
}

static struct ptni_channel *channel_make(struct ptni_sim_process *process)
{
	struct ptni_channel *channel = calloc(1, sizeof(*channel));

	if (!channel)
		return NULL;
	channel->process = process;
	channel->inbox_end = &channel->inbox;
	channel->next = process->channels;
	process->channels = channel;
	ptni_sim_object_add(process->sim, &channel->object, channel_free);
	return channel;
}

int ptni_sim_dial(struct ptni_fabric *fabric, const char *address,
		  struct ptni_channel **channel_out)
{
	struct sim_nic *nic = sim_nic_of(fabric->context);
	struct ptni_channel *own, *far;
	struct ptni_listener *listener;

	ptni_sim_enter(nic->process);
	listener = listener_find(nic->sim, address);
	if (!listener)
		return -ECONNREFUSED;
	own = channel_make(nic->process);
	far = channel_make(listener->process);
	if (!own || !far)
		return -ENOMEM;
	own->peer = far;
	far->peer = own;
	far->dialled_ns = far->last_ns = nic->sim->now_ns + delay(nic->sim);
	*listener->waiting_end = far;
	listener->waiting_end = &far->accept_next;
	wake_at(listener->process, far->last_ns);
	*channel_out = own;
	return 0;
}

int ptni_sim_channel_fd(struct ptni_channel *channel)
{
	return -1;
}

int ptni_sim_channel_send(struct ptni_channel *channel, const void *data, size_t len)
{
	struct ptni_channel *peer = channel->peer;
	struct ptni_sim *sim = channel->process->sim;
	struct message *message;

	ptni_sim_enter(channel->process);
	if (!len || len > PTNI_CHANNEL_MAX)
		return -EMSGSIZE;
	if (channel->reset_ns && has_come(channel, channel->reset_ns))
		return -ECONNRESET;
	if (peer->unread >= UNREAD_MAX)
		return -EAGAIN;
	message = malloc(sizeof(*message) + len);
	if (!message)
		return -ENOMEM;
	message->next = NULL;
	message->len = len;
	memcpy(message->bytes, data, len);
	message->time_ns = sim->now_ns + delay(sim);
	if (message->time_ns < peer->last_ns)
		message->time_ns = peer->last_ns;
	peer->last_ns = message->time_ns;
	*peer->inbox_end = message;
	peer->inbox_end = &message->next;
	peer->unread++;
	tell(channel, PTNI_SIM_CHANNEL_SEND, len);
	wake_at(peer->process, message->time_ns);
	return 0;
}

int ptni_sim_channel_recv(struct ptni_channel *channel, void *data, size_t capacity)
{
	struct message *message = channel->inbox;
	int ret;

	ptni_sim_enter(channel->process);
	if (!message || !has_come(channel, message->time_ns)) {
		bool over = !message && channel->reset_ns && has_come(channel, channel->reset_ns);

		return over ? -ECONNRESET : -EAGAIN;
	}
	channel->inbox = message->next;
	if (!channel->inbox)
		channel->inbox_end = &channel->inbox;
	channel->unread--;
	ret = message->len > capacity ? -EMSGSIZE : (int)message->len;
	if (ret > 0)
		memcpy(data, message->bytes, message->len);
	free(message);
	tell(channel, PTNI_SIM_CHANNEL_RECV, ret > 0 ? (size_t)ret : 0);
	return ret;
}

static void peer_reset(struct ptni_channel *channel)
{
	struct ptni_channel *peer = channel->peer;
	struct ptni_sim *sim = channel->process->sim;

	if (channel->closed)
		return;
	channel->closed = true;
	peer->reset_ns = sim->now_ns + delay(sim);
	if (peer->reset_ns < peer->last_ns)
		peer->reset_ns = peer->last_ns;
	wake_at(peer->process, peer->reset_ns);
}

void ptni_sim_channel_close(struct ptni_channel *channel)
{
	struct ptni_channel **link = &channel->process->channels;

	ptni_sim_enter(channel->process);
	peer_reset(channel);
	while (*link != channel)
		link = &(*link)->next;
	*link = channel->next;
}

static void reset(struct ptni_channel *channel)
{
	struct ptni_sim *sim = channel->process->sim;

	if (channel->reset_ns)
		return;
	channel->reset_ns = sim->now_ns + delay(sim);
	if (channel->reset_ns < channel->last_ns)
		channel->reset_ns = channel->last_ns;
	wake_at(channel->process, channel->reset_ns);
}

void ptni_sim_hang_up(struct ptni_sim_process *process, struct ptni_sim_process *peer)
{
	for (struct ptni_channel *channel = process->channels; channel; channel = channel->next)
		if (channel->peer->process == peer) {
			reset(channel);
			reset(channel->peer);
		}
}

void ptni_sim_channels_die(struct ptni_sim_process *process)
{
	for (struct ptni_channel *channel = process->channels; channel; channel = channel->next)
		peer_reset(channel);
}
