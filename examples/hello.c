/* SPDX-License-Identifier: MIT */
/* A memory node, a client and a hash table in one process. */
#include <patronus/client.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <stdio.h>

int main(void)
{
	const char *address = "inproc:hello";
	struct ptn_node *node;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *table;
	char value[64];
	size_t len_bytes;
	int ret;

	ret = ptn_node_open(address, NULL, &node); /* exports 256 MiB of this process */
	if (ret == 0)
		ret = ptn_client_open(&address, 1, NULL, &client);
	if (ret == 0)
		ret = ptn_worker_open(client, &worker); /* one per thread */
	if (ret == 0)
		ret = ptn_hash_open(worker, "greetings", NULL, &table);
	if (ret == 0)
		ret = ptn_hash_put(worker, table, "hello", 5, "remote world", 12);
	if (ret == 0)
		ret = ptn_hash_get(worker, table, "hello", 5, value, sizeof(value), &len_bytes);
	if (ret != 0) {
		fprintf(stderr, "%s: %s\n", ptn_errname(ret), ptn_strerror(ret));
		return 1;
	}
	printf("hello %.*s\n", (int)len_bytes, value);
	ptn_hash_close(table);
	ptn_worker_close(worker);
	ptn_client_close(client);
	ptn_node_close(node);
	return 0;
}
