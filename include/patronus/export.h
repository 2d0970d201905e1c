/* SPDX-License-Identifier: MIT */
/* PTN_API marks what the shared library exports; everything else in it is hidden. */
#ifndef PATRONUS_EXPORT_H
#define PATRONUS_EXPORT_H

#if defined(__GNUC__)
#define PTN_API __attribute__((visibility("default")))
#else
#define PTN_API
#endif

#ifdef __cplusplus
#define PTN_BEGIN_DECLS extern "C" {
#define PTN_END_DECLS   }
#else
#define PTN_BEGIN_DECLS
#define PTN_END_DECLS
#endif

#endif
