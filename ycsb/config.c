/* SPDX-License-Identifier: MIT */
#include "ycsb/config.h"

#include "ycsb/config_table.h"
#include "ycsb/properties.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void *member(void *config, const struct ycsb_property *property)
{
	return (char *)config + property->offset;
}

static bool all_spent(const char *text, const char *end)
{
	return end != text && *end == '\0';
}

static int bad(const struct ycsb_property *property, const char *value, const char *origin,
	       const char *expected, struct ycsb_message *why_out)
{
	return ycsb_message_set(why_out, "%s: %s=%.100s is not possible; it takes %s", origin,
				property->name, value, expected);
}

static int set_int(struct ycsb_config *config, const struct ycsb_property *property,
		   const char *value, const char *origin, struct ycsb_message *why_out)
{
	char *end, expected[96];
	long long number;

	errno = 0;
	number = strtoll(value, &end, 10);
	snprintf(expected, sizeof(expected), "a whole number from %.0f to %.0f", property->min,
		 property->max);
	if (errno != 0 || !all_spent(value, end) || (double)number < property->min ||
	    (double)number > property->max)
		return bad(property, value, origin, expected, why_out);
	*(int64_t *)member(config, property) = number;
	return 0;
}

static int set_real(struct ycsb_config *config, const struct ycsb_property *property,
		    const char *value, const char *origin, struct ycsb_message *why_out)
{
	char *end, expected[96];
	double number = strtod(value, &end);

	snprintf(expected, sizeof(expected), "a number from %g to %g", property->min,
		 property->max);
	if (!all_spent(value, end) || !(number >= property->min && number <= property->max))
		return bad(property, value, origin, expected, why_out);
	*(double *)member(config, property) = number;
	return 0;
}

static int set_bool(struct ycsb_config *config, const struct ycsb_property *property,
		    const char *value, const char *origin, struct ycsb_message *why_out)
{
	bool yes = strcasecmp(value, "true") == 0;

	if (!yes && strcasecmp(value, "false") != 0)
		return bad(property, value, origin, "true or false", why_out);
	*(bool *)member(config, property) = yes;
	return 0;
}

static int set_choice(struct ycsb_config *config, const struct ycsb_property *property,
		      const char *value, const char *origin, struct ycsb_message *why_out)
{
	char expected[512] = "";
	size_t len = 0;

	for (const struct ycsb_choice *choice = property->choices; choice->name != NULL; choice++) {
		if (strcmp(choice->name, value) == 0) {
			*(int64_t *)member(config, property) = choice->value;
			return 0;
		}
		if (len < sizeof(expected))
			len += (size_t)snprintf(expected + len, sizeof(expected) - len, "%s%s",
						len > 0 ? ", " : "one of ", choice->name);
	}
	return bad(property, value, origin, expected, why_out);
}

/* Into a text of YCSB_TEXT_MAX bytes; false if it does not fit. */
static bool copy_text(char *to, const char *value)
{
	size_t len_bytes = strlen(value);

	if (len_bytes >= YCSB_TEXT_MAX)
		return false;
	memcpy(to, value, len_bytes + 1);
	return true;
}

static int set_text(struct ycsb_config *config, const struct ycsb_property *property,
		    const char *value, const char *origin, struct ycsb_message *why_out)
{
	if (!copy_text(member(config, property), value))
		return bad(property, value, origin, "up to 1023 bytes", why_out);
	return 0;
}

static int set_size(struct ycsb_config *config, const struct ycsb_property *property,
		    const char *value, const char *origin, struct ycsb_message *why_out)
{
	static const char suffixes[] = "KMGT";
	const char *suffix;
	char *end;
	double bytes;

	errno = 0;
	bytes = (double)strtoull(value, &end, 10);
	suffix = *end == '\0' ? NULL : strchr(suffixes, toupper((unsigned char)*end));
	if (suffix != NULL) {
		bytes = ldexp(bytes, (int)(suffix - suffixes + 1) * 10);
		end++;
		if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0)
			end += strlen(end);
	}
	if (errno != 0 || !isdigit((unsigned char)*value) || *end != '\0' || bytes > property->max)
		return bad(property, value, origin, "bytes, for instance 4294967296 or 4G",
			   why_out);
	*(uint64_t *)member(config, property) = (uint64_t)bytes;
	return 0;
}

