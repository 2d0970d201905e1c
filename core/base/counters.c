/* SPDX-License-Identifier: MIT */
#include "core/base/counters.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof(struct ptn_counters) == sizeof(struct ptni_counters_sum),
	      "a snapshot and a sum have the same fields");
static_assert(sizeof(struct ptni_counters) == PTNI_COUNTER_COUNT * sizeof(uint64_t),
	      "the counters are read as an array");

static const struct {
	const char *name;
	const char *unit;
	const char *help;
} table[PTNI_COUNTER_COUNT] = {
#define TABLE_ROW(name, unit, help) { #name, #unit, help },
	PTNI_COUNTER_TABLE(TABLE_ROW)
#undef TABLE_ROW
};

const char *ptni_counter_name(unsigned int index)
{
	return index < PTNI_COUNTER_COUNT ? table[index].name : NULL;
}

const char *ptni_counter_unit(unsigned int index)
{
	return index < PTNI_COUNTER_COUNT ? table[index].unit : NULL;
}

const char *ptni_counter_help(unsigned int index)
{
	return index < PTNI_COUNTER_COUNT ? table[index].help : NULL;
}

void ptni_counters_add(struct ptni_counters_sum *sum, const struct ptni_counters *counters)
{
#define ADD_FIELD(name, unit, help)        \
	sum->value[PTNI_COUNTER_##name] += \
		atomic_load_explicit(&counters->name, memory_order_relaxed);
	PTNI_COUNTER_TABLE(ADD_FIELD)
#undef ADD_FIELD
}

void ptni_counters_since(const struct ptni_counters_sum *later,
			 const struct ptni_counters_sum *earlier,
			 struct ptni_counters_sum *difference_out)
{
	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++)
		difference_out->value[i] = later->value[i] - earlier->value[i];
}

void ptni_counters_snapshot(const struct ptni_counters *counters, struct ptn_counters *counters_out)
{
#define COPY_FIELD(name, unit, help) \
	counters_out->name = atomic_load_explicit(&counters->name, memory_order_relaxed);
	PTNI_COUNTER_TABLE(COPY_FIELD)
#undef COPY_FIELD
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

size_t ptni_counters_text(const struct ptni_counters_sum *sum, char *buffer, size_t capacity_bytes)
{
	struct writer writer = { .buffer = buffer, .capacity_bytes = capacity_bytes };

	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++)
		append(&writer, "%-24s %20" PRIu64 "  # %s\n", table[i].name, sum->value[i],
		       table[i].help);
	return writer.len_bytes;
}

size_t ptni_counters_json(const struct ptni_counters_sum *sum, char *buffer, size_t capacity_bytes)
{
	struct writer writer = { .buffer = buffer, .capacity_bytes = capacity_bytes };

	for (unsigned int i = 0; i < PTNI_COUNTER_COUNT; i++)
		append(&writer, "%s\"%s\":%" PRIu64, i ? "," : "{", table[i].name, sum->value[i]);
	append(&writer, "}");
	return writer.len_bytes;
}

size_t ptn_counters_text(const struct ptn_counters *counters, char *buffer, size_t capacity_bytes)
{
	struct ptni_counters_sum sum;

	memcpy(&sum, counters, sizeof(sum));
	return ptni_counters_text(&sum, buffer, capacity_bytes);
}

size_t ptn_counters_json(const struct ptn_counters *counters, char *buffer, size_t capacity_bytes)
{
	struct ptni_counters_sum sum;

	memcpy(&sum, counters, sizeof(sum));
	return ptni_counters_json(&sum, buffer, capacity_bytes);
}
