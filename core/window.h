/* SPDX-License-Identifier: MIT */
#ifndef PTNI_WINDOW_H
#define PTNI_WINDOW_H

#include "core/worker_state.h"

/* The windows that every session has. */
void ptni_window_init_peer(struct ptni_peer *peer);
void ptni_window_fini_peer(struct ptni_peer *peer);
/* Keys of windows on this lane arrived ahead of need. */
void ptni_window_shadow(struct ptni_lane *lane, const struct ptni_shadow *message);
/* No key of this lane is valid any more. */
void ptni_window_forget_lane(struct ptni_peer *peer, unsigned lane_index);

#endif
