/* SPDX-License-Identifier: MIT */
#include "tests/sim/linear_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	MASK_WORDS = LINEAR_PENDING_MAX / 64,
	NO_CONFIG = UINT32_MAX
};

/* Which pending operations: one bit for each place in `pending`. */
struct mask {
	uint64_t word[MASK_WORDS];
};

struct config {
	struct mask done;
	uint32_t value;
	uint32_t next; /* of the same hash */
	bool dominated;
};

struct pool {
	struct config *config;
	uint32_t count;
};

struct linear {
	struct linear_ops ops;
	uint32_t configs_max, heads_mask;
	struct pool now, made;
	uint32_t *head, *stamp; /* of the hash table over `made` */
	uint32_t stamp_now;
	uint32_t pending[LINEAR_PENDING_MAX]; /* index of the operation */
	uint32_t pending_top; /* places in use are below it */
	struct mask used, optional, passive; /* passive: changes nothing */
	struct linear_report report;
	bool full;
};

/* --- masks ------------------------------------------------------------------------------------------ */

static bool mask_has(const struct mask *mask, uint32_t bit)
{
	return mask->word[bit / 64] >> (bit % 64) & 1;
}

static void mask_set(struct mask *mask, uint32_t bit, bool on)
{
	uint64_t one = UINT64_C(1) << (bit % 64);

	mask->word[bit / 64] = (mask->word[bit / 64] & ~one) | (on ? one : 0);
}

/* --- the set of configurations ------------------------------------------------------------------------ */

static uint32_t hash_of(const struct linear *linear, const struct config *config)
{
	uint64_t hash = config->value * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i < MASK_WORDS; i++) {
		hash ^= config->done.word[i] & ~linear->optional.word[i];
		hash = (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	}
	return (uint32_t)(hash >> 32) & linear->heads_mask;
}

static bool alike(const struct linear *linear, const struct config *a, const struct config *b)
{
	uint64_t differ = a->value ^ b->value;

	for (unsigned i = 0; i < MASK_WORDS; i++)
		differ |= (a->done.word[i] ^ b->done.word[i]) & ~linear->optional.word[i];
	return !differ;
}

/* Of two that are alike: has `a` spent no uncertain operation that `b` has not? */
static bool dominates(const struct config *a, const struct config *b)
{
	uint64_t more = 0;

	for (unsigned i = 0; i < MASK_WORDS; i++)
		more |= a->done.word[i] & ~b->done.word[i];
	return !more;
}

/* What changes nothing happens as soon as it may. */
static void absorb(const struct linear *linear, struct config *config)
{
	for (unsigned i = 0; i < MASK_WORDS; i++) {
		uint64_t left = linear->passive.word[i] & ~config->done.word[i];

		for (; left; left &= left - 1) {
			uint32_t bit = i * 64 + (uint32_t)__builtin_ctzll(left);
			uint32_t same;

			if (linear_apply(&linear->ops.op[linear->pending[bit]], config->value,
					 &same))
				mask_set(&config->done, bit, true);
		}
	}
}

static void put(struct linear *linear, const struct config *config)
{
	uint32_t at = hash_of(linear, config);
	struct config *to;

	if (linear->stamp[at] != linear->stamp_now) {
		linear->stamp[at] = linear->stamp_now;
		linear->head[at] = NO_CONFIG;
	}
	for (uint32_t i = linear->head[at]; i != NO_CONFIG; i = linear->made.config[i].next) {
		struct config *other = &linear->made.config[i];

		if (other->dominated || !alike(linear, other, config))
			continue;
		if (dominates(other, config))
			return;
		if (dominates(config, other))
			other->dominated = true;
	}
	if (linear->made.count == linear->configs_max) {
		linear->full = true;
		return;
	}
	linear->report.configs++;
	to = &linear->made.config[linear->made.count];
	*to = *config;
	to->dominated = false;
	to->next = linear->head[at];
	linear->head[at] = linear->made.count++;
}

/* --- events --------------------------------------------------------------------------------------------- */

static bool begin(struct linear *linear, uint32_t index)
{
	const struct linear_op *op = &linear->ops.op[index];
	uint32_t bit = 0;

	while (bit < LINEAR_PENDING_MAX && mask_has(&linear->used, bit))
		bit++;
	if (bit == LINEAR_PENDING_MAX)
		return false;
	linear->pending[bit] = index;
	if (bit >= linear->pending_top)
		linear->pending_top = bit + 1;
	if (linear->pending_top > linear->report.pending_max)
		linear->report.pending_max = linear->pending_top;
	mask_set(&linear->used, bit, true);
	mask_set(&linear->optional, bit, op->optional);
	mask_set(&linear->passive, bit, !op->optional && op->step <= STEP_PRESENT);
	if (mask_has(&linear->passive, bit))
		for (uint32_t i = 0; i < linear->now.count; i++)
			absorb(linear, &linear->now.config[i]);
	return true;
}

/* Could the first stand for the second at any moment from now on, and must end before it? */
static bool instead(const struct linear_op *a, const struct linear_op *b)
{
	return a->step == b->step && a->value == b->value && a->optional == b->optional &&
	       (a->ended < b->ended || (a->ended == b->ended && a < b));
}

/* Is there another one that is as good and more pressing? */
static bool can_wait(const struct linear *linear, const struct config *config, uint32_t bit)
{
	const struct linear_op *op = &linear->ops.op[linear->pending[bit]];

	if (op->step == STEP_READ || (op->value && op->value != LINEAR_UNREAD))
		return false;
	for (unsigned i = 0; i < MASK_WORDS; i++) {
		uint64_t left = linear->used.word[i] & ~config->done.word[i];

		for (; left; left &= left - 1)
			if (instead(&linear->ops
					     .op[linear->pending[i * 64 +
								 (uint32_t)__builtin_ctzll(left)]],
				    op))
				return true;
	}
	return false;
}

