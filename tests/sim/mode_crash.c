/* SPDX-License-Identifier: MIT */
#include "tests/sim/modes.h"

#include <stdio.h>

int mode_crash(const struct mode_options *options, bool all)
{
	return 2;
}
