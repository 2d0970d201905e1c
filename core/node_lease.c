/* SPDX-License-Identifier: MIT */
#include "core/node_lease.h"

#include "core/base/log.h"
#include "core/base/planted.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>

static void close_done(struct ptni_manager_op *op, int status, uint64_t old);
static void expired(struct ptni_wheel *wheel, struct ptni_wheel_node *timer);

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t mul_sat(uint64_t a, uint64_t b)
{
	uint64_t product;

	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX / 4 : product;
}

static bool is_own(const struct ptni_node_lease *lease)
{
	return lease == lease->session->lease;
}

static uint64_t later(uint64_t from_ns, uint64_t span_ns)
{
	return from_ns + (span_ns < UINT64_MAX / 4 ? span_ns : UINT64_MAX / 4) + PTNI_GUARD_NS;
}

/*
 * What this word buys, seen now. The client takes the drift of the clocks off its own deadline, so
 * none is added here. An ordinary lease is capped from its grant. The session's own may last for
 * ever, but each change is worth one term and a rounding, however many units it has.
 */
static uint64_t deadline_of(const struct ptni_node_lease *lease, uint64_t word, uint64_t now_ns)
{
	uint64_t term_max_ns = lease->session->node->options.term_max_ns;
	uint64_t span_ns = mul_sat(ptni_lease_word_units(word), lease->unit_ns);
	uint64_t cap_ns;

	if (!is_own(lease))
		return later(lease->granted_ns, span_ns < term_max_ns ? span_ns : term_max_ns);
	cap_ns = later(now_ns, mul_sat(PTNI_TERM_UNITS + 2, lease->unit_ns));
	span_ns = later(lease->granted_ns, span_ns);
	return span_ns < cap_ns ? span_ns : cap_ns;
}

/* --- the word ----------------------------------------------------------------------------------- */

static uint64_t word_read(const struct ptni_lease_slot *slot)
{
	return __atomic_load_n(&slot->session->page->lease[slot->index], __ATOMIC_ACQUIRE);
}

static bool word_is_ours(uint64_t word, uint32_t generation)
{
	return ptni_lease_word_generation(word) == generation && !(word & PTNI_LEASE_CLOSED);
}

static void word_change(struct ptni_lease_slot *slot, uint64_t expected, uint64_t desired,
			void (*done)(struct ptni_manager_op *op, int status, uint64_t old))
{
	slot->busy = true;
	slot->op = (struct ptni_manager_op){
		.session = slot->session,
		.kind = PTNI_MANAGER_CAS,
		.addr = (uint64_t)(uintptr_t)&slot->session->page->lease[slot->index],
		.expected = expected,
		.desired = desired,
		.done = done,
	};
	ptni_node_session_ref(slot->session);
	ptni_manager_submit(slot->session->node, &slot->op);
}

/* Did it change from expected to desired? Unknown outcomes are settled by what stands there now. */
static bool word_changed(struct ptni_lease_slot *slot, int status, uint64_t old)
{
	slot->busy = false;
	ptni_node_session_unref(slot->session);
	return status ? word_read(slot) == slot->op.desired : old == slot->op.expected;
}

static void slot_free(struct ptni_lease_slot *slot)
{
	if (slot->prepared && !slot->lease)
		cds_list_add_tail(&slot->link, &slot->session->slots_free);
}

static void prepare_done(struct ptni_manager_op *op, int status, uint64_t old);

/* The next generation's word; afterwards nobody can take the slot for what it was. */
static void slot_prepare(struct ptni_lease_slot *slot)
{
	word_change(slot, word_read(slot), ptni_lease_word(slot->generation + 1, PTNI_TERM_UNITS),
		    prepare_done);
}

static void prepare_done(struct ptni_manager_op *op, int status, uint64_t old)
{
	struct ptni_lease_slot *slot = caa_container_of(op, struct ptni_lease_slot, op);

	if (word_changed(slot, status, old)) {
		slot->generation = ptni_lease_word_generation(slot->op.desired);
		slot->prepared = true;
		slot_free(slot);
	} else if (slot->session->state == PTNI_SESSION_OPEN && ++slot->tries < PTNI_CLOSE_TRIES) {
		slot_prepare(slot);
	} /* else: who plays with closed words has one lease less */
}

/* --- the end of a lease --------------------------------------------------------------------------- */

static void lease_finish(struct ptni_node_lease *lease)
{
	if (lease->state != PTNI_LEASE_TAKING || lease->window_count)
		return;
	lease->state = PTNI_LEASE_ENDED;
	cds_list_add_tail(&lease->ended_link, &lease->session->node->leases_ended);
}

