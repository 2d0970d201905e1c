/* SPDX-License-Identifier: MIT */
/*
 * The shadow map: who may touch which bytes, by what was granted and taken back, known without asking the NIC.
 * It listens to the simulator's events and keeps, for each key, range, rights, the queue pair it is bound to, and when
 * it was taken back; then holds every access against that:
 *
 *   S1  Bytes move only by a key that was given, within its range, with its right, over the queue pair that it
 *       was bound to. A region's own key serves its own process only (unless `regions_open`).
 *   S2  None move by a key whose end has completed: LOCAL_INV completed, deallocated, its queue pair in error,
 *       reset or closed. In between (the LOCAL_INV was executed, its completion not yet seen) both are right.
 *   S3  An access that S1 allows is not refused. Not judged while the simulator itself refuses at random.
 *   S4  A window is never bound while it is valid, nor by a key that it had before (R12).
 *   S5  No bytes are writable by two processes at once (unless `writers_shared`): what one held is taken
 *       back before another gets it (R6).
 *   S6  When all is over nobody holds a window (shadow_finish).
 *
 * Each finding is one line of text. Nothing is allocated after shadow_open.
 */
#ifndef TESTS_SIM_SHADOW_H
#define TESTS_SIM_SHADOW_H

#include "core/fabric/sim/sim.h"

struct shadow;

struct shadow_options {
	/* text is valid during the call */
	void (*found)(void *arg, const char *text);
	void *arg;
	/* What the simulator injects now; NULL: nothing. */
	const struct ptni_sim_faults *faults;
	bool regions_open; /* unprotected sessions */
	bool writers_shared; /* windows are handed over or shared on purpose */
};

int shadow_open(const struct shadow_options *options, struct shadow **shadow_out); /* -ENOMEM */
void shadow_close(struct shadow *shadow);
/* For ptni_sim_observe: arg is the shadow. */
void shadow_told(void *shadow, const struct ptni_sim_event *event);
void shadow_finish(struct shadow *shadow);
/* Is there a queue pair between them that the first has connected and not broken? */
bool shadow_connected(const struct shadow *shadow, uint32_t process, uint32_t peer);
/* Windows that are valid now. */
uint32_t shadow_windows(const struct shadow *shadow);
uint64_t shadow_accesses(const struct shadow *shadow); /* that were judged */

#endif
