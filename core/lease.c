/* SPDX-License-Identifier: MIT */
/*
 * Leases seen from the client. The word's law is in wire.h; here is the client's arithmetic.
 *
 *   sent                                             our deadline      node's deadline
 *    │ request ──► grant                                   │                  │
 *    ├─────────────┼─ units x unit ────────────────────────┼───── guard ──────┤
 *                                                          └─ and less drift ─┘
 *
 * 1. Our deadline is never later than the node's: we count from before the request was sent, the node from
 *    the grant, and we take off as much as the two clocks may have drifted apart since.
 * 2. An extension counts from the moment that its CAS is known to have succeeded, never before; a CAS of unknown
 *    outcome is settled by the next one, which finds either word.
 * 3. An end that came early was the node's will (PTN_E_LEASE_REVOKED): by 1 a lease that only ran out is over
 *    for us first. The node's message says it at once but may be lost; the word says it for certain.
 */
#include "core/base/planted.h"
#include "core/client.h"

#include <errno.h>

enum {
	GUARD_SHIFT = 3,
	GUARD_MAX_NS = 1000000,
	TRIES_MAX = 4,
};
#define PER_MILLION UINT64_C(1000000)
#define FAR_NS      (UINT64_MAX / 4) /* further than any clock gets */

const _Atomic uint64_t ptni_deadline_never = UINT64_MAX;

static uint64_t less_drift(uint64_t span_ns, uint32_t drift_ppm)
{
	if (span_ns > FAR_NS)
		span_ns = FAR_NS;
	return span_ns - (uint64_t)((unsigned __int128)span_ns * drift_ppm / PER_MILLION);
}

static uint64_t guard_ns(uint64_t term_ns)
{
	uint64_t guard = term_ns >> GUARD_SHIFT;

	return guard < GUARD_MAX_NS ? guard : GUARD_MAX_NS;
}

uint64_t ptni_deadline_ns(uint64_t sent_ns, uint64_t term_ns, uint32_t drift_ppm)
{
	return sent_ns + less_drift(term_ns, drift_ppm) - guard_ns(term_ns);
}

static uint64_t span_of(const struct ptni_lease *lease, uint64_t word)
{
	uint64_t span_ns;

	if (__builtin_mul_overflow(lease->unit_ns, (uint64_t)ptni_lease_word_units(word), &span_ns))
		return FAR_NS;
	return span_ns;
}

static void learn(struct ptni_lease *lease, uint64_t word, uint64_t term_ns, uint32_t drift_ppm)
{
	lease->word = word;
	atomic_store_explicit(&lease->deadline_ns,
			      lease->sent_ns + less_drift(span_of(lease, word), drift_ppm) -
				      guard_ns(term_ns),
			      memory_order_release);
}

void ptni_lease_accept(struct ptni_lease *lease, struct ptn_worker *worker, unsigned node,
		       const struct ptni_lease_grant *grant, uint64_t sent_ns)
{
	const struct ptni_welcome *welcome = &worker->client->session[node]->welcome;

	struct ptni_lease_place *place;

	lease->worker = worker;
	lease->node = (uint16_t)node;
	lease->index = grant->index;
	lease->unit_ns = grant->unit_ns;
	lease->sent_ns = ptni_planted(PTNI_BUG_LEASE_REPLY) ? ptni_worker_clock(worker) : sent_ns;
	lease->word = ptni_lease_word(grant->generation, grant->units);
	learn(lease, lease->word, span_of(lease, lease->word), welcome->drift_ppm);
	if (lease->index >= PTNI_LEASE_WORDS)
		return; /* a node that talks nonsense: it cannot be extended either */
	place = &worker->peer[node]->lease[lease->index];
	place->lease = lease;
	if (place->revoked && place->revoked == grant->generation)
		atomic_store_explicit(&lease->deadline_ns, PTNI_DEADLINE_REVOKED,
				      memory_order_release);
}

void ptni_lease_end(struct ptni_lease *lease)
{
	struct ptni_lease_place *place;

	if (!lease->worker || lease->index >= PTNI_LEASE_WORDS)
		return;
	place = &lease->worker->peer[lease->node]->lease[lease->index];
	if (place->lease == lease)
		place->lease = NULL;
	lease->worker = NULL;
}

void ptni_lease_revoked(struct ptni_peer *peer, const struct ptni_revoked *message)
{
	struct ptni_lease_place *place;

	if (!message->index || message->index >= PTNI_LEASE_WORDS)
		return;
	place = &peer->lease[message->index];
	place->revoked = message->generation;
	if (place->lease && ptni_lease_word_generation(place->lease->word) == message->generation)
		atomic_store_explicit(&place->lease->deadline_ns, PTNI_DEADLINE_REVOKED,
				      memory_order_release);
}

