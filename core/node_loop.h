/* SPDX-License-Identifier: MIT */
/*
 * The node itself and its control loop: what one turn handles, what it sleeps on, who may ask it.
 */
#ifndef PTNI_NODE_LOOP_H
#define PTNI_NODE_LOOP_H

#include "core/base/clock.h"
#include "core/base/wheel.h"
#include "core/node_attempts.h"
#include "core/node_call.h"
#include "core/node_session.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	PTNI_CQ_ENTRIES = 32768,
	PTNI_POLL = 64, /* completions of one poll */
	PTNI_SPIN_NS = 50000,
	PTNI_BEAT_MIN_NS = 1000000,
	PTNI_BEAT_MAX_NS = 64000000,
	PTNI_WAIT_MAX_NS = 1000000000,
};

/* wr_id: id of the lane or manager (32), RECV or SEND (1), number (31). */
enum {
	PTNI_ID_SLOT_BITS = 20,
	PTNI_ID_SLOTS = 1 << PTNI_ID_SLOT_BITS,
	PTNI_ID_MANAGERS = PTNI_ID_SLOTS - PTNI_MANAGERS_MAX, /* slots from here on are managers' */
};
#define PTNI_WR_RECV (UINT64_C(1) << 31)

struct ptni_node_cq {
	struct ptn_node *node;
	struct ptni_source source;
	struct ibv_cq *cq;
	uint32_t entries, reserved;
	struct cds_list_head link;
};

struct epoll_event;
struct ptni_slab; /* of message buffers */

/* A question from another thread, answered by the control loop. */
struct ptni_request {
	void (*answer)(struct ptn_node *node, struct ptni_request *request);
	struct cds_list_head link;
	bool done;
	int ret;
	uint32_t id;
	void *out;
	size_t capacity;
};

struct ptni_node_epochs {
	uint64_t epoch, horizon;
	uint64_t advanced_ns; /* when E last grew */
	uint64_t looked_ns;
	uint64_t told_horizon; /* to the services */
	bool want; /* a service's */
};

struct ptn_node {
	struct ptn_node_options options;
	char *credentials;
	struct ptni_clock *clock;
	struct ptni_fabric *fabric;
	const struct ptni_fabric_ops *ops;
	struct ptni_fabric_limits limits;
	struct ibv_pd *pd;

	void *region;
	size_t region_len_bytes;
	struct ibv_mr *region_mr; /* windows only */
	struct ibv_mr *open_mr; /* for unprotected sessions */
	uint8_t *control; /* status page, session pages */
	size_t control_len_bytes;
	struct ibv_mr *control_mr;
	struct ptni_status_page *status;
	uint32_t *pages_free; /* oldest first, a ring of sessions_max */
	uint32_t pages_head, pages_tail;

	struct cds_list_head cqs;
	struct ptni_slab *slabs;
	struct ptni_node_lane **lanes; /* by id */
	uint16_t *lane_generations;
	uint32_t *lane_ids_free;
	uint32_t lane_ids_free_count, lanes_capacity;
	struct ptni_manager **managers;
	uint32_t manager_count;
	bool managers_full; /* the device has no more; asked again by the next beat */
	struct cds_list_head sessions_waiting; /* for a manager */

	struct ptni_wheel wheel;
	struct ptni_wheel_node beat;
	uint64_t beat_ns;
	bool active; /* something happened since the last beat */

	struct ptni_attempts attempts; /* at credentials */
	struct cds_list_head sessions, guests;
	uint32_t session_count, guest_count, session_id_last;
	struct ptni_service services[PTNI_SERVICES_MAX];
	uint32_t service_count;
	struct ptni_node_epochs epochs;
	struct cds_list_head dirty; /* lanes with something to send */
	struct cds_list_head lanes_done; /* to be looked at */
	struct cds_list_head sessions_done;
	struct cds_list_head workers_done;
	struct cds_list_head leases_ended;
	struct cds_list_head withdrawals_done;
	struct cds_list_head mw_idle; /* free ones of all lanes, oldest first */
	struct cds_list_head mw_stubborn; /* to be deallocated as soon as the NIC lets go */
	struct ptn_node_info info;
	bool closing;

	struct ptni_listener *listener;
	struct ptni_source listener_source, wake_source;
	int epoll_fd;
	struct epoll_event *events; /* of this turn */
	int event_count;
	bool running, stop, asked;
	pthread_t thread;
	pthread_mutex_t lock; /* requests */
	pthread_cond_t answered;
	struct cds_list_head requests;
};

/* node.c */
uint64_t ptni_node_clock_ns(const struct ptn_node *node);
/* Something is left over for the next beat: do not let it come late. */
void ptni_node_beat_soon(struct ptn_node *node);

/* node_loop.c */
int ptni_loop_open(struct ptn_node *node);
void ptni_loop_close(struct ptn_node *node);
int ptni_loop_watch(struct ptn_node *node, struct ptni_source *source);
void ptni_loop_unwatch(struct ptn_node *node, struct ptni_source *source);
int ptni_loop_turn(struct ptn_node *node, bool by_hand);
void *ptni_loop_main(void *node);
/* Have the control loop answer; at once when nobody runs it. */
int ptni_loop_ask(struct ptn_node *node, struct ptni_request *request);

/* node_cq.c: completion queues and message buffers, shared by lanes */
int ptni_cq_reserve(struct ptn_node *node, uint32_t entries, struct ptni_node_cq **cq_out);
void ptni_cq_release(struct ptni_node_cq *cq, uint32_t entries);
void ptni_cqs_close(struct ptn_node *node);
int ptni_buffer_get(struct ptn_node *node, uint8_t **buffer_out, uint32_t *lkey_out);
void ptni_buffer_put(struct ptn_node *node, uint8_t *buffer);
void ptni_buffers_close(struct ptn_node *node);

/* node_table.c: lanes by the id that their completions carry */
int ptni_table_add(struct ptn_node *node, struct ptni_node_lane *lane);
void ptni_table_remove(struct ptn_node *node, struct ptni_node_lane *lane);
struct ptni_node_lane *ptni_table_find(struct ptn_node *node, uint32_t id);
void ptni_table_close(struct ptn_node *node);

/* node_epoch.c */
void ptni_epochs_open(struct ptn_node *node);
void ptni_epochs_look(struct ptn_node *node);
void ptni_epochs_beat(struct ptn_node *node); /* look, services' ticks, and when to come again */

#endif
