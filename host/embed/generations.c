#include "embed/generations.h"

#include "base/bounds.h"
#include "embed/beat.h"
#include "embed/filter.h"
#include "embed/listeners.h"
#include "embed/log_target.h"
#include "embed/names.h"
#include "embed/parts.h"
#include "script/files.h"
#include "task/budget.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* GIVES them, ended by NULL. NULL: out of memory. */
static const char **paths_in(const struct mm_config_strings *list)
{
	const char **paths = calloc(list->count + 1, sizeof *paths);
	for (size_t i = 0; paths != NULL && i < list->count; i++)
		paths[i] = list->items[i];
	return paths;
}

static const char **paths_of(const struct mm_config_milter *m)
{
	return paths_in(&m->scripts);
}

static bool options_of(struct mm_host *h, const struct mm_config *c, unsigned i, struct mm_generation_options *o)
{
	const struct mm_config_milter *m = &c->milters[i];
	const char **paths = paths_of(m);
	if (paths == NULL)
		return false;
	*o = (struct mm_generation_options){
		.settings = {
			.milter_name = h->milter_names[i], .milter_in_log = c->milter_count > 1
				? h->milter_names[i] : NULL,
			.stage_deadline = c->stage_deadline, .eom_deadline = c->eom_deadline,
			.progress_every = c->progress_every,
			.body_max = c->body_max, .on_error = m->on_error, .over = m->over,
			.lockstep = m->lockstep,
			.number = h->next_generation, .row = h->row,
			.worker_index = h->census != NULL
			? (unsigned)(h->row - h->census->rows) : 0,
			.omits_home = h->options.drop_rights && h->owners.is_strict,
			.reads_all_keys = h->options.reads_all_keys,
			.memory_soft = c->memory_soft, .memory_hard = c->memory_hard,
		},
		.paths = paths,
		.sources = h->options.sources, .is_first = i == 0,
		.needs_no_scripts = mm_host_filter_of(h, i) != NULL,
		.modules = h->options.modules,
		.host_settings = &m->settings,
		.redis = &m->redis,
	};
	return true;
}

/* What comes next, from what serves. False: out of memory. */
static bool order_of(struct mm_host *h, const struct mm_config *c, unsigned i,
	const struct mm_generation_options *live, struct mm_next_order *o, struct mm_fault *refused)
{
	const struct mm_config_milter *m = &c->milters[i];
	*o = (struct mm_next_order){ .is_wanted = m->shadow.count > 0, .share = (uint32_t)(m->share * 100 + 0.5) };
	if (!o->is_wanted)
		return true;
	const char **paths = paths_in(&m->shadow);
	if (paths == NULL)
		return false;
	o->shadow = o->canary = *live;
	o->shadow.paths = o->canary.paths = paths;
	o->shadow.sources = o->canary.sources = NULL;
	o->shadow.is_first = o->canary.is_first = false;
	bool is_good = mm_owners_check_shadow(&h->owners, c, i, refused);
	if (is_good && h->differences != NULL && mm_differences_are_to_blame(h->differences, i, h->next_generation))
		is_good = mm_fault_set(refused, MM_FAULT_SCRIPT, "a worker died while scripts of the shadow ran; see "
			"the log, mend them and reload");
	if (!is_good)
		o->refused = refused->text;
	return true;
}

static void free_orders(struct mm_next_order *orders, unsigned count)
{
	for (unsigned i = 0; orders != NULL && i < count; i++)
		free((void *)(uintptr_t)orders[i].shadow.paths);
	free(orders);
}

/* GIVES them. NULL: out of memory, or no milter has any. */
static struct mm_next_order *orders_of(struct mm_host *h, const struct mm_config *c,
	const struct mm_generation_options *options, struct mm_fault *refused)
{
	unsigned count = (unsigned)c->milter_count;
	struct mm_next_order *orders = calloc(count, sizeof *orders);
	for (unsigned i = 0; orders != NULL && i < count; i++)
		if (!order_of(h, c, i, &options[i], &orders[i], &refused[i])) {
			free_orders(orders, count);
			return NULL;
		}
	return orders;
}

static bool set_dns(struct mm_host *h, struct mm_fault *why)
{
	const char **servers = calloc(h->config.dns_servers.count + 1, sizeof *servers);
	if (servers == NULL)
		return mm_fault_set(why, MM_FAULT_RESOURCE, "out of memory for the list of name servers");
	for (size_t i = 0; i < h->config.dns_servers.count; i++)
		servers[i] = h->config.dns_servers.items[i];
	struct mm_dns_settings settings = {
		.servers = servers, .timeout = h->config.dns_timeout, .cache_max = h->config.dns_cache,
	};
	bool ok = mm_worker_set_dns(h->worker, &settings, why);
	free(servers);
	return ok;
}

/* A session takes a descriptor. Scripts, logs and a reload need some, too. Keep some back, so that these do not fail
 * when all sessions are in use. */
