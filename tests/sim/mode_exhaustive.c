/* SPDX-License-Identifier: MIT */
/*
 * All schedules of small scopes. They are run on the tables' double (tests/ds/exhaust.h), which stands in for the
 * layers that this program is linked with; so it is a program of its own, beside this one.
 */
#include "tests/sim/modes.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "patronus-exhaustive"

int mode_exhaustive(bool all)
{
	char path[PATH_MAX + sizeof(PROGRAM)];
	ssize_t len = readlink("/proc/self/exe", path, PATH_MAX);
	char *slash;

	path[len > 0 ? len : 0] = 0;
	slash = strrchr(path, '/');
	memcpy(slash ? slash + 1 : path, PROGRAM, sizeof(PROGRAM));
	execl(path, PROGRAM, all ? "--all" : NULL, NULL);
	fprintf(stderr, "%s cannot be run; build it: ninja " PROGRAM "\n", path);
	return 2;
}
