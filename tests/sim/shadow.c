/* SPDX-License-Identifier: MIT */
#include "tests/sim/shadow.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	RIGHTS_MAX = 1 << 13,
	QPS_MAX = 1 << 13,
	PLACES = 1 << 14, /* of the tables over both */
	TEXT_BYTES = 240,
	TAG_BITS = 8,
	TAGS = 1 << TAG_BITS
};

enum right_state {
	RIGHT_NONE, /* a window that is not bound */
	RIGHT_VALID,
	RIGHT_ENDING, /* its LOCAL_INV was executed, its completion not delivered */
	RIGHT_ENDED
};

/* A region, or a window: one key at a time, told apart by the key's tag. */
struct right {
	bool window;
	enum right_state state;
	uint32_t process, key;
	uint32_t qp; /* of the window's process; 0: a region, any */
	uint32_t access;
	uint64_t addr, len;
	uint64_t since_ns, ended_ns;
	uint64_t had[TAGS / 64]; /* tags that this window was bound with */
};

struct qp {
	bool broken;
	uint32_t process, number;
	uint32_t peer, peer_qp;
	bool allowed; /* the access under way, when it began */
	uint64_t access; /* its number */
};

struct shadow {
	struct shadow_options options;
	uint32_t rights, qps, windows;
	uint64_t accesses, now_ns;
	uint16_t right_at[PLACES], qp_at[PLACES]; /* by hash: index + 1 */
	struct right right[RIGHTS_MAX];
	struct qp qp[QPS_MAX];
};

__attribute__((format(printf, 2, 3))) static void found(struct shadow *shadow, const char *format,
							...)
{
	char text[TEXT_BYTES];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	shadow->options.found(shadow->options.arg, text);
}

/* --- tables ----------------------------------------------------------------------------------------- */

static uint32_t place_of(uint32_t process, uint32_t number)
{
	uint64_t hash = ((uint64_t)process << 32 | number) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(hash >> 40) % PLACES;
}

static struct right *right_of(struct shadow *shadow, uint32_t process, uint32_t key, bool make)
{
	uint32_t at = place_of(process, key >> TAG_BITS);
	struct right *right;

	for (; shadow->right_at[at]; at = (at + 1) % PLACES) {
		right = &shadow->right[shadow->right_at[at] - 1];
		if (right->process == process && right->key >> TAG_BITS == key >> TAG_BITS)
			return right;
	}
	if (!make)
		return NULL;
	if (shadow->rights == RIGHTS_MAX) {
		found(shadow, "the shadow map has no room for more keys");
		return NULL;
	}
	right = &shadow->right[shadow->rights++];
	shadow->right_at[at] = (uint16_t)shadow->rights;
	right->process = process;
	right->key = key;
	return right;
}

static struct qp *qp_of(struct shadow *shadow, uint32_t process, uint32_t number)
{
	uint32_t at = place_of(process, number);
	struct qp *qp;

	for (; shadow->qp_at[at]; at = (at + 1) % PLACES) {
		qp = &shadow->qp[shadow->qp_at[at] - 1];
		if (qp->process == process && qp->number == number)
			return qp;
	}
	if (shadow->qps == QPS_MAX) {
		found(shadow, "the shadow map has no room for more queue pairs");
		return &shadow->qp[0];
	}
	qp = &shadow->qp[shadow->qps++];
	shadow->qp_at[at] = (uint16_t)shadow->qps;
	qp->process = process;
	qp->number = number;
	return qp;
}

/* --- rights --------------------------------------------------------------------------------------------- */

static void end(struct shadow *shadow, struct right *right)
{
	if (right->window && (right->state == RIGHT_VALID || right->state == RIGHT_ENDING))
		shadow->windows--;
	right->state = RIGHT_ENDED;
	right->ended_ns = shadow->now_ns;
}

static void region_open(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct right *right = right_of(shadow, event->process, event->key, true);

	if (!right)
		return;
	*right = (struct right){ .state = RIGHT_VALID,
				 .process = event->process,
				 .key = event->key,
				 .access = event->access,
				 .addr = event->addr,
				 .len = event->len,
				 .since_ns = event->now_ns };
}

static void window_open(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct right *right = right_of(shadow, event->process, event->key, true);

	if (right)
		*right = (struct right){ .window = true,
					 .process = event->process,
					 .key = event->key };
}

static void close_key(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct right *right = right_of(shadow, event->process, event->key, false);

	if (right)
		end(shadow, right);
}

static bool overlap(const struct right *right, uint64_t addr, uint64_t len)
{
	return right->addr < addr + len && addr < right->addr + right->len;
}

static bool is_held(const struct right *right)
{
	return right->window && (right->state == RIGHT_VALID || right->state == RIGHT_ENDING);
}

