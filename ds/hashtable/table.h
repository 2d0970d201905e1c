/* SPDX-License-Identifier: MIT */
/*
 * The hash table: how its words change, and why that is right. The bytes are drawn in layout.h.
 *
 *   root ── directory entry ──► subtable ──► slot ──► block {key, value}
 *                                  │ successor (once split)
 *                                  ├──► child 0 ── sibling ──► child 1
 *
 * A subtable is *current* while it has been published (by a directory entry or by its parent's successor
 * word) and its own successor is 0. The table's content is the set of committed slots of the current subtables.
 *
 * Steps of the operations; what stands in one pair of brackets is one doorbell and one round trip:
 *
 *   get      [READ slot, READ block] from the slot cache, or [READ a, READ b] [READ block]
 *   update   [WRITE block, CAS slot old -> new]
 *   delete   [CAS slot old -> 0]
 *   insert   [READ a, READ b] [WRITE block, CAS slot 0 -> new|T, READ a (and b)] [CAS slot new|T -> new]
 *   split    claim the split word; make room for two children; CAS every word w -> w|F; build the
 *            children from the frozen words; WRITE them; CAS successor 0 -> child 0; then
 *            [CAS entry of child 1: 0 -> child 1, CAS entry: parent -> child 0, FAA changes]; retire
 *
 * T is the tentative flag, F the frozen flag.
 *
 * Ordering
 *  H1  A key is in at most one committed slot of the current subtables. Two inserts of a key: each
 *      sets T before it reads, so the one whose T came later sees the other's T, or what became of it.
 *      It commits only after it has removed that T (then the other's commit fails), or gives way.
 *      An insert at home (a) that reads only a: an insert into b sets `spilled` in a's header before its
 *      T and reads a after it. If the home insert's read of a missed `spilled`, then that bit, and so
 *      the other's read of a, came after the home insert's T: the other one sees it. If it did not
 *      miss it, it reads b as well before it commits.
 *  H2  A frozen word never changes. Successor is set only when every word of the subtable is frozen, so
 *      a CAS on a slot that succeeds proves that the subtable was current at that moment.
 *  H3  A get that finds the key in an unfrozen slot is right at the moment when it read the slot; in a
 *      frozen one, if the successor, read after it, is 0. A get that finds nothing read every slot
 *      where the key can be; slots of a key do not move while it exists, so there was a moment
 *      without it; if any word it saw was frozen, successor, read after them, must be 0 as well.
 *  H4  An update or put whose CAS fails because the slot changed after this operation had read it is
 *      done: it took effect just before that change, which overwrote or deleted it. (The key was
 *      there at that moment, and neither update nor delete tells what it replaced.) So a write of an existing key
 *      takes two CASes at most, however many writers there are. Not so when the slot was only frozen
 *      (it moves to the child), when the expected word came from the cache (it may have changed before
 *      this operation began), when the word that is there now was put there by a move (which writes back what it
 *      read: nothing was overwritten; such words say so), and for delete.
 *  H5  The block behind a word that an operation read in its slot stays as it was until the operation
 *      ends (it is pinned; worker.h). A word expected from the cache: ptni_slot_blind_ok().
 *  H6  A subtable is unlinked by the one CAS that changes the directory entry that points at it; the winner
 *      retires it after it has counted up `changes`. The epoch hook re-reads the directory when that moved,
 *      so when the session reports an epoch no cache of it leads to what was retired before. Nobody aims at a child
 *      before the directory leads to it, so what gets a successor is in the directory, and an entry goes from a
 *      subtable to its child and nowhere else.
 *  H7  `deeper wins`: a cached entry is replaced only by one of greater depth, so late news cannot bring back an old
 *      subtable.
 *
 * Progress
 *  H8  No operation waits for another client without bound: a split whose beat stands still for
 *      PTNI_SPLIT_PATIENCE_NS, or a quarter of the waiter's time, is continued by whoever waits, a tentative
 *      slot in the way is removed after PTNI_RIVAL_PATIENCE tries. Retries back off and end with
 *      PTN_E_CONFLICT, waits with -ETIMEDOUT. Readers never wait: frozen words are read as they are.
 *
 * Crashes: "dies, or sleeps and is fenced, after this verb"
 *  H9  What was acknowledged stays; what was not is either done or not, and never half.
 *
 *   after                            what is left                           who repairs
 *   WRITE block                      a block without a slot                 adoption of its chunk
 *   CAS slot old -> new, -> 0        done; old block not retired            adoption of old block's chunk
 *   CAS a.header spilled             reads of b that find nothing           next split recomputes it
 *   CAS slot 0 -> new|T              a slot that no reader sees             a rival, a split or adoption
 *   CAS rival's T -> 0               nothing, its owner tries again         -
 *   CAS slot new|T -> new            done                                   -
 *   claim of the split word          nothing                                a waiter, see H8
 *   WRITE children, piece            blocks without a word                  adoption of their chunk
 *   some CAS w -> w|F                writers wait, readers go on            a waiter, see H8
 *   CAS successor                    split done, directory behind           whoever meets a frozen word
 *   CAS entry of child 1             the same                               the same
 *   CAS entry of child 0 / FAA       done; parent not retired               adoption of its chunk
 *   CAS piece pointer                an empty piece                         nobody needs to
 *
 *  H10 The number of blocks that a death can leave behind is bounded: two for a write (old, new; each key of a
 *      multi-update and each move is a write), three for a split (parent, two children), one piece. They are found
 *      when their chunk is adopted, or emptied (alloc/compact.c).
 *  H12 A move (move.c; many at once: scan.c) changes no content: its CAS puts a copy where the slot still had the
 *      original.
 *
 * Protection
 *  H11 Words of the table are only changed by CAS and FAA, blocks only written before a word points at them;
 *      so windows with READ|ATOMIC over extents and WRITE over own chunks are enough. What is read from
 *      remote memory is checked before it is used as an address or a length: PTN_E_CORRUPT.
 *
 * Several nodes
 *  H12 Root and directory lie on node 0, subtable i of the first ones on node i mod nodes, a child on its
 *      parent's node, a block on its slot's (R2). So a key never changes its node, and nothing ever moves between
 *      nodes: the hash spreads keys over the first subtables evenly, and each node's share grows as
 *      the table does. What makes that enough is that there is a first subtable for every node, however small
 *      the table (count_subtables), and that no share is much larger than the others.
 *  H13 A lost node costs its own keys only. While node 0 is lost to a client, its session over, that client's
 *      other nodes serve what they have: it reads and writes, but splits nothing, because what gets a
 *      successor must be in the directory (H6); what it meets split already it follows without
 *      repairing the directory, which others may do or, if the node died, nobody needs. To the other nodes it
 *      reports epochs by what the subtables themselves say (directory_check.c). A client that has lost
 *      node n only can still do harm on node 0 by its knowledge of n (R6): what it may put there are entries of
 *      children, which never change, over an entry of their parent, which never comes back (an index's
 *      entries only get deeper), and entries of first subtables, over 0, which no entry is any more once
 *      the table is made; and before, what it might enter is entered by whoever adopts it (make.c).
 */
