/* SPDX-License-Identifier: MIT */
#include <patronus/error.h>

#include <errno.h>
#include <string.h>

/* The errno values that calls of this library return, with our advice. */
#define ERRNO_TABLE(X)                                                                            \
	X(ENOENT, "no such key, table or object; create it first, or check its name")             \
	X(EEXIST, "it exists already; open it instead, or use another name")                      \
	X(EINVAL, "an argument is out of its documented range; see the function's comment")       \
	X(E2BIG, "too large, or an option struct of a newer release sets fields this one lacks; " \
		 "check the documented limits and the library's version")                         \
	X(EMSGSIZE, "larger than a message may be; check the documented limits")                  \
	X(ENOMEM, "no memory is left, on the node or in this process; free something, give the "  \
		  "node more, or raise this process' limits (ulimit -l)")                         \
	X(ENOBUFS, "the given buffer is too small; pass a larger one")                            \
	X(ENOSPC, "no room is left; free something or use a larger configuration")                \
	X(EDQUOT, "the session may hold no more bytes on that node; free something, or have the " \
		  "node's operator raise the quota")                                              \
	X(EAGAIN, "not now; try again later")                                                     \
	X(EBUSY, "still in use; close or release what depends on it first")                       \
	X(ETIMEDOUT, "the deadline passed first; try again, or allow more time")                  \
	X(ECANCELED, "cancelled before it took effect; nothing was changed")                      \
	X(EACCES, "not permitted; check the rights of the file, device or window")                \
	X(EPERM, "not permitted for this session or user; check its credentials and rights")      \
	X(ENODEV, "no such device; list what is there with ibv_devices, or use a soft address")   \
	X(EOPNOTSUPP,                                                                             \
	  "this device or backend cannot do that; see the documentation for which can")           \
	X(ENOSYS, "not available in this build or on this system")                                \
	X(EIO, "a device failed; see the kept cause and the system's log")                        \
	X(EOVERFLOW, "a queue or counter ran over; open it larger")                               \
	X(ERANGE, "outside the memory or the documented range; check offset and length")          \
	X(EADDRINUSE, "another process listens on that address; end it or use another address")   \
	X(ECONNREFUSED, "nobody listens on that address; start the memory node first")            \
	X(ECONNRESET, "the peer closed the connection or died; open the session again")           \
	X(ECONNABORTED, "the connection was aborted; open the session again")                     \
	X(ENOTCONN, "not connected; open the session first")                                      \
	X(EHOSTUNREACH, "the node's host cannot be reached; check the network")                   \
	X(ENETUNREACH, "the node's network cannot be reached; check the network")

enum {
	ERRNO_END = 4096
};

const char *ptn_strerror(int code)
{
	const char *text;

	if (code >= 0)
		return "success";
	switch (code) {
#define CASE_OURS(name, value, scope, words) \
	case value:                          \
		return words;
		PTN_ERROR_TABLE(CASE_OURS)
#undef CASE_OURS
#define CASE_ERRNO(name, words) \
	case -(name):           \
		return words;
		ERRNO_TABLE(CASE_ERRNO)
#undef CASE_ERRNO
	default:
		text = code > -ERRNO_END ? strerrordesc_np(-code) : NULL;
		return text ? text : "unknown code; it did not come from this library";
	}
}

const char *ptn_errname(int code)
{
	const char *name;

	if (code >= 0)
		return "OK";
	switch (code) {
#define CASE_OURS(name, value, scope, words) \
	case value:                          \
		return "PTN_E_" #name;
		PTN_ERROR_TABLE(CASE_OURS)
#undef CASE_OURS
	default:
		name = code > -ERRNO_END ? strerrorname_np(-code) : NULL;
		return name ? name : "unknown";
	}
}

enum ptn_error_scope ptn_error_scope(int code)
{
	if (code >= 0)
		return PTN_SCOPE_NONE;
	switch (code) {
#define CASE_OURS(name, value, scope, words) \
	case value:                          \
		return PTN_SCOPE_##scope;
		PTN_ERROR_TABLE(CASE_OURS)
#undef CASE_OURS
	case -ECONNRESET:
	case -ECONNREFUSED:
	case -ECONNABORTED:
	case -ENOTCONN:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return PTN_SCOPE_NODE;
	default:
		return PTN_SCOPE_OPERATION;
	}
}
