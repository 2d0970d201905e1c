/* SPDX-License-Identifier: MIT */
/* A user's program, compiled as C and as C++ against what was installed, and run. */
#include <patronus/error.h>
#include <patronus/log.h>
#include <patronus/version.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
	char header[32];

	snprintf(header, sizeof(header), "%d.%d.%d", PTN_VERSION_MAJOR, PTN_VERSION_MINOR,
		 PTN_VERSION_PATCH);
	if (strcmp(ptn_version(), header) != 0)
		return 1;
	if (strcmp(ptn_errname(PTN_E_CONFLICT), "PTN_E_CONFLICT") != 0)
		return 1;
	if (ptn_error_scope(PTN_E_NODE_DOWN) != PTN_SCOPE_NODE || ptn_log_level_set("info") != 0)
		return 1;
	printf("patronus %s\n", ptn_version());
	return 0;
}
