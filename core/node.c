/* SPDX-License-Identifier: MIT */
/* A node's birth and end. */
#include "core/node.h"

#include "core/base/log.h"
#include "core/base/options.h"
#include "core/node_loop.h"

#include <errno.h>
#include <patronus/error.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	MEMORY_MIN_BYTES = 1 << 20,
	EXTENT_SHIFT_DEFAULT = 24,
	EXTENT_SHIFT_MIN = PTNI_PAGE_SHIFT,
	EXTENT_SHIFT_MAX = 40,
	EXTENTS_WANTED = 16,
	LEASES_MAX = PTNI_LEASE_WORDS - 1,
	SESSIONS_MAX = 1 << 16,
	DRIFT_MAX_PPM = 100000,
	CLOSE_TURNS = 100000,
};
#define MEMORY_DEFAULT_BYTES   (UINT64_C(256) << 20)
#define TERM_DEFAULT_NS        UINT64_C(500000000)
#define TERM_MAX_DEFAULT_NS    UINT64_C(3600000000000)
#define TERM_MAX_LIMIT_NS      (UINT64_C(1) << 60)
#define EPOCH_MIN_DEFAULT_NS   UINT64_C(5000000)
#define CLOSE_TIMEOUT_NS       UINT64_C(5000000000)
#define WINDOWS_DEFAULT        65536
#define REQUESTS_DEFAULT_PER_S 200000

uint64_t ptni_node_clock_ns(const struct ptn_node *node)
{
	return ptni_clock_read(node->clock);
}

uint64_t ptni_node_now_ns(const struct ptn_node *node)
{
	return ptni_node_clock_ns(node);
}

const struct ptn_node_options *ptni_node_options(const struct ptn_node *node)
{
	return &node->options;
}

void *ptni_node_region(struct ptn_node *node, size_t *len_bytes_out)
{
	if (len_bytes_out)
		*len_bytes_out = node->region_len_bytes;
	return node->region;
}

void ptni_node_memory_used(struct ptn_node *node, int64_t bytes)
{
	node->info.memory_used_bytes += (uint64_t)bytes;
}

/* --- options ---------------------------------------------------------------------------------------- */

#define DEFAULT(member, value)                     \
	do {                                       \
		if (!options->member)              \
			options->member = (value); \
	} while (0)

static void options_default(struct ptn_node_options *options)
{
	DEFAULT(memory_bytes, MEMORY_DEFAULT_BYTES);
	DEFAULT(term_ns, TERM_DEFAULT_NS);
	DEFAULT(term_max_ns, TERM_MAX_DEFAULT_NS);
	DEFAULT(epoch_min_ns, EPOCH_MIN_DEFAULT_NS);
	DEFAULT(session_workers_max, 64);
	DEFAULT(session_windows_max, WINDOWS_DEFAULT);
	DEFAULT(session_leases_max, LEASES_MAX);
	DEFAULT(session_requests_per_s, REQUESTS_DEFAULT_PER_S);
	DEFAULT(sessions_max, 256);
	DEFAULT(drift_ppm, 500);
	if (options->extent_shift)
		return;
	options->extent_shift = EXTENT_SHIFT_DEFAULT;
	while (options->extent_shift > EXTENT_SHIFT_MIN &&
	       options->memory_bytes >> options->extent_shift < EXTENTS_WANTED)
		options->extent_shift--;
}

static int options_check(const struct ptn_node_options *options)
{
	if (options->memory_bytes < MEMORY_MIN_BYTES || options->extent_shift < EXTENT_SHIFT_MIN ||
	    options->extent_shift > EXTENT_SHIFT_MAX ||
	    options->memory_bytes > SIZE_MAX - (UINT64_C(1) << options->extent_shift) ||
	    options->term_max_ns > TERM_MAX_LIMIT_NS || options->term_max_ns < PTNI_TERM_MIN_NS ||
	    options->session_workers_max > PTNI_WORKERS_MAX ||
	    options->session_leases_max > LEASES_MAX || options->sessions_max > SESSIONS_MAX ||
	    options->drift_ppm > DRIFT_MAX_PPM)
		return -EINVAL;
	if (options->credentials && strlen(options->credentials) > PTNI_CREDENTIALS_MAX)
		return -EINVAL;
	return 0;
}

static int options_take(struct ptn_node *node, const struct ptn_node_options *options)
{
	size_t extent_bytes;
	int ret = ptni_options_copy(&node->options, sizeof(node->options), options);

	if (ret)
		return ret;
	options_default(&node->options);
	if ((ret = options_check(&node->options)))
		return ret;
	extent_bytes = (size_t)1 << node->options.extent_shift;
	node->region_len_bytes = (node->options.memory_bytes + extent_bytes - 1) &
				 ~(extent_bytes - 1);
	node->options.memory_bytes = node->region_len_bytes;
	if (!node->options.session_bytes_max)
		node->options.session_bytes_max = node->region_len_bytes;
	if (node->options.credentials) {
		node->credentials = strdup(node->options.credentials);
		if (!node->credentials)
			return -ENOMEM;
		node->options.credentials = node->credentials;
	}
	return 0;
}

