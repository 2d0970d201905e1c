/* SPDX-License-Identifier: MIT */
/* patronus-node: a memory node of its own process, in the foreground until SIGINT or SIGTERM. */
#include <patronus/error.h>
#include <patronus/node.h>
#include <patronus/version.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	EXIT_USAGE = 2,
	CREDENTIALS_MAX = 128
};

struct settings {
	const char *address;
	const char *credentials_path;
	unsigned status_s;
	char credentials[CREDENTIALS_MAX + 1];
	struct ptn_node_options options;
};

static const char usage[] =
	"usage: patronus-node [options] shm:PATH | verbs:DEVICE,PATH\n"
	"\n"
	"Export memory to Patronus clients, in the foreground, until SIGINT or SIGTERM: through shared memory to\n"
	"those of this host, or over an RDMA device. PATH is the Unix socket that clients name\n"
	"(patronus-ycsb -p patronus.target=shm:PATH).\n"
	"\n"
	"  -m, --memory SIZE        bytes to export, with K, M or G (default 256M)\n"
	"  -c, --credentials FILE   clients must present FILE's content (1..128 bytes, a final newline\n"
	"                           is dropped); FILE must not be readable by others\n"
	"  -t, --term MS            lease term of a session, in ms (default 500)\n"
	"  -u, --allow-unprotected  serve clients that ask for no protection (benchmarks)\n"
	"  -s, --status SECONDS     print a status line that often\n"
	"  -h, --help               this text\n"
	"  -V, --version\n";

static int fail(int status, const char *what, const char *advice)
{
	fprintf(stderr, "patronus-node: %s; %s\n", what, advice);
	return status;
}

/* "64M" -> bytes; 0 when it is not a size. */
static size_t parse_size(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	unsigned shift = 0;
	if (*end == 'K' || *end == 'k')
		shift = 10;
	else if (*end == 'M' || *end == 'm')
		shift = 20;
	else if (*end == 'G' || *end == 'g')
		shift = 30;
	if (shift)
		end++;
	if (end == text || *end || errno || text[0] == '-' || value > SIZE_MAX >> shift)
		return 0;
	return (size_t)value << shift;
}

static int read_credentials(struct settings *settings)
{
	FILE *file = fopen(settings->credentials_path, "re");
	if (!file) {
		fprintf(stderr,
			"patronus-node: cannot read '%s': %s; name a file with the shared secret\n",
			settings->credentials_path, strerror(errno));
		return -1;
	}
	struct stat stat;
	size_t len = 0;
	int status = 0;
	if (fstat(fileno(file), &stat) || (stat.st_mode & (S_IRWXG | S_IRWXO)))
		status = fail(-1, "the credentials file is open to others", "run chmod 600 on it");
	else
		len = fread(settings->credentials, 1, sizeof(settings->credentials), file);
	fclose(file);
	if (status)
		return status;
	if (len && settings->credentials[len - 1] == '\n')
		len--;
	if (!len || len > CREDENTIALS_MAX || memchr(settings->credentials, 0, len))
		return fail(-1, "credentials must be 1 to 128 bytes without zero bytes",
			    "write such a secret into the file");
	settings->credentials[len] = 0;
	settings->options.credentials = settings->credentials;
	return 0;
}

static unsigned parse_number(const char *text, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	return end == text || *end || text[0] == '-' || value > max ? 0 : (unsigned)value;
}

/* 0 go on, else exit with the status - 1. */
static int parse_option(struct settings *settings, int option)
{
	switch (option) {
	case 'm':
		settings->options.memory_bytes = parse_size(optarg);
		if (settings->options.memory_bytes)
			return 0;
		return 1 + fail(EXIT_USAGE, "--memory wants a size", "for example --memory 4G");
	case 'c':
		settings->credentials_path = optarg;
		return 0;
	case 't':
		settings->options.term_ns = parse_number(optarg, 3600000) * UINT64_C(1000000);
		if (settings->options.term_ns)
			return 0;
		return 1 + fail(EXIT_USAGE, "--term wants milliseconds, 1 to 3600000",
				"for example --term 500");
	case 'u':
		settings->options.allow_unprotected = 1;
		return 0;
	case 's':
		settings->status_s = parse_number(optarg, 86400);
		if (settings->status_s)
			return 0;
		return 1 + fail(EXIT_USAGE, "--status wants seconds, 1 to 86400",
				"for example --status 10");
	case 'h':
		fputs(usage, stdout);
		return 1 + EXIT_SUCCESS;
	case 'V':
		printf("patronus-node %s\n", ptn_version());
		return 1 + EXIT_SUCCESS;
	default:
		return 1 + fail(EXIT_USAGE, "unknown option", "see patronus-node --help");
	}
}

static int parse(struct settings *settings, int argc, char **argv)
{
	static const struct option options[] = {
		{ "memory", required_argument, NULL, 'm' },
		{ "credentials", required_argument, NULL, 'c' },
		{ "term", required_argument, NULL, 't' },
		{ "allow-unprotected", no_argument, NULL, 'u' },
		{ "status", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;
	while ((option = getopt_long(argc, argv, "m:c:t:us:hV", options, NULL)) != -1) {
		int done = parse_option(settings, option);
		if (done)
			return done;
	}
	if (optind + 1 != argc)
		return 1 + fail(EXIT_USAGE, "one address is needed",
				"for example: patronus-node shm:/tmp/patronus.sock");
	settings->address = argv[optind];
	if (settings->credentials_path && read_credentials(settings))
		return 1 + EXIT_FAILURE;
	return 0;
}

static void print_status(struct ptn_node *node)
{
	struct ptn_node_info info;
	if (ptn_node_info(node, &info))
		return;
	printf("sessions %u  lanes %u  windows %u  leases %u  memory %.1f of %.1f MiB  grants %" PRIu64
	       "  expired %" PRIu64 "  fenced %" PRIu64 "\n",
	       info.sessions, info.lanes, info.windows, info.leases,
	       (double)info.memory_used_bytes / 1048576.0, (double)info.memory_bytes / 1048576.0,
	       info.grants, info.expirations, info.fences);
	fflush(stdout);
}

static void serve(struct ptn_node *node, const struct settings *settings, const sigset_t *signals)
{
	struct timespec period = { .tv_sec = settings->status_s };
	int signal;
	do {
		signal = settings->status_s ? sigtimedwait(signals, NULL, &period) :
					      sigwaitinfo(signals, NULL);
		if (signal < 0 && settings->status_s)
			print_status(node);
	} while (signal != SIGINT && signal != SIGTERM);
}

int main(int argc, char **argv)
{
	struct settings settings = { .options.size = sizeof(struct ptn_node_options) };
	int done = parse(&settings, argc, argv);
	if (done)
		return done - 1;

	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals,
		    NULL); /* before the node's thread starts: it inherits the mask */

	struct ptn_node *node;
	int status = ptn_node_open(settings.address, &settings.options, &node);
	if (status) {
		fprintf(stderr, "patronus-node: cannot serve '%s': %s\n", settings.address,
			ptn_strerror(status));
		return EXIT_FAILURE;
	}
	struct ptn_node_info info;
	ptn_node_info(node, &info);
	printf("ready: %.0f MiB at %s\n", (double)info.memory_bytes / 1048576.0, settings.address);
	fflush(stdout);
	serve(node, &settings, &signals);
	print_status(node);
	ptn_node_close(node);
	return EXIT_SUCCESS;
}
