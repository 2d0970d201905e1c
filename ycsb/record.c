/* SPDX-License-Identifier: MIT */
#include "ycsb/record.h"

#include "ycsb/store.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	VERSION_LEN = 4,
	VERSIONED_MIN = 8,
	LENGTH_LEN = 4
};

static void length_put(uint8_t *record, uint32_t field, uint32_t len_bytes)
{
	uint32_t stored = htole32(len_bytes);

	memcpy(record + (size_t)field * LENGTH_LEN, &stored, LENGTH_LEN);
}

static uint32_t length_get(const uint8_t *record, uint32_t field)
{
	uint32_t stored;

	memcpy(&stored, record + (size_t)field * LENGTH_LEN, LENGTH_LEN);
	return le32toh(stored);
}

static bool constant_length(const struct ycsb_schema *schema)
{
	return schema->length == YCSB_LENGTH_CONSTANT;
}

void ycsb_schema_init(struct ycsb_schema *schema)
{
	if (schema->length == YCSB_LENGTH_ZIPFIAN)
		ycsb_zipfian_init(&schema->length_zipfian,
				  schema->field_len_max - schema->field_len_min + 1,
				  YCSB_ZIPFIAN_THETA);
}

uint32_t ycsb_record_len_max(const struct ycsb_schema *schema)
{
	uint32_t header = constant_length(schema) ? 0 : LENGTH_LEN;

	return schema->field_cnt * (schema->field_len_max + header);
}

static uint32_t field_length(const struct ycsb_schema *schema, struct ptni_rng *random)
{
	uint32_t span = schema->field_len_max - schema->field_len_min + 1;

	switch (schema->length) {
	case YCSB_LENGTH_UNIFORM:
		return schema->field_len_min + (uint32_t)ptni_rng_below(random, span);
	case YCSB_LENGTH_ZIPFIAN:
		return schema->field_len_min +
		       (uint32_t)ycsb_zipfian_next(&schema->length_zipfian, random);
	case YCSB_LENGTH_CONSTANT:
		break;
	}
	return schema->field_len_max;
}

/* Printable octets, as YCSB's random data; writes whole words, up to 7 bytes past the end. */
static void fill_random(struct ptni_rng *random, uint8_t *out, uint32_t len_bytes)
{
	for (uint32_t at = 0; at < len_bytes; at += 8) {
		uint64_t word = (ptni_rng_next(random) & UINT64_C(0x5f5f5f5f5f5f5f5f)) +
				UINT64_C(0x2020202020202020);

		memcpy(out + at, &word, 8);
	}
}

/* The bytes of (key, field, version) after the version itself: a splitmix64 stream of their hash. */
struct content {
	uint64_t state;
};

static struct content content_of(const struct ycsb_key *key, uint32_t field, uint32_t version)
{
	uint64_t seed = (uint64_t)field << 32 | version;

	return (struct content){ XXH3_64bits_withSeed(key->bytes, key->len_bytes, seed) };
}

static void fill_content(struct content content, uint8_t *out, uint32_t len_bytes)
{
	uint32_t at = 0;
	uint64_t word;

	for (; at + 8 <= len_bytes; at += 8) {
		word = ptni_splitmix64(&content.state);
		memcpy(out + at, &word, 8);
	}
	word = ptni_splitmix64(&content.state);
	memcpy(out + at, &word, len_bytes - at);
}

static bool same_content(struct content content, const uint8_t *data, uint32_t len_bytes)
{
	uint32_t at = 0;
	uint64_t word;

	for (; at + 8 <= len_bytes; at += 8) {
		word = ptni_splitmix64(&content.state);
		if (memcmp(data + at, &word, 8) != 0)
			return false;
	}
	word = ptni_splitmix64(&content.state);
	return memcmp(data + at, &word, len_bytes - at) == 0;
}

static void fill_integrity(const struct ycsb_key *key, uint32_t field, uint32_t version,
			   uint8_t *out, uint32_t len_bytes)
{
	if (len_bytes < VERSIONED_MIN) {
		fill_content(content_of(key, field, 0), out, len_bytes);
		return;
	}
	memcpy(out, &version, VERSION_LEN);
	fill_content(content_of(key, field, version), out + VERSION_LEN, len_bytes - VERSION_LEN);
}

