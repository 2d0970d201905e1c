/* SPDX-License-Identifier: MIT */
/* Which sanitizer this build is under: PTNI_ASAN, PTNI_TSAN, each 0 or 1, with either compiler. */
#ifndef PTNI_SANITIZER_H
#define PTNI_SANITIZER_H

#if defined(__has_feature)
#define PTNI_HAS_FEATURE(x) __has_feature(x)
#else
#define PTNI_HAS_FEATURE(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || PTNI_HAS_FEATURE(address_sanitizer)
#define PTNI_ASAN 1
#else
#define PTNI_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || PTNI_HAS_FEATURE(thread_sanitizer)
#define PTNI_TSAN 1
#else
#define PTNI_TSAN 0
#endif

#if PTNI_ASAN
#define PTNI_NO_SANITIZE_ADDRESS __attribute__((no_sanitize_address))
#else
#define PTNI_NO_SANITIZE_ADDRESS
#endif

#endif
