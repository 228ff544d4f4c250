#include "embed/parts.h"

#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **copy_list(const char *const *list)
{
	if (list == NULL)
		return NULL;
	size_t n = 0;
	while (list[n] != NULL)
		n++;
	char **copy = calloc(n + 1, sizeof *copy);
	for (size_t i = 0; copy != NULL && i < n; i++)
		copy[i] = strdup(list[i]);
	return copy;
}

static void free_list(const char *const *list)
{
	char **owned = (char **)(uintptr_t)list;
	for (size_t i = 0; owned != NULL && owned[i] != NULL; i++)
		free(owned[i]);
	free(owned);
}

void mm_host_copy_options(struct mm_host *h, const struct mm_host_options *o)
{
	/* o may be of an older, shorter struct: from here on read the copy */
	memcpy(&h->options, o, o->size < sizeof h->options ? o->size : sizeof h->options);
	h->options.listen = (const char *const *)copy_list(h->options.listen);
	h->options.scripts = (const char *const *)copy_list(h->options.scripts);
	h->options.set = (const char *const *)copy_list(h->options.set);
	h->options.config_file = h->options.config_file != NULL ? strdup(h->options.config_file) : NULL;
}

void mm_host_free_options(struct mm_host *h)
{
	free_list(h->options.listen);
	free_list(h->options.scripts);
	free_list(h->options.set);
	free((char *)(uintptr_t)h->options.config_file);
}

static bool set_all(struct mm_config *c, const char *key, const char *const *values, struct mm_fault *why)
{
	for (; values != NULL && *values != NULL; values++)
		if (!mm_config_set(c, key, *values, why))
			return false;
	return true;
}

static bool set_pairs(struct mm_config *c, const char *const *pairs, struct mm_fault *why)
{
	for (; pairs != NULL && *pairs != NULL; pairs++) {
		char key[128];
		const char *equals = strchr(*pairs, '=');
		size_t size = equals != NULL ? (size_t)(equals - *pairs) : sizeof key;
		if (size >= sizeof key)
			return mm_fault_set(why, MM_FAULT_CONFIG, "option \"%s\": write key=value", *pairs);
		memcpy(key, *pairs, size);
		key[size] = '\0';
		if (!mm_config_set(c, key, equals + 1, why))
			return false;
	}
	return true;
}

static bool read_text(const struct mm_host_options *o, struct mm_config *c, struct mm_fault *why)
{
	char here[PATH_MAX];
	if (o->config_text == NULL)
		return o->config_file != NULL ? mm_config_load(c, o->config_file, why) : mm_config_init(c, why);
	if (getcwd(here, sizeof here) == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "the working directory cannot be found: %s",
			strerror(errno));
	return mm_config_read(c, mm_text_of(o->config_text), "config_text", here, why);
}

/* The milter of that name, NULL: the first, needs no scripts in files, because it has what `name` is. */
static bool note_source(struct mm_config *c, const char *what, const char *name, const char *milter,
	struct mm_fault *why)
{
	size_t at = 0;
	while (milter != NULL && at < c->milter_count && strcmp(c->milters[at].name, milter) != 0)
		at++;
	if (at == c->milter_count)
		return mm_fault_because(why, MM_REASON_IS_NOT_FOUND, "%s: %s is for milter \"%s\", which there is not",
			what, name, milter);
	c->milters[at].has_sources = true;
	return true;
}

static bool note_sources(const struct mm_host_options *o, struct mm_config *c, struct mm_fault *why)
{
	bool ok = true;
	for (const struct mm_source *s = o->sources; ok && s != NULL && s->name != NULL; s++)
		ok = note_source(c, "sources", s->name, s->milter, why);
	for (const struct mm_filter *const *f = o->filters; ok && f != NULL && *f != NULL; f++)
		ok = note_source(c, "filters", (*f)->name, (*f)->milter, why);
	return ok;
}

bool mm_host_read_config(const struct mm_host_options *o, struct mm_config *c, struct mm_fault *why)
{
	if (!read_text(o, c, why))
		return false;
	if (set_all(c, "listen", o->listen, why) && set_all(c, "scripts", o->scripts, why) && set_pairs(c, o->set, why)
	    && note_sources(o, c, why)
	    && (o->no_sockets || mm_config_check(c, why)))
		return true;
	mm_config_free(c);
	return false;
}
