/* SPDX-License-Identifier: MIT */
/* The queue of events, and what is told of them. A binary heap: (time, chance, number). */
#include "core/fabric/sim/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	HEAP_FIRST = 256
};

static struct ptni_sim *current_sim;
static uint64_t settle_max_ns; /* the software NIC's own */

struct ptni_sim *ptni_sim_current(void)
{
	return current_sim;
}

/* ---- queue */

static inline bool sooner(const struct sim_event *a, const struct sim_event *b)
{
	return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

int ptni_sim_event_add(struct ptni_sim *sim, uint64_t time_ns, void (*fn)(void *, uint64_t),
		       void *arg, uint64_t stamp)
{
	struct sim_event event = { .time_ns = time_ns > sim->now_ns ? time_ns : sim->now_ns,
				   .order = ptni_rng_next(&sim->chance) << 32 |
					    (uint32_t)sim->number++,
				   .fn = fn,
				   .arg = arg,
				   .stamp = stamp };
	uint32_t at = sim->count;

	if (sim->count == sim->capacity) {
		uint32_t capacity = sim->capacity ? 2 * sim->capacity : HEAP_FIRST;
		void *heap = realloc(sim->heap, capacity * sizeof(*sim->heap));

		if (!heap)
			return -ENOMEM;
		sim->heap = heap;
		sim->capacity = capacity;
	}
	sim->count++;
	for (; at && sooner(&event, &sim->heap[(at - 1) / 2]); at = (at - 1) / 2)
		sim->heap[at] = sim->heap[(at - 1) / 2];
	sim->heap[at] = event;
	return 0;
}

static struct sim_event heap_take(struct ptni_sim *sim)
{
	struct sim_event first = sim->heap[0], last = sim->heap[--sim->count];
	uint32_t at = 0, child;

	while ((child = 2 * at + 1) < sim->count) {
		if (child + 1 < sim->count && sooner(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!sooner(&sim->heap[child], &last))
			break;
		sim->heap[at] = sim->heap[child];
		at = child;
	}
	sim->heap[at] = last;
	return first;
}

int ptni_sim_run(struct ptni_sim *sim, uint64_t until_ns, uint64_t events_max)
{
	uint64_t end = sim->events + events_max;

	sim->stop = false;
	while (!sim->stop && sim->count && sim->heap[0].time_ns <= until_ns) {
		struct sim_event event = heap_take(sim);

		sim->now_ns = event.time_ns;
		event.fn(event.arg, event.stamp);
		if (sim->events++ >= end)
			return -ELOOP;
	}
	if (!sim->stop && sim->now_ns < until_ns && until_ns != UINT64_MAX)
		sim->now_ns = until_ns;
	return 0;
}

void ptni_sim_stop(struct ptni_sim *sim)
{
	sim->stop = true;
}

struct delayed {
	struct sim_object object;
	void (*fn)(void *arg);
	void *arg;
};

static void object_free(struct sim_object *object)
{
	free(object);
}

static void delayed_run(void *arg, uint64_t stamp)
{
	struct delayed *delayed = arg;

	delayed->fn(delayed->arg);
}

int ptni_sim_after(struct ptni_sim *sim, uint64_t delay_ns, void (*fn)(void *arg), void *arg)
{
	struct delayed *delayed = calloc(1, sizeof(*delayed));

	if (!delayed)
		return -ENOMEM;
	delayed->fn = fn;
	delayed->arg = arg;
	ptni_sim_object_add(sim, &delayed->object, object_free);
	return ptni_sim_event_add(sim, sim->now_ns + delay_ns, delayed_run, delayed, 0);
}

/* ---- open, close */

int ptni_sim_open(const struct ptni_sim_config *config, struct ptni_sim **sim_out)
{
	struct ptni_sim *sim;

	if (current_sim)
		return -EBUSY;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	sim->config = *config;
	sim->now_ns = 1;
	ptni_rng_seed_stream(&sim->chance, config->seed, 1);
	ptni_rng_seed_stream(&sim->driver, config->seed, 2);
	current_sim = sim;
	settle_max_ns = ptni_soft_settle_max_ns;
	ptni_soft_settle_max_ns = 0;
	*sim_out = sim;
	return 0;
}

void ptni_sim_object_add(struct ptni_sim *sim, struct sim_object *object,
			 void (*free_fn)(struct sim_object *))
{
	object->next = sim->objects;
	object->free = free_fn;
	sim->objects = object;
}

void ptni_sim_close(struct ptni_sim *sim)
{
	ptni_sim_nics_close(sim);
	ptni_sim_processes_close(sim);
	while (sim->objects) {
		struct sim_object *object = sim->objects;

		sim->objects = object->next;
		object->free(object);
	}
	current_sim = NULL;
	ptni_soft_settle_max_ns = settle_max_ns;
	free(sim->heap);
	free(sim);
}

struct ptni_sim_faults *ptni_sim_faults(struct ptni_sim *sim)
{
	return &sim->config.faults;
}

const struct ptni_sim_config *ptni_sim_config(const struct ptni_sim *sim)
{
	return &sim->config;
}

uint64_t ptni_sim_now_ns(const struct ptni_sim *sim)
{
	return sim->now_ns;
}

struct ptni_rng *ptni_sim_rng(struct ptni_sim *sim)
{
	return &sim->driver;
}

uint64_t ptni_sim_events(const struct ptni_sim *sim)
{
	return sim->events;
}

/* ---- telling */

static inline void hash_add(struct ptni_sim *sim, uint64_t value)
{
	uint64_t x = (sim->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);

	sim->hash = (x ^ x >> 29) + value;
}

static void hash_event(struct ptni_sim *sim, const struct ptni_sim_event *event)
{
	hash_add(sim, sim->now_ns << 6 ^ (uint64_t)event->kind);
	hash_add(sim, (uint64_t)event->process << 32 | event->qp);
	hash_add(sim, (uint64_t)event->peer << 32 | event->peer_qp);
	hash_add(sim, event->number);
	hash_add(sim, (uint64_t)event->opcode << 32 | event->key);
	hash_add(sim, event->addr);
	hash_add(sim, event->len);
	hash_add(sim, (uint64_t)event->access << 48 ^ (uint64_t)(uint32_t)event->status << 8 ^
			      event->cause);
	if (event->compare | event->swap | event->old) {
		hash_add(sim, event->compare);
		hash_add(sim, event->swap);
		hash_add(sim, event->old);
	}
}

void ptni_sim_tell(struct ptni_sim *sim, struct ptni_sim_event *event)
{
	event->now_ns = sim->now_ns;
	hash_event(sim, event);
	for (unsigned i = 0; i < sim->observers; i++)
		sim->observer[i].told(sim->observer[i].arg, event);
}

void ptni_sim_note(struct ptni_sim *sim, uint64_t value)
{
	struct ptni_sim_event event = { .kind = PTNI_SIM_NOTE, .len = value };

	ptni_sim_tell(sim, &event);
}

uint64_t ptni_sim_hash(const struct ptni_sim *sim)
{
	return sim->hash;
}

int ptni_sim_observe(struct ptni_sim *sim, const struct ptni_sim_observer *observer)
{
	if (sim->observers == PTNI_SIM_OBSERVERS_MAX)
		return -ENOSPC;
	sim->observer[sim->observers++] = *observer;
	return 0;
}

const char *ptni_sim_kind_name(enum ptni_sim_kind kind)
{
	static const char *const name[] = {
		"REGION_OPEN",    "REGION_CLOSE", "WINDOW_OPEN",  "WINDOW_CLOSE",
		"QP_OPEN",        "QP_CONNECT",   "QP_ERROR",     "QP_RESET",
		"QP_CLOSE",       "POST",         "BIND",         "INVALIDATE_BEGIN",
		"INVALIDATE_END", "ACCESS_BEGIN", "ACCESS_SLICE", "ACCESS_END",
		"WRITEBACK",      "SEND",         "COMPLETE",     "CHANNEL_SEND",
		"CHANNEL_RECV",   "PROCESS_OPEN", "PROCESS_KILL", "PROCESS_PAUSE",
		"CLOCK_STEP",     "PARTITION",    "TURN",         "NOTE",
	};

	return (unsigned int)kind < sizeof(name) / sizeof(name[0]) ? name[kind] : "unknown";
}
