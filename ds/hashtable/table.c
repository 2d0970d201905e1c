/* SPDX-License-Identifier: MIT */
/* Opening, making, closing and dropping a table. */
#include "ds/hashtable/table.h"

#include "core/base/options.h"

#include <patronus/error.h>

#include <pthread.h>
#include <stdlib.h>

enum {
	CREATE_IF_NONE = 1,
	CREATE_NEW = 2,
	CREATE_NEVER = 0xff,
	SLOTS_DEFAULT = 1024,
	CACHE_DEFAULT = 1 << 20,
	SUBTABLES_MAX = 1 << 20,
	SUBTABLES_PER_NODE = 8,
};

enum param_word {
	PARAM_SEED,
	PARAM_GROUPS,
	PARAM_SUBTABLES,
	PARAM_NODES
};

/* --- what a worker keeps ------------------------------------------------------------------------- */

struct ptni_hash_worker *ptni_hash_worker_open(struct ptn_hash *hash, uint32_t index)
{
	struct ptni_hash_worker *state = calloc(1, sizeof(*state));
	/* the keeper reads directories only */
	uint64_t entries = index ? hash->cache_entries : 0;

	if (!state)
		return NULL;
	if (ptni_split_scratch_open(ptni_subtable_words(hash->groups), &state->scratch))
		goto no_scratch;
	if (ptni_slot_cache_open(&state->cache, entries))
		goto no_cache;
	atomic_store_explicit(&hash->worker[index], state, memory_order_release);
	return state;

no_cache:
	ptni_split_scratch_close(state->scratch);
no_scratch:
	free(state);
	return NULL;
}

static void worker_close(struct ptni_hash_worker *state)
{
	if (!state)
		return;
	ptni_slot_cache_close(&state->cache);
	ptni_split_scratch_close(state->scratch);
	free(state);
}

/* --- open ---------------------------------------------------------------------------------------- */

static int check_name(struct ptn_worker *worker, const char *name)
{
	if (!name || !name[0] || strnlen(name, PTN_NAME_MAX + 1) > PTN_NAME_MAX)
		return ptni_worker_fail(worker, -EINVAL,
					"a table's name has 1 to 63 bytes (PTN_NAME_MAX)");
	return 0;
}

static int check_options(struct ptn_worker *worker, const struct ptn_hash_options *options,
			 struct ptn_hash_options *own_out)
{
	int ret = ptni_options_copy(own_out, sizeof(*own_out), options);

	if (ret)
		return ptni_worker_fail(worker, ret, "ptn_hash_options.size");
	if (!own_out->create)
		own_out->create = CREATE_IF_NONE;
	if (!own_out->initial_slots)
		own_out->initial_slots = SLOTS_DEFAULT;
	if (!own_out->cache_entries)
		own_out->cache_entries = CACHE_DEFAULT;
	if (own_out->cache_entries == UINT64_MAX)
		own_out->cache_entries = 0;
	if (own_out->create != CREATE_IF_NONE && own_out->create != CREATE_NEW &&
	    own_out->create != CREATE_NEVER)
		return ptni_worker_fail(worker, -EINVAL, "ptn_hash_options.create is 1, 2 or 0xff");
	return 0;
}

/*
 * A power of two that holds the slots and gives every node its share; 0: too many. Shares stay as they are at
 * first (table.h: H12), so where they cannot be equal there are enough subtables to make the largest at
 * most an eighth larger than the mean.
 */
static uint32_t count_subtables(uint64_t slots, uint32_t groups, unsigned node_count)
{
	bool equal = !(node_count & (node_count - 1));
	uint64_t count = 1;

	while (count < (equal ? 1 : SUBTABLES_PER_NODE) * (uint64_t)node_count)
		count *= 2;
	while (count * groups * PTNI_GROUP_SLOTS < slots && count <= SUBTABLES_MAX)
		count *= 2;
	return count <= SUBTABLES_MAX ? (uint32_t)count : 0;
}

