/* SPDX-License-Identifier: MIT */
#include "core/base/planted.h"

#ifdef PTN_PLANTED

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEPT_MAX = 1024
};

enum ptni_bug ptni_planted_bug;

static struct {
	const void *object;
	uint64_t value;
} kept[KEPT_MAX];
static unsigned kept_next;

static const struct {
	const char *name, *what, *seen;
} bugs[] = { { "none", "as it should be", "nobody" },
#define BUG(id, name, what, seen) { name, what, seen },
	     PTNI_BUGS(BUG)
#undef BUG
};

void ptni_plant(enum ptni_bug bug)
{
	ptni_planted_bug = bug;
	memset(kept, 0, sizeof(kept));
	kept_next = 0;
}

const char *ptni_planted_name(enum ptni_bug bug)
{
	return bugs[bug].name;
}

const char *ptni_planted_what(enum ptni_bug bug)
{
	return bugs[bug].what;
}

const char *ptni_planted_seen(enum ptni_bug bug)
{
	return bugs[bug].seen;
}

enum ptni_bug ptni_planted_find(const char *name)
{
	unsigned i = 0;

	while (i < PTNI_BUG_COUNT && strcmp(bugs[i].name, name))
		i++;
	return (enum ptni_bug)i;
}

void ptni_planted_keep(const void *object, uint64_t value)
{
	unsigned at = 0;

	while (at < KEPT_MAX && kept[at].object != object)
		at++;
	if (at == KEPT_MAX)
		at = kept_next++ % KEPT_MAX;
	kept[at].object = object;
	kept[at].value = value;
}

uint64_t ptni_planted_kept(const void *object)
{
	for (unsigned i = 0; i < KEPT_MAX; i++)
		if (kept[i].object == object)
			return kept[i].value;
	return 0;
}

/* Any program of a planted build can be run with a bug. */
__attribute__((constructor)) static void choose(void)
{
	const char *name = getenv("PTN_PLANT");
	enum ptni_bug bug = name ? ptni_planted_find(name) : PTNI_BUG_NONE;

	if (bug == PTNI_BUG_COUNT) {
		fprintf(stderr, "PTN_PLANT=%s: no bug of that name (core/base/planted.h)\n", name);
		abort();
	}
	ptni_plant(bug);
}

#endif
