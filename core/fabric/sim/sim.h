/* SPDX-License-Identifier: MIT */
/*
 * The simulator: the software NIC driven by an event queue. One thread, virtual time, one seed.
 *
 *   simulation ──┬── process (node or client) ── clock of its own, drifting
 *                │      ├── task: a fiber that runs the real code; whenever that waits, it suspends to us
 *                │      └── NIC: what ptni_fabric_open("sim:NAME") gives to who runs in that process
 *                ├── event queue: (time, chance, number)
 *                └── observers: told of everything that happens, from outside of the code under test
 *
 * A post copies the requests to the queue pair's queue and rings a doorbell. Events execute them, by the
 * software NIC's own checks (ptni_soft_run), in slices if so asked, and deliver their completions. Within a
 * queue pair both keep the order that the verbs promise, and no more; across queue pairs there is none.
 *
 *   post ──► begin ──► slice, slice, ... ──► end ─── completion queue ──► poll
 *            (responder: key, bounds, rights, at every slice)
 *
 * A process dies at a post or between events: none of its code runs any more (who would, is suspended for
 * good at its next call of the NIC or its clock); what its NIC was told before may still land, as the
 * manner of death says. A process that is paused keeps a running NIC.
 *
 * 1. The same seed, configuration and code above give the same events: ptni_sim_hash() tells. Nothing here reads
 *    real time or real randomness, and memory lies at the same addresses in every run.
 * 2. A fault is never worse than what the verbs allow a real card, network or process to do.
 * 3. The rights of a key end as on the software NIC: once a LOCAL_INV has completed, a deallocation or a
 *    move to error returned, no byte moves by them.
 *
 * Threads: one. Several simulations may follow each other; one is open at a time.
 */
#ifndef PTNI_SIM_H
#define PTNI_SIM_H

#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/fabric/fabric.h"

struct ptni_sim;
struct ptni_sim_process;
struct ptni_sim_task;

enum {
	PTNI_SIM_PROCESSES_MAX = 4096,
	PTNI_SIM_OBSERVERS_MAX = 8,
};

/*
 * When things happen, without faults; all 0 is allowed, order then comes from `turn` and the faults' jitter.
 * Each request costs its queue pair, its NIC, the wire, the responder's NIC; each of these does one at a time.
 */
struct ptni_sim_timing {
	uint32_t doorbell_ns; /* from the post until the NIC begins */
	uint32_t qp_request_ns; /* least time between two requests of a queue pair */
	uint32_t nic_request_ns; /* and of a NIC, as requester: 1 / message rate */
	uint32_t nic_response_ns; /* and as responder */
	uint32_t wire_ns; /* one way */
	uint32_t wire_ps_per_byte;
	uint32_t pcie_ns; /* once where a payload is fetched from memory: READ, WRITE not inline */
	uint32_t pcie_ps_per_byte;
	uint32_t read_ns, write_ns, atomic_ns, send_ns, bind_ns,
		invalidate_ns; /* at who executes */
	uint32_t completion_ns; /* until the CPU can see it */
	uint32_t channel_ns; /* a message of a control channel */
	uint32_t turn_ns; /* CPU: from what wakes a task until it runs */
	uint32_t turn_cost_ns; /* CPU: least time between two turns of a task */
	uint32_t idle_ns; /* longest sleep of a task that nothing wakes; 0 = 50 us */

	/* The model (model.h) goes on from here, if link_ps_per_byte is not 0: then rates are kept where
	 * the work is done, when it gets there, and only tasks that poll a completion queue are woken by
	 * it. nic_request_ns, nic_response_ns and wire_ps_per_byte have no meaning then. */
	uint32_t link_ps_per_byte; /* each direction of a machine's link, one message at a time */
	uint32_t message_bytes; /* on the link beyond the payload */
	uint32_t request_ps; /* as nic_request_ns */
	uint32_t read_ps, write_ps, atomic_ps; /* as nic_response_ns; SEND as WRITE */
	uint32_t atomic_word_ns; /* between two atomics on a word */
	uint32_t atomic_word_bits; /* words whose addresses agree in so many low bits count as one; 0 = all bits */
	uint32_t bind_ps, invalidate_ps; /* between two of a NIC */
	uint32_t cpu_doorbell_ns, cpu_request_ns,
		cpu_bind_ns; /* CPU: of a post, each request in it, each
								* BIND or LOCAL_INV in addition */
	uint32_t cpu_poll_ns, cpu_completion_ns,
		cpu_message_ns; /* of a poll, each completion in it, each
								  * that is a message in addition */
};

