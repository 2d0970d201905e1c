/* SPDX-License-Identifier: MIT */
/*
 * Four client processes work on one table in shared memory; one of them is killed again and again at random
 * moments and started anew, or put to sleep until its lease is over.
 * H8 and H9 of ds/hashtable/table.h, between real processes:
 *
 *   - every value that is read is whole, and no older than what its writer had been told was done before
 *     the read began, and no newer than what its writer had begun when the read ended;
 *   - at the end the table holds for every key what its writer was told last, or what a killed writer had begun;
 *   - nobody waits longer for the dead than a lease's term and 10 ms, scheduling aside;
 *   - dropping the table gives all memory back.
 *
 * Each process owns some keys, which it alone writes, and writes down in a log that outlives it what it begins
 * and what it was told. Version v of a key is a value that shows v, or the key's absence when v % 8 == 0.
 *
 * The test runs itself as its clients: test_hash_kill client LOG ADDRESS NUMBER
 */
#include "core/base/clock.h"
#include "core/base/rng.h"
#include "core/base/sanitizer.h"
#include "tests/process/memory_down.h"
#include "tests/support/child.h"
#include "tests/support/versioned.h"

#include <patronus/client.h>
#include <patronus/error.h>
#include <patronus/hash.h>
#include <patronus/node.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	CLIENTS = 4,
	OWN_KEYS = 12000,
	HOT_KEYS = 16,
	KILLS = 20,
	SLEEPS = 3,
	LAPSED = 4, /* exit status of a client whose session was ended */
	/* sanitized code is slow, and an operation may take three quarters of a term */
	TERM_MS = PTNI_ASAN || PTNI_TSAN ? 5000 : 500,
	SLACK_MS = 10,
};

struct client_log {
	_Atomic uint64_t ops, pid_ready;
	_Atomic uint64_t worst_ns; /* longest operation, as the clock saw it */
	_Atomic uint64_t stall_ns; /* longest, less the time that it could have run but did not */
	_Atomic uint64_t hot_begun;
	_Atomic uint64_t lives;
	_Atomic int error;
	_Atomic int where;
	struct versioned_key key[OWN_KEYS];
};

struct log {
	_Atomic bool stop;
	struct client_log client[CLIENTS];
};

/* --- a client ------------------------------------------------------------------------------------- */

struct worker {
	struct log *log;
	struct client_log *own;
	uint32_t number;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash *hash;
	struct ptni_rng rng;
	int schedstat;
	uint64_t delay_ns; /* waiting for a processor, so far */
};