void ptni_node_lease_window_gone(struct ptni_node_lease *lease)
{
	lease_finish(lease);
}

/* A courtesy to the worker that uses it. */
static void revoked_tell(struct ptni_node_lease *lease)
{
	struct ptni_node_window *window;
	struct ptni_revoked *revoked = NULL;

	if (cds_list_empty(&lease->windows) || !lease->slot)
		return;
	window = cds_list_first_entry(&lease->windows, struct ptni_node_window, lease_link);
	for (int i = 0; i < PTNI_LANES_MAX && !revoked; i++)
		if (window->worker->lane[i])
			revoked = (void *)ptni_node_lane_push(window->worker->lane[i],
							      PTNI_OP_REVOKED, sizeof(*revoked));
	if (!revoked)
		return;
	revoked->head.status = PTN_E_LEASE_REVOKED;
	revoked->index = lease->slot->index;
	revoked->generation = lease->generation;
}

static void windows_take(struct ptni_node_lease *lease)
{
	struct ptni_node_window *window, *next;

	lease->window_count++;
	cds_list_for_each_entry_safe(window, next, &lease->windows, lease_link)
		ptni_node_window_withdraw(window);
	lease->window_count--;
}

/* No extension can succeed any more (or none counts): take the windows. */
static void lease_take(struct ptni_node_lease *lease)
{
	struct ptni_node_session *session = lease->session;

	ptni_wheel_cancel(&session->node->wheel, &lease->timer);
	if (is_own(lease)) {
		lease->state = PTNI_LEASE_ENDED;
		ptni_node_session_fence(session, PTN_E_SESSION_FENCED);
		return;
	}
	if (lease->how == PTNI_LEASE_EXPIRED)
		session->node->info.expirations++;
	if (lease->how == PTNI_LEASE_REVOKED) {
		session->node->info.revocations++;
		revoked_tell(lease);
	}
	if (ptni_planted(PTNI_BUG_LEASE_TIMER))
		ptni_planted_keep(lease->slot, lease->deadline_ns);
	lease->state = PTNI_LEASE_TAKING;
	windows_take(lease);
	if (lease->slot && session->state == PTNI_SESSION_OPEN && !lease->slot->busy)
		slot_prepare(lease->slot);
	lease_finish(lease);
}

static void word_close(struct ptni_node_lease *lease, uint64_t word)
{
	word_change(lease->slot, word, word | PTNI_LEASE_CLOSED, close_done);
}

/* The session's own word is looked at every unit, so that a change counts from soon after it. */
static void timer_arm(struct ptni_node_lease *lease, uint64_t now_ns)
{
	uint64_t look_ns = lease->deadline_ns;

	if (is_own(lease) && look_ns > now_ns + lease->unit_ns)
		look_ns = now_ns + lease->unit_ns;
	ptni_wheel_add(&lease->session->node->wheel, &lease->timer, look_ns, expired);
}

/* There is time left, by the word as it stands: true, and the timer runs again. */
static bool word_extends(struct ptni_node_lease *lease, uint64_t word)
{
	uint64_t now_ns = ptni_node_clock_ns(lease->session->node);

	if (word_is_ours(word, lease->generation) && word != lease->word_seen) {
		lease->deadline_ns = deadline_of(lease, word, now_ns);
		lease->word_seen = word;
	}
	if (lease->deadline_ns <= now_ns)
		return false;
	lease->state = PTNI_LEASE_OPEN;
	timer_arm(lease, now_ns);
	return true;
}

static void close_lost(struct ptni_node_lease *lease)
{
	uint64_t word = word_read(lease->slot);

	if (!lease->firm && word_extends(lease, word))
		return;
	if (++lease->slot->tries < PTNI_CLOSE_TRIES) {
		word_close(lease, word);
		return;
	}
	PTNI_LOG(WARN, core, "session %u: lease word %u keeps changing, closed without it",
		 lease->session->id, lease->slot->index);
	lease_take(lease);
}

static void close_done(struct ptni_manager_op *op, int status, uint64_t old)
{
	struct ptni_lease_slot *slot = caa_container_of(op, struct ptni_lease_slot, op);
	bool changed = word_changed(slot, status, old);
	struct ptni_node_lease *lease = slot->lease;

	if (!lease || lease->state != PTNI_LEASE_CLOSING)
		return; /* the session was fenced meanwhile */
	if (changed || ptni_planted(PTNI_BUG_LEASE_OVERWRITTEN))
		lease_take(lease);
	else
		close_lost(lease);
}

