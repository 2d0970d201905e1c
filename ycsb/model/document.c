/* SPDX-License-Identifier: MIT */
/* A Markdown file whose tables are made by the parts. */
#include "ycsb/model/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct model_part model_parts[] = {
	{ "parameters", "the model's parameters and where they come from", model_part_parameters },
	{ "calibration", "what others measured, in the model", model_part_calibration },
	{ "protection", "YCSB A B C D F with protection and without", model_part_protection },
	{ "allocation", "fill, then delete nine of ten, a one-core node", model_part_allocation },
	{ "contention", "updates only, Zipf 0.99, 8 to 256 clients", model_part_contention },
	{ "scale", "YCSB A and C, 96 and 768 clients on 1, 2 and 4 nodes", model_part_scale },
};
const unsigned model_part_count = sizeof(model_parts) / sizeof(model_parts[0]);

static const char end_mark[] = "<!-- end -->";

static char *file_read(const char *file)
{
	FILE *from = fopen(file, "re");
	char *text = NULL;
	size_t len = 0;

	if (!from)
		return NULL;
	if (getdelim(&text, &len, '\0', from) < 0) {
		free(text);
		text = NULL;
	}
	fclose(from);
	return text;
}

static int file_write(const char *file, const char *text)
{
	FILE *to = fopen(file, "we");

	if (!to)
		return -errno;
	fputs(text, to);
	return fclose(to) ? -errno : 0;
}

/* The text with what stands between the part's marks replaced; frees the old one. */
static char *replace(char *text, const char *name, const char *table)
{
	char mark[64], *from, *to, *whole;

	snprintf(mark, sizeof(mark), "<!-- %s -->\n", name);
	from = strstr(text, mark);
	to = from ? strstr(from, end_mark) : NULL;
	if (!to) {
		fprintf(stderr, "patronus-model: there is no table marked %s\n", mark);
		return NULL;
	}
	from += strlen(mark);
	if (asprintf(&whole, "%.*s\n%s\n%s", (int)(from - text), text, table, to) < 0)
		return NULL;
	free(text);
	return whole;
}

int model_document_update(const char *file, const struct model_options *options, unsigned parts)
{
	char *text = file_read(file), *table, *whole;
	size_t len;
	int ret = text ? 0 : -ENOENT;

	for (unsigned i = 0; i < model_part_count && !ret; i++) {
		FILE *to;

		if (parts && !(parts >> i & 1))
			continue;
		to = open_memstream(&table, &len);
		if (!to)
			ret = -errno;
		if (!ret) {
			fprintf(stderr, "patronus-model: %s\n", model_parts[i].name);
			ret = model_parts[i].run(options, to);
			fclose(to);
			whole = ret ? NULL : replace(text, model_parts[i].name, table);
			free(table);
			text = whole ? whole : text;
			ret = ret || whole ? ret : -ENOENT;
		}
	}
	if (!ret)
		ret = file_write(file, text);
	free(text);
	return ret;
}
