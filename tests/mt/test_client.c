/* SPDX-License-Identifier: MIT */
/*
 * A client's threads: workers that count and break their lanes, the keeper that builds them anew and reports epochs,
 * workers that come and go, the node's own thread. What is counted must add up.
 */
#include "core/client.h"
#include "tests/support/granting.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <patronus/log.h>
#include <pthread.h>
#include <sched.h>

#define ALL_RIGHTS (IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)

enum {
	THREADS = 4,
	ROUNDS = 300,
	BREAK_EVERY = 60,
	COMINGS = 10
};

static struct ptn_node *node;
static struct granting granting;
static struct ptn_client *client;

struct thread_work {
	unsigned number;
	uint64_t counted;
	int error;
};

static int faa(struct ptn_worker *worker, const struct ptni_window *window, uint64_t addr)
{
	struct ptni_batch batch;
	struct ptni_op op;
	int ret = ptni_op_begin(worker, &op);

	if (ret)
		return ret;
	ptni_batch_init(&batch, &op, 0);
	ptni_batch_faa(&batch, window, addr, 1, ptni_op_buffer(&op, 8));
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	return ret;
}

/* Windows: one to count in, one that only reads, for breaking lanes. */
static int windows_get(struct ptn_worker *worker, struct ptni_window **all,
		       struct ptni_window **reads)
{
	int ret = grant_window(worker, 0, 0, 4096, ALL_RIGHTS, 0, NULL, all);

	if (!ret)
		ret = grant_window(worker, 0, 0, 4096, IBV_ACCESS_REMOTE_READ, 0, NULL, reads);
	return ret;
}

static int count(struct thread_work *work, struct ptn_worker *worker)
{
	struct ptni_window *all, *reads;
	int ret = windows_get(worker, &all, &reads);

	for (unsigned i = 0; !ret && i < ROUNDS; i++) {
		ret = faa(worker, all, all->addr);
		work->counted += !ret;
		if (i % 16 == 0)
			ptni_client_want_epoch(client, 0, 1);
		if (i % BREAK_EVERY == BREAK_EVERY - 1 &&
		    faa(worker, reads, reads->addr + 8 * (1 + work->number)) != -EACCES)
			ret = -EPROTO;
	}
	return ret;
}

static void *count_main(void *arg)
{
	struct thread_work *work = arg;
	struct ptn_worker *worker;

	work->error = ptn_worker_open(client, &worker);
	if (work->error)
		return NULL;
	work->error = count(work, worker);
	ptn_worker_close(worker);
	return NULL;
}

static void *come_and_go_main(void *arg)
{
	struct thread_work *work = arg;

	for (unsigned i = 0; !work->error && i < COMINGS; i++) {
		struct ptn_worker *worker;
		struct ptni_window *all, *reads;

		work->error = ptn_worker_open(client, &worker);
		if (work->error)
			break;
		work->error = windows_get(worker, &all, &reads);
		if (!work->error)
			work->error = faa(worker, all, all->addr);
		work->counted += !work->error;
		ptn_worker_close(worker);
	}
	return NULL;
}

static _Atomic unsigned hook_calls;

static int hook(void *arg, struct ptn_worker *worker, unsigned index)
{
	atomic_fetch_add(&hook_calls, 1);
	return 0;
}

static void open_all(void)
{
	const char *address = "inproc:mt";
	struct ptn_node_options node_options = { .size = sizeof(node_options),
						 .memory_bytes = 1 << 22,
						 .term_ns = UINT64_C(5000000000),
						 .epoch_min_ns = 1000000 };
	struct ptn_client_options options = { .size = sizeof(options), .spare_lanes = 2 };

	assert_int_equal(ptni_node_open(address, &node_options, &node), 0);
	assert_int_equal(granting_add(&granting, node), 0);
	assert_int_equal(ptni_node_run(node), 0);
	assert_int_equal(ptn_client_open(&address, 1, &options, &client), 0);
	assert_int_equal(ptni_client_hook_add(client, hook, &client), 0);
}

static uint64_t close_all(void)
{
	size_t len;
	uint64_t counted = *(const uint64_t *)ptni_node_region(node, &len);

	ptni_client_hook_remove(client, hook, &client);
	assert_int_equal(ptn_client_close(client), 0);
	ptn_node_close(node);
	return counted;
}

