/* SPDX-License-Identifier: MIT */
/* Free bits that others set are collected once, whichever fibers of a worker are at it. */
#include "tests/support/space_use.h"

#include <infiniband/verbs.h>

enum {
	LEN = 1000,
	BLOCKS = 63, /* a slab */
};

/* The worker's completions are held back, so that its fibers overlap as they do on a real network. */
static int (*poll_real)(struct ibv_cq *cq, int count, struct ibv_wc *wc);
static const struct ibv_cq *held_back;
static int let_through; /* but so many completions */

static int poll_held(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
	int polled;

	if (cq != held_back)
		return poll_real(cq, count, wc);
	polled = let_through ? poll_real(cq, 1, wc) : 0;
	let_through -= polled;
	return polled;
}

static void hold_back(struct ibv_cq *cq, int let)
{
	poll_real = cq->context->ops.poll_cq;
	cq->context->ops.poll_cq = poll_held;
	held_back = cq;
	let_through = let;
}

static void let_go(struct ibv_cq *cq)
{
	held_back = NULL;
	cq->context->ops.poll_cq = poll_real;
}

static int all_are_live(void *arg, struct ptni_op *op, uint64_t addr, unsigned block_class,
			const void *prefix, size_t prefix_len_bytes)
{
	return 1;
}

struct collector {
	struct ptni_view *view;
	struct ptni_heap *heap;
	int (*collect)(const struct collector *collector);
	int result;
};

static int by_sweep(const struct collector *collector)
{
	return ptni_sweep_step(collector->view, collector->heap, true);
}

static int by_adoption(const struct collector *collector)
{
	return ptni_adopt_step(collector->view, collector->heap, 1);
}

static void collector_main(void *arg)
{
	struct collector *collector = arg;

	collector->result = collector->collect(collector);
}

static uint64_t free_words(const struct ptni_heap *heap, const struct ptni_owned_slab *slab)
{
	const uint64_t *word = (const uint64_t *)(uintptr_t)slab->base;
	uint64_t all = 0;

	for (uint32_t i = 0; i < ptni_slab_words(&heap->layout); i++)
		all |= word[i];
	return all;
}

/* Both have posted their READ before either has seen an answer; `first` goes on first. */
static void overlap(struct alloc_bed *bed, struct collector *collector, int first)
{
	struct ibv_cq *cq = bed->worker[0]->cq;
	struct ptni_fiber *fiber[2];
	bool lives[2] = { true, true };

	hold_back(cq, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			ptni_fiber_create(bed->pool, collector_main, &collector[i], &fiber[i]), 0);
		lives[i] = ptni_fiber_resume(fiber[i]);
	}
	let_go(cq);
	for (int turn = 0; lives[0] || lives[1]; turn++) {
		int i = (first + turn) % 2;

		assert_true(turn < 1000);
		if (lives[i])
			lives[i] = ptni_fiber_resume(fiber[i]);
	}
}

