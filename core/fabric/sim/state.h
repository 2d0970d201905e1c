/* SPDX-License-Identifier: MIT */
/*
 * Inside of the simulator.
 *
 *   event.c    queue of events, time, chance, hash, observers     process.c  processes, tasks, clocks, death
 *   nic.c      the fabric's table: a software NIC, supervised     queue.c    posting, order, completions
 *   execute.c  one request: faults, slices, verdict               ghost.c    what lands after its queue pair broke
 *   channel.c  control channels                                 pace.c     the model: who waits for what
 *   cut.c      partitions that heal
 *
 * What events name (queue pairs, tasks, channels, ghosts) lives until the simulation closes; an event
 * carries the object's stamp of when it was made and is void once that has changed.
 */
#ifndef PTNI_SIM_STATE_H
#define PTNI_SIM_STATE_H

#include "core/base/fiber.h"
#include "core/fabric/sim/sim.h"
#include "core/fabric/soft/soft.h"

struct sim_nic;
struct sim_qp;
struct sim_writeback;

/* First member of everything that lives until the end. */
struct sim_object {
	struct sim_object *next;
	void (*free)(struct sim_object *object);
};

struct sim_event {
	uint64_t time_ns;
	uint64_t order; /* chance, then number */
	void (*fn)(void *arg, uint64_t stamp);
	void *arg;
	uint64_t stamp;
};

struct sim_clock {
	struct ptni_clock clock; /* first */
	struct ptni_sim_process *process;
	uint64_t base_ns;
	int64_t drift_ppm;
	uint64_t ahead_ns; /* by the steps of ptni_sim_faults; in base_ns already */
};

struct ptni_sim_task {
	struct sim_object object;
	struct ptni_sim_process *process;
	struct ptni_sim_task *next; /* of its process */
	struct ptni_fiber *fiber;
	const char *name;
	void (*fn)(void *arg);
	void *arg;
	uint64_t stamp, wake_ns;
	uint64_t sleep_until_ns, doze_ns, backoff_ns;
	uint64_t charge_ns, busy_until_ns; /* CPU time of this turn; end of the last one */
	uint32_t number;
	bool running, woken, ended;
};

struct ptni_sim_process {
	struct sim_object object;
	struct ptni_sim *sim;
	const char *name;
	struct sim_clock clock;
	struct sim_port *port;
	struct ptni_sim_task *tasks, **tasks_end;
	struct sim_nic *nics;
	struct ptni_channel *channels;
	struct ptni_fiber_pool *pool;
	uint64_t paused_until_ns;
	uint64_t verbs, kill_at; /* 0: never */
	enum ptni_sim_death kill_how;
	bool kill_silent;
	uint32_t number;
	bool dead;
};

/* Nothing gets through between the two; cut.c. */
struct sim_cut {
	struct ptni_sim_process *process, *peer; /* peer NULL: all others */
	uint64_t from_ns, until_ns;
};

enum {
	SIM_CUTS_MAX = 16
};

struct ptni_sim {
	struct ptni_sim_config config;
	struct ptni_rng chance, driver;
	uint64_t now_ns, number, events, hash;
	struct sim_event *heap;
	uint32_t count, capacity;
	bool stop;
	uint32_t processes, tasks, nics;
	struct ptni_sim_process *current;
	struct ptni_sim_task *task;
	struct sim_object *objects;
	struct ptni_listener *listeners;
	struct sim_nic *open_nics;
	struct ptni_sim_observer observer[PTNI_SIM_OBSERVERS_MAX];
	unsigned observers;
	struct sim_cut cut[SIM_CUTS_MAX];
	unsigned cuts; /* 0: none has been made yet */
};

/* ---- event.c */

int ptni_sim_event_add(struct ptni_sim *sim, uint64_t time_ns, void (*fn)(void *, uint64_t),
		       void *arg, uint64_t stamp);
void ptni_sim_object_add(struct ptni_sim *sim, struct sim_object *object,
			 void (*free_fn)(struct sim_object *));
void ptni_sim_tell(struct ptni_sim *sim, struct ptni_sim_event *event);

/* True once in `one_in`; never for 0. */
static inline bool sim_chance(struct ptni_sim *sim, uint32_t one_in)
{
	return one_in && !ptni_rng_below(&sim->chance, one_in);
}

/* 0 .. below - 1; 0 for 0. */
static inline uint64_t sim_draw(struct ptni_sim *sim, uint64_t below)
{
	return below ? ptni_rng_below(&sim->chance, below) : 0;
}

/* ---- process.c */

