/* SPDX-License-Identifier: MIT */
/*
 * Client side of spaces: what their objects share.
 *
 *   client ── alloc state (one): spaces by name, spaces that the keeper closes
 *     └── space (handle, counted) ── closed[]: which extents have gone, by seq
 *           └── view (one per worker that used it)
 *                 ├── extent[]: window of each extent; slabs of ours by page
 *                 ├── heap[]: one per block class (slab.h)
 *                 ├── frees: bits of others' chunks, to be set by FAA
 *                 └── calls: chunks asked for, chunks going back
 *
 * A view belongs to its worker's thread. The keeper's hook reaches into it in two places only: it
 * takes entries out of `frees`, and it clears windows of extents that were announced.
 *
 * Lock: client state's, control path only, never across a wait.
 */
#ifndef PTNI_VIEW_H
#define PTNI_VIEW_H

#include "alloc/slab.h"
#include "alloc/space.h"
#include "alloc/wire.h"
#include "core/worker_state.h"

#include <patronus/error.h>

#include <pthread.h>
#include <stdatomic.h>

enum {
	PTNI_FREES_RING = 256,
	PTNI_GETS = 8, /* chunks that one view waits for at a time */
	PTNI_PREFIX_MAX = 2048,
	PTNI_SCAN_BYTES = 24 << 10, /* of blocks that are asked about together */
	PTNI_SWEEP_STEP = 32, /* slabs whose free words are read in one batch */
	PTNI_PROMOTE_STEP = 64, /* slabs */
	PTNI_MAINTAIN_RETIRES = 64,
};
/* Chunks that were not needed for so long go back. */
#define PTNI_SPARE_NS     UINT64_C(50000000)
#define PTNI_ORPHANS_NS   UINT64_C(5000000) /* between two vain requests for an orphan */
#define PTNI_GARBAGE_TELL (UINT64_C(64) << 10) /* bytes retired before E is asked to advance */

struct ptni_view;
struct ptni_worker_views;

struct ptni_extent_slot {
	const struct ptni_window *_Atomic window; /* NULL: none, or gone */
	_Atomic uint32_t seq; /* of the extent the window is for */
	struct ptni_window *owned; /* to be released once the extent comes again */
	struct ptni_owned_slab **slab; /* by page: slabs of ours that begin there */
};

/*
 * Free bits of others' chunks on their way. One producer (the worker); takers are the worker and the
 * keeper: who moves head by CAS owns what lies between. What could not be sent goes back, the worker's to the tail
 * (so used + out never exceeds the ring), the keeper's to `kept`.
 * Entry: in doubt (1), index of the free word, then bit (6).
 */
struct ptni_frees {
	_Alignas(64) _Atomic uint32_t head;
	_Atomic uint32_t flushing; /* takers that have not seen their FAAs executed */
	_Atomic uint64_t failing_ns; /* since when nothing could be sent; 0 */
	_Alignas(64) _Atomic uint32_t tail;
	uint32_t out; /* the worker's: entries that its operations have taken */
	_Atomic uint32_t kept_count;
	uint64_t kept[PTNI_FREES_BATCH]; /* the keeper's: taken, to be sent before others */
	_Atomic uint64_t entry[PTNI_FREES_RING];
};

enum ptni_ask {
	PTNI_ASK_AHEAD, /* a chunk that will be needed */
	PTNI_ASK_NOW, /* somebody waits for a block */
	PTNI_ASK_ORPHAN, /* what was left, so that it does not lie about */
};

struct ptni_get {
	struct ptni_call call;
	bool orphan; /* PTNI_ASK_ORPHAN: nobody waits for it */
	struct ptni_window *window; /* NULL when unprotected */
	struct ptni_heap *heap; /* NULL: free */
	uint16_t block_class;
	int status;
};

struct ptni_put {
	struct ptni_call call;
	struct ptni_window *window[PTNI_CHUNK_PUT_MAX];
	uint32_t count;
	bool busy;
};

/* The SPACE_WINDOWS under way. */
struct ptni_fetch {
	struct ptni_call call;
	struct ptni_window *window[PTNI_SPACE_WINDOWS_MAX];
	uint32_t reserved; /* of them; 0: none is under way */
	int status; /* of the one before */
	uint64_t begun;
};

