/* SPDX-License-Identifier: MIT */
/* Making a table on a small node, while those who make it die. The rules are those of ds/hashtable/make.c. */
#include "alloc/view.h"
#include "core/client.h"
#include "ds/hashtable/table.h"
#include "tests/support/alloc_bed.h"

#include <patronus/log.h>

#define MS ALLOC_BED_MS

enum {
	DEATHS = 60,
	SUBTABLES = 64,
};

static const struct ptni_hash_params params = { .subtables = SUBTABLES };

struct creator {
	struct alloc_bed *bed;
	int ret;
};

static int (*real_post)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);
static struct alloc_bed *dying_in; /* while its client 0 runs */
static int posts_left;

static int post_and_die(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr)
{
	struct alloc_bed *bed = dying_in;

	if (bed && --posts_left == 0) {
		dying_in = NULL;
		alloc_bed_fence(bed, 0);
	}
	return real_post(qp, wr, bad_wr);
}

static void create(void *arg)
{
	struct creator *creator = arg;
	struct ptn_hash *hash;

	creator->ret = ptni_hash_open(creator->bed->worker[0], "t", NULL, &params, &hash);
	if (!creator->ret)
		ptn_hash_close(hash);
}

/* A client that opens the table and is fenced before it posts for the n-th time. True if it was still at it. */
static bool create_and_die(struct alloc_bed *bed, int n)
{
	struct creator creator = { .bed = bed };
	struct ibv_context *context;
	struct ptni_fiber *fiber;
	bool more = true;

	alloc_bed_client(bed, 0);
	context = bed->client[0]->fabric->context;
	real_post = context->ops.post_send;
	context->ops.post_send = post_and_die;
	posts_left = n;
	assert_int_equal(ptni_fiber_create(bed->pool, create, &creator, &fiber), 0);
	while (more) {
		dying_in = posts_left > 0 ? bed : NULL;
		more = ptni_fiber_resume(fiber);
		dying_in = NULL;
		if (more)
			ptni_fiber_suspend();
	}
	context->ops.post_send = real_post;
	alloc_bed_client_close(bed, 0);
	alloc_bed_pass(bed, 2 * MS);
	return creator.ret != 0;
}

static void full_body(struct alloc_bed *bed)
{
	struct ptn_hash_info info;
	struct ptn_hash *hash;
	uint32_t value = 0;
	size_t len;
	int died = 0;

	for (int i = 0; i < DEATHS; i++)
		died += create_and_die(bed, 5 + i % 23);
	assert_int_equal(died, DEATHS);
	alloc_bed_client(bed, 1);
	assert_int_equal(ptni_hash_open(bed->worker[1], "t", NULL, &params, &hash), 0);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(ptn_hash_put(bed->worker[1], hash, &i, sizeof(i), &i, sizeof(i)),
				 0);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_int_equal(ptn_hash_get(bed->worker[1], hash, &i, sizeof(i), &value,
					      sizeof(value), &len),
				 0);
		assert_int_equal(value, i);
	}
	assert_int_equal(ptn_hash_info(bed->worker[1], hash, &info), 0);
	assert_int_equal(info.subtables, SUBTABLES);
	assert_int_equal(info.entries, 1000);
	ptn_hash_close(hash);
	alloc_bed_client_close(bed, 1);
}

static void creators__that_die_do_not_keep_the_table_from_being_made(void **state)
{
	struct ptn_node_options options = { .memory_bytes = 2 << 20, .extent_shift = 18 };

	alloc_bed_run(&options, full_body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(creators__that_die_do_not_keep_the_table_from_being_made),
	};

	(void)ptn_log_level_set("off"); /* some of this warns, rightly */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
