/* SPDX-License-Identifier: MIT */
/* Partitions: between which processes nothing gets through, and until when. */
#include "core/fabric/sim/state.h"

#include <stdlib.h>

static bool covers(const struct sim_cut *cut, const struct ptni_sim_process *a,
		   const struct ptni_sim_process *b)
{
	return (cut->process == a && (!cut->peer || cut->peer == b)) ||
	       (cut->process == b && (!cut->peer || cut->peer == a));
}

bool ptni_sim_cut_between(const struct ptni_sim_process *process,
			  const struct ptni_sim_process *peer, struct sim_cut *cut_out)
{
	const struct ptni_sim *sim = process->sim;
	bool found = false;

	for (unsigned i = 0; i < sim->cuts && process != peer; i++) {
		const struct sim_cut *cut = &sim->cut[i];

		if (cut->until_ns <= sim->now_ns || !covers(cut, process, peer))
			continue;
		if (!found)
			*cut_out = *cut;
		if (cut->from_ns < cut_out->from_ns)
			cut_out->from_ns = cut->from_ns;
		if (cut->until_ns > cut_out->until_ns)
			cut_out->until_ns = cut->until_ns;
		found = true;
	}
	return found;
}

/* The same cut made before, or the place of one that is over. */
static struct sim_cut *place(struct ptni_sim *sim, const struct ptni_sim_process *process,
			     const struct ptni_sim_process *peer)
{
	struct sim_cut *over = NULL;

	for (unsigned i = 0; i < sim->cuts; i++) {
		if (sim->cut[i].process == process && sim->cut[i].peer == peer)
			return &sim->cut[i];
		if (sim->cut[i].until_ns <= sim->now_ns)
			over = &sim->cut[i];
	}
	if (!over) {
		if (sim->cuts == SIM_CUTS_MAX)
			abort(); /* who drives the simulation asks for more than there can be */
		over = &sim->cut[sim->cuts++];
	}
	*over = (struct sim_cut){ .process = (struct ptni_sim_process *)process,
				  .peer = (struct ptni_sim_process *)peer };
	return over;
}

void ptni_sim_cut(struct ptni_sim_process *process, struct ptni_sim_process *peer, uint64_t span_ns)
{
	struct ptni_sim *sim = process->sim;
	struct sim_cut *cut = place(sim, process, peer);
	struct ptni_sim_event event = { .kind = PTNI_SIM_PARTITION,
					.process = process->number,
					.peer = peer ? peer->number : process->number,
					.len = span_ns };

	if (cut->until_ns <= sim->now_ns)
		cut->from_ns = sim->now_ns;
	cut->until_ns = sim->now_ns + span_ns;
	ptni_sim_tell(sim, &event);
}

void ptni_sim_cuts_heal(struct ptni_sim *sim)
{
	for (unsigned i = 0; i < sim->cuts; i++)
		if (sim->cut[i].until_ns > sim->now_ns)
			ptni_sim_cut(sim->cut[i].process, sim->cut[i].peer, 0);
}
