/* SPDX-License-Identifier: MIT */
#ifndef PTN_NIC_GROUPS_H
#define PTN_NIC_GROUPS_H

#include "tests/nic/nic.h"

struct nic_group {
	const char *name;
	const struct CMUnitTest *tests;
	const size_t *count;
};

/* One a file: test_NAME.c ends with NIC_GROUP(NAME, tests). */
#define NIC_GROUPS(_)        \
	_(order)             \
	_(queue)             \
	_(cq)                \
	_(data)              \
	_(atomic)            \
	_(recv)              \
	_(srq)               \
	_(error)             \
	_(region)            \
	_(window)            \
	_(window_rights)     \
	_(window_bounds)     \
	_(window_bind)       \
	_(window_invalidate) \
	_(window_list)       \
	_(window_end)        \
	_(revoke)            \
	_(control)           \
	_(channel)           \
	_(peer)

#define DECLARE(name)                                        \
	extern const struct CMUnitTest nic_##name##_tests[]; \
	extern const size_t nic_##name##_count;
NIC_GROUPS(DECLARE)
#undef DECLARE

/* Tests with fresh objects and connected queue pairs. */
#define NIC_TEST(test) cmocka_unit_test_setup_teardown(test, nic_setup, nic_teardown)
#define NIC_COUNT(name) \
	const size_t nic_##name##_count = sizeof(nic_##name##_tests) / sizeof(struct CMUnitTest)

/* The program of the other process in test_peer.c. */
int nic_peer_main(const char *address, const char *role);

#endif
