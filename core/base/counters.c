/* SPDX-License-Identifier: MIT */
#include "core/base/counters.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

void ptni_counters_snapshot(const struct ptni_counters *counters, struct ptn_counters *counters_out)
{
	*counters_out = (struct ptn_counters){ 0 };
	ptni_counters_add(counters_out, counters);
}

void ptni_counters_add(struct ptn_counters *sum, const struct ptni_counters *counters)
{
#define ADD_FIELD(name, unit, help) \
	sum->name += atomic_load_explicit(&counters->name, memory_order_relaxed);
	PTN_COUNTER_TABLE(ADD_FIELD)
#undef ADD_FIELD
}

struct writer {
	char *buffer;
	size_t capacity_bytes;
	size_t len_bytes;
};

__attribute__((format(printf, 2, 3))) static void append(struct writer *writer, const char *format,
							 ...)
{
	size_t left = writer->capacity_bytes > writer->len_bytes ?
			      writer->capacity_bytes - writer->len_bytes :
			      0;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(left ? writer->buffer + writer->len_bytes : NULL, left, format, args);
	va_end(args);
	if (len > 0)
		writer->len_bytes += (size_t)len;
}

size_t ptn_counters_text(const struct ptn_counters *counters, char *buffer, size_t capacity_bytes)
{
	struct writer writer = { .buffer = buffer, .capacity_bytes = capacity_bytes };

#define WRITE_LINE(name, unit, help) \
	append(&writer, "%-24s %20" PRIu64 "  # %s\n", #name, counters->name, help);
	PTN_COUNTER_TABLE(WRITE_LINE)
#undef WRITE_LINE
	return writer.len_bytes;
}

size_t ptn_counters_json(const struct ptn_counters *counters, char *buffer, size_t capacity_bytes)
{
	struct writer writer = { .buffer = buffer, .capacity_bytes = capacity_bytes };
	const char *before = "{";

#define WRITE_MEMBER(name, unit, help)                                       \
	append(&writer, "%s\"" #name "\":%" PRIu64, before, counters->name); \
	before = ",";
	PTN_COUNTER_TABLE(WRITE_MEMBER)
#undef WRITE_MEMBER
	append(&writer, "}");
	return writer.len_bytes;
}
