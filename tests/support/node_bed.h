/* SPDX-License-Identifier: MIT */
/*
 * A node on the software NIC, stepped by hand under a clock of the test's own, and scripted clients
 * that speak the raw protocol to it. Nothing happens between two calls of these functions.
 *
 * The bed's service answers
 *   BED_GRANT     windows and possibly a lease of their own (struct bed_grant -> struct bed_granted)
 *   BED_DEFER     nothing until bed_answer_deferred()
 *   BED_TAKE_BACK as BED_GRANT, and closes the lease before the turn is over
 *   BED_WITHDRAW  takes the windows of the latest lease that touch a range; answered when it is done
 */
#ifndef PTNI_NODE_BED_H
#define PTNI_NODE_BED_H

#include "core/base/clock.h"
#include "core/fabric/fabric.h"
#include "core/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum {
	BED_GRANT = PTNI_OP_ALLOC_FIRST,
	BED_DEFER,
	BED_WITHDRAW,
	BED_TAKE_BACK,
	BED_LEASES = 512,
	BED_RECVS = 32,
	BED_TURNS = 64,
	BED_DEFERRED = 64,
};

struct bed_grant {
	struct ptni_message head;
	uint64_t term_ns; /* 0: under the session's lease */
	uint64_t offset; /* into the region */
	uint64_t len_bytes; /* of each window, side by side */
	uint32_t access, tag; /* of the first; the next ones count up */
	uint32_t count;
	uint32_t charge_bytes;
};

struct bed_granted {
	struct ptni_message head;
	struct ptni_lease_grant lease;
	uint32_t count, reserved;
	struct ptni_window_grant window[28];
};

struct bed_lease {
	struct bed *bed;
	struct ptni_node_lease *lease;
	struct ptni_node_session *session;
	uint32_t charge_bytes;
	uint32_t index, generation;
	int ended; /* times */
	enum ptni_lease_end how;
	uint32_t flags;
	uint64_t asked_ns, ended_ns; /* when the service opened it, when it ended */
};

struct bed {
	struct ptni_clock clock;
	uint64_t now_ns;
	char address[64];
	struct ptn_node *node;
	uint8_t *region;
	struct bed_lease lease[BED_LEASES];
	int lease_count, ended_count;
	int sessions_ended, handled;
	struct {
		struct ptni_node_lane *lane;
		const struct ptni_message *message;
	} deferred[BED_DEFERRED];
	int deferred_count;
	int ticks;
	bool running; /* by its own thread, in real time: turns are waited for, not made */
};

/* Defaults for what is zero; the clock starts at 1 s. */
void bed_open(struct bed *bed, const struct ptn_node_options *options);
void bed_open_real_time(struct bed *bed, const struct ptn_node_options *options);
/* From here on its own thread runs it; the bed's records may be read after bed_info(). */
void bed_run(struct bed *bed);
void bed_close(struct bed *bed);
/* Turns until nothing more happens. */
void bed_turns(struct bed *bed);
void bed_pass(struct bed *bed, uint64_t ns); /* time passes in steps of 50 us, with turns */
void bed_answer_deferred(struct bed *bed, int status);
/* While held, the node's loop-back queue pairs take work and post none of it. */
void bed_hold_manager(struct bed *bed, bool hold);
struct ptn_node_info bed_info(struct bed *bed);

/* --- a client ------------------------------------------------------------------------------------ */

struct raw_lane {
	struct raw_client *client;
	uint32_t worker, lane;
	struct ibv_qp *qp;
	uint8_t *recv; /* BED_RECVS messages */
	uint64_t *scratch;
	int refused; /* status of PTNI_LANE_ADDR */
	uint32_t page_rkey, status_rkey;
	uint8_t inbox[64][PTNI_MESSAGE_MAX];
	int inbox_count;
	int sent_status; /* of the last one-sided request: -1 none yet */
	bool sent_done;
	bool broken;
	uint32_t recvs_held; /* do not post RECVs again */
};

struct raw_client {
	struct bed *bed;
	struct ptni_fabric *fabric;
	const struct ptni_fabric_ops *ops;
	struct ptni_channel *channel;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	uint8_t *memory;
	struct ibv_mr *mr;
	size_t memory_used;
	struct ptni_welcome welcome;
	struct raw_lane *lane[64];
	int lane_count;
	uint32_t cookie;
	int lanes_lost; /* PTNI_LANE_LOST that came */
	struct ptni_ended ended; /* op != 0 once it came */
};

/* Dial and say hello; asserts that it is welcome unless status_out is given. */
void raw_open(struct raw_client *client, struct bed *bed, uint64_t term_ns);
int raw_hello(struct raw_client *client, struct bed *bed, const void *hello, size_t len_bytes);
struct ptni_hello raw_hello_make(uint64_t term_ns);
void raw_close(struct raw_client *client); /* as a death: no goodbye */
struct raw_lane *raw_lane_open(struct raw_client *client, uint32_t worker, uint32_t lane);
struct raw_lane *raw_lane_try(struct raw_client *client, uint32_t worker, uint32_t lane);
/* PTNI_LANE_CLOSE and wait for the answer; returns turns of the bed it took. */
void raw_lane_close(struct raw_lane *lane);
void raw_channel_send(struct raw_client *client, const void *message, size_t len_bytes);
/* Returns its length, 0 if nothing came. PTNI_LANE_LOST are counted and passed over. */
int raw_channel_recv(struct raw_client *client, void *message, size_t capacity);

/* Post only; head's len, cookie (when zero) and epoch are filled in. Returns the cookie. */
uint32_t raw_send(struct raw_lane *lane, void *message, size_t len_bytes);
void raw_send_bytes(struct raw_lane *lane, const void *bytes, size_t len_bytes);
void raw_poll(struct raw_client *client);
/* The oldest message of that op in the inbox (any: 0), removed; false if there is none. */
bool raw_take(struct raw_lane *lane, uint16_t op, void *message, size_t capacity);
/* Turns (or time, when the node runs) until it comes. */
bool raw_await(struct raw_lane *lane, uint16_t op, void *message, size_t capacity);
/* Send, await, take the reply; returns its status. */
int raw_call(struct raw_lane *lane, void *message, size_t len_bytes, void *reply, size_t capacity);
int raw_grant(struct raw_lane *lane, uint64_t term_ns, uint64_t offset, uint64_t len_bytes,
	      uint32_t access, uint32_t tag, uint32_t count, struct bed_granted *granted_out);
int raw_release(struct raw_lane *lane, const struct ptni_lease_grant *lease, uint32_t flags);
/* One-sided; the work completion's status. A failure breaks the lane. */
int raw_read(struct raw_lane *lane, uint32_t rkey, uint64_t addr, uint64_t *value_out);
int raw_write(struct raw_lane *lane, uint32_t rkey, uint64_t addr, uint64_t value);
int raw_cas(struct raw_lane *lane, uint32_t rkey, uint64_t addr, uint64_t expected,
	    uint64_t desired, uint64_t *old_out);
/* CAS on a lease's word from {generation, units} to {generation, units_new}; true if it succeeded. */
bool raw_extend(struct raw_lane *lane, const struct ptni_lease_grant *lease, uint32_t units,
		uint32_t units_new, uint64_t *old_out);

enum {
	BED_READ = IBV_ACCESS_REMOTE_READ,
	BED_WRITE = IBV_ACCESS_REMOTE_WRITE,
	BED_ATOMIC = IBV_ACCESS_REMOTE_ATOMIC,
	BED_ALL = BED_READ | BED_WRITE | BED_ATOMIC,
};

#endif
