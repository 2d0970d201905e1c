/* SPDX-License-Identifier: MIT */
/*
 * What a client of a world of leases does. Words are written as {mark of the memory, 1}, so that a word says to which
 * memory it was written.
 */
#include "tests/sim/lease_private.h"

#include "core/node_lease.h"

enum {
	BYTES = LEASE_WORDS * 8,
	TOUCHES = 4, /* accesses of a lease, at most */
};

/* A lease as its holder sees it. */
struct holding {
	struct lease_client *client;
	struct ptn_memory *memory;
	uint32_t mark;
	bool owner;
	struct lease_area *area; /* where it is shown; NULL: nowhere */
};

static uint64_t below(struct lease_client *client, uint64_t bound)
{
	return ptni_rng_below(&client->rng, bound);
}

static bool ended(int ret)
{
	return ret == PTN_E_LEASE_EXPIRED || ret == PTN_E_LEASE_REVOKED || ret == -EACCES;
}

static bool shown(const struct holding *holding)
{
	return holding->area && holding->area->mark == holding->mark;
}

/* The memory may be gone, and with it every lease on it: its owner ends it, or let it run out. */
static bool may_be_gone(const struct holding *holding)
{
	if (holding->client->world->state[holding->mark] != LEASE_HELD)
		return true;
	return !holding->owner &&
	       (!shown(holding) || !ptn_memory_remaining_ns(holding->area->memory));
}

/*
 * An access or extension of a lease that ended while it had time left: nobody may end it but the memory's
 * owner. Stalls and lost time make it end as well, but then no time is left.
 */
static bool judge(const struct holding *holding, const char *what, int ret, uint64_t left_before_ns)
{
	struct lease_world *world = holding->client->world;
	uint64_t left_ns = ptn_memory_remaining_ns(holding->memory);

	if (!ret)
		return true;
	if (ended(ret) && left_before_ns && left_ns && !may_be_gone(holding))
		lease_fail(world, "lease", "client %u: %s: %s with %lu ns of the term left",
			   holding->client->number, what, ptn_errname(ret), left_ns);
	else if (!ended(ret) &&
		 !(world->rough && (ret == PTN_E_SESSION_FENCED || ret == -ETIMEDOUT ||
				    ret == PTN_E_NODE_DOWN || ret == PTN_E_LANE_BROKEN)))
		lease_fail(world, "error", "client %u: %s: %s", holding->client->number, what,
			   ptn_errname(ret));
	return false;
}

/* Every word is this memory's, or still zero. */
static void judge_content(const struct holding *holding, const uint64_t *words, bool zero)
{
	for (unsigned i = 0; i < LEASE_WORDS; i++)
		if (words[i] && (zero || words[i] >> 32 != holding->mark)) {
			lease_fail(holding->client->world, "content",
				   "client %u: memory %u holds a word of memory %lu",
				   holding->client->number, holding->mark, words[i] >> 32);
			return;
		}
}

/* What began after the end was told must not succeed. */
static void judge_right(const struct holding *holding, bool was_freed, int ret)
{
	if (was_freed && !ret)
		lease_fail(holding->client->world, "right",
			   "client %u: an access of memory %u succeeded after it was freed",
			   holding->client->number, holding->mark);
}

/* How much longer the node's lease lasts for this client; 0: it has ended already. */
static uint64_t node_left_ns(const struct holding *holding)
{
	const struct lease_world *world = holding->client->world;
	const struct ptni_allocator *allocator = world->allocator;
	uint64_t addr = ptn_memory_address(holding->memory).addr, last_ns = 0;
	uint64_t now_ns = ptni_node_now_ns(world->node);
	const struct ptni_extent_info *info =
		&allocator->extent[ptni_extent_of(allocator->map, addr)];
	const struct ptni_node_memory *memory;
	const struct ptni_memory_lease *lease;

	cds_list_for_each_entry(memory, &info->memories, link)
		cds_list_for_each_entry(lease, &memory->leases, link)
			if (memory->addr == addr && lease->lease->deadline_ns > last_ns &&
			    ptni_session_id(lease->lease->session) ==
				    ptni_client_node(holding->client->client, 0)->session)
				last_ns = lease->lease->deadline_ns;
	return last_ns > now_ns ? last_ns - now_ns : 0;
}

/* When a lease begins: the client counts on less time than the node gives it. */
static void judge_deadline(const struct holding *holding)
{
	uint64_t ours_ns = ptn_memory_remaining_ns(holding->memory);
	uint64_t theirs_ns = node_left_ns(holding);

	if (theirs_ns && ours_ns > theirs_ns)
		lease_fail(holding->client->world, "lease",
			   "client %u counts on %lu ns, the node gives it %lu",
			   holding->client->number, ours_ns, theirs_ns);
}

static bool touch(const struct holding *holding, bool write, bool fresh)
{
	const struct lease_world *world = holding->client->world;
	uint64_t left_ns = ptn_memory_remaining_ns(holding->memory);
	bool was_freed = world->state[holding->mark] == LEASE_FREED;
	uint64_t words[LEASE_WORDS];
	int ret;

	for (unsigned i = 0; i < LEASE_WORDS; i++)
		words[i] = (uint64_t)holding->mark << 32 | 1;
	ret = write ? ptn_memory_write(holding->memory, 0, words, BYTES) :
		      ptn_memory_read(holding->memory, 0, words, BYTES);
	judge_right(holding, was_freed, ret);
	if (!ret && !write)
		judge_content(holding, words, fresh);
	return judge(holding, write ? "write" : "read", ret, left_ns);
}

