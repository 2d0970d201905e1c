/* SPDX-License-Identifier: MIT */
/* CAS and FAA: values, alignment, and atomicity among queue pairs and threads. */
#include "tests/nic/groups.h"

enum {
	OLD = 512 /* offset in client memory of the value brought back */
};

static uint64_t old_value(const struct nic *nic)
{
	return nic_load(nic->client.memory + OLD);
}

/* Rule: CAS brings back the value found, and stores only when that is the value expected. */
static void cas_values(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint64_t word = nic_at(&nic->node, 8);
	uint32_t rkey = nic->node.mr->rkey;
	static const uint64_t values[] = { 0, 1, 0x0123456789abcdef, UINT64_MAX, 1ull << 63 };
	uint64_t now = 0;
	for (size_t i = 0; i < 5; i++) {
		nic_run_ok(nic->link.client, nic_cas(nic, OLD, word, now, values[i], rkey));
		assert_int_equal(old_value(nic), now);
		now = values[i];
		assert_int_equal(nic_load(nic->node.memory + 8), now);
		nic_run_ok(nic->link.client, nic_cas(nic, OLD, word, ~now, 42, rkey));
		assert_int_equal(old_value(nic), now);
		assert_int_equal(nic_load(nic->node.memory + 8), now);
	}
	assert_int_equal(nic_load(nic->node.memory), 0);
	assert_int_equal(nic_load(nic->node.memory + 16), 0);
}

/* Rule: FAA brings back the value before the addition, modulo 2^64. */
static void faa_values(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	uint64_t word = nic_at(&nic->node, 8), now = 0;
	static const uint64_t values[] = { 1, UINT64_MAX, 1ull << 63, 1ull << 63, 7, -9ull };
	for (size_t i = 0; i < 6; i++) {
		nic_run_ok(nic->link.client,
			   nic_faa(nic, OLD, word, values[i], nic->node.mr->rkey));
		assert_int_equal(old_value(nic), now);
		now += values[i];
		assert_int_equal(nic_load(nic->node.memory + 8), now);
	}
	assert_int_equal(nic_load(nic->node.memory), 0);
	assert_int_equal(nic_load(nic->node.memory + 16), 0);
}

/*
 * Rule: atomics work on 8 aligned bytes. Others are refused, at posting or with an error completion,
 * and change nothing.
 */
static void unaligned_is_refused(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	for (uint64_t shift = 1; shift < 8; shift++) {
		struct nic_op ops[] = {
			nic_cas(nic, OLD, nic_at(&nic->node, shift), 0, UINT64_MAX,
				nic->node.mr->rkey),
			nic_faa(nic, OLD, nic_at(&nic->node, shift), UINT64_MAX,
				nic->node.mr->rkey),
		};
		for (size_t i = 0; i < 2; i++) {
			struct nic_op op = nic_signalled(ops[i], shift);
			if (!nic_try_post(nic->link.client, &op, 1, NULL)) {
				struct ibv_wc wc = nic_wait(nic->client.cq);
				assert_int_equal(wc.status, IBV_WC_REM_INV_REQ_ERR);
				nic_link_renew(nic, &nic->link);
			}
			assert_int_equal(nic_load(nic->node.memory), 0);
			assert_int_equal(nic_load(nic->node.memory + 8), 0);
		}
	}
}

/* Rule: an atomic brings back 8 bytes, so its SGE must have 8 bytes; nothing beside them changes. */
static void result_is_eight_bytes(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	nic_store(nic->client.memory + OLD - 8, 11);
	nic_store(nic->client.memory + OLD + 8, 12);
	nic_store(nic->node.memory, UINT64_MAX);
	struct nic_op op = nic_faa(nic, OLD, nic_at(&nic->node, 0), 1, nic->node.mr->rkey);
	nic_run_ok(nic->link.client, op);
	assert_int_equal(old_value(nic), UINT64_MAX);
	assert_int_equal(nic_load(nic->client.memory + OLD - 8), 11);
	assert_int_equal(nic_load(nic->client.memory + OLD + 8), 12);
}