/* Nanoseconds that this thread has waited for a processor: the second number of its schedstat. */
static uint64_t run_delay_ns(const struct worker *worker)
{
	unsigned long long on_cpu = 0, waiting = 0;
	char text[128] = "";

	if (pread(worker->schedstat, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%llu %llu", &on_cpu, &waiting) != 2)
		return 0;
	return waiting;
}

static void raise_to(_Atomic uint64_t *most, uint64_t value)
{
	if (value > atomic_load(most))
		atomic_store(most, value);
}

/* Note how long an operation took. Only long ones are worth asking the kernel about. */
static void account(struct worker *worker, uint64_t took_ns)
{
	const uint64_t long_ns = 2000000;
	uint64_t delay_ns;

	if (atomic_fetch_add(&worker->own->ops, 1) % 64 == 0)
		worker->delay_ns = run_delay_ns(worker);
	raise_to(&worker->own->worst_ns, took_ns);
	if (took_ns < long_ns)
		return;
	delay_ns = run_delay_ns(worker) - worker->delay_ns;
	worker->delay_ns += delay_ns;
	raise_to(&worker->own->stall_ns, took_ns > delay_ns ? took_ns - delay_ns : 0);
}

/* Who slept past the lease learns that from the next operation, which may or may not have been done. */
static void give_up(struct worker *worker, int error, int where)
{
	if (ptn_error_scope(error) == PTN_SCOPE_NODE || ptn_error_scope(error) == PTN_SCOPE_LEASE)
		_exit(LAPSED);
	atomic_store(&worker->own->where, where);
	atomic_store(&worker->own->error, error ? error : -EPROTO);
	_exit(3);
}

/* It was asleep in the operation, whose own time is up as well: the next one is told of the lease. */
static bool overslept(int ret, uint64_t start_ns)
{
	const uint64_t op_timeout_ns = TERM_MS * 1000000ull / 4 * 3;

	return ret == -ETIMEDOUT && ptni_clock_now_ns() - start_ns >= op_timeout_ns;
}

static void write_own(struct worker *worker)
{
	struct versioned_name name = { worker->number,
				       (uint32_t)ptni_rng_below(&worker->rng, OWN_KEYS) };
	struct versioned_key *key = &worker->own->key[name.number];
	uint32_t version = atomic_load(&key->begun) + 1;
	uint8_t value[VERSIONED_VALUE_MAX];
	size_t len = versioned_value(name.owner, name.number, version, value);
	uint64_t start_ns;
	int ret;

	atomic_store(&key->begun, version);
	start_ns = ptni_clock_now_ns();
	if (versioned_absent(version)) {
		ret = ptn_hash_delete(worker->worker, worker->hash, &name, sizeof(name));
		if (ret == -ENOENT) /* the killed one's write may not have happened */
			ret = 0;
	} else {
		ret = ptn_hash_put(worker->worker, worker->hash, &name, sizeof(name), value, len);
	}
	if (ret && !overslept(ret, start_ns))
		give_up(worker, ret, __LINE__);
	if (!ret)
		atomic_store(&key->told, version);
	account(worker, ptni_clock_now_ns() - start_ns);
}

static void read_any(struct worker *worker)
{
	struct versioned_name name = { (uint32_t)ptni_rng_below(&worker->rng, CLIENTS),
				       (uint32_t)ptni_rng_below(&worker->rng, OWN_KEYS) };
	struct versioned_key *key = &worker->log->client[name.owner].key[name.number];
	uint32_t told = atomic_load(&key->told), owner = 0, number = 0, begun;
	uint64_t start_ns = ptni_clock_now_ns(), version = 0;
	uint8_t value[VERSIONED_VALUE_MAX];
	size_t len = 0;
	int ret = ptn_hash_get(worker->worker, worker->hash, &name, sizeof(name), value,
			       sizeof(value), &len);

	account(worker, ptni_clock_now_ns() - start_ns);
	begun = atomic_load(&key->begun);
	if (overslept(ret, start_ns))
		return;
	if (ret && ret != -ENOENT)
		give_up(worker, ret, __LINE__);
	if (!ret && (!versioned_whole(value, len, &owner, &number, &version) ||
		     owner != name.owner || number != name.number))
		give_up(worker, 0, __LINE__);
	if (!versioned_plausible(ret, version, told, begun))
		give_up(worker, 0, __LINE__);
}

/* Keys that everybody writes and reads all the time. */
static void touch_hot(struct worker *worker)
{
	struct versioned_name name = { CLIENTS, (uint32_t)ptni_rng_below(&worker->rng, HOT_KEYS) };
	uint64_t start_ns = ptni_clock_now_ns(), version = 0;
	uint32_t owner = 0, number = 0;
	uint8_t value[VERSIONED_VALUE_MAX];
	size_t len;
	int ret;

	if (ptni_rng_chance(&worker->rng, 1, 2)) {
		version = atomic_fetch_add(&worker->own->hot_begun, 1) + 1;
		len = versioned_value(worker->number, name.number, version, value);
		ret = ptn_hash_put(worker->worker, worker->hash, &name, sizeof(name), value, len);
		if (ret && !overslept(ret, start_ns))
			give_up(worker, ret, __LINE__);
	} else {
		ret = ptn_hash_get(worker->worker, worker->hash, &name, sizeof(name), value,
				   sizeof(value), &len);
		if (ret && ret != -ENOENT && !overslept(ret, start_ns))
			give_up(worker, ret, __LINE__);
		if (!ret && (!versioned_whole(value, len, &owner, &number, &version) ||
			     owner >= CLIENTS || number != name.number ||
			     version > atomic_load(&worker->log->client[owner].hot_begun)))
			give_up(worker, 0, __LINE__);
	}
	account(worker, ptni_clock_now_ns() - start_ns);
}

static int connect_to(struct worker *worker, const char *address)
{
	struct ptn_client_options options = { .size = sizeof(options),
					      .term_ns = TERM_MS * 1000000ull };
	struct ptn_hash_options table = { .size = sizeof(table), .cache_entries = 1 << 14 };
	int ret = ptn_client_open(&address, 1, &options, &worker->client);

	if (!ret)
		ret = ptn_worker_open(worker->client, &worker->worker);
	return ret ? ret : ptn_hash_open(worker->worker, "kill", &table, &worker->hash);
}

static int client_main(const char *path, const char *address, const char *number)
{
	struct worker worker = { .number = (uint32_t)strtoul(number, NULL, 10) };
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int ret;

	worker.log = mmap(NULL, sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (worker.log == MAP_FAILED)
		return 2;
	worker.own = &worker.log->client[worker.number];
	worker.schedstat = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	ptni_rng_seed(&worker.rng, worker.number + 100 * atomic_fetch_add(&worker.own->lives, 1));
	ret = connect_to(&worker, address);
	if (ret)
		give_up(&worker, ret, __LINE__);
	atomic_store(&worker.own->pid_ready, (uint64_t)getpid());
	while (!atomic_load(&worker.log->stop)) {
		write_own(&worker);
		read_any(&worker);
		touch_hot(&worker);
	}
	ptn_hash_close(worker.hash);
	ptn_worker_close(worker.worker);
	ret = ptn_client_close(worker.client);
	if (ret)
		give_up(&worker, ret, __LINE__);
	return 0;
}

/* --- the test ---------------------------------------------------------------------------------------- */

struct stage {
	char dir[32], log_path[64], address[64];
	struct log *log;
	struct ptn_node *node;
	pid_t pid[CLIENTS];
	uint64_t baseline_bytes;
};

/* Room for what is written in the two terms in which a client that sleeps holds everything back. */
static void stage_open(struct stage *stage)
{
	struct ptn_node_options options = { .size = sizeof(options),
					    .memory_bytes = (size_t)1 << 30 };
	struct ptn_node_info info;
	int fd;

	snprintf(stage->dir, sizeof(stage->dir), "/tmp/ptn-kill-XXXXXX");
	assert_non_null(mkdtemp(stage->dir));
	snprintf(stage->log_path, sizeof(stage->log_path), "%s/log", stage->dir);
	snprintf(stage->address, sizeof(stage->address), "shm:%s/node", stage->dir);
	fd = open(stage->log_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof(struct log)), 0);
	stage->log = mmap(NULL, sizeof(struct log), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(stage->log != MAP_FAILED);
	close(fd);
	assert_int_equal(ptn_node_open(stage->address, &options, &stage->node), 0);
	assert_int_equal(ptn_node_info(stage->node, &info), 0);
	stage->baseline_bytes = info.memory_used_bytes;
}

static void stage_close(struct stage *stage)
{
	char path[80];

	ptn_node_close(stage->node);
	munmap(stage->log, sizeof(struct log));
	unlink(stage->log_path);
	snprintf(path, sizeof(path), "%s/node", stage->dir);
	unlink(path);
	rmdir(stage->dir);
}

static void start(struct stage *stage, unsigned number)
{
	char text[16];
	char self[] = "test_hash_kill", role[] = "client";
	char *const argv[] = { self, role, stage->log_path, stage->address, text, NULL };

	snprintf(text, sizeof(text), "%u", number);
	atomic_store(&stage->log->client[number].pid_ready, 0);
	stage->pid[number] = child_start(argv);
}

static void must_be_well(struct stage *stage)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client_log *client = &stage->log->client[i];

		if (atomic_load(&client->error))
			fail_msg("client %u, line %d: %s (%d)", i, atomic_load(&client->where),
				 ptn_strerror(atomic_load(&client->error)),
				 atomic_load(&client->error));
	}
}

static void wait_ms(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

/* Until the client works; it is a process that starts, so this takes what it takes. */
static void await_ready(struct stage *stage, unsigned number)
{
	for (unsigned i = 0; !atomic_load(&stage->log->client[number].pid_ready); i++) {
		must_be_well(stage);
		assert_true(i < 20000);
		wait_ms(1);
	}
}

static uint64_t ops_of_others(const struct stage *stage)
{
	uint64_t ops = 0;

	for (unsigned i = 1; i < CLIENTS; i++)
		ops += atomic_load(&stage->log->client[i].ops);
	return ops;
}

static void kill_first(struct stage *stage, struct ptni_rng *rng)
{
	bool killed;

	await_ready(stage, 0);
	wait_ms(10 + (unsigned)ptni_rng_below(rng, 120));
	killed = child_kill(stage->pid[0]);
	must_be_well(stage);
	assert_true(killed);
	start(stage, 0);
}

/* Stopped for three terms, in the middle of whatever it does, then let go on. */
static void put_first_to_sleep(struct stage *stage, struct ptni_rng *rng)
{
	int status;

	await_ready(stage, 0);
	wait_ms(10 + (unsigned)ptni_rng_below(rng, 50));
	kill(stage->pid[0], SIGSTOP);
	wait_ms(3 * TERM_MS);
	must_be_well(stage);
	kill(stage->pid[0], SIGCONT);
	status = child_wait(stage->pid[0]);
	must_be_well(stage);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), LAPSED);
	start(stage, 0);
}

