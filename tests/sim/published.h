/* SPDX-License-Identifier: MIT */
/*
 * What a hash table's words lead to, followed from the simulator's events: each successful CAS of a slot, a
 * successor or a directory entry links and unlinks blocks and subtables (ds/hashtable/table.h). Held against it:
 *
 *   P1  A WRITE never changes bytes that a word leads to (R1, R3). Writing the same again is harmless.
 *   P2  Nor bytes that no word leads to any more while an operation still runs that began before they were
 *       unlinked, of a client that is not fenced (R7). What runs in a lot is not looked at: it is several
 *       operations of the library, one after the other.
 *   P3  A word of a subtable that was split never changes (H2).
 *   P4  Two words never lead to one block.
 *   P5  Atomics are for words: none ever meets a block, not even in vain.
 *   P6  The directory never leads away from a subtable that was not split (H6).
 *
 * Each finding is one line of text. Nothing is allocated after published_table.
 */
#ifndef TESTS_SIM_PUBLISHED_H
#define TESTS_SIM_PUBLISHED_H

#include "core/fabric/sim/sim.h"
#include "tests/sim/history.h"

enum {
	PUBLISHED_NODES_MAX = 4
};

struct published_node {
	uint32_t process;
	uint8_t *region; /* as addresses in events are */
	uint64_t len_bytes;
};

struct published_options {
	/* text is valid during the call */
	void (*found)(void *arg, const char *text);
	void *arg;
	unsigned nodes;
	struct published_node node[PUBLISHED_NODES_MAX];
	/* Operations by client, as P2 needs them; NULL: P2 is not judged. */
	const struct history *history;
	/* Is the client alive, and its session with this node not fenced? */
	bool (*counts)(void *arg, unsigned client, unsigned node);
};

struct published;

int published_open(const struct published_options *options, struct published **published_out);
void published_close(struct published *published);
/* The table is there: from now on. root: address on node 0. -ENOMEM. */
int published_table(struct published *published, uint64_t root, uint32_t groups);
void published_stop(struct published *published); /* it is about to be dropped */
/* For ptni_sim_observe: arg is the object. */
void published_told(void *published, const struct ptni_sim_event *event);
uint64_t published_links(const struct published *published); /* blocks linked so far */

#endif
