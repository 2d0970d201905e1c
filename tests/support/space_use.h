/* SPDX-License-Identifier: MIT */
/* What tests of spaces do all the time: open, take, retire, look. */
#ifndef TESTS_SPACE_USE_H
#define TESTS_SPACE_USE_H

#include "alloc/view.h"
#include "tests/support/alloc_bed.h"

static inline struct ptni_space *space_open(struct alloc_bed *bed, int client, unsigned flags)
{
	struct ptni_space_params params = { .kind = 1, .version = 2, .word = { 10, 11, 12 } };
	struct ptni_space *space;

	assert_int_equal(ptni_space_open(bed->worker[client], 0, "table", flags, &params, &space),
			 0);
	assert_int_equal(params.word[2], 12);
	return space;
}

static inline struct ptni_block block_alloc(struct ptn_worker *worker, struct ptni_space *space,
					    size_t len)
{
	struct ptni_block block;
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(worker, &op), 0);
	assert_int_equal(ptni_block_alloc(&op, space, len, &block), 0);
	ptni_op_end(&op);
	return block;
}

static inline void block_retire(struct ptn_worker *worker, struct ptni_space *space,
				const struct ptni_block *block)
{
	struct ptni_op op;

	assert_int_equal(ptni_op_begin(worker, &op), 0);
	ptni_block_retire(&op, space, block->addr, block->block_class);
	ptni_op_end(&op);
}

static inline uint64_t held(struct ptn_worker *worker, struct ptni_space *space)
{
	uint64_t bytes;

	assert_int_equal(ptni_space_held_bytes(worker, space, &bytes), 0);
	return bytes;
}

static inline void trim(struct alloc_bed *bed, struct ptn_worker *worker, struct ptni_space *space)
{
	for (int i = 0; i < 6; i++) {
		assert_int_equal(ptni_space_trim(worker, space), 0);
		alloc_bed_epochs(bed);
	}
}

static inline int word_write(struct ptn_worker *worker, const struct ptni_block *block,
			     uint64_t value)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *copy;
	int ret = ptni_op_begin(worker, &op);

	assert_int_equal(ret, 0);
	copy = ptni_op_buffer(&op, 8);
	*copy = value;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_write(&batch, block->window, block->addr, copy, 8);
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	return ret;
}

/* Read, or CAS from `expected`, through the extent's window. */
static inline int word_use(struct ptn_worker *worker, struct ptni_space *space, uint64_t addr,
			   const uint64_t *expected, uint64_t desired, uint64_t *value_out)
{
	const struct ptni_window *window;
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *copy;
	int ret = ptni_op_begin(worker, &op);

	assert_int_equal(ret, 0);
	copy = ptni_op_buffer(&op, 8);
	ret = ptni_space_window_fetch(&op, space, addr, &window);
	if (!ret) {
		ptni_batch_init(&batch, &op, 0);
		if (expected)
			ptni_batch_cas(&batch, window, addr, *expected, desired, copy);
		else
			ptni_batch_read(&batch, window, addr, copy, 8);
		ret = ptni_batch_run(&batch);
	}
	if (!ret)
		*value_out = *copy;
	ptni_op_end(&op);
	return ret;
}

#endif
