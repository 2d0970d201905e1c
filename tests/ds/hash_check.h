/* SPDX-License-Identifier: MIT */
/* The walk over a hash table (table_walk.h) in the memory of a mock world, which knows every block's state. */
#ifndef TESTS_HASH_CHECK_H
#define TESTS_HASH_CHECK_H

#include "tests/ds/mock_fabric.h"
#include "tests/ds/table_walk.h"

/* NULL, or what is wrong; leaks, tentative and frozen words are only counted. */
const char *hash_check_try(struct mock_world *world, struct check *check_out);
/* The same; fails the test if something is wrong. */
void hash_check(struct mock_world *world, struct check *check_out);

#endif
