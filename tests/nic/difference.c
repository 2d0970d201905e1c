/* SPDX-License-Identifier: MIT */
#include "tests/nic/difference.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct nic_difference differences[] = {
	{ "no_recv_waits", NIC_SOFT, NIC_PINNED,
	  "the SEND is tried again when its own side polls one of its completion queues",
	  "the software NIC has no thread of its own" },
	{ "armed_queue_wakes", NIC_SIM, NIC_PINNED, "cq_arm says 1, there is no descriptor (-1)",
	  "tasks wait in virtual time, which poll(2) does not know; the simulator wakes them" },
	{ "unarmed_queue_is_silent", NIC_SIM, NIC_SKIPPED, "there is no descriptor",
	  "see armed_queue_wakes" },
	{ "arming_loses_nothing", NIC_SIM, NIC_SKIPPED, "there is no descriptor",
	  "see armed_queue_wakes" },
	{ "receive_and_error_wake", NIC_SIM, NIC_SKIPPED, "there is no descriptor",
	  "see armed_queue_wakes" },
	{ "nothing_there", NIC_SIM, NIC_PINNED, "a channel has no descriptor (-1)",
	  "see armed_queue_wakes" },
	{ "outside_the_window", NIC_SIM, NIC_PINNED,
	  "what moves in slices is checked slice by slice: those inside of the window have moved "
	  "before the first outside is refused",
	  "a card may check packet by packet, and the library must not rely on more" },
	{ "revoked_through_its_own_queue_pair", NIC_SIM, NIC_PINNED,
	  "a LOCAL_INV that took effect may complete as flushed",
	  "its completion comes later, and the denied peer may have broken the queue pair by then" },
	{ "overrun_is_an_error", NIC_RXE, NIC_PINNED,
	  "completions are lost, an asynchronous event is raised, the queue pair stays in RTS",
	  "rxe drops a completion that finds the queue full" },
	{ "local_keys_are_checked", NIC_RXE, NIC_PINNED,
	  "a WRITE with a bad lkey ends with LOC_QP_OP_ERR instead of LOC_PROT_ERR",
	  "rxe reports every failure to read local memory in the same way" },
	{ "no_recv_waits_past_the_timeout", NIC_RXE, NIC_PINNED,
	  "the SEND fails with RETRY_EXC after retry_count timeouts",
	  "rxe lets the transport timer run while it waits for a RECV" },
	{ "recv_posted_in_error_is_flushed", NIC_RXE, NIC_PINNED,
	  "the RECV is taken and not flushed", "rxe's user space does not look at the state" },
	{ "unknown_opcode_is_refused", NIC_RXE, NIC_SKIPPED,
	  "the kernel reads behind its table of opcodes",
	  "rxe does not check the opcode that user space put in the queue" },
	{ "message_longer_than_buffer", NIC_RXE, NIC_PINNED,
	  "the sender gets REM_OP_ERR, the receiver LOC_QP_OP_ERR",
	  "rxe has its own codes for it" },
	{ "same_tag_again", NIC_RXE, NIC_PINNED, "the window is bound, the old key works again",
	  "the verbs leave the tag to the consumer" },
	{ "posting_before_connected", NIC_RXE, NIC_PINNED,
	  "ibv_post_send fails but does not set bad_wr, and the request stays in the queue: "
	  "it is executed once the queue pair is connected",
	  "rxe's user space fills the queue before it asks the kernel" },
	{ "send_through_another_queue_pair", NIC_RXE, NIC_PINNED,
	  "a peer invalidates a window that is bound on another's queue pair",
	  "rxe does not compare the queue pairs" },
	{ "no_byte_changes_after_revocation", NIC_RXE, NIC_PINNED,
	  "a request that has passed its key check may still be carried out after the LOCAL_INV "
	  "has completed; nothing changes once the holder knows",
	  "rxe does not wait for accesses in progress" },
	{ "long_requests_stop", NIC_RXE, NIC_PINNED,
	  "the same; the holder's first error may be WR_FLUSH_ERR",
	  "rxe does not wait for accesses in progress" },
	{ "revoked_through_its_own_queue_pair", NIC_RXE, NIC_PINNED,
	  "the same; a LOCAL_INV that took effect may complete as flushed",
	  "rxe completes after the denied peer has broken the queue pair" },
	{ "no_byte_changes_after_deallocation", NIC_RXE, NIC_PINNED, "as after LOCAL_INV",
	  "rxe does not wait for accesses in progress" },
	{ "no_byte_changes_after_error", NIC_RXE, NIC_PINNED, "as after LOCAL_INV",
	  "rxe does not wait for accesses in progress" },
	{ "zero_based_beside_the_region", NIC_RXE_STOCK, NIC_PINNED,
	  "a zero-based window that lies outside its region is bound",
	  "rxe compares only the lengths" },
	{ "out_of_the_address_space", NIC_RXE_STOCK, NIC_PINNED,
	  "a window whose end wraps round 2^64 is bound",
	  "rxe adds address and length without looking for the carry" },
	{ "send_with_invalidate", NIC_RXE_STOCK, NIC_PINNED,
	  "the completion's flags lack IBV_WC_WITH_INV (bit 2 is set instead of bit 3)",
	  "rxe gives the kernel's value of the flag to user space" },
	{ "send_with_same_key_twice", NIC_RXE_STOCK, NIC_SKIPPED, "the kernel panics",
	  "rxe_invalidate_mw drops a reference of a window that has none" },
	{ "twice", NIC_RXE_STOCK, NIC_SKIPPED, "the kernel panics",
	  "rxe_invalidate_mw drops a reference of a window that has none" },
	{ "never_bound", NIC_RXE_STOCK, NIC_SKIPPED, "the kernel panics",
	  "rxe_invalidate_mw drops a reference of a window that has none" },
	{ "through_another_domain", NIC_RXE_STOCK, NIC_PINNED, "the window is invalidated",
	  "rxe compares no domains in LOCAL_INV" },
	{ "region_of_another_domain", NIC_RXE_STOCK, NIC_PINNED, "the window is bound",
	  "rxe compares no domains of region and window" },
	{ "outside_the_window", NIC_RXE_STOCK, NIC_PINNED,
	  "every access inside the underlying region is allowed",
	  "rxe checks an access against the region, not against the window" },
	{ "zero_based", NIC_RXE_STOCK, NIC_PINNED,
	  "every access inside the underlying region is allowed",
	  "rxe checks an access against the region, not against the window" },
	{ "any_length_and_alignment", NIC_RXE_STOCK, NIC_PINNED,
	  "every access inside the underlying region is allowed",
	  "rxe checks an access against the region, not against the window" },
	{ "adjacent_windows", NIC_RXE_STOCK, NIC_PINNED,
	  "every access inside the underlying region is allowed",
	  "rxe checks an access against the region, not against the window" },
	{ "close_queue_pair_with_window", NIC_RXE_STOCK, NIC_SKIPPED,
	  "closing the queue pair takes most of a minute, then the window refers to freed memory",
	  "a bound window keeps a reference of its queue pair" },
};

