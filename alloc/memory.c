/* SPDX-License-Identifier: MIT */
/*
 * ptn_memory: one lease, one window, used through the worker that made it.
 *
 *   HELD ── deadline passed, closed by the node ──► ENDED      release and free end either; the handle
 *                                                              goes with them
 *
 * The client dies or sleeps
 *   at ALLOC, ACQUIRE: the lease that it did not hear of runs out.
 *   at a READ, WRITE, CAS, FAA: the words are old or new, bytes may be partly written; after a sleep
 *     past the deadline nothing is posted, and what was posted before is refused by the NIC.
 *   at the CAS that extends: extended or not; if not, it expires.
 *   at release, free: the lease runs out, and then what was not kept is freed.
 *   at give, claim: service_offer.c.
 */
#include "alloc/memory.h"

#include <patronus/error.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEN_MAX (UINT64_C(1) << 30)

static const struct {
	unsigned right;
	uint32_t access;
} accesses[] = {
	{ PTN_READ, IBV_ACCESS_REMOTE_READ },
	{ PTN_WRITE, IBV_ACCESS_REMOTE_WRITE },
	{ PTN_ATOMIC, IBV_ACCESS_REMOTE_ATOMIC },
};

/* --- making ----------------------------------------------------------------------------------- */

int ptni_memory_make(struct ptn_worker *worker, unsigned node, unsigned rights,
		     struct ptn_memory **memory_out)
{
	struct ptn_memory *memory = calloc(1, sizeof(*memory));
	int ret = 0;

	if (!memory)
		return -ENOMEM;
	memory->worker = worker;
	memory->node = node;
	memory->rights = rights;
	memory->window = ptni_window_region(worker, node);
	if (!memory->window) {
		ret = ptni_window_reserve(worker, node, &memory->own_window);
		memory->window = memory->own_window;
	}
	if (ret) {
		free(memory);
		return ret;
	}
	*memory_out = memory;
	return 0;
}

uint32_t ptni_memory_tag(const struct ptn_memory *memory)
{
	return memory->own_window ? memory->own_window->tag : PTNI_TAG_NONE;
}

/* A refused request granted nothing; one whose fate is unknown may have used the tag. */
void ptni_memory_unmake(struct ptn_memory *memory, bool granted)
{
	ptni_lease_end(&memory->lease);
	if (memory->own_window && !granted)
		ptni_window_release(memory->own_window);
	free(memory);
}

static int memory_file(struct ptn_memory *memory, const struct ptni_call *call)
{
	const struct ptni_memory_granted *reply = (const void *)call->reply;

	if (call->reply_len_bytes != sizeof(*reply))
		return -EBADMSG;
	memory->id = reply->id;
	memory->secret = reply->secret;
	memory->addr = reply->addr;
	memory->len_bytes = reply->len_bytes;
	ptni_lease_accept(&memory->lease, memory->worker, memory->node, &reply->lease,
			  call->sent_ns);
	return memory->own_window ? ptni_window_accept(memory->own_window, call, &reply->window,
						       &memory->lease.deadline_ns) :
				    0;
}

int ptni_memory_ask(struct ptn_memory *memory, void *request, size_t len_bytes,
		    struct ptn_memory **memory_out)
{
	struct ptn_worker *worker = memory->worker;
	struct ptni_call call;
	int ret = ptni_call_start(&call, worker, memory->node, request, len_bytes,
				  PTNI_MEMORY_CALL_NS);
	bool refused = ret != 0;

	if (!ret) {
		ret = ptni_call_wait(&call);
		refused = ret && call.reply_len_bytes;
	}
	if (!ret)
		ret = memory_file(memory, &call);
	if (ret) {
		ptni_memory_unmake(memory, !refused);
		if (ret == PTN_E_LEASE_CONFLICT)
			PTNI_COUNT(ptni_worker_counters(worker), lease_conflicts);
		return ptni_worker_fail(worker, ret, "asking for memory");
	}
	PTNI_COUNT(ptni_worker_counters(worker), lease_grants);
	*memory_out = memory;
	return 0;
}

int ptn_memory_alloc(struct ptn_worker *worker, unsigned node, uint64_t len_bytes, uint64_t term_ns,
		     struct ptn_memory **memory_out)
{
	struct ptni_memory_alloc_request request = { .head.op = PTNI_OP_MEMORY_ALLOC,
						     .len_bytes = len_bytes,
						     .term_ns = term_ns };
	struct ptn_memory *memory;
	int ret;

