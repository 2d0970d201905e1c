/* SPDX-License-Identifier: MIT */
#include "tests/sim/trace.h"

static const char *const verb[] = { "write", "write+imm", "send", "send+imm", "read",
				    "cas",   "faa",       "inv",  "bind",     "send+inv" };

static void told(void *arg, const struct ptni_sim_event *event)
{
	printf("%12llu.%03u %2u %-16s", (unsigned long long)event->now_ns / 1000,
	       (unsigned)(event->now_ns % 1000), event->process, ptni_sim_kind_name(event->kind));
	if (event->qp)
		printf(" qp %x", event->qp);
	if (event->peer_qp)
		printf(" -> %u qp %x", event->peer, event->peer_qp);
	printf(" #%llu", (unsigned long long)event->number);
	if (event->kind >= PTNI_SIM_POST && event->kind <= PTNI_SIM_COMPLETE)
		printf(" %s",
		       event->opcode < sizeof(verb) / sizeof(verb[0]) ? verb[event->opcode] : "?");
	if (event->key)
		printf(" key %x", event->key);
	if (event->addr || event->len)
		printf(" [%llx +%llu]", (unsigned long long)event->addr,
		       (unsigned long long)event->len);
	if (event->compare | event->swap | event->old)
		printf(" %llx -> %llx (%llx)", (unsigned long long)event->compare,
		       (unsigned long long)event->swap, (unsigned long long)event->old);
	if (event->status)
		printf(" %s (%u)", ibv_wc_status_str((enum ibv_wc_status)event->status),
		       event->cause);
	puts(event->ghost ? " ghost" : "");
}

/* What was attached before. */
static int (*others)(struct world *world, void *arg);

static int attach(struct world *world, void *arg)
{
	struct ptni_sim_observer observer = { .told = told };
	int ret = ptni_sim_observe(world_sim(world), &observer);

	return ret || !others ? ret : others(world, arg);
}

void trace_attach(struct world_config *config)
{
	others = config->attach;
	config->attach = attach;
}

static void blow_print(const struct world_blow *blow, FILE *to)
{
	static const char *const how[] = { "drain", "drop", "cut" };
	static const char *const cut[] = { "", "is cut off from a node", "is cut off from all",
					   "and all others are cut off from a node" };

	fprintf(to, "  client %u (node %u) %s", blow->client, blow->node,
		blow->cut     ? cut[blow->cut] :
		blow->step_ns ? "sees a clock jump" :
		blow->hang_up ? "loses a node" :
		blow->pause   ? "pauses" :
				"is killed");
	if (blow->verb && !blow->pause)
		fprintf(to, " at verb %llu", (unsigned long long)blow->verb);
	else
		fprintf(to, " at %llu us", (unsigned long long)blow->at_ns / 1000);
	fprintf(to, ", %s%s, %llu us%s", how[blow->how], blow->silent ? ", silently" : "",
		(unsigned long long)blow->span_ns / 1000, blow->restart ? ", restarts" : "");
	if (blow->step_ns)
		fprintf(to, ", %s clock by %lld ns", blow->step_node ? "the node's" : "its own",
			(long long)blow->step_ns);
	fputc('\n', to);
}

void trace_config(const struct world_config *config, FILE *to)
{
	const struct ptni_sim_faults *faults = &config->sim.faults;

	fprintf(to,
		"%u nodes, %u clients of %u %s, %u operations each on %u keys (%u hot, %u there "
		"before), term %llu us\n",
		config->nodes, config->clients, config->workers,
		config->one_worker ? "fibers" : "workers", config->ops, config->keys, config->hot,
		config->preset, (unsigned long long)config->term_ns / 1000);
	fprintf(to,
		"keys: style %u, share %u and %u bits, %u alike; naps %u/%llu us; %u groups, cache %llu\n",
		config->key.style, config->key.share, config->key.share_depth, config->key.same,
		config->nap_one_in, (unsigned long long)config->nap_ns / 1000, config->groups,
		(unsigned long long)config->cache_entries);
	fprintf(to,
		"faults: jitter %u, late %u/%u, slices %u B %u ns%s, inside %u/%u, overtake %u, writeback %u/%u, "
		"refuse %u, transport %u, ghosts %u, bind %u, windows %u, post %u, channel %u, turn %u, "
		"stall %u/%u, drift %u, steps %u/%u\n",
		faults->jitter_ns, faults->late_one_in, faults->late_ns, faults->slice_bytes,
		faults->slice_ns, faults->slice_shuffle ? " shuffled" : "", faults->inside_one_in,
		faults->inside_ns, faults->overtake_one_in, faults->writeback_one_in,
		faults->writeback_ns, faults->refuse_one_in, faults->transport_one_in,
		faults->ghost_ns, faults->bind_one_in, faults->window_one_in, faults->post_one_in,
		faults->channel_ns, faults->turn_ns, faults->stall_one_in, faults->stall_ns,
		faults->drift_ppm, faults->step_one_in, faults->step_ns);
	fprintf(to, "limits: %u windows a device, %u a session, %u leases, %u sessions\n",
		config->sim.limits.mw_max, config->limits.windows, config->limits.leases,
		config->limits.sessions);
	if (config->node_dies_ns)
		fprintf(to, "  node %u dies at %llu us%s\n", config->node_dies,
			(unsigned long long)config->node_dies_ns / 1000,
			config->node_silent ? ", silently" : "");
	for (uint32_t i = 0; i < config->blows; i++)
		blow_print(&config->blow[i], to);
}