/* Each "one_in" is a rate: 1 in so many, 0 = never. Each "_ns" a maximum, drawn below it. */
struct ptni_sim_faults {
	uint32_t jitter_ns; /* on every request and completion */
	uint32_t late_one_in, late_ns; /* now and then much more */
	uint32_t slice_bytes; /* READ and WRITE move so many at a time (a multiple of 8); 0 = all at once */
	uint32_t slice_ns; /* between two slices */
	uint32_t slice_shuffle; /* not 0: slices in any order */
	uint32_t inside_one_in,
		inside_ns; /* a WRITE stays inside between two slices: who takes its right waits */
	uint32_t overtake_one_in; /* a WRITE, SEND or BIND passes READs and atomics posted before it */
	uint32_t writeback_one_in, writeback_ns; /* a CAS that fails writes the old value, later */
	uint32_t refuse_one_in; /* the responder refuses a good request: REM_ACCESS_ERR */
	uint32_t transport_one_in; /* RETRY_EXC_ERR: executed, or not, or executed later */
	uint32_t ghost_ns; /* how much later */
	uint32_t bind_one_in; /* a BIND fails */
	uint32_t window_one_in; /* no more windows: ibv_alloc_mw gives ENOMEM */
	uint32_t post_one_in; /* a post finds the queue full: ENOMEM */
	uint32_t channel_ns; /* on every message of a control channel */
	uint32_t turn_ns; /* on every turn of a task */
	uint32_t stall_one_in, stall_ns; /* a task does not run for so long */
	uint32_t drift_ppm; /* clocks are fast or slow by up to so much; when a process begins */
	uint32_t step_one_in,
		step_ns; /* before a task runs its process' clock jumps, either way: it is
					* never more than so much ahead of where its rate has it */
};

/* What each NIC offers; 0 = as the software NIC. */
struct ptni_sim_limits {
	uint32_t mw_max, cqe_max, wr_max;
	uint64_t memory_bytes; /* default 256 MiB of address space */
};

struct ptni_sim_config {
	uint64_t seed;
	struct ptni_sim_timing timing;
	struct ptni_sim_faults faults;
	struct ptni_sim_limits limits;
};

/* Becomes this thread's simulation: "sim:" addresses are its. -EBUSY: one is open already. */
int ptni_sim_open(const struct ptni_sim_config *config, struct ptni_sim **sim_out);
/* Everything ends, whatever still lives in it. NICs that the code under test left open go as well; its own
 * memory is lost. */
void ptni_sim_close(struct ptni_sim *sim);
struct ptni_sim *ptni_sim_current(void);

/* In force from now on; to be changed freely between events. */
struct ptni_sim_faults *ptni_sim_faults(struct ptni_sim *sim);
const struct ptni_sim_config *ptni_sim_config(const struct ptni_sim *sim);
uint64_t ptni_sim_now_ns(const struct ptni_sim *sim);
/* For whoever drives the simulation; the simulator's own draws come from elsewhere. */
struct ptni_rng *ptni_sim_rng(struct ptni_sim *sim);

/*
 * Execute events until the time comes, ptni_sim_stop() was called, or nothing is left to happen: 0. -ELOOP: more
 * than events_max of them.
 */
int ptni_sim_run(struct ptni_sim *sim, uint64_t until_ns, uint64_t events_max);
void ptni_sim_stop(struct ptni_sim *sim);
uint64_t ptni_sim_events(const struct ptni_sim *sim);
/* Of all that observers were told and all notes. */
uint64_t ptni_sim_hash(const struct ptni_sim *sim);
void ptni_sim_note(struct ptni_sim *sim, uint64_t value);
/* fn(arg) after a time, in no process. */
int ptni_sim_after(struct ptni_sim *sim, uint64_t delay_ns, void (*fn)(void *arg), void *arg);

