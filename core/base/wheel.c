/* SPDX-License-Identifier: MIT */
/*
 * Data path: nothing here allocates, waits or enters the kernel.
 */
#include "core/base/wheel.h"

#include <assert.h>

static_assert(offsetof(struct ptni_wheel_node, link) == 0, "a link is cast to its node");

static unsigned int digit_of(uint64_t tick, unsigned int level)
{
	return (unsigned int)(tick >> level * PTNI_WHEEL_DIGIT_BITS) & (PTNI_WHEEL_SLOTS - 1);
}

/* The highest digit in which the two differ; 0 if they are equal. */
static unsigned int level_of(uint64_t tick, uint64_t wheel_tick)
{
	uint64_t differing = tick ^ wheel_tick;

	if (differing == 0)
		return 0;
	return (63 - (unsigned int)__builtin_clzll(differing)) / PTNI_WHEEL_DIGIT_BITS;
}

static void node_link(struct ptni_wheel *wheel, struct ptni_wheel_node *node)
{
	unsigned int level = level_of(node->tick, wheel->tick);
	unsigned int digit = digit_of(node->tick, level);
	struct ptni_wheel_link *head = &wheel->slots[level * PTNI_WHEEL_SLOTS + digit];

	node->slot = (uint16_t)(level * PTNI_WHEEL_SLOTS + digit);
	node->link.next = head;
	node->link.prev = head->prev;
	head->prev->next = &node->link;
	head->prev = &node->link;
	wheel->occupied[level] |= UINT64_C(1) << digit;
}

static void node_unlink(struct ptni_wheel *wheel, struct ptni_wheel_node *node)
{
	const struct ptni_wheel_link *head = &wheel->slots[node->slot];

	node->link.next->prev = node->link.prev;
	node->link.prev->next = node->link.next;
	node->link.next = NULL;
	if (head->next == head)
		wheel->occupied[node->slot / PTNI_WHEEL_SLOTS] &=
			~(UINT64_C(1) << node->slot % PTNI_WHEEL_SLOTS);
}

void ptni_wheel_init(struct ptni_wheel *wheel, uint64_t now_ns)
{
	*wheel = (struct ptni_wheel){ .tick = now_ns / PTNI_WHEEL_TICK_NS };
	for (size_t i = 0; i < PTNI_WHEEL_LEVELS * PTNI_WHEEL_SLOTS; i++)
		wheel->slots[i].next = wheel->slots[i].prev = &wheel->slots[i];
}

uint64_t ptni_wheel_add(struct ptni_wheel *wheel, struct ptni_wheel_node *node,
			uint64_t deadline_ns, ptni_wheel_fn fn)
{
	uint64_t tick = deadline_ns / PTNI_WHEEL_TICK_NS + (deadline_ns % PTNI_WHEEL_TICK_NS != 0);

	if (ptni_wheel_pending(node))
		ptni_wheel_cancel(wheel, node);
	node->tick = tick > wheel->tick ? tick : wheel->tick;
	node->fn = fn;
	node->ticket = ++wheel->ticket_last;
	node_link(wheel, node);
	wheel->pending++;
	return node->ticket;
}

bool ptni_wheel_cancel(struct ptni_wheel *wheel, struct ptni_wheel_node *node)
{
	if (!ptni_wheel_pending(node))
		return false;
	node_unlink(wheel, node);
	wheel->pending--;
	return true;
}

bool ptni_wheel_cancel_ticket(struct ptni_wheel *wheel, struct ptni_wheel_node *node,
			      uint64_t ticket)
{
	return node->ticket == ticket && ptni_wheel_cancel(wheel, node);
}

/* Where the wheel could go next: the slot that holds the earliest nodes. */
struct place {
	unsigned int level;
	unsigned int digit;
	uint64_t tick; /* of the slot's start, not before the wheel's own */
};

/*
 * The lowest level that holds anything holds the earliest: all its nodes share the wheel's higher
 * digits. The one exception is a slot at the wheel's own digit, which a budget left half moved down;
 * nothing on lower levels may be called before the rest of it has come down too.
 */
static bool place_next(const struct ptni_wheel *wheel, struct place *place_out)
{
	struct place found = { .level = PTNI_WHEEL_LEVELS };

	for (unsigned int level = PTNI_WHEEL_LEVELS; level-- > 0;) {
		uint64_t occupied = wheel->occupied[level];
		unsigned int own = digit_of(wheel->tick, level);

		if (!occupied)
			continue;
		found.level = level;
		found.digit = (unsigned int)__builtin_ctzll(occupied);
		if (found.digit <= own && level > 0)
			break;
	}
	if (found.level == PTNI_WHEEL_LEVELS)
		return false;
	found.tick = wheel->tick;
	if (found.digit != digit_of(wheel->tick, found.level)) {
		unsigned int shift = found.level * PTNI_WHEEL_DIGIT_BITS;

		found.tick = wheel->tick >> shift >> PTNI_WHEEL_DIGIT_BITS;
		found.tick = ((found.tick << PTNI_WHEEL_DIGIT_BITS) | found.digit) << shift;
	}
	*place_out = found;
	return true;
}

/* One step at the place the wheel stands on: call a node, or take it a level or more down. */
static void step(struct ptni_wheel *wheel, const struct place *place)
{
	struct ptni_wheel_link *head =
		&wheel->slots[place->level * PTNI_WHEEL_SLOTS + place->digit];
	struct ptni_wheel_node *node = (struct ptni_wheel_node *)head->next;

	node_unlink(wheel, node);
	if (place->level > 0) {
		node_link(wheel, node);
		return;
	}
	wheel->pending--;
	node->fn(wheel, node);
}

bool ptni_wheel_advance(struct ptni_wheel *wheel, uint64_t now_ns, size_t budget)
{
	uint64_t now = now_ns / PTNI_WHEEL_TICK_NS;
	struct place place;

	while (place_next(wheel, &place) && place.tick <= now) {
		if (budget-- == 0)
			return true;
		wheel->tick = place.tick;
		step(wheel, &place);
	}
	/* The tick `now` may still get nodes, so it is where the wheel stands, not behind it. */
	if (now > wheel->tick)
		wheel->tick = now;
	return false;
}

uint64_t ptni_wheel_next_ns(const struct ptni_wheel *wheel)
{
	struct place place;

	if (!place_next(wheel, &place))
		return UINT64_MAX;
	if (place.tick > UINT64_MAX / PTNI_WHEEL_TICK_NS)
		return UINT64_MAX;
	return place.tick * PTNI_WHEEL_TICK_NS;
}
