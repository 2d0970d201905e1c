/* SPDX-License-Identifier: MIT */
#include "core/fabric/fabric.h"

#include "core/fabric/soft/soft.h"

#include <errno.h>
#include <string.h>

/* Absent from a build without rdma-core's devices. */
__attribute__((weak)) int ptni_verbs_open(const char *address,
					  const struct ptni_fabric_options *options,
					  struct ptni_fabric **fabric_out);

static bool has_scheme(const char *address, const char *scheme)
{
	return strncmp(address, scheme, strlen(scheme)) == 0;
}

int ptni_fabric_open(const char *address, const struct ptni_fabric_options *options,
		     struct ptni_fabric **fabric_out)
{
	if (!address)
		return -EINVAL;
	if (has_scheme(address, "inproc:") || has_scheme(address, "shm:"))
		return ptni_soft_open(address, options, fabric_out);
	if (has_scheme(address, "verbs:"))
		return ptni_verbs_open ? ptni_verbs_open(address, options, fabric_out) : -ENODEV;
	return -EINVAL;
}