/* --- open --------------------------------------------------------------------------------------------- */

static int region_open(struct ptn_node *node)
{
	const int windows = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND;
	const int everything = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
			       IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
	int ret = node->ops->memory_alloc(node->fabric, node->region_len_bytes, &node->region);

	if (!ret)
		ret = node->ops->mr_register(node->pd, node->region, node->region_len_bytes,
					     windows, &node->region_mr);
	if (!ret && node->options.allow_unprotected)
		ret = node->ops->mr_register(node->pd, node->region, node->region_len_bytes,
					     everything, &node->open_mr);
	return ret;
}

/* Status page, a page per session: reached through windows only. */
static int control_open(struct ptn_node *node)
{
	uint32_t sessions = node->options.sessions_max;
	void *control;
	int ret;

	node->control_len_bytes = ((size_t)sessions + 1) * PTNI_PAGE_BYTES;
	ret = node->ops->memory_alloc(node->fabric, node->control_len_bytes, &control);
	if (ret)
		return ret;
	node->control = control;
	node->status = control;
	ret = node->ops->mr_register(node->pd, control, node->control_len_bytes,
				     IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND,
				     &node->control_mr);
	if (ret)
		return ret;
	node->pages_free = calloc(sessions, sizeof(*node->pages_free));
	if (!node->pages_free)
		return -ENOMEM;
	for (uint32_t i = 0; i < sessions; i++)
		node->pages_free[node->pages_tail++] = i;
	return 0;
}

static int listener_open(struct ptn_node *node, const char *address)
{
	int ret = node->ops->listen(node->fabric, address, &node->listener);

	if (ret)
		return ret;
	node->listener_source = (struct ptni_source){
		.kind = PTNI_SOURCE_LISTENER,
		.fd = node->ops->listener_fd(node->listener),
	};
	return ptni_loop_watch(node, &node->listener_source);
}

/* What could not be finished: broken managers, accesses under way, starving lanes, full channels. */
static void leftovers(struct ptn_node *node)
{
	struct ptni_node_session *session;
	struct ptni_node_lane *lane;

	ptni_managers_beat(node);
	ptni_mws_beat(node);
	cds_list_for_each_entry(session, &node->sessions, link) {
		ptni_node_session_outbox_flush(session);
		cds_list_for_each_entry(lane, &session->lanes, link)
			ptni_node_lane_beat(lane);
	}
}

/* About every millisecond while something happens, ever less often while nothing does. */
static void beat(struct ptni_wheel *wheel, struct ptni_wheel_node *timer)
{
	struct ptn_node *node = caa_container_of(timer, struct ptn_node, beat);
	bool active = node->active;

	node->active = false;
	leftovers(node);
	ptni_epochs_beat(node);
	node->beat_ns = active || node->active           ? PTNI_BEAT_MIN_NS :
			node->beat_ns < PTNI_BEAT_MAX_NS ? 2 * node->beat_ns :
							   PTNI_BEAT_MAX_NS;
	ptni_wheel_add(wheel, timer, ptni_node_clock_ns(node) + node->beat_ns, beat);
}

void ptni_node_beat_soon(struct ptn_node *node)
{
	node->active = true;
	if (node->beat_ns <= PTNI_BEAT_MIN_NS)
		return;
	node->beat_ns = PTNI_BEAT_MIN_NS;
	ptni_wheel_add(&node->wheel, &node->beat, ptni_node_clock_ns(node) + node->beat_ns, beat);
}

static void lists_init(struct ptn_node *node)
{
	CDS_INIT_LIST_HEAD(&node->cqs);
	CDS_INIT_LIST_HEAD(&node->sessions);
	CDS_INIT_LIST_HEAD(&node->guests);
	CDS_INIT_LIST_HEAD(&node->dirty);
	CDS_INIT_LIST_HEAD(&node->lanes_done);
	CDS_INIT_LIST_HEAD(&node->sessions_done);
	CDS_INIT_LIST_HEAD(&node->sessions_waiting);
	CDS_INIT_LIST_HEAD(&node->workers_done);
	CDS_INIT_LIST_HEAD(&node->leases_ended);
	CDS_INIT_LIST_HEAD(&node->withdrawals_done);
	CDS_INIT_LIST_HEAD(&node->mw_idle);
	CDS_INIT_LIST_HEAD(&node->mw_stubborn);
	CDS_INIT_LIST_HEAD(&node->requests);
}

static int node_build(struct ptn_node *node, const char *address,
		      const struct ptn_node_options *options)
{
	int ret;

	if ((ret = options_take(node, options)) || (ret = ptni_loop_open(node)) ||
	    (ret = ptni_fabric_open(address, NULL, &node->fabric)))
		return ret;
	node->ops = node->fabric->ops;
	node->ops->limits(node->fabric, &node->limits);
	if ((ret = node->ops->pd_open(node->fabric, &node->pd)) || (ret = region_open(node)) ||
	    (ret = control_open(node)) || (ret = ptni_managers_open(node)))
		return ret;
	ptni_epochs_open(node);
	node->beat_ns = PTNI_BEAT_MIN_NS;
	ptni_wheel_add(&node->wheel, &node->beat, ptni_node_clock_ns(node) + node->beat_ns, beat);
	return listener_open(node, address);
}