/* ---- processes and tasks */

/* `name` is for messages and is not copied. Processes are numbered 0, 1, ... as they begin. */
int ptni_sim_process_open(struct ptni_sim *sim, const char *name,
			  struct ptni_sim_process **process_out);
uint32_t ptni_sim_process_number(const struct ptni_sim_process *process);
const char *ptni_sim_process_name(const struct ptni_sim_process *process);
/* The process' own: starts anywhere, drifts, and steps if so asked (ptni_sim_faults). */
struct ptni_clock *ptni_sim_process_clock(struct ptni_sim_process *process);
/* It jumps now, by so much, either way, and stays there. */
void ptni_sim_clock_step(struct ptni_sim_process *process, int64_t span_ns);
/* The process that runs now, NULL between. */
struct ptni_sim_process *ptni_sim_process_current(void);

/*
 * A task is a thread of its process: fn(arg) in a fiber. It runs for no time, until it suspends
 * (ptni_fiber_suspend, as every wait of the library does), and again once something arrives at its process' NICs
 * or channels, and otherwise after ever longer times up to timing.idle_ns.
 */
int ptni_sim_task_open(struct ptni_sim_process *process, const char *name, void (*fn)(void *arg),
		       void *arg, struct ptni_sim_task **task_out);
/* The calling task does not run before so much time has passed, whatever arrives. */
void ptni_sim_sleep(uint64_t span_ns);
/* The calling task's next sleep without a sign ends after so much time at the latest (one suspend). */
void ptni_sim_doze(uint64_t span_ns);
bool ptni_sim_task_ended(const struct ptni_sim_task *task);
/*
 * CPU time of the calling task: its process' clock, and what it posts from now on, are so much later; it does not
 * run again before. Nothing outside of a task.
 */
void ptni_sim_charge(uint64_t span_ns);
/* The processes' NICs are one card of one machine, for the model: to be said before either opens one. */
void ptni_sim_beside(struct ptni_sim_process *process, struct ptni_sim_process *other);

/* What the NIC of a dead process still does of what it was told. */
enum ptni_sim_death {
	PTNI_SIM_DRAIN, /* all of it */
	PTNI_SIM_DROP, /* nothing more, not even the next slice */
	PTNI_SIM_CUT, /* up to a point drawn for each queue pair, maybe within a request */
};

/* silent: its channels do not tell the peers (a machine that stopped, not a process). */
void ptni_sim_kill(struct ptni_sim_process *process, enum ptni_sim_death how, bool silent);
/* The same when the process posts its `verbs`-th request from now on, behind that request. 0 = not any more. */
void ptni_sim_kill_at(struct ptni_sim_process *process, uint64_t verbs, enum ptni_sim_death how,
		      bool silent);
/* Requests posted to send queues by this process so far. */
uint64_t ptni_sim_verbs(const struct ptni_sim_process *process);
bool ptni_sim_dead(const struct ptni_sim_process *process);
/* Its tasks do not run for so long; its NIC works on. */
void ptni_sim_pause(struct ptni_sim_process *process, uint64_t span_ns);

/*
 * Nothing gets through between a process and another (NULL: any other) for so long. Requests are tried again until
 * the retry limit of their queue pair, then end in a transport error, executed or not; what the limit outlasts
 * arrives late. Messages of channels wait. Cutting anew what is cut changes how long; 0 heals it at once.
 */
void ptni_sim_cut(struct ptni_sim_process *process, struct ptni_sim_process *peer,
		  uint64_t span_ns);
void ptni_sim_cuts_heal(struct ptni_sim *sim);

/* The control channels between two processes end, at both ends; what was sent before is still received. */
void ptni_sim_hang_up(struct ptni_sim_process *process, struct ptni_sim_process *peer);

/* ---- observers */