static unsigned sessions_that_fit(struct mm_host *h)
{
	struct rlimit files;
	unsigned wanted = h->config.max_sessions;
	if (h->options.no_sockets)              /* feeds take none */
		return wanted;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
		return wanted;
	rlim_t spare = files.rlim_cur / 4 < MM_DESCRIPTORS_SPARE ? files.rlim_cur / 4 : MM_DESCRIPTORS_SPARE;
	if (wanted <= files.rlim_cur - spare)
		return wanted;
	mm_log_say(&h->log, MM_LEVEL_WARN, "sessions", "max_sessions %u is more than our %llu descriptors allow: %llu "
		"sessions are served at the same time; raise the limit (LimitNOFILE=, ulimit -n)", wanted,
		(unsigned long long)files.rlim_cur,
		(unsigned long long)(files.rlim_cur - spare));
	return (unsigned)(files.rlim_cur - spare);
}

/* What a running worker takes from the configuration. */
static void tune_worker(struct mm_host *h)
{
	const struct mm_config *c = &h->config;
	struct mm_worker_limits limits = {
		.max_sessions = sessions_that_fit(h),
		.max_sessions_per_mta = c->max_sessions_per_mta, .recycle_sessions = c->recycle_sessions,
		.held = c->memory_held,
		.times = { c->negotiate_timeout, c->idle_timeout, c->read_timeout, c->write_timeout },
	};
	mm_worker_tune(h->worker, &limits);
	if (h->options.guard_scripts)
		mm_budget_set(&(struct mm_budget_limits){ c->cpu_slice, c->cpu_session });
	for (unsigned i = 0; i < c->milter_count; i++)
		mm_worker_allow(h->worker, i, c->milters[i].allow.items, c->milters[i].allow.count);
}

bool mm_host_tune_worker(struct mm_host *h, struct mm_fault *why)
{
	bool ok = set_dns(h, why);
	tune_worker(h);
	return ok;
}

static void drop_next_config(struct mm_host *h)
{
	if (h->has_next_config)
		mm_config_free(&h->next_config);
	h->has_next_config = false;
}

/* At the start a directory may still be empty; at a reload an empty one may be a copy that went wrong. */
static void warn_of_no_scripts(struct mm_host *h)
{
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		struct mm_fault why;
		struct mm_script_files list = { 0 };
		const char **paths = paths_of(&h->config.milters[i]);
		if (mm_host_filter_of(h, i) == NULL && paths != NULL && mm_script_files_find(&list, paths, &why)
		    && list.count == 0)
			mm_log_say(&h->log, MM_LEVEL_WARN, "reload", "milter %s has no scripts: no directory of "
				"`scripts` holds a file named *.lua; mail passes unfiltered",
				h->config.milters[i].name);
		mm_script_files_free(&list);
		free((void *)(uintptr_t)paths);
	}
}

/* A directory of which no file is a script: its name is misspelt, or its files are. */
static unsigned describe_empty(const char *path, struct mm_say say)
{
	struct mm_fault why;
	char line[1024];
	const char *const one[] = { path, NULL };
	struct mm_script_files list = { 0 };
	bool is_empty = mm_script_files_find(&list, one, &why) && list.count == 0;
	mm_script_files_free(&list);
	if (!is_empty)
		return 0;
	snprintf(line, sizeof line, "%s: holds no script; the host loads files named *.lua, but no hidden ones", path);
	say.line(say.self, line);
	return 1;
}

struct indented {
	struct mm_say say;
	const char   *milter;
};

static void say_of_shadow(void *self, const char *line)
{
	const struct indented *i = self;
	char text[1200];
	snprintf(text, sizeof text, "shadow of %s: %s", i->milter, line);
	i->say.line(i->say.self, text);
}

bool mm_host_describe_shadows(const struct mm_host *h, struct mm_say say)
{
	const struct mm_next *next = mm_worker_next(h->worker);
	bool good = true;
	for (unsigned i = 0; next != NULL && i < h->config.milter_count; i++) {
		struct indented indented = { say, h->config.milters[i].name };
		struct mm_say as_shadow = { say_of_shadow, &indented };
		const char *failure = mm_next_failure(next, i);
		if (failure != NULL)
			as_shadow.line(as_shadow.self, failure);
		else if (mm_next_generation(next, i) != NULL)
			mm_generation_describe(mm_next_generation(next, i), as_shadow);
		good = good && failure == NULL;
	}
	return good;
}

unsigned mm_host_describe_findings(const struct mm_host *h, struct mm_say say)
{
	unsigned count = 0;
	for (unsigned i = 0; i < h->config.milter_count; i++) {
		const struct mm_generation *g = mm_worker_generation(h->worker, i);
		const char **paths = paths_of(&h->config.milters[i]);
		for (const char **path = paths; path != NULL && *path != NULL; path++)
			count += describe_empty(*path, say);
		free((void *)(uintptr_t)paths);
		if (g != NULL)
			count += mm_generation_describe_findings(g, say);
		const struct mm_next *next = mm_worker_next(h->worker);
		const struct mm_generation *shadow = next != NULL ? mm_next_generation(next, i) : NULL;
		if (shadow != NULL)
			count += mm_generation_describe_findings(shadow, say);
	}
	return count;
}