static void lease_end(struct ptni_node_lease *lease, enum ptni_lease_end how, bool firm,
		      uint32_t flags)
{
	if (lease->state == PTNI_LEASE_CLOSING && !lease->firm && firm) {
		lease->firm = true;
		lease->how = how;
		lease->release_flags = flags;
	}
	if (lease->state != PTNI_LEASE_OPEN)
		return;
	lease->state = PTNI_LEASE_CLOSING;
	lease->firm = firm;
	lease->how = how;
	lease->release_flags = flags;
	ptni_wheel_cancel(&lease->session->node->wheel, &lease->timer);
	if (!lease->slot) {
		lease_take(lease);
		return;
	}
	lease->slot->tries = 0;
	word_close(lease, word_read(lease->slot));
}

static void expired(struct ptni_wheel *wheel, struct ptni_wheel_node *timer)
{
	struct ptni_node_lease *lease = caa_container_of(timer, struct ptni_node_lease, timer);

	if (!word_extends(lease, word_read(lease->slot)))
		lease_end(lease, PTNI_LEASE_EXPIRED, false, 0);
}

void ptni_lease_close(struct ptni_node_lease *lease, enum ptni_lease_end how)
{
	lease_end(lease, how, true, 0);
}

void ptni_node_leases_fence(struct ptni_node_session *session)
{
	struct ptni_node_lease *lease;

	ptni_wheel_cancel(&session->node->wheel, &session->lease->timer);
	session->lease->state = PTNI_LEASE_ENDED;
	cds_list_for_each_entry(lease, &session->leases, link) {
		if (lease->state >= PTNI_LEASE_TAKING)
			continue;
		if (lease->state == PTNI_LEASE_OPEN || !lease->firm)
			lease->how = PTNI_LEASE_FENCED;
		lease_take(lease);
	}
}

static void releases_answer(struct ptni_node_lease *lease)
{
	int status = lease->how == PTNI_LEASE_RELEASED ? 0 :
		     lease->how == PTNI_LEASE_REVOKED  ? PTN_E_LEASE_REVOKED :
							 PTN_E_LEASE_EXPIRED;

	while (!cds_list_empty(&lease->releases)) {
		struct ptni_node_call *call =
			cds_list_first_entry(&lease->releases, struct ptni_node_call, waiting);

		cds_list_del_init(&call->waiting);
		ptni_node_call_answer(call, status, NULL, sizeof(struct ptni_message));
	}
}

int ptni_node_leases_run(struct ptn_node *node)
{
	int count = 0;

	for (; !cds_list_empty(&node->leases_ended); count++) {
		struct ptni_node_lease *lease = cds_list_first_entry(
			&node->leases_ended, struct ptni_node_lease, ended_link);
		struct ptni_node_session *session = lease->session;

		cds_list_del(&lease->ended_link);
		cds_list_del(&lease->link);
		session->lease_count--;
		node->info.leases--;
		if (lease->slot) {
			lease->slot->lease = NULL;
			slot_free(lease->slot);
		}
		if (lease->ended)
			lease->ended(lease->arg, lease->how, lease->release_flags);
		releases_answer(lease);
		free(lease);
		ptni_node_session_check(session);
	}
	return count;
}

void ptni_node_lease_release_call(struct ptni_node_call *call,
				  const struct ptni_lease_release *message)
{
	struct ptni_node_session *session = call->origin->session;
	struct ptni_node_lease *lease;

	if (!message->index || message->index > session->node->options.session_leases_max) {
		ptni_node_call_answer(call, PTN_E_LEASE_UNKNOWN, NULL, sizeof(message->head));
		return;
	}
	lease = session->slots[message->index].lease;
	if (!lease || lease->generation != message->generation) {
		ptni_node_call_answer(call, PTN_E_LEASE_EXPIRED, NULL, sizeof(message->head));
		return;
	}
	cds_list_add_tail(&call->waiting, &lease->releases);
	lease_end(lease, PTNI_LEASE_RELEASED, true, message->flags);
}

/* --- the beginning ---------------------------------------------------------------------------------- */

static int lease_make(struct ptni_node_session *session, uint64_t term_ns,
		      struct ptni_lease_slot *slot, struct ptni_node_lease **lease_out)
{
	struct ptni_node_lease *lease = calloc(1, sizeof(*lease));