/* A slab of client 0 all of whose blocks were asked about, and that is to become ordinary; client 1 frees one. */
static void overlap_body(struct alloc_bed *bed)
{
	for (int first = 0; first < 2; first++) {
		struct ptni_space *space, *other;
		struct ptni_owned_slab *slab;
		struct ptni_block block = { 0 };
		struct collector collector[2];
		struct ptni_epochs epochs;
		struct ptni_view *view;
		struct ptni_heap *heap;

		alloc_bed_client(bed, 0);
		alloc_bed_client(bed, 1);
		space = space_open(bed, 0, PTNI_SPACE_CREATE);
		other = space_open(bed, 1, 0);
		ptni_space_set_live(space, all_are_live, NULL);
		for (int i = 0; i < BLOCKS; i++)
			block = block_alloc(bed->worker[0], space, LEN);
		view = ptni_view_of(bed->worker[0], space);
		heap = view->heap[block.block_class];
		slab = heap->current;
		ptni_view_epochs(view, &epochs);
		ptni_heap_evict(heap, slab->chunk, epochs.epoch + 1);
		ptni_client_want_epoch(bed->client[0], 0, 1);
		alloc_bed_epochs(bed);
		assert_true(ptni_adopt_step(view, heap, BLOCKS) >= 0);
		assert_int_equal(slab->scanned, heap->layout.blocks);
		assert_true(slab->held);
		block_retire(bed->worker[1], other, &block);
		assert_int_equal(ptni_space_trim(bed->worker[1], other), 0);
		assert_true(free_words(heap, slab));
		collector[0] = (struct collector){ view, heap, by_sweep, 0 };
		collector[1] = (struct collector){ view, heap, by_adoption, 0 };
		overlap(bed, collector, first);
		assert_true(collector[0].result >= 0);
		assert_true(collector[1].result >= 0);
		alloc_bed_epochs(bed);
		assert_true(ptni_adopt_step(view, heap, 4) >= 0);
		assert_int_equal(slab->held, 0);
		assert_int_equal(free_words(heap, slab), 0);
		assert_true(ptni_sweep_step(view, heap, true) >= 0);
		assert_int_equal(heap->blocks - heap->blocks_free - heap->blocks_limbo, BLOCKS - 1);
		ptni_space_close(other);
		alloc_bed_client_close(bed, 1);
		ptni_space_close(space);
		alloc_bed_client_close(bed, 0);
	}
}

static void bits_are_cleared_once(void **state)
{
	alloc_bed_run(NULL, overlap_body);
}

/* --- a subtraction nobody knows the end of --------------------------------------------------------------- */

/* The node is silent while the operation waits, first for the answer, then for the fence. */
static void in_doubt(struct alloc_bed *bed, struct collector *collector)
{
	struct ibv_cq *cq = bed->worker[0]->cq;
	struct ptni_fiber *fiber;

	assert_int_equal(ptni_fiber_create(bed->pool, collector_main, collector, &fiber), 0);
	hold_back(cq, 1);
	while (ptni_fiber_resume(fiber)) {
		let_through = !collector->heap->current->held; /* until the words were read */
		bed->now_ns += ALLOC_BED_MS;
	}
	let_go(cq);
}

static void doubt_body(struct alloc_bed *bed)
{
	struct ptni_space *space, *other;
	_Atomic uint64_t *word;
	struct ptni_block block = { 0 };
	struct collector collector = { .collect = by_sweep };
	struct ptn_client_options options = { .op_timeout_ns = 20 * ALLOC_BED_MS };
	uint64_t bits;

	assert_int_equal(alloc_bed_try_client(bed, 0, &options), 0);
	alloc_bed_client(bed, 1);
	space = space_open(bed, 0, PTNI_SPACE_CREATE);
	other = space_open(bed, 1, 0);
	for (int i = 0; i < BLOCKS; i++)
		block = block_alloc(bed->worker[0], space, LEN);
	collector.view = ptni_view_of(bed->worker[0], space);
	collector.heap = collector.view->heap[block.block_class];
	word = (_Atomic uint64_t *)(uintptr_t)collector.heap->current->base;
	assert_true(ptni_sweep_step(collector.view, collector.heap, true) >= 0);
	block_retire(bed->worker[1], other, &block);
	assert_int_equal(ptni_space_trim(bed->worker[1], other), 0);
	bits = atomic_load(word);
	assert_int_not_equal(bits, 0);
	in_doubt(bed, &collector);
	assert_int_equal(collector.result, -ETIMEDOUT);
	atomic_store(word, bits); /* as if it were still on its way */
	alloc_bed_epochs(bed);
	(void)ptni_sweep_step(collector.view, collector.heap, true);
	alloc_bed_epochs(bed);
	(void)ptni_space_trim(bed->worker[0], space);
	assert_true(atomic_load(word) - bits <= bits); /* it comes now, and nothing is borrowed */
	assert_true(collector.heap->held);
	ptni_space_close(other);
	alloc_bed_client_close(bed, 1);
	ptni_space_close(space);
	alloc_bed_client_close(bed, 0);
}

static void bits_in_doubt_are_left_alone(void **state)
{
	alloc_bed_run(NULL, doubt_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bits_are_cleared_once),
		cmocka_unit_test(bits_in_doubt_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