static const struct nic_strictness strictnesses[] = {
	{ "no_byte_changes_after_revocation",
	  "LOCAL_INV, deallocation and ERROR complete after every access in progress has ended",
	  "rxe lets an access that was checked before them finish later" },
	{ "revoked_through_its_own_queue_pair",
	  "a LOCAL_INV that took effect completes with success, even if its queue pair broke since",
	  "rxe flushes it: its owner must deallocate the window to be sure" },
	{ "denied_write_changes_no_byte",
	  "a request is checked as a whole before its first byte moves",
	  "a device may check packet by packet" },
	{ "overrun_is_an_error", "every queue pair that overran the completion queue goes to ERROR",
	  "rxe drops completions, other devices break the completion queue" },
	{ "unaligned_is_refused", "an unaligned atomic is refused",
	  "rxe refuses it at posting, other devices may let the peer refuse it" },
	{ "same_tag_again", "a bind must bring a fresh tag",
	  "the verbs leave the tag to the consumer, who should not re-use one" },
	{ "stale_current_key",
	  "a bind must name the window's current key, so that nobody binds with an old handle",
	  "rxe compares it too; the verbs leave it to the provider" },
	{ "wrong_parameters", "retry_count 7 is refused by every backend",
	  "rxe takes it for infinite" },
};

enum {
	DIFFERENCES = sizeof(differences) / sizeof(differences[0]),
	STRICTNESSES = sizeof(strictnesses) / sizeof(strictnesses[0]),
	LINE_MAX_BYTES = 1024,
};

static enum nic_variant variant_now;
static bool used[DIFFERENCES];