#ifndef PTNI_HASH_TABLE_H
#define PTNI_HASH_TABLE_H

#include "alloc/space.h"
#include "core/worker.h"
#include "ds/common/block.h"
#include "ds/common/slot_cache.h"
#include "ds/hashtable/directory.h"
#include "ds/hashtable/layout.h"

#include <patronus/hash.h>

enum {
	PTNI_HASH_KIND = 1,
	PTNI_HASH_VERSION = 1,
	PTNI_SPLIT_PATIENCE_NS = 1000000,
	PTNI_RIVAL_PATIENCE = 3, /* tries before a lower-addressed tentative slot is removed */
	PTNI_CORRUPT_PATIENCE = 8, /* times that a bad checksum is read again */
	PTNI_STAGE_BYTES = 16 << 10, /* NIC memory of splits, walks and directory reads */
	PTNI_CANDIDATES_MAX = 28,
};

struct ptni_split_scratch;

/* What one worker keeps for one table. */
struct ptni_hash_worker {
	struct ptni_slot_cache cache;
	struct ptni_split_scratch *scratch;
	bool scratch_busy; /* by another fiber of the worker */
	uint32_t doubt; /* in the cache as a guide for CASes (write.c) */
	uint32_t asked; /* times that it would have been one */
};

/* A table's part on one node. */
struct ptni_hash_home {
	struct ptn_hash *hash;
	struct ptni_space *space;
	unsigned node;
};

