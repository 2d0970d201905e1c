/* SPDX-License-Identifier: MIT */
#ifndef PTNI_KEEPER_H
#define PTNI_KEEPER_H

#include "core/client.h"

struct ptni_keeper;

/* Worker 0, the first extension of each session's lease, and the thread unless the application keeps by
 * hand. Sets client->keeper, also when it fails: ptni_keeper_close then. */
int ptni_keeper_open(struct ptn_client *client, uint64_t deadline_ns);
void ptni_keeper_close(struct ptni_keeper *keeper);
/* End the thread: nothing runs in the keeper any more but by hand. */
void ptni_keeper_stop(struct ptni_keeper *keeper);
/* One turn; returns ns until it wants the next. Threads: any, one at a time does something. */
uint64_t ptni_keeper_turn(struct ptni_keeper *keeper);
/* Threads: any. */
void ptni_keeper_wake(struct ptni_keeper *keeper);

#endif
