/* SPDX-License-Identifier: MIT */
#include "core/fabric/fabric.h"

#include "core/fabric/sim/sim.h"
#include "core/fabric/soft/soft.h"
#include "core/fabric/verbs/verbs.h"

#include <errno.h>
#include <string.h>

static bool has_scheme(const char *address, const char *scheme)
{
	return strncmp(address, scheme, strlen(scheme)) == 0;
}

int ptni_fabric_open(const char *address, const struct ptni_fabric_options *options,
		     struct ptni_fabric **fabric_out)
{
	const char *rest = address ? strchr(address, ':') : NULL;
	if (!rest || !rest[1])
		return -EINVAL;
	if (has_scheme(address, "inproc:") || has_scheme(address, "shm:"))
		return ptni_soft_open(address, options, fabric_out);
	if (has_scheme(address, "sim:"))
		return ptni_sim_fabric_open(address, options, fabric_out);
	if (has_scheme(address, "verbs:"))
		return ptni_verbs_open(address, options, fabric_out);
	return -EINVAL;
}