struct ptn_hash {
	struct ptn_client *client;
	unsigned node_count;
	uint32_t groups;
	uint32_t subtable_bytes;
	unsigned subtable_class;
	uint64_t seed;
	uint64_t cache_entries;
	uint64_t root; /* address, on node 0 */
	struct ptni_directory directory;
	unsigned first_depth; /* it was made with so many subtables, as a power of two */
	bool hooked;
	unsigned answering; /* on so many nodes it says what is in use */
	_Atomic bool made; /* this client has seen its format and its directory */
	_Atomic(struct ptni_hash_worker *) worker[PTNI_WORKERS_MAX];
	struct ptni_space *space[PTNI_NODES_MAX];
	struct ptni_hash_home home[PTNI_NODES_MAX];
	uint64_t base[PTNI_NODES_MAX]; /* of the node's region: offsets count from it */
	uint64_t limit[PTNI_NODES_MAX];
};

/* NIC memory of every operation. */
struct ptni_hash_nic {
	uint64_t bucket[2][PTNI_COMBINED_WORDS];
	uint64_t head[PTNI_SUB_HEAD_WORDS];
	uint64_t word[PTNI_BATCH_MAX];
};

/*
 * One operation on the table. The subtable at which it aims may change (ptni_hash_aim, _descend); its
 * node does not, because the children of a split stay on their parent's node.
 */
struct ptni_hash_op {
	struct ptn_hash *hash;
	struct ptni_hash_worker *state;
	struct ptni_counters *counters;
	const uint8_t *key;
	size_t key_len;
	uint64_t code; /* hash of the key */
	uint64_t entry; /* of the subtable */
	uint64_t addr; /* of the subtable */
	uint64_t epoch; /* of the node, read after the operation was pinned */
	unsigned node;
	unsigned tries; /* counts towards PTN_E_CONFLICT */
	bool frozen; /* the last look at the buckets met frozen words; the subtable was current */
	struct ptni_place place;
	struct ptni_hash_nic *nic;
	uint8_t *area; /* NIC memory for blocks read */
	size_t area_len;
	uint8_t *stage;

	/* the block to be published */
	const void *value;
	size_t value_len;
	struct ptni_block block;
	uint64_t word; /* 0: none yet */
	uint8_t *image;
	bool written; /* its bytes are there */
	bool shown; /* a word has pointed at it */
	bool lost; /* a word may point at it, and nobody knows */
	bool moves; /* it is a copy of the block that it takes the place of (move.c) */

	/* other keys' words that were looked at: not asked again */
	uint64_t known[PTNI_CANDIDATES_MAX];
	unsigned known_count;

	struct ptni_op op;
	struct ptni_batch batch;
};

/* A committed slot that holds the key. */
struct ptni_found {
	uint32_t index; /* of the word in the subtable */
	uint64_t word;
	const uint8_t *block; /* in NIC memory: whole, or head and key only */
};

enum ptni_look {
	PTNI_LOOK_KEY,
	PTNI_LOOK_WHOLE
};

/* --- op.c: beginning, addresses, batches ------------------------------------------------------- */

int ptni_hash_check_key(struct ptn_worker *worker, const void *key, size_t key_len_bytes);
int ptni_hash_check_value(struct ptn_worker *worker, const void *value, size_t value_len_bytes);
/* key may be NULL: then nothing is aimed at. */
int ptni_hash_op_begin(struct ptni_hash_op *op, struct ptn_worker *worker, struct ptn_hash *hash,
		       const void *key, size_t key_len_bytes);