uint32_t ycsb_field_build(const struct ycsb_schema *schema, struct ptni_rng *random,
			  const struct ycsb_key *key, uint32_t field, uint32_t version,
			  uint8_t *out)
{
	uint32_t len_bytes = field_length(schema, random);

	if (schema->integrity)
		fill_integrity(key, field, version, out, len_bytes);
	else
		fill_random(random, out, len_bytes);
	return len_bytes;
}

uint32_t ycsb_record_build(const struct ycsb_schema *schema, struct ptni_rng *random,
			   const struct ycsb_key *key, uint32_t version, uint8_t *out)
{
	uint32_t at = constant_length(schema) ? 0 : schema->field_cnt * LENGTH_LEN;

	if (constant_length(schema) && !schema->integrity) {
		at = schema->field_cnt * schema->field_len_max;
		fill_random(random, out, at);
		return at;
	}
	for (uint32_t i = 0; i < schema->field_cnt; i++) {
		uint32_t len_bytes = ycsb_field_build(schema, random, key, i, version, out + at);

		if (!constant_length(schema))
			length_put(out, i, len_bytes);
		at += len_bytes;
	}
	return at;
}

/* Offset of a field and its length; the sum of all lengths must be the record, so all are added. */
static int locate(const struct ycsb_schema *schema, struct ycsb_bytes record, uint32_t field,
		  struct ycsb_bytes *field_out)
{
	uint64_t at = (uint64_t)schema->field_cnt * LENGTH_LEN;
	struct ycsb_bytes found = { NULL, 0 };

	if (record.len_bytes < at)
		return -EBADMSG;
	for (uint32_t i = 0; i < schema->field_cnt; i++) {
		uint32_t len_bytes = length_get(record.data, i);

		if (len_bytes > schema->field_len_max || at + len_bytes > record.len_bytes)
			return -EBADMSG;
		if (i == field)
			found = (struct ycsb_bytes){ record.data + at, len_bytes };
		at += len_bytes;
	}
	if (at != record.len_bytes)
		return -EBADMSG;
	*field_out = found;
	return 0;
}

int ycsb_record_field(const struct ycsb_schema *schema, struct ycsb_bytes record, uint32_t field,
		      struct ycsb_bytes *field_out)
{
	uint32_t len_bytes = schema->field_len_max;

	if (!constant_length(schema))
		return locate(schema, record, field, field_out);
	if (record.len_bytes != schema->field_cnt * len_bytes)
		return -EBADMSG;
	*field_out = (struct ycsb_bytes){ record.data + (size_t)field * len_bytes, len_bytes };
	return 0;
}

int ycsb_record_merge(const struct ycsb_schema *schema, struct ycsb_bytes old,
		      const struct ycsb_write *write, uint8_t *out)
{
	struct ycsb_bytes field;
	size_t before, after;
	int error = ycsb_record_field(schema, old, (uint32_t)write->field, &field);

	if (error != 0)
		return error;
	before = (size_t)(field.data - old.data);
	after = old.len_bytes - before - field.len_bytes;
	memcpy(out, old.data, before);
	memcpy(out + before, write->data, write->len_bytes);
	memcpy(out + before + write->len_bytes, field.data + field.len_bytes, after);
	if (!constant_length(schema))
		length_put(out, (uint32_t)write->field, write->len_bytes);
	return (int)(before + write->len_bytes + after);
}

static bool field_good(const struct ycsb_key *key, uint32_t field, struct ycsb_bytes bytes,
		       uint32_t *version_out)
{
	if (bytes.len_bytes < VERSIONED_MIN) {
		*version_out = 0;
		return same_content(content_of(key, field, 0), bytes.data, bytes.len_bytes);
	}
	memcpy(version_out, bytes.data, VERSION_LEN);
	return same_content(content_of(key, field, *version_out), bytes.data + VERSION_LEN,
			    bytes.len_bytes - VERSION_LEN);
}

int ycsb_record_verify(const struct ycsb_schema *schema, const struct ycsb_key *key,
		       struct ycsb_bytes record)
{
	uint32_t first = 0, version = 0;
	struct ycsb_bytes field;

	for (uint32_t i = 0; i < schema->field_cnt; i++) {
		if (ycsb_record_field(schema, record, i, &field) != 0 ||
		    !field_good(key, i, field, &version))
			return -EBADMSG;
		if (i == 0)
			first = version;
		if (schema->one_version && version != first)
			return -EBADMSG;
	}
	return 0;
}
