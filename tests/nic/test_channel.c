/* SPDX-License-Identifier: MIT */
/* Channels: whole messages, in order, never blocking, and a sure sign when the peer is gone. */
#include "tests/nic/groups.h"

#include <stdio.h>

struct ends {
	const struct ptni_fabric_ops *ops;
	struct ptni_channel *client;
	struct ptni_channel *node;
};

static struct ends ends_open(struct nic *nic)
{
	struct ends ends = { .ops = nic->node.fabric->ops };
	assert_int_equal(ends.ops->dial(nic->client.fabric, nic_address(), &ends.client), 0);
	assert_true(nic_readable(ends.ops->listener_fd(nic_listener()), NIC_DEADLINE_MS));
	assert_int_equal(ends.ops->accept(nic_listener(), &ends.node), 0);
	return ends;
}

static void ends_close(struct ends *ends)
{
	if (ends->client)
		ends->ops->channel_close(ends->client);
	if (ends->node)
		ends->ops->channel_close(ends->node);
}

static int recv_wait(struct ends *ends, struct ptni_channel *channel, void *data, size_t len)
{
	assert_true(nic_readable(ends->ops->channel_fd(channel), NIC_DEADLINE_MS));
	return ends->ops->channel_recv(channel, data, len);
}

/* Rule: accept returns -EAGAIN when nobody has dialled, recv when nothing is there. */
static void nothing_there(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ptni_channel *none = NULL;
	uint8_t data[PTNI_CHANNEL_MAX];
	assert_int_equal(nic->node.fabric->ops->accept(nic_listener(), &none), -EAGAIN);
	assert_null(none);
	struct ends ends = ends_open(nic);
	assert_int_equal(ends.ops->channel_recv(ends.client, data, sizeof(data)), -EAGAIN);
	assert_int_equal(ends.ops->channel_recv(ends.node, data, sizeof(data)), -EAGAIN);
	if (!nic_differs(__func__))
		assert_false(nic_readable(ends.ops->channel_fd(ends.client), 0));
	else
		assert_int_equal(ends.ops->channel_fd(ends.client), -1);
	ends_close(&ends);
}

/* Rule: messages of all sizes up to PTNI_CHANNEL_MAX arrive whole and in order, both ways at once. */
static void whole_messages_in_order(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ends ends = ends_open(nic);
	uint8_t out[PTNI_CHANNEL_MAX], in[PTNI_CHANNEL_MAX];
	for (size_t i = 0; i < 300; i++) {
		size_t len = i % 10 == 9 ? PTNI_CHANNEL_MAX : 1 + i * 13 % PTNI_CHANNEL_MAX;
		memset(out, (int)i, len);
		out[0] = 1;
		assert_int_equal(ends.ops->channel_send(ends.client, out, len), 0);
		out[0] = 2;
		assert_int_equal(ends.ops->channel_send(ends.node, out, len), 0);
		assert_int_equal(recv_wait(&ends, ends.client, in, sizeof(in)), len);
		assert_memory_equal(in, out, len);
		out[0] = 1;
		assert_int_equal(recv_wait(&ends, ends.node, in, sizeof(in)), len);
		assert_memory_equal(in, out, len);
	}
	ends_close(&ends);
}

/*
 * Rule: a channel that nobody reads takes some messages and then says -EAGAIN, it does not block; those
 * it took arrive, in order, and after them it takes more.
 */
static void full_channel(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ends ends = ends_open(nic);
	uint64_t out[64] = { 0 }, in[64];
	int ret;
	while (!(ret = ends.ops->channel_send(ends.client, out, sizeof(out))) && out[0] < 1 << 20)
		out[0]++;
	assert_int_equal(ret, -EAGAIN);
	assert_true(out[0] > 0);
	for (uint64_t i = 0; i < out[0]; i++) {
		assert_int_equal(recv_wait(&ends, ends.node, in, sizeof(in)), sizeof(in));
		assert_int_equal(in[0], i);
	}
	assert_int_equal(ends.ops->channel_recv(ends.node, in, sizeof(in)), -EAGAIN);
	assert_int_equal(ends.ops->channel_send(ends.client, out, sizeof(out)), 0);
	assert_int_equal(recv_wait(&ends, ends.node, in, sizeof(in)), sizeof(in));
	ends_close(&ends);
}

/* Rule: a message of no bytes or of more than PTNI_CHANNEL_MAX is refused, and never given in part. */
static void wrong_sizes(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ends ends = ends_open(nic);
	static uint8_t data[PTNI_CHANNEL_MAX + 1];
	assert_int_equal(ends.ops->channel_send(ends.client, data, 0), -EMSGSIZE);
	assert_int_equal(ends.ops->channel_send(ends.client, data, sizeof(data)), -EMSGSIZE);
	assert_int_equal(ends.ops->channel_send(ends.client, data, 100), 0);
	assert_int_equal(recv_wait(&ends, ends.node, data, 99), -EMSGSIZE);
	ends_close(&ends);
}

