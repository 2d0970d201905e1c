/* SPDX-License-Identifier: MIT */
#include "ycsb/bind_hash.h"
#include "ycsb/cli.h"

#include <stddef.h>

int main(int argc, char **argv)
{
	static const struct ycsb_store_ops *const stores[] = { &ycsb_hash_ops, NULL };

	return ycsb_main(argc, argv, stores);
}