static void node_destroy(struct ptn_node *node);

int ptni_node_open_clock(const char *address, const struct ptn_node_options *options,
			 struct ptni_clock *clock, struct ptn_node **node_out)
{
	struct ptn_node *node = calloc(1, sizeof(*node));
	int ret;

	if (!node)
		return -ENOMEM;
	node->clock = clock;
	node->epoll_fd = node->wake_source.fd = -1;
	lists_init(node);
	ptni_wheel_init(&node->wheel, ptni_node_clock_ns(node));
	pthread_mutex_init(&node->lock, NULL);
	pthread_cond_init(&node->answered, NULL);
	ret = node_build(node, address, options);
	if (ret) {
		node_destroy(node);
		return ret;
	}
	*node_out = node;
	return 0;
}

int ptni_node_open(const char *address, const struct ptn_node_options *options,
		   struct ptn_node **node_out)
{
	return ptni_node_open_clock(address, options, &ptni_clock_real, node_out);
}

int ptni_node_service_add(struct ptn_node *node, const struct ptni_service *service)
{
	if (node->service_count == PTNI_SERVICES_MAX)
		return -ENOSPC;
	node->services[node->service_count++] = *service;
	return 0;
}

int ptni_node_run(struct ptn_node *node)
{
	int ret;

	pthread_mutex_lock(&node->lock);
	ret = node->running ? -EALREADY :
			      -pthread_create(&node->thread, NULL, ptni_loop_main, node);
	if (!ret)
		node->running = true;
	pthread_mutex_unlock(&node->lock);
	return ret;
}

int ptni_node_step(struct ptn_node *node)
{
	return ptni_loop_turn(node, true);
}

/* --- close ------------------------------------------------------------------------------------------- */

static void thread_stop(struct ptn_node *node)
{
	uint64_t one = 1;

	if (!node->running)
		return;
	__atomic_store_n(&node->stop, true, __ATOMIC_RELEASE);
	(void)!write(node->wake_source.fd, &one, sizeof(one));
	pthread_join(node->thread, NULL);
	node->running = false;
}

/* By hand from here on: in good order, and if the NIC does not answer, without it. */
static void sessions_end(struct ptn_node *node)
{
	uint64_t start_ns = ptni_clock_now_ns();
	struct ptni_node_session *session;
	struct ptni_guest *guest, *next;

	node->closing = true;
	cds_list_for_each_entry_safe(guest, next, &node->guests, link)
		ptni_guest_close(guest);
	cds_list_for_each_entry(session, &node->sessions, link)
		ptni_node_session_fence(session, PTN_E_NODE_CLOSING);
	for (int i = 0; i < CLOSE_TURNS && node->info.sessions; i++) {
		ptni_node_step(node);
		if (ptni_clock_now_ns() - start_ns > CLOSE_TIMEOUT_NS)
			break;
	}
	if (node->info.sessions)
		PTNI_LOG(ERROR, core, "%u sessions could not be ended in time",
			 node->info.sessions);
}

static void services_close(struct ptn_node *node)
{
	/* The last turn must not beat for a service that is gone. */
	while (node->service_count > 0) {
		const struct ptni_service *service = &node->services[--node->service_count];

		if (service->close)
			service->close(service->arg);
	}
	ptni_node_step(node);
}

static void fabric_leave(struct ptn_node *node)
{
	const struct ptni_fabric_ops *ops = node->ops;

	if (node->listener) {
		ptni_loop_unwatch(node, &node->listener_source);
		ops->listener_close(node->listener);
	}
	ptni_mws_close(node);
	ptni_managers_close(node);
	ptni_cqs_close(node);
	ptni_buffers_close(node);
	if (node->open_mr)
		ops->mr_deregister(node->open_mr);
	if (node->region_mr)
		ops->mr_deregister(node->region_mr);
	if (node->control_mr)
		ops->mr_deregister(node->control_mr);
	if (node->region)
		ops->memory_free(node->fabric, node->region, node->region_len_bytes);
	if (node->control)
		ops->memory_free(node->fabric, node->control, node->control_len_bytes);
	if (node->pd)
		ops->pd_close(node->pd);
	ops->close(node->fabric);
}

static void node_destroy(struct ptn_node *node)
{
	if (node->fabric)
		fabric_leave(node);
	ptni_loop_close(node);
	ptni_table_close(node);
	pthread_mutex_destroy(&node->lock);
	pthread_cond_destroy(&node->answered);
	free(node->pages_free);
	free(node->credentials);
	free(node);
}

void ptn_node_close(struct ptn_node *node)
{
	if (!node)
		return;
	thread_stop(node);
	sessions_end(node);
	services_close(node);
	node_destroy(node);
}
