/* SPDX-License-Identifier: MIT */
#include <patronus/version.h>

#define TEXT_OF(x)         #x
#define DOTTED_OF(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *ptn_version(void)
{
	return DOTTED_OF(PTN_VERSION_MAJOR, PTN_VERSION_MINOR, PTN_VERSION_PATCH);
}