	if (!worker || !memory_out || !len_bytes || len_bytes > LEN_MAX || !term_ns ||
	    node >= ptni_client_node_count(ptni_worker_client(worker)))
		return -EINVAL;
	ret = ptni_memory_make(worker, node, PTN_READ | PTN_WRITE | PTN_ATOMIC, &memory);
	if (ret)
		return ret;
	request.tag = ptni_memory_tag(memory);
	return ptni_memory_ask(memory, &request, sizeof(request), memory_out);
}

int ptn_memory_acquire(struct ptn_worker *worker, struct ptn_address address, uint64_t len_bytes,
		       unsigned rights, uint64_t term_ns, struct ptn_memory **memory_out)
{
	struct ptni_memory_acquire_request request = { .head.op = PTNI_OP_MEMORY_ACQUIRE,
						       .addr = address.addr,
						       .secret = address.secret,
						       .len_bytes = len_bytes,
						       .term_ns = term_ns };
	struct ptn_memory *memory;
	int ret;

	if (!worker || !memory_out || !len_bytes || !term_ns || !rights ||
	    rights & ~(unsigned)(PTN_READ | PTN_WRITE | PTN_ATOMIC) ||
	    address.node >= ptni_client_node_count(ptni_worker_client(worker)))
		return -EINVAL;
	for (unsigned i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++)
		if (rights & accesses[i].right)
			request.access |= accesses[i].access;
	ret = ptni_memory_make(worker, address.node, rights, &memory);
	if (ret)
		return ret;
	request.tag = ptni_memory_tag(memory);
	return ptni_memory_ask(memory, &request, sizeof(request), memory_out);
}

/* --- using -------------------------------------------------------------------------------------- */

int ptni_memory_check(struct ptn_memory *memory, uint64_t offset, uint64_t len_bytes,
		      unsigned right)
{
	if (!(memory->rights & right))
		return ptni_worker_fail(memory->worker, -EACCES, "the lease has no such right");
	if (offset > memory->len_bytes || len_bytes > memory->len_bytes - offset)
		return ptni_worker_fail(memory->worker, -ERANGE, "outside the memory");
	return 0;
}

/* What is wrong with this access, and the operation to do it in. */
static int access_begin(struct ptn_memory *memory, uint64_t offset, uint64_t len_bytes,
			unsigned right, struct ptni_op *op)
{
	int ret = ptni_memory_check(memory, offset, len_bytes, right);

	return ret ? ret : ptni_op_begin(memory->worker, op);
}

int ptni_memory_run(struct ptn_memory *memory, struct ptni_batch *batch)
{
	uint64_t deadline_ns =
		atomic_load_explicit(&memory->lease.deadline_ns, memory_order_acquire);

	/* The region's own window has no deadline; the lease has, protected or not. */
	if (ptni_worker_now_ns(memory->worker) >= deadline_ns)
		return ptni_worker_fail(memory->worker, ptni_deadline_error(deadline_ns),
					"using leased memory");
	return ptni_batch_run(batch);
}

static int transfer(struct ptn_memory *memory, uint64_t offset, void *in, const void *out,
		    size_t len_bytes)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint8_t *buffer;
	int ret = access_begin(memory, offset, len_bytes, in ? PTN_READ : PTN_WRITE, &op);

	if (ret)
		return ret;
	buffer = ptni_op_buffer(
		&op, len_bytes < PTNI_MEMORY_TRANSFER_MAX ? len_bytes : PTNI_MEMORY_TRANSFER_MAX);
	for (size_t at = 0; !ret && at < len_bytes;) {
		size_t left = len_bytes - at;
		uint32_t n = (uint32_t)(left < PTNI_MEMORY_TRANSFER_MAX ? left :
									  PTNI_MEMORY_TRANSFER_MAX);

		ptni_batch_init(&batch, &op, memory->node);
		if (in) {
			ptni_batch_read(&batch, memory->window, memory->addr + offset + at, buffer,
					n);
		} else {
			memcpy(buffer, (const uint8_t *)out + at, n);
			ptni_batch_write(&batch, memory->window, memory->addr + offset + at, buffer,
					 n);
		}
		ret = ptni_memory_run(memory, &batch);
		if (!ret && in)
			memcpy((uint8_t *)in + at, buffer, n);
		at += n;
	}
	ptni_op_end(&op);
	return ret;
}

int ptn_memory_read(struct ptn_memory *memory, uint64_t offset, void *buffer, size_t len_bytes)
{
	if (!memory || (!buffer && len_bytes))
		return -EINVAL;
	return transfer(memory, offset, buffer, NULL, len_bytes);
}

int ptn_memory_write(struct ptn_memory *memory, uint64_t offset, const void *buffer,
		     size_t len_bytes)
{
	if (!memory || (!buffer && len_bytes))
		return -EINVAL;
	return transfer(memory, offset, NULL, buffer, len_bytes);
}

