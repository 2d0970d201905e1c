/* SPDX-License-Identifier: MIT */
/*
 * Reclamation epochs on the client's side: when may the keeper vouch for a node's epoch E?
 *
 * Every operation pins the client's local epoch L in its slot for as long as it runs. L only grows.
 *
 *   keeper                                       worker (operation)
 *   ------                                       ------------------
 *   READ E from the node                         a. pin = L          (plain store)
 *   1. floor = ++L; barrier for everyone         b. read caches, read remotely, use what was found,
 *      wait until no pin is below floor             fill caches with what was read remotely
 *   2. run the hooks: they clean the caches;     c. pin = 0          (release)
 *      reported = E, for caches that compare
 *   3. floor = ++L; barrier for everyone
 *      wait until no pin is below floor
 *   4. wait until the node has closed every lane that broke
 *   WRITE report = E
 *
 * Claim: after the report nobody here uses an object that was unlinked before E was read.
 *
 * An operation that the first wait does not wait for has stored its pin after the barrier of step 1, thus
 * after E was read, so nothing that was unlinked before can be found remotely by it any more: only a cache
 * leads there. After the first wait only such operations run, hence nothing stale enters a cache any
 * more (caches are filled from remote reads only). So the caches that the hooks leave behind are clean and stay
 * clean. A cache too large to be cleaned keeps with each entry the epoch when it was read remotely, and takes it for
 * stale once `reported` is past that. Operations that looked before the cleaning, or before `reported`
 * changed, stored their pin before the barrier of step 3, and the second wait waits for them. Those that come
 * later find clean caches and the new `reported`.
 *
 * An operation that gave up before its lane was fenced has ended, but what it had on its way may land yet (a
 * CAS or an addition, on memory that would be something else by then). That is what 4 is for.
 *
 * The barrier: pin is a plain store followed by plain loads, which a CPU may swap. membarrier(2) makes every
 * running thread of the process pass a full barrier. If the store of pin comes before that barrier in the
 * thread's program order, the keeper sees it afterwards. If it comes after, so do all later loads of the
 * operation, and they see what the keeper did before (an L that was loaded earlier only makes the pin
 * look older than it is, which is careful). Where membarrier(2) is missing, and under the thread
 * sanitizer which does not know it, workers pin with an atomic exchange and the keeper looks with a
 * read-modify-write: of two such on one word one comes first and the later one synchronises with it.
 */
#include "core/epoch.h"

