/* SPDX-License-Identifier: MIT */
#include "tests/sim/modes.h"

#include <stdio.h>

int mode_exhaustive(const struct mode_options *options)
{
	fputs("patronus-sim was built without exhaustive scopes\n", stderr);
	return 2;
}
