/* SPDX-License-Identifier: MIT */
/*
 * A hierarchical timing wheel (Varghese and Lauck, 1987): many timers, add and cancel in constant
 * time, nothing allocated. Time is cut into ticks of 1 us.
 *
 *   level 0   64 slots of 1 tick       |.|.|x|.|.| ...    bitmap: which slots hold anything
 *   level 1   64 slots of 64 ticks     |.|x|.|.|.| ...
 *   ...                                                   a slot is a list of nodes
 *   level 9   64 slots of 64^9 ticks
 *
 * A node sits on the level of the highest 6-bit digit in which its tick differs from the wheel's; it
 * moves down when the wheel reaches its slot, at most once a level. The wheel jumps over empty slots.
 *
 * 1. A node is called at or after its deadline, never before: deadlines are rounded up to ticks, now
 *    is rounded down.
 * 2. Nodes of different ticks are called in the order of their ticks. Within a tick the order is
 *    fixed by the calls made, but not otherwise specified.
 * 3. A node that was called or cancelled is out of the wheel: cancelling it again does nothing.
 *    A node may be added again, also by its own function. A ticket names one adding only, so that
 *    whoever holds the ticket of an earlier adding cannot cancel a later one.
 * 4. One advance does at most `budget` steps (calls and moves down a level) and says if work is left.
 *
 * Data path: nothing in here allocates, waits or enters the kernel.
 *
 * Owned by one thread. The node lives in the caller's struct and must not move or be freed while
 * pending.
 */
#ifndef PTNI_WHEEL_H
#define PTNI_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PTNI_WHEEL_TICK_NS = 1000,
	PTNI_WHEEL_DIGIT_BITS = 6,
	PTNI_WHEEL_SLOTS = 1 << PTNI_WHEEL_DIGIT_BITS,
	PTNI_WHEEL_LEVELS = 10, /* 60 bits of ticks: all that 64 bits of ns can say */
};

struct ptni_wheel;
struct ptni_wheel_node;

typedef void (*ptni_wheel_fn)(struct ptni_wheel *wheel, struct ptni_wheel_node *node);

struct ptni_wheel_link {
	struct ptni_wheel_link *next; /* NULL: not in a wheel */
	struct ptni_wheel_link *prev;
};

/* Zero it before first use; then only the wheel's functions touch it. */
struct ptni_wheel_node {
	struct ptni_wheel_link link; /* first: a link is its node */
	uint64_t tick;
	uint64_t ticket;
	ptni_wheel_fn fn;
	uint16_t slot; /* level * PTNI_WHEEL_SLOTS + slot */
};

struct ptni_wheel {
	uint64_t tick; /* everything before it has been called */
	uint64_t ticket_last;
	size_t pending;
	uint64_t occupied[PTNI_WHEEL_LEVELS];
	struct ptni_wheel_link slots[PTNI_WHEEL_LEVELS * PTNI_WHEEL_SLOTS];
};

void ptni_wheel_init(struct ptni_wheel *wheel, uint64_t now_ns);

/*
 * Have fn(wheel, node) called once deadline_ns has passed; a deadline in the past is called by the
 * next advance. Adding a pending node moves it. Returns the ticket of this adding, never 0.
 */
uint64_t ptni_wheel_add(struct ptni_wheel *wheel, struct ptni_wheel_node *node,
			uint64_t deadline_ns, ptni_wheel_fn fn);

/* True if the node was pending and now will not be called. */
bool ptni_wheel_cancel(struct ptni_wheel *wheel, struct ptni_wheel_node *node);

/* The same, but only if the pending adding is the one that returned `ticket`. */
bool ptni_wheel_cancel_ticket(struct ptni_wheel *wheel, struct ptni_wheel_node *node,
			      uint64_t ticket);

static inline bool ptni_wheel_pending(const struct ptni_wheel_node *node)
{
	return node->link.next != NULL;
}

/*
 * Call what is due at now_ns, in at most `budget` steps. Returns true if due work may be left because
 * the budget ran out: advance again with the same time. A time before an earlier one counts as that.
 * The functions may add and cancel any node, but not advance the wheel.
 */
bool ptni_wheel_advance(struct ptni_wheel *wheel, uint64_t now_ns, size_t budget);

/*
 * When to advance next: nothing is called by advancing to an earlier time. It may be too early for
 * nodes far away (advancing then only moves them down), never too late; at most one such step a level
 * lies before the first call. UINT64_MAX if the wheel is empty.
 */
uint64_t ptni_wheel_next_ns(const struct ptni_wheel *wheel);

#endif
