/* SPDX-License-Identifier: MIT */
#include "ycsb/properties.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FILE_MAX = 1 << 20
};

struct reader {
	const char *at, *end;
	const char *file;
	unsigned int line; /* of `at`, from 1 */
	struct ycsb_message *why_out;
	char text[YCSB_LINE_MAX]; /* the logical line, continuations joined, escapes kept */
	size_t len;
	unsigned int first_line;
};

static int fail(struct reader *reader, const char *what)
{
	return ycsb_message_set(reader->why_out, "%s:%u: %s", reader->file, reader->first_line,
				what);
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f' || c == '\r';
}

static void skip_blanks(struct reader *reader)
{
	while (reader->at < reader->end && blank(*reader->at))
		reader->at++;
}

/* Appends one natural line; true if it ends in an odd number of backslashes and so goes on. */
static int append_line(struct reader *reader, bool *continues_out)
{
	size_t slashes = 0;

	for (; reader->at < reader->end && *reader->at != '\n'; reader->at++) {
		if (*reader->at == '\0')
			return fail(reader, "a NUL byte: this is not a property file");
		if (*reader->at == '\r' && (reader->at + 1 == reader->end || reader->at[1] == '\n'))
			continue;
		if (reader->len + 1 >= sizeof(reader->text))
			return fail(reader, "the line is longer than 4095 bytes; shorten it");
		reader->text[reader->len++] = *reader->at;
		slashes = *reader->at == '\\' ? slashes + 1 : 0;
	}
	if (reader->at < reader->end)
		reader->at++;
	reader->line++;
	*continues_out = slashes % 2 == 1;
	if (*continues_out)
		reader->len--;
	return 0;
}

/* 1: a logical line is in text; 0: the end. */
static int next_line(struct reader *reader)
{
	bool continues = true;

	reader->len = 0;
	for (;;) {
		reader->first_line = reader->line;
		skip_blanks(reader);
		if (reader->at == reader->end)
			return 0;
		if (*reader->at != '\n' && *reader->at != '#' && *reader->at != '!')
			break;
		while (reader->at < reader->end && *reader->at != '\n')
			reader->at++;
		if (reader->at < reader->end)
			reader->at++;
		reader->line++;
	}
	while (continues) {
		int error = append_line(reader, &continues);

		if (error != 0)
			return error;
		skip_blanks(reader);
		if (reader->at == reader->end)
			break;
	}
	reader->text[reader->len] = '\0';
	return 1;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* \uXXXX at `from` (after the u) as UTF-8; returns the bytes written, 0 if it is not one. */
static size_t unescape_unicode(const char *from, char *to)
{
	unsigned int code = 0;

	for (int i = 0; i < 4; i++) {
		int digit = from[i] == '\0' ? -1 : hex_digit(from[i]);

		if (digit < 0)
			return 0;
		code = code << 4 | (unsigned int)digit;
	}
	if (code == 0)
		return 0;
	if (code < 0x80) {
		to[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		to[0] = (char)(0xc0 | code >> 6);
		to[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	to[0] = (char)(0xe0 | code >> 12);
	to[1] = (char)(0x80 | (code >> 6 & 0x3f));
	to[2] = (char)(0x80 | (code & 0x3f));
	return 3;
}

/* In place: what an escape stands for is never longer than the escape. */
static bool unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; from++) {
		static const char names[] = "tnrf", values[] = "\t\n\r\f";
		const char *name;

		if (*from != '\\') {
			*to++ = *from;
			continue;
		}
		from++;
		if (*from == '\0')
			break;
		name = strchr(names, *from);
		if (*from == 'u') {
			size_t len = unescape_unicode(from + 1, to);

			if (len == 0)
				return false;
			to += len;
			from += 4;
		} else {
			*to++ = name != NULL ? values[name - names] : *from;
		}
	}
	*to = '\0';
	return true;
}

/* Splits the logical line at the first unescaped = : or blank. */
static int split_line(struct reader *reader, char **value_out)
{
	char *at = reader->text, *end = reader->text + reader->len;
	char *key_end;

	while (end > at && blank(end[-1]) && !(end - 1 > at && end[-2] == '\\'))
		*--end = '\0';
	while (*at != '\0' && *at != '=' && *at != ':' && !blank(*at))
		at += *at == '\\' && at[1] != '\0' ? 2 : 1;
	key_end = at;
	while (blank(*at))
		at++;
	if (key_end == reader->text)
		return fail(reader, "no property name before '='; write name=value");
	if (*at == '=' || *at == ':')
		at++;
	else if (*at == '\0')
		return fail(reader, "no value; write name=value, or put # before a comment");
	while (blank(*at))
		at++;
	*key_end = '\0';
	*value_out = at;
	return 0;
}

int ycsb_properties_parse(const char *text, size_t len_bytes, const char *origin_file,
			  ycsb_property_fn fn, void *context, struct ycsb_message *why_out)
{
	struct reader reader = { .at = text,
				 .end = text + len_bytes,
				 .file = origin_file,
				 .line = 1,
				 .why_out = why_out };
	char origin[512];
	char *value = NULL;
	int result;

	while ((result = next_line(&reader)) > 0) {
		result = split_line(&reader, &value);
		if (result != 0)
			return result;
		if (!unescape(reader.text) || !unescape(value))
			return fail(&reader,
				    "\\u must be followed by four hex digits other than 0000");
		snprintf(origin, sizeof(origin), "%s:%u", origin_file, reader.first_line);
		result = fn(context, reader.text, value, origin, why_out);
		if (result < 0)
			return result;
	}
	return result;
}

int ycsb_properties_load(const char *path, ycsb_property_fn fn, void *context,
			 struct ycsb_message *why_out)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t len = 0;
	int error = 0;

	if (file == NULL) {
		error = -errno;
		ycsb_message_set(why_out, "%s: %s; give -P the path of a property file", path,
				 strerror(-error));
		return error;
	}
	text = malloc(FILE_MAX + 1);
	if (text == NULL) {
		error = -ENOMEM;
		ycsb_message_set(why_out, "%s: out of memory", path);
		goto out;
	}
	len = fread(text, 1, FILE_MAX + 1, file);
	if (ferror(file)) {
		error = -EIO;
		ycsb_message_set(why_out, "%s: cannot be read; is it a property file?", path);
	} else if (len > FILE_MAX) {
		error = -EFBIG;
		ycsb_message_set(why_out, "%s: larger than 1 MiB; is it a property file?", path);
	} else {
		error = ycsb_properties_parse(text, len, path, fn, context, why_out);
	}
out:
	free(text);
	fclose(file);
	return error;
}

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

unsigned int ycsb_edit_distance(const char *a, const char *b, unsigned int limit)
{
	enum {
		LEN_MAX = 64
	};
	unsigned int rows[3][LEN_MAX + 1] = { { 0 } };
	size_t len_a = strlen(a), len_b = strlen(b);

	if (len_a > LEN_MAX || len_b > LEN_MAX)
		return limit + 1;
	for (unsigned int j = 0; j <= len_b; j++)
		rows[0][j] = j;
	for (unsigned int i = 1; i <= len_a; i++) {
		unsigned int *row = rows[i % 3], *up = rows[(i - 1) % 3], *up2 = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned int j = 1; j <= len_b; j++) {
			unsigned int change = up[j - 1] + (a[i - 1] != b[j - 1]);

			row[j] = least(change, least(up[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], up2[j - 2] + 1);
		}
	}
	return least(rows[len_a % 3][len_b], limit + 1);
}
