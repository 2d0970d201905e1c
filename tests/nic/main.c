/* SPDX-License-Identifier: MIT */
/*
 * nic_suite [ADDRESS [GROUP...]]        run the suite on the card behind ADDRESS (or the environment
 *                                       variable PTN_NIC_ADDRESS; default inproc:conformance)
 *                                       "sim:SEED" is a simulated card, in virtual time
 * nic_suite --differences               print the tables of difference.c in Markdown
 * nic_suite --check-document FILE       compare them with FILE
 * nic_suite --peer ADDRESS ROLE         the other process of the tests in test_peer.c
 */
#include "tests/nic/groups.h"

#include <stdio.h>
#include <stdlib.h>

static const struct nic_group groups[] = {
#define GROUP(name) { #name, nic_##name##_tests, &nic_##name##_count },
	NIC_GROUPS(GROUP)
#undef GROUP
};

enum {
	GROUPS = sizeof(groups) / sizeof(groups[0])
};

static bool wanted(const char *name, int argc, char **argv)
{
	/* Such an address has no other process to kill. */
	if (!strcmp(name, "peer") && (!strncmp(nic_address(), "inproc:", 7) || nic_is_sim()))
		return false;
	for (int i = 2; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc <= 2;
}

static int groups_run(int argc, char **argv)
{
	int failed = 0, ran = 0;
	for (size_t i = 0; i < GROUPS; i++) {
		if (!wanted(groups[i].name, argc, argv))
			continue;
		ran++;
		uint64_t start_ns = nic_now_ns();
		failed += _cmocka_run_group_tests(groups[i].name, groups[i].tests, *groups[i].count,
						  NULL, NULL);
		print_message("[  TIME    ] %s: %u ms\n", groups[i].name,
			      (unsigned)((nic_now_ns() - start_ns) / 1000000));
	}
	if (!ran)
		fprintf(stderr, "no such group; there are:");
	for (size_t i = 0; !ran && i < GROUPS; i++)
		fprintf(stderr, " %s%s", groups[i].name, i + 1 < GROUPS ? "" : "\n");
	return !ran || failed;
}

static bool test_exists(const char *name)
{
	for (size_t i = 0; i < GROUPS; i++)
		for (size_t k = 0; k < *groups[i].count; k++)
			if (!strcmp(groups[i].tests[k].name, name))
				return true;
	return false;
}

/* The tables name tests that there are, each once, and the document says what they say. */
static int document_check(const char *document)
{
	int wrong = nic_differences_check(document);
	const char *name;
	for (size_t row = 0; (name = nic_differences_test(row)); row++) {
		if (test_exists(name))
			continue;
		fprintf(stderr, "difference.c: there is no test %s\n", name);
		wrong = 1;
	}
	return wrong;
}

struct arguments {
	int argc;
	char **argv;
	const char *address;
};

static int suite_run(void *arg)
{
	const struct arguments *args = arg;
	int ret = nic_open(args->address);
	if (ret) {
		fprintf(stderr, "%s: cannot open: %s\n", args->address, strerror(-ret));
		nic_close();
		return 1;
	}
	int failed = groups_run(args->argc, args->argv);
	if (args->argc <= 2 && nic_differences_unused())
		failed = 1;
	nic_close();
	return failed;
}

/* In virtual time. */
static int suite_simulate(struct arguments *args)
{
	int ret = nic_sim_run(args->address, suite_run, args);
	if (ret < 0)
		fprintf(stderr, "%s: the simulation: %s\n", args->address, strerror(-ret));
	return ret != 0;
}

int main(int argc, char **argv)
{
	struct arguments args = { argc, argv, argc > 1 ? argv[1] : getenv("PTN_NIC_ADDRESS") };
	if (!args.address)
		args.address = "inproc:conformance";
	if (!strcmp(args.address, "--differences")) {
		nic_differences_print();
		return 0;
	}
	if (argc == 3 && !strcmp(args.address, "--check-document"))
		return document_check(argv[2]);
	if (argc == 4 && !strcmp(args.address, "--peer"))
		return nic_peer_main(argv[2], argv[3]);
	return strncmp(args.address, "sim:", 4) ? suite_run(&args) : suite_simulate(&args);
}
