/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "ycsb/config.h"
#include "ycsb/properties.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pair {
	char name[64], value[256], origin[64];
};

struct pairs {
	struct pair list[16];
	int count;
};

static int collect(void *context, const char *name, const char *value, const char *origin,
		   struct ycsb_message *why_out)
{
	struct pairs *pairs = context;
	struct pair *pair = &pairs->list[pairs->count++];

	snprintf(pair->name, sizeof(pair->name), "%s", name);
	snprintf(pair->value, sizeof(pair->value), "%s", value);
	snprintf(pair->origin, sizeof(pair->origin), "%s", origin);
	return 0;
}

static void check_pair(const struct pair *pair, const char *name, const char *value,
		       const char *origin)
{
	assert_string_equal(pair->name, name);
	assert_string_equal(pair->value, value);
	assert_string_equal(pair->origin, origin);
}

static void parse__all_forms_of_java_properties(void **state)
{
	static const char text[] =
		"# comment\n! another = 1\n\na=1\n  b : two words  \r\nc three\n"
		"d=x\\\n   y\\\\\ne\\=f\\ g=h=i\n\tj\\u0041 =\\t\\u00e9\\q\nlast=";
	struct pairs pairs = { .count = 0 };
	struct ycsb_message why;

	assert_int_equal(ycsb_properties_parse(text, strlen(text), "f", collect, &pairs, &why), 0);
	assert_int_equal(pairs.count, 7);
	check_pair(&pairs.list[0], "a", "1", "f:4");
	check_pair(&pairs.list[1], "b", "two words", "f:5");
	check_pair(&pairs.list[2], "c", "three", "f:6");
	check_pair(&pairs.list[3], "d", "xy\\", "f:7");
	check_pair(&pairs.list[4], "e=f g", "h=i", "f:9");
	check_pair(&pairs.list[5], "jA", "\t\xc3\xa9q", "f:10");
	check_pair(&pairs.list[6], "last", "", "f:11");
}

static void expect_parse_error(const char *text, size_t len, const char *expected)
{
	struct pairs pairs = { .count = 0 };
	struct ycsb_message why = { "" };

	assert_int_equal(ycsb_properties_parse(text, len, "w", collect, &pairs, &why), -EINVAL);
	if (strstr(why.text, expected) == NULL)
		fail_msg("'%s' does not contain '%s'", why.text, expected);
}

static void parse__malformed_lines_name_file_and_line(void **state)
{
	char longest[YCSB_LINE_MAX + 10];

	expect_parse_error("a=1\nrecordcount\n", 16, "w:2: no value");
	expect_parse_error("\n\n=5\n", 5, "w:3: no property name");
	expect_parse_error("a=\\u12g4\n", 9, "w:1: \\u");
	expect_parse_error("a=\\u12", 6, "w:1: \\u");
	expect_parse_error("a=1\nb=\0c\n", 9, "w:2: a NUL byte");
	memset(longest, 'x', sizeof(longest));
	expect_parse_error(longest, sizeof(longest), "w:1: the line is longer");
}

static int accept_any(void *context, const char *name, const char *value, const char *origin,
		      struct ycsb_message *why_out)
{
	*(size_t *)context += strlen(name) + strlen(value) + strlen(origin);
	return 0;
}

/* Random bytes, and valid text with random bytes in it, in buffers of exactly their size. */
static void parse__survives_random_bytes(void **state)
{
	static const char seed_text[] = "# c\nrecordcount=1000\na\\u0041 : b\\\n  c\nd e\\\\\n";
	static const char alphabet[] = "\\\\\\=:# \t\n\r!u0Aab\f";
	struct ptni_rng random;
	struct ycsb_message why;
	size_t total = 0;

	ptni_rng_seed_stream(&random, 99, 0);
	for (int round = 0; round < 20000; round++) {
		size_t len = (size_t)ptni_rng_below(&random, 120);
		char *text = malloc(len + 1);

		for (size_t i = 0; i < len; i++) {
			if (round % 3 == 0)
				text[i] = (char)ptni_rng_next(&random);
			else
				text[i] = alphabet[ptni_rng_below(&random, sizeof(alphabet) - 1)];
		}
		if (round % 3 == 2 && len >= sizeof(seed_text)) {
			memcpy(text, seed_text, sizeof(seed_text) - 1);
			text[ptni_rng_below(&random, len)] = (char)ptni_rng_next(&random);
		}
		text = realloc(text, len > 0 ? len : 1);
		ycsb_properties_parse(text, len, "r", accept_any, &total, &why);
		free(text);
	}
	assert_true(total > 0);
}

