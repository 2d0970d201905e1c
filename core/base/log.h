/* SPDX-License-Identifier: MIT */
/*
 * How the library writes messages: PTNI_LOG(WARN, core, "session %u: %s", id, ptn_strerror(ret)).
 * Not on the data path. What was decided is said once, by the first function that decides it; lower
 * case, cause before consequence, no newline.
 */
#ifndef PTNI_LOG_H
#define PTNI_LOG_H

#include <patronus/log.h>

#include <stdbool.h>

#define PTNI_LOG_COMPONENTS(X) X(base) X(fabric) X(core) X(alloc) X(ds) X(tools)

enum ptni_log_component {
#define PTNI_LOG_COMPONENT_ENUM(name) PTNI_LOG_##name,
	PTNI_LOG_COMPONENTS(PTNI_LOG_COMPONENT_ENUM)
#undef PTNI_LOG_COMPONENT_ENUM
	PTNI_LOG_COMPONENT_COUNT
};

/* The arguments are evaluated only if the message is let through. */
#define PTNI_LOG(level, component, ...)                                                     \
	do {                                                                                \
		if (ptni_log_enabled(PTN_LOG_##level, PTNI_LOG_##component))                \
			ptni_log_write(PTN_LOG_##level, PTNI_LOG_##component, __VA_ARGS__); \
	} while (0)

/* Threads: any. */
bool ptni_log_enabled(enum ptn_log_level level, enum ptni_log_component component);

/* Messages are cut at 511 bytes. Threads: any. */
__attribute__((format(printf, 3, 4))) void ptni_log_write(enum ptn_log_level level,
							  enum ptni_log_component component,
							  const char *format, ...);

#endif