/* Gives back a block that was not published. */
void ptni_hash_op_end(struct ptni_hash_op *op);
void ptni_hash_drop_block(struct ptni_hash_op *op); /* the same, and the operation goes on */
void ptni_hash_aim_at(struct ptni_hash_op *op, uint64_t entry);
void ptni_hash_aim(struct ptni_hash_op *op); /* by the directory cache */
/* The same for an entry in hand: aims and takes the node's epoch. */
void ptni_hash_aim_entry(struct ptni_hash_op *op, uint64_t entry);
/* Where the key lives: on one node for ever (H12). */
unsigned ptni_hash_key_node(const struct ptn_hash *hash, const void *key, size_t key_len_bytes);
int ptni_hash_entry_addr(const struct ptni_hash_op *op, uint64_t entry, uint64_t *addr_out);
/* Address of a word's block, if the word makes sense. */
int ptni_hash_block_addr(const struct ptni_hash_op *op, uint64_t word, uint64_t *addr_out);
/* NIC memory, waiting for another operation of the worker that holds the large buffer. */
int ptni_hash_buffer(struct ptni_hash_op *op, size_t len_bytes, void **buffer_out);
int ptni_hash_area(struct ptni_hash_op *op, size_t len_bytes); /* -> op->area, at least that long */
int ptni_hash_stage(struct ptni_hash_op *op);
/* Back off before trying again; each call counts. */
int ptni_hash_retry(struct ptni_hash_op *op);
int ptni_hash_pause(struct ptni_hash_op *op, unsigned turn); /* a wait that does not count */
int ptni_hash_corrupt(struct ptni_hash_op *op, const char *where);
uint64_t ptni_hash_second(const struct ptni_hash_op *op); /* `check` of the slot cache */

int ptni_hash_window(struct ptni_hash_op *op, unsigned node, uint64_t addr, size_t len_bytes,
		     const struct ptni_window **window_out);
/* To op->batch, begun by ptni_batch_init, of node op->batch.node. */
int ptni_hash_read(struct ptni_hash_op *op, uint64_t addr, void *local, size_t len_bytes);
int ptni_hash_cas(struct ptni_hash_op *op, uint64_t addr, uint64_t expected, uint64_t desired,
		  uint64_t *old);
int ptni_hash_faa(struct ptni_hash_op *op, uint64_t addr, uint64_t add, uint64_t *old);
/* [CAS addr 0 -> word, READ addr]: *now_out is ours or whose was first. Safe under lane failures. */
int ptni_hash_set_once(struct ptni_hash_op *op, unsigned node, uint64_t addr, uint64_t word,
		       uint64_t *now_out);
static inline void ptni_hash_batch(struct ptni_hash_op *op)
{
	ptni_batch_init(&op->batch, &op->op, op->node);
}
static inline uint64_t ptni_hash_word_addr(const struct ptni_hash_op *op, uint32_t index)
{
	return op->addr + (uint64_t)index * 8;
}

/* --- lookup.c ----------------------------------------------------------------------------------- */

/* Find the key through the slot cache, else through its buckets. 0, -ENOENT, errors. */
int ptni_hash_lookup(struct ptni_hash_op *op, enum ptni_look look, struct ptni_found *found);
/* Through the buckets only. After -ENOENT nic->bucket and op->frozen are what was seen. */
int ptni_hash_find(struct ptni_hash_op *op, enum ptni_look look, struct ptni_found *found);

/* --- write.c, insert.c: -EAGAIN means look again ------------------------------------------------ */

int ptni_hash_make_block(struct ptni_hash_op *op);
int ptni_hash_publish(struct ptni_hash_op *op, const struct ptni_found *found, bool observed);
/* The CAS met another word than was expected. */
void ptni_hash_learn_changed(struct ptni_hash_op *op, const struct ptni_found *found,
			     uint64_t word);
/* A CAS went by the cache alone, in vain or not. */
void ptni_hash_doubt(struct ptni_hash_op *op, bool good);
/* The word's block will be retired if all goes well (ptni_block_retire_soon). */
void ptni_hash_retire_soon(struct ptni_hash_op *op, uint64_t word, bool again);
/* What the cache says, if a CAS may go by it alone. */
bool ptni_hash_blind(struct ptni_hash_op *op, struct ptni_found *found);
/* The CAS took place: the old block goes, the cache learns, the new block is no longer the operation's. */
int ptni_hash_published(struct ptni_hash_op *op, const struct ptni_found *found);
/* The batch with the CAS failed, and the CAS is not known to be done. -EAGAIN: it did not take place. */
int ptni_hash_publish_failed(struct ptni_hash_op *op, const struct ptni_found *found, bool observed,
			     int code);
/* After these the requests of a batch that are not known to be done may have been, or may yet be. */
bool ptni_hash_uncertain(int code);
/* A block that no word was to point at yet goes back after an error, unless a WRITE to it may yet land. */
void ptni_hash_give_back(struct ptni_hash_op *op, struct ptni_space *space,
			 const struct ptni_block *block, int code);