/* The same through the whole table of properties. */
static void config_set__survives_random_names_and_values(void **state)
{
	static const char *const names[] = { "recordcount",
					     "fieldlength",
					     "readproportion",
					     "hdrhistogram.percentiles",
					     "patronus.memory",
					     "insertorder",
					     "dataintegrity",
					     "table",
					     "zzz" };
	static const char alphabet[] = "0123456789.,-+eEKMGTx infna";
	struct ycsb_config *config = malloc(sizeof(*config));
	struct ycsb_message why;
	struct ptni_rng random;
	char value[40];
	int accepted = 0;

	ycsb_config_init(config);
	ptni_rng_seed_stream(&random, 17, 0);
	for (int round = 0; round < 50000; round++) {
		size_t len = (size_t)ptni_rng_below(&random, 12);

		for (size_t i = 0; i < len; i++)
			value[i] = alphabet[ptni_rng_below(&random, sizeof(alphabet) - 1)];
		value[len] = '\0';
		accepted += ycsb_config_set(config, names[round % 9], value, "t", &why) == 0;
		ycsb_config_check(config, YCSB_BENCH, &why);
	}
	assert_in_range(accepted, 1000, 49000);
	free(config);
}

static int set(struct ycsb_config *config, const char *name, const char *value,
	       struct ycsb_message *why)
{
	return ycsb_config_set(config, name, value, "file:3", why);
}

static void expect_bad(const char *name, const char *value, const char *expected)
{
	struct ycsb_config config;
	struct ycsb_message why = { "" };

	ycsb_config_init(&config);
	assert_int_equal(set(&config, name, value, &why), -EINVAL);
	if (strstr(why.text, expected) == NULL || strstr(why.text, "file:3") == NULL)
		fail_msg("'%s' does not contain '%s'", why.text, expected);
}

static void config_set__bad_values_say_what_is_possible(void **state)
{
	expect_bad("recordcount", "-5", "a whole number from 0");
	expect_bad("recordcount", "1000x", "a whole number");
	expect_bad("recordcount", "", "a whole number");
	expect_bad("recordcount", "99999999999999999999", "a whole number");
	expect_bad("threadcount", "0", "from 1 to 1024");
	expect_bad("threadcount", "1025", "from 1 to 1024");
	expect_bad("readproportion", "1.5", "a number from 0 to 1");
	expect_bad("readproportion", "nan", "a number from 0 to 1");
	expect_bad("dataintegrity", "yes", "true or false");
	expect_bad("requestdistribution", "zipf", "uniform, zipfian, latest");
	expect_bad("workload", "site.ycsb.workloads.TimeSeriesWorkload", "CoreWorkload");
	expect_bad("hdrhistogram.percentiles", "50,,99", "numbers from 0 to 100");
	expect_bad("hdrhistogram.percentiles", "50,101", "numbers from 0 to 100");
	expect_bad("patronus.memory", "4X", "for instance 4294967296 or 4G");
	expect_bad("patronus.memory", "-1", "for instance");
}

static void config_set__an_unknown_name_gets_the_nearest(void **state)
{
	expect_bad("recordcuont", "5", "did you mean 'recordcount'?");
	expect_bad("readpropotion", "1", "did you mean 'readproportion'?");
	expect_bad("patronus.sed", "1", "did you mean 'patronus.seed'?");
	expect_bad("hotspotdatafractoin", "1", "did you mean 'hotspotdatafraction'?");
	expect_bad("keyprefix", "k", "no property is called 'keyprefix'");
	expect_bad("quite.another.thing", "1", "'patronus-ycsb properties' lists them");
}

static void edit_distance__known_answers(void **state)
{
	assert_int_equal(ycsb_edit_distance("", "abc", 9), 3);
	assert_int_equal(ycsb_edit_distance("kitten", "sitting", 9), 3);
	assert_int_equal(ycsb_edit_distance("ab", "ba", 9), 1);
	assert_int_equal(ycsb_edit_distance("same", "same", 9), 0);
	assert_int_equal(ycsb_edit_distance("abcdef", "uvwxyz", 3), 4);
}

