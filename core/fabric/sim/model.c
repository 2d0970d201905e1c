/* SPDX-License-Identifier: MIT */
#include "core/fabric/sim/model.h"

#include <stddef.h>
#include <string.h>

/*
 * Sources, by title:
 *
 *   [C] "Cuckoo for Clients: Disaggregated Cuckoo Hashing", data of its figures, ConnectX-5 at 100 Gb/s. 8 bytes, 24
 *       requests in flight: WRITE 11.0, READ 8.9, CAS 8.7 M/s, that is 2.18, 2.70 and 2.75 us each; 360 in flight:
 *       103.6, 84.5, 50.6 M/s; CAS on one address 2.93 M/s.
 *   [S] "Scaling Up Memory Disaggregated Applications with SMART", its raw data, ConnectX-6 at 200 Gb/s. 8 bytes, 96
 *       threads with one request in flight each: 32.9 M READs/s, that is 2.92 us; with eight each: 110.9 M READs/s,
 *       90.6 M WRITEs/s.
 *   [P] "Patronus: High-Performance and Protective Remote Memory", notes in its source, ConnectX-5. Binds one at a
 *       time 1.18 M/s a thread; 26 M/s a card; requests with 1, 2, 4, 8 binds 1.5, 1.36, 1.0, 0.89 M/s a server
 *       thread; requests without, 10 M/s with four server threads; SENDs 12 to 15 M/s a thread.
 *   [F] "FineMem: Breaking the Allocation Overhead vs. Memory Waste Dilemma in Fine-Grained Disaggregated Memory
 *       Management", ConnectX-6. To bind a window takes 1.33 us, to invalidate it 1.33 us.
 *
 * A latency is measured as a whole; how it is divided among doorbell, link, verb and completion is ours:
 *
 *   BIND   70 + 300            + 170 + 250 + ~55  = 845   [P] 1 / 1.18 M/s
 *   WRITE  70 + 300 + 2 * 600  + 300 + 250 + ~55  = 2175  [C] 2180
 *   READ   70 + 300 + 2 * 600  + 500 + 330 + 250 + ~55  = 2705  [C] 2700
 *   CAS    70 + 300 + 2 * 600  + 550 + 330 + 250 + ~55  = 2755  [C] 2750
 */
#define PARAMETER(field, unit, cx5, cx6, source)                                            \
	{                                                                                   \
#field, unit, offsetof(struct ptni_sim_timing, field), { cx5, cx6 }, source \
	}

const struct ptni_sim_parameter ptni_sim_parameters[] = {
	PARAMETER(doorbell_ns, "ns", 300, 300, "part of [P]'s bind and [C]'s WRITE"),
	PARAMETER(completion_ns, "ns", 250, 250, "part of [P]'s bind and [C]'s WRITE"),
	PARAMETER(wire_ns, "ns", 600, 690,
		  "one way with both cards and a switch: rest of [C]'s WRITE; of [S]'s READ"),
	PARAMETER(write_ns, "ns", 300, 300, "part of [C]'s WRITE"),
	PARAMETER(send_ns, "ns", 300, 300, "as write_ns"),
	PARAMETER(read_ns, "ns", 500, 520, "part of [C]'s READ; of [S]'s"),
	PARAMETER(atomic_ns, "ns", 550, 570,
		  "part of [C]'s CAS; for want of data the same on the other"),
	PARAMETER(pcie_ns, "ns", 330, 330, "part of [C]'s READ; WRITE of more than can be inline"),
	PARAMETER(pcie_ps_per_byte, "ps/B", 77, 40, "16 lanes of PCIe 3, of PCIe 4"),
	PARAMETER(bind_ns, "ns", 170, 650, "rest of [P]'s bind; of [F]'s"),
	PARAMETER(invalidate_ns, "ns", 170, 650, "as bind_ns: [F] finds both alike"),
	PARAMETER(bind_ps, "ps", 38500, 38500,
		  "[P] 26 M/s; for want of data the same on the other"),
	PARAMETER(invalidate_ps, "ps", 38500, 38500, "as bind_ps"),
	PARAMETER(link_ps_per_byte, "ps/B", 80, 40, "100 Gb/s, 200 Gb/s"),
	PARAMETER(message_bytes, "B", 60, 60,
		  "headers of one packet of InfiniBand or RoCE, rounded"),
	PARAMETER(request_ps, "ps", 9650, 9020, "the most any one card sent in [C], in [S]"),
	PARAMETER(read_ps, "ps", 11830, 9020, "[C] 84.5 M/s, [S] 110.9 M/s"),
	PARAMETER(write_ps, "ps", 9650, 11040, "[C] 103.6 M/s, [S] 90.6 M/s"),
	PARAMETER(atomic_ps, "ps", 19780, 19780,
		  "[C] 50.6 M/s; for want of data the same on the other"),
	PARAMETER(atomic_word_ns, "ns", 341, 341,
		  "[C] 2.93 M/s; for want of data the same on the other"),
	PARAMETER(cpu_doorbell_ns, "ns", 50, 50,
		  "with cpu_request_ns [P]'s 12 to 15 M SENDs/s a thread"),
	PARAMETER(cpu_request_ns, "ns", 20, 20,
		  "with cpu_bind_ns what a further bind costs in [P]"),
	PARAMETER(cpu_bind_ns, "ns", 45, 45,
		  "[P] (1 / 0.89 - 1 / 1.5) / 7 us, less cpu_request_ns"),
	PARAMETER(cpu_poll_ns, "ns", 10, 10, "ours: a poll of the library's own code, rounded up"),
	PARAMETER(cpu_completion_ns, "ns", 20, 20,
		  "ours: the same with a completion, less an empty one"),
	PARAMETER(cpu_message_ns, "ns", 320, 320,
		  "[P] 4 / 10 M/s, less doorbell, requests and completions"),
	PARAMETER(turn_ns, "ns", 15, 15, "ours: half a round of a thread that polls"),
};
const unsigned ptni_sim_parameter_count =
	sizeof(ptni_sim_parameters) / sizeof(ptni_sim_parameters[0]);

void ptni_sim_model(enum ptni_sim_card card, struct ptni_sim_timing *timing_out)
{
	struct ptni_sim_timing timing = { .channel_ns = 20000 };

	for (unsigned i = 0; i < ptni_sim_parameter_count; i++)
		memcpy((char *)&timing + ptni_sim_parameters[i].offset,
		       &ptni_sim_parameters[i].value[card], sizeof(uint32_t));
	*timing_out = timing;
}

const char *ptni_sim_card_name(enum ptni_sim_card card)
{
	return card == PTNI_SIM_CX5 ? "ConnectX-5, 100 Gb/s" : "ConnectX-6, 200 Gb/s";
}
