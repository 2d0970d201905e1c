/* SPDX-License-Identifier: MIT */
/*
 * The allocator alone: remote memory under a lease of its own, read and written one-sidedly.
 *
 * A `struct ptn_memory` is one lease on one range, used through the worker that made it. When the
 * lease ends - released, expired, revoked, or its owner died - the node takes the right away first and
 * then frees the memory, so nobody can reach memory that has become somebody else's.
 *
 * Deadlines are counted on this process' own clock from before the request was sent; no access is
 * started that could land after the deadline (PTN_E_LEASE_EXPIRED instead).
 */
#ifndef PATRONUS_MEMORY_H
#define PATRONUS_MEMORY_H

#include <patronus/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ptn_memory;

enum ptn_rights {
	PTN_READ = 1,
	PTN_WRITE = 2,
	PTN_ATOMIC = 4
};

/*
 * A range of remote memory, to tell another client. Whoever has all of it can acquire the memory; nobody can guess
 * the secret. Parts of the memory: add to addr.
 */
struct ptn_address {
	uint32_t node; /* index in the client's list of nodes */
	uint32_t reserved;
	uint64_t addr;
	uint64_t secret; /* of the allocation */
};

/*
 * Allocate `len_bytes` (1 B to 1 GiB, zeroed) on `node` and hold it with all rights for `term_ns`
 * (100 us to the node's maximum).
 * Errors: -EINVAL, -ENOMEM the node is full, -EDQUOT, PTN_E_QUOTA no lease or window is left, PTN_E_NODE_FULL the
 * node's card has no window left, PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN, -ETIMEDOUT.
 */
PTN_API int ptn_memory_alloc(struct ptn_worker *worker, unsigned node, uint64_t len_bytes,
			     uint64_t term_ns, struct ptn_memory **memory_out);
/*
 * A lease on memory that exists: allocated by this or another session and kept (ptn_memory_release)
 * or still held by it. Ends do not free the memory. Errors: -ENOENT nothing with that secret is there;
 * PTN_E_LEASE_CONFLICT it is on offer (below); PTN_E_QUOTA; -EINVAL.
 */
PTN_API int ptn_memory_acquire(struct ptn_worker *worker, struct ptn_address address,
			       uint64_t len_bytes, unsigned rights, uint64_t term_ns,
			       struct ptn_memory **memory_out);

/*
 * One round trip each for up to 64 KiB; more goes in pieces of that, not at one moment. *old_out is the word before.
 * Errors: -ERANGE outside; -EACCES a right that was not asked for; -EINVAL cas and faa need 8-byte
 * alignment; PTN_E_LEASE_EXPIRED the term is over; PTN_E_LEASE_REVOKED the node ended the lease before
 * that, because the memory was freed or its owner's session ended: acquiring it again will not help.
 */
PTN_API int ptn_memory_read(struct ptn_memory *memory, uint64_t offset, void *buffer,
			    size_t len_bytes);
PTN_API int ptn_memory_write(struct ptn_memory *memory, uint64_t offset, const void *buffer,
			     size_t len_bytes);
PTN_API int ptn_memory_cas(struct ptn_memory *memory, uint64_t offset, uint64_t expected,
			   uint64_t desired, uint64_t *old_out);
PTN_API int ptn_memory_faa(struct ptn_memory *memory, uint64_t offset, uint64_t add,
			   uint64_t *old_out);

/* Prolong one-sidedly (one CAS; no node CPU) so that at least `term_ns` is left. PTN_E_LEASE_EXPIRED or
 * PTN_E_LEASE_REVOKED when the node had closed the lease: then nothing was prolonged. PTN_E_LEASE_LIMIT beyond the
 * node's maximum, counted from the grant: the lease goes on as it was. */
PTN_API int ptn_memory_extend(struct ptn_memory *memory, uint64_t term_ns);
PTN_API uint64_t ptn_memory_remaining_ns(const struct ptn_memory *memory);
PTN_API struct ptn_address ptn_memory_address(const struct ptn_memory *memory);
PTN_API uint64_t ptn_memory_length(const struct ptn_memory *memory);

/*
 * Hand-over: give the memory away, so that exactly one other client can have it.
 *
 *   giver:  ptn_memory_give(memory, term, &ticket) ── ticket, by any private channel ──► receiver:
 *                                                   ptn_memory_claim(worker, &ticket, term, &memory)
 *
 * The ticket is plain bytes; whoever has it can claim the memory, once, and nobody can guess it. When it is
 * told, the giver's right and every other lease on the memory have ended: nothing that was begun under them
 * can land any more, and what the receiver reads is what they wrote last. Until the claim the memory still
 * counts as the giver's; afterwards it is the receiver's as if allocated by it: its quota, its lease with
 * all rights, freed when that ends.
 * Deaths: if the offer is not claimed within its term, or the giver's session ends before it is, the
 * memory is freed. After the claim the giver no longer matters. The node's end ends everything.
 * Taking it back: until the claim, ptn_memory_free on another handle that the giver's session has on the memory
 * withdraws the offer and frees it; the ticket is worth nothing then. After the claim that is -EPERM.
 * Others can still ptn_memory_acquire by address before and after, not while it is on offer.
 */
struct ptn_ticket {
	uint32_t node; /* index in the list of nodes of whoever uses it: the receiver sets its own */
	uint32_t reserved;
	uint64_t word[4];
};
/*
 * `term_ns` (100 us to the node's maximum): how long the offer stands. 0: the handle is gone; else it is as
 * before, still to be released or freed.
 * Errors: -EINVAL; -EPERM another session's memory; -EBUSY given already; -ENOENT freed meanwhile; PTN_E_QUOTA
 * no lease left for the offer; PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN, -ETIMEDOUT: given or not, and nobody
 * has the ticket, so the memory is freed at the end of the term.
 */
PTN_API int ptn_memory_give(struct ptn_memory *memory, uint64_t term_ns,
			    struct ptn_ticket *ticket_out);
/*
 * Errors: -ENOENT no such offer: claimed, out of time, taken back, or its giver is gone; -EIO the node's card
 * could not grant the window: the offer is gone and the memory freed; -EDQUOT and PTN_E_QUOTA leave
 * the offer as it was, as does -EINVAL; PTN_E_SESSION_FENCED, PTN_E_NODE_DOWN, -ETIMEDOUT: claimed or not,
 * if it was it is freed at the end of `term_ns`.
 */
PTN_API int ptn_memory_claim(struct ptn_worker *worker, const struct ptn_ticket *ticket,
			     uint64_t term_ns, struct ptn_memory **memory_out);

/* End the lease now. release: the memory stays allocated (until this session ends); free: it goes back to the node.
 * Both free the handle, whatever they return; 0 also when the lease had ended before. free, of another session's
 * memory: -EPERM, only the own lease has ended. */
PTN_API int ptn_memory_release(struct ptn_memory *memory);
PTN_API int ptn_memory_free(struct ptn_memory *memory);

#ifdef __cplusplus
}
#endif
#endif