#include "core/base/planted.h"
#include "core/base/sanitizer.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void ptni_epoch_init(struct ptn_client *client)
{
	atomic_init(&client->epoch_local, 1);
	client->pin_fenced = PTNI_TSAN || syscall(__NR_membarrier,
						  MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

static uint64_t floor_raise(struct ptn_client *client)
{
	uint64_t floor =
		atomic_fetch_add_explicit(&client->epoch_local, 1, memory_order_acq_rel) + 1;

	/* It was registered, so it can only fail if the kernel is broken; a pin might then be missed. */
	if (!client->pin_fenced && syscall(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0))
		return 0;
	return floor;
}

static bool worker_left(struct ptn_worker *worker, uint64_t floor)
{
	for (unsigned i = 0; i < PTNI_OPS_MAX; i++) {
		_Atomic uint64_t *pin = &worker->slot[i].pin;
		uint64_t value = worker->pin_fenced ?
					 atomic_fetch_add_explicit(pin, 0, memory_order_acq_rel) :
					 atomic_load_explicit(pin, memory_order_acquire);

		if (value && value < floor)
			return false;
	}
	return true;
}

static bool all_left(struct ptn_client *client, uint64_t floor)
{
	bool left = true;

	pthread_mutex_lock(&client->lock);
	for (unsigned i = 0; left && i < client->workers_max; i++)
		if (client->worker[i])
			left = worker_left(client->worker[i], floor);
	pthread_mutex_unlock(&client->lock);
	return left;
}

/* Operations are bounded by their deadlines, so this ends; the session may end first. */
static int pins_wait(struct ptn_worker *keeper, struct ptni_session *session)
{
	struct ptn_client *client = session->client;
	uint64_t floor = floor_raise(client);
	struct ptni_wait wait;

	if (!floor)
		return -ENOSYS;
	ptni_wait_begin(&wait, keeper, UINT64_MAX);
	while (!all_left(client, floor) && !ptni_planted(PTNI_BUG_REUSE_UNREPORTED)) {
		int error = ptni_session_error(session);

		if (error)
			return error;
		(void)ptni_wait_turn(&wait);
	}
	return 0;
}

/* May something of a lane's life that is over still land? */
static bool lane_open(struct ptni_lane *lane)
{
	enum ptni_lane_state state = ptni_lane_state(lane);

	return (state == PTNI_LANE_BROKEN || state == PTNI_LANE_DRAINED) &&
	       atomic_load_explicit(&lane->closed_generation, memory_order_acquire) <
		       lane->generation;
}

static bool lanes_closed(struct ptni_session *session)
{
	bool closed = true;

	pthread_mutex_lock(&session->control);
	for (unsigned i = 0; closed && i < session->client->workers_max; i++) {
		closed = !session->worker_closing[i];
		for (unsigned j = 0; closed && j < PTNI_LANES_MAX; j++)
			closed = !session->lane[i][j] || !lane_open(session->lane[i][j]);
	}
	pthread_mutex_unlock(&session->control);
	return closed;
}

/* A node that takes reports closes lanes, too; if it does not, the session ends. */
static int lanes_wait(struct ptn_worker *keeper, struct ptni_session *session)
{
	struct ptni_wait wait;

	ptni_wait_begin(&wait, keeper, UINT64_MAX);
	while (!lanes_closed(session) && !ptni_planted(PTNI_BUG_REUSE_UNREPORTED)) {
		int error = ptni_session_error(session);

		if (error)
			return error;
		(void)ptni_wait_turn(&wait);
	}
	return 0;
}

static int hooks_run(struct ptn_worker *keeper, struct ptni_session *session)
{
	struct ptn_client *client = session->client;
	int ret = 0;

	for (unsigned i = 0; !ret && i < PTNI_HOOKS_MAX; i++) {
		struct ptni_hook *hook = &client->hook[i];

		pthread_mutex_lock(&client->lock);
		int (*fn)(void *, struct ptn_worker *, unsigned) = hook->fn;
		void *arg = hook->arg;
		hook->running += fn != NULL;
		pthread_mutex_unlock(&client->lock);
		if (!fn)
			continue;
		ret = fn(arg, keeper, session->node);
		pthread_mutex_lock(&client->lock);
		hook->running--;
		(void)pthread_cond_broadcast(&client->hook_ended);
		pthread_mutex_unlock(&client->lock);
	}
	return ret;
}

/* Bytes that wait for the horizon, 0 once it has passed all that was asked for. */
static uint64_t garbage_waiting(struct ptni_session *session)
{
	uint64_t horizon = atomic_load_explicit(&session->horizon, memory_order_relaxed);

	if (horizon >= atomic_load_explicit(&session->want_horizon, memory_order_acquire))
		return 0;
	return atomic_load_explicit(&session->garbage_bytes, memory_order_relaxed) | 1;
}

/* READ the status page; tell the node that garbage waits here, in the same batch. */
static int status_read(struct ptn_worker *keeper, struct ptni_session *session)
{
	const struct ptni_window *status = ptni_window_status(keeper, session->node);
	const struct ptni_window *page = ptni_window_page(keeper, session->node);
	uint64_t garbage = garbage_waiting(session);
	struct ptni_status_page *copy;
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *want;
	int ret = ptni_op_begin(keeper, &op);

	if (ret)
		return ret;
	copy = ptni_op_buffer(&op, sizeof(*copy));
	want = ptni_op_buffer(&op, sizeof(*want));
	ptni_batch_init(&batch, &op, session->node);
	if (garbage != session->want) {
		*want = garbage;
		ptni_batch_write(&batch, page,
				 page->addr + offsetof(struct ptni_session_page, want), want,
				 sizeof(*want));
	}
	ptni_batch_read(&batch, status, status->addr, copy, sizeof(*copy));
	ret = ptni_batch_run(&batch);
	if (!ret) {
		session->want = garbage;
		atomic_store_explicit(&session->epoch, copy->epoch, memory_order_release);
		atomic_store_explicit(&session->horizon, copy->horizon, memory_order_release);
	}
	ptni_op_end(&op);
	return ret;
}

static int report_write(struct ptn_worker *keeper, struct ptni_session *session, uint64_t epoch)
{
	const struct ptni_window *page = ptni_window_page(keeper, session->node);
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *report;
	int ret = ptni_op_begin(keeper, &op);

	if (ret)
		return ret;
	report = ptni_op_buffer(&op, sizeof(*report));
	*report = epoch;
	ptni_batch_init(&batch, &op, session->node);
	ptni_batch_write(&batch, page, page->addr + offsetof(struct ptni_session_page, report),
			 report, sizeof(*report));
	ret = ptni_batch_run(&batch);
	ptni_op_end(&op);
	if (!ret)
		PTNI_COUNT(keeper->counters, quiescents);
	return ret;
}

int ptni_epoch_learn(struct ptn_worker *keeper, struct ptni_session *session)
{
	return status_read(keeper, session);
}

int ptni_epoch_turn(struct ptn_worker *keeper, struct ptni_session *session)
{
	int ret = status_read(keeper, session);
	uint64_t epoch = atomic_load_explicit(&session->epoch, memory_order_relaxed);
	uint64_t undone;

	if (ret || epoch <= session->vouched)
		return ret;
	ret = pins_wait(keeper, session);
	undone = atomic_load_explicit(&session->undone, memory_order_acquire);
	if (!ret)
		ret = hooks_run(keeper, session);
	if (ret)
		return ret;
	atomic_store_explicit(&session->reported, epoch, memory_order_release);
	ret = pins_wait(keeper, session);
	if (!ret && atomic_load_explicit(&session->undone, memory_order_acquire) != undone)
		ret = -EAGAIN; /* an operation left something for the hooks: they run again */
	if (!ret)
		ret = lanes_wait(keeper, session);
	if (!ret)
		ret = report_write(keeper, session, epoch);
	if (!ret)
		session->vouched = epoch;
	return ret;
}

bool ptni_epoch_hurried(struct ptni_session *session)
{
	return garbage_waiting(session) != 0;
}

/* --- for the layers above ------------------------------------------------------------------------ */

void ptni_client_epochs(const struct ptn_client *client, unsigned node,
			struct ptni_epochs *epochs_out)
{
	const struct ptni_session *session = client->session[node];

	epochs_out->reported = atomic_load_explicit(&session->reported, memory_order_acquire);
	epochs_out->horizon = atomic_load_explicit(&session->horizon, memory_order_acquire);
	epochs_out->epoch = atomic_load_explicit(&session->epoch, memory_order_acquire);
}

void ptni_client_want_epoch(struct ptn_client *client, unsigned node, uint64_t garbage_bytes)
{
	struct ptni_session *session = client->session[node];
	uint64_t epoch = atomic_load_explicit(&session->epoch, memory_order_relaxed);

	/* What is unlinked now may carry the tag epoch + 1, and is free when the horizon is past that. */
	atomic_store_explicit(&session->garbage_bytes, garbage_bytes, memory_order_relaxed);
	if (atomic_exchange_explicit(&session->want_horizon, epoch + 2, memory_order_acq_rel) <
	    epoch + 2)
		ptni_client_wake_keeper(client);
}

void ptni_client_report_later(struct ptn_client *client, unsigned node)
{
	(void)atomic_fetch_add_explicit(&client->session[node]->undone, 1, memory_order_acq_rel);
}

int ptni_client_hook_add(struct ptn_client *client,
			 int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg)
{
	int ret = -ENOSPC;

	pthread_mutex_lock(&client->lock);
	for (unsigned i = 0; ret && i < PTNI_HOOKS_MAX; i++)
		if (!client->hook[i].fn && !client->hook[i].running) {
			client->hook[i] = (struct ptni_hook){ .fn = hook, .arg = arg };
			ret = 0;
		}
	pthread_mutex_unlock(&client->lock);
	return ret;
}

/* Takes it out of the table; true while it still runs. Client lock held. */
static bool hook_take(struct ptn_client *client,
		      int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg)
{
	bool running = false;

	for (unsigned i = 0; i < PTNI_HOOKS_MAX; i++) {
		struct ptni_hook *entry = &client->hook[i];

		if (entry->arg == arg && entry->fn == hook) {
			entry->fn = NULL;
			entry->removed_fn = hook;
		}
		if (entry->arg == arg && entry->removed_fn == hook)
			running |= entry->running != 0;
	}
	return running;
}

/* Returns when the hook does not run any more; not to be called by the hook itself. */
void ptni_client_hook_remove(struct ptn_client *client,
			     int (*hook)(void *, struct ptn_worker *, unsigned node), void *arg)
{
	pthread_mutex_lock(&client->lock);
	while (hook_take(client, hook, arg)) {
		if (!ptni_fiber_current() && !client->options.manual_keeper) {
			(void)pthread_cond_wait(&client->hook_ended, &client->lock);
			continue;
		}
		pthread_mutex_unlock(&client->lock);
		(void)ptn_client_keep(client);
		if (ptni_fiber_current())
			ptni_fiber_suspend();
		pthread_mutex_lock(&client->lock);
	}
	pthread_mutex_unlock(&client->lock);
}
