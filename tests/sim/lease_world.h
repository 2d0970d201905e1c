/* SPDX-License-Identifier: MIT */
/*
 * A world of leases (<patronus/memory.h>): a node, clients that allocate, acquire, extend, release and free memory
 * with terms so short that every end meets every other, and faults by seed. What tests/sim/world.h is for
 * the hash table, this is for windows and leases.
 *
 *   work    as above; each kind of fault is there in half of the worlds
 *   calm    without faults; all leases end
 *   close
 *
 * Harsh ones have clocks that drift and step as far as the bound allows and clients that are cut off for a while.
 *
 * Checked
 *   lease     no access is refused while its lease runs; nobody ends another's lease; no client counts on more time
 *             than the node gives it
 *   right     no access succeeds that began after the memory had been freed
 *   content   new memory is zero; what is read was written to this memory, not to what was there before or after
 *   error     no error without a fault that explains it
 *   progress  everybody ends
 *   memory    when all leases have ended, the node has all its memory
 */
#ifndef TESTS_SIM_LEASE_WORLD_H
#define TESTS_SIM_LEASE_WORLD_H

#include "core/fabric/sim/sim.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	LEASE_CLIENTS = 3,
	LEASE_TEXT = 200,
};

struct lease_result {
	const char *oracle; /* NULL: all is well */
	char text[LEASE_TEXT];
	uint64_t events, hash, acts;
	uint32_t cuts, fences; /* clients that were cut off; sessions that their node gave up */
};

struct lease_options {
	uint64_t seed;
	bool harsh; /* beyond the usual: clocks drift, and step within the bound; clients are cut off for a while */
	uint64_t jump_ns; /* not 0: the node's clock jumps ahead by so much now and then, further than any bound */
};

void lease_world_run(uint64_t seed, struct lease_result *result_out);
void lease_world_run_with(const struct lease_options *options, struct lease_result *result_out);

#endif