/* Nothing is lost, nothing is counted twice, whatever breaks and whoever comes and goes. */
static void threads__count_right(void **state)
{
	struct thread_work work[THREADS + 1] = { 0 };
	pthread_t thread[THREADS + 1];
	uint64_t counted = 0;

	open_all();
	for (unsigned i = 0; i <= THREADS; i++) {
		work[i].number = i;
		assert_int_equal(pthread_create(&thread[i], NULL,
						i < THREADS ? count_main : come_and_go_main,
						&work[i]),
				 0);
	}
	for (unsigned i = 0; i <= THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(work[i].error, 0);
		counted += work[i].counted;
	}
	assert_int_equal(counted, THREADS * ROUNDS + COMINGS);
	assert_true(atomic_load(&hook_calls) > 0);
	assert_int_equal(close_all(), counted);
}

/* --- reclamation ------------------------------------------------------------------------------------- */

enum {
	OBJECTS = 4,
	SWAPS = 40
};

/*
 * A cache of this process points at one of some objects. The hook moves it on to the next one, and the
 * object that it left may be poisoned once the keeper has reported: no operation may see poison.
 */
static _Atomic uint64_t objects[OBJECTS]; /* 0 alive, 1 poisoned */
static _Atomic unsigned cache;
static _Atomic uint64_t moved_at; /* reports seen when the cache moved; its object is then retired */
static _Atomic bool stop;
static _Atomic unsigned swaps;

static uint64_t reported(void)
{
	struct ptni_epochs epochs;

	ptni_client_epochs(client, 0, &epochs);
	return epochs.horizon;
}

static int swap_hook(void *arg, struct ptn_worker *worker, unsigned index)
{
	unsigned now = atomic_load_explicit(&cache, memory_order_relaxed);
	unsigned next = (now + 1) % OBJECTS;

	/* What was left two reports ago is free by now, and is poisoned; the next one comes alive. */
	if (reported() <= atomic_load(&moved_at))
		return 0;
	atomic_store_explicit(&objects[(now + OBJECTS - 1) % OBJECTS], 1, memory_order_relaxed);
	atomic_store_explicit(&objects[next], 0, memory_order_relaxed);
	atomic_store_explicit(&cache, next, memory_order_release);
	ptni_client_epochs(client, 0, &(struct ptni_epochs){ 0 });
	atomic_store(&moved_at, reported() + 1);
	atomic_fetch_add(&swaps, 1);
	return 0;
}

/* For as long as it would take to reclaim under our feet, if that were possible. */
static void hold_on(void)
{
	uint64_t end_ns = ptni_clock_now_ns() + 5000000;
	unsigned before = atomic_load(&swaps);

	while (atomic_load(&swaps) < before + 3 && ptni_clock_now_ns() < end_ns)
		(void)sched_yield();
}

static void *read_main(void *arg)
{
	struct thread_work *work = arg;
	struct ptn_worker *worker;
	unsigned round = 0;

	work->error = ptn_worker_open(client, &worker);
	while (!work->error && !atomic_load(&stop)) {
		struct ptni_op op;
		unsigned mine;

		work->error = ptni_op_begin(worker, &op);
		if (work->error)
			break;
		mine = atomic_load_explicit(&cache, memory_order_acquire);
		if (++round % 16 == work->number)
			hold_on();
		work->counted += atomic_load_explicit(&objects[mine], memory_order_relaxed);
		ptni_op_end(&op);
		ptni_client_want_epoch(client, 0, 1);
	}
	ptn_worker_close(worker);
	return NULL;
}

static void operations__never_see_what_was_reclaimed(void **state)
{
	struct thread_work work[THREADS] = { 0 };
	pthread_t thread[THREADS];
	uint64_t end_ns = ptni_clock_now_ns() + UINT64_C(20000000000);

	atomic_store(&objects[OBJECTS - 1], 1);
	open_all();
	assert_int_equal(ptni_client_hook_add(client, swap_hook, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_main, &work[i]), 0);
	while (atomic_load(&swaps) < SWAPS && ptni_clock_now_ns() < end_ns)
		(void)sched_yield();
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(work[i].error, 0);
		assert_int_equal(work[i].counted, 0); /* poison */
	}
	assert_true(atomic_load(&swaps) >= SWAPS);
	ptni_client_hook_remove(client, swap_hook, NULL);
	(void)close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads__count_right),
		cmocka_unit_test(operations__never_see_what_was_reclaimed),
	};

	(void)ptn_log_level_set("error");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
