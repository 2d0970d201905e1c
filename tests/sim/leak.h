/* SPDX-License-Identifier: MIT */
/*
 * Does a client know its own blocks? When no operation runs and nothing waits for its grace period any more, then of
 * the chunks that the client has, its own and those it adopted,
 *
 *   L1  every block in use is one that the table leads to (else it is lost until the chunk is adopted),
 *   L2  every block that the table leads to is in use (else it will be used again),
 *   L3  no block was given back that was not in use.
 *
 * L1 is judged only in worlds in which nobody died, no lane failed and no node refused anything: a death between
 * unlinking a block and setting its free bit, an atomic whose outcome nobody knows, or a free bit that there is no
 * window for, leaves blocks behind (H10 of table.h).
 */
#ifndef TESTS_SIM_LEAK_H
#define TESTS_SIM_LEAK_H

struct world_worker;

/* In a task of the worker's; fails the world. Nobody else works on the table. */
void leak_check(struct world_worker *worker);

#endif
