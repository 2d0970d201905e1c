/* SPDX-License-Identifier: MIT */
/*
 * Planted bugs: known faults of published systems, put back in so that the tests can show that they would
 * find them. A build with -DPTN_PLANTED=ON carries all of them and runs with at most one at a time, chosen by
 * ptni_plant() or by the environment variable PTN_PLANT=name. In every other build ptni_planted() is the
 * constant false and nothing of it is left in the code (tests/check-unplanted).
 *
 * Each bug: its name; what is done wrong; the class of system in which it was seen.
 */
#ifndef PTNI_PLANTED_H
#define PTNI_PLANTED_H

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define PTNI_BUGS(X) \
	/* growing */ \
	X(SPLIT_INSERT, "split-insert", \
	  "freeze skips empty slots: an insert after the snapshot is lost", \
	  "RACE tables that write headers after reading the items") \
	X(SPLIT_UPDATE, "split-update", \
	  "an update that the freeze meets is dropped with its key", \
	  "RACE tables that remove the new copy when the old slot changed") \
	X(SPLIT_STALE, "split-stale", \
	  "an update that the freeze meets is undone: the child keeps the old word", \
	  "RACE tables that ignore a failed clear of the old slot") \
	X(SPLIT_TENTATIVE, "split-tentative", \
	  "the split takes a slot that was only reserved along as if committed", \
	  "tables without a commit step") \
	X(SPLIT_SPILLED, "split-spilled", \
	  "the children's headers forget that keys live in their second bucket", \
	  "tables that rebuild headers without the items") \
	X(SPLIT_UNHELPED, "split-unhelped", \
	  "nobody continues a split whose client died", \
	  "split locks without owner or end") \
	X(DIRECTORY_CHANGES, "directory-changes", \
	  "nobody is told that a subtable was replaced before it is used again", \
	  "tables that never take memory back") \
	X(DIRECTORY_RETIRE, "directory-retire", \
	  "who loses the race to replace a subtable gives it back as well", \
	  "lists without a winner of the unlink") \
	X(DIRECTORY_SHALLOW, "directory-shallow", \
	  "late news replaces a deeper entry of the directory cache", \
	  "caches without versions") \
	/* inserting */ \
	X(INSERT_BLIND, "insert-blind", \
	  "the buckets are not read again after the slot was taken: two copies of a key", \
	  "tables without a duplicate check") \
	X(INSERT_RIVAL, "insert-rival", \
	  "a rival that is still tentative is ignored", \
	  "duplicate checks that compare with their own word") \
	X(INSERT_SPILL, "insert-spill", \
	  "an insert into the second bucket does not say so in the home bucket", \
	  "tables that search one bucket only") \
	X(INSERT_SPILL_LATE, "insert-spill-late", \
	  "a key that spilled while the insert ran is not looked for", \
	  "re-reads that cover slots without headers") \
	/* reading */ \
	X(READ_TENTATIVE, "read-tentative", \
	  "readers see slots that are only reserved", \
	  "RACE: duplicates are visible until they are removed") \
	X(READ_FROZEN, "read-frozen", \
	  "a reader takes frozen buckets for current though the subtable was replaced", \
	  "readers without a look at the new table") \
	X(READ_FROZEN_HINT, "read-frozen-hint", \
	  "the same by way of the slot cache", \
	  "address caches that are not checked") \
	X(READ_TORN, "read-torn", \
	  "a block that fails its checksum is returned (and blocks are used again at once, else none is torn)", \
	  "tables without checksum, trees that test && for ||") \
	X(READ_PREFIX, "read-prefix", \
	  "keys are compared without their length", \
	  "RACE tables that compare by the stored key's length") \
	/* changing */ \
	X(WRITE_ORDER, "write-order", \
	  "the block may land after the CAS that publishes it, as on another queue pair", \
	  "tables with one queue pair for blocks") \
	X(WRITE_FROZEN, "write-frozen", \
	  "an update that meets the frozen word counts as overwritten", \
	  "updates absorbed by a migration") \
	X(WRITE_BLIND, "write-blind", \
	  "a cached word that changed before the operation began counts as overwritten by its rival", \
	  "caches trusted for writes") \
	X(WRITE_UNSEEN, "write-unseen", \
	  "the word that a lost CAS met is taken for the key's though nobody looked at its block", \
	  "slots told apart by fingerprint") \
	X(WRITE_LEAK, "write-leak", \
	  "the block that an update replaced is not given back", \
	  "tables without reclamation") \
	X(WRITE_KEYLESS, "write-keyless", \
	  "a write by the slot cache does not check which key it has there", \
	  "address caches by hash alone") \
	X(WRITE_DOUBT, "write-doubt", \
	  "a write that did not happen when its lane broke counts as done", \
	  "failover that guesses") \
	X(DELETE_ONE, "delete-one", \
	  "a delete removes the copy it knew and leaves the one put in its place", \
	  "deletes that clear the first match only") \
	X(LOT_UNCHECKED, "lot-unchecked", \
	  "in a lot of writes, a CAS that lost counts as done", \
	  "batches of which only the last completion is looked at") \
	X(MOVE_ABSORBS, "move-absorbs", \
	  "a write that lost to a move of the same value counts as overwritten", \
	  "compaction that writers take for a writer") \
	X(MOVE_UNCHECKED, "move-unchecked", \
	  "a move whose CAS lost frees the old block all the same", \
	  "log cleaners that free what they have copied") \
	/* using memory again */ \
	X(REUSE_EARLY, "reuse-early", \
	  "a block is used again as soon as it is unlinked: its word comes back", \
	  "recycling allocators, slots without a version") \
	X(REUSE_CACHED, "reuse-cached", \
	  "a cached word is expected by a CAS however old it is (and versions have one bit, else it takes long)", \
	  "slots whose version is never compared") \
	X(REUSE_UNREPORTED, "reuse-unreported", \
	  "a client reports an epoch while operations from before it still run", \
	  "epochs without pins") \
	X(ADOPT_TENTATIVE, "adopt-tentative", \
	  "a dead client's reserved slot stays when its block is freed", \
	  "recovery that walks blocks and no slots") \
	X(ORPHAN_TWICE, "orphan-twice", \
	  "a chunk that a dead client left is adopted by two", \
	  "recovery that anybody begins and nobody claims") \
	X(TOLD_EARLY, "told-early", \
	  "blocks that a departing worker still held back from re-use are taken at once by whoever follows it", \
	  "allocators that hand over their lists without the readers' epochs") \
	/* leases and windows */ \
	X(LEASE_OVERWRITTEN, "lease-overwritten", \
	  "the node closes a lease over an extension that came in between, as a WRITE of the word does", \
	  "locks released by WRITE") \
	X(LEASE_TIMER, "lease-timer", \
	  "the timer of a lease that was released ends the next one of its slot", \
	  "expiry queues without generations") \
	X(LEASE_REPLY, "lease-reply", \
	  "the client counts its deadline from the reply", \
	  "leases counted by whoever hears last") \
	X(LEASE_UNCHECKED, "lease-unchecked", \
	  "an extension that lost against the close counts", \
	  "extensions whose CAS result is not looked at") \
	X(LEASE_LEAK, "lease-leak", \
	  "memory whose lease expired is never free again", \
	  "expiry that unbinds and does not free") \
	X(TICKET_TWICE, "ticket-twice", \
	  "memory that was handed over can be claimed again", \
	  "capabilities that are not used up") \
	X(WINDOW_KEY, "window-key", \
	  "a window is bound again under the key that it had", \
	  "bind requests that repeat the old key") \
	X(WINDOW_EARLY, "window-early", \
	  "what a window guards is handed on when its invalidation was posted, not completed", \
	  "windows recycled at post") \
	X(TAKE_UNFENCED, "take-unfenced", \
	  "what a client held is taken over without invalidating its windows", \
	  "lock time-outs without fencing") \
	X(DOUBT_REPEATED, "doubt-repeated", \
	  "a CAS that may have been executed is sent again on the next lane", \
	  "spare queue pairs that replay")