/* Something arrived for it: its tasks run soon. */
void ptni_sim_wake(struct ptni_sim_process *process);
/* The same for who polls that completion queue, if the model is on and somebody does. */
void ptni_sim_wake_poller(struct sim_nic *nic, uint32_t cq_index);
/* Virtual time with the CPU time that the running task has used. */
uint64_t ptni_sim_cpu_now_ns(const struct ptni_sim *sim);
/* Whoever calls this on behalf of a dead process does not return. */
void ptni_sim_enter(const struct ptni_sim_process *process);
void ptni_sim_processes_close(struct ptni_sim *sim);
/* Counts posted requests; may not return. */
void ptni_sim_posted(struct ptni_sim_process *process);

/* ---- nic.c */

struct sim_nic {
	struct sim_object object;
	struct soft_nic *soft; /* NULL once closed */
	struct ptni_sim *sim;
	struct ptni_sim_process *process;
	struct sim_nic *next; /* of its process */
	struct sim_nic *open_next;
	struct sim_qp *qps;
	struct ptni_fabric_ops ops;
	const struct ptni_fabric_ops *soft_ops;
	uint32_t windows;
	uint64_t sender_free_ns, responder_free_ns;
	struct sim_writeback *writebacks; /* under way in this NIC's memory */
	struct ptni_sim_task **poller; /* by index of the completion queue: who polled it last */
	uint32_t pollers;
};

static inline struct sim_nic *sim_nic_of(struct ibv_context *context)
{
	return soft_nic_of(context)->driver;
}

void ptni_sim_nics_close(struct ptni_sim *sim);
/* The process died: what its NICs were told goes as far as `how` says. */
void ptni_sim_nics_die(struct ptni_sim_process *process, enum ptni_sim_death how);

/* ---- queue.c */

enum sim_fate {
	FATE_NONE, /* not decided yet */
	FATE_GOOD,
	FATE_REFUSED,
	FATE_LOST, /* never executed, transport error */
	FATE_UNHEARD, /* executed, transport error all the same */
	FATE_GHOST, /* transport error, executed later */
	FATE_BAD_BIND,
};

/* What is known of a request in the queue beyond its work queue entry. */
struct sim_request {
	uint64_t due_ns; /* at who executes; SIM_UNDERWAY: has not come there yet */
	uint64_t done_ns; /* the requester's CPU can see it */
	uint64_t wait_since_ns;
	int verdict;
	uint32_t len, moved;
	uint32_t first_slice; /* of a shuffled order */
	enum sim_fate fate;
	bool waiting, backward;
};

struct sim_qp {
	struct sim_object object;
	struct soft_qp *soft; /* NULL once closed */
	struct sim_nic *nic;
	struct sim_qp *next; /* of its NIC */
	struct sim_request *request; /* ring, as soft->wqes */
	uint64_t number; /* of the request at index 0: numbers go on over resets */
	uint64_t stamp;
	uint64_t free_ns, due_last_ns, done_last_ns;
	uint64_t arrive_last_ns, local_last_ns; /* pace.c */
	uint64_t steps_left; /* of a dead process; else UINT64_MAX */
	uint32_t posted_seen; /* requests that have a due time */
	uint32_t next_index; /* to execute */
	uint32_t issue_index, launch_index, arrive_index; /* under way: the first that has yet to */
	uint32_t fetching; /* 1 + index of a READ that may still fetch its bytes anew */
	uint32_t peer_qp;
	struct sim_nic *peer_nic; /* NULL: never connected */
	bool executing; /* an event will */
	bool halted; /* by a failure whose completion has not been delivered yet */
};

static inline struct sim_request *sim_request_at(struct sim_qp *qp, uint32_t index)
{
	return &qp->request[index & qp->soft->wqe_mask];
}

int ptni_sim_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr);
/* Its queue is empty or flushed: what was on its way is void, or a ghost. */
void ptni_sim_qp_cut(struct sim_qp *qp, enum ptni_sim_kind kind, bool ghosts);
void ptni_sim_qp_freeze(struct sim_qp *qp, enum ptni_sim_death how);
struct ptni_sim_event ptni_sim_event_of(const struct sim_qp *qp, enum ptni_sim_kind kind);

/* ---- execute.c */

enum {
	SIM_AGAIN = -1, /* at sim_request.due_ns */
	SIM_SLICED = -2, /* one slice has moved */
	SIM_INSIDE = -3, /* the same, and the next one may be long in coming */
};
#define SIM_GIVEN_UP UINT64_MAX
/* When a request, or its answer, is to be tried again because the network is cut; 0: it is not. SIM_GIVEN_UP: the
 * retry limit is reached. */
