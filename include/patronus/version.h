/* SPDX-License-Identifier: MIT */
#ifndef PATRONUS_VERSION_H
#define PATRONUS_VERSION_H

#include <patronus/export.h>

/* What the program was compiled against; the build reads the project's version from here. */
#define PTN_VERSION_MAJOR 0
#define PTN_VERSION_MINOR 1
#define PTN_VERSION_PATCH 0

PTN_BEGIN_DECLS

/*
 * The version of the library that is loaded, "MAJOR.MINOR.PATCH".
 * Threads: any. The string is static.
 */
PTN_API const char *ptn_version(void);

PTN_END_DECLS

#endif