static int set_percentiles(struct ycsb_config *config, const struct ycsb_property *property,
			   const char *value, const char *origin, struct ycsb_message *why_out)
{
	double list[YCSB_PERCENTILES_MAX];
	uint32_t count = 0;
	const char *at = value;

	for (;;) {
		char *end;
		double percentile = strtod(at, &end);

		if (end == at || !(percentile >= 0 && percentile <= 100) ||
		    count == YCSB_PERCENTILES_MAX || (*end != ',' && *end != '\0') ||
		    strlen(value) >= YCSB_TEXT_MAX)
			return bad(property, value, origin,
				   "up to 16 numbers from 0 to 100 with commas between", why_out);
		list[count++] = percentile;
		if (*end == '\0')
			break;
		at = end + 1;
	}
	if (!copy_text(config->percentile_text, value))
		return bad(property, value, origin, "up to 1023 bytes", why_out);
	memcpy(config->percentiles, list, count * sizeof(list[0]));
	config->percentile_cnt = count;
	return 0;
}

static int set_value(struct ycsb_config *config, const struct ycsb_property *property,
		     const char *value, const char *origin, struct ycsb_message *why_out)
{
	switch (property->kind) {
	case YCSB_KIND_INT:
		return set_int(config, property, value, origin, why_out);
	case YCSB_KIND_REAL:
		return set_real(config, property, value, origin, why_out);
	case YCSB_KIND_BOOL:
		return set_bool(config, property, value, origin, why_out);
	case YCSB_KIND_CHOICE:
		return set_choice(config, property, value, origin, why_out);
	case YCSB_KIND_TEXT:
		return set_text(config, property, value, origin, why_out);
	case YCSB_KIND_SIZE:
		return set_size(config, property, value, origin, why_out);
	case YCSB_KIND_PERCENTILES:
		return set_percentiles(config, property, value, origin, why_out);
	case YCSB_KIND_IGNORED:
		config->note_cnt++;
		return 0;
	}
	return -EINVAL;
}

static const struct ycsb_property *nearest(const char *name)
{
	const struct ycsb_property *best = NULL;
	unsigned int best_distance = (unsigned int)strlen(name) / 3 + 1;

	for (const struct ycsb_property *p = ycsb_property_table; p->name != NULL; p++) {
		unsigned int distance = ycsb_edit_distance(name, p->name, best_distance);

		if (distance < best_distance || (best == NULL && distance == best_distance)) {
			best = p;
			best_distance = distance;
		}
	}
	return best;
}

int ycsb_config_set(void *config, const char *name, const char *value, const char *origin,
		    struct ycsb_message *why_out)
{
	const struct ycsb_property *close;

	for (const struct ycsb_property *p = ycsb_property_table; p->name != NULL; p++) {
		if (strcmp(p->name, name) == 0)
			return set_value(config, p, value, origin, why_out);
	}
	close = nearest(name);
	if (close == NULL)
		return ycsb_message_set(why_out,
					"%s: no property is called '%.100s'; 'patronus-ycsb "
					"properties' lists them all",
					origin, name);
	return ycsb_message_set(why_out, "%s: no property is called '%.100s'; did you mean '%s'?",
				origin, name, close->name);
}

void ycsb_config_init(struct ycsb_config *config)
{
	struct ycsb_message ignored;

	memset(config, 0, sizeof(*config));
	for (const struct ycsb_property *p = ycsb_property_table; p->name != NULL; p++) {
		if (p->initial != NULL)
			set_value(config, p, p->initial, "default", &ignored);
	}
	config->insert_cnt = -1;
}

static int check_proportions(const struct ycsb_config *config, struct ycsb_message *why_out)
{
	double sum = config->read_proportion + config->update_proportion +
		     config->insert_proportion + config->scan_proportion + config->rmw_proportion;

	if (sum <= 0)
		return ycsb_message_set(
			why_out, "all proportions are 0, so there is nothing to do; set one, "
				 "for instance -p readproportion=1");
	if (sum > 1.0001)
		return ycsb_message_set(
			why_out,
			"the proportions add up to %g; lower readproportion (%g), "
			"updateproportion (%g), insertproportion (%g), "
			"scanproportion (%g) or readmodifywriteproportion (%g) until "
			"they add up to 1",
			sum, config->read_proportion, config->update_proportion,
			config->insert_proportion, config->scan_proportion, config->rmw_proportion);
	return 0;
}

