/* SPDX-License-Identifier: MIT */
/*
 * The allocator alone: remote memory under a lease.
 *
 * A node and two clients in one process (use "shm:PATH" and patronus-node for several). The first
 * client allocates memory and writes a message; the second reads it with a right of its own that
 * allows nothing else, and counts in a word beside it. Then memory is handed over for good. At last a
 * lease is left to run out, and the memory with it: nobody needs to clean up after a client that died.
 */
#include <patronus/batch.h>
#include <patronus/client.h>
#include <patronus/error.h>
#include <patronus/memory.h>
#include <patronus/node.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

enum {
	LEN = 4096,
	COUNTER = 1024 /* offset of a word */
};

static void check(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, ptn_strerror(ret));
	exit(EXIT_FAILURE);
}

struct user {
	struct ptn_client *client;
	struct ptn_worker *worker;
};

static void user_open(struct user *user, const char *address)
{
	check(ptn_client_open(&address, 1, NULL, &user->client), "connecting");
	check(ptn_worker_open(user->client, &user->worker), "opening a worker");
}

static void user_close(struct user *user)
{
	ptn_worker_close(user->worker);
	check(ptn_client_close(user->client), "disconnecting");
}

/* What the second client does with an address that it was told. */
static void reader(struct user *user, struct ptn_address address)
{
	struct ptn_memory *message, *counter;
	char text[64];
	uint64_t old;

	check(ptn_memory_acquire(user->worker, address, LEN, PTN_READ, 500 * MS, &message),
	      "acquiring to read");
	check(ptn_memory_read(message, 0, text, sizeof(text)), "reading");
	printf("the second client reads: %s\n", text);
	if (ptn_memory_write(message, 0, "x", 1) == 0)
		exit(EXIT_FAILURE); /* its right is to read */
	address.addr += COUNTER;
	check(ptn_memory_acquire(user->worker, address, 8, PTN_ATOMIC, 500 * MS, &counter),
	      "acquiring to count");
	check(ptn_memory_faa(counter, 0, 1, &old), "counting");
	check(ptn_memory_release(counter), "releasing");
	check(ptn_memory_release(message), "releasing");
}

/* From the first client to the second: never in the hands of both. */
static void hand_over(struct user *giver, struct user *receiver)
{
	struct ptn_memory *memory;
	struct ptn_ticket ticket;
	char text[64];

	check(ptn_memory_alloc(giver->worker, 0, LEN, 500 * MS, &memory), "allocating");
	check(ptn_memory_write(memory, 0, "yours now", 10), "writing");
	check(ptn_memory_give(memory, 500 * MS, &ticket), "giving");
	/* The ticket is bytes: between two processes it would travel by whatever connects them. */
	check(ptn_memory_claim(receiver->worker, &ticket, 500 * MS, &memory), "claiming");
	check(ptn_memory_read(memory, 0, text, sizeof(text)), "reading");
	printf("the second client was given: %s\n", text);
	check(ptn_memory_free(memory), "freeing");
}

/* A record and the word that points at it, with one doorbell; the next one while we do something else. */
static void publish(struct user *user)
{
	struct ptn_memory *memory;
	struct ptn_completion done;
	char record[] = "a record";

	check(ptn_memory_alloc(user->worker, 0, LEN, 500 * MS, &memory), "allocating");
	struct ptn_memory_op ops[] = {
		{ .memory = memory,
		  .verb = PTN_VERB_WRITE,
		  .offset = 64,
		  .buffer = record,
		  .len_bytes = sizeof(record) },
		{ .memory = memory, .verb = PTN_VERB_CAS, .offset = 0, .operand = 64 },
	};

	check(ptn_memory_batch(user->worker, ops, 2), "publishing");
	ops[0].offset = 128;
	ops[1].expected = 64;
	ops[1].operand = 128;
	check(ptn_memory_submit(user->worker, ops, 2, 4711), "submitting");
	while (!ptn_memory_poll(user->worker, &done, 1))
		; /* something useful, or sleep: see ptn_memory_arm */
	check(done.status, "publishing");
	printf("published twice; the word was %" PRIu64 "\n", ops[1].old);
	check(ptn_memory_free(memory), "freeing");
}

static void lease_left_to_end(struct user *user, struct ptn_node *node)
{
	struct ptn_memory *memory;
	struct ptn_node_info info = { 0 };

	check(ptn_memory_alloc(user->worker, 0, LEN, 20 * MS, &memory), "allocating");
	check(ptn_memory_extend(memory, 40 * MS),
	      "extending"); /* one CAS; the node's CPU does nothing */
	while (ptn_memory_remaining_ns(memory))
		usleep(1000);
	if (ptn_memory_write(memory, 0, "late", 4) != PTN_E_LEASE_EXPIRED)
		exit(EXIT_FAILURE);
	for (int i = 0; i < 1000; i++) { /* the node's clock runs a little behind, by design */
		check(ptn_node_info(node, &info), "looking at the node");
		if (!info.memory_used_bytes)
			break;
		usleep(1000);
	}
	printf("the lease ended by itself; the node has %" PRIu64 " bytes in use\n",
	       info.memory_used_bytes);
	check(ptn_memory_free(memory), "closing the handle");
	if (info.memory_used_bytes)
		exit(EXIT_FAILURE);
}

int main(void)
{
	const char *address = "inproc:example-allocator";
	struct ptn_node_options options = { .size = sizeof(options), .memory_bytes = 16 << 20 };
	struct ptn_memory *memory;
	struct ptn_node *node;
	struct user first, second;
	uint64_t count;

	check(ptn_node_open(address, &options, &node), "opening a node");
	user_open(&first, address);
	user_open(&second, address);

	check(ptn_memory_alloc(first.worker, 0, LEN, 500 * MS, &memory), "allocating");
	check(ptn_memory_write(memory, 0, "hello over there", 17), "writing");
	reader(&second, ptn_memory_address(memory));
	check(ptn_memory_read(memory, COUNTER, &count, sizeof(count)), "reading");
	printf("counted: %" PRIu64 "\n", count);
	check(ptn_memory_free(memory), "freeing");

	publish(&first);
	hand_over(&first, &second);
	lease_left_to_end(&first, node);
	user_close(&second);
	user_close(&first);
	ptn_node_close(node);
	return count == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
