/* SPDX-License-Identifier: MIT */
#include "core/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct seen {
	int messages;
	enum ptn_log_level level;
	char component[16];
	char message[600];
};

static void on_message(void *arg, enum ptn_log_level level, const char *component,
		       const char *message)
{
	struct seen *seen = arg;

	seen->messages++;
	seen->level = level;
	(void)snprintf(seen->component, sizeof(seen->component), "%s", component);
	(void)snprintf(seen->message, sizeof(seen->message), "%s", message);
}

static int evaluated(void)
{
	static int count;

	return ++count;
}

/* First in the list: the environment is read once. main() has set PTN_LOG=warn,alloc=trace. */
static void environment__sets_the_levels(void **state)
{
	struct seen seen = { 0 };

	ptn_log_set(on_message, &seen);
	PTNI_LOG(TRACE, alloc, "seen");
	assert_int_equal(seen.messages, 1);
	PTNI_LOG(INFO, core, "not seen");
	assert_int_equal(seen.messages, 1);
}

static void default__warnings_and_errors_only(void **state)
{
	struct seen seen = { 0 };

	ptn_log_set(on_message, &seen);
	assert_int_equal(ptn_log_level_set(NULL), 0);
	PTNI_LOG(INFO, core, "not seen %d", evaluated());
	assert_int_equal(seen.messages, 0);
	assert_int_equal(evaluated(), 1); /* so the argument above was not */
	PTNI_LOG(WARN, fabric, "queue pair %#x failed", 0x1234U);
	assert_int_equal(seen.messages, 1);
	assert_int_equal(seen.level, PTN_LOG_WARN);
	assert_string_equal(seen.component, "fabric");
	assert_string_equal(seen.message, "queue pair 0x1234 failed");
	PTNI_LOG(ERROR, tools, "%s", "last");
	assert_int_equal(seen.messages, 2);
	assert_string_equal(seen.component, "tools");
}

static void level_set__by_component(void **state)
{
	assert_int_equal(ptn_log_level_set("error,core=debug,ds=off,"), 0);
	assert_true(ptni_log_enabled(PTN_LOG_DEBUG, PTNI_LOG_core));
	assert_false(ptni_log_enabled(PTN_LOG_TRACE, PTNI_LOG_core));
	assert_false(ptni_log_enabled(PTN_LOG_WARN, PTNI_LOG_base));
	assert_true(ptni_log_enabled(PTN_LOG_ERROR, PTNI_LOG_base));
	assert_false(ptni_log_enabled(PTN_LOG_ERROR, PTNI_LOG_ds));
}

static void level_set__nonsense_is_einval_and_changes_nothing(void **state)
{
	static const char *const specs[] = { "loud",   "warn,core",  "core=", "=warn", ",",
					     "warn,,", "cores=warn", "war",   "warn " };

	assert_int_equal(ptn_log_level_set("info"), 0);
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		assert_int_equal(ptn_log_level_set(specs[i]), -EINVAL);
	for (int i = 0; i < PTNI_LOG_COMPONENT_COUNT; i++) {
		assert_true(ptni_log_enabled(PTN_LOG_INFO, (enum ptni_log_component)i));
		assert_false(ptni_log_enabled(PTN_LOG_DEBUG, (enum ptni_log_component)i));
	}
}

static void write__cuts_long_messages(void **state)
{
	struct seen seen = { 0 };
	char text[1000];

	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 1] = 0;
	ptn_log_set(on_message, &seen);
	ptni_log_write(PTN_LOG_ERROR, PTNI_LOG_base, "%s", text);
	assert_int_equal(strlen(seen.message), 511);
}

static void level_name__for_every_level(void **state)
{
	assert_string_equal(ptn_log_level_name(PTN_LOG_OFF), "off");
	assert_string_equal(ptn_log_level_name(PTN_LOG_TRACE), "trace");
	assert_string_equal(ptn_log_level_name((enum ptn_log_level)6), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(environment__sets_the_levels),
		cmocka_unit_test(default__warnings_and_errors_only),
		cmocka_unit_test(level_set__by_component),
		cmocka_unit_test(level_set__nonsense_is_einval_and_changes_nothing),
		cmocka_unit_test(write__cuts_long_messages),
		cmocka_unit_test(level_name__for_every_level),
	};

	if (setenv("PTN_LOG", "warn,alloc=trace", 1))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