/* CAS if `expected` is given, else FAA. */
static int atomic_op(struct ptn_memory *memory, uint64_t offset, const uint64_t *expected,
		     uint64_t operand, uint64_t *old_out)
{
	struct ptni_batch batch;
	struct ptni_op op;
	uint64_t *old;
	int ret;

	if (!memory || offset % sizeof(uint64_t) || memory->addr % sizeof(uint64_t))
		return -EINVAL;
	ret = access_begin(memory, offset, sizeof(uint64_t), PTN_ATOMIC, &op);
	if (ret)
		return ret;
	old = ptni_op_buffer(&op, sizeof(*old));
	ptni_batch_init(&batch, &op, memory->node);
	if (expected)
		ptni_batch_cas(&batch, memory->window, memory->addr + offset, *expected, operand,
			       old);
	else
		ptni_batch_faa(&batch, memory->window, memory->addr + offset, operand, old);
	ret = ptni_memory_run(memory, &batch);
	if (!ret && old_out)
		*old_out = *old;
	ptni_op_end(&op);
	return ret;
}

int ptn_memory_cas(struct ptn_memory *memory, uint64_t offset, uint64_t expected, uint64_t desired,
		   uint64_t *old_out)
{
	return atomic_op(memory, offset, &expected, desired, old_out);
}

int ptn_memory_faa(struct ptn_memory *memory, uint64_t offset, uint64_t add, uint64_t *old_out)
{
	return atomic_op(memory, offset, NULL, add, old_out);
}

/* --- the lease ---------------------------------------------------------------------------------- */

int ptn_memory_extend(struct ptn_memory *memory, uint64_t term_ns)
{
	struct ptni_op op;
	int ret;

	if (!memory || !term_ns)
		return -EINVAL;
	ret = ptni_op_begin(memory->worker, &op);
	if (ret)
		return ret;
	ret = ptni_lease_extend(&op, &memory->lease, term_ns);
	ptni_op_end(&op);
	return ret;
}

uint64_t ptn_memory_remaining_ns(const struct ptn_memory *memory)
{
	uint64_t deadline_ns =
		atomic_load_explicit(&memory->lease.deadline_ns, memory_order_acquire);
	uint64_t now_ns = ptni_worker_now_ns(memory->worker);

	return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

struct ptn_address ptn_memory_address(const struct ptn_memory *memory)
{
	return (struct ptn_address){ .node = memory->node,
				     .addr = memory->addr,
				     .secret = memory->secret };
}

uint64_t ptn_memory_length(const struct ptn_memory *memory)
{
	return memory->len_bytes;
}

/* --- ending ----------------------------------------------------------------------------------- */

static int call_simple(struct ptn_memory *memory, void *request, size_t len_bytes)
{
	struct ptni_call call;
	int ret = ptni_call_start(&call, memory->worker, memory->node, request, len_bytes,
				  PTNI_MEMORY_CALL_NS);

	return ret ? ret : ptni_call_wait(&call);
}

static int lease_release(struct ptn_memory *memory)
{
	struct ptni_lease_release request = {
		.head.op = PTNI_OP_LEASE_RELEASE,
		.index = memory->lease.index,
		.generation = ptni_lease_word_generation(memory->lease.word),
		.flags = PTNI_RELEASE_KEEP_MEMORY,
	};
	int ret = call_simple(memory, &request, sizeof(request));

	if (ret == PTN_E_LEASE_EXPIRED || ret == PTN_E_LEASE_REVOKED)
		ret = 0; /* it had ended before */
	return ret;
}

/* The windows are gone when the node has said so; else the tag may still be in use there. */
static int handle_end(struct ptn_memory *memory, int ret, const char *where)
{
	struct ptn_worker *worker = memory->worker;

	ptni_memory_unmake(memory, ret != 0);
	if (!ret)
		PTNI_COUNT(ptni_worker_counters(worker), lease_releases);
	return ret ? ptni_worker_fail(worker, ret, where) : 0;
}

int ptn_memory_release(struct ptn_memory *memory)
{
	if (!memory)
		return -EINVAL;
	return handle_end(memory, lease_release(memory), "releasing memory");
}

int ptn_memory_free(struct ptn_memory *memory)
{
	struct ptni_memory_free_request request = { .head.op = PTNI_OP_MEMORY_FREE };
	int ret;

	if (!memory)
		return -EINVAL;
	request.id = memory->id;
	request.addr = memory->addr;
	ret = call_simple(memory, &request, sizeof(request));
	if (ret == -EPERM) /* another session's memory: our lease ends, the memory stays */
		(void)lease_release(memory);
	return handle_end(memory, ret, "freeing memory");
}