struct ptni_view {
	struct ptni_space *space; /* NULL when dead */
	struct ptn_worker *worker;
	struct ptni_worker_views *views;
	struct ptn_client *client;
	struct ptni_counters *counters; /* the worker's */
	const struct ptni_window *region; /* unprotected: for everything */
	struct ptni_extent_slot *extent;
	uint32_t extents;
	uint64_t epoch_floor; /* E when the view was made: the keeper may not have looked before */
	uint32_t seq; /* windows fetched so far */
	uint64_t asked_ns; /* when it was last asked to give back */
	uint64_t orphans_ns; /* until then there were none for us */
	unsigned tended, asked; /* classes whose turn it was */
	uint64_t heaps[(PTNI_BLOCK_CLASSES + 63) / 64]; /* bit = class that has a heap */
	bool tending;
	bool scanning;
	bool sweeping;
	bool keeper_busy; /* the keeper's hook has it in hand; lock held */
	uint32_t pinned; /* somebody waits with slabs in hand: no chunk may leave */
	uint32_t retires; /* since the last maintenance */
	uint64_t garbage_bytes; /* retired since E was last asked to advance */
	uint64_t refused; /* retires of what was not in use, or not ours to free */
	_Atomic uint64_t leaked; /* others' blocks whose free bit may not have been set */
	struct ptni_heap *heap[PTNI_BLOCK_CLASSES];
	struct ptni_fetch fetch;
	struct ptni_put put;
	struct ptni_get get[PTNI_GETS];
	struct ptni_frees frees;
	struct cds_list_head link; /* worker's views or dead */
};

struct ptni_space {
	struct ptni_view *_Atomic view[PTNI_WORKERS_MAX];
	struct ptn_client *client;
	uint64_t region;
	uint32_t extent_shift;
	uint32_t extents;
	uint16_t node;
	uint32_t id;
	uint32_t opens; /* SPACE_OPEN calls that made this handle */
	uint32_t refs; /* opens; under the client state's lock. 0: the keeper will close it */
	uint32_t busy; /* a worker that closes, or the keeper, is at it; likewise */
	uint64_t root, board;
	char name[PTNI_SPACE_NAME_MAX];
	struct ptni_space_params params;
	_Atomic uint64_t orphans; /* chunks worth adopting, as last heard */
	_Atomic uint32_t *closed; /* by extent: it is gone up to this seq */
	uint64_t closings; /* announcements seen; the keeper's own */
	ptni_block_live_fn _Atomic live;
	void *_Atomic live_arg;
	ptni_block_move_fn _Atomic move;
	ptni_block_scan_fn _Atomic scan;
	struct ptni_slab_layout layout[PTNI_BLOCK_CLASSES];
	struct cds_list_head link; /* client state's */
};

/* Records on their way to the node (told.c), one after the other: | slab | n | n words |. */
struct ptni_tell {
	uint64_t *word;
	size_t count, room, at;
	uint32_t in_record; /* words of the record at `at` that were sent */
};

/* What is left to do for a closed space. */
struct ptni_closing {
	struct cds_list_head link;
	struct ptni_call call;
	struct ptni_tell tell;
	uint16_t node;
	uint32_t space, opens;
	bool ended; /* SPACE_CLOSE was sent */
	bool telling; /* the call is a CHUNK_TELL */
	bool whole; /* every chunk that was ever used is among these, and was taken back so far */
	uint32_t count, at; /* addresses; next */
	uint32_t emptied,
		told; /* the first so many are of empty chunks; up to here they are told about */
	uint64_t *addr;
};

struct ptni_alloc_state {
	struct ptn_client *client;
	pthread_mutex_t lock;
	struct cds_list_head spaces, closings;
	/* The node may still count a chunk as ours that we used and forgot: no close is `whole` any more. */
	_Atomic bool strays;
};

/* A worker's views, so that its end can leave them. Lists: lock held. */
struct ptni_worker_views {
	struct ptni_alloc_state *state;
	struct cds_list_head views;
	struct cds_list_head dead; /* their space was closed; windows to be released by the worker */
};

/* Made on first use. */
int ptni_alloc_state(struct ptn_client *client, struct ptni_alloc_state **state_out);

/* --- view.c */
int ptni_view_get(struct ptni_op *op, struct ptni_space *space, struct ptni_view **view_out);
void ptni_view_free(struct ptni_view *view); /* local memory only; windows stay reserved */
static inline struct ptni_view *ptni_view_of(struct ptn_worker *worker, struct ptni_space *space)
{
	return atomic_load_explicit(&space->view[worker->index], memory_order_relaxed);
}
/* The slab of ours that begins at `base`. */
static inline struct ptni_owned_slab **ptni_view_slab(struct ptni_view *view, uint64_t base)
{
	const struct ptni_space *space = view->space;
	uint64_t offset = base - space->region;
	uint64_t extent = offset >> space->extent_shift;
	struct ptni_owned_slab **slab = extent < space->extents ? view->extent[extent].slab : NULL;

	if (!slab)
		return NULL;
	return &slab[(offset & ((UINT64_C(1) << space->extent_shift) - 1)) >> PTNI_PAGE_SHIFT];
}

/* --- windows.c */
/* File the windows that have arrived. */
void ptni_windows_poll(struct ptni_view *view);
/* Ask for those that are lacking if `addr` has none. Posts, does not wait. */
void ptni_windows_ahead(struct ptni_view *view, uint64_t addr);
/* Of a view whose space was closed. */
void ptni_windows_release(struct ptni_view *view);
/* An announced extent (seq, extent): nobody of this client uses it any more. Lock held. */
void ptni_view_extent_closed(struct ptni_view *view, uint32_t extent, uint32_t seq);