static int check_fields(const struct ycsb_config *config, struct ycsb_message *why_out)
{
	if (config->field_cnt * config->field_len > 1048576)
		return ycsb_message_set(why_out,
					"fieldcount x fieldlength is %lld bytes; a record may have "
					"1048576: lower one of them",
					(long long)(config->field_cnt * config->field_len));
	if (config->field_len_distribution != YCSB_LENGTH_CONSTANT &&
	    config->field_len_min > config->field_len)
		return ycsb_message_set(
			why_out, "minfieldlength (%lld) is above fieldlength (%lld); lower it",
			(long long)config->field_len_min, (long long)config->field_len);
	if (config->data_integrity && config->field_len_distribution != YCSB_LENGTH_CONSTANT)
		return ycsb_message_set(why_out,
					"dataintegrity=true needs fields of one length; set "
					"fieldlengthdistribution=constant");
	return 0;
}

static int check_counts(struct ycsb_config *config, enum ycsb_phase phases,
			struct ycsb_message *why_out)
{
	if (config->record_cnt == 0)
		return ycsb_message_set(why_out,
					"recordcount is not set: how many records has the table? "
					"Add -p recordcount=N");
	if (config->insert_cnt < 0)
		config->insert_cnt = config->record_cnt - config->insert_start;
	if (config->insert_cnt < 1 ||
	    config->insert_start + config->insert_cnt > config->record_cnt)
		return ycsb_message_set(why_out,
					"insertstart (%lld) and insertcount (%lld) reach past "
					"recordcount (%lld); set recordcount to the records of the "
					"whole table",
					(long long)config->insert_start,
					(long long)config->insert_cnt,
					(long long)config->record_cnt);
	if (phases & YCSB_RUN && config->operation_cnt == 0 && config->execution_max_s == 0)
		return ycsb_message_set(
			why_out, "operationcount is not set, so the run would never end; add "
				 "-p operationcount=N or -p maxexecutiontime=SECONDS");
	return 0;
}

static int check_distribution(const struct ycsb_config *config, struct ycsb_message *why_out)
{
	double hot = floor((double)config->insert_cnt * config->hotspot_data_fraction);

	if (config->request_distribution == YCSB_LATEST && config->record_cnt < 2)
		return ycsb_message_set(why_out, "requestdistribution=latest needs at least two "
						 "records; raise recordcount");
	if (config->request_distribution == YCSB_HOTSPOT &&
	    ((hot < 1 && config->hotspot_operation_fraction > 0) ||
	     (hot >= (double)config->insert_cnt && config->hotspot_operation_fraction < 1)))
		return ycsb_message_set(why_out,
					"hotspotdatafraction=%g of %lld keys leaves the hot or the "
					"cold set empty; change it or raise recordcount",
					config->hotspot_data_fraction,
					(long long)config->insert_cnt);
	if (config->scan_len_min > config->scan_len_max)
		return ycsb_message_set(
			why_out, "minscanlength (%lld) is above maxscanlength (%lld); lower it",
			(long long)config->scan_len_min, (long long)config->scan_len_max);
	return 0;
}

int ycsb_config_check(struct ycsb_config *config, enum ycsb_phase phases,
		      struct ycsb_message *why_out)
{
	int error = check_proportions(config, why_out);

	if (error == 0)
		error = check_fields(config, why_out);
	if (error == 0)
		error = check_counts(config, phases, why_out);
	if (error == 0)
		error = check_distribution(config, why_out);
	return error;
}

void ycsb_config_schema(const struct ycsb_config *config, struct ycsb_schema *schema_out)
{
	*schema_out = (struct ycsb_schema){
		.field_cnt = (uint32_t)config->field_cnt,
		.field_len_min = (uint32_t)config->field_len_min,
		.field_len_max = (uint32_t)config->field_len,
		.length = (enum ycsb_length_distribution)config->field_len_distribution,
		.integrity = config->data_integrity,
		.one_version = config->write_all_fields || config->field_cnt == 1,
	};
	ycsb_schema_init(schema_out);
}

int64_t ycsb_config_expected_inserts(const struct ycsb_config *config)
{
	return (int64_t)((double)config->operation_cnt * config->insert_proportion * 2.0);
}

int64_t ycsb_config_load_cnt(const struct ycsb_config *config)
{
	return config->insert_cnt;
}