	if (!lease)
		return -ENOMEM;
	lease->session = session;
	lease->unit_ns = (term_ns + PTNI_TERM_UNITS - 1) / PTNI_TERM_UNITS;
	lease->granted_ns = ptni_node_clock_ns(session->node);
	CDS_INIT_LIST_HEAD(&lease->windows);
	CDS_INIT_LIST_HEAD(&lease->releases);
	*lease_out = lease;
	if (!slot)
		return 0;
	lease->slot = slot;
	lease->generation = slot->generation;
	lease->word_seen = ptni_lease_word(slot->generation, PTNI_TERM_UNITS);
	slot->lease = lease;
	slot->tries = 0;
	slot->prepared = false;
	return 0;
}

static uint64_t term_clamp(const struct ptn_node *node, uint64_t term_ns)
{
	if (term_ns < PTNI_TERM_MIN_NS)
		term_ns = PTNI_TERM_MIN_NS;
	return term_ns < node->options.term_max_ns ? term_ns : node->options.term_max_ns;
}

int ptni_lease_open(struct ptni_node_session *session, uint64_t term_ns,
		    void (*ended)(void *arg, enum ptni_lease_end how, uint32_t release_flags),
		    void *arg, struct ptni_node_lease **lease_out)
{
	struct ptni_lease_slot *slot = NULL;
	struct ptni_node_lease *lease;
	int ret;

	if (session->state != PTNI_SESSION_OPEN)
		return PTN_E_SESSION_FENCED;
	if (term_ns ? cds_list_empty(&session->slots_free) :
		      session->lease_count >= PTNI_LEASES_MAX)
		return PTN_E_QUOTA;
	if (term_ns)
		slot = cds_list_first_entry(&session->slots_free, struct ptni_lease_slot, link);
	ret = lease_make(session, term_clamp(session->node, term_ns), slot, &lease);
	if (ret)
		return ret;
	lease->ended = ended;
	lease->arg = arg;
	cds_list_add_tail(&lease->link, &session->leases);
	session->lease_count++;
	session->node->info.leases++;
	if (slot) {
		cds_list_del_init(&slot->link);
		lease->deadline_ns = deadline_of(lease, lease->word_seen, lease->granted_ns);
		if (ptni_planted(PTNI_BUG_LEASE_TIMER) &&
		    ptni_planted_kept(slot) > lease->granted_ns)
			lease->deadline_ns = ptni_planted_kept(slot);
		timer_arm(lease, lease->granted_ns);
	}
	*lease_out = lease;
	return 0;
}

void ptni_lease_describe(const struct ptni_node_lease *lease, struct ptni_lease_grant *grant_out)
{
	*grant_out = (struct ptni_lease_grant){ 0 };
	if (!lease->slot)
		return;
	grant_out->index = lease->slot->index;
	grant_out->generation = lease->generation;
	grant_out->unit_ns = lease->unit_ns;
	grant_out->units = PTNI_TERM_UNITS;
}

int ptni_node_leases_init(struct ptni_node_session *session)
{
	uint32_t count = session->node->options.session_leases_max + 1;
	int ret;

	session->slots = calloc(count, sizeof(*session->slots));
	if (!session->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		struct ptni_lease_slot *slot = &session->slots[i];

		slot->session = session;
		slot->index = i;
		slot->generation = 1;
		slot->prepared = true;
		session->page->lease[i] = ptni_lease_word(1, PTNI_TERM_UNITS);
		CDS_INIT_LIST_HEAD(&slot->link);
		if (i)
			cds_list_add_tail(&slot->link, &session->slots_free);
	}
	ret = lease_make(session, session->term_ns, &session->slots[0], &session->lease);
	if (ret)
		return ret;
	session->lease->deadline_ns =
		deadline_of(session->lease, session->lease->word_seen, session->lease->granted_ns);
	timer_arm(session->lease, session->lease->granted_ns);
	return 0;
}

int ptni_lease_withdraw(struct ptni_node_lease *lease, uint64_t addr, uint64_t len_bytes,
			void (*done)(void *arg), void *arg)
{
	struct ptni_withdrawal *withdrawal;
	struct ptni_node_window *window;
	int ret = ptni_node_withdrawal_open(lease->session->node, done, arg, &withdrawal);

	if (ret)
		return ret;
	cds_list_for_each_entry(window, &lease->windows, lease_link) {
		if (window->addr >= addr + len_bytes || addr >= window->addr + window->len_bytes)
			continue;
		ret = ptni_node_withdrawal_add(withdrawal, window);
		if (ret) {
			ptni_node_withdrawal_abandon(withdrawal);
			return ret;
		}
	}
	ptni_node_withdrawal_start(withdrawal);
	return 0;
}
