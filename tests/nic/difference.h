/* SPDX-License-Identifier: MIT */
/*
 * The table of known differences: which test does not hold on which device, what happens instead and
 * why. docs/FIDELITY.md carries the same rows; `nic_suite --check-document` compares them.
 */
#ifndef PTN_NIC_DIFFERENCE_H
#define PTN_NIC_DIFFERENCE_H

#include <stdbool.h>
#include <stddef.h>

enum nic_variant {
	NIC_SOFT = 1 << 0, /* core/fabric/soft */
	NIC_RXE_STOCK = 1 << 1, /* rdma_rxe as Debian 12 ships it */
	NIC_RXE_PATCHED = 1 << 2, /* the same with tests/vm/rxe-windows.patch */
	NIC_HARDWARE = 1 << 3, /* a real card; nothing is known against it */
	NIC_SIM = 1 << 4, /* core/fabric/sim: the software NIC under virtual time */
	NIC_RXE = NIC_RXE_STOCK | NIC_RXE_PATCHED,
};

enum nic_difference_how {
	NIC_PINNED, /* the test checks what this device does instead */
	NIC_SKIPPED, /* the test could harm or stop the machine there */
};

struct nic_difference {
	const char *test;
	unsigned variants;
	enum nic_difference_how how;
	const char *instead;
	const char *why;
};

/* Where the verbs leave room, or devices differ among each other, and the software NIC takes the
 * stricter reading; the test pins it on the software NIC. */
struct nic_strictness {
	const char *test;
	const char *strict;
	const char *others;
};

/*
 * The variant under test: the environment variable PTN_NIC_VARIANT (rxe-stock, rxe-patched or
 * hardware), which a device needs because it cannot be asked; the software NIC knows itself.
 * Errors: -EINVAL, after saying what to set.
 */
int nic_variant_choose(const char *backend);

/* The row of that test on the variant under test, or NULL. Marks the row as used. */
const struct nic_difference *nic_difference_find(const char *test);

/* Rows for this variant that no test asked for: stale ones. Printed; returns their number. */
size_t nic_differences_unused(void);

/* Prints both tables in Markdown, as docs/FIDELITY.md has them. */
void nic_differences_print(void);
/* The test of a row, or NULL behind the last. */
const char *nic_differences_test(size_t row);
/* 0 when every printed line stands in that document and it has no row besides; else 1, printed. */
int nic_differences_check(const char *document);

#endif