enum ptni_sim_kind {
	PTNI_SIM_REGION_OPEN, /* process; key, addr, len, access */
	PTNI_SIM_REGION_CLOSE, /* after its last access */
	PTNI_SIM_WINDOW_OPEN, /* key (not bound) */
	PTNI_SIM_WINDOW_CLOSE, /* ibv_dealloc_mw: its right has ended */
	PTNI_SIM_QP_OPEN, /* process, qp */
	PTNI_SIM_QP_CONNECT, /* and peer, peer_qp */
	PTNI_SIM_QP_ERROR, /* by its owner, or noticed by it */
	PTNI_SIM_QP_RESET,
	PTNI_SIM_QP_CLOSE, /* windows bound to it have ended */
	PTNI_SIM_POST, /* process, qp, number, opcode */
	PTNI_SIM_BIND, /* executed: key, addr, len, access, status */
	PTNI_SIM_INVALIDATE_BEGIN, /* executed: key, status; LOCAL_INV, or a peer's SEND_WITH_INV */
	PTNI_SIM_INVALIDATE_END, /* its completion was delivered (LOCAL_INV): key, status */
	PTNI_SIM_ACCESS_BEGIN, /* READ, WRITE, atomic: requester, responder, key, addr, len */
	PTNI_SIM_ACCESS_SLICE, /* these bytes have moved: addr, len, local */
	PTNI_SIM_ACCESS_END, /* status: a success, the responder's refusal, ... */
	PTNI_SIM_WRITEBACK, /* a failed CAS wrote the old value */
	PTNI_SIM_SEND, /* delivered: len, status */
	PTNI_SIM_COMPLETE, /* the requester's CPU can see it: number, status */
	PTNI_SIM_CHANNEL_SEND, /* process, len */
	PTNI_SIM_CHANNEL_RECV,
	PTNI_SIM_PROCESS_OPEN,
	PTNI_SIM_PROCESS_KILL,
	PTNI_SIM_PROCESS_PAUSE, /* len: ns */
	PTNI_SIM_CLOCK_STEP, /* process; addr: ns, as int64_t */
	PTNI_SIM_PARTITION, /* process, peer (itself: all); len: ns */
	PTNI_SIM_TURN, /* a task ran: number of the task */
	PTNI_SIM_NOTE, /* len: the value */
};

/*
 * What does not apply is 0. qp numbers are unique within a process. Addresses are those of the run: the same in
 * every run of the same seed. `ghost`: of a requester whose queue pair is in error already.
 */
struct ptni_sim_event {
	enum ptni_sim_kind kind;
	uint64_t now_ns;
	uint32_t process, qp; /* who asked */
	uint32_t peer, peer_qp; /* whose memory */
	uint64_t number; /* of the request on its queue pair; or of the task */
	uint32_t opcode; /* enum ibv_wr_opcode */
	uint32_t key;
	uint64_t addr, len;
	uint32_t access; /* IBV_ACCESS_* */
	int32_t status; /* enum ibv_wc_status */
	uint32_t cause;
	bool ghost;
	uint64_t compare, swap, old; /* atomics; old at ACCESS_SLICE and behind */
	const void *local; /* the requester's bytes */
};

struct ptni_sim_observer {
	void (*told)(void *arg, const struct ptni_sim_event *event);
	void *arg;
};
/* Called at once, in the order of registration; must not post or run anything. -ENOSPC. */
int ptni_sim_observe(struct ptni_sim *sim, const struct ptni_sim_observer *observer);

/* "BIND", "ACCESS_SLICE": static strings. */
const char *ptni_sim_kind_name(enum ptni_sim_kind kind);

/* What ptni_fabric_open calls for "sim:NAME": a NIC of the current process. -ENODEV: no process runs. */
int ptni_sim_fabric_open(const char *address, const struct ptni_fabric_options *options,
			 struct ptni_fabric **fabric_out);
/* The same for a process that does not run. */
int ptni_sim_nic_open(struct ptni_sim_process *process, struct ptni_fabric **fabric_out);

#endif
