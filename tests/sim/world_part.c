/* SPDX-License-Identifier: MIT */
/*
 * A client that has lost some of its nodes: it died, or the session with it ended. What lives on the others is to be
 * had as ever, and nothing hangs.
 */
#include "ds/hashtable/table.h"
#include "tests/sim/world_private.h"

enum {
	GET_TRIES = 4,
	LOOK_NS = 100000,
	NOTICE_TERMS = 32, /* four of silence, 20 as we allow for connecting, and some */
};

static unsigned lost_count(const struct world_life *life)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < life->world->config.nodes; i++)
		lost += ptni_client_node_error(life->client, i) != 0;
	return lost;
}

/* A node that died without a word is lost all the same, but its client must find out. */
static bool unnoticed(const struct world_life *life)
{
	for (unsigned i = 0; i < life->world->config.nodes; i++)
		if (ptni_sim_dead(life->world->node[i].process) &&
		    !ptni_client_node_error(life->client, i))
			return true;
	return false;
}

bool world_parted(const struct world_life *life)
{
	unsigned lost;

	if (!life->world->config.stay || !life->client || life->verifier)
		return false;
	lost = lost_count(life);
	return lost && lost < life->world->config.nodes;
}

static void key_look(struct world_life *life, uint32_t key)
{
	const struct world_key *name = &life->world->key[key];
	unsigned node = ptni_hash_key_node(life->hash, name->name, name->len);
	bool lost = ptni_client_node_error(life->client, node);
	int ret = 0;

	for (int try = 0; try < GET_TRIES; try++) {
		ret = world_get(&life->worker[0], key);
		if (!ret || ret == -ENOENT || world_failed(life->world))
			break;
		if (ptni_client_node_error(life->client, node))
			return;
	}
	if (!ret || ret == -ENOENT) {
		if (lost)
			world_fail(life->world, "key %u was read from node %u, which is lost", key,
				   node);
		return;
	}
	world_fail(life->world,
		   "without faults, client %u, which has lost another node: a get of key "
		   "%u on node %u: %s (%d)",
		   life->client_number, key, node, ptn_strerror(ret), ret);
}

/* When the faults are over, every key on the nodes that are left can be read. */
void world_part_end(struct world_life *life)
{
	const struct world *world = life->world;

	life->stage = "waiting for the end of faults, with some nodes lost";
	while (world->phase == WORLD_LOAD && !world_failed(world))
		ptni_sim_doze(LOOK_NS);
	for (unsigned i = 0; i < NOTICE_TERMS && (!lost_count(life) || unnoticed(life)); i++)
		ptni_sim_sleep(world->config.term_ns); /* nobody has told of the node's end */
	ptni_sim_sleep(world->config.term_ns); /* lanes are built again */
	life->stage = "reading what is left";
	life->world->result->parted++;
	life->world->result->lost += lost_count(life);
	for (uint32_t key = 0; key < world->config.keys && !world_failed(world); key++)
		key_look(life, key);
}