/* clang-format on */

enum ptni_bug {
	PTNI_BUG_NONE,
#define PTNI_BUG_ENUM(id, name, what, seen) PTNI_BUG_##id,
	PTNI_BUGS(PTNI_BUG_ENUM)
#undef PTNI_BUG_ENUM
	PTNI_BUG_COUNT
};

#ifdef PTN_PLANTED
extern enum ptni_bug ptni_planted_bug;
#define ptni_planted(bug) __builtin_expect(ptni_planted_bug == (bug), 0)
#else
#define ptni_planted(bug) false
#endif

/*
 * Only in a planted build. Run with this bug from now on, PTNI_BUG_NONE with none; what ptni_planted_keep()
 * knew is forgotten. Not while anything of the library runs.
 */
void ptni_plant(enum ptni_bug bug);
const char *ptni_planted_name(enum ptni_bug bug);
const char *ptni_planted_what(enum ptni_bug bug); /* what is done wrong */
const char *ptni_planted_seen(enum ptni_bug bug); /* in which systems */
enum ptni_bug ptni_planted_find(const char *name); /* PTNI_BUG_COUNT: there is none of that name */
/* What a bug needs to remember about an object; 0 if nothing was kept. One thread. */
void ptni_planted_keep(const void *object, uint64_t value);
uint64_t ptni_planted_kept(const void *object);

#endif
