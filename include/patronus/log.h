/* SPDX-License-Identifier: MIT */
/*
 * Messages of the library. A message is written where the library decides about a failure or does
 * something an operator would want to know; calls report to their caller by their result only.
 *
 * Without ptn_log_set() messages go to standard error, warnings and errors only. The environment
 * variable PTN_LOG changes what is let through: a level, or levels by component, the last that fits
 * counts: "info", "warn,core=debug,fabric=trace". Levels: off, error, warn, info, debug, trace.
 * Components: base, fabric, core, alloc, ds, tools.
 */
#ifndef PATRONUS_LOG_H
#define PATRONUS_LOG_H

#include <patronus/export.h>

enum ptn_log_level {
	PTN_LOG_OFF = 0,
	PTN_LOG_ERROR = 1,
	PTN_LOG_WARN = 2,
	PTN_LOG_INFO = 3,
	PTN_LOG_DEBUG = 4,
	PTN_LOG_TRACE = 5,
};

/*
 * Receives one message without a final newline and without a time: add one if you want it. The
 * strings are valid during the call. Called by whichever thread has something to say, possibly
 * several at once; it must not call this library.
 */
typedef void (*ptn_log_fn)(void *arg, enum ptn_log_level level, const char *component,
			   const char *message);

PTN_BEGIN_DECLS

/*
 * Send messages to fn(arg, ...); NULL restores standard error. The level of messages stays as it is.
 * Threads: any, but messages of other threads may still reach the former function for a moment.
 */
PTN_API void ptn_log_set(ptn_log_fn fn, void *arg);

/*
 * Let through what `spec` says, in the syntax of PTN_LOG; NULL is the default, "warn".
 * -EINVAL: an unknown level or component; nothing was changed.
 * Threads: any.
 */
PTN_API int ptn_log_level_set(const char *spec);

/* "error" for PTN_LOG_ERROR and so on; "unknown" for anything else. Static strings. */
PTN_API const char *ptn_log_level_name(enum ptn_log_level level);

PTN_END_DECLS

#endif