static bool extend(const struct holding *holding, uint64_t term_ns)
{
	uint64_t left_ns = ptn_memory_remaining_ns(holding->memory);
	int ret = ptn_memory_extend(holding->memory, term_ns);

	if (ret == PTN_E_CONFLICT) /* the network takes longer than the term lasts */
		ret = 0;
	return judge(holding, "extend", ret, left_ns) && touch(holding, holding->owner, false);
}

/* Ask for more when the own deadline is just over: the node's comes a little later. */
static bool extend_late(const struct holding *holding, uint64_t term_ns)
{
	ptni_sim_sleep(ptn_memory_remaining_ns(holding->memory) + 1);
	ptni_sim_sleep(1 + below(holding->client, term_ns / 6));
	return extend(holding, term_ns);
}

/* In the last moments of the term. */
static bool touch_late(const struct holding *holding, uint64_t term_ns)
{
	uint64_t left_ns = ptn_memory_remaining_ns(holding->memory);
	uint64_t last_ns = below(holding->client, term_ns / 16) + 1;

	ptni_sim_sleep(left_ns > last_ns ? left_ns - last_ns : 1);
	return touch(holding, holding->owner, false);
}

static void use(const struct holding *holding, uint64_t term_ns)
{
	struct lease_client *client = holding->client;
	bool alive = true;

	for (unsigned i = 0; i < TOUCHES && alive; i++) {
		switch (below(client, 6)) {
		case 0:
			alive = extend(holding, term_ns);
			break;
		case 1:
			alive = extend_late(holding, term_ns);
			break;
		case 2:
			alive = touch_late(holding, term_ns);
			break;
		case 3:
			ptni_sim_sleep(1 + below(client, term_ns / 2));
			break;
		default:
			alive = touch(holding, holding->owner || below(client, 2), false);
		}
	}
}

/* Free it, or leave it to its deadline. */
static void end(struct holding *holding)
{
	struct lease_world *world = holding->client->world;
	int ret;

	if (!holding->owner) {
		ret = ptn_memory_release(holding->memory);
	} else {
		world->state[holding->mark] = LEASE_ENDING;
		if (shown(holding))
			holding->area->mark = 0;
		if (!below(holding->client, 4))
			ptni_sim_sleep(ptn_memory_remaining_ns(holding->memory) + 1);
		ret = ptn_memory_free(holding->memory);
		if (!ret)
			world->state[holding->mark] = LEASE_FREED;
	}
	if (ret && !ended(ret) && !world->rough)
		lease_fail(world, "error", "client %u: ending a lease: %s", holding->client->number,
			   ptn_errname(ret));
}

static uint64_t term_draw(struct lease_client *client)
{
	return LEASE_TERM_MIN_NS + below(client, client->world->term_ns - LEASE_TERM_MIN_NS + 1);
}

/* true: go on. */
static bool refused(const struct lease_client *client, const char *what, int ret)
{
	struct lease_world *world = client->world;

	if (ret != -ENOMEM && ret != -EDQUOT && ret != PTN_E_QUOTA && ret != -ENOENT &&
	    !(world->rough && (ret == -ETIMEDOUT || ret == PTN_E_SESSION_FENCED ||
			       ret == PTN_E_LANE_BROKEN || ret == PTN_E_NODE_DOWN || ended(ret))))
		lease_fail(world, "error", "client %u: %s: %s", client->number, what,
			   ptn_errname(ret));
	return ret != PTN_E_SESSION_FENCED && ret != PTN_E_NODE_DOWN && !world->result->oracle;
}

static bool own(struct lease_client *client)
{
	struct lease_world *world = client->world;
	struct lease_area *area = &world->area[below(client, LEASE_AREAS)];
	uint64_t term_ns = term_draw(client);
	struct holding holding = { .client = client, .owner = true };
	int ret = ptn_memory_alloc(client->worker, 0, BYTES, term_ns, &holding.memory);

	if (ret)
		return refused(client, "alloc", ret);
	judge_deadline(&holding);
	holding.mark = ++world->marks;
	if (touch(&holding, false, true) && touch(&holding, true, false)) {
		if (!area->mark) {
			*area = (struct lease_area){ .memory = holding.memory,
						     .address = ptn_memory_address(holding.memory),
						     .mark = holding.mark };
			holding.area = area;
		}
		use(&holding, term_ns);
	}
	end(&holding);
	return true;
}

static bool borrow(struct lease_client *client)
{
	struct lease_world *world = client->world;
	struct lease_area *area = &world->area[below(client, LEASE_AREAS)];
	uint64_t term_ns = term_draw(client);
	struct holding holding = { .client = client, .mark = area->mark, .area = area };
	int ret;

	if (!area->mark)
		return true;
	ret = ptn_memory_acquire(client->worker, area->address, BYTES, PTN_READ | PTN_WRITE,
				 term_ns, &holding.memory);
	if (ret)
		return refused(client, "acquire", ret);
	judge_deadline(&holding);
	/* else it may be somebody else's already, who has not shown it */
	if (!may_be_gone(&holding))
		use(&holding, term_ns);
	end(&holding);
	return true;
}

void lease_work(struct lease_client *client)
{
	struct lease_world *world = client->world;
	bool go_on = true;

	for (unsigned i = 0; i < world->rounds && go_on && !world->result->oracle; i++) {
		go_on = below(client, 2) ? own(client) : borrow(client);
		world->result->acts++;
	}
}