static void run_clients(struct stage *stage, unsigned kills, unsigned sleeps)
{
	struct ptni_rng rng;
	uint64_t begin_ns, ops;
	double seconds;

	ptni_rng_seed(&rng, 20);
	for (unsigned i = 0; i < CLIENTS; i++)
		start(stage, i);
	for (unsigned i = 0; i < CLIENTS; i++)
		await_ready(stage, i);
	begin_ns = ptni_clock_now_ns();
	ops = ops_of_others(stage);
	for (unsigned i = 0; i < kills; i++)
		kill_first(stage, &rng);
	for (unsigned i = 0; i < sleeps; i++)
		put_first_to_sleep(stage, &rng);
	if (!kills && !sleeps)
		wait_ms(1500);
	seconds = (double)(ptni_clock_now_ns() - begin_ns) / 1e9;
	ops = ops_of_others(stage) - ops;
	await_ready(stage, 0);
	atomic_store(&stage->log->stop, true);
	for (unsigned i = 0; i < CLIENTS; i++) {
		int status = child_wait(stage->pid[i]);

		must_be_well(stage);
		assert_int_equal(status, 0);
	}
	print_message("%u kills, %u sleeps in %.1f s: the other three did %.0f operations/s\n",
		      kills, sleeps, seconds, (double)ops / seconds);
}

