/* SPDX-License-Identifier: MIT */
/*
 * Option structs grow over releases: the first member is `uint32_t size`, set by the caller to the
 * sizeof it was compiled with, and zero means "the default" in every other member.
 */
#ifndef PTNI_OPTIONS_H
#define PTNI_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Copy a caller's option struct into ours (`own_bytes` long, first member uint32_t size). What the
 * caller's version lacks becomes zero; options == NULL is all zero. own->size becomes own_bytes.
 * -EINVAL: the size is smaller than its own field. -E2BIG: the caller is newer and sets something
 * that this release does not know. On error `own` is unchanged.
 */
int ptni_options_copy(void *own, size_t own_bytes, const void *options);

#endif
