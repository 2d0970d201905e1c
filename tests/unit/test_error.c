/* SPDX-License-Identifier: MIT */
#include <patronus/error.h>
#include <patronus/version.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	int code;
	enum ptn_error_scope scope;
	const char *name;
	const char *text;
} ours[] = {
#define ROW(name, code, scope, text) { code, PTN_SCOPE_##scope, "PTN_E_" #name, text },
	PTN_ERROR_TABLE(ROW)
#undef ROW
};

enum {
	OURS = sizeof(ours) / sizeof(ours[0])
};

static void codes__unique_and_below_errno(void **state)
{
	for (int i = 0; i < OURS; i++) {
		assert_true(ours[i].code < -4095);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(ours[i].code, ours[j].code);
	}
}

/* Codes travel between processes of different releases, so they never change. */
static void codes__pinned(void **state)
{
	assert_int_equal(PTN_E_CONFLICT, -4100);
	assert_int_equal(PTN_E_OUTCOME_UNKNOWN, -4101);
	assert_int_equal(PTN_E_LEASE_EXPIRED, -4120);
	assert_int_equal(PTN_E_LANE_BROKEN, -4140);
	assert_int_equal(PTN_E_NODE_DOWN, -4160);
	assert_int_equal(PTN_E_CORRUPT, -4180);
}

static void ours__named_scoped_and_advising(void **state)
{
	for (int i = 0; i < OURS; i++) {
		assert_string_equal(ptn_errname(ours[i].code), ours[i].name);
		assert_string_equal(ptn_strerror(ours[i].code), ours[i].text);
		assert_int_equal(ptn_error_scope(ours[i].code), ours[i].scope);
		assert_true(strlen(ours[i].text) < 200);
		/* what happened, then what to do: two parts at least */
		assert_non_null(strpbrk(ours[i].text, ";,:"));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ours[i].text, ours[j].text);
	}
}

/* A program acts on the scope: no code of an operation means that more than the operation has failed. */
static void scopes__without_exceptions(void **state)
{
	assert_int_equal(ptn_error_scope(PTN_E_QUOTA), PTN_SCOPE_OPERATION);
	assert_int_equal(ptn_error_scope(PTN_E_NODE_FULL), PTN_SCOPE_OPERATION);
	assert_int_equal(ptn_error_scope(PTN_E_LEASE_LIMIT), PTN_SCOPE_OPERATION);
	assert_int_equal(ptn_error_scope(PTN_E_LEASE_CONFLICT), PTN_SCOPE_OPERATION);
	assert_int_equal(ptn_error_scope(PTN_E_FLOOD), PTN_SCOPE_NODE);
}

static void errno_values__named_and_scoped(void **state)
{
	assert_string_equal(ptn_errname(-ENOENT), "ENOENT");
	assert_string_equal(ptn_errname(-EXDEV), "EXDEV");
	assert_string_equal(ptn_strerror(-EXDEV), strerror(EXDEV));
	assert_non_null(strstr(ptn_strerror(-ENOENT), "no such key"));
	assert_non_null(strstr(ptn_strerror(-ECONNREFUSED), "start the memory node"));
	assert_non_null(strstr(ptn_strerror(-EDQUOT), "raise the quota"));
	assert_int_equal(ptn_error_scope(-ENOENT), PTN_SCOPE_OPERATION);
	assert_int_equal(ptn_error_scope(-ECONNRESET), PTN_SCOPE_NODE);
}

static void success__is_no_error(void **state)
{
	for (int count = 0; count < 3; count++) {
		assert_string_equal(ptn_errname(count), "OK");
		assert_string_equal(ptn_strerror(count), "success");
		assert_int_equal(ptn_error_scope(count), PTN_SCOPE_NONE);
	}
}

static void unknown__has_a_text_too(void **state)
{
	static const int codes[] = { -4095, -4096, -4099, -5000, INT32_MIN, -(int)(1U << 30) };

	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		assert_string_equal(ptn_errname(codes[i]), "unknown");
		assert_non_null(strstr(ptn_strerror(codes[i]), "unknown"));
	}
}

static void version__is_that_of_the_header(void **state)
{
	char expected[32];

	(void)snprintf(expected, sizeof(expected), "%d.%d.%d", PTN_VERSION_MAJOR, PTN_VERSION_MINOR,
		       PTN_VERSION_PATCH);
	assert_string_equal(ptn_version(), expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes__unique_and_below_errno),
		cmocka_unit_test(codes__pinned),
		cmocka_unit_test(ours__named_scoped_and_advising),
		cmocka_unit_test(scopes__without_exceptions),
		cmocka_unit_test(errno_values__named_and_scoped),
		cmocka_unit_test(success__is_no_error),
		cmocka_unit_test(unknown__has_a_text_too),
		cmocka_unit_test(version__is_that_of_the_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
