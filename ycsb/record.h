/* SPDX-License-Identifier: MIT */
/*
 * Records as bytes. With fields of one constant length a record is their concatenation, nothing
 * else; with varying lengths it starts with one 32-bit little-endian length per field.
 *
 *   constant   | field 0 | field 1 | ... |
 *   varying    | len 0 | len 1 | ... | field 0 | field 1 | ... |
 *
 * With data integrity every field is a function of (key, field, version). Fields of 8 bytes or more
 * start with the 32-bit version of the write that made them, so that a reader can recompute the
 * rest: a field mixed from two writes is caught, which YCSB's text (the same for every write of
 * a field) cannot show. Shorter fields are a function of (key, field) alone.
 */
#ifndef YCSB_RECORD_H
#define YCSB_RECORD_H

#include "ycsb/generator.h"

#include <stdbool.h>
#include <stdint.h>

enum ycsb_length_distribution {
	YCSB_LENGTH_CONSTANT,
	YCSB_LENGTH_UNIFORM,
	YCSB_LENGTH_ZIPFIAN
};

struct ycsb_schema {
	uint32_t field_cnt;
	uint32_t field_len_min;
	uint32_t field_len_max;
	enum ycsb_length_distribution length;
	struct ycsb_zipfian length_zipfian; /* with YCSB_LENGTH_ZIPFIAN */
	bool integrity;
	bool one_version; /* integrity: every write writes all fields, so their versions are equal */
};

struct ycsb_write;
struct ycsb_key;
struct ycsb_bytes;

void ycsb_schema_init(struct ycsb_schema *schema);
/* Bytes of the largest record. */
uint32_t ycsb_record_len_max(const struct ycsb_schema *schema);

/*
 * A whole record, or one field, of new content into `out` (ycsb_record_len_max() + 8 bytes); returns its length.
 * `version` matters with data integrity only.
 */
uint32_t ycsb_record_build(const struct ycsb_schema *schema, struct ptni_rng *random,
			   const struct ycsb_key *key, uint32_t version, uint8_t *out);
uint32_t ycsb_field_build(const struct ycsb_schema *schema, struct ptni_rng *random,
			  const struct ycsb_key *key, uint32_t field, uint32_t version,
			  uint8_t *out);

/* Where field `field` lies in a record; -EBADMSG if the record is not of this schema. */
int ycsb_record_field(const struct ycsb_schema *schema, struct ycsb_bytes record, uint32_t field,
		      struct ycsb_bytes *field_out);

/*
 * `old` with one field replaced, into `out` (ycsb_record_len_max() bytes, not overlapping);
 * returns the length or -EBADMSG.
 */
int ycsb_record_merge(const struct ycsb_schema *schema, struct ycsb_bytes old,
		      const struct ycsb_write *write, uint8_t *out);

/* Data integrity: 0, or -EBADMSG if any field is not what a write of this key can have put there. */
int ycsb_record_verify(const struct ycsb_schema *schema, const struct ycsb_key *key,
		       struct ycsb_bytes record);

#endif