static void config_set__sizes_and_percentiles(void **state)
{
	struct ycsb_config config;
	struct ycsb_message why;

	ycsb_config_init(&config);
	assert_int_equal(set(&config, "patronus.memory", "4G", &why), 0);
	assert_int_equal(config.memory_bytes, UINT64_C(4) << 30);
	assert_int_equal(set(&config, "patronus.memory", "1536KiB", &why), 0);
	assert_int_equal(config.memory_bytes, 1536 << 10);
	assert_int_equal(set(&config, "hdrhistogram.percentiles", "50,99.9", &why), 0);
	assert_int_equal(config.percentile_cnt, 2);
	assert_true(config.percentiles[1] == 99.9);
}

/* recordcount and operationcount set, then one more; what does the check say? */
static void expect_finding(const char *name, const char *value, const char *second_name,
			   const char *second_value, const char *expected)
{
	struct ycsb_config config;
	struct ycsb_message why = { "" };
	int error;

	ycsb_config_init(&config);
	assert_int_equal(set(&config, "recordcount", "1000", &why), 0);
	assert_int_equal(set(&config, "operationcount", "1000", &why), 0);
	assert_int_equal(set(&config, name, value, &why), 0);
	assert_int_equal(set(&config, second_name, second_value, &why), 0);
	error = ycsb_config_check(&config, YCSB_BENCH, &why);
	assert_int_equal(error, expected == NULL ? 0 : -EINVAL);
	if (expected != NULL && strstr(why.text, expected) == NULL)
		fail_msg("'%s' does not contain '%s'", why.text, expected);
}

static void config_check__combinations(void **state)
{
	expect_finding("readproportion", "1", "updateproportion", "0", NULL);
	expect_finding("readproportion", "0", "updateproportion", "0", "all proportions are 0");
	expect_finding("readproportion", "0.95", "updateproportion", "0.06", "add up to 1.01");
	expect_finding("readproportion", "0.95", "updateproportion", "0.05009", NULL);
	expect_finding("fieldcount", "1025", "fieldlength", "1024", "1049600 bytes");
	expect_finding("fieldcount", "1024", "fieldlength", "1024", NULL);
	expect_finding("recordcount", "0", "operationcount", "5", "recordcount is not set");
	expect_finding("operationcount", "0", "recordcount", "5", "operationcount is not set");
	expect_finding("operationcount", "0", "maxexecutiontime", "5", NULL);
	expect_finding("insertstart", "500", "insertcount", "501", "reach past recordcount");
	expect_finding("insertstart", "500", "insertcount", "500", NULL);
	expect_finding("dataintegrity", "true", "fieldlengthdistribution", "uniform",
		       "needs fields of one length");
	expect_finding("minscanlength", "20", "maxscanlength", "10", "above maxscanlength");
	expect_finding("requestdistribution", "hotspot", "hotspotdatafraction", "0.0001",
		       "cold set empty");
	expect_finding("minfieldlength", "20", "fieldlength", "10", NULL);
	expect_finding("requestdistribution", "latest", "recordcount", "1", "at least two");
}

static void config_check__insertcount_defaults_to_the_rest(void **state)
{
	struct ycsb_config config;
	struct ycsb_message why;

	ycsb_config_init(&config);
	set(&config, "recordcount", "1000", &why);
	set(&config, "insertstart", "400", &why);
	assert_int_equal(ycsb_config_check(&config, YCSB_LOAD, &why), 0);
	assert_int_equal(ycsb_config_load_cnt(&config), 600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse__all_forms_of_java_properties),
		cmocka_unit_test(parse__malformed_lines_name_file_and_line),
		cmocka_unit_test(parse__survives_random_bytes),
		cmocka_unit_test(config_set__survives_random_names_and_values),
		cmocka_unit_test(config_set__bad_values_say_what_is_possible),
		cmocka_unit_test(config_set__an_unknown_name_gets_the_nearest),
		cmocka_unit_test(edit_distance__known_answers),
		cmocka_unit_test(config_set__sizes_and_percentiles),
		cmocka_unit_test(config_check__combinations),
		cmocka_unit_test(config_check__insertcount_defaults_to_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
