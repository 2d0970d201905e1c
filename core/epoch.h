/* SPDX-License-Identifier: MIT */
#ifndef PTNI_EPOCH_H
#define PTNI_EPOCH_H

#include "core/client.h"

/* Make membarrier(2) ready; sets client->pin_fenced when it cannot be used. */
void ptni_epoch_init(struct ptn_client *client);
/* Learn the node's epoch. Before the first operation: what is retired is tagged by what is known. */
int ptni_epoch_learn(struct ptn_worker *keeper, struct ptni_session *session);
/* Learn the node's epoch, and report it once that may be done. Suspends; in a fiber of the keeper. */
int ptni_epoch_turn(struct ptn_worker *keeper, struct ptni_session *session);
/* Somebody waits for the horizon to move. */
bool ptni_epoch_hurried(struct ptni_session *session);

#endif