uint64_t ptni_sim_cut_off(struct sim_qp *qp, struct sim_request *request);
/* One step of a request: a verdict, or one of the above. */
int ptni_sim_execute(struct sim_qp *qp, uint32_t index);
/* How many steps a request takes. */
uint64_t ptni_sim_steps(struct sim_qp *qp, const struct ibv_send_wr *wr);
uint64_t ptni_sim_bytes(const struct ibv_send_wr *wr);
/* Ends an announcement and wakes who is to look. */
void ptni_sim_retire(struct soft_qp *soft, struct sim_nic *peer);

static inline bool sim_is_atomic(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_ATOMIC_CMP_AND_SWP || opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
}

static inline bool sim_is_access(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_RDMA_READ || opcode == IBV_WR_RDMA_WRITE ||
	       opcode == IBV_WR_RDMA_WRITE_WITH_IMM || sim_is_atomic(opcode);
}

static inline bool sim_is_send(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_SEND || opcode == IBV_WR_SEND_WITH_IMM ||
	       opcode == IBV_WR_SEND_WITH_INV;
}

/* ---- pace.c */

#define SIM_UNDERWAY UINT64_MAX

/* Nothing that was posted is to come any more. */
static inline void sim_all_past(struct sim_qp *qp)
{
	qp->next_index = qp->posted_seen;
	qp->issue_index = qp->launch_index = qp->arrive_index = qp->posted_seen;
}

/* What the NICs of one machine share. Times in ps. */
struct sim_port;

int ptni_sim_port_open(struct ptni_sim_process *process);
void ptni_sim_port_close(struct ptni_sim_process *process);

static inline bool sim_paced(const struct ptni_sim *sim)
{
	return sim->config.timing.link_ps_per_byte != 0;
}

/* The card has heard of a request: when it is due if this card executes it, else when it can go out. */
uint64_t ptni_sim_pace_issue(struct sim_qp *qp, const struct ibv_send_wr *wr);
/* It goes out: when it arrives. */
uint64_t ptni_sim_pace_launch(struct sim_qp *qp, const struct ibv_send_wr *wr);
/* It arrives: when it is due. */
uint64_t ptni_sim_pace_arrive(struct sim_qp *qp, const struct ibv_send_wr *wr);
/* It was executed: when the requester's CPU can see that. */
uint64_t ptni_sim_pace_done(struct sim_qp *qp, const struct ibv_send_wr *wr);

static inline bool sim_is_local(enum ibv_wr_opcode opcode)
{
	return opcode == IBV_WR_BIND_MW || opcode == IBV_WR_LOCAL_INV;
}

/* ---- tell.c */

/* Everything of a request but its bytes; number as of `index`. */
struct ptni_sim_event ptni_sim_event_of_wr(const struct sim_qp *qp, enum ptni_sim_kind kind,
					   uint32_t index, const struct ibv_send_wr *wr,
					   int verdict);
void ptni_sim_tell_wr(const struct sim_qp *qp, enum ptni_sim_kind kind, uint32_t index,
		      const struct ibv_send_wr *wr, int verdict);

/* ---- ghost.c */

/* Requests first..end-1 of the queue pair were sent before it broke and land later, if at all. */
void ptni_sim_ghost_add(struct sim_qp *qp, uint32_t first, uint32_t end);

/* ---- cut.c */

/* Since when and until when nothing gets through between two processes; false: it does. */
bool ptni_sim_cut_between(const struct ptni_sim_process *process,
			  const struct ptni_sim_process *peer, struct sim_cut *cut_out);

static inline bool sim_is_cut(const struct ptni_sim_process *process,
			      const struct ptni_sim_process *peer, struct sim_cut *cut_out)
{
	return process->sim->cuts && ptni_sim_cut_between(process, peer, cut_out);
}

/* ---- channel.c */

int ptni_sim_listen(struct ptni_fabric *fabric, const char *address,
		    struct ptni_listener **listener_out);
int ptni_sim_accept(struct ptni_listener *listener, struct ptni_channel **channel_out);
void ptni_sim_listener_close(struct ptni_listener *listener);
int ptni_sim_listener_fd(struct ptni_listener *listener);
int ptni_sim_channel_fd(struct ptni_channel *channel);
int ptni_sim_dial(struct ptni_fabric *fabric, const char *address,
		  struct ptni_channel **channel_out);
int ptni_sim_channel_send(struct ptni_channel *channel, const void *data, size_t len);
int ptni_sim_channel_recv(struct ptni_channel *channel, void *data, size_t capacity);
void ptni_sim_channel_close(struct ptni_channel *channel);
void ptni_sim_channels_die(struct ptni_sim_process *process);

#endif