static void take_next_config(struct mm_host *h)
{
	struct mm_fault why;
	struct mm_config before = h->config;
	h->config = h->next_config;
	h->next_config = (struct mm_config){ 0 };
	h->has_next_config = false;
	mm_host_tune_log(h);
	bool speaks = h->worker == NULL || h->census == NULL;     /* for all workers */
	const char *fixed = speaks ? mm_config_fixed_change(&before, &h->config) : NULL;
	if (fixed != NULL)
		mm_log_say(&h->log, MM_LEVEL_WARN, "reload", "%s has changed in the configuration; that needs "
			"a restart", fixed);
	if (speaks)
		warn_of_no_scripts(h);
	bool same_log = before.log == h->config.log
		|| (before.log != NULL && h->config.log != NULL && strcmp(before.log, h->config.log) == 0);
	if (!same_log && !mm_host_reopen_log(h, &why))
		mm_log_say(&h->log, MM_LEVEL_ERROR, "log", "%s", why.text);
	if (h->worker != NULL && !mm_host_tune_worker(h, &why))
		mm_log_say(&h->log, MM_LEVEL_ERROR, "reload", "%s; name servers stay as they were", why.text);
	mm_config_free(&before);
}

static void on_loaded(void *self, bool ok, const struct mm_fault *why)
{
	struct mm_host *h = self;
	h->is_loading = false;
	if (!ok)
		drop_next_config(h);
	h->prepared(h->prepared_self, ok, why);
}

static void begin_load(struct mm_host *h, const struct mm_config *c)
{
	struct mm_fault why;
	h->is_loading = true;
	if (!mm_owners_check(&h->owners, c, &why)) {
		on_loaded(h, false, &why);
		return;
	}
	unsigned count = (unsigned)c->milter_count, made = 0;
	struct mm_generation_options *options = calloc(count, sizeof *options);
	while (options != NULL && made < count && options_of(h, c, made, &options[made]))
		made++;
	if (made < count) {
		mm_fault_set(&why, MM_FAULT_RESOURCE, "out of memory for a generation of scripts");
		on_loaded(h, false, &why);
	} else {
		struct mm_fault *refused = calloc(count, sizeof *refused);
		struct mm_next_order *orders = refused != NULL ? orders_of(h, c, options, refused) : NULL;
		mm_worker_prepare(h->worker, options, orders, on_loaded, h);
		free_orders(orders, count);
		free(refused);
	}
	for (unsigned i = 0; i < made; i++)
		free((void *)(uintptr_t)options[i].paths);
	free(options);
}

/* A reload changes scripts and settings. It can neither add a milter nor remove one. */
static bool same_milters(const struct mm_host *h, const struct mm_config *c, struct mm_fault *why)
{
	bool same = c->milter_count == h->config.milter_count;
	for (unsigned i = 0; same && i < c->milter_count; i++)
		same = strcmp(c->milters[i].name, h->config.milters[i].name) == 0;
	return same || mm_fault_set(why, MM_FAULT_CONFIG, "milters were added or removed in the configuration; that "
		"needs a restart");
}

static bool read_next_config(struct mm_host *h, struct mm_fault *why)
{
	drop_next_config(h);
	if (!mm_owners_check_config(&h->owners, h->options.config_file, why)
	    || !mm_host_read_config(&h->options, &h->next_config, why))
		return false;
	h->has_next_config = true;
	if (same_milters(h, &h->next_config, why)
	    && (!h->options.drop_rights || mm_names_check(&h->next_config, why)))
		return true;
	drop_next_config(h);
	return false;
}

bool mm_host_reread(struct mm_host *h, struct mm_fault *why)
{
	if (!read_next_config(h, why))
		return false;
	take_next_config(h);
	return true;
}

void mm_host_prepare(struct mm_host *h, unsigned long generation, bool rereads,
	void (*done)(void *self, bool ok, const struct mm_fault *), void *self)
{
	struct mm_fault why = { .class = MM_FAULT_NONE };
	mm_host_discard(h);
	h->prepared = done;
	h->prepared_self = self;
	h->next_generation = generation;
	if (rereads && !read_next_config(h, &why))
		done(self, false, &why);
	else
		begin_load(h, rereads ? &h->next_config : &h->config);
}

bool mm_host_commit(struct mm_host *h, struct mm_fault *why)
{
	bool is_first = h->generation == 0;
	mm_worker_commit(h->worker);
	h->generation = h->next_generation;
	if (h->has_next_config)
		take_next_config(h);
	mm_host_show_state(h, h->is_stopping ? MM_CENSUS_DRAINING : MM_CENSUS_SERVING);
	return !is_first || h->is_stopping || mm_host_watch_listeners(h, why);
}

void mm_host_discard(struct mm_host *h)
{
	mm_worker_discard(h->worker);
	h->is_loading = false;
	drop_next_config(h);
}

unsigned long mm_host_preparing(const struct mm_host *h)
{
	return h->next_generation;
}