/* Rule: atomics of several queue pairs on one word are atomic against each other. */
static void atomic_among_queue_pairs(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	enum {
		LINKS = 4,
		EACH = 128
	};
	struct nic_op list[EACH];
	for (size_t i = 0; i < EACH; i++)
		list[i] = nic_faa(nic, OLD, nic_at(&nic->node, 0), 1, nic->node.mr->rkey);
	list[EACH - 1] = nic_signalled(list[EACH - 1], 1);
	for (size_t i = 0; i < LINKS; i++) {
		struct nic_link link = nic_link_another(nic);
		nic_post(link.client, list, EACH);
	}
	for (size_t i = 0; i < LINKS; i++)
		nic_expect(nic->client.cq, 1, IBV_WC_SUCCESS);
	assert_int_equal(nic_load(nic->node.memory), LINKS * EACH);
}

struct adder {
	struct nic *nic;
	struct nic_link link;
	size_t local;
	unsigned failed;
};

enum {
	THREADS = 3,
	ADDITIONS = 1500
};

static bool adder_run(struct adder *adder, struct nic_op op)
{
	struct ibv_wc wc;
	op = nic_signalled(op, 1);
	if (nic_try_post(adder->link.client, &op, 1, NULL) ||
	    !nic_try_wait(adder->link.client->send_cq, NIC_DEADLINE_MS, &wc) ||
	    wc.status != IBV_WC_SUCCESS)
		adder->failed++;
	return !adder->failed;
}

/* Adds one by CAS, starting from the value *seen, which it brings up to date. */
static bool adder_cas(struct adder *adder, uint64_t word, uint64_t *seen)
{
	struct nic *nic = adder->nic;
	for (;;) {
		if (!adder_run(adder, nic_cas(nic, adder->local, word, *seen, *seen + 1,
					      nic->node.mr->rkey)))
			return false;
		uint64_t found = nic_load(nic->client.memory + adder->local);
		bool stored = found == *seen;
		*seen = stored ? found + 1 : found;
		if (stored)
			return true;
	}
}

static void *adder_main(void *arg)
{
	struct adder *adder = arg;
	struct nic *nic = adder->nic;
	uint64_t word = nic_at(&nic->node, 0), seen = 0;
	struct nic_op faa = nic_faa(nic, adder->local, word + 8, 1, nic->node.mr->rkey);
	for (int i = 0; i < ADDITIONS; i++)
		if (!adder_run(adder, faa) || !adder_cas(adder, word, &seen))
			break;
	return NULL;
}

/* Rule: so are CAS and FAA that threads issue at the same time, each on queue pair and CQ of its own. */
static void atomic_among_threads(void **state)
{
	struct nic *nic = nic_begin(state, __func__);
	struct adder adders[THREADS];
	struct nic_thread *threads[THREADS];
	for (size_t i = 0; i < THREADS; i++) {
		struct nic_link_spec spec = nic_link_usual(nic);
		spec.client_cq = nic_cq_open(nic, &nic->client, 16);
		adders[i] = (struct adder){ nic, nic_link_open(nic, &spec), 1024 + 64 * i, 0 };
	}
	for (size_t i = 0; i < THREADS; i++)
		threads[i] = nic_thread_start(adder_main, &adders[i]);
	for (size_t i = 0; i < THREADS; i++)
		nic_thread_join(threads[i]);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(adders[i].failed, 0);
	assert_int_equal(nic_load(nic->node.memory), THREADS * ADDITIONS);
	assert_int_equal(nic_load(nic->node.memory + 8), THREADS * ADDITIONS);
}

const struct CMUnitTest nic_atomic_tests[] = {
	NIC_TEST(cas_values),
	NIC_TEST(faa_values),
	NIC_TEST(unaligned_is_refused),
	NIC_TEST(result_is_eight_bytes),
	NIC_TEST(atomic_among_queue_pairs),
	NIC_TEST(atomic_among_threads),
};
NIC_COUNT(atomic);
