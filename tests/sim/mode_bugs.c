/* SPDX-License-Identifier: MIT */
#include "tests/sim/modes.h"

#include <stdio.h>

int mode_bugs(const struct mode_options *options)
{
	fputs("patronus-sim was built without planted bugs\n", stderr);
	return 2;
}
