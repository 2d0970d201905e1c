/* SPDX-License-Identifier: MIT */
#include "ycsb/config.h"
#include "ycsb/config_table.h"

#include <string.h>

void ycsb_config_help(FILE *to)
{
	for (const struct ycsb_property *p = ycsb_property_table; p->name != NULL; p++) {
		if (p->kind == YCSB_KIND_IGNORED)
			continue;
		fprintf(to, "%-44s %s", p->name, p->help);
		if (p->initial != NULL && strcmp(p->initial, "0") != 0 &&
		    strcmp(p->initial, "-1") != 0)
			fprintf(to, " [%s]", p->initial);
		fputc('\n', to);
	}
	fprintf(to, "\nAccepted, without effect here:\n");
	for (const struct ycsb_property *p = ycsb_property_table; p->name != NULL; p++) {
		if (p->kind == YCSB_KIND_IGNORED)
			fprintf(to, "%-44s %s\n", p->name, p->help);
	}
}

static const char *choice_name(const struct ycsb_property *property, int64_t value)
{
	for (const struct ycsb_choice *choice = property->choices; choice->name != NULL; choice++) {
		if (choice->value == value)
			return choice->name;
	}
	return "";
}

void ycsb_config_each(const struct ycsb_config *config,
		      void (*fn)(void *context, const char *name, const char *value, bool quoted),
		      void *context)
{
	char text[64];

	for (const struct ycsb_property *p = ycsb_property_table; p->name != NULL; p++) {
		const char *at = (const char *)config + p->offset;

		switch (p->kind) {
		case YCSB_KIND_INT:
			snprintf(text, sizeof(text), "%lld",
				 (long long)*(const int64_t *)(const void *)at);
			fn(context, p->name, text, false);
			break;
		case YCSB_KIND_SIZE:
			snprintf(text, sizeof(text), "%llu",
				 (unsigned long long)*(const uint64_t *)(const void *)at);
			fn(context, p->name, text, false);
			break;
		case YCSB_KIND_REAL:
			snprintf(text, sizeof(text), "%.17g", *(const double *)(const void *)at);
			fn(context, p->name, text, false);
			break;
		case YCSB_KIND_BOOL:
			fn(context, p->name, *(const bool *)at ? "true" : "false", false);
			break;
		case YCSB_KIND_CHOICE:
			fn(context, p->name, choice_name(p, *(const int64_t *)(const void *)at),
			   true);
			break;
		case YCSB_KIND_TEXT:
			fn(context, p->name, at, true);
			break;
		case YCSB_KIND_PERCENTILES:
			fn(context, p->name, config->percentile_text, true);
			break;
		case YCSB_KIND_IGNORED:
			break;
		}
	}
}
