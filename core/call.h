/* SPDX-License-Identifier: MIT */
#ifndef PTNI_CALL_H
#define PTNI_CALL_H

#include "core/worker_state.h"

/* Send what waits to be sent, as far as the active lane has room. */
void ptni_call_flush(struct ptni_peer *peer);
/* The lane is gone: what was sent on it is to be sent again. */
void ptni_call_lane_lost(struct ptni_peer *peer, const struct ptni_lane *lane);
/* A reply arrived; its length was checked. */
void ptni_call_reply(struct ptni_lane *lane, const struct ptni_message *message);

#endif
