#include "embed/state.h"

#include "embed/parts.h"
#include "state/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* systemd names one directory or several. */
static const char *directory_of(const struct mm_host *h, struct mm_host_state *s)
{
	const char *named = getenv("STATE_DIRECTORY");
	if (h->config.state_dir != NULL || named == NULL || named[0] != '/')
		return h->config.state_dir;
	snprintf(s->buffer, sizeof s->buffer, "%.*s", (int)strcspn(named, ":"), named);
	return s->buffer;
}

static bool has_name(const struct mm_host *h, const struct mm_host_state *s)
{
	return s->directory != NULL || h->options.config_file != NULL;
}

void mm_host_find_state(const struct mm_host *h, struct mm_host_state *s)
{
	s->directory = directory_of(h, s);
	s->identity = NULL;
	if (h->options.no_sockets)              /* check, try, tests: they must not touch what a host that serves has */
		return;
	const char *path = s->directory != NULL ? s->directory : h->options.config_file;
	if (!has_name(h, s))
		snprintf(s->name, sizeof s->name, "process %ld.%u", (long)h->bound_by, h->number);
	else if (realpath(path, s->name) == NULL)
		snprintf(s->name, sizeof s->name, "%s", path);
	s->identity = s->name;
}

void mm_host_remove_state(const struct mm_host *h)
{
	struct mm_host_state s;
	mm_host_find_state(h, &s);
	if (s.identity != NULL && !has_name(h, &s) && h->bound_by == getpid())
		mm_stores_remove(s.identity);
}