static int choose_params(struct ptn_worker *worker, const struct ptn_hash_options *options,
			 const struct ptni_hash_params *wanted, unsigned node_count,
			 struct ptni_space_params *params_out)
{
	struct ptni_hash_params none = { 0 };
	uint32_t groups, subtables;

	wanted = wanted ? wanted : &none;
	groups = wanted->groups ? wanted->groups : PTNI_GROUPS_DEFAULT;
	subtables = wanted->subtables ? wanted->subtables :
					count_subtables(options->initial_slots, groups, node_count);
	if (!subtables)
		return ptni_worker_fail(worker, -EINVAL, "ptn_hash_options.initial_slots");
	memset(params_out, 0, sizeof(*params_out));
	params_out->kind = PTNI_HASH_KIND;
	params_out->version = PTNI_HASH_VERSION;
	params_out->word[PARAM_SEED] = wanted->seed ? wanted->seed :
						      ptni_rng_next(ptni_worker_rng(worker)) ^
							      ptni_worker_now_ns(worker);
	params_out->word[PARAM_GROUPS] = groups;
	params_out->word[PARAM_SUBTABLES] = subtables;
	return 0;
}

/* What a node kept for us is checked like anything that comes from outside. */
static bool params_valid(const struct ptni_space_params *params)
{
	uint64_t groups = params->word[PARAM_GROUPS];
	uint64_t subtables = params->word[PARAM_SUBTABLES];

	return params->version == PTNI_HASH_VERSION && groups >= PTNI_GROUPS_MIN &&
	       groups <= PTNI_GROUPS_MAX && subtables && subtables <= SUBTABLES_MAX &&
	       !(subtables & (subtables - 1));
}

/*
 * The space on every node, node 0 first: it decides whether the table exists and with what parameters;
 * on the others a space that is missing was not made yet by a client that died.
 */
static int open_spaces(struct ptn_worker *worker, const char *name, uint32_t create,
		       struct ptn_hash *hash, struct ptni_space_params *params)
{
	unsigned flags = create == CREATE_NEVER ? 0 : PTNI_SPACE_CREATE;

	if (create == CREATE_NEW)
		flags |= PTNI_SPACE_EXCLUSIVE;
	for (unsigned i = 0; i < hash->node_count; i++) {
		struct ptni_space_params own = *params;
		uint64_t nodes = (uint64_t)hash->node_count << 32 | i;
		const struct ptni_welcome *node = ptni_client_node(hash->client, i);
		int ret;

		own.word[PARAM_NODES] = nodes;
		ret = ptni_space_open(worker, i, name, i ? PTNI_SPACE_CREATE : flags, &own,
				      &hash->space[i]);
		if (ret)
			return ret;
		if (own.word[PARAM_NODES] != nodes)
			return ptni_worker_fail(worker, PTN_E_EXISTS_OTHER,
						"the table was made with other nodes, or in "
						"another order");
		if (!params_valid(&own))
			return ptni_worker_fail(worker, PTN_E_FORMAT, "the table's parameters");
		if (!i)
			*params = own;
		hash->base[i] = node->region_addr;
		hash->limit[i] = node->region_addr + node->region_len_bytes;
		hash->home[i] = (struct ptni_hash_home){ hash, hash->space[i], i };
	}
	return 0;
}

static void set_params(struct ptn_hash *hash, const struct ptni_space_params *params)
{
	hash->seed = params->word[PARAM_SEED];
	hash->groups = (uint32_t)params->word[PARAM_GROUPS];
	hash->first_depth = (unsigned)__builtin_ctzll(params->word[PARAM_SUBTABLES]);
	hash->subtable_bytes = 8 * ptni_subtable_words(hash->groups);
	hash->subtable_class = ptni_block_class(hash->subtable_bytes);
	hash->root = ptni_space_root(hash->space[0]);
}