/* --- frees.c */
void ptni_frees_push(struct ptni_op *op, struct ptni_view *view, uint64_t word_addr, unsigned bit);
/* Set what waits; `op` may be another worker's (the keeper's). 0 or the first error: then it waits still. */
int ptni_frees_flush(struct ptni_op *op, struct ptni_view *view);
bool ptni_frees_pending(struct ptni_view *view);
/* One batch of a sweep through others' frees, if one is due or `force`. 1: more to do. */
int ptni_sweep_step(struct ptni_view *view, struct ptni_heap *heap, bool force);
/* Take and clear the bits of these slabs. They must not leave meanwhile (view->pinned). -EAGAIN: another fiber is
 * at one of them. */
int ptni_collect(struct ptni_op *op, struct ptni_view *view, struct ptni_heap *heap,
		 struct ptni_owned_slab *const *slab, uint32_t count);

/* --- chunk.c */
struct ptni_heap *ptni_view_heap(struct ptni_view *view, unsigned block_class); /* NULL: -ENOMEM */
/* Ask for a chunk unless one is on its way. Posts, does not wait. */
int ptni_chunk_ask(struct ptni_view *view, unsigned block_class, enum ptni_ask ask);
/* File what has arrived. Returns the status of `heap`'s own request if it is among that, else 0. */
int ptni_chunk_poll(struct ptni_view *view, const struct ptni_heap *heap);
bool ptni_chunk_asked(const struct ptni_view *view, const struct ptni_heap *heap);
/* Return empty chunks of every class. Posts, does not wait; true if some were sent. */
bool ptni_chunk_return(struct ptni_view *view);
/* Return what one class has not needed lately, but one chunk. Likewise. */
void ptni_chunk_return_spare(struct ptni_view *view, struct ptni_heap *heap);
int ptni_chunk_return_wait(struct ptni_view *view); /* until those under way are back */
/* Leave everything: empty chunks are freed, others wait for an adopter. Waits. */
void ptni_chunk_leave_all(struct ptni_view *view);

/* Leave what one class holds for who needs it. Waits for the node to know of it. */
void ptni_chunk_leave(struct ptni_view *view, struct ptni_heap *heap);

/* --- told.c */
/* Take down what is known of a chunk; false: not enough is, or no memory. */
bool ptni_tell_add(struct ptni_tell *tell, const struct ptni_heap *heap,
		   const struct ptni_owned_chunk *chunk);
/* Post the next request of it: 1; nothing is left: 0; the session is over: < 0. */
int ptni_tell_start(struct ptni_tell *tell, struct ptni_call *call, struct ptn_worker *worker,
		    unsigned node, uint32_t space);
int ptni_tell_all(struct ptni_tell *tell, struct ptni_view *view); /* waits */
/* An adopted chunk that was told about: what is free. An error: not yet, try again. */
int ptni_told_read(struct ptni_view *view, struct ptni_heap *heap, struct ptni_owned_chunk *chunk);

/* --- adopt.c */
/* Ask about some blocks of adopted slabs. 1: more could be done now. */
int ptni_adopt_step(struct ptni_view *view, struct ptni_heap *heap, uint32_t blocks);
int ptni_adopt_some(struct ptni_view *view, struct ptni_heap *heap,
		    uint32_t *blocks); /* those left */

/* --- compact.c */
/* Choose chunks to be emptied by ptni_adopt_step(), if the heap is sparse; returns how many slabs. On request: at
 * once, and until little is free. */
uint32_t ptni_compact_begin(struct ptni_view *view, struct ptni_heap *heap);
uint32_t ptni_compact_request(struct ptni_view *view, struct ptni_heap *heap);
/* What was chosen and not begun stays as it is. */
void ptni_compact_cancel(struct ptni_heap *heap);

/* --- block.c */
void ptni_view_epochs(const struct ptni_view *view, struct ptni_epochs *epochs_out);
void ptni_view_maintain(struct ptni_view *view, struct ptni_heap *heap); /* without waiting */
/* Fetch what others left, a few chunks at a time, if there is any. Posts, does not wait. */
void ptni_orphans_ask(struct ptni_view *view, unsigned block_class);

/* --- board.c */
int ptni_board_hook(void *state, struct ptn_worker *keeper, unsigned node);

/* --- closing.c */
/* Nobody has the space open any more: gather what goes back, free the handle. Lock held. */
void ptni_closing_begin(struct ptni_alloc_state *state, struct ptni_space *space);
void ptni_closing_free(struct ptni_closing *closing);
/* Those that are under way or still to come, as far as they get in time; in the client's close. */
void ptni_closings_finish(void *state, struct ptn_worker *keeper, uint64_t deadline_ns);
/* A step of the ends under way on that node; posts, does not wait. */
void ptni_closing_step(struct ptni_alloc_state *state, struct ptn_worker *keeper, unsigned node);

#endif