/* Every operation that may take effect next. */
static void expand(struct linear *linear, uint32_t from)
{
	for (uint32_t bit = 0; bit < linear->pending_top && !linear->full; bit++) {
		struct config config = linear->made.config[from];

		if (!mask_has(&linear->used, bit) || mask_has(&linear->passive, bit) ||
		    mask_has(&config.done, bit) || can_wait(linear, &config, bit))
			continue;
		if (!linear_apply(&linear->ops.op[linear->pending[bit]], config.value,
				  &config.value))
			continue;
		mask_set(&config.done, bit, true);
		absorb(linear, &config);
		put(linear, &config);
	}
}

/* Those in which the operation has taken effect, or need not have, are the new set. */
static void keep(struct linear *linear, uint32_t bit)
{
	bool need = !mask_has(&linear->optional, bit);

	linear->now.count = 0;
	for (uint32_t i = 0; i < linear->made.count; i++) {
		struct config *config = &linear->made.config[i];

		if (config->dominated || (need && !mask_has(&config->done, bit)))
			continue;
		mask_set(&config->done, bit, false);
		linear->now.config[linear->now.count++] = *config;
	}
}

static void end(struct linear *linear, uint32_t index)
{
	uint32_t bit = 0;

	while (!mask_has(&linear->used, bit) || linear->pending[bit] != index)
		bit++;
	linear->made.count = 0;
	linear->stamp_now++;
	for (uint32_t i = 0; i < linear->now.count; i++)
		put(linear, &linear->now.config[i]);
	for (uint32_t i = 0; i < linear->made.count && !linear->full; i++)
		if (!linear->made.config[i].dominated &&
		    !mask_has(&linear->made.config[i].done, bit))
			expand(linear, i);
	keep(linear, bit);
	mask_set(&linear->used, bit, false);
	mask_set(&linear->optional, bit, false);
	mask_set(&linear->passive, bit, false);
}

static enum linear_verdict give_up(struct linear *linear, enum linear_verdict verdict,
				   const struct linear_op *op, const char *why)
{
	linear->report.op = op ? op->source : HISTORY_NONE;
	linear->report.walk = op ? op->walk : HISTORY_NONE;
	linear->report.why = why;
	return verdict;
}

static enum linear_verdict check_key(struct linear *linear)
{
	linear->now.config[0] = (struct config){ .value = linear->ops.initial };
	linear->now.count = 1;
	linear->pending_top = 0;
	memset(&linear->used, 0, sizeof(linear->used));
	memset(&linear->optional, 0, sizeof(linear->optional));
	memset(&linear->passive, 0, sizeof(linear->passive));
	for (uint32_t i = 0; i < linear->ops.events; i++) {
		const struct linear_event *event = &linear->ops.event[i];
		const struct linear_op *op = &linear->ops.op[event->op];

		if (!event->end && !begin(linear, event->op))
			return give_up(linear, LINEAR_UNDECIDED, op,
				       "more operations pending on one key than the check has "
				       "room for; use more keys or fewer clients");
		if (!event->end)
			continue;
		end(linear, event->op);
		if (linear->full)
			return give_up(linear, LINEAR_UNDECIDED, op,
				       "more explanations than the check has room for; use more "
				       "keys or fewer clients, or open it with more");
		if (!linear->now.count)
			return give_up(linear, LINEAR_BAD, op,
				       "no order of the operations explains what this one was "
				       "told");
	}
	return LINEAR_GOOD;
}

enum linear_verdict linear_check(struct linear *linear, const struct history *history,
				 struct linear_report *report_out)
{
	enum linear_verdict verdict = LINEAR_GOOD;

	linear->full = false;
	linear->report = (struct linear_report){ .op = HISTORY_NONE, .walk = HISTORY_NONE };
	if (history->full)
		verdict = give_up(linear, LINEAR_UNDECIDED, NULL,
				  "the history was full before its end; open it larger");
	else if (linear_ops_load(&linear->ops, history))
		verdict = give_up(linear, LINEAR_UNDECIDED, NULL, "no memory for the check");
	for (uint32_t key = 0; key < history->keys && verdict == LINEAR_GOOD; key++) {
		linear->report.key = key;
		linear_ops_of(&linear->ops, history, key);
		verdict = check_key(linear);
	}
	if (report_out)
		*report_out = linear->report;
	return verdict;
}

int linear_open(uint32_t configs_max, struct linear **linear_out)
{
	struct linear *linear = calloc(1, sizeof(*linear));
	size_t heads = 64;

	if (!linear)
		return -ENOMEM;
	while (heads < configs_max)
		heads *= 2;
	linear->configs_max = configs_max;
	linear->heads_mask = (uint32_t)heads - 1;
	linear->now.config = calloc(configs_max, sizeof(*linear->now.config));
	linear->made.config = calloc(configs_max, sizeof(*linear->made.config));
	linear->head = calloc(heads, sizeof(*linear->head));
	linear->stamp = calloc(heads, sizeof(*linear->stamp));
	if (!linear->now.config || !linear->made.config || !linear->head || !linear->stamp) {
		linear_close(linear);
		return -ENOMEM;
	}
	*linear_out = linear;
	return 0;
}

void linear_close(struct linear *linear)
{
	if (!linear)
		return;
	free(linear->now.config);
	free(linear->made.config);
	free(linear->head);
	free(linear->stamp);
	linear_ops_free(&linear->ops);
	free(linear);
}
