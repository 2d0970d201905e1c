/* SPDX-License-Identifier: MIT */
#include "core/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const component_names[PTNI_LOG_COMPONENT_COUNT] = {
#define COMPONENT_NAME(name) #name,
	PTNI_LOG_COMPONENTS(COMPONENT_NAME)
#undef COMPONENT_NAME
};

static const char *const level_names[] = { "off", "error", "warn", "info", "debug", "trace" };

enum {
	LEVEL_COUNT = sizeof(level_names) / sizeof(level_names[0])
};

static atomic_int levels[PTNI_LOG_COMPONENT_COUNT];
static pthread_once_t environment_read = PTHREAD_ONCE_INIT;

/* Function and argument change together, so the reader takes them under the lock too. */
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static ptn_log_fn sink_fn;
static void *sink_arg;

static int index_of(const char *const *names, int count, const char *name, size_t len)
{
	for (int i = 0; i < count; i++)
		if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
			return i;
	return -1;
}

/* One "level" or "component=level". */
static int item_parse(const char *item, size_t len, int *levels_out)
{
	const char *equals = memchr(item, '=', len);
	const char *name = equals ? equals + 1 : item;
	int component = -1;
	int level;

	level = index_of(level_names, LEVEL_COUNT, name, (size_t)(item + len - name));
	if (level < 0)
		return -EINVAL;
	if (equals) {
		component = index_of(component_names, PTNI_LOG_COMPONENT_COUNT, item,
				     (size_t)(equals - item));
		if (component < 0)
			return -EINVAL;
	}
	for (int i = 0; i < PTNI_LOG_COMPONENT_COUNT; i++)
		if (component < 0 || component == i)
			levels_out[i] = level;
	return 0;
}

static int spec_apply(const char *spec)
{
	int parsed[PTNI_LOG_COMPONENT_COUNT];

	for (int i = 0; i < PTNI_LOG_COMPONENT_COUNT; i++)
		parsed[i] = PTN_LOG_WARN;
	while (spec && *spec) {
		size_t len = strcspn(spec, ",");
		int ret = item_parse(spec, len, parsed);

		if (ret)
			return ret;
		spec += len + (spec[len] == ',');
	}
	for (int i = 0; i < PTNI_LOG_COMPONENT_COUNT; i++)
		atomic_store_explicit(&levels[i], parsed[i], memory_order_relaxed);
	return 0;
}

static void environment_apply(void)
{
	const char *spec = getenv("PTN_LOG");

	if (spec_apply(spec) == 0)
		return;
	(void)spec_apply(NULL);
	(void)fprintf(stderr,
		      "patronus: warn: base: PTN_LOG is '%s', which is no list of levels; "
		      "use for example PTN_LOG=info or PTN_LOG=warn,core=debug\n",
		      spec);
}

bool ptni_log_enabled(enum ptn_log_level level, enum ptni_log_component component)
{
	(void)pthread_once(&environment_read, environment_apply);
	return (int)level <= atomic_load_explicit(&levels[component], memory_order_relaxed);
}

void ptni_log_write(enum ptn_log_level level, enum ptni_log_component component, const char *format,
		    ...)
{
	char message[512];
	ptn_log_fn fn;
	va_list args;
	void *arg;

	va_start(args, format);
	if (vsnprintf(message, sizeof(message), format, args) < 0)
		message[0] = 0;
	va_end(args);
	(void)pthread_mutex_lock(&sink_lock);
	fn = sink_fn;
	arg = sink_arg;
	(void)pthread_mutex_unlock(&sink_lock);
	if (fn)
		fn(arg, level, component_names[component], message);
	else
		(void)fprintf(stderr, "patronus: %s: %s: %s\n", ptn_log_level_name(level),
			      component_names[component], message);
}

void ptn_log_set(ptn_log_fn fn, void *arg)
{
	(void)pthread_mutex_lock(&sink_lock);
	sink_fn = fn;
	sink_arg = arg;
	(void)pthread_mutex_unlock(&sink_lock);
}

int ptn_log_level_set(const char *spec)
{
	(void)pthread_once(&environment_read, environment_apply);
	return spec_apply(spec);
}

const char *ptn_log_level_name(enum ptn_log_level level)
{
	if ((int)level < 0 || (int)level >= LEVEL_COUNT)
		return "unknown";
	return level_names[level];
}