int ptni_hash_claim(struct ptni_hash_op *op);

/* --- part.c: several keys in one operation ------------------------------------------------------ */

struct ptni_hash_part {
	const void *key, *value;
	size_t key_len, value_len;
	uint64_t code, entry;
	struct ptni_found found; /* where its block is to be published */
	struct ptni_block block;
	uint64_t word; /* of the block; 0: it has none */
	uint8_t *image;
	unsigned cas; /* its CAS' place in the batch */
};

/* The operation becomes this part's. */
void ptni_hash_part_load(struct ptni_hash_op *op, const struct ptni_hash_part *part);
/* ptni_hash_make_block() for the part that is loaded; the block is the part's from then on. */
int ptni_hash_part_make_block(struct ptni_hash_op *op, struct ptni_hash_part *part);
/* Into op->batch: the WRITE of its block and the CAS. */
int ptni_hash_part_post(struct ptni_hash_op *op, struct ptni_hash_part *part, uint64_t *old);

/* --- split.c, settle.c -------------------------------------------------------------------------- */

/* op->addr has no room for the key: split it, or wait for who does. Then op aims at the child. */
int ptni_hash_grow(struct ptni_hash_op *op);
/* op->addr has frozen words: wait until it is split, or finish that. Then op aims at the child. -EBUSY: a move, while
 * the worker is at a split. */
int ptni_hash_settle(struct ptni_hash_op *op);
/* nic->head was read from op->addr and has a successor: aim at the key's child; repair the directory. */
int ptni_hash_descend(struct ptni_hash_op *op);
/* The other child of the subtable at which op aims, whose successor is child0. */
int ptni_hash_children(struct ptni_hash_op *op, uint64_t child0, uint64_t *child1_out);
/* The split word is ours and nic->head was read. */
int ptni_hash_split(struct ptni_hash_op *op);
int ptni_split_scratch_open(uint32_t subtable_words, struct ptni_split_scratch **scratch_out);
void ptni_split_scratch_close(struct ptni_split_scratch *scratch);

/* --- walk.c: whole subtables --------------------------------------------------------------------- */

/*
 * Read the current subtable at which op aims, or its descendant that holds hash `code` if it was split: its
 * words go to `words` (groups of the table), op aims at it.
 */
int ptni_hash_read_subtable(struct ptni_hash_op *op, uint64_t *words);
/* READ up to len_bytes of remote memory into ordinary memory, through the stage. */
int ptni_hash_copy(struct ptni_hash_op *op, uint64_t addr, void *to, size_t len_bytes);

/* --- make.c ---------------------------------------------------------------------------------------- */

/* Make the table, or wait for nobody: go on with what others have begun. */
int ptni_hash_make(struct ptn_worker *worker, struct ptn_hash *hash);
int ptni_hash_is_made(struct ptni_hash_op *op); /* 0, 1, < 0 */
/* Is what looks like a first subtable in use, in a table that was not made just now? As ptni_block_live_fn. */
int ptni_hash_first_live(struct ptni_hash_op *op, unsigned node, uint64_t addr, unsigned depth,
			 uint32_t suffix);

/* --- table.c, live.c ------------------------------------------------------------------------------ */

struct ptni_hash_params {
	uint32_t groups; /* of a subtable; 0 = default */
	uint32_t subtables; /* at first; 0 = from initial_slots */
	uint64_t seed; /* of the key hash; 0 = random */
};
/* ptn_hash_open with what only tests choose; params may be NULL. */
int ptni_hash_open(struct ptn_worker *worker, const char *name,
		   const struct ptn_hash_options *options, const struct ptni_hash_params *params,
		   struct ptn_hash **hash_out);
struct ptni_hash_worker *ptni_hash_worker_open(struct ptn_hash *hash, uint32_t index);
int ptni_hash_move(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		   const void *prefix, size_t prefix_len_bytes); /* move.c */
int ptni_hash_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
		   const void *prefix, size_t prefix_len_bytes);
int ptni_hash_scan(void *arg, struct ptni_op *op, unsigned block_class, size_t prefix_len_bytes,
		   bool move, struct ptni_scan *scan, unsigned count); /* scan.c */

#endif