/* S5 */
static void check_writers(struct shadow *shadow, const struct right *mine)
{
	uint32_t holder = qp_of(shadow, mine->process, mine->qp)->peer;

	if (!(mine->access & IBV_ACCESS_REMOTE_WRITE) || shadow->options.writers_shared)
		return;
	for (uint32_t i = 0; i < shadow->rights; i++) {
		const struct right *other = &shadow->right[i];

		if (!is_held(other) || other == mine || other->process != mine->process ||
		    !(other->access & IBV_ACCESS_REMOTE_WRITE) ||
		    !overlap(other, mine->addr, mine->len) ||
		    qp_of(shadow, other->process, other->qp)->peer == holder)
			continue;
		found(shadow,
		      "S5: %#" PRIx64 "+%" PRIu64
		      " becomes writable by process %u while process %u "
		      "can write there (keys %#x, %#x)",
		      mine->addr, mine->len, holder, qp_of(shadow, other->process, other->qp)->peer,
		      mine->key, other->key);
		return;
	}
}

static void bind(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct right *right = right_of(shadow, event->process, event->key, true);
	uint32_t tag = event->key % TAGS;

	if (!right || event->status != IBV_WC_SUCCESS)
		return;
	if (!right->window)
		found(shadow, "S4: process %u binds key %#x, which is no window's", event->process,
		      event->key);
	if (is_held(right))
		found(shadow, "S4: a window is bound with key %#x while key %#x is valid",
		      event->key, right->key);
	else
		shadow->windows++;
	if (right->had[tag / 64] >> (tag % 64) & 1)
		found(shadow, "S4: a window is bound with key %#x for the second time", event->key);
	right->had[tag / 64] |= UINT64_C(1) << (tag % 64);
	right->window = true;
	right->key = event->key;
	right->qp = event->qp;
	right->access = event->access;
	right->addr = event->addr;
	right->len = event->len;
	right->state = RIGHT_VALID;
	right->since_ns = event->now_ns;
	check_writers(shadow, right);
}

/* LOCAL_INV names a key of its own process; a SEND_WITH_INV one of the peer's. */
static void invalidate(struct shadow *shadow, const struct ptni_sim_event *event, bool done)
{
	bool remote = event->opcode == IBV_WR_SEND_WITH_INV;
	struct right *right =
		right_of(shadow, remote ? event->peer : event->process, event->key, false);

	if (!right || event->status != IBV_WC_SUCCESS || right->key != event->key)
		return;
	if (done)
		end(shadow, right);
	else if (right->state == RIGHT_VALID)
		right->state = RIGHT_ENDING;
}

/* Windows bound to a queue pair that is closed or reset have ended with it. */
static void qp_ends(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct qp *qp = qp_of(shadow, event->process, event->qp);

	qp->broken = true;
	for (uint32_t i = 0; event->kind == PTNI_SIM_QP_CLOSE && i < shadow->rights; i++) {
		struct right *right = &shadow->right[i];

		if (is_held(right) && right->process == event->process && right->qp == event->qp)
			end(shadow, right);
	}
}

static void connect(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct qp *qp = qp_of(shadow, event->process, event->qp);

	qp->broken = false;
	qp->peer = event->peer;
	qp->peer_qp = event->peer_qp;
}

/* --- accesses ------------------------------------------------------------------------------------------- */

static uint32_t right_needed(const struct ptni_sim_event *event)
{
	if (event->kind == PTNI_SIM_WRITEBACK)
		return IBV_ACCESS_REMOTE_ATOMIC;
	switch (event->opcode) {
	case IBV_WR_RDMA_READ:
		return IBV_ACCESS_REMOTE_READ;
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return IBV_ACCESS_REMOTE_WRITE;
	default:
		return IBV_ACCESS_REMOTE_ATOMIC;
	}
}

static const char *access_name(const struct ptni_sim_event *event)
{
	if (event->kind == PTNI_SIM_WRITEBACK)
		return "a late write of a failed CAS";
	switch (event->opcode) {
	case IBV_WR_RDMA_READ:
		return "a READ";
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM:
		return "a WRITE";
	default:
		return "an atomic";
	}
}

/* Why the access is not allowed (S1, S2), NULL if it is. `firm`: not by a right that is just ending. */
static const char *objection(struct shadow *shadow, const struct ptni_sim_event *event, bool firm)
{
	const struct right *right = right_of(shadow, event->peer, event->key, false);

	if (qp_of(shadow, event->peer, event->peer_qp)->broken)
		return "S2: over a queue pair that the other end had broken";
	if (!right || right->state == RIGHT_NONE)
		return "S1: by a key that was never given";
	if (right->key != event->key)
		return right->had[event->key % TAGS / 64] >> (event->key % 64) & 1 ?
			       "S2: by a key that was taken back long ago" :
			       "S1: by a key that was never given";
	if (right->state == RIGHT_ENDED || (firm && right->state == RIGHT_ENDING))
		return "S2: by a key that was taken back";
	if (event->addr < right->addr || event->addr + event->len > right->addr + right->len)
		return "S1: outside of the key's range";
	if (!(right->access & right_needed(event)))
		return "S1: without the right";
	if (right->qp && right->qp != event->peer_qp)
		return "S1: over a queue pair that the window is not bound to";
	if (!right->window && event->process != event->peer && !shadow->options.regions_open)
		return "S1: by the key of a whole region";
	return NULL;
}