static int open_table(struct ptn_worker *worker, const char *name,
		      const struct ptn_hash_options *options, const struct ptni_hash_params *wanted,
		      struct ptn_hash *hash)
{
	struct ptni_space_params params;
	int ret = choose_params(worker, options, wanted, hash->node_count, &params);

	if (!ret)
		ret = open_spaces(worker, name, options->create, hash, &params);
	if (!ret)
		ret = ptni_directory_open(&hash->directory);
	if (ret)
		return ret;
	set_params(hash, &params);
	hash->cache_entries = options->cache_entries;
	/* before anything is cached: no report may overtake what we learn */
	ret = ptni_client_hook_add(hash->client, ptni_directory_hook, hash);
	if (ret)
		return ret;
	hash->hooked = true;
	for (; hash->answering < hash->node_count; hash->answering++)
		if (ptni_space_set_live(hash->space[hash->answering], ptni_hash_live,
					&hash->home[hash->answering]))
			return ptni_worker_fail(worker, -EBUSY,
						"this client has the table open: one handle serves "
						"all its workers");
	ret = ptni_hash_make(worker, hash);
	for (unsigned i = 0; i < hash->node_count && !ret; i++) {
		ptni_space_set_move(hash->space[i], ptni_hash_move);
		ptni_space_set_scan(hash->space[i], ptni_hash_scan);
	}
	return ret;
}

int ptni_hash_open(struct ptn_worker *worker, const char *name,
		   const struct ptn_hash_options *options, const struct ptni_hash_params *params,
		   struct ptn_hash **hash_out)
{
	struct ptn_hash_options own;
	struct ptn_hash *hash;
	int ret = check_name(worker, name);

	if (!ret)
		ret = check_options(worker, options, &own);
	if (ret)
		return ret;
	hash = calloc(1, sizeof(*hash));
	if (!hash)
		return -ENOMEM;
	hash->client = ptni_worker_client(worker);
	hash->node_count = ptni_client_node_count(hash->client);
	ret = open_table(worker, name, &own, params, hash);
	if (ret) {
		ptn_hash_close(hash);
		return ret;
	}
	*hash_out = hash;
	return 0;
}

int ptn_hash_open(struct ptn_worker *worker, const char *name,
		  const struct ptn_hash_options *options, struct ptn_hash **hash_out)
{
	return ptni_hash_open(worker, name, options, NULL, hash_out);
}

void ptn_hash_close(struct ptn_hash *hash)
{
	if (!hash)
		return;
	if (hash->hooked)
		ptni_client_hook_remove(hash->client, ptni_directory_hook, hash);
	for (unsigned i = 0; i < hash->answering;
	     i++) { /* the space may live on, and be opened again */
		ptni_space_set_move(hash->space[i], NULL);
		ptni_space_set_scan(hash->space[i], NULL);
		(void)ptni_space_set_live(hash->space[i], NULL, NULL);
	}
	for (unsigned i = 0; i < hash->node_count; i++)
		if (hash->space[i])
			ptni_space_close(hash->space[i]);
	for (unsigned i = 0; i < PTNI_WORKERS_MAX; i++)
		worker_close(atomic_load_explicit(&hash->worker[i], memory_order_acquire));
	ptni_directory_close(&hash->directory);
	free(hash);
}

/* Node 0 first: it says whether somebody else still uses the table, and without it there is none. */
int ptn_hash_drop(struct ptn_worker *worker, const char *name)
{
	unsigned node_count = ptni_client_node_count(ptni_worker_client(worker));
	int ret = check_name(worker, name);
	int first;

	if (ret)
		return ret;
	first = ptni_space_drop(worker, 0, name);
	if (first && first != -ENOENT)
		return first;
	for (unsigned i = 1; i < node_count; i++) {
		ret = ptni_space_drop(worker, i, name);
		if (!ret)
			first = 0; /* what an earlier drop left behind */
		else if (ret != -ENOENT)
			return ret;
	}
	return first;
}