struct ptni_lease *ptni_lease_of_deadline(struct ptni_peer *peer,
					  const _Atomic uint64_t *deadline_ns)
{
	for (unsigned i = 0; i < PTNI_LEASE_WORDS; i++)
		if (peer->lease[i].lease && &peer->lease[i].lease->deadline_ns == deadline_ns)
			return peer->lease[i].lease;
	return NULL;
}

int ptni_lease_closed(struct ptni_lease *lease, uint64_t now_ns)
{
	uint64_t deadline_ns = atomic_load_explicit(&lease->deadline_ns, memory_order_relaxed);

	if (deadline_ns != PTNI_DEADLINE_REVOKED)
		deadline_ns = now_ns < deadline_ns ? PTNI_DEADLINE_REVOKED : PTNI_DEADLINE_ENDED;
	atomic_store_explicit(&lease->deadline_ns, deadline_ns, memory_order_release);
	return ptni_deadline_error(deadline_ns);
}

/* Units that last until term_ns from now by our careful count; UINT64_MAX when there is no such number. */
static uint64_t units_for(const struct ptni_lease *lease, uint64_t now_ns, uint64_t term_ns,
			  uint32_t drift_ppm)
{
	uint64_t unit_ns = less_drift(lease->unit_ns, drift_ppm), needed_ns;

	if (!unit_ns || __builtin_add_overflow(ptni_clock_since_ns(now_ns, lease->sent_ns), term_ns,
					       &needed_ns))
		return UINT64_MAX;
	return needed_ns / unit_ns + (needed_ns % unit_ns != 0);
}

/* One CAS; *found_out is what was there. */
static int word_cas(struct ptni_op *op, const struct ptni_lease *lease, uint64_t desired,
		    uint64_t *found_out)
{
	const struct ptni_window *page = ptni_window_page(op->worker, lease->node);
	uint64_t *old = ptni_op_buffer(op, sizeof(*old));
	struct ptni_batch batch;
	int ret;

	if (!old)
		return -ENOBUFS;
	ptni_batch_init(&batch, op, lease->node);
	ptni_batch_cas(&batch, page,
		       page->addr + offsetof(struct ptni_session_page, lease) +
			       lease->index * sizeof(uint64_t),
		       lease->word, desired, old);
	ret = ptni_batch_run(&batch);
	if (!ret)
		*found_out = *old;
	return ret;
}

static int lost(struct ptni_op *op, struct ptni_lease *lease)
{
	PTNI_COUNT(op->worker->counters, lease_extensions_failed);
	return ptni_worker_fail(op->worker, ptni_lease_closed(lease, ptni_worker_clock(op->worker)),
				"extending a lease");
}

int ptni_lease_extend(struct ptni_op *op, struct ptni_lease *lease, uint64_t term_ns)
{
	const struct ptni_welcome *welcome = &op->worker->client->session[lease->node]->welcome;
	uint32_t drift_ppm = welcome->drift_ppm,
		 generation = ptni_lease_word_generation(lease->word);

	if (lease->index >= PTNI_LEASE_WORDS)
		return -EINVAL;
	for (unsigned i = 0; i < TRIES_MAX; i++) {
		uint64_t units =
			units_for(lease, ptni_worker_clock(op->worker), term_ns, drift_ppm);
		uint64_t desired, found;
		int ret;

		if (atomic_load_explicit(&lease->deadline_ns, memory_order_relaxed) ==
		    PTNI_DEADLINE_REVOKED)
			return lost(op, lease);
		if (units <= ptni_lease_word_units(lease->word))
			return 0;
		if (units > UINT32_MAX ||
		    (lease->index && units > welcome->term_max_ns / lease->unit_ns)) {
			PTNI_COUNT(op->worker->counters, lease_extensions_failed);
			return ptni_worker_fail(op->worker, PTN_E_LEASE_LIMIT, "extending a lease");
		}
		desired = ptni_lease_word(generation, (uint32_t)units);
		ret = word_cas(op, lease, desired, &found);
		if (ret == PTN_E_OUTCOME_UNKNOWN)
			continue;
		if (ret)
			return ret;
		if ((found & PTNI_LEASE_CLOSED ||
		     ptni_lease_word_generation(found) != generation) &&
		    !ptni_planted(PTNI_BUG_LEASE_UNCHECKED))
			return lost(op, lease);
		if (atomic_load_explicit(&lease->deadline_ns, memory_order_relaxed) ==
		    PTNI_DEADLINE_REVOKED)
			return lost(op, lease); /* it came behind our CAS */
		/* Another word of ours: an extension whose outcome was not known then. */
		learn(lease, found == lease->word ? desired : found, term_ns, drift_ppm);
		if (lease->word == desired)
			PTNI_COUNT(op->worker->counters, lease_extensions);
	}
	return ptni_worker_fail(op->worker, PTN_E_CONFLICT, "extending a lease");
}
