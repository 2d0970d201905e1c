/* SPDX-License-Identifier: MIT */
#include "core/client.h"

#include "core/base/log.h"
#include "core/base/options.h"
#include "core/epoch.h"
#include "core/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	SPARES_DEFAULT = 1,
	FINISH_DIVISOR = 3,
};
#define CONNECT_TIMEOUT_NS UINT64_C(5000000000)

/* --- opening ---------------------------------------------------------------------------------- */

static int options_take(struct ptn_client *client, const struct ptn_client_options *options)
{
	struct ptn_client_options *own = &client->options;
	int ret = ptni_options_copy(own, sizeof(*own), options);

	if (ret)
		return ret;
	if (own->spare_lanes == UINT32_MAX)
		client->lanes = 1;
	else
		client->lanes = 1 + (own->spare_lanes ? own->spare_lanes : SPARES_DEFAULT);
	if (client->lanes > PTNI_LANES_MAX)
		return -EINVAL;
	if (!own->connect_timeout_ns)
		own->connect_timeout_ns = CONNECT_TIMEOUT_NS;
	if (!own->op_timeout_ns)
		own->op_timeout_ns = UINT64_MAX; /* limits_apply */
	if (own->credentials) {
		if (strlen(own->credentials) > PTNI_CREDENTIALS_MAX)
			return -EINVAL;
		client->credentials = strdup(own->credentials);
		own->credentials = NULL; /* the caller's string is not ours to keep */
		if (!client->credentials)
			return -ENOMEM;
	}
	client->seed = own->seed ? own->seed : ptni_clock_now_ns();
	return 0;
}

static size_t scheme_length(const char *address)
{
	const char *colon = strchr(address, ':');

	return colon ? (size_t)(colon - address) + 1 : 0;
}

static int addresses_check(const char *const *addresses, size_t count)
{
	if (!addresses || !count || count > PTNI_NODES_MAX || !addresses[0])
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		if (!addresses[i] || !scheme_length(addresses[i]) ||
		    strncmp(addresses[i], addresses[0], scheme_length(addresses[0])) != 0)
			return -EINVAL;
	return 0;
}

static int fabric_take(struct ptn_client *client, const char *address,
		       const struct ptni_client_env *env)
{
	int ret = 0;

	client->clock = env && env->clock ? env->clock : &ptni_clock_real;
	client->fabric = env ? env->fabric : NULL;
	if (!client->fabric) {
		ret = ptni_fabric_open(address, NULL, &client->fabric);
		client->fabric_owned = !ret;
	}
	if (!ret)
		ret = client->fabric->ops->pd_open(client->fabric, &client->pd);
	return ret;
}

/*
 * What all nodes can serve. An operation that runs keeps the keeper from reporting epochs to any node, twice
 * in a row at worst (epoch.c), and a node fences who does not report for two terms. So it is cut short
 * before, though it may have to wait for a node that is silent: twice (3/4 + 1/16 for a fence, recovery.c),
 * an eighth for the table's hook that asks there in vain (ds/hashtable/directory.c), and an eighth until the
 * keeper looks.
 */
static void limits_apply(struct ptn_client *client)
{
	client->workers_max = PTNI_WORKERS_MAX;
	for (unsigned i = 0; i < client->node_count; i++) {
		const struct ptni_welcome *welcome = &client->session[i]->welcome;
		uint64_t longest_ns = client->session[i]->term_ns / 4 * 3;

		if (welcome->workers_max < client->workers_max)
			client->workers_max = welcome->workers_max;
		if (welcome->lanes_max < client->lanes)
			client->lanes = welcome->lanes_max;
		if (longest_ns < client->options.op_timeout_ns)
			client->options.op_timeout_ns = longest_ns;
	}
}

static int parts_open(struct ptn_client *client, const char *const *addresses, size_t count,
		      const struct ptni_client_env *env)
{
	uint64_t deadline_ns;
	int ret = fabric_take(client, addresses[0], env);

	if (ret)
		return ret;
	ptni_epoch_init(client);
	deadline_ns = ptni_clock_read(client->clock) + client->options.connect_timeout_ns;
	for (unsigned i = 0; i < count; i++) {
		ret = ptni_session_open(client, i, addresses[i], deadline_ns, &client->session[i]);
		if (ret)
			return ret;
		client->node_count++;
	}
	limits_apply(client);
	return ptni_keeper_open(client, deadline_ns);
}

