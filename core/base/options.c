/* SPDX-License-Identifier: MIT */
#include "core/base/options.h"

#include <errno.h>
#include <string.h>

int ptni_options_copy(void *own, size_t own_bytes, const void *options)
{
	const unsigned char *bytes = options;
	uint32_t own_size = (uint32_t)own_bytes;
	uint32_t size = 0;

	if (options) {
		memcpy(&size, options, sizeof(size));
		if (size < sizeof(size))
			return -EINVAL;
		for (size_t i = own_bytes; i < size; i++)
			if (bytes[i])
				return -E2BIG;
	}
	memset(own, 0, own_bytes);
	if (options)
		memcpy(own, options, size < own_bytes ? size : own_bytes);
	memcpy(own, &own_size, sizeof(own_size));
	return 0;
}