static void report(const struct stage *stage)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		const struct client_log *client = &stage->log->client[i];

		print_message("  client %u: %8lu operations in %2lu lives, longest %7.2f ms, of "
			      "which not waiting for a processor %7.2f ms\n",
			      i, (unsigned long)atomic_load(&client->ops),
			      (unsigned long)atomic_load(&client->lives),
			      (double)atomic_load(&client->worst_ns) / 1e6,
			      (double)atomic_load(&client->stall_ns) / 1e6);
	}
}

/* --- what is in the table at the end ------------------------------------------------------------------- */

struct audit {
	struct log *log;
	uint8_t seen[CLIENTS + 1][OWN_KEYS];
	uint64_t wrong, entries;
};

static int audit_visit(void *arg, const void *key, size_t key_len, const void *value,
		       size_t value_len)
{
	struct audit *audit = arg;
	uint32_t owner = 0, number = 0;
	uint64_t version = 0;
	struct versioned_name name;

	assert_int_equal(key_len, sizeof(name));
	memcpy(&name, key, sizeof(name));
	audit->entries++;
	if (!versioned_whole(value, value_len, &owner, &number, &version) ||
	    number != name.number || name.owner > CLIENTS ||
	    audit->seen[name.owner][name.number]++) {
		audit->wrong++;
		return 0;
	}
	if (name.owner < CLIENTS) {
		const struct versioned_key *mine = &audit->log->client[name.owner].key[name.number];

		audit->wrong += owner != name.owner || version < atomic_load(&mine->told) ||
				version > atomic_load(&mine->begun) ||
				versioned_absent((uint32_t)version);
	}
	return 0;
}