static void describe(struct shadow *shadow, const struct ptni_sim_event *event, const char *what,
		     const char *why)
{
	const struct right *right = right_of(shadow, event->peer, event->key, false);

	found(shadow,
	      "%s: %s of %#" PRIx64 "+%" PRIu64
	      " at process %u by process %u, key %#x; the map knows "
	      "%#" PRIx64 "+%" PRIu64 ", rights %#x, from %" PRIu64 " to %" PRIu64 " ns",
	      why, what, event->addr, event->len, event->peer, event->process, event->key,
	      right ? right->addr : 0, right ? right->len : 0, right ? right->access : 0,
	      right ? right->since_ns : 0,
	      right && right->state == RIGHT_ENDED ? right->ended_ns : 0);
}

static void access_begin(struct shadow *shadow, const struct ptni_sim_event *event)
{
	struct qp *qp = qp_of(shadow, event->process, event->qp);
	bool chance = shadow->options.faults && shadow->options.faults->refuse_one_in;

	qp->access = event->number;
	qp->allowed = !chance && !objection(shadow, event, true);
}

static void access_slice(struct shadow *shadow, const struct ptni_sim_event *event)
{
	const char *why = objection(shadow, event, false);

	shadow->accesses++;
	if (why)
		describe(shadow, event, access_name(event), why);
}

/* S3 */
static void access_end(struct shadow *shadow, const struct ptni_sim_event *event)
{
	const struct qp *qp = qp_of(shadow, event->process, event->qp);

	if (event->status == IBV_WC_REM_ACCESS_ERR && qp->allowed && qp->access == event->number &&
	    !objection(shadow, event, true))
		describe(shadow, event, access_name(event), "S3: refused though allowed");
}

void shadow_told(void *arg, const struct ptni_sim_event *event)
{
	struct shadow *shadow = arg;

	shadow->now_ns = event->now_ns;
	switch (event->kind) {
	case PTNI_SIM_REGION_OPEN:
		region_open(shadow, event);
		break;
	case PTNI_SIM_WINDOW_OPEN:
		window_open(shadow, event);
		break;
	case PTNI_SIM_REGION_CLOSE:
	case PTNI_SIM_WINDOW_CLOSE:
		close_key(shadow, event);
		break;
	case PTNI_SIM_QP_CONNECT:
		connect(shadow, event);
		break;
	case PTNI_SIM_QP_ERROR:
	case PTNI_SIM_QP_RESET:
	case PTNI_SIM_QP_CLOSE:
		qp_ends(shadow, event);
		break;
	case PTNI_SIM_BIND:
		bind(shadow, event);
		break;
	case PTNI_SIM_INVALIDATE_BEGIN:
	case PTNI_SIM_INVALIDATE_END:
		invalidate(shadow, event, event->kind == PTNI_SIM_INVALIDATE_END);
		break;
	case PTNI_SIM_ACCESS_BEGIN:
		access_begin(shadow, event);
		break;
	case PTNI_SIM_ACCESS_SLICE:
	case PTNI_SIM_WRITEBACK:
		access_slice(shadow, event);
		break;
	case PTNI_SIM_ACCESS_END:
		access_end(shadow, event);
		break;
	default:
		break;
	}
}

/* --- the rest ------------------------------------------------------------------------------------------- */

int shadow_open(const struct shadow_options *options, struct shadow **shadow_out)
{
	struct shadow *shadow = calloc(1, sizeof(*shadow));

	if (!shadow)
		return -ENOMEM;
	shadow->options = *options;
	*shadow_out = shadow;
	return 0;
}

void shadow_close(struct shadow *shadow)
{
	free(shadow);
}

void shadow_finish(struct shadow *shadow)
{
	for (uint32_t i = 0; i < shadow->rights; i++) {
		const struct right *right = &shadow->right[i];

		if (!is_held(right))
			continue;
		found(shadow,
		      "S6: process %u still has a window on %#" PRIx64 "+%" PRIu64
		      " of process %u, rights %#x, since %" PRIu64 " ns",
		      qp_of(shadow, right->process, right->qp)->peer, right->addr, right->len,
		      right->process, right->access, right->since_ns);
		return;
	}
}

bool shadow_connected(const struct shadow *shadow, uint32_t process, uint32_t peer)
{
	for (uint32_t i = 0; i < shadow->qps; i++) {
		const struct qp *qp = &shadow->qp[i];

		if (qp->peer_qp && !qp->broken && qp->process == process && qp->peer == peer)
			return true;
	}
	return false;
}

uint32_t shadow_windows(const struct shadow *shadow)
{
	return shadow->windows;
}

uint64_t shadow_accesses(const struct shadow *shadow)
{
	return shadow->accesses;
}