static void destroy(struct ptn_client *client)
{
	/* The keeper first: replies to its calls may still come, into what the attachments hold. */
	ptni_keeper_close(client->keeper);
	for (unsigned i = 0; i < PTNI_HOOKS_MAX; i++)
		client->hook[i].running = 0; /* it went with the keeper, wherever it was */
	for (unsigned i = PTNI_ATTACHMENTS_MAX; i-- > 0;)
		if (client->attachment[i].key && client->attachment[i].close)
			client->attachment[i].close(client->attachment[i].value);
	for (unsigned i = 0; i < client->node_count; i++)
		ptni_session_close(client->session[i]);
	if (client->pd && client->fabric->ops->pd_close(client->pd))
		PTNI_LOG(ERROR, core, "something of a client is still open while it closes");
	if (client->fabric_owned)
		client->fabric->ops->close(client->fabric);
	(void)pthread_cond_destroy(&client->hook_ended);
	(void)pthread_mutex_destroy(&client->lock);
	free(client->credentials);
	free(client);
}

int ptni_client_open(const char *const *addresses, size_t count,
		     const struct ptn_client_options *options, const struct ptni_client_env *env,
		     struct ptn_client **client_out)
{
	struct ptn_client *client;
	int ret = addresses_check(addresses, count);

	if (ret || !client_out)
		return -EINVAL;
	client = aligned_alloc(64, (sizeof(*client) + 63) & ~(size_t)63);
	if (!client)
		return -ENOMEM;
	memset(client, 0, sizeof(*client));
	(void)pthread_mutex_init(&client->lock, NULL);
	(void)pthread_cond_init(&client->hook_ended, NULL);
	ret = options_take(client, options);
	if (!ret)
		ret = parts_open(client, addresses, count, env);
	if (ret) {
		destroy(client);
		return ret;
	}
	*client_out = client;
	return 0;
}

int ptn_client_open(const char *const *addresses, size_t count,
		    const struct ptn_client_options *options, struct ptn_client **client_out)
{
	return ptni_client_open(addresses, count, options, NULL, client_out);
}

/* What the sessions' leases surely last for, since the keeper extends them early (keeper.c, 1). */
static void finishers_run(struct ptn_client *client)
{
	uint64_t deadline_ns =
		ptni_clock_read(client->clock) + client->options.op_timeout_ns / FINISH_DIVISOR;

	for (unsigned i = 0; i < PTNI_FINISHERS_MAX; i++)
		if (client->finisher[i].fn)
			client->finisher[i].fn(client->finisher[i].arg,
					       client->worker[PTNI_KEEPER_WORKER], deadline_ns);
}

int ptn_client_close(struct ptn_client *client)
{
	bool used = false;

	if (!client)
		return 0;
	pthread_mutex_lock(&client->lock);
	for (unsigned i = PTNI_KEEPER_WORKER + 1; i < PTNI_WORKERS_MAX; i++)
		used |= client->worker_taken[i];
	pthread_mutex_unlock(&client->lock);
	if (used)
		return -EBUSY;
	ptni_keeper_stop(client->keeper);
	finishers_run(client);
	destroy(client);
	return 0;
}

/* --- looking at it ------------------------------------------------------------------------------ */

unsigned ptni_client_node_count(const struct ptn_client *client)
{
	return client->node_count;
}

const struct ptni_welcome *ptni_client_node(const struct ptn_client *client, unsigned node)
{
	return &client->session[node]->welcome;
}

int ptni_client_node_error(const struct ptn_client *client, unsigned node)
{
	return ptni_session_error(client->session[node]);
}

bool ptni_client_protected(const struct ptn_client *client)
{
	return !client->options.unprotected;
}

const _Atomic uint64_t *ptni_client_session_deadline(const struct ptn_client *client, unsigned node)
{
	return client->options.unprotected ? &ptni_deadline_never :
					     &client->session[node]->deadline_ns;
}

void *ptni_client_attachment(struct ptn_client *client, const void *key)
{
	void *value;

	pthread_mutex_lock(&client->lock);
	value = ptni_attachment_find(client->attachment, key);
	pthread_mutex_unlock(&client->lock);
	return value;
}

int ptni_client_attach(struct ptn_client *client, const void *key, void *value,
		       void (*close)(void *))
{
	int ret;

	pthread_mutex_lock(&client->lock);
	ret = ptni_attachment_add(client->attachment, key, value, close);
	pthread_mutex_unlock(&client->lock);
	return ret;
}

int ptni_client_finisher_add(struct ptn_client *client,
			     void (*finish)(void *arg, struct ptn_worker *keeper,
					    uint64_t deadline_ns),
			     void *arg)
{
	int ret = -ENOSPC;

	pthread_mutex_lock(&client->lock);
	for (unsigned i = 0; ret && i < PTNI_FINISHERS_MAX; i++)
		if (!client->finisher[i].fn) {
			client->finisher[i] = (struct ptni_finisher){ finish, arg };
			ret = 0;
		}
	pthread_mutex_unlock(&client->lock);
	return ret;
}
