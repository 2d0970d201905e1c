/* SPDX-License-Identifier: MIT */
/*
 * Errors. A call returns 0 or a positive count when it worked and a negative code when it did not:
 * the negative of an errno value where one says what happened (an absent key is -ENOENT, a deadline
 * that passed -ETIMEDOUT, a batch of too many bytes -E2BIG), else a code of this file. Ours lie below
 * -4095, so they never meet an errno. errno itself is neither read nor set.
 *
 * The codes are grouped by what they break, and that is what a program acts on: after an operation's
 * code everything else goes on; after a lease's code the window is gone and must be acquired again;
 * after a lane's code the library has already begun to recover, a retry is fine; after a node's code the
 * session has ended and must be opened again; after a corruption's code stop and look.
 */
#ifndef PATRONUS_ERROR_H
#define PATRONUS_ERROR_H

#include <patronus/export.h>

#include <stdint.h>

/* What an error breaks, from least to most. */
enum ptn_error_scope {
	PTN_SCOPE_NONE = 0, /* not an error: 0 and positive results */
	PTN_SCOPE_OPERATION = 1, /* this call only */
	PTN_SCOPE_LEASE = 2, /* one window; what was acquired with it goes with it */
	PTN_SCOPE_LANE = 3, /* one queue pair of one worker; recovered by the library */
	PTN_SCOPE_NODE = 4, /* the session with one memory node */
	PTN_SCOPE_CORRUPTION = 5, /* bytes that cannot be: a bug or a foreign writer */
};

/* X(name, code, scope, what happened and what to do next) */
#define PTN_ERROR_TABLE(X)                                                                              \
	X(CONFLICT, -4100, OPERATION,                                                                   \
	  "too many concurrent changes of the same word, nothing was changed; try again later or "      \
	  "lower the number of writers of this key")                                                    \
	X(OUTCOME_UNKNOWN, -4101, OPERATION,                                                            \
	  "the connection failed while the change was on its way, it may or may not have happened; "    \
	  "read the key to find out before repeating it")                                               \
	X(BUSY, -4105, OPERATION,                                                                       \
	  "the worker has PTN_SUBMIT_MAX submitted operations that were not polled yet; poll it for "   \
	  "completions first")                                                                          \
	X(EXISTS_OTHER, -4106, OPERATION,                                                               \
	  "the name is taken by an object of another kind or with other parameters; use another "       \
	  "name or the parameters it was created with")                                                 \
	X(LEASE_EXPIRED, -4120, LEASE,                                                                  \
	  "the lease's deadline passed and its window is invalid; acquire it again, with a longer "     \
	  "term or earlier extension")                                                                  \
	X(LEASE_REVOKED, -4121, LEASE,                                                                  \
	  "the node or the owner took the window back; acquire it again if you still may")              \
	X(LEASE_LIMIT, -4122, OPERATION,                                                                \
	  "the lease is at the longest time the node allows; release it and acquire a new one")         \
	X(LEASE_CONFLICT, -4123, OPERATION,                                                             \
	  "the memory is on offer to another client; try again when it was claimed or the offer ended") \
	X(LEASE_UNKNOWN, -4124, LEASE,                                                                  \
	  "the node knows no such lease of this session; it has ended, acquire a new one")              \
	X(LANE_BROKEN, -4140, LANE,                                                                     \
	  "a queue pair failed and no spare was ready in time; try again, the lane is being "           \
	  "rebuilt")                                                                                    \
	X(NODE_DOWN, -4160, NODE,                                                                       \
	  "the memory node does not answer; check that it runs and is reachable, then open the "        \
	  "session again")                                                                              \
	X(NODE_CLOSING, -4161, NODE,                                                                    \
	  "the memory node is shutting down; open a session with it when it is back")                   \
	X(NODE_FULL, -4162, OPERATION,                                                                  \
	  "the memory node has no free memory, windows or queue pairs for this; free something, "       \
	  "use another node, or start the node with more")                                              \
	X(SESSION_FENCED, -4163, NODE,                                                                  \
	  "the node gave this session up for dead and has taken back everything it held; open a "       \
	  "new session")                                                                                \
	X(SESSION_ENDED, -4164, NODE,                                                                   \
	  "the session was ended, by you or by the node's operator; open a new one")                    \
	X(VERSION, -4165, NODE,                                                                         \
	  "the node speaks another protocol version; install the same release on both sides")           \
	X(REFUSED, -4166, NODE,                                                                         \
	  "the node refused the credentials; check the secret this client was given")                   \
	X(QUOTA, -4167, OPERATION,                                                                      \
	  "the session is at its quota of bytes, windows, leases or requests; release something "       \
	  "or have the node's operator raise the quota")                                                \
	X(PROTOCOL, -4168, NODE,                                                                        \
	  "the peer sent a message that makes no sense and the session was ended; check that both "     \
	  "ends are Patronus of the same release, and report it if they are")                           \
	X(ATTEMPTS, -4169, NODE,                                                                        \
	  "too many wrong credentials came from this process and the node does not listen to it "       \
	  "for some seconds; check the secret, wait, then try again")                                   \
	X(FLOOD, -4170, NODE,                                                                           \
	  "the session went on sending more requests a second than the node allows and was ended; "     \
	  "send fewer, or have the node's operator raise the limit, and open a new one")                \
	X(CORRUPT, -4180, CORRUPTION,                                                                   \
	  "remote memory holds bytes that no correct client writes; stop the clients of this "          \
	  "table, keep a copy and check the table")                                                     \
	X(FORMAT, -4181, CORRUPTION,                                                                    \
	  "this is not a table of this release's layout; open it with the release that made it, "       \
	  "or check node and name")

enum ptn_error {
#define PTN_ERROR_ENUM(name, code, scope, text) PTN_E_##name = (code),
	PTN_ERROR_TABLE(PTN_ERROR_ENUM)
#undef PTN_ERROR_ENUM
};

/* What lay under an error: kept beside the code by whoever saw it first, so that it is never lost. */
struct ptn_cause {
	int code; /* what the call returned; 0 = nothing happened yet */
	uint32_t wc_status; /* enum ibv_wc_status of the completion, 0 if there was none */
	uint32_t vendor_error; /* the device's own code, 0 if there was none */
	const char *where; /* what was being done, a static string; NULL if unknown */
};

PTN_BEGIN_DECLS

/*
 * What `code` means and what to do next, one line without a full stop. Takes what any call of this
 * library returns: our codes, negative errno values, 0 and positive counts ("success").
 * Threads: any. The string is static; never NULL.
 */
PTN_API const char *ptn_strerror(int code);

/*
 * The code's name as it stands in a program: "PTN_E_CONFLICT" for ours, "ENOENT" for -ENOENT, "OK"
 * for 0 and positive counts, "unknown" for anything else.
 * Threads: any. The string is static; never NULL.
 */
PTN_API const char *ptn_errname(int code);

/*
 * What `code` breaks. errno values count as the operation's, but those that only a lost peer causes
 * (-ECONNRESET, -ECONNREFUSED, -ECONNABORTED, -ENOTCONN, -EHOSTUNREACH, -ENETUNREACH) as the node's.
 * Threads: any.
 */
PTN_API enum ptn_error_scope ptn_error_scope(int code);

PTN_END_DECLS

#endif