static void peer_closes(struct ends *ends, struct ptni_channel **closer,
			struct ptni_channel *reader, bool unread)
{
	uint8_t data[64] = { 5 };
	assert_int_equal(ends->ops->channel_send(*closer, data, 3), 0);
	if (unread)
		assert_int_equal(ends->ops->channel_send(reader, data, 4), 0);
	ends->ops->channel_close(*closer);
	*closer = NULL;
	assert_int_equal(recv_wait(ends, reader, data, sizeof(data)), 3);
	assert_int_equal(recv_wait(ends, reader, data, sizeof(data)), -ECONNRESET);
	assert_int_equal(ends->ops->channel_send(reader, data, 3), -ECONNRESET);
	assert_true(nic_readable(ends->ops->channel_fd(reader), 0));
}

/*
 * Rule: what the peer sent before it closed still arrives, whatever it left unread itself; then recv and
 * send say -ECONNRESET, and the descriptor is readable so that a sleeper learns of it.
 */
static void peer_gone(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (int unread = 0; unread < 2; unread++) {
		struct ends ends = ends_open(nic);
		peer_closes(&ends, &ends.client, ends.node, unread);
		ends_close(&ends);
		ends = ends_open(nic);
		peer_closes(&ends, &ends.node, ends.client, unread);
		ends_close(&ends);
	}
}

/* Rule: a caller that gives up before it is accepted leaves a channel that says -ECONNRESET. */
static void caller_gives_up(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct ends ends = { .ops = nic->node.fabric->ops };
	uint8_t data[64];
	assert_int_equal(ends.ops->dial(nic->client.fabric, nic_address(), &ends.client), 0);
	ends.ops->channel_close(ends.client);
	ends.client = NULL;
	(void)nic_readable(ends.ops->listener_fd(nic_listener()), 20);
	int ret = ends.ops->accept(nic_listener(), &ends.node);
	assert_true(!ret || ret == -EAGAIN || ret == -ECONNRESET);
	if (!ret)
		assert_int_equal(recv_wait(&ends, ends.node, data, sizeof(data)), -ECONNRESET);
	ends_close(&ends);
}

/* Rule: several callers are accepted one by one, and their channels are not mixed up. */
static void several_callers(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		CALLERS = 8
	};
	struct ends ends[CALLERS];
	for (uint8_t i = 0; i < CALLERS; i++) {
		ends[i] = ends_open(nic);
		assert_int_equal(ends[i].ops->channel_send(ends[i].client, &i, 1), 0);
	}
	for (uint8_t i = CALLERS; i-- > 0;) {
		uint8_t got = 99;
		assert_int_equal(recv_wait(&ends[i], ends[i].node, &got, 1), 1);
		assert_int_equal(got, i);
		ends_close(&ends[i]);
	}
}

static void address_beside(char beside[256])
{
	snprintf(beside, 256, "%s-beside", nic_address());
}

/* Rule: dialling where nobody listens is refused; the address in use is not given twice. */
static void nobody_listens(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	char beside[256];
	struct ptni_channel *channel = NULL;
	struct ptni_listener *listener = NULL;
	address_beside(beside);
	assert_int_equal(ops->dial(nic->client.fabric, beside, &channel), -ECONNREFUSED);
	assert_null(channel);
	assert_int_equal(ops->listen(nic->node.fabric, nic_address(), &listener), -EADDRINUSE);
	assert_null(listener);
	/* A backend may have knocked to find out. */
	while (!ops->accept(nic_listener(), &channel))
		ops->channel_close(channel);
}

/* Rule: an address can be listened on again after its listener was closed. */
static void listen_again(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	const struct ptni_fabric_ops *ops = nic->node.fabric->ops;
	char beside[256];
	address_beside(beside);
	for (int i = 0; i < 3; i++) {
		struct ptni_listener *listener;
		struct ptni_channel *client;
		assert_int_equal(ops->listen(nic->node.fabric, beside, &listener), 0);
		assert_int_equal(ops->dial(nic->client.fabric, beside, &client), 0);
		ops->channel_close(client);
		ops->listener_close(listener);
		assert_int_equal(ops->dial(nic->client.fabric, beside, &client), -ECONNREFUSED);
	}
}

const struct CMUnitTest nic_channel_tests[] = {
	NIC_TEST(nothing_there),   NIC_TEST(whole_messages_in_order),
	NIC_TEST(full_channel),    NIC_TEST(wrong_sizes),
	NIC_TEST(peer_gone),       NIC_TEST(caller_gives_up),
	NIC_TEST(several_callers), NIC_TEST(nobody_listens),
	NIC_TEST(listen_again),
};
NIC_COUNT(channel);
