/* SPDX-License-Identifier: MIT */
/* Hand-over, the clients' side; the rules and what becomes of it when somebody dies: service_offer.c. */
#include "alloc/memory.h"

#include <patronus/error.h>

#include <errno.h>
#include <string.h>

enum {
	ALL = PTN_READ | PTN_WRITE | PTN_ATOMIC
};

static_assert(sizeof(((struct ptn_ticket *)NULL)->word) ==
		      sizeof(((struct ptni_memory_given *)NULL)->ticket),
	      "a ticket travels whole");

int ptn_memory_give(struct ptn_memory *memory, uint64_t term_ns, struct ptn_ticket *ticket_out)
{
	struct ptni_memory_give_request request = { .head.op = PTNI_OP_MEMORY_GIVE,
						    .term_ns = term_ns };
	struct ptni_memory_given reply;
	struct ptni_call call;
	int ret;

	if (!memory || !term_ns || !ticket_out)
		return -EINVAL;
	request.id = memory->id;
	request.addr = memory->addr;
	ret = ptni_call_start(&call, memory->worker, memory->node, &request, sizeof(request),
			      PTNI_MEMORY_CALL_NS);
	if (!ret)
		ret = ptni_call_wait(&call);
	if (!ret && call.reply_len_bytes != sizeof(reply))
		ret = -EBADMSG;
	if (ret)
		return ptni_worker_fail(memory->worker, ret, "giving memory");
	memcpy(&reply, call.reply, sizeof(reply));
	*ticket_out = (struct ptn_ticket){ .node = memory->node };
	memcpy(ticket_out->word, reply.ticket, sizeof(ticket_out->word));
	PTNI_COUNT(ptni_worker_counters(memory->worker), lease_handovers);
	ptni_memory_unmake(memory, false);
	return 0;
}

int ptn_memory_claim(struct ptn_worker *worker, const struct ptn_ticket *ticket, uint64_t term_ns,
		     struct ptn_memory **memory_out)
{
	struct ptni_memory_claim_request request = { .head.op = PTNI_OP_MEMORY_CLAIM,
						     .term_ns = term_ns };
	struct ptn_memory *memory;
	int ret;

	if (!worker || !ticket || !memory_out || !term_ns ||
	    ticket->node >= ptni_client_node_count(ptni_worker_client(worker)))
		return -EINVAL;
	memcpy(request.ticket, ticket->word, sizeof(request.ticket));
	ret = ptni_memory_make(worker, ticket->node, ALL, &memory);
	if (ret)
		return ret;
	request.tag = ptni_memory_tag(memory);
	return ptni_memory_ask(memory, &request, sizeof(request), memory_out);
}