static const struct {
	enum nic_variant variant;
	const char *name;
} variants[] = {
	{ NIC_SOFT, "soft" },
	{ NIC_RXE_STOCK, "rxe-stock" },
	{ NIC_RXE_PATCHED, "rxe-patched" },
	{ NIC_HARDWARE, "hardware" },
	{ NIC_SIM, "sim" },
};

enum {
	VARIANTS = sizeof(variants) / sizeof(variants[0])
};

int nic_variant_choose(const char *backend)
{
	if (strcmp(backend, "verbs")) {
		variant_now = strcmp(backend, "sim") ? NIC_SOFT : NIC_SIM;
		return 0;
	}
	const char *name = getenv("PTN_NIC_VARIANT");
	for (size_t i = 1; name && i < VARIANTS; i++) {
		if (strcmp(name, variants[i].name))
			continue;
		variant_now = variants[i].variant;
		return 0;
	}
	fprintf(stderr, "a device needs PTN_NIC_VARIANT=rxe-stock, rxe-patched or hardware\n");
	return -EINVAL;
}

const struct nic_difference *nic_difference_find(const char *test)
{
	for (size_t i = 0; i < DIFFERENCES; i++) {
		if (!(differences[i].variants & variant_now) || strcmp(differences[i].test, test))
			continue;
		used[i] = true;
		return &differences[i];
	}
	return NULL;
}

size_t nic_differences_unused(void)
{
	size_t count = 0;
	for (size_t i = 0; i < DIFFERENCES; i++) {
		if (!(differences[i].variants & variant_now) || used[i])
			continue;
		count++;
		fprintf(stderr, "difference.c: no test asked for the row of %s\n",
			differences[i].test);
	}
	return count;
}

static void difference_line(const struct nic_difference *row, char line_out[LINE_MAX_BYTES])
{
	char names[64];
	size_t len = 0;
	for (size_t i = 0; i < VARIANTS; i++)
		if (row->variants & variants[i].variant)
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						len ? ", " : "", variants[i].name);
	snprintf(line_out, LINE_MAX_BYTES, "| `%s` | %s | %s | %s | %s |\n", row->test, names,
		 row->how == NIC_PINNED ? "pinned" : "skipped", row->instead, row->why);
}

static void strictness_line(const struct nic_strictness *row, char line_out[LINE_MAX_BYTES])
{
	snprintf(line_out, LINE_MAX_BYTES, "| `%s` | %s | %s |\n", row->test, row->strict,
		 row->others);
}

static void line_get(size_t index, char line_out[LINE_MAX_BYTES])
{
	if (index < DIFFERENCES)
		difference_line(&differences[index], line_out);
	else
		strictness_line(&strictnesses[index - DIFFERENCES], line_out);
}

const char *nic_differences_test(size_t row)
{
	if (row >= DIFFERENCES + STRICTNESSES)
		return NULL;
	return row < DIFFERENCES ? differences[row].test : strictnesses[row - DIFFERENCES].test;
}

void nic_differences_print(void)
{
	char line[LINE_MAX_BYTES];
	for (size_t i = 0; i < DIFFERENCES + STRICTNESSES; i++) {
		line_get(i, line);
		fputs(line, stdout);
	}
}

static bool line_known(const char *text, bool seen[])
{
	char line[LINE_MAX_BYTES];
	for (size_t i = 0; i < DIFFERENCES + STRICTNESSES; i++) {
		line_get(i, line);
		if (strcmp(line, text))
			continue;
		seen[i] = true;
		return true;
	}
	return false;
}

int nic_differences_check(const char *document)
{
	FILE *file = fopen(document, "r");
	if (!file) {
		fprintf(stderr, "%s: %s\n", document, strerror(errno));
		return 1;
	}
	bool seen[DIFFERENCES + STRICTNESSES] = { false };
	char line[LINE_MAX_BYTES];
	int wrong = 0;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "| `", 3) || line_known(line, seen))
			continue;
		fprintf(stderr, "%s: not in difference.c: %s", document, line);
		wrong = 1;
	}
	fclose(file);
	for (size_t i = 0; i < DIFFERENCES + STRICTNESSES; i++) {
		if (seen[i])
			continue;
		line_get(i, line);
		fprintf(stderr, "%s: lacks the row: %s", document, line);
		wrong = 1;
	}
	return wrong;
}