/* Each key once and as its writer was told; those that are missing may be. */
static void audit_table(struct stage *stage)
{
	static struct audit audit;
	const char *address = stage->address;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_hash_info info;
	struct ptn_hash *hash;
	uint64_t cursor = 0;
	int ret;

	memset(&audit, 0, sizeof(audit));
	audit.log = stage->log;
	assert_int_equal(ptn_client_open(&address, 1, NULL, &client), 0);
	assert_int_equal(ptn_worker_open(client, &worker), 0);
	assert_int_equal(ptn_hash_open(worker, "kill", NULL, &hash), 0);
	while ((ret = ptn_hash_iterate(worker, hash, &cursor, 1000, audit_visit, &audit)) == 1)
		;
	assert_int_equal(ret, 0);
	for (unsigned c = 0; c < CLIENTS; c++)
		for (unsigned k = 0; k < OWN_KEYS; k++) {
			const struct versioned_key *key = &stage->log->client[c].key[k];

			audit.wrong += !audit.seen[c][k] &&
				       !versioned_plausible(-ENOENT, 0, key->told, key->begun);
		}
	assert_int_equal(audit.wrong, 0);
	assert_int_equal(ptn_hash_info(worker, hash, &info), 0);
	assert_int_equal(info.entries, audit.entries);
	print_message("  %lu keys in %lu subtables, %.1f MB of records in %.1f MB\n",
		      (unsigned long)info.entries, (unsigned long)info.subtables,
		      (double)info.live_bytes / 1e6, (double)info.held_bytes / 1e6);
	ptn_hash_close(hash);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(client), 0);
}

static void drop_table(struct stage *stage)
{
	const char *address = stage->address;
	struct ptn_client *client;
	struct ptn_worker *worker;
	struct ptn_node_info info;
	int ret;

	assert_int_equal(ptn_client_open(&address, 1, NULL, &client), 0);
	assert_int_equal(ptn_worker_open(client, &worker), 0);
	/* the one that was killed last has the table open until its lease ends */
	for (unsigned i = 0; (ret = ptn_hash_drop(worker, "kill")) == -EBUSY && i < 2 * TERM_MS;
	     i++)
		wait_ms(1);
	assert_int_equal(ret, 0);
	ptn_worker_close(worker);
	assert_int_equal(ptn_client_close(client), 0);
	for (unsigned i = 0;; i++) {
		assert_int_equal(ptn_node_info(stage->node, &info), 0);
		if (info.memory_used_bytes == stage->baseline_bytes)
			break;
		if (i == 5000)
			fail_msg("%lu bytes of the dropped table are still in use",
				 (unsigned long)(info.memory_used_bytes - stage->baseline_bytes));
		wait_ms(1);
	}
}

static void run_with(unsigned kills, unsigned sleeps)
{
	struct stage stage;

	stage_open(&stage);
	run_clients(&stage, kills, sleeps);
	report(&stage);
	for (unsigned i = 1; i < CLIENTS; i++)
		assert_in_range(atomic_load(&stage.log->client[i].stall_ns), 0,
				(TERM_MS + SLACK_MS) * 1000000ull);
	audit_table(&stage);
	memory_comes_down(stage.address, CLIENTS, OWN_KEYS);
	drop_table(&stage);
	stage_close(&stage);
}

static void clients__undisturbed(void **state)
{
	run_with(0, 0);
}

static void clients__one_killed_twenty_times(void **state)
{
	run_with(KILLS, 0);
}

/* Its lease ended while it slept: it is told so, and nothing that it had begun lands any more. */
static void clients__one_sleeps_past_its_lease(void **state)
{
	run_with(0, SLEEPS);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(clients__undisturbed, children_end),
		cmocka_unit_test_teardown(clients__one_killed_twenty_times, children_end),
		cmocka_unit_test_teardown(clients__one_sleeps_past_its_lease, children_end),
	};

	if (argc == 5 && !strcmp(argv[1], "client"))
		return client_main(argv[2], argv[3], argv[4]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
